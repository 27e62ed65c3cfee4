//! Reads a regular file, with its holes.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::file_holes::{self, FileHole};
use super::walked_entry::nanos;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::HeldDirectory;

/// What tells a file that is as it was from one that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFingerprint {
    /// Its filesystem.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Its length, bytes.
    pub len: u64,
    /// Bytes that it takes on disk.
    pub stored: u64,
    /// Last modification.
    pub mtime_nanos: i128,
    /// Last change of content or metadata.
    pub ctime_nanos: i128,
    /// Names that it has.
    pub links: u64,
}

impl FileFingerprint {
    pub(in crate::source) fn of(facts: &Metadata) -> Self {
        Self {
            device: facts.dev(),
            inode: facts.ino(),
            len: facts.len(),
            stored: facts.blocks().saturating_mul(512),
            mtime_nanos: nanos(facts.mtime(), facts.mtime_nsec()),
            ctime_nanos: nanos(facts.ctime(), facts.ctime_nsec()),
            links: facts.nlink(),
        }
    }

    pub(in crate::source) fn of_stat(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            len: u64::try_from(stat.st_size).unwrap_or(0),
            stored: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
            mtime_nanos: nanos(stat.st_mtime, stat.st_mtime_nsec as i64),
            ctime_nanos: nanos(stat.st_ctime, stat.st_ctime_nsec as i64),
            links: stat.st_nlink,
        }
    }

    /// Of the regular file at a path below a directory that is held.
    pub fn of_path_below(above: &HeldDirectory, path: &Path) -> Result<Self> {
        let facts = above
            .open_below(path, OFlags::PATH)
            .and_then(|handle| File::from(handle).metadata());
        facts
            .context(|| format!("look at {}", path.display()))
            .map(|facts| Self::of(&facts))
    }

    /// True if both are of one file, whatever became of it.
    pub fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// True if nobody wrote to the file between the two.
    pub fn has_same_content(&self, other: &Self) -> bool {
        let content = |stamp: &Self| (stamp.len, stamp.mtime_nanos, stamp.ctime_nanos);
        self.is_same_file(other) && content(self) == content(other)
    }

    /// The same, or that it gained or lost a name and nothing else is to be seen: that changes the time of change too.
    pub fn has_same_content_but_links(&self, other: &Self) -> bool {
        let times = |stamp: &Self| (stamp.len, stamp.mtime_nanos);
        let renamed = self.is_same_file(other) && times(self) == times(other) && self.links != other.links;
        renamed || self.has_same_content(other)
    }
}

/// An open file, read from its beginning to its end.
pub struct FileSource {
    file: File,
    fingerprint: FileFingerprint,
    holes: Vec<FileHole>,
    /// Holes that begin before this are behind.
    next_hole: usize,
    at: u64,
}

impl FileSource {
    /// Opens what was looked at before.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] if something else stands there by now.
    pub fn open(above: &HeldDirectory, path: &Path, looked: &FileFingerprint) -> Result<Self> {
        let name = || format!("open {}", path.display());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOATIME;
        let file = match above.open_below(path, flags) {
            // Only a file's owner may read it unnoticed.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                above.open_below(path, flags - OFlags::NOATIME)
            }
            opened => opened,
        };
        let file = File::from(file.context(name)?);
        let facts = file.metadata().context(name)?;
        let stamp = FileFingerprint::of(&facts);
        if facts.is_file() && stamp.is_same_file(looked) {
            Ok(Self {
                holes: file_holes::find_holes(&file, &stamp),
                file,
                fingerprint: stamp,
                next_hole: 0,
                at: 0,
            })
        } else {
            Err(Error::new(ErrorKind::Mismatch, "another file came to stand there").context(name()))
        }
    }

    /// The file as it was opened.
    pub fn fingerprint(&self) -> &FileFingerprint {
        &self.fingerprint
    }

    /// Where it has no bytes on disk.
    pub fn holes(&self) -> &[FileHole] {
        &self.holes
    }

    /// Fills the buffer as far as the file goes; how much of it.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let got = self.read_some(&mut buffer[filled..])?;
            if got == 0 {
                break;
            }
            filled += got;
            self.at += got as u64;
        }
        Ok(filled)
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while self
            .holes
            .get(self.next_hole)
            .is_some_and(|(offset, len)| offset + len <= self.at)
        {
            self.next_hole += 1;
        }
        let until =
            |end: u64| usize::try_from(end - self.at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let most = match self.holes.get(self.next_hole) {
            Some((offset, len)) if *offset <= self.at => {
                let zeros = until(offset + len);
                buffer[..zeros].fill(0);
                return Ok(zeros);
            }
            Some((offset, _)) => until(*offset),
            None => buffer.len(),
        };
        loop {
            match self.file.read_at(&mut buffer[..most], self.at) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                got => return got.context(|| format!("read at {}", self.at)),
            }
        }
    }

    /// Bytes from here on of which nothing is on disk: they read as zeros.
    pub fn zeros_ahead(&self) -> u64 {
        let mut behind = self.holes[self.next_hole..].iter();
        let ahead = behind.find(|(offset, len)| offset + len > self.at);
        match ahead {
            Some((offset, len)) if *offset <= self.at => offset + len - self.at,
            _ => 0,
        }
    }

    /// Goes on behind so many bytes.
    pub fn skip(&mut self, bytes: u64) {
        self.at += bytes;
    }

    /// The file as it is now.
    pub fn current_fingerprint(&self) -> Result<FileFingerprint> {
        Ok(FileFingerprint::of(
            &self.file.metadata().context(|| "look at it again")?,
        ))
    }

    /// Begins anew with what it is now.
    pub fn restart(&mut self) -> Result<()> {
        self.fingerprint = self.current_fingerprint()?;
        self.holes = file_holes::find_holes(&self.file, &self.fingerprint);
        (self.next_hole, self.at) = (0, 0);
        Ok(())
    }
}
