//! Creates a staging directory beside a target, and publishes it.
//!
//! A hidden sibling of the target: made, filled, and renamed into place as a whole.
//!
//! ```text
//! parent/.NAME.levault-restore-0123456789abcdef/    0700, locked and marked: ours, and no one else's (`scratch`)
//!     CACHEDIR.TAG                                   the marker
//!     new/                                           what is restored; published, it is parent/NAME
//! ```
//! The parent, the hidden directory, what is in it and what it replaces are held by descriptors from the first look on: users
//! may write to the parent, and put something else in the place of each name between two of our calls.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::database_lock::{DatabaseLock, refuse_held_in};
use super::replace_database::BesidePolicy;
use super::tree::{RefusedAttributes, TargetAttributes, clear_inherited_lists};
use super::{files_beside, replace_database};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::{HeldDirectory, kind_of};
use crate::scratch::{ScratchDirectory, prefix, remove_leftovers};

/// What the hidden directory says of itself.
const SAYS: &str = "A restore by levault that has not ended, or that was killed.";

/// The name of what is restored, as long as it is hidden.
const NEW: &str = "new";

/// Checks that a restore may go to `target`: it is absent, or an empty directory.
///
/// # Errors
/// [`ErrorKind::Busy`] when a running program holds the database there, [`ErrorKind::Exists`] when anything else is
/// there, [`ErrorKind::Usage`] when it is not a place that can be replaced (`/`, a mount point).
pub fn check_free(target: &Path) -> Result<()> {
    let place = TargetLocation::find(target)?;
    place.check_free(place.parent()?.as_ref())
}

/// The directory that stands at a target. A link is followed if it is the target that was asked for, and not within a tree.
pub fn hold_target(target: &Path) -> Result<HeldDirectory> {
    if is_held_open(target) {
        HeldDirectory::unfollowed(target)
    } else {
        HeldDirectory::named(target)
    }
}

/// What may stand where a restore goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OccupiedTarget {
    /// Nothing: the target must be absent or empty.
    Refuse,
    /// A closed database, and nothing else: its LOCK is held from now on, and when the result is published the two
    /// are exchanged in one step and the old one is removed.
    Replace,
    /// A closed database, and what else lies in its directory: that comes along.
    ReplaceAndKeep,
}

/// The target, resolved: what is renamed over, and the directory it stands in.
struct TargetLocation {
    path: PathBuf,
    parent: PathBuf,
    name: OsString,
}

impl TargetLocation {
    fn find(target: &Path) -> Result<Self> {
        if is_held_open(target) {
            return Self::below(target.to_owned(), target.parent().map(|parent| parent.join(".")));
        }
        let path = match fs::canonicalize(target) {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => absent(target)?,
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
                ErrorKind::Usage,
                format!("{} cannot be replaced as a whole", path.display()),
            )),
        }
    }

    /// The directory above the target; `None` if it is not there.
    fn parent(&self) -> Result<Option<HeldDirectory>> {
        match HeldDirectory::named(&self.parent) {
            Ok(parent) => Ok(Some(parent)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The directory that stands at the target.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] for anything else.
    fn standing(&self, parent: &HeldDirectory) -> Result<Option<HeldDirectory>> {
        let shown = self.path.display();
        match parent.stat(&self.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("look at {shown}"), error)),
            Ok(stat) if kind_of(&stat) == FileType::Directory => parent.child(&self.name).map(Some),
            Ok(_) => Err(Error::new(
                ErrorKind::Exists,
                format!("{shown} is not a directory"),
            )),
        }
    }

    fn check_free(&self, parent: Option<&HeldDirectory>) -> Result<()> {
        let Some(parent) = parent else { return Ok(()) };
        let Some(standing) = self.standing(parent)? else {
            return Ok(());
        };
        let shown = self.path.display();
        refuse_held_in(&standing)?;
        if replace_database::is_filled(&standing) {
            return Err(Error::new(ErrorKind::Exists, format!("{shown} is not empty")));
        }
        if parent.stat_itself()?.st_dev == standing.stat_itself()?.st_dev {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Usage,
                format!("{shown} is a mount point; restore into a directory below it"),
            ))
        }
    }

    /// The database that is to be replaced, locked; `None` when there is none.
    fn take(
        &self,
        parent: Option<&HeldDirectory>,
        occupied: OccupiedTarget,
    ) -> Result<Option<ReplacedDatabase>> {
        let others = match occupied {
            OccupiedTarget::Refuse => None,
            OccupiedTarget::Replace => Some(BesidePolicy::Refuse),
            OccupiedTarget::ReplaceAndKeep => Some(BesidePolicy::Allow),
        };
        let standing = parent.map(|parent| self.standing(parent)).transpose();
        match (others, standing) {
            (Some(others), Ok(Some(Some(directory)))) if replace_database::is_filled(&directory) => {
                let lock = replace_database::take(&directory, others)?;
                Ok(Some(ReplacedDatabase {
                    directory,
                    _lock: lock,
                }))
            }
            _ => self.check_free(parent).map(|()| None),
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
            ErrorKind::Usage,
            format!("{} does not name a directory to create", target.display()),
        )
    };
    if fs::symlink_metadata(target).is_ok() {
        return Err(unusable().context("follow a dangling link"));
    }
    let name = target.file_name().ok_or_else(unusable)?;
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = match fs::canonicalize(parent) {
        Ok(parent) => parent,
        Err(error) if error.kind() == io::ErrorKind::NotFound => absent(parent)?,
        Err(error) => return Err(Error::io(format!("find {}", parent.display()), error)),
    };
    Ok(parent.join(name))
}

/// A closed database that gives its place.
#[derive(Debug)]
struct ReplacedDatabase {
    directory: HeldDirectory,
    _lock: DatabaseLock,
}

/// A stage that is not published yet; dropped, it is removed.
#[derive(Debug)]
pub(super) struct StagingDirectory {
    place_path: PathBuf,
    parent: HeldDirectory,
    /// The hidden directory.
    outer: ScratchDirectory,
    /// What is restored, in it.
    held: HeldDirectory,
    /// The same, to be listed and synced.
    directory: File,
    mode: Mode,
    /// What the hidden directory holds is not ours to remove.
    is_given_up: bool,
    replaces: Option<ReplacedDatabase>,
    /// What else lay in the directory of that, and lies here too.
    others: Vec<Vec<u8>>,
    /// What the files that are made here get; without a mode, only their owner may read and write them.
    files: TargetAttributes,
    /// What they could not be given.
    withheld: RefusedAttributes,
    /// Directories that are called as what killed restores leave, and are not proven to be.
    left_alone: Vec<PathBuf>,
}

impl StagingDirectory {
    /// Checks the target, removes what killed restores of it left, and makes a stage for it.
    pub(super) fn create(target: &Path, occupied: OccupiedTarget) -> Result<Self> {
        let place = TargetLocation::find(target)?;
        let parent = place.parent()?;
        let replaces = place.take(parent.as_ref(), occupied)?;
        let parent = match parent {
            Some(parent) => parent,
            None => create_parents(&place.parent)?,
        };
        let left_alone = remove_leftovers(&parent, &place.stage_prefix())?;
        let mut stage = Self::make(&place, parent)?;
        stage.left_alone = left_alone;
        stage.replaces = replaces;
        if let (OccupiedTarget::ReplaceAndKeep, Some(replaced)) = (occupied, &stage.replaces) {
            stage.others = files_beside::bring(&replaced.directory.open()?, &stage.directory)
                .context(|| format!("keep what lies beside the database in {}", place.path.display()))?;
        }
        Ok(stage)
    }

    fn make(place: &TargetLocation, parent: HeldDirectory) -> Result<Self> {
        let outer = ScratchDirectory::create(&parent, &place.stage_prefix(), SAYS)?;
        let (held, directory, made) = match make_new(outer.directory()) {
            Ok(made) => made,
            Err(error) => {
                let _ = outer.remove();
                return Err(error.context(format!("create {}", outer.directory().shown(NEW).display())));
            }
        };
        let replaced = parent.stat(&place.name);
        Ok(Self {
            place_path: place.path.clone(),
            parent,
            outer,
            held,
            directory,
            mode: replaced.map_or(made, |stat| Mode::from_raw_mode(stat.st_mode)),
            is_given_up: false,
            replaces: None,
            others: Vec::new(),
            files: TargetAttributes::default(),
            withheld: RefusedAttributes::default(),
            left_alone: Vec::new(),
        })
    }

    /// Directories that are called as what killed restores leave, and are not proven to be.
    pub(super) fn left_alone(&self) -> &[PathBuf] {
        &self.left_alone
    }

    /// The stage's own path, for messages and for tests.
    pub(super) fn path(&self) -> &Path {
        self.held.path()
    }

    /// The stage, held: read it by this.
    pub(super) fn held(&self) -> &HeldDirectory {
        &self.held
    }

    /// The database that it replaces, held.
    pub(super) fn replaced(&self) -> Option<&HeldDirectory> {
        self.replaces.as_ref().map(|replaced| &replaced.directory)
    }

    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// The stage, open.
    pub(super) fn directory(&self) -> &File {
        &self.directory
    }

    /// What the files that are made from now on get.
    pub(super) fn set_files(&mut self, files: TargetAttributes) {
        self.files = files;
    }

    /// What files here get.
    pub(super) fn files(&self) -> &TargetAttributes {
        &self.files
    }

    pub(super) fn withheld(&self) -> &RefusedAttributes {
        &self.withheld
    }

    /// Makes a new file directly in the stage, with its attributes: until the stage is published, only this process's
    /// user can reach it.
    pub(super) fn create_file(&self, name: &str) -> Result<File> {
        let doing = || format!("create {name}");
        let file = create_file_at(&self.directory, OsStr::new(name)).context(doing)?;
        self.files.set(&file, &self.withheld).context(doing)?;
        Ok(file)
    }

    /// Makes the names in the stage durable.
    pub(super) fn sync_directory(&self) -> Result<()> {
        self.directory
            .sync_all()
            .context(|| format!("sync {}", self.path().display()))
    }

    fn publish(mut self) -> Result<()> {
        let shown = self.place_path.display().to_string();
        let doing = || format!("rename the restored files to {shown}");
        self.check_others().context(doing)?;
        // Who may not write to a directory may not move it elsewhere, root apart.
        self.change_mode(self.mode | Mode::WUSR).context(doing)?;
        self.sync_directory()?;
        self.take_place().context(doing)?;
        // What it replaced has its name in the hidden directory now, and goes with that when the exchange is durable.
        self.is_given_up = true;
        self.change_mode(self.mode).context(doing)?;
        let doing = || format!("sync the directory of {shown}, which is restored");
        self.sync_directory()?;
        self.parent.open()?.sync_all().context(doing)?;
        self.is_given_up = false;
        Ok(())
    }

    fn change_mode(&self, mode: Mode) -> Result<()> {
        rustix::fs::fchmod(&self.directory, mode)
            .map_err(std::io::Error::from)
            .context(|| "set its mode")
    }

    fn take_place(&mut self) -> Result<()> {
        let name = self.place_path.file_name().unwrap_or_default();
        let Some(replaced) = &self.replaces else {
            return rustix::fs::renameat(self.outer.directory(), NEW, &self.parent, name)
                .map_err(std::io::Error::from)
                .context(|| "rename it");
        };
        let exchange =
            || replace_database::exchange(self.outer.directory(), OsStr::new(NEW), &self.parent, name);
        if !self.parent.has(name, &replaced.directory) {
            return Err(Error::new(
                ErrorKind::Exists,
                "another directory has come in its place",
            ));
        }
        exchange()?;
        if self.outer.directory().has(OsStr::new(NEW), &replaced.directory) {
            return Ok(());
        }
        // What came in its place in this very moment is not ours to remove: back, or it stays where it is.
        self.is_given_up = exchange().is_err();
        Err(Error::new(
            ErrorKind::Exists,
            "another directory has come in its place",
        ))
    }

    /// Nothing may have come beside the old database meanwhile: it would go with it.
    fn check_others(&self) -> Result<()> {
        let Some(replaced) = &self.replaces else {
            return Ok(());
        };
        let now = files_beside::names(&replaced.directory.open()?)?;
        match now.iter().find(|name| !self.others.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Error::new(
                ErrorKind::Exists,
                format!(
                    "{} has come beside the database meanwhile",
                    String::from_utf8_lossy(name)
                ),
            )),
        }
    }
}

impl Drop for StagingDirectory {
    fn drop(&mut self) {
        if !self.is_given_up {
            // What cannot be removed, the next restore removes.
            let _ = self.outer.remove();
        }
    }
}

/// A whole, durable result under a temporary name.
#[derive(Debug)]
pub struct StagedResult(StagingDirectory);

impl StagedResult {
    pub(super) fn new(stage: StagingDirectory) -> Self {
        Self(stage)
    }

    /// Where it stands until it is published.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The same, held: read it by this.
    pub fn held(&self) -> &HeldDirectory {
        self.0.held()
    }

    /// The same, held open.
    pub fn directory(&self) -> &File {
        self.0.directory()
    }

    /// What its files could not be given.
    pub fn withheld(&self) -> &RefusedAttributes {
        self.0.withheld()
    }

    /// Directories beside the target that are called as what killed restores leave and are not proven to be: they were left
    /// alone.
    pub fn left_alone(&self) -> &[PathBuf] {
        self.0.left_alone()
    }

    /// Whether something lies in it that lay beside the database that it replaces.
    pub fn has_others(&self) -> bool {
        !self.0.others.is_empty()
    }

    /// The attributes that the directory will have.
    pub fn set_attributes(
        &mut self,
        attributes: &TargetAttributes,
        withheld: &RefusedAttributes,
    ) -> Result<()> {
        let shown = self.0.place_path.clone();
        let doing = || format!("set the attributes of {}", shown.display());
        attributes.set(self.0.directory(), withheld).context(doing)?;
        if attributes.mode.is_some() {
            let mode = self.0.directory().metadata().context(doing)?.mode();
            self.0.set_mode(Mode::from_raw_mode(mode));
        }
        Ok(())
    }

    /// Renames it to the target's name and makes that durable. Dropping it instead removes it.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] when the target was filled meanwhile; it is then untouched.
    pub fn publish(self) -> Result<()> {
        self.0.publish()
    }
}

/// The directory for what is restored, closed to others, and the mode that the process's umask gives a new one.
fn make_new(outer: &HeldDirectory) -> Result<(HeldDirectory, File, Mode)> {
    let wrong = |error: Errno| std::io::Error::from(error);
    rustix::fs::mkdirat(outer, NEW, Mode::from_raw_mode(0o777))
        .map_err(wrong)
        .context(|| "make it")?;
    let held = outer.child(OsStr::new(NEW))?;
    let mode = Mode::from_raw_mode(held.stat_itself()?.st_mode);
    let directory = held.open()?;
    rustix::fs::fchmod(&directory, Mode::RWXU)
        .map_err(wrong)
        .context(|| "close it to others")?;
    clear_inherited_lists(&directory)?;
    Ok((held, directory, mode))
}

/// Makes a file that was not there, following no link; only its owner may read and write it.
pub(super) fn create_file_at(directory: &File, name: &OsStr) -> std::io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(File::from(file))
}

/// Makes missing directories above the target, each durable in the one above it; the last of them.
fn create_parents(path: &Path) -> Result<HeldDirectory> {
    match HeldDirectory::named(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        held => return held,
    }
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no {}", path.display()),
        ));
    };
    let above = create_parents(above)?;
    match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(Error::io(format!("create {}", path.display()), error.into())),
    }
    let synced = above.open()?.sync_all();
    synced.context(|| format!("sync {}", above.path().display()))?;
    above.child(name)
}
