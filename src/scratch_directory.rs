//! Creates and removes hidden directories of this process.
//!
//! Such a directory is locked (flock) while its process lives. A killed process leaves it behind unlocked; the next
//! process that makes one of the same prefix in the same directory removes it.
//!
//! **What may be removed.** Users can write where such directories stand. A user can give any directory of root's that lies
//! in a directory of his own one of our names, and he can put links and files of his own there. So a leftover is removed only
//! if it is proven to be ours, all of it looked at through descriptors: the directory has our uid and no one else may write
//! to it, hence no one else put anything in it; and it holds a marker, a regular file of our uid with one name, that names
//! the directory's own inode and time of birth, hence was made for this very directory and is in no copy of one.
//! Anything else of such a name is left alone and reported. (An empty directory holds nothing that could be lost.)

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, StatxFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::{HeldDirectory, file_type_of};

/// Bytes of a path's name that the name of a scratch directory repeats, so that names near the filesystem's
/// limit still have one.
const SCRATCH_NAME_BYTES_MAX: usize = 160;

/// The marker; other backup programs pass over a directory with this file.
pub const MARKER_FILE: &str = "CACHEDIR.TAG";

/// How it begins, by the convention for such files.
const MARKER_SIGNATURE: &str = "Signature: 8a477f597d28d172789f06886806bc55\n";

/// What is read of a marker.
const MARKER_BYTES_MAX: u64 = 1024;

/// `.NAME.levault-PURPOSE-`: only directories of this name and purpose begin so.
pub fn scratch_prefix(name: &[u8], purpose: &str) -> Vec<u8> {
    let name = &name[..name.len().min(SCRATCH_NAME_BYTES_MAX)];
    [b".", name, b".levault-", purpose.as_bytes(), b"-"].concat()
}

/// True for a name as our directories have it: `.NAME.levault-PURPOSE-`, and 16 digits. Anything may be called so; what is
/// ours, [`is_proven_ours`] says.
pub fn is_scratch_name(name: &[u8]) -> bool {
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

/// A name with that prefix that nothing else has.
pub fn random_name(mut prefix: Vec<u8>) -> Result<OsString> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)
        .map_err(|error| Error::with_cause(ErrorKind::Io, "draw a random name", error))?;
    prefix.extend_from_slice(data_encoding::HEXLOWER.encode(&random).as_bytes());
    Ok(OsString::from_vec(prefix))
}

/// Takes the lock that says its process lives; false when another process has it.
pub fn try_lock(directory: impl AsFd) -> bool {
    rustix::fs::flock(directory, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Gives the lock back aloud: closing does not while a process that another thread forks just now has a copy of the
/// descriptor.
pub fn unlock(directory: impl AsFd) {
    // One that cannot be given back goes with the last copy.
    let _ = rustix::fs::flock(directory, FlockOperation::Unlock);
}

/// True while another process holds it.
pub fn is_locked(directory: impl AsFd) -> bool {
    let is_free = try_lock(&directory);
    if is_free {
        unlock(&directory);
    }
    !is_free
}

/// A hidden directory of this process: new, locked, marked. It stays until it is removed or left to the next process.
#[derive(Debug)]
pub struct ScratchDirectory {
    parent: HeldDirectory,
    name: OsString,
    /// Locked.
    directory: HeldDirectory,
}

impl ScratchDirectory {
    /// Makes one in `parent`; `says` what it is for, to people.
    pub fn create(parent: &HeldDirectory, prefix: &[u8], says: &str) -> Result<Self> {
        loop {
            let name = random_name(prefix.to_vec())?;
            let doing = || format!("create {}", parent.display_path(&name).display());
            rustix::fs::mkdirat(parent, &name, Mode::RWXU)
                .map_err(std::io::Error::from)
                .context(doing)?;
            let directory = match parent.child(&name) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                opened => opened?,
            };
            // In place of the new directory another may stand by now.
            if !directory.list()?.is_empty() {
                return Err(
                    Error::new(ErrorKind::Exists, "another directory came to stand there").context(doing()),
                );
            }
            let directory = directory.reopen_readable()?;
            // Another process may have taken it for a leftover before it was locked.
            if try_lock(&directory) && parent.has_child(&name, &directory) {
                let made = Self {
                    parent: parent.clone(),
                    name,
                    directory,
                };
                let Err(error) = write_marker(&made.directory, says) else {
                    return Ok(made);
                };
                // On a full disk, for example. Without its marker it would stay for ever.
                let _ = made.remove();
                return Err(error.context(format!("create {}", made.directory.path().display())));
            }
        }
    }

    /// The directory.
    pub fn directory(&self) -> &HeldDirectory {
        &self.directory
    }

    /// Its name.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// [`ErrorKind::Denied`] if another user may have made it, or may write to it. (On some filesystems everything is another's.)
    pub fn must_be_private(&self) -> Result<()> {
        if is_private(&self.directory) {
            return Ok(());
        }
        let what = format!("{} can be written to by others", self.directory.path().display());
        Err(Error::new(ErrorKind::Denied, what))
    }

    /// Gives it a name of its own to stay under.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if something has that name.
    pub fn rename(&mut self, name: &OsStr) -> Result<()> {
        use rustix::fs::{RenameFlags, renameat, renameat_with};
        let parent = &self.parent;
        let renamed = match renameat_with(parent, &self.name, parent, name, RenameFlags::NOREPLACE) {
            // At worst it replaces an empty directory.
            Err(Errno::INVAL | Errno::NOSYS) => renameat(parent, &self.name, parent, name),
            renamed => renamed,
        };
        renamed
            .map_err(std::io::Error::from)
            .context(|| format!("create {}", parent.display_path(name).display()))?;
        self.name = name.to_owned();
        self.directory = self.directory.with_path(&parent.display_path(name));
        Ok(())
    }

    /// The directory, locked as long as it is held; it stays.
    pub fn into_directory(self) -> HeldDirectory {
        self.directory
    }

    /// Removes it with all that is in it.
    pub fn remove(&self) -> Result<()> {
        self.parent
            .remove_child(&self.name, &self.directory, OsStr::new(MARKER_FILE))
    }
}

/// Writes the marker.
pub fn write_marker(directory: &HeldDirectory, says: &str) -> Result<()> {
    let text = format!("{MARKER_SIGNATURE}# {says}\n{}", read_binding(directory)?.line());
    let mode = Mode::RUSR | Mode::WUSR;
    let written = directory.create_file(MARKER_FILE, mode);
    written
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .context(|| format!("write {}", directory.display_path(MARKER_FILE).display()))
}

/// True if this program, as this user, made the directory, and no one else can have put anything in it.
pub fn is_proven_ours(directory: &HeldDirectory) -> bool {
    is_private(directory)
        && is_own_file(directory, MARKER_FILE)
        && matches!((read_marker_binding(directory), read_binding(directory)),
            (Some(said), Ok(real)) if said.matches(&real))
}

/// True if only this user can have put something in it.
pub fn is_private(directory: &HeldDirectory) -> bool {
    let own = rustix::process::geteuid().as_raw();
    directory
        .stat_self()
        .is_ok_and(|stat| stat.st_uid == own && stat.st_mode & 0o022 == 0)
}

/// True for a regular file with one name that this user owns and no other writes to.
pub fn is_own_file(directory: &HeldDirectory, name: &str) -> bool {
    let own = rustix::process::geteuid().as_raw();
    directory.stat(name).is_ok_and(|stat| {
        let is_alone = file_type_of(&stat) == FileType::RegularFile && stat.st_nlink == 1;
        is_alone && stat.st_uid == own && stat.st_mode & 0o022 == 0
    })
}

/// True for a directory that only this user can have put something in, and that holds nothing, or a marker that was about to
/// be written: nothing is lost with it.
pub fn is_empty_scratch(directory: &HeldDirectory) -> Result<bool> {
    if !is_private(directory) {
        return Ok(false);
    }
    let is_begun = || {
        let stat = directory.stat(MARKER_FILE);
        is_own_file(directory, MARKER_FILE) && stat.is_ok_and(|stat| stat.st_size == 0)
    };
    Ok(match &directory.list()?[..] {
        [] => true,
        [only] => only.name == MARKER_FILE && is_begun(),
        _ => false,
    })
}

/// True for a directory with a marker of its own owner's: what lies in it is no one's data. No proof that it may be removed.
pub fn has_marker(directory: &HeldDirectory) -> bool {
    let owner = |stat: &rustix::fs::Stat| stat.st_uid;
    let of_file = directory.stat(MARKER_FILE).as_ref().map(owner).ok();
    let of_itself = directory.stat_self().as_ref().map(owner).ok();
    let real = read_binding(directory);
    of_file == of_itself
        && matches!((read_marker_binding(directory), real), (Some(said), Ok(real)) if said.matches(&real))
}

/// What tells a directory from every copy of it.
struct DirectoryBinding {
    inode: u64,
    /// Seconds and nanoseconds; `None` where the filesystem does not say.
    born: Option<(i64, u32)>,
}

impl DirectoryBinding {
    fn line(&self) -> String {
        match self.born {
            Some((seconds, nanos)) => {
                format!(
                    "# levault directory 1: inode {}, born {seconds}.{nanos:09}\n",
                    self.inode
                )
            }
            None => format!("# levault directory 1: inode {}\n", self.inode),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let said = line.strip_prefix("# levault directory 1: inode ")?;
        let (inode, born) = match said.split_once(", born ") {
            Some((inode, born)) => {
                let (seconds, nanos) = born.split_once('.')?;
                (inode, Some((seconds.parse().ok()?, nanos.parse().ok()?)))
            }
            None => (said, None),
        };
        let inode = inode.parse().ok()?;
        Some(Self { inode, born })
    }

    /// A time of birth that one of the two does not know, another kernel on the same filesystem, says nothing.
    fn matches(&self, real: &Self) -> bool {
        let is_same_birth = match (self.born, real.born) {
            (Some(said), Some(real)) => said == real,
            _ => true,
        };
        self.inode == real.inode && is_same_birth
    }
}

fn read_binding(directory: &HeldDirectory) -> Result<DirectoryBinding> {
    let inode = directory.stat_self()?.st_ino;
    let flags = StatxFlags::BTIME;
    let born = rustix::fs::statx(directory, "", AtFlags::EMPTY_PATH, flags)
        .ok()
        .filter(|facts| facts.stx_mask & flags.bits() != 0);
    let born = born.map(|facts| (facts.stx_btime.tv_sec, facts.stx_btime.tv_nsec));
    Ok(DirectoryBinding { inode, born })
}

fn read_marker_binding(directory: &HeldDirectory) -> Option<DirectoryBinding> {
    let (file, _) = directory.open_file(MARKER_FILE).ok()?;
    let mut text = String::new();
    file.take(MARKER_BYTES_MAX).read_to_string(&mut text).ok()?;
    DirectoryBinding::parse(text.strip_prefix(MARKER_SIGNATURE)?.lines().last()?)
}

/// Removes the directories of this prefix in `parent` whose process is gone; the paths of those that are not proven to be
/// ours, and were left alone.
pub fn remove_leftovers(parent: &HeldDirectory, prefix: &[u8]) -> Result<Vec<PathBuf>> {
    let mut left_alone = Vec::new();
    for entry in parent.list()? {
        let has_our_name =
            entry.name.as_bytes().starts_with(prefix) && is_scratch_name(entry.name.as_bytes());
        if !has_our_name || entry.kind != FileType::Directory {
            continue;
        }
        match remove_leftover(parent, &entry.name) {
            Ok(LeftoverOutcome::Unproven) => left_alone.push(parent.display_path(&entry.name)),
            Ok(LeftoverOutcome::Removed | LeftoverOutcome::InUse) => {}
            Err(error) => {
                let shown = parent.display_path(&entry.name);
                return Err(error.context(format!("remove {}, left by a killed process", shown.display())));
            }
        }
    }
    Ok(left_alone)
}

/// What became of something that is called like a leftover.
pub enum LeftoverOutcome {
    /// It was ours, or empty.
    Removed,
    /// Its process lives.
    InUse,
    /// Nothing proves that it is ours: it is as it was.
    Unproven,
}

/// Removes one directory if it is proven to be ours.
pub fn remove_leftover(parent: &HeldDirectory, name: &OsStr) -> Result<LeftoverOutcome> {
    let Ok(directory) = parent.child(name).and_then(|found| found.reopen_readable()) else {
        return Ok(LeftoverOutcome::Unproven);
    };
    if !try_lock(&directory) {
        return Ok(LeftoverOutcome::InUse);
    }
    if is_proven_ours(&directory) {
        // The marker goes last: a removal that is cut short can be taken up again.
        let removed = parent.remove_child(name, &directory, OsStr::new(MARKER_FILE));
        return removed.map(|()| LeftoverOutcome::Removed);
    }
    if is_empty_scratch(&directory)? && parent.has_child(name, &directory) {
        let _ = directory.remove_file(MARKER_FILE);
        let removed = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
        return match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(LeftoverOutcome::Removed),
            Err(_) => Ok(LeftoverOutcome::Unproven),
        };
    }
    Ok(LeftoverOutcome::Unproven)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::*;

    /// What a killed process leaves: a marked directory with these files.
    pub(crate) fn leave_to_next_process(path: &Path, files: &[&str]) {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        let directory = HeldDirectory::open_path(path).unwrap();
        write_marker(&directory, "Left behind.").unwrap();
        for name in files {
            fs::write(path.join(name), "left").unwrap();
        }
    }

    #[test]
    fn our_own_names_are_told_from_others() {
        for purpose in ["pins", "capture", "restore"] {
            let name = random_name(scratch_prefix(b"data.levault-db", purpose)).unwrap();
            assert!(is_scratch_name(name.as_bytes()), "{name:?}");
            assert!(
                !is_scratch_name(&name.as_bytes()[1..])
                    && !is_scratch_name(&name.as_bytes()[..name.len() - 1])
            );
        }
        for other in [
            "",
            ".",
            ".levault",
            ".x.levault-notes-0123456789abcdef",
            ".x.levault-pins-0123456789abcdeg",
        ] {
            assert!(!is_scratch_name(other.as_bytes()), "{other}");
        }
    }

    /// Everything that a user can make of a name of ours, and what becomes of it.
    #[test]
    fn only_what_is_proven_to_be_ours_is_removed_and_the_rest_is_reported() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(format!(".db.levault-capture-{name}"));
        let ours = path("0123456789abcdef");
        leave_to_next_process(&ours, &["000005.ldb"]);
        fs::create_dir(ours.join("deeper")).unwrap();
        let empty = path("1123456789abcdef");
        fs::create_dir(&empty).unwrap();

        let unmarked = path("2123456789abcdef");
        fs::create_dir(&unmarked).unwrap();
        fs::write(unmarked.join("precious"), "x").unwrap();
        // A copy of one of ours with something precious, as `cp -a` makes it.
        let copied = path("3123456789abcdef");
        fs::create_dir(&copied).unwrap();
        fs::copy(ours.join(MARKER_FILE), copied.join(MARKER_FILE)).unwrap();
        let writable = path("4123456789abcdef");
        leave_to_next_process(&writable, &["precious"]);
        fs::set_permissions(&writable, fs::Permissions::from_mode(0o777)).unwrap();
        let linked_marker = path("5123456789abcdef");
        leave_to_next_process(&linked_marker, &["precious"]);
        fs::hard_link(linked_marker.join(MARKER_FILE), place.path().join("second")).unwrap();
        let link_to_marker = path("6123456789abcdef");
        leave_to_next_process(&link_to_marker, &["precious"]);
        fs::rename(link_to_marker.join(MARKER_FILE), link_to_marker.join("moved")).unwrap();
        symlink("moved", link_to_marker.join(MARKER_FILE)).unwrap();
        let link = path("7123456789abcdef");
        symlink(&unmarked, &link).unwrap();
        // The name goes on: not a name that we make.
        let longer = path("0123456789abcdef.bak");
        leave_to_next_process(&longer, &["precious"]);

        let parent = HeldDirectory::open_path(place.path()).unwrap();
        let mut told = remove_leftovers(&parent, &scratch_prefix(b"db", "capture")).unwrap();
        told.sort();
        assert!(!ours.exists() && !empty.exists());
        let left = [unmarked, copied, writable, linked_marker, link_to_marker];
        assert_eq!(told, left);
        for path in left.iter().chain([&longer, &link]) {
            assert!(fs::read_dir(path).unwrap().next().is_some(), "{}", path.display());
        }
    }

    #[test]
    fn a_directory_in_use_is_not_removed_and_a_dropped_one_is_the_next_ones() {
        let place = tempfile::tempdir().unwrap();
        let parent = HeldDirectory::open_path(place.path()).unwrap();
        let prefix = scratch_prefix(b"db", "capture");
        let made = ScratchDirectory::create(&parent, &prefix, "Test.").unwrap();
        made.must_be_private().unwrap();
        assert!(is_proven_ours(made.directory()) && has_marker(made.directory()));
        assert!(remove_leftovers(&parent, &prefix).unwrap().is_empty());
        assert_eq!(parent.list().unwrap().len(), 1);
        drop(made);
        assert!(remove_leftovers(&parent, &prefix).unwrap().is_empty());
        assert_eq!(parent.list().unwrap(), []);
    }

    /// What is removed is the directory that was made, whatever has its name by then.
    #[test]
    fn what_took_the_name_of_a_scratch_directory_is_not_removed_with_it() {
        let place = tempfile::tempdir().unwrap();
        let parent = HeldDirectory::open_path(place.path()).unwrap();
        let made = ScratchDirectory::create(&parent, &scratch_prefix(b"db", "restore"), "Test.").unwrap();
        let path = place.path().join(made.name());
        fs::write(path.join("inner"), "x").unwrap();
        fs::rename(&path, place.path().join("moved")).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("precious"), "x").unwrap();
        made.remove().unwrap();
        assert!(path.join("precious").exists());
        assert!(!place.path().join("moved/inner").exists());
    }

    #[test]
    fn a_binding_is_read_as_it_was_written() {
        for born in [None, Some((1_764_556_800, 5)), Some((0, 999_999_999))] {
            let written = DirectoryBinding { inode: 17, born };
            let line = written.line();
            let read = DirectoryBinding::parse(line.trim_end()).unwrap();
            assert_eq!((read.inode, read.born), (17, born));
        }
        for wrong in [
            "",
            "# levault directory 1: inode x",
            "# levault directory 2: inode 1",
        ] {
            assert!(DirectoryBinding::parse(wrong).is_none(), "{wrong}");
        }
    }
}
