//! Holds the sorted entries of one pass in an arena.

use std::cmp::Ordering;

use crate::codec::{Reader, put_prefixed, put_varint};
use crate::error::Result;
use crate::leveldb::comparator::Comparator;
use crate::leveldb::write_batch::BatchSink;

/// Values longer than this stay in the log, bytes.
const INLINE_VALUE_MAX: usize = 4 << 10;

/// Entries of one stretch of the key space. In the arena an entry is: key (length, bytes), tag as a varint (sequence
/// doubled, plus 1 for a put), then for a put the value's length and the value, or for a large one its length, log,
/// offset and CRC.
pub(super) struct MemtablePass {
    pub(super) order: Comparator,
    pub(super) arena: Vec<u8>,
    /// While entries come: the key's first eight bytes (for bytewise order) and the arena offset.
    pub(super) unsorted: Vec<[u32; 3]>,
    /// Arena offsets in key order, one per key, once sorted.
    pub(super) index: Vec<u32>,
    pub(super) bytes_max: usize,
    /// Only keys behind this are kept.
    pub(super) after: Option<Vec<u8>>,
    /// Only keys up to this are kept: the rest waits for the next pass.
    pub(super) upto: Option<Vec<u8>>,
    /// When full: drop the greatest keys (a later pass) instead of giving up keeping (the first).
    pub(super) cuts: bool,
    /// Entries are checked, not kept.
    pub(super) validate_only: bool,
    pub(super) log: usize,
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

impl MemtablePass {
    pub(super) fn new(order: &Comparator, bytes_max: usize) -> Self {
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

    pub(super) fn is_in_range(&self, key: &[u8]) -> bool {
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

    pub(super) fn add(&mut self, key: &[u8], sequence: u64, put: Option<(usize, u64)>) {
        self.make_room();
        self.value = PendingValue::Dropped;
        if !self.is_in_range(key) {
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

    pub(super) fn bytes(&self) -> usize {
        self.arena.len() + self.unsorted.len() * size_of::<[u32; 3]>()
    }

    #[inline]
    pub(super) fn make_room(&mut self) {
        if self.bytes() > self.bytes_max {
            if self.cuts {
                self.cut_pass()
            } else {
                self.stop_buffering()
            }
        }
    }

    pub(super) fn stop_buffering(&mut self) {
        self.arena = Vec::new();
        self.unsorted = Vec::new();
        self.validate_only = true;
    }

    /// Drops overwritten entries, then the greatest keys until half the room is free.
    pub(super) fn cut_pass(&mut self) {
        self.sort();
        let mut arena = Vec::with_capacity(self.bytes_max / 2);
        let mut unsorted = Vec::new();
        for &offset in &self.index {
            let entry = MemtableEntry::read(&self.arena, offset);
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
            self.upto = Some(MemtableEntry::read(&self.arena, last).key.to_vec());
        }
        self.arena = arena;
        self.unsorted = unsorted;
        self.index = Vec::new();
    }

    pub(super) fn sorted(mut self) -> Self {
        self.sort();
        self
    }

    /// Sorts, newest entry of a key first, and keeps only that.
    pub(super) fn sort(&mut self) {
        let (arena, order) = (&self.arena, &self.order);
        let mut unsorted = std::mem::take(&mut self.unsorted);
        unsorted.sort_unstable_by(|a, b| {
            let by_prefix = [a[0], a[1]].cmp(&[b[0], b[1]]);
            by_prefix.then_with(|| {
                let (x, y) = (MemtableEntry::read(arena, a[2]), MemtableEntry::read(arena, b[2]));
                let by_key = order.compare(x.key, y.key);
                by_key.then(y.sequence().cmp(&x.sequence())).then(b[2].cmp(&a[2]))
            })
        });
        unsorted.dedup_by(|next, kept| {
            [next[0], next[1]] == [kept[0], kept[1]]
                && order
                    .compare(
                        MemtableEntry::read(arena, next[2]).key,
                        MemtableEntry::read(arena, kept[2]).key,
                    )
                    .is_eq()
        });
        self.index = unsorted.iter().map(|entry| entry[2]).collect();
    }

    /// What `abort` has to forget from.
    pub(super) fn arena_mark(&self) -> (usize, usize) {
        (self.arena.len(), self.unsorted.len())
    }

    pub(super) fn truncate_to(&mut self, (arena, unsorted): (usize, usize)) {
        self.arena.truncate(arena);
        self.unsorted.truncate(unsorted);
    }
}

impl BatchSink for MemtablePass {
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
pub(super) struct MemtableEntry<'a> {
    pub(super) key: &'a [u8],
    pub(super) tag: u64,
    pub(super) value: MemtableValue<'a>,
    /// Arena bytes it takes.
    pub(super) len: usize,
}

#[derive(Clone, Copy)]
pub(super) enum MemtableValue<'a> {
    None,
    Inline(&'a [u8]),
    Apart {
        log: usize,
        offset: u64,
        len: usize,
        crc: u32,
    },
}

impl<'a> MemtableEntry<'a> {
    /// The arena is ours, so an entry is what was put there; an impossible one reads as an empty tombstone.
    #[inline]
    pub(super) fn read(arena: &'a [u8], offset: u32) -> Self {
        let bytes = arena.get(offset as usize..).unwrap_or_default();
        Self::parse(bytes).unwrap_or(Self {
            key: &[],
            tag: 0,
            value: MemtableValue::None,
            len: 0,
        })
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let (key, tag) = (reader.prefixed()?, reader.varint()?);
        let value = match tag & 1 {
            0 => MemtableValue::None,
            _ => match reader.varint()? as usize {
                len @ 0..=INLINE_VALUE_MAX => MemtableValue::Inline(reader.bytes(len)?),
                len => MemtableValue::Apart {
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

    pub(super) fn sequence(&self) -> u64 {
        self.tag >> 1
    }
}
