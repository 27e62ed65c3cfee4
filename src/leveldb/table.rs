//! A table's frame: footer, block handles, checksums; and the blocks that say where the data blocks are.
//!
//! ```text
//! table:  | data block ... | filter block | metaindex block | index block | footer (48) |
//! block:  | stored bytes | codec (1) | masked crc of both (4) |
//! footer: | metaindex handle | index handle | zeros to 40 | magic (8) |       handle: offset varint, size varint
//! index:  a key >= all keys of a data block and < all keys of the next -> its handle
//! ```

use super::block::Entries;
use super::checksum::masked;
use super::decompress::{BLOCK_BYTES_MAX, Decompressor, codec_of};
use super::read_at::ReadAt;
use super::shape::Codec;
use crate::codec::Reader;
use crate::error::{Act, Error, Kind, Result};

/// Bytes of the footer.
pub const FOOTER_BYTES: usize = 48;
/// Bytes behind a block's stored bytes.
pub const TRAILER_BYTES: usize = 5;
/// The last eight bytes of a LevelDB table.
pub const TABLE_MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// The same place in RocksDB's tables: block-based, and plain.
const ROCKSDB_MAGIC: [u64; 2] = [0x88e2_41b7_85f4_cff7, 0x8242_2296_63bf_9564];

/// Largest index, metaindex or filter block, bytes: they are read whole.
const META_BYTES_MAX: usize = 1 << 30;

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    /// Its first byte.
    pub offset: u64,
    /// Its stored bytes, without the trailer.
    pub size: u64,
}

impl Handle {
    /// Reads a handle and leaves the reader behind it.
    pub fn read(reader: &mut Reader) -> Result<Self> {
        Ok(Self {
            offset: reader.varint()?,
            size: reader.varint()?,
        })
    }

    /// Bytes on disk, trailer included, if the block lies before `end`.
    pub fn stored_len(&self, end: u64) -> Result<usize> {
        let stored = self.size.checked_add(TRAILER_BYTES as u64);
        match stored.and_then(|stored| self.offset.checked_add(stored)) {
            Some(block_end) if block_end <= end && self.size <= BLOCK_BYTES_MAX as u64 => {
                Ok(self.size as usize + TRAILER_BYTES)
            }
            _ => Err(Error::corrupt(format!(
                "block of {} bytes at {} does not fit its table",
                self.size, self.offset
            ))),
        }
    }
}

/// Checks a block with its trailer and tells its codec.
#[inline]
pub fn verify_block(stored: &[u8]) -> Result<(Codec, &[u8])> {
    let Some((body, crc)) = stored.split_last_chunk::<4>() else {
        return Err(Error::corrupt("block without a trailer"));
    };
    if masked(body) != u32::from_le_bytes(*crc) {
        return Err(Error::corrupt("checksum mismatch"));
    }
    let Some((id, bytes)) = body.split_last() else {
        return Err(Error::corrupt("block without a trailer"));
    };
    match codec_of(*id, bytes) {
        Some(codec) => Ok((codec, bytes)),
        None => Err(Error::corrupt(format!("unknown block codec {id}"))),
    }
}

/// Reads, checks and decompresses one block into a buffer of its own, exactly as long as it.
pub fn read_block(
    file: &dyn ReadAt,
    handle: Handle,
    end: u64,
    decompressor: &mut Decompressor,
) -> Result<(Codec, Vec<u8>)> {
    let mut stored = vec![0; handle.stored_len(end)?];
    file.read_at(&mut stored, handle.offset)?;
    let (codec, bytes) = verify_block(&stored)?;
    if codec == Codec::None {
        stored.truncate(stored.len() - TRAILER_BYTES);
        return Ok((codec, stored));
    }
    let mut plain = Vec::new();
    let len = decompressor.decompress(codec, bytes, &mut plain)?;
    plain.truncate(len);
    Ok((codec, plain))
}

/// The footer's two handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The block that names filter and other blocks.
    pub metaindex: Handle,
    /// The block that names the data blocks.
    pub index: Handle,
}

impl Footer {
    /// Reads a footer. [`Kind::NotLevelDb`] for RocksDB's.
    pub fn decode(bytes: &[u8; FOOTER_BYTES]) -> Result<Self> {
        let (handles, magic) = bytes.split_at(FOOTER_BYTES - 8);
        let mut reader = Reader::new(magic);
        match reader.u64()? {
            TABLE_MAGIC => {}
            magic if ROCKSDB_MAGIC.contains(&magic) => {
                return Err(Error::new(Kind::NotLevelDb, "this is a table of RocksDB"));
            }
            _ => return Err(Error::corrupt("no table footer")),
        }
        let mut reader = Reader::new(handles);
        Ok(Self {
            metaindex: Handle::read(&mut reader)?,
            index: Handle::read(&mut reader)?,
        })
    }

    /// The footer of a table of `len` bytes.
    pub fn read(file: &dyn ReadAt, len: u64) -> Result<Self> {
        let start = len
            .checked_sub(FOOTER_BYTES as u64)
            .ok_or_else(|| Error::new(Kind::Torn, format!("{len} bytes are no table")))?;
        let mut bytes = [0; FOOTER_BYTES];
        file.read_at(&mut bytes, start)?;
        Self::decode(&bytes)
    }
}

/// The filter block of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterBlock {
    /// The policy's name.
    pub name: String,
    /// The block as stored: filters are never compressed.
    pub bytes: Vec<u8>,
}

/// A table opened: where its data blocks are.
#[derive(Debug)]
pub struct Table {
    /// The index block, plain.
    pub index: Vec<u8>,
    /// Where data blocks must end, bytes.
    pub data_end: u64,
    /// What is wrong with its metaindex or filter; no record depends on them.
    pub filter_fault: Option<Error>,
}

/// The name of a filter in the metaindex begins so.
const FILTER_PREFIX: &[u8] = b"filter.";

impl Table {
    /// Opens a table of `len` bytes: checks footer, index, metaindex and filter.
    pub fn open(file: &dyn ReadAt, len: u64, decompressor: &mut Decompressor) -> Result<Self> {
        let footer = Footer::read(file, len)?;
        let data_end = len - FOOTER_BYTES as u64;
        let index = read_meta_block(file, footer.index, data_end, decompressor).act(|| "index block")?;
        let filter = read_filter(file, footer.metaindex, data_end, decompressor);
        Ok(Self {
            index,
            data_end,
            filter_fault: filter.err(),
        })
    }
}

fn read_meta_block(
    file: &dyn ReadAt,
    handle: Handle,
    end: u64,
    decompressor: &mut Decompressor,
) -> Result<Vec<u8>> {
    if handle.size > META_BYTES_MAX as u64 {
        return Err(Error::corrupt(format!(
            "{} bytes at {}",
            handle.size, handle.offset
        )));
    }
    Ok(read_block(file, handle, end, decompressor)?.1)
}

/// The filter that the metaindex names first, if any.
pub fn read_filter(
    file: &dyn ReadAt,
    metaindex: Handle,
    end: u64,
    decompressor: &mut Decompressor,
) -> Result<Option<FilterBlock>> {
    let block = read_meta_block(file, metaindex, end, decompressor).act(|| "metaindex block")?;
    let mut entries = Entries::new(&block).act(|| "metaindex block")?;
    let mut filter = None;
    while let Some((name, value)) = entries.next().act(|| "metaindex block")? {
        let Some(name) = name.strip_prefix(FILTER_PREFIX) else {
            continue;
        };
        let name = String::from_utf8_lossy(name).into_owned();
        let handle = Handle::read(&mut Reader::new(value)).act(|| "metaindex block")?;
        let bytes = read_meta_block(file, handle, end, decompressor).act(|| format!("filter {name}"))?;
        filter.get_or_insert(FilterBlock { name, bytes });
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_open_or_fail(mut bytes in prop::collection::vec(any::<u8>(), 0..200), magic: bool) {
            let mut decompressor = Decompressor::default();
            if magic {
                bytes.extend([0; 40]);
                bytes.extend(TABLE_MAGIC.to_le_bytes());
            }
            let _ = Table::open(&bytes, bytes.len() as u64, &mut decompressor);
        }
    }

    #[test]
    fn rocksdb_tables_are_refused_by_name() {
        let mut footer = [0; FOOTER_BYTES];
        footer[40..].copy_from_slice(&ROCKSDB_MAGIC[0].to_le_bytes());
        assert_eq!(Footer::decode(&footer).unwrap_err().kind(), Kind::NotLevelDb);
    }

    #[test]
    fn handles_that_leave_the_table_are_refused() {
        for (offset, size) in [(0, 96), (96, 0), (u64::MAX, 1), (1, u64::MAX), (50, 46)] {
            assert!(
                Handle { offset, size }.stored_len(100).is_err(),
                "{offset} {size}"
            );
        }
        assert_eq!(Handle { offset: 95, size: 0 }.stored_len(100).unwrap(), 5);
    }
}
