//! Runs one attempt of a backup: captures, files, databases, snapshot.
//!
//! ```text
//! open pins ─▶ capture all databases ─▶ walk and store the files ─▶ save each database ─▶ publish ─▶ pin
//!              (between the hooks)       (databases that appear       (changes, records,
//!                                         are captured here)           or files)
//! ```
//! Each step is a function below, in this order.

use std::collections::{BTreeSet, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::captured_databases::{CapturedDatabase, CapturedDatabases, UnsteadyDatabases, report_unsaved};
use super::save_database::{self, DatabaseInput, DatabaseRequest, SavedDatabase};
use super::saved_sources::SavedSources;
use super::trees::{
    self, BackupPlan, ChangeDetection, DatabasesByDirectory, FileReadOptions, LateDatabase, ParentRoots,
    PlannedDatabaseBackup, StoredRoot, WalkRoot,
};
use super::{AUDIT_EVERY, Backup, HookEnd, PinMode};
use crate::clock::UnixNanos;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::repo::{BlobWriter, Repo};
use crate::report::OperationReport;
use crate::source::exclude_rules::{ExcludedItems, WalkScope};
use crate::source::{DatabasePins, HeldDirectory};

/// One attempt of a backup, and all that its steps go by.
pub struct BackupAttempt<'a> {
    pub options: &'a Backup,
    pub repo: &'a Repo,
    /// What the repository says of earlier snapshots.
    pub input: &'a DatabaseInput,
    /// When the backup began.
    pub begin: UnixNanos,
    /// What earlier attempts found.
    pub unsteady: &'a UnsteadyDatabases,
    pub report: &'a OperationReport,
}

/// All files.
struct WalkedTrees {
    roots: Vec<StoredRoot>,
    /// Databases that appeared behind the captures.
    captured_late: Vec<CapturedDatabase>,
    left_out: ExcludedItems,
    /// Numbers of the databases that trees name.
    named_by_trees: BTreeSet<u32>,
}

impl BackupAttempt<'_> {
    /// Captures, reads and stores what is planned.
    pub fn save_planned(&self, writer: &mut BlobWriter, plan: &BackupPlan) -> Result<SavedSources> {
        let pins: Vec<_> = plan.databases.iter().map(|found| self.open_pins(found)).collect();
        let cut = || self.capture_all(plan, pins);
        let (cuts, walked) = match self.options.hooks.until {
            HookEnd::Captured => {
                let cuts = self.options.hooks.run_around(self.report, cut)?;
                let walked = self.walk_trees(writer, plan, &cuts)?;
                (cuts, walked)
            }
            HookEnd::Read => self.options.hooks.run_around(self.report, || {
                let cuts = cut()?;
                let walked = self.walk_trees(writer, plan, &cuts)?;
                Ok((cuts, walked))
            })?,
        };
        let mut saved = SavedSources::default();
        for cut in cuts.captured.into_iter().chain(walked.captured_late) {
            saved.databases.push(self.save_captured(writer, cut)?);
        }
        walked.roots.into_iter().for_each(|root| saved.add_root(root));
        saved.left_out = walked.left_out;
        saved.named_by_trees = walked.named_by_trees;
        saved.refuse_empty().map(|()| saved)
    }

    /// The pins of a database, where there can be any.
    fn open_pins(&self, found: &PlannedDatabaseBackup) -> Option<Arc<DatabasePins>> {
        // Why it cannot be held, the capture says.
        let held = &found.open_held().ok()?;
        let PinMode::Keep(keeping) = self.options.databases.pinning else {
            return None;
        };
        if self.options.dry_run && !DatabasePins::exist_in(held, *self.repo.id()) {
            return None;
        }
        match DatabasePins::open_in(held, *self.repo.id(), keeping, found.touched.clone()) {
            Ok(pins) => Some(Arc::new(pins)),
            Err(error) => {
                // A path that is none is told by the capture.
                if error.kind() != ErrorKind::NotFound {
                    self.report.notice(format!(
                        "{}: nothing is kept for the next backup: {error}",
                        found.name
                    ));
                }
                None
            }
        }
    }

    /// The files, and the databases that are met among them for the first time.
    fn walk_trees(
        &self,
        writer: &mut BlobWriter,
        plan: &BackupPlan,
        cuts: &CapturedDatabases,
    ) -> Result<WalkedTrees> {
        let mut roots: Vec<_> = plan.trees.iter().cloned().map(WalkRoot::Tree).collect();
        roots.extend(plan.databases.iter().filter_map(|found| {
            let number = *cuts.by_directory.get(&found.path)?;
            found.walk_root_beside(number, cuts.captured_directory(number))
        }));
        let mut late = Vec::new();
        let mut taken: HashSet<_> = plan.databases.iter().map(|found| found.name.clone()).collect();
        let mut capture_late = |above: &HeldDirectory, path: &Path, bounds: &WalkScope| {
            let name = trees::unique_name_below(plan, path, &mut taken);
            self.report.notice(format!(
                "{name}: a database that appeared behind the captures, captured now"
            ));
            let (path, bounds) = (path.to_owned(), bounds.clone());
            let found = PlannedDatabaseBackup {
                path,
                name,
                is_requested: false,
                scope: bounds,
                walked_from: Some(above.clone()),
                touched: plan.touched.clone(),
            };
            let taken = self.capture_one(&found, self.open_pins(&found));
            if report_unsaved(&found, &taken.captured, self.report) {
                return None;
            }
            let held = taken.directory();
            late.push(CapturedDatabase::of(found, taken, self.report));
            let number = u32::try_from(cuts.captured.len() + late.len() - 1).ok()?;
            Some(LateDatabase { number, held })
        };
        let mut databases =
            DatabasesByDirectory::new(cuts.by_directory.clone(), &mut capture_late, self.report);
        let host = self.options.host_name();
        let how = FileReadOptions {
            parents: self.can_reuse_files().then(|| ParentRoots {
                catalog: &self.input.catalog,
                host: &host,
                domain: self.repo.domain_keys().id(),
            }),
            change_detection: ChangeDetection {
                ctime: !self.options.files.ignore_ctime,
                inode: !self.options.files.ignore_inode,
            },
            concurrency: self
                .options
                .files
                .read_concurrency
                .unwrap_or(trees::READ_CONCURRENCY_DEFAULT),
            sqlite: self.options.files.sqlite,
            touched: &plan.touched,
        };
        let mut left_out = plan.left_out.clone();
        let roots = trees::store_trees(
            self.repo,
            writer,
            roots,
            &mut databases,
            &how,
            &mut left_out,
            self.report,
        )?;
        let named_by_trees = databases.named_by_trees();
        Ok(WalkedTrees {
            roots,
            captured_late: late,
            left_out,
            named_by_trees,
        })
    }

    /// Whether files may be taken over from older snapshots. A write-only host cannot read its own.
    fn can_reuse_files(&self) -> bool {
        !self.options.files.force && !self.options.full && self.input.host.is_none()
    }

    /// Saves a captured database.
    fn save_captured(&self, writer: &mut BlobWriter, cut: CapturedDatabase) -> Result<SavedDatabase> {
        let found = &cut.found;
        let wanted = DatabaseRequest {
            held: cut.held.as_ref(),
            ..self.database_request(&found.path, &found.name)?
        };
        let saved = save_database::save_captured(self.repo, writer, &wanted, cut.captured, self.report);
        if saved
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::Changed)
        {
            self.unsteady.note_change(&found.path);
        }
        let mut saved = saved.context(|| format!("back up {}", found.path.display()))?;
        saved.root.directory = cut.directory;
        saved.root.files = cut.files;
        Ok(saved)
    }

    /// What is known of a database before it is read.
    pub fn database_request<'b>(&'b self, path: &'b Path, name: &'b str) -> Result<DatabaseRequest<'b>> {
        let whole = std::path::absolute(path).context(|| format!("find {}", path.display()))?;
        let newest = self.input.catalog.newest_at(&self.options.host_name(), &whole);
        Ok(DatabaseRequest {
            path,
            held: None,
            name,
            physical: self.options.databases.physical,
            full: self.options.full,
            audit_every: self.options.databases.audit_every.unwrap_or(AUDIT_EVERY),
            dry_run: self.options.dry_run,
            input: self.input,
            newest,
            inode: std::fs::metadata(path).ok().map(|facts| facts.ino()),
        })
    }
}
