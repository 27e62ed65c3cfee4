//! Creates and holds one directory of a restored tree.
//!
//! One directory of a tree: made when it is needed, held open while few are, and given its attributes when nobody needs
//! it any more.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::attributes::{TargetAttributes, remove_inherited_acls};
use super::existing_entry::{ExistingEntry, ExistingKind, FileIdentity};
use super::file_draft::PlacedFile;
use super::remove_entry::{RemoveDepth, remove};
use super::tree_context::{TreeContext, locked};
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// A directory below the target, or the target itself. Hold it while something is written to it.
pub struct TargetDirectory {
    pub(super) context: Arc<TreeContext>,
    above: Option<Arc<TargetDirectory>>,
    name: OsString,
    state: Mutex<DirectoryState>,
}

#[derive(Default)]
struct DirectoryState {
    /// `None` until it is made.
    identity: Option<FileIdentity>,
    handle: Option<Arc<File>>,
    attributes: Option<TargetAttributes>,
    /// What else stands under its name goes when it is made.
    remove_depth: Option<RemoveDepth>,
    /// The mode it had, if it could not be written to.
    original_mode: Option<u32>,
    /// What was made in it, where the filesystem may have given it another name.
    created_names: Vec<Box<[u8]>>,
}

impl TargetDirectory {
    pub(super) fn root(core: Arc<TreeContext>, file: File, shown: &Path) -> Result<Arc<Self>> {
        let stat = rustix::fs::fstat(&file)
            .map_err(std::io::Error::from)
            .context(|| format!("look at {}", shown.display()))?;
        let state = DirectoryState {
            identity: Some(FileIdentity::of(&stat)),
            handle: Some(Arc::new(file)),
            ..DirectoryState::default()
        };
        Ok(Arc::new(Self::new(core, None, shown.as_os_str(), state)))
    }

    pub(super) fn absent_root(core: Arc<TreeContext>, shown: &Path) -> Arc<Self> {
        Arc::new(Self::new(
            core,
            None,
            shown.as_os_str(),
            DirectoryState::default(),
        ))
    }

    fn new(context: Arc<TreeContext>, above: Option<Arc<Self>>, name: &OsStr, state: DirectoryState) -> Self {
        Self {
            context,
            above,
            name: name.to_owned(),
            state: Mutex::new(state),
        }
    }

    /// A directory in this one that is not there yet: it is made when something in it is asked for, or by
    /// [`TargetDirectory::open`]. What stands under its name then is removed as far as `clears` says.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for a name that could lead elsewhere.
    pub fn child(
        self: &Arc<Self>,
        name: &[u8],
        attributes: Option<TargetAttributes>,
        clears: Option<RemoveDepth>,
    ) -> Result<Arc<Self>> {
        let state = DirectoryState {
            attributes,
            remove_depth: clears,
            ..DirectoryState::default()
        };
        Ok(Arc::new(Self::new(
            self.context.clone(),
            Some(self.clone()),
            check_plain_name_bytes(name)?,
            state,
        )))
    }

    /// A directory in this one that is there. Without attributes it keeps those that it has.
    pub fn existing_child(
        self: &Arc<Self>,
        name: &[u8],
        standing: &ExistingEntry,
        attributes: Option<TargetAttributes>,
    ) -> Result<Arc<Self>> {
        let state = DirectoryState {
            identity: Some(standing.identity),
            attributes,
            ..DirectoryState::default()
        };
        Ok(Arc::new(Self::new(
            self.context.clone(),
            Some(self.clone()),
            check_plain_name_bytes(name)?,
            state,
        )))
    }

    /// The attributes that it gets in the end.
    pub fn set_attributes(&self, attributes: TargetAttributes) {
        locked(&self.state).attributes = Some(attributes);
    }

    pub(super) fn has_mode(&self) -> bool {
        locked(&self.state)
            .attributes
            .as_ref()
            .is_some_and(|attributes| attributes.mode.is_some())
    }

    /// Where it is, for people.
    pub fn display_path(&self) -> PathBuf {
        let mut names = vec![&self.name];
        let mut at = &self.above;
        while let Some(above) = at {
            names.push(&above.name);
            at = &above.above;
        }
        names.into_iter().rev().collect()
    }

    /// Its filesystem, once it is there.
    pub(super) fn device(&self) -> Option<u64> {
        locked(&self.state).identity.map(|identity| identity.device)
    }

    fn exists(&self) -> bool {
        locked(&self.state).identity.is_some()
    }

    /// The directory, open; made, if it was not there.
    pub fn open(self: &Arc<Self>) -> Result<Arc<File>> {
        let (mut closed, mut at) = (Vec::new(), self);
        let mut open = loop {
            if let Some(handle) = &locked(&at.state).handle {
                break handle.clone();
            }
            closed.push(at);
            at = at
                .above
                .as_ref()
                .ok_or_else(|| Error::new(ErrorKind::NotFound, "nothing is there"))?;
        };
        for directory in closed.into_iter().rev() {
            open = directory.open_in(&open)?;
        }
        Ok(open)
    }

    fn open_in(self: &Arc<Self>, above: &File) -> Result<Arc<File>> {
        let mut state = locked(&self.state);
        if let Some(handle) = &state.handle {
            return Ok(handle.clone());
        }
        let doing = || format!("open {}", self.display_path().display());
        if state.identity.is_none() {
            make(above, &self.name, state.remove_depth.take())
                .context(|| format!("create {}", self.display_path().display()))?;
        }
        let is_new = state.identity.is_none();
        let file = self.enter_same(above, &state).context(doing)?;
        if is_new {
            remove_inherited_acls(&file).context(doing)?;
        }
        let stat = rustix::fs::fstat(&file)
            .map_err(std::io::Error::from)
            .context(doing)?;
        state.identity = Some(FileIdentity::of(&stat));
        if state.original_mode.is_none() && self.context.writes {
            state.original_mode = grant_owner_write(&file, &stat).context(doing)?;
        }
        let file = Arc::new(file);
        state.handle = Some(file.clone());
        drop(state);
        if is_new && let Some(above) = &self.above {
            above.record_created(self.name.as_bytes());
        }
        self.context.register_open(self);
        Ok(file)
    }

    fn enter_same(&self, above: &File, state: &DirectoryState) -> Result<File> {
        let file = open_directory_nofollow(above, &self.name).context(|| "enter it")?;
        let stat = rustix::fs::fstat(&file)
            .map_err(std::io::Error::from)
            .context(|| "look at it")?;
        match state.identity {
            Some(identity) if identity != FileIdentity::of(&stat) => Err(Error::new(
                ErrorKind::Io,
                "another directory has come in its place",
            )),
            _ => Ok(file),
        }
    }

    /// Closes it for now, unless somebody is about to use it.
    pub(super) fn close(&self) {
        if let (Ok(mut state), true) = (self.state.try_lock(), self.above.is_some()) {
            state.handle = None;
        }
    }

    /// The directory itself, if it is there.
    pub fn stat_self(self: &Arc<Self>) -> Result<Option<ExistingEntry>> {
        if !self.exists() {
            return Ok(None);
        }
        let stat = rustix::fs::fstat(&*self.open()?).map_err(std::io::Error::from);
        let stat = stat.context(|| format!("look at {}", self.display_path().display()))?;
        Ok(Some(ExistingEntry::of(&stat)))
    }

    /// What stands under a name in it, not followed; `None` if nothing.
    pub fn entry(self: &Arc<Self>, name: &[u8]) -> Result<Option<ExistingEntry>> {
        if !self.exists() {
            return Ok(None);
        }
        match rustix::fs::statat(
            &*self.open()?,
            check_plain_name_bytes(name)?,
            AtFlags::SYMLINK_NOFOLLOW,
        ) {
            Ok(stat) => Ok(Some(ExistingEntry::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::io(
                format!("look at {}", self.display_path_of(name)),
                error.into(),
            )),
        }
    }

    /// Where a link in it leads.
    pub fn link_target(self: &Arc<Self>, name: &[u8]) -> Result<Vec<u8>> {
        let target = rustix::fs::readlinkat(&*self.open()?, check_plain_name_bytes(name)?, Vec::new());
        let target = target
            .map_err(std::io::Error::from)
            .context(|| format!("read {}", self.display_path_of(name)))?;
        Ok(target.into_bytes())
    }

    /// What stands in it, for links to it.
    pub fn placed_entry(self: &Arc<Self>, name: &[u8]) -> Result<PlacedFile> {
        Ok(PlacedFile::existing(self, check_plain_name_bytes(name)?))
    }

    /// A regular file in it, open for reading.
    pub fn open_file(self: &Arc<Self>, name: &[u8]) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        rustix::fs::openat(
            &*self.open()?,
            check_plain_name_bytes(name)?,
            flags,
            Mode::empty(),
        )
        .map(File::from)
        .map_err(std::io::Error::from)
        .context(|| format!("open {}", self.display_path_of(name)))
    }

    /// Gives a file that stands in it other attributes.
    pub fn update_attributes(self: &Arc<Self>, name: &[u8], attributes: &TargetAttributes) -> Result<()> {
        let file = self.open_file(name)?;
        attributes
            .remove_other_xattrs(&file)
            .and_then(|()| attributes.set(&file, &self.context.report.refused_attributes))
            .context(|| format!("set the attributes of {}", self.display_path_of(name)))
    }

    /// The names in it, in no order; none if it is not there.
    pub fn names(self: &Arc<Self>) -> Result<Vec<Vec<u8>>> {
        if self.exists() {
            names(&*self.open()?).context(|| format!("list {}", self.display_path().display()))
        } else {
            Ok(Vec::new())
        }
    }

    /// Removes what has this name and stood there when it was looked at, a directory with all that is in it. No link is
    /// followed and no other filesystem entered.
    pub fn remove(self: &Arc<Self>, name: &[u8], standing: &ExistingEntry) -> Result<()> {
        let depth = RemoveDepth::RecursiveIfSame(standing.identity);
        remove(&*self.open()?, check_plain_name_bytes(name)?, depth)
            .context(|| format!("remove {}", self.display_path_of(name)))
    }

    /// Makes room for something else of this name.
    pub fn clear_name(self: &Arc<Self>, name: &[u8], depth: RemoveDepth) -> Result<()> {
        remove(&*self.open()?, check_plain_name_bytes(name)?, depth)
            .context(|| format!("remove {}", self.display_path_of(name)))
    }

    /// A path by which it can be found as long as it is held open, whatever happens to the names above it.
    pub fn path_of(handle: &File, name: &[u8]) -> Result<PathBuf> {
        Ok(path_in(handle, check_plain_name_bytes(name)?))
    }

    /// Where something in it is, for people.
    pub fn display_path_of(&self, name: &[u8]) -> String {
        self.display_path()
            .join(OsStr::from_bytes(name))
            .display()
            .to_string()
    }

    /// Something has this name in it now. Filesystems that may change a name are asked in the end whether they did.
    pub fn record_created(&self, name: &[u8]) {
        let mut state = locked(&self.state);
        let keeps_names = match &state.handle {
            Some(handle) => self.context.keeps_names(handle),
            None => false,
        };
        if !keeps_names {
            state.created_names.push(name.into());
        }
    }

    pub(super) fn forget_created(&self, name: &[u8]) {
        locked(&self.state).created_names.retain(|made| **made != *name);
    }

    /// Reports what was made in it and is not there by its name: the filesystem has shortened the name, or taken it for
    /// another's.
    fn check_created_names(&self, handle: &File, made: &[Box<[u8]>]) -> Result<()> {
        let there: HashSet<_> = names(handle)?.into_iter().collect();
        for name in made.iter().filter(|name| !there.contains(&name[..])) {
            self.context.report.problems.add(Error::new(
                ErrorKind::Exists,
                format!(
                    "{} is not there by this name: the target's filesystem has given it another",
                    self.display_path_of(name)
                ),
            ));
        }
        Ok(())
    }

    /// Gives it its attributes, once.
    pub(super) fn apply_attributes(&self) {
        let (attributes, mode, handle, made) = {
            let mut state = locked(&self.state);
            let attributes = state.attributes.take().filter(|_| state.identity.is_some());
            let made = std::mem::take(&mut state.created_names);
            (attributes, state.original_mode.take(), state.handle.clone(), made)
        };
        let counts = self.context.writes && !self.context.is_abandoned.load(Ordering::Relaxed);
        if !counts || attributes.is_none() && mode.is_none() && made.is_empty() {
            return;
        }
        let set = self.handle_for_attributes(handle).and_then(|handle| {
            if !made.is_empty() {
                self.check_created_names(&handle, &made)?;
            }
            if let Some(mode) = mode {
                rustix::fs::fchmod(&handle, Mode::from_raw_mode(mode))
                    .map_err(std::io::Error::from)
                    .context(|| "give it back its mode")?;
            }
            let Some(attributes) = attributes else {
                return Ok(());
            };
            attributes.remove_other_xattrs(&handle)?;
            attributes.set(&handle, &self.context.report.refused_attributes)
        });
        if let Err(error) = set {
            let act = format!("set the attributes of {}", self.display_path().display());
            self.context.report.problems.add(error.context(act));
        }
    }

    fn handle_for_attributes(&self, handle: Option<Arc<File>>) -> Result<Arc<File>> {
        match (handle, &self.above) {
            (Some(handle), _) => Ok(handle),
            (None, Some(above)) => {
                let above = above.open()?;
                self.enter_same(&above, &locked(&self.state)).map(Arc::new)
            }
            (None, None) => Err(Error::new(ErrorKind::NotFound, "nothing is there")),
        }
    }
}

impl Drop for TargetDirectory {
    fn drop(&mut self) {
        self.apply_attributes();
        // Before the directories above are dropped in turn: of a deep tree, too many would be open at once.
        locked(&self.state).handle = None;
    }
}

/// A name that leads from a directory to what is directly in it.
pub(super) fn check_plain_name_bytes(name: &[u8]) -> Result<&OsStr> {
    let leads_elsewhere = matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0);
    if leads_elsewhere {
        Err(Error::corrupt(format!(
            "{:?} is no name",
            String::from_utf8_lossy(name)
        )))
    } else {
        Ok(OsStr::from_bytes(name))
    }
}

/// A name in an open directory as a path, for calls that take no directory.
pub(super) fn path_in(directory: &File, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd")
        .join(directory.as_raw_fd().to_string())
        .join(name)
}

/// Opens a directory in another, following no link.
pub(in super::super) fn open_directory_nofollow(above: &File, name: &OsStr) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(above, name, flags, Mode::empty())?))
}

/// Its owner may write to a directory whenever they like; the mode it had, if that had to be changed.
fn grant_owner_write(file: &File, stat: &rustix::fs::Stat) -> Result<Option<u32>> {
    let user = rustix::process::geteuid();
    let is_closed = stat.st_mode & 0o300 != 0o300;
    if user.is_root() || user.as_raw() != stat.st_uid || !is_closed {
        return Ok(None);
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(stat.st_mode | 0o700))
        .map_err(std::io::Error::from)
        .context(|| "let its owner write to it")?;
    Ok(Some(stat.st_mode & 0o7777))
}

/// True for a directory.
pub(in super::super) fn is_directory(above: &File, name: &OsStr) -> Result<bool> {
    let stat = rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW);
    let stat = stat.map_err(std::io::Error::from).context(|| "look at it")?;
    Ok(ExistingEntry::of(&stat).is_directory())
}

/// Makes a directory, or lets one that is there be it.
fn make(above: &File, name: &OsStr, clears: Option<RemoveDepth>) -> Result<()> {
    let made = || rustix::fs::mkdirat(above, name, Mode::RWXU);
    let made = match (made(), clears) {
        (Err(Errno::EXIST), Some(depth)) => {
            remove(above, name, depth)?;
            made()
        }
        (made, _) => made,
    };
    made.map_err(std::io::Error::from).context(|| "make it")
}

/// All names but `.` and `..`.
pub(in super::super) fn names(directory: &File) -> Result<Vec<Vec<u8>>> {
    let doing = || "read it";
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)
        .map_err(std::io::Error::from)
        .context(doing)?
    {
        let entry = entry.map_err(std::io::Error::from).context(doing)?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// A directory that stands, or something that may become one.
impl ExistingEntry {
    /// True for a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == ExistingKind::Directory
    }
}
