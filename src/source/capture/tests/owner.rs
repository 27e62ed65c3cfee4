//! An owner that writes as LevelDB does, one action at a time: every order of events a test wants can be had.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::leveldb::BlockCodec;
use crate::leveldb::comparator::Comparator;
use crate::leveldb::database_layout::TableExtension;
use crate::leveldb::file_name::{log_name, manifest_name, table_name};
use crate::leveldb::log_writer::append_record;
use crate::leveldb::test_databases::{WriteOp, batch_of, op, sort, table_of, visible};
use crate::leveldb::version::{TableMeta, VersionEdit};

/// Whose habits an owner has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterDialect {
    CppLevelDb,
    GoLevelDb,
}

pub struct SimulatedOwner {
    habits: WriterDialect,
    /// What its values begin with: tells two owners' databases.
    tag: String,
    pub directory: PathBuf,
    /// Everything ever written, in order.
    pub ops: Vec<WriteOp>,
    /// Sequence numbers at which a batch ends; 0 for the beginning.
    pub ends: Vec<u64>,
    next_file: u64,
    manifest: u64,
    manifest_bytes: Vec<u8>,
    log: u64,
    log_bytes: Vec<u8>,
    /// The log that waits to be flushed, and the last sequence number when it was full.
    waiting: Option<(u64, u64)>,
    /// Operations in each live log, and in each live table.
    in_log: BTreeMap<u64, Vec<WriteOp>>,
    tables: BTreeMap<(u8, u64), (TableMeta, Vec<WriteOp>)>,
}

impl SimulatedOwner {
    pub fn create(directory: &Path, habits: WriterDialect) -> Self {
        Self::create_tagged(directory, habits, "")
    }

    pub fn create_tagged(directory: &Path, habits: WriterDialect, tag: &str) -> Self {
        fs::create_dir_all(directory).unwrap();
        let mut owner = Self {
            habits,
            tag: tag.to_owned(),
            directory: directory.to_owned(),
            ops: Vec::new(),
            ends: vec![0],
            next_file: 1,
            manifest: 0,
            manifest_bytes: Vec::new(),
            log: 0,
            log_bytes: Vec::new(),
            waiting: None,
            in_log: BTreeMap::new(),
            tables: BTreeMap::new(),
        };
        owner.reopen();
        owner
    }

    pub fn last_sequence(&self) -> u64 {
        self.ops.len() as u64
    }

    /// What a reader must see at a sequence number.
    pub fn state(&self, sequence: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
        visible(&self.ops[..sequence as usize])
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn log_path(&self, number: u64) -> PathBuf {
        self.path(&log_name(number))
    }

    pub fn log(&self) -> u64 {
        self.log
    }

    pub fn waiting(&self) -> Option<u64> {
        self.waiting.map(|(log, _)| log)
    }

    pub fn table_path(&self, number: u64) -> PathBuf {
        self.path(&table_name(number, TableExtension::Ldb))
    }

    pub fn tables(&self) -> Vec<u64> {
        self.tables.keys().map(|(_, number)| *number).collect()
    }

    /// One batch of so many operations on few keys.
    pub fn put(&mut self, count: u64) {
        let batch = self.batch(count);
        let from = self.log_bytes.len();
        append_record(&mut self.log_bytes, &batch_of(&batch));
        append(&self.log_path(self.log), &self.log_bytes[from..]);
        self.in_log.entry(self.log).or_default().extend(batch);
    }

    fn batch(&mut self, count: u64) -> Vec<WriteOp> {
        let first = self.last_sequence() + 1;
        let batch: Vec<WriteOp> = (first..first + count)
            .map(|sequence| {
                let value = format!("{}value {sequence}", self.tag);
                let value = (!sequence.is_multiple_of(7)).then_some(value.as_bytes());
                op(format!("key {}", sequence * 31 % 23).as_bytes(), sequence, value)
            })
            .collect();
        self.ops.extend_from_slice(&batch);
        self.ends.push(self.last_sequence());
        batch
    }

    /// The log is full: a new one, and the old one waits. goleveldb does not wait, nor write an edit, if it is empty.
    pub fn rotate(&mut self) {
        self.flush();
        let full = std::mem::take(&mut self.log);
        self.begin_log();
        if self.habits == WriterDialect::GoLevelDb && !self.in_log.contains_key(&full) {
            fs::remove_file(self.log_path(full)).unwrap()
        } else {
            self.waiting = Some((full, self.last_sequence()))
        }
    }

    fn begin_log(&mut self) {
        self.log = self.number();
        self.log_bytes.clear();
        fs::write(self.log_path(self.log), []).unwrap();
    }

    /// The waiting log becomes a table.
    pub fn flush(&mut self) {
        if let Some((log, sequence)) = self.waiting.take() {
            let ops = self.in_log.remove(&log).unwrap_or_default();
            let added = self.table(0, ops);
            self.edit(VersionEdit {
                log_number: Some(self.log),
                // goleveldb may have committed a transaction meanwhile, and goes back behind it.
                last_sequence: (self.habits == WriterDialect::GoLevelDb).then_some(sequence),
                added,
                ..VersionEdit::default()
            });
            fs::remove_file(self.log_path(log)).unwrap();
        }
    }

    /// All tables become one.
    pub fn compact(&mut self) {
        let old = std::mem::take(&mut self.tables);
        let ops = old.values().flat_map(|(_, ops)| ops.clone()).collect();
        let added = self.table(1, ops);
        self.edit(VersionEdit {
            deleted: old.keys().copied().collect(),
            added,
            ..VersionEdit::default()
        });
        for (_, number) in old.keys() {
            fs::remove_file(self.table_path(*number)).unwrap();
        }
    }

    /// goleveldb's way with large batches: a table at once, past the log.
    pub fn transaction(&mut self, count: u64) {
        let ops = self.batch(count);
        let added = self.table(0, ops);
        self.edit(VersionEdit {
            added,
            ..VersionEdit::default()
        });
    }

    /// Closed and opened again: logs become a table, then a new MANIFEST, a new log, CURRENT.
    pub fn reopen(&mut self) {
        let (old_logs, old_manifest) = (std::mem::take(&mut self.in_log), self.manifest);
        self.table(0, old_logs.values().flatten().cloned().collect());
        let (old_log, waiting) = (self.log, self.waiting.take().map(|(log, _)| log));
        self.begin_log();
        self.manifest = self.number();
        self.manifest_bytes.clear();
        fs::write(self.path(&manifest_name(self.manifest)), []).unwrap();
        self.edit(VersionEdit {
            comparator: Some(Comparator::Bytewise.name().as_bytes().to_vec()),
            log_number: Some(self.log),
            added: self
                .tables
                .iter()
                .map(|(&(level, _), (meta, _))| (level, meta.clone()))
                .collect(),
            ..VersionEdit::default()
        });
        let pending = self.path("000000.dbtmp");
        fs::write(&pending, format!("{}\n", manifest_name(self.manifest))).unwrap();
        fs::rename(pending, self.path("CURRENT")).unwrap();
        if old_manifest > 0 {
            fs::remove_file(self.path(&manifest_name(old_manifest))).unwrap();
            for log in waiting.into_iter().chain([old_log]) {
                fs::remove_file(self.log_path(log)).unwrap();
            }
        }
    }

    /// What `RepairDB` does before it writes its MANIFEST: logs become tables, and are moved away.
    pub fn begin_repair(&mut self) {
        fs::create_dir_all(self.path("lost")).unwrap();
        for (log, ops) in std::mem::take(&mut self.in_log) {
            self.table(0, ops);
            fs::rename(self.log_path(log), self.path("lost").join(log_name(log))).unwrap();
        }
        self.waiting = None;
    }

    /// The rest of it: another MANIFEST, which names all tables and no log.
    pub fn end_repair(&mut self) {
        let old = manifest_name(self.manifest);
        fs::rename(self.path(&old), self.path("lost").join(old)).unwrap();
        self.manifest = 1;
        self.manifest_bytes.clear();
        fs::write(self.path(&manifest_name(1)), []).unwrap();
        let added = self
            .tables
            .iter()
            .map(|(_, (meta, _))| (0, meta.clone()))
            .collect();
        self.edit(VersionEdit {
            comparator: Some(Comparator::Bytewise.name().as_bytes().to_vec()),
            log_number: Some(0),
            added,
            ..VersionEdit::default()
        });
        fs::write(self.path("CURRENT"), format!("{}\n", manifest_name(1))).unwrap();
    }

    /// Appends an edit with the numbers that every edit has.
    pub fn edit(&mut self, edit: VersionEdit) {
        let cpp = self.habits == WriterDialect::CppLevelDb;
        let edit = VersionEdit {
            previous_log_number: edit.log_number.and(cpp.then_some(0)),
            next_file: Some(self.next_file),
            last_sequence: Some(edit.last_sequence.unwrap_or(self.last_sequence())),
            ..edit
        };
        let (mut record, from) = (Vec::new(), self.manifest_bytes.len());
        edit.encode(&mut record);
        append_record(&mut self.manifest_bytes, &record);
        append(
            &self.path(&manifest_name(self.manifest)),
            &self.manifest_bytes[from..],
        );
    }

    /// A write that fails, and whose numbers are used up.
    pub fn fail_write(&mut self) {
        let sequence = self.last_sequence() + 1;
        self.ops.push(op(b"never written", sequence, None));
    }

    fn number(&mut self) -> u64 {
        self.next_file += 1;
        self.next_file - 1
    }

    fn table(&mut self, level: u8, mut ops: Vec<WriteOp>) -> Vec<(u8, TableMeta)> {
        if ops.is_empty() {
            return Vec::new();
        }
        sort(&mut ops, &Comparator::Bytewise);
        let number = self.number();
        let bytes = table_of(&ops, 5, BlockCodec::Snappy);
        fs::write(self.table_path(number), &bytes).unwrap();
        let meta = TableMeta {
            number,
            size: bytes.len() as u64,
            smallest: ops[0].internal_key(),
            largest: ops[ops.len() - 1].internal_key(),
        };
        self.tables.insert((level, number), (meta.clone(), ops));
        vec![(level, meta)]
    }
}

pub fn append(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}
