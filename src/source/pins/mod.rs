//! Pins: what keeps the state that a backup read until the next one, so that the two can be compared.
//!
//! A hidden directory beside the database's holds a link to each table, and copies of CURRENT, the MANIFEST and the logs
//! as far as the cut. The next backup links only the tables that are not linked yet, and reads only what differs
//! ([`super::delta`]).
//!
//! **The rules**, each with the failure it prevents:
//! - *A table is the same file* if pin and live file have one device, inode, length and both times as recorded when we
//!   linked it. `cp -r` over a database rewrites its files in place, and the pins with them. What gives the inode another
//!   name, or takes one, changes its time like a write: the owner that deletes the table, another repository's pins. Then
//!   the table's hash decides, which is recorded of each; without one (pins of an older levault) nothing of the pins is
//!   used and the backup reads everything.
//! - *What is pinned is what was read*: logs are copied first and read from the copies, and a table counts as pinned only
//!   if its facts are still those of the capture when the snapshot is durable. A copy over the database while a long backup
//!   reads it would else be pinned as if the snapshot had been made of it.
//! - *The copies* have their length and hash in the state, verified before use: a torn copy is not a database.
//! - *The state names one snapshot*, and the delta stands on that one, never on the newest: between the two another host
//!   or another run may have stored a snapshot of other files.
//! - *The switch is one rename*, after the snapshot is durable, all under a lock on the directory: a killed run leaves the
//!   old state whole, and files that nothing names, which the next one removes.
//! - *Space*: what the owner deletes stays until the next backup. If the filesystem has less free than the tables take and
//!   a tenth, nothing is kept: a full disk would be the owner's error, made by us.
//! - *Place*: made with mode 0700, opened without following a link, and must be the caller's own: a link planted there would
//!   have us write, and read, where its maker likes.
//! - *No links* where they copy (overlayfs), or cannot be made (a bind mount, another's files): copies on request, else
//!   nothing is kept.

mod before;
mod keep;
mod list;
mod state;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, linkat};
use rustix::io::Errno;

use crate::error::{Act, Error, Kind, Result};
use crate::id::RepositoryId;
use crate::leveldb::name::FileName;
use crate::scratch::{is_same, open_directory, prefix, random_name, try_lock, unlock};
use crate::source::touched::Touched;
use state::{Facts, PinnedFile, PinnedTable, State};

pub use before::Before;
pub use keep::{Kept, ToPin};
pub use list::{PinSet, list};

const STATE: &str = "state";
const STATE_NEW: &str = "state.new";
const CACHE_TAG: &str = "CACHEDIR.TAG";
const CACHE_TAG_TEXT: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n\
    # Links to the tables of a database, kept by levault until its next backup.\n";

/// What overlayfs is called by statfs(2): a link there copies the file.
const OVERLAYFS_MAGIC: u64 = 0x794c_7630;

/// How tables are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepBy {
    /// By links alone: no space but what the owner deletes.
    #[default]
    Links,
    /// By copies where links cannot be made: as much space again as the tables take.
    LinksOrCopies,
}

/// How the pins of a database are to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// By links, or copies where those fail.
    pub by: KeepBy,
    /// Bytes of tables at most; without a bound when `None`.
    pub bytes_max: Option<u64>,
}

impl Keeping {
    /// Whether tables of so many bytes may be kept on the filesystem of `place`.
    fn allows(&self, bytes: u64, place: &Path) -> Result<()> {
        if let Some(max) = self.bytes_max.filter(|max| bytes > *max) {
            let what = format!("its tables take {bytes} bytes, and pins may take {max}");
            return Err(Error::new(Kind::Limit, what));
        }
        let space = rustix::fs::statvfs(place)
            .map_err(std::io::Error::from)
            .act(|| "ask for free space")?;
        match space.f_bavail.saturating_mul(space.f_frsize) >= bytes.saturating_add(bytes / 10) {
            true => Ok(()),
            false => Err(Error::new(
                Kind::Full,
                "less space is free than its tables take and a tenth",
            )),
        }
    }
}

/// A database's pins for one repository, locked.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
    directory: File,
    repository: RepositoryId,
    keeping: Keeping,
    links: bool,
    state: Option<State>,
    touched: Arc<Touched>,
    /// What this process holds.
    held: Mutex<Holding>,
}

/// What one capture holds by pins: tables with their facts of that moment, and copies of what was cut.
#[derive(Debug, Default)]
struct Holding {
    tables: BTreeMap<u64, (Age, PinnedTable)>,
    files: BTreeMap<String, PinnedFile>,
}

/// When a table was pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// By this process.
    Fresh,
    /// For the state before.
    Before,
}

/// What a table was held by.
pub(super) enum Pinned {
    /// A link that keeps it.
    By(PathBuf),
    /// A copy of it.
    Copied(PathBuf),
    Absent,
    /// It cannot be pinned here.
    No,
}

impl Pins {
    /// True if there is a directory for the pins of `database` for `repository`.
    pub fn exist(database: &Path, repository: RepositoryId) -> bool {
        let place = database
            .canonicalize()
            .map(|database| Self::place(&database, &repository));
        matches!(place, Ok(Ok((path, _))) if path.exists())
    }

    /// The pins of `database` for `repository`; makes their directory, which `touched` is told. An error says why there
    /// can be none.
    pub fn open(
        database: &Path,
        repository: RepositoryId,
        keeping: Keeping,
        touched: Arc<Touched>,
    ) -> Result<Self> {
        let database = database.canonicalize().act(|| "find the whole path")?;
        let (path, links) = Self::place(&database, &repository)?;
        if !links && keeping.by == KeepBy::Links {
            return Err(Error::new(Kind::Io, "a link copies the file on overlayfs"));
        }
        if !path.exists() {
            // Not for nothing: a directory of ours moves the time of the one above.
            keeping.allows(table_bytes(&database)?, &database)?;
        }
        let directory = Self::make(&path, &touched)?;
        let mut pins = Self {
            path,
            directory,
            repository,
            keeping,
            links,
            state: None,
            touched,
            held: Mutex::default(),
        };
        pins.state = pins.load()?;
        pins.sweep();
        Ok(pins)
    }

    /// The directory, locked and our own.
    fn make(path: &Path, touched: &Touched) -> Result<File> {
        let create = || DirBuilder::new().mode(0o700).create(path);
        match touched.around(above(path), create) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made.act(|| format!("create {}", path.display()))?,
        }
        let directory = open_directory(path)?;
        let facts = directory
            .metadata()
            .act(|| format!("look at {}", path.display()))?;
        if facts.uid() != rustix::process::geteuid().as_raw() {
            let what = format!("{} is another user's", path.display());
            return Err(Error::new(Kind::Denied, what));
        }
        match try_lock(&directory) && is_same(path, &directory) {
            true => Ok(directory),
            false => Err(Error::new(Kind::Busy, format!("{} is in use", path.display()))),
        }
    }

    /// Where they go, and whether links can be made there.
    fn place(database: &Path, repository: &RepositoryId) -> Result<(PathBuf, bool)> {
        let parent = database
            .parent()
            .ok_or_else(|| Error::new(Kind::Usage, "a database at the root has no place beside it"))?;
        let kind = rustix::fs::statfs(parent)
            .map_err(std::io::Error::from)
            .act(|| "look at the filesystem")?;
        let mut whole = Self::prefix(database);
        whole.extend_from_slice(data_encoding::HEXLOWER.encode(&repository.0[..8]).as_bytes());
        let path = parent.join(OsString::from_vec(whole));
        Ok((path, kind.f_type as u64 != OVERLAYFS_MAGIC))
    }

    /// Names of directories with pins of this database begin so.
    fn prefix(database: &Path) -> Vec<u8> {
        prefix(database.file_name().unwrap_or_default().as_bytes(), "pins")
    }

    /// A state that cannot be read is none: the backup reads everything and makes another.
    fn load(&self) -> Result<Option<State>> {
        let state = State::read(&self.path.join(STATE))?;
        Ok(state.filter(|state| state.repository == self.repository))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Holds the table of this number that stands at `path` now.
    pub(super) fn hold(&self, number: u64, path: &Path) -> Pinned {
        let live = match fs::symlink_metadata(path) {
            Ok(facts) if facts.is_file() => Facts::of(&facts),
            Ok(_) => return Pinned::No,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Pinned::Absent,
            Err(_) => return Pinned::No,
        };
        let pinned = self.state.as_ref().and_then(|state| state.tables.get(&number));
        match pinned.filter(|pinned| self.holds(pinned, &live)) {
            Some(pinned) => {
                let facts = if pinned.copied { pinned.facts } else { live };
                let table = PinnedTable {
                    facts,
                    ..pinned.clone()
                };
                self.note(number, Age::Before, table)
            }
            None => self.pin(number, path),
        }
    }

    /// True if the pin is of the live file, whatever else became of that.
    fn holds(&self, pinned: &PinnedTable, live: &Facts) -> bool {
        match pinned.copied {
            true => pinned.facts == *live,
            false => self.facts(&pinned.pin).as_ref() == Some(live),
        }
    }

    fn pin(&self, number: u64, path: &Path) -> Pinned {
        let Ok(Ok(pin)) = random_name(format!("{number:06}-").into_bytes()).map(OsString::into_string) else {
            return Pinned::No;
        };
        let (copied, facts) = match self.link(&pin, path) {
            Ok(facts) => (false, facts),
            Err(Errno::NOENT) if fs::symlink_metadata(path).is_err() => return Pinned::Absent,
            Err(_) if self.keeping.by == KeepBy::LinksOrCopies => match self.copy_table(&pin, path) {
                Ok(facts) => (true, facts),
                Err(error) if error.kind() == Kind::NotFound => return Pinned::Absent,
                Err(_) => return Pinned::No,
            },
            Err(_) => return Pinned::No,
        };
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let table = PinnedTable {
            pin,
            name,
            facts,
            copied,
            hash: None,
        };
        self.note(number, Age::Fresh, table)
    }

    fn note(&self, number: u64, age: Age, table: PinnedTable) -> Pinned {
        let (held, copied) = (self.path.join(&table.pin), table.copied);
        self.held().tables.insert(number, (age, table));
        if copied {
            Pinned::Copied(held)
        } else {
            Pinned::By(held)
        }
    }

    fn link(&self, pin: &str, path: &Path) -> rustix::io::Result<Facts> {
        if !self.links {
            return Err(Errno::OPNOTSUPP);
        }
        linkat(CWD, path, &self.directory, pin, AtFlags::empty())?;
        self.facts(pin).ok_or(Errno::INVAL)
    }

    fn held(&self) -> MutexGuard<'_, Holding> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn facts(&self, pin: &str) -> Option<Facts> {
        let facts = fs::symlink_metadata(self.path.join(pin)).ok()?;
        facts.is_file().then(|| Facts::of(&facts))
    }

    /// Removes what no state names. What cannot be removed is in nobody's way.
    fn sweep(&self) {
        let named = self.state.as_ref().map(State::pins).unwrap_or_default();
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let keep = match name.to_str() {
                Some(CACHE_TAG) => true,
                Some(STATE) => self.state.is_some(),
                Some(name) => named.contains(name),
                None => false,
            };
            if !keep {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Keeps nothing: the next backup reads everything.
    pub fn forget(&self) -> Result<()> {
        let state = self.path.join(STATE);
        match fs::remove_file(&state) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(format!("remove {}", state.display()), error))
            }
            _ => self
                .directory
                .sync_all()
                .act(|| format!("sync {}", self.path.display())),
        }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // What the state names may have changed on disk: read it again, so that nothing it needs is swept.
        if is_same(&self.path, &self.directory)
            && let Ok(state) = self.load()
        {
            self.state = state;
            self.sweep();
            if self.state.is_none() {
                let _ = fs::remove_file(self.path.join(CACHE_TAG));
                let remove = || fs::remove_dir(&self.path);
                let _ = self.touched.around(above(&self.path), remove);
            }
        }
        unlock(&self.directory);
    }
}

fn above(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Of all tables in a directory, also of those that no version names any more.
fn table_bytes(database: &Path) -> Result<u64> {
    let doing = || format!("list {}", database.display());
    let mut bytes = 0;
    for entry in fs::read_dir(database).act(doing)? {
        let entry = entry.act(doing)?;
        if let Some(FileName::Table(..)) = entry.file_name().to_str().and_then(FileName::parse) {
            // The owner may have deleted it since.
            bytes += entry.metadata().map_or(0, |facts| facts.len());
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
