//! Pins: what keeps the state that a backup read until the next one, so that the two can be compared.
//!
//! A hidden directory beside the database's holds a link to each table, and copies of CURRENT, the MANIFEST and the logs
//! as far as the cut. The next backup links only the tables that are not linked yet, and reads only what differs
//! ([`super::delta`]).
//!
//! **The rules**, each with the failure it prevents:
//! - *A table is the same file* if pin and live file have one device, inode, length and both times as recorded when we
//!   linked it. `cp -r` over a database rewrites its files in place, and the pins with them: nothing of the pins is
//!   used then, and the backup reads everything. A pin that the owner has deleted since lost a link, which the
//!   inode's change time tells like a write; there the other facts must do, and the blocks' checksums.
//! - *The copies* have their length and hash in the state, verified before use: a torn copy is not a database.
//! - *The state names one snapshot*, and the delta stands on that one, never on the newest.
//! - *The switch is one rename*, after the snapshot is durable, all under a lock on the directory: a killed run leaves the
//!   old state whole, and files that nothing names, which the next one removes.
//! - *Space*: what the owner deletes stays until the next backup. If the filesystem has less free than the tables take and
//!   a tenth, nothing is kept.
//! - *Place*: made with mode 0700, opened without following a link, and must be the caller's own.

mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, linkat};
use rustix::io::Errno;

use super::database::Database;
use super::file::open_regular;
use super::held::{DatabaseFile, FileSet, Held, HeldLog, HeldTable};
use crate::error::{Act, Error, Kind, Result};
use crate::id::{ObjectId, RepositoryId};
use crate::leveldb::manifest::version_of_manifest;
use crate::leveldb::name::FileName;
use crate::leveldb::scan::Budget;
use crate::scratch::{is_same, open_directory, prefix, random_name, try_lock};
use state::{Facts, PinnedFile, PinnedTable, STATE_BYTES_MAX, State};

const STATE: &str = "state";
const STATE_NEW: &str = "state.new";
const CACHE_TAG: &str = "CACHEDIR.TAG";
const CACHE_TAG_TEXT: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n\
    # Links to the tables of a database, kept by levault until its next backup.\n";

/// What overlayfs is called by statfs(2): a link there copies the file.
const OVERLAYFS_MAGIC: u64 = 0x794c_7630;

/// A database's pins for one repository, locked.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
    directory: File,
    repository: RepositoryId,
    state: Option<State>,
    /// Tables linked by this process.
    linked: Mutex<BTreeMap<u64, PinnedTable>>,
}

/// What a table was held by.
pub(super) enum Pinned {
    /// A name that keeps it.
    By(PathBuf),
    Absent,
    /// It cannot be linked here.
    No,
}

/// The state before, whole and verified.
pub struct Before {
    /// The snapshot that was made of it.
    pub snapshot: ObjectId,
    /// Its name in it.
    pub name: String,
    /// Its files.
    pub database: Database,
    /// Numbers of the tables that the new state has, too: the same files.
    pub shared: BTreeSet<u64>,
}

/// The files of a state that is to be pinned once its snapshot is durable.
pub struct ToPin {
    files: FileSet,
    pins: Arc<Pins>,
}

impl Pins {
    /// The pins of `database` for `repository`; makes their directory. An error says why there can be none.
    pub fn open(database: &Path, repository: RepositoryId) -> Result<Self> {
        let database = database.canonicalize().act(|| "find the whole path")?;
        let path = Self::place(&database, &repository)?;
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made.act(|| format!("create {}", path.display()))?,
        }
        let directory = open_directory(&path)?;
        let facts = directory
            .metadata()
            .act(|| format!("look at {}", path.display()))?;
        if facts.uid() != rustix::process::geteuid().as_raw() {
            return Err(Error::new(
                Kind::Denied,
                format!("{} is another user's", path.display()),
            ));
        }
        if !try_lock(&directory) || !is_same(&path, &directory) {
            return Err(Error::new(Kind::Busy, format!("{} is in use", path.display())));
        }
        let mut pins = Self {
            path,
            directory,
            repository,
            state: None,
            linked: Mutex::default(),
        };
        pins.state = pins.load()?;
        pins.sweep();
        Ok(pins)
    }

    fn place(database: &Path, repository: &RepositoryId) -> Result<PathBuf> {
        let parent = database
            .parent()
            .ok_or_else(|| Error::new(Kind::Usage, "a database at the root has no place beside it"))?;
        let kind = rustix::fs::statfs(parent)
            .map_err(std::io::Error::from)
            .act(|| "look at the filesystem")?;
        if kind.f_type as u64 == OVERLAYFS_MAGIC {
            return Err(Error::new(Kind::Io, "a link copies the file on overlayfs"));
        }
        let name = database.file_name().unwrap_or_default();
        let mut whole = prefix(name.as_bytes(), "pins");
        whole.extend_from_slice(data_encoding::HEXLOWER.encode(&repository.0[..8]).as_bytes());
        Ok(parent.join(std::ffi::OsString::from_vec(whole)))
    }

    /// A state that cannot be read is none: the backup reads everything and makes another.
    fn load(&self) -> Result<Option<State>> {
        let path = self.path.join(STATE);
        let bytes = match open_regular(&path) {
            Err(error) if error.kind() == Kind::NotFound => return Ok(None),
            Err(error) => return Err(error),
            Ok((_, len)) if len > STATE_BYTES_MAX => return Ok(None),
            Ok(_) => fs::read(&path).act(|| format!("read {}", path.display()))?,
        };
        Ok(State::decode(&bytes)
            .ok()
            .filter(|state| state.repository == self.repository))
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
        let Some(pinned) = pinned.filter(|pinned| self.facts(&pinned.pin) == Some(live)) else {
            return self.link(number, path);
        };
        if pinned.facts != live {
            // Touched since: it must not count as unchanged, and a second link to it would only touch it again.
            self.note(
                number,
                PinnedTable {
                    facts: live,
                    ..pinned.clone()
                },
            );
        }
        Pinned::By(self.path.join(&pinned.pin))
    }

    fn note(&self, number: u64, table: PinnedTable) {
        self.linked().insert(number, table);
    }

    fn linked(&self) -> MutexGuard<'_, BTreeMap<u64, PinnedTable>> {
        self.linked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn link(&self, number: u64, path: &Path) -> Pinned {
        let Ok(pin) = random_name(format!("{number:06}-").into_bytes()) else {
            return Pinned::No;
        };
        let link = self.path.join(&pin);
        match linkat(CWD, path, CWD, &link, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) if fs::symlink_metadata(path).is_err() => return Pinned::Absent,
            Err(_) => return Pinned::No,
        }
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let (Some(facts), Ok(pin)) = (self.facts_of(&pin), pin.into_string()) else {
            return Pinned::No;
        };
        self.note(number, PinnedTable { pin, name, facts });
        Pinned::By(link)
    }

    fn facts(&self, pin: &str) -> Option<Facts> {
        self.facts_of(OsStr::new(pin))
    }

    fn facts_of(&self, pin: &OsStr) -> Option<Facts> {
        let facts = fs::symlink_metadata(self.path.join(pin)).ok()?;
        facts.is_file().then(|| Facts::of(&facts))
    }

    /// The state before `now`, which was captured with these pins; `None` when none is kept, an error when what is kept
    /// must not be used.
    pub fn before(&self, now: &Database) -> Result<Option<Before>> {
        let Some(state) = &self.state else {
            return Ok(None);
        };
        let shared = self.shared(state, &now.files);
        for (number, table) in &state.tables {
            let facts = self.facts(&table.pin);
            if !facts.is_some_and(|facts| facts.same_bytes(&table.facts)) {
                return Err(Error::corrupt(format!(
                    "the pin of {} is not what was linked",
                    table.name
                )));
            }
            let live = now
                .files
                .tables
                .get(number)
                .and_then(|held| facts_of_held(held, &now.files.directory, &table.name));
            let touched =
                live.is_some_and(|live| live.inode == table.facts.inode && live.device == table.facts.device);
            if touched && !shared.contains(number) {
                return Err(Error::corrupt(format!(
                    "{} was touched since it was linked",
                    table.name
                )));
            }
        }
        let files = self.files(state, &now.files.directory)?;
        let manifest = files.manifest.open()?;
        let version = version_of_manifest(manifest.as_ref()).act(|| "read the pinned MANIFEST")?;
        Ok(Some(Before {
            snapshot: state.snapshot,
            name: state.database.clone(),
            database: Database::new(files, version, Budget::default(), None),
            shared,
        }))
    }

    /// Tables that the capture holds by a pin of the state before.
    fn shared(&self, state: &State, now: &FileSet) -> BTreeSet<u64> {
        let linked = self.linked();
        let by_pin = |(number, held): (&u64, &HeldTable)| {
            let pinned = state
                .tables
                .get(number)
                .filter(|_| !linked.contains_key(number))?;
            let Held::Named(path) = &held.held else {
                return None;
            };
            (*path == self.path.join(&pinned.pin)).then_some(*number)
        };
        now.tables.iter().filter_map(by_pin).collect()
    }

    /// The pinned files as a set; the copies are verified.
    fn files(&self, state: &State, directory: &Path) -> Result<FileSet> {
        let mut files = FileSet {
            directory: directory.to_owned(),
            current: DatabaseFile::in_memory(directory, "CURRENT".to_owned(), Vec::new()),
            manifest: DatabaseFile::in_memory(directory, "MANIFEST".to_owned(), Vec::new()),
            tables: BTreeMap::new(),
            logs: BTreeMap::new(),
            pools: Vec::new(),
            pins: None,
        };
        for (name, file) in &state.files {
            let path = self.path.join(&file.pin);
            let bytes = fs::read(&path).act(|| format!("read {}", path.display()))?;
            if bytes.len() as u64 != file.len || blake3::hash(&bytes).as_bytes() != &file.hash {
                return Err(Error::corrupt(format!(
                    "the pinned copy of {name} is not what was written"
                )));
            }
            let held = Held::Named(path);
            match FileName::parse(name) {
                Some(FileName::Manifest(_)) => {
                    files.manifest = DatabaseFile::new(name.clone(), file.len, held)
                }
                Some(FileName::Log(number)) => {
                    let log = HeldLog {
                        len: file.len,
                        held,
                        tail: None,
                    };
                    files.logs.insert(number, log);
                }
                _ => {}
            }
        }
        for (number, table) in &state.tables {
            let Some(FileName::Table(_, extension)) = FileName::parse(&table.name) else {
                return Err(Error::corrupt(format!("{} is pinned as a table", table.name)));
            };
            let held = Held::Named(self.path.join(&table.pin));
            files.tables.insert(
                *number,
                HeldTable {
                    extension,
                    len: table.facts.len,
                    held,
                },
            );
        }
        Ok(files)
    }

    /// Removes what no state names. What cannot be removed is in nobody's way.
    fn sweep(&self) {
        let named = self.state.as_ref().map(|state| {
            let tables = state.tables.values().map(|table| table.pin.as_str());
            tables
                .chain(state.files.values().map(|file| file.pin.as_str()))
                .collect::<BTreeSet<_>>()
        });
        let named = named.unwrap_or_default();
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let keep =
                named.contains(name.as_ref()) || name == CACHE_TAG || (name == STATE && self.state.is_some());
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

fn facts_of_held(held: &HeldTable, directory: &Path, name: &str) -> Option<Facts> {
    let path = match &held.held {
        Held::Named(path) => path.clone(),
        Held::Open(_) | Held::Bytes(_) => directory.join(name),
    };
    fs::symlink_metadata(path).ok().map(|facts| Facts::of(&facts))
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
                let _ = fs::remove_dir(&self.path);
            }
        }
    }
}

impl ToPin {
    /// What `database` is to be pinned by; `None` if it was captured without pins.
    pub fn of(database: Database) -> Option<Self> {
        let files = database.files;
        let pins = files.pins.clone()?;
        Some(Self { files, pins })
    }

    /// Keeps nothing of the state before either.
    pub fn forget(self) -> Result<()> {
        self.pins.forget()
    }

    /// Pins the state for `snapshot`, which is durable. An error leaves the state before, or none.
    pub fn keep(self, snapshot: ObjectId, database: &str) -> Result<()> {
        let pins = &self.pins;
        let tables = self.tables()?;
        pins.has_space_for(tables.values().map(|table| table.facts.len).sum())?;
        let mut files = BTreeMap::new();
        let logs = self
            .files
            .all()
            .filter(|file| matches!(FileName::parse(&file.name), Some(FileName::Log(_))));
        for file in [self.files.current.clone(), self.files.manifest.clone()]
            .into_iter()
            .chain(logs)
        {
            let copy = pins.copy(&file).act(|| format!("pin {}", file.name))?;
            files.insert(file.name, copy);
        }
        let state = State {
            repository: pins.repository,
            snapshot,
            database: database.to_owned(),
            tables,
            files,
        };
        pins.publish(&state)
    }

    fn tables(&self) -> Result<BTreeMap<u64, PinnedTable>> {
        let pins = &self.pins;
        let linked = pins.linked();
        let of_state = |number: &u64| pins.state.as_ref().and_then(|state| state.tables.get(number));
        let pinned = |(number, held): (&u64, &HeldTable)| {
            let is_it = |table: &&PinnedTable| matches!(&held.held, Held::Named(path) if *path == pins.path.join(&table.pin));
            let table = linked
                .get(number)
                .filter(is_it)
                .or_else(|| of_state(number).filter(is_it));
            match table {
                Some(table) => Ok((*number, table.clone())),
                None => Err(Error::new(Kind::Io, "its tables cannot be linked beside it")),
            }
        };
        self.files.tables.iter().map(pinned).collect()
    }
}

impl Pins {
    fn has_space_for(&self, bytes: u64) -> Result<()> {
        let space = rustix::fs::fstatvfs(&self.directory)
            .map_err(std::io::Error::from)
            .act(|| "ask for free space")?;
        match space.f_bavail.saturating_mul(space.f_frsize) >= bytes + bytes / 10 {
            true => Ok(()),
            false => Err(Error::new(
                Kind::Full,
                "less space is free than its tables take and a tenth",
            )),
        }
    }

    /// Copies a file as far as it counts, durably.
    fn copy(&self, file: &DatabaseFile) -> Result<PinnedFile> {
        const STEP: u64 = 1 << 20;
        let from = file.open()?;
        let pin = random_name(b"cut-".to_vec())?;
        let path = self.path.join(&pin);
        let mut to = File::create_new(&path).act(|| format!("create {}", path.display()))?;
        let (mut hasher, mut buffer, mut at) = (blake3::Hasher::new(), Vec::new(), 0);
        while at < from.len() {
            buffer.resize((from.len() - at).min(STEP) as usize, 0);
            from.read_at(&mut buffer, at)?;
            hasher.update(&buffer);
            to.write_all(&buffer)
                .act(|| format!("write {}", path.display()))?;
            at += buffer.len() as u64;
        }
        to.sync_all().act(|| format!("sync {}", path.display()))?;
        Ok(PinnedFile {
            pin: pin.to_string_lossy().into_owned(),
            len: from.len(),
            hash: *hasher.finalize().as_bytes(),
        })
    }

    fn publish(&self, state: &State) -> Result<()> {
        let doing = || format!("write the state of {}", self.path.display());
        if let Ok(mut tag) = File::create_new(self.path.join(CACHE_TAG)) {
            tag.write_all(CACHE_TAG_TEXT).act(doing)?;
        }
        let (new, old) = (self.path.join(STATE_NEW), self.path.join(STATE));
        let mut file = File::create(&new).act(doing)?;
        file.write_all(&state.encode()?).act(doing)?;
        file.sync_all().act(doing)?;
        self.directory.sync_all().act(doing)?;
        fs::rename(&new, &old).act(doing)?;
        self.directory.sync_all().act(doing)
    }
}

#[cfg(test)]
mod tests;
