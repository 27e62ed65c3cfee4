//! Small files together: read by all threads, given on in the order in which they came.

use std::path::PathBuf;

use crossbeam_channel::Sender;
use rayon::prelude::*;
use tempfile::TempPath;

use super::batch::{Batch, Step};
use super::read::{Failed, Pieces, Reading, Whole};
use crate::chunk::Cutter;
use crate::error::{Error, Kind, Result};
use crate::report::Report;
use crate::snapshot::Meta;
use crate::source::walk::Stamp;

/// Bytes of the files that are read together.
pub const BATCH_BYTES: u64 = 8 << 20;

/// Steps of one batch at most.
const STEPS_MAX: usize = 2048;

/// A longer file is read by itself, piece by piece.
const SMALL_BYTES_MAX: u64 = BATCH_BYTES / 2;

/// A file to be read.
pub struct ToRead {
    pub path: PathBuf,
    pub name: Vec<u8>,
    pub stamp: Stamp,
    pub meta: Meta,
    /// The bytes are read here instead, and the stamp is this file's; what it says of times is not the file's own.
    pub copy: Option<TempPath>,
}

impl ToRead {
    fn read(&mut self, cutter: &Cutter, report: &Report, pieces: &mut dyn Pieces) -> Result<u64, Failed> {
        let Some(path) = self.copy.take() else {
            let path = &self.path;
            let reading = Reading { path, cutter, report };
            return reading.read(&self.stamp, &mut self.meta, pieces);
        };
        let (path, mut of_copy) = (&*path, Meta::default());
        let bytes = Reading { path, cutter, report }.read(&self.stamp, &mut of_copy, pieces)?;
        self.meta.holes = of_copy.holes;
        // The next backup makes a copy of its own.
        (self.meta.ctime_nanos, self.meta.inode) = (None, None);
        Ok(bytes)
    }
}

enum Waiting {
    Step(Step),
    File(ToRead),
}

/// What a walk has found and nobody has read yet.
pub struct Gather<'a> {
    cutter: &'a Cutter,
    batches: Sender<Batch>,
    report: &'a Report,
    waiting: Vec<Waiting>,
    bytes: u64,
    /// What was read.
    pub read: Read,
}

/// Files that were read, and their bytes.
#[derive(Clone, Copy, Default)]
pub struct Read {
    pub files: u64,
    pub bytes: u64,
}

impl<'a> Gather<'a> {
    pub fn new(cutter: &'a Cutter, batches: Sender<Batch>, report: &'a Report) -> Self {
        Self {
            cutter,
            batches,
            report,
            waiting: Vec::new(),
            bytes: 0,
            read: Read::default(),
        }
    }

    /// A step that reads nothing.
    pub fn step(&mut self, step: Step) -> Result<()> {
        self.waiting.push(Waiting::Step(step));
        self.flush_if_full()
    }

    /// A file; it is read now or with others.
    pub fn file(&mut self, file: ToRead) -> Result<()> {
        if file.stamp.len > SMALL_BYTES_MAX {
            self.flush()?;
            return self.large(file);
        }
        self.bytes += file.stamp.len;
        self.waiting.push(Waiting::File(file));
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<()> {
        match self.bytes >= BATCH_BYTES || self.waiting.len() >= STEPS_MAX {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Reads all that waits and hands it over.
    pub fn flush(&mut self) -> Result<()> {
        self.report.go_on()?;
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        let (cutter, report) = (self.cutter, self.report);
        let done: Vec<_> = waiting
            .into_par_iter()
            .map(|waiting| done(waiting, cutter, report))
            .collect();
        let mut batch = Batch::default();
        for done in done {
            let Some((step, chunks)) = done? else { continue };
            if let Step::File { .. } = step {
                self.read.files += 1;
                self.read.bytes += chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
            }
            batch.chunks.extend(chunks);
            batch.steps.push(step);
        }
        self.send(batch)
    }

    fn large(&mut self, mut file: ToRead) -> Result<()> {
        let read = file.read(self.cutter, self.report, &mut Sent(self));
        let step = match read {
            Ok(bytes) => {
                self.read.bytes += bytes;
                let (name, meta) = (file.name, file.meta);
                Step::File {
                    name,
                    meta,
                    chunks: 0,
                }
            }
            Err(Failed::Source(error)) => {
                self.report.problem(error.to_string());
                Step::Again
            }
            Err(Failed::Sink(error)) => return Err(error),
        };
        self.step(step)
    }

    fn send(&self, batch: Batch) -> Result<()> {
        // The storing thread has ended: its error is the one that counts.
        let ended = |_| Error::new(Kind::Io, "the storing thread has ended");
        self.batches.send(batch).map_err(ended)
    }
}

/// A step, and the bytes that belong to it; `None` for a file that cannot be read.
fn done(waiting: Waiting, cutter: &Cutter, report: &Report) -> Result<Option<(Step, Vec<Vec<u8>>)>> {
    let mut file = match waiting {
        Waiting::Step(step) => return Ok(Some((step, Vec::new()))),
        Waiting::File(file) => file,
    };
    let mut whole = Whole::default();
    match file.read(cutter, report, &mut whole) {
        Ok(_) => {
            let (name, meta, chunks) = (file.name, file.meta, whole.0.len());
            Ok(Some((Step::File { name, meta, chunks }, whole.0)))
        }
        Err(Failed::Source(error)) => {
            report.problem(error.to_string());
            Ok(None)
        }
        Err(Failed::Sink(error)) => Err(error),
    }
}

/// Pieces of a large file go straight to the storing thread.
struct Sent<'g, 'a>(&'g Gather<'a>);

impl Pieces for Sent<'_, '_> {
    fn piece(&mut self, chunks: Vec<Vec<u8>>) -> Result<()> {
        let steps = vec![Step::Piece(chunks.len())];
        self.0.send(Batch { chunks, steps })
    }

    fn again(&mut self) -> Result<()> {
        let steps = vec![Step::Again];
        self.0.send(Batch {
            steps,
            ..Batch::default()
        })
    }
}
