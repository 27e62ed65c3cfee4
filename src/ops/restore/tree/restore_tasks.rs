//! Defines the tasks that the walker sends to the workers.
//!
//! What the walker hands to the workers: files in pieces, a few MiB at a time, in the order of the walk, which is the
//! order in which a backup packed them.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use crossbeam_channel::Sender;

use super::hard_links::LinkGroup;
use crate::chunk::{ChunkList, ChunkRef};
use crate::error::{Error, ErrorKind, Result};
use crate::target::tree::{FileDraft, RemoveDepth, TargetAttributes, TargetDirectory};

/// Plain bytes fetched at once.
const BATCH_BYTES: u64 = 4 << 20;

/// Tasks of one batch; each may be in a directory of its own.
const BATCH_TASKS: usize = 256;

/// A file that is to be.
pub struct FileTask {
    pub directory: Arc<TargetDirectory>,
    pub name: Vec<u8>,
    pub list: ChunkList,
    pub attributes: TargetAttributes,
    /// Where it has no bytes on disk; nothing else than zeros is left out for it.
    pub holes: Vec<(u64, u64)>,
    pub clears: RemoveDepth,
    /// Nothing stands there.
    pub is_vacant: bool,
    /// It is the first name of this group.
    pub first_of: Option<LinkGroup>,
}

impl FileTask {
    /// Where it will be, for people.
    pub fn shown(&self) -> String {
        self.directory.shown_in(&self.name)
    }
}

/// A file whose pieces are being written by several workers.
pub struct FileInProgress {
    pub file: FileTask,
    /// Made by the first that has something to write.
    pub made: OnceLock<(FileDraft, File)>,
    /// Held while it is made.
    pub making: Mutex<()>,
    has_failed: AtomicBool,
}

impl FileInProgress {
    pub fn new(file: FileTask) -> Arc<Self> {
        Arc::new(Self {
            file,
            made: OnceLock::new(),
            making: Mutex::new(()),
            has_failed: AtomicBool::new(false),
        })
    }

    /// True for the first that says so.
    pub fn fail(&self) -> bool {
        !self.has_failed.swap(true, Ordering::Relaxed)
    }

    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }
}

/// One chunk in its place.
#[derive(Clone, Copy)]
pub struct ChunkTask {
    pub offset: u64,
    pub chunk: ChunkRef,
}

/// One thing to do.
pub enum RestoreTask {
    /// Some pieces of a file. Whoever holds the file last finishes it.
    Write(Arc<FileInProgress>, Vec<ChunkTask>),
    /// Read what stands there; write it if it is another.
    Compare(FileTask),
    /// Make it another name of the first of its group.
    Link(LinkGroup, FileTask),
}

/// Tasks that wait to be handed on together.
pub struct TaskBatch {
    tasks: Vec<RestoreTask>,
    bytes: u64,
    jobs: Sender<Vec<RestoreTask>>,
}

impl TaskBatch {
    pub fn new(jobs: Sender<Vec<RestoreTask>>) -> Self {
        Self {
            tasks: Vec::new(),
            bytes: 0,
            jobs,
        }
    }

    /// Adds what takes so many bytes of memory.
    pub fn push(&mut self, task: RestoreTask, bytes: u64) -> Result<()> {
        self.tasks.push(task);
        self.weigh(bytes)
    }

    /// Something is held in memory until the tasks are done.
    pub fn weigh(&mut self, bytes: u64) -> Result<()> {
        self.bytes += bytes;
        if self.bytes >= BATCH_BYTES || self.tasks.len() >= BATCH_TASKS {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Room until the next flush, bytes.
    pub fn room(&self) -> u64 {
        BATCH_BYTES.saturating_sub(self.bytes)
    }

    pub fn flush(&mut self) -> Result<()> {
        self.bytes = 0;
        if self.tasks.is_empty() {
            Ok(())
        } else {
            self.jobs
                .send(std::mem::take(&mut self.tasks))
                .map_err(|_| Error::new(ErrorKind::Interrupted, "all restore threads have ended"))
        }
    }
}

/// Bytes of what is kept of an entry.
pub fn weight(attributes: &TargetAttributes) -> u64 {
    let xattrs = attributes
        .xattrs
        .iter()
        .map(|(name, value)| name.len() + value.len());
    (xattrs.sum::<usize>() + 200) as u64
}
