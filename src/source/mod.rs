//! Where data comes from: files on disk, read and never written, locked or left changed.
//!
//! A database is read by [`Database`]: the MANIFEST that CURRENT names says which files count, and
//! [`crate::leveldb`] turns their bytes into visible records in key order. A directory is one when [`detect()`]
//! says so.

pub mod database;
pub mod detect;
pub mod file;
pub mod handle;
mod sample;

pub use crate::leveldb::damage::{Damage, TornTail};
pub use crate::leveldb::merge::RecordSink;
pub use database::{Database, DatabaseFile, ScanOutcome};
pub use detect::{Detected, detect};
pub use handle::HandleSource;
