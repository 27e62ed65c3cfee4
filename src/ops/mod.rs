//! The operations: one for each command.
//!
//! The operations: one verb each, options in, outcome out. They know sources, targets and the repository; they
//! know no terminal, no argument and no exit code.

pub mod annotate;
pub mod archive;
pub mod backup;
mod blob_cache;
mod blob_set;
pub mod capture;
pub mod check;
pub mod copy;
mod database_digests;
pub mod database_series;
pub mod diff;
mod domain_views;
pub mod find;
pub mod forget;
pub mod heal;
pub mod history;
pub mod key_selection;
pub mod parity;
pub mod prune;
pub mod quarantine;
mod reachability;
pub mod read_records;
pub mod repair;
pub mod rescue;
pub mod restore;
pub mod stats;
pub mod tree;
mod tree_rewrite;
pub mod undelete;
pub mod verify_db;

/// How often a source is read that is changed under every reading.
const READ_ATTEMPTS_MAX: u32 = 3;
