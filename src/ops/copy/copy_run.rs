//! Copies one run, leaf by leaf.
//!
//! A run, leaf by leaf: opened, held to its place, summed, and stored again; nodes are built anew above them.

use rayon::prelude::*;

use crate::blob::{BlobKind, NamedBlob};
use crate::engine::read_records;
use crate::error::{Result, ResultExt};
use crate::leveldb::Comparator;
use crate::repo::{BlobReader, NewBlob};
use crate::run::{
    EntryPayload, KeyOrder, KeyRange, LeafDraft, LeafRef, LeafSpan, RunReader, RunRoot, RunTreeBuilder,
    encode_leaf, read_leaf,
};
use crate::snapshot::StoredRunRef;

use super::copy_snapshot::SnapshotCarrier;
use super::paired_runs::RunPairWalk;
use super::run_digests::{DigestBuilder, RunDigests};

/// Leaves in hand at once ...
const LEAVES_AT_ONCE: usize = 64;

/// ... and bytes of their records: a leaf with long values is alone.
const BYTES_AT_ONCE: u64 = 3 << 20;

/// Where it is, and its sums if it is a base of which every leaf was read.
pub type CopiedRun = (Option<RunRoot>, Option<RunDigests>);

impl SnapshotCarrier<'_> {
    /// Copies a run. `twins` are a run that has leaves in common with it, its copy, and whether that may not be durable.
    pub fn run(
        &mut self,
        run: &StoredRunRef,
        is_base: bool,
        twins: Option<(&StoredRunRef, &StoredRunRef, bool)>,
    ) -> Result<CopiedRun> {
        let comparator = Comparator::from_name(&run.comparator);
        let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
        let mut pass = RunCopy {
            order: &order,
            tree: RunTreeBuilder::new(),
            sums: is_base.then(|| DigestBuilder::new(self.from, self.to)),
        };
        let walker = RunReader::new(self.recent, run.root.as_ref(), &order);
        let leaves = walker.leaves(KeyRange::all());
        match twins {
            None => self.leaves(leaves, None, &mut pass)?,
            Some((from, to, is_new)) => {
                if is_new {
                    self.sink.flush()?;
                }
                let lookup = self.to.lookup();
                let lookup = self.sink.own_snapshots(lookup)?;
                let there = BlobReader::new(self.to, &lookup);
                let from = RunReader::new(self.recent, from.root.as_ref(), &order);
                let to = RunReader::new(&there, to.root.as_ref(), &order);
                self.leaves(leaves, Some(RunPairWalk::new(from, to, &order)), &mut pass)?;
            }
        }
        let sink = &mut self.sink;
        let root = pass.tree.finish(&mut |kind, plain| sink.add_one(kind, plain))?;
        Ok((root, pass.sums.map(DigestBuilder::finish)))
    }

    fn leaves(
        &mut self,
        mut spans: impl Iterator<Item = Result<LeafSpan>>,
        mut twins: Option<RunPairWalk>,
        pass: &mut RunCopy,
    ) -> Result<()> {
        loop {
            self.report.go_on()?;
            let batch = non_empty(&mut spans)?;
            if batch.is_empty() {
                return Ok(());
            }
            let find = |span: &LeafSpan| twins.as_mut().and_then(|twins| twins.find(&span.leaf));
            let found: Vec<Option<LeafRef>> = batch.iter().map(find).collect();
            self.batch(batch, found, pass)?;
        }
    }

    fn batch(&mut self, batch: Vec<LeafSpan>, found: Vec<Option<LeafRef>>, pass: &mut RunCopy) -> Result<()> {
        let pairs = batch.iter().zip(&found);
        let fresh: Vec<_> = pairs
            .filter(|(_, found)| found.is_none())
            .map(|(span, _)| span.clone())
            .collect();
        if fresh.len() < batch.len() {
            pass.sums = None;
        }
        let blobs = read_records::fetch_leaves(self.reader, &fresh)?;
        let plains = self.open_leaf(&fresh, blobs, pass)?;
        let new = plains.into_iter().map(|plain| NewBlob {
            kind: BlobKind::Leaf,
            plain,
        });
        let mut ids = self.sink.add(new.collect())?.into_iter();
        let sink = &mut self.sink;
        for (span, found) in batch.into_iter().zip(found) {
            self.report.records.add(span.leaf.records);
            self.report.bytes_done.add(span.leaf.bytes);
            let leaf = match found {
                Some(leaf) => leaf,
                None => LeafRef {
                    id: ids.next().unwrap_or(span.leaf.id),
                    ..span.leaf
                },
            };
            pass.tree
                .push(leaf, &mut |kind, plain| sink.add_one(kind, plain))?;
        }
        Ok(())
    }

    /// The leaves as they go into the destination: those without long values keep their bytes.
    fn open_leaf(
        &mut self,
        spans: &[LeafSpan],
        blobs: Vec<NamedBlob>,
        pass: &mut RunCopy,
    ) -> Result<Vec<Vec<u8>>> {
        let (order, empty) = (pass.order, pass.sums.as_ref().map(DigestBuilder::empty));
        let shares: Vec<_> = spans
            .par_iter()
            .zip(&blobs)
            .filter(|(span, _)| span.leaf.chunked == 0)
            .try_fold(
                || empty.clone(),
                |mut sums, (span, blob)| {
                    read_leaf(blob.plain(), span, order, |entry| {
                        add(&mut sums, entry.key, &entry.payload)
                    })?;
                    Ok(sums)
                },
            )
            .collect::<Result<_>>()?;
        if let Some(sums) = &mut pass.sums {
            shares.into_iter().flatten().for_each(|share| sums.merge(share));
        }
        let mut plains = Vec::with_capacity(blobs.len());
        for (span, blob) in spans.iter().zip(blobs) {
            plains.push(match span.leaf.chunked {
                0 => blob.into_plain(),
                _ => self
                    .leaf_with_long_values(span, blob.plain(), pass)
                    .context(|| format!("leaf {}", span.leaf.id.short()))?,
            });
        }
        Ok(plains)
    }

    fn leaf_with_long_values(
        &mut self,
        span: &LeafSpan,
        plain: &[u8],
        pass: &mut RunCopy,
    ) -> Result<Vec<u8>> {
        let (mut draft, sums) = (LeafDraft::default(), &mut pass.sums);
        read_leaf(plain, span, pass.order, |entry| {
            match &entry.payload {
                EntryPayload::Inline(value) => draft.push_inline(entry.key, value)?,
                EntryPayload::Delete => draft.push_delete(entry.key)?,
                EntryPayload::Patch(patch) => draft.push_patch(entry.key, patch.clone().into_owned())?,
                EntryPayload::Chunked(list) => {
                    let mut value = sums.as_ref().map(|_| Vec::new());
                    let copied = self.list(list, value.as_mut())?;
                    if let (Some(sums), Some(value)) = (&mut *sums, value) {
                        sums.add(entry.key, &value);
                    }
                    return draft.push_chunked(entry.key, copied).map(drop);
                }
            };
            add(sums, entry.key, &entry.payload)
        })?;
        Ok(encode_leaf(&draft))
    }
}

/// One run on its way.
struct RunCopy<'o> {
    order: KeyOrder<'o>,
    tree: RunTreeBuilder,
    /// `None` for a run that is no base, and as soon as a leaf was not read.
    sums: Option<DigestBuilder<'o>>,
}

/// Adds a record of a base.
fn add(sums: &mut Option<DigestBuilder>, key: &[u8], payload: &EntryPayload) -> Result<()> {
    let Some(sums) = sums else { return Ok(()) };
    match payload {
        EntryPayload::Inline(value) => sums.add(key, value),
        EntryPayload::Chunked(_) | EntryPayload::Delete | EntryPayload::Patch(_) => {
            return Err(read_records::not_a_record());
        }
    }
    Ok(())
}

fn non_empty(spans: &mut impl Iterator<Item = Result<LeafSpan>>) -> Result<Vec<LeafSpan>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < LEAVES_AT_ONCE && bytes < BYTES_AT_ONCE {
        let Some(span) = spans.next().transpose()? else {
            break;
        };
        bytes = span.leaf.bytes.saturating_add(bytes);
        batch.push(span);
    }
    Ok(batch)
}
