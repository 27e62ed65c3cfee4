//! Writes records in the format of logs and MANIFESTs.
//!
//! Logical records → a log file's bytes: 32 KiB blocks of fragments, as MANIFESTs and logs are written.
//!
//! ```text
//! fragment: masked CRC-32C over kind and data (le32) | data length (le16) | kind | data
//! ```
//!
//! A fragment never crosses a block's end; fewer than seven bytes before it are zeros.

use super::checksum::mask;
use super::log_reader::{BLOCK_BYTES, HEADER_BYTES};

const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// Appends one logical record to `log`, which holds a log file from its first byte on.
pub fn append_record(log: &mut Vec<u8>, record: &[u8]) {
    log.reserve(record.len() + HEADER_BYTES * (record.len() / BLOCK_BYTES + 2));
    let mut rest = record;
    let mut is_first = true;
    loop {
        let room = room_in_block(log);
        let (data, behind) = rest.split_at(rest.len().min(room));
        let kind = match (is_first, behind.is_empty()) {
            (true, true) => FULL,
            (true, false) => FIRST,
            (false, false) => MIDDLE,
            (false, true) => LAST,
        };
        append_fragment(log, kind, data);
        if behind.is_empty() {
            return;
        }
        rest = behind;
        is_first = false;
    }
}

/// Data bytes that fit behind a header in the block; fills up a block too short for a header.
fn room_in_block(log: &mut Vec<u8>) -> usize {
    let left = BLOCK_BYTES - log.len() % BLOCK_BYTES;
    if left >= HEADER_BYTES {
        return left - HEADER_BYTES;
    }
    log.resize(log.len() + left, 0);
    BLOCK_BYTES - HEADER_BYTES
}

fn append_fragment(log: &mut Vec<u8>, kind: u8, data: &[u8]) {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&[kind]), data);
    log.extend_from_slice(&mask(crc).to_le_bytes());
    log.extend_from_slice(&(data.len() as u16).to_le_bytes());
    log.push(kind);
    log.extend_from_slice(data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leveldb::log_reader::{LogSink, UnreadableSpan, read_log};
    use proptest::prelude::*;

    #[derive(Default)]
    struct LogRecordWriter {
        under_way: Vec<u8>,
        whole: Vec<Vec<u8>>,
    }

    impl LogSink for LogRecordWriter {
        fn part(&mut self, _: u64, payload: &[u8]) {
            self.under_way.extend_from_slice(payload);
        }
        fn end(&mut self, _: u64, hole: Option<UnreadableSpan>) {
            assert_eq!(hole, None);
            self.whole.push(std::mem::take(&mut self.under_way));
        }
        fn abort(&mut self) {
            panic!("a record that is none");
        }
    }

    fn check(records: &[Vec<u8>]) {
        let mut log = Vec::new();
        for record in records {
            append_record(&mut log, record);
        }
        let mut read = LogRecordWriter::default();
        assert_eq!(read_log(&log, &mut read), None);
        assert_eq!(read.whole, records);
    }

    proptest! {
        #[test]
        fn records_come_back(records in prop::collection::vec(
            (0usize..100_000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]), 0..6)) {
            check(&records);
        }
    }

    #[test]
    fn records_come_back_at_every_distance_from_a_blocks_end() {
        for left in 0..20 {
            for len in 0..20 {
                check(&[
                    vec![1; BLOCK_BYTES - HEADER_BYTES - left],
                    vec![2; len],
                    vec![3; 5],
                ]);
            }
        }
    }
}
