//! What goes from the walk to the storing thread.

use crossbeam_channel::Sender;

use crate::chunk::ChunkList;
use crate::error::{Error, Kind, Result};
use crate::id::BlobId;
use crate::snapshot::{Meta, TreeEntry};

use super::read::{Chunk, Pieces};

/// Steps of a walk, and the bytes that belong to them.
#[derive(Default)]
pub struct Batch {
    /// Chunks, in the order in which the steps take them.
    pub chunks: Vec<Chunk>,
    pub steps: Vec<Step>,
}

/// Tells files with several names apart: filesystem and inode.
pub type FileId = (u64, u64);

/// One step, in the order of the tree.
pub enum Step {
    /// A root begins.
    Begin,
    /// It has ended.
    End,
    /// A directory begins.
    Enter(Entered),
    /// It has ended.
    Leave,
    /// Something whose entry says all of it.
    Entry(TreeEntry),
    /// The next so many chunks belong to the file that is under way.
    Piece(usize),
    /// The file that is under way begins again.
    Again,
    /// The next so many chunks are the rest of the file.
    File(NewFile, usize),
    /// A file that was not read.
    Unread(NewFile, ChunkList),
    /// Another name of a file that was kept.
    Same(Vec<u8>, FileId),
}

/// A directory, and what it was before.
#[derive(Default)]
pub struct Entered {
    pub name: Vec<u8>,
    pub meta: Meta,
    pub before: Option<(BlobId, Meta)>,
}

/// A file whose bytes are known.
pub struct NewFile {
    pub name: Vec<u8>,
    pub meta: Meta,
    /// Other names of it may follow.
    pub keep: Option<FileId>,
}

/// The walk's end of the channel.
pub struct Sink(pub Sender<Batch>);

impl Sink {
    /// Waits while the storing thread is behind.
    pub fn send(&self, batch: Batch) -> Result<()> {
        // The storing thread has ended: its error is the one that counts.
        let ended = |_| Error::new(Kind::Io, "the storing thread has ended");
        self.0.send(batch).map_err(ended)
    }

    /// One step by itself.
    pub fn step(&self, step: Step) -> Result<()> {
        let (chunks, steps) = (Vec::new(), vec![step]);
        self.send(Batch { chunks, steps })
    }
}

/// Pieces of a large file, one batch each.
impl Pieces for &Sink {
    fn piece(&mut self, chunks: Vec<Chunk>) -> Result<()> {
        let steps = vec![Step::Piece(chunks.len())];
        self.send(Batch { chunks, steps })
    }

    fn again(&mut self) -> Result<()> {
        self.step(Step::Again)
    }
}
