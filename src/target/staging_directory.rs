//! Creates a staging directory beside a target, and publishes it.
//!
//! A hidden sibling of the target: made, filled, and renamed into place as a whole.
//!
//! ```text
//! parent/.NAME.levault-restore-0123456789abcdef/    0700, locked and marked: ours, and no one else's (`scratch_directory`)
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

use super::database_lock::{DatabaseLock, refuse_locked_in};
use super::replace_database::BesidePolicy;
use super::tree::{RefusedAttributes, TargetAttributes, remove_inherited_acls};
use super::{files_beside, replace_database};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::{HeldDirectory, file_type_of};
use crate::scratch_directory::{ScratchDirectory, remove_leftovers, scratch_prefix};

/// What the hidden directory says of itself.
const STAGING_MARKER_TEXT: &str = "A restore by levault that has not ended, or that was killed.";

/// The name of what is restored, as long as it is hidden.
const STAGED_NAME: &str = "new";

/// Checks that a restore may go to `target`: it is absent, or an empty directory.
///
/// # Errors
/// [`ErrorKind::Busy`] when a running program holds the database there, [`ErrorKind::Exists`] when anything else is
/// there, [`ErrorKind::Usage`] when it is not a place that can be replaced (`/`, a mount point).
pub fn check_target_free(target: &Path) -> Result<()> {
    let place = TargetLocation::resolve(target)?;
    place.check_free(place.parent()?.as_ref())
}

/// The directory that stands at a target. A link is followed if it is the target that was asked for, and not within a tree.
pub fn open_target_directory(target: &Path) -> Result<HeldDirectory> {
    if is_proc_fd_path(target) {
        HeldDirectory::open_nofollow(target)
    } else {
        HeldDirectory::open_path(target)
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
    fn resolve(target: &Path) -> Result<Self> {
        if is_proc_fd_path(target) {
            return Self::below(target.to_owned(), target.parent().map(|parent| parent.join(".")));
        }
        let path = match fs::canonicalize(target) {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => resolve_absent(target)?,
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
        match HeldDirectory::open_path(&self.parent) {
            Ok(parent) => Ok(Some(parent)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The directory that stands at the target.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] for anything else.
    fn existing_directory(&self, parent: &HeldDirectory) -> Result<Option<HeldDirectory>> {
        let shown = self.path.display();
        match parent.stat(&self.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("look at {shown}"), error)),
            Ok(stat) if file_type_of(&stat) == FileType::Directory => parent.child(&self.name).map(Some),
            Ok(_) => Err(Error::new(
                ErrorKind::Exists,
                format!("{shown} is not a directory"),
            )),
        }
    }

    fn check_free(&self, parent: Option<&HeldDirectory>) -> Result<()> {
        let Some(parent) = parent else { return Ok(()) };
        let Some(standing) = self.existing_directory(parent)? else {
            return Ok(());
        };
        let shown = self.path.display();
        refuse_locked_in(&standing)?;
        if replace_database::is_filled(&standing) {
            return Err(Error::new(ErrorKind::Exists, format!("{shown} is not empty")));
        }
        if parent.stat_self()?.st_dev == standing.stat_self()?.st_dev {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Usage,
                format!("{shown} is a mount point; restore into a directory below it"),
            ))
        }
    }

    /// The database that is to be replaced, locked; `None` when there is none.
    fn lock_existing_database(
        &self,
        parent: Option<&HeldDirectory>,
        occupied: OccupiedTarget,
    ) -> Result<Option<ReplacedDatabase>> {
        let others = match occupied {
            OccupiedTarget::Refuse => None,
            OccupiedTarget::Replace => Some(BesidePolicy::Refuse),
            OccupiedTarget::ReplaceAndKeep => Some(BesidePolicy::Allow),
        };
        let standing = parent.map(|parent| self.existing_directory(parent)).transpose();
        match (others, standing) {
            (Some(others), Ok(Some(Some(directory)))) if replace_database::is_filled(&directory) => {
                let lock = replace_database::lock_replaced_database(&directory, others)?;
                Ok(Some(ReplacedDatabase {
                    directory,
                    _lock: lock,
                }))
            }
            _ => self.check_free(parent).map(|()| None),
        }
    }

    fn stage_prefix(&self) -> Vec<u8> {
        scratch_prefix(self.name.as_bytes(), "restore")
    }
}

/// True for a path that leads through a directory that this process holds open. Resolved to a real one, it could be led
/// elsewhere by whoever may rename what lies above.
fn is_proc_fd_path(target: &Path) -> bool {
    target.starts_with("/proc/self/fd") && target.components().count() == 6
}

/// The path a target that is not there will have.
fn resolve_absent(target: &Path) -> Result<PathBuf> {
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
        Err(error) if error.kind() == io::ErrorKind::NotFound => resolve_absent(parent)?,
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
    target_path: PathBuf,
    parent: HeldDirectory,
    /// The hidden directory.
    outer: ScratchDirectory,
    /// What is restored, in it.
    handle: HeldDirectory,
    /// The same, to be listed and synced.
    directory: File,
    mode: Mode,
    /// What the hidden directory holds is not ours to remove.
    must_not_remove: bool,
    replaces: Option<ReplacedDatabase>,
    /// What else lay in the directory of that, and lies here too.
    other_files: Vec<Vec<u8>>,
    /// What the files that are made here get; without a mode, only their owner may read and write them.
    file_attributes: TargetAttributes,
    /// What they could not be given.
    withheld: RefusedAttributes,
    /// Directories that are called as what killed restores leave, and are not proven to be.
    unproven_leftovers: Vec<PathBuf>,
}

impl StagingDirectory {
    /// Checks the target, removes what killed restores of it left, and makes a stage for it.
    pub(super) fn create(target: &Path, occupied: OccupiedTarget) -> Result<Self> {
        let place = TargetLocation::resolve(target)?;
        let parent = place.parent()?;
        let replaces = place.lock_existing_database(parent.as_ref(), occupied)?;
        let parent = match parent {
            Some(parent) => parent,
            None => create_parents(&place.parent)?,
        };
        let left_alone = remove_leftovers(&parent, &place.stage_prefix())?;
        let mut stage = Self::make(&place, parent)?;
        stage.unproven_leftovers = left_alone;
        stage.replaces = replaces;
        if let (OccupiedTarget::ReplaceAndKeep, Some(replaced)) = (occupied, &stage.replaces) {
            stage.other_files = files_beside::link_other_files(&replaced.directory.open()?, &stage.directory)
                .context(|| format!("keep what lies beside the database in {}", place.path.display()))?;
        }
        Ok(stage)
    }

    fn make(place: &TargetLocation, parent: HeldDirectory) -> Result<Self> {
        let outer = ScratchDirectory::create(&parent, &place.stage_prefix(), STAGING_MARKER_TEXT)?;
        let (held, directory, made) = match create_staged_directory(outer.directory()) {
            Ok(made) => made,
            Err(error) => {
                let _ = outer.remove();
                return Err(error.context(format!(
                    "create {}",
                    outer.directory().display_path(STAGED_NAME).display()
                )));
            }
        };
        let replaced = parent.stat(&place.name);
        Ok(Self {
            target_path: place.path.clone(),
            parent,
            outer,
            handle: held,
            directory,
            mode: replaced.map_or(made, |stat| Mode::from_raw_mode(stat.st_mode)),
            must_not_remove: false,
            replaces: None,
            other_files: Vec::new(),
            file_attributes: TargetAttributes::default(),
            withheld: RefusedAttributes::default(),
            unproven_leftovers: Vec::new(),
        })
    }

    /// Directories that are called as what killed restores leave, and are not proven to be.
    pub(super) fn unproven_leftovers(&self) -> &[PathBuf] {
        &self.unproven_leftovers
    }

    /// The stage's own path, for messages and for tests.
    pub(super) fn path(&self) -> &Path {
        self.handle.path()
    }

    /// The stage, held: read it by this.
    pub(super) fn handle(&self) -> &HeldDirectory {
        &self.handle
    }

    /// The database that it replaces, held.
    pub(super) fn replaced(&self) -> Option<&HeldDirectory> {
        self.replaces.as_ref().map(|replaced| &replaced.directory)
    }

    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// The stage, open.
    pub(super) fn directory_file(&self) -> &File {
        &self.directory
    }

    /// What the files that are made from now on get.
    pub(super) fn set_file_attributes(&mut self, files: TargetAttributes) {
        self.file_attributes = files;
    }

    /// What files here get.
    pub(super) fn file_attributes(&self) -> &TargetAttributes {
        &self.file_attributes
    }

    pub(super) fn refused_attributes(&self) -> &RefusedAttributes {
        &self.withheld
    }

    /// Makes a new file directly in the stage, with its attributes: until the stage is published, only this process's
    /// user can reach it.
    pub(super) fn create_file(&self, name: &str) -> Result<File> {
        let doing = || format!("create {name}");
        let file = create_file_at(&self.directory, OsStr::new(name)).context(doing)?;
        self.file_attributes.set(&file, &self.withheld).context(doing)?;
        Ok(file)
    }

    /// Makes the names in the stage durable.
    pub(super) fn sync_directory(&self) -> Result<()> {
        self.directory
            .sync_all()
            .context(|| format!("sync {}", self.path().display()))
    }

    fn publish(mut self) -> Result<()> {
        let shown = self.target_path.display().to_string();
        let doing = || format!("rename the restored files to {shown}");
        self.check_other_files().context(doing)?;
        // Who may not write to a directory may not move it elsewhere, root apart.
        self.change_mode(self.mode | Mode::WUSR).context(doing)?;
        self.sync_directory()?;
        self.rename_into_place().context(doing)?;
        // What it replaced has its name in the hidden directory now, and goes with that when the exchange is durable.
        self.must_not_remove = true;
        self.change_mode(self.mode).context(doing)?;
        let doing = || format!("sync the directory of {shown}, which is restored");
        self.sync_directory()?;
        self.parent.open()?.sync_all().context(doing)?;
        self.must_not_remove = false;
        Ok(())
    }

    fn change_mode(&self, mode: Mode) -> Result<()> {
        rustix::fs::fchmod(&self.directory, mode)
            .map_err(std::io::Error::from)
            .context(|| "set its mode")
    }

    fn rename_into_place(&mut self) -> Result<()> {
        let name = self.target_path.file_name().unwrap_or_default();
        let Some(replaced) = &self.replaces else {
            return rustix::fs::renameat(self.outer.directory(), STAGED_NAME, &self.parent, name)
                .map_err(std::io::Error::from)
                .context(|| "rename it");
        };
        let exchange = || {
            replace_database::exchange_directories(
                self.outer.directory(),
                OsStr::new(STAGED_NAME),
                &self.parent,
                name,
            )
        };
        if !self.parent.has_child(name, &replaced.directory) {
            return Err(Error::new(
                ErrorKind::Exists,
                "another directory has come in its place",
            ));
        }
        exchange()?;
        if self
            .outer
            .directory()
            .has_child(OsStr::new(STAGED_NAME), &replaced.directory)
        {
            return Ok(());
        }
        // What came in its place in this very moment is not ours to remove: back, or it stays where it is.
        self.must_not_remove = exchange().is_err();
        Err(Error::new(
            ErrorKind::Exists,
            "another directory has come in its place",
        ))
    }

    /// Nothing may have come beside the old database meanwhile: it would go with it.
    fn check_other_files(&self) -> Result<()> {
        let Some(replaced) = &self.replaces else {
            return Ok(());
        };
        let now = files_beside::list_other_files(&replaced.directory.open()?)?;
        match now.iter().find(|name| !self.other_files.contains(name)) {
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
        if !self.must_not_remove {
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

    #[cfg(any(test, feature = "test-util"))]
    /// Where it stands until it is published.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The same, held: read it by this.
    pub fn handle(&self) -> &HeldDirectory {
        self.0.handle()
    }

    /// The same, held open.
    pub fn directory_file(&self) -> &File {
        self.0.directory_file()
    }

    /// What its files could not be given.
    pub fn refused_attributes(&self) -> &RefusedAttributes {
        self.0.refused_attributes()
    }

    /// Directories beside the target that are called as what killed restores leave and are not proven to be: they were left
    /// alone.
    pub fn unproven_leftovers(&self) -> &[PathBuf] {
        self.0.unproven_leftovers()
    }

    /// Whether something lies in it that lay beside the database that it replaces.
    pub fn has_other_files(&self) -> bool {
        !self.0.other_files.is_empty()
    }

    /// The attributes that the directory will have.
    pub fn set_attributes(
        &mut self,
        attributes: &TargetAttributes,
        withheld: &RefusedAttributes,
    ) -> Result<()> {
        let shown = self.0.target_path.clone();
        let doing = || format!("set the attributes of {}", shown.display());
        attributes.set(self.0.directory_file(), withheld).context(doing)?;
        if attributes.mode.is_some() {
            let mode = self.0.directory_file().metadata().context(doing)?.mode();
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
fn create_staged_directory(outer: &HeldDirectory) -> Result<(HeldDirectory, File, Mode)> {
    let wrong = |error: Errno| std::io::Error::from(error);
    rustix::fs::mkdirat(outer, STAGED_NAME, Mode::from_raw_mode(0o777))
        .map_err(wrong)
        .context(|| "make it")?;
    let held = outer.child(OsStr::new(STAGED_NAME))?;
    let mode = Mode::from_raw_mode(held.stat_self()?.st_mode);
    let directory = held.open()?;
    rustix::fs::fchmod(&directory, Mode::RWXU)
        .map_err(wrong)
        .context(|| "close it to others")?;
    remove_inherited_acls(&directory)?;
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
    match HeldDirectory::open_path(path) {
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
