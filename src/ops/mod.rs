//! Runs the operations, one module for each: options in, outcome out.
//!
//! They know sources, targets and the repository, and what [`crate::engine`] does for more than one of them. They know no
//! terminal, no argument and no exit code, and no other operation's insides.

pub mod add_parity;
pub mod annotate;
pub mod archive;
pub mod backup;
pub mod capture;
pub mod check;
pub mod copy;
pub mod diff;
pub mod find;
pub mod forget;
pub mod history;
pub mod prune;
pub mod quarantine;
pub mod repair;
pub mod rescue;
pub mod restore;
pub mod stats;
pub mod undelete;
pub mod verify_db;

pub use crate::child::command as child_command;

/// How often a source is read that is changed under every reading.
const READ_ATTEMPTS_MAX: u32 = 3;
