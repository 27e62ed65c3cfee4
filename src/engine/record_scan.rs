//! Cuts scanned records into leaf drafts and chunks.
//!
//! The scan thread's side: records as they come, cut into leaf drafts, long values into chunks, sent in batches.
//!
//! Long values are chunked and named here, because a leaf entry holds their names; their chunks travel in the
//! same batches as the drafts, so a value of any size passes through the channel in bounded pieces.

use crossbeam_channel::Sender;

use crate::blob::{BlobKind, NamedBlob};
use crate::chunk::{ChunkList, ChunkRef, Chunker, ListBuilder};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BlobId, SetDigest, StreamDigest};
use crate::keys::DomainKeys;
use crate::leveldb::changed_records::{ChangeSink, OwnedRecord};
use crate::limits::{INLINE_VALUE_BYTES_MAX, LEAF_BYTES_MAX};
use crate::record::{SetDigestAccumulator, StreamDigester};
use crate::report::OperationReport;
use crate::run::{EntryPayload, LeafCutter, LeafDraft, Patch, PatchMaker, RunEntry};
use crate::source::RecordSink;

/// A batch is sent when it holds so many bytes: some tens of leaves keep all cores busy until the next.
pub const LEAF_BATCH_BYTES: usize = 2 << 20;

/// What goes from the scan thread to the writer's.
#[derive(Default)]
pub struct LeafBatch {
    /// Leaves to be, in key order for each run.
    pub drafts: Vec<RunLeafDraft>,
    /// Chunks and chunk lists of long values.
    pub blobs: Vec<NamedBlob>,
    bytes: usize,
}

/// A leaf to be, and the run it belongs to.
pub struct RunLeafDraft {
    pub certain: bool,
    pub draft: LeafDraft,
}

/// What only the scan thread could compute: digests of records it saw whole.
pub struct ScanDigests {
    /// Of all certain records in order.
    pub stream_digest: StreamDigest,
    /// Of the certain records whose values do not stand in drafts.
    pub undrafted_digest: SetDigest,
    /// Of the certain records.
    pub counts: RecordCounts,
    /// Of the records that changes took away.
    pub removed_digest: SetDigest,
    /// How many those are.
    pub removed_counts: RecordCounts,
    /// Key of the last certain record, and of the last uncertain one.
    pub last_keys: [Vec<u8>; 2],
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordCounts {
    pub records: u64,
    pub key_bytes: u64,
    pub value_bytes: u64,
}

/// The sink a source's records fall into.
pub struct RecordScanSink<'a> {
    keys: &'a DomainKeys,
    report: &'a OperationReport,
    out: Sender<LeafBatch>,
    batch: LeafBatch,
    cutter: Chunker,
    base: RunInProgress,
    uncertain: RunInProgress,
    stream: StreamDigester,
    /// Certain records whose values do not stand in drafts: they were chunked, or are patches.
    undrafted: SetDigestAccumulator<'a>,
    patches: PatchMaker,
    /// Records that changes took away.
    removed: RemovedRecords<'a>,
}

/// What the state before had and the new one has not.
struct RemovedRecords<'a> {
    digest: SetDigestAccumulator<'a>,
    counts: RecordCounts,
}

struct RunInProgress {
    draft: LeafDraft,
    cutter: LeafCutter,
    /// Bytes of the draft's stream that the stream digest has seen.
    digested: usize,
    counts: RecordCounts,
    last_key: Vec<u8>,
}

impl<'a> RecordScanSink<'a> {
    /// Sends to `out`.
    pub fn start(keys: &'a DomainKeys, out: Sender<LeafBatch>, report: &'a OperationReport) -> Self {
        let secret = keys.chunker_secret().expose();
        let run = || RunInProgress {
            draft: LeafDraft::with_capacity(2 * LEAF_BYTES_MAX / 4),
            cutter: LeafCutter::new(secret),
            digested: 0,
            counts: RecordCounts::default(),
            last_key: Vec::new(),
        };
        Self {
            keys,
            report,
            out,
            batch: LeafBatch::default(),
            cutter: Chunker::new(secret),
            base: run(),
            uncertain: run(),
            stream: StreamDigester::new(),
            undrafted: SetDigestAccumulator::new(keys.set_digest_key().expose()),
            patches: PatchMaker::default(),
            removed: RemovedRecords {
                digest: SetDigestAccumulator::new(keys.set_digest_key().expose()),
                counts: RecordCounts::default(),
            },
        }
    }

    /// Sends what is left and closes the channel.
    pub fn finish(mut self) -> Result<ScanDigests> {
        for certain in [true, false] {
            if !self.run(certain).draft.is_empty() {
                self.end_leaf(certain);
            }
        }
        self.send()?;
        Ok(ScanDigests {
            stream_digest: self.stream.digest(),
            undrafted_digest: self.undrafted.digest(),
            counts: self.base.counts,
            removed_digest: self.removed.digest.digest(),
            removed_counts: self.removed.counts,
            last_keys: [self.base.last_key, self.uncertain.last_key],
        })
    }

    fn run(&mut self, certain: bool) -> &mut RunInProgress {
        if certain {
            &mut self.base
        } else {
            &mut self.uncertain
        }
    }

    fn push_chunked(&mut self, key: &[u8], value: &[u8], certain: bool) -> Result<usize> {
        if certain {
            self.digest_draft();
            self.stream.record(key, value);
            self.undrafted.add_record(key, value);
        }
        let list = self.store_chunks(value)?;
        self.run(certain).draft.push_chunked(key, list)
    }

    fn store_chunks(&mut self, value: &[u8]) -> Result<ChunkList> {
        let mut list = ListBuilder::new();
        let mut rest = value;
        while let Some(len) = self.cutter.first_chunk_len(rest, crate::chunk::InputEnd::Ended) {
            let (chunk, after) = rest.split_at(len);
            rest = after;
            let id = self.add_blob(BlobKind::Data, chunk.to_vec())?;
            list.push(
                ChunkRef {
                    id,
                    bytes: len as u64,
                },
                &mut |kind, plain| self.add_blob(kind, plain),
            )?;
        }
        list.finish(&mut |kind, plain| self.add_blob(kind, plain))
    }

    fn add_blob(&mut self, kind: BlobKind, plain: Vec<u8>) -> Result<BlobId> {
        let blob = NamedBlob::name(self.keys, kind, plain);
        let id = blob.id();
        self.batch.bytes += blob.plain().len();
        self.batch.blobs.push(blob);
        if self.batch.bytes >= LEAF_BATCH_BYTES {
            self.send()?;
        }
        Ok(id)
    }

    /// Brings the stream digest up to the draft's last record.
    fn digest_draft(&mut self) {
        self.stream
            .stream(&self.base.draft.stream()[self.base.digested..]);
        self.base.digested = self.base.draft.stream().len();
    }

    fn end_leaf(&mut self, certain: bool) {
        if certain {
            self.digest_draft();
        }
        let run = self.run(certain);
        let fresh = LeafDraft::with_capacity(LEAF_BYTES_MAX / 2);
        let draft = std::mem::replace(&mut run.draft, fresh);
        run.digested = 0;
        self.batch.bytes += draft.stream().len();
        self.batch.drafts.push(RunLeafDraft { certain, draft });
    }

    /// Behind an entry: ends the leaf where the cutter says so.
    #[inline]
    fn finish_entry(&mut self, key: &[u8], weight: usize, certain: bool) -> Result<()> {
        let run = self.run(certain);
        run.last_key.clear();
        run.last_key.extend_from_slice(key);
        if run.cutter.cut_after(key, weight) {
            self.end_leaf(certain);
            if self.batch.bytes >= LEAF_BATCH_BYTES {
                self.send()?;
            }
        }
        Ok(())
    }

    fn push_patched(&mut self, key: &[u8], value: &[u8], patch: Patch<'static>) -> Result<()> {
        self.digest_draft();
        self.stream.record(key, value);
        self.undrafted.add_record(key, value);
        self.base.counts.add(key, value);
        let weight = self.base.draft.push_patch(key, patch)?;
        self.finish_entry(key, weight, true)
    }

    /// An entry of another run, as it is.
    pub fn push_entry(&mut self, entry: &RunEntry) -> Result<()> {
        let draft = &mut self.base.draft;
        let weight = match &entry.payload {
            EntryPayload::Inline(value) => draft.push_inline(entry.key, value)?,
            EntryPayload::Chunked(list) => draft.push_chunked(entry.key, list.clone())?,
            EntryPayload::Delete => draft.push_delete(entry.key)?,
            EntryPayload::Patch(patch) => draft.push_patch(entry.key, patch.clone().into_owned())?,
        };
        self.finish_entry(entry.key, weight, true)
    }

    fn send(&mut self) -> Result<()> {
        self.report.go_on()?;
        let batch = std::mem::take(&mut self.batch);
        self.out
            .send(batch)
            .map_err(|_| Error::new(ErrorKind::Interrupted, "the writer has stopped"))
    }
}

impl RecordSink for RecordScanSink<'_> {
    #[inline]
    fn record(&mut self, key: &[u8], value: &[u8], certain: bool) -> Result<()> {
        let weight = if value.len() > INLINE_VALUE_BYTES_MAX {
            self.push_chunked(key, value, certain)?
        } else {
            self.run(certain).draft.push_inline(key, value)?
        };
        self.run(certain).counts.add(key, value);
        self.finish_entry(key, weight, certain)
    }
}

impl ChangeSink for RecordScanSink<'_> {
    fn change(&mut self, old: Option<OwnedRecord>, new: Option<OwnedRecord>) -> Result<()> {
        if let Some((key, value)) = old {
            self.removed.digest.add_record(key, value);
            self.removed.counts.add(key, value);
        }
        let Some(key) = new.or(old).map(|(key, _)| key) else {
            return Ok(());
        };
        match new {
            Some((key, value)) => match old.and_then(|(_, old)| self.patches.make_patch(old, value)) {
                Some(patch) => self.push_patched(key, value, patch),
                None => self.record(key, value, true),
            },
            None => {
                let weight = self.base.draft.push_delete(key)?;
                self.finish_entry(key, weight, true)
            }
        }
    }
}

impl RecordCounts {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.records += 1;
        self.key_bytes += key.len() as u64;
        self.value_bytes += value.len() as u64;
    }

    /// These, without `taken`; `None` if there were not so many.
    pub fn subtract(self, taken: Self) -> Option<Self> {
        Some(Self {
            records: self.records.checked_sub(taken.records)?,
            key_bytes: self.key_bytes.checked_sub(taken.key_bytes)?,
            value_bytes: self.value_bytes.checked_sub(taken.value_bytes)?,
        })
    }

    /// These, and `more`.
    pub fn with(self, more: Self) -> Self {
        Self {
            records: self.records + more.records,
            key_bytes: self.key_bytes + more.key_bytes,
            value_bytes: self.value_bytes + more.value_bytes,
        }
    }
}
