//! What the reader does when memory is short must not change what it reads.

use levault::error::Result;
use levault::leveldb::Comparator;
use levault::leveldb::block::{BlockEntries, entries_end};

use levault::leveldb::large_values::{LargeValueRef, elide_large_values};
use levault::leveldb::memtable::Memtable;
use levault::leveldb::merging_iterator::{RecordSink, SortedSource, merge};
use levault::leveldb::read_at::ReadAt;
use levault::leveldb::scan_context::{OpenFiles, ScanBudget, ScanContext};

/// A log read in one pass and in many; a block, and its copy with references for large values.
pub fn leveldb_bounds(data: &[u8]) {
    assert_eq!(log_records(data, 48 << 20), log_records(data, 64));
    if let Some(keys) = keys(data) {
        let (mut copy, end) =
            elide_large_values(data, entries_end(data).expect("read")).expect("its entries were read");
        assert_eq!(copy.len(), end);
        copy.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0]);
        let mut entries = BlockEntries::new(&copy).expect("own trailer");
        for key in keys {
            let (copied, value) = entries.next().expect("own entry").expect("as many");
            assert_eq!(copied, key);
            LargeValueRef::read(value).expect("own reference");
        }
    }
}

pub(super) fn keys(block: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut entries = BlockEntries::new(block).ok()?;
    let mut keys = Vec::new();
    while let Some((key, _)) = entries.next().ok()? {
        keys.push(key.to_vec());
    }
    Some(keys)
}

pub(super) fn log_records(log: &[u8], bytes_max: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (files, order) = (OneLog(log.to_vec()), Comparator::Bytewise);
    let budget = ScanBudget {
        log_bytes_max: bytes_max,
        ..ScanBudget::default()
    };
    let (table, _) = Memtable::read(&files, &order, vec![1], None, 0, bytes_max);
    let scan = ScanContext::new(&files, &order, budget);
    let mut records = Records::default();
    let source = SortedSource::Logs(Box::new(table.cursor(&scan)));
    merge(&scan, vec![source], &mut records).expect("the log did not change");
    records.0
}

#[derive(Default)]
struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl RecordSink for Records {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        assert!(self.0.last().is_none_or(|(last, _)| last.as_slice() < key));
        self.0.push((key.to_vec(), value.to_vec()));
        Ok(())
    }
}

struct OneLog(Vec<u8>);

impl OpenFiles for OneLog {
    fn open_table(&self, _number: u64) -> Result<Box<dyn ReadAt>> {
        Ok(Box::new(self.0.clone()))
    }

    fn open_log(&self, _number: u64) -> Result<Box<dyn ReadAt>> {
        Ok(Box::new(self.0.clone()))
    }
}
