//! Pins keep a captured state until the next backup.
//!
//! Pins: what keeps the state that a backup read until the next one, so that the two can be compared.
//!
//! A hidden directory beside the database's holds a link to each table, and copies of CURRENT, the MANIFEST and the logs
//! as far as the cut. The next backup links only the tables that are not linked yet, and reads only what differs
//! ([`super::changed_records`]).
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
//! - *Place*: users may write to the directory above. So the pins are made with mode 0700 and marked (`crate::scratch_directory`),
//!   held by a descriptor, and everything in them is done by that; a directory of their name that is not proven to be ours is
//!   left alone and reported. A link planted there would have us write, read and delete where its maker likes, and so would
//!   a directory of ours that he gave the pins' name.
//! - *No links* where they copy (overlayfs), or cannot be made (a bind mount, another's files): copies on request, else
//!   nothing is kept.

mod list_pins;
mod parent_state;
mod pin_state;
mod store_pins;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::{HeldDirectory, file_type_of};
use crate::id::RepositoryId;
use crate::leveldb::file_name::FileName;
use crate::scratch_directory::{
    self, MARKER_FILE, ScratchDirectory, random_name, scratch_prefix, try_lock, unlock,
};
use crate::source::file_set::HeldName;
use crate::source::touched_directories::TouchedDirectories;
pub(super) use pin_state::PinnedFileStat;
use pin_state::{PinState, PinnedFile, PinnedTable, STATE_FILE};

pub use list_pins::{PinSet, list};
pub use parent_state::ParentState;
pub use store_pins::{PinnedState, StateToPin};

const STATE_TEMP_FILE: &str = "state.new";

/// What the directory says of itself.
const PINS_MARKER_TEXT: &str = "Links to the tables of a database, kept by levault until its next backup.";

/// What overlayfs is called by statfs(2): a link there copies the file.
const OVERLAYFS_MAGIC: u64 = 0x794c_7630;

/// How tables are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PinMethod {
    /// By links alone: no space but what the owner deletes.
    #[default]
    Links,
    /// By copies where links cannot be made: as much space again as the tables take.
    LinksOrCopies,
}

/// How the pins of a database are to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PinOptions {
    /// By links, or copies where those fail.
    pub method: PinMethod,
    /// Bytes of tables at most; without a bound when `None`.
    pub bytes_max: Option<u64>,
}

impl PinOptions {
    /// Whether tables of so many bytes may be kept on the filesystem of `directory`.
    fn check_allowed(&self, bytes: u64, directory: &HeldDirectory) -> Result<()> {
        if let Some(max) = self.bytes_max.filter(|max| bytes > *max) {
            let what = format!("its tables take {bytes} bytes, and pins may take {max}");
            return Err(Error::new(ErrorKind::Limit, what));
        }
        let space = directory.open()?;
        let space = rustix::fs::fstatvfs(&space)
            .map_err(std::io::Error::from)
            .context(|| "ask for free space")?;
        if space.f_bavail.saturating_mul(space.f_frsize) >= bytes.saturating_add(bytes / 10) {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Full,
                "less space is free than its tables take and a tenth",
            ))
        }
    }
}

/// A database's pins for one repository, locked.
#[derive(Debug)]
pub struct DatabasePins {
    /// The directory that they stand in.
    parent: HeldDirectory,
    /// Locked.
    directory: HeldDirectory,
    repository: RepositoryId,
    options: PinOptions,
    links: bool,
    state: Option<PinState>,
    touched: Arc<TouchedDirectories>,
    /// What this process holds.
    capture_pins: Mutex<CapturePins>,
}

/// What one capture holds by pins: tables with their facts of that moment, and copies of what was cut.
#[derive(Debug, Default)]
struct CapturePins {
    tables: BTreeMap<u64, (PinAge, PinnedTable)>,
    files: BTreeMap<String, PinnedFile>,
}

/// When a table was pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PinAge {
    /// By this process.
    Fresh,
    /// For the state before.
    Parent,
}

/// What a table was held by.
pub(super) enum PinOutcome {
    /// A link that keeps it.
    Linked(HeldName),
    /// A copy of it, and what the table was when it was copied.
    Copied(HeldName, PinnedFileStat),
    Absent,
    /// It cannot be pinned here.
    Unavailable,
}

impl DatabasePins {
    /// True if something has the name of the pins of `database` for `repository`.
    pub fn exist(database: &Path, repository: RepositoryId) -> bool {
        let place = database.canonicalize();
        let place = place.ok().and_then(|whole| HeldDirectory::open_path(&whole).ok());
        place.is_some_and(|database| Self::exist_in(&database, repository))
    }

    /// [`DatabasePins::exist`] for a database whose directory is held.
    pub fn exist_in(database: &HeldDirectory, repository: RepositoryId) -> bool {
        Self::place(database, &repository).is_ok_and(|(parent, name, _)| parent.stat(name).is_ok())
    }

    /// The pins of `database` for `repository`; makes their directory, which `touched` notes. An error says why there
    /// can be none.
    pub fn open(
        database: &Path,
        repository: RepositoryId,
        keeping: PinOptions,
        touched: Arc<TouchedDirectories>,
    ) -> Result<Self> {
        let database = database.canonicalize().context(|| "find the whole path")?;
        Self::open_in(
            &HeldDirectory::open_path(&database)?,
            repository,
            keeping,
            touched,
        )
    }

    /// [`DatabasePins::open`] for a database whose directory is held.
    pub fn open_in(
        database: &HeldDirectory,
        repository: RepositoryId,
        keeping: PinOptions,
        touched: Arc<TouchedDirectories>,
    ) -> Result<Self> {
        let (parent, name, links) = Self::place(database, &repository)?;
        if !links && keeping.method == PinMethod::Links {
            return Err(Error::new(ErrorKind::Io, "a link copies the file on overlayfs"));
        }
        let found = Self::find(&parent, &name, repository)?;
        let directory = match found {
            Some(found) => found,
            None => {
                // Not for nothing: a directory of ours moves the time of the one above.
                keeping.check_allowed(total_table_bytes(database)?, database)?;
                let prefix = Self::prefix(database.path());
                touched.track(&parent, || Self::make(&parent, &name, &prefix))?
            }
        };
        let mut pins = Self {
            parent,
            directory,
            repository,
            options: keeping,
            links,
            state: None,
            touched,
            capture_pins: Mutex::default(),
        };
        pins.state = pins.load()?;
        pins.remove_unreferenced();
        Ok(pins)
    }

    /// The directory of this name, locked; `None` if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] if it is not proven to be ours: another user's, or one of ours that a user gave the name.
    fn find(
        parent: &HeldDirectory,
        name: &OsString,
        repository: RepositoryId,
    ) -> Result<Option<HeldDirectory>> {
        let directory = match parent.child(name) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let shown = parent.display_path(name);
        let directory = directory.reopen_readable()?;
        // Who had it a moment ago may have removed it.
        if !try_lock(&directory) || !parent.has_child(name, &directory) {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("{} is in use", shown.display()),
            ));
        }
        if !is_own_pin_directory(&directory, Some(repository))? {
            let what = format!(
                "{} is not proven to be made by levault, and left alone; look into it, and remove it by hand",
                shown.display()
            );
            return Err(Error::new(ErrorKind::Denied, what));
        }
        if !scratch_directory::is_proven_ours(&directory) {
            // Made before there were such markers, or copied with all that is in it.
            let _ = directory.remove_file(MARKER_FILE);
            scratch_directory::write_marker(&directory, PINS_MARKER_TEXT)?;
        }
        Ok(Some(directory))
    }

    /// A new directory, locked: under this name only when it is marked.
    fn make(parent: &HeldDirectory, name: &OsString, prefix: &[u8]) -> Result<HeldDirectory> {
        let mut made = ScratchDirectory::create(parent, prefix, PINS_MARKER_TEXT)?;
        if let Err(error) = made.must_be_private().and_then(|()| made.rename(name)) {
            // Nothing is in it.
            let _ = made.remove();
            return Err(match error.kind() {
                ErrorKind::Exists => Error::new(
                    ErrorKind::Busy,
                    format!("{} is in use", parent.display_path(name).display()),
                ),
                _ => error,
            });
        }
        Ok(made.into_directory())
    }

    /// Where they go, under which name, and whether links can be made there.
    fn place(database: &HeldDirectory, repository: &RepositoryId) -> Result<(HeldDirectory, OsString, bool)> {
        if database.path().parent().is_none() {
            return Err(Error::new(
                ErrorKind::Usage,
                "a database at the root has no place beside it",
            ));
        }
        let parent = database.parent()?;
        let kind = rustix::fs::fstatfs(&parent)
            .map_err(std::io::Error::from)
            .context(|| "look at the filesystem")?;
        let mut name = Self::prefix(database.path());
        name.extend_from_slice(data_encoding::HEXLOWER.encode(&repository.0[..8]).as_bytes());
        let name = OsString::from_vec(name);
        Ok((parent, name, kind.f_type as u64 != OVERLAYFS_MAGIC))
    }

    /// Names of directories with pins of this database begin so.
    fn prefix(database: &Path) -> Vec<u8> {
        scratch_prefix(database.file_name().unwrap_or_default().as_bytes(), "pins")
    }

    /// A state that cannot be read is none: the backup reads everything and makes another.
    fn load(&self) -> Result<Option<PinState>> {
        let state = PinState::read(&self.directory)?;
        Ok(state.filter(|state| state.repository == self.repository))
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn directory(&self) -> &HeldDirectory {
        &self.directory
    }

    fn display_path(&self, pin: &str) -> String {
        self.directory.display_path(pin).display().to_string()
    }

    /// Holds the table of this number that has this name in the database now.
    pub(super) fn hold(&self, database: &HeldDirectory, number: u64, name: &str) -> PinOutcome {
        let live = match database.stat(name) {
            Ok(stat) if file_type_of(&stat) == FileType::RegularFile => PinnedFileStat::of_stat(&stat),
            Ok(_) => return PinOutcome::Unavailable,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return PinOutcome::Absent,
            Err(_) => return PinOutcome::Unavailable,
        };
        let pinned = self.state.as_ref().and_then(|state| state.tables.get(&number));
        match pinned.filter(|pinned| self.holds(pinned, &live)) {
            Some(pinned) => {
                let facts = if pinned.copied { pinned.facts } else { live };
                let table = PinnedTable {
                    facts,
                    ..pinned.clone()
                };
                self.record_pin(number, PinAge::Parent, table)
            }
            None => self.pin(database, number, name),
        }
    }

    /// True if the pin is of the live file, whatever else became of that.
    fn holds(&self, pinned: &PinnedTable, live: &PinnedFileStat) -> bool {
        if pinned.copied {
            pinned.facts == *live
        } else {
            self.stat_pin(&pinned.pin).as_ref() == Some(live)
        }
    }

    fn pin(&self, database: &HeldDirectory, number: u64, name: &str) -> PinOutcome {
        let Ok(Ok(pin)) = random_name(format!("{number:06}-").into_bytes()).map(OsString::into_string) else {
            return PinOutcome::Unavailable;
        };
        let (copied, facts) = match self.link(&pin, database, name) {
            Ok(facts) => (false, facts),
            Err(Errno::NOENT) if database.stat(name).is_err() => return PinOutcome::Absent,
            Err(_) if self.options.method == PinMethod::LinksOrCopies => {
                match self.copy_table(&pin, database, name) {
                    Ok(facts) => (true, facts),
                    Err(error) if error.kind() == ErrorKind::NotFound => return PinOutcome::Absent,
                    Err(_) => return PinOutcome::Unavailable,
                }
            }
            Err(_) => return PinOutcome::Unavailable,
        };
        let table = PinnedTable {
            pin,
            name: name.to_owned(),
            facts,
            copied,
            hash: None,
        };
        self.record_pin(number, PinAge::Fresh, table)
    }

    fn record_pin(&self, number: u64, age: PinAge, table: PinnedTable) -> PinOutcome {
        let (held, copied) = (HeldName::new(&self.directory, table.pin.as_str()), table.copied);
        let facts = table.facts;
        self.lock_capture_pins().tables.insert(number, (age, table));
        if copied {
            PinOutcome::Copied(held, facts)
        } else {
            PinOutcome::Linked(held)
        }
    }

    fn link(&self, pin: &str, database: &HeldDirectory, name: &str) -> rustix::io::Result<PinnedFileStat> {
        if !self.links {
            return Err(Errno::OPNOTSUPP);
        }
        database.link(name, &self.directory, pin)?;
        self.stat_pin(pin).ok_or(Errno::INVAL)
    }

    fn lock_capture_pins(&self) -> MutexGuard<'_, CapturePins> {
        self.capture_pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stat_pin(&self, pin: &str) -> Option<PinnedFileStat> {
        let stat = self.directory.stat(pin).ok()?;
        (file_type_of(&stat) == FileType::RegularFile).then(|| PinnedFileStat::of_stat(&stat))
    }

    /// Removes what no state names. What cannot be removed is in nobody's way.
    fn remove_unreferenced(&self) {
        let named = self.state.as_ref().map(PinState::pins).unwrap_or_default();
        for entry in self.directory.list().unwrap_or_default() {
            let keep = match entry.name.to_str() {
                Some(MARKER_FILE) => true,
                Some(STATE_FILE) => self.state.is_some(),
                Some(name) => named.contains(name),
                None => false,
            };
            if !keep {
                let _ = self.directory.remove_file(&entry.name);
            }
        }
    }

    /// Keeps nothing: the next backup reads everything.
    pub fn remove_state(&self) -> Result<()> {
        match self.directory.remove_file(STATE_FILE) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(
                format!("remove {}", self.display_path(STATE_FILE)),
                error,
            )),
            _ => self
                .directory
                .sync()
                .context(|| format!("sync {}", self.path().display())),
        }
    }

    /// Removes the directory, if nothing but the marker is in it.
    fn remove_directory_if_empty(&self) {
        let is_empty = |all: Vec<_>| all.len() <= 1;
        if !self.directory.list().is_ok_and(is_empty) {
            return;
        }
        let name = self.path().file_name().unwrap_or_default();
        let _ = self.directory.remove_file(MARKER_FILE);
        if self.parent.has_child(name, &self.directory) {
            let remove = || rustix::fs::unlinkat(&self.parent, name, AtFlags::REMOVEDIR);
            let _ = self.touched.track(&self.parent, remove);
        }
    }
}

impl Drop for DatabasePins {
    fn drop(&mut self) {
        // What the state names may have changed on disk: read it again, so that nothing it needs is swept.
        if let Ok(state) = self.load() {
            self.state = state;
            self.remove_unreferenced();
            if self.state.is_none() {
                self.remove_directory_if_empty();
            }
        }
        unlock(&self.directory);
    }
}

/// True for a directory that this program, as this user, made for pins: by its marker, or by a state that it wrote (of this
/// repository), from when there were no such markers. An empty one of this user's is as good.
fn is_own_pin_directory(directory: &HeldDirectory, repository: Option<RepositoryId>) -> Result<bool> {
    if scratch_directory::is_proven_ours(directory) {
        return Ok(true);
    }
    if !scratch_directory::is_private(directory) {
        return Ok(false);
    }
    let is_of = |state: PinState| repository.is_none_or(|repository| state.repository == repository);
    let has_state = || PinState::read(directory).is_ok_and(|state| state.is_some_and(is_of));
    let is_ours = scratch_directory::is_own_file(directory, STATE_FILE) && has_state();
    Ok(is_ours || scratch_directory::is_empty_scratch(directory)?)
}

/// Of all tables in a directory, also of those that no version names any more.
fn total_table_bytes(database: &HeldDirectory) -> Result<u64> {
    let mut bytes = 0;
    for entry in database.list()? {
        if let Some(FileName::Table(..)) = entry.name.to_str().and_then(FileName::parse) {
            // The owner may have deleted it since.
            bytes += database
                .stat(&entry.name)
                .map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
