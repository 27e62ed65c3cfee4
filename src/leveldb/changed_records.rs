//! Finds the records that differ between two states of a database.
//!
//! Given are states 0 and 1, each a set of tables and logs, and which tables are the *same file* in both. The files of
//! either state that are not shared are merged; for every user key seen there the visible record of both states is
//! found and compared, and only a difference is handed out.
//!
//! **Why this is exact.** A state's visible record of a key is its newest entry (by sequence number) among all entries
//! of the state. If it is not the same in both states, the two sets of entries for the key differ, so one of them has
//! an entry that the other has not; that entry is in no shared file, hence in an unshared one, hence the key is seen.
//! For a key that is seen, the newest entry of a state is the newer of two: the newest in the state's unshared
//! files (the merge has it) and the newest in the shared tables (looked up). Nothing is assumed of compactions, of
//! tombstones, or of what a sequence number says about two states: an owner who rolls back uses numbers twice, so values
//! are compared, never numbers of different states.
//!
//! **Sequence numbers alone give the order.** Within one state an entry is newer than another of its key if its sequence
//! number is greater. Neither the kind of file nor its number nor its level is evidence of that:
//! - goleveldb writes a transaction, or a batch above `WriteBuffer`, straight to a table of level 0, and commits it while
//!   an older memtable is still being written: the log of that memtable is live beside a newer table, and the table
//!   that it becomes has a higher file number and older entries.
//! - A log that is replayed when the owner opens, or that somebody put back, becomes a table (or lies) above newer ones.
//! - RepairDB puts tables of every age on level 0, and gives the tables it makes of logs the highest numbers.
//! - A program that adds a finished table takes whatever level and number suit it.
//!
//! A log is therefore asked like any table, and shared tables are asked even where both states have the key in a log.
//!
//! **When nothing is looked up**, which saves a block for each key: if the newest entries in the two states' unshared files
//! are the same (number, kind, key, value), as behind a compaction, or in the part of a log that both states have.
//! Write s for their number. What the shared tables have of the key is the same set of entries in both states. If one
//! of those is above s, the newest of them is visible in both states; if all are below s, our entry is visible in both.
//! Either way the visible record is the same. Only an entry of the very number s is decided by something else, age, and
//! could be decided otherwise in the two states: so this holds if each shared table that covers the key is on the same
//! side of these entries, by age, in both states.
//!
//! **Age** (files' kind, level, number) decides between entries of one sequence number only: a rollback followed by a
//! repair makes such, or an owner that forgot numbers it had used. There each state's own ranks decide, as in a full
//! scan, since shared tables may lie on other levels in the two states.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::comparator::Comparator;
use super::damage::SourceAge;
use super::large_values::LargeValueBuffer;
use super::level_iterator::{LevelKeyFinder, LevelTable};
use super::merging_iterator::{RecordSink, SortedSource};
use super::scan_context::ScanContext;
use crate::error::Result;

/// A record: key and value.
pub type OwnedRecord<'a> = (&'a [u8], &'a [u8]);

/// Takes changes.
pub trait ChangeSink {
    /// The visible record of one key in the old and in the new state; they differ. Keys come in the database's
    /// order, each once. An error ends the comparison.
    fn change(&mut self, old: Option<OwnedRecord>, new: Option<OwnedRecord>) -> Result<()>;

    /// A key that an unshared file has, and whose visible record was found to be the same in both states. For spot checks.
    fn unchanged(&mut self, _key: &[u8], _reason: UnchangedReason) {}
}

/// Why a key's record is taken for the same in both states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnchangedReason {
    /// The unshared files have the same newest entry of it, and no shared table covers it.
    SameEntry,
    /// The same, and a shared table that was not read covers it.
    SameEntryCovered,
    /// The newest entry of both states lies in one shared table, above what the unshared files have.
    InSharedTable,
    /// Two different entries hold the same record, or both are deletions.
    SameValue,
}

/// One state's files that the other has not.
pub struct ChangedFiles<'a> {
    /// Sorted sources.
    pub sources: Vec<SortedSource<'a>>,
    /// Age of each shared table in this state.
    pub ranks: BTreeMap<u64, SourceAge>,
}

/// Compares the old state with the new one. `shared` are rows of tables that both have, opened through `scan`. What
/// cannot be read is in the findings of the scans; then the changes handed out are not all.
pub fn table_delta(
    scan: &ScanContext,
    old: ChangedFiles,
    new: ChangedFiles,
    shared: Vec<Vec<LevelTable>>,
    sink: &mut dyn ChangeSink,
) -> Result<()> {
    let mut delta = DeltaMerge {
        order: scan.order,
        sides: [SideCursor::new(old), SideCursor::new(new)],
        covers: shared.iter().map(|row| CandidateTable::new(row)).collect(),
        shared: shared
            .into_iter()
            .map(|row| LevelKeyFinder::new(scan, row))
            .collect(),
        found: Vec::new(),
        key: Vec::new(),
        records: [CopiedRecord::default(), CopiedRecord::default()],
        scratch: LargeValueBuffer::default(),
    };
    while delta.smallest_key() {
        delta.compare(sink)?;
        delta.advance();
    }
    let failed = delta.sides.iter_mut().flat_map(|side| &mut side.sources);
    failed
        .map(SortedSource::take_error)
        .find_map(|error| error)
        .map_or(Ok(()), Err)
}

struct DeltaMerge<'d, 'a> {
    order: &'d Comparator,
    sides: [SideCursor<'a>; 2],
    shared: Vec<LevelKeyFinder<'a>>,
    /// Key ranges of the same rows.
    covers: Vec<CandidateTable>,
    /// Shared rows that stand on the current key.
    found: Vec<usize>,
    key: Vec<u8>,
    records: [CopiedRecord; 2],
    scratch: LargeValueBuffer,
}

/// A side, and which of its sources are not at their end.
struct SideCursor<'a> {
    sources: Vec<SortedSource<'a>>,
    ranks: BTreeMap<u64, SourceAge>,
    left: Vec<usize>,
}

/// Where the newest entry of a key is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NewestEntryLocation {
    Own(usize),
    Shared(usize),
}

/// A visible record, copied: both sides' are needed at once.
#[derive(Default)]
struct CopiedRecord {
    there: bool,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<'a> SideCursor<'a> {
    fn new(side: ChangedFiles<'a>) -> Self {
        let mut sources = side.sources;
        let left = (0..sources.len())
            .filter(|&index| sources[index].next_key())
            .collect();
        Self {
            sources,
            ranks: side.ranks,
            left,
        }
    }

    /// The newest entry among the sources that stand on `key`: its place, tag and age.
    fn newest(&self, order: &Comparator, key: &[u8]) -> Option<(NewestEntryLocation, u64, SourceAge)> {
        let here = self
            .left
            .iter()
            .filter(|&&index| order.compare(self.sources[index].user_key(), key) == Ordering::Equal);
        here.map(|&index| {
            let source = &self.sources[index];
            (NewestEntryLocation::Own(index), source.tag(), source.rank())
        })
        .min_by(newer_first)
    }
}

fn newer_first(
    a: &(NewestEntryLocation, u64, SourceAge),
    b: &(NewestEntryLocation, u64, SourceAge),
) -> Ordering {
    #[cfg(test)]
    if fault::is(fault::RuleMutation::AgeIsOrder) {
        return a.2.cmp(&b.2).then(b.1.cmp(&a.1));
    }
    b.1.cmp(&a.1).then(a.2.cmp(&b.2))
}

/// Which table of a row may hold a key, by the MANIFEST.
struct CandidateTable {
    /// Least and greatest user key, and number.
    tables: Vec<(Vec<u8>, Vec<u8>, u64)>,
    at: usize,
}

impl CandidateTable {
    fn new(row: &[LevelTable]) -> Self {
        let range = |table: &LevelTable| {
            let (smallest, largest) = (table.meta.smallest_user_key(), table.meta.largest_user_key());
            (smallest.to_vec(), largest.to_vec(), table.meta.number)
        };
        Self {
            tables: row.iter().map(range).collect(),
            at: 0,
        }
    }

    /// Numbers of the tables that may hold `key`: one, or two where the key's entries are cut in the middle. Keys must
    /// not go back.
    fn tables(&mut self, order: &Comparator, key: &[u8]) -> impl Iterator<Item = u64> {
        let ends_before = |(_, largest, _): &&(Vec<u8>, Vec<u8>, u64)| order.compare(largest, key).is_lt();
        self.at += self.tables[self.at..].iter().take_while(ends_before).count();
        let from_here = self.tables[self.at..].iter();
        let holding = from_here.take_while(move |(smallest, ..)| order.compare(smallest, key).is_le());
        holding.map(|(.., number)| *number)
    }
}

impl DeltaMerge<'_, '_> {
    /// Finds the least key that any unshared file stands on; false behind the last.
    fn smallest_key(&mut self) -> bool {
        let order = self.order;
        let keys = self
            .sides
            .iter()
            .flat_map(|side| side.left.iter().map(|&index| side.sources[index].user_key()));
        let least = keys.min_by(|a, b| order.compare(a, b));
        self.key.clear();
        self.key.extend_from_slice(least.unwrap_or_default());
        least.is_some()
    }

    fn compare(&mut self, sink: &mut dyn ChangeSink) -> Result<()> {
        let own = [0, 1].map(|side: usize| self.sides[side].newest(self.order, &self.key));
        if let Some(reason) = self.is_same_entry(own)? {
            sink.unchanged(&self.key, reason);
            return Ok(());
        }
        self.look_up();
        #[cfg(test)]
        fault::skip_older(&mut self.found, own.map(|newest| newest.map(|(.., rank)| rank)));
        let newest = [0, 1].map(|side: usize| self.newest(side, own[side]));
        if let [
            Some((NewestEntryLocation::Shared(old), ..)),
            Some((NewestEntryLocation::Shared(new), ..)),
        ] = newest
            && old == new
        {
            sink.unchanged(&self.key, UnchangedReason::InSharedTable);
            return Ok(());
        }
        for (side, newest) in newest.into_iter().enumerate() {
            self.fetch(side, newest)?;
        }
        let [old, new] = &self.records;
        match (old.record(), new.record()) {
            #[cfg(test)]
            (Some(_), None) if fault::is(fault::RuleMutation::NoDeletions) => {
                sink.unchanged(&self.key, UnchangedReason::SameValue);
            }
            (old, new) if old == new => sink.unchanged(&self.key, UnchangedReason::SameValue),
            (old, new) => sink.change(old, new)?,
        }
        Ok(())
    }

    /// The reason, if both states have the same newest entry in unshared files and no shared table can decide otherwise.
    fn is_same_entry(
        &mut self,
        own: [Option<(NewestEntryLocation, u64, SourceAge)>; 2],
    ) -> Result<Option<UnchangedReason>> {
        let [Some((_, old_tag, old_rank)), Some((_, new_tag, new_rank))] = own else {
            return Ok(None);
        };
        if old_tag != new_tag {
            return Ok(None);
        }
        for (side, newest) in own.into_iter().enumerate() {
            self.fetch(side, newest)?;
        }
        if self.records[0].record() != self.records[1].record() {
            return Ok(None);
        }
        let (order, key, [old, new]) = (self.order, &self.key, &self.sides);
        let stays = |number| match (old.ranks.get(&number), new.ranks.get(&number)) {
            (Some(before), Some(after)) => before.cmp(&old_rank) == after.cmp(&new_rank),
            _ => false,
        };
        let mut covering = 0;
        let mut all_stay =
            |cover: &mut CandidateTable| cover.tables(order, key).inspect(|_| covering += 1).all(stays);
        let proven = self.covers.iter_mut().all(&mut all_stay);
        Ok(match covering {
            _ if !proven => None,
            0 => Some(UnchangedReason::SameEntry),
            _ => Some(UnchangedReason::SameEntryCovered),
        })
    }

    fn look_up(&mut self) {
        self.found.clear();
        for (index, row) in self.shared.iter_mut().enumerate() {
            if row.find(&self.key) {
                self.found.push(index);
            }
        }
    }

    fn newest(
        &self,
        side: usize,
        own: Option<(NewestEntryLocation, u64, SourceAge)>,
    ) -> Option<(NewestEntryLocation, u64, SourceAge)> {
        let shared = self.found.iter().map(|&index| {
            let row = &self.shared[index];
            let rank = row.table().and_then(|number| self.sides[side].ranks.get(&number));
            (
                NewestEntryLocation::Shared(index),
                row.tag(),
                rank.copied().unwrap_or(row.rank()),
            )
        });
        own.into_iter().chain(shared).min_by(newer_first)
    }

    /// Copies the visible record of one side.
    fn fetch(&mut self, side: usize, newest: Option<(NewestEntryLocation, u64, SourceAge)>) -> Result<()> {
        let held = &mut self.records[side];
        held.there = false;
        let Some((place, ..)) = newest.filter(|(_, tag, _)| tag & 0xff == 1) else {
            return Ok(());
        };
        match place {
            NewestEntryLocation::Own(index) => {
                self.sides[side].sources[index].emit(&mut self.scratch, held)?
            }
            NewestEntryLocation::Shared(index) => self.shared[index].emit(&mut self.scratch, held)?,
        };
        Ok(())
    }

    /// Moves all unshared sources past the current key.
    fn advance(&mut self) {
        let (order, key) = (self.order, &self.key);
        for side in &mut self.sides {
            let sources = &mut side.sources;
            side.left.retain(|&index| {
                let source = &mut sources[index];
                order.compare(source.user_key(), key) != Ordering::Equal || source.next_key()
            });
        }
    }
}

impl CopiedRecord {
    fn record(&self) -> Option<OwnedRecord<'_>> {
        self.there.then_some((&self.key[..], &self.value[..]))
    }
}

impl RecordSink for CopiedRecord {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        self.there = true;
        self.key.clear();
        self.key.extend_from_slice(key);
        self.value.clear();
        self.value.extend_from_slice(value);
        Ok(())
    }
}

/// Faults that tests put into the rule: the model must see each, and spot checks are measured by them.
#[cfg(test)]
pub mod fault {
    use std::cell::Cell;

    use crate::leveldb::damage::SourceAge;

    /// A wrong rule.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum RuleMutation {
        /// If both states have the key in a log, no table is asked, as the first rule had it.
        LogsAreNewest,
        /// A log is newer than a table, a higher file number than a lower one, whatever the sequence numbers.
        AgeIsOrder,
        /// Only one row of shared tables is asked.
        OneRowOnly,
        /// Shared tables are not asked at all.
        NoLookup,
        /// What is gone is taken for unchanged.
        NoDeletions,
    }

    thread_local! {
        static FAULT: Cell<Option<RuleMutation>> = const { Cell::new(None) };
    }

    /// Runs `act` with a fault in the rule.
    pub fn with<T>(fault: RuleMutation, act: impl FnOnce() -> T) -> T {
        FAULT.set(Some(fault));
        let result = act();
        FAULT.set(None);
        result
    }

    pub(super) fn is(fault: RuleMutation) -> bool {
        FAULT.get() == Some(fault)
    }

    pub(super) fn skip_older(found: &mut Vec<usize>, own: [Option<SourceAge>; 2]) {
        if is(RuleMutation::NoLookup) || is(RuleMutation::LogsAreNewest) && own == [Some(SourceAge::LOGS); 2]
        {
            found.clear();
        }
        if is(RuleMutation::OneRowOnly) {
            found.truncate(1);
        }
    }
}
