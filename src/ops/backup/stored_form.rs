//! Converts what a scan found into a snapshot's fields.

use crate::limits::DAMAGE_MAX;
use crate::snapshot::{CaptureRecord, DatabaseRoot, LogTail, RecordedDamage};
use crate::source::{self, ScanOutcome};

/// At most as much as a snapshot may list; the rest is counted.
pub fn set_damage(root: &mut DatabaseRoot, mut damage: Vec<RecordedDamage>) {
    root.damage_unlisted = damage.len().saturating_sub(DAMAGE_MAX) as u64;
    damage.truncate(DAMAGE_MAX);
    root.damage = damage;
}

/// Of a whole file.
pub fn file_damage(file: String, what: String) -> RecordedDamage {
    RecordedDamage {
        file,
        offset: None,
        level: None,
        smallest: None,
        largest: None,
        what,
    }
}

impl From<source::SourceDamage> for RecordedDamage {
    fn from(found: source::SourceDamage) -> Self {
        let lost = found
            .sequences_lost
            .map_or_else(String::new, |count| format!(" ({count} writes lost)"));
        Self {
            file: found.file,
            offset: found.offset,
            level: found.level,
            smallest: found.smallest,
            largest: found.largest,
            what: found.what + &lost,
        }
    }
}

/// Where a log ended early, as the snapshot keeps it.
pub fn log_tail(tail: &source::TornTail) -> LogTail {
    LogTail {
        file: tail.file.clone(),
        offset: tail.offset,
        bytes_left: tail.bytes_left,
    }
}

/// How the files were read; where they were cut is told later.
pub fn capture_record(scan: &ScanOutcome) -> CaptureRecord {
    CaptureRecord {
        tables: scan.tables,
        bytes_read: scan.bytes_read,
        log_entries: scan.log_entries,
        torn_tails: scan.torn_tails.iter().map(log_tail).collect(),
        ..CaptureRecord::default()
    }
}
