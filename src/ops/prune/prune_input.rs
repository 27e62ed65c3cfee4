//! Reads what a prune is planned from, in a safe order.
//!
//! What a prune goes by, read in the order that deleters keep: packs, then marks and index, then all snapshots.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::annotations::{BadBlob, BadBlobs};
use crate::clock::UnixNanos;
use crate::engine::blob_cache::BlobCacheReader;
use crate::engine::blob_set::{BlobSet, NumberedBlobs};
use crate::engine::reachability::{
    ReachabilityRoot, ReachabilityRootId, ReachabilityWalk, VisitedNodes, source_roots,
};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{BlobId, ObjectId};
use crate::index::{IndexEntry, Location};
use crate::index_cache::IndexLookup;
use crate::repo::{BlobReader, IndexSummary, Repo, SnapshotCatalog, StoredMark};
use crate::report::OperationReport;
use crate::snapshot::{Snapshot, SnapshotSource};
use crate::storage::{ListedObject, ObjectKind, ObjectName};

use super::prune_plan::{IndexStanding, PackUsage};
use super::stack_compaction;

/// All that is there, and what needs what.
pub struct PruneInput {
    /// The packs that are listed, oldest first.
    pub packs: Vec<PackUsage>,
    /// Listed packs of other domains: none of ours to delete.
    pub others: HashSet<ObjectId>,
    pub marks: Vec<StoredMark>,
    pub index: IndexSummary,
    pub lookup: IndexLookup,
    pub blobs: NumberedBlobs,
    /// What live snapshots need.
    pub live: BlobSet,
    /// What lies below each root that a snapshot has.
    pub walked: HashMap<ReachabilityRootId, ReachableBytes>,
    /// The snapshots, those that are forgotten too.
    pub catalog: SnapshotCatalog,
    /// Those that were forgotten so long ago that they may go.
    pub expired: Vec<ObjectId>,
    /// Copies of bad blobs that do not open: they are none.
    wrong: HashSet<IndexEntry>,
    /// Notes on bad blobs that say nothing any more.
    pub bad_over: Vec<ObjectId>,
}

/// Listings until what they lack is lost.
const LISTINGS_MAX: usize = 4;

/// Reads everything. `now` is the storage's clock; what was forgotten less than `grace` ago may be brought back, and is
/// kept from the sweep.
///
/// # Errors
/// Of the first object that cannot be read or is not understood: it may need anything. [`ErrorKind::Corrupt`] if a live
/// snapshot needs a blob that is nowhere.
pub fn gather_input(repo: &Repo, now: UnixNanos, grace: i64, report: &OperationReport) -> Result<PruneInput> {
    refuse_unknown_objects(repo)?;
    for _ in 1..LISTINGS_MAX {
        match gather_input_once(repo, now, grace, report) {
            // A snapshot that was published behind our listing of the index needs what only a newer one knows.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {}
            gathered => return gathered,
        }
    }
    // What four listings lack is lost.
    gather_input_once(repo, now, grace, report).map_err(|error| match error.kind() {
        ErrorKind::NotFound => error.with_kind(ErrorKind::Corrupt),
        _ => error,
    })
}

fn gather_input_once(
    repo: &Repo,
    now: UnixNanos,
    grace: i64,
    report: &OperationReport,
) -> Result<PruneInput> {
    let mut listed = repo
        .storage_reader()
        .list(ObjectKind::Pack)
        .context(|| "list the packs")?;
    let marks = repo.marks()?;
    let index = repo.index_summary()?;
    if let Some(what) = index.unreadable.first() {
        return Err(Error::corrupt(what.clone()));
    }
    listed.extend(stored_since(repo, &listed, &index)?);
    let (listed, others) = own_packs(repo, listed, &index)?;
    let lookup = repo.lookup_for(&index)?;
    let blobs = NumberedBlobs::collect(lookup.iter_rows()?, lookup.len())?;
    let catalog = repo.catalog_for_deletion()?.of_domain(repo.domain());
    let (live, retained, expired, walked) = {
        let reader = BlobReader::new(repo, &lookup);
        let source = BlobCacheReader::new(&reader);
        let mut needs = NeededBlobs {
            closure: ReachabilityWalk {
                source: &source,
                report,
            },
            blobs: &blobs,
            found: BlobSet::new(blobs.len()),
            walked: HashMap::new(),
            seen: VisitedNodes::default(),
        };
        catalog
            .snapshots
            .iter()
            .try_for_each(|stored| needs.snapshot(stored.id, &stored.snapshot))?;
        let live = needs.found.clone();
        let (expired, kept): (Vec<_>, Vec<_>) = catalog.forgotten.iter().partition(|forgotten| {
            let since = forgotten.since.modified;
            since.is_some_and(|since| now.0.saturating_sub(since.0) >= grace)
        });
        for forgotten in kept.iter().filter_map(|forgotten| forgotten.snapshot.as_ref()) {
            needs.try_sources(&forgotten.sources)?;
        }
        for before in stack_compaction::comes_before(repo, &catalog, now, grace)? {
            needs.try_sources(&before.sources)?;
        }
        let expired: Vec<_> = expired.into_iter().map(|forgotten| forgotten.id).collect();
        (live, needs.found, expired, needs.walked)
    };
    let packs = packs(&listed, &marks, &index);
    let (wrong, bad_over) = bad_blob_lists(repo, &listed, &lookup, report)?;
    let mut facts = PruneInput {
        packs,
        others,
        marks,
        index,
        lookup,
        blobs,
        live,
        walked,
        catalog,
        expired,
        wrong,
        bad_over,
    };
    facts.assign_copies(repo, &retained)?;
    Ok(facts)
}

/// Of all copies of bad blobs in packs that are there, those that do not open; and the notes whose blobs have none such.
fn bad_blob_lists(
    repo: &Repo,
    listed: &[ListedObject],
    lookup: &IndexLookup,
    report: &OperationReport,
) -> Result<(HashSet<IndexEntry>, Vec<ObjectId>)> {
    let stored = repo.bad_blobs()?;
    let there: HashSet<_> = listed.iter().map(|pack| pack.name.id).collect();
    let reader = BlobReader::new(repo, lookup);
    let mut wrong = HashSet::new();
    for id in stored.require_complete(repo)? {
        report.go_on()?;
        let copies = lookup.locations(&id)?.into_iter();
        for location in copies.filter(|copy| there.contains(&copy.pack)) {
            match reader.read_copy(&location, &id) {
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(_) => drop(wrong.insert(IndexEntry { id, location })),
                Ok(_) => {}
            }
        }
    }
    let failing: HashSet<_> = wrong.iter().map(|entry| entry.id).collect();
    let is_over = |bad: &BadBlobs| {
        let fails = |blob: &BadBlob| failing.contains(&blob.id);
        bad.domain == repo.domain_keys().id() && !bad.blobs.iter().any(fails)
    };
    let over = stored.lists.iter().filter(|(_, bad)| is_over(bad));
    Ok((wrong, over.map(|(name, _)| *name).collect()))
}

/// Objects that this version does not know how to keep alive.
fn refuse_unknown_objects(repo: &Repo) -> Result<()> {
    match repo.storage_reader().list(ObjectKind::Wal)?.first() {
        None => Ok(()),
        Some(foreign) => Err(Error::new(
            ErrorKind::TooNew,
            format!(
                "{} may need anything; {}",
                foreign.name.path(),
                crate::envelope::gate::upgrade_advice()
            ),
        )),
    }
}

/// The packs of this domain, and the names of the others.
fn own_packs(
    repo: &Repo,
    listed: Vec<ListedObject>,
    index: &IndexSummary,
) -> Result<(Vec<ListedObject>, HashSet<ObjectId>)> {
    let (mut ours, mut others) = (Vec::new(), HashSet::new());
    for pack in listed {
        if repo.is_of_this_domain(&pack, index)? {
            ours.push(pack)
        } else {
            others.insert(pack.name.id);
        }
    }
    Ok((ours, others))
}

/// Packs that were stored and indexed behind our listing of packs. Others that the index names are gone.
fn stored_since(repo: &Repo, listed: &[ListedObject], index: &IndexSummary) -> Result<Vec<ListedObject>> {
    let known: HashSet<_> = listed.iter().map(|listed| listed.name.id).collect();
    let mut others: Vec<_> = index.packs.keys().filter(|id| !known.contains(*id)).collect();
    others.sort_unstable();
    let found = others.into_iter().map(|id| {
        let name = ObjectName::new(ObjectKind::Pack, *id);
        match repo.storage_reader().stat(name) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    });
    found.filter_map(Result::transpose).collect()
}

fn packs(listed: &[ListedObject], marks: &[StoredMark], index: &IndexSummary) -> Vec<PackUsage> {
    let mut marked: HashMap<ObjectId, Option<UnixNanos>> = HashMap::new();
    for (mark, pack) in marks
        .iter()
        .flat_map(|mark| mark.mark.packs.iter().map(move |pack| (mark, pack)))
    {
        // Of several marks on a pack the latest counts, which is the safe side.
        let since = marked.entry(pack.pack).or_insert(mark.since);
        *since = since.zip(mark.since).map(|(a, b)| a.max(b));
    }
    let facts = |listed: &ListedObject| PackUsage {
        id: listed.name.id,
        len: listed.len,
        modified: listed.modified,
        standing: match index.packs.get(&listed.name.id) {
            Some(len) if *len == listed.len => IndexStanding::Sound,
            Some(_) => IndexStanding::WrongSize,
            None => IndexStanding::Unindexed,
        },
        marked: marked.get(&listed.name.id).copied(),
        live_bytes: 0,
        spare_copies: 0,
        needed: false,
        outdated: false,
        retained: false,
    };
    let mut packs: Vec<_> = listed.iter().map(facts).collect();
    packs.sort_by_key(|pack| (pack.modified, pack.id));
    packs
}

/// Stored bytes below a root.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReachableBytes {
    /// All; a chunk that comes twice counts twice.
    pub stored: u64,
    /// Those that nothing has which was walked before.
    pub added: u64,
}

/// A copy of a blob in a pack that is there, of the right size.
#[derive(Clone, Copy, Debug)]
pub struct BlobCopy {
    /// Number of its pack.
    pub pack: usize,
    pub location: Location,
}

/// Takes a blob and its copies, those in older packs first.
type CopiesVisitor<'e> = &'e mut dyn FnMut(&BlobId, &[BlobCopy]) -> Result<()>;

impl PruneInput {
    /// Calls `each` for every blob that the index knows.
    pub fn each_blob(&self, each: CopiesVisitor) -> Result<()> {
        let numbers: HashMap<_, _> = self
            .packs
            .iter()
            .zip(0..)
            .map(|(pack, at)| (pack.id, at))
            .collect();
        let copy = |entry: &IndexEntry| {
            let pack = *numbers.get(&entry.location.pack)?;
            let is_sound = self.packs[pack].standing == IndexStanding::Sound && !self.wrong.contains(entry);
            is_sound.then_some(BlobCopy {
                pack,
                location: entry.location,
            })
        };
        let (mut current, mut copies): (Option<BlobId>, Vec<BlobCopy>) = (None, Vec::new());
        let mut end = |current: &Option<BlobId>, copies: &mut Vec<BlobCopy>| {
            copies.sort_by_key(|copy| copy.pack);
            let ended = current.as_ref().map_or(Ok(()), |id| each(id, copies));
            copies.clear();
            ended
        };
        for entry in self.lookup.iter_rows()? {
            let entry = entry?;
            if current != Some(entry.id) {
                end(&current, &mut copies)?;
                current = Some(entry.id);
            }
            copies.extend(copy(&entry));
        }
        end(&current, &mut copies)
    }

    /// True if a live snapshot needs the blob.
    pub fn is_live(&self, id: &BlobId) -> bool {
        is_in(&self.live, &self.blobs, id)
    }

    /// Finds our domain's packs that are sealed under another epoch than the newest, by their headers.
    pub fn find_outdated(&mut self, repo: &Repo, report: &OperationReport) -> Result<()> {
        let newest = repo.keyring()?.newest().id;
        let sound = |pack: &&mut PackUsage| pack.standing == IndexStanding::Sound && pack.marked.is_none();
        for pack in self.packs.iter_mut().filter(sound) {
            report.go_on()?;
            let header = repo.pack_header(&pack.id)?;
            pack.outdated = header.domain == repo.domain_keys().id() && header.epoch != newest;
        }
        Ok(())
    }

    /// Snapshots that are forgotten, and may still be brought back.
    pub fn retained_snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        let retained = self.catalog.forgotten.iter();
        let retained = retained.filter(|forgotten| !self.expired.contains(&forgotten.id));
        retained.filter_map(|forgotten| forgotten.snapshot.as_ref())
    }

    /// Says of each pack what is needed of it. Of several copies in unmarked packs the one in the oldest is kept.
    fn assign_copies(&mut self, repo: &Repo, retained: &BlobSet) -> Result<()> {
        let reader = BlobReader::new(repo, &self.lookup);
        let mut packs = self.packs.clone();
        self.each_blob(&mut |id, copies| {
            if !is_in(retained, &self.blobs, id) {
                return Ok(());
            }
            let is_live = self.is_live(id);
            let kept = copies.iter().position(|copy| packs[copy.pack].marked.is_none());
            match (kept, copies.first()) {
                (Some(kept), _) if is_live => {
                    for (at, copy) in copies.iter().enumerate() {
                        let pack = &mut packs[copy.pack];
                        pack.live_bytes += u64::from(copy.location.len) * u64::from(at == kept);
                        pack.spare_copies += u64::from(at != kept);
                    }
                }
                (Some(_), _) => {}
                (None, Some(first)) => {
                    copies.iter().for_each(|copy| packs[copy.pack].retained = true);
                    // All are marked: the one that comes to stay must be one that opens.
                    let opens = |copy: &&BlobCopy| reader.read_copy(&copy.location, id).is_ok();
                    let first = if is_live && copies.len() > 1 {
                        copies.iter().find(opens).unwrap_or(first)
                    } else {
                        first
                    };
                    packs[first.pack].needed |= is_live;
                    packs[first.pack].live_bytes += u64::from(first.location.len) * u64::from(is_live);
                }
                (None, None) if is_live => return Err(gone_packs(id)),
                (None, None) => {}
            }
            Ok(())
        })?;
        self.packs = packs;
        Ok(())
    }
}

fn is_in(set: &BlobSet, blobs: &NumberedBlobs, id: &BlobId) -> bool {
    blobs.number(id).is_some_and(|number| set.contains(number))
}

#[cold]
fn gone_packs(id: &BlobId) -> Error {
    Error::corrupt(format!(
        "blob {}, which a snapshot needs, is in no pack that is there and whole; `levault repair snapshots` records what is lost",
        id.short()
    ))
}

/// What snapshots need, as it is found.
struct NeededBlobs<'a> {
    closure: ReachabilityWalk<'a>,
    blobs: &'a NumberedBlobs,
    found: BlobSet,
    walked: HashMap<ReachabilityRootId, ReachableBytes>,
    seen: VisitedNodes,
}

impl NeededBlobs<'_> {
    /// What can still be had of a snapshot that is to be kept from the sweep; nobody minds what is gone.
    fn try_sources(&mut self, sources: &[SnapshotSource]) -> Result<()> {
        let mut roots = sources.iter().flat_map(source_roots);
        roots.try_for_each(|root| match self.root(root) {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Corrupt | ErrorKind::Torn | ErrorKind::NotFound
                ) =>
            {
                Ok(())
            }
            done => done,
        })
    }

    fn snapshot(&mut self, id: ObjectId, snapshot: &Snapshot) -> Result<()> {
        let mut roots = snapshot.sources.iter().flat_map(source_roots);
        roots
            .try_for_each(|root| self.root(root))
            .context(|| format!("snapshot {}", id.short()))
    }

    fn root(&mut self, root: ReachabilityRoot) -> Result<()> {
        let Entry::Vacant(place) = self.walked.entry(root.id()) else {
            return Ok(());
        };
        let walked = place.insert(ReachableBytes::default());
        let (blobs, found) = (self.blobs, &mut self.found);
        self.closure.walk_root(root, &mut self.seen, &mut |_, id| {
            let number = blobs.number(id).ok_or_else(|| gone_packs(id))?;
            let len = blobs.stored_len(number);
            walked.stored += len;
            walked.added += len * u64::from(found.insert(number));
            Ok(())
        })
    }
}
