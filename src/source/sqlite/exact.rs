//! An exact copy of a database that may be in use, by SQLite's own online backup.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempPath;

use crate::error::{Act, Error, Kind, Result};
use crate::report::Report;

/// Pages between two looks whether somebody wants to stop.
const PAGES: i32 = 1024;

/// A copy in the directory for temporary files, as one transaction left the database. SQLite opens it as any program
/// would, reads it under its shared lock, and writes nothing but locks. A writer that has it locked is waited for as long
/// as `patience` says.
pub fn exact_copy(path: &Path, patience: Duration, report: &Report) -> Result<TempPath> {
    let copy = tempfile::Builder::new().prefix(".levault-sqlite-").tempfile();
    let copy = copy.act(|| "make a temporary file")?.into_temp_path();
    let source = open(&place(path)?, OpenFlags::SQLITE_OPEN_READ_ONLY, patience)?;
    // A transaction of our own: the pages of all steps are of one state.
    source
        .execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")
        .map_err(failed)?;
    let mut target = open(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE, patience)?;
    // If this program dies, nobody wants the copy.
    target
        .execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
        .map_err(failed)?;
    all_pages(&source, &mut target, report)?;
    target.close().map_err(|(_, error)| failed(error))?;
    Ok(copy)
}

fn all_pages(source: &Connection, target: &mut Connection, report: &Report) -> Result<()> {
    let backup = Backup::new(source, target).map_err(failed)?;
    loop {
        report.go_on()?;
        match backup.step(PAGES).map_err(failed)? {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            _ => return Err(Error::new(Kind::Busy, "its writer has it locked")),
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
fn place(path: &Path) -> Result<PathBuf> {
    let act = || format!("find {}", path.display());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(Kind::Usage, "no file").act(act()));
    };
    Ok(parent.canonicalize().act(act)?.join(name))
}

fn failed(error: rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Kind::Busy,
        _ => Kind::Io,
    };
    Error::caused(kind, "SQLite", error)
}
