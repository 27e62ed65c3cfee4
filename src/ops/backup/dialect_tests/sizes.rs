//! A size, a padding, an end that is not as the MANIFEST says: no damage where the bytes are proven otherwise.

use std::path::Path;

use super::{DialectBench, tree};
use crate::leveldb::test_databases::{MemoryFiles, WriteOp, data_blocks, log_of, op, visible};
use crate::leveldb::{BlockCodec, Comparator};
use crate::ops::backup::ReadScope;
use crate::source::{Database, RecordSink};

#[derive(Default)]
struct CollectedRecords(Vec<(Vec<u8>, Vec<u8>)>);

impl RecordSink for CollectedRecords {
    fn record(&mut self, key: &[u8], value: &[u8], certain: bool) -> crate::error::Result<()> {
        if certain {
            self.0.push((key.to_vec(), value.to_vec()));
        }
        Ok(())
    }
}

fn ops(from: u32, to: u32, value: &[u8]) -> Vec<WriteOp> {
    (from..to)
        .map(|number| op(&number.to_be_bytes(), 1 + u64::from(number), Some(value)))
        .collect()
}

/// Two tables and a log.
fn files(all: &[WriteOp]) -> MemoryFiles {
    let mut files = MemoryFiles::new(&Comparator::Bytewise);
    files.edit.last_sequence = Some(90);
    files.add_table(1, 5, &all[..50], 10, BlockCodec::Snappy);
    files.add_table(1, 6, &all[50..90], 10, BlockCodec::None);
    files.add_log(7, [&all[90..]]);
    files
}

fn records(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all = CollectedRecords::default();
    Database::open(path).unwrap().scan(&mut all).unwrap();
    all.0
}

/// What each habit makes of a database's second table and of what the MANIFEST says of it.
type DialectEdit = fn(&mut MemoryFiles);

const DIALECT_EDITS: [(&str, DialectEdit); 5] = [
    ("four bytes more, as the Java port records", |files| {
        files.edit.added[1].1.size += 4
    }),
    ("no size", |files| files.edit.added[1].1.size = 0),
    ("what was written before the footer", |files| {
        files.edit.added[1].1.size -= 48
    }),
    ("far more", |files| files.edit.added[1].1.size += 1 << 20),
    ("zeros behind the table", |files| {
        let table = files.tables.get_mut(&6).unwrap();
        table.resize(table.len() + 5000, 0);
    }),
];

#[test]
fn a_size_that_is_not_the_manifests_is_no_damage_and_stops_no_increment() {
    for (what, habit) in DIALECT_EDITS {
        let bench = DialectBench::new();
        let db = bench.directory("db");
        let mut all = ops(0, 100, b"value");
        let mut files = files(&all);
        habit(&mut files);
        files.write_to(&db);
        let round = bench.back_up_and_restore(&db);
        assert_eq!(
            (round.as_files(), round.damaged_files()),
            (None, vec![]),
            "{what}"
        );
        let right = |all: &[WriteOp]| visible(all).into_iter().collect::<Vec<_>>();
        assert_eq!(records(&round.restored), right(&all), "{what}");

        all.push(op(b"zz", 101, Some(b"new")));
        std::fs::write(db.join("000007.log"), log_of([&all[90..100], &all[100..]])).unwrap();
        let round = bench.back_up_and_restore(&db);
        let scope = &round.outcome.databases[0].scope;
        assert!(
            matches!(scope, ReadScope::Changes { keys: 1, .. }),
            "{what}: {scope:?}"
        );
        assert_eq!(records(&round.restored), right(&all), "{what}");
    }
}

#[test]
fn a_table_of_another_database_is_noticed_and_none_of_its_records_is_taken() {
    let others = [
        // Other keys in as many bytes, the same keys and one more, the same keys written at another time.
        ops(200, 240, b"other"),
        ops(50, 91, b"other"),
        ops(50, 90, b"of another length")
            .into_iter()
            .map(|op| WriteOp {
                sequence: op.sequence + 7,
                ..op
            })
            .collect(),
    ];
    for (index, other) in others.into_iter().enumerate() {
        let bench = DialectBench::new();
        let db = bench.directory("db");
        let all = ops(0, 100, b"value");
        let mut files = files(&all);
        let meta = files.edit.added[1].clone();
        files.add_table(1, 6, &other, 10, BlockCodec::None);
        files.edit.added.pop();
        assert_eq!(files.tables[&6].len() as u64 == meta.1.size, index == 0);
        files.write_to(&db);
        let (outcome, _) = bench.backup(&db).unwrap();
        let damage = &outcome.databases[0].damage;
        assert_eq!(
            (damage.len(), damage[0].file.as_str()),
            (1, "000006.ldb"),
            "{index}"
        );
        let certain = records(&db);
        let right = visible(&all);
        assert!(
            certain.iter().all(|(key, value)| right.get(key) == Some(value)),
            "{index}"
        );
        assert_eq!(certain.len(), 60, "{index}");
    }
}

#[test]
fn of_a_table_of_odd_size_a_broken_block_is_lost_and_no_more() {
    for block in [0, 1, 3] {
        let bench = DialectBench::new();
        let db = bench.directory("db");
        let all = ops(0, 100, b"value");
        let mut files = files(&all);
        files.edit.added[1].1.size += 4;
        let table = files.tables.get_mut(&6).unwrap();
        let at = data_blocks(table)[block].offset as usize;
        table[at + 9] ^= 1;
        files.write_to(&db);
        let (outcome, _) = bench.backup(&db).unwrap();
        let damage = &outcome.databases[0].damage;
        assert_eq!(
            (damage.len(), damage[0].file.as_str()),
            (1, "000006.ldb"),
            "{block}"
        );
        assert_eq!(records(&db).len(), 90, "{block}");
    }
}

#[test]
fn logs_and_manifests_that_were_mapped_end_in_zeros() {
    let bench = DialectBench::new();
    let db = bench.directory("db");
    let all = ops(0, 100, b"value");
    let mut files = files(&all);
    files.logs.get_mut(&7).unwrap().resize(1 << 20, 0);
    files.write_to(&db);
    let mut manifest = files.manifest();
    manifest.resize(1 << 20, 0);
    std::fs::write(db.join("MANIFEST-000001"), manifest).unwrap();
    let round = bench.back_up_and_restore(&db);
    assert_eq!((round.as_files(), round.damaged_files()), (None, vec![]));
    assert_eq!(records(&round.restored).len(), 100);
}

#[test]
fn a_table_without_a_metaindex_has_no_filter_and_no_fault() {
    let bench = DialectBench::new();
    let db = bench.directory("db");
    let mut files = files(&ops(0, 100, b"value"));
    let table = files.tables.get_mut(&6).unwrap();
    let footer = table.len() - 48;
    // Two handles: the first becomes 0, 0, and the second moves up.
    let mut reader = crate::codec::Reader::new(&table[footer..footer + 40]);
    crate::leveldb::table_reader::BlockHandle::read(&mut reader).unwrap();
    let index = table[footer + reader.position()..footer + 40].to_vec();
    let index = [&[0, 0][..], &index, &[0; 40]].concat();
    table[footer..footer + 40].copy_from_slice(&index[..40]);
    files.write_to(&db);
    let round = bench.back_up_and_restore(&db);
    assert_eq!((round.as_files(), round.damaged_files()), (None, vec![]));
    assert_eq!(round.outcome.databases[0].records, 100);
}

#[test]
fn writers_that_overtake_one_another_leave_no_gap() {
    let bench = DialectBench::new();
    let db = bench.directory("db");
    let all = ops(0, 100, b"value");
    let mut files = files(&all);
    // 91, 93, 92, 97 to 99, 94 to 96, 100.
    let batches = [
        &all[90..91],
        &all[92..93],
        &all[91..92],
        &all[96..99],
        &all[93..96],
        &all[99..],
    ];
    files.add_log(7, batches);
    files.write_to(&db);
    let round = bench.back_up_and_restore(&db);
    assert_eq!((round.as_files(), round.damaged_files()), (None, vec![]));
    assert_eq!(round.outcome.databases[0].capture.retries, 0);
    assert_eq!(
        records(&round.restored),
        visible(&all).into_iter().collect::<Vec<_>>()
    );

    files.add_log(7, [&all[90..91], &all[92..93], &all[95..]]);
    files.write_to(&db);
    let (outcome, _) = bench.backup(&db).unwrap();
    let lost: Vec<_> = outcome.databases[0]
        .damage
        .iter()
        .map(|damage| damage.what.as_str())
        .collect();
    assert_eq!(lost.len(), 2, "{lost:?}");
    assert!(
        lost[0].contains("92 to 92") && lost[1].contains("94 to 95"),
        "{lost:?}"
    );
}

#[test]
fn current_may_end_as_other_writers_end_it() {
    for (text, is_read) in [
        ("MANIFEST-000001\r\n", true),
        ("MANIFEST-000001", true),
        ("MANIFEST-00000", false),
        ("MANIFEST-000001\nMANIFEST-000001\n", false),
        ("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", false),
    ] {
        let bench = DialectBench::new();
        let db = bench.directory("db");
        files(&ops(0, 100, b"value")).write_to(&db);
        std::fs::write(db.join("CURRENT"), text).unwrap();
        let round = bench.back_up_and_restore(&db);
        assert_eq!(round.as_files().is_none(), is_read, "{text:?}");
        assert_eq!(round.damaged_files().is_empty(), is_read, "{text:?}");
        if !is_read {
            assert_eq!(tree(&round.restored), tree(&db), "{text:?}");
        }
    }
}
