//! The operations: one verb each, options in, outcome out. They know sources, targets and the repository; they
//! know no terminal, no argument and no exit code.

pub mod backup;
pub mod capture;
pub mod check;
mod digests;
pub mod read;
pub mod restore;
pub mod stats;
pub mod verify_db;
