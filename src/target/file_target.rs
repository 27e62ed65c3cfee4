//! Writes a new directory of plain files, staged.
//!
//! Plain files → a new directory, staged: restores of what was stored file by file (physical mode).

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use super::file_syncer::FileSyncer;
use super::staging_directory::{OccupiedTarget, StagedResult, StagingDirectory, create_file_at};
use super::tree::{RefusedAttributes, TargetAttributes};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::HeldDirectory;

/// A directory of files being written.
#[derive(Debug)]
pub struct FileTarget {
    /// Before the stage: dropped, it has stopped before the files go.
    syncer: FileSyncer,
    stage: StagingDirectory,
}

impl FileTarget {
    /// Begins a directory at `target`, which must be absent or empty; see [`super::DatabaseTarget::create`].
    pub fn create(target: &Path) -> Result<Self> {
        Self::begin(target, OccupiedTarget::Refuse)
    }

    /// [`FileTarget::create`] where a closed database may stand, if `occupied` says so.
    pub fn begin(target: &Path, occupied: OccupiedTarget) -> Result<Self> {
        let stage = StagingDirectory::create(target, occupied)
            .context(|| format!("restore to {}", target.display()))?;
        Ok(Self {
            syncer: FileSyncer::start()?,
            stage,
        })
    }

    #[cfg(any(test, feature = "test-util"))]
    /// Where the files stand until they are published.
    pub fn stage_path(&self) -> &Path {
        self.stage.path()
    }

    /// Begins a new file; directories on the way are made. May be called from several threads at once.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a path that is not a plain relative one (names from a snapshot are not trusted to
    /// stay below the target), [`ErrorKind::Exists`] for one written before.
    pub fn file(&self, relative: &Path) -> Result<FileWriter<'_>> {
        let names = plain_names(relative)?;
        let doing = || format!("create {}", relative.display());
        let (name, directories) = names.split_last().ok_or_else(|| outside(relative))?;
        let mut directory = self.stage.directory_file().try_clone().context(doing)?;
        for name in directories {
            directory = open_or_create_directory(&directory, name).context(doing)?;
        }
        Ok(FileWriter {
            syncer: &self.syncer,
            refused_attributes: self.stage.refused_attributes(),
            file: create_file_at(&directory, name).context(doing)?,
            directory,
            path: relative.to_owned(),
        })
    }

    /// Adds another name of a file that is there, when the filesystem allows it; false when it does not.
    pub fn link(&self, name: &str, directory: &HeldDirectory, existing: &OsStr) -> Result<bool> {
        let names = plain_names(Path::new(name))?;
        let [name] = names[..] else {
            return Err(outside(Path::new(name)));
        };
        Ok(directory
            .link(existing, self.stage.directory_file(), name)
            .is_ok())
    }

    /// Waits until every file is durable: the stage now holds all that were finished.
    pub fn finish(self) -> Result<StagedResult> {
        self.syncer.finish()?;
        self.stage.sync_directory()?;
        Ok(StagedResult::new(self.stage))
    }
}

/// A file being written.
#[derive(Debug)]
pub struct FileWriter<'a> {
    syncer: &'a FileSyncer,
    refused_attributes: &'a RefusedAttributes,
    file: File,
    directory: File,
    path: PathBuf,
}

impl FileWriter<'_> {
    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .context(|| format!("write {} bytes to {}", bytes.len(), self.path.display()))
    }

    /// Sets the file's owner, mode and time; behind the last write, which would move the time.
    pub fn set_attributes(&self, attributes: &TargetAttributes) -> Result<()> {
        attributes
            .set(&self.file, self.refused_attributes)
            .context(|| format!("set the attributes of {}", self.path.display()))
    }

    /// The file is whole; it and its name are durable once [`FileTarget::finish`] returns.
    pub fn finish(self) -> Result<()> {
        self.syncer
            .sync(self.path.display().to_string(), self.file, Some(self.directory))
    }
}

/// Gives files that stand in a directory other attributes where theirs differ; what of that was refused. Links and all
/// else that is no regular file are left alone.
pub fn update_file_attributes(
    directory: &File,
    attributes: &TargetAttributes,
    is_meant: impl Fn(&[u8]) -> bool,
) -> Result<RefusedAttributes> {
    let withheld = RefusedAttributes::default();
    for name in super::tree::names(directory)?
        .iter()
        .filter(|name| is_meant(name))
    {
        let shown = || String::from_utf8_lossy(name).into_owned();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(directory, &name[..], flags, Mode::empty());
        let Ok(file) = opened.map(File::from) else {
            continue;
        };
        let stat = rustix::fs::fstat(&file)
            .map_err(std::io::Error::from)
            .context(shown)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if is_file && !attributes.are_those_of(&stat) {
            attributes.set(&file, &withheld).context(shown)?;
        }
    }
    Ok(withheld)
}

/// The names that lead to a file, none of them `..`, a root or a link out: each is entered by itself, and no
/// link is followed on the way.
fn plain_names(relative: &Path) -> Result<Vec<&OsStr>> {
    let has_trailing_slash = relative.as_os_str().as_encoded_bytes().ends_with(b"/");
    let names: Option<Vec<_>> = relative
        .components()
        .map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    match names {
        Some(names) if !names.is_empty() && !has_trailing_slash => Ok(names),
        _ => Err(outside(relative)),
    }
}

fn outside(relative: &Path) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!("{relative:?} is not the path of a file below the target"),
    )
}

/// Opens a directory below, which is made if it is not there.
fn open_or_create_directory(directory: &File, name: &OsStr) -> std::io::Result<File> {
    match rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o777)) {
        // The new directory's own name is made durable here, for no later sync reaches it.
        Ok(()) => directory.sync_all()?,
        Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let entered = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    Ok(File::from(entered))
}
