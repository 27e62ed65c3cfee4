//! Computes the digests of stacks anew, one range of keys after the other.
//!
//! A stack differs from the one before it on the same base by what its new runs say. Digests are sums over records, so what
//! differs may be summed range by range: while all stacks are compared in one range, its nodes and leaves stay in memory.
//! So each of them is read about once, whatever the number of snapshots; compared one after the other, each stack would read
//! the leaves of all the keys that it changed.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::engine::blob_cache::BlobCacheReader;
use crate::engine::database_state::stack_layers;
use crate::engine::read_records;
use crate::error::Result;
use crate::id::SetDigest;
use crate::leveldb::Comparator;
use crate::record::SetDigestAccumulator;
use crate::repo::BlobReader;
use crate::report::OperationReport;
use crate::run::{EntryPayload, KeyRange, RecordDifference};
use crate::snapshot::{DatabaseRoot, StoredRunRef};

/// Canonical bytes of the base's records in one range. What one range needs is kept twice over ([`CACHE_BYTES`]): its
/// leaves, and those of the runs above.
pub const RANGE_BYTES: u64 = 12 << 20;

/// Plain bytes kept for one range; as many ranges as there are cores are at work.
const CACHE_BYTES: usize = 24 << 20;

/// Stacks that stand on one base, in the order of their snapshots.
pub struct StackSeries<'s, T> {
    /// The digest of the base's records, read.
    pub base_digest: SetDigest,
    /// First keys of ranges of about [`RANGE_BYTES`], ascending; the first range begins before the first of them.
    pub range_starts: Vec<Vec<u8>>,
    /// What stands on it; each with what its finding is to name.
    pub stacks: Vec<SeriesStack<'s, T>>,
}

/// One stack of a series: the base, and what lies on it.
pub struct SeriesStack<'s, T> {
    /// Where it is recorded.
    pub origin: T,
    /// What is recorded of it.
    pub database: &'s DatabaseRoot,
    /// Oldest first; the first is the series' base.
    pub runs: &'s [StoredRunRef],
}

/// What a digest is computed with.
pub struct StackDigestContext<'a> {
    pub reader: &'a BlobReader<'a>,
    pub key: &'a [u8; 32],
    /// Held while a long value is in memory.
    pub long_values: &'a Mutex<()>,
    pub report: &'a OperationReport,
}

/// What one stack has and the one before it has not, and the other way round, in one range.
struct StackChange {
    added: SetDigest,
    removed: SetDigest,
    /// Records added, less records removed.
    records: i64,
}

impl<T: Sync> StackSeries<'_, T> {
    /// The stacks whose merged records do not have the recorded count and digest.
    pub fn mismatches(&self, context: &StackDigestContext) -> Result<Vec<&SeriesStack<'_, T>>> {
        let ranges = self.ranges();
        let changes: Vec<Vec<StackChange>> = ranges
            .par_iter()
            .map(|range| self.changes_in(range, context))
            .collect::<Result<_>>()?;
        let Some(first) = self.stacks.first() else {
            return Ok(Vec::new());
        };
        let mut digest = SetDigestAccumulator::resume(context.key, &self.base_digest);
        let mut records = first.runs[0].records();
        let mut wrong = Vec::new();
        for (number, stack) in self.stacks.iter().enumerate() {
            for change in changes.iter().map(|changes| &changes[number]) {
                digest.merge(&change.added);
                digest.unmerge(&change.removed);
                records = records.wrapping_add_signed(change.records);
            }
            if (records, digest.digest()) != (stack.database.records, stack.database.set_digest) {
                wrong.push(stack);
            }
        }
        Ok(wrong)
    }

    fn ranges(&self) -> Vec<KeyRange> {
        let starts = std::iter::once(None).chain(self.range_starts.iter().cloned().map(Some));
        let ends = self.range_starts.iter().cloned().map(Some).chain([None]);
        starts.zip(ends).map(|(from, to)| KeyRange { from, to }).collect()
    }

    fn changes_in(&self, range: &KeyRange, context: &StackDigestContext) -> Result<Vec<StackChange>> {
        let recent = BlobCacheReader::with_capacity(context.reader, CACHE_BYTES);
        let mut changes = Vec::with_capacity(self.stacks.len());
        let mut before = self.stacks.first().map_or(&[][..], |first| &first.runs[..1]);
        for stack in &self.stacks {
            changes.push(change_between(before, stack.runs, range, &recent, context)?);
            before = stack.runs;
        }
        Ok(changes)
    }
}

fn change_between(
    before: &[StoredRunRef],
    after: &[StoredRunRef],
    range: &KeyRange,
    recent: &BlobCacheReader,
    context: &StackDigestContext,
) -> Result<StackChange> {
    let comparator = Comparator::from_name(&after[0].comparator);
    let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
    let mut added = SetDigestAccumulator::new(context.key);
    let mut removed = SetDigestAccumulator::new(context.key);
    let mut records = 0;
    let mut count = |difference: &RecordDifference| {
        context.report.go_on()?;
        if let Some(old) = &difference.old {
            context.add(&mut removed, difference.old_key, old)?;
            records -= 1;
        }
        if let Some(new) = &difference.new {
            context.add(&mut added, difference.key, new)?;
            records += 1;
        }
        Ok(())
    };
    let old = stack_layers(recent, before, &order);
    let new = stack_layers(recent, after, &order);
    crate::run::diff(&old, &new, range, &order, &mut count)?;
    Ok(StackChange {
        added: added.digest(),
        removed: removed.digest(),
        records,
    })
}

impl StackDigestContext<'_> {
    fn add(&self, digest: &mut SetDigestAccumulator, key: &[u8], payload: &EntryPayload) -> Result<()> {
        let _alone = matches!(payload, EntryPayload::Chunked(_))
            .then(|| self.long_values.lock().unwrap_or_else(PoisonError::into_inner));
        digest.add_record(key, &self.value(payload)?);
        Ok(())
    }

    fn value<'v>(&self, payload: &EntryPayload<'v>) -> Result<Cow<'v, [u8]>> {
        match payload {
            EntryPayload::Inline(value) => Ok(Cow::Borrowed(value)),
            EntryPayload::Chunked(list) => read_records::read_long_value(self.reader, list).map(Cow::Owned),
            EntryPayload::Delete | EntryPayload::Patch(_) => Err(read_records::not_a_record()),
        }
    }
}
