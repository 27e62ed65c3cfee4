//! Owner, mode, times and extended attributes: set as far as the system lets us.
//!
//! The order matters: a new owner takes set-user-id bits and capabilities away, extended attributes can only be written
//! while the owner may write, and every other change moves the time.

use std::ffi::OsStr;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::standing::{Standing, What};
use crate::error::{Act, Error, Result};

const SET_ID: u32 = 0o6000;

/// What the filesystem is to know of a thing beside its content; what is absent is left as it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last modification, nanoseconds since 1970.
    pub mtime_nanos: Option<i64>,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What could not be set because the user is not root, or because the filesystem has nothing of the kind: counted, since
/// it would be said of every file.
#[derive(Debug, Default)]
pub struct Withheld {
    owners: AtomicU64,
    xattrs: AtomicU64,
}

impl Withheld {
    /// Things whose owner or group is another one.
    pub fn owners(&self) -> u64 {
        self.owners.load(Ordering::Relaxed)
    }

    /// Extended attributes that were refused.
    pub fn xattrs(&self) -> u64 {
        self.xattrs.load(Ordering::Relaxed)
    }

    fn an_owner(&self) {
        self.owners.fetch_add(1, Ordering::Relaxed);
    }

    fn an_xattr(&self) {
        self.xattrs.fetch_add(1, Ordering::Relaxed);
    }
}

impl Attributes {
    /// Permission bits alone.
    pub(super) fn of_mode(mode: u32) -> Self {
        Self {
            mode: Some(mode),
            ..Self::default()
        }
    }

    /// Those of a directory that is open.
    pub(in super::super) fn of(file: &File) -> Result<Self> {
        let stat = rustix::fs::fstat(file)
            .map_err(std::io::Error::from)
            .act(|| "look at it")?;
        let standing = Standing::of(&stat);
        let names = xattr_names(file)?;
        let xattr = |name: &[u8]| {
            let mut value = vec![0; 64 << 10];
            let len = rustix::fs::fgetxattr(file, name, &mut value[..]).map_err(std::io::Error::from);
            value.truncate(len.act(|| "read its extended attributes")?);
            Ok((name.to_vec(), value))
        };
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(Self {
            mode: Some(standing.mode),
            uid: Some(standing.uid),
            gid: Some(standing.gid),
            mtime_nanos: standing.mtime_nanos,
            xattrs: names.map(xattr).collect::<Result<_>>()?,
        })
    }

    /// Sets them on a file or a directory.
    pub(in super::super) fn set(&self, file: &File, withheld: &Withheld) -> Result<()> {
        let stat = rustix::fs::fstat(file)
            .map_err(std::io::Error::from)
            .act(|| "look at it")?;
        let standing = Standing::of(&stat);
        let set = |uid, gid| rustix::fs::fchown(file, uid, gid);
        let is_owned = self.set_owner(&standing, withheld, set)?;
        for (name, value) in &self.xattrs {
            let set = rustix::fs::fsetxattr(file, &name[..], value, XattrFlags::empty());
            xattr(set, name, withheld)?;
        }
        if let Some(mode) = self.mode_to_set(&standing, is_owned) {
            rustix::fs::fchmod(file, mode)
                .map_err(std::io::Error::from)
                .act(|| "set its mode")?;
        }
        match self.times() {
            Some(times) => rustix::fs::futimens(file, &times)
                .map_err(std::io::Error::from)
                .act(|| "set its time"),
            None => Ok(()),
        }
    }

    /// Takes away the user's extended attributes that are not among these: of what stood there before.
    pub(super) fn clear_others(&self, file: &File) -> Result<()> {
        let names = xattr_names(file)?;
        let names = names
            .split(|byte| *byte == 0)
            .filter(|name| name.starts_with(b"user."));
        for name in names.filter(|name| !self.xattrs.iter().any(|(own, _)| own == name)) {
            rustix::fs::fremovexattr(file, name)
                .map_err(std::io::Error::from)
                .act(|| "remove an extended attribute")?;
        }
        Ok(())
    }

    /// Sets them on what cannot be opened: a link, a pipe, a device. It must have been made here, where nobody else can put
    /// a link in its place.
    pub(super) fn set_at(&self, directory: &File, name: &OsStr, withheld: &Withheld) -> Result<()> {
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(std::io::Error::from)
            .act(|| "look at it")?;
        let standing = Standing::of(&stat);
        let set = |uid, gid| rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        let is_owned = self.set_owner(&standing, withheld, set)?;
        self.set_xattrs_at(directory, name, withheld)?;
        // A link has no mode of its own.
        let mode = self
            .mode_to_set(&standing, is_owned)
            .filter(|_| standing.what != What::Symlink);
        if let Some(mode) = mode {
            rustix::fs::chmodat(directory, name, mode, AtFlags::empty())
                .map_err(std::io::Error::from)
                .act(|| "set its mode")?;
        }
        match self.times() {
            Some(times) => rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(std::io::Error::from)
                .act(|| "set its time"),
            None => Ok(()),
        }
    }

    fn set_xattrs_at(&self, directory: &File, name: &OsStr, withheld: &Withheld) -> Result<()> {
        for (key, value) in &self.xattrs {
            let path = super::directory::path_in(directory, name);
            let set = rustix::fs::lsetxattr(path, &key[..], value, XattrFlags::empty());
            xattr(set, key, withheld)?;
        }
        Ok(())
    }

    /// True if owner and group are now the recorded ones.
    fn set_owner(
        &self,
        standing: &Standing,
        withheld: &Withheld,
        set: impl Fn(Option<Uid>, Option<Gid>) -> rustix::io::Result<()>,
    ) -> Result<bool> {
        let uid = self.uid.filter(|uid| *uid != standing.uid).map(Uid::from_raw);
        let gid = self.gid.filter(|gid| *gid != standing.gid).map(Gid::from_raw);
        let is_known = self.uid.is_some() && self.gid.is_some();
        if uid.is_none() && gid.is_none() {
            return Ok(is_known);
        }
        match set(uid, gid) {
            Ok(()) => Ok(is_known),
            Err(error) if is_withheld(error) => {
                withheld.an_owner();
                // A user may give to a group that they are in.
                let _ = set(None, gid);
                Ok(false)
            }
            Err(error) => Err(Error::io("set its owner", error.into())),
        }
    }

    /// Bits that lend the owner's rights only with the owner they were meant of; on directories they lend nothing.
    fn mode_to_set(&self, standing: &Standing, is_owned: bool) -> Option<Mode> {
        let mode = self.mode? & 0o7777;
        let mode = match is_owned || standing.what == What::Directory {
            true => mode,
            false => mode & !SET_ID,
        };
        Some(Mode::from_raw_mode(mode))
    }

    fn times(&self) -> Option<Timestamps> {
        let nanos = self.mtime_nanos?;
        let kept = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        };
        let modified = Timespec {
            tv_sec: nanos.div_euclid(1_000_000_000),
            tv_nsec: nanos.rem_euclid(1_000_000_000) as _,
        };
        Some(Timestamps {
            last_access: kept,
            last_modification: modified,
        })
    }
}

/// Each ended by a zero byte. The list is no longer than this on Linux.
fn xattr_names(file: &File) -> Result<Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let len = match rustix::fs::flistxattr(file, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        listed => listed
            .map_err(std::io::Error::from)
            .act(|| "list its extended attributes")?,
    };
    names.truncate(len);
    Ok(names)
}

/// Not ours to set here: for want of rights, in a user namespace that does not know the owner, on such a filesystem.
fn is_withheld(error: Errno) -> bool {
    matches!(
        error,
        Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS
    )
}

fn xattr(set: rustix::io::Result<()>, name: &[u8], withheld: &Withheld) -> Result<()> {
    match set {
        Err(error) if is_withheld(error) => {
            withheld.an_xattr();
            Ok(())
        }
        set => set
            .map_err(std::io::Error::from)
            .act(|| format!("set its extended attribute {}", String::from_utf8_lossy(name))),
    }
}
