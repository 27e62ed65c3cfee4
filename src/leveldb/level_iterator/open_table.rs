//! Reads the open table of a level iterator, checking its MANIFEST entry.
//!
//! The table of a chain that is open: its index walked, its promises checked against what is read.

use std::cmp::Ordering;

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::leveldb::block::BlockEntries;
use crate::leveldb::comparator::Comparator;
use crate::leveldb::damage::{SourceAge, SourceDamage};
use crate::leveldb::database_layout::TableExtension;
use crate::leveldb::file_name::table_name;
use crate::leveldb::internal_key::{compare_internal, tag};
use crate::leveldb::read_at::ReadAt;
use crate::leveldb::scan_context::{ScanContext, is_buffering};
use crate::leveldb::table_reader::{BlockHandle, Table};
use crate::leveldb::version::{TAG_BYTES, TableMeta, user_key};

/// A table in a chain.
#[derive(Clone, Debug)]
pub struct LevelTable {
    /// What the MANIFEST says of it.
    pub meta: TableMeta,
    /// Its level.
    pub level: u8,
    /// Its age.
    pub rank: SourceAge,
    /// What its file is called.
    pub extension: TableExtension,
}

impl LevelTable {
    /// Its file's name.
    pub fn file_name(&self) -> String {
        table_name(self.meta.number, self.extension)
    }
}

/// A table while it is read.
pub(super) struct OpenTable {
    pub(super) file: Box<dyn ReadAt>,
    pub(super) table: LevelTable,
    pub(super) frame: Table,
    /// Where the next index entry begins.
    pub(super) index_at: usize,
    /// Index key of the block before the current one; the table's smallest key before the first.
    pub(super) bound_before: Vec<u8>,
    /// Index key of the current block.
    pub(super) bound: Vec<u8>,
    pub(super) handle: BlockHandle,
    /// No entry of this table read yet.
    pub(super) first_entry: bool,
    /// Something of the table was lost, so its first or last key may be too.
    pub(super) lossy: bool,
}

impl OpenTable {
    pub(super) fn new(file: Box<dyn ReadAt>, table: LevelTable, frame: Table) -> Self {
        Self {
            file,
            bound_before: table.meta.smallest.clone(),
            bound: table.meta.smallest.clone(),
            table,
            frame,
            index_at: 0,
            handle: BlockHandle { offset: 0, size: 0 },
            first_entry: true,
            lossy: false,
        }
    }

    /// Moves to the next index entry; false behind the last.
    pub(super) fn next_handle(&mut self, scan: &ScanContext) -> Result<bool> {
        scan.make_buffer(self.bound.len())?;
        // The key before is needed twice: index keys may share bytes, and it bounds the next block.
        let mut building = std::mem::take(&mut self.bound_before);
        building.clone_from(&self.bound);
        if self.index_at == 0 {
            building.clear();
        }
        std::mem::swap(&mut self.bound_before, &mut self.bound);
        let mut entries = BlockEntries::resume_at(&self.frame.index, self.index_at, building)?;
        let found = match entries.next()? {
            Some((_, value)) => {
                self.handle = BlockHandle::read(&mut Reader::new(value))?;
                true
            }
            None => false,
        };
        self.index_at = entries.position();
        self.bound = entries.into_key();
        if found && self.bound.len() < TAG_BYTES {
            Err(Error::corrupt("index entry has no whole key"))
        } else {
            Ok(found)
        }
    }

    /// The user keys between which every key of the current block lies.
    pub(super) fn block_range(&self, order: &Comparator) -> (Vec<u8>, Vec<u8>) {
        let meta = &self.table.meta;
        let (bound, largest) = (user_key(&self.bound), meta.largest_user_key());
        // The last index key may be any short key behind the table.
        let largest = match order.compare(bound, largest) {
            Ordering::Greater => largest,
            _ => bound,
        };
        (user_key(&self.bound_before).to_vec(), largest.to_vec())
    }

    pub(super) fn damage(
        &self,
        offset: Option<u64>,
        smallest: Vec<u8>,
        largest: Vec<u8>,
        what: String,
    ) -> SourceDamage {
        SourceDamage {
            file: self.table.file_name(),
            offset,
            level: Some(self.table.level),
            smallest: Some(smallest),
            largest: Some(largest),
            sequences_lost: None,
            what,
        }
    }

    /// The index cannot be read on: all behind the current block is lost.
    #[cold]
    pub(super) fn mark_rest_lost(&self, scan: &ScanContext, error: &Error) {
        let smallest = user_key(&self.bound_before).to_vec();
        let largest = self.table.meta.largest_user_key().to_vec();
        let damage = self.damage(None, smallest, largest, format!("index block: {error}"));
        scan.findings.borrow_mut().mark_lost(self.table.rank, damage);
    }

    pub(super) fn record_filter_fault(&self, scan: &ScanContext) {
        let fault = self.frame.filter_fault.as_ref();
        // A filter that is not known is none of ours to judge.
        if let Some(fault) = fault.filter(|fault| !is_buffering(fault.kind())) {
            let what = format!("{fault}; no record is concerned");
            let damage = SourceDamage {
                smallest: None,
                largest: None,
                ..self.damage(None, Vec::new(), Vec::new(), what)
            };
            scan.findings.borrow_mut().list(damage);
        }
    }

    /// True if the table's first internal key has another user key than the MANIFEST's.
    pub(super) fn is_replaced(&self, scan: &ScanContext, first: &[u8]) -> bool {
        let is_judged = self.first_entry && !self.lossy && scan.order.is_known() && first.len() >= TAG_BYTES;
        let smallest = self.table.meta.smallest_user_key();
        is_judged && scan.order.compare(user_key(first), smallest) != Ordering::Equal
    }

    /// `first` is the first internal key of a block.
    pub(super) fn check_block_start(&mut self, scan: &ScanContext, first: &[u8]) {
        if !scan.order.is_known() || first.len() < TAG_BYTES {
            self.first_entry = false;
            return;
        }
        if std::mem::take(&mut self.first_entry) {
            if !self.lossy && first != self.table.meta.smallest {
                self.mark_edge_lost(
                    scan,
                    self.table.meta.smallest_user_key(),
                    user_key(first),
                    "first",
                );
            }
        } else if compare_internal(scan.order, first, &self.bound_before) != Ordering::Greater {
            self.record_index_fault(scan, first);
        }
    }

    /// `last` is the last internal key read.
    pub(super) fn check_block_end(&mut self, scan: &ScanContext, last: &[u8]) {
        let judged = scan.order.is_known() && !self.lossy;
        // rusty-leveldb writes an index key of kind 1 where the last entry is a deletion of the same number.
        let same = tag(last) >> 8 == tag(&self.bound) >> 8 && user_key(last) == user_key(&self.bound);
        if judged && !same && compare_internal(scan.order, last, &self.bound) == Ordering::Greater {
            self.record_index_fault(scan, last);
        }
    }

    /// Behind the last block: the last key must be the MANIFEST's.
    pub(super) fn check_table_end(&self, scan: &ScanContext, last: &[u8]) {
        let largest = &self.table.meta.largest;
        if scan.order.is_known() && !self.lossy && (self.first_entry || last != largest) {
            let from = if self.first_entry {
                self.table.meta.smallest_user_key()
            } else {
                user_key(last)
            };
            self.mark_edge_lost(scan, from, user_key(largest), "last");
        }
    }

    /// The table begins or ends with another key than the MANIFEST has: what lay between may be gone.
    #[cold]
    pub(super) fn mark_edge_lost(&self, scan: &ScanContext, from: &[u8], to: &[u8], edge: &str) {
        let (from, to) = match scan.order.compare(from, to) {
            Ordering::Greater => (to, from),
            _ => (from, to),
        };
        let what = format!("its {edge} key is not the MANIFEST's");
        let damage = self.damage(None, from.to_vec(), to.to_vec(), what);
        scan.findings.borrow_mut().mark_lost(self.table.rank, damage);
    }

    #[cold]
    pub(super) fn record_index_fault(&self, scan: &ScanContext, key: &[u8]) {
        let key = user_key(key).to_vec();
        let what = "key is outside its index entry".to_owned();
        let damage = self.damage(Some(self.handle.offset), key.clone(), key, what);
        scan.findings.borrow_mut().list(damage);
    }
}

impl LevelTable {
    /// Damage of the table as a whole, with the MANIFEST's key range.
    pub fn damage(&self, what: String) -> SourceDamage {
        SourceDamage {
            file: self.file_name(),
            offset: None,
            level: Some(self.level),
            smallest: Some(self.meta.smallest_user_key().to_vec()),
            largest: Some(self.meta.largest_user_key().to_vec()),
            sequences_lost: None,
            what,
        }
    }
}

/// Lists a whole table as lost.
#[cold]
pub(super) fn mark_table_lost(scan: &ScanContext, table: &LevelTable, what: String) {
    let damage = table.damage(what);
    scan.findings.borrow_mut().mark_lost(table.rank, damage);
}
