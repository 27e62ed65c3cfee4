//! What goes from the walk to the storing thread.

use crate::snapshot::{Meta, TreeEntry};

/// Steps of a walk, and the bytes that belong to them.
#[derive(Default)]
pub struct Batch {
    /// Chunks, in the order in which the steps take them.
    pub chunks: Vec<Vec<u8>>,
    pub steps: Vec<Step>,
}

/// One step, in the order of the tree.
pub enum Step {
    /// A root begins.
    Begin,
    /// It has ended.
    End,
    /// A directory begins.
    Enter { name: Vec<u8>, meta: Meta },
    /// It has ended.
    Leave,
    /// Something whose entry says all of it.
    Entry(TreeEntry),
    /// The next so many chunks belong to the file that is under way.
    Piece(usize),
    /// The file that is under way begins again.
    Again,
    /// The next so many chunks are the rest of the file, and this is the file.
    File {
        name: Vec<u8>,
        meta: Meta,
        chunks: usize,
    },
}
