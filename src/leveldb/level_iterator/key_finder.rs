//! Finds single keys in a level, in ascending order.
//!
//! Single keys out of a chain, in ascending order: blocks that cannot hold one are never read.
//!
//! An index key is at or behind every key of its block and before every key of the next one, so the first block
//! whose index key is not before the wanted key is the only one of its table where its newest entry can be. The last index
//! key of a table may be any key behind it, also behind the next table: there the MANIFEST's largest key counts.

use std::cmp::Ordering;

use super::{LevelIterator, LevelTable};
use crate::error::Result;
use crate::leveldb::damage::SourceAge;
use crate::leveldb::internal_key::SourceStep;
use crate::leveldb::large_values::LargeValueBuffer;
use crate::leveldb::merging_iterator::RecordSink;
use crate::leveldb::scan_context::ScanContext;
use crate::leveldb::version::user_key;

/// Looks keys up in a chain, each greater than the one before.
pub struct LevelKeyFinder<'a> {
    chain: LevelIterator<'a>,
    at: FinderPosition,
}

/// Where the chain stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FinderPosition {
    /// Before or between entries.
    Nowhere,
    /// On the newest entry of a key, which nobody was given to pass.
    Entry,
    /// Behind the last entry.
    End,
}

impl<'a> LevelKeyFinder<'a> {
    /// Over tables in key order that do not overlap.
    pub fn new(scan: &'a ScanContext<'a>, tables: Vec<LevelTable>) -> Self {
        Self {
            chain: LevelIterator::new(scan, tables),
            at: FinderPosition::Nowhere,
        }
    }

    /// Moves to the newest entry of exactly `key`; false if there is none. Keys must ascend.
    pub fn find(&mut self, key: &[u8]) -> bool {
        loop {
            match self.at {
                FinderPosition::End => return false,
                FinderPosition::Nowhere if self.chain.must_load(key) => {
                    match self.chain.load_table_for(key) {
                        BlockLoad::Block => {}
                        BlockLoad::NotYet => return false,
                        BlockLoad::End => self.at = FinderPosition::End,
                    }
                }
                FinderPosition::Entry if self.compare(key) != Ordering::Less => {
                    return self.compare(key) == Ordering::Equal;
                }
                FinderPosition::Entry if self.chain.must_load(key) => self.at = FinderPosition::Nowhere,
                FinderPosition::Nowhere | FinderPosition::Entry if self.chain.at == self.chain.end => {
                    self.at = FinderPosition::Nowhere;
                    // What follows the block lies behind its index key; if that is the wanted key itself, its newest
                    // entry may be the next block's first.
                    if !self.chain.is_bound_by(key) || self.chain.load_table_for(key) != BlockLoad::Block {
                        return false;
                    }
                }
                FinderPosition::Nowhere | FinderPosition::Entry => {
                    self.at = match self.chain.advance() {
                        SourceStep::End => FinderPosition::End,
                        SourceStep::NextKey | SourceStep::SameKey => FinderPosition::Entry,
                    }
                }
            }
        }
    }

    fn compare(&self, key: &[u8]) -> Ordering {
        self.chain.scan.order.compare(self.chain.user_key(), key)
    }

    /// Sequence number and kind of the entry that was found.
    pub fn tag(&self) -> u64 {
        self.chain.tag()
    }

    /// Number of its table.
    pub fn table(&self) -> Option<u64> {
        self.chain.open.as_ref().map(|open| open.table.meta.number)
    }

    /// Age of its table.
    pub fn rank(&self) -> SourceAge {
        self.chain.rank()
    }

    /// Hands the found entry to `sink`; `None` when its value cannot be read, which is then listed.
    pub fn emit(
        &mut self,
        scratch: &mut LargeValueBuffer,
        sink: &mut dyn RecordSink,
    ) -> Result<Option<usize>> {
        self.chain.emit(scratch, true, sink)
    }
}

/// What came of the wish for a block.
#[derive(PartialEq, Eq)]
enum BlockLoad {
    Block,
    /// All that is left lies behind the key.
    NotYet,
    End,
}

impl LevelIterator<'_> {
    /// True if the current block cannot hold `key`, and no block is better than it.
    fn must_load(&self, key: &[u8]) -> bool {
        match &self.open {
            Some(open) if self.end > 0 => {
                let before = |bound: &[u8]| self.scan.order.compare(bound, key).is_lt();
                before(user_key(&open.bound)) || before(open.table.meta.largest_user_key())
            }
            _ => true,
        }
    }

    fn is_bound_by(&self, key: &[u8]) -> bool {
        let is_it =
            |open: &super::open_table::OpenTable| self.scan.order.compare(user_key(&open.bound), key).is_eq();
        self.end > 0 && self.open.as_ref().is_some_and(is_it)
    }

    /// Loads the first block that may hold `key`, or one that lies behind it in the same table.
    fn load_table_for(&mut self, key: &[u8]) -> BlockLoad {
        let order = self.scan.order;
        loop {
            (self.at, self.end) = (0, 0);
            if self.scan.is_budget_spent() {
                return BlockLoad::End;
            }
            let ends_before = |table: &LevelTable| order.compare(table.meta.largest_user_key(), key).is_lt();
            self.open.take_if(|open| ends_before(&open.table));
            let Some(open) = &mut self.open else {
                while self.tables.as_slice().first().is_some_and(ends_before) {
                    self.tables.next();
                }
                match self.tables.as_slice().first() {
                    None => {
                        self.count_entries();
                        return BlockLoad::End;
                    }
                    Some(table) if order.compare(table.meta.smallest_user_key(), key).is_gt() => {
                        return BlockLoad::NotYet;
                    }
                    Some(_) => {}
                }
                if let Some(table) = self.tables.next() {
                    self.open_table(table);
                }
                continue;
            };
            match open.next_handle(self.scan) {
                Ok(true) if order.compare(user_key(&open.bound), key).is_lt() => {
                    open.first_entry = false;
                    continue;
                }
                Ok(true) => {}
                Ok(false) => {
                    self.open = None;
                    continue;
                }
                Err(error) => {
                    open.mark_rest_lost(self.scan, &error);
                    self.open = None;
                    continue;
                }
            }
            if self.load_checked() {
                return BlockLoad::Block;
            }
        }
    }
}
