//! Encodes records as the canonical stream.
//!
//! What is backed up: records, a key and its value, in the database's key order.
//!
//! The *canonical stream* is what two equal databases agree on whatever their files look like:
//!
//! ```text
//! element = key length (4, little-endian) | key | value length (4, little-endian) | value
//! stream  = element of the first record, of the second, ... in the database's key order
//! ```
//!
//! Two digests stand on it ([`record_digests`]): one of the stream as a whole, and one of the set of elements, which an
//! increment can update by what changed.

mod hash_lanes;
pub mod record_digests;
mod set_sum;
mod stream_partition;

use crate::codec::Reader;
use crate::error::Result;

pub use record_digests::{SetDigestAccumulator, StreamDigester};
pub use stream_partition::StreamPartition;

/// Bytes of an element beside its key and value: the two lengths.
pub const ELEMENT_OVERHEAD: usize = 8;

/// Bytes of the canonical element of a record.
#[inline]
pub fn element_len(key_len: usize, value_len: usize) -> usize {
    ELEMENT_OVERHEAD + key_len + value_len
}

/// Appends the canonical element of a record. Keys and values are below 4 GiB (`limits.rs`).
#[inline]
pub fn put_element(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.reserve(element_len(key.len(), value.len()));
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value);
}

/// Writes the canonical element into a place of exactly its length.
#[inline]
pub(crate) fn write_element(to: &mut [u8], key: &[u8], value: &[u8]) {
    let (key_part, value_part) = to.split_at_mut(4 + key.len());
    key_part[..4].copy_from_slice(&(key.len() as u32).to_le_bytes());
    key_part[4..].copy_from_slice(key);
    value_part[..4].copy_from_slice(&(value.len() as u32).to_le_bytes());
    value_part[4..].copy_from_slice(value);
}

/// One record out of a canonical stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamElement<'a> {
    /// The element itself, lengths included.
    pub whole: &'a [u8],
    /// The record's key.
    pub key: &'a [u8],
    /// The record's value.
    pub value: &'a [u8],
}

/// Reads elements back, one after another, without copying.
#[derive(Clone, Debug)]
pub struct StreamElements<'a> {
    stream: &'a [u8],
    reader: Reader<'a>,
}

impl<'a> StreamElements<'a> {
    /// Starts at the first element of `stream`.
    pub fn new(stream: &'a [u8]) -> Self {
        Self {
            stream,
            reader: Reader::new(stream),
        }
    }

    /// Offset of the next element.
    pub fn position(&self) -> usize {
        self.reader.position()
    }

    #[inline]
    fn read(&mut self) -> Result<StreamElement<'a>> {
        let start = self.reader.position();
        let key_len = self.reader.u32()? as usize;
        let key = self.reader.bytes(key_len)?;
        let value_len = self.reader.u32()? as usize;
        let value = self.reader.bytes(value_len)?;
        let whole = &self.stream[start..self.reader.position()];
        Ok(StreamElement { whole, key, value })
    }
}

impl<'a> Iterator for StreamElements<'a> {
    type Item = Result<StreamElement<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            None
        } else {
            Some(self.read())
        }
    }
}

#[cfg(test)]
mod tests;
