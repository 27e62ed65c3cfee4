//! Copies a SQLite database by its online backup.
//!
//! SQLite finds its files by their paths, so whoever may rename a directory on the way can lead it elsewhere. As root it
//! therefore runs in a thread that is the file's owner: it reads what that user may read, wherever it is led.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use rustix::process::{Gid, Uid};
use tempfile::TempPath;

use super::SqliteOwner;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::OperationReport;

/// Pages between two looks whether somebody wants to stop.
const PAGES_PER_STEP: i32 = 1024;

/// A copy in the directory for temporary files, as one transaction left the database. SQLite opens it as any program
/// would, reads it under its shared lock, and writes nothing but locks. A writer that has it locked is waited for as long
/// as `patience` says.
pub fn exact_copy(
    path: &Path,
    owner: SqliteOwner,
    patience: Duration,
    report: &OperationReport,
) -> Result<TempPath> {
    let copy = tempfile::Builder::new().prefix(".levault-sqlite-").tempfile();
    let copy = copy.context(|| "make a temporary file")?;
    if !rustix::process::geteuid().is_root() || owner.uid == 0 {
        refuse_untrusted_path(path)?;
        let copy = copy.into_temp_path();
        return copy_to(&copy, path, patience, report).map(|()| copy);
    }
    let (user, group) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    rustix::fs::fchown(copy.as_file(), Some(user), None)
        .map_err(std::io::Error::from)
        .context(|| "give the temporary file to the database's owner")?;
    let copy = copy.into_temp_path();
    let copied = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            become_user(user, group)?;
            copy_to(&copy, path, patience, report)
        });
        let panicked = |_| Err(Error::new(ErrorKind::Io, "the copying thread panicked"));
        thread.join().unwrap_or_else(panicked)
    });
    copied.map(|()| copy)
}

/// [`ErrorKind::Denied`] for root if another user may change the way to a file of root's own.
fn refuse_untrusted_path(path: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    for directory in resolve_parents(path)?.ancestors().skip(1) {
        let facts = std::fs::symlink_metadata(directory);
        let facts = facts.context(|| format!("look at {}", directory.display()))?;
        let is_sticky = facts.mode() & 0o1000 != 0;
        if facts.uid() != 0 || facts.mode() & 0o022 != 0 && !is_sticky {
            let what = format!("another user may change {}", directory.display());
            return Err(Error::new(ErrorKind::Denied, what));
        }
    }
    Ok(())
}

/// For this thread, and for good: it ends with the copy.
fn become_user(user: Uid, group: Gid) -> Result<()> {
    use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
    set_thread_groups(&[])
        .and_then(|()| set_thread_gid(group))
        .and_then(|()| set_thread_uid(user))
        .map_err(std::io::Error::from)
        .context(|| "become the database's owner")
}

fn copy_to(copy: &Path, path: &Path, patience: Duration, report: &OperationReport) -> Result<()> {
    let source = open(
        &resolve_parents(path)?,
        OpenFlags::SQLITE_OPEN_READ_ONLY,
        patience,
    )?;
    // A transaction of our own: the pages of all steps are of one state.
    source
        .execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")
        .map_err(failed)?;
    let mut target = open(copy, OpenFlags::SQLITE_OPEN_READ_WRITE, patience)?;
    // If this program dies, nobody wants the copy.
    target
        .execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
        .map_err(failed)?;
    copy_all_pages(&source, &mut target, report)?;
    target.close().map_err(|(_, error)| failed(error))
}

fn copy_all_pages(source: &Connection, target: &mut Connection, report: &OperationReport) -> Result<()> {
    let backup = Backup::new(source, target).map_err(failed)?;
    loop {
        report.go_on()?;
        match backup.step(PAGES_PER_STEP).map_err(failed)? {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            _ => return Err(Error::new(ErrorKind::Busy, "its writer has it locked")),
        }
    }
}

fn open(path: &Path, access: OpenFlags, patience: Duration) -> Result<Connection> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(patience).map_err(failed)?;
    Ok(connection)
}

/// The path without links above it, for SQLite follows none when it is told to follow none at the end.
fn resolve_parents(path: &Path) -> Result<PathBuf> {
    let act = || format!("find {}", path.display());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(ErrorKind::Usage, "no file").context(act()));
    };
    Ok(parent.canonicalize().context(act)?.join(name))
}

fn failed(error: rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => ErrorKind::Busy,
        _ => ErrorKind::Io,
    };
    Error::with_cause(kind, "SQLite", error)
}
