//! Builds the version edit that adds tables to an existing version.
//!
//! ```text
//! level 0   [new tables: the highest numbers, one sequence number above every entry] [those of the version]
//! deeper    [those of the version, where they were]
//! log       a new, empty one: what the old ones hold is in the new tables
//! ```
//!
//! LevelDB asks the tables of level 0 by number, highest first, and merges by sequence number; the new tables are first
//! by both. It is what an owner leaves that wrote these entries, flushed them and closed.

use super::internal_key::tag;
use super::version::{TableMeta, Version, VersionEdit};
use crate::limits::SEQUENCE_MAX;

/// Most tables on level 0: with more C++ LevelDB would slow its writers down, and from 12 on stop them.
const LEVEL_0_TABLES_MAX: usize = 8;

/// Most new tables: with so many on level 0 a compaction is due, but nobody waits for it.
const NEW_TABLES_MAX: usize = 4;

/// Numbers for what comes above a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionContinuation {
    sequence: u64,
    first_number: u64,
    tables_max: usize,
}

/// The edit, and the numbers of the files that go with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContinuedVersion {
    /// Of the empty log.
    pub log: u64,
    /// Of the MANIFEST that holds `edit` alone.
    pub manifest: u64,
    /// All of it.
    pub edit: VersionEdit,
}

impl VersionContinuation {
    /// What may come above `version`, whose newest entry, logs included, has `last_sequence`, in a directory where no
    /// file has a number above `highest_number`. `None` where nothing may: numbers are used up, level 0 is full (nobody
    /// opened it between many restores), or the numbers there do not tell the age of the tables, since RepairDB put them
    /// there; LevelDB finds old records in such a database, and would go on to.
    pub fn of(version: &Version, last_sequence: u64, highest_number: u64) -> Option<Self> {
        let on_level_0 = version.tables.keys().filter(|(level, _)| *level == 0).count();
        let is_repaired = version.log_number == 0 && on_level_0 > 0 || !are_numbers_in_age_order(version);
        let sequence = last_sequence.checked_add(1).filter(|next| *next < SEQUENCE_MAX)?;
        let first_number = version.next_file.max(highest_number.checked_add(1)?);
        // Room for our own files and for the owner's next ones.
        first_number.checked_add(1 << 32).filter(|_| !is_repaired)?;
        let room = LEVEL_0_TABLES_MAX.saturating_sub(on_level_0);
        (room > 0).then_some(Self {
            sequence,
            first_number,
            tables_max: room.min(NEW_TABLES_MAX),
        })
    }

    /// The sequence number of every new entry.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The number of the next new table, when there are `tables` already; `None` when there may be no more.
    pub fn table_number(&self, tables: usize) -> Option<u64> {
        (tables < self.tables_max).then_some(self.first_number + tables as u64)
    }

    /// The version with `tables` above it.
    pub fn finish(&self, version: &Version, tables: Vec<TableMeta>) -> ContinuedVersion {
        let log = self.first_number + tables.len() as u64;
        let manifest = log + 1;
        let old = version.tables.iter();
        let old = old.map(|((level, _), table)| (*level, table.clone()));
        let edit = VersionEdit {
            comparator: Some(version.comparator.name().as_bytes().to_vec()),
            log_number: Some(log),
            previous_log_number: Some(0),
            next_file: Some(manifest + 1),
            last_sequence: Some(self.sequence),
            added: old.chain(tables.into_iter().map(|table| (0, table))).collect(),
            ..VersionEdit::default()
        };
        ContinuedVersion { log, manifest, edit }
    }
}

/// False if the ends of a table on level 0 are newer than those of one with a higher number.
fn are_numbers_in_age_order(version: &Version) -> bool {
    let mut newest = 0;
    let mut by_number = version.tables.range((0, 0)..=(0, u64::MAX));
    by_number.all(|(_, table)| {
        let ends = [&table.smallest, &table.largest].map(|key| tag(key) >> 8);
        let is_next = ends.iter().all(|end| *end >= newest);
        newest = ends[0].max(ends[1]);
        is_next
    })
}

#[cfg(test)]
mod tests {
    use super::super::comparator::Comparator;
    use super::*;

    fn table(number: u64) -> TableMeta {
        TableMeta {
            number,
            size: 100,
            smallest: b"a\x01\x05\0\0\0\0\0\0".to_vec(),
            largest: b"b\x01\x05\0\0\0\0\0\0".to_vec(),
        }
    }

    fn version(tables: &[(u8, u64)]) -> Version {
        Version {
            comparator: Comparator::Bytewise,
            log_number: 20,
            previous_log_number: 0,
            previous_log_told: true,
            next_file: 22,
            last_sequence: 100,
            tables: tables
                .iter()
                .map(|&(level, number)| ((level, number), table(number)))
                .collect(),
        }
    }

    #[test]
    fn new_tables_are_above_all_by_number_and_by_sequence() {
        let version = version(&[(0, 17), (2, 9)]);
        let above = VersionContinuation::of(&version, 130, 40).unwrap();
        assert_eq!(above.sequence(), 131);
        let numbers: Vec<_> = (0..5).map_while(|tables| above.table_number(tables)).collect();
        assert_eq!(numbers, [41, 42, 43, 44]);
        let done = above.finish(&version, vec![table(41), table(42)]);
        assert_eq!((done.log, done.manifest), (43, 44));
        assert_eq!(done.edit.log_number, Some(43));
        assert_eq!(done.edit.next_file, Some(45));
        assert_eq!(done.edit.last_sequence, Some(131));
        let places: Vec<_> = done
            .edit
            .added
            .iter()
            .map(|(level, table)| (*level, table.number))
            .collect();
        assert_eq!(places, [(0, 17), (2, 9), (0, 41), (0, 42)]);
    }

    #[test]
    fn level_0_gets_eight_tables_at_most() {
        for (there, more) in [(0, 4), (4, 4), (5, 3), (7, 1), (8, 0), (11, 0)] {
            let tables: Vec<_> = (1..=there).map(|number| (0, number)).collect();
            let above = VersionContinuation::of(&version(&tables), 100, 0);
            let number = |tables| above.and_then(|above| above.table_number(tables));
            assert_eq!((0..9).map_while(number).count(), more, "{there}");
        }
    }

    #[test]
    fn nothing_comes_above_used_up_numbers_or_a_repaired_level_0() {
        let of = |version: &Version, last, highest| VersionContinuation::of(version, last, highest).is_some();
        let plain = version(&[(0, 17)]);
        assert!(of(&plain, 100, 30));
        assert!(!of(&plain, SEQUENCE_MAX - 1, 30) && !of(&plain, u64::MAX, 30));
        assert!(!of(&plain, 100, u64::MAX) && !of(&plain, 100, u64::MAX - 5));
        let last_file = Version {
            next_file: u64::MAX,
            ..plain.clone()
        };
        assert!(!of(&last_file, 100, 30));
        let repaired = |tables| Version {
            log_number: 0,
            ..version(tables)
        };
        assert!(!of(&repaired(&[(0, 17)]), 100, 30));
        assert!(of(&repaired(&[(2, 17)]), 100, 30), "as levault restores");
        let mut opened = version(&[(0, 16), (0, 17)]);
        assert!(of(&opened, 100, 30), "of one age");
        opened.tables.get_mut(&(0, 16)).unwrap().largest[2] += 1;
        assert!(!of(&opened, 100, 30), "the lower number is the newer table");
    }
}
