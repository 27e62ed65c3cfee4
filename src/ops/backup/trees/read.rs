//! One file's bytes, and again if it was changed meanwhile.

use std::path::Path;

use crate::chunk::{Cutter, More};
use crate::clock::{Clock, SystemClock};
use crate::error::{Act, Result};
use crate::limits::CHUNK_BYTES_MAX;
use crate::report::Report;
use crate::snapshot::Meta;
use crate::source::walk::{FileSource, Stamp};

/// How often a file is read that is changed under every reading.
const TRIES_MAX: u32 = 3;

/// Bytes of a large file in one piece.
const WINDOW_BYTES: usize = 4 << 20;

/// Clocks that times of change are taken from tick so rarely at worst, nanoseconds ...
const TICK_NANOS: i64 = 50_000_000;

/// ... and on filesystems that keep no fractions.
const WHOLE_SECONDS_NANOS: i64 = 2_100_000_000;

/// What becomes of a file's chunks.
pub trait Pieces {
    /// The next ones.
    fn piece(&mut self, chunks: Vec<Vec<u8>>) -> Result<()>;
    /// All before count for nothing: the file is read again.
    fn again(&mut self) -> Result<()>;
}

/// All of a small file.
#[derive(Default)]
pub struct Whole(pub Vec<Vec<u8>>);

impl Pieces for Whole {
    fn piece(&mut self, chunks: Vec<Vec<u8>>) -> Result<()> {
        self.0.extend(chunks);
        Ok(())
    }

    fn again(&mut self) -> Result<()> {
        self.0.clear();
        Ok(())
    }
}

/// A reading of a file.
pub struct Reading<'a> {
    pub path: &'a Path,
    pub cutter: &'a Cutter,
    pub report: &'a Report,
}

/// An error that ends the backup, in contrast to one of the source.
pub enum Failed {
    /// The file could not be read: told, and left out.
    Source(crate::error::Error),
    /// Nobody takes its pieces.
    Sink(crate::error::Error),
}

impl Reading<'_> {
    /// Reads the file that was looked at into `pieces` and completes what is known of it: its bytes.
    pub fn read(&self, stamp: &Stamp, meta: &mut Meta, pieces: &mut dyn Pieces) -> Result<u64, Failed> {
        let mut file = FileSource::open(self.path, stamp).map_err(Failed::Source)?;
        for attempt in 1.. {
            let bytes = self.once(&mut file, pieces)?;
            let now = file.stamp_now().map_err(Failed::Source)?;
            let quiet = file.stamp().has_the_content_of(&now) && bytes == now.len;
            if quiet || attempt == TRIES_MAX {
                self.note(&file, meta, quiet, bytes);
                return Ok(bytes);
            }
            pieces.again().map_err(Failed::Sink)?;
            file.again().map_err(Failed::Source)?;
        }
        unreachable!("the last attempt returns")
    }

    /// What is not known for sure to be the file that the times speak of has no time of change: the next backup reads it.
    fn note(&self, file: &FileSource, meta: &mut Meta, quiet: bool, bytes: u64) {
        let stamp = file.stamp();
        if !quiet {
            let path = self.path.display();
            self.report.problem(format!(
                "{path}: changed while it was read, {TRIES_MAX} times; saved as it was read"
            ));
        }
        meta.mtime_nanos = Some(stamp.mtime_nanos);
        meta.inode = Some(stamp.inode);
        meta.ctime_nanos = (quiet && !is_recent(stamp.ctime_nanos)).then_some(stamp.ctime_nanos);
        meta.holes = file
            .holes()
            .iter()
            .filter(|(at, len)| at + len <= bytes)
            .copied()
            .collect();
    }

    fn once(&self, file: &mut FileSource, pieces: &mut dyn Pieces) -> Result<u64, Failed> {
        let mut left = file.stamp().len;
        let mut window = Vec::new();
        loop {
            self.report.go_on().map_err(Failed::Sink)?;
            let kept = window.len();
            let wanted = usize::try_from(left).map_or(WINDOW_BYTES, |left| left.min(WINDOW_BYTES));
            window.resize(kept + wanted, 0);
            let act = || format!("read {}", self.path.display());
            let got = file.read(&mut window[kept..]).act(act).map_err(Failed::Source)?;
            window.truncate(kept + got);
            left -= got as u64;
            let more = match left > 0 && got == wanted {
                true => More::Follows,
                false => More::Ended,
            };
            pieces.piece(self.cut(&mut window, more)).map_err(Failed::Sink)?;
            if more == More::Ended {
                return Ok(file.stamp().len - left);
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

/// True if a write now could leave the time of change as it is.
fn is_recent(ctime_nanos: i64) -> bool {
    let tick = match ctime_nanos % 1_000_000_000 {
        0 => WHOLE_SECONDS_NANOS,
        _ => TICK_NANOS,
    };
    ctime_nanos > SystemClock.now().0.saturating_sub(tick)
}

const _: () = assert!(WINDOW_BYTES >= CHUNK_BYTES_MAX, "a window holds a whole chunk");
