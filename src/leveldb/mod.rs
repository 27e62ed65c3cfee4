//! Reads and writes LevelDB's formats, without files, clocks or threads.
//!
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
//! Programs read a database by [`crate::source::Database`]; what is public here are the types that it speaks of.
//!
//! What the files name is authority, never a directory listing: a table on disk that no edit names is not part
//! of the database, and a table that an edit names and nobody can read is damage, not absence.

#[cfg(any(test, feature = "test-util"))]
pub mod block;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod block;
mod block_builder;
mod block_compressor;
#[cfg(any(test, feature = "test-util"))]
pub mod block_decompressor;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod block_decompressor;
#[cfg(any(test, feature = "test-util"))]
pub mod changed_records;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod changed_records;
#[cfg(any(test, feature = "test-util"))]
pub mod checksum;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod checksum;
#[cfg(any(test, feature = "test-util"))]
pub mod comparator;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod comparator;
#[cfg(any(test, feature = "test-util"))]
pub mod continued_version;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod continued_version;
#[cfg(any(test, feature = "test-util"))]
pub mod damage;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod damage;
#[cfg(any(test, feature = "test-util"))]
pub mod database_layout;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod database_layout;
#[cfg(any(test, feature = "test-util"))]
pub mod file_name;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod file_name;
mod filter;
#[cfg(any(test, feature = "test-util"))]
pub mod idb_comparator;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod idb_comparator;
mod index_separator;
#[cfg(any(test, feature = "test-util"))]
pub mod internal_key;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod internal_key;
#[cfg(any(test, feature = "test-util"))]
pub mod large_values;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod large_values;
#[cfg(any(test, feature = "test-util"))]
pub mod level_iterator;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod level_iterator;
#[cfg(any(test, feature = "test-util"))]
pub mod log_cut_point;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod log_cut_point;
#[cfg(any(test, feature = "test-util"))]
pub mod log_reader;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod log_reader;
#[cfg(any(test, feature = "test-util"))]
pub mod log_writer;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod log_writer;
#[cfg(any(test, feature = "test-util"))]
pub mod manifest;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod manifest;
#[cfg(any(test, feature = "test-util"))]
pub mod memtable;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod memtable;
#[cfg(any(test, feature = "test-util"))]
pub mod merging_iterator;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod merging_iterator;
#[cfg(any(test, feature = "test-util"))]
pub mod missing_log;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod missing_log;
#[cfg(any(test, feature = "test-util"))]
pub mod new_version;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod new_version;
#[cfg(any(test, feature = "test-util"))]
pub mod odd_sized_table;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod odd_sized_table;
#[cfg(any(test, feature = "test-util"))]
pub mod read_at;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod read_at;
#[cfg(any(test, feature = "test-util"))]
pub mod scan_context;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod scan_context;
#[cfg(any(test, feature = "test-util"))]
pub mod table_builder;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod table_builder;
#[cfg(any(test, feature = "test-util"))]
pub mod table_reader;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod table_reader;
#[cfg(test)]
pub(crate) mod test_databases;
#[cfg(any(test, feature = "test-util"))]
pub mod version;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod version;
#[cfg(any(test, feature = "test-util"))]
pub mod work_budget;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod work_budget;
#[cfg(any(test, feature = "test-util"))]
pub mod write_batch;
#[cfg(not(any(test, feature = "test-util")))]
pub(crate) mod write_batch;

pub use comparator::Comparator;
pub use database_layout::{BlockCodec, DatabaseLayout, Dialect, FilterPolicy, TableExtension};
pub use scan_context::ScanBudget;
pub use version::Version;
