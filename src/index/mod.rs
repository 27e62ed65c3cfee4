//! The index: which pack holds which blob.
//!
//! ```text
//!   Segment --encode_header, encode_body--> bytes (sealed and stored by repo/)
//!           <--decode_header, decode_body--
//! ```
//! Lookups go through sorted run files on local disk, made from the segments: `index_cache/`. *All* locations of a blob are
//! kept: a read tries each. Formats: docs/format/07-index.md.

mod segment;

use crate::id::{BlobId, ObjectId};
use crate::kind::BlobKind;

#[cfg(any(test, feature = "test-util"))]
pub use segment::decode_body;
pub use segment::{Segment, SegmentPack, decode_header, encode_body, encode_header};

/// Where one copy of a blob lies, and what is needed to open it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The pack.
    pub pack: ObjectId,
    /// First stored byte of the blob in the pack.
    pub offset: u32,
    /// Stored (sealed) bytes.
    pub len: u32,
    /// Plain bytes.
    pub plain_len: u32,
    /// What the blob holds.
    pub kind: BlobKind,
    /// The blob's number in the pack: its nonce.
    pub ordinal: u32,
}

/// One copy of one blob. Ordered by id, then pack, then offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexEntry {
    /// The blob.
    pub id: BlobId,
    /// Where this copy is.
    pub location: Location,
}

impl IndexEntry {
    /// Not greater than any entry of `id`: where a search for it begins.
    pub(crate) fn first_with_id(id: &BlobId) -> Self {
        let location = Location {
            pack: ObjectId([0; 32]),
            offset: 0,
            len: 0,
            plain_len: 0,
            kind: BlobKind::Data,
            ordinal: 0,
        };
        Self { id: *id, location }
    }
}

#[cfg(test)]
mod segment_tests;
#[cfg(test)]
pub(crate) mod test_segments;
