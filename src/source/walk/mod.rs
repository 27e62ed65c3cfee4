//! Files and directories as the filesystem shows them: names, metadata, bytes; nothing is followed.
//!
//! ```text
//! databases_below(path)    every directory that may be a database: by names alone, and before anything is read
//! list(directory)          names in byte order
//! look(path)               what it is and its metadata, by lstat(2)
//! FileSource::open(..)     a regular file's bytes, and whether it was changed while they were read
//! ```
//! A symbolic link is stored, and never walked through: names and bytes are read by way of a [`Ground`], below which the
//! kernel follows none, and what was opened must be what was looked at.

mod databases;
mod entry;
mod file;
mod ground;
mod holes;
pub(super) mod xattrs;

pub use databases::{candidate, databases_below};
pub use entry::{Looked, What, facts, look, look_closer, mtime_nanos};
pub use file::{FileSource, Stamp};
pub use ground::Ground;

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{Dir, OFlags};

use crate::error::{Act, Result};

/// The names in a directory, in byte order.
pub fn list(directory: &Path) -> Result<Vec<OsString>> {
    list_below(&Ground::at(directory)?, directory)
}

/// The same of a directory that a walk has come to.
pub fn list_below(ground: &Ground, directory: &Path) -> Result<Vec<OsString>> {
    let act = || format!("list {}", directory.display());
    let opened = ground
        .open(directory, OFlags::RDONLY | OFlags::DIRECTORY)
        .act(act)?;
    let mut names = Vec::new();
    for entry in Dir::new(opened).map_err(io::Error::from).act(act)? {
        let entry = entry.map_err(io::Error::from).act(act)?;
        names.push(OsString::from_vec(entry.file_name().to_bytes().to_vec()));
    }
    names.retain(|name| name != "." && name != "..");
    names.sort_unstable_by(|left, right| left.as_bytes().cmp(right.as_bytes()));
    Ok(names)
}

#[cfg(test)]
mod tests;
