//! Holds links and copies of tables in a hidden directory.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::HeldDirectory;
use crate::scratch_directory::{ScratchDirectory, remove_leftovers, scratch_prefix};
use crate::source::file_set::HeldName;
use crate::source::touched_directories::TouchedDirectories;
use crate::source::walk::FileFingerprint;

/// What the directory says of itself.
const HOLD_MARKER_TEXT: &str = "Links to the tables of a database, made by levault while it reads them.";

/// Such a directory; it is made when the first table goes in.
#[derive(Debug)]
pub(crate) struct HoldDirectory {
    /// `None` if it cannot be opened.
    parent: Option<HeldDirectory>,
    prefix: Vec<u8>,
    made: Option<ScratchDirectory>,
    /// Directories that are called as those of killed captures, and are not proven to be.
    unproven_leftovers: Vec<PathBuf>,
    links: bool,
    touched: Arc<TouchedDirectories>,
}

/// A copy.
pub(super) struct CopiedTable {
    pub named: HeldName,
    /// The file that was copied.
    pub original: FileFingerprint,
}

/// What became of a link.
pub(super) enum LinkOutcome {
    Linked(HeldName),
    /// There is nothing to link to.
    Absent,
    /// None can be made in this place.
    Unavailable,
}

impl HoldDirectory {
    pub(super) fn new(
        parent: Option<HeldDirectory>,
        database: &Path,
        touched: Arc<TouchedDirectories>,
    ) -> Self {
        let name = database.file_name().unwrap_or_default();
        Self {
            parent,
            prefix: scratch_prefix(name.as_bytes(), "capture"),
            made: None,
            unproven_leftovers: Vec::new(),
            links: true,
            touched,
        }
    }

    #[cfg(test)]
    pub(super) fn disable_links(&mut self) {
        self.links = false;
    }

    pub(super) fn link(&mut self, database: &HeldDirectory, name: &str) -> LinkOutcome {
        if !self.links {
            return LinkOutcome::Unavailable;
        }
        let Ok(pool) = self.directory() else {
            self.links = false;
            return LinkOutcome::Unavailable;
        };
        match database.link(name, &pool, name) {
            Ok(()) => LinkOutcome::Linked(HeldName::new(&pool, name)),
            Err(Errno::NOENT) if database.stat(name).is_err() => LinkOutcome::Absent,
            Err(_) => {
                self.links = false;
                LinkOutcome::Unavailable
            }
        }
    }

    /// Copies `file` from its start. [`ErrorKind::Torn`] if it was written to meanwhile.
    pub(super) fn copy(&mut self, file: &mut File, len: u64, name: &str) -> Result<CopiedTable> {
        let pool = self.directory()?;
        let doing = || format!("copy to {}", pool.display_path(name).display());
        file.seek(SeekFrom::Start(0)).context(doing)?;
        let stamp = |file: &File| {
            file.metadata()
                .map(|facts| FileFingerprint::of(&facts))
                .context(doing)
        };
        let of = stamp(file)?;
        // A try before this one may have left half of it.
        let _ = pool.remove_file(name);
        let mut copy = pool.create_file(name, Mode::RUSR | Mode::WUSR).context(doing)?;
        let bytes = std::io::copy(file, &mut copy).context(doing)?;
        if bytes == len && stamp(file)?.has_same_content_but_links(&of) {
            let named = HeldName::new(&pool, name);
            Ok(CopiedTable { named, original: of })
        } else {
            Err(Error::new(ErrorKind::Torn, format!("{bytes} bytes of {len}, or others")).context(doing()))
        }
    }

    /// Directories that are called as those of killed captures, and are not proven to be.
    pub(super) fn unproven_leftovers(&self) -> &[PathBuf] {
        &self.unproven_leftovers
    }

    fn directory(&mut self) -> Result<HeldDirectory> {
        if self.made.is_none() {
            let parent = self.parent.clone();
            let parent =
                parent.ok_or_else(|| Error::new(ErrorKind::NotFound, "no place for links and copies"))?;
            let touched = self.touched.clone();
            self.made = Some(touched.track(&parent, || self.make(&parent))?);
        }
        match &self.made {
            Some(made) => Ok(made.directory().clone()),
            None => Err(Error::new(ErrorKind::NotFound, "no directory was made")),
        }
    }

    fn make(&mut self, parent: &HeldDirectory) -> Result<ScratchDirectory> {
        // What cannot be removed is in nobody's way.
        self.unproven_leftovers = remove_leftovers(parent, &self.prefix).unwrap_or_default();
        let made = ScratchDirectory::create(parent, &self.prefix, HOLD_MARKER_TEXT)?;
        made.must_be_private().map(|()| made)
    }
}

impl Drop for HoldDirectory {
    fn drop(&mut self) {
        if let (Some(made), Some(parent)) = (&self.made, &self.parent) {
            // What stays is removed by the next capture.
            let _ = self.touched.track(parent, || made.remove());
        }
    }
}
