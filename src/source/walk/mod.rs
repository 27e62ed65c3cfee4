//! Lists and reads files and directories, following no link.
//!
//! Files and directories as the filesystem shows them: names, metadata, bytes; nothing is followed.
//!
//! ```text
//! databases_below(path)    every directory that may be a database: by names alone, and before anything is read
//! list(directory)          names in byte order
//! look(path)               what it is and its metadata, by lstat(2)
//! FileSource::open(..)     a regular file's bytes, and whether it was changed while they were read
//! ```
//! A symbolic link is stored, and never walked through: all is found by way of a [`HeldDirectory`], below which none is
//! followed, and what was opened must be what was looked at.

mod file_holes;
mod file_source;
mod find_databases;
mod walked_entry;
pub(super) mod xattrs;

pub use file_source::{FileFingerprint, FileSource};
pub use find_databases::{detect_candidate, find_databases_below, is_levault_directory};
pub(super) use walked_entry::nanos;
pub use walked_entry::{FileKind, WalkedEntry, mtime_nanos, read_details, read_entry, read_stat};

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::Result;
use crate::held_directory::HeldDirectory;

/// The names in a directory, in byte order.
pub fn list(directory: &Path) -> Result<Vec<OsString>> {
    list_below(&HeldDirectory::open_path(directory)?, directory)
}

/// The same of a directory that a walk has come to from `above`.
pub fn list_below(above: &HeldDirectory, directory: &Path) -> Result<Vec<OsString>> {
    let all = above.descendant(directory)?.list()?.into_iter();
    let mut names: Vec<_> = all.map(|entry| entry.name).collect();
    names.sort_unstable_by(|left, right| left.as_bytes().cmp(right.as_bytes()));
    Ok(names)
}

#[cfg(test)]
mod tests;
