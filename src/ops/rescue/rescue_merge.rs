//! Merges a directory's records with those of snapshots.
//!
//! The directory's records and the snapshots', in one order; of two words on a key the one that is known to be newer.

use std::cmp::Ordering;

use crate::error::Result;
use crate::repo::BlobReader;
use crate::run::KeyOrder;
use crate::source::{Database, NewestVersion, RecordSink};

use super::rescue_plan::{CandidateRecords, SuppliedSpan};
use super::{SpanOutcome, UncertainRecords, holds};

/// Takes the records of the result.
type RescuedRecordSink<'o> = &'o mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// What became of a span's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanTally {
    /// Taken from the snapshot. Each may have been overwritten or deleted since.
    pub supplied: u64,
    /// The directory's own that no lost entry can have changed.
    pub certain: u64,
    /// The directory's own that are newer than the snapshot. A lost entry may have changed them since.
    pub newer: u64,
    /// Uncertain ones of the directory that were kept for want of better ones.
    pub kept: u64,
    /// Uncertain ones of the directory that were left out, for the snapshot's word or for want of any.
    pub left_out: u64,
}

/// The merge.
pub struct RescueMerge<'a> {
    chosen: Vec<SuppliedSpan<'a>>,
    tallies: Vec<SpanTally>,
    reader: &'a BlobReader<'a>,
    order: KeyOrder<'a>,
    uncertain: UncertainRecords,
    records: u64,
    own: u64,
}

impl<'a> RescueMerge<'a> {
    pub fn new(
        chosen: Vec<SuppliedSpan<'a>>,
        reader: &'a BlobReader<'a>,
        order: KeyOrder<'a>,
        uncertain: UncertainRecords,
    ) -> Self {
        Self {
            tallies: vec![SpanTally::default(); chosen.len()],
            chosen,
            reader,
            order,
            uncertain,
            records: 0,
            own: 0,
        }
    }

    pub fn choose_record(&self) -> &[SuppliedSpan<'a>] {
        &self.chosen
    }

    pub fn records(&self) -> u64 {
        self.records
    }

    /// Gives every record of the result to `out`.
    pub fn run(&mut self, database: &Database, out: RescuedRecordSink) -> Result<()> {
        let mut pass = DirectoryPass {
            merging: self,
            at: 0,
            supply: None,
            sequence: None,
            out,
        };
        database.scan(&mut pass)?;
        pass.remaining_records()
    }

    /// Records of the result, those of them that are the directory's own, and what became of each span.
    pub fn finish(self) -> (u64, u64, Vec<SpanOutcome>) {
        let outcome = |(chosen, tally): (SuppliedSpan, SpanTally)| SpanOutcome {
            span: chosen.span,
            supply: chosen.supply,
            passed_over: chosen.passed_over,
            tally,
        };
        let spans = self.chosen.into_iter().zip(self.tallies).map(outcome);
        (self.records, self.own, spans.collect())
    }
}

/// On the way through the directory's records.
struct DirectoryPass<'m, 'a, 'o> {
    merging: &'m mut RescueMerge<'a>,
    /// The span that is not passed yet.
    at: usize,
    /// What its snapshot still has in it, once the way has come to it.
    supply: Option<CandidateRecords<'a>>,
    /// Sequence number of the uncertain record that comes next.
    sequence: Option<u64>,
    out: RescuedRecordSink<'o>,
}

/// Whose word counts on an uncertain key.
enum UncertainVerdict {
    /// The directory's: it is newer than the snapshot.
    Newer,
    /// The snapshot's.
    Snapshot,
    /// Nobody's.
    Unknown,
}

impl DirectoryPass<'_, '_, '_> {
    /// Gives what the snapshots have before `key`, and stands where it is.
    fn advance_to(&mut self, key: &[u8]) -> Result<()> {
        while let Some(chosen) = self.merging.chosen.get(self.at) {
            if chosen.span.is_after(key, self.merging.order) {
                return Ok(());
            }
            self.open()?;
            self.supply_before(Some(key))?;
            let Some(chosen) = self.merging.chosen.get(self.at) else {
                return Ok(());
            };
            if !chosen.span.is_before(key, self.merging.order) {
                return Ok(());
            }
            self.next_span();
        }
        Ok(())
    }

    /// Gives what the snapshots have behind the directory's last record.
    fn remaining_records(&mut self) -> Result<()> {
        while self.at < self.merging.chosen.len() {
            self.open()?;
            self.supply_before(None)?;
            self.next_span();
        }
        Ok(())
    }

    fn open(&mut self) -> Result<()> {
        let chosen = &self.merging.chosen[self.at];
        if let (None, Some(candidate)) = (&self.supply, chosen.candidate) {
            let records =
                CandidateRecords::open(candidate, &chosen.span, self.merging.reader, self.merging.order)?;
            self.supply = Some(records);
        }
        Ok(())
    }

    fn next_span(&mut self) {
        self.at += 1;
        self.supply = None;
    }

    fn supply_before(&mut self, key: Option<&[u8]>) -> Result<()> {
        let order = self.merging.order;
        while let Some(supply) = &mut self.supply {
            let is_before = |next: &[u8]| key.is_none_or(|key| order(next, key) == Ordering::Less);
            if !supply.key().is_some_and(is_before) {
                return Ok(());
            }
            if let Some((key, value)) = supply.take_snapshot()? {
                self.merging.tallies[self.at].supplied += 1;
                self.merging.records += 1;
                (self.out)(&key, &value)?;
            }
        }
        Ok(())
    }

    /// The snapshot's word on a key does not count.
    fn is_overruled(&mut self, key: &[u8]) -> Result<()> {
        match &mut self.supply {
            Some(supply) if supply.is_at(key) => supply.take_snapshot().map(drop),
            _ => Ok(()),
        }
    }

    fn own_record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.merging.records += 1;
        self.merging.own += 1;
        (self.out)(key, value)
    }

    /// What the way stands in, if it is a span.
    fn tally(&mut self, key: &[u8]) -> Option<&mut SpanTally> {
        let chosen = self.merging.chosen.get(self.at)?;
        let inside = holds(&chosen.span, key, self.merging.order);
        inside.then(|| &mut self.merging.tallies[self.at])
    }

    fn verdict(&self, sequence: u64) -> UncertainVerdict {
        let supply = self
            .merging
            .chosen
            .get(self.at)
            .and_then(|chosen| chosen.supply.as_ref());
        match supply.map(|supply| supply.sequence) {
            None => UncertainVerdict::Unknown,
            Some(Some(seen)) if sequence > seen => UncertainVerdict::Newer,
            Some(_) => UncertainVerdict::Snapshot,
        }
    }
}

impl RecordSink for DirectoryPass<'_, '_, '_> {
    fn record(&mut self, key: &[u8], value: &[u8], certain: bool) -> Result<()> {
        let sequence = self.sequence.take().unwrap_or_default();
        self.advance_to(key)?;
        if certain {
            self.is_overruled(key)?;
            if let Some(tally) = self.tally(key) {
                tally.certain += 1;
            }
            return self.own_record(key, value);
        }
        let verdict = self.verdict(sequence);
        let keep = self.merging.uncertain == UncertainRecords::Keep;
        let Some(tally) = self.tally(key) else {
            return self.own_record(key, value);
        };
        match verdict {
            UncertainVerdict::Newer => {
                tally.newer += 1;
                self.is_overruled(key)?;
                self.own_record(key, value)
            }
            UncertainVerdict::Unknown if keep => {
                tally.kept += 1;
                self.own_record(key, value)
            }
            // The snapshot's record, if it has one, is given when the way goes on.
            UncertainVerdict::Snapshot | UncertainVerdict::Unknown => {
                tally.left_out += 1;
                Ok(())
            }
        }
    }

    fn newest_version(&mut self, key: &[u8], word: NewestVersion) -> Result<()> {
        self.sequence = Some(word.sequence);
        if !word.is_deletion {
            return Ok(());
        }
        self.advance_to(key)?;
        if word.certain || matches!(self.verdict(word.sequence), UncertainVerdict::Newer) {
            self.is_overruled(key)
        } else {
            Ok(())
        }
    }
}
