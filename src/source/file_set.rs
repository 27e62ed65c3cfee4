//! Opens the files of a captured state, however they are held.
//!
//! The files that make up a database's state, wherever each is held: by its name, by a descriptor, in memory.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::sync::Arc;

use super::bounded_file::BoundedFile;
use super::capture::HoldDirectory;
use super::pins::DatabasePins;
use super::read_ranges::ReadRanges;
use super::walk::FileFingerprint;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::held_directory::HeldDirectory;
use crate::leveldb::TableExtension;
use crate::leveldb::damage::TornTail;
use crate::leveldb::file_name::{log_name, table_name};
use crate::leveldb::read_at::ReadAt;
use crate::leveldb::scan_context::OpenFiles;

/// What holds a file's bytes.
#[derive(Clone, Debug)]
pub(super) enum HeldBytes {
    /// A name: in the database's own directory, or of a link or a copy elsewhere.
    ByName(HeldName),
    /// A descriptor, which keeps the bytes when the name goes.
    Descriptor(Arc<File>),
    /// The bytes themselves.
    InMemory(Arc<Vec<u8>>),
}

/// A name in a directory that is held.
#[derive(Clone, Debug)]
pub(super) struct HeldName {
    pub directory: HeldDirectory,
    pub name: String,
}

impl HeldName {
    pub fn new(directory: &HeldDirectory, name: impl Into<String>) -> Self {
        Self {
            directory: directory.clone(),
            name: name.into(),
        }
    }

    /// True if it is this name in that directory.
    pub fn is_name_in(&self, directory: &HeldDirectory, name: &str) -> bool {
        self.name == name && self.directory.is_same_handle(directory)
    }

    pub fn open(&self) -> Result<(File, u64)> {
        self.directory.open_file(&self.name)
    }

    /// What it is now.
    pub fn fingerprint(&self) -> Result<FileFingerprint> {
        let stat = self.directory.stat(&self.name);
        let stat =
            stat.context(|| format!("look at {}", self.directory.display_path(&self.name).display()))?;
        Ok(FileFingerprint::of_stat(&stat))
    }
}

/// A file that is part of the database's state.
#[derive(Clone, Debug)]
pub struct DatabaseFile {
    /// Its name within the directory.
    pub name: String,
    /// How many of its bytes count.
    pub len: u64,
    held: HeldBytes,
    /// Where its metadata is, when the bytes are in memory.
    original: Option<HeldName>,
    /// A file of the same owner, whose metadata counts when the original's name is gone.
    companion: Option<Arc<File>>,
    /// Where what is read of it is remembered.
    read_ranges: Option<Arc<ReadRanges>>,
}

impl DatabaseFile {
    pub(super) fn new(name: String, len: u64, held: HeldBytes) -> Self {
        Self {
            name,
            len,
            held,
            original: None,
            companion: None,
            read_ranges: None,
        }
    }

    /// A file of a directory, by its name.
    pub fn in_directory(directory: &HeldDirectory, name: String, len: u64) -> Self {
        let held = HeldBytes::ByName(HeldName::new(directory, name.as_str()));
        Self::new(name, len, held)
    }

    pub(super) fn in_memory(directory: &HeldDirectory, name: String, bytes: Vec<u8>) -> Self {
        let original = Some(HeldName::new(directory, name.as_str()));
        Self {
            len: bytes.len() as u64,
            held: HeldBytes::InMemory(Arc::new(bytes)),
            name,
            original,
            companion: None,
            read_ranges: None,
        }
    }

    /// Bytes in memory whose file's name may go.
    pub(super) fn with_companion(mut self, companion: &Arc<File>) -> Self {
        self.companion = Some(Arc::clone(companion));
        self
    }

    /// Its bytes, up to [`DatabaseFile::len`].
    pub fn open(&self) -> Result<Box<dyn ReadAt>> {
        let file = open_held(&self.held, self.len, true)?;
        Ok(match &self.read_ranges {
            Some(reads) => reads.record_reads(file),
            None => file,
        })
    }

    /// The name under which a link to it can be had, and the directory that has it.
    pub fn directory_and_name(&self) -> Option<(&HeldDirectory, &OsStr)> {
        match &self.held {
            HeldBytes::ByName(named) => Some((&named.directory, OsStr::new(&named.name))),
            HeldBytes::Descriptor(_) | HeldBytes::InMemory(_) => None,
        }
    }

    /// Owner, mode and times of what has its name in the database's directory: what is held may be a copy of our own. Of a
    /// file that is gone by now, those of what is held.
    pub fn metadata_in(&self, directory: &HeldDirectory) -> Result<Metadata> {
        let found = directory.open_file(&self.name);
        match found.ok().and_then(|(file, _)| file.metadata().ok()) {
            Some(facts) => Ok(facts),
            None => self.metadata(),
        }
    }

    /// Owner, mode and times of what is held.
    pub fn metadata(&self) -> Result<Metadata> {
        let doing = || format!("stat {}", self.name);
        match (&self.held, &self.original) {
            (HeldBytes::Descriptor(file), _) => file.metadata().context(doing),
            (HeldBytes::ByName(named), _) => named.open()?.0.metadata().context(doing),
            (HeldBytes::InMemory(_), Some(named)) => match (named.open(), &self.companion) {
                (Err(_), Some(companion)) => companion.metadata().context(doing),
                (opened, _) => opened?.0.metadata().context(doing),
            },
            (HeldBytes::InMemory(_), None) => {
                Err(Error::new(ErrorKind::NotFound, "it is in memory only").context(doing()))
            }
        }
    }
}

/// The files of one state.
#[derive(Debug)]
pub(super) struct FileSet {
    /// Where the database lives.
    pub directory: HeldDirectory,
    pub current: DatabaseFile,
    pub manifest: DatabaseFile,
    /// What the MANIFEST was before it was read; `None` where nothing is to be proven.
    pub manifest_fingerprint: Option<FileFingerprint>,
    /// Live tables that are there.
    pub tables: BTreeMap<u64, HeldTable>,
    /// Live logs that are there.
    pub logs: BTreeMap<u64, HeldLog>,
    /// Hidden directories that hold links and copies; they go with the set.
    pub hold_directories: Vec<HoldDirectory>,
    /// The links of the database's pins, if it was captured with them.
    pub pins: Option<Arc<DatabasePins>>,
}

#[derive(Clone, Debug)]
pub(super) struct HeldTable {
    pub extension: TableExtension,
    pub len: u64,
    pub held: HeldBytes,
    /// What holds it, as it was then; `None` where nothing is to be proven.
    pub fingerprint: Option<FileFingerprint>,
    /// What was read of it since.
    pub read_ranges: Arc<ReadRanges>,
}

impl HeldTable {
    /// As the decoders read it: what is read is remembered where it is to be proven.
    pub fn open(&self, keep_open: bool) -> Result<Box<dyn ReadAt>> {
        let file = self.open_unrecorded(keep_open)?;
        Ok(if self.fingerprint.is_some() {
            self.read_ranges.record_reads(file)
        } else {
            file
        })
    }

    /// For a look that proves nothing itself.
    pub fn open_unrecorded(&self, keep_open: bool) -> Result<Box<dyn ReadAt>> {
        open_held(&self.held, self.len, keep_open)
    }
}

/// What a log was when its end was found.
#[derive(Clone, Debug)]
pub(super) struct LogProof {
    /// Before it was read.
    pub fingerprint: FileFingerprint,
    /// [`LogEnd::content`](crate::leveldb::log_cut_point::LogEnd::content).
    pub content: [u8; 32],
}

#[derive(Clone, Debug)]
pub(super) struct HeldLog {
    pub len: u64,
    pub held: HeldBytes,
    /// A write under way that was cut off.
    pub tail: Option<TornTail>,
    /// `None` where nothing is to be proven.
    pub proof: Option<LogProof>,
}

impl FileSet {
    /// As the decoders ask for them; without `keep_open` a file that has a name is opened for each read.
    pub fn view(&self, keep_open: bool) -> FileSetView<'_> {
        FileSetView {
            files: self,
            keep_open,
        }
    }

    /// A log as far as it counts.
    pub fn open_log_of(&self, number: u64) -> Result<Box<dyn ReadAt>> {
        self.view(true).open_log(number)
    }

    pub fn all(&self) -> impl Iterator<Item = DatabaseFile> {
        let tables = self.tables.iter().map(|(number, table)| {
            let name = table_name(*number, table.extension);
            DatabaseFile {
                read_ranges: table
                    .fingerprint
                    .is_some()
                    .then(|| Arc::clone(&table.read_ranges)),
                ..DatabaseFile::new(name, table.len, table.held.clone())
            }
        });
        let logs = self
            .logs
            .iter()
            .map(|(number, log)| DatabaseFile::new(log_name(*number), log.len, log.held.clone()));
        [self.current.clone(), self.manifest.clone()]
            .into_iter()
            .chain(tables)
            .chain(logs)
    }

    /// Writes that were under way when the logs were cut.
    pub fn cut_tails(&self) -> impl Iterator<Item = &TornTail> {
        self.logs.values().filter_map(|log| log.tail.as_ref())
    }
}

/// A file set that opens files.
pub(super) struct FileSetView<'a> {
    files: &'a FileSet,
    keep_open: bool,
}

impl OpenFiles for FileSetView<'_> {
    fn open_table(&self, number: u64) -> Result<Box<dyn ReadAt>> {
        match self.files.tables.get(&number) {
            Some(table) => table.open(self.keep_open),
            None => Err(Error::new(
                ErrorKind::NotFound,
                "the MANIFEST names it, and it is not there",
            )),
        }
    }

    fn open_log(&self, number: u64) -> Result<Box<dyn ReadAt>> {
        match self.files.logs.get(&number) {
            Some(log) => open_held(&log.held, log.len, self.keep_open),
            None => Err(Error::new(ErrorKind::NotFound, "it is not there")),
        }
    }
}

fn open_held(held: &HeldBytes, len: u64, keep_open: bool) -> Result<Box<dyn ReadAt>> {
    Ok(match held {
        HeldBytes::ByName(named) => {
            let (file, _) = named.open()?;
            if keep_open {
                Box::new(BoundedFile(Arc::new(file), len))
            } else {
                Box::new(ReopenedFile(named.clone(), len))
            }
        }
        HeldBytes::Descriptor(file) => Box::new(BoundedFile(Arc::clone(file), len)),
        HeldBytes::InMemory(bytes) => Box::new(bytes.as_ref().clone()),
    })
}

/// A file that is opened for each read: for scans with more sources than files may be open.
struct ReopenedFile(HeldName, u64);

impl ReadAt for ReopenedFile {
    fn len(&self) -> u64 {
        self.1
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        BoundedFile(Arc::new(self.0.open()?.0), self.1).read_at(buffer, offset)
    }
}
