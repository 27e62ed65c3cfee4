//! Detects a running `RepairDB`.
//!
//! Whether LevelDB's `RepairDB` is under way.
//!
//! It turns each log into a table, moves the log to the directory `lost`, and writes its MANIFEST at the very end. Until
//! then CURRENT leads to the old MANIFEST, which names logs that are gone.

use std::ffi::OsStr;
use std::fs::read_to_string;
use std::time::{Duration, SystemTime};

use crate::held_directory::HeldDirectory;
use crate::leveldb::TableExtension;
use crate::leveldb::file_name::{log_name, table_name};

/// Where the kernel does not say whether LOCK is held, a repair is taken to have ended when it moved nothing for so long.
const REPAIR_SILENCE_MAX: Duration = Duration::from_secs(60);

/// True if a repair that may be under way has moved the file of this number.
pub(super) fn has_moved_file(directory: &HeldDirectory, number: u64) -> bool {
    let Ok(lost) = directory.child(OsStr::new("lost")) else {
        return false;
    };
    let names = [
        log_name(number),
        table_name(number, TableExtension::Ldb),
        table_name(number, TableExtension::Sst),
    ];
    names.iter().any(|name| lost.stat(name).is_ok()) && (is_locked(directory) || has_moved_recently(&lost))
}

fn has_moved_recently(lost: &HeldDirectory) -> bool {
    let modified = lost
        .open()
        .ok()
        .and_then(|open| open.metadata().ok()?.modified().ok());
    modified.is_some_and(|time| {
        SystemTime::now()
            .duration_since(time)
            .is_ok_and(|age| age < REPAIR_SILENCE_MAX)
    })
}

/// Whether anybody holds LOCK, by the kernel's list: to open it could cost this very process a lock of its own.
fn is_locked(directory: &HeldDirectory) -> bool {
    let (Ok(stat), Ok(locks)) = (directory.stat("LOCK"), read_to_string("/proc/locks")) else {
        return false;
    };
    // Filesystems with subvolumes list another device than stat(2) tells.
    let inode = format!(":{}", stat.st_ino);
    locks
        .lines()
        .flat_map(str::split_whitespace)
        .any(|word| word.matches(':').count() == 2 && word.ends_with(&inode))
}
