//! A database of a real LevelDB, and everything that happens to one between two backups: its owner's writes and habits,
//! crashes, repairs, and the people who copy directories about.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::random::{Random, WRITE_BUFFER};
use crate::support::memory;
use crate::support::oracle::{Change, Model, Operation, Oracle, apply};

/// One database through its life.
pub struct Life {
    pub oracle: Oracle,
    pub random: Random,
    pub dir: TempDir,
    pub db: PathBuf,
    /// What is in it.
    pub model: Model,
    options: Value,
    saved: Option<(PathBuf, Model)>,
    made: u32,
    /// Tables that no MANIFEST names lie in it, and no owner has opened it since: a repair brings them back.
    has_lost_tables: bool,
}

/// Whether the map knows what the act left. If not, the owner's LevelDB must be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Known {
    Yes,
    No,
}

impl Life {
    pub fn new(oracle: Oracle, seed: u64) -> Self {
        // Each backup and each owner syncs often, and a disk makes them wait; some lives are spent on one for its habits.
        let dir = match seed % 5 {
            0 => tempfile::tempdir().unwrap(),
            _ => memory(),
        };
        let mut random = Random(seed);
        let options = json!({
            "create_if_missing": true,
            "block_size": 256 << (2 * random.below(3)),
            "bloom_filter_bits": 10 * random.below(2),
            "compression": if random.below(2) == 0 { json!("snappy") } else { Value::Null },
            "write_buffer_size": WRITE_BUFFER,
            "max_file_size": 1 << 20,
        });
        let mut life = Self {
            oracle,
            random,
            db: dir.path().join("db"),
            dir,
            model: Model::new(),
            options,
            saved: None,
            made: 0,
            has_lost_tables: false,
        };
        life.write(500);
        life
    }

    pub fn write(&mut self, max: u64) {
        let operations = self.random.operations(max);
        self.do_all(&operations);
    }

    /// One act, by its name.
    pub fn act(&mut self) -> (&'static str, Known) {
        match self.random.below(100) {
            0..34 => (self.some_writes(), Known::Yes),
            34..40 => (self.write_a_large_batch(), Known::Yes),
            40..48 => (self.compact(), Known::Yes),
            48..54 => (self.delete_range(), Known::Yes),
            54..57 => ("nothing", Known::Yes),
            57..60 => (self.crash(), Known::Yes),
            60..65 => self.repair(),
            65..73 => (self.save(), Known::Yes),
            73..79 => (self.roll_back_in_place("-r"), Known::Yes),
            79..85 => (self.roll_back_in_place("-a"), Known::Yes),
            85..89 => (self.roll_back_whole(), Known::Yes),
            89..95 => (self.lose_power(), Known::No),
            _ => (self.write_one_key_often(), Known::Yes),
        }
    }

    fn some_writes(&mut self) -> &'static str {
        let max = [3, 40, 400][self.random.below(3) as usize];
        self.write(max);
        "writes"
    }

    fn do_all(&mut self, operations: &[Operation]) {
        self.oracle.write(&self.db, &self.options, operations);
        self.has_lost_tables = false;
        apply(&mut self.model, operations);
    }

    fn write_a_large_batch(&mut self) -> &'static str {
        let batch = self.random.large_batch();
        self.do_all(&[batch]);
        "large batch"
    }

    /// The owner's process ends with the database open.
    fn crash(&mut self) -> &'static str {
        let operations = self.random.operations(60);
        self.oracle.keep_writing(&self.db, &self.options, &operations);
        self.oracle.crash();
        self.has_lost_tables = false;
        apply(&mut self.model, &operations);
        "crash"
    }

    fn compact(&mut self) -> &'static str {
        self.do_all(&[Operation::Compact]);
        "compaction"
    }

    fn write_one_key_often(&mut self) -> &'static str {
        let key = self.random.key();
        let operations: Vec<_> = (0..100)
            .map(|_| Operation::One((key.clone(), Some(self.random.value()))))
            .collect();
        self.do_all(&operations);
        "one key"
    }

    fn delete_range(&mut self) -> &'static str {
        let from = self.random.below(self.model.len() as u64) as usize;
        let count = self.random.below(300) as usize;
        let keys: Vec<_> = self.model.keys().skip(from).take(count).cloned().collect();
        let mut operations = vec![Operation::Batch(
            keys.into_iter().map(|key| (key, None)).collect(),
        )];
        if self.random.below(2) == 0 {
            operations.push(Operation::Compact);
        }
        self.do_all(&operations);
        "range deletion"
    }

    fn repair(&mut self) -> (&'static str, Known) {
        self.oracle.repair(&self.db);
        // goleveldb deletes compacted tables when it finds the time, and closes before: they come back too.
        if std::mem::take(&mut self.has_lost_tables) || self.oracle.is_goleveldb() {
            ("repair that brings tables back", Known::No)
        } else {
            ("repair", Known::Yes)
        }
    }

    fn save(&mut self) -> &'static str {
        self.made += 1;
        let copy = self.dir.path().join(format!("saved-{}", self.made));
        copy_tree("-a", &self.db, &copy);
        if let Some((old, _)) = self.saved.replace((copy, self.model.clone())) {
            fs::remove_dir_all(old).unwrap();
        }
        "save"
    }

    /// The copy's files are written over those that are there; of the others only the logs go, or the owner would
    /// replay them.
    fn roll_back_in_place(&mut self, how: &str) -> &'static str {
        let Some((saved, model)) = self.saved.clone() else {
            return "nothing";
        };
        assert!(
            Command::new("cp")
                .arg(how)
                .arg(saved.join("."))
                .arg(&self.db)
                .status()
                .unwrap()
                .success(),
            "cp"
        );
        for entry in fs::read_dir(&self.db).unwrap() {
            let path = entry.unwrap().path();
            if path.extension() == Some("log".as_ref()) && !saved.join(path.file_name().unwrap()).exists() {
                fs::remove_file(path).unwrap();
            }
        }
        self.model = model;
        self.has_lost_tables = true;
        if self.random.below(2) == 0 {
            self.write(30);
            return "copy over it, and writes";
        }
        "copy over it"
    }

    fn roll_back_whole(&mut self) -> &'static str {
        let Some((saved, model)) = self.saved.take() else {
            return "nothing";
        };
        fs::remove_dir_all(&self.db).unwrap();
        fs::rename(saved, &self.db).unwrap();
        (self.model, self.has_lost_tables) = (model, false);
        "another directory"
    }

    /// The newest log ends at a random byte.
    fn lose_power(&mut self) -> &'static str {
        self.write(60);
        let logs = fs::read_dir(&self.db).unwrap().map(|entry| entry.unwrap().path());
        let newest = logs.filter(|path| path.extension() == Some("log".as_ref())).max();
        if let Some(log) = newest {
            let len = fs::metadata(&log).unwrap().len();
            let file = fs::OpenOptions::new().write(true).open(log).unwrap();
            file.set_len(len - self.random.below(len + 1)).unwrap();
        }
        "power loss"
    }

    /// A directory of somebody else's making takes the database's place.
    pub fn replace(&mut self, model: Model, make: impl FnOnce(&Path)) {
        fs::remove_dir_all(&self.db).unwrap();
        make(&self.db);
        (self.model, self.has_lost_tables) = (model, false);
    }

    /// What the owner's LevelDB reads in a copy.
    pub fn read(&mut self) -> Model {
        let copy = self.dir.path().join("copy");
        copy_tree("-a", &self.db, &copy);
        let model = self.oracle.dump(&copy).expect("its own LevelDB reads it");
        fs::remove_dir_all(copy).unwrap();
        model
    }

    /// goleveldb: a memtable is being written to its table, on a slow disk, and transactions and a batch above the write
    /// buffer are committed meanwhile. The database stays open. What the transactions wrote over is kept.
    pub fn commit_while_it_flushes(&mut self) -> Vec<Change> {
        let flushed: Vec<Change> = (0..2 + self.random.below(60))
            .map(|_| self.small_change())
            .collect();
        let mut before = Model::new();
        apply(&mut before, &[Operation::Batch(flushed.clone())]);
        let mut operations: Vec<Operation> = flushed.into_iter().map(Operation::One).collect();
        operations.push(Operation::HoldFlush);
        let (mut written_over, keys): (Vec<Change>, Vec<_>) = (Vec::new(), before.keys().cloned().collect());
        for _ in 0..1 + self.random.below(3) {
            let mut changes: Vec<Change> = (0..1 + self.random.below(4))
                .map(|_| self.small_change())
                .collect();
            for _ in 0..1 + self.random.below(4) {
                let key = &keys[self.random.below(keys.len() as u64) as usize];
                written_over.push((key.clone(), before.get(key).cloned()));
                changes.push((key.clone(), self.small_change().1));
            }
            if self.random.below(3) > 0 {
                operations.push(Operation::Transaction(changes));
            } else {
                changes.push((
                    b"above the write buffer".to_vec(),
                    Some(vec![7; 3 * WRITE_BUFFER as usize / 2]),
                ));
                operations.push(Operation::Batch(changes));
            }
        }
        self.keep_writing(&operations);
        written_over
    }

    /// Some of the old values once more, while the table is still not finished.
    pub fn write_back_while_it_flushes(&mut self, written_over: Vec<Change>) {
        let mut operations: Vec<Operation> = written_over.into_iter().map(Operation::One).collect();
        operations.truncate(1 + self.random.below(operations.len() as u64) as usize);
        operations.push(Operation::One(self.small_change()));
        self.keep_writing(&operations);
    }

    /// The table is finished, and the database closed.
    pub fn end_flush(&mut self) {
        // goleveldb forgets a transaction's numbers when it finishes the older memtable, unless its log has newer ones.
        let last = Operation::One(self.small_change());
        self.keep_writing(&[Operation::ReleaseFlush, last]);
        self.oracle.close(&self.db);
    }

    fn small_change(&mut self) -> Change {
        let (key, value) = self.random.change();
        (
            key,
            value.map(|mut value| {
                value.truncate(300);
                value
            }),
        )
    }

    fn keep_writing(&mut self, operations: &[Operation]) {
        self.oracle.keep_writing(&self.db, &self.options, operations);
        self.has_lost_tables = false;
        apply(&mut self.model, operations);
    }

    /// The owner writes while `capture` runs; the states that it went through.
    pub fn while_it_writes<T>(&mut self, capture: impl FnOnce() -> T) -> (T, States) {
        let before = self.random.operations(40);
        self.oracle.keep_writing(&self.db, &self.options, &before);
        apply(&mut self.model, &before);
        let mut during: Vec<_> = (0..200)
            .map(|_| match self.random.below(100) {
                0 => self.random.large_batch(),
                1 => self.random.transaction(),
                2 => Operation::CompactBeside,
                _ => Operation::One(self.random.change()),
            })
            .collect();
        // The last number must be a log's (see `end_flush`).
        during.push(Operation::ReleaseFlush);
        during.push(Operation::One(self.random.change()));
        self.has_lost_tables = false;
        let (oracle, db, options) = (&mut self.oracle, &self.db, &self.options);
        let result = std::thread::scope(|scope| {
            let owner = scope.spawn(|| oracle.keep_writing(db, options, &during));
            let result = capture();
            owner.join().unwrap();
            result
        });
        self.oracle.close(&self.db);
        let first = self.model.clone();
        apply(&mut self.model, &during);
        (result, States { first, during })
    }
}

/// A state, and the writes that led to others.
pub struct States {
    first: Model,
    during: Vec<Operation>,
}

impl States {
    pub fn contains(mut self, found: &Model) -> bool {
        let mut writes = self.during.iter();
        loop {
            if self.first == *found {
                return true;
            }
            let Some(write) = writes.next() else {
                return false;
            };
            apply(&mut self.first, std::slice::from_ref(write));
        }
    }
}

pub fn copy_tree(how: &str, from: &Path, to: &Path) {
    assert!(
        Command::new("cp")
            .arg(how)
            .arg(from)
            .arg(to)
            .status()
            .unwrap()
            .success(),
        "cp"
    );
}
