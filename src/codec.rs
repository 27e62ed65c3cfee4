//! Reads and writes bounded little-endian integers and varints.
//!
//! Bounded little-endian and varint reading and writing over byte slices: every decoder stands on this, so
//! no decoder can read past its input, and none allocates by a length it has not compared with what is there.

use crate::error::{Error, ErrorKind, Result};

/// Reads forward through a byte slice; every step checks what is left.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            len: bytes.len(),
        }
    }

    /// Bytes read so far.
    #[inline]
    pub fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    /// Bytes not read yet.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// True once all is read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    #[inline]
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        match self.rest.split_at_checked(len) {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(head)
            }
            None => Err(self.ended_early(len)),
        }
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(*head)
            }
            None => Err(self.ended_early(N)),
        }
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes, little-endian.
    #[inline]
    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes, little-endian.
    #[inline]
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes, little-endian.
    #[inline]
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// LEB128 of at most 64 bits, as LevelDB and protocol buffers write it. Overlong forms are accepted, as
    /// LevelDB accepts them; our own canonical formats use [`Reader::varint_canonical`].
    #[inline]
    pub fn varint(&mut self) -> Result<u64> {
        match self.rest.first() {
            Some(&byte) if byte < 0x80 => {
                self.rest = &self.rest[1..];
                Ok(u64::from(byte))
            }
            _ => self.varint_long(),
        }
    }

    fn varint_long(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for (index, &byte) in self.rest.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if index == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * index);
            if byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        if self.rest.len() < 10 {
            Err(self.ended_early(self.rest.len() + 1))
        } else {
            Err(Error::corrupt(format!(
                "varint at {} is longer than 64 bits",
                self.position()
            )))
        }
    }

    /// A varint in its shortest form only: the one encoding of each number.
    #[inline]
    pub fn varint_canonical(&mut self) -> Result<u64> {
        let start = self.position();
        let value = self.varint()?;
        if self.position() - start == varint_len(value) {
            Ok(value)
        } else {
            Err(Error::corrupt(format!(
                "varint at {start} is not in its shortest form"
            )))
        }
    }

    /// A varint that must fit a `usize` and not pass `max`: for counts and lengths about to be allocated.
    #[inline]
    pub fn len_varint(&mut self, max: usize, what: &str) -> Result<usize> {
        let value = self.varint()?;
        match usize::try_from(value) {
            Ok(len) if len <= max => Ok(len),
            _ => Err(Error::new(
                ErrorKind::Corrupt,
                format!("{what} {value} passes the limit {max}"),
            )),
        }
    }

    /// A varint length and that many bytes.
    #[inline]
    pub fn prefixed(&mut self) -> Result<&'a [u8]> {
        let left = self.remaining();
        let len = self.len_varint(left, "length")?;
        self.bytes(len)
    }

    /// Refuses bytes that nothing accounts for.
    pub fn finish(self) -> Result<()> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Error::corrupt(format!(
                "{left} bytes too many at {}",
                self.position()
            ))),
        }
    }

    #[cold]
    fn ended_early(&self, wanted: usize) -> Error {
        Error::corrupt(format!(
            "wanted {wanted} bytes at {}, {} left",
            self.position(),
            self.remaining()
        ))
    }
}

/// Appends `value` as LEB128.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a varint length and the bytes.
pub fn put_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Bytes that [`put_varint`] appends for `value`.
#[inline]
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_go_out_and_come_back_at_every_width() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                assert_eq!(out.len(), varint_len(value));
                let mut reader = Reader::new(&out);
                assert_eq!(reader.varint_canonical().unwrap(), value);
                reader.finish().unwrap();
            }
        }
    }

    #[test]
    fn a_varint_cut_short_or_too_long_is_an_error() {
        for wrong in [
            &[][..],
            &[0x80],
            &[0xff; 9],
            &[0xff; 10],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2],
        ] {
            assert!(Reader::new(wrong).varint().is_err(), "{wrong:?}");
        }
        assert!(Reader::new(&[0x80, 0x00]).varint_canonical().is_err());
        assert_eq!(Reader::new(&[0x80, 0x00]).varint().unwrap(), 0);
    }

    #[test]
    fn a_length_past_the_input_is_refused_before_anything_is_allocated() {
        let mut out = Vec::new();
        put_varint(&mut out, u64::MAX);
        assert!(Reader::new(&out).prefixed().is_err());
    }
}
