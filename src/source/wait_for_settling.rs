//! Waits while a path is being replaced.
//!
//! Between one rename and the next a path leads nowhere, and between a database's end and the first files of the next one
//! its directory looks like no database. Whoever looks then would save nothing, or a few leftovers as files.

use std::ffi::OsStr;
use std::fs::{Metadata, metadata, symlink_metadata};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::detect_database::{DetectedDirectory, detect_by_names, list_utf8_names};
use super::walk::read_stat;
use crate::held_directory::HeldDirectory;
use crate::leveldb::file_name::FileName;

/// A directory in which nothing came or went for so long is as it is to be.
const QUIET_MIN: Duration = Duration::from_secs(1);

/// Nobody waits for longer.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// How often it is looked.
const SETTLE_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Returns when the path has what it is likely to keep.
pub fn wait_until_settled(path: &Path) {
    let begin = Instant::now();
    while is_in_flux(path) && begin.elapsed() < WAIT_MAX {
        std::thread::sleep(SETTLE_POLL_INTERVAL);
    }
}

/// True if something may still be writing this file, or is about to replace it again.
pub(super) fn was_written_lately(directory: &HeldDirectory, name: &str) -> bool {
    let facts = read_stat(directory, OsStr::new(name));
    facts.is_ok_and(|facts| is_recent(&facts))
}

fn is_in_flux(path: &Path) -> bool {
    match symlink_metadata(path) {
        Ok(facts) => facts.is_dir() && is_recent(&facts) && may_become_a_database(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let above = path.parent().and_then(|above| metadata(above).ok());
            above.is_some_and(|above| is_recent(&above))
        }
        Err(_) => false,
    }
}

fn is_recent(facts: &Metadata) -> bool {
    let age = |time| SystemTime::now().duration_since(time);
    facts
        .modified()
        .is_ok_and(|time| age(time).is_ok_and(|age| age < QUIET_MIN))
}

/// True for a directory that is empty, or has nothing but what a database leaves or begins with.
fn may_become_a_database(directory: &Path) -> bool {
    let held = HeldDirectory::open_path(directory);
    let Ok((directory, names)) = held.and_then(|held| list_utf8_names(&held).map(|names| (held, names)))
    else {
        return false;
    };
    let are_leftovers = names.iter().all(|name| FileName::parse(name).is_some());
    are_leftovers && detect_by_names(&directory, &names) == DetectedDirectory::Other
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_path_that_comes_back_is_waited_for_and_one_at_rest_is_not() {
        let place = tempfile::tempdir().unwrap();
        let (db, away) = (place.path().join("db"), place.path().join("away"));
        fs::create_dir(&away).unwrap();
        fs::write(away.join("CURRENT"), "MANIFEST-000001\n").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(300));
                fs::rename(&away, &db).unwrap();
            });
            wait_until_settled(&db);
            assert!(db.join("CURRENT").exists());
        });
        let begin = Instant::now();
        wait_until_settled(&db);
        fs::write(place.path().join("file"), "x").unwrap();
        wait_until_settled(&place.path().join("file"));
        wait_until_settled(place.path());
        assert!(begin.elapsed() < QUIET_MIN / 2, "nothing is in flux there");
    }

    #[test]
    fn what_is_left_of_a_database_is_not_taken_for_a_directory_of_files() {
        let place = tempfile::tempdir().unwrap();
        let db = place.path().join("db");
        fs::create_dir(&db).unwrap();
        fs::write(db.join("LOCK"), "").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(300));
                fs::write(db.join("CURRENT"), "MANIFEST-000001\n").unwrap();
            });
            wait_until_settled(&db);
            assert!(db.join("CURRENT").exists());
        });
    }
}
