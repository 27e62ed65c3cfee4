//! Databases written by `leveldb::table_build` and `target::database` are opened by others: C++ LevelDB (plyvel)
//! and rusty-leveldb read every record, look keys up through our Bloom filters, write, compact and reopen.
//! Judges share nothing with the code they judge.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use levault::leveldb::new_version::level_for;
use levault::leveldb::table_builder::TableBuilder;
use levault::leveldb::{BlockCodec, Comparator, DatabaseLayout, FilterPolicy, TableExtension};
use levault::source::{Database, RecordSink};
use levault::target::DatabaseTarget;
use rusty_leveldb::{DB, LdbIterator, Options};
use support::oracle::Model;

fn bloom() -> Option<FilterPolicy> {
    Some(FilterPolicy {
        name: "leveldb.BuiltinBloomFilter2".to_owned(),
        bits_per_key: 10,
    })
}

fn shape(codec: BlockCodec, filter: Option<FilterPolicy>) -> DatabaseLayout {
    DatabaseLayout {
        codec,
        filter,
        table_bytes: 300_000,
        last_sequence: 4711,
        ..DatabaseLayout::default()
    }
}

/// Writes `model` as a restore would; the bytes of its tables.
fn restore(target: &Path, shape: &DatabaseLayout, model: &Model) -> u64 {
    let comparator = Comparator::from_name(&shape.comparator);
    let database = DatabaseTarget::create(target, shape, &comparator).unwrap();
    let mut builder = TableBuilder::new(shape, &comparator).unwrap();
    let (mut number, mut bytes) = (1, 0);
    for (key, value) in model {
        builder.add(key, value).unwrap();
        if builder.is_full() {
            let table = builder.finish().unwrap();
            bytes += table.bytes.len() as u64;
            database.write_table(number, &table).unwrap();
            number += 1;
            builder.recycle(table);
        }
    }
    if !builder.is_empty() {
        let table = builder.finish().unwrap();
        bytes += table.bytes.len() as u64;
        database.write_table(number, &table).unwrap();
    }
    database.finish().unwrap().publish().unwrap();
    bytes
}

/// Keys and values of many kinds: shared prefixes, 0x00 and 0xff, the empty key and value, compressible and not,
/// values above a block and one above a table.
fn mixed(records: usize) -> Model {
    let mut model = Model::new();
    let mut state = 88172645463325252u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for record in 0..records {
        let key = match record % 4 {
            0 => format!("user/{:08}/name", random() % 1_000_000).into_bytes(),
            1 => random().to_be_bytes().to_vec(),
            2 => vec![0xff; (random() % 12) as usize],
            _ => [
                vec![0; (random() % 5) as usize],
                random().to_le_bytes()[..3].to_vec(),
            ]
            .concat(),
        };
        let len = match record % 97 {
            0 => random() % 40_000,
            _ => random() % 200,
        };
        let value = match record % 3 {
            0 => (0..len).map(|_| random() as u8).collect(),
            _ => vec![b'a' + (record % 26) as u8; len as usize],
        };
        model.insert(key, value);
    }
    model.insert(Vec::new(), b"under the empty key".to_vec());
    model.insert(
        b"large".to_vec(),
        (0..1_500_000).map(|_| random() as u8).collect(),
    );
    model
}

fn python() -> Option<PathBuf> {
    let path = support::oracle::python();
    if path.exists() {
        return Some(path);
    }
    let required = std::env::var_os("LEVAULT_REQUIRE_ORACLE").is_some();
    assert!(
        !required,
        "the C++ oracle is required and {} is missing",
        path.display()
    );
    support::machine::skip("needs the C++ oracle, which scripts/test installs");
    None
}

/// What a judge must find, as a file.
fn write_expected(directory: &Path, model: &Model) -> PathBuf {
    let expected = directory.join("expected");
    let mut stream = Vec::new();
    for part in model.iter().flat_map(|(key, value)| [key, value]) {
        stream.extend_from_slice(&(part.len() as u32).to_le_bytes());
        stream.extend_from_slice(part);
    }
    std::fs::write(&expected, stream).unwrap();
    expected
}

fn run(judge: &mut Command) {
    let output = judge.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn take_over_by_cpp(directory: &Path, shape: &DatabaseLayout, model: &Model) {
    let Some(python) = python() else { return };
    let database = directory.join("cpp");
    let bytes = restore(&database, shape, model);
    let expected = write_expected(directory, model);
    let mut options = serde_json::json!({
        "level": (!model.is_empty()).then(|| level_for(bytes)),
        "churn": 3000,
        "block_size": shape.block_size,
        "compression": if shape.codec == BlockCodec::None { None } else { Some("snappy") },
    });
    if let Some(filter) = &shape.filter {
        options["bloom_filter_bits"] = filter.bits_per_key.into();
    }
    run(Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/take_over.py"))
        .args([&database, &expected])
        .arg(options.to_string()));
}

/// goleveldb is asked where tests/oracle/go/build has made its judge (scripts/soak go): Go is too much for CI.
fn take_over_by_go(directory: &Path, shape: &DatabaseLayout, model: &Model) {
    let Some(judge) = std::env::var_os("LEVAULT_ORACLE_GO") else {
        support::machine::skip("goleveldb does not judge: needs LEVAULT_ORACLE_GO, made by scripts/soak go");
        return;
    };
    let database = directory.join("go");
    let shape = DatabaseLayout {
        // goleveldb's own name for the same bits; any other filter it would not look at.
        filter: shape.filter.clone().map(|filter| FilterPolicy {
            name: "leveldb.BuiltinBloomFilter".to_owned(),
            ..filter
        }),
        ..shape.clone()
    };
    let bytes = restore(&database, &shape, model);
    let level = if model.is_empty() {
        -1
    } else {
        i32::from(level_for(bytes))
    };
    let bloom_bits = shape.filter.as_ref().map_or(0, |filter| filter.bits_per_key);
    run(Command::new(judge)
        .args([&database, &write_expected(directory, model)])
        .args([bloom_bits.to_string(), level.to_string()]));
}

fn open_by_rusty(database: &Path) -> DB {
    let options = Options {
        create_if_missing: false,
        write_buffer_size: 64 << 10,
        ..Options::default()
    };
    DB::open(database, options).unwrap()
}

fn read_by_rusty(database: &mut DB) -> Model {
    let mut records = database.new_iter().unwrap();
    let mut model = Model::new();
    while let Some((key, value)) = LdbIterator::next(&mut records) {
        assert!(model.insert(key, value).is_none(), "a key twice");
    }
    model
}

/// rusty-leveldb panics in its own compactions on the empty key, so `model` must not hold it.
fn take_over_by_rusty(directory: &Path, shape: &DatabaseLayout, mut model: Model) {
    let path = directory.join("rusty");
    restore(&path, shape, &model);
    {
        let mut database = open_by_rusty(&path);
        // Looked up before anything is written: the sequence asked for is the one that every record has.
        for (key, value) in &model {
            assert_eq!(database.get(key).as_deref(), Some(&value[..]), "{key:?}");
        }
        assert!(
            read_by_rusty(&mut database) == model,
            "rusty-leveldb reads other records"
        );
    }
    let mut database = open_by_rusty(&path);
    for (index, key) in model.keys().cloned().collect::<Vec<_>>().into_iter().enumerate() {
        match index % 3 {
            0 => {
                database.put(&key, b"changed").unwrap();
                model.insert(key, b"changed".to_vec());
            }
            1 if index % 2 == 0 => {
                database.delete(&key).unwrap();
                model.remove(&key);
            }
            _ => {}
        }
    }
    database.close().unwrap();
    drop(database);
    let mut database = open_by_rusty(&path);
    database.compact_range(b"\0", b"\xff\xff\xff\xff").unwrap();
    assert!(
        read_by_rusty(&mut database) == model,
        "records differ after a compaction"
    );
}

#[test]
fn cpp_leveldb_takes_over_a_database_of_every_codec_it_knows() {
    for codec in [BlockCodec::None, BlockCodec::Snappy] {
        for filter in [None, bloom()] {
            let directory = tempfile::tempdir().unwrap();
            take_over_by_cpp(directory.path(), &shape(codec, filter), &mixed(20_000));
        }
    }
}

#[test]
fn cpp_leveldb_takes_over_odd_layouts() {
    for (block_size, restart_interval, bits_per_key) in [(512, 2, 1), (1 << 20, 1, 30), (160 << 10, 64, 12)] {
        let directory = tempfile::tempdir().unwrap();
        let shape = DatabaseLayout {
            block_size,
            restart_interval,
            filter: bloom().map(|filter| FilterPolicy {
                bits_per_key,
                ..filter
            }),
            ..shape(BlockCodec::Snappy, None)
        };
        take_over_by_cpp(directory.path(), &shape, &mixed(5_000));
    }
}

#[test]
fn cpp_leveldb_takes_over_an_empty_database() {
    let directory = tempfile::tempdir().unwrap();
    take_over_by_cpp(
        directory.path(),
        &shape(BlockCodec::Snappy, bloom()),
        &Model::new(),
    );
}

#[test]
fn cpp_leveldb_takes_over_one_that_fills_the_second_level() {
    let directory = tempfile::tempdir().unwrap();
    let model: Model = (0..24_000u32)
        .map(|number| (number.to_be_bytes().to_vec(), number.to_le_bytes().repeat(128)))
        .collect();
    take_over_by_cpp(directory.path(), &shape(BlockCodec::None, bloom()), &model);
}

#[test]
fn rusty_leveldb_takes_over_a_database_of_every_codec_it_knows() {
    for codec in [BlockCodec::None, BlockCodec::Snappy] {
        for filter in [None, bloom()] {
            let directory = tempfile::tempdir().unwrap();
            let mut model = mixed(8_000);
            model.remove(&[][..]);
            take_over_by_rusty(directory.path(), &shape(codec, filter), model);
        }
    }
}

#[test]
fn goleveldb_takes_over_a_database_of_every_codec_it_knows() {
    for codec in [BlockCodec::None, BlockCodec::Snappy] {
        for filter in [None, bloom()] {
            let directory = tempfile::tempdir().unwrap();
            take_over_by_go(directory.path(), &shape(codec, filter), &mixed(20_000));
        }
    }
    let directory = tempfile::tempdir().unwrap();
    take_over_by_go(directory.path(), &shape(BlockCodec::None, bloom()), &Model::new());
}

#[test]
fn databases_with_tables_of_the_old_name_are_taken_over() {
    let shape = DatabaseLayout {
        table_extension: TableExtension::Sst,
        ..shape(BlockCodec::Snappy, bloom())
    };
    let directory = tempfile::tempdir().unwrap();
    take_over_by_cpp(directory.path(), &shape, &mixed(5_000));
    take_over_by_go(directory.path(), &shape, &mixed(5_000));
}

#[derive(Default)]
struct Records(Model);

impl RecordSink for Records {
    fn record(&mut self, key: &[u8], value: &[u8], certain: bool) -> levault::error::Result<()> {
        assert!(certain);
        assert!(
            self.0.insert(key.to_vec(), value.to_vec()).is_none(),
            "a key twice"
        );
        Ok(())
    }
}

#[test]
fn our_reader_finds_the_records_and_the_layout_that_were_written() {
    let codecs = [
        BlockCodec::None,
        BlockCodec::Snappy,
        BlockCodec::Zstd,
        BlockCodec::Zlib,
        BlockCodec::Deflate,
    ];
    for (codec, filter) in codecs
        .into_iter()
        .flat_map(|codec| [(codec, None), (codec, bloom())])
    {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("database");
        let (shape, model) = (shape(codec, filter), mixed(20_000));
        restore(&target, &shape, &model);
        let database = Database::open(&target).unwrap();
        let mut records = Records::default();
        let outcome = database.scan(&mut records).unwrap();
        assert_eq!(outcome.damage, []);
        assert!(records.0 == model, "records differ");
        let found = database.layout();
        assert_eq!(
            (
                found.codec,
                found.block_size,
                found.restart_interval,
                &found.filter
            ),
            (
                shape.codec,
                shape.block_size,
                shape.restart_interval,
                &shape.filter
            )
        );
        assert_eq!(database.last_sequence(), 4711);
        for (&(level, _), table) in &database.version().tables {
            assert_eq!(level, level_for(outcome.bytes_read));
            assert!(table.size < 2_200_000);
        }
    }
}
