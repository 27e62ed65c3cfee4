use super::*;

/// Writes records as LevelDB does.
pub(crate) fn write_log(records: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records {
        let (mut rest, mut first) = (&record[..], true);
        loop {
            let left = BLOCK_BYTES - out.len() % BLOCK_BYTES;
            if left < HEADER_BYTES {
                out.extend(std::iter::repeat_n(0, left));
                continue;
            }
            let take = rest.len().min(left - HEADER_BYTES);
            let last = take == rest.len();
            let kind = match (first, last) {
                (true, true) => 1,
                (true, false) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            let body = [&[kind][..], &rest[..take]].concat();
            out.extend(masked(&body).to_le_bytes());
            out.extend((take as u16).to_le_bytes());
            out.extend(&body);
            rest = &rest[take..];
            first = false;
            if last {
                break;
            }
        }
    }
    out
}

#[derive(Default)]
struct Seen {
    under_way: Vec<u8>,
    records: Vec<Vec<u8>>,
    holes: Vec<UnreadableSpan>,
    file: Vec<u8>,
}

impl LogSink for Seen {
    fn part(&mut self, offset: u64, payload: &[u8]) {
        assert_eq!(&self.file[offset as usize..][..payload.len()], payload);
        self.under_way.extend_from_slice(payload);
    }
    fn end(&mut self, _start: u64, hole: Option<UnreadableSpan>) {
        self.records.push(std::mem::take(&mut self.under_way));
        self.holes.extend(hole);
    }
    fn abort(&mut self) {
        self.under_way.clear();
    }
}

fn read(file: &[u8]) -> (Seen, Option<UnreadableSpan>) {
    let mut seen = Seen {
        file: file.to_vec(),
        ..Seen::default()
    };
    let tail = read_log(&file.to_vec(), &mut seen);
    assert!(seen.under_way.is_empty());
    (seen, tail)
}

fn records() -> Vec<Vec<u8>> {
    let sizes = [
        0,
        1,
        500,
        32_768 - 7 - 7 - 508 - 7 - 8 - 7 - 3,
        40_000,
        100_000,
        3,
    ];
    sizes
        .iter()
        .enumerate()
        .map(|(index, &size)| vec![index as u8 + 1; size])
        .collect()
}

#[test]
fn records_of_every_size_come_back_whole() {
    let (seen, tail) = read(&write_log(&records()));
    assert_eq!(seen.records, records());
    assert_eq!((seen.holes.len(), tail), (0, None));
}

#[test]
fn a_log_cut_at_any_byte_gives_the_whole_records_before_the_cut() {
    let records: Vec<Vec<u8>> = [30, 0, 33_000, 12].iter().map(|&size| vec![7; size]).collect();
    let file = write_log(&records);
    let ends: Vec<usize> = (1..=records.len())
        .map(|count| write_log(&records[..count]).len())
        .collect();
    for len in (0..file.len()).filter(|len| len % 97 == 0 || ends.iter().any(|end| end.abs_diff(*len) < 20)) {
        let (seen, tail) = read(&file[..len]);
        let whole = ends.iter().filter(|&&end| end <= len).count();
        assert_eq!(seen.records, records[..whole], "cut at {len}");
        assert!(seen.holes.is_empty());
        let at_end = whole == 0 && len == 0 || whole > 0 && ends[whole - 1] == len;
        assert_eq!(tail.is_none(), at_end, "cut at {len}: {tail:?}");
        assert!(tail.is_none_or(|tail| tail.cut_short && tail.to == len as u64));
    }
}

#[test]
fn zeros_behind_the_last_record_are_not_a_tail() {
    for zeros in [1, 6, 7, 8, 100, 65_536] {
        let mut file = write_log(&records());
        file.extend(vec![0; zeros]);
        let (seen, tail) = read(&file);
        assert_eq!((seen.records.len(), tail), (7, None), "{zeros}");
    }
}

#[test]
fn a_flipped_bit_makes_a_hole_and_the_records_behind_it_are_read() {
    let records: Vec<Vec<u8>> = (0..10).map(|index| vec![index; 100]).collect();
    let clean = write_log(&records);
    for at in 0..clean.len() {
        let mut file = clean.clone();
        file[at] ^= 0x10;
        let (seen, tail) = read(&file);
        let bad = at / 107;
        if bad == 9 {
            assert_eq!(seen.records, records[..9]);
            assert!(tail.is_some());
        } else if seen.records.len() == 9 {
            assert_eq!(seen.holes.len(), 1, "{at}");
            assert_eq!(
                (seen.holes[0].from, seen.holes[0].to),
                (bad as u64 * 107, (bad as u64 + 1) * 107)
            );
        } else {
            // A length that cannot be trusted costs the rest of the block.
            assert!((4..6).contains(&(at % 107)), "{at}");
            assert_eq!(seen.records, records[..bad]);
            assert!(tail.is_some());
        }
    }
}

#[test]
fn a_block_that_is_lost_is_a_hole_between_whole_records() {
    let records: Vec<Vec<u8>> = (0..2000).map(|index| vec![index as u8; 100]).collect();
    let mut file = write_log(&records);
    file[BLOCK_BYTES..2 * BLOCK_BYTES].fill(0xee);
    let (seen, tail) = read(&file);
    assert_eq!((seen.holes.len(), tail), (1, None));
    assert!(seen.records.len() > 1650 && seen.records.len() < 2000);
}

#[test]
fn a_record_without_end_before_another_is_a_hole() {
    let mut file = write_log(&[vec![1; 40_000]]);
    file.truncate(BLOCK_BYTES);
    file.extend(write_log(&[vec![2; 5]]));
    let (seen, tail) = read(&file);
    assert_eq!((seen.records, tail), (vec![vec![2; 5]], None));
    assert_eq!((seen.holes[0].from, seen.holes[0].to), (0, BLOCK_BYTES as u64));
    assert_eq!(seen.holes[0].why, "record has no end");
}

#[test]
fn payload_ranges_skip_the_headers_between_blocks() {
    let record: Vec<u8> = (0..100_000u32).map(|index| (index % 251) as u8).collect();
    let file = write_log(&[vec![9; 50], record.clone()]);
    let start = 7 + 50 + 7;
    for (from, len) in [(0, 100_000), (32_700, 10), (32_704, 1), (0, 0), (70_000, 30_000)] {
        let first = if from == 32_704 { BLOCK_BYTES as u64 } else { 0 };
        let mut at = start as u64;
        for range in payload_ranges(at, from) {
            at = range.end;
        }
        let bytes: Vec<u8> = payload_ranges(at.max(first), len)
            .flat_map(|range| file[range.start as usize..range.end as usize].to_vec())
            .collect();
        assert_eq!(bytes, record[from as usize..][..len as usize]);
    }
}

proptest::proptest! {
    #[test]
    fn mutated_logs_never_panic(flips in proptest::collection::vec((0usize..180_000, 0u8..=255), 0..8), len in 0usize..180_000) {
        let mut file = write_log(&records());
        for (at, byte) in flips {
            if let Some(target) = file.get_mut(at) {
                *target = byte;
            }
        }
        file.truncate(len);
        let mut seen = Seen { file: file.clone(), ..Seen::default() };
        read_log(&file, &mut seen);
    }
}
