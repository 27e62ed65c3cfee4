//! Iterates over non-overlapping tables as one sorted source.
//!
//! Tables that do not overlap, read as one sorted source: a level, or what of level 0 fits in a row.
//!
//! One table is open at a time. Its blocks come through a window of the file; a block that is stored plain is read
//! in place, the others are decompressed into one buffer. Everything is checked on the way: handles, checksums,
//! codecs, entries, order inside and across blocks and tables, index keys, the MANIFEST's key range. What fails
//! is reported to [`DamageCollector`](super::damage::DamageCollector) with the keys it may have held, and reading goes on behind it.

mod key_finder;
mod open_table;
mod read_ahead;

use std::cmp::Ordering;
use std::ops::Range;

use super::block::{BlockEntries, BlockEntry, entries_end, entry_at};
use super::block_decompressor::Decompressor;
use super::comparator::Comparator;
use super::damage::SourceAge;
use super::database_layout::BlockCodec;
use super::internal_key::{SourceStep, is_greater_by_key, is_in_order, tag};
use super::large_values::{self, ResidentBytes};
use super::merging_iterator::RecordSink;
use super::odd_sized_table::open_sized;
use super::scan_context::{ScanContext, is_buffering};
use super::table_reader::{FOOTER_BYTES, read_block, verify_block};
use super::version::{TAG_BYTES, user_key};
use crate::error::{Error, ErrorKind, Result};
pub use key_finder::LevelKeyFinder;
pub use open_table::LevelTable;
use open_table::{OpenTable, mark_table_lost};
use read_ahead::ReadAheadWindow;

/// Several tables read in a row.
pub struct LevelIterator<'a> {
    scan: &'a ScanContext<'a>,
    bytewise: bool,
    tables: std::vec::IntoIter<LevelTable>,
    open: Option<OpenTable>,
    decompressor: Decompressor,
    window: ReadAheadWindow,
    /// The current block when it does not lie in the window; never shrinks below its last use.
    plain: Vec<u8>,
    resident: ResidentBytes<'a>,
    /// The current block is in the window, not in `plain`.
    in_window: bool,
    /// Values of the current block are [`large_values`] references.
    elided: bool,
    /// The next entry, and where entries end, in the buffer of the current block.
    at: usize,
    end: usize,
    /// The current internal key; empty before the first.
    key: Vec<u8>,
    scratch: Vec<u8>,
    value: Range<usize>,
    /// Entries read.
    entries: u64,
    /// Bytes of shared keys that may be made before the scan is asked again.
    credit: usize,
}

/// Where the value of an elided entry was found.
enum ElidedValue {
    InPlain(Range<usize>),
    InScratch(Range<usize>),
}

impl<'a> LevelIterator<'a> {
    /// A chain over tables in key order; call [`LevelIterator::advance`] to reach the first entry.
    pub fn new(scan: &'a ScanContext<'a>, tables: Vec<LevelTable>) -> Self {
        Self {
            scan,
            bytewise: *scan.order == Comparator::Bytewise,
            tables: tables.into_iter(),
            open: None,
            decompressor: Decompressor::default(),
            window: ReadAheadWindow::default(),
            plain: Vec::new(),
            resident: ResidentBytes::new(&scan.resident),
            in_window: false,
            elided: false,
            at: 0,
            end: 0,
            key: Vec::new(),
            scratch: Vec::new(),
            value: 0..0,
            entries: 0,
            credit: 0,
        }
    }

    /// The current user key.
    #[inline(always)]
    pub fn user_key(&self) -> &[u8] {
        user_key(&self.key)
    }

    /// The current entry's sequence number and kind.
    #[inline(always)]
    pub fn tag(&self) -> u64 {
        tag(&self.key)
    }

    /// The current entry's age.
    pub fn rank(&self) -> SourceAge {
        self.open.as_ref().map_or(SourceAge::LOGS, |open| open.table.rank)
    }

    /// Hands the current entry to `sink`; `None` when its value cannot be read any more, which is then listed.
    #[inline(always)]
    pub fn emit(
        &mut self,
        scratch: &mut large_values::LargeValueBuffer,
        certain: bool,
        sink: &mut dyn RecordSink,
    ) -> Result<Option<usize>> {
        if self.elided {
            return self.emit_elided(scratch, certain, sink);
        }
        let value = &self.block()[self.value.clone()];
        sink.record(user_key(&self.key), value, certain)?;
        Ok(Some(value.len()))
    }

    #[cold]
    fn emit_elided(
        &mut self,
        scratch: &mut large_values::LargeValueBuffer,
        certain: bool,
        sink: &mut dyn RecordSink,
    ) -> Result<Option<usize>> {
        match self.elided_value(scratch) {
            Ok(range) => {
                let value = match &range {
                    ElidedValue::InPlain(range) => &self.plain[range.clone()],
                    ElidedValue::InScratch(range) => &scratch.bytes()[range.clone()],
                };
                sink.record(user_key(&self.key), value, certain)?;
                let len = value.len();
                scratch.used(len);
                Ok(Some(len))
            }
            Err(error) => {
                self.mark_value_lost(&error);
                Ok(None)
            }
        }
    }

    /// One of a large block that was not kept is read again into `scratch`.
    fn elided_value(&mut self, scratch: &mut large_values::LargeValueBuffer) -> Result<ElidedValue> {
        let range = match large_values::LargeValueRef::read(&self.plain[self.value.clone()])? {
            large_values::LargeValueRef::Inline(_) => {
                return Ok(ElidedValue::InPlain(self.value.start + 1..self.value.end));
            }
            large_values::LargeValueRef::Apart(range) => range,
        };
        let open = self
            .open
            .as_ref()
            .ok_or_else(|| Error::corrupt("no open table"))?;
        let decompressor = &mut self.decompressor;
        let block = scratch.block((open.table.meta.number, open.handle.offset), || {
            self.scan.count_read(open.handle.size as usize);
            let plain = read_block(open.file.as_ref(), open.handle, open.frame.data_end, decompressor)?.1;
            self.scan.make_buffer(plain.len()).map(|()| plain)
        })?;
        if range.start <= range.end && range.end <= block.len() {
            Ok(ElidedValue::InScratch(range))
        } else {
            Err(Error::corrupt("block changed while it was read"))
        }
    }

    fn mark_value_lost(&mut self, cause: &Error) {
        let key = user_key(&self.key).to_vec();
        if let Some(open) = &mut self.open {
            open.lossy = true;
            let damage = open.damage(Some(open.handle.offset), key.clone(), key, cause.to_string());
            self.scan.findings.borrow_mut().mark_lost(open.table.rank, damage);
        }
    }

    /// Moves to the next entry.
    #[inline]
    pub fn advance(&mut self) -> SourceStep {
        loop {
            if self.at < self.end {
                match self.next_entry() {
                    Ok(step) => {
                        self.entries += 1;
                        return step;
                    }
                    Err(why) => self.mark_rest_of_block_lost(why),
                }
            } else if !self.next_block() {
                return SourceStep::End;
            }
        }
    }

    #[inline(always)]
    fn block(&self) -> &[u8] {
        if self.in_window {
            &self.window.bytes
        } else {
            &self.plain
        }
    }

    #[inline(always)]
    fn next_entry(&mut self) -> Result<SourceStep, &'static str> {
        let block = if self.in_window {
            &self.window.bytes
        } else {
            &self.plain
        };
        let Some(entry) = entry_at(block, self.at, self.end) else {
            return Err("entry does not fit its block");
        };
        let suffix = &block[entry.key..entry.value];
        match self.credit.checked_sub(entry.shared) {
            Some(left) => self.credit = left,
            None => self.credit = self.scan.borrow_memory(entry.shared)?,
        }
        if entry.shared > self.key.len() || entry.shared + suffix.len() < TAG_BYTES {
            return Err("entry has no whole key");
        }
        let step = if self.bytewise && is_greater_by_key(&self.key, entry.shared, suffix) {
            self.key.truncate(entry.shared);
            self.key.extend_from_slice(suffix);
            SourceStep::NextKey
        } else {
            let (key, scratch) = (&self.key, &mut self.scratch);
            scratch.clear();
            scratch.extend_from_slice(&key[..entry.shared]);
            scratch.extend_from_slice(suffix);
            let step = is_in_order(self.scan.order, key, scratch)?;
            std::mem::swap(&mut self.key, &mut self.scratch);
            step
        };
        self.accept(entry);
        if tag(&self.key) & 0xff > 1 {
            self.refuse_entry();
        }
        Ok(step)
    }

    /// Other engines have merges and expiries.
    #[cold]
    fn refuse_entry(&self) {
        let kind = tag(&self.key) & 0xff;
        let error = Error::new(
            ErrorKind::UnknownFormat,
            format!("entry of kind {kind}, which is not known"),
        );
        let file = self.open.as_ref().map(|open| open.table.file_name());
        self.scan.refuse_table(error.context(file.unwrap_or_default()));
    }

    #[inline(always)]
    fn accept(&mut self, entry: BlockEntry) {
        self.value = entry.value..entry.end;
        self.at = entry.end;
    }

    /// Loads the next block that can be read; false behind the last table.
    fn next_block(&mut self) -> bool {
        loop {
            if self.scan.is_budget_spent() {
                return false;
            }
            let Some(open) = &mut self.open else {
                match self.tables.next() {
                    Some(table) => self.open_table(table),
                    None => {
                        self.count_entries();
                        return false;
                    }
                }
                continue;
            };
            if self.end > 0 {
                open.check_block_end(self.scan, &self.key);
            }
            self.at = 0;
            self.end = 0;
            match open.next_handle(self.scan) {
                Ok(true) => {}
                Ok(false) => {
                    self.close_table();
                    continue;
                }
                Err(error) => {
                    open.mark_rest_lost(self.scan, &error);
                    self.open = None;
                    continue;
                }
            }
            if self.load_checked() {
                return true;
            }
        }
    }

    /// Loads the block at the open table's handle; false if it is empty or lost.
    fn load_checked(&mut self) -> bool {
        let fault = match self.load() {
            Ok(()) if self.at == self.end => return false,
            Ok(()) if self.is_replaced_table() => {
                self.mark_open_table_lost();
                return false;
            }
            Ok(()) => match self.check_first_entry() {
                Ok(()) => return true,
                Err(why) => why.to_owned(),
            },
            Err(error) if is_buffering(error.kind()) => {
                self.refuse_block(error);
                return false;
            }
            Err(error) => error.to_string(),
        };
        self.mark_block_lost(fault);
        false
    }

    /// True before the first entry of a table that begins with another key than the MANIFEST's: none of it may be taken.
    fn is_replaced_table(&self) -> bool {
        let block = self.block();
        let entry = entry_at(block, self.at, self.end);
        match (&self.open, entry) {
            (Some(open), Some(entry)) => open.is_replaced(self.scan, &block[entry.key..entry.value]),
            _ => false,
        }
    }

    #[cold]
    fn mark_open_table_lost(&mut self) {
        (self.at, self.end) = (0, 0);
        if let Some(open) = self.open.take() {
            let what = "its first key is not the MANIFEST's: it is another table".to_owned();
            mark_table_lost(self.scan, &open.table, what);
        }
    }

    /// The current block is not damaged, and cannot be read.
    #[cold]
    fn refuse_block(&mut self, error: Error) {
        (self.at, self.end) = (0, 0);
        if let Some(open) = &mut self.open {
            open.lossy = true;
            self.scan.refuse_table(error.context(open.table.file_name()));
        }
    }

    fn count_entries(&mut self) {
        let all = &self.scan.table_entries;
        all.set(all.get() + std::mem::take(&mut self.entries));
    }

    fn open_table(&mut self, table: LevelTable) {
        let size = table.meta.size;
        let opened = self.scan.files.open_table(table.meta.number).and_then(|file| {
            let frame = open_sized(file.as_ref(), &table.meta, &mut self.decompressor)?;
            BlockEntries::new(&frame.index)?;
            Ok((file, frame))
        });
        self.window.discard();
        match opened {
            Ok((file, frame)) => {
                self.scan.tables_opened.set(self.scan.tables_opened.get() + 1);
                let is_odd = file.len() != size;
                self.scan
                    .odd_sizes
                    .set(self.scan.odd_sizes.get() + u64::from(is_odd));
                self.scan.count_read(FOOTER_BYTES);
                self.scan.work.add_allowance(size.min(file.len()));
                let open = OpenTable::new(file, table, frame);
                open.record_filter_fault(self.scan);
                self.open = Some(open);
            }
            Err(error) if error.kind() == ErrorKind::NotLevelDb => self.scan.note_foreign(table, error),
            Err(error) if is_buffering(error.kind()) => {
                self.scan.refuse_table(error.context(table.file_name()))
            }
            Err(error) => mark_table_lost(self.scan, &table, error.to_string()),
        }
    }

    fn close_table(&mut self) {
        if let Some(open) = self.open.take() {
            open.check_table_end(self.scan, &self.key);
        }
    }

    /// Brings the block at the open table's handle into a buffer.
    fn load(&mut self) -> Result<()> {
        self.resident.release();
        self.elided = false;
        let Some(open) = &self.open else {
            return Ok(());
        };
        let stored_len = open.handle.stored_len(open.frame.data_end)?;
        if stored_len > self.scan.budget.large_block_bytes {
            return self.load_large();
        }
        let large = self.scan.budget.large_block_bytes;
        if self.plain.capacity() > large.saturating_mul(8) {
            self.plain = Vec::new();
        }
        let start = self.window.ensure_window(self.scan, open, stored_len)?;
        let stored = &self.window.bytes[start..start + stored_len];
        let (codec, bytes) = verify_block(stored)?;
        let (start, len) = match codec {
            BlockCodec::None => (start, bytes.len()),
            _ => (0, self.decompressor.decompress(codec, bytes, &mut self.plain)?),
        };
        self.scan.make_buffer(stored_len + len)?;
        self.in_window = codec == BlockCodec::None;
        let end = entries_end(&self.block()[start..start + len])?;
        self.at = start;
        self.end = start + end;
        Ok(())
    }

    /// A block with a value so large that not every source can keep one.
    #[cold]
    fn load_large(&mut self) -> Result<()> {
        self.plain = Vec::new();
        let Some(open) = &self.open else {
            return Ok(());
        };
        self.scan.count_read(open.handle.size as usize);
        let (_, plain) = read_block(
            open.file.as_ref(),
            open.handle,
            open.frame.data_end,
            &mut self.decompressor,
        )?;
        self.scan.make_buffer(plain.len())?;
        let end = entries_end(&plain)?;
        self.elided = !self
            .resident
            .keep_resident(plain.len(), self.scan.budget.resident_bytes_max);
        (self.plain, self.end) = if self.elided {
            large_values::elide_large_values(&plain, end)?
        } else {
            (plain, end)
        };
        self.in_window = false;
        self.at = 0;
        Ok(())
    }

    /// The current block cannot be used.
    #[cold]
    fn mark_block_lost(&mut self, what: String) {
        if let Some(open) = &self.open {
            let (smallest, largest) = open.block_range(self.scan.order);
            self.mark_lost(smallest, largest, what);
        }
    }

    /// The rest of the current block, behind the current key, cannot be used.
    #[cold]
    fn mark_rest_of_block_lost(&mut self, why: &'static str) {
        if let Some(open) = &self.open {
            let (smallest, largest) = open.block_range(self.scan.order);
            let key = user_key(&self.key);
            let smallest = match self.scan.order.compare(key, &smallest) {
                Ordering::Greater if !self.key.is_empty() => key.to_vec(),
                _ => smallest,
            };
            self.mark_lost(smallest, largest, why.to_owned());
        }
    }

    #[cold]
    fn mark_lost(&mut self, smallest: Vec<u8>, largest: Vec<u8>, what: String) {
        self.at = 0;
        self.end = 0;
        if let Some(open) = &mut self.open {
            open.lossy = true;
            let damage = open.damage(Some(open.handle.offset), smallest, largest, what);
            self.scan.findings.borrow_mut().mark_lost(open.table.rank, damage);
        }
    }

    /// Before the first entry of a block is read: its key must be whole, and behind the index key before.
    fn check_first_entry(&mut self) -> Result<(), &'static str> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let block = if self.in_window {
            &self.window.bytes
        } else {
            &self.plain
        };
        let entry = entry_at(block, self.at, self.end).ok_or("entry does not fit its block")?;
        if entry.shared > 0 {
            return Err("first key of a block is not whole");
        }
        open.check_block_start(self.scan, &block[entry.key..entry.value]);
        Ok(())
    }
}
