//! Fingerprints a directory, to notice that somebody works in it.
//!
//! What lies in a database's directory at one moment: whether somebody is at work there shows in what differs later.
//!
//! An owner that goes on with its database appends to its MANIFEST; one who destroys, rebuilds, repairs or copies does
//! not, or makes another.

use std::os::unix::ffi::OsStrExt;

use rustix::fs::Stat;

use crate::held_directory::HeldDirectory;
use crate::leveldb::file_name::FileName;

/// Digests of names and metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DirectoryFingerprint {
    /// Of CURRENT and the MANIFESTs: which they are.
    lists: [u8; 32],
    /// How long those are, and when they were written to.
    edits: [u8; 32],
    /// All else but what an owner writes to all the time.
    files: [u8; 32],
}

impl DirectoryFingerprint {
    /// Of this directory; a place that is not there has none.
    pub fn of(directory: &HeldDirectory) -> Self {
        let listed = directory.list().unwrap_or_default().into_iter();
        let mut entries: Vec<_> = listed
            .filter_map(|entry| Some((directory.stat(&entry.name).ok()?, entry.name)))
            .map(|(stat, name)| (name, stat))
            .collect();
        entries.sort_by(|left, right| left.0.cmp(&right.0));
        let (mut lists, mut edits, mut files) = <(blake3::Hasher, blake3::Hasher, blake3::Hasher)>::default();
        for (name, facts) in entries {
            match name.to_str().and_then(FileName::parse) {
                Some(FileName::Current | FileName::Manifest(_)) => {
                    lists.update(name.as_bytes()).update(&identity_bytes(&facts));
                    edits.update(&len_and_time_bytes(&facts));
                }
                // Written to all the time.
                Some(FileName::Log(_) | FileName::InfoLog | FileName::Lock) => {
                    files.update(name.as_bytes()).update(&identity_bytes(&facts));
                }
                _ => {
                    files
                        .update(name.as_bytes())
                        .update(&identity_bytes(&facts))
                        .update(&len_and_time_bytes(&facts));
                }
            }
        }
        let digest = |hasher: blake3::Hasher| *hasher.finalize().as_bytes();
        Self {
            lists: digest(lists),
            edits: digest(edits),
            files: digest(files),
        }
    }

    /// True if they came of those before otherwise than by an owner who goes on.
    pub fn is_rebuilt_since(&self, before: &Self) -> bool {
        self.lists != before.lists || self.files != before.files && self.edits == before.edits
    }
}

fn identity_bytes(stat: &Stat) -> Vec<u8> {
    [stat.st_dev, stat.st_ino].map(u64::to_le_bytes).concat()
}

fn len_and_time_bytes(stat: &Stat) -> Vec<u8> {
    let times = [stat.st_mtime, stat.st_mtime_nsec as i64].map(i64::to_le_bytes);
    [stat.st_size.to_le_bytes(), times[0], times[1]].concat()
}
