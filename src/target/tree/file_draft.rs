//! Creates files, links and devices before they get their names.
//!
//! Something that is made before it has its name: a file, a link, a pipe, a device.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::TreeTarget;
use super::attributes::TargetAttributes;
use super::remove_entry::{RemoveDepth, remove};
use super::target_directory::{TargetDirectory, check_plain_name_bytes};
use super::tree_context::DraftArea;
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// A thing on its way to its place. Make it, give it its attributes, and hand it to [`TreeTarget::commit_draft`]; or discard it.
pub struct FileDraft {
    directory: Arc<TargetDirectory>,
    name: OsString,
    location: DraftLocation,
    clears: RemoveDepth,
    is_link: bool,
    /// Nothing stood in its place when it was decided to make it.
    is_vacant: bool,
    is_made: AtomicBool,
}

/// Where it is made.
#[derive(Clone)]
enum DraftLocation {
    /// In its place.
    InPlace,
    /// In another directory, under another name.
    Elsewhere(Arc<File>, OsString),
}

/// Where a thing that was made can be found: in its place, or where it waits.
#[derive(Clone)]
pub struct PlacedFile {
    directory: Arc<TargetDirectory>,
    name: OsString,
    location: DraftLocation,
}

impl PlacedFile {
    pub(super) fn existing(directory: &Arc<TargetDirectory>, name: &OsStr) -> Self {
        Self {
            directory: directory.clone(),
            name: name.to_owned(),
            location: DraftLocation::InPlace,
        }
    }
}

impl TreeTarget {
    /// Begins a thing that is to have `name`. What stands there by then is replaced, a directory with all that is in it if
    /// `clears` says so.
    pub fn begin_draft(
        &self,
        directory: &Arc<TargetDirectory>,
        name: &[u8],
        clears: RemoveDepth,
    ) -> Result<FileDraft> {
        let name = check_plain_name_bytes(name)?.to_owned();
        let at = match &self.context.area {
            DraftArea::InPlace => DraftLocation::InPlace,
            DraftArea::Scratch(scratch) => {
                let handle = directory.open()?;
                if directory.device() == Some(scratch.device) {
                    DraftLocation::Elsewhere(scratch.directory.clone(), scratch.next_name())
                } else {
                    DraftLocation::Elsewhere(handle, scratch.next_name_elsewhere())
                }
            }
        };
        Ok(FileDraft {
            directory: directory.clone(),
            name,
            location: at,
            clears,
            is_link: false,
            is_vacant: false,
            is_made: AtomicBool::new(false),
        })
    }
}

impl FileDraft {
    pub(super) fn is_elsewhere(&self) -> bool {
        matches!(self.location, DraftLocation::Elsewhere(..))
    }

    /// Nothing stands in its place, and nothing that comes there is replaced.
    pub fn set_vacant(&mut self, is_vacant: bool) {
        self.is_vacant = is_vacant;
    }

    pub(super) fn display_path(&self) -> String {
        self.directory.display_path_of(self.name.as_bytes())
    }

    /// Where it can be found from now on.
    pub fn placed_entry(&self) -> PlacedFile {
        PlacedFile {
            directory: self.directory.clone(),
            name: self.name.clone(),
            location: self.location.clone(),
        }
    }

    /// Makes an empty file.
    pub fn create_file(&self) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = self.at_location(|directory, name| {
            rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)
        })?;
        Ok(File::from(made))
    }

    /// Gives a file that was made here its attributes.
    pub fn set_file_attributes(&self, file: &File, attributes: &TargetAttributes) -> Result<()> {
        attributes.set(file, &self.directory.context.report.refused_attributes)
    }

    /// Makes a symbolic link.
    pub fn create_symlink(&self, target: &[u8], attributes: &TargetAttributes) -> Result<()> {
        self.at_location(|directory, name| {
            rustix::fs::symlinkat(OsStr::from_bytes(target), directory, name)
        })?;
        self.set_attributes(attributes)
    }

    /// Makes a named pipe.
    pub fn create_fifo(&self, attributes: &TargetAttributes) -> Result<()> {
        self.create_node(FileType::Fifo, 0, attributes)
    }

    /// Makes a device node, as only root may.
    pub fn create_device(
        &self,
        is_block: bool,
        major: u32,
        minor: u32,
        attributes: &TargetAttributes,
    ) -> Result<()> {
        let kind = if is_block {
            FileType::BlockDevice
        } else {
            FileType::CharacterDevice
        };
        self.create_node(kind, rustix::fs::makedev(major, minor), attributes)
    }

    fn create_node(&self, kind: FileType, device: u64, attributes: &TargetAttributes) -> Result<()> {
        let mode = Mode::RUSR | Mode::WUSR;
        self.at_location(|directory, name| rustix::fs::mknodat(directory, name, kind, mode, device))?;
        self.set_attributes(attributes)
    }

    /// Makes another name of what was made before.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if that is gone.
    pub fn create_hard_link(&mut self, first: &PlacedFile) -> Result<()> {
        self.is_link = true;
        let waits = match &first.location {
            DraftLocation::Elsewhere(directory, name) => self.link_from(directory, name),
            DraftLocation::InPlace => Err(Error::new(ErrorKind::NotFound, "it waits nowhere")),
        };
        match waits {
            // It was renamed to its place.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.link_from(&*first.directory.open()?, &first.name)
            }
            waits => waits,
        }
    }

    fn link_from(&self, directory: &File, name: &OsStr) -> Result<()> {
        self.at_location(|to, own| rustix::fs::linkat(directory, name, to, own, AtFlags::empty()))
    }

    fn set_attributes(&self, attributes: &TargetAttributes) -> Result<()> {
        match &self.location {
            DraftLocation::InPlace => attributes.set_at(
                &*self.directory.open()?,
                &self.name,
                &self.directory.context.report.refused_attributes,
            ),
            DraftLocation::Elsewhere(directory, name) => {
                attributes.set_at(directory, name, &self.directory.context.report.refused_attributes)
            }
        }
    }

    fn at_location<T>(&self, make: impl FnOnce(&File, &OsStr) -> rustix::io::Result<T>) -> Result<T> {
        let made = match &self.location {
            DraftLocation::InPlace => make(&*self.directory.open()?, &self.name),
            DraftLocation::Elsewhere(directory, name) => make(directory, name),
        };
        let made = made.map_err(std::io::Error::from).context(|| "make it")?;
        self.is_made.store(true, Ordering::Relaxed);
        if !self.is_elsewhere() {
            self.directory.record_created(self.name.as_bytes());
        }
        Ok(made)
    }

    /// Takes away what was made, and nothing that stood in its way.
    pub fn discard(self) -> Result<()> {
        if !self.is_made.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.directory.forget_created(self.name.as_bytes());
        match &self.location {
            DraftLocation::InPlace => remove(&*self.directory.open()?, &self.name, RemoveDepth::Single),
            DraftLocation::Elsewhere(directory, name) => remove(directory, name, RemoveDepth::Single),
        }
    }

    /// Renames it to its place, over what stands there.
    pub(super) fn rename_into_place(self) -> Result<()> {
        let DraftLocation::Elsewhere(from, name) = &self.location else {
            return Ok(());
        };
        let directory = self.directory.open()?;
        let rename = || {
            if self.is_vacant {
                rename_new(from, name, &directory, &self.name)
            } else {
                rustix::fs::renameat(from, name, &directory, &self.name)
            }
        };
        let renamed = match rename() {
            Err(Errno::EXIST) if self.is_vacant => Err(Errno::EXIST),
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => {
                remove(&directory, &self.name, self.clears)?;
                rename()
            }
            renamed => renamed,
        };
        let renamed = match renamed {
            Err(Errno::EXIST) if self.is_vacant => Err(Error::new(
                ErrorKind::Exists,
                "something has come there meanwhile, or the target's filesystem takes this name for another one",
            )),
            renamed => renamed.map_err(std::io::Error::from).context(|| "rename it"),
        };
        if renamed.is_err() || self.is_link {
            // A rename over another name of the same file does nothing. About a second error nothing can be done.
            let _ = remove(from, name, RemoveDepth::Single);
        }
        if renamed.is_ok() {
            self.directory.record_created(self.name.as_bytes());
        }
        renamed
    }
}

/// Renames to a name that nothing has; where the filesystem cannot, it is looked first.
fn rename_new(from: &File, name: &OsStr, to: &File, new: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        renamed => return renamed,
    }
    match rustix::fs::statat(to, new, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => rustix::fs::renameat(from, name, to, new),
        Ok(_) => Err(Errno::EXIST),
        Err(error) => Err(error),
    }
}
