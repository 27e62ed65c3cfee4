//! Computes set digests under the keys of both repositories.
//!
//! Set digests under two keys at once: the source's, to be compared with what it says of itself, and the destination's.

use std::borrow::Cow;

use crate::engine::database_state::stack_layers;
use crate::engine::read_records;
use crate::error::Result;
use crate::id::SetDigest;
use crate::leveldb::Comparator;
use crate::record::SetDigestAccumulator;
use crate::repo::Repo;
use crate::run::{EntryPayload, KeyRange, RecordDifference};
use crate::snapshot::{DatabaseContent, DatabaseRoot, StoredRunRef};

use super::copy_snapshot::{DatabasePair, SnapshotCarrier};
use super::digest_mismatch;

/// What the records of a run or a stack come to.
#[derive(Clone, Copy, Debug)]
pub struct RunDigests {
    pub records: u64,
    /// Under the source's key.
    pub from: SetDigest,
    /// Under the destination's.
    pub to: SetDigest,
}

/// Records being summed.
#[derive(Clone)]
pub struct DigestBuilder<'k> {
    records: u64,
    keys: [&'k [u8; 32]; 2],
    from: SetDigestAccumulator<'k>,
    to: SetDigestAccumulator<'k>,
}

impl<'k> DigestBuilder<'k> {
    pub fn new(from: &'k Repo, to: &'k Repo) -> Self {
        Self::of([from, to].map(|repo| repo.domain_keys().set_digest_key().expose()))
    }

    fn of(keys: [&'k [u8; 32]; 2]) -> Self {
        Self {
            records: 0,
            keys,
            from: SetDigestAccumulator::new(keys[0]),
            to: SetDigestAccumulator::new(keys[1]),
        }
    }

    /// The same without records.
    pub fn empty(&self) -> Self {
        Self::of(self.keys)
    }

    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.records += 1;
        self.from.add_record(key, value);
        self.to.add_record(key, value);
    }

    pub fn merge(&mut self, share: Self) {
        let sums = share.finish();
        self.records += sums.records;
        self.from.merge(&sums.from);
        self.to.merge(&sums.to);
    }

    pub fn finish(self) -> RunDigests {
        RunDigests {
            records: self.records,
            from: self.from.digest(),
            to: self.to.digest(),
        }
    }
}

impl SnapshotCarrier<'_> {
    /// The destination's digest of a database, whose own is computed from its records and compared: from those of its
    /// base that were read just now, or from the last state that is in both, by what changed since.
    pub fn digest(
        &self,
        database: &DatabaseRoot,
        base: Option<RunDigests>,
        ground: Option<&DatabasePair>,
    ) -> Result<SetDigest> {
        let DatabaseContent::Logical { runs, .. } = &database.content else {
            return Ok(database.set_digest);
        };
        let sums = match (
            base,
            ground.and_then(|ground| Some((ground, ground.stacks(database)?))),
        ) {
            (Some(base), _) if runs.len() == 1 => base,
            (Some(base), _) => self.walk_runs(base, &runs[..1], runs, &database.shape.comparator)?,
            (None, Some((ground, (before, _)))) => {
                let sums = RunDigests {
                    records: ground.from.records,
                    from: ground.from.set_digest,
                    to: ground.to.set_digest,
                };
                self.walk_runs(sums, before, runs, &database.shape.comparator)?
            }
            // A base is read whole, or it was compared with one that is in both.
            (None, None) => return Err(digest_mismatch("base")),
        };
        match (sums.records == database.records, sums.from == database.set_digest) {
            (true, true) => Ok(sums.to),
            (false, _) => Err(digest_mismatch("count")),
            (true, false) => Err(digest_mismatch("set digest")),
        }
    }

    fn walk_runs(
        &self,
        before: RunDigests,
        old: &[StoredRunRef],
        new: &[StoredRunRef],
        comparator: &str,
    ) -> Result<RunDigests> {
        let comparator = Comparator::from_name(comparator);
        let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
        let (mut added, mut taken) = (
            DigestBuilder::new(self.from, self.to),
            DigestBuilder::new(self.from, self.to),
        );
        let mut each = |difference: &RecordDifference| {
            self.report.go_on()?;
            if let Some(old) = &difference.old {
                taken.add(difference.old_key, &self.value(old)?);
            }
            if let Some(new) = &difference.new {
                added.add(difference.key, &self.value(new)?);
            }
            Ok(())
        };
        let (old, new) = (
            stack_layers(self.recent, old, &order),
            stack_layers(self.recent, new, &order),
        );
        crate::run::diff(&old, &new, &KeyRange::all(), &order, &mut each)?;
        let (added, taken) = (added.finish(), taken.finish());
        Ok(RunDigests {
            records: before
                .records
                .wrapping_add(added.records)
                .wrapping_sub(taken.records),
            from: self.sum(self.from, before.from, added.from, taken.from),
            to: self.sum(self.to, before.to, added.to, taken.to),
        })
    }

    fn sum(&self, repo: &Repo, before: SetDigest, added: SetDigest, taken: SetDigest) -> SetDigest {
        let key = repo.domain_keys().set_digest_key().expose();
        let mut sum = SetDigestAccumulator::resume(key, &before);
        sum.merge(&added);
        sum.unmerge(&taken);
        sum.digest()
    }

    fn value<'v>(&self, payload: &EntryPayload<'v>) -> Result<Cow<'v, [u8]>> {
        match payload {
            EntryPayload::Inline(value) => Ok(Cow::Borrowed(value)),
            EntryPayload::Chunked(list) => read_records::read_long_value(self.reader, list).map(Cow::Owned),
            EntryPayload::Delete | EntryPayload::Patch(_) => Err(read_records::not_a_record()),
        }
    }
}
