//! Stores, lists and opens segments, packs and snapshots.
//!
//! Index segments, packs and snapshots as sealed objects: stored, listed, opened.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::annotations::{CurrentNotes, QuarantineFolder};
use crate::blob::SealedName;
use crate::crypto::{Entropy, OsEntropy};
use crate::envelope::{Header, ObjectClass, object_id};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{BlobId, DomainId, ObjectId};
use crate::index::{self, Location, Segment, SegmentPack};
use crate::index_cache::{IndexLookup, LookupCache};
use crate::keys::OpenedObject;
use crate::limits::{
    HOST_SNAPSHOT_MEMORY_FREE, HOST_SNAPSHOT_MEMORY_MAX, HOST_SNAPSHOT_RATIO_MAX, PACK_STORED_BYTES_MAX,
};
use crate::pack::{self, PackBuilder, PackKey, PackTail, PackedBlob};
use crate::snapshot::{Snapshot, snapshot_codec};
use crate::storage::{ObjectKind, ObjectName};

use super::create_repository::get_content_named;
use super::object_deletion::{DeletePermit, DurableObject};
use super::stored_annotations::{UnreadAnnotation, is_unreadable};
use super::{CacheLocation, OWN_DOMAIN, Repo};

/// Listings until what they name must be there.
const LISTINGS_MAX: usize = 5;

/// What all index segments together say of packs.
#[derive(Default)]
pub struct IndexSummary {
    /// Length of each indexed pack, bytes.
    pub packs: HashMap<ObjectId, u64>,
    /// Segments that no live one replaces.
    pub segments: Vec<ObjectId>,
    /// Segments that are listed and replaced.
    pub replaced: Vec<ObjectId>,
    /// Packs that segments of other domains name, unauthenticated: none of them is a leftover of ours.
    pub(crate) other_domain_packs: HashSet<ObjectId>,
    /// Segments that cannot be read, and why: what only they know of cannot be found.
    pub unreadable: Vec<String>,
    /// Segments that could not be read, and that the owner set aside for it.
    pub quarantined: Vec<UnreadAnnotation>,
    /// All that could not be read but those.
    pub(crate) unread: Vec<UnreadAnnotation>,
    /// Names of those that are damaged.
    pub damaged: Vec<ObjectId>,
    /// The others, which are whole: another program's or nobody's. Readers do without, and nobody drops them.
    pub(crate) unexpected: Vec<UnreadAnnotation>,
}

/// Packs as they are listed.
#[derive(Default)]
pub struct ListedPacks {
    /// Indexed, of the right size, unmarked: to be counted on. With their lengths.
    pub usable: HashMap<ObjectId, u64>,
    /// In no segment: of a backup that was killed or is under way. With their lengths.
    pub unindexed: Vec<(ObjectId, u64)>,
    /// Indexed, and not listed or of another size.
    pub lost: HashSet<ObjectId>,
}

/// Packs and marks at one moment.
pub(crate) struct PacksAndMarks {
    marked: HashSet<ObjectId>,
    packs: HashMap<ObjectId, u64>,
}

impl PacksAndMarks {
    /// As [`Repo::prove_packs`] says.
    pub(crate) fn prove_packs(&self, repo: &Repo, packs: &HashMap<ObjectId, u64>) -> Result<()> {
        let mut packs: Vec<_> = packs.iter().collect();
        packs.sort_unstable();
        for (id, len) in packs {
            let found = match self.packs.get(id) {
                Some(listed) => Some(*listed),
                None => repo.stored_len(id)?,
            };
            if found != Some(*len) || self.marked.contains(id) {
                let what = format!("pack {} has gone or was marked meanwhile", id.short());
                return Err(Error::new(ErrorKind::Busy, what));
            }
        }
        Ok(())
    }
}

impl Repo {
    /// An empty pack in `buffer`.
    pub(super) fn new_pack(&self, buffer: Vec<u8>) -> Result<PackBuilder> {
        let domain = self.domain_keys().id();
        PackBuilder::sealed_for(self.key_access(), domain, buffer, &mut OsEntropy)
    }

    pub(super) fn random_byte(&self) -> Result<u8> {
        let mut byte = [0];
        OsEntropy.fill(&mut byte)?;
        Ok(byte[0])
    }

    /// The key of a stored pack, from its header.
    pub(crate) fn pack_key(&self, id: &ObjectId) -> Result<PackKey> {
        let key = PackKey::open(self.keyring()?, &self.pack_header_bytes(id)?)?;
        self.check_domain(key.domain().id(), ObjectName::new(ObjectKind::Pack, *id))?;
        Ok(key)
    }

    /// A stored pack's header, which nothing vouches for yet.
    pub(crate) fn pack_header(&self, id: &ObjectId) -> Result<Header> {
        Header::decode(&self.pack_header_bytes(id)?).context(|| ObjectName::new(ObjectKind::Pack, *id).path())
    }

    fn pack_header_bytes(&self, id: &ObjectId) -> Result<Vec<u8>> {
        let name = ObjectName::new(ObjectKind::Pack, *id);
        self.storage().get_range(name, 0, pack::HEADER_LEN)
    }

    pub(crate) fn put_segment(&self, segment: &Segment) -> Result<DurableObject> {
        let clear = index::encode_header(segment);
        let plain = index::encode_body(segment);
        let domain = self.domain_keys().id();
        let bytes =
            self.key_access()
                .seal_object(ObjectClass::Index, domain, &clear, &plain, &mut OsEntropy)?;
        let name = ObjectName {
            kind: ObjectKind::Index,
            id: object_id(&bytes),
        };
        self.storage()
            .put_new(name, &bytes)
            .context(|| format!("store {}", name.path()))?;
        Ok(DurableObject::of_stored(name))
    }

    /// One index segment, opened and held to its name.
    pub(crate) fn segment(&self, id: &ObjectId) -> Result<Segment> {
        let name = ObjectName {
            kind: ObjectKind::Index,
            id: *id,
        };
        let opened = self.opened_segment(name)?;
        let segment = Segment::decode(&opened.clear, &opened.plain).context(|| name.path())?;
        Ok(if self.domain() == OWN_DOMAIN {
            segment
        } else {
            segment.without_superseded()
        })
    }

    fn opened_segment(&self, name: ObjectName) -> Result<OpenedObject> {
        let bytes = get_content_named(&**self.storage(), name)?;
        let opened = self
            .key_access()
            .open_object(ObjectClass::Index, &name.id, &bytes)?;
        self.check_domain(opened.header.domain, name)?;
        Ok(opened)
    }

    /// What the listed segments say of packs; superseded ones are left out. A damaged segment is told of and left
    /// out as well: without it less is found, and nothing wrong is. (Who deletes must not go on without it.)
    pub fn index_summary(&self) -> Result<IndexSummary> {
        retry_if_gone(|| self.index_summary_once())
    }

    fn index_summary_once(&self) -> Result<IndexSummary> {
        let mut facts = IndexSummary::default();
        let (mut replaced, mut read, mut notes) = (HashSet::new(), Vec::new(), None);
        for listed in self
            .storage()
            .list(ObjectKind::Index)
            .context(|| "list the index")?
        {
            if let Some(foreign) = self.foreign_segment(&listed)? {
                facts.other_domain_packs.extend(foreign);
                continue;
            }
            match self.segment_packs(&listed.name.id) {
                Err(error) if is_unreadable(&error) => {
                    let unread = UnreadAnnotation {
                        id: listed.name.id,
                        kind: error.kind(),
                        what: error.to_string(),
                    };
                    if self.is_quarantined_segment(&listed.name.id, &mut notes)? {
                        facts.quarantined.push(unread);
                        continue;
                    }
                    facts.unread.push(unread);
                    facts.unreadable.push(error.to_string());
                    match error.kind() {
                        ErrorKind::Corrupt | ErrorKind::Torn => facts.damaged.push(listed.name.id),
                        _ => facts.unexpected.push(UnreadAnnotation {
                            id: listed.name.id,
                            kind: error.kind(),
                            what: error.to_string(),
                        }),
                    }
                }
                Err(error) => return Err(error),
                Ok((packs, supersedes)) => {
                    replaced.extend(supersedes);
                    read.push((listed.name.id, packs));
                }
            }
        }
        for (id, packs) in read {
            // Packs that only a replaced segment names are swept, or about to be.
            if replaced.contains(&id) {
                facts.replaced.push(id)
            } else {
                facts.segments.push(id);
                facts
                    .packs
                    .extend(packs.into_iter().map(|pack| (pack.pack, pack.len)));
            }
        }
        Ok(facts)
    }

    /// True if the owner set the segment aside. Notes are loaded with the first that cannot be read; a host sees none.
    fn is_quarantined_segment(&self, id: &ObjectId, notes: &mut Option<CurrentNotes>) -> Result<bool> {
        if self.keyring().is_err() {
            return Ok(false);
        }
        let notes = match notes {
            Some(notes) => notes,
            None => notes.insert(self.notes()?.current_notes()),
        };
        Ok(notes.is_quarantined(QuarantineFolder::Index, id))
    }

    /// A segment's clear header: names and sizes that the pack list is compared with. It is opened, because whoever can
    /// write to the storage could say of all segments that they are replaced.
    fn segment_packs(&self, id: &ObjectId) -> Result<(Vec<SegmentPack>, Vec<ObjectId>)> {
        let name = ObjectName {
            kind: ObjectKind::Index,
            id: *id,
        };
        let opened = self.opened_segment(name)?;
        let (packs, supersedes, _) = index::decode_header(&opened.clear).context(|| name.path())?;
        if self.domain() == OWN_DOMAIN {
            Ok((packs, supersedes))
        } else {
            Ok((packs, Vec::new()))
        }
    }

    /// The index: every location of every blob.
    pub fn lookup(&self) -> Result<IndexLookup> {
        retry_if_gone(|| self.lookup_for(&self.index_summary_once()?))
    }

    /// The index of these segments.
    pub(crate) fn lookup_for(&self, facts: &IndexSummary) -> Result<IndexLookup> {
        let key = *self.domain_keys().cache_key().expose();
        let cache = match &self.settings().cache {
            CacheLocation::Directory(dir) => LookupCache::open_directory(dir.join(self.cache_name()), key),
            CacheLocation::None => LookupCache::open_anonymous(key),
        };
        let repo = self.clone();
        let load = Arc::new(move |id: &ObjectId| repo.segment(id));
        cache.open(&facts.segments, load).context(|| "load the index")
    }

    /// The name of this domain's directory in the local cache.
    pub(super) fn cache_name(&self) -> String {
        match self.domain() {
            OWN_DOMAIN => self.id().to_hex(),
            domain => format!("{}-{}", self.id().to_hex(), domain.0),
        }
    }

    /// Packs that may be counted on, and those that no segment names.
    pub fn packs(&self, facts: &IndexSummary) -> Result<ListedPacks> {
        let marked = self.marked_packs()?;
        let listed = self
            .storage()
            .list(ObjectKind::Pack)
            .context(|| "list the packs")?;
        let mut packs = ListedPacks {
            lost: facts.packs.keys().copied().collect(),
            ..ListedPacks::default()
        };
        for (id, len) in listed.into_iter().map(|pack| (pack.name.id, pack.len)) {
            if facts.packs.get(&id) == Some(&len) {
                packs.lost.remove(&id);
            }
            match facts.packs.get(&id) {
                _ if marked.contains(&id) => {}
                Some(indexed) if *indexed == len => drop(packs.usable.insert(id, len)),
                Some(_) => {}
                None if facts.is_named_by_segment(&id) => {}
                None => packs.unindexed.push((id, len)),
            }
        }
        Ok(packs)
    }

    /// Packs that may be counted on: indexed, listed, of the right size, unmarked.
    pub fn usable_packs(&self, facts: &IndexSummary) -> Result<HashMap<ObjectId, u64>> {
        Ok(self.packs(facts)?.usable)
    }

    /// What an unindexed pack of our own domain holds, and its bytes, if they are those that its name promises.
    pub(super) fn read_orphan_pack(&self, id: &ObjectId, len: u64) -> Result<(Vec<PackedBlob>, Vec<u8>)> {
        let name = ObjectName {
            kind: ObjectKind::Pack,
            id: *id,
        };
        let key = self.pack_key(id)?;
        let bytes = self
            .storage()
            .get(name, PACK_STORED_BYTES_MAX)
            .context(|| name.path())?;
        if object_id(&bytes) != *id {
            return Err(
                Error::corrupt("the stored bytes do not hash to the object's name").context(name.path()),
            );
        }
        if bytes.len() as u64 != len {
            return Err(Error::corrupt("of another length").context(name.path()));
        }
        match pack::read_directory(&key, &bytes, len)? {
            PackTail::Directory(directory) => Ok((directory, bytes)),
            PackTail::Short { .. } => Err(Error::corrupt("the directory is longer than the pack")),
        }
    }

    /// Proves that all of `packs` are still there, of these lengths and unmarked, to be rested on; [`ErrorKind::Busy`] if one
    /// has gone meanwhile. One that a listing lacks, which may lag behind what we stored just now, is looked at by itself.
    pub fn prove_packs(&self, packs: &HashMap<ObjectId, u64>) -> Result<()> {
        self.list_packs_and_marks()?.prove_packs(self, packs)
    }

    /// Packs and marks as they are listed now.
    pub(crate) fn list_packs_and_marks(&self) -> Result<PacksAndMarks> {
        let marked = self.marked_packs()?;
        let listed = self
            .storage()
            .list(ObjectKind::Pack)
            .context(|| "list the packs")?;
        let packs = listed.iter().map(|pack| (pack.name.id, pack.len)).collect();
        Ok(PacksAndMarks { marked, packs })
    }

    fn stored_len(&self, pack: &ObjectId) -> Result<Option<u64>> {
        match self.storage().stat(ObjectName::new(ObjectKind::Pack, *pack)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            found => Ok(Some(found?.len)),
        }
    }

    /// A pack's own word on what lies where in it.
    pub(crate) fn pack_directory(&self, id: &ObjectId, len: u64) -> Result<Vec<PackedBlob>> {
        let name = ObjectName {
            kind: ObjectKind::Pack,
            id: *id,
        };
        let key = self.pack_key(id)?;
        let mut wanted = pack::pack_reader::tail_len(len);
        loop {
            let tail = self.storage().get_range(name, len - wanted as u64, wanted)?;
            match pack::read_directory(&key, &tail, len)? {
                PackTail::Directory(directory) => return Ok(directory),
                PackTail::Short { wanted: more } if more > wanted && more as u64 <= len => wanted = more,
                PackTail::Short { .. } => {
                    return Err(Error::corrupt("the directory is longer than the pack"));
                }
            }
        }
    }

    /// Stores a snapshot; it is durable when its name comes back.
    pub fn put_snapshot(&self, snapshot: &Snapshot) -> Result<ObjectId> {
        let plain = snapshot_codec::encode(snapshot)?;
        let domain = self.domain_keys().id();
        let bytes =
            self.key_access()
                .seal_object(ObjectClass::Snapshot, domain, &[], &plain, &mut OsEntropy)?;
        let id = object_id(&bytes);
        self.storage()
            .put_new(
                ObjectName {
                    kind: ObjectKind::Snapshot,
                    id,
                },
                &bytes,
            )
            .context(|| "store the snapshot")?;
        Ok(id)
    }

    /// Takes a snapshot back that nobody was told of.
    pub(crate) fn withdraw_snapshot(&self, id: &ObjectId) -> Result<()> {
        let name = ObjectName {
            kind: ObjectKind::Snapshot,
            id: *id,
        };
        self.delete(&DeletePermit::Unreported, name)
    }

    /// Stores a snapshot's object again that a sweep deleted.
    pub(crate) fn put_snapshot_back(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        self.storage()
            .put_new(name, bytes)
            .context(|| format!("put {} back", name.path()))
    }

    /// One snapshot, opened and held to its name, its records where they lie by now.
    pub fn snapshot(&self, id: &ObjectId) -> Result<Snapshot> {
        let mut snapshot = self.snapshot_as_stored(id)?;
        // Behind the snapshot: what is said of it is never older than it is.
        self.notes()?.current_notes().apply_compactions(id, &mut snapshot);
        Ok(snapshot)
    }

    /// One snapshot as it was written.
    pub(crate) fn snapshot_as_stored(&self, id: &ObjectId) -> Result<Snapshot> {
        let name = ObjectName {
            kind: ObjectKind::Snapshot,
            id: *id,
        };
        let bytes = get_content_named(&**self.storage(), name)?;
        let opened = self.keyring()?.open_object(ObjectClass::Snapshot, id, &bytes)?;
        let memory_max = snapshot_memory_max(opened.header.domain, bytes.len() as u64);
        let snapshot = snapshot_codec::decode_within(&opened.plain, memory_max).context(|| name.path())?;
        if opened.header.domain == snapshot.domain {
            Ok(snapshot)
        } else {
            Err(Error::corrupt("a snapshot of another domain than it is sealed in").context(name.path()))
        }
    }
}

/// Most bytes of memory that a snapshot of the domain may take, of which `stored` bytes are stored.
fn snapshot_memory_max(domain: DomainId, stored: u64) -> usize {
    if domain == OWN_DOMAIN {
        return usize::MAX;
    }
    let grown = stored.saturating_mul(HOST_SNAPSHOT_RATIO_MAX);
    grown.clamp(HOST_SNAPSHOT_MEMORY_FREE, HOST_SNAPSHOT_MEMORY_MAX) as usize
}

/// Lists and reads again where something that was listed is gone when it is read: merged, or swept, meanwhile.
pub(super) fn retry_if_gone<T>(read: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 1..LISTINGS_MAX {
        match read() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            done => return done,
        }
    }
    read()
}

/// Where a pack's directory says a blob lies, as the index keeps it.
pub(crate) fn location_of(pack: ObjectId, blob: &PackedBlob) -> Location {
    Location {
        pack,
        offset: blob.offset,
        len: blob.len,
        plain_len: blob.plain_len,
        kind: blob.kind,
        ordinal: blob.ordinal,
    }
}

/// What a blob at this place must open to.
pub(crate) fn sealed_name(location: &Location, id: &BlobId) -> SealedName {
    SealedName {
        id: *id,
        kind: location.kind,
        ordinal: location.ordinal,
        plain_len: location.plain_len,
    }
}
