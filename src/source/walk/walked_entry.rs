//! Reads the type and metadata of a directory's entry.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{OFlags, readlinkat};

use super::file_source::FileFingerprint;
use super::xattrs;
use crate::error::{Result, ResultExt};
use crate::held_directory::HeldDirectory;
use crate::report::OperationReport;
use crate::snapshot::{DeviceNumber, FileMetadata};

/// What something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file, as it was when it was looked at.
    File(FileFingerprint),
    /// A directory.
    Directory,
    /// A symbolic link, and its target.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A device node.
    Device(DeviceNumber),
    /// A socket: nothing that a backup can bring back.
    Socket,
}

/// One thing in the filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkedEntry {
    /// What it is.
    pub kind: FileKind,
    /// What a restore gives back beside content.
    pub meta: FileMetadata,
    /// The filesystem it lies on.
    pub device: u64,
}

/// Looks at what has a path below a directory that is held. What of its attributes cannot be read is a problem that is
/// reported, and the rest counts.
pub fn read_entry(above: &HeldDirectory, path: &Path, report: &OperationReport) -> Result<WalkedEntry> {
    let (directory, name) = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if parent.starts_with(above.path()) => (above.descendant(parent)?, name),
        _ => (above.clone(), OsStr::new(".")),
    };
    let facts = read_stat(&directory, name)?;
    read_details(&directory, name, &facts, report)
}

/// What stat(2) says of what has a name, itself if it is a link.
pub fn read_stat(directory: &HeldDirectory, name: &OsStr) -> Result<Metadata> {
    let path = directory.display_path(name);
    let facts = directory
        .open_below(&path, OFlags::PATH)
        .and_then(|handle| File::from(handle).metadata());
    facts.context(|| format!("look at {}", path.display()))
}

/// [`read_entry`] of a name in a directory, with these facts.
pub fn read_details(
    directory: &HeldDirectory,
    name: &OsStr,
    facts: &Metadata,
    report: &OperationReport,
) -> Result<WalkedEntry> {
    let what = file_kind(directory, name, facts)?;
    let mut meta = file_metadata(facts);
    match xattrs::read(directory, name) {
        Ok(xattrs) => meta.xattrs = xattrs,
        Err(error) => {
            let path = directory.display_path(name);
            report.problem_at(&path, format!("{}: {error}", path.display()));
        }
    }
    if let FileKind::File(stamp) = &what {
        meta.ctime_nanos = Some(stamp.ctime_nanos);
        meta.inode = Some(stamp.inode);
    }
    Ok(WalkedEntry {
        kind: what,
        meta,
        device: facts.dev(),
    })
}

fn file_kind(directory: &HeldDirectory, name: &OsStr, facts: &Metadata) -> Result<FileKind> {
    let kind = facts.file_type();
    Ok(if kind.is_file() {
        FileKind::File(FileFingerprint::of(facts))
    } else if kind.is_dir() {
        FileKind::Directory
    } else if kind.is_symlink() {
        let target = readlinkat(directory, name, Vec::new()).map_err(std::io::Error::from);
        let target =
            target.context(|| format!("read the link {}", directory.display_path(name).display()))?;
        FileKind::Symlink(target.into_bytes())
    } else if kind.is_fifo() {
        FileKind::Fifo
    } else if kind.is_block_device() || kind.is_char_device() {
        FileKind::Device(DeviceNumber {
            is_block: kind.is_block_device(),
            major: rustix::fs::major(facts.rdev()),
            minor: rustix::fs::minor(facts.rdev()),
        })
    } else {
        FileKind::Socket
    })
}

/// Mode, owner and time of modification, and which names are one file's. (Directories have links of their own.)
fn file_metadata(facts: &Metadata) -> FileMetadata {
    let linked = !facts.is_dir() && facts.nlink() > 1;
    FileMetadata {
        mode: Some(facts.mode() & 0o7777),
        uid: Some(facts.uid()),
        gid: Some(facts.gid()),
        mtime_nanos: Some(mtime_nanos(facts)),
        hard_link: linked.then(|| hard_link_id(facts)),
        ..FileMetadata::default()
    }
}

/// Last modification.
pub fn mtime_nanos(facts: &Metadata) -> i128 {
    nanos(facts.mtime(), facts.mtime_nsec())
}

/// The same in every backup, so that trees that did not change stay as they are.
fn hard_link_id(facts: &Metadata) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&facts.dev().to_le_bytes());
    hasher.update(&facts.ino().to_le_bytes());
    let mut number = [0; 8];
    hasher.finalize_xof().fill(&mut number);
    u64::from_le_bytes(number)
}

pub fn nanos(seconds: i64, nanos: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
}
