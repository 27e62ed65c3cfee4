//! Reads logs again whose entries did not fit in memory.

use super::LogRecordLocation;
use super::memtable_pass::MemtablePass;
use crate::leveldb::log_reader::{LogSink, UnreadableSpan};
use crate::leveldb::write_batch::BatchParser;

/// A later pass: the bad records are known, so nothing is ever taken back.
pub(super) struct LaterPass<'p> {
    pub(super) pass: &'p mut MemtablePass,
    pub(super) parser: BatchParser,
    pub(super) bad_records: &'p [LogRecordLocation],
    pub(super) log: usize,
    pub(super) record: Option<u64>,
    pub(super) skipping: bool,
    pub(super) failed: bool,
    pub(super) batches: u64,
}

impl LogSink for LaterPass<'_> {
    fn part(&mut self, offset: u64, payload: &[u8]) {
        if self.record.is_none() {
            self.record = Some(offset);
            self.pass.log = self.log;
            self.parser.reset();
            self.skipping = self.bad_records.binary_search(&(self.log, offset)).is_ok();
        }
        if !self.skipping && !self.failed {
            self.failed = self.parser.push(offset, payload, self.pass).is_err();
        }
    }

    fn end(&mut self, _start: u64, _hole: Option<UnreadableSpan>) {
        self.record = None;
        self.batches += u64::from(!self.skipping);
        self.failed |= !self.skipping && self.parser.finish().is_err();
    }

    fn abort(&mut self) {
        self.record = None;
        self.failed |= !self.skipping;
    }
}
