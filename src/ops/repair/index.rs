//! Rebuilds the index from the packs.
//!
//! `repair index`: what packs say of themselves becomes the index again.
//!
//! ```text
//! index, then packs --plan--> directories of packs that are not indexed whole --> new segments
//!                                                                    --> what snapshots lack then --> bad/
//!                                                                    --> segments without packs that are gone
//!                                                                    --> damaged segments are deleted
//! ```
//! The index is listed before the packs: a pack that a segment named was durable before, so one that the listing lacks is
//! gone, and a pack that no segment named may be a running backup's; it is then indexed twice, which does no harm.

use std::collections::{HashMap, HashSet};

use crate::engine::rewrite_segments::rewrite;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::index::{IndexEntry, Segment, SegmentPack};
use crate::limits::SEGMENT_ENTRIES_MAX;
use crate::pack::{self, PackedBlob};
use crate::repo::{DeletePermit, DurableObject, IndexSummary, Repo, location_of};
use crate::report::OperationReport;
use crate::storage::{ListedObject, ObjectKind, ObjectName};

use super::{RepairMode, missing_blobs};

/// How the index is repaired.
#[derive(Clone, Copy, Debug, Default)]
pub struct RepairIndex {
    /// Believe no segment: the whole index is made anew from the packs.
    pub read_all_packs: bool,
    /// Whether it is done.
    pub mode: RepairMode,
}

/// What is wrong with the index, and what becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexPlan {
    /// Packs that are indexed from their own directories.
    pub index: Vec<SegmentPack>,
    /// Packs that segments name and that are gone.
    pub gone: Vec<ObjectId>,
    /// Segments that cannot be read.
    pub damaged: Vec<ObjectId>,
    /// Segments that are replaced by what was read from packs.
    pub replaced: Vec<ObjectId>,
}

/// What was done, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexOutcome {
    /// What was planned.
    pub plan: IndexPlan,
    /// Packs whose directories were read, and the blobs in them.
    pub packs: u64,
    /// See [`IndexOutcome::packs`].
    pub blobs: u64,
    /// Packs whose directories could not be read, and why; marked ones are not among them, nobody counts on those. While
    /// there are such, damaged segments stay: a whole copy of one, brought back, would still say what lies where in them.
    pub unread: Vec<(ObjectId, String)>,
    /// Blobs that snapshots need and no pack has that is there, noted as bad; they are not looked for in a dry run.
    pub noted: u64,
}

impl IndexPlan {
    /// True if nothing is wrong.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl RepairIndex {
    /// Reads the directories of packs that are not indexed; writes only if it is told to. A pack that cannot be read is told
    /// of, whatever the reason.
    ///
    /// # Errors
    /// The storage's, of listings, segments and writes; [`ErrorKind::TooNew`] and [`ErrorKind::WrongKey`] for a segment that is another program's to judge.
    pub fn run(&self, repo: &Repo, report: &OperationReport) -> Result<IndexOutcome> {
        repo.check_writable()?;
        let facts = repo.index_summary()?;
        if let Some(foreign) = facts.unexpected.first() {
            return Err(foreign.error());
        }
        let listed = repo
            .storage_reader()
            .list(ObjectKind::Pack)
            .context(|| "list the packs")?;
        let listed = repo.filter_own_packs_by_header(listed, &facts)?;
        let plan = self.plan(repo, &facts, &listed)?;
        let mut outcome = IndexOutcome {
            plan,
            ..IndexOutcome::default()
        };
        let mut segments = SegmentWriter::new(repo, self.mode);
        for pack in outcome.plan.index.clone() {
            report.go_on()?;
            match read_pack_directory(repo, &pack) {
                Ok(entries) => {
                    outcome.packs += 1;
                    outcome.blobs += entries.len() as u64;
                    segments.add(pack, entries)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) => outcome.unread.push((pack.pack, error.to_string())),
            }
        }
        self.carry_over(&facts, &outcome, &mut segments)?;
        let marked = repo.marked_packs()?;
        outcome.unread.retain(|(pack, _)| !marked.contains(pack));
        let newest = segments.finish(outcome.plan.replaced.clone())?;
        if self.mode == RepairMode::Apply && !outcome.plan.is_empty() {
            outcome.noted = note_missing(repo, &outcome.plan, report)?;
            drop_old(repo, facts, &outcome, newest, report)?;
        }
        Ok(outcome)
    }

    fn plan(&self, repo: &Repo, facts: &IndexSummary, listed: &[ListedObject]) -> Result<IndexPlan> {
        let known = if self.read_all_packs {
            HashMap::new()
        } else {
            indexed(repo, facts)?
        };
        let is_whole = |pack: &ListedObject| {
            known
                .get(&pack.name.id)
                .is_some_and(|known| known.is_fully_indexed(pack.len))
        };
        // What is indexed with another length is a damaged pack, not a damaged index.
        let has_its_length =
            |pack: &ListedObject| facts.packs.get(&pack.name.id).is_none_or(|len| *len == pack.len);
        let index = listed
            .iter()
            .filter(|pack| !is_whole(pack) && has_its_length(pack));
        Ok(IndexPlan {
            index: index.map(segment_pack).collect(),
            gone: gone_packs(repo, facts, listed)?,
            damaged: facts.damaged.clone(),
            replaced: if self.read_all_packs {
                superseded_segments(repo, facts)?
            } else {
                Vec::new()
            },
        })
    }

    /// What only the old segments say of packs that could not be read, or have another length, where all are replaced.
    fn carry_over(
        &self,
        facts: &IndexSummary,
        outcome: &IndexOutcome,
        segments: &mut SegmentWriter,
    ) -> Result<()> {
        if !self.read_all_packs {
            return Ok(());
        }
        let unread: HashSet<_> = outcome.unread.iter().map(|(pack, _)| *pack).collect();
        let read: HashSet<_> = outcome.plan.index.iter().map(|pack| pack.pack).collect();
        let gone: HashSet<_> = outcome.plan.gone.iter().copied().collect();
        let stays = |pack: &ObjectId| unread.contains(pack) || !read.contains(pack) && !gone.contains(pack);
        for id in &facts.segments {
            let segment = segments.repo.segment(id)?;
            for pack in segment.packs().iter().filter(|pack| stays(&pack.pack)) {
                let entries = segment.entries().iter();
                let here = entries.filter(|entry| entry.location.pack == pack.pack).copied();
                segments.add(*pack, here.collect())?;
            }
        }
        Ok(())
    }
}

fn segment_pack(listed: &ListedObject) -> SegmentPack {
    SegmentPack {
        pack: listed.name.id,
        len: listed.len,
    }
}

/// What the index says of one pack.
#[derive(Clone, Copy, Debug, Default)]
struct IndexedPack {
    blobs: u64,
    /// Stored bytes of them.
    bytes: u64,
}

impl IndexedPack {
    /// True if it says where every part lies: parts and directory fill a pack to the last byte.
    fn is_fully_indexed(&self, pack_bytes: u64) -> bool {
        pack::stored_bytes(self.blobs, self.bytes) == Some(pack_bytes)
    }
}

fn indexed(repo: &Repo, facts: &IndexSummary) -> Result<HashMap<ObjectId, IndexedPack>> {
    let mut indexed: HashMap<ObjectId, IndexedPack> = HashMap::new();
    for entry in repo.lookup_for(facts)?.iter_rows()? {
        let location = entry?.location;
        let pack = indexed.entry(location.pack).or_default();
        pack.blobs += 1;
        pack.bytes += u64::from(location.len);
    }
    Ok(indexed)
}

/// Packs that are indexed and neither listed nor found by themselves: a listing may lag.
fn gone_packs(repo: &Repo, facts: &IndexSummary, listed: &[ListedObject]) -> Result<Vec<ObjectId>> {
    let listed: HashSet<_> = listed.iter().map(|pack| pack.name.id).collect();
    let mut gone = Vec::new();
    for id in facts.packs.keys().filter(|id| !listed.contains(*id)) {
        match repo.storage_reader().stat(ObjectName::new(ObjectKind::Pack, *id)) {
            Err(error) if error.kind() == ErrorKind::NotFound => gone.push(*id),
            found => drop(found?),
        }
    }
    gone.sort_unstable();
    Ok(gone)
}

/// All segments that can be read, and what they replace.
fn superseded_segments(repo: &Repo, facts: &IndexSummary) -> Result<Vec<ObjectId>> {
    let mut replaced = facts.replaced.clone();
    for id in &facts.segments {
        replaced.push(*id);
        replaced.extend_from_slice(repo.segment(id)?.supersedes());
    }
    replaced.sort_unstable();
    replaced.dedup();
    Ok(replaced)
}

/// What lies where in a pack of our domain, by its own word.
fn read_pack_directory(repo: &Repo, pack: &SegmentPack) -> Result<Vec<IndexEntry>> {
    let of_pack = || ObjectName::new(ObjectKind::Pack, pack.pack).path();
    let key = repo.pack_key(&pack.pack).context(of_pack)?;
    if key.domain().id() != repo.domain_keys().id() {
        return Err(Error::corrupt("it is another domain's").context(of_pack()));
    }
    let directory = repo.pack_directory(&pack.pack, pack.len).context(of_pack)?;
    let entry = |blob: &PackedBlob| IndexEntry {
        id: blob.id,
        location: location_of(pack.pack, blob),
    };
    Ok(directory.iter().map(entry).collect())
}

/// Segments are begun, filled and stored.
struct SegmentWriter<'r> {
    repo: &'r Repo,
    mode: RepairMode,
    packs: Vec<SegmentPack>,
    entries: Vec<IndexEntry>,
}

impl<'r> SegmentWriter<'r> {
    fn new(repo: &'r Repo, mode: RepairMode) -> Self {
        Self {
            repo,
            mode,
            packs: Vec::new(),
            entries: Vec::new(),
        }
    }

    fn add(&mut self, pack: SegmentPack, entries: Vec<IndexEntry>) -> Result<()> {
        let mut rest = &entries[..];
        loop {
            let (part, after) = rest.split_at(rest.len().min(SEGMENT_ENTRIES_MAX - self.entries.len()));
            self.packs.push(pack);
            self.entries.extend_from_slice(part);
            rest = after;
            if rest.is_empty() {
                return Ok(());
            }
            self.put(Vec::new())?;
        }
    }

    /// The last one alone says what is replaced: until it is there readers have both, which is one too many and none too
    /// few.
    fn finish(mut self, replaced: Vec<ObjectId>) -> Result<Option<DurableObject>> {
        if self.packs.is_empty() && replaced.is_empty() {
            Ok(None)
        } else {
            self.put(replaced)
        }
    }

    /// The segment, if it was stored.
    fn put(&mut self, replaced: Vec<ObjectId>) -> Result<Option<DurableObject>> {
        let (packs, entries) = (std::mem::take(&mut self.packs), std::mem::take(&mut self.entries));
        let segment = Segment::new(packs, replaced, entries)?;
        match self.mode {
            RepairMode::Apply => self
                .repo
                .put_segment(&segment)
                .context(|| "store an index segment")
                .map(Some),
            RepairMode::DryRun => Ok(None),
        }
    }
}

/// While segments name packs that are gone, whoever stands on a snapshot looks for what it needs; the notes take over.
fn note_missing(repo: &Repo, plan: &IndexPlan, report: &OperationReport) -> Result<u64> {
    let lookup = repo.lookup()?;
    let gone: HashSet<_> = plan.gone.iter().copied().collect();
    missing_blobs::store_bad_blob_list(repo, &missing_blobs::find_missing(repo, &lookup, &gone, report)?)
}

/// Deletes what the new segments replace.
fn drop_old(
    repo: &Repo,
    mut facts: IndexSummary,
    outcome: &IndexOutcome,
    newest: Option<DurableObject>,
    report: &OperationReport,
) -> Result<()> {
    let plan = &outcome.plan;
    if plan.replaced.is_empty() && !plan.gone.is_empty() {
        facts.damaged.clear();
        let gone: HashSet<_> = plan.gone.iter().copied().collect();
        rewrite(repo, &facts, &gone, report)?;
    }
    // What a segment that cannot be read replaced, if that is still listed, counts again: it says too much, not too little.
    let damaged = plan.damaged.iter().filter(|_| outcome.unread.is_empty());
    let replaced = newest.map(|newest| (DeletePermit::Superseded(newest), plan.replaced.iter().copied()));
    if let Some((permit, replaced)) = replaced {
        repo.delete_all(&permit, ObjectKind::Index, replaced, report)?;
    }
    repo.delete_all(
        &DeletePermit::Damaged,
        ObjectKind::Index,
        damaged.copied(),
        report,
    )
}
