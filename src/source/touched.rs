//! What our own hidden directories did to the times of the directories that they stand in.
//!
//! Nothing is put back: a write to a time could hide what the owner did in the same tick of the clock from whoever
//! goes by it (Maildir readers, build tools, other backups). Only what is *stored* is as it was before us.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::walk::mtime_nanos;
use crate::snapshot::Meta;

/// Directories that were touched by making or removing something of ours, by filesystem and inode.
#[derive(Debug, Default)]
pub struct Touched(Mutex<HashMap<(u64, u64), Times>>);

/// Times of modification.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// The last that is not of our making.
    before: i128,
    /// What we left.
    after: i128,
}

impl Touched {
    /// Makes or removes something in `directory`.
    pub(super) fn around<T>(&self, directory: &Path, act: impl FnOnce() -> T) -> T {
        let before = std::fs::metadata(directory);
        let done = act();
        if let (Ok(before), Ok(after)) = (before, std::fs::metadata(directory)) {
            self.note(&before, &after);
        }
        done
    }

    fn note(&self, before: &Metadata, after: &Metadata) {
        let mut all = self.all();
        let known = all.get(&id(after));
        let is_ours = known.filter(|known| known.after == mtime_nanos(before));
        let before = is_ours.map_or_else(|| mtime_nanos(before), |known| known.before);
        let after_us = mtime_nanos(after);
        all.insert(
            id(after),
            Times {
                before,
                after: after_us,
            },
        );
    }

    /// Gives `meta`, of a directory with these facts, the time that it had before us. A newer one is somebody else's, and
    /// stays.
    pub fn undo(&self, facts: &Metadata, meta: &mut Meta) {
        match self.all().get(&id(facts)) {
            Some(times) if Some(times.after) == meta.mtime_nanos => meta.mtime_nanos = Some(times.before),
            _ => {}
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<(u64, u64), Times>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn id(facts: &Metadata) -> (u64, u64) {
    (facts.dev(), facts.ino())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use super::*;

    fn stored(touched: &Touched, directory: &Path) -> Option<i128> {
        let facts = fs::metadata(directory).unwrap();
        let mut meta = Meta {
            mtime_nanos: Some(mtime_nanos(&facts)),
            ..Meta::default()
        };
        touched.undo(&facts, &mut meta);
        meta.mtime_nanos
    }

    fn set(directory: &Path, seconds: u64) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        fs::File::open(directory).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn of_what_we_do_no_time_is_stored_and_of_what_others_do_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let (touched, place) = (Touched::default(), dir.path());
        let ours = |name: &str| touched.around(place, || fs::create_dir(place.join(name)).unwrap());
        set(place, 1000);
        ours("a");
        ours("b");
        assert_eq!(stored(&touched, place), Some(1000 * 1_000_000_000));
        set(place, 2000);
        assert_eq!(stored(&touched, place), Some(2000 * 1_000_000_000));
        ours("c");
        touched.around(place, || fs::remove_dir(place.join("a")).unwrap());
        assert_eq!(stored(&touched, place), Some(2000 * 1_000_000_000));
    }
}
