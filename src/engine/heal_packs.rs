//! Rebuilds damaged packs from their parity, without keys.
//!
//! Heal: damaged packs rebuilt from their parity, without a key.
//!
//! ```text
//! pack ── hashes to its name? ── yes ──▶ its parity objects: damaged ones are made again from the pack
//!              │ no
//!              ▼
//! what can be read of it + parity object ──mend──▶ bytes that have its name ──▶ Storage::heal
//! ```
//! Nothing wrong can be written: [`HealableStorage::heal`] takes bytes only under the name that they hash to. So it may run
//! beside backups and prunes, it may be stopped anywhere, and a second run finds nothing to do. A pack that a sweep
//! deletes meanwhile may come back by it, as one that nothing indexes, which the next prune takes.

use std::collections::HashSet;

use crate::envelope::{ObjectClass, object_id, parse_one};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::index;
use crate::limits::{OBJECT_BYTES_MAX, PACK_STORED_BYTES_MAX, PARITY_BYTES_MAX};
use crate::parity::{HealedPack, ParityObject, encode_as};
use crate::repo::OWN_DOMAIN;
use crate::report::OperationReport;
use crate::storage::{HealableStorage, ObjectKind, ObjectName, StorageReader};

use crate::engine::parity_listing::{ListedParity, StoredParity};

/// So much is read at once of an object that cannot be read whole: a disk's bad sector costs no more.
const SALVAGE_BYTES: usize = 4 << 10;

/// What to heal.
#[derive(Clone, Debug)]
pub struct Heal {
    /// These packs; all that are listed, and those that the index names and that are gone, if there are none.
    pub packs: Vec<ObjectId>,
    /// Looks only.
    pub dry_run: bool,
}

/// What was healed, or could be, and what not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealOutcome {
    /// Packs that were looked at.
    pub packs: u64,
    /// Bytes read of packs and parity.
    pub bytes_read: u64,
    /// Objects that were put back, or could be.
    pub healed: Vec<HealedObject>,
    /// Objects that could not be healed, and why.
    pub unhealed: Vec<UnhealedObject>,
}

/// An object with its right bytes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealedObject {
    /// The pack, or a parity object.
    pub object: ObjectName,
    /// What was wrong with it.
    pub what: String,
}

/// An object that is damaged still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnhealedObject {
    /// The pack, or a parity object.
    pub object: ObjectName,
    /// What is wrong with it, and why it could not be healed.
    pub what: String,
}

impl Heal {
    /// Reads the packs, and heals those that are damaged.
    ///
    /// # Errors
    /// A storage that cannot be listed or written; [`ErrorKind::Interrupted`].
    pub fn run(&self, storage: HealableStorage<'_>, report: &OperationReport) -> Result<HealOutcome> {
        let mut healing = HealContext {
            storage,
            parities: ListedParity::load(storage.reader(), report)?,
            packs_named: !self.packs.is_empty(),
            dry_run: self.dry_run,
            outcome: HealOutcome::default(),
        };
        for pack in self.packs_to_heal(storage.reader())? {
            report.go_on()?;
            let before = healing.outcome.bytes_read;
            healing.heal_pack(&pack)?;
            report.bytes_done.add(healing.outcome.bytes_read - before);
        }
        if self.packs.is_empty() {
            healing.report_headerless_parity();
        }
        Ok(healing.outcome)
    }

    fn packs_to_heal(&self, storage: StorageReader<'_>) -> Result<Vec<ObjectId>> {
        if !self.packs.is_empty() {
            return Ok(self.packs.clone());
        }
        let indexed = indexed_packs(storage)?;
        let listed = storage.list(ObjectKind::Pack).context(|| "list the packs")?;
        let mut packs: Vec<_> = listed.iter().map(|pack| pack.name.id).chain(indexed).collect();
        packs.sort_unstable();
        packs.dedup();
        Ok(packs)
    }
}

/// The pack whose name begins with `words`: one that is stored, or that parity is stored of.
pub fn find_pack(storage: StorageReader<'_>, words: &str, report: &OperationReport) -> Result<ObjectId> {
    if let Some(id) = ObjectId::from_hex(words) {
        return Ok(id);
    }
    let listed = storage.list(ObjectKind::Pack).context(|| "list the packs")?;
    let parities = ListedParity::load(storage, report)?;
    let stored = listed.iter().map(|pack| pack.name.id);
    let all: HashSet<_> = stored.chain(parities.by_pack.keys().copied()).collect();
    let fits = |id: &&ObjectId| !words.is_empty() && id.to_hex().starts_with(words);
    let mut fitting = all.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(id), None) => Ok(*id),
        (None, _) => Err(Error::new(
            ErrorKind::NotFound,
            format!("no pack's name begins with {words:?}"),
        )),
        (Some(_), Some(_)) => Err(Error::new(
            ErrorKind::Usage,
            format!("more than one pack's name begins with {words:?}"),
        )),
    }
}

/// Packs that the live index segments name in the clear. (Packs that only parity names were swept.)
fn indexed_packs(storage: StorageReader<'_>) -> Result<HashSet<ObjectId>> {
    let (mut packs, mut replaced) = (Vec::new(), HashSet::new());
    for listed in storage.list(ObjectKind::Index).context(|| "list the index")? {
        let bytes = match storage.get(listed.name, OBJECT_BYTES_MAX) {
            Ok(bytes) if object_id(&bytes) == listed.name.id => bytes,
            // Merged meanwhile, or damaged: that is for others to heal.
            _ => continue,
        };
        let parts = parse_one(ObjectClass::Index, &bytes);
        let header = parts.and_then(|parts| Ok((parts.header.domain, index::decode_header(parts.clear)?)));
        if let Ok((domain, (named, supersedes, _))) = header {
            // In a write-only host's domain segments replace nothing.
            if domain == OWN_DOMAIN {
                replaced.extend(supersedes);
            }
            packs.push((listed.name.id, named));
        }
    }
    let live = packs.into_iter().filter(|(id, _)| !replaced.contains(id));
    Ok(live.flat_map(|(_, named)| named).map(|pack| pack.pack).collect())
}

struct HealContext<'a> {
    storage: HealableStorage<'a>,
    parities: ListedParity,
    /// Packs were named: one that is missing is wanted, whatever the index says.
    packs_named: bool,
    dry_run: bool,
    outcome: HealOutcome,
}

impl HealContext<'_> {
    fn heal_pack(&mut self, id: &ObjectId) -> Result<()> {
        let name = ObjectName::new(ObjectKind::Pack, *id);
        let parities = self.parities.of_pack(id).to_vec();
        let longest = parities.iter().map(|parity| parity.header.geometry.len()).max();
        let (stored, unreadable) =
            self.read_or_salvage(name, PACK_STORED_BYTES_MAX, longest.unwrap_or_default());
        self.outcome.packs += 1;
        let wrong = match (&stored, &unreadable) {
            (Some(stored), None) if object_id(stored) == *id => {
                return parities
                    .iter()
                    .try_for_each(|parity| self.heal_parity(parity, stored));
            }
            (Some(_), None) => "does not hash to its name".to_owned(),
            // Swept meanwhile.
            (None, None) if !self.packs_named && !indexed_packs(self.storage.reader())?.contains(id) => {
                return Ok(());
            }
            (None, None) => "is missing".to_owned(),
            (_, Some(error)) => error.to_string(),
        };
        match self.rebuild_pack(&parities, stored.as_deref().unwrap_or_default()) {
            Ok(mended) => {
                let what = format!("{wrong}; {} shards computed anew", mended.shards);
                self.put_back(name, &mended.bytes, what)?;
                parities
                    .iter()
                    .try_for_each(|parity| self.heal_parity(parity, &mended.bytes))
            }
            Err(error) => {
                let what = format!("{wrong}; {error}");
                self.outcome.unhealed.push(UnhealedObject { object: name, what });
                Ok(())
            }
        }
    }

    /// By whichever parity object can do it.
    fn rebuild_pack(&mut self, parities: &[StoredParity], stored: &[u8]) -> Result<HealedPack> {
        let mut why = Error::new(ErrorKind::NotFound, "it has no parity");
        for parity in parities {
            let geometry = &parity.header.geometry;
            let (object, unreadable) =
                self.read_or_salvage(parity.name(), PARITY_BYTES_MAX, geometry.object_len());
            let mended = match (&object, unreadable) {
                (Some(object), _) => ParityObject::open(object).and_then(|parity| parity.repair(stored)),
                (None, Some(error)) => Err(error),
                (None, None) => continue,
            };
            match mended {
                Ok(mended) => return Ok(mended),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// A parity object of a pack that is whole.
    fn heal_parity(&mut self, parity: &StoredParity, pack: &[u8]) -> Result<()> {
        let name = parity.name();
        let (object, unreadable) = self.read_or_salvage(name, PARITY_BYTES_MAX, 0);
        let what = match (object, unreadable) {
            (Some(object), None) if object_id(&object) == parity.id => return Ok(()),
            // A prune took it meanwhile.
            (None, None) => return Ok(()),
            (_, Some(error)) => error.to_string(),
            (Some(_), None) => "does not hash to its name".to_owned(),
        };
        match encode_as(pack, &parity.header.pack, parity.header.geometry) {
            Ok(object) if object_id(&object) == parity.id => {
                self.put_back(name, &object, format!("{what}; made again from its pack"))
            }
            Ok(_) => {
                self.report_unhealed(name, what);
                Ok(())
            }
            Err(error) => {
                self.report_unhealed(name, format!("{what}; {error}"));
                Ok(())
            }
        }
    }

    fn report_unhealed(&mut self, object: ObjectName, what: String) {
        let what = format!("{what}; `levault repair add-parity` makes another");
        self.outcome.unhealed.push(UnhealedObject { object, what });
    }

    /// Parity that nobody can tell the pack of.
    fn report_headerless_parity(&mut self) {
        for unread in std::mem::take(&mut self.parities.unreadable) {
            self.report_unhealed(ObjectName::new(ObjectKind::Parity, unread.id), unread.what);
        }
    }

    fn put_back(&mut self, object: ObjectName, bytes: &[u8], what: String) -> Result<()> {
        if !self.dry_run {
            let healed = self.storage.heal(object, bytes);
            healed.context(|| format!("put {} back", object.path()))?;
        }
        self.outcome.healed.push(HealedObject { object, what });
        Ok(())
    }

    /// What can be read of an object, and why not all; nothing of one that is not there. Of one that cannot be read whole
    /// or is longer than any, `len` bytes are read in pieces, with zeroes for those that cannot be read.
    fn read_or_salvage(
        &mut self,
        name: ObjectName,
        len_max: u64,
        len: usize,
    ) -> (Option<Vec<u8>>, Option<Error>) {
        let read = match self.storage.reader().get(name, len_max) {
            Ok(bytes) => (Some(bytes), None),
            Err(error) if error.kind() == ErrorKind::NotFound => (None, None),
            Err(error) => {
                let mut bytes = vec![0; len];
                for (number, piece) in bytes.chunks_mut(SALVAGE_BYTES).enumerate() {
                    let offset = (number * SALVAGE_BYTES) as u64;
                    if let Ok(read) = self.storage.reader().get_range(name, offset, piece.len()) {
                        piece.copy_from_slice(&read);
                    }
                }
                (Some(bytes), Some(error))
            }
        };
        self.outcome.bytes_read += read.0.as_ref().map_or(0, |bytes| bytes.len() as u64);
        read
    }
}
