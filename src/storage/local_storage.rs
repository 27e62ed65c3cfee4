//! Stores objects in a local directory.
//!
//! A put goes: file in `tmp/` -> write -> fsync -> rename without replacing -> fsync of the directory. So a
//! crash, a full disk or a power loss leaves either the whole object or a file in `tmp/` that the next writer
//! sweeps. Directories that we make, or that somebody else made a moment ago, are synced in *their* parent
//! before an object in them counts as durable. Objects have mode 0400, directories 0700.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{AtFlags, CWD, RenameFlags, Timespec, Timestamps, UTIME_NOW, renameat_with, utimensat};
use rustix::io::Errno;

use super::reserved_space;
use super::temp_objects::{self, TempObject};
use super::{ListedObject, ObjectKind, ObjectName, Storage, WritePrecondition};
use super::{ends_before, exists_with_other_content, longer_than, must_be_content_of};
use crate::clock::UnixNanos;
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// Where files stay until they are whole.
const TEMP_FOLDER: &str = "tmp";

/// So many files that are not ours are named.
const FOREIGN_FILES_MAX: usize = 100;

/// A directory of this machine, or one that is mounted on it.
pub struct LocalStorage {
    root: PathBuf,
    /// Directories whose own entry is known to be durable.
    durable: Mutex<HashSet<PathBuf>>,
    swept: AtomicBool,
}

impl LocalStorage {
    /// Makes the directories of a new repository at `path`, and missing ones above it.
    ///
    /// [`ErrorKind::Exists`] if a repository is there, or anything that is not ours: `init` on a directory full of
    /// somebody's files is more likely a slip than a wish. What a killed `init` left is taken over.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let storage = Self::with_root(path.into());
        make_with_parents(&storage.root)?;
        storage.must_be_vacant()?;
        for kind in ObjectKind::ALL.into_iter().filter(|kind| kind.is_vital()) {
            storage.make_durable(&storage.root.join(kind.folder()))?;
        }
        storage.make_durable(&storage.root.join(TEMP_FOLDER))?;
        Ok(storage)
    }

    /// An existing repository's directory; writes nothing. [`ErrorKind::NoRepository`] if there is no directory;
    /// whether there is a repository in it, its `config` will tell.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let storage = Self::with_root(path.into());
        let nothing = || format!("open repository {}", storage.root.display());
        match fs::metadata(&storage.root) {
            Ok(meta) if meta.is_dir() => Ok(storage),
            Ok(_) => Err(Error::new(ErrorKind::NoRepository, nothing()).context("not a directory")),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                Err(Error::io(nothing(), cause).with_kind(ErrorKind::NoRepository))
            }
            Err(cause) => Err(Error::io(nothing(), cause)),
        }
    }

    fn with_root(root: PathBuf) -> Self {
        Self {
            root,
            durable: Mutex::new(HashSet::new()),
            swept: AtomicBool::new(false),
        }
    }

    fn must_be_vacant(&self) -> Result<()> {
        let refuse = |what: String| {
            Err(Error::new(
                ErrorKind::Exists,
                format!("{} {what}", self.root.display()),
            ))
        };
        for entry in read_dir(&self.root)? {
            let name = entry.file_name();
            let kind = ObjectKind::ALL.into_iter().find(|kind| name == kind.folder());
            match kind {
                Some(kind) if kind.is_single() => return refuse("holds a repository".into()),
                Some(ObjectKind::Slot | ObjectKind::Keyring) => {}
                Some(kind) if self.list(kind)?.is_empty() => {}
                Some(kind) => return refuse(format!("holds {} of a repository", kind.folder())),
                None if name == TEMP_FOLDER || name == "lost+found" => {}
                None => return refuse(format!("is not empty: {}", name.display())),
            }
        }
        Ok(())
    }

    fn path(&self, name: ObjectName) -> PathBuf {
        self.root.join(name.path())
    }

    fn open_object(&self, name: ObjectName) -> Result<File> {
        let act = || format!("open {name}");
        let mut options = File::options();
        // Whoever may write here may put a pipe there, which would be waited for without end.
        options
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
        let file = options.open(self.path(name)).context(act)?;
        if !file.metadata().context(act)?.is_file() {
            return Err(Error::corrupt("not a regular file").context(act()));
        }
        Ok(file)
    }

    /// Makes `directory` if it is missing and syncs its entry in its parent. One that exists is synced too,
    /// once: whoever made it may not have come to that yet.
    fn make_durable(&self, directory: &Path) -> Result<()> {
        if self.lock_durable().contains(directory) {
            return Ok(());
        }
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io(format!("make {}", directory.display()), cause));
            }
            _ => sync_directory(parent_of(directory))?,
        }
        self.lock_durable().insert(directory.to_owned());
        Ok(())
    }

    /// Sees to the directory an object is to stand in. Vital ones are made at `init` only: to make one anew
    /// would turn "the snapshots are gone" into "there are none".
    fn prepare_directory_of(&self, name: ObjectName) -> Result<()> {
        match name.kind {
            ObjectKind::Pack => self.make_durable(parent_of(&self.path(name))),
            kind if kind.is_single() || kind.is_vital() => Ok(()),
            kind => self.make_durable(&self.root.join(kind.folder())),
        }
    }

    fn lock_durable(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.durable
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write_temp(&self, bytes: &[u8]) -> Result<TempObject> {
        let directory = self.root.join(TEMP_FOLDER);
        self.make_durable(&directory)?;
        let mut temp = TempObject::create(&directory)?;
        if !self.swept.swap(true, Ordering::Relaxed) {
            temp_objects::remove_dead_temps(&directory, &temp);
        }
        temp.fill(bytes)?;
        Ok(temp)
    }

    /// True if the object there has just these bytes. Then it is made durable: its writer may still be on
    /// the way to its own fsync.
    fn holds(&self, path: &Path, bytes: &[u8]) -> std::io::Result<bool> {
        let file = File::open(path)?;
        if file.metadata()?.len() != bytes.len() as u64 || !is_content(&file, bytes)? {
            return Ok(false);
        }
        file.sync_all()?;
        Ok(true)
    }

    /// Writes and syncs while `sound` is asked, on threads of their own; its error comes first.
    fn write_temp_if(&self, bytes: &[u8], sound: &WritePrecondition) -> Result<TempObject> {
        thread::scope(|scope| {
            let writing = thread::Builder::new().spawn_scoped(scope, || self.write_temp(bytes));
            sound()?;
            let panicked = |_| Err(Error::new(ErrorKind::Io, "the writing thread panicked"));
            match writing {
                Ok(writing) => writing.join().unwrap_or_else(panicked),
                // No thread to be had.
                Err(_) => self.write_temp(bytes),
            }
        })
    }

    /// The same, with the reserve for objects that lead to free space, and in its place again when there is room.
    fn put_with_reserve(
        &self,
        name: ObjectName,
        bytes: &[u8],
        sound: Option<&WritePrecondition>,
    ) -> Result<()> {
        let temporary = self.root.join(TEMP_FOLDER);
        match self.put_unless_there(name, bytes, sound) {
            Err(error) if error.kind() == ErrorKind::Full && reserved_space::is_for(name.kind) => {
                if !reserved_space::release(&temporary) {
                    return Err(error);
                }
                self.put_unless_there(name, bytes, sound)
            }
            Ok(()) => {
                if matches!(name.kind, ObjectKind::Config | ObjectKind::Snapshot) {
                    reserved_space::make(&temporary);
                }
                Ok(())
            }
            failed => failed,
        }
    }

    fn put_unless_there(
        &self,
        name: ObjectName,
        bytes: &[u8],
        sound: Option<&WritePrecondition>,
    ) -> Result<()> {
        let path = self.path(name);
        let directory = parent_of(&path);
        if !path.try_exists().context(|| "look whether it is there")? {
            let temp = match sound {
                None => self.write_temp(bytes)?,
                Some(sound) => self.write_temp_if(bytes, sound)?,
            };
            self.prepare_directory_of(name)?;
            match rename_new(&temp.path, &path) {
                Ok(()) => {
                    temp.mark_published();
                    return sync_directory(directory);
                }
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(Error::io("rename into place", cause)),
            }
        } else if let Some(sound) = sound {
            sound()?;
        }
        if self
            .holds(&path, bytes)
            .context(|| "compare with what is there")?
        {
            self.prepare_directory_of(name)
                .and_then(|()| sync_directory(directory))
        } else {
            Err(exists_with_other_content(name))
        }
    }

    fn replace(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        let path = self.path(name);
        let temp = self.write_temp(bytes)?;
        self.prepare_directory_of(name)?;
        fs::rename(&temp.path, &path).context(|| "rename into place")?;
        temp.mark_published();
        sync_directory(parent_of(&path))
    }

    fn list_folder(&self, kind: ObjectKind, folder: &str, out: &mut Vec<ListedObject>) -> Result<()> {
        for entry in read_dir(&self.root.join(folder))? {
            let Some(file_name) = entry.file_name().to_str().map(|name| format!("{folder}/{name}")) else {
                continue;
            };
            if kind == ObjectKind::Pack && is_pack_folder(&file_name) {
                self.list_folder(kind, &file_name, out)?;
            } else if let Some(name) = ObjectName::from_path(&file_name) {
                out.extend(self.find(name)?);
            }
        }
        Ok(())
    }

    /// A folder of ours is looked into, any other is a stranger as a whole.
    fn foreign_files_below(&self, folder: &str, found: &mut Vec<String>) -> Result<()> {
        for entry in read_dir(&self.root.join(folder))? {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let path = match folder {
                "" => name.into_owned(),
                folder => format!("{folder}/{name}"),
            };
            let is_kind = |kind: &ObjectKind| !kind.is_single() && kind.folder() == path;
            let is_ours = ObjectKind::ALL.iter().any(is_kind) || is_pack_folder(&path);
            if is_ours && entry.path().is_dir() {
                self.foreign_files_below(&path, found)?;
            } else if path != TEMP_FOLDER && ObjectName::from_path(&path).is_none() {
                found.push(path);
            }
            if found.len() >= FOREIGN_FILES_MAX {
                break;
            }
        }
        Ok(())
    }

    /// The object, or `None` if it is gone (deleted while we were listing) or no file.
    fn find(&self, name: ObjectName) -> Result<Option<ListedObject>> {
        match fs::metadata(self.path(name)) {
            Ok(meta) => Ok(meta.is_file().then(|| ListedObject {
                name,
                len: meta.len(),
                modified: Some(modified(&meta)),
            })),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(Error::io(format!("look at {name}"), cause)),
        }
    }
}

impl Storage for LocalStorage {
    fn put_new(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        self.put_with_reserve(name, bytes, None)
            .context(|| format!("store {name}"))
    }

    fn put_new_if(&self, name: ObjectName, bytes: &[u8], sound: &WritePrecondition) -> Result<()> {
        self.put_with_reserve(name, bytes, Some(sound))
            .context(|| format!("store {name}"))
    }

    fn get(&self, name: ObjectName, len_max: u64) -> Result<Vec<u8>> {
        let file = self.open_object(name)?;
        let len = file.metadata().context(|| format!("look at {name}"))?.len();
        if len > len_max {
            return Err(longer_than(name, len, len_max));
        }
        let mut bytes = Vec::with_capacity(len as usize);
        (&file)
            .take(len_max)
            .read_to_end(&mut bytes)
            .context(|| format!("read {name}"))?;
        Ok(bytes)
    }

    fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> Result<Vec<u8>> {
        let file = self.open_object(name)?;
        let there = file.metadata().context(|| format!("look at {name}"))?.len();
        if offset.checked_add(len as u64).is_none_or(|end| end > there) {
            return Err(ends_before(name, offset, len));
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, offset)
            .context(|| format!("read {len} bytes at {offset} of {name}"))?;
        Ok(bytes)
    }

    fn stat(&self, name: ObjectName) -> Result<ListedObject> {
        self.find(name)?
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("{name} is not there")))
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ListedObject>> {
        if kind.is_single() {
            return Ok(self
                .find(ObjectName::new(kind, crate::id::ObjectId([0; 32])))?
                .into_iter()
                .collect());
        }
        let folder = kind.folder();
        let mut out = Vec::new();
        match self.root.join(folder).try_exists() {
            Ok(false) if !kind.is_vital() && self.root.is_dir() => return Ok(out),
            _ => self.list_folder(kind, folder, &mut out)?,
        }
        out.sort_unstable_by_key(|listed| listed.name);
        Ok(out)
    }

    fn delete(&self, name: ObjectName) -> Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Ok(()) => sync_directory(parent_of(&path)).context(|| format!("delete {name}")),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(cause) => Err(Error::io(format!("delete {name}"), cause)),
        }
    }

    fn heal(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        must_be_content_of(name, bytes)?;
        self.replace(name, bytes).context(|| format!("heal {name}"))
    }

    /// By an empty file, for which most full disks have room, or by the directory that it would stand in.
    fn now(&self) -> Result<Option<UnixNanos>> {
        let directory = self.root.join(TEMP_FOLDER);
        let metadata = match TempObject::create(&directory) {
            Err(error) if error.kind() == ErrorKind::Full => {
                touch_directory(&directory).context(|| "touch a directory")?
            }
            file => file?.file.metadata().context(|| "look at an empty file")?,
        };
        Ok(Some(modified(&metadata)))
    }

    fn foreign_files(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        self.foreign_files_below("", &mut found)?;
        Ok(found)
    }

    fn directory(&self) -> Option<PathBuf> {
        Some(self.root.clone())
    }

    fn describe(&self) -> String {
        format!("directory {}", self.root.display())
    }
}

/// Gives a directory the time of now, by the filesystem's clock.
fn touch_directory(directory: &Path) -> std::io::Result<fs::Metadata> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    let times = Timestamps {
        last_access: now,
        last_modification: now,
    };
    utimensat(CWD, directory, &times, AtFlags::empty())?;
    fs::metadata(directory)
}

fn modified(meta: &fs::Metadata) -> UnixNanos {
    let seconds = meta.mtime().saturating_mul(1_000_000_000);
    UnixNanos(seconds.saturating_add(meta.mtime_nsec()))
}

/// Makes a directory and what is missing above it, and syncs the entry of each that it made. What exists is
/// not ours to sync, and we may lack the right to open it.
fn make_with_parents(directory: &Path) -> Result<()> {
    let parent = parent_of(directory);
    let make = || DirBuilder::new().mode(0o700).create(directory);
    let made = match make() {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && parent != directory => {
            make_with_parents(parent)?;
            make()
        }
        made => made,
    };
    match made {
        Ok(()) => sync_directory(parent),
        Err(_) if directory.is_dir() => Ok(()),
        Err(cause) => Err(Error::io(format!("make {}", directory.display()), cause)),
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn read_dir(directory: &Path) -> Result<Vec<fs::DirEntry>> {
    fs::read_dir(directory)
        .and_then(|entries| entries.collect())
        .context(|| format!("list {}", directory.display()))
}

/// `packs/ab`: two lower-case hexadecimal digits.
fn is_pack_folder(path: &str) -> bool {
    path.strip_prefix("packs/").is_some_and(|digits| {
        digits.len() == 2
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn is_content(mut file: &File, mut bytes: &[u8]) -> std::io::Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let len = match file.read(&mut buffer) {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        match bytes.split_at_checked(len) {
            _ if len == 0 => return Ok(bytes.is_empty()),
            Some((head, rest)) if head == &buffer[..len] => bytes = rest,
            _ => return Ok(false),
        }
    }
}

/// Renames, and never over something. Where the filesystem cannot promise that in one call, a hard link can;
/// where it has no hard links either, a look before the rename must do: the names are hashes or random, so
/// two writers of one name write the same bytes.
fn rename_new(from: &Path, to: &Path) -> std::io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_new(from, to),
        renamed => Ok(renamed?),
    }
}

fn link_new(from: &Path, to: &Path) -> std::io::Result<()> {
    match rustix::fs::link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
            if to.try_exists()? {
                Err(io::ErrorKind::AlreadyExists.into())
            } else {
                fs::rename(from, to)
            }
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Makes the entries of a directory durable. Some network filesystems answer EINVAL: they have no such thing.
fn sync_directory(directory: &Path) -> Result<()> {
    let synced = File::open(directory).and_then(|file| match file.sync_all() {
        Err(cause) if cause.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    });
    synced.context(|| format!("sync directory {}", directory.display()))
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
