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
//! What the files name is authority, never a directory listing: a table on disk that no edit names is not part
//! of the database, and a table that an edit names and nobody can read is damage, not absence.

pub mod block;
mod block_builder;
mod block_compressor;
pub mod block_decompressor;
pub mod changed_records;
pub mod checksum;
pub mod comparator;
pub mod continued_version;
pub mod damage;
pub mod database_layout;
pub mod file_name;
mod filter;
pub mod idb_comparator;
mod index_separator;
pub mod internal_key;
pub mod large_values;
pub mod level_iterator;
pub mod log_cut_point;
pub mod log_reader;
pub mod log_writer;
pub mod manifest;
pub mod memtable;
pub mod merging_iterator;
pub mod missing_log;
pub mod new_version;
pub mod odd_sized_table;
pub mod read_at;
pub mod scan_context;
pub mod table_builder;
pub mod table_reader;
#[cfg(test)]
pub(crate) mod test_databases;
pub mod version;
pub mod work_budget;
pub mod write_batch;

pub use comparator::Comparator;
pub use database_layout::{BlockCodec, DatabaseLayout, Dialect, FilterPolicy, TableExtension};
