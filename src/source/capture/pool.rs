//! A hidden directory for links and copies of tables, gone when the capture is.

use std::fs::{self, DirBuilder, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, linkat};
use rustix::io::Errno;

use crate::error::{Act, Error, Kind, Result};
use crate::scratch::{is_same, open_directory, prefix, random_name, remove_leftovers, try_lock};
use crate::source::touched::Touched;
use crate::source::walk::Stamp;

/// What tells backup programs to pass over a directory.
const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n\
    # Links to the tables of a database, made by levault while it reads them.\n";

/// Such a directory; it is made when the first table goes in.
#[derive(Debug)]
pub(crate) struct Pool {
    place: PathBuf,
    prefix: Vec<u8>,
    made: Option<Made>,
    links: bool,
    touched: Arc<Touched>,
}

/// It stays locked while it is open.
#[derive(Debug)]
struct Made {
    path: PathBuf,
    directory: File,
}

/// A copy.
pub(super) struct Copied {
    pub path: PathBuf,
    /// The file that was copied.
    pub of: Stamp,
}

/// What became of a link.
pub(super) enum Linked {
    Done(PathBuf),
    /// There is nothing to link to.
    Absent,
    /// None can be made in this place.
    No,
}

impl Pool {
    pub(super) fn new(place: PathBuf, database: &Path, touched: Arc<Touched>) -> Self {
        let name = database.file_name().unwrap_or_default();
        Self {
            place,
            prefix: prefix(name.as_bytes(), "capture"),
            made: None,
            links: true,
            touched,
        }
    }

    #[cfg(test)]
    pub(super) fn link_nothing(&mut self) {
        self.links = false;
    }

    pub(super) fn link(&mut self, path: &Path, name: &str) -> Linked {
        if !self.links {
            return Linked::No;
        }
        let Ok(link) = self.path().map(|pool| pool.join(name)) else {
            self.links = false;
            return Linked::No;
        };
        match linkat(CWD, path, CWD, &link, AtFlags::empty()) {
            Ok(()) => Linked::Done(link),
            Err(Errno::NOENT) if fs::symlink_metadata(path).is_err() => Linked::Absent,
            Err(_) => {
                self.links = false;
                Linked::No
            }
        }
    }

    /// Copies `file` from its start. [`Kind::Torn`] if it was written to meanwhile.
    pub(super) fn copy(&mut self, file: &mut File, len: u64, name: &str) -> Result<Copied> {
        let path = self.path()?.join(name);
        let doing = || format!("copy to {}", path.display());
        file.seek(SeekFrom::Start(0)).act(doing)?;
        let stamp = |file: &File| file.metadata().map(|facts| Stamp::of(&facts)).act(doing);
        let of = stamp(file)?;
        let mut copy = File::create(&path).act(doing)?;
        let bytes = std::io::copy(file, &mut copy).act(doing)?;
        if bytes == len && stamp(file)?.has_the_content_under_other_names_of(&of) {
            Ok(Copied { path, of })
        } else {
            Err(Error::new(Kind::Torn, format!("{bytes} bytes of {len}, or others")).act(doing()))
        }
    }

    fn path(&mut self) -> Result<&Path> {
        let made = match self.made.take() {
            Some(made) => made,
            None => self.touched.around(&self.place, || self.make())?,
        };
        Ok(&self.made.insert(made).path)
    }

    fn make(&self) -> Result<Made> {
        // What cannot be removed is in nobody's way.
        let _ = remove_leftovers(&self.place, &self.prefix);
        loop {
            let path = self.place.join(random_name(self.prefix.clone())?);
            let doing = || format!("create {}", path.display());
            DirBuilder::new().mode(0o700).create(&path).act(doing)?;
            let directory = open_directory(&path)?;
            // A concurrent capture may have taken it for a leftover before it was locked.
            if try_lock(&directory) && is_same(&path, &directory) {
                let tag = File::create_new(path.join("CACHEDIR.TAG"));
                tag.and_then(|mut tag| tag.write_all(CACHE_TAG)).act(doing)?;
                return Ok(Made { path, directory });
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(made) = &self.made
            && is_same(&made.path, &made.directory)
        {
            // What stays is removed by the next capture.
            let _ = self
                .touched
                .around(&self.place, || fs::remove_dir_all(&made.path));
        }
    }
}
