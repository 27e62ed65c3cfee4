//! Decodes the large values of a block only when they are needed.
//!
//! Blocks too large to keep one per source: their values are left where they are until they are wanted.
//!
//! A value of 64 MiB makes a block of 64 MiB, and a merge stands on one block per source. So all sources of a scan
//! share a budget; a block beyond it is read, checked, and replaced by a copy in which each large value is only
//! a *reference* to its place. The value that turns out visible is read once more.

use std::cell::Cell;
use std::ops::Range;

use super::block::entry_at;
use crate::codec::{Reader, put_varint};
use crate::error::{Error, Result};

/// Values up to this stay in the copy, bytes.
const INLINE_MAX: usize = 64 << 10;

/// A scratch buffer larger than this is freed as soon as it can be, bytes.
const SCRATCH_KEPT_MAX: usize = 8 << 20;

/// What one source keeps of the shared budget.
pub struct ResidentBytes<'a> {
    all: &'a Cell<usize>,
    kept: usize,
}

impl<'a> ResidentBytes<'a> {
    /// Keeps nothing yet of what `all` counts.
    pub fn new(all: &'a Cell<usize>) -> Self {
        Self { all, kept: 0 }
    }

    /// Takes `bytes` out of `max` for all, if that much is left.
    pub fn keep_resident(&mut self, bytes: usize, max: usize) -> bool {
        self.release();
        let fits = self.all.get() + bytes <= max;
        if fits {
            self.all.set(self.all.get() + bytes);
            self.kept = bytes;
        }
        fits
    }

    /// Gives back what was kept.
    pub fn release(&mut self) {
        self.all.set(self.all.get() - self.kept);
        self.kept = 0;
    }
}

impl Drop for ResidentBytes<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

/// A value in the copy of a large block.
#[derive(Debug, PartialEq, Eq)]
pub enum LargeValueRef<'a> {
    /// The value itself.
    Inline(&'a [u8]),
    /// Where the value lies in the plain block.
    Apart(Range<usize>),
}

impl<'a> LargeValueRef<'a> {
    /// Reads what [`elide_large_values`] wrote.
    pub fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            0 => Ok(Self::Inline(&bytes[1..])),
            _ => {
                let (start, end) = (reader.varint()? as usize, reader.varint()? as usize);
                Ok(Self::Apart(start..end))
            }
        }
    }
}

/// Copies the entries of a plain block, which end at `end`, with references for values; returns the copy and where
/// its entries end.
pub fn elide_large_values(plain: &[u8], end: usize) -> Result<(Vec<u8>, usize)> {
    let (mut out, mut value, mut at) = (Vec::new(), Vec::new(), 0);
    while at < end {
        let entry = entry_at(plain, at, end)
            .ok_or_else(|| Error::corrupt(format!("bad entry at {at} of a large block")))?;
        at = entry.end;
        value.clear();
        match entry.end - entry.value {
            0..=INLINE_MAX => {
                value.push(0);
                value.extend_from_slice(&plain[entry.value..entry.end]);
            }
            _ => {
                value.push(1);
                put_varint(&mut value, entry.value as u64);
                put_varint(&mut value, entry.end as u64);
            }
        }
        let key = &plain[entry.key..entry.value];
        put_varint(&mut out, entry.shared as u64);
        put_varint(&mut out, key.len() as u64);
        put_varint(&mut out, value.len() as u64);
        out.extend_from_slice(key);
        out.extend_from_slice(&value);
    }
    let end = out.len();
    Ok((out, end))
}

/// Holds the one large thing that is being handed out: a block read again, or a value out of a log.
#[derive(Debug, Default)]
pub struct LargeValueBuffer {
    bytes: Vec<u8>,
    /// The table and offset whose block `bytes` holds.
    holds: Option<(u64, u64)>,
}

impl LargeValueBuffer {
    /// The block at `place`, read unless it is still here.
    pub fn block(&mut self, place: (u64, u64), read: impl FnOnce() -> Result<Vec<u8>>) -> Result<&[u8]> {
        if self.holds != Some(place) {
            self.holds = None;
            self.bytes = Vec::new();
            self.bytes = read()?;
            self.holds = Some(place);
        }
        Ok(&self.bytes)
    }

    /// What it holds.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Frees a large buffer once the `used` bytes of it that mattered are handed on: while the next large block is
    /// read, this one must not be kept for the sake of a few values left in it.
    pub fn used(&mut self, used: usize) {
        if self.bytes.capacity() > SCRATCH_KEPT_MAX && used > self.bytes.len() / 2 {
            *self = Self::default();
        }
    }

    /// An empty buffer to fill with something else.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.holds = None;
        if self.bytes.capacity() > SCRATCH_KEPT_MAX {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_keys_and_small_values_and_refers_to_large_ones() {
        let (small, big) = (vec![7u8; INLINE_MAX], vec![8u8; INLINE_MAX + 1]);
        let mut plain = Vec::new();
        for (shared, key, value) in [(0, b"key-a", &small), (4, b"bbbbb", &big)] {
            put_varint(&mut plain, shared);
            put_varint(&mut plain, key.len() as u64);
            put_varint(&mut plain, value.len() as u64);
            plain.extend_from_slice(key);
            plain.extend_from_slice(value);
        }
        let (copy, end) = elide_large_values(&plain, plain.len()).unwrap();
        let first = entry_at(&copy, 0, end).unwrap();
        assert_eq!(
            LargeValueRef::read(&copy[first.value..first.end]).unwrap(),
            LargeValueRef::Inline(&small)
        );
        let second = entry_at(&copy, first.end, end).unwrap();
        assert_eq!(
            (second.shared, &copy[second.key..second.value]),
            (4, &b"bbbbb"[..])
        );
        match LargeValueRef::read(&copy[second.value..second.end]).unwrap() {
            LargeValueRef::Apart(range) => assert_eq!(plain[range], big),
            inline => panic!("{inline:?}"),
        }
        assert!(elide_large_values(&plain[..plain.len() - 1], plain.len() - 1).is_err());
    }

    #[test]
    fn the_budget_is_shared_and_given_back() {
        let all = Cell::new(0);
        let (mut a, mut b) = (ResidentBytes::new(&all), ResidentBytes::new(&all));
        assert!(a.keep_resident(60, 100) && !b.keep_resident(60, 100) && b.keep_resident(40, 100));
        a.release();
        assert!(b.keep_resident(100, 100));
        drop(b);
        assert_eq!(all.get(), 0);
    }
}
