//! Backup: databases and trees of files in, one snapshot out.
//!
//! The story, top to bottom: find the databases below the paths; capture all of them, one right after the other; walk and
//! read the files, which nobody holds for us, before what the captures hold; then per database what changed since the state
//! that its pins keep (one more run on that snapshot's stack), or all its records (a run tree), or, when those cannot be
//! told, its files; flush packs and index; prove that all the snapshot rests on is there; store the snapshot; pin what was
//! read for the next time. Nothing is reported before it is durable. Nothing is written into a source.

mod as_kept;
mod audit;
mod database;
mod doubts;
mod files;
mod fold;
#[cfg(test)]
mod habits;
mod hooks;
mod host;
mod increment;
mod missing;
mod outcome;
pub(super) mod pipeline;
pub(super) mod publish;
mod saved;
pub(super) mod scan;
mod spot_check;
mod stream;
mod trees;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixNanos;
use crate::error::{Act, Error, Kind, Result};
use crate::id::ObjectId;
use crate::ops::forget::TagList;
use crate::repo::{Catalog, HostRepo, Repo, Store, StoredSnapshot, Writer};
use crate::report::Report;
use crate::snapshot::{Meta, MissingPaths, Snapshot};
use crate::source::pins::Keeping;
use crate::source::rules::{Bounds, LeftOut};
use crate::source::walk::look;
use crate::source::{
    Capture, Captured, HandleSource, HeldBy, HeldDirectory, Pins, Rules, files_meta, files_meta_in, settle,
};

pub use audit::{Difference, Disagreement};
use database::{Known, Saved, Wanted};
pub use hooks::{Hooks, Until};
pub use outcome::{BackupOutcome, DatabaseOutcome, Scope, Stored, TreeOutcome};
use publish::RestsOn;
use saved::SavedAll;
pub use trees::CONCURRENCY as READ_CONCURRENCY;
pub use trees::{Changes, Sqlite, TreeCounts};
use trees::{Databases, FileReading, FoundDatabase, Given, Parents, Plan, Root, SameBy, StoredRoot};

/// How often a backup begins anew when packs it counted on vanish under it.
const ATTEMPTS_MAX: u32 = 3;

/// Increments of a database until one is checked by reading everything.
pub const AUDIT_EVERY: u32 = 50;

/// Whether what was read is kept for the next backup, which then reads only what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinning {
    /// Beside each database.
    Keep(Keeping),
    /// Nothing is kept, and what is kept is not used.
    None,
}

impl Default for Pinning {
    fn default() -> Self {
        Self::Keep(Keeping::default())
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
    pub rules: Rules,
    /// How SQLite's databases are saved that are in use.
    pub sqlite: Sqlite,
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
    pub pinning: Pinning,
    /// Store no snapshot if no record of any database and no file changed since the one before.
    pub skip_if_unchanged: bool,
    /// Read and count; store nothing.
    pub dry_run: bool,
    /// Commands around the captures, and around the files.
    pub hooks: Hooks,
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
    pub fn run(&self, repo: &Repo, report: &Report) -> Result<BackupOutcome> {
        self.run_knowing(repo, &|| Known::load(repo), report)
    }

    /// Backs up as a write-only host, which reads nothing of what it stored: it goes by what it remembers.
    ///
    /// # Errors
    /// [`Kind::Usage`] for `skip_if_unchanged`: whether a snapshot still counts is the owner's to know.
    pub fn run_as_host(&self, host: &HostRepo, report: &Report) -> Result<BackupOutcome> {
        self.refuse_skipping()?;
        self.run_knowing(host.repo(), &|| Known::of_host(host), report)
    }

    fn refuse_skipping(&self) -> Result<()> {
        if self.skip_if_unchanged {
            Err(Error::new(
                Kind::Usage,
                "a write-only host cannot tell whether its last snapshot was forgotten, so none is skipped",
            ))
        } else {
            Ok(())
        }
    }

    fn run_knowing(
        &self,
        repo: &Repo,
        know: &dyn Fn() -> Result<Known>,
        report: &Report,
    ) -> Result<BackupOutcome> {
        let given = Given {
            paths: &self.paths,
            listed: &self.listed,
            rules: &self.rules,
        };
        let plan = Plan::make(&given, self.name.as_deref(), report)?;
        let begin = repo.clock().now();
        let unsteady = Unsteady::default();
        for attempt in 1.. {
            let known = know()?;
            let catalog = &known.catalog;
            let unreadable = catalog.unreadable.iter();
            unreadable.for_each(|unread| report.notice(&unread.what));
            catalog
                .unread
                .iter()
                .for_each(|unread| report.notice(&unread.what));
            let mut save =
                |writer: &mut Writer| self.save_planned(repo, writer, &known, &plan, &unsteady, report);
            match self.attempt(repo, &known, begin, report, &mut save) {
                Err(error)
                    if matches!(error.kind(), Kind::Busy | Kind::Changed) && attempt < ATTEMPTS_MAX =>
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
        report: &Report,
    ) -> Result<BackupOutcome> {
        let Some(path) = self.paths.first() else {
            return Err(Error::new(Kind::Usage, "no path to record for the open database"));
        };
        let name = self.name.clone().map_or_else(|| name_of(path), Ok)?;
        let begin = repo.clock().now();
        let known = Known::load(repo)?;
        let wanted = self.wanted(&known, path, &name)?;
        let mut save = |writer: &mut Writer| {
            let saved = match handle {
                HandleSource::Disk(disk) => {
                    database::save_open(repo, writer, &wanted, disk.database(), report)
                }
                HandleSource::Memory(memory) => database::save_memory(repo, writer, &wanted, memory, report),
            };
            let (mut root, outcome, _) = saved.act(|| format!("back up {}", path.display()))?;
            if let HandleSource::Disk(_) = handle {
                root.files = files_meta(path);
            }
            Ok(SavedAll::of(Saved {
                root,
                outcome,
                to_pin: None,
                stands_on_source: None,
            }))
        };
        self.attempt(repo, &known, begin, report, &mut save)
    }

    fn save_planned(
        &self,
        repo: &Repo,
        writer: &mut Writer,
        known: &Known,
        plan: &Plan,
        unsteady: &Unsteady,
        report: &Report,
    ) -> Result<SavedAll> {
        let pins: Vec<_> = plan
            .databases
            .iter()
            .map(|found| self.pins(repo, found, report))
            .collect();
        let cut = || self.cut(plan, pins, unsteady, report);
        let (cuts, walked) = match self.hooks.until {
            Until::Captured => {
                let cuts = self.hooks.around(report, cut)?;
                let walked = self.walk(repo, writer, known, plan, &cuts, report)?;
                (cuts, walked)
            }
            Until::Read => self.hooks.around(report, || {
                let cuts = cut()?;
                let walked = self.walk(repo, writer, known, plan, &cuts, report)?;
                Ok((cuts, walked))
            })?,
        };
        let mut saved = SavedAll::default();
        for cut in cuts.taken.into_iter().chain(walked.late) {
            saved
                .databases
                .push(self.save(repo, writer, known, cut, unsteady, report)?);
        }
        walked.roots.into_iter().for_each(|root| saved.take(root));
        saved.left_out = walked.left_out;
        saved.named_by_trees = walked.named_by_trees;
        saved.must_have_something().map(|()| saved)
    }

    /// All captures, one right after the other, and which number among the sources each database has.
    fn cut(
        &self,
        plan: &Plan,
        pins: Vec<Option<Arc<Pins>>>,
        unsteady: &Unsteady,
        report: &Report,
    ) -> Result<Cuts> {
        let mut cuts = Cuts::default();
        let taken = self.capture(plan, pins)?;
        for (found, mut taken) in plan.databases.iter().zip(taken) {
            if !found.is_asked && unsteady.is(&found.path) {
                taken.captured = Err(Error::new(Kind::Changed, "its files changed under every reading"));
            }
            let number = if not_saved(found, &taken.captured, report) {
                None
            } else {
                cuts.taken.push(Cut::of(found.clone(), taken, report));
                u32::try_from(cuts.taken.len() - 1).ok()
            };
            cuts.by_directory.insert(found.path.clone(), number);
        }
        Ok(cuts)
    }

    /// The files, and the databases that are met among them for the first time.
    fn walk(
        &self,
        repo: &Repo,
        writer: &mut Writer,
        known: &Known,
        plan: &Plan,
        cuts: &Cuts,
        report: &Report,
    ) -> Result<Walked> {
        let mut roots: Vec<_> = plan.trees.iter().cloned().map(Root::Tree).collect();
        roots.extend(
            plan.databases
                .iter()
                .filter_map(|found| found.beside(*cuts.by_directory.get(&found.path)?)),
        );
        let mut late = Vec::new();
        let mut taken: HashSet<_> = plan.databases.iter().map(|found| found.name.clone()).collect();
        let mut capture_late = |path: &Path, bounds: &Bounds| {
            let name = trees::name_below(plan, path, &mut taken);
            report.notice(format!(
                "{name}: a database that appeared behind the captures, captured now"
            ));
            let (path, bounds) = (path.to_owned(), bounds.clone());
            let found = FoundDatabase {
                path,
                name,
                is_asked: false,
                bounds,
                touched: plan.touched.clone(),
            };
            let taken = self.capture_one(&found, self.pins(repo, &found, report));
            if not_saved(&found, &taken.captured, report) {
                return None;
            }
            late.push(Cut::of(found, taken, report));
            u32::try_from(cuts.taken.len() + late.len() - 1).ok()
        };
        let mut databases = Databases::new(cuts.by_directory.clone(), &mut capture_late, report);
        let host = self.host();
        let how = FileReading {
            parents: self.takes_over(known).then(|| Parents {
                catalog: &known.catalog,
                host: &host,
                domain: repo.domain_keys().id(),
            }),
            same_by: SameBy {
                ctime: !self.ignore_ctime,
                inode: !self.ignore_inode,
            },
            concurrency: self.read_concurrency.unwrap_or(trees::CONCURRENCY),
            sqlite: self.sqlite,
            touched: &plan.touched,
        };
        let mut left_out = plan.left_out.clone();
        let roots = trees::store(repo, writer, roots, &mut databases, &how, &mut left_out, report)?;
        let named_by_trees = databases.named_by_trees();
        Ok(Walked {
            roots,
            late,
            left_out,
            named_by_trees,
        })
    }

    /// Whether files may be taken over from older snapshots. A write-only host cannot read its own.
    fn takes_over(&self, known: &Known) -> bool {
        !self.force && !self.full && known.host.is_none()
    }

    fn save(
        &self,
        repo: &Repo,
        writer: &mut Writer,
        known: &Known,
        cut: Cut,
        unsteady: &Unsteady,
        report: &Report,
    ) -> Result<Saved> {
        let found = &cut.found;
        let wanted = Wanted {
            held: cut.held.as_ref(),
            ..self.wanted(known, &found.path, &found.name)?
        };
        let saved = database::save(repo, writer, &wanted, cut.captured, report);
        if saved.as_ref().is_err_and(|error| error.kind() == Kind::Changed) {
            unsteady.note(&found.path);
        }
        let mut saved = saved.act(|| format!("back up {}", found.path.display()))?;
        saved.root.directory = cut.directory;
        saved.root.files = cut.files;
        Ok(saved)
    }

    /// The pins of a database, where there can be any.
    fn pins(&self, repo: &Repo, found: &FoundDatabase, report: &Report) -> Option<Arc<Pins>> {
        // Why it cannot be held, the capture says.
        let held = &found.hold().ok()?;
        let Pinning::Keep(keeping) = self.pinning else {
            return None;
        };
        if self.dry_run && !Pins::exist_in(held, *repo.id()) {
            return None;
        }
        match Pins::open_in(held, *repo.id(), keeping, found.touched.clone()) {
            Ok(pins) => Some(Arc::new(pins)),
            Err(error) => {
                // A path that is none is told by the capture.
                if error.kind() != Kind::NotFound {
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
    fn capture(&self, plan: &Plan, pins: Vec<Option<Arc<Pins>>>) -> Result<Vec<Taken>> {
        let take = |(found, pins): (&FoundDatabase, Option<Arc<Pins>>)| {
            let taken = self.capture_one(found, pins);
            match taken.captured {
                Err(error) if found.is_asked && error.kind() != Kind::Corrupt => Err(error),
                _ => Ok(taken),
            }
        };
        plan.databases.iter().zip(pins).map(take).collect()
    }

    /// The directory is held from now on: by now a hook may have mounted another there.
    fn capture_one(&self, found: &FoundDatabase, pins: Option<Arc<Pins>>) -> Taken {
        let captured = self.capture_held(found, pins);
        let held = match &captured {
            Ok(captured) => Some(captured.directory().clone()),
            Err(_) => found.hold().ok(),
        };
        Taken { held, captured }
    }

    fn capture_held(&self, found: &FoundDatabase, pins: Option<Arc<Pins>>) -> Result<Captured> {
        let mut capture = Capture {
            // Where there are no pins nothing need be made beside the database.
            hold: HeldBy::Descriptors,
            touched: found.touched.clone(),
            ..Capture::default()
        };
        capture.patience = self.patience.unwrap_or(capture.patience);
        capture.pins = pins;
        settle(&found.path);
        capture.take_by(&|| found.hold())
    }

    fn wanted<'a>(&self, known: &'a Known, path: &'a Path, name: &'a str) -> Result<Wanted<'a>> {
        let whole = std::path::absolute(path).act(|| format!("find {}", path.display()))?;
        let newest = known.catalog.newest_at(&self.host(), &whole);
        Ok(Wanted {
            path,
            held: None,
            name,
            physical: self.physical,
            full: self.full,
            audit_every: self.audit_every.unwrap_or(AUDIT_EVERY),
            dry_run: self.dry_run,
            known,
            newest,
            inode: std::fs::metadata(path).ok().map(|facts| facts.ino()),
        })
    }

    fn attempt(
        &self,
        repo: &Repo,
        known: &Known,
        begin: UnixNanos,
        report: &Report,
        save: &mut dyn FnMut(&mut Writer) -> Result<SavedAll>,
    ) -> Result<BackupOutcome> {
        TagList(self.tags.clone()).check()?;
        let warning = known.catalog.clock_warning();
        warning.into_iter().for_each(|what| report.notice(what));
        let store = if self.dry_run { Store::Nothing } else { Store::New };
        let mut writer = Writer::start(repo, report, store)?;
        let mut saved = save(&mut writer)?;
        let relied_on = writer.finish()?;
        let missing = missing::of(report);
        let unchanged_since = self.unchanged(repo, &saved, &known.catalog, &missing);
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
                    .for_each(|saved| host::tell_suspects(saved, report)),
            }
            let parents = databases.iter().filter_map(Saved::stands_on).collect();
            let rests_on = known.rests_on(relied_on, parents)?;
            Some(self.publish(repo, known, &saved, begin, &rests_on, report)?)
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
    fn unchanged(
        &self,
        repo: &Repo,
        saved: &SavedAll,
        catalog: &Catalog,
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
                    .find(|stored| saved::have_same_places(&stored.snapshot.sources, &sources))?
            }
        };
        let same_since = |(number, saved): (u32, &Saved)| {
            saved.unchanged_since() == Some(stored.id) && saved.stands_on_source == Some(number)
        };
        let same_tags = self.tags.iter().all(|tag| stored.snapshot.tags.contains(tag));
        let is_same = same_tags
            && stored.snapshot.missing == *missing
            && (0..).zip(&saved.databases).all(same_since)
            && saved::have_same_files(&stored.snapshot.sources, &sources);
        is_same.then_some(stored.id)
    }

    fn publish(
        &self,
        repo: &Repo,
        known: &Known,
        saved: &SavedAll,
        time: UnixNanos,
        rests_on: &RestsOn<'_>,
        report: &Report,
    ) -> Result<ObjectId> {
        let (counter, previous) = known.catalog.successor();
        let mut tags = self.tags.clone();
        tags.sort();
        tags.dedup();
        let sources = saved.sources();
        let inside = saved.inside(&sources);
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
            missing: missing::of(report),
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
struct Taken {
    /// The database's directory; `None` if it could not be opened.
    held: Option<HeldDirectory>,
    captured: Result<Captured>,
}

/// Databases whose files were changed under their reading, and how often: one that stands in the way of all others is left
/// out of the last attempt, unless it was asked for.
#[derive(Default)]
struct Unsteady(RefCell<HashMap<PathBuf, u32>>);

impl Unsteady {
    fn note(&self, path: &Path) {
        *self.0.borrow_mut().entry(path.to_owned()).or_default() += 1;
    }

    fn is(&self, path: &Path) -> bool {
        self.0
            .borrow()
            .get(path)
            .is_some_and(|times| times + 1 >= ATTEMPTS_MAX)
    }
}

/// A database at one moment.
struct Cut {
    found: FoundDatabase,
    /// Its directory; `None` if it could not be opened.
    held: Option<HeldDirectory>,
    /// Where its list of files cannot be read, it is saved as files.
    captured: Result<Captured>,
    /// What a restore gives back to its directory.
    directory: Option<Meta>,
    /// What a restore gives the files in it.
    files: Option<Meta>,
}

impl Cut {
    fn of(found: FoundDatabase, taken: Taken, report: &Report) -> Self {
        let Taken { held, captured } = taken;
        let directory = held.as_ref().and_then(|held| directory_of(&found, held, report));
        Self {
            files: held.as_ref().and_then(files_meta_in),
            found,
            held,
            captured,
            directory,
        }
    }
}

/// All captures.
#[derive(Default)]
struct Cuts {
    /// By their numbers among the sources.
    taken: Vec<Cut>,
    /// The number of the database in each directory; `None` if it could not be captured.
    by_directory: HashMap<PathBuf, Option<u32>>,
}

/// All files.
struct Walked {
    roots: Vec<StoredRoot>,
    /// Databases that appeared behind the captures.
    late: Vec<Cut>,
    left_out: LeftOut,
    /// Numbers of the databases that trees name.
    named_by_trees: BTreeSet<u32>,
}

/// True, and told, if a database cannot be saved and is no reason to lose the rest. One whose list of files cannot be
/// read is saved as files.
fn not_saved(found: &FoundDatabase, captured: &Result<Captured>, report: &Report) -> bool {
    match captured {
        Err(error) if !found.is_asked && error.kind() != Kind::Corrupt => {
            report.problem_at(&found.path, format!("{}: not saved: {error}", found.name));
            true
        }
        _ => false,
    }
}

/// What a restore gives back to a database's directory; `None` if it is gone by now.
fn directory_of(found: &FoundDatabase, held: &HeldDirectory, report: &Report) -> Option<Meta> {
    let mut meta = look(held, held.path(), report).ok()?.meta;
    let facts = held.open().ok()?.metadata().ok()?;
    found.touched.undo(&facts, &mut meta);
    // Another directory at this path, one day, is another database.
    meta.inode = Some(facts.ino());
    Some(meta)
}

fn name_of(path: &Path) -> Result<String> {
    let whole = std::path::absolute(path).act(|| format!("find {}", path.display()))?;
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
