//! The index: which pack holds which blob.
//!
//! ```text
//!   Segment --encode_header, encode_body--> bytes (sealed and stored by repo/)
//!      |  <--decode_header, decode_body--
//!      |  many of them
//!      v
//!   LookupCache::open --sort, merge--> run files in the cache directory --pread--> Lookup
//!                                                            + what this process added
//! ```
//!
//! An index with ten million blobs must not cost a gigabyte of memory, so it is never one map. The segments'
//! entries are merged into a few sorted *run files* on local disk; of each only a filter (two bytes a blob) and
//! a fence for each block of 48 entries (0.2 bytes a blob) stay in memory. A blob that we do not have costs no
//! disk access in 99.8 % of cases, one that we have costs one read of 4 KiB in each run that holds it.
//!
//! The cache is not part of the repository and is not trusted: each block carries a MAC under a key from the
//! keyring, a run counts only for segments that are still listed, and whatever is missing or wrong is made
//! again from the segments. *All* locations of a blob are kept: a read tries each.
//!
//! Formats: docs/format/07-index.md. This stage knows nothing of storage and of keys' origin: it asks the
//! caller for a segment and is handed one.

mod bloom_filter;
mod cache;
mod cache_plan;
mod index_row;
mod lookup;
mod merge;
mod merge_segments;
mod run_file;
mod run_writer;
mod segment;

use crate::id::{BlobId, ObjectId};
use crate::kind::BlobKind;

pub use cache::{LoadSegment, LookupCache};
pub use lookup::{IndexEntries, IndexLookup};
pub use segment::{Segment, SegmentPack, decode_body, decode_header, encode_body, encode_header};

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
    fn first_of(id: &BlobId) -> Self {
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
mod document_tests;
#[cfg(test)]
mod segment_tests;
#[cfg(test)]
mod tests;
