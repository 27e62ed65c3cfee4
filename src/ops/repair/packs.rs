//! Heals damaged packs, or stores their readable blobs again.
//!
//! `repair packs`: damaged packs are healed by their parity; what still opens in the others is stored again; what opens nowhere is noted as bad, so that the next
//! backup which meets the content stores it anew; the damaged packs are marked.
//!
//! ```text
//! read, hash, open every part --> damaged packs --fates of their blobs--> new packs --> index --> bad/ --> marks
//! ```
//! Nothing is deleted: a marked pack stays for the grace of the prune, and a whole copy of it that is brought back until
//! then is used as if nothing had been.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::annotations::{BadBlob, DeletionMark, MarkedPack};
use crate::blob::BlobKind;
use crate::engine::heal_packs::{Heal, HealedObject};
use crate::envelope::object_id;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{BlobId, ObjectId};
use crate::index::{IndexEntry, Location};
use crate::index_cache::IndexLookup;
use crate::limits::{MARK_PACKS_MAX, PACK_STORED_BYTES_MAX};
use crate::pack::{PackKey, read_blob, scan_directory};
use crate::repo::{BlobReader, BlobWriter, DeletePermit, IndexSummary, Repo, location_of, sealed_name};
use crate::report::OperationReport;
use crate::storage::{ListedObject, ObjectKind, ObjectName};

use super::{RepairMode, missing_blobs, select_packs};

/// Blobs stored again at a time, stored bytes.
const BATCH_BYTES: u64 = 8 << 20;

/// Which packs are looked at.
#[derive(Clone, Debug, Default)]
pub struct RepairPacks {
    /// Ids or the beginnings of them; all packs if there are none.
    pub packs: Vec<String>,
    /// Whether it is done.
    pub mode: RepairMode,
}

/// A pack that is not what was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedPack {
    /// Its name.
    pub id: ObjectId,
    /// Its bytes, as listed; `None` if it is gone.
    pub len: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// Its blobs, as its directory or the index has them.
    pub blobs: u64,
    /// Those of them that do not open in it.
    pub broken: u64,
}

/// What becomes of a blob of a damaged pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobFate {
    /// A copy in another pack was opened and is right.
    Elsewhere,
    /// It opens here and nowhere else: it is stored again.
    Again,
    /// It opens nowhere.
    Lost,
}

/// Fates, from what was found. Pure.
pub fn pack_action(opens_here: bool, opens_elsewhere: bool) -> BlobFate {
    match (opens_here, opens_elsewhere) {
        (_, true) => BlobFate::Elsewhere,
        (true, false) => BlobFate::Again,
        (false, false) => BlobFate::Lost,
    }
}

/// What was found and done, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackRepairOutcome {
    /// Packs that were read, and their bytes.
    pub packs_read: u64,
    /// See [`PackRepairOutcome::packs_read`].
    pub bytes_read: u64,
    /// Packs that their parity puts right.
    pub healed: Vec<HealedObject>,
    /// Those that are damaged or gone, and cannot be healed.
    pub damaged: Vec<DamagedPack>,
    /// Blobs of damaged packs that other packs have.
    pub elsewhere: u64,
    /// Blobs that are stored again, and their stored bytes.
    pub again: u64,
    /// See [`PackRepairOutcome::again`].
    pub bytes_again: u64,
    /// Blobs that open nowhere.
    pub lost: Vec<BadBlob>,
    /// Those of them that were not noted before.
    pub noted: u64,
    /// Packs that get a mark; the other damaged ones have one, or are gone.
    pub marked: Vec<MarkedPack>,
    /// Damaged marks and notes on bad blobs, as the storage calls them. They say nothing and are deleted: what they marked
    /// is marked again by a prune, and what they noted was found again, if all packs were read.
    pub unread: Vec<ObjectName>,
}

impl RepairPacks {
    /// Reads packs whole, and opens every part of them.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the index is damaged, which is to be repaired first, unless packs are named; [`ErrorKind::Busy`] while a prune is at work;
    /// the storage's, but for packs that were named: of those, what cannot be read counts as damaged.
    pub fn run(&self, repo: &Repo, report: &OperationReport) -> Result<PackRepairOutcome> {
        repo.check_writable()?;
        let _lease = match self.mode {
            RepairMode::Apply => Some(repo.lease("repair packs")?),
            RepairMode::DryRun => None,
        };
        let ground = PackRepairContext::load(repo, report, !self.packs.is_empty())?;
        let mut outcome = PackRepairOutcome::default();
        let wanted = select_packs("pack", &self.packs, ground.known_copies())?;
        let mut found = ground.examine(&wanted, self, &mut outcome)?;
        ground.enter_parts(&mut found)?;
        let plan = ground.plan(&found)?;
        plan.record_faults(&ground, found, &mut outcome)?;
        outcome.unread = damaged_annotations(repo, self.packs.is_empty())?;
        if self.mode == RepairMode::Apply {
            plan.carry_out(&ground, &outcome)?;
        }
        Ok(outcome)
    }
}

/// What there is.
struct PackRepairContext<'a> {
    repo: &'a Repo,
    report: &'a OperationReport,
    listed: HashMap<ObjectId, ListedObject>,
    marked: HashSet<ObjectId>,
    index: IndexSummary,
    lookup: IndexLookup,
}

/// A pack that did not read as it should.
struct FaultyPack {
    id: ObjectId,
    what: String,
    /// Each blob of it, where, and whether it opens.
    parts: BTreeMap<(BlobId, Location), bool>,
}

impl<'a> PackRepairContext<'a> {
    fn load(repo: &'a Repo, report: &'a OperationReport, named: bool) -> Result<Self> {
        let index = repo.index_summary()?;
        // Damaged segments stay while a pack's directory cannot be read: then that pack is named here, and given up.
        if let Some(what) = index.unreadable.first().filter(|_| !named) {
            let error = Error::corrupt(what.clone());
            return Err(error.context("the index is damaged; run `levault repair index --apply` first"));
        }
        let listed = repo
            .storage_reader()
            .list(ObjectKind::Pack)
            .context(|| "list the packs")?;
        let listed = repo.filter_own_packs(listed, &index)?;
        let lookup = repo.lookup_for(&index)?;
        Ok(Self {
            repo,
            report,
            listed: listed.into_iter().map(|pack| (pack.name.id, pack)).collect(),
            marked: repo.marked_packs()?,
            index,
            lookup,
        })
    }

    /// Packs that are listed or indexed.
    fn known_copies(&self) -> impl Iterator<Item = ObjectId> {
        let mut known: Vec<_> = self
            .listed
            .keys()
            .chain(self.index.packs.keys())
            .copied()
            .collect();
        known.sort_unstable();
        known.dedup();
        known.into_iter()
    }

    /// Reads packs one after the other; those that are neither whole nor healed come back, with what is known of their parts.
    fn examine(
        &self,
        packs: &[ObjectId],
        repair: &RepairPacks,
        outcome: &mut PackRepairOutcome,
    ) -> Result<Vec<FaultyPack>> {
        let given_up = !repair.packs.is_empty();
        let bytes = packs.iter().filter_map(|id| self.listed.get(id));
        self.report.bytes_total.add(bytes.map(|pack| pack.len).sum());
        let mut found = Vec::new();
        for id in packs {
            self.report.go_on()?;
            if let Some(damaged) = self.examine_one(id, given_up)? {
                match self.heal(id, repair.mode)? {
                    Some(healed) => outcome.healed.push(healed),
                    None => found.push(damaged),
                }
            }
            if let Some(pack) = self.listed.get(id) {
                outcome.packs_read += 1;
                outcome.bytes_read += pack.len;
                self.report.bytes_done.add(pack.len);
            }
        }
        Ok(found)
    }

    /// By its parity, if it has enough of it.
    fn heal(&self, id: &ObjectId, mode: RepairMode) -> Result<Option<HealedObject>> {
        let heal = Heal {
            packs: vec![*id],
            dry_run: mode == RepairMode::DryRun,
        };
        let outcome = heal.run(self.repo.storage_healer(), self.report)?;
        let name = ObjectName::new(ObjectKind::Pack, *id);
        Ok(outcome.healed.into_iter().find(|healed| healed.object == name))
    }

    fn examine_one(&self, id: &ObjectId, given_up: bool) -> Result<Option<FaultyPack>> {
        let found = |what: String, parts| Ok(Some(FaultyPack { id: *id, what, parts }));
        let bytes = match self.is_whole(id) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return found("is gone".into(), BTreeMap::new());
            }
            Err(error) if given_up && error.kind() != ErrorKind::Interrupted => {
                return found(error.to_string(), BTreeMap::new());
            }
            Err(error) => return Err(error.context("name the pack to give up what cannot be read of it")),
        };
        let (is_whole, scanned) = (
            object_id(&bytes) == *id,
            scan_directory(self.repo.keyring()?, &bytes),
        );
        let wrong_size = self
            .index
            .packs
            .get(id)
            .is_some_and(|len| *len != bytes.len() as u64);
        let (parts, broken) = match scanned {
            Ok(scanned) => {
                let part = |part: &_| place_blobs(id, part);
                let broken = scanned.iter().find_map(|part| part.outcome.as_ref().err());
                (scanned.iter().map(part).collect(), broken.map(Error::to_string))
            }
            Err(error) => (BTreeMap::new(), Some(error.to_string())),
        };
        match (is_whole && !wrong_size, broken) {
            (true, None) => Ok(None),
            (_, Some(what)) => found(what, parts),
            (false, None) => found("the stored bytes do not hash to the pack's name".into(), parts),
        }
    }

    fn is_whole(&self, id: &ObjectId) -> Result<Vec<u8>> {
        let name = ObjectName::new(ObjectKind::Pack, *id);
        let bytes = self.repo.storage_reader().get(name, PACK_STORED_BYTES_MAX);
        bytes.context(|| format!("read {}", name.path()))
    }

    /// What the index knows of these packs and their own directories do not say.
    fn enter_parts(&self, found: &mut [FaultyPack]) -> Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        let numbers: HashMap<_, _> = found
            .iter()
            .enumerate()
            .map(|(at, found)| (found.id, at))
            .collect();
        let mut more: Vec<Vec<IndexEntry>> = found.iter().map(|_| Vec::new()).collect();
        for entry in self.lookup.iter_rows()? {
            let entry = entry?;
            if let Some(at) = numbers.get(&entry.location.pack)
                && !found[*at].parts.contains_key(&(entry.id, entry.location))
            {
                more[*at].push(entry);
            }
        }
        for (found, entries) in found.iter_mut().zip(more) {
            let opened = self.open_each(&found.id, &entries);
            let parts = entries.iter().map(|entry| (entry.id, entry.location));
            found.parts.extend(parts.zip(opened));
        }
        Ok(())
    }

    /// Whether parts open where the index says that they lie.
    fn open_each(&self, pack: &ObjectId, entries: &[IndexEntry]) -> Vec<bool> {
        let reader = BlobReader::new(self.repo, &self.lookup);
        let bytes = if entries.is_empty() {
            None
        } else {
            self.is_whole(pack).ok()
        };
        let key = bytes
            .as_ref()
            .and_then(|bytes| PackKey::open(self.repo.keyring().ok()?, bytes).ok());
        let opens = |entry: &IndexEntry| match (&bytes, &key) {
            (Some(bytes), Some(key)) => {
                let (start, len) = (entry.location.offset as usize, entry.location.len as usize);
                let sealed = bytes.get(start..start + len);
                sealed.is_some_and(|sealed| {
                    read_blob(key, &sealed_name(&entry.location, &entry.id), sealed).is_ok()
                })
            }
            (Some(_), None) => false,
            (None, _) => reader.read_copy(&entry.location, &entry.id).is_ok(),
        };
        entries.iter().map(opens).collect()
    }

    fn plan(&self, found: &[FaultyPack]) -> Result<PackRepairPlan> {
        let mut plan = PackRepairPlan {
            distrusted: found.iter().map(|found| found.id).collect(),
            ..PackRepairPlan::default()
        };
        // Of each blob a part that opens, if one does.
        let mut blobs: BTreeMap<BlobId, (Location, bool)> = BTreeMap::new();
        for ((id, location), opens) in found.iter().flat_map(|found| &found.parts) {
            let known = blobs.entry(*id).or_insert((*location, *opens));
            if *opens && !known.1 {
                *known = (*location, true);
            }
        }
        for (id, (location, opens)) in blobs {
            self.report.go_on()?;
            let (elsewhere, going) = self.has_other_copy(&id, &mut plan.distrusted)?;
            match pack_action(opens, elsewhere) {
                BlobFate::Elsewhere => plan.elsewhere += 1,
                BlobFate::Lost if going.is_some() => plan.again.extend(going.map(|location| (id, location))),
                BlobFate::Again => plan.again.push((id, location)),
                BlobFate::Lost => plan.lost.push(BadBlob {
                    id,
                    kind: location.kind,
                }),
            }
        }
        plan.again
            .sort_by_key(|(_, location)| (location.pack, location.offset));
        Ok(plan)
    }

    /// Opens copies in packs that are there and not known to be damaged. A pack in which one fails is not trusted either.
    /// One in a pack that is marked to go is no copy to be left alone with: it is given apart, to be stored again.
    fn has_other_copy(
        &self,
        id: &BlobId,
        distrusted: &mut HashSet<ObjectId>,
    ) -> Result<(bool, Option<Location>)> {
        let reader = BlobReader::new(self.repo, &self.lookup);
        let mut going = None;
        for location in self.lookup.locations(id)? {
            if distrusted.contains(&location.pack) || !self.listed.contains_key(&location.pack) {
                continue;
            }
            match reader.read_copy(&location, id) {
                Ok(_) if self.marked.contains(&location.pack) => going = going.or(Some(location)),
                Ok(_) => return Ok((true, None)),
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(_) => drop(distrusted.insert(location.pack)),
            }
        }
        Ok((false, going))
    }
}

fn place_blobs(pack: &ObjectId, part: &crate::pack::ScannedBlob) -> ((BlobId, Location), bool) {
    (
        (part.blob.id, location_of(*pack, &part.blob)),
        part.outcome.is_ok(),
    )
}

/// What is to be done.
#[derive(Default)]
struct PackRepairPlan {
    elsewhere: u64,
    again: Vec<(BlobId, Location)>,
    lost: Vec<BadBlob>,
    /// Packs of which no copy counts.
    distrusted: HashSet<ObjectId>,
}

impl PackRepairPlan {
    fn record_faults(
        &self,
        ground: &PackRepairContext,
        found: Vec<FaultyPack>,
        outcome: &mut PackRepairOutcome,
    ) -> Result<()> {
        let known = ground.repo.bad_blobs()?.blobs(ground.repo);
        let (marks, _) = ground.repo.marks_and_unread()?;
        let marks = marks.iter().flat_map(|mark| &mark.mark.packs);
        let marked: HashSet<_> = marks.map(|marked| marked.pack).collect();
        outcome.elsewhere = self.elsewhere;
        outcome.again = self.again.len() as u64;
        outcome.bytes_again = self
            .again
            .iter()
            .map(|(_, location)| u64::from(location.len))
            .sum();
        outcome.noted = self.lost.iter().filter(|blob| !known.contains(&blob.id)).count() as u64;
        outcome.lost.clone_from(&self.lost);
        for found in found {
            let len = ground.listed.get(&found.id).map(|pack| pack.len);
            if let Some(len) = len.filter(|_| !marked.contains(&found.id)) {
                let pack = found.id;
                outcome.marked.push(MarkedPack { pack, len });
            }
            outcome.damaged.push(DamagedPack {
                id: found.id,
                len,
                what: found.what,
                blobs: found.parts.len() as u64,
                broken: found.parts.values().filter(|opens| !**opens).count() as u64,
            });
        }
        outcome.marked.sort_unstable();
        Ok(())
    }

    /// Copies first, then what is known of what is lost, and the marks last: whatever a crash leaves out is found again.
    fn carry_out(&self, ground: &PackRepairContext, outcome: &PackRepairOutcome) -> Result<()> {
        let (repo, report) = (ground.repo, ground.report);
        self.store_again(ground, report)?;
        missing_blobs::store_bad_blob_list(repo, &self.lost)?;
        if outcome.unread.iter().any(|name| name.kind == ObjectKind::Bad) {
            // What such a note said of packs that are out of the index no pack tells.
            let there = |id: &&ObjectId| ground.listed.contains_key(*id);
            let gone = ground
                .index
                .packs
                .keys()
                .filter(|id| !there(id))
                .copied()
                .collect();
            missing_blobs::store_bad_blob_list(
                repo,
                &missing_blobs::find_missing(repo, &ground.lookup, &gone, report)?,
            )?;
        }
        for packs in outcome.marked.chunks(MARK_PACKS_MAX) {
            repo.put_mark(&DeletionMark {
                when: repo.clock().now(),
                packs: packs.to_vec(),
                replaces: None,
            })?;
        }
        for name in &outcome.unread {
            repo.delete(&DeletePermit::Damaged, *name)?;
        }
        Ok(())
    }

    fn store_again(&self, ground: &PackRepairContext, report: &OperationReport) -> Result<()> {
        if self.again.is_empty() {
            return Ok(());
        }
        let repo = ground.repo;
        let reader = BlobReader::new(repo, &ground.lookup);
        let mut writer = BlobWriter::start_without(repo, report, &self.distrusted)?;
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for (id, location) in &self.again {
            let what = || format!("read blob {} again", id.short());
            batch.push(reader.read_copy(location, id).context(what)?);
            bytes += u64::from(location.len);
            if bytes >= BATCH_BYTES {
                writer.add_named(std::mem::take(&mut batch))?;
                bytes = 0;
            }
        }
        writer.add_named(batch)?;
        let rests_on = writer.finish()?;
        repo.prove_packs(&rests_on)
    }
}

/// Marks, and notes on bad blobs once all packs were read, of which the bytes are damaged.
fn damaged_annotations(repo: &Repo, read_all: bool) -> Result<Vec<ObjectName>> {
    let marks = repo.marks_and_unread()?.1.into_iter();
    let marks = marks.map(|unread| (ObjectKind::Mark, unread));
    let bad = repo.bad_blobs()?.unread.into_iter().filter(|_| read_all);
    let all = marks.chain(bad.map(|unread| (ObjectKind::Bad, unread)));
    let damaged = all.filter(|(_, unread)| matches!(unread.kind, ErrorKind::Corrupt | ErrorKind::Torn));
    Ok(damaged
        .map(|(kind, unread)| ObjectName::new(kind, unread.id))
        .collect())
}

/// What kinds the lost blobs are of, for people.
pub fn count_by_kind(lost: &[BadBlob]) -> Vec<(BlobKind, u64)> {
    let count = |kind: BlobKind| lost.iter().filter(|blob| blob.kind == kind).count() as u64;
    let all = BlobKind::ALL.iter().map(|kind| (*kind, count(*kind)));
    all.filter(|(_, count)| *count > 0).collect()
}
