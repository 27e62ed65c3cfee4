//! Sets owner, mode, times and extended attributes.
//!
//! Owner, mode, times and extended attributes: set as far as the system lets us.
//!
//! The order matters: a new owner takes set-user-id bits and capabilities away, extended attributes can only be written
//! while the owner may write, and every other change moves the time.

use std::ffi::OsStr;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::existing_entry::{ExistingEntry, ExistingKind};
use crate::error::{Error, Result, ResultExt};

const SET_ID: u32 = 0o6000;

/// Times that a filesystem keeps are never further from those that were set: FAT counts in two seconds.
const RESOLUTION_NANOS: u128 = 2_000_000_001;

const ACL_ACCESS_XATTR: &str = "system.posix_acl_access";
const ACL_DEFAULT_XATTR: &str = "system.posix_acl_default";

/// What the filesystem is to know of a thing beside its content; what is absent is left as it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetAttributes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last modification, nanoseconds since 1970.
    pub mtime_nanos: Option<i128>,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What of a thing's attributes can be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeKind {
    /// Owner or group.
    Owner,
    /// Permission bits.
    Mode,
    /// Time of modification, by more than a filesystem's resolution.
    Time,
    /// Extended attributes, access lists among them.
    Xattr,
}

/// Attributes that could not be set, counted by kind.
#[derive(Debug, Default)]
pub struct RefusedAttributes {
    /// Refused because the user is not root.
    by_permission: [AtomicU64; 4],
    /// Refused, or kept otherwise, by the filesystem.
    by_filesystem: [AtomicU64; 4],
    /// Times that the filesystem keeps less exactly.
    rounded_times: AtomicU64,
}

impl RefusedAttributes {
    /// Things of which this was refused because the user is not root.
    pub fn refused_by_permission(&self, kind: AttributeKind) -> u64 {
        self.by_permission[kind as usize].load(Ordering::Relaxed)
    }

    /// Things of which this is not as it was, because the filesystem has nothing of the kind.
    pub fn refused_by_filesystem(&self, kind: AttributeKind) -> u64 {
        self.by_filesystem[kind as usize].load(Ordering::Relaxed)
    }

    /// Things whose time is kept less exactly, by less than two seconds.
    pub fn rounded_times(&self) -> u64 {
        self.rounded_times.load(Ordering::Relaxed)
    }

    fn count_refused(&self, kind: AttributeKind, error: Errno) {
        let is_root = rustix::process::geteuid().is_root();
        match error {
            Errno::PERM | Errno::ACCESS if !is_root => {
                self.by_permission[kind as usize].fetch_add(1, Ordering::Relaxed);
            }
            _ => self.count_not_kept(kind),
        }
    }

    fn count_not_kept(&self, kind: AttributeKind) {
        self.by_filesystem[kind as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl TargetAttributes {
    /// Those of a directory that is open.
    pub(in super::super) fn of(file: &File) -> Result<Self> {
        let stat = rustix::fs::fstat(file)
            .map_err(std::io::Error::from)
            .context(|| "look at it")?;
        let standing = ExistingEntry::of(&stat);
        let names = xattr_names(file)?;
        let xattr = |name: &[u8]| {
            let mut value = vec![0; 64 << 10];
            let len = rustix::fs::fgetxattr(file, name, &mut value[..]).map_err(std::io::Error::from);
            value.truncate(len.context(|| "read its extended attributes")?);
            Ok((name.to_vec(), value))
        };
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(Self {
            mode: Some(standing.mode),
            uid: Some(standing.uid),
            gid: Some(standing.gid),
            mtime_nanos: Some(standing.mtime_nanos),
            xattrs: names.map(xattr).collect::<Result<_>>()?,
        })
    }

    /// Sets them on a file or a directory, which keeps no access list that is not among them.
    pub(in super::super) fn set(&self, file: &File, withheld: &RefusedAttributes) -> Result<()> {
        let stat = rustix::fs::fstat(file)
            .map_err(std::io::Error::from)
            .context(|| "look at it")?;
        let standing = ExistingEntry::of(&stat);
        let set = |uid, gid| rustix::fs::fchown(file, uid, gid);
        let is_owned = self.set_owner(&standing, withheld, set)?;
        for name in self.inherited_acls(standing.kind) {
            acl_removed(rustix::fs::fremovexattr(file, name), withheld)?;
        }
        for (name, value) in &self.xattrs {
            let set = rustix::fs::fsetxattr(file, &name[..], value, XattrFlags::empty());
            xattr(set, name, withheld)?;
        }
        let mode = self.mode_to_set(&standing, is_owned);
        if let Some(mode) = mode {
            mode_set(rustix::fs::fchmod(file, mode))?;
        }
        let set = |times: &Timestamps| rustix::fs::futimens(file, times);
        let now = self.set_times(set, || rustix::fs::fstat(file))?;
        self.count_differences(&now, mode, withheld);
        Ok(())
    }

    /// Sets the time of modification; what stands there then. Some filesystems set both times or none.
    fn set_times(
        &self,
        set: impl Fn(&Timestamps) -> rustix::io::Result<()>,
        look: impl Fn() -> rustix::io::Result<Stat>,
    ) -> Result<ExistingEntry> {
        let look = || look().map_err(std::io::Error::from).context(|| "look at it");
        let set = |times: &Timestamps| {
            set(times)
                .map_err(std::io::Error::from)
                .context(|| "set its time")
        };
        let Some(mut times) = self.times() else {
            return look().map(|stat| ExistingEntry::of(&stat));
        };
        set(&times)?;
        let now = look()?;
        if self.time_difference(&ExistingEntry::of(&now)) < RESOLUTION_NANOS {
            return Ok(ExistingEntry::of(&now));
        }
        times.last_access = Timespec {
            tv_sec: now.st_atime as _,
            tv_nsec: now.st_atime_nsec as _,
        };
        set(&times)?;
        look().map(|stat| ExistingEntry::of(&stat))
    }

    fn time_difference(&self, now: &ExistingEntry) -> u128 {
        self.mtime_nanos
            .map_or(0, |wanted| wanted.abs_diff(now.mtime_nanos))
    }

    /// A filesystem may take a value and keep another one: a time beyond its range, a mode that it has no place for.
    fn count_differences(&self, now: &ExistingEntry, mode: Option<Mode>, withheld: &RefusedAttributes) {
        if mode.is_some_and(|mode| mode.as_raw_mode() & 0o7777 != now.mode) {
            withheld.count_not_kept(AttributeKind::Mode);
        }
        match self.time_difference(now) {
            0 => {}
            1..RESOLUTION_NANOS => {
                withheld.rounded_times.fetch_add(1, Ordering::Relaxed);
            }
            _ => withheld.count_not_kept(AttributeKind::Time),
        }
    }

    /// The access lists that a new thing may have inherited from the directory above, and must not keep.
    fn inherited_acls(&self, what: ExistingKind) -> impl Iterator<Item = &'static str> {
        let lists: &[&str] = match what {
            ExistingKind::Symlink => &[],
            ExistingKind::Directory => &[ACL_ACCESS_XATTR, ACL_DEFAULT_XATTR],
            _ => &[ACL_ACCESS_XATTR],
        };
        let is_saved = |list: &str| self.xattrs.iter().any(|(name, _)| name == list.as_bytes());
        lists.iter().copied().filter(move |list| !is_saved(list))
    }

    /// True if a file has this owner and mode, as far as this user could change them.
    pub(in super::super) fn are_those_of(&self, stat: &rustix::fs::Stat) -> bool {
        let standing = ExistingEntry::of(stat);
        let is_same = |wanted: Option<u32>, is: u32| wanted.is_none_or(|wanted| wanted == is);
        let is_owned = is_same(self.uid, standing.uid) && is_same(self.gid, standing.gid);
        is_same(self.mode, standing.mode) && (is_owned || !rustix::process::geteuid().is_root())
    }

    /// Takes away the user's extended attributes and capabilities that are not among these: of what stood there before.
    pub(super) fn remove_other_xattrs(&self, file: &File) -> Result<()> {
        let names = xattr_names(file)?;
        let names = names
            .split(|byte| *byte == 0)
            .filter(|name| name.starts_with(b"user.") || *name == b"security.capability");
        for name in names.filter(|name| !self.xattrs.iter().any(|(own, _)| own == name)) {
            rustix::fs::fremovexattr(file, name)
                .map_err(std::io::Error::from)
                .context(|| "remove an extended attribute")?;
        }
        Ok(())
    }

    /// Sets them on what cannot be opened: a link, a pipe, a device. It must have been made here, where nobody else can put
    /// a link in its place.
    pub(super) fn set_at(&self, directory: &File, name: &OsStr, withheld: &RefusedAttributes) -> Result<()> {
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(std::io::Error::from)
            .context(|| "look at it")?;
        let standing = ExistingEntry::of(&stat);
        let set = |uid, gid| rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        let is_owned = self.set_owner(&standing, withheld, set)?;
        for list in self.inherited_acls(standing.kind) {
            let path = super::target_directory::path_in(directory, name);
            acl_removed(rustix::fs::lremovexattr(path, list), withheld)?;
        }
        self.set_xattrs_at(directory, name, withheld)?;
        // A link has no mode of its own.
        let mode = self
            .mode_to_set(&standing, is_owned)
            .filter(|_| standing.kind != ExistingKind::Symlink);
        if let Some(mode) = mode {
            mode_set(rustix::fs::chmodat(directory, name, mode, AtFlags::empty()))?;
        }
        let no_follow = AtFlags::SYMLINK_NOFOLLOW;
        let set = |times: &Timestamps| rustix::fs::utimensat(directory, name, times, no_follow);
        let now = self.set_times(set, || rustix::fs::statat(directory, name, no_follow))?;
        self.count_differences(&now, mode, withheld);
        Ok(())
    }

    fn set_xattrs_at(&self, directory: &File, name: &OsStr, withheld: &RefusedAttributes) -> Result<()> {
        for (key, value) in &self.xattrs {
            let path = super::target_directory::path_in(directory, name);
            let set = rustix::fs::lsetxattr(path, &key[..], value, XattrFlags::empty());
            xattr(set, key, withheld)?;
        }
        Ok(())
    }

    /// True if owner and group are now the recorded ones.
    fn set_owner(
        &self,
        standing: &ExistingEntry,
        withheld: &RefusedAttributes,
        set: impl Fn(Option<Uid>, Option<Gid>) -> rustix::io::Result<()>,
    ) -> Result<bool> {
        // No owner has this number; to the system it means that the owner stays.
        if self.uid == Some(u32::MAX) || self.gid == Some(u32::MAX) {
            withheld.count_not_kept(AttributeKind::Owner);
            return Ok(false);
        }
        let uid = self.uid.filter(|uid| *uid != standing.uid).map(Uid::from_raw);
        let gid = self.gid.filter(|gid| *gid != standing.gid).map(Gid::from_raw);
        let is_known = self.uid.is_some() && self.gid.is_some();
        if uid.is_none() && gid.is_none() {
            return Ok(is_known);
        }
        match set(uid, gid) {
            Ok(()) => Ok(is_known),
            Err(error) if is_refusal(error) => {
                withheld.count_refused(AttributeKind::Owner, error);
                // A user may give to a group that they are in.
                let _ = set(None, gid);
                Ok(false)
            }
            Err(error) => Err(Error::io("set its owner", error.into())),
        }
    }

    /// Bits that lend the owner's rights only with the owner they were meant of; on directories they lend nothing.
    fn mode_to_set(&self, standing: &ExistingEntry, is_owned: bool) -> Option<Mode> {
        let mode = self.mode? & 0o7777;
        let mode = if is_owned || standing.kind == ExistingKind::Directory {
            mode
        } else {
            mode & !SET_ID
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
            tv_sec: i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?,
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
            .context(|| "list its extended attributes")?,
    };
    names.truncate(len);
    Ok(names)
}

/// Takes away the access lists that a directory inherited from the one above, and what is made in it would inherit.
pub(in super::super) fn remove_inherited_acls(directory: &File) -> Result<()> {
    for list in [ACL_ACCESS_XATTR, ACL_DEFAULT_XATTR] {
        acl_removed(
            rustix::fs::fremovexattr(directory, list),
            &RefusedAttributes::default(),
        )?;
    }
    Ok(())
}

/// Most have none, and many filesystems have nothing of the kind.
fn acl_removed(removed: rustix::io::Result<()>, withheld: &RefusedAttributes) -> Result<()> {
    match removed {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(error) if is_refusal(error) => {
            withheld.count_refused(AttributeKind::Xattr, error);
            Ok(())
        }
        Err(error) => Err(Error::io("remove an inherited access list", error.into())),
    }
}

/// Who may not change the mode of a thing that they made is on a filesystem that has none: what was not set shows when
/// it is looked at again.
fn mode_set(set: rustix::io::Result<()>) -> Result<()> {
    match set {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(Errno::PERM) if rustix::process::geteuid().is_root() => Ok(()),
        set => set.map_err(std::io::Error::from).context(|| "set its mode"),
    }
}

/// Not ours to set here: for want of rights, in a user namespace that does not know the owner, on such a filesystem.
fn is_refusal(error: Errno) -> bool {
    matches!(
        error,
        Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS
    )
}

fn xattr(set: rustix::io::Result<()>, name: &[u8], withheld: &RefusedAttributes) -> Result<()> {
    match set {
        Err(error) if is_refusal(error) => {
            withheld.count_refused(AttributeKind::Xattr, error);
            Ok(())
        }
        set => set
            .map_err(std::io::Error::from)
            .context(|| format!("set its extended attribute {}", String::from_utf8_lossy(name))),
    }
}
