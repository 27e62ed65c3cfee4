//! Directories that look like LevelDB and are a fork's or another engine's: their files are saved, all of them, and the
//! report says whose they are.

use std::path::Path;

use super::{BackupRoundTrip, DialectBench, tree};
use crate::leveldb::log_writer::append_record;
use crate::leveldb::test_databases::{MemoryFiles, log_of, op, table_of};
use crate::leveldb::{BlockCodec, Comparator};

fn files() -> MemoryFiles {
    let mut files = MemoryFiles::new(&Comparator::Bytewise);
    files.edit.last_sequence = Some(2);
    files.add_table(
        1,
        5,
        &[op(b"a", 1, Some(b"1")), op(b"b", 2, Some(b"2"))],
        1,
        BlockCodec::None,
    );
    files.add_log(7, [&[op(b"c", 3, Some(b"3"))][..]]);
    files
}

/// Tables in directories, one for each level; the log and the MANIFEST end in zeros.
fn write_riak(db: &Path, with_tables: bool) {
    let mut files = files();
    let tables = std::mem::take(&mut files.tables);
    if !with_tables {
        files.edit.added.clear();
    }
    files.write_to(db);
    for level in 0..7 {
        std::fs::create_dir(db.join(format!("sst_{level}"))).unwrap();
    }
    if with_tables {
        std::fs::write(db.join("sst_1/000005.sst"), &tables[&5]).unwrap();
    }
    let mut log = log_of([&[op(b"c", 3, Some(b"3"))][..]]);
    log.resize(40_000, 0);
    std::fs::write(db.join("000007.log"), log).unwrap();
}

/// Appends an edit whose field this LevelDB does not have.
fn write_with_field(db: &Path, tag: u8) {
    let files = files();
    files.write_to(db);
    let mut manifest = files.manifest();
    append_record(&mut manifest, &[tag, 1, 7, 9, 9, 9]);
    std::fs::write(db.join("MANIFEST-000001"), manifest).unwrap();
}

impl BackupRoundTrip {
    /// A tree, sound and whole, without damage.
    fn assert_kept_as_tree(&self, path: &Path, word: &str) {
        assert!(self.outcome.databases.is_empty(), "{:?}", self.outcome.databases);
        assert_eq!(self.problems, [""; 0]);
        assert!(
            self.notices.iter().any(|notice| notice.contains(word)),
            "{:?}",
            self.notices
        );
        assert_eq!(tree(&self.restored), tree(path));
    }
}

#[test]
fn riaks_tables_in_directories_come_back_as_files_with_all_that_is_beside_them() {
    for with_tables in [false, true] {
        let bench = DialectBench::new();
        let above = bench.directory("above");
        let db = bench.directory("above/db");
        write_riak(&db, with_tables);
        bench.back_up_and_restore(&db).assert_kept_as_tree(&db, "Riak");
        bench
            .back_up_and_restore(&above)
            .assert_kept_as_tree(&above, "Riak");
    }
}

#[test]
fn a_directory_of_levels_without_a_list_is_files() {
    let bench = DialectBench::new();
    // Riak may keep the deeper levels on another disk.
    let slow = bench.directory("slow");
    std::fs::create_dir(slow.join("sst_4")).unwrap();
    std::fs::write(slow.join("sst_4/000005.sst"), &files().tables[&5]).unwrap();
    let round = bench.back_up_and_restore(&slow);
    assert!(round.outcome.databases.is_empty());
    assert_eq!((tree(&round.restored), round.problems.len()), (tree(&slow), 0));
}

#[test]
fn leveldbs_own_files_beside_a_directory_called_so_are_a_leveldb() {
    let bench = DialectBench::new();
    let db = bench.directory("db");
    files().write_to(&db);
    std::fs::create_dir(db.join("sst_0")).unwrap();
    let round = bench.back_up_and_restore(&db);
    assert_eq!((round.as_files(), round.outcome.databases[0].records), (None, 3));
}

#[test]
fn a_manifest_field_that_is_not_known_makes_a_fork_and_no_damage() {
    for tag in [8, 10, 11, 99] {
        let bench = DialectBench::new();
        let above = bench.directory("above");
        let db = bench.directory("above/db");
        write_with_field(&db, tag);
        let word = format!("MANIFEST field {tag}");
        bench.back_up_and_restore(&db).assert_kept_as_tree(&db, &word);
        bench
            .back_up_and_restore(&above)
            .assert_kept_as_tree(&above, &word);
    }
}

#[test]
fn an_early_rocksdb_below_a_path_is_saved_as_files_and_by_itself_refused() {
    let bench = DialectBench::new();
    let above = bench.directory("above");
    let db = bench.directory("above/db");
    write_with_field(&db, 100);
    bench
        .back_up_and_restore(&above)
        .assert_kept_as_tree(&above, "RocksDB");
    let refused = bench.backup(&db).unwrap_err();
    assert_eq!(refused.kind(), crate::error::ErrorKind::NotLevelDb);
}

#[test]
fn tables_of_pebble_are_saved_as_files() {
    let bench = DialectBench::new();
    let above = bench.directory("above");
    let db = bench.directory("above/db");
    let mut files = files();
    let mut table = table_of(&[op(b"a", 1, Some(b"1"))], 1, BlockCodec::None);
    let magic = table.len() - 8;
    table[magic..].copy_from_slice(&0xb3aa_9ff0_b3aa_9ff0_u64.to_le_bytes());
    files.tables.insert(5, table);
    files.write_to(&db);
    bench
        .back_up_and_restore(&above)
        .assert_kept_as_tree(&above, "Pebble");
}

#[test]
fn a_comparator_whose_name_is_not_text_keeps_all_files() {
    let bench = DialectBench::new();
    let db = bench.directory("db");
    let mut files = files();
    files.edit.comparator = Some(vec![0xff, 0xfe]);
    files.write_to(&db);
    bench
        .back_up_and_restore(&db)
        .assert_kept_as_files(&db, "order of keys");
}

#[test]
fn bytes_that_are_no_manifest_are_damage_whatever_their_first_one_is() {
    let bench = DialectBench::new();
    let db = bench.directory("db");
    files().write_to(&db);
    let mut manifest = Vec::new();
    append_record(&mut manifest, &[11, 0, 0, 0, 1]);
    std::fs::write(db.join("MANIFEST-000001"), manifest).unwrap();
    let round = bench.back_up_and_restore(&db);
    assert_eq!(round.damaged_files(), ["MANIFEST"]);
    assert_eq!(tree(&round.restored), tree(&db));
}
