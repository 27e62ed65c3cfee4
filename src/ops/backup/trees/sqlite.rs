//! Saves the SQLite databases that a walk finds.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempPath;

use crate::error::{ErrorKind, Result};
use crate::report::OperationReport;
use crate::source::sqlite::{SqliteOwner, SqliteWatch, companion_names, has_journal_file};

/// How long databases are waited for, all of them together, whose programs have them locked ...
const SQLITE_WAIT_MAX: Duration = Duration::from_secs(5);

/// ... and each at least. A browser never unlocks its own, and while we wait its other files go on changing.
const SQLITE_WAIT_MIN: Duration = Duration::from_millis(100);

/// How a database that is in use is saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SqliteMode {
    /// As the files it has, and a notice if they were written meanwhile.
    #[default]
    Files,
    /// As an exact copy that SQLite makes.
    Exact,
}

impl SqliteMode {
    /// Whether this program can make exact copies.
    pub const CAN_COPY: bool = cfg!(feature = "sqlite");
}

/// The databases of one root.
pub struct SqliteDatabases<'a> {
    mode: SqliteMode,
    report: &'a OperationReport,
    wait_left: Duration,
    watched: Vec<SqliteWatch>,
    /// Files that nobody needs beside an exact copy, and that are yet to come.
    covered_by_copy: HashSet<PathBuf>,
}

impl<'a> SqliteDatabases<'a> {
    pub fn new(mode: SqliteMode, report: &'a OperationReport) -> Self {
        Self {
            mode,
            report,
            wait_left: SQLITE_WAIT_MAX,
            watched: Vec::new(),
            covered_by_copy: HashSet::new(),
        }
    }

    /// Whether an exact copy stands for this file.
    pub fn is_covered_by_copy(&mut self, path: &Path) -> bool {
        !self.covered_by_copy.is_empty() && self.covered_by_copy.remove(path)
    }

    /// A regular file is about to be read, and these names are taken behind it; its exact copy, if there is one.
    pub fn prepare_file(
        &mut self,
        path: &Path,
        owner: SqliteOwner,
        name: &OsStr,
        behind: &[OsString],
    ) -> Option<TempPath> {
        if !has_journal_file(name, behind) {
            return None;
        }
        let watched = SqliteWatch::begin(path)?;
        match self.mode {
            SqliteMode::Files => self.watched.push(watched),
            SqliteMode::Exact if !watched.is_in_use() => self.watched.push(watched),
            SqliteMode::Exact => match self.exact(path, owner) {
                Ok(copy) => {
                    let beside = companion_names(name).map(|name| path.with_file_name(name));
                    self.covered_by_copy.extend(beside);
                    return Some(copy);
                }
                Err(error) => {
                    let path = path.display();
                    self.report
                        .notice(format!("{path}: no exact copy, saved as its files: {error}"));
                    self.watched.push(watched);
                }
            },
        }
        None
    }

    fn exact(&mut self, path: &Path, owner: SqliteOwner) -> Result<TempPath> {
        let begin = Instant::now();
        let copy = exact(path, owner, self.wait_left.max(SQLITE_WAIT_MIN), self.report);
        if copy.as_ref().is_err_and(|error| error.kind() == ErrorKind::Busy) {
            self.wait_left = self.wait_left.saturating_sub(begin.elapsed());
        }
        copy
    }

    /// A file that is a root by itself: what lies beside it is not saved with it.
    pub fn prepare_lone_file(&mut self, path: &Path, owner: SqliteOwner, name: &OsStr) -> Option<TempPath> {
        let all = companion_names(name);
        let copy = match self.mode {
            SqliteMode::Files => None,
            SqliteMode::Exact => self.prepare_file(path, owner, name, &sorted(all)),
        };
        self.watched.clear();
        if copy.is_none() && SqliteWatch::begin(path).is_some_and(|watched| watched.is_in_use()) {
            let path = path.display();
            self.report.notice(format!(
                "{path}: what SQLite has beside it is not saved with it, and the newest changes may be there; name its \
                 directory instead, or use --sqlite-backup"
            ));
        }
        self.covered_by_copy.clear();
        copy
    }

    /// All of the root is read.
    pub fn report_changed(&mut self) {
        self.covered_by_copy.clear();
        for watched in self.watched.drain(..).filter(SqliteWatch::has_changed) {
            let path = watched.path().display();
            self.report.notice(format!(
                "{path}: SQLite wrote to it while its files were saved; they may not fit together. --sqlite-backup makes \
                 an exact copy"
            ));
        }
    }
}

fn sorted(mut names: [OsString; 3]) -> [OsString; 3] {
    names.sort();
    names
}

#[cfg(feature = "sqlite")]
fn exact(path: &Path, owner: SqliteOwner, patience: Duration, report: &OperationReport) -> Result<TempPath> {
    crate::source::sqlite::exact_copy(path, owner, patience, report)
}

#[cfg(not(feature = "sqlite"))]
fn exact(_: &Path, _: SqliteOwner, _: Duration, _: &OperationReport) -> Result<TempPath> {
    Err(crate::error::Error::new(
        ErrorKind::Usage,
        "this levault was built without SQLite",
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const OWNER: SqliteOwner = SqliteOwner { uid: 0, gid: 0 };
    const HEADER: &[u8] = b"SQLite format 3\0 and pages";

    fn meets(how: SqliteMode, beside: &str, meanwhile: &[u8]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let (db, wal) = (dir.path().join("db"), dir.path().join("db-wal"));
        fs::write(&db, HEADER).unwrap();
        fs::write(&wal, "frames").unwrap();
        let report = OperationReport::default();
        let mut sqlites = SqliteDatabases::new(how, &report);
        let behind = [OsString::from(beside)];
        assert!(
            sqlites
                .prepare_file(&db, OWNER, OsStr::new("db"), &behind)
                .is_none()
        );
        assert!(!sqlites.is_covered_by_copy(&wal));
        fs::write(&wal, meanwhile).unwrap();
        sqlites.report_changed();
        fs::write(&wal, "later").unwrap();
        sqlites.report_changed();
        report.notices()
    }

    #[test]
    fn a_database_that_is_written_meanwhile_is_told_once() {
        let told = meets(SqliteMode::Files, "db-wal", b"more frames");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("/db: SQLite wrote to it"));
        assert_eq!(meets(SqliteMode::Files, "other", b"more frames"), [""; 0]);
    }

    #[test]
    fn one_whose_journal_was_empty_is_watched_too() {
        let dir = tempfile::tempdir().unwrap();
        let (db, journal) = (dir.path().join("db"), dir.path().join("db-journal"));
        fs::write(&db, HEADER).unwrap();
        fs::write(&journal, "").unwrap();
        for (meanwhile, told) in [("", 0), ("pages", 1)] {
            let report = OperationReport::default();
            let mut sqlites = SqliteDatabases::new(SqliteMode::Files, &report);
            assert!(
                sqlites
                    .prepare_file(&db, OWNER, OsStr::new("db"), &["db-journal".into()])
                    .is_none()
            );
            if !meanwhile.is_empty() {
                fs::write(&journal, meanwhile).unwrap();
            }
            sqlites.report_changed();
            assert_eq!(report.notices().len(), told);
        }
    }

    #[test]
    fn where_no_exact_copy_can_be_made_the_files_are_saved_and_watched() {
        let told = meets(SqliteMode::Exact, "db-wal", b"more frames");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("no exact copy") && told[1].contains("SQLite wrote to it"));
    }

    #[test]
    fn a_database_without_its_log_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("db");
        fs::write(&db, HEADER).unwrap();
        let report = OperationReport::default();
        let mut sqlites = SqliteDatabases::new(SqliteMode::Files, &report);
        assert!(sqlites.prepare_lone_file(&db, OWNER, OsStr::new("db")).is_none());
        assert_eq!(report.notices(), [""; 0]);
        fs::write(dir.path().join("db-journal"), "pages").unwrap();
        assert!(sqlites.prepare_lone_file(&db, OWNER, OsStr::new("db")).is_none());
        assert!(report.notices()[0].contains("is not saved with it"));
    }
}
