//! Looks up blobs in index runs on local disk, made from the segments.
//!
//! ```text
//!   segments --> LookupCache::open --sort, merge--> run files in the cache directory --pread--> IndexLookup
//!                                                               + what this process added
//! ```
//!
//! An index with ten million blobs must not cost a gigabyte of memory, so it is never one map. The segments' entries are
//! merged into a few sorted *run files* on local disk; of each only a filter (two bytes a blob) and a fence for each block
//! of 48 entries (0.2 bytes a blob) stay in memory. A blob that is not stored costs no disk access in 99.8 % of cases, one
//! that is costs one read of 4 KiB in each run that holds it.
//!
//! The cache is not part of the repository and is not trusted: each block carries a MAC under a key from the keyring, a run
//! counts only for segments that are still listed, and whatever is missing or wrong is made again from the segments. The
//! caller provides segments on request: nothing here knows of storage. Formats: docs/format/07-index.md.

mod bloom_filter;
mod cache;
mod cache_plan;
mod index_row;
mod lookup;
mod merge;
mod merge_segments;
mod run_file;
mod run_writer;

#[cfg(any(test, feature = "test-util"))]
pub use cache::LoadSegment;
pub use cache::LookupCache;
#[cfg(any(test, feature = "test-util"))]
pub use lookup::IndexEntries;
pub use lookup::IndexLookup;

#[cfg(test)]
mod document_tests;
#[cfg(test)]
mod tests;
