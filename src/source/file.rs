//! Regular files, read with pread: a file that is cut while we read is an error, never a signal.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Act, Error, Result};
use crate::leveldb::read_at::ReadAt;

/// Opens a regular file for reading. A FIFO or a device is [`Kind::Corrupt`](crate::error::Kind::Corrupt) instead of a wait without end.
pub fn open_regular(path: &Path) -> Result<(File, u64)> {
    let name = || format!("open {}", path.display());
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
    let file = options.open(path).act(name)?;
    let metadata = file.metadata().act(name)?;
    match metadata.is_file() {
        true => Ok((file, metadata.len())),
        false => Err(Error::corrupt("not a regular file").act(name())),
    }
}

/// A file that is open, and how many of its bytes count.
pub struct OpenFile(pub Arc<File>, pub u64);

impl ReadAt for OpenFile {
    fn len(&self) -> u64 {
        self.1
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.0
            .read_exact_at(buffer, offset)
            .act(|| format!("read at {offset}"))
    }
}
