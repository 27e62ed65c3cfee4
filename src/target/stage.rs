//! A hidden sibling of the target: made, filled, and renamed into place as a whole.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::lock::{HeldLock, refuse_held};
use super::replace::Others;
use super::tree::{Attributes, Withheld, clear_inherited_lists};
use super::{others, replace};
use crate::error::{Act, Error, Kind, Result};
use crate::scratch::{is_same, open_directory, prefix, random_name, remove_leftovers, try_lock};

/// Checks that a restore may go to `target`: it is absent, or an empty directory.
///
/// # Errors
/// [`Kind::Busy`] when a running program holds the database there, [`Kind::Exists`] when anything else is
/// there, [`Kind::Usage`] when it is not a place that can be replaced (`/`, a mount point).
pub fn check_free(target: &Path) -> Result<()> {
    Place::find(target)?.check_free()
}

/// What may stand where a restore goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupied {
    /// Nothing: the target must be absent or empty.
    Refuse,
    /// A closed database, and nothing else: its LOCK is held from now on, and when the result is published the two
    /// are exchanged in one step and the old one is removed.
    Replace,
    /// A closed database, and what else lies in its directory: that comes along.
    ReplaceAndKeep,
}

/// The target, resolved: what is renamed over, and the directory it stands in.
struct Place {
    path: PathBuf,
    parent: PathBuf,
    name: OsString,
}

impl Place {
    fn find(target: &Path) -> Result<Self> {
        if is_held_open(target) {
            return Self::below(target.to_owned(), target.parent().map(|parent| parent.join(".")));
        }
        let path = match fs::canonicalize(target) {
            Ok(path) => path,
            Err(error) if error.kind() == ErrorKind::NotFound => absent(target)?,
            Err(error) => return Err(Error::io(format!("find {}", target.display()), error)),
        };
        let parent = path.parent().map(Path::to_owned);
        Self::below(path, parent)
    }

    fn below(path: PathBuf, parent: Option<PathBuf>) -> Result<Self> {
        match (parent, path.file_name()) {
            (Some(parent), Some(name)) => Ok(Self {
                parent,
                name: name.to_owned(),
                path,
            }),
            _ => Err(Error::new(
                Kind::Usage,
                format!("{} cannot be replaced as a whole", path.display()),
            )),
        }
    }

    fn check_free(&self) -> Result<()> {
        let shown = self.path.display();
        let metadata = match fs::symlink_metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io(format!("look at {shown}"), error)),
        };
        if !metadata.is_dir() {
            return Err(Error::new(Kind::Exists, format!("{shown} is not a directory")));
        }
        refuse_held(&self.path)?;
        let mut entries = fs::read_dir(&self.path).act(|| format!("list {shown}"))?;
        if entries.next().is_some() {
            return Err(Error::new(Kind::Exists, format!("{shown} is not empty")));
        }
        let parent = fs::metadata(&self.parent).act(|| format!("look at {}", self.parent.display()))?;
        match parent.dev() == metadata.dev() {
            true => Ok(()),
            false => Err(Error::new(
                Kind::Usage,
                format!("{shown} is a mount point; restore into a directory below it"),
            )),
        }
    }

    /// The lock of the database that is to be replaced; `None` when there is none.
    fn take(&self, occupied: Occupied) -> Result<Option<HeldLock>> {
        match occupied {
            Occupied::Refuse => self.check_free().map(|()| None),
            _ if !replace::is_filled(&self.path) => self.check_free().map(|()| None),
            Occupied::Replace => replace::take(&self.path, Others::Refuse).map(Some),
            Occupied::ReplaceAndKeep => replace::take(&self.path, Others::Allow).map(Some),
        }
    }

    fn stage_prefix(&self) -> Vec<u8> {
        prefix(self.name.as_bytes(), "restore")
    }
}

/// True for a path that leads through a directory that this process holds open. Resolved to a real one, it could be led
/// elsewhere by whoever may rename what lies above.
fn is_held_open(target: &Path) -> bool {
    target.starts_with("/proc/self/fd") && target.components().count() == 6
}

/// The path a target that is not there will have.
fn absent(target: &Path) -> Result<PathBuf> {
    let unusable = || {
        Error::new(
            Kind::Usage,
            format!("{} does not name a directory to create", target.display()),
        )
    };
    if fs::symlink_metadata(target).is_ok() {
        return Err(unusable().act("follow a dangling link"));
    }
    let name = target.file_name().ok_or_else(unusable)?;
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = match fs::canonicalize(parent) {
        Ok(parent) => parent,
        Err(error) if error.kind() == ErrorKind::NotFound => absent(parent)?,
        Err(error) => return Err(Error::io(format!("find {}", parent.display()), error)),
    };
    Ok(parent.join(name))
}

/// A stage that nobody has published yet; dropped, it is removed.
#[derive(Debug)]
pub(super) struct Stage {
    place_path: PathBuf,
    parent: File,
    name: OsString,
    path: PathBuf,
    directory: File,
    mode: Mode,
    is_published: bool,
    /// The lock of the database that it replaces.
    replaces: Option<HeldLock>,
    /// What else lay in the directory of that, and lies here too.
    others: Vec<Vec<u8>>,
    /// What the files that are made here get; without a mode, only their owner may read and write them.
    files: Attributes,
    /// What they could not be given.
    withheld: Withheld,
}

impl Stage {
    /// Checks the target, removes what killed restores of it left, and makes a stage for it.
    pub(super) fn create(target: &Path, occupied: Occupied) -> Result<Self> {
        let place = Place::find(target)?;
        let replaces = place.take(occupied)?;
        create_parents(&place.parent)?;
        remove_leftovers(&place.parent, &place.stage_prefix())?;
        loop {
            // A concurrent restore may take the new directory for a leftover before it is locked.
            if let Some(mut stage) = Self::try_create(&place)? {
                stage.replaces = replaces;
                if occupied == Occupied::ReplaceAndKeep && stage.replaces.is_some() {
                    stage.others = others::bring(&open_directory(&place.path)?, &stage.directory)
                        .act(|| format!("keep what lies beside the database in {}", place.path.display()))?;
                }
                return Ok(stage);
            }
        }
    }

    fn try_create(place: &Place) -> Result<Option<Self>> {
        let name = random_name(place.stage_prefix())?;
        let path = place.parent.join(&name);
        let doing = || format!("create {}", path.display());
        let parent = open_directory(&place.parent)?;
        // Made with the mode that the process's umask gives, to learn it; closed before anything is in it.
        fs::create_dir(&path).act(doing)?;
        let directory = match open_directory(&path) {
            Err(error) if error.kind() == Kind::NotFound => return Ok(None),
            opened => opened?,
        };
        let made = Mode::from_raw_mode(directory.metadata().act(doing)?.mode());
        let stage = Self {
            place_path: place.path.clone(),
            parent,
            name,
            path: path.clone(),
            directory,
            mode: match fs::metadata(&place.path) {
                Ok(replaced) => Mode::from_raw_mode(replaced.mode()),
                Err(_) => made,
            },
            is_published: false,
            replaces: None,
            others: Vec::new(),
            files: Attributes::default(),
            withheld: Withheld::default(),
        };
        rustix::fs::fchmod(&stage.directory, Mode::RWXU)
            .map_err(std::io::Error::from)
            .act(doing)?;
        clear_inherited_lists(&stage.directory).act(doing)?;
        Ok((try_lock(&stage.directory) && stage.is_there()).then_some(stage))
    }

    fn is_there(&self) -> bool {
        is_same(&self.path, &self.directory)
    }

    /// The stage's own path, for reading what was written.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where it will stand, and what it may replace stands now.
    pub(super) fn place_path(&self) -> &Path {
        &self.place_path
    }

    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// The stage, open.
    pub(super) fn directory(&self) -> &File {
        &self.directory
    }

    /// What the files that are made from now on get.
    pub(super) fn set_files(&mut self, files: Attributes) {
        self.files = files;
    }

    /// What files here get.
    pub(super) fn files(&self) -> &Attributes {
        &self.files
    }

    pub(super) fn withheld(&self) -> &Withheld {
        &self.withheld
    }

    /// Makes a new file directly in the stage, with its attributes: until the stage is published, only this process's
    /// user can reach it.
    pub(super) fn create_file(&self, name: &str) -> Result<File> {
        let doing = || format!("create {name}");
        let file = create_file_at(&self.directory, OsStr::new(name)).act(doing)?;
        self.files.set(&file, &self.withheld).act(doing)?;
        Ok(file)
    }

    /// Makes the names in the stage durable.
    pub(super) fn sync_directory(&self) -> Result<()> {
        self.directory
            .sync_all()
            .act(|| format!("sync {}", self.path.display()))
    }

    fn publish(mut self) -> Result<()> {
        let doing = || format!("rename the restored files to {}", self.place_path.display());
        self.check_others().act(doing)?;
        rustix::fs::fchmod(&self.directory, self.mode)
            .map_err(std::io::Error::from)
            .act(doing)?;
        self.sync_directory()?;
        let name = self.place_path.file_name().unwrap_or_default();
        match &self.replaces {
            Some(_) => replace::exchange(&self.parent, &self.name, name).act(doing)?,
            None => rustix::fs::renameat(&self.parent, &self.name, &self.parent, name)
                .map_err(std::io::Error::from)
                .act(doing)?,
        }
        let synced = self.parent.sync_all().act(|| {
            format!(
                "sync the directory of {}, which is restored",
                self.place_path.display()
            )
        });
        self.is_published = true;
        if synced.is_ok() && self.replaces.is_some() {
            // The old database has the stage's name now. What cannot be removed, the next restore removes.
            let _ = fs::remove_dir_all(&self.path);
        }
        synced
    }
}

impl Stage {
    /// Nothing may have come beside the old database meanwhile: it would go with it.
    fn check_others(&self) -> Result<()> {
        if self.replaces.is_none() {
            return Ok(());
        }
        let now = others::names(&open_directory(&self.place_path)?)?;
        match now.iter().find(|name| !self.others.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Error::new(
                Kind::Exists,
                format!(
                    "{} has come beside the database meanwhile",
                    String::from_utf8_lossy(name)
                ),
            )),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.is_published && self.is_there() {
            // Nothing can be done about an error here; the next restore tries again.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A whole result, durable, under a name that nobody looks for yet.
#[derive(Debug)]
pub struct Staged(Stage);

impl Staged {
    pub(super) fn new(stage: Stage) -> Self {
        Self(stage)
    }

    /// Where it stands until it is published: read it from here to verify it.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The same, held open.
    pub fn directory(&self) -> &File {
        self.0.directory()
    }

    /// What its files could not be given.
    pub fn withheld(&self) -> &Withheld {
        self.0.withheld()
    }

    /// Whether something lies in it that lay beside the database that it replaces.
    pub fn has_others(&self) -> bool {
        !self.0.others.is_empty()
    }

    /// The attributes that the directory will have.
    pub fn set_attributes(&mut self, attributes: &Attributes, withheld: &Withheld) -> Result<()> {
        let shown = self.0.place_path.clone();
        let doing = || format!("set the attributes of {}", shown.display());
        attributes.set(self.0.directory(), withheld).act(doing)?;
        if attributes.mode.is_some() {
            let mode = self.0.directory().metadata().act(doing)?.mode();
            self.0.set_mode(Mode::from_raw_mode(mode));
        }
        Ok(())
    }

    /// Renames it to the target's name and makes that durable. Dropping it instead removes it.
    ///
    /// # Errors
    /// [`Kind::Exists`] when the target was filled meanwhile; it is then untouched.
    pub fn publish(self) -> Result<()> {
        self.0.publish()
    }
}

/// Makes a file that was not there, following no link; only its owner may read and write it.
pub(super) fn create_file_at(directory: &File, name: &OsStr) -> std::io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(File::from(file))
}

/// Makes missing directories above the target, each durable in the one above it.
fn create_parents(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_parents(parent)?;
        match fs::create_dir(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(Error::io(format!("create {}", path.display()), error));
            }
            _ => {}
        }
        open_directory(parent)?
            .sync_all()
            .act(|| format!("sync {}", parent.display()))?;
    }
    Ok(())
}
