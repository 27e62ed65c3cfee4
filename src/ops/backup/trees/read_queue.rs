//! Reads small files in parallel and hands them on in order.
//!
//! Small files together: read by several threads, given on in the order in which they came.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::ThreadPool;
use rayon::prelude::*;
use tempfile::TempPath;

use super::TreeCounts;
use super::file_reader::{ChunkSink, FileChunk, FileReadError, FileReader};
use super::parent_files::ParentFiles;
use super::walk_channel::{FileId, ReadFile, StepSender, WalkBatch, WalkStep};
use crate::chunk::ChunkList;
use crate::error::Result;
use crate::id::ObjectId;
use crate::snapshot::{FileMetadata, TreeEntry};
use crate::source::HeldDirectory;
use crate::source::walk::FileFingerprint;

/// Bytes of the files that are read together.
pub const BATCH_BYTES: u64 = 1 << 20;

/// Steps of one batch at most.
const STEPS_MAX: usize = 1024;

/// A longer file is read by itself, piece by piece.
const SMALL_BYTES_MAX: u64 = BATCH_BYTES / 2;

/// Files of several names that are kept in mind; of others each name is read.
const LINKED_MAX: usize = 100_000;

/// A file that was found.
pub struct FoundFile {
    /// Where the walk stands that came to it.
    pub ground: Arc<HeldDirectory>,
    pub path: PathBuf,
    pub name: Vec<u8>,
    pub stamp: FileFingerprint,
    pub meta: FileMetadata,
    /// What the snapshot before has under this name.
    pub before: Option<TreeEntry>,
    /// The bytes are read here instead, and the stamp is this file's; what it says of times is not the file's own.
    pub copy: Option<TempPath>,
}

enum QueuedStep {
    Step(WalkStep),
    File(FoundFile),
}

/// What became of a file.
enum FileReadResult {
    /// Its bytes.
    Read(Vec<FileChunk>),
    /// It was not read.
    Unread(ChunkList, Vec<ObjectId>),
    /// Told, and left out.
    Lost,
}

/// Files that a walk has found and that are not read yet.
pub struct ReadQueue<'a> {
    reading: FileReader<'a>,
    earlier: Option<&'a ParentFiles<'a>>,
    threads: &'a ThreadPool,
    sink: StepSender,
    waiting: Vec<QueuedStep>,
    waiting_bytes: u64,
    /// Files of several names that the storing thread has kept.
    linked: HashMap<FileId, FileFingerprint>,
    /// Packs that files lie in that were not read.
    pub relied_on: HashSet<ObjectId>,
    /// What was found since this was set; directories are counted where they are stored.
    pub read: TreeCounts,
}

impl<'a> ReadQueue<'a> {
    pub fn new(
        reading: FileReader<'a>,
        earlier: Option<&'a ParentFiles<'a>>,
        threads: &'a ThreadPool,
        sink: StepSender,
    ) -> Self {
        Self {
            reading,
            earlier,
            threads,
            sink,
            waiting: Vec::new(),
            waiting_bytes: 0,
            linked: HashMap::new(),
            relied_on: HashSet::new(),
            read: TreeCounts::default(),
        }
    }

    /// A step that reads nothing.
    pub fn step(&mut self, step: WalkStep) -> Result<()> {
        self.waiting.push(QueuedStep::Step(step));
        self.flush_if_full()
    }

    /// A file; it is read now or with others.
    pub fn file(&mut self, file: FoundFile) -> Result<()> {
        if let Some(id) = file.keep()
            && self
                .linked
                .get(&id)
                .is_some_and(|kept| kept.has_the_content_of(&file.stamp))
        {
            self.count(&file, None, 0);
            return self.step(WalkStep::Same(file.name, id));
        }
        if file.stamp.len > SMALL_BYTES_MAX {
            self.flush()?;
            return self.large(file);
        }
        self.waiting_bytes += file.stamp.len;
        self.waiting.push(QueuedStep::File(file));
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<()> {
        if self.waiting_bytes >= BATCH_BYTES || self.waiting.len() >= STEPS_MAX {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Reads all that waits and hands it over.
    pub fn flush(&mut self) -> Result<()> {
        self.reading.report.go_on()?;
        self.waiting_bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        let (reading, earlier) = (self.reading, self.earlier);
        let done = |waiting| match waiting {
            QueuedStep::Step(step) => Ok((QueuedStep::Step(step), FileReadResult::Lost)),
            QueuedStep::File(mut file) => {
                let done = small(&reading, earlier, &mut file)?;
                Ok((QueuedStep::File(file), done))
            }
        };
        let all: Vec<Result<_>> = self
            .threads
            .install(|| waiting.into_par_iter().map(done).collect());
        let mut batch = WalkBatch::default();
        for done in all {
            match done? {
                (QueuedStep::Step(step), _) => batch.steps.push(step),
                (QueuedStep::File(file), done) => self.note(file, done, &mut batch),
            }
        }
        self.sink.send(batch)
    }

    fn note(&mut self, file: FoundFile, done: FileReadResult, batch: &mut WalkBatch) {
        match done {
            FileReadResult::Lost => {}
            FileReadResult::Read(chunks) => {
                let bytes = chunks.iter().map(FileChunk::bytes).sum();
                self.count(&file, Some(bytes), bytes);
                let file = self.keep(file);
                batch.steps.push(WalkStep::File(file, chunks.len()));
                batch.chunks.extend(chunks);
            }
            FileReadResult::Unread(list, packs) => {
                self.relied_on.extend(packs);
                self.count(&file, None, 0);
                let file = self.keep(file);
                batch.steps.push(WalkStep::Unread(file, list));
            }
        }
    }

    /// `bytes` of a file that was read; `None` for one that is as it was.
    fn count(&mut self, file: &FoundFile, bytes: Option<u64>, bytes_read: u64) {
        let files = &mut self.read.files;
        match (bytes, &file.before) {
            (_, None) => files.new += 1,
            (Some(_), Some(_)) => files.changed += 1,
            (None, Some(_)) => files.unmodified += 1,
        }
        self.read.bytes += bytes.unwrap_or(file.stamp.len);
        self.read.bytes_read += bytes_read;
    }

    /// One that was written to a moment ago is not kept: each of its names is read.
    fn keep(&mut self, file: FoundFile) -> ReadFile {
        let at_rest = file.meta.ctime_nanos.is_some() && self.linked.len() < LINKED_MAX;
        let keep = file.keep().filter(|_| at_rest);
        if let Some(id) = keep {
            self.linked.insert(id, file.stamp);
        }
        let (name, meta) = (file.name, file.meta);
        ReadFile { name, meta, keep }
    }

    fn large(&mut self, mut file: FoundFile) -> Result<()> {
        let mut batch = WalkBatch::default();
        if let Some((list, packs)) = unchanged(self.earlier, &mut file)? {
            self.note(file, FileReadResult::Unread(list, packs), &mut batch);
            return self.sink.send(batch);
        }
        let mut pieces = &self.sink;
        let step = match file.read(&self.reading, &mut pieces) {
            Ok(bytes) => {
                self.count(&file, Some(bytes), bytes);
                WalkStep::File(self.keep(file), 0)
            }
            Err(FileReadError::Source(error)) => {
                self.reading.report.problem_at(&file.path, error.to_string());
                WalkStep::Again
            }
            Err(FileReadError::Sink(error)) => return Err(error),
        };
        self.sink.step(step)
    }
}

impl FoundFile {
    fn read(&mut self, reading: &FileReader, pieces: &mut dyn ChunkSink) -> Result<u64, FileReadError> {
        let Some(copy) = self.copy.take() else {
            let bytes = reading.file(&self.ground, &self.path, &self.stamp, &mut self.meta, pieces)?;
            if self.meta.inode != Some(self.stamp.inode) {
                // Another took its place: its bytes are not what the other names of the first one have.
                self.stamp.links = 1;
            }
            return Ok(bytes);
        };
        let mut of_copy = FileMetadata::default();
        let ground =
            HeldDirectory::named(copy.parent().unwrap_or(Path::new("/"))).map_err(FileReadError::Source)?;
        let bytes = reading.file(&ground, &copy, &self.stamp, &mut of_copy, pieces)?;
        self.meta.holes = of_copy.holes;
        // The next backup makes a copy of its own.
        (self.meta.ctime_nanos, self.meta.inode) = (None, None);
        Ok(bytes)
    }

    /// What tells the file by, if it has more names.
    fn keep(&self) -> Option<FileId> {
        (self.stamp.links > 1).then_some((self.stamp.device, self.stamp.inode))
    }
}

fn small(
    reading: &FileReader,
    earlier: Option<&ParentFiles>,
    file: &mut FoundFile,
) -> Result<FileReadResult> {
    if let Some((list, packs)) = unchanged(earlier, file)? {
        return Ok(FileReadResult::Unread(list, packs));
    }
    let mut chunks = Vec::new();
    match file.read(reading, &mut chunks) {
        Ok(_) => Ok(FileReadResult::Read(chunks)),
        Err(FileReadError::Source(error)) => {
            reading.report.problem_at(&file.path, error.to_string());
            Ok(FileReadResult::Lost)
        }
        Err(FileReadError::Sink(error)) => Err(error),
    }
}

/// What the file consists of, if the snapshot before has it as it is. Its holes are where they were.
fn unchanged(
    earlier: Option<&ParentFiles>,
    file: &mut FoundFile,
) -> Result<Option<(ChunkList, Vec<ObjectId>)>> {
    let (Some(earlier), Some(before), None) = (earlier, &file.before, &file.copy) else {
        return Ok(None);
    };
    let unchanged = earlier.unchanged(&file.stamp, before)?;
    if unchanged.is_some() {
        file.meta.holes.clone_from(&before.meta.holes);
    }
    Ok(unchanged)
}
