//! A file's bytes cut into chunks, and all of it again if it was changed meanwhile.

use std::path::Path;

use crate::chunk::{Cutter, More};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Kind, Result};
use crate::limits::CHUNK_BYTES_MAX;
use crate::report::Report;
use crate::snapshot::Meta;
use crate::source::walk::{FileSource, Ground, Stamp, look};

/// How often a file is read that is changed under every reading.
const TRIES_MAX: u32 = 3;

/// Bytes of a large file in one piece.
const WINDOW_BYTES: usize = 1 << 20;

/// Clocks that times of change are taken from tick so rarely at worst, nanoseconds ...
const TICK_NANOS: i128 = 50_000_000;

/// ... and on filesystems that keep no fractions.
const WHOLE_SECONDS_NANOS: i128 = 2_100_000_000;

/// What becomes of a file's chunks.
pub trait Pieces {
    /// The next ones.
    fn piece(&mut self, chunks: Vec<Vec<u8>>) -> Result<()>;
    /// All before count for nothing: the file is read again.
    fn again(&mut self) -> Result<()>;
}

/// All of a small file.
impl Pieces for Vec<Vec<u8>> {
    fn piece(&mut self, chunks: Vec<Vec<u8>>) -> Result<()> {
        self.extend(chunks);
        Ok(())
    }

    fn again(&mut self) -> Result<()> {
        self.clear();
        Ok(())
    }
}

/// Why a file was not read to its end.
#[derive(Debug)]
pub enum Failed {
    /// It could not be read.
    Source(Error),
    /// Nobody takes its pieces, or wants them: the backup ends.
    Sink(Error),
}

/// Fills a buffer with what comes next, less only at the end.
pub type Fill<'f> = &'f mut dyn FnMut(&mut [u8]) -> Result<usize>;

/// Where files are cut.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    pub cutter: &'a Cutter,
    pub report: &'a Report,
}

impl Reading<'_> {
    /// Reads the file that was looked at, and completes what is known of it; how many bytes it has.
    pub fn file(
        &self,
        ground: &Ground,
        path: &Path,
        looked: &Stamp,
        meta: &mut Meta,
        pieces: &mut dyn Pieces,
    ) -> Result<u64, Failed> {
        let mut file = open(ground, path, looked).map_err(Failed::Source)?;
        for attempt in 1.. {
            let len = file.stamp().len;
            let read = self.bytes(len, &mut |buffer| file.read(buffer), pieces);
            let bytes = read.map_err(|failed| failed.of(path))?;
            let now = file.stamp_now().map_err(|error| Failed::Source(error).of(path))?;
            let is_quiet = file.stamp().has_the_content_of(&now) && bytes == now.len;
            if is_quiet || attempt == TRIES_MAX {
                self.note(path, &file, is_quiet, meta);
                return Ok(bytes);
            }
            pieces.again().map_err(Failed::Sink)?;
            file.again().map_err(|error| Failed::Source(error).of(path))?;
        }
        unreachable!("the last attempt returns")
    }

    /// What may have been written to since the time it bears has no time of change: the next backup reads it again.
    fn note(&self, path: &Path, file: &FileSource, is_quiet: bool, meta: &mut Meta) {
        let stamp = file.stamp();
        if !is_quiet {
            let text = format!(
                "{}: changed while it was read, {TRIES_MAX} times; saved as it was read",
                path.display()
            );
            self.report.problem_at(path, text);
        }
        let (inode, ctime) = (Some(stamp.inode), Some(stamp.ctime_nanos));
        if (meta.inode, meta.ctime_nanos) != (inode, ctime)
            && let Ok(looked) = look(path, self.report)
        {
            *meta = looked.meta;
        }
        meta.mtime_nanos = Some(stamp.mtime_nanos);
        meta.inode = Some(stamp.inode);
        meta.ctime_nanos = (is_quiet && !is_recent(stamp.ctime_nanos)).then_some(stamp.ctime_nanos);
        meta.holes = file.holes().to_vec();
    }

    /// Cuts what `fill` gives, `len` bytes at most; how many there were.
    pub fn bytes(&self, len: u64, fill: Fill, pieces: &mut dyn Pieces) -> Result<u64, Failed> {
        let mut left = len;
        let mut window = Vec::new();
        loop {
            self.report.go_on().map_err(Failed::Sink)?;
            let kept = window.len();
            let wanted = usize::try_from(left).map_or(WINDOW_BYTES, |left| left.min(WINDOW_BYTES));
            window.resize(kept + wanted, 0);
            let got = fill(&mut window[kept..]).map_err(Failed::Source)?;
            window.truncate(kept + got);
            left -= got as u64;
            let more = match left > 0 && got == wanted {
                true => More::Follows,
                false => More::Ended,
            };
            pieces.piece(self.cut(&mut window, more)).map_err(Failed::Sink)?;
            if more == More::Ended {
                return Ok(len - left);
            }
        }
    }

    /// Takes what is complete out of the window.
    fn cut(&self, window: &mut Vec<u8>, more: More) -> Vec<Vec<u8>> {
        let (mut chunks, mut start) = (Vec::new(), 0);
        while let Some(len) = self.cutter.first(&window[start..], more) {
            if (start, len) == (0, window.len()) {
                return vec![std::mem::take(window)];
            }
            chunks.push(window[start..start + len].to_vec());
            start += len;
        }
        window.drain(..start);
        chunks
    }
}

/// What takes a file's place by a rename, as programs write their settings, is the file that is meant.
fn open(ground: &Ground, path: &Path, looked: &Stamp) -> Result<FileSource> {
    let mut stamp = *looked;
    for attempt in 1.. {
        match FileSource::open(ground, path, &stamp) {
            Err(error) if error.kind() == Kind::Mismatch && attempt < TRIES_MAX => stamp = Stamp::at(path)?,
            opened => return opened,
        }
    }
    unreachable!("the last attempt returns")
}

impl Failed {
    /// For whom both are the same.
    pub fn into_error(self) -> Error {
        match self {
            Self::Source(error) | Self::Sink(error) => error,
        }
    }

    fn of(self, path: &Path) -> Self {
        match self {
            Self::Source(error) => Self::Source(error.act(format!("read {}", path.display()))),
            sink => sink,
        }
    }
}

/// True if a write now could leave the time of change as it is.
fn is_recent(ctime_nanos: i128) -> bool {
    let tick = match ctime_nanos % 1_000_000_000 {
        0 => WHOLE_SECONDS_NANOS,
        _ => TICK_NANOS,
    };
    ctime_nanos > i128::from(SystemClock.now().0) - tick
}

const _: () = assert!(WINDOW_BYTES >= CHUNK_BYTES_MAX, "a window holds a whole chunk");

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::chunk::memory::noise;
    use crate::source::walk::What;

    /// Writes to the file whenever a piece of it is taken, so many times.
    struct Writes<'p> {
        path: &'p Path,
        left: u32,
        chunks: Vec<Vec<u8>>,
    }

    impl Pieces for Writes<'_> {
        fn piece(&mut self, chunks: Vec<Vec<u8>>) -> Result<()> {
            self.chunks.piece(chunks)?;
            if self.left > 0 {
                self.left -= 1;
                let mut file = OpenOptions::new().append(true).open(self.path).unwrap();
                file.write_all(b"more").unwrap();
            }
            Ok(())
        }

        fn again(&mut self) -> Result<()> {
            self.chunks.again()
        }
    }

    fn read(path: &Path, writes: u32) -> (Vec<u8>, Meta, Vec<String>) {
        let report = Report::default();
        let looked = look(path, &report).unwrap();
        let What::File(stamp) = looked.what else { panic!() };
        let (cutter, mut meta) = (Cutter::new(&[1; 32]), looked.meta);
        let reading = Reading {
            cutter: &cutter,
            report: &report,
        };
        let (left, chunks) = (writes, Vec::new());
        let mut pieces = Writes { path, left, chunks };
        let ground = Ground::at(path.parent().unwrap()).unwrap();
        let read = reading.file(&ground, path, &stamp, &mut meta, &mut pieces);
        let bytes = read.unwrap();
        let all = pieces.chunks.concat();
        assert_eq!(bytes, all.len() as u64);
        (all, meta, report.problems())
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let once = noise(1, WINDOW_BYTES / 2);
        std::fs::write(&path, &once).unwrap();
        for (writes, is_told) in [(0, false), (1, false), (2, false), (3, true)] {
            let before = std::fs::read(&path).unwrap();
            let (all, meta, problems) = read(&path, writes);
            let after = std::fs::read(&path).unwrap();
            assert_eq!(after.len(), before.len() + 4 * writes as usize);
            assert_eq!(!problems.is_empty(), is_told, "{problems:?}");
            // The last reading began before the last write.
            let end = if is_told { after.len() - 4 } else { after.len() };
            assert!(all == after[..end], "{writes}");
            assert_eq!(meta.ctime_nanos, None, "it was written to a moment ago");
        }
    }

    #[test]
    fn a_file_that_took_its_place_by_a_rename_is_read_instead() {
        let dir = tempfile::tempdir().unwrap();
        let (path, new) = (dir.path().join("settings"), dir.path().join("new"));
        std::fs::write(&path, "old").unwrap();
        let report = Report::default();
        let looked = look(&path, &report).unwrap();
        let What::File(stamp) = looked.what else { panic!() };
        std::fs::write(&new, "newer").unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(&new, &path).unwrap();
        let (cutter, mut meta) = (Cutter::new(&[1; 32]), looked.meta);
        let reading = Reading {
            cutter: &cutter,
            report: &report,
        };
        let (ground, mut pieces) = (Ground::at(dir.path()).unwrap(), Vec::new());
        let read = reading.file(&ground, &path, &stamp, &mut meta, &mut pieces);
        assert_eq!((read.unwrap(), pieces.concat()), (5, b"newer".to_vec()));
        assert_eq!(meta.mode, Some(0o600));
        assert_ne!(meta.inode, Some(stamp.inode));
        assert_eq!(report.problems(), [""; 0]);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let read = reading.file(&ground, &path, &stamp, &mut meta, &mut pieces);
        assert!(read.is_err(), "what is no file any more is told");
    }

    #[test]
    fn a_file_at_rest_keeps_its_time_of_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "x").unwrap();
        std::thread::sleep(std::time::Duration::from_nanos(3 * TICK_NANOS as u64));
        let (_, meta, _) = read(&path, 0);
        assert!(meta.ctime_nanos.is_some());
        assert!(is_recent(i128::from(SystemClock.now().0) - TICK_NANOS / 2));
        let whole_second = i128::from(SystemClock.now().0) / 1_000_000_000 * 1_000_000_000;
        assert!(is_recent(whole_second - 1_000_000_000) && !is_recent(whole_second - 3_000_000_000));
    }

    #[test]
    fn cuts_do_not_depend_on_windows() {
        let dir = tempfile::tempdir().unwrap();
        let (report, cutter) = (Report::default(), Cutter::new(&[1; 32]));
        let reading = Reading {
            cutter: &cutter,
            report: &report,
        };
        for len in [0, 1, WINDOW_BYTES - 1, WINDOW_BYTES, 3 * WINDOW_BYTES + 5] {
            let all = noise(2, len);
            let path = dir.path().join("file");
            File::create(&path).unwrap().write_all(&all).unwrap();
            let (mut rest, mut chunks) = (&all[..], Vec::new());
            let fill = &mut |buffer: &mut [u8]| {
                let (now, later) = rest.split_at(buffer.len().min(rest.len()));
                buffer[..now.len()].copy_from_slice(now);
                rest = later;
                Ok(now.len())
            };
            assert_eq!(reading.bytes(len as u64, fill, &mut chunks).unwrap(), len as u64);
            let whole: Vec<_> = cutter.chunks(&all).map(<[u8]>::to_vec).collect();
            assert!(chunks == whole, "{len}");
        }
    }
}
