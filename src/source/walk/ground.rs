//! Where a walk stands: below it no symbolic link is walked through, whatever comes to stand in a directory's place
//! meanwhile.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use crate::error::{Act, Result};

/// An open directory, and the path by which what lies in it is named.
#[derive(Debug)]
pub struct Ground {
    prefix: PathBuf,
    directory: OwnedFd,
}

impl Ground {
    /// Links on the way to this directory are followed, and at its end: that is the way that was asked for.
    pub fn at(directory: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(directory, flags, Mode::empty()).map_err(io::Error::from);
        Ok(Self {
            prefix: directory.to_owned(),
            directory: opened.act(|| format!("open {}", directory.display()))?,
        })
    }

    /// Opens what lies at or below it, to read.
    pub(super) fn open(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        let below = match path.strip_prefix(&self.prefix) {
            Ok(below) if below == Path::new("") => Path::new("."),
            Ok(below) => below,
            Err(_) => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let no_links = ResolveFlags::NO_SYMLINKS;
        let opened = match openat2(&self.directory, below, flags, Mode::empty(), no_links) {
            // Linux before 5.6, or a sandbox that does not know it: the last part of the path at least is no link.
            Err(Errno::NOSYS | Errno::PERM) => openat(&self.directory, below, flags, Mode::empty()),
            opened => opened,
        };
        opened.map(File::from).map_err(io::Error::from)
    }
}
