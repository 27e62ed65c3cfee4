//! Holds the repository and the list of snapshots of a mount.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use levault::engine::tree::{self, SnapshotView};
use levault::error::{Error, ErrorKind, Result};
use levault::repo::IndexLookup;
use levault::repo::{BlobReader, PackKeys, Repo, StoredSnapshot};
use levault::report::OperationReport;
use levault::snapshot::EntryKind;
use levault::snapshot::restore_paths::places;

use super::blob_cache::{BlobCache, CachedReader};
use super::restored_databases::MountedDatabases;
use super::snapshot_directories::SnapshotDirectories;
use crate::args::MountArgs;
use crate::command_context::CommandContext;
use crate::output::OutputSettings;

/// Snapshots are listed anew when somebody looks for them so long after the last time, as restic does.
const LISTED_FOR: Duration = Duration::from_secs(60);

/// What is really gone must not have the index read for each request.
const RENEWED_EVERY: Duration = Duration::from_secs(1);

/// Everything that requests share.
pub struct MountContext {
    repo: Repo,
    now: Mutex<CurrentListing>,
    pub cache: BlobCache,
    pub databases: MountedDatabases,
    pub report: Arc<OperationReport>,
    output: OutputSettings,
    /// Problems in the report that were told.
    told: Mutex<usize>,
    /// When it was mounted: the time of what has none of its own.
    pub since: SystemTime,
    /// Owner and group of what has none of its own.
    pub us: (u32, u32),
    /// Everything is root's.
    pub owner_root: bool,
}

struct CurrentListing {
    listed: Arc<SnapshotListing>,
    since: Instant,
}

/// The snapshots as they were listed.
pub struct SnapshotListing {
    pub shelves: SnapshotDirectories,
    /// In the order of their numbers on the shelves.
    pub snapshots: Vec<Arc<ShownSnapshot>>,
}

/// The repository in one domain, with its index.
pub struct DomainReader {
    pub repo: Repo,
    index: Mutex<IndexLocations>,
}

/// Where blobs were when it was read.
#[derive(Clone)]
struct IndexLocations {
    lookup: Arc<IndexLookup>,
    keys: PackKeys,
    /// When it was read anew, if it was.
    renewed: Option<Instant>,
}

/// One snapshot.
pub struct ShownSnapshot {
    pub stored: StoredSnapshot,
    pub opened: Arc<DomainReader>,
}

impl DomainReader {
    fn new(repo: Repo) -> Result<Self> {
        let index = Mutex::new(IndexLocations::read(&repo, None)?);
        Ok(Self { repo, index })
    }

    /// Looks with the index at hand. If a pack is gone, for a prune has moved what was in it and swept it since, once more
    /// with the index as it is now.
    pub fn read<T>(&self, look: impl Fn(&BlobReader) -> Result<T>) -> Result<T> {
        let index = self.index().clone();
        match look(&index.reader(&self.repo)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                look(&self.reload_catalog(&index)?.reader(&self.repo))
            }
            looked => looked,
        }
    }

    /// The same for what cannot be done twice: who begins again has the index as it is now.
    pub fn read_once<T>(&self, look: impl FnOnce(&BlobReader) -> Result<T>) -> Result<T> {
        let index = self.index().clone();
        let looked = look(&index.reader(&self.repo));
        if looked
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::NotFound)
        {
            self.reload_catalog(&index)?;
        }
        looked
    }

    /// Read anew, unless somebody just did.
    fn reload_catalog(&self, old: &IndexLocations) -> Result<IndexLocations> {
        let mut index = self.index();
        let is_young = index.renewed.is_some_and(|at| at.elapsed() < RENEWED_EVERY);
        if Arc::ptr_eq(&index.lookup, &old.lookup) && !is_young {
            *index = IndexLocations::read(&self.repo, Some(Instant::now()))?;
        }
        Ok(index.clone())
    }

    fn index(&self) -> std::sync::MutexGuard<'_, IndexLocations> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IndexLocations {
    fn read(repo: &Repo, renewed: Option<Instant>) -> Result<Self> {
        Ok(Self {
            lookup: Arc::new(repo.lookup()?),
            keys: PackKeys::default(),
            renewed,
        })
    }

    fn reader<'a>(&'a self, repo: &'a Repo) -> BlobReader<'a> {
        BlobReader::with_keys(repo, &self.lookup, self.keys.clone())
    }
}

impl ShownSnapshot {
    /// Looks into its trees.
    pub fn view<T>(&self, cache: &BlobCache, look: impl Fn(SnapshotView) -> Result<T>) -> Result<T> {
        self.opened.read(|source| {
            let cached = CachedReader { cache, source };
            look(SnapshotView::new(&self.stored.snapshot, &cached))
        })
    }

    /// The sources that lie in no other, and where they are: the places that a restore gives them.
    pub fn tops(&self) -> Vec<(Vec<u8>, usize)> {
        let snapshot = &self.stored.snapshot;
        let numbers = tree::top_sources(snapshot);
        let places = places(snapshot, &numbers);
        places.into_iter().zip(numbers).collect()
    }
}

impl MountContext {
    /// Lists the snapshots for the first time.
    pub fn open(run: &CommandContext, args: &MountArgs) -> Result<Self> {
        let repo = run.open()?;
        let listed = Arc::new(arrange_snapshots(&repo, snapshots(&repo, &run.output)?)?);
        Ok(Self {
            now: Mutex::new(CurrentListing {
                listed,
                since: Instant::now(),
            }),
            repo,
            cache: BlobCache::default(),
            databases: MountedDatabases::new()?,
            report: Arc::clone(run.report),
            output: run.output,
            told: Mutex::new(0),
            since: SystemTime::now(),
            us: (
                rustix::process::getuid().as_raw(),
                rustix::process::getgid().as_raw(),
            ),
            owner_root: args.owner_root,
        })
    }

    /// The snapshots, listed anew if it is time. What cannot be listed stays as it was.
    pub fn listed(&self) -> Arc<SnapshotListing> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since.elapsed() > LISTED_FOR {
            now.since = Instant::now();
            match relist(&self.repo, &now.listed, &self.output) {
                Ok(Some(listed)) => now.listed = Arc::new(listed),
                Ok(None) => {}
                Err(error) => self.warn(&error.context("list the snapshots anew")),
            }
        }
        Arc::clone(&now.listed)
    }

    /// A line on standard error.
    pub fn warn(&self, error: &Error) {
        self.output.warn(&error.to_string());
    }

    /// The same for what an operation noted meanwhile.
    pub fn warn_of_problems(&self) {
        let problems = self.report.problems();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        problems
            .iter()
            .skip(*told)
            .for_each(|problem| self.output.warn(problem));
        *told = problems.len();
    }
}

/// `None` if nothing changed.
fn relist(repo: &Repo, before: &SnapshotListing, output: &OutputSettings) -> Result<Option<SnapshotListing>> {
    let stored = snapshots(repo, output)?;
    let same = |(shown, stored): (&Arc<ShownSnapshot>, &StoredSnapshot)| {
        shown.stored.id == stored.id && shown.stored.snapshot == stored.snapshot
    };
    let unchanged = before.snapshots.len() == stored.len() && before.snapshots.iter().zip(&stored).all(same);
    if unchanged {
        Ok(None)
    } else {
        arrange_snapshots(repo, stored).map(Some)
    }
}

/// Those that count, with the tags that notes gave them.
fn snapshots(repo: &Repo, output: &OutputSettings) -> Result<Vec<StoredSnapshot>> {
    let catalog = repo.catalog()?;
    let unreadable = catalog.unreadable.iter();
    unreadable.for_each(|unread| output.warn(&unread.what));
    catalog.clock_warning().iter().for_each(|what| output.warn(what));
    let notes = repo.notes()?.current_notes();
    let mut all = catalog.snapshots;
    for stored in all.iter().filter(|stored| !stored.snapshot.missing.is_empty()) {
        let (short, count) = (stored.id.short(), stored.snapshot.missing.count());
        output.warn(&format!(
            "snapshot {short} is incomplete: {count} paths could not be read when it was made; `levault ls` names them"
        ));
    }
    for stored in &mut all {
        stored.snapshot.tags = notes.tags(&stored.id, &stored.snapshot.tags).to_vec();
    }
    Ok(all)
}

/// The index is read behind the list, so it has what the snapshots rest on.
fn arrange_snapshots(repo: &Repo, stored: Vec<StoredSnapshot>) -> Result<SnapshotListing> {
    let shelves = SnapshotDirectories::of(&stored);
    let mut domains = std::collections::BTreeMap::new();
    let mut snapshots = Vec::new();
    for stored in stored {
        let domain = stored.snapshot.domain;
        if let std::collections::btree_map::Entry::Vacant(vacant) = domains.entry(domain) {
            let repo = repo.in_domain(domain)?;
            vacant.insert(Arc::new(DomainReader::new(repo)?));
        }
        let opened = Arc::clone(&domains[&domain]);
        snapshots.push(Arc::new(ShownSnapshot { stored, opened }));
    }
    Ok(SnapshotListing { shelves, snapshots })
}

/// Whether its records can be read one by one.
pub fn has_records(shown: &ShownSnapshot, kind: &EntryKind) -> Option<u32> {
    let EntryKind::Database(number) = kind else {
        return None;
    };
    let database = levault::engine::tree::database_by_number(&shown.stored.snapshot, *number).ok()?;
    (!database.is_physical()).then_some(*number)
}
