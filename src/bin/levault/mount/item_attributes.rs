//! Computes the attributes of items (`stat`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};
use levault::engine::database_file_attributes::file_meta;
use levault::error::{Result, ResultExt};
use levault::snapshot::{DeviceNumber, EntryKind, FileMetadata};

use super::mount_context::{MountContext, ShownSnapshot};
use super::mount_item::{DatabaseFileItem, MountItem};

/// What `stat` counts blocks in.
const BLOCK: u64 = 512;

impl MountContext {
    /// All that is known without reading its content.
    pub fn attr(&self, ino: u64, item: &MountItem) -> Result<FileAttr> {
        let mut attr = match item {
            MountItem::Top | MountItem::Shelf(_) => {
                self.directory_attributes(FileType::Directory, 0o555, self.since)
            }
            MountItem::Latest(target) => FileAttr {
                size: target.len() as u64,
                ..self.directory_attributes(FileType::Symlink, 0o777, self.since)
            },
            MountItem::Snapshot(shown) | MountItem::Way(shown, _) => {
                self.directory_attributes(FileType::Directory, 0o555, when(shown.stored.snapshot.time.0))
            }
            MountItem::Node(_, place) => self.node(&place.node.entry.kind, &place.node.entry.meta),
            MountItem::Records(shown, number) => self.records(shown, *number)?,
            MountItem::File(shown, file) => self.restored_file_attributes(shown, file)?,
        };
        attr.ino = INodeNo(ino);
        Ok(attr)
    }

    fn directory_attributes(&self, kind: FileType, perm: u16, at: SystemTime) -> FileAttr {
        let (uid, gid) = self.owner(None, None);
        FileAttr {
            ino: INodeNo(0),
            size: 0,
            blocks: 0,
            atime: at,
            mtime: at,
            ctime: at,
            crtime: at,
            kind,
            perm,
            nlink: if kind == FileType::Directory { 2 } else { 1 },
            uid,
            gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn owner(&self, uid: Option<u32>, gid: Option<u32>) -> (u32, u32) {
        if self.owner_root {
            (0, 0)
        } else {
            (uid.unwrap_or(self.us.0), gid.unwrap_or(self.us.1))
        }
    }

    fn node(&self, kind: &EntryKind, meta: &FileMetadata) -> FileAttr {
        let mtime = when(meta.mtime_nanos.unwrap_or(0));
        let default = match kind {
            EntryKind::Directory(_) | EntryKind::Database(_) => 0o755,
            EntryKind::Symlink(_) => 0o777,
            _ => 0o644,
        };
        let perm = (meta.mode.unwrap_or(default) & 0o7777) as u16;
        let (uid, gid) = self.owner(meta.uid, meta.gid);
        let plain = self.directory_attributes(file_type(kind), perm, mtime);
        let (size, holes) = match kind {
            EntryKind::File(list) => (list.bytes(), meta.holes.iter().map(|(_, len)| len).sum()),
            EntryKind::Symlink(target) => (target.len() as u64, 0),
            _ => (0, 0),
        };
        FileAttr {
            size,
            blocks: size.saturating_sub(holes).div_ceil(BLOCK),
            ctime: meta.ctime_nanos.map_or(mtime, when),
            // How many other names there are is not known; that there are some, is.
            nlink: plain.nlink.max(if meta.hard_link.is_some() { 2 } else { 1 }),
            uid,
            gid,
            rdev: match kind {
                EntryKind::Device(device) => rdev(*device),
                _ => 0,
            },
            ..plain
        }
    }

    /// Their size is not known before they are read.
    fn records(&self, shown: &ShownSnapshot, number: u32) -> Result<FileAttr> {
        let database = self.database(shown, number)?;
        let directory = database.directory.clone().unwrap_or_default();
        let meta = file_meta(database, &directory);
        let perm = (meta.mode.unwrap_or(0o600) & 0o444) as u16;
        let (uid, gid) = self.owner(meta.uid, meta.gid);
        let plain = self.directory_attributes(FileType::RegularFile, perm, when(database.capture.time.0));
        Ok(FileAttr { uid, gid, ..plain })
    }

    /// Owner and mode are those that a restore gives it, the time is the cut's.
    fn restored_file_attributes(&self, shown: &ShownSnapshot, file: &DatabaseFileItem) -> Result<FileAttr> {
        let made = self.restored_file(shown, file.database)?;
        let path = made.path.join(OsStr::from_bytes(&file.name));
        let facts = path
            .symlink_metadata()
            .context(|| format!("stat {}", path.display()))?;
        let meta = made.metas.file(&file.name);
        let time = self.database(shown, file.database)?.capture.time;
        let perm = (meta.mode.unwrap_or(0o600) & 0o7777) as u16;
        let (uid, gid) = self.owner(meta.uid, meta.gid);
        Ok(FileAttr {
            size: facts.len(),
            blocks: facts.blocks(),
            uid,
            gid,
            ..self.directory_attributes(FileType::RegularFile, perm, when(time.0))
        })
    }
}

/// What the kernel calls it.
pub fn file_type(kind: &EntryKind) -> FileType {
    match kind {
        EntryKind::File(_) => FileType::RegularFile,
        EntryKind::Directory(_) | EntryKind::Database(_) => FileType::Directory,
        EntryKind::Symlink(_) => FileType::Symlink,
        EntryKind::Fifo => FileType::NamedPipe,
        EntryKind::Device(device) if device.is_block => FileType::BlockDevice,
        EntryKind::Device(_) => FileType::CharDevice,
    }
}

/// The type of any item.
pub fn type_of(item: &MountItem) -> FileType {
    match item {
        MountItem::Top | MountItem::Shelf(_) | MountItem::Snapshot(_) | MountItem::Way(..) => {
            FileType::Directory
        }
        MountItem::Latest(_) => FileType::Symlink,
        MountItem::Node(_, place) => file_type(&place.node.entry.kind),
        MountItem::Records(..) | MountItem::File(..) => FileType::RegularFile,
    }
}

/// A time before 1970 is one too.
fn when(nanos: impl Into<i128>) -> SystemTime {
    let nanos = nanos.into();
    let apart = Duration::from_nanos_u128(nanos.unsigned_abs());
    if nanos < 0 {
        UNIX_EPOCH.checked_sub(apart).unwrap_or(UNIX_EPOCH)
    } else {
        UNIX_EPOCH.checked_add(apart).unwrap_or(UNIX_EPOCH)
    }
}

/// The kernel's form of a device number: twelve bits of the major, twenty of the minor.
fn rdev(device: DeviceNumber) -> u32 {
    (device.minor & 0xff) | ((device.major & 0xfff) << 8) | ((device.minor & 0xf_ff00) << 12)
}
