//! Restores directory times that levault's own files changed.
//!
//! Nothing is put back: a write to a time could hide what the owner did in the same tick of the clock from whoever
//! goes by it (Maildir readers, build tools, other backups). Only what is *stored* is as it was before us.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::Stat;

use super::walk::nanos;
use crate::held_directory::{HeldDirectory, device_and_inode};
use crate::snapshot::FileMetadata;

/// Directories that were touched by making or removing something of ours, by filesystem and inode.
#[derive(Debug, Default)]
pub struct TouchedDirectories(Mutex<HashMap<(u64, u64), ModificationTimes>>);

/// Times of modification.
#[derive(Clone, Copy, Debug)]
struct ModificationTimes {
    /// The last that is not of our making.
    before: i128,
    /// What we left.
    after: i128,
}

impl TouchedDirectories {
    /// Makes or removes something in `directory`.
    pub(super) fn track<T>(&self, directory: &HeldDirectory, act: impl FnOnce() -> T) -> T {
        let before = directory.stat_self();
        let done = act();
        if let (Ok(before), Ok(after)) = (before, directory.stat_self()) {
            self.note(&before, &after);
        }
        done
    }

    fn note(&self, before: &Stat, after: &Stat) {
        let modified = |stat: &Stat| nanos(stat.st_mtime, stat.st_mtime_nsec as i64);
        let mut all = self.all();
        let known = all.get(&device_and_inode(after));
        let is_ours = known.filter(|known| known.after == modified(before));
        let before = is_ours.map_or_else(|| modified(before), |known| known.before);
        let after_us = modified(after);
        all.insert(
            device_and_inode(after),
            ModificationTimes {
                before,
                after: after_us,
            },
        );
    }

    /// Gives `meta`, of a directory with these facts, the time that it had before us. A newer one is somebody else's, and
    /// stays.
    pub fn restore_mtime(&self, facts: &Metadata, meta: &mut FileMetadata) {
        match self.all().get(&(facts.dev(), facts.ino())) {
            Some(times) if Some(times.after) == meta.mtime_nanos => meta.mtime_nanos = Some(times.before),
            _ => {}
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<(u64, u64), ModificationTimes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::super::walk::mtime_nanos;
    use super::*;

    fn stored(touched: &TouchedDirectories, directory: &Path) -> Option<i128> {
        let facts = fs::metadata(directory).unwrap();
        let mut meta = FileMetadata {
            mtime_nanos: Some(mtime_nanos(&facts)),
            ..FileMetadata::default()
        };
        touched.restore_mtime(&facts, &mut meta);
        meta.mtime_nanos
    }

    fn set(directory: &Path, seconds: u64) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        fs::File::open(directory).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn of_what_we_do_no_time_is_stored_and_of_what_others_do_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let (touched, place) = (TouchedDirectories::default(), dir.path());
        let held = HeldDirectory::open_path(place).unwrap();
        let ours = |name: &str| touched.track(&held, || fs::create_dir(place.join(name)).unwrap());
        set(place, 1000);
        ours("a");
        ours("b");
        assert_eq!(stored(&touched, place), Some(1000 * 1_000_000_000));
        set(place, 2000);
        assert_eq!(stored(&touched, place), Some(2000 * 1_000_000_000));
        ours("c");
        touched.track(&held, || fs::remove_dir(place.join("a")).unwrap());
        assert_eq!(stored(&touched, place), Some(2000 * 1_000_000_000));
    }
}
