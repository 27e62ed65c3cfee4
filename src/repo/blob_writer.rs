//! Deduplicates, seals and stores blobs.
//!
//! Blobs in, durable packs and index segments out: names, deduplicates, compresses, seals, packs.
//!
//! ```text
//!            in parallel        one thread            in parallel          one thread              own thread
//! batch --> name each blob --> known? pack?    --> compress and seal --> append to a pack --> full? verify, store
//! ```
//! A batch goes through four steps; those in parallel run on rayon's threads and share nothing, those between
//! are short. Nonces are ordinals that the pack's sealer hands out, each once. New blobs go to one of
//! [`OPEN_PACKS`] open packs at random, so that their order says less about what lies where (docs/THREATS.md).
//! The first ones are of different sizes, so that packs are full one after the other and not all at once.
//!
//! A blob that was noted as bad ([`crate::annotations::BadBlobs`]) is known only by a copy that opens when it is looked at.
//!
//! A blob counts as known once it is in an open pack, but only durable packs are indexed, and
//! [`BlobWriter::finish`] returns after all are.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::blob::{BlobKind, NamedBlob};
use crate::compress::Compressor;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{BlobId, ObjectId};
use crate::index::{IndexEntry, Segment, SegmentPack};
use crate::pack::{CompressedBlob, PackBuilder, seal_all};
use crate::parity::ParityShare;
use crate::report::OperationReport;

use super::dedup_index::{DedupIndex, PackLengths};
use super::pack_uploader::{PackUploader, StoredPack};
use super::sealed_objects::retry_if_gone;
use super::stored_parity::store_parity;
use super::{Repo, StoredBadBlobs, TrustedCopies, location_of};

/// Packs filled side by side: two keep the memory bound with one more on its way to the storage.
const OPEN_PACKS: usize = 2;

/// A segment is written after this many blobs ...
const SEGMENT_ENTRIES_MAX: usize = 10_000;

/// ... or this long after the last one, so that a killed backup leaves few packs that the next one must read to know.
const SEGMENT_AGE_MAX: Duration = Duration::from_secs(60);

/// Unindexed packs that a backup reads when it begins.
const ORPHANS_INDEXED_MAX: usize = 64;

/// What to do about a note on bad blobs that cannot be read.
const UNREAD_BAD_BLOBS_ADVICE: &str = "`levault repair packs --apply` finds again what it named";

/// A pack being filled.
struct OpenPack {
    pack: PackBuilder,
    /// Bytes at which it is full.
    full_at_bytes: usize,
}

impl OpenPack {
    fn new(repo: &Repo, mut buffer: Vec<u8>, full: usize) -> Result<Self> {
        if buffer.len() < full {
            // Room that the system gives cleared, page by page when it is first written.
            buffer = vec![0; full];
        }
        let pack = repo.new_pack(buffer)?;
        Ok(Self {
            pack,
            full_at_bytes: full,
        })
    }
}

/// A blob on its way in.
pub struct NewBlob {
    /// What it is; part of its name.
    pub kind: BlobKind,
    /// Its bytes.
    pub plain: Vec<u8>,
}

/// Whether a writer stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// What is new.
    StoreNew,
    /// Nothing: everything is named, compressed and counted, and thrown away.
    DryRun,
}

/// What is durable and not indexed yet.
#[derive(Default)]
struct UnindexedPacks {
    packs: Vec<SegmentPack>,
    entries: Vec<IndexEntry>,
}

/// The way into the repository.
pub struct BlobWriter<'a> {
    repo: &'a Repo,
    report: &'a OperationReport,
    dedup_index: DedupIndex<'a>,
    /// What could not be read of those notes.
    unread_bad: Option<String>,
    /// Packs that are indexed and not there, or of another size.
    lost: HashSet<ObjectId>,
    /// Some segment could not be read.
    index_is_damaged: bool,
    dependencies: PackLengths,
    open_packs: Vec<OpenPack>,
    /// Rooms of stored packs.
    buffers: Vec<Vec<u8>>,
    in_flight: HashSet<BlobId>,
    uploader: PackUploader,
    unindexed: UnindexedPacks,
    segment_begun: Instant,
    dry_run: bool,
    /// The share of each pack that gets parity, if any.
    parity: Option<ParityShare>,
}

impl<'a> BlobWriter<'a> {
    /// Starts over what the index knows; only copies in sound packs ([`Repo::usable_packs`]) count as known.
    pub fn start(repo: &'a Repo, report: &'a OperationReport, store: WriteMode) -> Result<Self> {
        let (mut writer, unindexed) = retry_if_gone(|| Self::open(repo, report, store))?;
        if store == WriteMode::StoreNew {
            writer.adopt_orphan_packs(unindexed)?;
        }
        Ok(writer)
    }

    /// True if what some segment said is not known.
    pub(crate) fn index_is_damaged(&self) -> bool {
        self.index_is_damaged
    }

    /// The same for whoever moves blobs out of `packs`: nothing in those counts as known.
    pub fn start_without(
        repo: &'a Repo,
        report: &'a OperationReport,
        packs: &HashSet<ObjectId>,
    ) -> Result<Self> {
        let (mut writer, _) = retry_if_gone(|| Self::open(repo, report, WriteMode::StoreNew))?;
        writer.dedup_index.usable.retain(|pack, _| !packs.contains(pack));
        Ok(writer)
    }

    /// A writer, and the packs that no segment names.
    fn open(
        repo: &'a Repo,
        report: &'a OperationReport,
        store: WriteMode,
    ) -> Result<(Self, Vec<(ObjectId, u64)>)> {
        repo.check_writable()?;
        let facts = repo.index_summary()?;
        facts
            .unreadable
            .iter()
            .for_each(|what| report.notice(format!("{what}; what it indexed is stored again")));
        let packs = repo.packs(&facts)?;
        let parity = match store {
            // Notes are the owner's to read.
            WriteMode::StoreNew if repo.keyring().is_ok() => repo.parity_share()?,
            WriteMode::StoreNew | WriteMode::DryRun => None,
        };
        let bad = match repo.keyring() {
            Ok(_) => repo.bad_blobs()?,
            Err(_) => StoredBadBlobs::default(),
        };
        bad.unread
            .iter()
            .for_each(|unread| report.notice(format!("{}; {UNREAD_BAD_BLOBS_ADVICE}", unread.what)));
        let writer = Self {
            repo,
            report,
            index_is_damaged: !facts.unreadable.is_empty(),
            dedup_index: DedupIndex {
                repo,
                lookup: repo.lookup_for(&facts)?,
                usable: packs.usable,
                bad: bad.blobs(repo),
                readable_copies: Mutex::default(),
            },
            unread_bad: bad.unread.first().map(|unread| unread.what.clone()),
            lost: packs.lost,
            dependencies: PackLengths::new(),
            open_packs: (1..=OPEN_PACKS)
                .map(|nth| OpenPack::new(repo, Vec::new(), repo.pack_bytes() / OPEN_PACKS * nth))
                .collect::<Result<_>>()?,
            buffers: Vec::new(),
            in_flight: HashSet::new(),
            uploader: PackUploader::start(
                Arc::clone(repo.storage()),
                repo.settings().verify_packs.then(|| repo.key_access().clone()),
                parity,
            )?,
            parity,
            unindexed: UnindexedPacks::default(),
            segment_begun: Instant::now(),
            dry_run: store == WriteMode::DryRun,
        };
        Ok((writer, packs.unindexed))
    }

    /// Indexes the packs that a killed backup stored and did not index, so that nothing of them is stored again. One of
    /// a backup that is under way is indexed twice, which does no harm; what cannot be read is nobody's.
    fn adopt_orphan_packs(&mut self, mut unindexed: Vec<(ObjectId, u64)>) -> Result<()> {
        // A write-only host cannot open what it stored: its owner's prune gives it back.
        unindexed.truncate(self.repo.keyring().map_or(0, |_| ORPHANS_INDEXED_MAX));
        for (id, len) in unindexed {
            self.report.go_on()?;
            if let Ok((directory, bytes)) = self.repo.read_orphan_pack(&id, len) {
                if let Some(share) = self.parity {
                    store_parity(&**self.repo.storage(), &bytes, share)?;
                }
                let buffer = Vec::new();
                self.add_to_index(StoredPack {
                    id,
                    len,
                    directory,
                    buffer,
                })?;
            }
        }
        Ok(())
    }

    /// Stores what is new of one blob; its name.
    pub fn add_one(&mut self, kind: BlobKind, plain: Vec<u8>) -> Result<BlobId> {
        Ok(self.add(vec![NewBlob { kind, plain }])?[0])
    }

    /// Stores what is new of a batch; the names, in the batch's order.
    pub fn add(&mut self, batch: Vec<NewBlob>) -> Result<Vec<BlobId>> {
        let keys = self.repo.domain_keys();
        let named: Vec<_> = batch
            .into_par_iter()
            .map(|blob| NamedBlob::name(keys, blob.kind, blob.plain))
            .collect();
        let ids = named.iter().map(NamedBlob::id).collect();
        self.add_named(named)?;
        Ok(ids)
    }

    /// Stores what is new of blobs that have their names.
    pub fn add_named(&mut self, named: Vec<NamedBlob>) -> Result<()> {
        self.report.go_on()?;
        let new = self.choose_new(named, NamedBlob::id)?;
        let pressed = self.compress(new)?;
        self.append(pressed)
    }

    /// The same of blobs that are packed already, as they are.
    pub fn add_compressed(&mut self, pressed: Vec<CompressedBlob>) -> Result<()> {
        self.report.go_on()?;
        let new = self.choose_new(pressed, CompressedBlob::id)?;
        self.append(new)
    }

    fn append(&mut self, new: Vec<(usize, CompressedBlob)>) -> Result<()> {
        let mut pressed: Vec<_> = self.open_packs.iter().map(|_| Vec::new()).collect();
        for (slot, blob) in new {
            self.report.blobs_new.add(1);
            self.report.bytes_added.add(blob.plain_len() as u64);
            self.report.bytes_added_packed.add(blob.stored_len() as u64);
            pressed[slot].push(blob);
        }
        if self.dry_run {
            return Ok(());
        }
        let packs = self.open_packs.iter_mut().map(|open| &mut open.pack);
        seal_all(packs.zip(pressed.iter().map(Vec::as_slice)).collect())?;
        self.close_pack(|open| open.pack.len() >= open.full_at_bytes)?;
        self.index_stored_packs()
    }

    fn choose_new<B>(&mut self, blobs: Vec<B>, id: impl Fn(&B) -> BlobId) -> Result<Vec<(usize, B)>> {
        let mut new = Vec::new();
        for blob in blobs {
            let id = id(&blob);
            if self.is_known(&id)? {
                continue;
            }
            self.in_flight.insert(id);
            let slot = usize::from(self.repo.random_byte()?) % self.open_packs.len();
            new.push((slot, blob));
        }
        Ok(new)
    }

    fn is_known(&mut self, id: &BlobId) -> Result<bool> {
        if self.in_flight.contains(id) {
            return Ok(true);
        }
        let pack = self.dedup_index.pack_of(id)?;
        if let Some(pack) = pack {
            self.add_dependency(pack);
        }
        Ok(pack.is_some())
    }

    fn add_dependency(&mut self, pack: ObjectId) {
        let len = self.dedup_index.len_of(&pack);
        self.dependencies.extend(len.map(|len| (pack, len)));
    }

    /// What it knows now, for whoever takes over blobs that are stored already.
    pub(crate) fn dedup_index(&self) -> DedupIndex<'a> {
        self.dedup_index.clone_for_thread()
    }

    /// The snapshot also rests on what was found there by [`DedupIndex::pack_of`].
    pub(crate) fn add_dependencies(&mut self, packs: impl IntoIterator<Item = ObjectId>) {
        packs.into_iter().for_each(|pack| self.add_dependency(pack));
    }

    /// What may be counted on of what it knows.
    pub(crate) fn trusted_copies(&self) -> TrustedCopies<'_> {
        TrustedCopies {
            repo: self.repo,
            lookup: &self.dedup_index.lookup,
            lost: &self.lost,
            bad: &self.dedup_index.bad,
        }
    }

    /// What could not be read of the notes on bad blobs.
    pub(crate) fn unread_bad_blobs(&self) -> Option<&str> {
        self.unread_bad.as_deref()
    }

    fn compress(&self, new: Vec<(usize, NamedBlob)>) -> Result<Vec<(usize, CompressedBlob)>> {
        let compression = self.repo.settings().compression;
        let press = |(slot, blob): (usize, NamedBlob)| {
            let level = compression.level(blob.kind());
            let pressed =
                Compressor::thread_compressor(level, |compressor| CompressedBlob::new(blob, compressor))?;
            Ok((slot, pressed))
        };
        new.into_par_iter().map(press).collect()
    }

    /// Hands packs over, and begins others in their place.
    fn close_pack(&mut self, due: impl Fn(&OpenPack) -> bool) -> Result<()> {
        for slot in (0..self.open_packs.len()).rev() {
            if self.open_packs[slot].pack.is_empty() || !due(&self.open_packs[slot]) {
                continue;
            }
            let full = self.open_packs.swap_remove(slot);
            self.uploader.send(full.pack.close()?)?;
            // The pack stored before this one gives its room to the next.
            self.index_stored_packs()?;
            let buffer = self.buffers.pop().unwrap_or_default();
            self.open_packs
                .push(OpenPack::new(self.repo, buffer, self.repo.pack_bytes())?);
        }
        Ok(())
    }

    fn index_stored_packs(&mut self) -> Result<()> {
        for pack in self.uploader.take_stored() {
            self.add_to_index(pack)?;
        }
        let due = self.unindexed.entries.len() >= SEGMENT_ENTRIES_MAX
            || self.segment_begun.elapsed() >= SEGMENT_AGE_MAX;
        if due { self.flush_index() } else { Ok(()) }
    }

    fn add_to_index(&mut self, stored: StoredPack) -> Result<()> {
        if stored.buffer.capacity() > 0 {
            self.buffers.push(stored.buffer);
        }
        self.unindexed.packs.push(SegmentPack {
            pack: stored.id,
            len: stored.len,
        });
        self.dedup_index.usable.insert(stored.id, stored.len);
        self.dependencies.insert(stored.id, stored.len);
        for blob in &stored.directory {
            let entry = IndexEntry {
                id: blob.id,
                location: location_of(stored.id, blob),
            };
            self.in_flight.remove(&blob.id);
            self.dedup_index.lookup.insert(entry);
            self.unindexed.entries.push(entry);
        }
        Ok(())
    }

    fn flush_index(&mut self) -> Result<()> {
        self.segment_begun = Instant::now();
        if self.unindexed.packs.is_empty() {
            return Ok(());
        }
        let UnindexedPacks { packs, entries } = std::mem::take(&mut self.unindexed);
        let segment = Segment::new(packs, Vec::new(), entries)?;
        self.repo
            .put_segment(&segment)
            .map(drop)
            .context(|| "store an index segment")
    }

    /// Makes all that was added readable: stored and indexed. A dry run stores nothing, and can read nothing back.
    pub fn flush(&mut self) -> Result<()> {
        self.close_pack(|_| true)?;
        while let Some(pack) = self.uploader.next_stored()? {
            self.add_to_index(pack)?;
        }
        self.flush_index()
    }

    /// The packs that what was added lies in, and their lengths; complete behind a flush.
    pub(crate) fn dependencies(&self) -> &PackLengths {
        &self.dependencies
    }

    /// Stores what is still open, indexes it, and returns once everything is durable.
    ///
    /// What comes back are the packs that this writer's blobs lie in, those it stored itself among them, and their lengths.
    pub fn finish(mut self) -> Result<PackLengths> {
        if self.dry_run {
            return Ok(PackLengths::new());
        }
        for last in self.open_packs.drain(..).filter(|open| !open.pack.is_empty()) {
            self.uploader.send_last(last.pack.close()?)?;
        }
        self.uploader.wait_for_all()?;
        self.index_stored_packs()?;
        self.flush_index()?;
        if self.in_flight.is_empty() {
            Ok(std::mem::take(&mut self.dependencies))
        } else {
            Err(Error::new(
                ErrorKind::Io,
                "a pack was handed over and never reported as stored",
            ))
        }
    }
}
