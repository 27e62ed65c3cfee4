//! Reads and chunks a file, again if it changed meanwhile.

use std::path::Path;

use crate::chunk::{Chunker, InputEnd};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{CHUNK_BYTES_MAX, FILE_BYTES_MAX};
use crate::report::OperationReport;
use crate::snapshot::FileMetadata;
use crate::source::HeldDirectory;
use crate::source::walk::{FileFingerprint, FileSource, read_entry};

/// How often a file is read that is changed under every reading.
const READ_ATTEMPTS_PER_FILE: u32 = 3;

/// Bytes of a large file in one piece.
const WINDOW_BYTES: usize = 1 << 20;

/// Clocks that times of change are taken from tick so rarely at worst, nanoseconds ...
const CTIME_TICK_NANOS: i128 = 50_000_000;

/// ... and on filesystems that keep no fractions.
const CTIME_SECOND_NANOS: i128 = 2_100_000_000;

/// A file's next chunk, or several that are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileChunk {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// Chunks of one byte, over and over: what holes are cut into, without having been looked at.
    Repeated(RepeatedChunkRun),
}

/// Equal chunks in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepeatedChunkRun {
    /// All of their bytes.
    pub byte: u8,
    /// Bytes of each.
    pub len: usize,
    /// How many.
    pub count: u64,
}

impl FileChunk {
    /// How many bytes it stands for.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Repeated(run) => run.len as u64 * run.count,
        }
    }
}

/// Where bytes come from.
pub trait FileInput {
    /// Fills a buffer with what comes next, less only at the end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize>;

    /// How many zeros come next that need not be read.
    fn zeros(&self) -> u64 {
        0
    }

    /// Passes over so many of them.
    fn skip(&mut self, _bytes: u64) {}
}

impl FileInput for FileSource {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        Self::read(self, buffer)
    }

    fn zeros(&self) -> u64 {
        Self::zeros_ahead(self)
    }

    fn skip(&mut self, bytes: u64) {
        Self::skip(self, bytes);
    }
}

/// What a function gives.
impl<F: FnMut(&mut [u8]) -> Result<usize>> FileInput for F {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self(buffer)
    }
}

/// What becomes of a file's chunks.
pub trait ChunkSink {
    /// The next ones.
    fn push_chunks(&mut self, chunks: Vec<FileChunk>) -> Result<()>;
    /// All before count for nothing: the file is read again.
    fn restart(&mut self) -> Result<()>;
}

/// All of a small file.
impl ChunkSink for Vec<FileChunk> {
    fn push_chunks(&mut self, chunks: Vec<FileChunk>) -> Result<()> {
        self.extend(chunks);
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.clear();
        Ok(())
    }
}

/// Why a file was not read to its end.
#[derive(Debug)]
pub enum FileReadError {
    /// It could not be read.
    Source(Error),
    /// Nobody takes its pieces, or wants them: the backup ends.
    Sink(Error),
}

/// Where files are cut.
#[derive(Clone, Copy)]
pub struct FileReader<'a> {
    pub chunker: &'a Chunker,
    pub report: &'a OperationReport,
}

impl FileReader<'_> {
    /// Reads the file that was looked at, and completes what is known of it; how many bytes it has.
    pub fn read_file(
        &self,
        ground: &HeldDirectory,
        path: &Path,
        looked: &FileFingerprint,
        meta: &mut FileMetadata,
        pieces: &mut dyn ChunkSink,
    ) -> Result<u64, FileReadError> {
        let mut file = open_current(ground, path, looked).map_err(FileReadError::Source)?;
        for attempt in 1.. {
            let len = file.fingerprint().len;
            if len > FILE_BYTES_MAX {
                let error = Error::new(
                    ErrorKind::Limit,
                    format!("{len} bytes long, and no file over {FILE_BYTES_MAX} is restored"),
                );
                return Err(FileReadError::Source(error).with_path(path));
            }
            let read = self.chunk_input(len, &mut file, pieces);
            let bytes = read.map_err(|failed| failed.with_path(path))?;
            let now = file
                .current_fingerprint()
                .map_err(|error| FileReadError::Source(error).with_path(path))?;
            let is_quiet = file.fingerprint().has_same_content(&now) && bytes == now.len;
            if is_quiet || attempt == READ_ATTEMPTS_PER_FILE {
                self.complete_metadata(ground, path, &file, is_quiet, meta);
                return Ok(bytes);
            }
            pieces.restart().map_err(FileReadError::Sink)?;
            file.restart()
                .map_err(|error| FileReadError::Source(error).with_path(path))?;
        }
        unreachable!("the last attempt returns")
    }

    /// What may have been written to since the time it bears has no time of change: the next backup reads it again.
    fn complete_metadata(
        &self,
        ground: &HeldDirectory,
        path: &Path,
        file: &FileSource,
        is_quiet: bool,
        meta: &mut FileMetadata,
    ) {
        let stamp = file.fingerprint();
        if !is_quiet {
            let text = format!(
                "{}: changed while it was read, {READ_ATTEMPTS_PER_FILE} times; saved as it was read",
                path.display()
            );
            self.report.problem_at(path, text);
        }
        let (inode, ctime) = (Some(stamp.inode), Some(stamp.ctime_nanos));
        if (meta.inode, meta.ctime_nanos) != (inode, ctime)
            && let Ok(looked) = read_entry(ground, path, self.report)
        {
            *meta = looked.meta;
        }
        meta.mtime_nanos = Some(stamp.mtime_nanos);
        meta.inode = Some(stamp.inode);
        meta.ctime_nanos = (is_quiet && !is_ctime_recent(stamp.ctime_nanos)).then_some(stamp.ctime_nanos);
        meta.holes = file.holes().to_vec();
    }

    /// Cuts what `input` gives, `len` bytes at most; how many there were.
    pub fn chunk_input(
        &self,
        len: u64,
        input: &mut dyn FileInput,
        pieces: &mut dyn ChunkSink,
    ) -> Result<u64, FileReadError> {
        let mut left = len;
        let mut window = Vec::new();
        loop {
            self.report.go_on().map_err(FileReadError::Sink)?;
            if let Some((run, ahead)) = self.zero_run_ahead(&window, input.zeros().min(left)) {
                input.skip(ahead);
                left -= ahead;
                window.clear();
                pieces
                    .push_chunks(vec![FileChunk::Repeated(run)])
                    .map_err(FileReadError::Sink)?;
            }
            let kept = window.len();
            let wanted = usize::try_from(left).map_or(WINDOW_BYTES, |left| left.min(WINDOW_BYTES));
            window.resize(kept + wanted, 0);
            let got = input.read(&mut window[kept..]).map_err(FileReadError::Source)?;
            window.truncate(kept + got);
            left -= got as u64;
            let more = if left > 0 && got == wanted {
                InputEnd::Follows
            } else {
                InputEnd::Ended
            };
            pieces
                .push_chunks(self.cut_window(&mut window, more))
                .map_err(FileReadError::Sink)?;
            if more == InputEnd::Ended {
                return Ok(len - left);
            }
        }
    }

    /// The chunks that a window and so many zeros behind it are cut into for certain, and how many of those zeros they
    /// take: those that begin with as many zeros as the longest chunk has.
    fn zero_run_ahead(&self, window: &[u8], zeros: u64) -> Option<(RepeatedChunkRun, u64)> {
        let all = window.len() as u64 + zeros;
        let rest = all.checked_sub(CHUNK_BYTES_MAX as u64).filter(|_| zeros > 0)?;
        if window.iter().any(|byte| *byte != 0) {
            return None;
        }
        let len = self.chunker.first_chunk_len_of_run(0);
        let count = rest / len as u64 + 1;
        let ahead = (count * len as u64).checked_sub(window.len() as u64)?;
        Some((RepeatedChunkRun { byte: 0, len, count }, ahead))
    }

    /// Takes what is complete out of the window.
    fn cut_window(&self, window: &mut Vec<u8>, more: InputEnd) -> Vec<FileChunk> {
        let (mut chunks, mut start) = (Vec::new(), 0);
        while start < window.len() {
            if let Some(byte) = repeated_byte(&window[start..]) {
                let len = self.chunker.first_chunk_len_of_run(byte);
                push_repeated(&mut chunks, byte, len);
                start += len;
                continue;
            }
            let Some(len) = self.chunker.first_chunk_len(&window[start..], more) else {
                break;
            };
            if (start, len) == (0, window.len()) {
                return vec![FileChunk::Bytes(std::mem::take(window))];
            }
            chunks.push(FileChunk::Bytes(window[start..start + len].to_vec()));
            start += len;
        }
        window.drain(..start);
        chunks
    }
}

/// The byte of which the window has nothing else as far as the longest chunk.
fn repeated_byte(window: &[u8]) -> Option<u8> {
    let window = window.get(..CHUNK_BYTES_MAX)?;
    // Two at a time are one comparison of memory; most windows differ in the first bytes.
    (window[..CHUNK_BYTES_MAX - 1] == window[1..]).then_some(window[0])
}

fn push_repeated(chunks: &mut Vec<FileChunk>, byte: u8, len: usize) {
    match chunks.last_mut() {
        Some(FileChunk::Repeated(run)) if run.byte == byte => run.count += 1,
        _ => chunks.push(FileChunk::Repeated(RepeatedChunkRun { byte, len, count: 1 })),
    }
}

/// What takes a file's place by a rename, as programs write their settings, is the file that is meant.
fn open_current(ground: &HeldDirectory, path: &Path, looked: &FileFingerprint) -> Result<FileSource> {
    let mut stamp = *looked;
    for attempt in 1.. {
        match FileSource::open(ground, path, &stamp) {
            Err(error) if error.kind() == ErrorKind::Mismatch && attempt < READ_ATTEMPTS_PER_FILE => {
                stamp = FileFingerprint::of_path_below(ground, path)?
            }
            opened => return opened,
        }
    }
    unreachable!("the last attempt returns")
}

impl FileReadError {
    /// For whom both are the same.
    pub fn into_error(self) -> Error {
        match self {
            Self::Source(error) | Self::Sink(error) => error,
        }
    }

    fn with_path(self, path: &Path) -> Self {
        match self {
            Self::Source(error) => Self::Source(error.context(format!("read {}", path.display()))),
            sink => sink,
        }
    }
}

/// True if a write now could leave the time of change as it is.
fn is_ctime_recent(ctime_nanos: i128) -> bool {
    let tick = match ctime_nanos % 1_000_000_000 {
        0 => CTIME_SECOND_NANOS,
        _ => CTIME_TICK_NANOS,
    };
    ctime_nanos > i128::from(SystemClock.now().0) - tick
}

const _: () = assert!(WINDOW_BYTES >= CHUNK_BYTES_MAX, "a window holds a whole chunk");

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;
    use crate::chunk::memory_blobs::noise;
    use crate::source::walk::FileKind;

    /// Writes to the file whenever a piece of it is taken, so many times.
    struct WritesMeanwhile<'p> {
        path: &'p Path,
        left: u32,
        chunks: Vec<FileChunk>,
    }

    /// All bytes of chunks.
    fn bytes_of(chunks: &[FileChunk]) -> Vec<Vec<u8>> {
        let bytes = |chunk: &FileChunk| match chunk {
            FileChunk::Bytes(bytes) => vec![bytes.clone()],
            FileChunk::Repeated(run) => vec![vec![run.byte; run.len]; run.count as usize],
        };
        chunks.iter().flat_map(bytes).collect()
    }

    impl ChunkSink for WritesMeanwhile<'_> {
        fn push_chunks(&mut self, chunks: Vec<FileChunk>) -> Result<()> {
            self.chunks.push_chunks(chunks)?;
            if self.left > 0 {
                self.left -= 1;
                let mut file = OpenOptions::new().append(true).open(self.path).unwrap();
                file.write_all(b"more").unwrap();
            }
            Ok(())
        }

        fn restart(&mut self) -> Result<()> {
            self.chunks.restart()
        }
    }

    fn read(path: &Path, writes: u32) -> (Vec<u8>, FileMetadata, Vec<String>) {
        let report = OperationReport::default();
        let ground = HeldDirectory::open_path(path.parent().unwrap()).unwrap();
        let looked = read_entry(&ground, path, &report).unwrap();
        let FileKind::File(stamp) = looked.kind else {
            panic!()
        };
        let (cutter, mut meta) = (Chunker::new(&[1; 32]), looked.meta);
        let reading = FileReader {
            chunker: &cutter,
            report: &report,
        };
        let (left, chunks) = (writes, Vec::new());
        let mut pieces = WritesMeanwhile { path, left, chunks };
        let read = reading.read_file(&ground, path, &stamp, &mut meta, &mut pieces);
        let bytes = read.unwrap();
        let all = bytes_of(&pieces.chunks).concat();
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
        let report = OperationReport::default();
        let ground = HeldDirectory::open_path(dir.path()).unwrap();
        let looked = read_entry(&ground, &path, &report).unwrap();
        let FileKind::File(stamp) = looked.kind else {
            panic!()
        };
        std::fs::write(&new, "newer").unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(&new, &path).unwrap();
        let (cutter, mut meta) = (Chunker::new(&[1; 32]), looked.meta);
        let reading = FileReader {
            chunker: &cutter,
            report: &report,
        };
        let mut pieces = Vec::new();
        let read = reading.read_file(&ground, &path, &stamp, &mut meta, &mut pieces);
        assert_eq!(
            (read.unwrap(), bytes_of(&pieces).concat()),
            (5, b"newer".to_vec())
        );
        assert_eq!(meta.mode, Some(0o600));
        assert_ne!(meta.inode, Some(stamp.inode));
        assert_eq!(report.problems(), [""; 0]);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let read = reading.read_file(&ground, &path, &stamp, &mut meta, &mut pieces);
        assert!(read.is_err(), "what is no file any more is told");
    }

    #[test]
    fn a_file_at_rest_keeps_its_time_of_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "x").unwrap();
        std::thread::sleep(std::time::Duration::from_nanos(3 * CTIME_TICK_NANOS as u64));
        let (_, meta, _) = read(&path, 0);
        assert!(meta.ctime_nanos.is_some());
        assert!(is_ctime_recent(
            i128::from(SystemClock.now().0) - CTIME_TICK_NANOS / 2
        ));
        let whole_second = i128::from(SystemClock.now().0) / 1_000_000_000 * 1_000_000_000;
        assert!(
            is_ctime_recent(whole_second - 1_000_000_000) && !is_ctime_recent(whole_second - 3_000_000_000)
        );
    }

    #[test]
    fn cuts_do_not_depend_on_windows() {
        let dir = tempfile::tempdir().unwrap();
        let (report, cutter) = (OperationReport::default(), Chunker::new(&[1; 32]));
        let reading = FileReader {
            chunker: &cutter,
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
            assert_eq!(
                reading.chunk_input(len as u64, fill, &mut chunks).unwrap(),
                len as u64
            );
            let whole: Vec<_> = cutter.chunks(&all).map(<[u8]>::to_vec).collect();
            assert!(bytes_of(&chunks) == whole, "{len}");
        }
    }

    /// Bytes, and which of them are holes.
    struct SparseInput {
        all: Vec<u8>,
        holes: Vec<(usize, usize)>,
        at: usize,
        read: usize,
    }

    impl FileInput for SparseInput {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            let len = buffer.len().min(self.all.len() - self.at);
            buffer[..len].copy_from_slice(&self.all[self.at..self.at + len]);
            (self.at, self.read) = (self.at + len, self.read + len);
            Ok(len)
        }

        fn zeros(&self) -> u64 {
            let here = self.holes.iter();
            let mut here = here.filter(|(from, to)| (*from..*to).contains(&self.at));
            here.next().map_or(0, |(_, to)| (to - self.at) as u64)
        }

        fn skip(&mut self, bytes: u64) {
            self.at += bytes as usize;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Holes are cut as their zeros would be, and hardly any of their bytes are read.
        #[test]
        fn holes_and_runs_are_cut_as_their_bytes_are(
            parts in prop::collection::vec(
                (0usize..5, prop_oneof![1usize..3, 1usize..300_000, 200_000usize..1_600_000]), 1..6),
            secret in 0u8..8,
        ) {
            let (mut all, mut holes) = (Vec::new(), Vec::new());
            for (what, len) in parts {
                let from = all.len();
                match what {
                    0 => all.extend(noise(len as u64, len)),
                    1 => all.resize(from + len, 0xff),
                    2 => all.resize(from + len, 0),
                    _ => {
                        all.resize(from + len, 0);
                        holes.push((from, from + len));
                    }
                }
            }
            let (report, cutter) = (OperationReport::default(), Chunker::new(&[secret; 32]));
            let reading = FileReader { chunker: &cutter, report: &report };
            let whole: Vec<_> = cutter.chunks(&all).map(<[u8]>::to_vec).collect();
            let (len, of_holes) = (all.len(), holes.iter().map(|(from, to)| to - from).sum::<usize>());
            let most = len - of_holes + holes.len() * 2 * (CHUNK_BYTES_MAX + WINDOW_BYTES);
            let mut input = SparseInput { all, holes, at: 0, read: 0 };
            let mut chunks = Vec::new();
            prop_assert_eq!(reading.chunk_input(len as u64, &mut input, &mut chunks).unwrap(), len as u64);
            prop_assert!(bytes_of(&chunks) == whole);
            prop_assert!(input.read <= most, "{} bytes were read", input.read);
        }
    }

    #[test]
    fn a_hole_of_a_tebibyte_is_one_run() {
        struct InputHole(u64);
        impl FileInput for InputHole {
            fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
                let len = buffer.len().min(self.0 as usize);
                buffer[..len].fill(0);
                self.0 -= len as u64;
                Ok(len)
            }
            fn zeros(&self) -> u64 {
                self.0
            }
            fn skip(&mut self, bytes: u64) {
                self.0 -= bytes;
            }
        }
        let (report, cutter) = (OperationReport::default(), Chunker::new(&[1; 32]));
        let reading = FileReader {
            chunker: &cutter,
            report: &report,
        };
        let mut chunks: Vec<FileChunk> = Vec::new();
        let len = 1 << 40;
        assert_eq!(
            reading
                .chunk_input(len, &mut InputHole(len), &mut chunks)
                .unwrap(),
            len
        );
        assert!(chunks.len() <= 3, "{} pieces", chunks.len());
        assert_eq!(chunks.iter().map(FileChunk::bytes).sum::<u64>(), len);
    }
}
