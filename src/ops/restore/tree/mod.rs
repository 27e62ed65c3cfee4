//! Restores trees of files, and the databases in them.
//!
//! Trees: directories, files and links back into a target, and the databases among them by their own road.
//!
//! ```text
//! walker: snapshot's walk ──decide──┬─> makes directories, links, pipes
//!                                   ├─> batches of a few MiB ─[bounded channel]─> workers, one a core:
//!                                   │                          chunks out of packs, into files, read back, named anew
//!                                   └─> databases, for when the files are there
//! ```
//! A batch is in the order of the walk, in which a backup packed it, so packs are read in stretches. Memory: two batches a
//! worker, the open directories of the walk, and where files of several names are.
//!
//! One bad file does not stop it: what was begun of it goes, it is told, and the rest is restored. A full disk and an
//! interruption end it; a new tree is then gone, and in a tree that stood there every file is the old or the new one.

mod entry_decision;
mod extra_entries;
mod file_content;
mod hard_links;
mod restore_tasks;
mod walker;
mod worker;

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::bounded;

use super::RestoreContext;
use super::table_writer::{first_cause, join_worker};
use crate::engine::file_attributes::{describe_unproven_leftover, report_refused_attributes};
use crate::engine::tree::SnapshotView;
use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::DatabaseRoot;
use crate::target::TreeTarget;
use crate::target::tree::{RefusedAttributes, TreeAccount, TreeProblems};
use entry_decision::EntryDecision;
pub(super) use entry_decision::OverwriteRules;
use restore_tasks::RestoreTaskBatch;
pub(super) use walker::{
    DeferredDatabase, PatternOrigin, PlanVisitor, RestoreWalkMode, RestoreWalkStart, RestoreWalker,
    name_conflict_error,
};
use worker::RestoreWorkerContext;

/// What was done to a tree, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeRestoreOutcome {
    /// Files that were written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that stood there with the right content; their attributes were set.
    pub files_same: u64,
    /// Their bytes.
    pub bytes_same: u64,
    /// What stood there and was left as it was.
    pub left_unchanged: u64,
    /// Directories that are there now.
    pub directories: u64,
    /// Links, pipes, devices, and further names of files.
    pub others: u64,
    /// What the snapshot does not have, and is gone.
    pub removed: u64,
    /// Names that became files of their own, though the snapshot calls them names of one file.
    pub unlinked: u64,
    /// Files that did not read back as they were saved.
    pub mismatched: u64,
    /// Things that could not be restored or removed.
    pub problems: u64,
}

impl TreeRestoreOutcome {
    pub(super) fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.files_same += other.files_same;
        self.bytes_same += other.bytes_same;
        self.left_unchanged += other.left_unchanged;
        self.directories += other.directories;
        self.others += other.others;
        self.removed += other.removed;
        self.unlinked += other.unlinked;
        self.mismatched += other.mismatched;
        self.problems += other.problems;
    }
}

/// One line of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedEntry {
    /// What it is about.
    pub target: String,
    /// What would become of it.
    pub action: PlannedAction,
    /// Bytes of a file, or of a database's records.
    pub bytes: u64,
    /// The database that it is.
    pub database: Option<PlannedDatabase>,
}

/// A database in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedDatabase {
    /// Its name in the snapshot.
    pub name: String,
    /// Records that will be written, or that will be selected from.
    pub records: u64,
}

/// What would become of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlannedAction {
    /// It is restored, in place of what stands there.
    Restore,
    /// What stands there is compared, and replaced if it is another.
    Compare,
    /// It gets its attributes.
    Refresh,
    /// It is left as it is.
    Leave,
    /// It is removed.
    Remove,
}

impl PlannedEntry {
    fn from_decision(target: String, doing: EntryDecision, bytes: u64) -> Self {
        let action = match doing {
            EntryDecision::Make(_) => PlannedAction::Restore,
            EntryDecision::Compare => PlannedAction::Compare,
            EntryDecision::Refresh => PlannedAction::Refresh,
            EntryDecision::Same | EntryDecision::Leave => PlannedAction::Leave,
        };
        Self {
            target,
            action,
            bytes,
            database: None,
        }
    }

    fn from_database_decision(target: String, doing: EntryDecision, root: &DatabaseRoot) -> Self {
        Self {
            database: Some(PlannedDatabase {
                name: root.name.clone(),
                records: root.records,
            }),
            ..Self::from_decision(target, doing, root.bytes())
        }
    }

    fn removal(target: String) -> Self {
        Self {
            target,
            action: PlannedAction::Remove,
            bytes: 0,
            database: None,
        }
    }
}

/// Counters that all threads add to.
#[derive(Default)]
pub(super) struct RestoreCounters {
    files: AtomicU64,
    bytes: AtomicU64,
    files_same: AtomicU64,
    bytes_same: AtomicU64,
    left_unchanged: AtomicU64,
    directories: AtomicU64,
    others: AtomicU64,
    removed: AtomicU64,
    unlinked: AtomicU64,
    mismatched: AtomicU64,
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl RestoreCounters {
    fn count_file(&self, bytes: u64) {
        count(&self.files, 1);
        count(&self.bytes, bytes);
    }

    fn count_same_file(&self, bytes: u64) {
        count(&self.files_same, 1);
        count(&self.bytes_same, bytes);
    }

    fn count_left(&self) {
        count(&self.left_unchanged, 1);
    }

    fn count_directory(&self) {
        count(&self.directories, 1);
    }

    fn count_other(&self) {
        count(&self.others, 1);
    }

    fn count_removed(&self) {
        count(&self.removed, 1);
    }

    fn count_unlinked(&self) {
        count(&self.unlinked, 1);
    }

    fn count_mismatch(&self, error: &Error) {
        if error.kind() == ErrorKind::Mismatch {
            count(&self.mismatched, 1);
        }
    }

    fn outcome(&self) -> TreeRestoreOutcome {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TreeRestoreOutcome {
            files: get(&self.files),
            bytes: get(&self.bytes),
            files_same: get(&self.files_same),
            bytes_same: get(&self.bytes_same),
            left_unchanged: get(&self.left_unchanged),
            directories: get(&self.directories),
            others: get(&self.others),
            removed: get(&self.removed),
            unlinked: get(&self.unlinked),
            mismatched: get(&self.mismatched),
            problems: 0,
        }
    }
}

/// What ends a restore: everything after it would fail as well, or was asked to.
fn is_fatal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Full | ErrorKind::Interrupted)
}

impl RestoreContext<'_> {
    pub(super) fn overwrite_rules(&self, names_each: u64) -> OverwriteRules {
        OverwriteRules {
            overwrite: self.options.overwrite,
            deletes: self.options.extra_entries == super::ExtraEntries::Delete,
            verifies: self.options.verify == super::VerifyMode::Full,
            links_expected: names_each,
        }
    }

    fn snapshot_view(&self) -> SnapshotView<'_> {
        SnapshotView::new(self.snapshot, self.reader)
    }

    /// Restores what was asked for into a target, databases as well; only [`TreeTarget::finish`] is left to do.
    pub(super) fn restore_into(
        &self,
        target: &TreeTarget,
        starts: Vec<RestoreWalkStart>,
        nesting: usize,
    ) -> Result<()> {
        let shop = RestoreWorkerContext::new(self, target);
        let databases = self.restore_entries(&shop, starts)?;
        shop.finish_links()?;
        let outcome = shop.counters.outcome();
        self.lock().restored.tree.add(&outcome);
        if outcome.unlinked > 0 {
            self.report.notice(format!(
                "{} names that the snapshot has as names of one file are files of their own: they could not be linked",
                outcome.unlinked
            ));
        }
        for deferred in databases {
            let shown = deferred.directory.display_path_of(&deferred.name);
            match self.restore_nested(deferred, nesting) {
                Ok(()) => {}
                Err(error) if is_fatal(&error) => return Err(error),
                Err(error) => {
                    let mismatched = u64::from(error.kind() == ErrorKind::Mismatch);
                    self.lock().restored.tree.mismatched += mismatched;
                    target.problems().add(error.context(format!("restore {shown}")));
                }
            }
        }
        Ok(())
    }

    /// Everything but databases, which are left for later.
    fn restore_entries(
        &self,
        shop: &RestoreWorkerContext,
        starts: Vec<RestoreWalkStart>,
    ) -> Result<Vec<DeferredDatabase>> {
        let cores = rayon::current_num_threads();
        let (jobs, waiting) = bounded(cores);
        thread::scope(|scope| {
            let spawn = |_| {
                let waiting = waiting.clone();
                scope.spawn(move || shop.run_worker(waiting))
            };
            let workers: Vec<_> = (0..cores).map(spawn).collect();
            drop(waiting);
            let hands = RestoreWalkMode::Work(shop, RestoreTaskBatch::new(jobs));
            let selector = &self.options.selector;
            let is_new = shop.target.is_new();
            let mut walker = RestoreWalker::new(
                self.snapshot_view(),
                self.overwrite_rules(shop.links_expected),
                selector,
                self.report,
                &self.forbidden,
                hands,
                is_new,
            );
            let walked = starts
                .into_iter()
                .try_for_each(|start| walker.walk(start))
                .and_then(|()| walker.flush());
            let databases = std::mem::take(&mut walker.databases);
            // The channel ends with it.
            drop(walker);
            let mut ended: Vec<Result<()>> = workers.into_iter().map(join_worker).collect();
            ended.push(walked);
            first_cause(ended).map(|()| databases)
        })
    }

    /// Tells what [`RestoreContext::restore_into`] would do; databases are told as one thing each.
    pub(super) fn plan_tree(
        &self,
        starts: Vec<RestoreWalkStart>,
        is_new: bool,
        each: PlanVisitor,
        problems: &TreeProblems,
    ) -> Result<()> {
        let hands = RestoreWalkMode::Plan(each, problems);
        let mut walker = RestoreWalker::new(
            self.snapshot_view(),
            self.overwrite_rules(1),
            &self.options.selector,
            self.report,
            &self.forbidden,
            hands,
            is_new,
        );
        starts.into_iter().try_for_each(|start| walker.walk(start))
    }

    /// Says of a tree that is done what is to be said of it.
    pub(super) fn report_tree_problems(&self, account: &TreeAccount) {
        let left_alone = account
            .unproven_leftovers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for path in left_alone.iter() {
            self.report.notice(describe_unproven_leftover(path));
        }
        let (told, more) = account.problems.take();
        self.lock().restored.tree.problems += told.len() as u64 + more;
        for problem in told {
            self.report.problem(problem);
        }
        if more > 0 {
            self.report
                .problem(format!("{more} more things could not be restored"));
        }
        self.report_refused_attributes(&account.refused_attributes);
    }

    pub(super) fn report_refused_attributes(&self, withheld: &RefusedAttributes) {
        report_refused_attributes(withheld, self.report);
    }
}
