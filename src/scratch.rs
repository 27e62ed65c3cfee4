//! Hidden directories that live no longer than the process that made them.
//!
//! Such a directory is locked (flock) while its process lives. A killed process leaves it behind unlocked; whoever
//! next makes one of the same prefix in the same place removes it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::error::{Act, Error, Kind, Result};

/// Bytes of a path's name that the name of a scratch directory repeats, so that names near the filesystem's
/// limit still have one.
const NAME_BYTES_MAX: usize = 160;

/// `.NAME.levault-PURPOSE-`: only directories of this name and purpose begin so.
pub fn prefix(name: &[u8], purpose: &str) -> Vec<u8> {
    let name = &name[..name.len().min(NAME_BYTES_MAX)];
    [b".", name, b".levault-", purpose.as_bytes(), b"-"].concat()
}

/// True for the name of a directory that some process of ours made for itself: `.NAME.levault-PURPOSE-`, and 16 digits.
pub fn is_ours(name: &[u8]) -> bool {
    const MARK: &[u8] = b".levault-";
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let Some((head, digits)) = name.split_at_checked(name.len().saturating_sub(16)) else {
        return false;
    };
    let purpose = |at: usize| head[at + MARK.len()..].strip_suffix(b"-");
    let made = |purpose: &[u8]| matches!(purpose, b"pins" | b"capture" | b"restore");
    let marks = head.windows(MARK.len()).rposition(|window| window == MARK);
    let ours = marks.and_then(purpose).is_some_and(made);
    ours && name[0] == b'.' && digits.iter().all(is_digit)
}

/// A name with that prefix that nobody has.
pub fn random_name(mut prefix: Vec<u8>) -> Result<OsString> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| Error::caused(Kind::Io, "draw a random name", error))?;
    prefix.extend_from_slice(data_encoding::HEXLOWER.encode(&random).as_bytes());
    Ok(OsString::from_vec(prefix))
}

/// Opens a directory, following no link.
pub fn open_directory(path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(std::io::Error::from)
        .act(|| format!("open {}", path.display()))
}

/// Takes the lock that says its process lives; false when another process has it.
pub fn try_lock(directory: &File) -> bool {
    rustix::fs::flock(directory, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Gives the lock back aloud: closing does not while a process that another thread forks just now has a copy of the
/// descriptor.
pub fn unlock(directory: &File) {
    // One that cannot be given back goes with the last copy.
    let _ = rustix::fs::flock(directory, FlockOperation::Unlock);
}

/// True while another process holds it.
pub fn is_locked(directory: &File) -> bool {
    let is_free = try_lock(directory);
    if is_free {
        unlock(directory);
    }
    !is_free
}

/// True while `path` names the directory that is held open.
pub fn is_same(path: &Path, held: &File) -> bool {
    match (fs::symlink_metadata(path), held.metadata()) {
        (Ok(by_name), Ok(held)) => by_name.ino() == held.ino() && by_name.dev() == held.dev(),
        _ => false,
    }
}

/// Removes the directories of this prefix in `parent` whose process is gone.
pub fn remove_leftovers(parent: &Path, prefix: &[u8]) -> Result<()> {
    let doing = || format!("list {}", parent.display());
    for entry in fs::read_dir(parent).act(doing)? {
        let entry = entry.act(doing)?;
        if !entry.file_name().as_bytes().starts_with(prefix) {
            continue;
        }
        // Not a directory, or not ours to open: somebody else's, and not in our way.
        let Ok(directory) = open_directory(&entry.path()) else {
            continue;
        };
        if try_lock(&directory) {
            remove_whole(&entry.path())
                .act(|| format!("remove {}, left by a killed process", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Another process may be removing it, too.
fn remove_whole(path: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_directories_are_told_by_name() {
        for purpose in ["pins", "capture", "restore"] {
            let name = random_name(prefix(b"data.levault-db", purpose)).unwrap();
            assert!(is_ours(name.as_bytes()), "{name:?}");
            assert!(!is_ours(&name.as_bytes()[1..]) && !is_ours(&name.as_bytes()[..name.len() - 1]));
        }
        for other in [
            "",
            ".",
            ".levault",
            ".x.levault-notes-0123456789abcdef",
            ".x.levault-pins-0123456789abcdeg",
        ] {
            assert!(!is_ours(other.as_bytes()), "{other}");
        }
    }
}
