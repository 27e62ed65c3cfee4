//! Lists parity objects by their heads, and checks them. No key is needed.
//!
//! Parity objects are named by their content like all others, not by their pack: which pack one protects stands in its
//! head, so a listing costs one small read an object. `check`, `repair` and a prune that deleted packs do that; a backup
//! never does (docs/decisions/0009-parity.md).

use std::collections::{HashMap, HashSet};

use crate::envelope::object_id;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::limits::PARITY_BYTES_MAX;
use crate::parity::{HEAD_OFFSET, ParityHeader};
use crate::repo::UnreadAnnotation;
use crate::report::OperationReport;
use crate::storage::{ListedObject, ObjectKind, ObjectName, StorageReader};

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
    pub fn load(storage: StorageReader<'_>, report: &OperationReport) -> Result<Self> {
        let listed = storage.list(ObjectKind::Parity).context(|| "list the parity")?;
        Self::read_headers(storage, &listed, report)
    }

    fn read_headers(
        storage: StorageReader<'_>,
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
fn read_header(storage: StorageReader<'_>, listed: &ListedObject) -> Result<ParityHeader> {
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

pub(crate) fn is_damage(error: &Error) -> bool {
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
pub fn status(
    storage: StorageReader<'_>,
    read: ParityReadMode,
    report: &OperationReport,
) -> Result<ParityStatus> {
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

fn check_parity_object(
    storage: StorageReader<'_>,
    parity: &StoredParity,
    read: ParityReadMode,
) -> Result<()> {
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

/// Parity whose pack is gone, or is in `going`. Empty, without a look at any head, if nothing is `going` and there are no
/// more parity objects than packs: what is left then goes with the next packs.
pub fn list_orphan_parity(
    storage: StorageReader<'_>,
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
