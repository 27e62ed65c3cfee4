//! Tables that do not overlap, read as one sorted source: a level, or what of level 0 fits in a row.
//!
//! One table is open at a time. Its blocks come through a window of the file; a block that is stored plain is read
//! in place, the others are decompressed into one buffer. Everything is checked on the way: handles, checksums,
//! codecs, entries, order inside and across blocks and tables, index keys, the MANIFEST's key range. What fails
//! is reported to [`Findings`] with the keys it may have held, and reading goes on behind it.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::ops::Range;

use super::block::{Entries, Entry, entries_end, entry_at};
use super::comparator::Comparator;
use super::damage::{Damage, Findings, Rank};
use super::decompress::Decompressor;
use super::large::{self, Resident};
use super::merge::RecordSink;
use super::name::table_name;
use super::read_at::ReadAt;
use super::shape::{Codec, TableExtension};
use super::table::{Handle, Table, read_block, verify_block};
use super::version::{TAG_BYTES, TableMeta, user_key};
use crate::codec::Reader;
use crate::error::{Error, Result};

/// Opens files of the database; the decoders ask, whoever holds the directory hands over.
pub trait OpenFiles {
    /// Opens a table by number.
    fn open_table(&self, number: u64) -> Result<Box<dyn ReadAt>>;
    /// Opens a log by number.
    fn open_log(&self, number: u64) -> Result<Box<dyn ReadAt>>;
}

/// Sizes that bound the memory of a scan.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Bytes of a table read at once.
    pub window_bytes: usize,
    /// Stored blocks above this are read apart and kept only while [`Budget::resident_bytes_max`] allows.
    pub large_block_bytes: usize,
    /// Plain bytes of large blocks that all sources together keep.
    pub resident_bytes_max: usize,
    /// Bytes of log entries kept at once.
    pub log_bytes_max: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            window_bytes: 256 << 10,
            large_block_bytes: 1 << 20,
            resident_bytes_max: 16 << 20,
            log_bytes_max: 48 << 20,
        }
    }
}

impl Budget {
    /// Shares the windows of so many sources out of 16 MiB.
    #[must_use]
    pub fn for_sources(mut self, sources: usize) -> Self {
        let share = (16 << 20) / sources.max(1);
        self.window_bytes = self.window_bytes.min(share).max(16 << 10);
        self.large_block_bytes = self.large_block_bytes.min(share * 4).max(64 << 10);
        self
    }
}

/// What all sources of one scan share.
pub struct Scan<'a> {
    /// Where files come from.
    pub files: &'a dyn OpenFiles,
    /// The key order.
    pub order: &'a Comparator,
    /// Memory bounds.
    pub budget: Budget,
    /// Damage found.
    pub findings: RefCell<Findings>,
    /// Bytes read from files.
    pub bytes_read: Cell<u64>,
    /// Large blocks kept in memory, bytes.
    pub resident: Cell<usize>,
    /// Entries read from tables.
    pub table_entries: Cell<u64>,
}

impl<'a> Scan<'a> {
    /// Nothing read yet.
    pub fn new(files: &'a dyn OpenFiles, order: &'a Comparator, budget: Budget) -> Self {
        Self {
            files,
            order,
            budget,
            findings: RefCell::default(),
            bytes_read: Cell::new(0),
            resident: Cell::new(0),
            table_entries: Cell::new(0),
        }
    }

    pub(super) fn count_read(&self, bytes: usize) {
        self.bytes_read.set(self.bytes_read.get() + bytes as u64);
    }
}

/// A table in a chain.
#[derive(Clone, Debug)]
pub struct ChainTable {
    /// What the MANIFEST says of it.
    pub meta: TableMeta,
    /// Its level.
    pub level: u8,
    /// Its age.
    pub rank: Rank,
    /// What its file is called.
    pub extension: TableExtension,
}

/// Where a source stands after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// On an entry with a greater user key than the one before.
    NextKey,
    /// On an older entry for the same user key.
    SameKey,
    /// Behind its last entry.
    End,
}

/// Where the value of an elided entry was found.
enum ElidedValue {
    InPlain(Range<usize>),
    InScratch(Range<usize>),
}

/// Several tables read in a row.
pub struct Chain<'a> {
    scan: &'a Scan<'a>,
    bytewise: bool,
    tables: std::vec::IntoIter<ChainTable>,
    open: Option<OpenTable>,
    decompressor: Decompressor,
    window: Window,
    /// The current block when it does not lie in the window; never shrinks below its last use.
    plain: Vec<u8>,
    resident: Resident<'a>,
    /// The current block is in the window, not in `plain`.
    in_window: bool,
    /// Values of the current block are [`large`] references.
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
}

struct OpenTable {
    file: Box<dyn ReadAt>,
    table: ChainTable,
    frame: Table,
    /// Where the next index entry begins.
    index_at: usize,
    /// Index key of the block before the current one; the table's smallest key before the first.
    bound_before: Vec<u8>,
    /// Index key of the current block.
    bound: Vec<u8>,
    handle: Handle,
    /// No entry of this table read yet.
    first_entry: bool,
    /// Something of the table was lost, so its first or last key may be too.
    lossy: bool,
}

impl<'a> Chain<'a> {
    /// A chain over tables in key order; call [`Chain::advance`] to reach the first entry.
    pub fn new(scan: &'a Scan<'a>, tables: Vec<ChainTable>) -> Self {
        Self {
            scan,
            bytewise: *scan.order == Comparator::Bytewise,
            tables: tables.into_iter(),
            open: None,
            decompressor: Decompressor::default(),
            window: Window::default(),
            plain: Vec::new(),
            resident: Resident::new(&scan.resident),
            in_window: false,
            elided: false,
            at: 0,
            end: 0,
            key: Vec::new(),
            scratch: Vec::new(),
            value: 0..0,
            entries: 0,
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
    pub fn rank(&self) -> Rank {
        self.open.as_ref().map_or(Rank::LOGS, |open| open.table.rank)
    }

    /// Hands the current entry to `sink`; `None` when its value cannot be read any more, which is then listed.
    #[inline(always)]
    pub fn emit(
        &mut self,
        scratch: &mut large::Scratch,
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
        scratch: &mut large::Scratch,
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
                self.lose_value(&error);
                Ok(None)
            }
        }
    }

    /// One of a large block that was not kept is read again into `scratch`.
    fn elided_value(&mut self, scratch: &mut large::Scratch) -> Result<ElidedValue> {
        let range = match large::Reference::read(&self.plain[self.value.clone()])? {
            large::Reference::Inline(_) => {
                return Ok(ElidedValue::InPlain(self.value.start + 1..self.value.end));
            }
            large::Reference::Apart(range) => range,
        };
        let open = self
            .open
            .as_ref()
            .ok_or_else(|| Error::corrupt("no open table"))?;
        let decompressor = &mut self.decompressor;
        let block = scratch.block((open.table.meta.number, open.handle.offset), || {
            self.scan.count_read(open.handle.size as usize);
            Ok(read_block(open.file.as_ref(), open.handle, open.frame.data_end, decompressor)?.1)
        })?;
        match range.start <= range.end && range.end <= block.len() {
            true => Ok(ElidedValue::InScratch(range)),
            false => Err(Error::corrupt("block changed while it was read")),
        }
    }

    fn lose_value(&mut self, cause: &Error) {
        let key = user_key(&self.key).to_vec();
        if let Some(open) = &mut self.open {
            open.lossy = true;
            let damage = open.damage(Some(open.handle.offset), key.clone(), key, cause.to_string());
            self.scan.findings.borrow_mut().lose(open.table.rank, damage);
        }
    }

    /// Moves to the next entry.
    #[inline]
    pub fn advance(&mut self) -> Step {
        loop {
            if self.at < self.end {
                match self.next_entry() {
                    Ok(step) => {
                        self.entries += 1;
                        return step;
                    }
                    Err(why) => self.lose_rest_of_block(why),
                }
            } else if !self.next_block() {
                return Step::End;
            }
        }
    }

    #[inline(always)]
    fn block(&self) -> &[u8] {
        match self.in_window {
            true => &self.window.bytes,
            false => &self.plain,
        }
    }

    #[inline(always)]
    fn next_entry(&mut self) -> Result<Step, &'static str> {
        let block = match self.in_window {
            true => &self.window.bytes,
            false => &self.plain,
        };
        let Some(entry) = entry_at(block, self.at, self.end) else {
            return Err("entry does not fit its block");
        };
        let suffix = &block[entry.key..entry.value];
        if entry.shared > self.key.len() || entry.shared + suffix.len() < TAG_BYTES {
            return Err("entry has no whole key");
        }
        let step = match self.bytewise && differs_upwards(&self.key, entry.shared, suffix) {
            true => {
                self.key.truncate(entry.shared);
                self.key.extend_from_slice(suffix);
                Step::NextKey
            }
            false => {
                let (key, scratch) = (&self.key, &mut self.scratch);
                scratch.clear();
                scratch.extend_from_slice(&key[..entry.shared]);
                scratch.extend_from_slice(suffix);
                let step = follows(self.scan.order, key, scratch)?;
                std::mem::swap(&mut self.key, &mut self.scratch);
                step
            }
        };
        self.accept(entry);
        match tag(&self.key) & 0xff {
            0 | 1 => Ok(step),
            _ => Err("entry of unknown kind"),
        }
    }

    #[inline(always)]
    fn accept(&mut self, entry: Entry) {
        self.value = entry.value..entry.end;
        self.at = entry.end;
    }

    /// Loads the next block that can be read; false behind the last table.
    fn next_block(&mut self) -> bool {
        loop {
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
            match open.next_handle() {
                Ok(true) => {}
                Ok(false) => {
                    self.close_table();
                    continue;
                }
                Err(error) => {
                    open.lose_rest(self.scan, &error);
                    self.open = None;
                    continue;
                }
            }
            match self.load() {
                Ok(()) if self.at == self.end => {}
                Ok(()) => match self.check_first_entry() {
                    Ok(()) => return true,
                    Err(why) => self.lose_block(why.to_owned()),
                },
                Err(error) => self.lose_block(error.to_string()),
            }
        }
    }

    fn count_entries(&mut self) {
        let all = &self.scan.table_entries;
        all.set(all.get() + std::mem::take(&mut self.entries));
    }

    fn open_table(&mut self, table: ChainTable) {
        let size = table.meta.size;
        let opened = self.scan.files.open_table(table.meta.number).and_then(|file| {
            let len = file.len();
            if len < size {
                let what = format!("{len} bytes where the MANIFEST has {size}");
                return Err(Error::new(crate::error::Kind::Torn, what));
            }
            let frame = Table::open(file.as_ref(), size, &mut self.decompressor)?;
            Entries::new(&frame.index)?;
            Ok((file, frame))
        });
        self.window.forget();
        match opened {
            Ok((file, frame)) => {
                self.scan
                    .count_read((size - frame.data_end) as usize + frame.index.len());
                let open = OpenTable::new(file, table, frame);
                open.list_filter_fault(self.scan);
                self.open = Some(open);
            }
            Err(error) => lose_table(self.scan, &table, error.to_string()),
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
        let start = self.window.reach(self.scan, open, stored_len)?;
        let stored = &self.window.bytes[start..start + stored_len];
        let (codec, bytes) = verify_block(stored)?;
        let (start, len) = match codec {
            Codec::None => (start, bytes.len()),
            _ => (0, self.decompressor.decompress(codec, bytes, &mut self.plain)?),
        };
        self.in_window = codec == Codec::None;
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
        let end = entries_end(&plain)?;
        self.elided = !self
            .resident
            .keep(plain.len(), self.scan.budget.resident_bytes_max);
        (self.plain, self.end) = match self.elided {
            true => large::elide(&plain, end)?,
            false => (plain, end),
        };
        self.in_window = false;
        self.at = 0;
        Ok(())
    }

    /// The current block cannot be used.
    #[cold]
    fn lose_block(&mut self, what: String) {
        if let Some(open) = &self.open {
            let (smallest, largest) = open.block_range(self.scan.order);
            self.lose(smallest, largest, what);
        }
    }

    /// The rest of the current block, behind the current key, cannot be used.
    #[cold]
    fn lose_rest_of_block(&mut self, why: &'static str) {
        if let Some(open) = &self.open {
            let (smallest, largest) = open.block_range(self.scan.order);
            let key = user_key(&self.key);
            let smallest = match self.scan.order.compare(key, &smallest) {
                Ordering::Greater if !self.key.is_empty() => key.to_vec(),
                _ => smallest,
            };
            self.lose(smallest, largest, why.to_owned());
        }
    }

    #[cold]
    fn lose(&mut self, smallest: Vec<u8>, largest: Vec<u8>, what: String) {
        self.at = 0;
        self.end = 0;
        if let Some(open) = &mut self.open {
            open.lossy = true;
            let damage = open.damage(Some(open.handle.offset), smallest, largest, what);
            self.scan.findings.borrow_mut().lose(open.table.rank, damage);
        }
    }

    /// Before the first entry of a block is read: its key must be whole, and behind the index key before.
    fn check_first_entry(&mut self) -> Result<(), &'static str> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let block = match self.in_window {
            true => &self.window.bytes,
            false => &self.plain,
        };
        let entry = entry_at(block, self.at, self.end).ok_or("entry does not fit its block")?;
        if entry.shared > 0 {
            return Err("first key of a block is not whole");
        }
        open.check_block_start(self.scan, &block[entry.key..entry.value]);
        Ok(())
    }
}

impl OpenTable {
    fn new(file: Box<dyn ReadAt>, table: ChainTable, frame: Table) -> Self {
        Self {
            file,
            bound_before: table.meta.smallest.clone(),
            bound: table.meta.smallest.clone(),
            table,
            frame,
            index_at: 0,
            handle: Handle { offset: 0, size: 0 },
            first_entry: true,
            lossy: false,
        }
    }

    /// Moves to the next index entry; false behind the last.
    fn next_handle(&mut self) -> Result<bool> {
        // The key before is needed twice: index keys may share bytes, and it bounds the next block.
        let mut building = std::mem::take(&mut self.bound_before);
        building.clone_from(&self.bound);
        if self.index_at == 0 {
            building.clear();
        }
        std::mem::swap(&mut self.bound_before, &mut self.bound);
        let mut entries = Entries::resume(&self.frame.index, self.index_at, building)?;
        let found = match entries.next()? {
            Some((_, value)) => {
                self.handle = Handle::read(&mut Reader::new(value))?;
                true
            }
            None => false,
        };
        self.index_at = entries.position();
        self.bound = entries.into_key();
        match found && self.bound.len() < TAG_BYTES {
            true => Err(Error::corrupt("index entry has no whole key")),
            false => Ok(found),
        }
    }

    /// The user keys between which every key of the current block lies.
    fn block_range(&self, order: &Comparator) -> (Vec<u8>, Vec<u8>) {
        let meta = &self.table.meta;
        let (bound, largest) = (user_key(&self.bound), meta.largest_user_key());
        // The last index key may be any short key behind the table.
        let largest = match order.compare(bound, largest) {
            Ordering::Greater => largest,
            _ => bound,
        };
        (user_key(&self.bound_before).to_vec(), largest.to_vec())
    }

    fn damage(&self, offset: Option<u64>, smallest: Vec<u8>, largest: Vec<u8>, what: String) -> Damage {
        Damage {
            file: self.table.file_name(),
            offset,
            level: Some(self.table.level),
            smallest: Some(smallest),
            largest: Some(largest),
            sequences_lost: None,
            what,
        }
    }

    /// The index cannot be read on: all behind the current block is lost.
    #[cold]
    fn lose_rest(&self, scan: &Scan, error: &Error) {
        let smallest = user_key(&self.bound_before).to_vec();
        let largest = self.table.meta.largest_user_key().to_vec();
        let damage = self.damage(None, smallest, largest, format!("index block: {error}"));
        scan.findings.borrow_mut().lose(self.table.rank, damage);
    }

    fn list_filter_fault(&self, scan: &Scan) {
        if let Some(fault) = &self.frame.filter_fault {
            let what = format!("{fault}; no record is concerned");
            let damage = Damage {
                smallest: None,
                largest: None,
                ..self.damage(None, Vec::new(), Vec::new(), what)
            };
            scan.findings.borrow_mut().list(damage);
        }
    }

    /// `first` is the first internal key of a block.
    fn check_block_start(&mut self, scan: &Scan, first: &[u8]) {
        if !scan.order.is_known() || first.len() < TAG_BYTES {
            self.first_entry = false;
            return;
        }
        if std::mem::take(&mut self.first_entry) {
            if !self.lossy && first != self.table.meta.smallest {
                self.lose_edge(
                    scan,
                    self.table.meta.smallest_user_key(),
                    user_key(first),
                    "first",
                );
            }
        } else if compare_internal(scan.order, first, &self.bound_before) != Ordering::Greater {
            self.list_index_fault(scan, first);
        }
    }

    /// `last` is the last internal key read.
    fn check_block_end(&mut self, scan: &Scan, last: &[u8]) {
        let judged = scan.order.is_known() && !self.lossy;
        if judged && compare_internal(scan.order, last, &self.bound) == Ordering::Greater {
            self.list_index_fault(scan, last);
        }
    }

    /// Behind the last block: the last key must be the MANIFEST's.
    fn check_table_end(&self, scan: &Scan, last: &[u8]) {
        let largest = &self.table.meta.largest;
        if scan.order.is_known() && !self.lossy && (self.first_entry || last != largest) {
            let from = match self.first_entry {
                true => self.table.meta.smallest_user_key(),
                false => user_key(last),
            };
            self.lose_edge(scan, from, user_key(largest), "last");
        }
    }

    /// The table begins or ends with another key than the MANIFEST has: what lay between may be gone.
    #[cold]
    fn lose_edge(&self, scan: &Scan, from: &[u8], to: &[u8], edge: &str) {
        let (from, to) = match scan.order.compare(from, to) {
            Ordering::Greater => (to, from),
            _ => (from, to),
        };
        let what = format!("its {edge} key is not the MANIFEST's");
        let damage = self.damage(None, from.to_vec(), to.to_vec(), what);
        scan.findings.borrow_mut().lose(self.table.rank, damage);
    }

    #[cold]
    fn list_index_fault(&self, scan: &Scan, key: &[u8]) {
        let key = user_key(key).to_vec();
        let what = "key is outside its index entry".to_owned();
        let damage = self.damage(Some(self.handle.offset), key.clone(), key, what);
        scan.findings.borrow_mut().list(damage);
    }
}

impl ChainTable {
    /// Its file's name.
    pub fn file_name(&self) -> String {
        table_name(self.meta.number, self.extension)
    }
}

/// Lists a whole table as lost, with the MANIFEST's key range.
#[cold]
pub fn lose_table(scan: &Scan, table: &ChainTable, what: String) {
    let damage = Damage {
        file: table.file_name(),
        offset: None,
        level: Some(table.level),
        smallest: Some(table.meta.smallest_user_key().to_vec()),
        largest: Some(table.meta.largest_user_key().to_vec()),
        sequences_lost: None,
        what,
    };
    scan.findings.borrow_mut().lose(table.rank, damage);
}

/// The stretch of a table that was read last.
#[derive(Default)]
struct Window {
    bytes: Vec<u8>,
    start: u64,
    len: usize,
}

impl Window {
    fn forget(&mut self) {
        self.len = 0;
    }

    /// Makes `stored_len` bytes from the open table's handle readable; returns where in `bytes` they begin.
    #[inline]
    fn reach(&mut self, scan: &Scan, open: &OpenTable, stored_len: usize) -> Result<usize> {
        let offset = open.handle.offset;
        if offset >= self.start {
            let ahead = offset - self.start;
            if ahead + stored_len as u64 <= self.len as u64 {
                return Ok(ahead as usize);
            }
        }
        self.refill(scan, open, stored_len)?;
        Ok(0)
    }

    fn refill(&mut self, scan: &Scan, open: &OpenTable, stored_len: usize) -> Result<()> {
        let offset = open.handle.offset;
        let left = open.frame.data_end.saturating_sub(offset);
        let wanted = scan
            .budget
            .window_bytes
            .max(stored_len)
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        self.len = 0;
        // Where a disk cannot read the window it may still read this block.
        let len = match open.file.read_at(&mut self.bytes[..wanted], offset) {
            Ok(()) => wanted,
            Err(_) => {
                open.file.read_at(&mut self.bytes[..stored_len], offset)?;
                stored_len
            }
        };
        self.start = offset;
        self.len = len;
        scan.count_read(len);
        Ok(())
    }
}

/// Sequence number and kind, the last eight bytes of an internal key that is long enough.
#[inline(always)]
fn tag(internal: &[u8]) -> u64 {
    internal
        .last_chunk::<TAG_BYTES>()
        .map_or(0, |tag| u64::from_le_bytes(*tag))
}

/// True if the new key's user key is plainly greater than the old one's: they differ, upwards, in the first byte
/// that is not shared, which is how nearly every entry begins. False says nothing.
#[inline(always)]
fn differs_upwards(old: &[u8], shared: usize, suffix: &[u8]) -> bool {
    shared + TAG_BYTES < old.len() && TAG_BYTES < suffix.len() && old[shared] < suffix[0]
}

/// Whether `next` may follow `key` in a table, and how.
fn follows(order: &Comparator, key: &[u8], next: &[u8]) -> Result<Step, &'static str> {
    if key.is_empty() || !order.is_known() {
        return Ok(Step::NextKey);
    }
    match order.compare(user_key(key), user_key(next)) {
        Ordering::Less => Ok(Step::NextKey),
        Ordering::Equal if tag(key) > tag(next) => Ok(Step::SameKey),
        _ => Err("keys are out of order"),
    }
}

/// Orders two internal keys: user key upwards, then sequence number downwards.
pub fn compare_internal(order: &Comparator, a: &[u8], b: &[u8]) -> Ordering {
    order
        .compare(user_key(a), user_key(b))
        .then_with(|| tag(b).cmp(&tag(a)))
}
