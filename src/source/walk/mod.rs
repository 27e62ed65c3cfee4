//! Files and directories as the filesystem shows them: names, metadata, bytes; nothing is followed.
//!
//! ```text
//! databases_below(path)    every directory that may be a database: by names alone, and before anything is read
//! list(directory)          names in byte order
//! look(path)               what it is and its metadata, by lstat(2)
//! FileSource::open(path)   a regular file's bytes, and whether it was changed while they were read
//! ```
//! A symbolic link is stored, and never walked through: the last part of a path is opened with O_NOFOLLOW, and what was
//! opened must be what was looked at.

mod databases;
mod entry;
mod file;
mod holes;
mod xattrs;

pub use databases::{candidate, databases_below};
pub use entry::{Looked, What, facts, look, look_closer, mtime_nanos};
pub use file::{FileSource, Stamp};

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Act, Result};

/// The names in a directory, in byte order.
pub fn list(directory: &Path) -> Result<Vec<OsString>> {
    let act = || format!("list {}", directory.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).act(act)? {
        names.push(entry.act(act)?.file_name());
    }
    names.sort_unstable_by(|left, right| left.as_bytes().cmp(right.as_bytes()));
    Ok(names)
}

#[cfg(test)]
mod tests;
