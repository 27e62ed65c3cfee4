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
const TASK_BATCH_BYTES: u64 = 4 << 20;

/// Tasks of one batch; each may be in a directory of its own.
const TASK_BATCH_COUNT_MAX: usize = 256;

/// A file that is to be.
pub struct FileRestoreTask {
    pub directory: Arc<TargetDirectory>,
    pub name: Vec<u8>,
    pub list: ChunkList,
    pub attributes: TargetAttributes,
    /// Where it has no bytes on disk; nothing else than zeros is left out for it.
    pub holes: Vec<(u64, u64)>,
    pub removes: RemoveDepth,
    /// Nothing stands there.
    pub is_vacant: bool,
    /// It is the first name of this group.
    pub first_of: Option<LinkGroup>,
}

impl FileRestoreTask {
    /// Where it will be, for people.
    pub fn display_path(&self) -> String {
        self.directory.display_path_of(&self.name)
    }
}

/// A file whose pieces are being written by several workers.
pub struct FileInProgress {
    pub file: FileRestoreTask,
    /// Made by the first that has something to write.
    pub draft: OnceLock<(FileDraft, File)>,
    /// Held while it is made.
    pub draft_lock: Mutex<()>,
    has_failed: AtomicBool,
}

impl FileInProgress {
    pub fn new(file: FileRestoreTask) -> Arc<Self> {
        Arc::new(Self {
            file,
            draft: OnceLock::new(),
            draft_lock: Mutex::new(()),
            has_failed: AtomicBool::new(false),
        })
    }

    /// True for the first that says so.
    pub fn mark_failed(&self) -> bool {
        !self.has_failed.swap(true, Ordering::Relaxed)
    }

    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }
}

/// One chunk in its place.
#[derive(Clone, Copy)]
pub struct ChunkWriteTask {
    pub offset: u64,
    pub chunk: ChunkRef,
}

/// One thing to do.
pub enum RestoreTask {
    /// Some pieces of a file. Whoever holds the file last finishes it.
    Write(Arc<FileInProgress>, Vec<ChunkWriteTask>),
    /// Read what stands there; write it if it is another.
    Compare(FileRestoreTask),
    /// Make it another name of the first of its group.
    Link(LinkGroup, FileRestoreTask),
}

/// Tasks that wait to be handed on together.
pub struct RestoreTaskBatch {
    tasks: Vec<RestoreTask>,
    bytes: u64,
    jobs: Sender<Vec<RestoreTask>>,
}

impl RestoreTaskBatch {
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
        self.add_weight(bytes)
    }

    /// Something is held in memory until the tasks are done.
    pub fn add_weight(&mut self, bytes: u64) -> Result<()> {
        self.bytes += bytes;
        if self.bytes >= TASK_BATCH_BYTES || self.tasks.len() >= TASK_BATCH_COUNT_MAX {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Room until the next flush, bytes.
    pub fn bytes_until_flush(&self) -> u64 {
        TASK_BATCH_BYTES.saturating_sub(self.bytes)
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
pub fn memory_weight(attributes: &TargetAttributes) -> u64 {
    let xattrs = attributes
        .xattrs
        .iter()
        .map(|(name, value)| name.len() + value.len());
    (xattrs.sum::<usize>() + 200) as u64
}
