//! Writes what is restored: staged, verified, renamed into place.
//!
//! Where restores go. Stage beside the target, verify, rename: never half a result.
//!
//! ```text
//! parent/.NAME.levault-restore-0123456789abcdef/   0700, marked, locked (flock) while its process lives
//!        |  everything written (or linked) and fsynced here, then read again by the caller
//!        v  publish: one rename
//! parent/NAME/                                     was absent or empty, or a closed database that is replaced
//! ```
//!
//! A full disk, an error or an interruption leaves the target as it was: the stage is dropped, and with it
//! what was written. A killed process leaves its stage behind; the next restore of the same target finds its
//! lock free and removes it. This layer knows nothing of repositories and snapshots.

mod database_lock;
pub mod database_target;
mod file_syncer;
pub mod file_target;
mod files_beside;
mod forbidden_paths;
pub mod in_place_target;
mod replace_database;
mod staging_directory;
pub mod tree;

#[cfg(any(test, feature = "test-util"))]
pub use database_lock::{DatabaseLock, lock_database, refuse_locked_in};
pub use database_lock::{lock_database_in, refuse_locked};
pub use database_target::DatabaseTarget;
pub use file_target::{FileTarget, FileWriter, update_file_attributes};
pub use forbidden_paths::{ForbiddenPaths, PathProtection, is_mount_point};
pub use in_place_target::InPlaceTarget;
pub use staging_directory::{OccupiedTarget, StagedResult, check_target_free, open_target_directory};
pub use tree::TreeTarget;

#[cfg(test)]
mod tests;
