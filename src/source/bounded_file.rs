//! Reads a regular file up to a fixed length.
//!
//! Regular files, read with pread: a file that is cut while we read is an error, never a signal.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::error::{Result, ResultExt};
use crate::leveldb::read_at::ReadAt;

/// A file that is open, and how many of its bytes count.
pub struct BoundedFile(pub Arc<File>, pub u64);

impl ReadAt for BoundedFile {
    fn len(&self) -> u64 {
        self.1
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.0
            .read_exact_at(buffer, offset)
            .context(|| format!("read at {offset}"))
    }
}
