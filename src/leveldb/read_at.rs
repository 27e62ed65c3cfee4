//! Reads bytes at an offset: the interface of all decoders.
//!
//! Bytes at an offset: all that the decoders ask of a file.

use crate::error::{Error, ErrorKind, Result};

/// A file, or something that can be read like one. Its length is fixed when it is opened.
pub trait ReadAt: Send + Sync {
    /// Bytes in all.
    fn len(&self) -> u64;

    /// Fills `buffer` from `offset`, or fails: [`ErrorKind::Torn`] when the bytes end too early.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()>;

    /// True when there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let source = start
            .checked_add(buffer.len())
            .and_then(|end| self.get(start..end))
            .ok_or_else(|| Error::new(ErrorKind::Torn, format!("no {} bytes at {offset}", buffer.len())))?;
        buffer.copy_from_slice(source);
        Ok(())
    }
}
