//! A LevelDB in memory that follows LevelDB's rules and has all its habits: flushes to level 0 or below, compactions
//! that drop what is hidden, moved tables, repairs, restores, rollbacks that use numbers twice. It keeps a naive map of
//! what must be visible beside its files.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::random::ModelRandom;
use crate::held_directory::HeldDirectory;
use crate::leveldb::TableExtension;
use crate::leveldb::comparator::Comparator;
use crate::leveldb::database_layout::BlockCodec;
use crate::leveldb::file_name::{log_name, table_name};
use crate::leveldb::log_writer::append_record;
use crate::leveldb::manifest::version_of_manifest;
use crate::leveldb::scan_context::ScanBudget;
use crate::leveldb::test_databases::{WriteOp, log_of, sort, table_of};
use crate::leveldb::version::{TableMeta, VersionEdit};
use crate::source::Database;
use crate::source::file_set::{DatabaseFile, FileSet, HeldBytes, HeldLog, HeldTable};

/// Deepest level.
const BOTTOM: u8 = 6;

/// A table file; two are the same file if they are one allocation.
pub struct ModelTable {
    pub ops: Vec<WriteOp>,
    pub bytes: Arc<Vec<u8>>,
}

/// All files of a state.
#[derive(Clone)]
pub struct ModelState {
    pub order: Comparator,
    pub tables: BTreeMap<(u8, u64), Arc<ModelTable>>,
    /// Batches of each log.
    pub logs: BTreeMap<u64, Vec<Vec<WriteOp>>>,
    pub log_number: u64,
    pub last_sequence: u64,
    next_file: u64,
    /// Entries of one sequence number and different values are in it.
    pub has_ties: bool,
    /// It was repaired: the numbers on level 0 need not tell the age of its tables.
    pub was_repaired: bool,
    /// Logs that somebody put back although their entries are in tables.
    stale: BTreeSet<u64>,
    /// Of two live logs the MANIFEST names the newer, and the older as the previous one, as very old owners did.
    names_previous: bool,
}

/// What must be visible: the key by which the order knows it, its bytes and value.
pub type VisibleRecords = BTreeMap<Vec<u8>, (Vec<u8>, Vec<u8>)>;

pub struct ModelEngine {
    pub state: ModelState,
    pub visible: VisibleRecords,
    pub random: ModelRandom,
    saved: Vec<(ModelState, VisibleRecords)>,
}

impl ModelTable {
    fn new(ops: Vec<WriteOp>, per_block: usize, codec: BlockCodec) -> Arc<Self> {
        let bytes = Arc::new(table_of(&ops, per_block, codec));
        Arc::new(Self { ops, bytes })
    }

    fn copied(&self) -> Arc<Self> {
        Arc::new(Self {
            ops: self.ops.clone(),
            bytes: Arc::clone(&self.bytes),
        })
    }

    fn range(&self) -> (&[u8], &[u8]) {
        (&self.ops[0].key, &self.ops[self.ops.len() - 1].key)
    }

    fn meta(&self, number: u64) -> TableMeta {
        TableMeta {
            number,
            size: self.bytes.len() as u64,
            smallest: self.ops[0].internal_key(),
            largest: self.ops[self.ops.len() - 1].internal_key(),
        }
    }
}

impl ModelState {
    pub fn new(order: &Comparator) -> Self {
        Self {
            order: order.clone(),
            tables: BTreeMap::new(),
            logs: BTreeMap::new(),
            log_number: 0,
            last_sequence: 0,
            next_file: 5,
            has_ties: false,
            was_repaired: false,
            stale: BTreeSet::new(),
            names_previous: false,
        }
    }

    fn number(&mut self) -> u64 {
        self.next_file += 1;
        self.next_file - 1
    }

    /// Tables in key order on a level.
    pub fn with_tables(mut self, level: u8, tables: Vec<(Vec<WriteOp>, usize, BlockCodec)>) -> Self {
        for (ops, per_block, codec) in tables {
            let number = self.number();
            self.last_sequence = ops
                .iter()
                .map(|op| op.sequence)
                .fold(self.last_sequence, u64::max);
            self.tables
                .insert((level, number), ModelTable::new(ops, per_block, codec));
        }
        self.log_number = self.next_file;
        self.logs = BTreeMap::from([(self.next_file, Vec::new())]);
        self
    }

    /// Its MANIFEST.
    fn manifest(&self) -> Vec<u8> {
        let logs: Vec<u64> = self.logs.keys().copied().collect();
        let (log_number, previous_log_number) = match logs[..] {
            [previous, log] if self.names_previous && self.log_number == previous => (log, Some(previous)),
            _ => (self.log_number, None),
        };
        let edit = VersionEdit {
            comparator: Some(self.order.name().as_bytes().to_vec()),
            log_number: Some(log_number),
            previous_log_number,
            next_file: Some(self.next_file),
            last_sequence: Some(self.last_sequence),
            added: self
                .tables
                .iter()
                .map(|(&(level, number), table)| (level, table.meta(number)))
                .collect(),
            ..VersionEdit::default()
        };
        let (mut record, mut manifest) = (Vec::new(), Vec::new());
        edit.encode(&mut record);
        append_record(&mut manifest, &record);
        manifest
    }

    /// Its files, in a new directory.
    pub fn write_to(&self, directory: &Path) {
        std::fs::create_dir(directory).unwrap();
        let write = |name: String, bytes: &[u8]| std::fs::write(directory.join(name), bytes).unwrap();
        write("CURRENT".into(), b"MANIFEST-000001\n");
        write("MANIFEST-000001".into(), &self.manifest());
        for ((_, number), table) in &self.tables {
            write(table_name(*number, TableExtension::Ldb), &table.bytes);
        }
        for (number, batches) in &self.logs {
            write(log_name(*number), &log_of(batches.iter().map(Vec::as_slice)));
        }
    }

    /// Opened by the code under test.
    pub fn database(&self, budget: ScanBudget) -> Database {
        let manifest = self.manifest();
        let version = version_of_manifest(&manifest).unwrap();
        let tables = self.tables.iter().map(|((_, number), table)| {
            let table = HeldTable {
                read_ranges: Arc::default(),
                extension: TableExtension::Ldb,
                len: table.bytes.len() as u64,
                held: HeldBytes::InMemory(Arc::clone(&table.bytes)),
                fingerprint: None,
            };
            (*number, table)
        });
        let logs = self.logs.iter().map(|(number, batches)| {
            let bytes = log_of(batches.iter().map(Vec::as_slice));
            let log = HeldLog {
                len: bytes.len() as u64,
                held: HeldBytes::InMemory(Arc::new(bytes)),
                tail: None,
                proof: None,
            };
            (*number, log)
        });
        let root = HeldDirectory::open_path(Path::new("/")).unwrap();
        let file = |name: &str, bytes| DatabaseFile::in_memory(&root, name.to_owned(), bytes);
        let files = FileSet {
            directory: root.clone(),
            current: file("CURRENT", Vec::new()),
            manifest: file("MANIFEST-000001", manifest),
            manifest_fingerprint: None,
            tables: tables.collect(),
            logs: logs.collect(),
            hold_directories: Vec::new(),
            pins: None,
        };
        Database::new(files, version, budget, None)
    }

    fn overlaps(&self, table: &ModelTable, range: (&[u8], &[u8])) -> bool {
        let (smallest, largest) = table.range();
        self.order.compare(smallest, range.1) != Ordering::Greater
            && self.order.compare(largest, range.0) != Ordering::Less
    }

    fn level_overlaps(&self, level: u8, range: (&[u8], &[u8])) -> bool {
        let mut tables = self.tables.range((level, 0)..=(level, u64::MAX));
        tables.any(|(_, table)| self.overlaps(table, range))
    }

    /// Adds to `inputs` what overlaps them on `level`, until nothing more does.
    fn close(&self, inputs: &mut BTreeMap<(u8, u64), Arc<ModelTable>>, level: u8) {
        loop {
            let more = self
                .tables
                .range((level, 0)..=(level, u64::MAX))
                .find(|(place, table)| {
                    !inputs.contains_key(place)
                        && inputs.values().any(|input| self.overlaps(table, input.range()))
                });
            match more {
                Some((place, table)) => inputs.insert(*place, Arc::clone(table)),
                None => return,
            };
        }
    }
}

impl ModelEngine {
    pub fn new(seed: u64) -> Self {
        let mut random = ModelRandom(seed);
        let order = if random.chance(25) {
            Comparator::Idb
        } else {
            Comparator::Bytewise
        };
        Self {
            state: ModelState::new(&order),
            visible: VisibleRecords::new(),
            random,
            saved: Vec::new(),
        }
    }

    /// One act of an owner, or of those who run one.
    pub fn step(&mut self) {
        match self.random.below(100) {
            0..29 => self.write(),
            29..32 => self.commit_past_the_log(),
            32..35 => self.add_finished_table(),
            35..39 => self.write_one_key_often(),
            39..49 => self.rotate(),
            49..63 => self.flush(),
            63..78 => self.compact(),
            78..84 => self.move_down(),
            84..86 => self.delete_range(),
            86..89 => self.reopen(),
            89..91 => self.repair(),
            91..92 => self.restore(),
            92..94 => self.twin(),
            94..98 => self.saved.push((self.state.clone(), self.visible.clone())),
            _ => self.roll_back(),
        }
    }

    fn put(&mut self, batch: &mut Vec<WriteOp>, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.state.last_sequence += 1;
        let canonical = super::random::canonical(&self.state.order, &key);
        match &value {
            Some(value) => self.visible.insert(canonical, (key.clone(), value.clone())),
            None => self.visible.remove(&canonical),
        };
        batch.push(WriteOp {
            key,
            sequence: self.state.last_sequence,
            value,
        });
    }

    fn append(&mut self, batch: Vec<WriteOp>) {
        let last = self.state.logs.last_key_value();
        if last.is_none_or(|(number, _)| self.state.stale.contains(number)) {
            let (number, was_empty) = (self.state.number(), self.state.logs.is_empty());
            self.state.logs.insert(number, Vec::new());
            // An owner that reuses logs may leave the number at 0.
            if was_empty && self.random.chance(60) {
                self.state.log_number = number;
            }
        }
        if let Some(mut log) = self.state.logs.last_entry() {
            log.get_mut().push(batch);
        }
    }

    fn write(&mut self) {
        let mut batch = Vec::new();
        for _ in 0..1 + self.random.below(12) {
            let key = self.random.key(&self.state.order);
            let value = (!self.random.chance(30)).then(|| self.random.value());
            self.put(&mut batch, key, value);
        }
        self.append(batch);
    }

    fn write_one_key_often(&mut self) {
        let key = self.random.key(&self.state.order);
        for _ in 0..20 + self.random.below(60) {
            let mut batch = Vec::new();
            let value = (!self.random.chance(10)).then(|| self.random.value());
            self.put(&mut batch, key.clone(), value);
            self.append(batch);
        }
    }

    fn rotate(&mut self) {
        if !self.state.logs.is_empty() {
            let number = self.state.number();
            self.state.logs.insert(number, Vec::new());
            self.state.names_previous = self.random.chance(20);
        }
    }

    /// A transaction of goleveldb, or a batch above its write buffer: tables on level 0 at once, while an older log may
    /// still wait to be written to one.
    fn commit_past_the_log(&mut self) {
        self.open_if_new();
        if self
            .state
            .logs
            .last_key_value()
            .is_some_and(|(_, log)| !log.is_empty())
        {
            self.rotate();
        }
        let (mut ops, mut tables) = (Vec::new(), 1 + self.random.below(2));
        while tables > 0 {
            for _ in 0..1 + self.random.below(12) {
                let key = self.random.key(&self.state.order);
                let value = (!self.random.chance(30)).then(|| self.random.value());
                self.put(&mut ops, key, value);
            }
            sort(&mut ops, &self.state.order);
            let (table, number) = (self.table(std::mem::take(&mut ops)), self.state.number());
            self.state.tables.insert((0, number), table);
            tables -= 1;
        }
    }

    /// A table that another program finished, one key's entries or many, taken in where nothing overlaps it: beside live
    /// logs that hold older entries of its keys, and under tables that hold none.
    fn add_finished_table(&mut self) {
        self.open_if_new();
        let mut ops = Vec::new();
        for _ in 0..1 + self.random.below(4) {
            let key = self.random.key(&self.state.order);
            let value = (!self.random.chance(20)).then(|| self.random.value());
            self.put(&mut ops, key, value);
        }
        sort(&mut ops, &self.state.order);
        let table = self.table(ops);
        let mut level = 0;
        if !self.state.level_overlaps(0, table.range()) {
            while level < 3 && !self.state.level_overlaps(level + 1, table.range()) {
                level += 1;
            }
        }
        let number = self.state.number();
        self.state.tables.insert((level, number), table);
    }

    /// True if a live log, or a table above, has an older entry of the key: a deletion is not pointless then. (An owner
    /// that drops it all the same has its record back.)
    fn has_older_above(&self, op: &WriteOp, level: u8) -> bool {
        let tables = self
            .state
            .tables
            .range(..(level, 0))
            .flat_map(|(_, table)| &table.ops);
        let mut above = self.state.logs.values().flatten().flatten().chain(tables);
        above.any(|older| {
            older.sequence < op.sequence && self.state.order.compare(&older.key, &op.key).is_eq()
        })
    }

    /// What an owner does before its first edit.
    fn open_if_new(&mut self) {
        if self.state.log_number == 0 {
            self.reopen();
        }
    }

    /// The oldest log becomes a table.
    fn flush(&mut self) {
        self.open_if_new();
        if self.state.logs.len() < 2 {
            self.rotate();
        }
        if let Some((_, batches)) = self.state.logs.pop_first() {
            self.add_flushed(batches);
        }
        self.state.log_number = self.state.logs.first_key_value().map_or(0, |(number, _)| *number);
    }

    fn add_flushed(&mut self, batches: Vec<Vec<WriteOp>>) {
        let mut ops: Vec<WriteOp> = batches.into_iter().flatten().collect();
        if ops.is_empty() {
            return;
        }
        sort(&mut ops, &self.state.order);
        let table = self.table(ops);
        let mut level = 0;
        if !self.state.level_overlaps(0, table.range()) {
            while level < 2 && !self.state.level_overlaps(level + 1, table.range()) {
                level += 1;
            }
        }
        let number = self.state.number();
        self.state.tables.insert((level, number), table);
    }

    fn table(&mut self, ops: Vec<WriteOp>) -> Arc<ModelTable> {
        let codec = [BlockCodec::None, BlockCodec::Snappy, BlockCodec::Zstd][self.random.below(3) as usize];
        ModelTable::new(ops, 1 + self.random.below(12) as usize, codec)
    }

    fn some_table(&mut self) -> Option<((u8, u64), Arc<ModelTable>)> {
        let count = self.state.tables.len() as u64;
        let index = self.random.below(count.max(1)) as usize;
        let (place, table) = self.state.tables.iter().nth(index)?;
        Some((*place, Arc::clone(table)))
    }

    fn compact(&mut self) {
        self.open_if_new();
        if let Some((place, table)) = self.some_table()
            && place.0 < BOTTOM
        {
            self.compact_from(place, table);
        }
    }

    fn compact_from(&mut self, place: (u8, u64), table: Arc<ModelTable>) {
        let (level, order) = (place.0, self.state.order.clone());
        let mut inputs = BTreeMap::from([(place, table)]);
        self.state.close(&mut inputs, level);
        self.state.close(&mut inputs, level + 1);
        for place in inputs.keys() {
            self.state.tables.remove(place);
        }
        // Newer files first, so that of two entries with one number the newer stays in front.
        let mut ops: Vec<WriteOp> = Vec::new();
        for (_, table) in inputs.range(..(1, 0)).rev().chain(inputs.range((1, 0)..)) {
            ops.extend_from_slice(&table.ops);
        }
        sort(&mut ops, &order);
        let held = if self.random.chance(20) {
            self.random.below(self.state.last_sequence + 1)
        } else {
            self.state.last_sequence
        };
        let kept = self.without_hidden(ops, level + 1, held);
        self.add_tables(level + 1, kept);
    }

    /// LevelDB's rule of what a compaction may drop, `held` being the oldest snapshot that somebody reads.
    fn without_hidden(&self, ops: Vec<WriteOp>, to: u8, held: u64) -> Vec<WriteOp> {
        let order = &self.state.order;
        let is_base =
            |key: &[u8]| (to + 1..=BOTTOM).all(|level| !self.state.level_overlaps(level, (key, key)));
        let (mut kept, mut last): (Vec<WriteOp>, Option<(Vec<u8>, u64)>) = (Vec::new(), None);
        for op in ops {
            let newer = last
                .take()
                .filter(|(key, _)| order.compare(key, &op.key) == Ordering::Equal);
            let hidden = newer
                .as_ref()
                .is_some_and(|(_, sequence)| *sequence <= held || *sequence == op.sequence);
            let pointless = op.value.is_none()
                && op.sequence <= held
                && is_base(&op.key)
                && !self.has_older_above(&op, to);
            last = Some((op.key.clone(), op.sequence));
            if !hidden && !pointless {
                kept.push(op);
            }
        }
        kept
    }

    /// Tables of any size; one key's entries may lie in two of them.
    fn add_tables(&mut self, level: u8, mut ops: Vec<WriteOp>) {
        while !ops.is_empty() {
            let most = if self.random.chance(50) { 8 } else { 200 };
            let len = 1 + self.random.below(most) as usize;
            let rest = ops.split_off(len.min(ops.len()));
            let table = self.table(std::mem::replace(&mut ops, rest));
            let number = self.state.number();
            self.state.tables.insert((level, number), table);
        }
    }

    fn move_down(&mut self) {
        self.open_if_new();
        let Some((place, table)) = self.some_table().filter(|(place, _)| place.0 < BOTTOM) else {
            return;
        };
        let mut with = BTreeMap::from([(place, Arc::clone(&table))]);
        self.state.close(&mut with, place.0);
        if with.len() == 1 && !self.state.level_overlaps(place.0 + 1, table.range()) {
            self.state.tables.remove(&place);
            self.state.tables.insert((place.0 + 1, place.1), table);
        }
    }

    /// Keys go, and with them the tables that held them.
    fn delete_range(&mut self) {
        let mut keys: Vec<Vec<u8>> = self.visible.values().map(|(key, _)| key.clone()).collect();
        keys.sort_by(|a, b| self.state.order.compare(a, b));
        let from = self.random.below(keys.len() as u64 + 1) as usize;
        let mut batch = Vec::new();
        for key in keys.split_off(from) {
            self.put(&mut batch, key, None);
        }
        if batch.is_empty() {
            return;
        }
        self.append(batch);
        self.reopen();
        for level in 0..BOTTOM {
            while let Some((place, table)) = self.first_of(level) {
                self.compact_from(place, table);
            }
        }
    }

    fn first_of(&self, level: u8) -> Option<((u8, u64), Arc<ModelTable>)> {
        let mut tables = self.state.tables.range((level, 0)..=(level, u64::MAX));
        tables.next().map(|(place, table)| (*place, Arc::clone(table)))
    }

    /// Closed and opened again: all logs become tables, perhaps also those whose entries are in tables already, so that
    /// the newest table has old entries.
    fn reopen(&mut self) {
        let stale = std::mem::take(&mut self.state.stale);
        for (number, batches) in std::mem::take(&mut self.state.logs) {
            if !stale.contains(&number) || self.random.chance(50) {
                self.add_flushed(batches);
            }
        }
        let number = self.state.number();
        self.state.logs.insert(number, Vec::new());
        self.state.log_number = number;
    }

    /// RepairDB: every table on level 0, every log a table, log number 0. Now and then somebody puts logs back.
    pub fn repair(&mut self) {
        // Of two entries with one number nobody could say which is the newer any more.
        if self.state.has_ties {
            return;
        }
        let archived = std::mem::take(&mut self.state.logs);
        self.state.stale.clear();
        self.state.was_repaired = true;
        for ((_, number), table) in std::mem::take(&mut self.state.tables) {
            self.state.tables.insert((0, number), table);
        }
        for batches in archived.values() {
            let mut ops: Vec<WriteOp> = batches.iter().flatten().cloned().collect();
            if !ops.is_empty() {
                sort(&mut ops, &self.state.order);
                let (table, number) = (self.table(ops), self.state.number());
                self.state.tables.insert((0, number), table);
            }
        }
        self.state.log_number = 0;
        for (number, log) in archived {
            if self.random.chance(40) {
                self.state.logs.insert(number, log);
                self.state.stale.insert(number);
            }
        }
    }

    /// As our own restore leaves it: one sequence number, one level, log number 0, numbers from the beginning.
    fn restore(&mut self) {
        let sequence = self.state.last_sequence.max(1);
        let one = |(key, value): &(Vec<u8>, Vec<u8>)| WriteOp {
            key: key.clone(),
            sequence,
            value: Some(value.clone()),
        };
        let mut ops: Vec<WriteOp> = self.visible.values().map(one).collect();
        sort(&mut ops, &self.state.order);
        self.state = ModelState::new(&self.state.order);
        self.state.last_sequence = sequence;
        let level = 1 + self.random.below(4) as u8;
        self.add_tables(level, ops);
    }

    /// A second entry with the number of a visible one and another value, in a newer table.
    fn twin(&mut self) {
        self.reopen();
        let count = self.visible.len() as u64;
        let index = self.random.below(count.max(1)) as usize;
        let Some((canonical, (key, _))) = self.visible.iter().nth(index) else {
            return;
        };
        let (canonical, key) = (canonical.clone(), key.clone());
        let all = self.state.tables.values().flat_map(|table| &table.ops);
        let same = |op: &&WriteOp| self.state.order.compare(&op.key, &key) == Ordering::Equal;
        let Some(sequence) = all.filter(same).map(|op| op.sequence).max() else {
            return;
        };
        let value = Some(self.random.value());
        let op = WriteOp { key, sequence, value };
        self.visible
            .insert(canonical, (op.key.clone(), op.value.clone().unwrap_or_default()));
        let (table, number) = (self.table(vec![op]), self.state.number());
        self.state.tables.insert((0, number), table);
        self.state.has_ties = true;
    }

    /// The directory as it was, or a copy of it: numbers of files and entries are used again.
    fn roll_back(&mut self) {
        let index = self.random.below(self.saved.len().max(1) as u64) as usize;
        let Some((state, visible)) = self.saved.get(index) else {
            return;
        };
        (self.state, self.visible) = (state.clone(), visible.clone());
        if self.random.chance(50) {
            for table in self.state.tables.values_mut() {
                *table = table.copied();
            }
        }
    }
}
