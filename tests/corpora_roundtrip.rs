//! Databases that real programs wrote go in and come out with the records their truth.json lists, judged by C++
//! LevelDB where it can read them and by a parser that is no LevelDB everywhere; damaged ones do what was promised.

mod support;

use std::path::Path;

use serde_json::Value;
use support::corpora::{self, Corpus};
use support::oracle::{Model, Oracle, model_of};
use support::tool::{Ended, Tool, files_below};

/// Comparators levault knows the order of; a database with another is kept as files.
const KNOWN_ORDERS: [&str; 2] = ["leveldb.BytewiseComparator", "idb_cmp1"];

#[test]
fn every_corpus_comes_back_with_the_records_of_its_truth() {
    let Some(mut oracle) = Oracle::start() else { return };
    let names: Vec<_> = corpora::names()
        .into_iter()
        .filter(|name| name != "damaged")
        .collect();
    assert!(!names.is_empty(), "no corpora in {}", corpora::root().display());
    for name in names {
        let corpus = corpora::unpack(&name);
        for (path, db, truth) in corpus.databases() {
            eprintln!("{name}: {path}");
            there_and_back(&mut oracle, &format!("{name}: {path}"), &db, &truth);
        }
    }
}

fn there_and_back(oracle: &mut Oracle, what: &str, db: &Path, truth: &Value) {
    let tool = Tool::new();
    let summary = Ended::of(tool.command().args(["backup", "--json"]).arg(db))
        .ok()
        .summary();
    let known = truth["comparator"]
        .as_str()
        .is_some_and(|name| KNOWN_ORDERS.contains(&name));
    let database = &summary["databases"][0];
    assert_eq!(
        database["stored"],
        if known { "records" } else { "files" },
        "{what}"
    );
    if known {
        for count in ["records", "key_bytes", "value_bytes"] {
            assert_eq!(database[count], truth[count], "{what}: {count}");
        }
        assert_eq!(dump_sha256(oracle, &tool), truth["sha256"], "{what}: dump");
    }
    let target = tool.path("restored");
    tool.restore("latest", &target).ok();
    let raw = oracle
        .raw(&target)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    for count in [
        "records",
        "key_bytes",
        "value_bytes",
        "sha256_bytewise",
        "comparator",
    ] {
        assert_eq!(raw[count], truth[count], "{what}: {count}");
    }
    if truth["plyvel_agrees"] == true {
        let read = oracle
            .stream(&target)
            .unwrap_or_else(|error| panic!("{what}: C++ LevelDB: {error}"));
        assert_eq!(read["sha256"], truth["sha256"], "{what}: C++ LevelDB");
    }
    tool.run(["check", "--read-data"]).ok();
}

#[test]
fn riaks_directories_come_back_as_files_and_are_refused_by_name_where_records_are_wanted() {
    let corpus = corpora::unpack("riak_levels");
    for name in ["only_log", "with_tables"] {
        let (tool, db) = (Tool::new(), corpus.path(name));
        let ended = tool.backup(&db).ok();
        assert!(ended.stderr.contains("Riak"), "{name}: {}", ended.stderr);
        let target = tool.path("restored");
        tool.restore("latest", &target).ok();
        let relative = |root: &Path| -> Vec<_> {
            let files = files_below(root).into_iter();
            let named =
                files.map(|(path, bytes)| (path.strip_prefix(root).expect("below").to_owned(), bytes));
            named.collect()
        };
        assert!(
            relative(&target) == relative(&db),
            "{name}: other files came back"
        );
        for level in 0..7 {
            assert!(
                target.join(format!("sst_{level}")).is_dir(),
                "{name}: level {level}"
            );
        }
        let command = Ended::of(tool.command().arg("verify-db").arg(&db)).exits(20);
        assert!(command.stderr.contains("Riak"), "{name}: {}", command.stderr);
    }
}

fn dump_sha256(oracle: &mut Oracle, tool: &Tool) -> String {
    let file = tool.path("dump");
    std::fs::write(&file, tool.run(["dump", "latest", "--format", "raw"]).ok().stdout)
        .expect("write the dump");
    oracle.sha256(&file)
}

/// What a damaged database must do.
enum Expected {
    /// All records, exit code 0.
    Full,
    /// The records before the torn tail, exit code 0 and a warning.
    Prefix,
    /// What is readable, listed, exit code 22; a restore holds nothing that was not so.
    Saved,
    /// Nothing to read by: an exit code that says damage, never a snapshot that looks whole.
    Reported,
}

/// Each folder of the damaged corpus. `perm` needs a user who is not root and is tested in scripts/lib.
const DAMAGED: [(&str, Expected); 11] = [
    ("base", Expected::Full),
    ("foreign", Expected::Full),
    ("log_zero_tail", Expected::Full),
    ("log_truncated", Expected::Prefix),
    ("snappy_lie", Expected::Saved),
    ("table_bitflip", Expected::Saved),
    ("table_missing", Expected::Saved),
    ("table_zero", Expected::Saved),
    ("current_missing", Expected::Reported),
    ("manifest_bitflip", Expected::Reported),
    ("manifest_empty", Expected::Reported),
];

#[test]
fn every_damaged_database_does_what_was_promised() {
    if !corpora::names().contains(&"damaged".into()) {
        panic!("no damaged corpus in {}", corpora::root().display());
    }
    let corpus = corpora::unpack("damaged");
    let base = base_records(&corpus);
    for (name, expected) in DAMAGED {
        eprintln!("damaged: {name}");
        let db = corpus.path(name).join("db");
        let tool = Tool::new();
        let ended = Ended::of(tool.command().args(["backup", "--json"]).arg(&db));
        match expected {
            Expected::Full => {
                ended.exits(0);
                assert!(restored(&tool, &[0]) == base, "{name}");
            }
            Expected::Prefix => prefix(&corpus, &tool, ended.exits(0), &base),
            Expected::Saved => saved(name, &tool, &ended.exits(22), &base),
            Expected::Reported => reported(name, &tool, &ended, &base),
        }
    }
}

/// The records of the undamaged database, counted against its truth.
fn base_records(corpus: &Corpus) -> Model {
    let tool = Tool::new();
    tool.backup(&corpus.path("base/db")).ok();
    let base = records(&tool);
    assert_eq!(
        base.len() as u64,
        corpus.truth["base"]["records"].as_u64().expect("a count")
    );
    base
}

fn records(tool: &Tool) -> Model {
    model_of(&tool.run(["dump", "latest", "--format", "raw"]).ok().stdout)
}

/// Restores, with this exit code, and backs up again: what the restored database holds.
fn restored(tool: &Tool, codes: &[i32]) -> Model {
    let target = tool.path("restored");
    let ended = tool.restore("latest", &target);
    assert!(
        codes.contains(&ended.code),
        "restore: exit code {}\n{}",
        ended.code,
        ended.stderr
    );
    let second = Tool::new();
    second.backup(&target).ok();
    records(&second)
}

fn prefix(corpus: &Corpus, tool: &Tool, ended: Ended, base: &Model) {
    let wanted = corpus.truth["kinds"]["log_truncated"]["cpp_paranoid"]["records"]
        .as_u64()
        .expect("a count");
    let found = restored(tool, &[0]);
    assert_eq!(found.len() as u64, wanted);
    assert!(found.iter().all(|(key, value)| base.get(key) == Some(value)));
    let tails = &ended.summary()["databases"][0]["torn_tails"];
    assert_eq!(
        tails.as_array().expect("torn tails").len(),
        1,
        "a warning names the torn log"
    );
}

fn saved(name: &str, tool: &Tool, ended: &Ended, base: &Model) {
    let damage = ended.summary()["databases"][0]["source_damage"].clone();
    assert!(!damage.as_array().expect("damage").is_empty(), "{name}");
    assert!(
        damage[0]["file"].as_str().expect("a file").contains("000034"),
        "{name}: {damage}"
    );
    let found = restored(tool, &[3]);
    assert!(
        !found.is_empty() && found.len() < base.len(),
        "{name}: {} records",
        found.len()
    );
    let wrong = found
        .iter()
        .filter(|(key, value)| base.get(*key) != Some(value))
        .count();
    assert_eq!(wrong, 0, "{name}: stale or deleted records came back");
    let snapshots = tool.run(["snapshots", "--json"]).ok().json_lines();
    assert_eq!(snapshots[0][0]["databases"][0]["damaged"], true, "{name}");
}

fn reported(name: &str, tool: &Tool, ended: &Ended, base: &Model) {
    assert!(
        [20, 22].contains(&ended.code),
        "{name}: exit code {}\n{}",
        ended.code,
        ended.stderr
    );
    let snapshots = tool.run(["snapshots", "--json"]).ok().json_lines();
    for snapshot in snapshots[0].as_array().expect("an array") {
        assert_eq!(ended.code, 22, "{name}: a snapshot was made");
        assert_eq!(
            snapshot["databases"][0]["damaged"], true,
            "{name}: a snapshot looks whole"
        );
        if snapshot["databases"][0]["physical"] == false {
            let found = restored(tool, &[0, 3]);
            assert!(
                found.iter().all(|(key, value)| base.get(key) == Some(value)),
                "{name}: wrong records"
            );
        }
    }
}
