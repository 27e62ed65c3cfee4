//! Replaces a closed database by a restored one.
//!
//! ```text
//! hold LOCK --> stage beside it, verify --> exchange the two names (one system call) --> remove the old one
//! ```
//! Until the exchange the old database is as it was, and after it the new one is whole: there is no moment without
//! one of the two. The old LOCK is held all the while, so no program that keeps to LevelDB's locking opens the old
//! database once it was decided to replace it.

use std::ffi::OsStr;

use rustix::fs::{FileType, RenameFlags};
use rustix::io::Errno;

use super::database_lock::{DatabaseLock, lock_database_in};
use crate::error::{Error, ErrorKind, Result};
use crate::held_directory::HeldDirectory;
use crate::leveldb::file_name::FileName;

/// What else may be in a database's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BesidePolicy {
    /// Nothing.
    Refuse,
    /// Anything.
    Allow,
}

/// True if something is in the directory.
pub(super) fn is_filled(directory: &HeldDirectory) -> bool {
    directory.list().is_ok_and(|all| !all.is_empty())
}

/// Holds the database in `directory` until it is replaced.
///
/// # Errors
/// [`ErrorKind::Busy`] when another process has it open; [`ErrorKind::Exists`] when anything is there that no LevelDB made, since
/// it would be lost, unless that is allowed; [`ErrorKind::Usage`] for a mount point.
pub(super) fn lock_replaced_database(
    directory: &HeldDirectory,
    others: BesidePolicy,
) -> Result<DatabaseLock> {
    match others {
        BesidePolicy::Refuse => refuse_foreign(directory)?,
        BesidePolicy::Allow => refuse_without_current(directory)?,
    }
    refuse_mount_point(directory)?;
    lock_database_in(directory)
}

fn refuse_foreign(directory: &HeldDirectory) -> Result<()> {
    for entry in directory.list()? {
        let name = entry.name.to_string_lossy();
        if entry.kind != FileType::RegularFile || FileName::parse(&name).is_none() {
            let what = format!(
                "{} holds {name}, which is no part of a database and would be lost",
                directory.path().display()
            );
            return Err(Error::new(ErrorKind::Exists, what));
        }
    }
    refuse_without_current(directory)
}

fn refuse_without_current(directory: &HeldDirectory) -> Result<()> {
    match directory.stat("CURRENT") {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::new(
            ErrorKind::Exists,
            format!(
                "{} is not empty and has no CURRENT: it is no database",
                directory.path().display()
            ),
        )),
    }
}

fn refuse_mount_point(directory: &HeldDirectory) -> Result<()> {
    let above = directory.parent()?;
    if directory.stat_self()?.st_dev == above.stat_self()?.st_dev {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Usage,
            format!(
                "{} is a mount point and cannot be replaced as a whole",
                directory.path().display()
            ),
        ))
    }
}

/// Exchanges two names in one step.
///
/// # Errors
/// [`ErrorKind::Usage`] where the filesystem cannot; both are then as they were.
pub(super) fn exchange_directories(
    hidden: &HeldDirectory,
    stage: &OsStr,
    parent: &HeldDirectory,
    target: &OsStr,
) -> Result<()> {
    match rustix::fs::renameat_with(hidden, stage, parent, target, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(Error::new(
            ErrorKind::Usage,
            "this filesystem cannot exchange two directories; restore beside the old database",
        )),
        Err(error) => Err(Error::io("exchange the two directories", error.into())),
    }
}
