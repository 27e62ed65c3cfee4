//! Where data comes from: files on disk, read and never written, locked or left changed.
//!
//! A database is read by [`Database`]: the MANIFEST that CURRENT names says which files count, and
//! [`crate::leveldb`] turns their bytes into visible records in key order. A directory is one when [`detect()`]
//! says so.

mod apart;
pub mod capture;
mod current;
pub mod database;
pub mod delta;
#[cfg(test)]
pub(crate) mod delta_model;
pub mod detect;
pub mod file;
mod files_meta;
pub mod handle;
mod held;
pub mod listed;
pub mod lookup;
pub mod pins;
#[cfg(test)]
mod pins_hostile;
mod proof;
mod read_record;
pub mod rules;
mod salvage;
mod sample;
mod settle;
pub mod sqlite;
pub mod stream;
mod touched;
mod unsynced;
pub mod walk;

pub use crate::held_directory::HeldDirectory;
pub use crate::leveldb::damage::{Damage, Lost, TornTail};
pub use crate::leveldb::merge::{RecordSink, Word};
pub use apart::TableRow;
pub use capture::{Capture, Captured, Cut, HeldBy};
pub use database::{Database, ScanOutcome};
pub use detect::{Detected, Engine, Foreign, detect};
pub use files_meta::{files_meta, files_meta_in};
pub use handle::HandleSource;
pub use held::DatabaseFile;
pub use pins::Pins;
pub use rules::Rules;
pub use settle::settle;
pub use stream::Stream;
pub use touched::Touched;
