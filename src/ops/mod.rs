//! The operations: one verb each, options in, outcome out. They know sources, targets and the repository; they
//! know no terminal, no argument and no exit code.

pub mod archive;
pub mod backup;
mod blobs;
pub mod capture;
pub mod check;
mod closure;
pub mod copy;
pub mod diff;
mod digests;
pub mod find;
pub mod forget;
pub mod heal;
pub mod history;
pub mod parity;
pub mod prune;
pub mod quarantine;
pub mod read;
mod recent;
mod remake;
pub mod remark;
pub mod repair;
pub mod rescue;
pub mod restore;
pub mod selection;
pub mod series;
pub mod stats;
pub mod tree;
pub mod undelete;
pub mod verify_db;
mod views;

/// How often a source is read that is changed under every reading.
const READINGS_MAX: u32 = 3;
