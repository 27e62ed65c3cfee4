//! Packs: many sealed blobs in one object.
//!
//! Many sealed blobs in one stored object (FORMAT.md section 6):
//!
//! ```text
//! ┌────────────┬────────┬────────┬─ ─ ─┬────────┬──────────────────┬────────────┐
//! │ header 120 │ part   │ part   │     │ part   │ sealed directory │ trailer 16 │
//! └────────────┴────────┴────────┴─ ─ ─┴────────┴──────────────────┴────────────┘
//!   key: salt    codec 1, ciphertext, tag 16      what lies where     lengths, magic
//! ```
//!
//! A blob is read with one range once the pack's key is known, and the key with one range (the header). The
//! directory lies at the end, so that a pack can be written as it grows; it lets the index be built anew.

pub mod pack_builder;
pub mod pack_directory;
pub mod pack_key;
pub mod pack_reader;
pub mod pack_verifier;
pub mod seal_blobs;

#[cfg(test)]
mod tests;

pub use pack_builder::{ClosedPack, NamedPack, PackBuilder};
pub use pack_key::PackKey;
pub use pack_reader::{PackTail, read_blob, read_compressed, read_directory};
#[cfg(any(test, feature = "test-util"))]
pub use pack_verifier::verify;
pub use pack_verifier::{ScannedBlob, scan_directory};
pub use seal_blobs::{CompressedBlob, seal_all};

use crate::blob::{BlobKind, SealedName};
use crate::envelope::{Header, PART_OVERHEAD};
use crate::id::{BlobId, ObjectId};

/// Bytes to read from the beginning of a pack for its key.
pub const HEADER_LEN: usize = Header::LEN;

/// Bytes to read from the end of a pack that hold the directory of most packs.
pub const TAIL_LEN: usize = 64 << 10;

/// A finished pack, not yet stored.
pub struct FinishedPack {
    /// BLAKE3 of the bytes: its name.
    pub id: ObjectId,
    /// What is stored.
    pub bytes: Vec<u8>,
    /// What lies where in it, by offset.
    pub directory: Vec<PackedBlob>,
}

/// Where one blob lies within its pack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PackedBlob {
    /// Its name.
    pub id: BlobId,
    /// What it holds.
    pub kind: BlobKind,
    /// Its nonce within the pack.
    pub ordinal: u32,
    /// Of its first byte, from the beginning of the pack.
    pub offset: u32,
    /// Stored bytes, codec and tag included.
    pub len: u32,
    /// Bytes once inflated.
    pub plain_len: u32,
}

impl PackedBlob {
    /// What the envelope authenticates besides the bytes.
    pub fn name(&self) -> SealedName {
        SealedName {
            id: self.id,
            kind: self.kind,
            ordinal: self.ordinal,
            plain_len: self.plain_len,
        }
    }
}

/// Bytes of a pack with so many blobs of so many stored bytes together; `None` if no pack is so large.
pub fn stored_bytes(blobs: u64, bytes: u64) -> Option<u64> {
    let blobs = usize::try_from(blobs)
        .ok()
        .filter(|blobs| *blobs <= crate::limits::PACK_BLOBS_MAX)?;
    bytes.checked_add((HEADER_LEN + pack_directory::stored_len(blobs)) as u64)
}

/// No stored blob is shorter.
const PART_LEN_MIN: u32 = PART_OVERHEAD as u32;
