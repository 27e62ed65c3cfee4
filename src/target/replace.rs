//! A closed database that gives its place to a restored one.
//!
//! ```text
//! hold LOCK --> stage beside it, verify --> exchange the two names (one system call) --> remove the old one
//! ```
//! Until the exchange the old database is as it was, and after it the new one is whole: there is no moment without
//! one of the two. The old LOCK is held all the while, so no program that keeps to LevelDB's locking opens the old
//! database once it was decided to replace it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::lock::{HeldLock, hold};
use crate::error::{Act, Error, Kind, Result};
use crate::leveldb::name::FileName;

/// What else may be in a database's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// Nothing.
    Refuse,
    /// Anything.
    Allow,
}

/// True if something is in the directory `path`.
pub(super) fn is_filled(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
}

/// Holds the database at `path` until it is replaced.
///
/// # Errors
/// [`Kind::Busy`] when another process has it open; [`Kind::Exists`] when anything is there that no LevelDB made, since
/// it would be lost, unless that is allowed; [`Kind::Usage`] for a mount point.
pub(super) fn take(path: &Path, others: Others) -> Result<HeldLock> {
    match others {
        Others::Refuse => refuse_foreign(path)?,
        Others::Allow => refuse_none(path)?,
    }
    refuse_mount_point(path)?;
    hold(path)
}

fn refuse_foreign(path: &Path) -> Result<()> {
    let doing = || format!("list {}", path.display());
    for entry in fs::read_dir(path).act(doing)? {
        let entry = entry.act(doing)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = entry.file_type().act(doing)?.is_file();
        if !is_file || FileName::parse(&name).is_none() {
            let what = format!(
                "{} holds {name}, which is no part of a database and would be lost",
                path.display()
            );
            return Err(Error::new(Kind::Exists, what));
        }
    }
    refuse_none(path)
}

fn refuse_none(path: &Path) -> Result<()> {
    match path.join("CURRENT").exists() {
        true => Ok(()),
        false => Err(Error::new(
            Kind::Exists,
            format!(
                "{} is not empty and has no CURRENT: it is no database",
                path.display()
            ),
        )),
    }
}

fn refuse_mount_point(path: &Path) -> Result<()> {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
    let parent = path.parent().unwrap_or(path);
    match device(path).and_then(|own| Ok(own == device(parent)?)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::new(
            Kind::Usage,
            format!(
                "{} is a mount point and cannot be replaced as a whole",
                path.display()
            ),
        )),
        Err(error) => Err(Error::io(format!("look at {}", path.display()), error)),
    }
}

/// Exchanges two names in `parent` in one step.
///
/// # Errors
/// [`Kind::Usage`] where the filesystem cannot; both are then as they were.
pub(super) fn exchange(parent: &File, stage: &OsStr, target: &OsStr) -> Result<()> {
    match rustix::fs::renameat_with(parent, stage, parent, target, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(Error::new(
            Kind::Usage,
            "this filesystem cannot exchange two directories; restore beside the old database",
        )),
        Err(error) => Err(Error::io("exchange the two directories", error.into())),
    }
}
