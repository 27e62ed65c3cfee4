//! Restores databases and trees of a snapshot into directories.
//!
//! Restore: what a snapshot holds back into directories, never half a result.
//!
//! ```text
//! snapshot --plan--> what, and where --+-> databases: stage beside the target --> read back, compare --> rename
//!                                      +-> trees:     see `tree`
//! ```
//! Where nothing stands, nothing is seen until the rename; what fails leaves nothing behind. What stands there is left
//! alone, replaced, or brought to the snapshot's state by writing what differs ([`OverwriteMode`]).

mod delete_guard;
mod in_place;
mod overwrite_mode;
mod ownership;
mod read_back;
mod restore_database;
mod restore_files;
mod restore_selection;
mod table_writer;
mod tree;
mod verify_database;
mod write_differences;

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Result, ResultExt};
use crate::pattern::Selector;
use crate::repo::{BlobReader, Repo, StoredSnapshot};
use crate::report::OperationReport;
use crate::snapshot::{DatabaseRoot, Snapshot, SnapshotSource};
use crate::target::TreeTarget;
use crate::target::tree::{MergeMode, TreeProblems, inspect_only};

use crate::engine::key_selection::KeySelection;
use crate::engine::read_records::{self, DatabaseChoice};
pub use crate::target::{ForbiddenPaths, PathProtection};
pub use delete_guard::DeleteReach;
pub use in_place::InPlaceOutcome;
pub use overwrite_mode::OverwriteMode;
pub use ownership::DatabaseOwnership;
use restore_database::DatabaseRestore;
use restore_selection::RestoreSelection;
pub use tree::{PlannedAction, PlannedDatabase, PlannedEntry, TreeRestoreOutcome};

/// Whether what was written is read again and compared with what was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyMode {
    /// Trust the writer.
    None,
    /// Read everything again: databases with our own reader, comparing counts and digests, files by the names of their
    /// chunks.
    Full,
}

/// What becomes of what the target has and the snapshot does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExtraEntries {
    /// It stays.
    #[default]
    Keep,
    /// It goes, below what is restored and nowhere else.
    Delete,
}

/// What of a database comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DatabaseForm {
    /// All, with what else lay in its directory.
    #[default]
    Directory,
    /// Its records alone.
    Records,
}

/// What to restore, where to, and how sure to be.
#[derive(Clone, Debug)]
pub struct Restore {
    /// Which database; `None` for what `address` says.
    pub database: Option<DatabaseChoice>,
    /// Which part of the snapshot, by name or path; empty for all.
    pub address: Vec<u8>,
    /// Absent, empty, or what may be overwritten. A database or directory becomes this directory; a file, and each of
    /// several things, goes into it under its name.
    pub target: PathBuf,
    /// What becomes of what stands there.
    pub overwrite: OverwriteMode,
    /// What becomes of the rest.
    pub extra_entries: ExtraEntries,
    /// Which parts of trees.
    pub selector: Selector,
    /// Which records of a database; all, or the new database holds some of the old one's.
    pub selection: KeySelection,
    /// What of a database.
    pub database_form: DatabaseForm,
    /// How sure to be.
    pub verify: VerifyMode,
    /// Also records that lay in damaged ranges of the source and may be older than what was lost there.
    pub with_uncertain: bool,
    /// Whose the files of databases are.
    pub ownership: DatabaseOwnership,
    /// What must be neither removed nor written into, beside the repository and its cache.
    pub forbidden: ForbiddenPaths,
    /// How far [`ExtraEntries::Delete`] may go.
    pub delete_reach: DeleteReach,
}

/// One database that is back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseRestoreOutcome {
    /// The database.
    pub name: String,
    /// The directory it is in now.
    pub target: PathBuf,
    /// Records written.
    pub records: u64,
    /// Key and value bytes of them.
    pub bytes: u64,
    /// Whether its files came back as they were: then its records are not counted.
    pub as_files: bool,
    /// Whether all was read back, or what stood there was read, and agreed.
    pub verified: bool,
    /// Whether it was there already, and left as it was.
    pub unchanged: bool,
    /// What was written when a database that was there gave the rest; `None` when all was written.
    pub rewritten: Option<InPlaceOutcome>,
}

/// What is back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreOutcome {
    /// Databases, in trees and beside other databases as well.
    pub databases: Vec<DatabaseRestoreOutcome>,
    /// Everything else.
    pub tree: TreeRestoreOutcome,
}

/// What every part of a restore works with.
struct RestoreContext<'a> {
    options: &'a Restore,
    repo: &'a Repo,
    reader: &'a BlobReader<'a>,
    snapshot: &'a Snapshot,
    report: &'a OperationReport,
    forbidden: ForbiddenPaths,
    progress: Mutex<RestoreProgress>,
}

#[derive(Default)]
struct RestoreProgress {
    restored: RestoreOutcome,
    /// Databases that have their place, each in one source that was restored for itself.
    placed_databases: HashSet<(usize, u32)>,
}

impl Restore {
    /// All of a snapshot, to where nothing stands, read back.
    pub fn new(target: impl Into<PathBuf>) -> Self {
        Self {
            database: None,
            address: Vec::new(),
            target: target.into(),
            overwrite: OverwriteMode::default(),
            extra_entries: ExtraEntries::default(),
            selector: Selector::default(),
            selection: KeySelection::All,
            database_form: DatabaseForm::default(),
            verify: VerifyMode::Full,
            with_uncertain: false,
            ownership: DatabaseOwnership::default(),
            forbidden: ForbiddenPaths::default(),
            delete_reach: DeleteReach::default(),
        }
    }

    /// Tells what would be done; writes nothing.
    pub fn plan(
        &self,
        repo: &Repo,
        stored: &StoredSnapshot,
        report: &OperationReport,
        each: &mut dyn FnMut(PlannedEntry),
    ) -> Result<()> {
        self.run_with_context(repo, stored, report, |restoring| restoring.plan(each))
            .map(drop)
    }

    /// Restores.
    pub fn run(
        &self,
        repo: &Repo,
        stored: &StoredSnapshot,
        report: &OperationReport,
    ) -> Result<RestoreOutcome> {
        self.run_with_context(repo, stored, report, |restoring| restoring.run())
    }

    fn run_with_context(
        &self,
        repo: &Repo,
        stored: &StoredSnapshot,
        report: &OperationReport,
        act: impl FnOnce(&RestoreContext) -> Result<()>,
    ) -> Result<RestoreOutcome> {
        self.check_options()?;
        let repo = &repo.in_domain(stored.snapshot.domain)?;
        let lookup = repo.lookup()?;
        let restoring = RestoreContext {
            options: self,
            repo,
            reader: &BlobReader::new(repo, &lookup),
            snapshot: &stored.snapshot,
            report,
            forbidden: self.all_forbidden(repo),
            progress: Mutex::default(),
        };
        act(&restoring)?;
        let done = restoring
            .progress
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(done.restored)
    }

    fn records_only(&self) -> bool {
        self.database_form == DatabaseForm::Records || !self.selection.is_all()
    }
}

/// The names in the directories that several databases come into, before anything is restored.
fn list_target_parents(steps: &[DatabaseRestore]) -> Result<HashMap<PathBuf, Vec<Vec<u8>>>> {
    let mut listed = HashMap::new();
    if steps.len() > 1 {
        for above in steps.iter().filter_map(|step| step.target.parent()) {
            if !listed.contains_key(above) {
                listed.insert(above.to_owned(), inspect_only(above)?.names()?);
            }
        }
    }
    Ok(listed)
}

/// True if something stands there that was listed under another name only, or not at all.
fn has_another_name(target: &Path, listed: &[Vec<u8>]) -> bool {
    let name = target.file_name().unwrap_or_default().as_bytes();
    target.symlink_metadata().is_ok() && !listed.iter().any(|other| other == name)
}

impl RestoreContext<'_> {
    fn lock(&self) -> MutexGuard<'_, RestoreProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) -> Result<()> {
        match self.checked_selection()? {
            RestoreSelection::Databases(steps) => {
                self.options.check_target()?;
                self.report
                    .bytes_total
                    .add(steps.iter().map(|step| step.root.bytes()).sum());
                let listed = list_target_parents(&steps)?;
                for step in steps {
                    let name = step.root.name.clone();
                    match step
                        .target
                        .parent()
                        .and_then(|above| listed.get(above))
                        .filter(|listed| has_another_name(&step.target, listed))
                    {
                        Some(_) => self.report.problem(
                            tree::name_conflict_error(&step.display_path.display().to_string()).to_string(),
                        ),
                        None => self
                            .restore_database(step)
                            .context(|| format!("restore {name}"))?,
                    }
                }
                Ok(())
            }
            RestoreSelection::Trees { bytes, starts, .. } => {
                self.report.bytes_total.add(bytes);
                self.restore_trees(starts)
            }
        }
    }

    fn restore_trees(&self, starts: restore_selection::StartWalks) -> Result<()> {
        let merge = match self.options.overwrite {
            OverwriteMode::Refuse => MergeMode::Refuse,
            _ => MergeMode::Into,
        };
        let target = TreeTarget::begin(&self.options.target, merge)?;
        let account = target.report();
        let filled = starts(target.root()).and_then(|starts| self.restore_into(&target, starts, 0));
        let finished = filled.and_then(|()| target.finish());
        self.report_tree_problems(&account);
        self.report_unplaced();
        match finished? {
            Some(staged) => staged.publish(),
            None => Ok(()),
        }
    }

    /// A snapshot may say of a database that it lies in a tree, and no tree has it.
    fn report_unplaced(&self) {
        let wish = self.options;
        let is_partial = !wish.address.is_empty() || wish.database.is_some() || self.has_patterns();
        if is_partial || wish.overwrite != OverwriteMode::Refuse {
            return;
        }
        let done = self.lock();
        let placed: HashSet<u32> = done.placed_databases.iter().map(|(_, number)| *number).collect();
        for (number, source) in (0..).zip(&self.snapshot.sources) {
            if matches!(source, SnapshotSource::Database(_)) && !placed.contains(&number) {
                self.report.problem(format!(
                    "{}: not restored, for no tree of the snapshot has it; --db brings it back",
                    source.name()
                ));
            }
        }
    }

    fn plan(&self, each: &mut dyn FnMut(PlannedEntry)) -> Result<()> {
        match self.checked_selection()? {
            RestoreSelection::Databases(steps) => {
                for step in steps {
                    each(PlannedEntry {
                        target: step.display_path.display().to_string(),
                        action: PlannedAction::Restore,
                        bytes: step.root.bytes(),
                        database: Some(PlannedDatabase {
                            name: step.root.name.clone(),
                            records: self.record_count(&step),
                        }),
                    });
                }
                Ok(())
            }
            RestoreSelection::Trees { starts, .. } => {
                let root = inspect_only(&self.options.target)?;
                let problems = TreeProblems::default();
                let is_new = root.stat_self()?.is_none();
                self.plan_tree(starts(&root)?, is_new, each, &problems)?;
                problems
                    .take()
                    .0
                    .into_iter()
                    .for_each(|problem| self.report.problem(problem));
                Ok(())
            }
        }
    }

    /// What the backup could not read is as much missing from what is restored as what is lost since.
    fn report_not_read(&self, top: &[u8]) {
        let sentences = self.snapshot.missing.sentences(top);
        let known = self.report.problems();
        let news = sentences.into_iter().filter(|sentence| !known.contains(sentence));
        news.for_each(|sentence| self.report.problem(sentence));
    }

    fn report_missing(&self, database: &DatabaseRoot) {
        let (wish, report) = (self.options, self.report);
        match read_records::describe_lost_keys(database, &wish.selection) {
            Some(lost) => report.problem(lost),
            None if wish.selection.is_all() && database.holes().next().is_some() => report.problem(format!(
                "{}: files or uncertain records were lost in the repository; `levault ls` lists them",
                database.name
            )),
            None => {}
        }
        if database.damage.iter().any(|damage| !damage.is_hole()) {
            report.problem(format!(
                "{}: the source was damaged when it was saved; `levault ls` lists where",
                database.name
            ));
        }
        match database.uncertain_records() {
            0 => {}
            count if wish.with_uncertain => report.problem(format!(
                "{}: {count} records are restored that may be older than what was lost",
                database.name
            )),
            count => report.problem(format!(
                "{}: {count} uncertain records are left out (--with-uncertain restores them)",
                database.name
            )),
        }
    }
}
