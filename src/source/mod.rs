//! Reads what is backed up, without locks or changes.
//!
//! Where data comes from: files on disk, read and never written, locked or left changed.
//!
//! A database is read by [`Database`]: the MANIFEST that CURRENT names says which files count, and
//! [`crate::leveldb`] turns their bytes into visible records in key order. A directory is one when [`detect()`]
//! says so.

pub mod bounded_file;
pub mod capture;
pub mod changed_records;
mod current_file;
pub mod database;
mod database_file_metadata;
#[cfg(test)]
pub(crate) mod delta_model;
pub mod detect_database;
pub mod exclude_rules;
mod file_set;
pub mod in_process;
pub mod input_stream;
pub mod key_lookup;
mod layout_sample;
pub mod listed_paths;
mod partitioned_scan;
pub mod pins;
#[cfg(test)]
mod pins_hostile;
mod read_ranges;
mod salvage;
pub mod sqlite;
mod touched_directories;
mod unchanged_proof;
mod unsynced_bytes;
mod wait_for_settling;
pub mod walk;

pub use crate::held_directory::HeldDirectory;
pub use crate::leveldb::damage::{LostEntries, SourceDamage, TornTail};
pub use crate::leveldb::merging_iterator::{NewestVersion, RecordSink};
pub use capture::{CaptureOptions, CapturedFiles, CutPoint, HoldMethod};
pub use database::{Database, ScanOutcome};
pub use database_file_metadata::{database_file_metadata, database_file_metadata_in};
pub use detect_database::{DetectedDirectory, ForeignDatabase, ForeignEngine, detect};
pub use exclude_rules::ExcludeRules;
pub use file_set::DatabaseFile;
pub use in_process::HandleSource;
pub use input_stream::InputStream;
pub use partitioned_scan::DisjointTables;
pub use pins::DatabasePins;
pub use touched_directories::TouchedDirectories;
pub use wait_for_settling::wait_until_settled;
