//! Iterates over a memtable in key order.

use super::Memtable;
use super::memtable_pass::{MemtableEntry, MemtablePass, MemtableValue};
use crate::error::{Error, Result};
use crate::leveldb::damage::{SourceAge, SourceDamage};
use crate::leveldb::file_name::log_name;
use crate::leveldb::internal_key::SourceStep;
use crate::leveldb::large_values::LargeValueBuffer;
use crate::leveldb::log_reader::payload_ranges;
use crate::leveldb::merging_iterator::RecordSink;
use crate::leveldb::read_at::ReadAt;
use crate::leveldb::scan_context::ScanContext;

/// Walks the newest entry of each key, in order.
pub struct MemtableCursor<'a> {
    scan: &'a ScanContext<'a>,
    table: &'a Memtable,
    /// The pass that is being walked, unless it is the table's first.
    later: Option<MemtablePass>,
    at: usize,
    started: bool,
    current: Option<u32>,
    /// Open logs, for values left there.
    files: Vec<Option<Box<dyn ReadAt>>>,
    /// A later pass could not be read.
    failed: Option<Error>,
}

impl<'a> MemtableCursor<'a> {
    pub(super) fn new(scan: &'a ScanContext<'a>, table: &'a Memtable) -> Self {
        Self {
            scan,
            table,
            later: None,
            at: 0,
            started: false,
            current: None,
            files: Vec::new(),
            failed: None,
        }
    }
}

impl MemtableCursor<'_> {
    fn start_pass(&self) -> Option<&MemtablePass> {
        self.later.as_ref().or(self.table.first.as_ref())
    }

    /// The error that ended it early, if one did.
    pub fn take_failure(&mut self) -> Option<Error> {
        self.failed.take()
    }

    fn entry(&self) -> Option<MemtableEntry<'_>> {
        Some(MemtableEntry::read(&self.start_pass()?.arena, self.current?))
    }

    /// The current user key.
    pub fn user_key(&self) -> &[u8] {
        self.entry().map_or(&[], |entry| entry.key)
    }

    /// The current entry's sequence number and kind, as internal keys have them.
    pub fn tag(&self) -> u64 {
        self.entry()
            .map_or(0, |entry| entry.sequence() << 8 | entry.tag & 1)
    }

    /// The logs' age.
    pub fn rank(&self) -> SourceAge {
        SourceAge::LOGS
    }

    /// Moves to the next key.
    pub fn advance(&mut self) -> SourceStep {
        if !std::mem::replace(&mut self.started, true) && self.table.first.is_none() {
            self.load(None);
        }
        loop {
            let Some(pass) = self.start_pass() else {
                return SourceStep::End;
            };
            if let Some(&offset) = pass.index.get(self.at) {
                self.current = Some(offset);
                self.at += 1;
                return SourceStep::NextKey;
            }
            match pass.upto.clone() {
                Some(upto) => self.load(Some(upto)),
                None => return SourceStep::End,
            }
        }
    }

    fn load(&mut self, after: Option<Vec<u8>>) {
        self.at = 0;
        self.later = None;
        match self.table.pass(self.scan, after) {
            Ok(pass) => self.later = Some(pass),
            Err(error) => {
                self.failed = Some(error);
                self.later = Some(MemtablePass::new(self.scan.order, 0));
            }
        }
    }

    /// Hands the current entry to `sink`; `None` when its value cannot be read any more, which is then listed.
    pub fn emit(
        &mut self,
        scratch: &mut LargeValueBuffer,
        certain: bool,
        sink: &mut dyn RecordSink,
    ) -> Result<Option<usize>> {
        let Some(entry) = self.entry() else {
            return Ok(None);
        };
        let (log, offset, len, crc) = match entry.value {
            MemtableValue::None => return Ok(None),
            MemtableValue::Inline(value) => {
                sink.record(entry.key, value, certain)?;
                return Ok(Some(value.len()));
            }
            MemtableValue::Apart {
                log,
                offset,
                len,
                crc,
            } => (log, offset, len, crc),
        };
        if let Err(error) = self.read_value(log, offset, len, crc, scratch.buffer()) {
            self.mark_value_lost(log, offset, &error);
            return Ok(None);
        }
        sink.record(self.user_key(), scratch.bytes(), certain)?;
        scratch.used(len);
        Ok(Some(len))
    }

    fn read_value(&mut self, log: usize, offset: u64, len: usize, crc: u32, out: &mut Vec<u8>) -> Result<()> {
        let number = *self
            .table
            .logs
            .get(log)
            .ok_or_else(|| Error::corrupt("no such log"))?;
        self.files.resize_with(self.table.logs.len(), || None);
        let file = match &mut self.files[log] {
            Some(file) => file,
            none => none.insert(self.scan.files.open_log(number)?),
        };
        read_payload(file.as_ref(), offset, len, out)?;
        self.scan.count_read(len);
        if crc32c::crc32c(out) == crc {
            Ok(())
        } else {
            Err(Error::corrupt("value changed while it was read"))
        }
    }

    fn mark_value_lost(&self, log: usize, offset: u64, error: &Error) {
        let key = self.user_key().to_vec();
        let damage = SourceDamage {
            file: log_name(self.table.logs.get(log).copied().unwrap_or_default()),
            offset: Some(offset),
            level: None,
            smallest: Some(key.clone()),
            largest: Some(key),
            sequences_lost: None,
            what: error.to_string(),
        };
        self.scan.findings.borrow_mut().mark_lost(SourceAge::LOGS, damage);
    }
}

/// Reads `len` payload bytes from `offset` of a log in one go, headers and all, and closes the gaps they leave.
fn read_payload(file: &dyn ReadAt, offset: u64, len: usize, out: &mut Vec<u8>) -> Result<()> {
    let Some(last) = payload_ranges(offset, len as u64).last() else {
        return Ok(());
    };
    out.resize((last.end - offset) as usize, 0);
    file.read_at(out, offset)?;
    let mut filled = 0;
    for range in payload_ranges(offset, len as u64) {
        let (start, end) = ((range.start - offset) as usize, (range.end - offset) as usize);
        out.copy_within(start..end, filled);
        filled += end - start;
    }
    out.truncate(filled);
    Ok(())
}
