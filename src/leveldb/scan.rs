//! What all sources of one scan share: where files come from, the key order, bounds on memory, and findings.

use std::cell::{Cell, RefCell};

use super::comparator::Comparator;
use super::damage::Findings;
use super::read_at::ReadAt;
use crate::error::Result;

/// Opens files of the database; the decoders ask, whoever holds the directory hands over.
pub trait OpenFiles {
    /// Opens a table by number.
    fn open_table(&self, number: u64) -> Result<Box<dyn ReadAt>>;
    /// Opens a log by number.
    fn open_log(&self, number: u64) -> Result<Box<dyn ReadAt>>;
}

/// Sizes that bound the memory of a scan.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Bytes of a table read at once.
    pub window_bytes: usize,
    /// Stored blocks above this are read apart and kept only while [`Budget::resident_bytes_max`] allows.
    pub large_block_bytes: usize,
    /// Plain bytes of large blocks that all sources together keep.
    pub resident_bytes_max: usize,
    /// Bytes of log entries kept at once.
    pub log_bytes_max: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            window_bytes: 256 << 10,
            large_block_bytes: 1 << 20,
            resident_bytes_max: 16 << 20,
            log_bytes_max: 48 << 20,
        }
    }
}

impl Budget {
    /// Shares the windows of so many sources out of 16 MiB.
    #[must_use]
    pub fn for_sources(mut self, sources: usize) -> Self {
        let share = (16 << 20) / sources.max(1);
        self.window_bytes = self.window_bytes.min(share).max(16 << 10);
        self.large_block_bytes = self.large_block_bytes.min(share * 4).max(64 << 10);
        self
    }
}

/// What all sources of one scan share.
pub struct Scan<'a> {
    /// Where files come from.
    pub files: &'a dyn OpenFiles,
    /// The key order.
    pub order: &'a Comparator,
    /// Memory bounds.
    pub budget: Budget,
    /// Damage found.
    pub findings: RefCell<Findings>,
    /// Bytes read from files.
    pub bytes_read: Cell<u64>,
    /// Large blocks kept in memory, bytes.
    pub resident: Cell<usize>,
    /// Entries read from tables.
    pub table_entries: Cell<u64>,
}

impl<'a> Scan<'a> {
    /// Nothing read yet.
    pub fn new(files: &'a dyn OpenFiles, order: &'a Comparator, budget: Budget) -> Self {
        Self {
            files,
            order,
            budget,
            findings: RefCell::default(),
            bytes_read: Cell::new(0),
            resident: Cell::new(0),
            table_entries: Cell::new(0),
        }
    }

    pub(super) fn count_read(&self, bytes: usize) {
        self.bytes_read.set(self.bytes_read.get() + bytes as u64);
    }
}
