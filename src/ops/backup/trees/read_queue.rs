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
use super::walk_channel::{FileId, FinishedFile, StepSender, WalkBatch, WalkStep};
use crate::chunk::ChunkList;
use crate::error::Result;
use crate::id::ObjectId;
use crate::snapshot::{FileMetadata, TreeEntry};
use crate::source::HeldDirectory;
use crate::source::walk::FileFingerprint;

/// Bytes of the files that are read together.
pub const READ_BATCH_BYTES: u64 = 1 << 20;

/// Steps of one batch at most.
const BATCH_STEPS_MAX: usize = 1024;

/// A longer file is read by itself, piece by piece.
const SMALL_FILE_BYTES_MAX: u64 = READ_BATCH_BYTES / 2;

/// Files of several names that are kept in mind; of others each name is read.
const LINKED_FILES_MAX: usize = 100_000;

/// A file that was found.
pub struct QueuedFile {
    /// Where the walk stands that came to it.
    pub held_base: Arc<HeldDirectory>,
    pub path: PathBuf,
    pub name: Vec<u8>,
    pub fingerprint: FileFingerprint,
    pub meta: FileMetadata,
    /// What the snapshot before has under this name.
    pub parent_entry: Option<TreeEntry>,
    /// The bytes are read here instead, and the stamp is this file's; what it says of times is not the file's own.
    pub copy: Option<TempPath>,
}

enum QueuedStep {
    Step(WalkStep),
    File(QueuedFile),
}

/// What became of a file.
enum FileReadResult {
    /// Its bytes.
    Read(Vec<FileChunk>),
    /// It was not read.
    Unchanged(ChunkList, Vec<ObjectId>),
    /// Told, and left out.
    Failed,
}

/// Files that a walk has found and that are not read yet.
pub struct ReadQueue<'a> {
    file_reader: FileReader<'a>,
    parent_files: Option<&'a ParentFiles<'a>>,
    threads: &'a ThreadPool,
    sink: StepSender,
    waiting: Vec<QueuedStep>,
    waiting_bytes: u64,
    /// Files of several names that the storing thread has kept.
    linked: HashMap<FileId, FileFingerprint>,
    /// Packs that files lie in that were not read.
    pub dependencies: HashSet<ObjectId>,
    /// What was found since this was set; directories are counted where they are stored.
    pub counts: TreeCounts,
}

impl<'a> ReadQueue<'a> {
    pub fn new(
        file_reader: FileReader<'a>,
        parent_files: Option<&'a ParentFiles<'a>>,
        threads: &'a ThreadPool,
        sink: StepSender,
    ) -> Self {
        Self {
            file_reader,
            parent_files,
            threads,
            sink,
            waiting: Vec::new(),
            waiting_bytes: 0,
            linked: HashMap::new(),
            dependencies: HashSet::new(),
            counts: TreeCounts::default(),
        }
    }

    /// A step that reads nothing.
    pub fn push_step(&mut self, step: WalkStep) -> Result<()> {
        self.waiting.push(QueuedStep::Step(step));
        self.flush_if_full()
    }

    /// A file; it is read now or with others.
    pub fn push_file(&mut self, file: QueuedFile) -> Result<()> {
        if let Some(id) = file.link_id()
            && self
                .linked
                .get(&id)
                .is_some_and(|kept| kept.has_same_content(&file.fingerprint))
        {
            self.count_file(&file, None, 0);
            return self.push_step(WalkStep::LinkedFile(file.name, id));
        }
        if file.fingerprint.len > SMALL_FILE_BYTES_MAX {
            self.flush()?;
            return self.read_large(file);
        }
        self.waiting_bytes += file.fingerprint.len;
        self.waiting.push(QueuedStep::File(file));
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<()> {
        if self.waiting_bytes >= READ_BATCH_BYTES || self.waiting.len() >= BATCH_STEPS_MAX {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Reads all that waits and hands it over.
    pub fn flush(&mut self) -> Result<()> {
        self.file_reader.report.go_on()?;
        self.waiting_bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        let (reading, earlier) = (self.file_reader, self.parent_files);
        let done = |waiting| match waiting {
            QueuedStep::Step(step) => Ok((QueuedStep::Step(step), FileReadResult::Failed)),
            QueuedStep::File(mut file) => {
                let done = read_small(&reading, earlier, &mut file)?;
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
                (QueuedStep::File(file), done) => self.add_result(file, done, &mut batch),
            }
        }
        self.sink.send(batch)
    }

    fn add_result(&mut self, file: QueuedFile, done: FileReadResult, batch: &mut WalkBatch) {
        match done {
            FileReadResult::Failed => {}
            FileReadResult::Read(chunks) => {
                let bytes = chunks.iter().map(FileChunk::bytes).sum();
                self.count_file(&file, Some(bytes), bytes);
                let file = self.keep_for_links(file);
                batch.steps.push(WalkStep::EndFile(file, chunks.len()));
                batch.chunks.extend(chunks);
            }
            FileReadResult::Unchanged(list, packs) => {
                self.dependencies.extend(packs);
                self.count_file(&file, None, 0);
                let file = self.keep_for_links(file);
                batch.steps.push(WalkStep::UnchangedFile(file, list));
            }
        }
    }

    /// `bytes` of a file that was read; `None` for one that is as it was.
    fn count_file(&mut self, file: &QueuedFile, bytes: Option<u64>, bytes_read: u64) {
        let files = &mut self.counts.files;
        match (bytes, &file.parent_entry) {
            (_, None) => files.new += 1,
            (Some(_), Some(_)) => files.changed += 1,
            (None, Some(_)) => files.unmodified += 1,
        }
        self.counts.bytes += bytes.unwrap_or(file.fingerprint.len);
        self.counts.bytes_read += bytes_read;
    }

    /// One that was written to a moment ago is not kept: each of its names is read.
    fn keep_for_links(&mut self, file: QueuedFile) -> FinishedFile {
        let at_rest = file.meta.ctime_nanos.is_some() && self.linked.len() < LINKED_FILES_MAX;
        let keep = file.link_id().filter(|_| at_rest);
        if let Some(id) = keep {
            self.linked.insert(id, file.fingerprint);
        }
        let (name, meta) = (file.name, file.meta);
        FinishedFile {
            name,
            meta,
            link_id: keep,
        }
    }

    fn read_large(&mut self, mut file: QueuedFile) -> Result<()> {
        let mut batch = WalkBatch::default();
        if let Some((list, packs)) = find_unchanged(self.parent_files, &mut file)? {
            self.add_result(file, FileReadResult::Unchanged(list, packs), &mut batch);
            return self.sink.send(batch);
        }
        let mut pieces = &self.sink;
        let step = match file.read(&self.file_reader, &mut pieces) {
            Ok(bytes) => {
                self.count_file(&file, Some(bytes), bytes);
                WalkStep::EndFile(self.keep_for_links(file), 0)
            }
            Err(FileReadError::Source(error)) => {
                self.file_reader.report.problem_at(&file.path, error.to_string());
                WalkStep::RestartFile
            }
            Err(FileReadError::Sink(error)) => return Err(error),
        };
        self.sink.send_step(step)
    }
}

impl QueuedFile {
    fn read(&mut self, reading: &FileReader, pieces: &mut dyn ChunkSink) -> Result<u64, FileReadError> {
        let Some(copy) = self.copy.take() else {
            let bytes = reading.read_file(
                &self.held_base,
                &self.path,
                &self.fingerprint,
                &mut self.meta,
                pieces,
            )?;
            if self.meta.inode != Some(self.fingerprint.inode) {
                // Another took its place: its bytes are not what the other names of the first one have.
                self.fingerprint.links = 1;
            }
            return Ok(bytes);
        };
        let mut of_copy = FileMetadata::default();
        let ground = HeldDirectory::open_path(copy.parent().unwrap_or(Path::new("/")))
            .map_err(FileReadError::Source)?;
        let bytes = reading.read_file(&ground, &copy, &self.fingerprint, &mut of_copy, pieces)?;
        self.meta.holes = of_copy.holes;
        // The next backup makes a copy of its own.
        (self.meta.ctime_nanos, self.meta.inode) = (None, None);
        Ok(bytes)
    }

    /// What tells the file by, if it has more names.
    fn link_id(&self) -> Option<FileId> {
        (self.fingerprint.links > 1).then_some((self.fingerprint.device, self.fingerprint.inode))
    }
}

fn read_small(
    reading: &FileReader,
    earlier: Option<&ParentFiles>,
    file: &mut QueuedFile,
) -> Result<FileReadResult> {
    if let Some((list, packs)) = find_unchanged(earlier, file)? {
        return Ok(FileReadResult::Unchanged(list, packs));
    }
    let mut chunks = Vec::new();
    match file.read(reading, &mut chunks) {
        Ok(_) => Ok(FileReadResult::Read(chunks)),
        Err(FileReadError::Source(error)) => {
            reading.report.problem_at(&file.path, error.to_string());
            Ok(FileReadResult::Failed)
        }
        Err(FileReadError::Sink(error)) => Err(error),
    }
}

/// What the file consists of, if the snapshot before has it as it is. Its holes are where they were.
fn find_unchanged(
    earlier: Option<&ParentFiles>,
    file: &mut QueuedFile,
) -> Result<Option<(ChunkList, Vec<ObjectId>)>> {
    let (Some(earlier), Some(before), None) = (earlier, &file.parent_entry, &file.copy) else {
        return Ok(None);
    };
    let unchanged = earlier.find_unchanged(&file.fingerprint, before)?;
    if unchanged.is_some() {
        file.meta.holes.clone_from(&before.meta.holes);
    }
    Ok(unchanged)
}
