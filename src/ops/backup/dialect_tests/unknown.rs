//! Whole by their checksums, and in a form that levault does not read.

use super::{DialectBench, tree};
use crate::leveldb::log_writer::append_record;
use crate::leveldb::test_databases::{MemoryFiles, WriteOp, batch_of, op, recode, table_of};
use crate::leveldb::{BlockCodec, Comparator};

fn ops(count: u32) -> Vec<WriteOp> {
    (0..count)
        .map(|number| op(&number.to_be_bytes(), 1 + u64::from(number), Some(b"value")))
        .collect()
}

/// Two tables and a log.
fn files() -> MemoryFiles {
    let mut files = MemoryFiles::new(&Comparator::Bytewise);
    let all = ops(100);
    files.edit.last_sequence = Some(90);
    files.add_table(1, 5, &all[..50], 10, BlockCodec::None);
    files.add_table(1, 6, &all[50..90], 10, BlockCodec::None);
    files.add_log(7, [&all[90..]]);
    files
}

#[test]
fn a_block_of_an_unknown_codec_keeps_all_files_and_names_the_codec() {
    for (name, block, id) in [
        ("one", Some(2), 5),
        ("all", None, 5),
        ("lz4-of-riak", Some(0), 2),
        ("lz4", None, 4),
    ] {
        let bench = DialectBench::new();
        let db = bench.directory(name);
        let mut files = files();
        recode(files.tables.get_mut(&6).unwrap(), block, id);
        files.write_to(&db);
        let word = format!("codec {id}");
        bench.back_up_and_restore(&db).assert_kept_as_files(&db, &word);
        // The next backup has no pins to stand on, and does the same.
        bench.back_up_and_restore(&db).assert_kept_as_files(&db, &word);
    }
}

#[test]
fn a_database_that_becomes_unknown_behind_an_increment_is_kept_as_files() {
    let bench = DialectBench::new();
    let db = bench.directory("db");
    let mut files = files();
    files.write_to(&db);
    assert_eq!(bench.back_up_and_restore(&db).as_files(), None);
    let more = [op(b"zz", 101, Some(b"value"))];
    files.add_table(0, 8, &more, 1, BlockCodec::None);
    recode(files.tables.get_mut(&8).unwrap(), None, 7);
    std::fs::write(db.join("000008.ldb"), &files.tables[&8]).unwrap();
    std::fs::write(db.join("MANIFEST-000001"), files.manifest()).unwrap();
    bench
        .back_up_and_restore(&db)
        .assert_kept_as_files(&db, "codec 7");
}

#[test]
fn a_table_of_an_unknown_magic_keeps_all_files_unless_the_others_are_leveldbs() {
    let bench = DialectBench::new();
    let db = bench.directory("db");
    let mut files = files();
    let spoil = |table: &mut Vec<u8>| {
        let len = table.len();
        table[len - 8..].copy_from_slice(b"OTHERMAG");
    };
    spoil(files.tables.get_mut(&6).unwrap());
    files.write_to(&db);
    let round = bench.back_up_and_restore(&db);
    assert!(round.as_files().is_some(), "bytes are kept");
    assert_eq!(round.damaged_files(), ["000006.ldb"]);
}

#[test]
fn damage_beside_an_unknown_codec_is_listed_and_all_bytes_are_kept() {
    let bench = DialectBench::new();
    let db = bench.directory("db");
    let mut files = files();
    recode(files.tables.get_mut(&6).unwrap(), Some(0), 9);
    files.tables.get_mut(&5).unwrap()[40] ^= 1;
    files.write_to(&db);
    let round = bench.back_up_and_restore(&db);
    assert!(round.as_files().unwrap().contains("codec 9") || round.as_files().is_some());
    assert_eq!(round.damaged_files(), ["000005.ldb"]);
    assert_eq!(tree(&round.restored), tree(&db));
}

#[test]
fn an_operation_or_an_entry_of_an_unknown_kind_keeps_all_files() {
    let bench = DialectBench::new();
    let (in_log, in_table) = (bench.directory("log"), bench.directory("table"));
    let mut files_a = files();
    let mut batch = batch_of(&[op(b"key", 101, Some(b"value"))]);
    batch[12] = 2;
    append_record(files_a.logs.get_mut(&7).unwrap(), &batch);
    files_a.write_to(&in_log);
    bench
        .back_up_and_restore(&in_log)
        .assert_kept_as_files(&in_log, "operation 2");

    let mut files_b = files();
    let table = table_of(&ops(40), 10, BlockCodec::None);
    // The first entry's key is four bytes and its tag.
    let mut table = table;
    assert_eq!(&table[..8], &[0, 12, 5, 0, 0, 0, 0, 1]);
    table[7] = 2;
    recode(&mut table, Some(0), 0);
    files_b.edit.added[0].1.size = table.len() as u64;
    files_b.edit.added[0].1.smallest[4] = 2;
    files_b.edit.added[0].1.largest = ops(40)[39].internal_key();
    files_b.tables.insert(5, table);
    files_b.write_to(&in_table);
    bench
        .back_up_and_restore(&in_table)
        .assert_kept_as_files(&in_table, "kind 2");
}

#[test]
fn a_filter_of_an_unknown_codec_loses_nothing() {
    let bench = DialectBench::new();
    let db = bench.directory("db");
    let mut files = files();
    let table = files.tables.get_mut(&5).unwrap();
    // The metaindex lies behind the last data block.
    let last = *crate::leveldb::test_databases::data_blocks(table).last().unwrap();
    let at = (last.offset + last.size) as usize + 5;
    crate::leveldb::test_databases::recode_at(table, at, 8, 6);
    files.write_to(&db);
    let round = bench.back_up_and_restore(&db);
    assert_eq!((round.as_files(), round.damaged_files()), (None, vec![]));
    assert_eq!(round.outcome.databases[0].records, 100);
}
