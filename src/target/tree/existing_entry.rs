//! Describes what exists under a name.

use rustix::fs::{FileType, Stat};

/// One thing in the filesystem, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExistingEntry {
    /// What it is.
    pub kind: ExistingKind,
    /// Bytes of a file.
    pub len: u64,
    /// Last modification, nanoseconds since 1970.
    pub mtime_nanos: i128,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names that it has.
    pub links: u64,
    /// Filesystem and number there.
    pub identity: FileIdentity,
}

/// Filesystem and number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// The filesystem.
    pub device: u64,
    /// The number.
    pub inode: u64,
}

/// What something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExistingKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A device node.
    Device {
        /// Read by blocks.
        is_block: bool,
        /// The driver's number.
        major: u32,
        /// The device's number within the driver.
        minor: u32,
    },
    /// A socket, or what this program does not know.
    Other,
}

impl FileIdentity {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

impl ExistingEntry {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            kind: kind_of_stat(stat),
            len: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_nanos: nanos(stat.st_mtime, stat.st_mtime_nsec as i64),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            links: links(stat),
            identity: FileIdentity::of(stat),
        }
    }
}

fn kind_of_stat(stat: &Stat) -> ExistingKind {
    let device = |is_block| ExistingKind::Device {
        is_block,
        major: rustix::fs::major(stat.st_rdev),
        minor: rustix::fs::minor(stat.st_rdev),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => ExistingKind::File,
        FileType::Directory => ExistingKind::Directory,
        FileType::Symlink => ExistingKind::Symlink,
        FileType::Fifo => ExistingKind::Fifo,
        FileType::BlockDevice => device(true),
        FileType::CharacterDevice => device(false),
        _ => ExistingKind::Other,
    }
}

fn nanos(seconds: i64, nanos: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
}

#[allow(clippy::useless_conversion, reason = "32 bits on some machines")]
fn links(stat: &Stat) -> u64 {
    u64::from(stat.st_nlink)
}
