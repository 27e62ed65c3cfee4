//! Sends a walk's steps to the storing thread.

use crossbeam_channel::Sender;

use crate::chunk::ChunkList;
use crate::error::{Error, ErrorKind, Result};
use crate::id::BlobId;
use crate::snapshot::{FileMetadata, TreeEntry};

use super::file_reader::{ChunkSink, FileChunk};

/// Steps of a walk, and the bytes that belong to them.
#[derive(Default)]
pub struct WalkBatch {
    /// Chunks, in the order in which the steps take them.
    pub chunks: Vec<FileChunk>,
    pub steps: Vec<WalkStep>,
}

/// Tells files with several names apart: filesystem and inode.
pub type FileId = (u64, u64);

/// One step, in the order of the tree.
pub enum WalkStep {
    /// A root begins.
    BeginRoot,
    /// It has ended.
    EndRoot,
    /// A directory begins.
    EnterDirectory(EnteredDirectory),
    /// It has ended.
    LeaveDirectory,
    /// Something whose entry says all of it.
    Entry(TreeEntry),
    /// The next so many chunks belong to the file that is under way.
    FileChunks(usize),
    /// The file that is under way begins again.
    RestartFile,
    /// The next so many chunks are the rest of the file.
    EndFile(FinishedFile, usize),
    /// A file that was not read.
    UnchangedFile(FinishedFile, ChunkList),
    /// Another name of a file that was kept.
    LinkedFile(Vec<u8>, FileId),
}

/// A directory, and its entry in the parent snapshot.
#[derive(Default)]
pub struct EnteredDirectory {
    pub name: Vec<u8>,
    pub meta: FileMetadata,
    pub parent_entry: Option<(BlobId, FileMetadata)>,
}

/// A file whose bytes are known.
pub struct FinishedFile {
    pub name: Vec<u8>,
    pub meta: FileMetadata,
    /// Other names of it may follow.
    pub link_id: Option<FileId>,
}

/// The walk's end of the channel.
pub struct StepSender(pub Sender<WalkBatch>);

impl StepSender {
    /// Waits while the storing thread is behind.
    pub fn send(&self, batch: WalkBatch) -> Result<()> {
        // The storing thread has ended: its error is the one that counts.
        let ended = |_| Error::new(ErrorKind::Io, "the storing thread has ended");
        self.0.send(batch).map_err(ended)
    }

    /// One step by itself.
    pub fn send_step(&self, step: WalkStep) -> Result<()> {
        let (chunks, steps) = (Vec::new(), vec![step]);
        self.send(WalkBatch { chunks, steps })
    }
}

/// Pieces of a large file, one batch each.
impl ChunkSink for &StepSender {
    fn push_chunks(&mut self, chunks: Vec<FileChunk>) -> Result<()> {
        let steps = vec![WalkStep::FileChunks(chunks.len())];
        self.send(WalkBatch { chunks, steps })
    }

    fn restart(&mut self) -> Result<()> {
        self.send_step(WalkStep::RestartFile)
    }
}
