//! Scans a database of non-overlapping tables on several threads.
//!
//! A database that is one row of tables, scanned in stretches: each by a thread of its own, in a scan of its own.
//!
//! No log has a word, and no key is in two tables: so every table's newest entries are visible, and the stretches' records
//! one after the other are the database's. What a scan of the whole checks, these check: each table begins and ends with
//! the keys that the MANIFEST has, and by these no two overlap.

use std::cmp::Ordering;

use super::database::{Database, ScanOutcome};
use crate::error::Result;
use crate::leveldb::level_iterator::{LevelIterator, LevelTable};
use crate::leveldb::merging_iterator::{RecordSink, SortedSource, merge};
use crate::leveldb::scan_context::{ScanBudget, ScanContext};

/// Tables that are all of a database, in key order.
pub struct DisjointTables<'d> {
    database: &'d Database,
    tables: Vec<LevelTable>,
}

impl Database {
    /// Its tables, if they alone are its records, none overlaps another, and nothing is wrong with its logs.
    pub fn disjoint_tables(&self) -> Option<DisjointTables<'_>> {
        let (mut chains, overlaps) = self.disjoint_rows();
        let tables = chains.pop().unwrap_or_default();
        let is_one = chains.is_empty() && overlaps.is_empty();
        let row = DisjointTables {
            database: self,
            tables,
        };
        (is_one && self.has_only_tables() && row.is_disjoint()).then_some(row)
    }

    fn has_only_tables(&self) -> bool {
        let logs = &self.log_report;
        let is_silent = logs.entries == 0 && logs.damage.is_empty() && logs.torn_tails.is_empty();
        is_silent && logs.certain_from == 0 && !self.is_without_manifest
    }
}

impl<'d> DisjointTables<'d> {
    /// At most so many stretches of about one size, at least one; in key order.
    pub fn split_into_partitions(self, stretches: usize) -> Vec<Self> {
        let size = self.tables.iter().map(|table| table.meta.size).sum::<u64>();
        let share = size / stretches.max(1) as u64 + 1;
        let (mut split, mut filled) = (vec![Vec::new()], 0);
        for table in self.tables {
            if filled >= share {
                split.push(Vec::new());
                filled = 0;
            }
            filled += table.meta.size;
            split
                .last_mut()
                .into_iter()
                .for_each(|last| last.push(table.clone()));
        }
        let stretch = |tables| Self {
            database: self.database,
            tables,
        };
        split.into_iter().map(stretch).collect()
    }

    /// The numbers of its files.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.tables.iter().map(|table| table.meta.number)
    }

    /// Like [`Database::scan`], of these tables. So many are scanned at once; they share its memory bounds.
    pub fn scan(&self, at_once: usize, sink: &mut dyn RecordSink) -> Result<ScanOutcome> {
        let database = self.database;
        let files = database.open_view(at_once);
        let budget = database.budget.for_sources(at_once);
        let budget = ScanBudget {
            resident_bytes_max: budget.resident_bytes_max / at_once.max(1),
            ..budget
        };
        let mut scan = ScanContext::new(&files, database.comparator(), budget);
        let chain = LevelIterator::new(&scan, self.tables.clone());
        let counts = merge(&scan, vec![SortedSource::Tables(Box::new(chain))], sink)?;
        match scan.take_refusal_error() {
            Some(refusal) => Err(refusal),
            None => Ok(database.outcome(scan, counts)),
        }
    }

    /// True if no key is in two tables, not even as entries of different age.
    fn is_disjoint(&self) -> bool {
        let order = self.database.comparator();
        let is_behind = |pair: &[LevelTable]| {
            let (before, after) = (pair[0].meta.largest_user_key(), pair[1].meta.smallest_user_key());
            order.compare(before, after) == Ordering::Less
        };
        order.is_known() && self.tables.windows(2).all(is_behind)
    }
}
