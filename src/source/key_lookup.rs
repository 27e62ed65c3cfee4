//! Looks up single keys by the rules of a full scan.
//!
//! Single records of a database, by the rules of a full scan; and keys of it, drawn at random. For spot checks.
//!
//! A lookup asks every row of tables and the logs, and takes the entry with the highest sequence number. Nothing of what
//! a comparison of two states knows or leaves out goes into it.

use std::collections::BTreeSet;

use super::database::Database;
use crate::error::{Error, Result};
use crate::leveldb::block::BlockEntries;
use crate::leveldb::block_decompressor::Decompressor;
use crate::leveldb::damage::{SourceAge, SourceDamage};
use crate::leveldb::internal_key::SourceStep;
use crate::leveldb::large_values::LargeValueBuffer;
use crate::leveldb::level_iterator::LevelKeyFinder;
use crate::leveldb::memtable::MemtableCursor;
use crate::leveldb::merging_iterator::RecordSink;
use crate::leveldb::odd_sized_table::open_sized;
use crate::leveldb::scan_context::{OpenFiles, ScanBudget, ScanContext};
use crate::leveldb::table_reader::{BlockHandle, read_block};
use crate::leveldb::version::{TableMeta, user_key};

/// Length and BLAKE3 of a value.
pub type ValueHash = (u64, blake3::Hash);

/// What a database has of some keys.
#[derive(Debug, Default)]
pub struct LookupOutcome {
    /// For each key: its value, or `None` for no record. Shorter than the keys if values grew too large to go on.
    pub values: Vec<Option<ValueHash>>,
    /// What could not be read. If there is anything, the values say nothing.
    pub damage: Vec<SourceDamage>,
    /// Bytes read.
    pub bytes_read: u64,
}

impl Database {
    /// Looks `keys` up, which ascend in the database's order. It stops behind the key with which more than
    /// `value_bytes_max` bytes of values were read.
    ///
    /// # Errors
    /// A log that changed under the reading; what a scan is refused for.
    pub fn look_up(&self, keys: &[Vec<u8>], value_bytes_max: u64) -> Result<LookupOutcome> {
        let (chains, _) = self.disjoint_rows();
        let files = self.open_view(chains.len());
        let budget = ScanBudget {
            window_bytes: 0,
            ..self.budget.for_sources(chains.len())
        };
        let mut scan = ScanContext::new(&files, self.comparator(), budget);
        let mut lookup = KeyLookup {
            scan: &scan,
            rows: chains
                .into_iter()
                .map(|row| LevelKeyFinder::new(&scan, row))
                .collect(),
            logs: self.memtable.cursor(&scan),
            has_log_entry: true,
            scratch: LargeValueBuffer::default(),
        };
        lookup.pass_log_entry();
        let mut found = LookupOutcome {
            damage: self.damage_at_a_glance(),
            ..LookupOutcome::default()
        };
        let mut value_bytes = 0;
        for key in keys {
            if value_bytes > value_bytes_max {
                break;
            }
            let value = lookup.value(key)?;
            value_bytes += value.map_or(0, |(len, _)| len);
            found.values.push(value);
        }
        let failure = lookup.logs.take_failure();
        drop(lookup);
        let failure = failure.or_else(|| scan.take_refusal_error());
        found.bytes_read = scan.bytes_read.get();
        found.damage.extend(scan.findings.into_inner().into_damage());
        failure.map_or(Ok(found), Err)
    }

    /// User keys of entries in `tables`, drawn with `below`, which gives a number below its argument: every second from
    /// any table, the others from tables by their size, so that neither small tables nor most records are left out. What
    /// cannot be read gives none; a scan reports it.
    pub fn sample_keys(
        &self,
        tables: &BTreeSet<u64>,
        count: usize,
        below: &mut dyn FnMut(u64) -> u64,
    ) -> Vec<Vec<u8>> {
        let live = self.version().tables.values();
        let metas: Vec<&TableMeta> = live.filter(|meta| tables.contains(&meta.number)).collect();
        let files = self.open_view(1);
        let draw = |index: usize| {
            let meta = match index % 2 {
                0 => metas.get(below(metas.len() as u64) as usize)?,
                _ => pick_by_size(&metas, below)?,
            };
            random_key(&files, meta, below).ok().flatten()
        };
        (0..count).filter_map(draw).collect()
    }
}

fn pick_by_size<'a>(metas: &[&'a TableMeta], below: &mut dyn FnMut(u64) -> u64) -> Option<&'a TableMeta> {
    let total = metas.iter().fold(0u64, |sum, meta| sum.saturating_add(meta.size));
    let mut place = below(total);
    let holds = |meta: &&&TableMeta| {
        let is_here = place < meta.size;
        place = place.saturating_sub(meta.size);
        is_here
    };
    metas.iter().find(holds).copied()
}

/// A key of some entry of some block.
fn random_key(
    files: &dyn OpenFiles,
    meta: &TableMeta,
    below: &mut dyn FnMut(u64) -> u64,
) -> Result<Option<Vec<u8>>> {
    let mut decompressor = Decompressor::default();
    let file = files.open_table(meta.number)?;
    let table = open_sized(file.as_ref(), meta, &mut decompressor)?;
    let blocks = count(&table.index)?;
    let Some((_, handle)) = entry(&table.index, below(blocks))? else {
        return Ok(None);
    };
    let handle = BlockHandle::read(&mut crate::codec::Reader::new(&handle))?;
    let (_, block) = read_block(file.as_ref(), handle, table.data_end, &mut decompressor)?;
    let entries = count(&block)?;
    let found = entry(&block, below(entries))?;
    Ok(found.map(|(key, _)| user_key(&key).to_vec()))
}

fn count(block: &[u8]) -> Result<u64> {
    let (mut entries, mut count) = (BlockEntries::new(block)?, 0);
    while entries.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

fn entry(block: &[u8], index: u64) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut entries = BlockEntries::new(block)?;
    for _ in 0..index {
        entries.next()?;
    }
    Ok(entries.next()?.map(|(key, value)| (key.to_vec(), value.to_vec())))
}

struct KeyLookup<'s, 'a> {
    scan: &'s ScanContext<'a>,
    rows: Vec<LevelKeyFinder<'a>>,
    logs: MemtableCursor<'a>,
    has_log_entry: bool,
    scratch: LargeValueBuffer,
}

/// Where an entry of a key is.
#[derive(Clone, Copy)]
enum EntryLocation {
    Logs,
    Row(usize),
}

impl KeyLookup<'_, '_> {
    fn value(&mut self, key: &[u8]) -> Result<Option<ValueHash>> {
        let mut newest: Option<(u64, SourceAge, EntryLocation)> = None;
        let mut consider = |tag: u64, rank: SourceAge, place: EntryLocation| {
            if newest.is_none_or(|(best, age, _)| tag > best || tag == best && rank < age) {
                newest = Some((tag, rank, place));
            }
        };
        while self.has_log_entry && self.scan.order.compare(self.logs.user_key(), key).is_lt() {
            self.has_log_entry = !matches!(self.logs.advance(), SourceStep::End);
        }
        if self.has_log_entry && self.scan.order.compare(self.logs.user_key(), key).is_eq() {
            consider(self.logs.tag(), self.logs.rank(), EntryLocation::Logs);
        }
        for (index, row) in self.rows.iter_mut().enumerate() {
            if row.find(key) {
                consider(row.tag(), row.rank(), EntryLocation::Row(index));
            }
        }
        let mut hash = HashSink(None);
        let scratch = &mut self.scratch;
        match newest.filter(|(tag, ..)| tag & 0xff == 1) {
            None => {}
            Some((.., EntryLocation::Logs)) => drop(self.logs.emit(scratch, true, &mut hash)?),
            Some((.., EntryLocation::Row(index))) => drop(self.rows[index].emit(scratch, &mut hash)?),
        }
        Ok(hash.0)
    }

    fn pass_log_entry(&mut self) {
        self.has_log_entry = !matches!(self.logs.advance(), SourceStep::End);
    }
}

struct HashSink(Option<ValueHash>);

impl RecordSink for HashSink {
    fn record(&mut self, _key: &[u8], value: &[u8], _certain: bool) -> Result<(), Error> {
        self.0 = Some((value.len() as u64, blake3::hash(value)));
        Ok(())
    }
}
