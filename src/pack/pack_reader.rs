//! Reads a pack's directory and single blobs.

use super::pack_directory::{self, TRAILER_LEN};
use super::pack_key::PackKey;
use super::{CompressedBlob, PackedBlob, TAIL_LEN};
use crate::blob::{self, NamedBlob, SealedName};
use crate::error::{Result, ResultExt};

/// What the last bytes of a pack gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PackTail {
    /// What lies where, by offset.
    Directory(Vec<PackedBlob>),
    /// The directory is longer: read so many bytes from the end, and ask again.
    Short {
        /// Bytes from the end of the pack.
        wanted: usize,
    },
}

/// How many bytes to read from the end of a pack of this length at first.
pub fn tail_len(pack_len: u64) -> usize {
    pack_len.min(TAIL_LEN as u64) as usize
}

/// Reads the directory from the last bytes of a pack of `pack_len` bytes.
pub fn read_directory(key: &PackKey, tail: &[u8], pack_len: u64) -> Result<PackTail> {
    let read = || -> Result<_> {
        let trailer = pack_directory::trailer(tail, pack_len)?;
        let wanted = trailer.stored_len as usize + TRAILER_LEN;
        let Some(start) = tail.len().checked_sub(wanted) else {
            return Ok(PackTail::Short { wanted });
        };
        let sealed = &tail[start..tail.len() - TRAILER_LEN];
        pack_directory::open(key, trailer, sealed, pack_len).map(PackTail::Directory)
    };
    read().context(|| "read pack directory")
}

/// Opens one blob from its stored bytes. `name` comes from the index or a directory.
pub fn read_blob(key: &PackKey, name: &SealedName, sealed: &[u8]) -> Result<NamedBlob> {
    blob::open(&key.part, &key.domain, name, sealed)
}

/// The same for whoever seals it again: nothing is compressed twice.
pub fn read_compressed(key: &PackKey, name: &SealedName, sealed: &[u8]) -> Result<CompressedBlob> {
    CompressedBlob::open(key, name, sealed)
}
