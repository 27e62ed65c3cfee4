//! Lists parity objects, and makes missing ones.
//!
//! Parity beside the packs (docs/decisions/0009-parity.md): which packs have it, and making it for those that have not.
//!
//! Parity objects are named by their content like all others, not by their pack: whose parity one is stands in its
//! head, and reading all heads is one small read an object. Only who needs to know does that: `check`, `repair`, and a
//! prune that deleted packs. A backup never does.

use std::collections::{HashMap, HashSet};

use crate::envelope::object_id;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::limits::{PACK_STORED_BYTES_MAX, PARITY_BYTES_MAX};
use crate::parity::{self, HEAD_OFFSET, ParityHeader, ParityShare};
use crate::repo::{Repo, UnreadAnnotation, put_parity};
use crate::report::OperationReport;
use crate::storage::{ListedObject, ObjectKind, ObjectName, Storage};

/// A parity object, by its head.
#[derive(Clone, Copy, Debug)]
pub struct StoredParity {
    /// Its name.
    pub id: ObjectId,
    /// Bytes stored.
    pub len: u64,
    /// Whose it is, and how it is cut.
    pub header: ParityHeader,
}

impl StoredParity {
    /// As the storage calls it.
    pub fn name(&self) -> ObjectName {
        ObjectName::new(ObjectKind::Parity, self.id)
    }
}

/// All parity objects, by their heads.
#[derive(Clone, Debug, Default)]
pub struct ListedParity {
    /// By pack; the one that heals most is first.
    pub by_pack: HashMap<ObjectId, Vec<StoredParity>>,
    /// Those of which neither head can be read, and why.
    pub unreadable: Vec<UnreadAnnotation>,
    /// Bytes of all.
    pub bytes: u64,
}

impl ListedParity {
    /// Reads the heads of all. No key is needed.
    pub fn load(storage: &dyn Storage, report: &OperationReport) -> Result<Self> {
        let listed = storage.list(ObjectKind::Parity).context(|| "list the parity")?;
        Self::read_headers(storage, &listed, report)
    }

    fn read_headers(
        storage: &dyn Storage,
        listed: &[ListedObject],
        report: &OperationReport,
    ) -> Result<Self> {
        let mut all = Self::default();
        for listed in listed {
            report.go_on()?;
            match read_header(storage, listed) {
                Ok(head) => {
                    let stored = StoredParity {
                        id: listed.name.id,
                        len: listed.len,
                        header: head,
                    };
                    all.by_pack.entry(head.pack).or_default().push(stored);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => all.unreadable.push(UnreadAnnotation {
                    id: listed.name.id,
                    kind: error.kind(),
                    what: error.to_string(),
                }),
            }
            all.bytes += listed.len;
        }
        for parities in all.by_pack.values_mut() {
            parities.sort_by_key(|parity| (std::cmp::Reverse(parity.header.geometry.burst()), parity.id));
        }
        Ok(all)
    }

    /// What there is for a pack.
    pub fn of_pack(&self, pack: &ObjectId) -> &[StoredParity] {
        self.by_pack.get(pack).map_or(&[], Vec::as_slice)
    }
}

/// The first head, or the last one if that cannot be read. Of two errors the one that is no damage is told: it may pass.
fn read_header(storage: &dyn Storage, listed: &ListedObject) -> Result<ParityHeader> {
    let at = |offset| {
        let bytes = storage.get_range(listed.name, offset, ParityHeader::LEN)?;
        ParityHeader::decode(&bytes)
    };
    at(HEAD_OFFSET as u64).or_else(|front| {
        let Some(back) = listed.len.checked_sub(ParityHeader::LEN as u64) else {
            return Err(front);
        };
        at(back).map_err(|back| if is_damage(&front) { back } else { front })
    })
}

fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Torn)
}

/// What there is of parity, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParityStatus {
    /// Packs that are listed.
    pub packs: u64,
    /// Those that have parity.
    pub packs_with_parity: u64,
    /// Parity objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Parity objects that are damaged, and how.
    pub damaged: Vec<(ObjectName, String)>,
}

/// How much of the parity objects is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParityReadMode {
    /// Their heads.
    Headers,
    /// Every byte.
    All,
}

/// Looks at all parity objects. No key is needed. Parity of packs that are gone is not looked at: a prune takes it.
pub fn status(storage: &dyn Storage, read: ParityReadMode, report: &OperationReport) -> Result<ParityStatus> {
    // Before the packs: each parity object's pack was there before it.
    let parities = ListedParity::load(storage, report)?;
    let packs = storage.list(ObjectKind::Pack).context(|| "list the packs")?;
    let unreadable = parities.unreadable.iter();
    let mut status = ParityStatus {
        packs: packs.len() as u64,
        objects: (parities.by_pack.values().map(Vec::len).sum::<usize>() + parities.unreadable.len()) as u64,
        bytes: parities.bytes,
        damaged: unreadable
            .map(|unread| {
                (
                    ObjectName::new(ObjectKind::Parity, unread.id),
                    unread.what.clone(),
                )
            })
            .collect(),
        ..ParityStatus::default()
    };
    for pack in &packs {
        let parities = parities.of_pack(&pack.name.id);
        status.packs_with_parity += u64::from(!parities.is_empty());
        for parity in parities {
            report.go_on()?;
            if let Err(error) = check_parity_object(storage, parity, read)
                && error.kind() != ErrorKind::NotFound
            {
                status.damaged.push((parity.name(), error.to_string()));
            }
        }
    }
    status.damaged.sort();
    Ok(status)
}

fn check_parity_object(storage: &dyn Storage, parity: &StoredParity, read: ParityReadMode) -> Result<()> {
    let wanted = parity.header.geometry.object_len() as u64;
    if parity.len != wanted {
        return Err(Error::corrupt(format!(
            "{} bytes long instead of {wanted}",
            parity.len
        )));
    }
    match read {
        ParityReadMode::Headers => Ok(()),
        ParityReadMode::All if object_id(&storage.get(parity.name(), PARITY_BYTES_MAX)?) == parity.id => {
            Ok(())
        }
        ParityReadMode::All => Err(Error::corrupt(
            "the stored bytes do not hash to the object's name",
        )),
    }
}

/// Parity to be made for packs that have none, or too little.
#[derive(Clone, Copy, Debug)]
pub struct AddParity {
    /// For which share of each pack; the repository's own if there is one, else [`ParityShare::DEFAULT`].
    pub share: Option<ParityShare>,
    /// Counts only.
    pub dry_run: bool,
}

/// What was made, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddParityOutcome {
    /// For which share of each pack.
    pub share: ParityShare,
    /// Packs that may be counted on.
    pub packs: u64,
    /// Those that had too little parity or none.
    pub packs_without: u64,
    /// Bytes of the parity objects made for them.
    pub bytes: u64,
    /// Parity objects that went: those for a smaller share, and those of which neither head can be read.
    pub replaced: u64,
    /// Packs that are damaged: there is no parity of a pack that is not whole.
    pub damaged: Vec<ObjectId>,
}

impl AddParity {
    /// Makes it, and notes the share: what is stored from then on gets parity as it is stored.
    ///
    /// Packs that are marked, or that no segment names, are let be: the first are to go, the others are their writer's.
    pub fn run(&self, repo: &Repo, report: &OperationReport) -> Result<AddParityOutcome> {
        repo.check_writable()?;
        let kept = repo.parity_share()?;
        let share = self.share.or(kept).unwrap_or(ParityShare::DEFAULT);
        let parities = ListedParity::load(&**repo.storage(), report)?;
        let mut packs = Vec::new();
        for domain in repo.domains()? {
            let repo = repo.in_domain(domain)?;
            packs.extend(repo.usable_packs(&repo.index_summary()?)?);
        }
        packs.sort_unstable();
        let mut added = AddParityOutcome {
            share,
            packs: packs.len() as u64,
            packs_without: 0,
            bytes: 0,
            replaced: 0,
            damaged: Vec::new(),
        };
        if kept != Some(share) && !self.dry_run {
            repo.put_parity_share(Some(share))?;
        }
        packs.retain(|(id, len)| !covers_share(parities.of_pack(id), share, *len));
        report.bytes_total.add(packs.iter().map(|(_, len)| len).sum());
        let mut made = HashSet::new();
        for (id, len) in packs {
            report.go_on()?;
            made.extend(self.add(repo, (&id, len), parities.of_pack(&id), &mut added)?);
            report.bytes_done.add(len);
        }
        if !self.dry_run {
            added.replaced += remove_headerless(repo, &parities, &made)?;
        }
        Ok(added)
    }

    fn add(
        &self,
        repo: &Repo,
        (id, len): (&ObjectId, u64),
        smaller: &[StoredParity],
        added: &mut AddParityOutcome,
    ) -> Result<Option<ObjectId>> {
        added.packs_without += 1;
        if self.dry_run {
            added.bytes += parity::ShardGeometry::plan(len, added.share)?.object_len() as u64;
            return Ok(None);
        }
        let storage = &**repo.storage();
        let name = ObjectName::new(ObjectKind::Pack, *id);
        let pack = match storage.get(name, PACK_STORED_BYTES_MAX) {
            // Swept meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            pack => pack.context(|| name.path())?,
        };
        if object_id(&pack) != *id {
            added.damaged.push(*id);
            return Ok(None);
        }
        let object = parity::encode(&pack, added.share)?;
        let new = put_parity(storage, &object)?;
        added.bytes += object.len() as u64;
        // The new one is durable, and heals all that they do.
        for old in smaller.iter().filter(|old| old.id != new) {
            storage
                .delete(old.name())
                .context(|| format!("delete {}", old.name()))?;
            added.replaced += 1;
        }
        Ok(Some(new))
    }
}

/// Parity that nobody can tell the pack of heals nothing, and every sound pack has another now. What a later program may
/// understand stays, and what could not be read just now.
fn remove_headerless(repo: &Repo, parities: &ListedParity, made: &HashSet<ObjectId>) -> Result<u64> {
    let unreadable = parities.unreadable.iter();
    let headless = unreadable.filter(|unread| is_damage(&unread.error()));
    let mut removed = 0;
    for unread in headless.filter(|unread| !made.contains(&unread.id)) {
        let name = ObjectName::new(ObjectKind::Parity, unread.id);
        let deleted = repo.storage().delete(name);
        deleted.context(|| format!("delete {}", name.path()))?;
        removed += 1;
    }
    Ok(removed)
}

/// True if some parity heals a burst of the share. One that is not of its length is none.
fn covers_share(parities: &[StoredParity], share: ParityShare, len: u64) -> bool {
    parities.iter().any(|parity| {
        let geometry = &parity.header.geometry;
        geometry.len() as u64 == len
            && geometry.object_len() as u64 == parity.len
            && geometry.burst() as u64 >= share.of(len)
    })
}

/// Parity whose pack is gone, or is in `going`. Empty, without a look at any head, if nothing is `going` and there are no
/// more parity objects than packs: what is left then goes with the next packs.
pub fn list_orphan_parity(
    storage: &dyn Storage,
    going: &HashSet<ObjectId>,
    report: &OperationReport,
) -> Result<Vec<StoredParity>> {
    // Before the packs: each parity object's pack was there before it.
    let listed = storage.list(ObjectKind::Parity).context(|| "list the parity")?;
    if listed.is_empty() {
        return Ok(Vec::new());
    }
    let packs = storage.list(ObjectKind::Pack).context(|| "list the packs")?;
    if going.is_empty() && listed.len() <= packs.len() {
        return Ok(Vec::new());
    }
    let there: HashSet<_> = packs.iter().map(|pack| pack.name.id).collect();
    let stays = |pack: &ObjectId| there.contains(pack) && !going.contains(pack);
    let parities = ListedParity::read_headers(storage, &listed, report)?;
    let by_pack = parities.by_pack.into_iter();
    let mut gone: Vec<_> = by_pack
        .filter(|(pack, _)| !stays(pack))
        .flat_map(|(_, parities)| parities)
        .collect();
    gone.sort_by_key(|parity| parity.id);
    Ok(gone)
}
