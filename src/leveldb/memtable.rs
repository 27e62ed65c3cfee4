//! What the logs hold and no table does, sorted: LevelDB's memtable, rebuilt within a memory bound.
//!
//! The first pass over the logs checks everything, finds the last sequence number and what is lost, and keeps the
//! entries: keys and small values in one arena, large values only by place (they are read again when they turn
//! out visible). Logs that hold more than the bound are read again pass by pass, each pass keeping the smallest keys
//! behind the pass before; nothing is ever written to a temporary file.

use std::cmp::Ordering;

use super::batch::{BatchHeader, BatchParser, BatchSink};
use super::chain::{OpenFiles, Scan, Step};
use super::comparator::Comparator;
use super::damage::{Damage, Findings, Rank, TornTail};
use super::large::Scratch;
use super::log::{LogSink, Span, payload_ranges, read_log};
use super::merge::RecordSink;
use super::name::log_name;
use super::read_at::ReadAt;
use crate::codec::{Reader, put_prefixed, put_varint};
use crate::error::{Error, Result};

/// Values longer than this stay in the log, bytes.
const INLINE_VALUE_MAX: usize = 4 << 10;

/// What the first pass found besides entries.
#[derive(Debug, Default)]
pub struct LogReport {
    /// Sequence number of the newest whole batch; 0 if there is none.
    pub last_sequence: u64,
    /// Operations in whole batches.
    pub entries: u64,
    /// Bytes of the logs.
    pub bytes: u64,
    /// Lost stretches, each with what lies behind it.
    pub damage: Vec<Damage>,
    /// Records below this may have been overwritten by what was lost.
    pub certain_from: u64,
    /// Ends that hold no whole batch.
    pub torn_tails: Vec<TornTail>,
}

impl LogReport {
    /// Hands damage on to a scan.
    pub fn report_to(&self, findings: &mut Findings) {
        self.damage
            .iter()
            .for_each(|damage| findings.list(damage.clone()));
        findings.lose_below(self.certain_from);
    }
}

/// The logs of a database, checked, with as many entries as fit.
pub struct Memtable {
    logs: Vec<u64>,
    bad_records: Vec<Place>,
    /// Whole batches: every pass must find as many.
    batches: u64,
    first: Option<Pass>,
}

/// A record: index of its log, and where its payload begins.
type Place = (usize, u64);

impl Memtable {
    /// First pass over the live logs, oldest first. `missing` is the log that the MANIFEST names and nobody has;
    /// `last_sequence` is the MANIFEST's. Entries are kept while they take no more than `bytes_max`, and not at all
    /// when the order is unknown.
    pub fn read(
        files: &dyn OpenFiles,
        order: &Comparator,
        logs: Vec<u64>,
        missing: Option<u64>,
        last_sequence: u64,
        bytes_max: usize,
    ) -> (Self, LogReport) {
        let mut pass = Pass::new(order, bytes_max);
        pass.validate_only = !order.is_known();
        let mut first = FirstPass::new(&mut pass, last_sequence);
        if let Some(number) = missing {
            first.lose_whole(number, "the MANIFEST names it, and it is not there".to_owned());
        }
        for (index, &number) in logs.iter().enumerate() {
            first.read(files, index, number);
        }
        let batches = first.batches;
        let (report, bad_records) = first.finish();
        let fits = !pass.validate_only;
        let table = Self {
            logs,
            bad_records,
            batches,
            first: (fits || !order.is_known()).then(|| pass.sorted()),
        };
        (table, report)
    }

    /// A sorted source of its entries; call [`MemtableCursor::advance`] to reach the first.
    pub fn cursor<'a>(&'a self, scan: &'a Scan<'a>) -> MemtableCursor<'a> {
        MemtableCursor {
            scan,
            table: self,
            later: None,
            at: 0,
            started: false,
            current: None,
            files: Vec::new(),
            failed: None,
        }
    }

    /// The next pass, over keys behind `after`.
    fn pass(&self, scan: &Scan, after: Option<Vec<u8>>) -> Result<Pass> {
        let mut pass = Pass::new(scan.order, scan.budget.log_bytes_max);
        pass.after = after;
        pass.cuts = true;
        let mut batches = 0;
        for (index, &number) in self.logs.iter().enumerate() {
            let file = scan.files.open_log(number)?;
            scan.count_read(usize::try_from(file.len()).unwrap_or(usize::MAX));
            let mut again = LaterPass {
                pass: &mut pass,
                parser: BatchParser::default(),
                bad_records: &self.bad_records,
                log: index,
                record: None,
                skipping: false,
                failed: false,
                batches: 0,
            };
            read_log(file.as_ref(), &mut again);
            if again.failed {
                return Err(Error::corrupt(format!(
                    "{} changed while it was read",
                    log_name(number)
                )));
            }
            batches += again.batches;
        }
        match batches == self.batches {
            true => Ok(pass.sorted()),
            false => Err(Error::corrupt("a log changed while it was read")),
        }
    }
}

/// Entries of one stretch of the key space. In the arena an entry is: key (length, bytes), tag as a varint (sequence
/// doubled, plus 1 for a put), then for a put the value's length and the value, or for a large one its length, log,
/// offset and CRC.
struct Pass {
    order: Comparator,
    arena: Vec<u8>,
    /// While entries come: the key's first eight bytes (for bytewise order) and the arena offset.
    unsorted: Vec<[u32; 3]>,
    /// Arena offsets in key order, one per key, once sorted.
    index: Vec<u32>,
    bytes_max: usize,
    /// Only keys behind this are kept.
    after: Option<Vec<u8>>,
    /// Only keys up to this are kept: the rest waits for the next pass.
    upto: Option<Vec<u8>>,
    /// When full: drop the greatest keys (a later pass) instead of giving up keeping (the first).
    cuts: bool,
    /// Entries are checked, not kept.
    validate_only: bool,
    log: usize,
    value: PendingValue,
}

/// The value that is being received.
#[derive(Clone, Copy)]
enum PendingValue {
    Dropped,
    Inline,
    /// Arena offset of the CRC to patch, and the CRC so far.
    Apart(usize, u32),
}

impl Pass {
    fn new(order: &Comparator, bytes_max: usize) -> Self {
        Self {
            order: order.clone(),
            arena: Vec::new(),
            unsorted: Vec::new(),
            index: Vec::new(),
            bytes_max,
            after: None,
            upto: None,
            cuts: false,
            validate_only: false,
            log: 0,
            value: PendingValue::Dropped,
        }
    }

    fn wants(&self, key: &[u8]) -> bool {
        !self.validate_only
            && self
                .after
                .as_ref()
                .is_none_or(|after| self.order.compare(key, after) == Ordering::Greater)
            && self
                .upto
                .as_ref()
                .is_none_or(|upto| self.order.compare(key, upto) != Ordering::Greater)
    }

    fn add(&mut self, key: &[u8], sequence: u64, put: Option<(usize, u64)>) {
        self.make_room();
        self.value = PendingValue::Dropped;
        if !self.wants(key) {
            return;
        }
        let [high, low] = match self.order {
            Comparator::Bytewise => key_prefix(key),
            _ => [0, 0],
        };
        self.unsorted.push([high, low, self.arena.len() as u32]);
        put_prefixed(&mut self.arena, key);
        put_varint(&mut self.arena, sequence << 1 | u64::from(put.is_some()));
        let Some((len, offset)) = put else { return };
        put_varint(&mut self.arena, len as u64);
        self.value = match len {
            0..=INLINE_VALUE_MAX => PendingValue::Inline,
            _ => {
                put_varint(&mut self.arena, self.log as u64);
                put_varint(&mut self.arena, offset);
                let at = self.arena.len();
                self.arena.extend_from_slice(&[0; 4]);
                PendingValue::Apart(at, 0)
            }
        };
    }

    fn bytes(&self) -> usize {
        self.arena.len() + self.unsorted.len() * size_of::<[u32; 3]>()
    }

    #[inline]
    fn make_room(&mut self) {
        if self.bytes() > self.bytes_max {
            match self.cuts {
                true => self.cut(),
                false => self.give_up_keeping(),
            }
        }
    }

    fn give_up_keeping(&mut self) {
        self.arena = Vec::new();
        self.unsorted = Vec::new();
        self.validate_only = true;
    }

    /// Drops overwritten entries, then the greatest keys until half the room is free.
    fn cut(&mut self) {
        self.sort();
        let mut arena = Vec::with_capacity(self.bytes_max / 2);
        let mut unsorted = Vec::new();
        for &offset in &self.index {
            let entry = Entry::read(&self.arena, offset);
            if !unsorted.is_empty()
                && arena.len() + (unsorted.len() + 1) * 12 + entry.len > self.bytes_max / 2
            {
                break;
            }
            let [high, low] = match self.order {
                Comparator::Bytewise => key_prefix(entry.key),
                _ => [0, 0],
            };
            unsorted.push([high, low, arena.len() as u32]);
            arena.extend_from_slice(&self.arena[offset as usize..offset as usize + entry.len]);
        }
        if unsorted.len() < self.index.len() {
            let last = self.index[unsorted.len() - 1];
            self.upto = Some(Entry::read(&self.arena, last).key.to_vec());
        }
        self.arena = arena;
        self.unsorted = unsorted;
        self.index = Vec::new();
    }

    fn sorted(mut self) -> Self {
        self.sort();
        self
    }

    /// Sorts, newest entry of a key first, and keeps only that.
    fn sort(&mut self) {
        let (arena, order) = (&self.arena, &self.order);
        let mut unsorted = std::mem::take(&mut self.unsorted);
        unsorted.sort_unstable_by(|a, b| {
            let by_prefix = [a[0], a[1]].cmp(&[b[0], b[1]]);
            by_prefix.then_with(|| {
                let (x, y) = (Entry::read(arena, a[2]), Entry::read(arena, b[2]));
                let by_key = order.compare(x.key, y.key);
                by_key.then(y.sequence().cmp(&x.sequence())).then(b[2].cmp(&a[2]))
            })
        });
        unsorted.dedup_by(|next, kept| {
            [next[0], next[1]] == [kept[0], kept[1]]
                && order
                    .compare(Entry::read(arena, next[2]).key, Entry::read(arena, kept[2]).key)
                    .is_eq()
        });
        self.index = unsorted.iter().map(|entry| entry[2]).collect();
    }

    /// What `abort` has to forget from.
    fn mark(&self) -> (usize, usize) {
        (self.arena.len(), self.unsorted.len())
    }

    fn forget_from(&mut self, (arena, unsorted): (usize, usize)) {
        self.arena.truncate(arena);
        self.unsorted.truncate(unsorted);
    }
}

impl BatchSink for Pass {
    fn delete(&mut self, key: &[u8], sequence: u64) {
        self.add(key, sequence, None);
    }

    fn put(&mut self, key: &[u8], sequence: u64, len: usize, offset: u64) {
        self.add(key, sequence, Some((len, offset)));
    }

    fn value(&mut self, piece: &[u8]) {
        match &mut self.value {
            PendingValue::Dropped => {}
            PendingValue::Inline => self.arena.extend_from_slice(piece),
            PendingValue::Apart(at, crc) => {
                *crc = crc32c::crc32c_append(*crc, piece);
                self.arena[*at..*at + 4].copy_from_slice(&crc.to_le_bytes());
            }
        }
    }
}

/// The first eight bytes of a key, big-endian, so that they order as the key does.
fn key_prefix(key: &[u8]) -> [u32; 2] {
    let mut bytes = [0; 8];
    let len = key.len().min(8);
    bytes[..len].copy_from_slice(&key[..len]);
    let [a, b, c, d, e, f, g, h] = bytes;
    [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])]
}

/// An entry read out of the arena.
struct Entry<'a> {
    key: &'a [u8],
    tag: u64,
    value: Value<'a>,
    /// Arena bytes it takes.
    len: usize,
}

#[derive(Clone, Copy)]
enum Value<'a> {
    None,
    Inline(&'a [u8]),
    Apart {
        log: usize,
        offset: u64,
        len: usize,
        crc: u32,
    },
}

impl<'a> Entry<'a> {
    /// The arena is ours, so an entry is what was put there; an impossible one reads as an empty tombstone.
    #[inline]
    fn read(arena: &'a [u8], offset: u32) -> Self {
        let bytes = arena.get(offset as usize..).unwrap_or_default();
        Self::parse(bytes).unwrap_or(Self {
            key: &[],
            tag: 0,
            value: Value::None,
            len: 0,
        })
    }

    fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let (key, tag) = (reader.prefixed()?, reader.varint()?);
        let value = match tag & 1 {
            0 => Value::None,
            _ => match reader.varint()? as usize {
                len @ 0..=INLINE_VALUE_MAX => Value::Inline(reader.bytes(len)?),
                len => Value::Apart {
                    len,
                    log: reader.varint()? as usize,
                    offset: reader.varint()?,
                    crc: reader.u32()?,
                },
            },
        };
        Ok(Self {
            key,
            tag,
            value,
            len: reader.position(),
        })
    }

    fn sequence(&self) -> u64 {
        self.tag >> 1
    }
}

/// The first pass: parses, judges what is lost, and keeps entries as long as they fit.
struct FirstPass<'p> {
    pass: &'p mut Pass,
    parser: BatchParser,
    report: LogReport,
    bad_records: Vec<Place>,
    manifest_sequence: u64,
    /// The sequence number that the next batch should begin with.
    expected: Option<u64>,
    log: usize,
    number: u64,
    /// Where the record under way began, and what to forget if it is none.
    record: Option<(u64, (usize, usize))>,
    fault: Option<Error>,
    batches: u64,
    /// A stretch that was lost for certain, or may have been: the next whole batch tells.
    pending: Vec<Pending>,
}

struct Pending {
    number: u64,
    span: Span,
    what: String,
    /// It did hold a batch: bad, but whole by its checksum.
    certain: bool,
}

impl<'p> FirstPass<'p> {
    fn new(pass: &'p mut Pass, manifest_sequence: u64) -> Self {
        Self {
            pass,
            parser: BatchParser::default(),
            report: LogReport::default(),
            bad_records: Vec::new(),
            manifest_sequence,
            expected: None,
            log: 0,
            number: 0,
            record: None,
            fault: None,
            batches: 0,
            pending: Vec::new(),
        }
    }

    fn read(&mut self, files: &dyn OpenFiles, index: usize, number: u64) {
        let file = match files.open_log(number) {
            Ok(file) => file,
            Err(error) => return self.lose_whole(number, error.to_string()),
        };
        self.log = index;
        self.pass.log = index;
        self.number = number;
        self.report.bytes += file.len();
        if let Some(span) = read_log(file.as_ref(), self) {
            let what = span.why.to_owned();
            self.pending.push(Pending {
                number,
                span,
                what,
                certain: false,
            });
        }
    }

    /// A log of which nothing can be read.
    fn lose_whole(&mut self, number: u64, what: String) {
        let span = Span {
            from: 0,
            to: 0,
            why: "",
            zeros: false,
            cut_short: false,
        };
        self.expected = None;
        self.pending.push(Pending {
            number,
            span,
            what,
            certain: true,
        });
    }

    /// A whole batch came that begins with `base`: now what is pending can be judged by the numbers missing.
    fn judge(&mut self, base: u64) {
        // LevelDB begins a log right behind the sequence number its MANIFEST records.
        let expected = self
            .expected
            .or(Some(self.manifest_sequence + 1).filter(|&next| next == base));
        let lost = expected.map(|expected| base.saturating_sub(expected));
        for pending in std::mem::take(&mut self.pending) {
            match lost {
                Some(0) if !pending.certain => self.list_torn(pending),
                _ => {
                    self.report.certain_from = self.report.certain_from.max(base);
                    self.list_lost(pending, lost);
                }
            }
        }
    }

    fn list_torn(&mut self, pending: Pending) {
        if !pending.span.zeros {
            self.report.torn_tails.push(TornTail {
                file: log_name(pending.number),
                offset: pending.span.from,
                bytes_left: pending.span.to - pending.span.from,
            });
        }
    }

    fn list_lost(&mut self, pending: Pending, sequences_lost: Option<u64>) {
        let offset = (pending.span.to > 0).then_some(pending.span.from);
        self.report.damage.push(Damage {
            file: log_name(pending.number),
            offset,
            level: None,
            smallest: None,
            largest: None,
            sequences_lost,
            what: pending.what,
        });
    }

    fn finish(mut self) -> (LogReport, Vec<Place>) {
        for pending in std::mem::take(&mut self.pending) {
            match pending.certain {
                true => {
                    self.report.certain_from = u64::MAX;
                    self.list_lost(pending, None);
                }
                false => self.list_torn(pending),
            }
        }
        (self.report, self.bad_records)
    }

    fn accept(&mut self, header: BatchHeader) {
        self.batches += 1;
        if !self.pending.is_empty() {
            self.judge(header.sequence);
        }
        let next = header.sequence + u64::from(header.count);
        self.expected = Some(next);
        self.report.entries += u64::from(header.count);
        self.report.last_sequence = self.report.last_sequence.max(next.saturating_sub(1));
    }

    fn reject(&mut self, start: u64, error: &Error) {
        let span = Span {
            from: start,
            to: start + 1,
            why: "",
            zeros: false,
            cut_short: false,
        };
        self.pending.push(Pending {
            number: self.number,
            span,
            what: error.to_string(),
            certain: true,
        });
        self.forget_record();
    }

    fn forget_record(&mut self) {
        if let Some((place, mark)) = self.record.take() {
            self.bad_records.push((self.log, place));
            self.pass.forget_from(mark);
        }
    }
}

impl LogSink for FirstPass<'_> {
    fn part(&mut self, offset: u64, payload: &[u8]) {
        if self.record.is_none() {
            self.record = Some((offset, self.pass.mark()));
            self.parser.reset();
            self.fault = None;
        }
        if self.fault.is_none() {
            self.fault = self.parser.push(offset, payload, self.pass).err();
        }
    }

    fn end(&mut self, start: u64, hole: Option<Span>) {
        if let Some(span) = hole {
            let what = span.why.to_owned();
            self.pending.push(Pending {
                number: self.number,
                span,
                what,
                certain: false,
            });
        }
        match self.fault.take().map_or_else(|| self.parser.finish(), Err) {
            Ok(header) => {
                self.accept(header);
                self.record = None;
            }
            Err(error) => self.reject(start, &error),
        }
    }

    fn abort(&mut self) {
        self.forget_record();
    }
}

/// A later pass: the bad records are known, so nothing is ever taken back.
struct LaterPass<'p> {
    pass: &'p mut Pass,
    parser: BatchParser,
    bad_records: &'p [Place],
    log: usize,
    record: Option<u64>,
    skipping: bool,
    failed: bool,
    batches: u64,
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

    fn end(&mut self, _start: u64, _hole: Option<Span>) {
        self.record = None;
        self.batches += u64::from(!self.skipping);
        self.failed |= !self.skipping && self.parser.finish().is_err();
    }

    fn abort(&mut self) {
        self.record = None;
        self.failed |= !self.skipping;
    }
}

/// Walks the newest entry of each key, in order.
pub struct MemtableCursor<'a> {
    scan: &'a Scan<'a>,
    table: &'a Memtable,
    /// The pass that is being walked, unless it is the table's first.
    later: Option<Pass>,
    at: usize,
    started: bool,
    current: Option<u32>,
    /// Open logs, for values left there.
    files: Vec<Option<Box<dyn ReadAt>>>,
    /// A later pass could not be read.
    failed: Option<Error>,
}

impl MemtableCursor<'_> {
    fn pass(&self) -> Option<&Pass> {
        self.later.as_ref().or(self.table.first.as_ref())
    }

    /// The error that ended it early, if one did.
    pub fn take_failure(&mut self) -> Option<Error> {
        self.failed.take()
    }

    fn entry(&self) -> Option<Entry<'_>> {
        Some(Entry::read(&self.pass()?.arena, self.current?))
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
    pub fn rank(&self) -> Rank {
        Rank::LOGS
    }

    /// Moves to the next key.
    pub fn advance(&mut self) -> Step {
        if !std::mem::replace(&mut self.started, true) && self.table.first.is_none() {
            self.load(None);
        }
        loop {
            let Some(pass) = self.pass() else {
                return Step::End;
            };
            if let Some(&offset) = pass.index.get(self.at) {
                self.current = Some(offset);
                self.at += 1;
                return Step::NextKey;
            }
            match pass.upto.clone() {
                Some(upto) => self.load(Some(upto)),
                None => return Step::End,
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
                self.later = Some(Pass::new(self.scan.order, 0));
            }
        }
    }

    /// Hands the current entry to `sink`; `None` when its value cannot be read any more, which is then listed.
    pub fn emit(
        &mut self,
        scratch: &mut Scratch,
        certain: bool,
        sink: &mut dyn RecordSink,
    ) -> Result<Option<usize>> {
        let Some(entry) = self.entry() else {
            return Ok(None);
        };
        let (log, offset, len, crc) = match entry.value {
            Value::None => return Ok(None),
            Value::Inline(value) => {
                sink.record(entry.key, value, certain)?;
                return Ok(Some(value.len()));
            }
            Value::Apart {
                log,
                offset,
                len,
                crc,
            } => (log, offset, len, crc),
        };
        if let Err(error) = self.read_value(log, offset, len, crc, scratch.buffer()) {
            self.lose_value(log, offset, &error);
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
        match crc32c::crc32c(out) == crc {
            true => Ok(()),
            false => Err(Error::corrupt("value changed while it was read")),
        }
    }

    fn lose_value(&self, log: usize, offset: u64, error: &Error) {
        let key = self.user_key().to_vec();
        let damage = Damage {
            file: log_name(self.table.logs.get(log).copied().unwrap_or_default()),
            offset: Some(offset),
            level: None,
            smallest: Some(key.clone()),
            largest: Some(key),
            sequences_lost: None,
            what: error.to_string(),
        };
        self.scan.findings.borrow_mut().lose(Rank::LOGS, damage);
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

#[cfg(test)]
#[path = "memtable_tests.rs"]
mod tests;
