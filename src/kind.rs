//! Lists the kinds of blobs.
//!
//! What kinds of blob there are: a word that keys, packs, indexes and trees all use.

use crate::error::{Error, ErrorKind};

/// What a blob holds. Part of its name: each kind is named under a key of its own, so a leaf and a chunk of the
/// same bytes are different blobs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum BlobKind {
    /// A chunk of a value or of a file.
    Data = 1,
    /// A leaf of a run: records.
    Leaf = 2,
    /// An inner node of a run.
    Node = 3,
    /// Part of the chunk list of a very large value.
    List = 4,
    /// A node of a directory tree.
    Tree = 5,
    /// A compression dictionary (reserved; written by no program yet).
    Dictionary = 6,
}

impl BlobKind {
    /// Every kind, by number.
    pub const ALL: [BlobKind; 6] = [
        BlobKind::Data,
        BlobKind::Leaf,
        BlobKind::Node,
        BlobKind::List,
        BlobKind::Tree,
        BlobKind::Dictionary,
    ];
}

impl TryFrom<u8> for BlobKind {
    type Error = Error;

    /// [`ErrorKind::TooNew`] for a number this program does not know.
    fn try_from(number: u8) -> Result<Self, Error> {
        let kind = BlobKind::ALL.iter().find(|kind| **kind as u8 == number);
        kind.copied()
            .ok_or_else(|| Error::new(ErrorKind::TooNew, format!("blob kind {number} is not known")))
    }
}
