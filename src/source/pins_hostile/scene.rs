//! A database with a real writer, and the smallest backup that pins, captures and comparisons make: snapshots are maps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::error::Result;
use crate::id::{ObjectId, RepositoryId};
use crate::leveldb::changed_records::{ChangeSink, OwnedRecord};
use crate::leveldb::scan_context::ScanBudget;
use crate::source::changed_records::visit_changes;
use crate::source::pins::{DatabasePins, ParentState, PinOptions, StateToPin};
use crate::source::{CaptureOptions, Database, RecordSink};

pub type RecordMap = BTreeMap<Vec<u8>, Vec<u8>>;

/// How a round read the database.
#[derive(Debug)]
pub enum RoundRead {
    /// Nothing was kept from before.
    First,
    /// What changed since, with so many tables not read.
    Changes { shared: usize },
    /// All of it, because of this.
    Full(String),
}

/// A round: how it read, and why it kept nothing for the next, if so.
#[derive(Debug)]
pub struct BackupRound {
    pub read: RoundRead,
    pub unkept: Option<String>,
}

pub struct PinsFixture {
    pub place: tempfile::TempDir,
    pub db: PathBuf,
    snapshots: BTreeMap<ObjectId, RecordMap>,
    random: u64,
}

#[derive(Default)]
struct RecordMapCollector(RecordMap);

impl RecordSink for RecordMapCollector {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        self.0.insert(key.to_vec(), value.to_vec());
        Ok(())
    }
}

/// Changes, applied.
struct ChangeApplier<'a>(&'a mut RecordMap);

impl ChangeSink for ChangeApplier<'_> {
    fn change(&mut self, old: Option<OwnedRecord>, new: Option<OwnedRecord>) -> Result<()> {
        let key = old.or(new).expect("a change of something").0;
        // Where a damaged file makes the change untrue, the outcome says so.
        self.0.remove(key);
        if let Some((key, value)) = new {
            self.0.insert(key.to_vec(), value.to_vec());
        }
        Ok(())
    }
}

impl PinsFixture {
    /// In a directory of the system's choice.
    pub fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let db = place.path().join("db");
        Self::at(place, db)
    }

    pub fn at(place: tempfile::TempDir, db: PathBuf) -> Self {
        let mut scene = Self {
            place,
            db,
            snapshots: BTreeMap::new(),
            random: 1,
        };
        scene.fill();
        scene.churn(100);
        scene
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % end
    }

    /// Tables that later writes leave alone.
    fn fill(&mut self) {
        let changes: Vec<_> = (0..1200)
            .map(|number| (format!("base/{number:04}"), Some(self.value())))
            .collect();
        self.write(&changes);
    }

    fn value(&mut self) -> Vec<u8> {
        let mut value = vec![0; self.below(400) as usize];
        let seed = self.below(u64::MAX >> 33).to_le_bytes();
        blake3::Hasher::new()
            .update(&seed)
            .finalize_xof()
            .fill(&mut value);
        value
    }

    /// So many puts and deletions.
    pub fn churn(&mut self, count: u32) {
        let mut changes = Vec::new();
        for _ in 0..count {
            let key = format!("key/{:04}", self.below(2000));
            let value = (self.below(6) > 0).then(|| self.value());
            changes.push((key, value));
        }
        self.write(&changes);
    }

    /// By rusty-leveldb, in this role only a writer; its buffer is small, so tables come.
    fn write(&mut self, changes: &[(String, Option<Vec<u8>>)]) {
        let options = rusty_leveldb::Options {
            write_buffer_size: 24 << 10,
            ..Default::default()
        };
        let mut handle = rusty_leveldb::DB::open(&self.db, options).unwrap();
        for (key, value) in changes {
            match value {
                Some(value) => handle.put(key.as_bytes(), value).unwrap(),
                None => handle.delete(key.as_bytes()).unwrap(),
            }
        }
        handle.flush().unwrap();
        handle.close().unwrap();
    }

    /// A backup to a repository; whatever it read, the snapshot must be what is there.
    pub fn round(&mut self, repository: u8) -> BackupRound {
        self.round_with(repository, || {})
    }

    /// The same, with an act of somebody's between the reading and the pinning.
    pub fn round_with(&mut self, repository: u8, act: impl FnOnce()) -> BackupRound {
        let repository_id = RepositoryId([repository; 32]);
        let pins =
            DatabasePins::open(&self.db, repository_id, PinOptions::default(), Arc::default()).map(Arc::new);
        let refused = pins.as_ref().err().map(ToString::to_string);
        let capture = CaptureOptions {
            pins: pins.ok(),
            ..CaptureOptions::default()
        };
        let mut captured = capture.capture(&self.db).unwrap();
        let untaken = captured.pin_logs().err().map(|error| error.to_string());
        let now = Database::from_captured(captured, ScanBudget::default());
        drop(capture);
        let mut all = RecordMapCollector::default();
        let outcome = now.scan(&mut all).unwrap();
        let read = match now.pins().map(|pins| pins.parent_state(&now)) {
            None => RoundRead::Full(refused.clone().unwrap_or_default()),
            Some(Err(error)) => RoundRead::Full(error.to_string()),
            Some(Ok(None)) => RoundRead::First,
            Some(Ok(Some(before))) => self.increment(&before, &now, &all.0),
        };
        act();
        let id = ObjectId([self.snapshots.len() as u8 + 1; 32]);
        let kept = match StateToPin::from_database(now) {
            Some(pin) if outcome.damage.is_empty() => pin.pin_for_snapshot(id, 0).map(drop),
            Some(pin) => pin.discard(),
            None => Ok(()),
        };
        self.snapshots.insert(id, all.0);
        BackupRound {
            read,
            unkept: refused.or(untaken).or(kept.err().map(|error| error.to_string())),
        }
    }

    fn increment(&self, before: &ParentState, now: &Database, all: &RecordMap) -> RoundRead {
        let mut model = self.snapshots[&before.snapshot].clone();
        let outcome = match visit_changes(
            &before.database,
            now,
            &before.shared,
            &mut ChangeApplier(&mut model),
        ) {
            Ok(outcome) => outcome,
            Err(error) => return RoundRead::Full(error.to_string()),
        };
        if let Some(damage) = outcome.damage.first() {
            return RoundRead::Full(format!("{}: {}", damage.file, damage.what));
        }
        assert!(model == *all, "the changes do not lead to what is there");
        RoundRead::Changes {
            shared: before.shared.len(),
        }
    }

    /// The pin directories beside the database.
    pub fn pin_directories(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.db.parent().unwrap()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.to_string_lossy().contains("levault-pins"))
            .collect()
    }

    pub fn pins(&self) -> PathBuf {
        let all = self.pin_directories();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }
}

/// Runs a command of the system.
pub fn sh(words: &str) -> bool {
    Command::new("sh").args(["-c", words]).status().unwrap().success()
}

/// Tables in a directory, in order of their names.
pub fn tables(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut tables: Vec<_> = entries
        .filter(|path| path.extension() == Some("ldb".as_ref()))
        .collect();
    tables.sort();
    tables
}
