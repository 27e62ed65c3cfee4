//! Collects what could not be read, and which records that makes uncertain.
//!
//! A record is *uncertain* when a newer entry for its key may have been lost. Newer is told by sequence number; of lost
//! entries it is not known, and there the file's rank (the logs, then level 0 by file number, then level 1, 2, ...)
//! has to tell:
//!
//! - **A block or table is lost**: its keys lay between two known keys. A record in that range from a source of the
//!   same or an older rank is uncertain, and so is what a tombstone of such a source hides. A record from a newer
//!   rank is certain: C++ LevelDB writes memtables to tables in the order in which they were filled, and never moves an
//!   entry past a newer one. **Other writers do not**: goleveldb commits a transaction to level 0 beside older logs, and
//!   the tables that these become have higher numbers. So among logs and level 0 of a MANIFEST that C++ LevelDB did not
//!   write ([`DamageCollector::order_by_sequence`]) ranks tell nothing: there a record is certain if its number is above all that
//!   any table can have, the MANIFEST's last one. Below level 0 ranks count for all writers: a compaction takes all
//!   tables of level 0 that overlap, and goleveldb runs none while a memtable waits.
//! - **A stretch of a log is lost**: it may have held any key. Its sequence numbers are known from the whole batches
//!   around it, so every record with a lower number than the batch behind it is uncertain, wherever it is; the
//!   batches behind it are certain. When no number is missing, nothing was lost and nothing is uncertain.
//! - **A log that must be there is missing**: as above, with nothing known in front.
//!
//! That is harsh on purpose: one lost batch in a log leaves every older record uncertain. Nothing is thrown away
//! (uncertain records are stored, marked so); only a plain restore does not pretend to know them.

use std::cmp::Ordering;

use super::comparator::Comparator;

/// Findings kept one by one; beyond that they are only counted, as a ruined disk makes millions.
pub const DAMAGE_LISTED_MAX: usize = 1000;

/// Ranges of lost keys kept one by one; beyond that any key may be lost.
const LOST_RANGES_MAX: usize = 10_000;

/// Lost ranges that a record is held against at once, and the bytes of their keys and of those listed; beyond either any
/// record may be uncertain. Reading in order meets one for each level at a time.
const LOST_AT_ONCE_MAX: usize = 1000;
/// See [`LOST_AT_ONCE_MAX`].
const LOST_KEY_BYTES_MAX: usize = 32 << 20;

/// The keys whose entries may be lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LostEntries {
    /// First and last user keys, both included; in no order, and they may overlap.
    pub ranges: Vec<(Vec<u8>, Vec<u8>)>,
    /// Any entry of any key below this sequence number may be lost; 0 for none.
    pub below: u64,
    /// The first of those numbers, where the batches around the damage tell; else 0.
    pub from: u64,
}

impl LostEntries {
    /// True if nothing is.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.below == 0
    }

    fn add(&mut self, smallest: &[u8], largest: &[u8]) {
        let is_full = self.ranges.len() == LOST_RANGES_MAX;
        match self.ranges.last_mut() {
            Some((_, last)) if last == smallest => *last = largest.to_vec(),
            _ if is_full => self.below = u64::MAX,
            _ => self.ranges.push((smallest.to_vec(), largest.to_vec())),
        }
    }
}

/// One part of the source that could not be read or is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDamage {
    /// File name within the database's directory.
    pub file: String,
    /// Where in the file, if it is a place.
    pub offset: Option<u64>,
    /// The table's level.
    pub level: Option<u8>,
    /// The lost keys are not below this user key; `None` for a log: any key may be concerned.
    pub smallest: Option<Vec<u8>>,
    /// The lost keys are not above this user key.
    pub largest: Option<Vec<u8>>,
    /// How many sequence numbers a log lacks, when the batches around the damage tell.
    pub sequences_lost: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// The end of a log that holds no whole batch: a write that was under way. Normal after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// File name within the database's directory.
    pub file: String,
    /// Where the whole batches end.
    pub offset: u64,
    /// Bytes left out.
    pub bytes_left: u64,
}

/// The age of a source of entries: the smaller, the newer. It decides between entries of one sequence number, always in the
/// same way, and is evidence of more only where `is_newer_than` says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceAge {
    class: u16,
    within: u64,
    numbers_tell_age: bool,
}

impl SourceAge {
    /// The logs, all together.
    pub const LOGS: Self = Self {
        class: 0,
        within: 0,
        numbers_tell_age: true,
    };

    /// A table. On level 0 the one with the higher file number is asked first; that it is the newer, `numbers_tell_age` says:
    /// RepairDB puts tables of every age there.
    pub fn of_table(level: u8, number: u64, numbers_tell_age: bool) -> Self {
        Self {
            class: 1 + u16::from(level),
            within: match level {
                0 => u64::MAX - number,
                _ => 0,
            },
            numbers_tell_age,
        }
    }

    /// True if no entry of `other` can be newer than one of this source, in what C++ LevelDB wrote.
    fn is_newer_than(self, other: Self) -> bool {
        self.class < other.class
            || self.class == other.class && self.numbers_tell_age && self.within < other.within
    }

    fn is_below_level_1_free(self) -> bool {
        self.class <= 1
    }
}

/// Collects damage during a scan, and derives the uncertain records.
#[derive(Debug, Default)]
pub struct DamageCollector {
    damage: Vec<SourceDamage>,
    unlisted: u64,
    lost: Vec<LostRange>,
    /// All that was lost so far; `lost` forgets what the scan is past.
    ever_lost: LostEntries,
    /// Records below this sequence number may have been overwritten by a lost batch.
    certain_from: u64,
    /// If ranks tell nothing of logs and level 0: the highest sequence number that a table can have.
    tables_up_to: Option<u64>,
    /// Bytes of the keys of all ranges that were lost.
    lost_key_bytes: usize,
}

#[derive(Debug)]
struct LostRange {
    rank: SourceAge,
    smallest: Vec<u8>,
    largest: Vec<u8>,
}

impl DamageCollector {
    /// Lists a finding that loses no table entry.
    pub fn list(&mut self, damage: SourceDamage) {
        if self.damage.len() < DAMAGE_LISTED_MAX {
            self.damage.push(damage)
        } else {
            self.unlisted += 1
        }
    }

    /// Lists a finding that lost entries of a table; its key range must be given.
    pub fn mark_lost(&mut self, rank: SourceAge, mut damage: SourceDamage) {
        let keys = [&damage.smallest, &damage.largest].map(|key| key.as_deref().unwrap_or_default());
        self.lost_key_bytes += keys.map(<[u8]>::len).iter().sum::<usize>();
        if self.lost.len() == LOST_AT_ONCE_MAX || self.lost_key_bytes > LOST_KEY_BYTES_MAX {
            self.mark_lost_below(u64::MAX);
            self.lost.clear();
            (damage.smallest, damage.largest) = (None, None);
            return self.list(damage);
        }
        self.ever_lost.add(keys[0], keys[1]);
        match self.lost.last_mut() {
            Some(last) if last.rank == rank && last.largest == keys[0] => last.largest = keys[1].to_vec(),
            _ => self.lost.push(LostRange {
                rank,
                smallest: keys[0].to_vec(),
                largest: keys[1].to_vec(),
            }),
        }
        match self.damage.last_mut() {
            // Bad blocks side by side are one finding, not thousands.
            Some(last) if are_adjacent(last, &damage) => last.largest = damage.largest,
            _ => self.list(damage),
        }
    }

    /// Where entries were lost.
    pub fn lost_range(&self) -> LostEntries {
        LostEntries {
            below: self.ever_lost.below.max(self.certain_from),
            ..self.ever_lost.clone()
        }
    }

    /// Batches before `sequence` were lost from a log.
    pub fn mark_lost_below(&mut self, sequence: u64) {
        self.certain_from = self.certain_from.max(sequence);
    }

    /// For a database whose writer need not be C++ LevelDB: among logs and level 0 sequence numbers alone tell what is newer.
    /// No table has an entry above `tables_up_to`.
    pub fn order_by_sequence(&mut self, tables_up_to: u64) {
        self.tables_up_to = Some(tables_up_to);
    }

    /// True while every record is certain: the way of nearly all scans.
    #[inline]
    pub fn all_certain(&self) -> bool {
        self.lost.is_empty() && self.certain_from == 0
    }

    /// Whether no lost entry can be newer than this one. Keys must be asked for in order.
    pub fn is_certain(&mut self, order: &Comparator, key: &[u8], rank: SourceAge, sequence: u64) -> bool {
        self.lost
            .retain(|lost| order.compare(key, &lost.largest) != Ordering::Greater);
        let from_lost = |lost: &LostRange| match self.tables_up_to {
            Some(end) if rank.is_below_level_1_free() && lost.rank.is_below_level_1_free() => sequence <= end,
            _ => !rank.is_newer_than(lost.rank),
        };
        let hidden =
            |lost: &LostRange| from_lost(lost) && order.compare(key, &lost.smallest) != Ordering::Less;
        sequence >= self.certain_from && !self.lost.iter().any(hidden)
    }

    /// All findings, oldest first; the last one counts those not listed.
    pub fn into_damage(mut self) -> Vec<SourceDamage> {
        if self.unlisted > 0 {
            self.damage.push(SourceDamage {
                file: String::new(),
                offset: None,
                level: None,
                smallest: None,
                largest: None,
                sequences_lost: None,
                what: format!("{} more findings are not listed", self.unlisted),
            });
        }
        self.damage
    }
}

fn are_adjacent(last: &SourceDamage, next: &SourceDamage) -> bool {
    last.file == next.file
        && last.what == next.what
        && last.largest.is_some()
        && last.largest == next.smallest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(smallest: &[u8], largest: &[u8]) -> SourceDamage {
        SourceDamage {
            file: "000007.ldb".into(),
            offset: Some(0),
            level: Some(1),
            smallest: Some(smallest.to_vec()),
            largest: Some(largest.to_vec()),
            sequences_lost: None,
            what: "checksum mismatch".into(),
        }
    }

    fn rank(level: u8, number: u64) -> SourceAge {
        SourceAge::of_table(level, number, true)
    }

    #[test]
    fn logs_are_newer_than_level_0_by_number_and_that_than_the_levels() {
        let newest_first = [SourceAge::LOGS, rank(0, 9), rank(0, 8), rank(1, 99), rank(2, 1)];
        assert!(newest_first.is_sorted() && newest_first[1] < newest_first[2]);
        let (higher, lower) = (SourceAge::of_table(0, 9, false), SourceAge::of_table(0, 8, false));
        assert!(higher < lower && !higher.is_newer_than(lower));
    }

    #[test]
    fn only_older_records_inside_the_lost_range_are_uncertain() {
        let mut findings = DamageCollector::default();
        assert!(findings.all_certain());
        findings.mark_lost(rank(1, 7), lost(b"b", b"d"));
        let mut certain = |key: &[u8], rank| findings.is_certain(&Comparator::Bytewise, key, rank, 5);
        assert!(certain(b"a", rank(2, 1)));
        assert!(!certain(b"b", rank(2, 1)));
        assert!(!certain(b"c", rank(1, 8)));
        assert!(certain(b"c", rank(0, 1)));
        assert!(certain(b"c", SourceAge::LOGS));
        assert!(!certain(b"d", rank(1, 7)));
        assert!(certain(b"da", rank(2, 1)));
        assert!(findings.all_certain());
    }

    /// goleveldb: the lost table may be a transaction's, newer than a log and than a table of a higher number.
    #[test]
    fn what_a_table_of_level_0_lost_may_be_newer_than_a_log_unless_its_writer_is_known() {
        let certain = |tables_up_to: Option<u64>, lost_in: SourceAge, record: SourceAge, sequence| {
            let mut findings = DamageCollector::default();
            if let Some(end) = tables_up_to {
                findings.order_by_sequence(end);
            }
            findings.mark_lost(lost_in, lost(b"b", b"d"));
            findings.is_certain(&Comparator::Bytewise, b"c", record, sequence)
        };
        for newer in [SourceAge::LOGS, rank(0, 9)] {
            assert!(certain(None, rank(0, 7), newer, 100));
            assert!(!certain(Some(100), rank(0, 7), newer, 100));
            assert!(certain(Some(100), rank(0, 7), newer, 101));
            assert!(certain(Some(100), rank(1, 7), newer, 100));
        }
        assert!(!certain(Some(100), rank(0, 7), rank(1, 8), 101));
    }

    #[test]
    fn a_lost_batch_makes_everything_older_uncertain_and_nothing_newer() {
        let mut findings = DamageCollector::default();
        findings.mark_lost_below(100);
        let mut certain =
            |sequence| findings.is_certain(&Comparator::Bytewise, b"k", SourceAge::LOGS, sequence);
        assert!(!certain(99) && certain(100));
    }

    #[test]
    fn what_was_lost_is_told_after_the_scan_is_past_it() {
        let mut findings = DamageCollector::default();
        assert!(findings.lost_range().is_empty());
        findings.mark_lost(rank(1, 7), lost(b"b", b"d"));
        findings.mark_lost(rank(1, 7), lost(b"d", b"f"));
        findings.mark_lost(rank(2, 9), lost(b"a", b"c"));
        assert!(findings.is_certain(&Comparator::Bytewise, b"z", rank(3, 1), 5) && findings.all_certain());
        let range = |smallest: &[u8], largest: &[u8]| (smallest.to_vec(), largest.to_vec());
        assert_eq!(
            findings.lost_range().ranges,
            [range(b"b", b"f"), range(b"a", b"c")]
        );
        findings.mark_lost_below(7);
        assert_eq!(findings.lost_range().below, 7);
        for _ in 0..LOST_RANGES_MAX {
            findings.mark_lost(rank(1, 7), lost(b"x", b"y"));
        }
        assert_eq!(
            findings.lost_range().below,
            u64::MAX,
            "more than can be told one by one"
        );
    }

    /// A thousand ranges that all reach to the end would be held against each record behind them.
    #[test]
    fn many_lost_ranges_and_long_lost_keys_cost_no_more_than_a_few() {
        let mut findings = DamageCollector::default();
        for n in 0..5000u16 {
            findings.mark_lost(rank(1, 7), lost(&n.to_be_bytes(), b"\xff\xff\xff"));
        }
        assert!(findings.lost.len() <= LOST_AT_ONCE_MAX);
        assert!(!findings.is_certain(&Comparator::Bytewise, b"z", rank(0, 9), 1 << 50));
        let mut findings = DamageCollector::default();
        for n in 0..200u8 {
            let key = vec![n; 1 << 20];
            findings.mark_lost(rank(1, 7), lost(&key, &[&key[..], b"x"].concat()));
        }
        let listed = findings
            .damage
            .iter()
            .filter_map(|damage| damage.smallest.as_ref());
        let kept = findings.lost.iter().map(|lost| &lost.smallest);
        assert!(listed.chain(kept).map(Vec::len).sum::<usize>() <= 2 * LOST_KEY_BYTES_MAX);
        assert_eq!(findings.lost_range().below, u64::MAX);
        // One after the other they are one range.
        let mut findings = DamageCollector::default();
        for n in 0..5000u16 {
            let (from, to) = (n.to_be_bytes(), (n + 1).to_be_bytes());
            findings.mark_lost(rank(1, 7), lost(&from, &to));
        }
        assert!(findings.is_certain(&Comparator::Bytewise, b"\xff", rank(1, 7), 5));
    }

    #[test]
    fn bad_blocks_side_by_side_are_one_finding() {
        let mut findings = DamageCollector::default();
        findings.mark_lost(rank(1, 7), lost(b"b", b"d"));
        findings.mark_lost(rank(1, 7), lost(b"d", b"f"));
        findings.mark_lost(rank(1, 7), lost(b"g", b"h"));
        let damage = findings.into_damage();
        assert_eq!(damage.len(), 2);
        assert_eq!(damage[0].largest.as_deref(), Some(&b"f"[..]));
    }
}
