//! Remembers what was read of a table, to compare it later.
//!
//! Times tell whether a table was written to, until its owner deletes it: losing a name changes the time of change, too. Then
//! the ranges that were read are read again, and compared by CRC-32C: what a copy over the file changed differs in the
//! checksums of LevelDB's blocks, which lie in those ranges.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::leveldb::read_at::ReadAt;

/// Ranges that are remembered of one table: one for each block of 4 KiB in 256 MiB.
const RANGES_MAX: usize = 1 << 16;

/// Largest range that is read again at once, bytes.
const COMPARE_BYTES_MAX: usize = 1 << 20;

/// The ranges of one file that were read, and their checksums.
#[derive(Debug, Default)]
pub(super) struct ReadRanges(Mutex<RangeChecksums>);

#[derive(Debug, Default)]
struct RangeChecksums {
    /// CRC-32C by offset and length.
    checksums: HashMap<(u64, usize), u32>,
    /// More was read than is remembered, or one range read differently twice.
    is_unprovable: bool,
}

impl ReadRanges {
    /// The file, with all that is read of it remembered here.
    pub fn record_reads(self: &Arc<Self>, file: Box<dyn ReadAt>) -> Box<dyn ReadAt> {
        Box::new(RecordingFile {
            file,
            record: Arc::clone(self),
        })
    }

    /// True if the file has in all ranges what was read of it.
    pub fn matches_file(&self, file: &dyn ReadAt) -> Result<bool> {
        let (checksums, is_unprovable) = {
            let ranges = self.lock();
            (ranges.checksums.clone(), ranges.is_unprovable)
        };
        if is_unprovable {
            return Ok(false);
        }
        let mut buffer = Vec::new();
        for ((offset, len), checksum) in checksums {
            if checksum_of(file, offset, len, &mut buffer)? != checksum {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn note(&self, offset: u64, bytes: &[u8]) {
        let checksum = crc32c::crc32c(bytes);
        let mut ranges = self.lock();
        let before = ranges.checksums.insert((offset, bytes.len()), checksum);
        ranges.is_unprovable |= before.is_some_and(|before| before != checksum);
        if ranges.checksums.len() > RANGES_MAX {
            ranges.checksums.clear();
            ranges.is_unprovable = true;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, RangeChecksums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn checksum_of(file: &dyn ReadAt, offset: u64, len: usize, buffer: &mut Vec<u8>) -> Result<u32> {
    let (mut checksum, mut done) = (0, 0);
    while done < len {
        buffer.resize((len - done).min(COMPARE_BYTES_MAX), 0);
        file.read_at(buffer, offset + done as u64)?;
        checksum = crc32c::crc32c_append(checksum, buffer);
        done += buffer.len();
    }
    Ok(checksum)
}

struct RecordingFile {
    file: Box<dyn ReadAt>,
    record: Arc<ReadRanges>,
}

impl ReadAt for RecordingFile {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_at(buffer, offset)?;
        self.record.note(offset, buffer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_where_it_was_read_is_seen_and_elsewhere_not() {
        let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let record = Arc::new(ReadRanges::default());
        let watched = record.record_reads(Box::new(bytes.clone()));
        watched.read_at(&mut [0; 100], 50).unwrap();
        watched.read_at(&mut vec![0; 1_500_000], 1_000_000).unwrap();
        assert!(record.matches_file(&bytes).unwrap());
        for (at, holds) in [
            (49, true),
            (50, false),
            (149, false),
            (150, true),
            (2_499_999, false),
        ] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(record.matches_file(&changed).unwrap(), holds, "{at}");
        }
    }

    #[test]
    fn what_was_read_twice_and_differed_and_too_much_to_remember_prove_nothing() {
        let twice = Arc::new(ReadRanges::default());
        for byte in [1, 2] {
            twice
                .record_reads(Box::new(vec![byte; 10]))
                .read_at(&mut [0; 10], 0)
                .unwrap();
        }
        assert!(!twice.matches_file(&vec![2; 10]).unwrap());
        let many = Arc::new(ReadRanges::default());
        let file = vec![0; RANGES_MAX + 2];
        let watched = many.record_reads(Box::new(file.clone()));
        for offset in 0..=RANGES_MAX as u64 {
            watched.read_at(&mut [0], offset).unwrap();
        }
        assert!(!many.matches_file(&file).unwrap());
    }
}
