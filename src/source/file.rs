//! Regular files of one directory, read with pread: a file that is cut while we read is an error, never a signal.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Act, Error, Kind, Result};
use crate::leveldb::name::{log_name, table_name};
use crate::leveldb::read_at::ReadAt;
use crate::leveldb::scan::OpenFiles;
use crate::leveldb::shape::TableExtension;

/// Opens a regular file for reading. A FIFO or a device is [`Kind::Corrupt`] instead of a wait without end.
pub fn open_regular(path: &Path) -> Result<(File, u64)> {
    let name = || format!("open {}", path.display());
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
    let file = options.open(path).act(name)?;
    let metadata = file.metadata().act(name)?;
    match metadata.is_file() {
        true => Ok((file, metadata.len())),
        false => Err(Error::corrupt("not a regular file").act(name())),
    }
}

/// A file that is open, by its length when it was opened.
pub struct OpenFile(pub File, pub u64);

impl ReadAt for OpenFile {
    fn len(&self) -> u64 {
        self.1
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.0
            .read_exact_at(buffer, offset)
            .act(|| format!("read at {offset}"))
    }
}

/// A file of the database.
struct PlacedFile {
    path: PathBuf,
    /// Kept open, unless the scan has more sources than files may be open.
    file: Option<File>,
    len: u64,
}

impl ReadAt for PlacedFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let mut read = |file: &File| file.read_exact_at(buffer, offset);
        match &self.file {
            Some(file) => read(file),
            None => read(&open_regular(&self.path)?.0),
        }
        .map_err(|cause| Error::io(format!("read at {offset}"), cause))
    }
}

/// The directory of a database, as the decoders ask for it.
pub struct Directory<'a> {
    /// Where the files are.
    pub path: &'a Path,
    /// What a table of that number is called; `None` when the directory lacks it.
    pub table_extension: &'a (dyn Fn(u64) -> Option<TableExtension> + Sync),
    /// Files stay open while they are read; false trades speed for descriptors.
    pub keep_open: bool,
}

impl Directory<'_> {
    fn open(&self, name: &str) -> Result<Box<dyn ReadAt>> {
        let path = self.path.join(name);
        let (file, len) = open_regular(&path)?;
        Ok(Box::new(PlacedFile {
            path,
            file: self.keep_open.then_some(file),
            len,
        }))
    }
}

impl OpenFiles for Directory<'_> {
    fn open_table(&self, number: u64) -> Result<Box<dyn ReadAt>> {
        match (self.table_extension)(number) {
            Some(extension) => self.open(&table_name(number, extension)),
            None => Err(Error::new(
                Kind::NotFound,
                "the MANIFEST names it, and it is not there",
            )),
        }
    }

    fn open_log(&self, number: u64) -> Result<Box<dyn ReadAt>> {
        self.open(&log_name(number))
    }
}
