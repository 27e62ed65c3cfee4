//! A hidden directory for links and copies of tables, gone when the capture is.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::error::{Act, Error, Kind, Result};
use crate::held_directory::HeldDirectory;
use crate::scratch::{ScratchDirectory, prefix, remove_leftovers};
use crate::source::held::Named;
use crate::source::touched::Touched;
use crate::source::walk::Stamp;

/// What the directory says of itself.
const SAYS: &str = "Links to the tables of a database, made by levault while it reads them.";

/// Such a directory; it is made when the first table goes in.
#[derive(Debug)]
pub(crate) struct Pool {
    /// `None` if it cannot be opened.
    parent: Option<HeldDirectory>,
    prefix: Vec<u8>,
    made: Option<ScratchDirectory>,
    /// Directories that are called as those of killed captures, and are not proven to be.
    left_alone: Vec<PathBuf>,
    links: bool,
    touched: Arc<Touched>,
}

/// A copy.
pub(super) struct Copied {
    pub named: Named,
    /// The file that was copied.
    pub of: Stamp,
}

/// What became of a link.
pub(super) enum Linked {
    Done(Named),
    /// There is nothing to link to.
    Absent,
    /// None can be made in this place.
    No,
}

impl Pool {
    pub(super) fn new(parent: Option<HeldDirectory>, database: &Path, touched: Arc<Touched>) -> Self {
        let name = database.file_name().unwrap_or_default();
        Self {
            parent,
            prefix: prefix(name.as_bytes(), "capture"),
            made: None,
            left_alone: Vec::new(),
            links: true,
            touched,
        }
    }

    #[cfg(test)]
    pub(super) fn link_nothing(&mut self) {
        self.links = false;
    }

    pub(super) fn link(&mut self, database: &HeldDirectory, name: &str) -> Linked {
        if !self.links {
            return Linked::No;
        }
        let Ok(pool) = self.directory() else {
            self.links = false;
            return Linked::No;
        };
        match database.link(name, &pool, name) {
            Ok(()) => Linked::Done(Named::new(&pool, name)),
            Err(Errno::NOENT) if database.stat(name).is_err() => Linked::Absent,
            Err(_) => {
                self.links = false;
                Linked::No
            }
        }
    }

    /// Copies `file` from its start. [`Kind::Torn`] if it was written to meanwhile.
    pub(super) fn copy(&mut self, file: &mut File, len: u64, name: &str) -> Result<Copied> {
        let pool = self.directory()?;
        let doing = || format!("copy to {}", pool.shown(name).display());
        file.seek(SeekFrom::Start(0)).act(doing)?;
        let stamp = |file: &File| file.metadata().map(|facts| Stamp::of(&facts)).act(doing);
        let of = stamp(file)?;
        // A try before this one may have left half of it.
        let _ = pool.remove_file(name);
        let mut copy = pool.create_file(name, Mode::RUSR | Mode::WUSR).act(doing)?;
        let bytes = std::io::copy(file, &mut copy).act(doing)?;
        if bytes == len && stamp(file)?.has_the_content_under_other_names_of(&of) {
            let named = Named::new(&pool, name);
            Ok(Copied { named, of })
        } else {
            Err(Error::new(Kind::Torn, format!("{bytes} bytes of {len}, or others")).act(doing()))
        }
    }

    /// Directories that are called as those of killed captures, and are not proven to be.
    pub(super) fn left_alone(&self) -> &[PathBuf] {
        &self.left_alone
    }

    fn directory(&mut self) -> Result<HeldDirectory> {
        if self.made.is_none() {
            let parent = self.parent.clone();
            let parent = parent.ok_or_else(|| Error::new(Kind::NotFound, "no place for links and copies"))?;
            let touched = self.touched.clone();
            self.made = Some(touched.around(&parent, || self.make(&parent))?);
        }
        match &self.made {
            Some(made) => Ok(made.directory().clone()),
            None => Err(Error::new(Kind::NotFound, "no directory was made")),
        }
    }

    fn make(&mut self, parent: &HeldDirectory) -> Result<ScratchDirectory> {
        // What cannot be removed is in nobody's way.
        self.left_alone = remove_leftovers(parent, &self.prefix).unwrap_or_default();
        let made = ScratchDirectory::create(parent, &self.prefix, SAYS)?;
        made.must_be_private().map(|()| made)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let (Some(made), Some(parent)) = (&self.made, &self.parent) {
            // What stays is removed by the next capture.
            let _ = self.touched.around(parent, || made.remove());
        }
    }
}
