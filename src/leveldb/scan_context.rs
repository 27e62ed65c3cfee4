//! Holds what the sources of one scan share.
//!
//! What all sources of one scan share: where files come from, the key order, bounds on memory, and findings.

use std::cell::{Cell, OnceCell, RefCell};

use super::comparator::Comparator;
use super::damage::DamageCollector;
use super::level_iterator::LevelTable;
use super::read_at::ReadAt;
use super::work_budget::WorkBudget;
use crate::error::{Error, ErrorKind, Result};

/// Opens the files of a database for the decoders.
pub trait OpenFiles {
    /// Opens a table by number.
    fn open_table(&self, number: u64) -> Result<Box<dyn ReadAt>>;
    /// Opens a log by number.
    fn open_log(&self, number: u64) -> Result<Box<dyn ReadAt>>;
}

/// Sizes that bound the memory of a scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanBudget {
    /// Bytes of a table read at once.
    pub window_bytes: usize,
    /// Stored blocks above this are read apart and kept only while [`ScanBudget::resident_bytes_max`] allows.
    pub large_block_bytes: usize,
    /// Plain bytes of large blocks that all sources together keep.
    pub resident_bytes_max: usize,
    /// Bytes of log entries kept at once.
    pub log_bytes_max: usize,
}

impl Default for ScanBudget {
    fn default() -> Self {
        Self {
            window_bytes: 256 << 10,
            large_block_bytes: 1 << 20,
            resident_bytes_max: 16 << 20,
            log_bytes_max: 48 << 20,
        }
    }
}

impl ScanBudget {
    /// Shares the windows of so many sources out of 16 MiB.
    #[must_use]
    pub fn for_sources(mut self, sources: usize) -> Self {
        let share = (16 << 20) / sources.max(1);
        self.window_bytes = self.window_bytes.min(share).max(16 << 10);
        self.large_block_bytes = self.large_block_bytes.min(share * 4).max(64 << 10);
        self
    }
}

/// Bytes of shared keys that a source pays for at once.
const CREDIT_BYTES: usize = 1 << 20;

/// What all sources of one scan share.
pub struct ScanContext<'a> {
    /// Where files come from.
    pub files: &'a dyn OpenFiles,
    /// The key order.
    pub order: &'a Comparator,
    /// Memory bounds.
    pub budget: ScanBudget,
    /// Damage found.
    pub findings: RefCell<DamageCollector>,
    /// Bytes read from files.
    pub bytes_read: Cell<u64>,
    /// Large blocks kept in memory, bytes.
    pub resident: Cell<usize>,
    /// Entries read from tables.
    pub table_entries: Cell<u64>,
    /// Tables that were LevelDB's.
    pub tables_opened: Cell<u64>,
    /// Those of them whose size is not the MANIFEST's.
    pub odd_sizes: Cell<u64>,
    /// Tables that were not, as far as no other was; else they are damage.
    foreign: RefCell<Vec<(LevelTable, Error)>>,
    /// Why its records cannot be had although nothing is damaged.
    refusal: OnceCell<Error>,
    /// Records are not wanted, only checks: a refusal ends nothing.
    checks_only: bool,
    /// What it may still make of the tables.
    pub work: WorkBudget,
}

impl<'a> ScanContext<'a> {
    /// Nothing read yet.
    pub fn new(files: &'a dyn OpenFiles, order: &'a Comparator, budget: ScanBudget) -> Self {
        Self {
            files,
            order,
            budget,
            findings: RefCell::default(),
            bytes_read: Cell::new(0),
            resident: Cell::new(0),
            table_entries: Cell::new(0),
            tables_opened: Cell::new(0),
            odd_sizes: Cell::new(0),
            foreign: RefCell::default(),
            refusal: OnceCell::new(),
            checks_only: false,
            work: WorkBudget::default(),
        }
    }

    /// Reads to check, and goes on behind what it does not know.
    #[must_use]
    pub fn checks_only(mut self) -> Self {
        self.checks_only = true;
        self
    }

    /// Ends the scan without calling anything damaged: its records cannot be had, for `error`. The first one counts. Kinds
    /// that lead to a database being kept as files: see [`is_buffering`].
    #[cold]
    pub fn refuse_table(&self, error: Error) {
        let _ = self.refusal.set(error);
    }

    /// Notes a table of another engine. Where all are, nothing is damaged; one among LevelDB's own has no business there.
    #[cold]
    pub fn note_foreign(&self, table: LevelTable, error: Error) {
        if !self.checks_only {
            self.refuse_table(error.context(table.file_name()));
        } else {
            self.foreign.borrow_mut().push((table, error));
        }
    }

    /// Behind the last table of a check: lists the foreign ones as damage if others were LevelDB's.
    pub fn check_foreign_share(&self) {
        for (table, error) in self.foreign.take() {
            match self.tables_opened.get() {
                0 => self.refuse_table(error.context(table.file_name())),
                _ => (self.findings.borrow_mut()).mark_lost(table.rank, table.damage(error.to_string())),
            }
        }
    }

    /// True when no more records are wanted.
    #[inline]
    pub fn is_budget_spent(&self) -> bool {
        self.work.is_spent() || !self.checks_only && self.refusal.get().is_some()
    }

    /// Why its records cannot be had.
    pub fn take_refusal_error(&mut self) -> Option<Error> {
        self.refusal.take()
    }

    pub(super) fn count_read(&self, bytes: usize) {
        self.bytes_read.set(self.bytes_read.get() + bytes as u64);
    }

    /// Counts bytes that a block or a key took; an error, which ends the scan, if they are out of proportion.
    pub(super) fn make_buffer(&self, bytes: usize) -> Result<()> {
        self.work.charge(bytes as u64);
        if let Err(error) = self.work.check() {
            self.refuse_table(error);
        }
        self.work.check()
    }

    /// Pays for `shared` bytes of a key, and for more in advance; what is left of that.
    #[cold]
    pub(super) fn borrow_memory(&self, shared: usize) -> Result<usize, &'static str> {
        let wanted = shared.max(CREDIT_BYTES);
        match self.make_buffer(wanted) {
            Ok(()) => Ok(wanted - shared),
            Err(_) => Err("keys are out of proportion"),
        }
    }
}

/// True for what does not mean that a database is damaged, but that its records cannot be had: its bytes are kept then.
pub fn is_buffering(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnknownFormat | ErrorKind::NotLevelDb | ErrorKind::Limit
    )
}
