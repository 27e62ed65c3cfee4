//! LevelDB's own formats, read and written over bytes that are handed in: no file, no clock, no thread.
//!
//! ```text
//! CURRENT ── names ──> MANIFEST ── edits ──> Version: live tables per level, first live log, last sequence
//!                      (log framing)            │                │
//!                                               v                v
//!          table: data blocks, index, footer  tables           logs: 32 KiB blocks ─> batches ─> puts, deletes
//!                                               └──── merge by key, newest sequence first ────> visible records
//! ```
//!
//! What the files name is authority, never a directory listing: a table on disk that no edit names is not part
//! of the database, and a table that an edit names and nobody can read is damage, not absence.

pub mod absent_log;
pub mod batch;
pub mod block;
mod block_build;
pub mod chain;
pub mod checksum;
pub mod comparator;
mod compress;
pub mod damage;
pub mod decompress;
pub mod delta;
mod filter;
pub mod idb;
pub mod internal_key;
pub mod large;
pub mod log;
pub mod log_cut;
pub mod log_write;
pub mod manifest;
pub mod memtable;
pub mod merge;
pub mod name;
pub mod read_at;
pub mod scan;
mod separator;
pub mod shape;
pub mod sized;
pub mod table;
pub mod table_build;
#[cfg(test)]
pub(crate) mod testing;
pub mod version;
pub mod version_build;
pub mod version_continue;
pub mod work;

pub use comparator::Comparator;
pub use shape::{Codec, Dialect, Filter, Shape, TableExtension};
