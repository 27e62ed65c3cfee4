//! Backs up databases and trees of files as one snapshot.
//!
//! Backup: databases and trees of files in, one snapshot out.
//!
//! The story, top to bottom: find the databases below the paths; capture all of them, one right after the other; walk and
//! read the files, which nobody holds for us, before what the captures hold; then per database what changed since the state
//! that its pins keep (one more run on that snapshot's stack), or all its records (a run tree), or, when those cannot be
//! told, its files; flush packs and index; prove that all the snapshot rests on is there; store the snapshot; pin what was
//! read for the next time. Nothing is reported before it is durable. Nothing is written into a source.

mod audit;
mod backup_attempt;
mod captured_databases;
mod compaction;
#[cfg(test)]
mod dialect_tests;
mod hooks;
mod host_memory;
mod increment;
mod missing_paths;
mod outcome;
mod parent_damage;
mod save_database;
mod save_files;
mod save_stream;
mod saved_sources;
mod spot_check;
mod store_snapshot;
mod stored_form;
mod trees;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::repo::{BlobWriter, Repo, WriteOnlyRepo};
use crate::report::OperationReport;
use crate::source::pins::PinOptions;
use crate::source::{ExcludeRules, HandleSource, database_file_metadata};

use backup_attempt::BackupAttempt;
use captured_databases::UnsteadyDatabases;
use save_database::{DatabaseInput, SavedDatabase};
use saved_sources::SavedSources;
use trees::{BackupPaths, BackupPlan};

pub use audit::{AuditDifference, AuditDisagreement};
pub use hooks::{BackupHooks, HookEnd};
pub use outcome::{BackupOutcome, DatabaseBackupOutcome, DatabaseStorageMode, ReadScope, TreeBackupOutcome};
pub use trees::READ_CONCURRENCY_DEFAULT as READ_CONCURRENCY;
pub use trees::{ChangeCounts, SqliteMode, TreeCounts};

/// How often a backup begins anew when packs it counted on vanish under it.
const ATTEMPTS_MAX: u32 = 3;

/// Increments of a database until one is checked by reading everything.
pub const AUDIT_EVERY: u32 = 50;

/// Whether what was read is kept for the next backup, which then reads only what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinMode {
    /// Beside each database.
    Keep(PinOptions),
    /// Nothing is kept, and what is kept is not used.
    None,
}

impl Default for PinMode {
    fn default() -> Self {
        Self::Keep(PinOptions::default())
    }
}

/// How a backup reads databases.
#[derive(Clone, Debug, Default)]
pub struct DatabaseBackupOptions {
    /// Store files instead of records.
    pub physical: bool,
    /// Read everything, as for [`Backup::full`], in one of so many backups of a database; [`AUDIT_EVERY`] when `None`, never for 0.
    pub audit_every: Option<u32>,
    /// What is kept for the next backup.
    pub pinning: PinMode,
    /// How long each capture tries; its default when `None`.
    pub patience: Option<Duration>,
}

/// How a backup reads files.
#[derive(Clone, Debug, Default)]
pub struct FileBackupOptions {
    /// How SQLite's databases are saved that are in use.
    pub sqlite: SqliteMode,
    /// Read every file, also one that seems to be as the snapshot before has it.
    pub force: bool,
    /// Take a file for unchanged whose time of change alone is another.
    pub ignore_ctime: bool,
    /// Take a file for unchanged whose inode alone is another.
    pub ignore_inode: bool,
    /// Files that are open at once; [`READ_CONCURRENCY`] when `None`.
    pub read_concurrency: Option<usize>,
}

/// What to back up, and what to call it.
#[derive(Clone, Debug, Default)]
pub struct Backup {
    /// Databases, other directories and files, in the order they are read: databases first, those found below the other
    /// paths among them.
    pub paths: Vec<PathBuf>,
    /// More paths, out of lists: together one tree, which has of its directory what is listed.
    pub listed: Vec<PathBuf>,
    /// What is left out of all of them.
    pub rules: ExcludeRules,
    /// How databases are read.
    pub databases: DatabaseBackupOptions,
    /// How files are read.
    pub files: FileBackupOptions,
    /// What the database or tree is called, when there is one path; else the last part of its path.
    pub name: Option<String>,
    /// The host to record; the machine's own name when `None`.
    pub host: Option<String>,
    /// Marks for people and retention.
    pub tags: Vec<String>,
    /// Read everything, and compare records with what the changes alone make of them.
    pub full: bool,
    /// Store no snapshot if no record of any database and no file changed since the one before.
    pub skip_if_unchanged: bool,
    /// Read and count; store nothing.
    pub dry_run: bool,
    /// Commands around the captures, and around the files.
    pub hooks: BackupHooks,
}

impl Backup {
    /// A backup of these paths.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            ..Self::default()
        }
    }

    /// Backs up; the outcome's snapshot is durable.
    pub fn run(&self, repo: &Repo, report: &OperationReport) -> Result<BackupOutcome> {
        self.run_with_input(repo, &|| DatabaseInput::load(repo), report)
    }

    /// Backs up as a write-only host, which reads nothing of what it stored: it goes by what it remembers.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for `skip_if_unchanged`: whether a snapshot still counts is the owner's to know.
    pub fn run_as_host(&self, host: &WriteOnlyRepo, report: &OperationReport) -> Result<BackupOutcome> {
        self.refuse_skipping()?;
        self.run_with_input(host.repo(), &|| DatabaseInput::load_for_host(host), report)
    }

    fn refuse_skipping(&self) -> Result<()> {
        if self.skip_if_unchanged {
            Err(Error::new(
                ErrorKind::Usage,
                "a write-only host cannot tell whether its last snapshot was forgotten, so none is skipped",
            ))
        } else {
            Ok(())
        }
    }

    /// Plans once, and tries until an attempt is not disturbed by a prune or an owner.
    fn run_with_input(
        &self,
        repo: &Repo,
        load: &dyn Fn() -> Result<DatabaseInput>,
        report: &OperationReport,
    ) -> Result<BackupOutcome> {
        let given = BackupPaths {
            paths: &self.paths,
            listed: &self.listed,
            rules: &self.rules,
        };
        let plan = BackupPlan::plan_paths(&given, self.name.as_deref(), report)?;
        let begin = repo.clock().now();
        let unsteady = UnsteadyDatabases::default();
        for number in 1.. {
            let input = load()?;
            input.report_unreadable(report);
            let attempt = BackupAttempt {
                options: self,
                repo,
                input: &input,
                begin,
                unsteady: &unsteady,
                report,
            };
            match attempt.run(&mut |writer| attempt.save_planned(writer, &plan)) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::Busy | ErrorKind::Changed)
                        && number < ATTEMPTS_MAX =>
                {
                    report.notice(format!("begun again: {error}"));
                }
                result => return result,
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Backs up a database that this program has open in rusty-leveldb. Its files are read as any others, and
    /// LOCK is not touched; only a database in memory is read through the library, and its snapshot says that
    /// the source was not verified. The first of `paths` says where the database is (or what to call its place).
    pub fn from_handle(
        &self,
        repo: &Repo,
        handle: &mut HandleSource,
        report: &OperationReport,
    ) -> Result<BackupOutcome> {
        let Some(path) = self.paths.first() else {
            return Err(Error::new(
                ErrorKind::Usage,
                "no path to record for the open database",
            ));
        };
        let name = self.name.clone().map_or_else(|| name_of(path), Ok)?;
        let attempt = BackupAttempt {
            options: self,
            repo,
            input: &DatabaseInput::load(repo)?,
            begin: repo.clock().now(),
            unsteady: &UnsteadyDatabases::default(),
            report,
        };
        let request = attempt.database_request(path, &name)?;
        let mut save = |writer: &mut BlobWriter| {
            let saved = match handle {
                HandleSource::Disk(disk) => {
                    save_database::save_database(repo, writer, &request, disk.database(), report)
                }
                HandleSource::Memory(memory) => {
                    save_database::save_memory_database(repo, writer, &request, memory, report)
                }
            };
            let (mut root, outcome, _) = saved.context(|| format!("back up {}", path.display()))?;
            if let HandleSource::Disk(_) = handle {
                root.files = database_file_metadata(path);
            }
            Ok(SavedSources::from_database(SavedDatabase {
                root,
                outcome,
                state_to_pin: None,
                parent_source: None,
            }))
        };
        attempt.run(&mut save)
    }

    fn host_name(&self) -> String {
        self.host.clone().unwrap_or_else(host)
    }
}

fn name_of(path: &Path) -> Result<String> {
    let whole = std::path::absolute(path).context(|| format!("find {}", path.display()))?;
    let name = whole.file_name().unwrap_or(whole.as_os_str());
    Ok(name.to_string_lossy().replace('/', "_"))
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn user() -> String {
    std::env::var("USER")
        .or_else(|_| std::env::var("LOGNAME"))
        .unwrap_or_default()
}
