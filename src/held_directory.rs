//! Works in a directory through its descriptor, following no link.
//!
//! A directory held by a descriptor: what lies in it is found, opened, linked and removed through that.
//!
//! As root we work in directories that other users may write to. Such a user can put a symbolic link, or another
//! directory, in the place of anything between two of our system calls. So a path is resolved once, where it was named by
//! who asked; from then on each name is looked up in a directory that is held, no link is followed, and type and owner are
//! those of the descriptor.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat, openat2};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result, ResultExt};

/// Directories within directories that are emptied at most; descriptors bound it before memory does.
const DEPTH_MAX: usize = 2048;

/// A directory that is held open, and the path by which people know it. Clones share the descriptor.
#[derive(Clone, Debug)]
pub struct HeldDirectory {
    /// Mostly opened with O_PATH: searching it is enough, reading its names opens it again.
    handle: Arc<OwnedFd>,
    path: Arc<Path>,
}

/// A name in a directory, and its metadata when the directory was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    pub name: OsString,
    pub kind: FileType,
}

impl HeldDirectory {
    /// Opens a path that was asked for: links on the way and at its end are followed, this once.
    pub fn open_path(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from);
        let handle = opened.context(|| format!("open {}", path.display()))?;
        Ok(Self::from_fd(handle, path))
    }

    /// Opens a path whose last part must be no link.
    pub fn open_nofollow(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from);
        let handle = opened.context(|| format!("open {}", path.display()))?;
        Ok(Self::from_fd(handle, path))
    }

    /// A descriptor of a directory.
    pub fn from_fd(handle: OwnedFd, path: &Path) -> Self {
        Self {
            handle: Arc::new(handle),
            path: path.into(),
        }
    }

    /// Its path when it was opened: for messages, and for what is recorded.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something in it, for messages.
    pub fn display_path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path.join(name.as_ref())
    }

    /// The same under another path, for messages.
    #[must_use]
    pub fn with_path(&self, path: &Path) -> Self {
        Self {
            handle: Arc::clone(&self.handle),
            path: path.into(),
        }
    }

    /// True if both are one descriptor.
    pub fn is_same_handle(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.handle, &other.handle)
    }

    /// The directory that it lies in now, whatever became of its path.
    pub fn parent(&self) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = self.path.parent().unwrap_or(Path::new("/"));
        let opened = openat(&self.handle, "..", flags, Mode::empty()).map_err(io::Error::from);
        Ok(Self::from_fd(
            opened.context(|| format!("open {}", path.display()))?,
            path,
        ))
    }

    /// A directory directly in it.
    pub fn child(&self, name: &OsStr) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = self.display_path(name);
        let opened =
            openat(&self.handle, check_plain_name(name)?, flags, Mode::empty()).map_err(io::Error::from);
        Ok(Self::from_fd(
            opened.context(|| format!("open {}", path.display()))?,
            &path,
        ))
    }

    /// A directory at or below it, whose whole path is given: no part below it may be a link.
    pub fn descendant(&self, path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let opened = self.open_below(path, flags);
        let handle = opened.context(|| format!("open {}", path.display()))?;
        Ok(Self::from_fd(handle, path))
    }

    /// Opens what lies at or below it by its whole path; no part below it may be a link.
    pub fn open_below(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let below = match path.strip_prefix(&*self.path) {
            Ok(below) if below == Path::new("") => Path::new("."),
            Ok(below) => below,
            Err(_) => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let no_links = ResolveFlags::NO_SYMLINKS;
        match openat2(&self.handle, below, flags, Mode::empty(), no_links) {
            // Linux before 5.6, or a sandbox that does not know it.
            Err(Errno::NOSYS | Errno::PERM) => self.open_by_components(below, flags),
            opened => opened.map_err(io::Error::from),
        }
    }

    fn open_by_components(&self, below: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let through = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (above, name) = match (below.parent(), below.file_name()) {
            (Some(above), Some(name)) => (above, name),
            _ => (Path::new(""), OsStr::new(".")),
        };
        let mut at = None;
        for part in above.components() {
            let Component::Normal(part) = part else {
                return Err(io::Error::from(io::ErrorKind::InvalidInput));
            };
            let from = at.as_ref().map_or(self.as_fd(), OwnedFd::as_fd);
            at = Some(openat(from, part, through, Mode::empty())?);
        }
        let from = at.as_ref().map_or(self.as_fd(), OwnedFd::as_fd);
        Ok(openat(from, name, flags, Mode::empty())?)
    }

    /// The same directory by a descriptor that can be locked and synced, too.
    pub fn reopen_readable(&self) -> Result<Self> {
        Ok(Self::from_fd(self.open()?.into(), &self.path))
    }

    /// Makes the names in it durable; it must be [`HeldDirectory::reopen_readable`].
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.handle)?)
    }

    /// The same directory opened to be read, locked or synced.
    pub fn open(&self) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(&self.handle, ".", flags, Mode::empty()).map_err(io::Error::from);
        opened
            .map(File::from)
            .context(|| format!("open {}", self.path.display()))
    }

    /// What lies in it, in no order.
    pub fn list(&self) -> Result<Vec<DirectoryEntry>> {
        let doing = || format!("list {}", self.path.display());
        let mut all = Vec::new();
        for entry in Dir::new(self.open()?).map_err(io::Error::from).context(doing)? {
            let entry = entry.map_err(io::Error::from).context(doing)?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => self
                    .stat(&name)
                    .map_or(FileType::Unknown, |stat| file_type_of(&stat)),
                kind => kind,
            };
            all.push(DirectoryEntry { name, kind });
        }
        Ok(all)
    }

    /// What has this name; a link is looked at itself.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> io::Result<Stat> {
        Ok(rustix::fs::statat(
            &self.handle,
            name.as_ref(),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// What it is itself.
    pub fn stat_self(&self) -> Result<Stat> {
        let stat = rustix::fs::fstat(&self.handle).map_err(io::Error::from);
        stat.context(|| format!("look at {}", self.path.display()))
    }

    /// True while this name is the other directory's.
    pub fn has_child(&self, name: &OsStr, other: &Self) -> bool {
        match (self.stat(name), rustix::fs::fstat(&other.handle)) {
            (Ok(by_name), Ok(held)) => device_and_inode(&by_name) == device_and_inode(&held),
            _ => false,
        }
    }

    /// True if a regular file has this name.
    pub fn has_file(&self, name: impl AsRef<OsStr>) -> bool {
        self.stat(name)
            .is_ok_and(|stat| file_type_of(&stat) == FileType::RegularFile)
    }

    /// Opens a regular file directly in it for reading, and its length. Anything else, a link too, is
    /// [`ErrorKind::Corrupt`]: no FIFO is waited for, and no device touched.
    pub fn open_file(&self, name: impl AsRef<OsStr>) -> Result<(File, u64)> {
        let name = name.as_ref();
        let doing = || format!("open {}", self.display_path(name).display());
        let is_strange = |kind| {
            Error::corrupt(format!("{}, which is not read", describe_file_type(kind))).context(doing())
        };
        let stat = self.stat(check_plain_name(name)?).context(doing)?;
        if file_type_of(&stat) != FileType::RegularFile {
            return Err(is_strange(file_type_of(&stat)));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.handle, name, flags, Mode::empty()) {
            Err(Errno::LOOP) => return Err(is_strange(FileType::Symlink)),
            opened => File::from(opened.map_err(io::Error::from).context(doing)?),
        };
        let facts = file.metadata().context(doing)?;
        if facts.is_file() {
            Ok((file, facts.len()))
        } else {
            Err(Error::corrupt("not a regular file").context(doing()))
        }
    }

    /// Makes a file that was not there.
    pub fn create_file(&self, name: impl AsRef<OsStr>, mode: Mode) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(openat(&self.handle, name.as_ref(), flags, mode)?))
    }

    /// Gives what has a name here another one elsewhere; a link gets it itself.
    pub fn link(
        &self,
        name: impl AsRef<OsStr>,
        to: impl AsFd,
        new: impl AsRef<OsStr>,
    ) -> rustix::io::Result<()> {
        rustix::fs::linkat(&self.handle, name.as_ref(), to, new.as_ref(), AtFlags::empty())
    }

    /// Renames within it.
    pub fn rename(&self, name: impl AsRef<OsStr>, new: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::renameat(
            &self.handle,
            name.as_ref(),
            &self.handle,
            new.as_ref(),
        )?)
    }

    /// Removes a name that is no directory's.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            &self.handle,
            name.as_ref(),
            AtFlags::empty(),
        )?)
    }

    /// Removes what lies in it, directories with all that they hold, on this filesystem only; what has the name `last` at
    /// the end of all.
    pub fn remove_contents(&self, last: &OsStr) -> Result<()> {
        empty(&self.open()?, last, 0).context(|| format!("empty {}", self.path.display()))
    }

    /// Removes `child`, which is held, with all that is in it as [`HeldDirectory::remove_contents`] does; its name only while that is
    /// still the child's.
    pub fn remove_child(&self, name: &OsStr, child: &Self, last: &OsStr) -> Result<()> {
        child.remove_contents(last)?;
        if !self.has_child(name, child) {
            return Ok(());
        }
        match rustix::fs::unlinkat(&self.handle, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::io(
                format!("remove {}", self.display_path(name).display()),
                error.into(),
            )),
        }
    }

    /// A path that leads to something in it as long as it is held, whatever becomes of its own; for calls that take
    /// no descriptor. The last part must not be followed by them if it may be a link.
    pub fn proc_path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        Path::new("/proc/self/fd")
            .join(self.handle.as_raw_fd().to_string())
            .join(name.as_ref())
    }
}

impl AsFd for HeldDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// What a file is.
pub fn file_type_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Filesystem and number there.
pub fn device_and_inode(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// In words.
pub fn describe_file_type(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "not a regular file",
    }
}

/// A name that leads from a directory to what is directly in it.
fn check_plain_name(name: &OsStr) -> Result<&OsStr> {
    let bytes = name.as_bytes();
    let leads_elsewhere = matches!(bytes, b"" | b"." | b"..") || bytes.contains(&b'/') || bytes.contains(&0);
    if leads_elsewhere {
        let what = format!("{} is no name", name.to_string_lossy());
        return Err(Error::new(ErrorKind::Usage, what));
    }
    Ok(name)
}

fn empty(directory: &File, last: &OsStr, level: usize) -> Result<()> {
    let doing = || "read it";
    if level == DEPTH_MAX {
        return Err(Error::new(
            ErrorKind::Limit,
            "directories in directories without end",
        ));
    }
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)
        .map_err(io::Error::from)
        .context(doing)?
    {
        let name = entry.map_err(io::Error::from).context(doing)?;
        names.push(OsString::from_vec(name.file_name().to_bytes().to_vec()));
    }
    names.retain(|name| name != "." && name != "..");
    names.sort_by_key(|name| name == last);
    names
        .iter()
        .try_for_each(|name| remove_at(directory, name, level).context(|| name.to_string_lossy()))
}

fn remove_at(above: &File, name: &OsStr, level: usize) -> Result<()> {
    match rustix::fs::unlinkat(above, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(Error::io("unlink it", error.into())),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = openat(above, name, flags, Mode::empty()).map_err(io::Error::from);
    let inner = File::from(inner.context(|| "enter it")?);
    let device = |file: &File| rustix::fs::fstat(file).map(|stat| stat.st_dev);
    if device(&inner).ok() != device(above).ok() {
        return Err(Error::new(
            ErrorKind::Usage,
            "another filesystem is mounted there",
        ));
    }
    empty(&inner, OsStr::new(""), level + 1)?;
    match rustix::fs::unlinkat(above, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::io("remove the directory", error.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_but_a_regular_file_of_the_directory_itself_is_opened() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::create_dir(path("d")).unwrap();
        fs::write(path("d/file"), "bytes").unwrap();
        fs::write(path("secret"), "secret").unwrap();
        symlink(path("secret"), path("d/link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("d/pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let held = HeldDirectory::open_path(&path("d")).unwrap();
        assert_eq!(held.open_file("file").unwrap().1, 5);
        for (name, says) in [
            ("link", "symbolic link"),
            ("pipe", "named pipe"),
            (".", "no name"),
        ] {
            let error = held.open_file(name).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        assert_eq!(held.open_file("none").unwrap_err().kind(), ErrorKind::NotFound);
        assert!(held.open_file("../secret").is_err());
    }

    #[test]
    fn a_held_directory_stays_the_same_when_another_takes_its_path() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        for name in ["d", "other"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("file"), name).unwrap();
        }
        let held = HeldDirectory::open_path(&path("d")).unwrap();
        fs::rename(path("d"), path("moved")).unwrap();
        symlink(path("other"), path("d")).unwrap();
        assert_eq!(held.open_file("file").unwrap().1, 1);
        held.remove_contents(OsStr::new("")).unwrap();
        assert!(path("other/file").exists() && !path("moved/file").exists());
        let parent = held.parent().unwrap();
        parent
            .remove_child(OsStr::new("d"), &held, OsStr::new(""))
            .unwrap();
        assert!(path("d").is_symlink() && path("moved").exists());
    }

    #[test]
    fn no_link_is_followed_below_with_and_without_openat2() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::create_dir_all(path("d/a/b")).unwrap();
        fs::create_dir_all(path("other/b")).unwrap();
        fs::write(path("d/a/b/file"), "x").unwrap();
        symlink(path("other"), path("d/link")).unwrap();
        let held = HeldDirectory::open_path(&path("d")).unwrap();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
        assert!(held.open_below(&path("d/a/b/file"), flags).is_ok());
        assert!(held.open_by_components(Path::new("a/b/file"), flags).is_ok());
        assert!(held.open_by_components(Path::new("."), flags).is_ok());
        for below in ["link", "link/b", "a/../a"] {
            let whole = path("d").join(below);
            assert!(held.open_below(&whole, flags).is_err() || below == "a/../a");
            assert!(held.open_by_components(Path::new(below), flags).is_err() || below == "a/../a");
        }
        assert!(held.descendant(&path("other")).is_err());
    }

    #[test]
    fn what_is_emptied_loses_links_and_not_what_they_name() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::create_dir_all(path("d/a/b")).unwrap();
        fs::create_dir(path("keep")).unwrap();
        fs::write(path("keep/file"), "x").unwrap();
        symlink(path("keep"), path("d/a/b/link")).unwrap();
        HeldDirectory::open_path(&path("d"))
            .unwrap()
            .remove_contents(OsStr::new(""))
            .unwrap();
        assert_eq!(fs::read_dir(path("d")).unwrap().count(), 0);
        assert!(path("keep/file").exists());
    }
}
