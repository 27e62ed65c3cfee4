use super::*;
use crate::leveldb::database_layout::BlockCodec;
use crate::leveldb::test_databases::{
    MemoryFiles, WriteOp, block_of, growing_keys, op, sort, table_of_blocks, visible,
};
use crate::leveldb::version::VersionEdit;
use crate::limits::{TABLE_WORK_FREE, TABLE_WORK_RATIO};
use proptest::prelude::*;
use std::cmp::Ordering;

const BYTEWISE: Comparator = Comparator::Bytewise;

/// Everything handed out: key, value, certain.
#[derive(Default)]
struct CertainRecordCollector(Vec<(Vec<u8>, Vec<u8>, bool)>);

impl RecordSink for CertainRecordCollector {
    fn record(&mut self, key: &[u8], value: &[u8], certain: bool) -> Result<()> {
        self.0.push((key.to_vec(), value.to_vec(), certain));
        Ok(())
    }
}

impl CertainRecordCollector {
    fn all_certain(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        assert!(self.0.iter().all(|(_, _, certain)| *certain));
        self.0
            .iter()
            .map(|(key, value, _)| (key.clone(), value.clone()))
            .collect()
    }
}

/// What is told of the logs, with the record behind it.
#[derive(Default)]
struct LogEntryCollector {
    told: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    awaits_record: bool,
}

impl RecordSink for LogEntryCollector {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        if std::mem::take(&mut self.awaits_record) {
            let last = self.told.last_mut().unwrap();
            assert_eq!(last.0, key);
            last.1 = Some(value.to_vec());
        }
        Ok(())
    }

    fn log_entry(&mut self, key: &[u8], is_deletion: bool) -> Result<()> {
        assert!(!self.awaits_record, "a record was announced and did not come");
        self.awaits_record = !is_deletion;
        self.told.push((key.to_vec(), None));
        Ok(())
    }
}

fn small_budget() -> ScanBudget {
    ScanBudget {
        window_bytes: 100,
        large_block_bytes: 600,
        resident_bytes_max: 100_000,
        log_bytes_max: 500,
    }
}

fn scan_with(directory: &Path, budget: ScanBudget) -> Result<(CertainRecordCollector, ScanOutcome)> {
    let mut seen = CertainRecordCollector::default();
    let outcome = Database::open_with(directory, budget)?.scan(&mut seen)?;
    Ok((seen, outcome))
}

fn scan(files: &MemoryFiles) -> (CertainRecordCollector, ScanOutcome) {
    let directory = tempfile::tempdir().unwrap();
    files.write_to(directory.path());
    scan_with(directory.path(), ScanBudget::default()).unwrap()
}

/// A history of writes, and where each stretch of it has come to rest, oldest first.
#[derive(Clone, Debug)]
struct WriteHistory {
    ops: Vec<WriteOp>,
    files: MemoryFiles,
}

/// Puts stretches of a history where LevelDB would: the oldest on level 2, then 1, then tables of level 0, then logs.
fn history(order: Comparator) -> impl Strategy<Value = WriteHistory> {
    let key = prop_oneof![
        prop::collection::vec(prop::sample::select(vec![0u8, 1, 0xff]), 0..5),
        any::<u8>().prop_map(|byte| format!("key/{byte:03}").into_bytes()),
    ];
    let value = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..60),
        1 => (any::<u8>(), 4000usize..100_000).prop_map(|(byte, len)| vec![byte; len]),
    ];
    let writes = prop::collection::vec((key, prop::option::weighted(0.75, value)), 1..150);
    let stretches = prop::collection::vec(any::<prop::sample::Index>(), 6);
    let layout = (
        1usize..12,
        1usize..60,
        prop::sample::select(vec![BlockCodec::None, BlockCodec::Snappy, BlockCodec::Zstd]),
    );
    (writes, stretches, layout).prop_map(move |(writes, stretches, (per_block, per_table, codec))| {
        let number = |(index, (key, value))| WriteOp {
            key,
            sequence: index as u64 + 1,
            value,
        };
        let ops: Vec<WriteOp> = writes.into_iter().enumerate().map(number).collect();
        let mut ends: Vec<usize> = stretches.iter().map(|end| end.index(ops.len() + 1)).collect();
        ends.extend([0, ops.len()]);
        ends.sort_unstable();
        let mut files = MemoryFiles::new(&order);
        let mut next = 10;
        for (stretch, place) in ends.windows(2).zip(0..) {
            let ops = &ops[stretch[0]..stretch[1]];
            let mut sorted = ops.to_vec();
            sort(&mut sorted, &order);
            let (level, per_table) = match place {
                0 => (2, per_table),
                1 => (1, per_table),
                2..=4 => (0, usize::MAX),
                _ => {
                    files.add_log(next, ops.chunks(3));
                    next += 1;
                    continue;
                }
            };
            for table in sorted.chunks(per_table.min(sorted.len()).max(1)) {
                files.add_table(level, next, table, per_block, codec);
                next += 1;
            }
        }
        files.edit.log_number = Some(next - 2);
        files.edit.last_sequence = Some(ends[5] as u64);
        WriteHistory { ops, files }
    })
}

/// Flips bits in one file, or takes it away.
fn damage() -> impl Strategy<Value = (prop::sample::Index, Option<(prop::sample::Index, u8)>)> {
    (
        any::<prop::sample::Index>(),
        prop::option::weighted(0.9, (any::<prop::sample::Index>(), 1..=255u8)),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_scan_gives_the_newest_value_of_each_key_whatever_the_bounds(history in history(BYTEWISE)) {
        let directory = tempfile::tempdir().unwrap();
        history.files.write_to(directory.path());
        let expected = visible(&history.ops);
        for budget in [ScanBudget::default(), small_budget()] {
            let (seen, outcome) = scan_with(directory.path(), budget).unwrap();
            prop_assert_eq!((&outcome.damage, &outcome.torn_tails), (&vec![], &vec![]));
            prop_assert!(seen.0.windows(2).all(|pair| pair[0].0 < pair[1].0));
            prop_assert_eq!(outcome.records, expected.len() as u64);
            prop_assert_eq!(outcome.key_bytes, expected.keys().map(|key| key.len() as u64).sum::<u64>());
            prop_assert_eq!(outcome.value_bytes, expected.values().map(|value| value.len() as u64).sum::<u64>());
            prop_assert_eq!(outcome.table_entries + outcome.log_entries, history.ops.len() as u64);
            prop_assert_eq!(&seen.all_certain(), &expected);
        }
        let database = Database::open(directory.path()).unwrap();
        prop_assert_eq!(database.last_sequence(), history.ops.len() as u64);
        database.layout();
    }

    /// A deletion or the record that comes next, for each key of which a log has the newest word; else nothing.
    #[test]
    fn a_scan_tells_what_the_logs_have_the_newest_word_on(history in history(BYTEWISE)) {
        let directory = tempfile::tempdir().unwrap();
        history.files.write_to(directory.path());
        let in_tables = history.files.edit.last_sequence.unwrap();
        let newest: BTreeMap<_, _> = history.ops.iter().map(|op| (&op.key, op)).collect();
        let expected: Vec<_> = newest.values().filter(|op| op.sequence > in_tables)
            .map(|op| (op.key.clone(), op.value.clone())).collect();
        for budget in [ScanBudget::default(), small_budget()] {
            let mut logged = LogEntryCollector::default();
            Database::open_with(directory.path(), budget).unwrap().scan(&mut logged).unwrap();
            prop_assert_eq!(&logged.told, &expected);
        }
    }

    /// What is certain is true, and what is true and not there is listed: for any damage to any file.
    #[test]
    fn damage_never_makes_a_wrong_record_certain_nor_hides_a_loss(
        history in history(BYTEWISE), damage in prop::collection::vec(damage(), 1..4),
    ) {
        let mut files = history.files.clone();
        for (file, change) in &damage {
            let tables = files.tables.len();
            let all = tables + files.logs.len();
            let map = match file.index(all) { index if index < tables => &mut files.tables, _ => &mut files.logs };
            let Some(&number) = map.keys().nth(file.index(all) % map.len().max(1)) else { continue };
            match change {
                None => { map.remove(&number); }
                Some((at, flip)) => {
                    let bytes = map.get_mut(&number).unwrap();
                    if !bytes.is_empty() {
                        let at = at.index(bytes.len());
                        bytes[at] ^= flip;
                    }
                }
            }
        }
        let directory = tempfile::tempdir().unwrap();
        files.write_to(directory.path());
        for budget in [ScanBudget::default(), small_budget()] {
            let database = Database::open_with(directory.path(), budget).unwrap();
            let mut seen = CertainRecordCollector::default();
            let outcome = database.scan(&mut seen).unwrap();
            prop_assert!(seen.0.windows(2).all(|pair| pair[0].0 < pair[1].0));
            // A log that ends torn, or not at all, is the state of a moment before.
            let last = if outcome.torn_tails.is_empty() && files.logs.len() == history.files.logs.len() { history.ops.len() as u64 } else { database.last_sequence() };
            sound(&history.ops, last, &seen, &outcome)?;
        }
    }
}

fn sound(
    ops: &[WriteOp],
    last: u64,
    seen: &CertainRecordCollector,
    outcome: &ScanOutcome,
) -> Result<(), TestCaseError> {
    let truth = visible(ops.iter().filter(|op| op.sequence <= last));
    let concerns = |damage: &SourceDamage, key: &[u8]| {
        damage.smallest.as_deref().is_none_or(|smallest| smallest <= key)
            && damage.largest.as_deref().is_none_or(|largest| key <= largest)
    };
    let listed = |key: &[u8]| outcome.damage.iter().any(|damage| concerns(damage, key));
    for (key, value, certain) in &seen.0 {
        prop_assert!(
            !certain || truth.get(key) == Some(value),
            "{key:?} is wrong and certain: {outcome:?}"
        );
        prop_assert!(
            truth.get(key) == Some(value) || listed(key),
            "{key:?} is wrong and not listed"
        );
    }
    let there: std::collections::BTreeSet<&Vec<u8>> = seen.0.iter().map(|(key, ..)| key).collect();
    for key in truth.keys().filter(|key| !there.contains(key)) {
        prop_assert!(listed(key), "{key:?} is gone and not listed: {outcome:?}");
    }
    Ok(())
}

/// Ten keys on level 1 and older versions of them, and one key more, on level 2.
fn two_levels() -> MemoryFiles {
    let mut files = MemoryFiles::new(&BYTEWISE);
    let key = |n: u64| vec![b'a' + n as u8];
    let old: Vec<WriteOp> = (0..10).map(|n| op(&key(n), 1 + n, Some(b"old"))).collect();
    let new: Vec<WriteOp> = (1..9)
        .map(|n| op(&key(n), 20 + n, (n != 4).then_some(&b"new"[..])))
        .collect();
    files.add_table(2, 5, &old, 2, BlockCodec::Snappy);
    files.add_table(1, 6, &new, 2, BlockCodec::Snappy);
    files.edit.last_sequence = Some(30);
    files
}

/// The bytes at which the data blocks of a table of [`two_levels`] begin.
fn block_offsets(table: &[u8]) -> Vec<u64> {
    let mut decompressor = crate::leveldb::block_decompressor::Decompressor::default();
    let table =
        crate::leveldb::table_reader::Table::open(&table.to_vec(), table.len() as u64, &mut decompressor)
            .unwrap();
    let mut entries = crate::leveldb::block::BlockEntries::new(&table.index).unwrap();
    let mut offsets = Vec::new();
    while let Some((_, value)) = entries.next().unwrap() {
        offsets.push(crate::codec::Reader::new(value).varint().unwrap());
    }
    offsets
}

#[test]
fn older_versions_under_a_bad_block_come_out_uncertain_and_all_else_certain() {
    let mut files = two_levels();
    let table = files.tables.get_mut(&6).unwrap();
    // The block with keys d (a value) and e (a deletion).
    let offset = block_offsets(table)[1] as usize;
    table[offset + 3] ^= 1;
    let (seen, outcome) = scan(&files);
    let all: Vec<(u8, &[u8], bool)> = seen
        .0
        .iter()
        .map(|(key, value, certain)| (key[0], &value[..], *certain))
        .collect();
    let new = |key| (key, &b"new"[..], true);
    let old = |key, certain| (key, &b"old"[..], certain);
    let expected = [
        old(b'a', true),
        new(b'b'),
        new(b'c'),
        old(b'd', false),
        old(b'e', false),
        new(b'f'),
        new(b'g'),
        new(b'h'),
        new(b'i'),
        old(b'j', true),
    ];
    assert_eq!(all, expected);
    assert_eq!((outcome.uncertain, outcome.damage.len()), (2, 1));
    let damage = &outcome.damage[0];
    assert_eq!(
        (damage.file.as_str(), damage.offset, damage.level),
        ("000006.ldb", Some(offset as u64), Some(1))
    );
    assert_eq!(
        (damage.smallest.as_deref(), damage.largest.as_deref()),
        (Some(&b"c"[..]), Some(&b"e"[..]))
    );
}

#[test]
fn records_newer_than_a_lost_table_are_certain() {
    let mut files = two_levels();
    files.tables.remove(&5);
    let (seen, outcome) = scan(&files);
    assert_eq!(seen.all_certain().len(), 7);
    assert_eq!(outcome.damage.len(), 1);
    let mut files = two_levels();
    files.tables.insert(6, Vec::new());
    let (seen, outcome) = scan(&files);
    assert_eq!(
        (seen.0.len(), outcome.uncertain, outcome.damage.len()),
        (10, 8, 1)
    );
}

#[test]
fn a_lost_batch_leaves_tables_uncertain_and_what_came_behind_it_certain() {
    let mut files = two_levels();
    let batch = |sequence| vec![op(&[b'a' + sequence as u8 - 31], sequence, Some(b"log"))];
    let batches: Vec<Vec<WriteOp>> = (31..34).map(batch).collect();
    files.add_log(7, batches.iter().map(Vec::as_slice));
    files.logs.get_mut(&7).unwrap()[50] ^= 1;
    let (seen, outcome) = scan(&files);
    let certain: Vec<u8> = seen
        .0
        .iter()
        .filter(|(.., certain)| *certain)
        .map(|(key, ..)| key[0])
        .collect();
    assert_eq!((certain, outcome.damage.len()), (vec![b'c'], 1));
}

#[test]
fn tables_that_overlap_within_a_level_are_listed_and_lose_nothing() {
    let mut files = two_levels();
    let twice = [op(b"c", 40, Some(b"newest")), op(b"z", 41, Some(b"z"))];
    files.add_table(1, 9, &twice, 1, BlockCodec::None);
    let (seen, outcome) = scan(&files);
    assert_eq!((outcome.damage.len(), outcome.uncertain), (1, 0));
    assert_eq!(seen.all_certain()[&b"c"[..]], b"newest");
    assert_eq!(seen.0.len(), 10);
}

#[test]
fn keys_out_of_order_in_a_block_whose_checksum_is_right_are_damage() {
    let mut files = MemoryFiles::new(&BYTEWISE);
    let ops = [
        op(b"a", 1, Some(b"1")),
        op(b"c", 2, Some(b"2")),
        op(b"b", 3, Some(b"3")),
        op(b"d", 4, Some(b"4")),
    ];
    files.add_table(1, 5, &ops, 3, BlockCodec::None);
    let (seen, outcome) = scan(&files);
    let keys: Vec<u8> = seen.0.iter().map(|(key, ..)| key[0]).collect();
    assert_eq!((keys, outcome.damage.len()), (vec![b'a', b'c', b'd'], 1));
    assert!(outcome.damage[0].what.contains("order"), "{:?}", outcome.damage);
}

#[test]
fn versions_of_a_key_that_do_not_go_down_in_sequence_are_out_of_order() {
    for sequence in [5, 6] {
        let mut files = MemoryFiles::new(&BYTEWISE);
        let ops = [op(b"a", 5, Some(b"1")), op(b"a", sequence, Some(b"2"))];
        files.add_table(1, 5, &ops, 3, BlockCodec::None);
        let (seen, outcome) = scan(&files);
        assert_eq!((seen.0.len(), outcome.damage.len()), (1, 1), "{sequence}");
        assert!(outcome.damage[0].what.contains("order"));
    }
}

#[test]
fn a_table_that_ends_before_the_manifests_last_key_is_damage() {
    let mut files = two_levels();
    let ops: Vec<WriteOp> = (0..3).map(|n| op(&[b'l' + n], 50, Some(b"v"))).collect();
    files.add_table(2, 8, &ops, 1, BlockCodec::None);
    let shorter = crate::leveldb::test_databases::table_of(&ops[..2], 1, BlockCodec::None);
    let meta = &mut files.edit.added.last_mut().unwrap().1;
    meta.size = shorter.len() as u64;
    files.tables.insert(8, shorter);
    let (seen, outcome) = scan(&files);
    assert_eq!((seen.0.len(), outcome.damage.len()), (11, 1));
    assert_eq!(outcome.damage[0].largest.as_deref(), Some(&b"n"[..]));
}

#[test]
fn keys_that_the_comparator_calls_equal_are_one_record_the_newest() {
    let order = Comparator::Idb;
    let key = |zero: f64| [&[0, 1, 1, 1, 3][..], &zero.to_le_bytes()].concat();
    let mut files = MemoryFiles::new(&order);
    files.add_table(2, 5, &[op(&key(0.0), 1, Some(b"old"))], 1, BlockCodec::None);
    files.add_table(1, 6, &[op(&key(-0.0), 2, Some(b"new"))], 1, BlockCodec::None);
    let (seen, _) = scan(&files);
    assert_eq!(seen.0, [(key(-0.0), b"new".to_vec(), true)]);
    files.add_log(
        7,
        [
            &[op(&key(0.0), 3, None)][..],
            &[op(&key(-0.0), 4, Some(b"again")), op(&key(0.0), 5, Some(b"last"))],
        ],
    );
    let (seen, _) = scan(&files);
    assert_eq!(seen.0, [(key(0.0), b"last".to_vec(), true)]);
}

#[test]
fn an_unknown_order_is_verified_and_listed_but_not_scanned() {
    let mut files = two_levels();
    files.edit.comparator = Some(b"somebody.else".to_vec());
    files.add_log(9, [&[op(b"k", 31, Some(b"v"))][..]]);
    let directory = tempfile::tempdir().unwrap();
    files.write_to(directory.path());
    std::fs::write(directory.path().join("999999.ldb"), b"not live").unwrap();
    let database = Database::open(directory.path()).unwrap();
    assert_eq!(
        database.comparator(),
        &Comparator::Unknown("somebody.else".into())
    );
    assert_eq!(
        database
            .scan(&mut CertainRecordCollector::default())
            .unwrap_err()
            .kind(),
        ErrorKind::UnknownFormat
    );
    let names: Vec<String> = database.files().map(|file| file.name).collect();
    assert_eq!(
        names,
        [
            "CURRENT",
            "MANIFEST-000001",
            "000005.ldb",
            "000006.ldb",
            "000009.log"
        ]
    );
    let outcome = database.verify().unwrap();
    assert_eq!(
        (outcome.damage.len(), outcome.table_entries, outcome.log_entries),
        (0, 18, 1)
    );
    let table = directory.path().join("000006.ldb");
    let mut bytes = std::fs::read(&table).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&table, bytes).unwrap();
    assert_eq!(database.verify().unwrap().damage.len(), 1);
}

#[test]
fn every_live_log_counts_when_the_manifest_names_none() {
    let mut files = two_levels();
    files.add_log(3, [&[op(b"x", 31, Some(b"1"))][..]]);
    files.add_log(4, [&[op(b"y", 32, Some(b"2"))][..]]);
    assert_eq!(scan(&files).0.all_certain().len(), 11);
    files.edit.log_number = Some(4);
    files.edit.last_sequence = Some(31);
    assert_eq!(scan(&files).0.all_certain().len(), 10);
    files.edit.log_number = Some(5);
    let (_, outcome) = scan(&files);
    assert_eq!(
        (outcome.uncertain, outcome.damage[0].file.as_str()),
        (9, "000005.log")
    );
}

#[test]
fn a_log_that_goleveldb_rotated_away_empty_is_not_missed_and_a_gap_shows_a_lost_one() {
    let mut files = two_levels();
    files.edit.log_number = Some(3);
    files.edit.last_sequence = Some(30);
    files.add_log(4, [] as [&[WriteOp]; 0]);
    let (seen, outcome) = scan(&files);
    assert_eq!(
        (outcome.damage.as_slice(), seen.all_certain().len()),
        (&[][..], 9)
    );
    files.add_log(4, [&[op(b"x", 31, Some(b"1"))][..]]);
    let (seen, outcome) = scan(&files);
    assert_eq!(
        (outcome.damage.as_slice(), seen.all_certain().len()),
        (&[][..], 10)
    );
    files.edit.last_sequence = Some(28);
    let (_, outcome) = scan(&files);
    assert_eq!(
        (outcome.damage[0].file.as_str(), outcome.damage[0].sequences_lost),
        ("000003.log", Some(2))
    );
    files.edit.last_sequence = Some(30);
    files.edit.previous_log_number = Some(0);
    let (_, outcome) = scan(&files);
    assert_eq!((outcome.damage.len(), outcome.uncertain), (1, 9));
}

fn open_error(files: &MemoryFiles, change: impl FnOnce(&Path)) -> Error {
    let directory = tempfile::tempdir().unwrap();
    files.write_to(directory.path());
    change(directory.path());
    match Database::open(directory.path()) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

#[test]
fn without_current_or_manifest_nothing_is_guessed() {
    let files = two_levels();
    let write = |name: &'static str, bytes: Vec<u8>| {
        move |path: &Path| std::fs::write(path.join(name), bytes).unwrap()
    };
    let remove = |name: &'static str| move |path: &Path| std::fs::remove_file(path.join(name)).unwrap();
    assert_eq!(open_error(&files, remove("CURRENT")).kind(), ErrorKind::Corrupt);
    assert_eq!(
        open_error(&files, remove("MANIFEST-000001")).kind(),
        ErrorKind::Corrupt
    );
    assert_eq!(
        open_error(&files, write("CURRENT", b"MANIFEST-0000".to_vec())).kind(),
        ErrorKind::Corrupt
    );
    assert_eq!(
        open_error(&files, write("CURRENT", b"../MANIFEST-000001\n".to_vec())).kind(),
        ErrorKind::Corrupt
    );
    assert_eq!(
        open_error(&files, write("MANIFEST-000001", Vec::new())).kind(),
        ErrorKind::Corrupt
    );
    let manifest = files.manifest();
    for at in 0..manifest.len() {
        let mut flipped = manifest.clone();
        flipped[at] ^= 1;
        assert_eq!(
            open_error(&files, write("MANIFEST-000001", flipped)).kind(),
            ErrorKind::Corrupt,
            "{at}"
        );
    }
}

#[test]
fn an_edit_that_was_being_written_is_left_out() {
    let files = two_levels();
    let directory = tempfile::tempdir().unwrap();
    files.write_to(directory.path());
    let path = directory.path().join("MANIFEST-000001");
    let mut manifest = files.manifest();
    let whole = manifest.len();
    let mut more = Vec::new();
    VersionEdit {
        deleted: vec![(1, 6)],
        ..VersionEdit::default()
    }
    .encode(&mut more);
    crate::leveldb::log_writer::append_record(&mut manifest, &more);
    for len in whole..=manifest.len() {
        std::fs::write(&path, &manifest[..len]).unwrap();
        let tables = Database::open(directory.path()).unwrap().version().tables.len();
        assert_eq!(tables, if len == manifest.len() { 1 } else { 2 }, "{len}");
    }
    manifest[whole + 8] ^= 1;
    std::fs::write(&path, &manifest).unwrap();
    assert!(Database::open(directory.path()).is_err());
}

#[test]
fn other_directories_and_rocksdb_are_not_leveldb() {
    let empty = tempfile::tempdir().unwrap();
    let kind = |path: &Path| match Database::open(path) {
        Ok(_) => panic!("it opened"),
        Err(error) => error.kind(),
    };
    assert_eq!(kind(empty.path()), ErrorKind::NotLevelDb);
    assert_eq!(kind(&empty.path().join("nothing")), ErrorKind::NotFound);
    std::fs::write(empty.path().join("CURRENT"), b"7\n").unwrap();
    assert_eq!(kind(empty.path()), ErrorKind::NotLevelDb);
    let mut files = two_levels();
    assert_eq!(
        open_error(&files, |path| std::fs::write(path.join("OPTIONS-000007"), b"")
            .unwrap())
        .kind(),
        ErrorKind::NotLevelDb
    );
    files.edit.compact_pointers = vec![(1, vec![0; 8])];
    let mut manifest = Vec::new();
    crate::leveldb::log_writer::append_record(&mut manifest, &[200, 1]);
    let rocks = open_error(&files, |path| {
        std::fs::write(path.join("MANIFEST-000001"), manifest).unwrap()
    });
    assert_eq!(rocks.kind(), ErrorKind::NotLevelDb);
}

#[test]
fn a_fifo_in_place_of_a_table_is_damage_and_no_wait() {
    let files = two_levels();
    let directory = tempfile::tempdir().unwrap();
    files.write_to(directory.path());
    let table = directory.path().join("000006.ldb");
    std::fs::remove_file(&table).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&table).status().unwrap();
    assert!(made.success());
    let (_, outcome) = scan_with(directory.path(), ScanBudget::default()).unwrap();
    assert_eq!(outcome.damage.len(), 1);
}

#[test]
fn a_sink_that_fails_ends_the_scan_with_its_error() {
    struct FailingSink;
    impl RecordSink for FailingSink {
        fn record(&mut self, _key: &[u8], _value: &[u8], _certain: bool) -> Result<()> {
            Err(Error::new(ErrorKind::Full, "no room"))
        }
    }
    let directory = tempfile::tempdir().unwrap();
    two_levels().write_to(directory.path());
    let database = Database::open(directory.path()).unwrap();
    assert_eq!(
        database.scan(&mut FailingSink).unwrap_err().kind(),
        ErrorKind::Full
    );
}

#[test]
fn rows_of_level_0_are_as_few_as_the_overlap_asks() {
    let mut files = MemoryFiles::new(&BYTEWISE);
    for number in 0..300u64 {
        let key = |n: u64| n.to_be_bytes().to_vec();
        let ops = [
            op(&key(number * 10), number + 1, Some(b"v")),
            op(&key(number * 10 + 5), number + 1, Some(b"w")),
        ];
        files.add_table(0, number + 10, &ops, 1, BlockCodec::None);
    }
    let directory = tempfile::tempdir().unwrap();
    files.write_to(directory.path());
    let database = Database::open(directory.path()).unwrap();
    assert_eq!(database.disjoint_rows().0.len(), 1);
    let mut seen = CertainRecordCollector::default();
    database.scan(&mut seen).unwrap();
    assert_eq!(seen.all_certain().len(), 600);
}

#[test]
fn more_sources_than_open_files_are_read_by_opening_again() {
    let mut files = MemoryFiles::new(&BYTEWISE);
    for number in 0..260u64 {
        let ops = [
            op(b"a", number + 1, Some(b"v")),
            op(&number.to_be_bytes(), number + 1, Some(b"w")),
            op(b"z", number + 1, None),
        ];
        let mut ops = ops.to_vec();
        sort(&mut ops, &BYTEWISE);
        files.add_table(0, number + 10, &ops, 1, BlockCodec::None);
    }
    let (seen, outcome) = scan(&files);
    assert_eq!((seen.all_certain().len(), outcome.damage.len()), (261, 0));
}

#[test]
fn idb_order_merges_as_chromium_sorts() {
    let order = Comparator::Idb;
    let key = |n: f64| [&[0, 1, 1, 1, 3][..], &n.to_le_bytes()].concat();
    let mut files = MemoryFiles::new(&order);
    let mut ops: Vec<WriteOp> = [-2.0, -1.0, 0.5, 3.0, 1e9]
        .iter()
        .map(|&n| op(&key(n), 1, Some(b"v")))
        .collect();
    sort(&mut ops, &order);
    files.add_table(1, 5, &ops, 2, BlockCodec::Snappy);
    files.edit.last_sequence = Some(1);
    files.add_log(7, [&[op(&key(1.0), 2, Some(b"w")), op(&key(-1.0), 3, None)][..]]);
    let (seen, outcome) = scan(&files);
    assert_eq!((seen.0.len(), outcome.damage.len()), (5, 0));
    assert!(
        seen.0
            .windows(2)
            .all(|pair| order.compare(&pair[0].0, &pair[1].0) == Ordering::Less)
    );
}

/// Counts the bytes that are handed out.
#[derive(Default)]
struct ByteCountingSink(u64);

impl RecordSink for ByteCountingSink {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        self.0 += (key.len() + value.len()) as u64;
        Ok(())
    }
}

/// What `files` hand out until they are found to be out of proportion, and how many bytes they have.
fn out_of_proportion(files: &MemoryFiles) -> (u64, u64) {
    let directory = tempfile::tempdir().unwrap();
    files.write_to(directory.path());
    let database = Database::open_with(directory.path(), ScanBudget::default()).unwrap();
    let mut bytes = ByteCountingSink::default();
    for error in [
        database.scan(&mut bytes).unwrap_err(),
        database.verify().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert!(error.to_string().contains("out of proportion"), "{error}");
    }
    assert_eq!(database.outcome_without_tables().tables, 1);
    (bytes.0, files.tables[&5].len() as u64)
}

#[test]
fn keys_that_grow_by_a_byte_each_end_a_scan_at_what_is_in_proportion() {
    // 60,000 keys are 1.8 GB in a table of 0.8 MB.
    let (handed_out, stored) = out_of_proportion(&growing_keys(60_000));
    assert!(stored < 1 << 20);
    assert!(
        handed_out <= TABLE_WORK_FREE + TABLE_WORK_RATIO * stored,
        "{handed_out}"
    );
    // Fewer of them are records like any.
    let directory = tempfile::tempdir().unwrap();
    growing_keys(10_000).write_to(directory.path());
    let mut bytes = ByteCountingSink::default();
    let database = Database::open_with(directory.path(), ScanBudget::default()).unwrap();
    let outcome = database.scan(&mut bytes).unwrap();
    assert_eq!(
        (outcome.records, outcome.damage.len()),
        (10_000, 0),
        "{:?}",
        outcome.damage
    );
}

#[test]
fn a_block_that_is_named_again_and_again_is_read_as_often_as_is_in_proportion() {
    let value = vec![0; 16 << 20];
    let one = op(b"a", 1, Some(&value));
    let key = one.internal_key();
    let block = block_of([(&key[..], &value[..])], 1);
    let mut files = MemoryFiles::new(&BYTEWISE);
    files.add_table(1, 5, &[op(b"a", 1, Some(b""))], 1, BlockCodec::None);
    let bytes = table_of_blocks([(key, block)], 1000, BlockCodec::Zstd);
    files.edit.added[0].1.size = bytes.len() as u64;
    files.tables.insert(5, bytes);
    let (handed_out, stored) = out_of_proportion(&files);
    assert!(handed_out <= TABLE_WORK_FREE + TABLE_WORK_RATIO * stored);
}
