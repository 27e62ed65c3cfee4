//! Reserves disk space so that deleting works on a full disk.
//!
//! To give space back takes a few small writes: a forgetting, marks. On a disk without a free byte they would fail, and
//! nothing could ever be deleted. So a file of random bytes lies in `tmp/`, and goes when such a write finds the disk full. It
//! is made again by the first write that finds room. Nothing rests on it, and it holds nothing.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::ObjectKind;

/// Its name in `tmp/`. (Without the `-` of temporary files: no sweep takes it.)
pub(super) const RESERVE_FILE: &str = "reserve";

/// Its length, bytes: room for a forgetting of thousands of snapshots and for marks of thousands of packs.
const RESERVE_BYTES: usize = 256 << 10;

/// Whether an object may take this space: what is written so that other objects can be deleted.
pub(super) fn is_for(kind: ObjectKind) -> bool {
    matches!(kind, ObjectKind::Forgotten | ObjectKind::Mark | ObjectKind::Bad)
}

/// Makes the reserve in `directory` if there is none and there is room. Random bytes, for filesystems that compress.
pub(super) fn make(directory: &Path) {
    let path = directory.join(RESERVE_FILE);
    if path.symlink_metadata().is_ok() {
        return;
    }
    if fill(&path).is_err() {
        // Half a reserve on a full disk is in the way of others.
        let _ = fs::remove_file(&path);
    }
}

/// Gives the space back; false if there was none.
pub(super) fn release(directory: &Path) -> bool {
    fs::remove_file(directory.join(RESERVE_FILE)).is_ok()
}

fn fill(path: &Path) -> std::io::Result<()> {
    let mut bytes = vec![0; RESERVE_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(path)?;
    file.write_all(&bytes)?;
    file.sync_all()
}
