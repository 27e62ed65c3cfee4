use super::*;
use crate::leveldb::internal_key::SourceStep;
use crate::leveldb::large_values::LargeValueBuffer;
use crate::leveldb::merging_iterator::RecordSink;
use crate::leveldb::scan_context::ScanBudget;
use crate::leveldb::test_databases::{MemoryFiles, WriteOp, log_of, op, visible};
use proptest::prelude::*;
use std::collections::BTreeMap;

const ORDER: Comparator = Comparator::Bytewise;

struct Collect(BTreeMap<Vec<u8>, Vec<u8>>, Option<Vec<u8>>);

impl RecordSink for Collect {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        assert!(self.1.as_deref().is_none_or(|last| last < key), "out of order");
        self.1 = Some(key.to_vec());
        self.0.insert(key.to_vec(), value.to_vec());
        Ok(())
    }
}

fn read(files: &MemoryFiles, bytes_max: usize) -> (BTreeMap<Vec<u8>, Vec<u8>>, LogReport) {
    let logs: Vec<u64> = files.logs.keys().copied().collect();
    let (table, report) = Memtable::read(files, &ORDER, logs, None, 0, bytes_max);
    let budget = ScanBudget {
        log_bytes_max: bytes_max,
        ..ScanBudget::default()
    };
    let scan = ScanContext::new(files, &ORDER, budget);
    let (mut cursor, mut seen, mut scratch) = (
        table.cursor(&scan),
        Collect(BTreeMap::new(), None),
        LargeValueBuffer::default(),
    );
    while cursor.advance() != SourceStep::End {
        if cursor.tag() & 1 == 1 {
            cursor.emit(&mut scratch, true, &mut seen).unwrap().unwrap();
        }
    }
    assert!(cursor.take_failure().is_none());
    (seen.0, report)
}

/// Batches with consecutive sequence numbers from 1.
fn batches() -> impl Strategy<Value = Vec<Vec<WriteOp>>> {
    let key = prop::collection::vec(prop::sample::select(vec![0u8, 1, 0xff]), 0..12);
    let value = prop_oneof![
        5 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 4000usize..80_000).prop_map(|(byte, len)| vec![byte; len]),
    ];
    let write = (key, prop::option::weighted(0.8, value));
    prop::collection::vec(prop::collection::vec(write, 0..12), 1..40).prop_map(|batches| {
        let mut sequence = 0;
        let mut number = |(key, value)| {
            sequence += 1;
            WriteOp { key, sequence, value }
        };
        batches
            .into_iter()
            .map(|batch| batch.into_iter().map(&mut number).collect())
            .collect()
    })
}

proptest! {
    #[test]
    fn every_bound_gives_the_newest_value_of_each_key(batches in batches(), split in any::<prop::sample::Index>()) {
        let split = split.index(batches.len());
        let mut files = MemoryFiles::new(&ORDER);
        files.add_log(3, batches[..split].iter().map(Vec::as_slice));
        files.add_log(5, batches[split..].iter().map(Vec::as_slice));
        let expected = visible(batches.iter().flatten());
        for bytes_max in [0, 100, 1000, 100_000, 1 << 26] {
            let (seen, report) = read(&files, bytes_max);
            prop_assert_eq!(&seen, &expected, "bound {}", bytes_max);
            prop_assert_eq!(report.entries, batches.iter().flatten().count() as u64);
            prop_assert!(report.damage.is_empty() && report.torn_tails.is_empty() && report.certain_from == 0);
        }
    }

    #[test]
    fn mutated_logs_never_panic_and_every_bound_agrees(
        batches in batches(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut files = MemoryFiles::new(&ORDER);
        files.add_log(3, batches.iter().map(Vec::as_slice));
        let log = files.logs.get_mut(&3).unwrap();
        for (at, byte) in flips {
            let at = at.index(log.len());
            log[at] = byte;
        }
        let (seen, _) = read(&files, 1 << 26);
        prop_assert_eq!(read(&files, 300).0, seen);
    }
}

fn three_batches() -> Vec<Vec<WriteOp>> {
    vec![
        vec![op(b"a", 1, Some(b"1")), op(b"b", 2, Some(b"2"))],
        vec![op(b"a", 3, Some(b"3"))],
        vec![op(b"c", 4, Some(b"4")), op(b"b", 5, None)],
    ]
}

fn with_log(log: Vec<u8>) -> MemoryFiles {
    let mut files = MemoryFiles::new(&ORDER);
    files.logs.insert(7, log);
    files
}

#[test]
fn a_lost_batch_between_whole_ones_is_damage_with_its_sequence_numbers() {
    let mut log = log_of(three_batches().iter().map(Vec::as_slice));
    let second = log_of([&three_batches()[0][..]]).len();
    log[second + 20] ^= 1;
    let (seen, report) = read(&with_log(log), 1 << 20);
    assert_eq!(seen.len(), 2);
    assert_eq!((report.damage.len(), report.certain_from), (1, 4));
    assert_eq!(report.damage[0].sequences_lost, Some(1));
    assert_eq!(report.damage[0].offset, Some(second as u64));
    assert!(report.torn_tails.is_empty());
}

#[test]
fn a_torn_write_that_took_no_sequence_number_lost_nothing_wherever_it_is() {
    let [first, second, third] = &three_batches()[..] else {
        panic!()
    };
    let mut log = log_of([&first[..]]);
    // A writer died in the middle of a batch, and another one went on behind it in the next block.
    let torn = log_of([&[op(b"never", 3, Some(&[7; 40_000]))][..]]);
    log.extend(&torn[..log_block_rest(log.len())]);
    log.extend(log_of([&second[..], &third[..]]));
    let (seen, report) = read(&with_log(log), 1 << 20);
    assert_eq!(seen, visible(three_batches().iter().flatten()));
    assert_eq!(
        (report.damage.len(), report.torn_tails.len(), report.certain_from),
        (0, 1, 0)
    );
}

fn log_block_rest(len: usize) -> usize {
    crate::leveldb::log_reader::BLOCK_BYTES - len
}

#[test]
fn a_log_cut_short_is_a_torn_tail_and_the_batches_before_are_certain() {
    let mut log = log_of(three_batches().iter().map(Vec::as_slice));
    log.truncate(log.len() - 3);
    let (seen, report) = read(&with_log(log), 1 << 20);
    assert_eq!(seen, visible(three_batches()[..2].iter().flatten()));
    assert_eq!(
        (report.damage.len(), report.torn_tails.len(), report.certain_from),
        (0, 1, 0)
    );
    assert_eq!((report.last_sequence, report.entries), (3, 3));
}

#[test]
fn a_torn_log_before_another_that_lacks_numbers_is_damage() {
    let batches = three_batches();
    let mut first = log_of([&batches[0][..], &batches[1][..]]);
    first.truncate(first.len() - 1);
    let mut files = with_log(first);
    files.logs.insert(9, log_of([&batches[2][..]]));
    let (_, report) = read(&files, 1 << 20);
    assert_eq!(
        (report.damage.len(), report.torn_tails.len(), report.certain_from),
        (1, 0, 4)
    );
    assert_eq!(report.damage[0].sequences_lost, Some(1));
    // The same tail with nothing missing behind it is a write that was never acknowledged.
    files.logs.insert(9, log_of([&[op(b"c", 3, Some(b"4"))][..]]));
    let (_, report) = read(&files, 1 << 20);
    assert_eq!(
        (report.damage.len(), report.torn_tails.len(), report.certain_from),
        (0, 1, 0)
    );
}

#[test]
fn a_batch_that_is_whole_by_its_checksum_and_wrong_inside_is_damage_even_at_the_end() {
    let mut log = log_of([&three_batches()[0][..]]);
    let mut wrong = crate::leveldb::test_databases::batch_of(&three_batches()[1]);
    wrong[8] = 9;
    crate::leveldb::log_writer::append_record(&mut log, &wrong);
    let (seen, report) = read(&with_log(log), 1 << 20);
    assert_eq!(seen, visible(&three_batches()[0]));
    assert_eq!((report.damage.len(), report.certain_from), (1, u64::MAX));
}

#[test]
fn a_missing_log_leaves_only_what_came_behind_it_certain() {
    let files = with_log(log_of([&three_batches()[2][..]]));
    let (_, report) = Memtable::read(&files, &ORDER, vec![7], Some(MissingLog::Lost(6)), 100, 1 << 20);
    assert_eq!((report.damage.len(), report.certain_from), (1, 4));
    let (_, report) = Memtable::read(&files, &ORDER, vec![], Some(MissingLog::Lost(6)), 100, 1 << 20);
    assert_eq!((report.damage.len(), report.certain_from), (1, u64::MAX));
}

#[test]
fn an_absent_log_is_convicted_by_a_gap_behind_the_manifest_and_acquitted_by_its_absence() {
    let absent = Some(MissingLog::LostIfGap(6));
    let read = |files: &MemoryFiles, logs, last| Memtable::read(files, &ORDER, logs, absent, last, 1 << 20).1;
    let mut files = with_log(log_of([&three_batches()[2][..]]));
    for last_sequence in [3, 4, 5, 100] {
        assert!(read(&files, vec![7], last_sequence).damage.is_empty());
    }
    files.logs.insert(8, log_of([&[op(b"d", 6, None)][..]]));
    let report = read(&files, vec![7, 8], 1);
    assert_eq!((report.damage.len(), report.certain_from), (1, 4));
    assert_eq!(report.damage[0].file, "000006.log");
    assert_eq!(report.damage[0].sequences_lost, Some(2));
}

#[test]
fn an_absent_log_before_one_without_a_batch_is_not_judged() {
    let absent = Some(MissingLog::LostIfGap(6));
    let torn = log_of([&three_batches()[0][..]])[..9].to_vec();
    for (log, torn_tails) in [(Vec::new(), 0), (torn, 1)] {
        let (_, report) = Memtable::read(&with_log(log), &ORDER, vec![7], absent, 100, 1 << 20);
        assert_eq!((report.damage.len(), report.torn_tails.len()), (0, torn_tails));
    }
}

#[test]
fn a_log_that_grows_bad_between_passes_is_an_error() {
    let batches: Vec<Vec<WriteOp>> = (0..200)
        .map(|n| vec![op(&[n as u8; 9], n + 1, Some(&[1; 30]))])
        .collect();
    let files = with_log(log_of(batches.iter().map(Vec::as_slice)));
    let (table, _) = Memtable::read(&files, &ORDER, vec![7], None, 0, 1000);
    let mut changed = files.clone();
    changed.logs.get_mut(&7).unwrap()[30] ^= 1;
    let budget = ScanBudget {
        log_bytes_max: 1000,
        ..ScanBudget::default()
    };
    let scan = ScanContext::new(&changed, &ORDER, budget);
    let mut cursor = table.cursor(&scan);
    while cursor.advance() != SourceStep::End {}
    assert!(cursor.take_failure().is_some());
}
