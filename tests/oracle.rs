//! Random operation lists, written by C++ LevelDB itself with random options, go through a repository and come back;
//! C++ LevelDB reads the result and a naive map judges it. All cases of a test share one repository, so that
//! deduplication between unlike databases is under test too. Most cases go through the library, which opens the
//! repository once; a few through the tool.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use levault::repo::Repo;
use levault::storage::MemoryStorage;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use serde_json::{Value, json};
use support::oracle::{Change, Model, Operation, Oracle, apply, model_of};
use support::tool::{Ended, Tool};
use tempfile::TempDir;

/// levault, as this test sees it.
trait Subject {
    /// Backs the database up; the snapshot's id.
    fn backup(&self, db: &Path) -> String;
    /// All records of a snapshot without restoring it.
    fn records(&self, snapshot: &str) -> Model;
    /// Restores a snapshot to a directory that does not exist yet.
    fn restore(&self, snapshot: &str, target: &Path);
    /// Restores a snapshot over the closed database at `target`, writing what differs.
    fn restore_over(&self, snapshot: &str, target: &Path);
}

impl Subject for Tool {
    fn backup(&self, db: &Path) -> String {
        let summary = Ended::of(self.command().args(["backup", "--json"]).arg(db))
            .ok()
            .summary();
        summary["snapshot_id"].as_str().expect("an id").to_owned()
    }

    fn records(&self, snapshot: &str) -> Model {
        model_of(&self.run(["dump", snapshot, "--format", "raw"]).ok().stdout)
    }

    fn restore(&self, snapshot: &str, target: &Path) {
        Tool::restore(self, snapshot, target).ok();
    }

    fn restore_over(&self, snapshot: &str, target: &Path) {
        let mut command = self.command();
        command.args(["restore", snapshot, "--overwrite", "if-changed", "--target"]);
        Ended::of(command.arg(target)).ok();
    }
}

/// The library, on a repository in memory.
struct Library(Repo);

impl Library {
    fn new() -> Self {
        Self(common::create(Arc::new(MemoryStorage::default())).expect("make a repository"))
    }
}

impl Subject for Library {
    fn backup(&self, db: &Path) -> String {
        let outcome = common::backup(&self.0, db).expect("back up");
        assert!(
            outcome
                .databases
                .iter()
                .all(|database| database.damage.is_empty()),
            "damage where there is none"
        );
        outcome.snapshot.expect("a snapshot").to_hex()
    }

    fn records(&self, snapshot: &str) -> Model {
        common::records(&self.0, snapshot).expect("read a snapshot")
    }

    fn restore(&self, snapshot: &str, target: &Path) {
        common::restore(&self.0, snapshot, target).expect("restore");
    }

    fn restore_over(&self, snapshot: &str, target: &Path) {
        common::restore_over(&self.0, snapshot, target).expect("restore over");
    }
}

/// Keys from a small space, so that overwrites and deletes hit; of every shape that has been trouble somewhere.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u32..200).prop_map(|i| format!("key/{i:04}").into_bytes()),
        2 => vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 0..4),
        1 => (1usize..5).prop_map(|len| vec![0xff; len]),
        1 => (0u8..8).prop_map(|i| [vec![b'k'; 300], vec![i]].concat()),
    ]
}

/// Values from nothing to beyond what is kept inline, and with them blocks from one record to many.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let noise = |len: usize, seed: u64| {
        let mut bytes = vec![0; len];
        blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .finalize_xof()
            .fill(&mut bytes);
        bytes
    };
    prop_oneof![
        8 => vec(any::<u8>(), 0..40),
        4 => (0usize..2000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        3 => (0usize..5000, any::<u64>()).prop_map(move |(len, seed)| noise(len, seed)),
        1 => (60_000usize..140_000, any::<u64>()).prop_map(move |(len, seed)| noise(len, seed)),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| (key, Some(value))),
        1 => key().prop_map(|key| (key, None)),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        12 => change().prop_map(Operation::One),
        4 => vec(change(), 0..30).prop_map(Operation::Batch),
        1 => Just(Operation::Reopen),
        1 => Just(Operation::Compact),
    ]
}

/// plyvel.DB's arguments.
fn options() -> impl Strategy<Value = Value> {
    let block = prop_oneof![Just(64u32), Just(1024), Just(4096), Just(65536)];
    let bits = prop_oneof![Just(0u32), Just(10), Just(24)];
    let restarts = prop_oneof![Just(1u32), Just(2), Just(16)];
    (block, bits, restarts, any::<bool>()).prop_map(|(block, bits, restarts, snappy)| {
        json!({
            "create_if_missing": true,
            "block_size": block,
            "block_restart_interval": restarts,
            "bloom_filter_bits": bits,
            "compression": if snappy { json!("snappy") } else { Value::Null },
            "write_buffer_size": 64 << 10,
            "max_file_size": 1 << 20,
        })
    })
}

/// A database's life: made and filled, changed after the first backup, changed after the restore.
#[derive(Clone, Debug)]
struct Case {
    options: Value,
    first: Vec<Operation>,
    second: Vec<Operation>,
    after: Vec<Operation>,
}

fn case() -> impl Strategy<Value = Case> {
    let few = || vec(operation(), 0..12);
    (options(), vec(operation(), 0..60), few(), few()).prop_map(|(options, first, second, after)| Case {
        options,
        first,
        second,
        after,
    })
}

/// One repository, one oracle and a place for databases.
struct Bench<S> {
    subject: S,
    oracle: Oracle,
    dir: TempDir,
    made: usize,
}

impl<S: Subject> Bench<S> {
    fn fresh(&mut self, name: &str) -> PathBuf {
        self.made += 1;
        self.dir.path().join(format!("{name}-{}", self.made))
    }

    fn run(&mut self, case: &Case) -> Result<(), TestCaseError> {
        let (db, mut model) = (self.fresh("db"), Model::new());
        self.write(&db, &case.options, &case.first, &mut model);
        let first = self.subject.backup(&db);
        let early = model.clone();
        self.write(&db, &case.options, &case.second, &mut model);
        let second = self.subject.backup(&db);
        prop_assert!(self.subject.records(&first) == early, "the first snapshot, read");
        prop_assert!(
            self.subject.records(&second) == model,
            "the second snapshot, read"
        );
        let restored = self.fresh("restored");
        self.subject.restore(&second, &restored);
        prop_assert!(self.read(&restored)? == model, "the second snapshot, restored");
        self.write(&restored, &case.options, &case.after, &mut model);
        prop_assert!(self.read(&restored)? == model, "written on after the restore");
        self.subject.restore_over(&first, &db);
        prop_assert!(
            self.read(&db)? == early,
            "the first snapshot, restored over what followed"
        );
        let mut back = early;
        self.write(&db, &case.options, &case.after, &mut back);
        prop_assert!(self.read(&db)? == back, "written on after the restore over it");
        for used in [db, restored] {
            std::fs::remove_dir_all(used)?;
        }
        Ok(())
    }

    fn write(&mut self, db: &Path, options: &Value, operations: &[Operation], model: &mut Model) {
        self.oracle.write(db, options, operations);
        apply(model, operations);
    }

    fn read(&mut self, db: &Path) -> Result<Model, TestCaseError> {
        self.oracle.dump(db).map_err(TestCaseError::fail)
    }
}

/// LEVAULT_ORACLE_CASES, or this many.
const CASES: u32 = 500;

fn cases() -> u32 {
    let asked = std::env::var("LEVAULT_ORACLE_CASES").ok();
    asked.map_or(CASES, |words| {
        words.parse().expect("LEVAULT_ORACLE_CASES is a number")
    })
}

/// The same cases on every run, unless LEVAULT_ORACLE_SEED says which others (scripts/soak prop does).
fn seed() -> [u8; 32] {
    let words = std::env::var("LEVAULT_ORACLE_SEED").unwrap_or_default();
    *blake3::hash(words.as_bytes()).as_bytes()
}

/// Runs the cases; a failure is made smaller in `shrinks` steps at most.
fn run<S: Subject>(subject: S, oracle: Oracle, cases: u32, shrinks: u32) -> Result<(), String> {
    let mut config = Config::with_cases(cases);
    config.failure_persistence = None;
    config.max_shrink_iters = shrinks;
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed()));
    let bench = std::cell::RefCell::new(Bench {
        subject,
        oracle,
        dir: tempfile::tempdir().unwrap(),
        made: 0,
    });
    runner
        .run(&case(), |case| bench.borrow_mut().run(&case))
        .map_err(|failure| failure.to_string())
}

#[test]
fn random_databases_of_cpp_leveldb_come_back_as_a_naive_map_says() {
    let Some(oracle) = Oracle::start() else { return };
    run(Library::new(), oracle, cases(), 200).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_few_of_them_go_through_the_tool() {
    let Some(oracle) = Oracle::start() else { return };
    run(Tool::new(), oracle, 6, 20).unwrap_or_else(|failure| panic!("{failure}"));
}

/// A subject that keeps plain copies of closed databases: right by nature, unless told to lose a file.
struct Copies {
    dir: TempDir,
    made: std::cell::Cell<usize>,
    loses: Option<&'static str>,
}

impl Copies {
    fn new(loses: Option<&'static str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            dir,
            made: 0.into(),
            loses,
        }
    }

    fn copy(&self, from: &Path, to: &Path) {
        std::fs::create_dir(to).unwrap();
        for (path, bytes) in support::tool::files_below(from) {
            if self
                .loses
                .is_none_or(|lost| path.extension() != Some(lost.as_ref()))
            {
                std::fs::write(to.join(path.file_name().unwrap()), bytes).unwrap();
            }
        }
    }
}

impl Subject for Copies {
    fn backup(&self, db: &Path) -> String {
        self.made.set(self.made.get() + 1);
        let copy = self.dir.path().join(self.made.get().to_string());
        self.copy(db, &copy);
        copy.to_str().unwrap().to_owned()
    }

    fn records(&self, snapshot: &str) -> Model {
        Oracle::start()
            .unwrap()
            .dump(Path::new(snapshot))
            .unwrap_or_default()
    }

    fn restore(&self, snapshot: &str, target: &Path) {
        self.copy(Path::new(snapshot), target);
    }

    fn restore_over(&self, snapshot: &str, target: &Path) {
        std::fs::remove_dir_all(target).unwrap();
        self.copy(Path::new(snapshot), target);
    }
}

#[test]
fn the_judge_accepts_plain_copies() {
    let Some(oracle) = Oracle::start() else { return };
    run(Copies::new(None), oracle, 5, 0).unwrap();
}

#[test]
fn the_judge_finds_a_lost_log_or_table() {
    for lost in ["log", "ldb"] {
        let Some(oracle) = Oracle::start() else { return };
        run(Copies::new(Some(lost)), oracle, 20, 0).unwrap_err();
    }
}
