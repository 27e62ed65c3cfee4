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
mod stored_form;
mod trees;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixNanos;
use crate::engine::tag_list::TagList;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::repo::{BlobWriter, Repo, SnapshotCatalog, StoredSnapshot, WriteMode, WriteOnlyRepo};
use crate::report::OperationReport;
use crate::snapshot::{FileMetadata, MissingPaths, Snapshot};
use crate::source::exclude_rules::{ExcludedItems, WalkScope};
use crate::source::pins::PinOptions;
use crate::source::walk::read_entry;
use crate::source::{
    CaptureOptions, CapturedFiles, DatabasePins, ExcludeRules, HandleSource, HeldDirectory, HoldMethod,
    database_file_metadata, database_file_metadata_in, wait_until_settled,
};

use crate::engine::publish_snapshot::SnapshotDependencies;
pub use audit::{AuditDifference, AuditDisagreement};
pub use hooks::{BackupHooks, HookEnd};
pub use outcome::{BackupOutcome, DatabaseBackupOutcome, DatabaseStorageMode, ReadScope, TreeBackupOutcome};
use save_database::{DatabaseInput, DatabaseRequest, SavedDatabase};
use saved_sources::SavedSources;
pub use trees::READ_CONCURRENCY_DEFAULT as READ_CONCURRENCY;
use trees::{
    BackupPaths, BackupPlan, ChangeDetection, DatabasesByDirectory, FileReadOptions, LateDatabase,
    ParentRoots, PlannedDatabaseBackup, StoredRoot, WalkRoot,
};
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
    /// How SQLite's databases are saved that are in use.
    pub sqlite: SqliteMode,
    /// What the database or tree is called, when there is one path; else the last part of its path.
    pub name: Option<String>,
    /// The host to record; the machine's own name when `None`.
    pub host: Option<String>,
    /// Marks for people and retention.
    pub tags: Vec<String>,
    /// Store files instead of records.
    pub physical: bool,
    /// Read everything, and compare records with what the changes alone make of them.
    pub full: bool,
    /// Read every file, also one that seems to be as the snapshot before has it.
    pub force: bool,
    /// Take a file for unchanged whose time of change alone is another.
    pub ignore_ctime: bool,
    /// Take a file for unchanged whose inode alone is another.
    pub ignore_inode: bool,
    /// Files that are open at once; [`READ_CONCURRENCY`] when `None`.
    pub read_concurrency: Option<usize>,
    /// The same in one of so many backups of a database; [`AUDIT_EVERY`] when `None`, never for 0.
    pub audit_every: Option<u32>,
    /// What is kept for the next backup.
    pub pinning: PinMode,
    /// Store no snapshot if no record of any database and no file changed since the one before.
    pub skip_if_unchanged: bool,
    /// Read and count; store nothing.
    pub dry_run: bool,
    /// Commands around the captures, and around the files.
    pub hooks: BackupHooks,
    /// How long each capture tries; its default when `None`.
    pub patience: Option<Duration>,
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

    fn run_with_input(
        &self,
        repo: &Repo,
        know: &dyn Fn() -> Result<DatabaseInput>,
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
        for attempt in 1.. {
            let known = know()?;
            let catalog = &known.catalog;
            let unreadable = catalog.unreadable.iter();
            unreadable.for_each(|unread| report.notice(&unread.what));
            catalog
                .unread_forget_records
                .iter()
                .for_each(|unread| report.notice(&unread.what));
            let mut save =
                |writer: &mut BlobWriter| self.save_planned(repo, writer, &known, &plan, &unsteady, report);
            match self.run_attempt(repo, &known, begin, report, &mut save) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::Busy | ErrorKind::Changed)
                        && attempt < ATTEMPTS_MAX =>
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
        let begin = repo.clock().now();
        let known = DatabaseInput::load(repo)?;
        let wanted = self.database_request(&known, path, &name)?;
        let mut save = |writer: &mut BlobWriter| {
            let saved = match handle {
                HandleSource::Disk(disk) => {
                    save_database::save_database(repo, writer, &wanted, disk.database(), report)
                }
                HandleSource::Memory(memory) => {
                    save_database::save_memory_database(repo, writer, &wanted, memory, report)
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
        self.run_attempt(repo, &known, begin, report, &mut save)
    }

    fn save_planned(
        &self,
        repo: &Repo,
        writer: &mut BlobWriter,
        known: &DatabaseInput,
        plan: &BackupPlan,
        unsteady: &UnsteadyDatabases,
        report: &OperationReport,
    ) -> Result<SavedSources> {
        let pins: Vec<_> = plan
            .databases
            .iter()
            .map(|found| self.open_pins(repo, found, report))
            .collect();
        let cut = || self.capture_all(plan, pins, unsteady, report);
        let (cuts, walked) = match self.hooks.until {
            HookEnd::Captured => {
                let cuts = self.hooks.run_around(report, cut)?;
                let walked = self.walk_trees(repo, writer, known, plan, &cuts, report)?;
                (cuts, walked)
            }
            HookEnd::Read => self.hooks.run_around(report, || {
                let cuts = cut()?;
                let walked = self.walk_trees(repo, writer, known, plan, &cuts, report)?;
                Ok((cuts, walked))
            })?,
        };
        let mut saved = SavedSources::default();
        for cut in cuts.captured.into_iter().chain(walked.captured_late) {
            saved
                .databases
                .push(self.save_captured(repo, writer, known, cut, unsteady, report)?);
        }
        walked.roots.into_iter().for_each(|root| saved.add_root(root));
        saved.left_out = walked.left_out;
        saved.named_by_trees = walked.named_by_trees;
        saved.refuse_empty().map(|()| saved)
    }

    /// All captures, one right after the other, and which number among the sources each database has.
    fn capture_all(
        &self,
        plan: &BackupPlan,
        pins: Vec<Option<Arc<DatabasePins>>>,
        unsteady: &UnsteadyDatabases,
        report: &OperationReport,
    ) -> Result<CapturedDatabases> {
        let mut cuts = CapturedDatabases::default();
        let taken = self.capture_planned(plan, pins)?;
        for (found, mut taken) in plan.databases.iter().zip(taken) {
            if !found.is_requested && unsteady.is_unsteady(&found.path) {
                taken.captured = Err(Error::new(
                    ErrorKind::Changed,
                    "its files changed under every reading",
                ));
            }
            let number = if report_unsaved(found, &taken.captured, report) {
                None
            } else {
                cuts.captured
                    .push(CapturedDatabase::of(found.clone(), taken, report));
                u32::try_from(cuts.captured.len() - 1).ok()
            };
            cuts.by_directory.insert(found.path.clone(), number);
        }
        Ok(cuts)
    }

    /// The files, and the databases that are met among them for the first time.
    fn walk_trees(
        &self,
        repo: &Repo,
        writer: &mut BlobWriter,
        known: &DatabaseInput,
        plan: &BackupPlan,
        cuts: &CapturedDatabases,
        report: &OperationReport,
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
            report.notice(format!(
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
            let taken = self.capture_one(&found, self.open_pins(repo, &found, report));
            if report_unsaved(&found, &taken.captured, report) {
                return None;
            }
            let held = taken.directory();
            late.push(CapturedDatabase::of(found, taken, report));
            let number = u32::try_from(cuts.captured.len() + late.len() - 1).ok()?;
            Some(LateDatabase { number, held })
        };
        let mut databases = DatabasesByDirectory::new(cuts.by_directory.clone(), &mut capture_late, report);
        let host = self.host();
        let how = FileReadOptions {
            parents: self.can_reuse_files(known).then(|| ParentRoots {
                catalog: &known.catalog,
                host: &host,
                domain: repo.domain_keys().id(),
            }),
            change_detection: ChangeDetection {
                ctime: !self.ignore_ctime,
                inode: !self.ignore_inode,
            },
            concurrency: self.read_concurrency.unwrap_or(trees::READ_CONCURRENCY_DEFAULT),
            sqlite: self.sqlite,
            touched: &plan.touched,
        };
        let mut left_out = plan.left_out.clone();
        let roots = trees::store_trees(repo, writer, roots, &mut databases, &how, &mut left_out, report)?;
        let named_by_trees = databases.named_by_trees();
        Ok(WalkedTrees {
            roots,
            captured_late: late,
            left_out,
            named_by_trees,
        })
    }

    /// Whether files may be taken over from older snapshots. A write-only host cannot read its own.
    fn can_reuse_files(&self, known: &DatabaseInput) -> bool {
        !self.force && !self.full && known.host.is_none()
    }

    fn save_captured(
        &self,
        repo: &Repo,
        writer: &mut BlobWriter,
        known: &DatabaseInput,
        cut: CapturedDatabase,
        unsteady: &UnsteadyDatabases,
        report: &OperationReport,
    ) -> Result<SavedDatabase> {
        let found = &cut.found;
        let wanted = DatabaseRequest {
            held: cut.held.as_ref(),
            ..self.database_request(known, &found.path, &found.name)?
        };
        let saved = save_database::save_captured(repo, writer, &wanted, cut.captured, report);
        if saved
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::Changed)
        {
            unsteady.note_change(&found.path);
        }
        let mut saved = saved.context(|| format!("back up {}", found.path.display()))?;
        saved.root.directory = cut.directory;
        saved.root.files = cut.files;
        Ok(saved)
    }

    /// The pins of a database, where there can be any.
    fn open_pins(
        &self,
        repo: &Repo,
        found: &PlannedDatabaseBackup,
        report: &OperationReport,
    ) -> Option<Arc<DatabasePins>> {
        // Why it cannot be held, the capture says.
        let held = &found.open_held().ok()?;
        let PinMode::Keep(keeping) = self.pinning else {
            return None;
        };
        if self.dry_run && !DatabasePins::exist_in(held, *repo.id()) {
            return None;
        }
        match DatabasePins::open_in(held, *repo.id(), keeping, found.touched.clone()) {
            Ok(pins) => Some(Arc::new(pins)),
            Err(error) => {
                // A path that is none is told by the capture.
                if error.kind() != ErrorKind::NotFound {
                    report.notice(format!(
                        "{}: nothing is kept for the next backup: {error}",
                        found.name
                    ));
                }
                None
            }
        }
    }

    /// All cuts, back to back in the order of the paths. A database whose list of files cannot be read is no reason
    /// to lose the others, nor is one that was not asked for by its path; what makes a whole backup senseless is.
    fn capture_planned(
        &self,
        plan: &BackupPlan,
        pins: Vec<Option<Arc<DatabasePins>>>,
    ) -> Result<Vec<CaptureResult>> {
        let take = |(found, pins): (&PlannedDatabaseBackup, Option<Arc<DatabasePins>>)| {
            let taken = self.capture_one(found, pins);
            match taken.captured {
                Err(error) if found.is_requested && error.kind() != ErrorKind::Corrupt => Err(error),
                _ => Ok(taken),
            }
        };
        plan.databases.iter().zip(pins).map(take).collect()
    }

    /// The directory is held from now on: by now a hook may have mounted another there.
    fn capture_one(&self, found: &PlannedDatabaseBackup, pins: Option<Arc<DatabasePins>>) -> CaptureResult {
        let captured = self.capture_held(found, pins);
        let held = match &captured {
            Ok(captured) => Some(captured.directory().clone()),
            Err(_) => found.open_held().ok(),
        };
        CaptureResult { held, captured }
    }

    fn capture_held(
        &self,
        found: &PlannedDatabaseBackup,
        pins: Option<Arc<DatabasePins>>,
    ) -> Result<CapturedFiles> {
        let mut capture = CaptureOptions {
            // Where there are no pins nothing need be made beside the database.
            hold: HoldMethod::Descriptors,
            touched: found.touched.clone(),
            ..CaptureOptions::default()
        };
        capture.timeout = self.patience.unwrap_or(capture.timeout);
        capture.pins = pins;
        wait_until_settled(&found.path);
        capture.capture_held_by(&|| found.open_held())
    }

    fn database_request<'a>(
        &self,
        known: &'a DatabaseInput,
        path: &'a Path,
        name: &'a str,
    ) -> Result<DatabaseRequest<'a>> {
        let whole = std::path::absolute(path).context(|| format!("find {}", path.display()))?;
        let newest = known.catalog.newest_at(&self.host(), &whole);
        Ok(DatabaseRequest {
            path,
            held: None,
            name,
            physical: self.physical,
            full: self.full,
            audit_every: self.audit_every.unwrap_or(AUDIT_EVERY),
            dry_run: self.dry_run,
            input: known,
            newest,
            inode: std::fs::metadata(path).ok().map(|facts| facts.ino()),
        })
    }

    fn run_attempt(
        &self,
        repo: &Repo,
        known: &DatabaseInput,
        begin: UnixNanos,
        report: &OperationReport,
        save: &mut dyn FnMut(&mut BlobWriter) -> Result<SavedSources>,
    ) -> Result<BackupOutcome> {
        TagList(self.tags.clone()).check()?;
        let warning = known.catalog.clock_warning();
        warning.into_iter().for_each(|what| report.notice(what));
        let store = if self.dry_run {
            WriteMode::DryRun
        } else {
            WriteMode::StoreNew
        };
        let mut writer = BlobWriter::start(repo, report, store)?;
        let mut saved = save(&mut writer)?;
        let relied_on = writer.finish()?;
        let missing = missing_paths::collect_missing_paths(report);
        let unchanged_since = self.find_unchanged_snapshot(repo, &saved, &known.catalog, &missing);
        // One that was forgotten meanwhile is not there to say that nothing changed since.
        repo.prove_snapshots(&unchanged_since.into_iter().collect(), &known.catalog)?;
        let snapshot = if self.dry_run || unchanged_since.is_some() {
            None
        } else {
            let databases = &saved.databases;
            match known.host {
                None => databases.iter().try_for_each(|saved| saved.note_suspects(repo))?,
                Some(_) => databases
                    .iter()
                    .for_each(|saved| host_memory::report_suspects(saved, report)),
            }
            let parents = databases.iter().filter_map(SavedDatabase::parent_id).collect();
            let rests_on = known.dependencies(relied_on, parents)?;
            Some(self.publish_snapshot(repo, known, &saved, begin, &rests_on, report)?)
        };
        if let Some(snapshot) = snapshot.or(unchanged_since).filter(|_| !self.dry_run) {
            // What is unchanged has the same sources, in the same order.
            let numbered = (0..).zip(&mut saved.databases);
            numbered.for_each(|(number, saved)| saved.pin(snapshot, number, report));
        }
        Ok(BackupOutcome {
            snapshot,
            unchanged_since,
            begin,
            end: repo.clock().now(),
            blobs_new: report.blobs_new.get(),
            bytes_added: report.bytes_added.get(),
            bytes_added_packed: report.bytes_added_packed.get(),
            bytes_read: saved.bytes_read(),
            trees: saved.tree_outcomes(),
            left_out: saved.left_out,
            databases: saved.databases.into_iter().map(|saved| saved.outcome).collect(),
        })
    }

    /// The snapshot that has these records and files already and nothing else, if that is not to be stored again.
    fn find_unchanged_snapshot(
        &self,
        repo: &Repo,
        saved: &SavedSources,
        catalog: &SnapshotCatalog,
        missing: &MissingPaths,
    ) -> Option<ObjectId> {
        if !self.skip_if_unchanged {
            return None;
        }
        let sources = saved.sources();
        let stored = match saved.databases.first() {
            Some(first) => {
                let since = first.unchanged_since()?;
                catalog.snapshots.iter().find(|stored| stored.id == since)?
            }
            None => {
                let host = self.host();
                let newest = catalog.snapshots.iter().rev();
                let of_host = |stored: &&StoredSnapshot| {
                    stored.snapshot.host == host && stored.snapshot.domain == repo.domain_keys().id()
                };
                newest
                    .filter(of_host)
                    .find(|stored| saved_sources::have_same_paths(&stored.snapshot.sources, &sources))?
            }
        };
        let same_since = |(number, saved): (u32, &SavedDatabase)| {
            saved.unchanged_since() == Some(stored.id) && saved.parent_source == Some(number)
        };
        let same_tags = self.tags.iter().all(|tag| stored.snapshot.tags.contains(tag));
        let is_same = same_tags
            && stored.snapshot.missing == *missing
            && (0..).zip(&saved.databases).all(same_since)
            && saved_sources::have_same_files(&stored.snapshot.sources, &sources);
        is_same.then_some(stored.id)
    }

    fn publish_snapshot(
        &self,
        repo: &Repo,
        known: &DatabaseInput,
        saved: &SavedSources,
        time: UnixNanos,
        rests_on: &SnapshotDependencies<'_>,
        report: &OperationReport,
    ) -> Result<ObjectId> {
        let (counter, previous) = known.catalog.next_counter_and_parent();
        let mut tags = self.tags.clone();
        tags.sort();
        tags.dedup();
        let sources = saved.sources();
        let inside = saved.inside_databases(&sources);
        let snapshot = Snapshot {
            domain: repo.domain_keys().id(),
            counter,
            previous,
            host: self.host(),
            user: user(),
            time,
            time_end: repo.clock().now(),
            tags,
            program: concat!("levault ", env!("CARGO_PKG_VERSION")).into(),
            sources,
            original: None,
            missing: missing_paths::collect_missing_paths(report),
            inside,
        };
        let id = rests_on.publish(repo, &snapshot)?;
        if let Some(host) = &known.host {
            host.remember(id, snapshot, rests_on, report);
        }
        Ok(id)
    }

    fn host(&self) -> String {
        self.host.clone().unwrap_or_else(host)
    }
}

/// What became of a capture.
struct CaptureResult {
    /// The database's directory; `None` if it could not be opened.
    held: Option<HeldDirectory>,
    captured: Result<CapturedFiles>,
}

impl CaptureResult {
    /// The directory that was captured.
    fn directory(&self) -> Option<HeldDirectory> {
        match &self.captured {
            Ok(captured) => Some(captured.directory().clone()),
            Err(_) => self.held.clone(),
        }
    }
}

/// Databases whose files were changed under their reading, and how often: one that stands in the way of all others is left
/// out of the last attempt, unless it was asked for.
#[derive(Default)]
struct UnsteadyDatabases(RefCell<HashMap<PathBuf, u32>>);

impl UnsteadyDatabases {
    fn note_change(&self, path: &Path) {
        *self.0.borrow_mut().entry(path.to_owned()).or_default() += 1;
    }

    fn is_unsteady(&self, path: &Path) -> bool {
        self.0
            .borrow()
            .get(path)
            .is_some_and(|times| times + 1 >= ATTEMPTS_MAX)
    }
}

/// A database at one moment.
struct CapturedDatabase {
    found: PlannedDatabaseBackup,
    /// Its directory; `None` if it could not be opened.
    held: Option<HeldDirectory>,
    /// Where its list of files cannot be read, it is saved as files.
    captured: Result<CapturedFiles>,
    /// What a restore gives back to its directory.
    directory: Option<FileMetadata>,
    /// What a restore gives the files in it.
    files: Option<FileMetadata>,
}

impl CapturedDatabase {
    fn of(found: PlannedDatabaseBackup, taken: CaptureResult, report: &OperationReport) -> Self {
        let CaptureResult { held, captured } = taken;
        let directory = held
            .as_ref()
            .and_then(|held| read_directory_metadata(&found, held, report));
        Self {
            files: held.as_ref().and_then(database_file_metadata_in),
            found,
            held,
            captured,
            directory,
        }
    }
}

/// All captures.
#[derive(Default)]
struct CapturedDatabases {
    /// By their numbers among the sources.
    captured: Vec<CapturedDatabase>,
    /// The number of the database in each directory; `None` if it could not be captured.
    by_directory: HashMap<PathBuf, Option<u32>>,
}

impl CapturedDatabases {
    /// The directory that was captured under this number.
    fn captured_directory(&self, number: Option<u32>) -> Option<HeldDirectory> {
        let taken = self.captured.get(number? as usize)?;
        match &taken.captured {
            Ok(captured) => Some(captured.directory().clone()),
            Err(_) => taken.held.clone(),
        }
    }
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

/// True, and told, if a database cannot be saved and is no reason to lose the rest. One whose list of files cannot be
/// read is saved as files.
fn report_unsaved(
    found: &PlannedDatabaseBackup,
    captured: &Result<CapturedFiles>,
    report: &OperationReport,
) -> bool {
    match captured {
        Err(error) if !found.is_requested && error.kind() != ErrorKind::Corrupt => {
            report.problem_at(&found.path, format!("{}: not saved: {error}", found.name));
            true
        }
        _ => false,
    }
}

/// What a restore gives back to a database's directory; `None` if it is gone by now.
fn read_directory_metadata(
    found: &PlannedDatabaseBackup,
    held: &HeldDirectory,
    report: &OperationReport,
) -> Option<FileMetadata> {
    let mut meta = read_entry(held, held.path(), report).ok()?.meta;
    let facts = held.open().ok()?.metadata().ok()?;
    found.touched.restore_mtime(&facts, &mut meta);
    // Another directory at this path, one day, is another database.
    meta.inode = Some(facts.ino());
    Some(meta)
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
