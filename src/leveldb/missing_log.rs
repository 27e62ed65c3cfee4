//! Decides whether a missing log was lost or rightly deleted.
//!
//! The log that a MANIFEST names, where it is not there: lost, or rightly gone?
//!
//! C++ LevelDB deletes a log only behind an edit that names a later one, so the log its MANIFEST names is there.
//! goleveldb does not write that edit when the log it leaves is empty (`memCompaction`: "Don't compact empty memdb");
//! its MANIFEST goes on naming a log that is gone, while a later one is written. Whose edit it was shows in tag 9, which
//! C++ LevelDB puts into every edit that names a log, and goleveldb into none.
//!
//! The later log tells more. It begins right behind the MANIFEST's last sequence number L if what was before it was
//! empty, and further on if that held a batch: so its first batch convicts or acquits. Before there is one nothing does.
//! What follows from that, and what stays unseen, is decision 6.

use super::version::Version;

/// What a log is that the MANIFEST names, and that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingLog {
    /// Lost.
    Lost(u64),
    /// Gone because it was empty, unless the first batch of the later logs leaves a gap behind L.
    LostIfGap(u64),
}

impl Version {
    /// Judges the log it names by the live logs that are there. With number 0 (a repaired or a restored database) every
    /// log counts, and there may be none.
    pub fn absent_log(&self, there: impl IntoIterator<Item = u64>) -> Option<MissingLog> {
        let named = self.log_number;
        let mut is_last = true;
        for number in there {
            if number == named {
                return None;
            }
            is_last &= number < named;
        }
        match self.previous_log_told || is_last {
            _ if named == 0 => None,
            true => Some(MissingLog::Lost(named)),
            false => Some(MissingLog::LostIfGap(named)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::version::{VersionBuilder, VersionEdit};
    use super::*;

    fn named_by(edits: &[(u64, Option<u64>)]) -> Version {
        let mut builder = VersionBuilder::default();
        for &(log, previous) in edits {
            let edit = VersionEdit {
                log_number: Some(log),
                previous_log_number: previous,
                next_file: Some(90),
                last_sequence: Some(7),
                ..VersionEdit::default()
            };
            builder.apply(edit).unwrap();
        }
        builder.finish().unwrap()
    }

    #[test]
    fn what_cpp_leveldb_names_is_there_or_lost() {
        let version = named_by(&[(3, None), (8, Some(0))]);
        assert_eq!(version.absent_log([8]), None);
        assert_eq!(version.absent_log([9]), Some(MissingLog::Lost(8)));
        assert_eq!(version.absent_log([]), Some(MissingLog::Lost(8)));
    }

    #[test]
    fn what_goleveldb_names_may_be_gone_beside_a_later_one() {
        let version = named_by(&[(3, Some(0)), (8, None)]);
        assert_eq!(version.absent_log([8, 9]), None);
        assert_eq!(version.absent_log([9, 11]), Some(MissingLog::LostIfGap(8)));
        // One is always being written.
        assert_eq!(version.absent_log([]), Some(MissingLog::Lost(8)));
    }

    /// C++ LevelDB may go on in goleveldb's MANIFEST (`reuse_logs`), and repeats the number with each edit.
    #[test]
    fn who_named_it_first_counts() {
        let version = named_by(&[(8, None), (8, Some(0))]);
        assert_eq!(version.absent_log([9]), Some(MissingLog::LostIfGap(8)));
    }

    #[test]
    fn number_0_names_none() {
        assert_eq!(named_by(&[(0, None)]).absent_log([]), None);
        assert_eq!(named_by(&[(0, Some(0))]).absent_log([4]), None);
    }
}
