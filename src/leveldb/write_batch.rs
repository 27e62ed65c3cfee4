//! Parses write batches.
//!
//! Write batches: what one record of a log holds.
//!
//! ```text
//! batch: | sequence (8) | count (4) | operation ... |      operation i has sequence number sequence + i
//! put:    1, key length varint, key, value length varint, value          delete: 0, key length varint, key
//! ```
//!
//! A batch can hold values of a gigabyte, and more of them than fit in memory, so [`BatchParser`] takes its bytes
//! in pieces, as the log's blocks come, and hands large values on as they pass.

use crate::codec::Reader;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{KEY_BYTES_MAX, SEQUENCE_MAX, VALUE_BYTES_MAX};

/// Bytes before the first operation.
pub const BATCH_HEADER_BYTES: usize = 12;

/// Takes the operations of a batch in order. A batch counts only when [`BatchParser::finish`] has approved of it.
pub trait BatchSink {
    /// `key` is gone since `sequence`.
    fn delete(&mut self, key: &[u8], sequence: u64);
    /// `key` has a value of `len` bytes since `sequence`; it begins at `offset` of the file, and
    /// [`BatchSink::value`] brings it, in pieces, before the next operation.
    fn put(&mut self, key: &[u8], sequence: u64, len: usize, offset: u64);
    /// The next bytes of the value.
    fn value(&mut self, piece: &[u8]);
}

/// Parses one batch handed over in pieces.
#[derive(Debug, Default)]
pub struct BatchParser {
    header: Option<BatchHeader>,
    /// Operations begun so far.
    seen: u32,
    /// Value bytes still to come.
    value_left: usize,
    /// The beginning of a header or an operation that a piece's end cut.
    carry: Vec<u8>,
}

/// The first bytes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Sequence number of the first operation.
    pub sequence: u64,
    /// How many operations it says it has.
    pub count: u32,
}

/// What a step found at the head of its bytes.
enum BatchPrefix<'a> {
    Batch(BatchHeader),
    Delete(&'a [u8]),
    Put(&'a [u8], usize),
}

/// A step's result: what was found and how long it is, or how many more bytes would help.
enum ParseStep<'a> {
    Whole(BatchPrefix<'a>, usize),
    Wants(usize),
}

impl BatchParser {
    /// Makes it ready for the next batch.
    pub fn reset(&mut self) {
        self.header = None;
        self.seen = 0;
        self.value_left = 0;
        self.carry.clear();
    }

    /// The batch's header, once enough bytes came.
    pub fn header(&self) -> Option<BatchHeader> {
        self.header
    }

    /// Parses `piece`, which lies at `offset` of the file. After an error the batch is lost.
    pub fn push(&mut self, offset: u64, piece: &[u8], sink: &mut impl BatchSink) -> Result<()> {
        let mut rest = piece;
        while !rest.is_empty() {
            let used = if self.value_left > 0 {
                self.push_value(rest, sink)
            } else if self.carry.is_empty() {
                let at = offset + (piece.len() - rest.len()) as u64;
                self.push_head(at, rest, sink)?
            } else {
                let at = offset + (piece.len() - rest.len()) as u64;
                self.push_carried(at, rest, sink)?
            };
            rest = &rest[used..];
        }
        Ok(())
    }

    /// Approves of the batch: it is whole, and has as many operations as it says.
    pub fn finish(&self) -> Result<BatchHeader> {
        let header = self.header.ok_or_else(|| Error::corrupt("batch has no header"))?;
        match self.value_left == 0 && self.carry.is_empty() {
            true if self.seen == header.count => Ok(header),
            true => Err(Error::corrupt(format!(
                "batch says {} operations and has {}",
                header.count, self.seen
            ))),
            false => Err(Error::corrupt("batch ends inside an operation")),
        }
    }

    fn push_value(&mut self, rest: &[u8], sink: &mut impl BatchSink) -> usize {
        let take = rest.len().min(self.value_left);
        sink.value(&rest[..take]);
        self.value_left -= take;
        take
    }

    fn push_head(&mut self, at: u64, rest: &[u8], sink: &mut impl BatchSink) -> Result<usize> {
        match self.parse(rest)? {
            ParseStep::Whole(head, len) => self.accept(head, at + len as u64, sink).map(|()| len),
            ParseStep::Wants(_) => {
                self.carry.extend_from_slice(rest);
                Ok(rest.len())
            }
        }
    }

    /// Adds to the carried bytes only what they lack, so that a value never passes through them.
    fn push_carried(&mut self, at: u64, rest: &[u8], sink: &mut impl BatchSink) -> Result<usize> {
        let carry = std::mem::take(&mut self.carry);
        let wanted = match self.parse(&carry)? {
            ParseStep::Wants(wanted) => wanted.min(rest.len()),
            ParseStep::Whole(..) => 0,
        };
        self.carry = carry;
        self.carry.extend_from_slice(&rest[..wanted]);
        let carry = std::mem::take(&mut self.carry);
        match self.parse(&carry)? {
            ParseStep::Whole(head, _) => {
                self.accept(head, at + wanted as u64, sink)?;
                self.carry = carry;
                self.carry.clear();
            }
            ParseStep::Wants(_) => self.carry = carry,
        }
        Ok(wanted)
    }

    fn parse<'a>(&self, bytes: &'a [u8]) -> Result<ParseStep<'a>> {
        match self.header {
            None => parse_header(bytes),
            Some(_) => parse_operation(bytes),
        }
    }

    /// `behind` is where the bytes behind the head lie in the file.
    fn accept(&mut self, head: BatchPrefix, behind: u64, sink: &mut impl BatchSink) -> Result<()> {
        if let BatchPrefix::Batch(header) = head {
            self.header = Some(header);
            return Ok(());
        }
        let header = self.header.ok_or_else(|| Error::corrupt("batch has no header"))?;
        if self.seen == header.count {
            return Err(Error::corrupt("batch has more operations than it says"));
        }
        let sequence = header.sequence + u64::from(self.seen);
        self.seen += 1;
        match head {
            BatchPrefix::Delete(key) => sink.delete(key, sequence),
            BatchPrefix::Put(key, len) => {
                self.value_left = len;
                sink.put(key, sequence, len, behind);
            }
            BatchPrefix::Batch(_) => {}
        }
        Ok(())
    }
}

fn parse_header(bytes: &[u8]) -> Result<ParseStep<'_>> {
    if bytes.len() < BATCH_HEADER_BYTES {
        return Ok(ParseStep::Wants(BATCH_HEADER_BYTES - bytes.len()));
    }
    let mut reader = Reader::new(bytes);
    let (sequence, count) = (reader.u64()?, reader.u32()?);
    if sequence > SEQUENCE_MAX - u64::from(count) {
        return Err(Error::corrupt(format!(
            "sequence number {sequence} passes 56 bits"
        )));
    }
    Ok(ParseStep::Whole(
        BatchPrefix::Batch(BatchHeader { sequence, count }),
        BATCH_HEADER_BYTES,
    ))
}

#[inline]
fn parse_operation(bytes: &[u8]) -> Result<ParseStep<'_>> {
    let kind = bytes[0];
    if kind > 1 {
        return Err(Error::new(
            ErrorKind::UnknownFormat,
            format!("operation {kind} in a batch is not known"),
        ));
    }
    let Some((key_len, key_at)) = varint_at(bytes, 1)? else {
        return Ok(ParseStep::Wants(1));
    };
    let key_len = bounded_slice(key_len, KEY_BYTES_MAX, "key")?;
    let key_end = key_at + key_len;
    let Some(key) = bytes.get(key_at..key_end) else {
        return Ok(ParseStep::Wants(key_end - bytes.len()));
    };
    match kind {
        0 => Ok(ParseStep::Whole(BatchPrefix::Delete(key), key_end)),
        _ => match varint_at(bytes, key_end)? {
            Some((len, end)) => {
                let len = bounded_slice(len, VALUE_BYTES_MAX, "value")?;
                Ok(ParseStep::Whole(BatchPrefix::Put(key, len), end))
            }
            None => Ok(ParseStep::Wants(1)),
        },
    }
}

fn bounded_slice(len: u64, max: usize, what: &str) -> Result<usize> {
    match usize::try_from(len) {
        Ok(len) if len <= max => Ok(len),
        _ => Err(Error::new(
            ErrorKind::Corrupt,
            format!("{what} of {len} bytes passes the limit {max}"),
        )),
    }
}

/// The varint at `at` and where it ends; `None` if the bytes end first.
#[inline]
fn varint_at(bytes: &[u8], at: usize) -> Result<Option<(u64, usize)>> {
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.len() < 10 && rest.iter().all(|&byte| byte >= 0x80) {
        return Ok(None);
    }
    let mut reader = Reader::new(rest);
    let value = reader.varint()?;
    Ok(Some((value, at + reader.position())))
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
