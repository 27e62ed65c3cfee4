//! Databases that real programs wrote, read by the library: each must give the records, bytes and SHA-256 of its
//! truth.json, in the database's own order; each damaged one must lose nothing silently and invent nothing.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use levault::error::{ErrorKind, Result};
use levault::leveldb::{BlockCodec, Dialect, TableExtension};
use levault::source::{Database, RecordSink, ScanOutcome};
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::corpora;

/// SHA-256 over le32 key length, key, le32 value length, value of each record.
struct Hash(Sha256);

impl RecordSink for Hash {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        for part in [key, value] {
            self.0.update((part.len() as u32).to_le_bytes());
            self.0.update(part);
        }
        Ok(())
    }
}

fn scan(path: &Path) -> Result<(ScanOutcome, String)> {
    let mut hash = Hash(Sha256::new());
    let outcome = Database::open(path)?.scan(&mut hash)?;
    let hex = hash
        .0
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok((outcome, hex))
}

fn number(truth: &Value, name: &str) -> u64 {
    truth[name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name} in the truth"))
}

#[test]
fn every_corpus_reads_as_its_truth_says() {
    let names: Vec<_> = corpora::names()
        .into_iter()
        .filter(|name| name != "damaged")
        .collect();
    assert!(!names.is_empty(), "no corpora in {}", corpora::root().display());
    for name in names {
        for (within, path, truth) in corpora::unpack(&name).databases() {
            let what = format!("{name}: {within}");
            let database = Database::open(&path).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(
                Some(database.comparator().name()),
                truth["comparator"].as_str(),
                "{what}"
            );
            if database.comparator().is_known() {
                reads_as(&what, &path, &truth)
            } else {
                verifies_as(&what, &database, &truth)
            }
        }
    }
}

fn reads_as(what: &str, path: &Path, truth: &Value) {
    let (outcome, hash) = scan(path).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(outcome.damage, [], "{what}");
    assert_eq!(outcome.torn_tails, [], "{what}");
    assert_eq!(outcome.uncertain, 0, "{what}");
    assert_eq!(outcome.records, number(truth, "records"), "{what}");
    assert_eq!(outcome.key_bytes, number(truth, "key_bytes"), "{what}");
    assert_eq!(outcome.value_bytes, number(truth, "value_bytes"), "{what}");
    assert_eq!(Some(hash.as_str()), truth["sha256"].as_str(), "{what}");
    counts_as(what, &outcome, truth);
}

/// A database with an order of its own is not read, but every entry in it is checked.
fn verifies_as(what: &str, database: &Database, truth: &Value) {
    let outcome = database
        .verify()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(outcome.damage, [], "{what}");
    counts_as(what, &outcome, truth);
    let files: Vec<_> = database.files().collect();
    let logs = truth["raw"]["live_logs"].as_array().expect("live logs").len() as u64;
    assert_eq!(
        files.len() as u64,
        2 + number(&truth["raw"], "tables") + logs,
        "{what}"
    );
}

fn counts_as(what: &str, outcome: &ScanOutcome, truth: &Value) {
    let raw = &truth["raw"];
    assert_eq!(
        outcome.table_entries + outcome.log_entries,
        number(raw, "entries"),
        "{what}"
    );
    assert_eq!(outcome.log_entries, number(raw, "log_entries"), "{what}");
    assert_eq!(outcome.tables, number(raw, "tables"), "{what}");
}

#[test]
fn the_shape_is_what_the_writer_was_told() {
    let shape = |name: &str| {
        let corpus = corpora::unpack(name);
        let (_, path, _) = &corpus.databases()[0];
        Database::open(path).unwrap().layout()
    };
    let zstd = shape("cpp_zstd");
    assert_eq!(
        (zstd.codec, zstd.block_size, zstd.restart_interval),
        (BlockCodec::Zstd, 4096, 16)
    );
    let filter = zstd.filter.unwrap();
    assert_eq!(
        (filter.name.as_str(), filter.bits_per_key),
        ("leveldb.BuiltinBloomFilter2", 10)
    );
    let sst = shape("plyvel_sst");
    assert_eq!(
        (sst.codec, sst.filter, sst.dialect),
        (BlockCodec::Snappy, None, Dialect::Cpp)
    );
    assert_eq!(sst.table_extension, TableExtension::Sst);
    let go = shape("go_reverse");
    assert_eq!(
        (go.codec, go.block_size, go.restart_interval),
        (BlockCodec::None, 512, 2)
    );
    assert_eq!(
        (go.dialect, go.comparator.as_str()),
        (Dialect::Go, "levault.go.Reverse")
    );
    assert_eq!(shape("mojang_small").dialect, Dialect::Mojang);
}

/// Key, value and certainty of every record.
#[derive(Default)]
struct Collect(BTreeMap<Vec<u8>, (Vec<u8>, bool)>);

impl RecordSink for Collect {
    fn record(&mut self, key: &[u8], value: &[u8], certain: bool) -> Result<()> {
        self.0.insert(key.to_vec(), (value.to_vec(), certain));
        Ok(())
    }
}

fn collect(path: &Path) -> Result<(ScanOutcome, Collect)> {
    let mut all = Collect::default();
    let outcome = Database::open(path)?.scan(&mut all)?;
    Ok((outcome, all))
}

#[test]
fn every_damaged_database_does_what_its_table_says() {
    let corpus = corpora::unpack("damaged");
    let (base_outcome, base) = collect(&corpus.path("base/db")).unwrap();
    assert_eq!(base_outcome.records, number(&corpus.truth["base"], "records"));
    let base_hash = corpus.truth["base"]["sha256"].as_str().expect("a hash");
    for (kind, truth) in corpus.truth["kinds"].as_object().expect("kinds") {
        let path = corpus.path(kind).join("db");
        match kind.as_str() {
            "base" | "foreign" | "log_zero_tail" => {
                let (outcome, hash) = scan(&path).unwrap();
                assert_eq!((outcome.damage.len(), outcome.torn_tails.len()), (0, 0), "{kind}");
                assert_eq!(hash, base_hash, "{kind}");
            }
            "log_truncated" => {
                let (outcome, hash) = scan(&path).unwrap();
                assert_eq!((outcome.damage.len(), outcome.torn_tails.len()), (0, 1), "{kind}");
                assert_eq!(
                    Some(hash.as_str()),
                    truth["cpp_paranoid"]["sha256"].as_str(),
                    "{kind}"
                );
            }
            "current_missing" | "manifest_empty" | "manifest_bitflip" => {
                let error = collect(&path).err().unwrap_or_else(|| panic!("{kind} opened"));
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{kind}: {error}");
            }
            "snappy_lie" | "table_bitflip" | "table_missing" | "table_zero" => {
                let (outcome, seen) = collect(&path).unwrap();
                saved(kind, &outcome, &seen, &base);
            }
            // A directory that may not be read is `Denied`; root may read everything.
            "perm" => {}
            other => panic!("unknown kind of damage {other}"),
        }
    }
}

/// What is certain is right; what is missing or uncertain lies in the one damage that is listed.
fn saved(kind: &str, outcome: &ScanOutcome, seen: &Collect, base: &Collect) {
    assert_eq!(outcome.damage.len(), 1, "{kind}");
    let damage = &outcome.damage[0];
    assert_eq!(
        (damage.file.as_str(), damage.level),
        ("000034.ldb", Some(1)),
        "{kind}"
    );
    let listed = |key: &[u8]| {
        damage.smallest.as_deref().is_some_and(|smallest| smallest <= key)
            && damage.largest.as_deref().is_some_and(|largest| key <= largest)
    };
    for (key, (value, certain)) in &seen.0 {
        let right = base.0.get(key).is_some_and(|(truth, _)| truth == value);
        assert!(right || !certain, "{kind}: {key:?} is wrong and certain");
        assert!(
            *certain || listed(key),
            "{kind}: {key:?} is uncertain for nothing"
        );
    }
    let lost = base.0.keys().filter(|key| !seen.0.contains_key(*key));
    let lost = lost
        .inspect(|key| assert!(listed(key), "{kind}: {key:?} is not listed"))
        .count();
    assert!(lost > 0 && outcome.uncertain > 0, "{kind}");
}

/// rusty-leveldb's index keys say "put" where a block ends with a deletion, and the next begins with what it hides.
#[test]
fn tables_of_rusty_leveldb_whose_blocks_end_with_deletions_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let options = rusty_leveldb::Options {
        write_buffer_size: 32 << 10,
        block_size: 200,
        ..Default::default()
    };
    let mut db = rusty_leveldb::DB::open(&path, options).unwrap();
    for number in 0..3000_u32 {
        let key = number.to_be_bytes();
        db.put(&key, &vec![7; 90 + number as usize % 97]).unwrap();
        if number % 3 > 0 {
            db.delete(&key).unwrap();
        }
    }
    db.flush().unwrap();
    db.close().unwrap();
    let (outcome, _) = scan(&path).unwrap();
    assert!(outcome.damage.is_empty(), "{:?}", outcome.damage.first());
    assert_eq!(outcome.records, 1000);
}
