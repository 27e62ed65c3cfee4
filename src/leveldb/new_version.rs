//! Builds the version edit of a new database.
//!
//! Log number 0 says "replay every log that is here"; there is none, so C++ LevelDB, goleveldb and rusty-leveldb
//! open at once and begin logs of their own.

use super::comparator::Comparator;
use super::version::{TableMeta, VersionEdit};

/// Levels of a LevelDB tree; the last has no bound.
const LEVELS: u8 = 7;

/// What a level must hold more than its tables' bytes, in tenths: room for the first writes.
const HEADROOM_TENTHS: u128 = 13;

/// Bytes of level 1 in C++ LevelDB and rusty-leveldb; each further level holds ten times as much. goleveldb's
/// levels hold ten times more each.
const FIRST_LEVEL_BYTES: u128 = 10 << 20;

/// The edit that makes `tables`, in the order of their keys and none overlapping another, a database. They go on
/// one level, never on level 0, where tables may overlap and every one is asked. `next_file` is above every file
/// number in use, the MANIFEST's included; `last_sequence` is not below any entry's.
pub fn restored_version(
    comparator: &Comparator,
    next_file: u64,
    last_sequence: u64,
    tables: Vec<TableMeta>,
) -> VersionEdit {
    let level = level_for(tables.iter().map(|table| table.size).sum());
    VersionEdit {
        comparator: Some(comparator.name().as_bytes().to_vec()),
        log_number: Some(0),
        previous_log_number: Some(0),
        next_file: Some(next_file),
        last_sequence: Some(last_sequence),
        added: tables.into_iter().map(|table| (level, table)).collect(),
        ..VersionEdit::default()
    }
}

/// The smallest level with room for 1.3 times `table_bytes`: no compaction is due when the database is opened,
/// and later overwrites do not pile up in empty levels above.
pub fn level_for(table_bytes: u64) -> u8 {
    let tenths = u128::from(table_bytes) * HEADROOM_TENTHS;
    let mut capacity = FIRST_LEVEL_BYTES;
    for level in 1..LEVELS - 1 {
        if capacity * 10 > tenths {
            return level;
        }
        capacity *= 10;
    }
    LEVELS - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_the_smallest_with_room() {
        for (mib, level) in [(0, 1), (7, 1), (8, 2), (76, 2), (77, 3), (1000, 4), (10_000, 5)] {
            assert_eq!(level_for(mib << 20), level, "{mib} MiB");
        }
        assert_eq!(level_for(10 << 40), 6);
        assert_eq!(level_for(u64::MAX), 6);
    }
}
