//! What a prune goes by, read in the order that deleters keep: packs, then marks and index, then all snapshots.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::clock::UnixNanos;
use crate::error::{Act, Error, Kind, Result};
use crate::facts::{Bad, BadBlob};
use crate::id::{BlobId, ObjectId};
use crate::index::{IndexEntry, Location, Lookup};
use crate::ops::blobs::{Bits, Blobs};
use crate::ops::closure::{Closure, Root, RootId, Seen, roots};
use crate::ops::recent::Recent;
use crate::repo::{BlobReader, Catalog, IndexFacts, Repo, StoredMark};
use crate::report::Report;
use crate::snapshot::{Snapshot, Source};
use crate::storage::{Listed, ObjectKind, ObjectName};

use super::plan::{PackFacts, Standing};
use super::rebase;

/// All that is there, and what needs what.
pub struct Facts {
    /// The packs that are listed, oldest first.
    pub packs: Vec<PackFacts>,
    /// Listed packs of other domains: none of ours to delete.
    pub others: HashSet<ObjectId>,
    pub marks: Vec<StoredMark>,
    pub index: IndexFacts,
    pub lookup: Lookup,
    pub blobs: Blobs,
    /// What live snapshots need.
    pub live: Bits,
    /// What lies below each root that a snapshot has.
    pub walked: HashMap<RootId, Walked>,
    /// The snapshots, those that are forgotten too.
    pub catalog: Catalog,
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
/// Of the first object that cannot be read or is not understood: it may need anything. [`Kind::Corrupt`] if a live
/// snapshot needs a blob that is nowhere.
pub fn gather(repo: &Repo, now: UnixNanos, grace: i64, report: &Report) -> Result<Facts> {
    refuse_strangers(repo)?;
    for _ in 1..LISTINGS_MAX {
        match gather_once(repo, now, grace, report) {
            // A snapshot that was published behind our listing of the index needs what only a newer one knows.
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Corrupt) => {}
            gathered => return gathered,
        }
    }
    // What four listings lack is lost.
    gather_once(repo, now, grace, report).map_err(|error| match error.kind() {
        Kind::NotFound => error.as_kind(Kind::Corrupt),
        _ => error,
    })
}

fn gather_once(repo: &Repo, now: UnixNanos, grace: i64, report: &Report) -> Result<Facts> {
    let mut listed = repo.storage().list(ObjectKind::Pack).act(|| "list the packs")?;
    let marks = repo.marks()?;
    let index = repo.index_facts()?;
    if let Some(what) = index.unreadable.first() {
        return Err(Error::corrupt(what.clone()));
    }
    listed.extend(stored_since(repo, &listed, &index)?);
    let (listed, others) = ours(repo, listed, &index)?;
    let lookup = repo.lookup_of(&index)?;
    let blobs = Blobs::collect(lookup.iter_all()?, lookup.len())?;
    let catalog = repo.catalog_to_delete_by()?.of_domain(repo.domain());
    let (live, retained, expired, walked) = {
        let reader = BlobReader::new(repo, &lookup);
        let source = Recent::new(&reader);
        let mut needs = Needs {
            closure: Closure {
                source: &source,
                report,
            },
            blobs: &blobs,
            found: Bits::new(blobs.len()),
            walked: HashMap::new(),
            seen: Seen::default(),
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
        for before in rebase::before(repo, &catalog, now, grace)? {
            needs.try_sources(&before.sources)?;
        }
        let expired: Vec<_> = expired.into_iter().map(|forgotten| forgotten.id).collect();
        (live, needs.found, expired, needs.walked)
    };
    let packs = packs(&listed, &marks, &index);
    let (wrong, bad_over) = bad(repo, &listed, &lookup, report)?;
    let mut facts = Facts {
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
    facts.assign(repo, &retained)?;
    Ok(facts)
}

/// Of all copies of bad blobs in packs that are there, those that do not open; and the notes whose blobs have none such.
fn bad(
    repo: &Repo,
    listed: &[Listed],
    lookup: &Lookup,
    report: &Report,
) -> Result<(HashSet<IndexEntry>, Vec<ObjectId>)> {
    let stored = repo.bad()?;
    let there: HashSet<_> = listed.iter().map(|pack| pack.name.id).collect();
    let reader = BlobReader::new(repo, lookup);
    let mut wrong = HashSet::new();
    for id in stored.complete(repo)? {
        report.go_on()?;
        let copies = lookup.locations(&id)?.into_iter();
        for location in copies.filter(|copy| there.contains(&copy.pack)) {
            match reader.read_at(&location, &id) {
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                Err(_) => drop(wrong.insert(IndexEntry { id, location })),
                Ok(_) => {}
            }
        }
    }
    let failing: HashSet<_> = wrong.iter().map(|entry| entry.id).collect();
    let is_over = |bad: &Bad| {
        let fails = |blob: &BadBlob| failing.contains(&blob.id);
        bad.domain == repo.domain_keys().id() && !bad.blobs.iter().any(fails)
    };
    let over = stored.bad.iter().filter(|(_, bad)| is_over(bad));
    Ok((wrong, over.map(|(name, _)| *name).collect()))
}

/// Objects that this version does not know how to keep alive.
fn refuse_strangers(repo: &Repo) -> Result<()> {
    match repo.storage().list(ObjectKind::Wal)?.first() {
        None => Ok(()),
        Some(stranger) => Err(Error::new(
            Kind::TooNew,
            format!(
                "{} may need anything; {}",
                stranger.name.path(),
                crate::envelope::gate::advice()
            ),
        )),
    }
}

/// The packs of this domain, and the names of the others.
fn ours(repo: &Repo, listed: Vec<Listed>, index: &IndexFacts) -> Result<(Vec<Listed>, HashSet<ObjectId>)> {
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
fn stored_since(repo: &Repo, listed: &[Listed], index: &IndexFacts) -> Result<Vec<Listed>> {
    let known: HashSet<_> = listed.iter().map(|listed| listed.name.id).collect();
    let mut others: Vec<_> = index.packs.keys().filter(|id| !known.contains(*id)).collect();
    others.sort_unstable();
    let found = others.into_iter().map(|id| {
        let name = ObjectName::new(ObjectKind::Pack, *id);
        match repo.storage().stat(name) {
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            found => found.map(Some),
        }
    });
    found.filter_map(Result::transpose).collect()
}

fn packs(listed: &[Listed], marks: &[StoredMark], index: &IndexFacts) -> Vec<PackFacts> {
    let mut marked: HashMap<ObjectId, Option<UnixNanos>> = HashMap::new();
    for (mark, pack) in marks
        .iter()
        .flat_map(|mark| mark.mark.packs.iter().map(move |pack| (mark, pack)))
    {
        // Of several marks on a pack the latest counts, which is the safe side.
        let since = marked.entry(pack.pack).or_insert(mark.since);
        *since = since.zip(mark.since).map(|(a, b)| a.max(b));
    }
    let facts = |listed: &Listed| PackFacts {
        id: listed.name.id,
        len: listed.len,
        modified: listed.modified,
        standing: match index.packs.get(&listed.name.id) {
            Some(len) if *len == listed.len => Standing::Sound,
            Some(_) => Standing::WrongSize,
            None => Standing::Unindexed,
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
pub struct Walked {
    /// All; a chunk that comes twice counts twice.
    pub stored: u64,
    /// Those that nothing has which was walked before.
    pub added: u64,
}

/// A copy of a blob in a pack that is there, of the right size.
#[derive(Clone, Copy, Debug)]
pub struct Copy {
    /// Number of its pack.
    pub pack: usize,
    pub location: Location,
}

/// Takes a blob and its copies, those in older packs first.
type EachBlob<'e> = &'e mut dyn FnMut(&BlobId, &[Copy]) -> Result<()>;

impl Facts {
    /// Calls `each` for every blob that the index knows.
    pub fn each_blob(&self, each: EachBlob) -> Result<()> {
        let numbers: HashMap<_, _> = self
            .packs
            .iter()
            .zip(0..)
            .map(|(pack, at)| (pack.id, at))
            .collect();
        let copy = |entry: &IndexEntry| {
            let pack = *numbers.get(&entry.location.pack)?;
            let is_sound = self.packs[pack].standing == Standing::Sound && !self.wrong.contains(entry);
            is_sound.then_some(Copy {
                pack,
                location: entry.location,
            })
        };
        let (mut current, mut copies): (Option<BlobId>, Vec<Copy>) = (None, Vec::new());
        let mut end = |current: &Option<BlobId>, copies: &mut Vec<Copy>| {
            copies.sort_by_key(|copy| copy.pack);
            let ended = current.as_ref().map_or(Ok(()), |id| each(id, copies));
            copies.clear();
            ended
        };
        for entry in self.lookup.iter_all()? {
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
    pub fn find_outdated(&mut self, repo: &Repo, report: &Report) -> Result<()> {
        let newest = repo.keyring()?.newest().id;
        let sound = |pack: &&mut PackFacts| pack.standing == Standing::Sound && pack.marked.is_none();
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
    fn assign(&mut self, repo: &Repo, retained: &Bits) -> Result<()> {
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
                    let opens = |copy: &&Copy| reader.read_at(&copy.location, id).is_ok();
                    let first = if is_live && copies.len() > 1 {
                        copies.iter().find(opens).unwrap_or(first)
                    } else {
                        first
                    };
                    packs[first.pack].needed |= is_live;
                    packs[first.pack].live_bytes += u64::from(first.location.len) * u64::from(is_live);
                }
                (None, None) if is_live => return Err(gone(id)),
                (None, None) => {}
            }
            Ok(())
        })?;
        self.packs = packs;
        Ok(())
    }
}

fn is_in(set: &Bits, blobs: &Blobs, id: &BlobId) -> bool {
    blobs.number(id).is_some_and(|number| set.contains(number))
}

#[cold]
fn gone(id: &BlobId) -> Error {
    Error::corrupt(format!(
        "blob {}, which a snapshot needs, is in no pack that is there and whole; `levault repair snapshots` records what is lost",
        id.short()
    ))
}

/// What snapshots need, as it is found.
struct Needs<'a> {
    closure: Closure<'a>,
    blobs: &'a Blobs,
    found: Bits,
    walked: HashMap<RootId, Walked>,
    seen: Seen,
}

impl Needs<'_> {
    /// What can still be had of a snapshot that is to be kept from the sweep; nobody minds what is gone.
    fn try_sources(&mut self, sources: &[Source]) -> Result<()> {
        let mut roots = sources.iter().flat_map(roots);
        roots.try_for_each(|root| match self.root(root) {
            Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::Torn | Kind::NotFound) => Ok(()),
            done => done,
        })
    }

    fn snapshot(&mut self, id: ObjectId, snapshot: &Snapshot) -> Result<()> {
        let mut roots = snapshot.sources.iter().flat_map(roots);
        roots
            .try_for_each(|root| self.root(root))
            .act(|| format!("snapshot {}", id.short()))
    }

    fn root(&mut self, root: Root) -> Result<()> {
        let Entry::Vacant(place) = self.walked.entry(root.id()) else {
            return Ok(());
        };
        let walked = place.insert(Walked::default());
        let (blobs, found) = (self.blobs, &mut self.found);
        self.closure.root(root, &mut self.seen, &mut |_, id| {
            let number = blobs.number(id).ok_or_else(|| gone(id))?;
            let len = blobs.stored_len(number);
            walked.stored += len;
            walked.added += len * u64::from(found.insert(number));
            Ok(())
        })
    }
}
