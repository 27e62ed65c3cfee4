//! Reads a table's footer, index and filter.
//!
//! A table's frame: footer, block handles, checksums; and the blocks that say where the data blocks are.
//!
//! ```text
//! table:  | data block ... | filter block | metaindex block | index block | footer (48) |
//! block:  | stored bytes | codec (1) | masked crc of both (4) |
//! footer: | metaindex handle | index handle | zeros to 40 | magic (8) |       handle: offset varint, size varint
//! index:  a key >= all keys of a data block and < all keys of the next -> its handle
//! ```

use super::block::BlockEntries;
use super::block_decompressor::{BLOCK_BYTES_MAX, Decompressor, codec_of};
use super::checksum::masked;
use super::database_layout::BlockCodec;
use super::read_at::ReadAt;
use crate::codec::Reader;
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// Bytes of the footer.
pub const FOOTER_BYTES: usize = 48;
/// Bytes behind a block's stored bytes.
pub const TRAILER_BYTES: usize = 5;
/// The last eight bytes of a LevelDB table.
pub const TABLE_MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// The same place in tables of other engines.
const FOREIGN_MAGIC: [(u64, &str); 5] = [
    (0x88e2_41b7_85f4_cff7, "RocksDB"),
    (0x8242_2296_63bf_9564, "RocksDB"),
    (0x4f34_18eb_7a8f_13b8, "RocksDB"),
    (0x9267_89d0_c5f1_7873, "RocksDB"),
    (0xb3aa_9ff0_b3aa_9ff0, "Pebble"),
];

/// Largest index, metaindex or filter block, bytes: they are read whole.
const META_BYTES_MAX: usize = 1 << 30;

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHandle {
    /// Its first byte.
    pub offset: u64,
    /// Its stored bytes, without the trailer.
    pub size: u64,
}

impl BlockHandle {
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

/// Checks a block with its trailer and tells its codec. [`ErrorKind::UnknownFormat`] for one that is right and in a codec that
/// we do not have.
#[inline]
pub fn verify_block(stored: &[u8]) -> Result<(BlockCodec, &[u8])> {
    let (id, bytes) = check_stored(stored)?;
    match codec_of(id, bytes) {
        Some(codec) => Ok((codec, bytes)),
        None => Err(unknown_codec(id)),
    }
}

/// Checks a block with its trailer; its codec's id and its stored bytes.
#[inline]
fn check_stored(stored: &[u8]) -> Result<(u8, &[u8])> {
    let Some((body, crc)) = stored.split_last_chunk::<4>() else {
        return Err(Error::corrupt("block without a trailer"));
    };
    if masked(body) != u32::from_le_bytes(*crc) {
        return Err(Error::corrupt("checksum mismatch"));
    }
    match body.split_last() {
        Some((id, bytes)) => Ok((*id, bytes)),
        None => Err(Error::corrupt("block without a trailer")),
    }
}

/// The checksum is right, so the bytes are: it is we who cannot read them.
#[cold]
fn unknown_codec(id: u8) -> Error {
    Error::new(ErrorKind::UnknownFormat, format!("block codec {id} is not known"))
}

/// Reads, checks and decompresses one block into a buffer of its own, exactly as long as it.
pub fn read_block(
    file: &dyn ReadAt,
    handle: BlockHandle,
    end: u64,
    decompressor: &mut Decompressor,
) -> Result<(BlockCodec, Vec<u8>)> {
    let mut stored = vec![0; handle.stored_len(end)?];
    file.read_at(&mut stored, handle.offset)?;
    let (codec, bytes) = verify_block(&stored)?;
    if codec == BlockCodec::None {
        stored.truncate(stored.len() - TRAILER_BYTES);
        return Ok((codec, stored));
    }
    let mut plain = Vec::new();
    let len = decompressor.decompress(codec, bytes, &mut plain)?;
    plain.truncate(len);
    Ok((codec, plain))
}

/// A magic that differs from LevelDB's in no more of its eight bytes is a damaged one; otherwise it is another engine's.
const DAMAGED_MAGIC_BYTES_MAX: usize = 4;

/// The footer's two handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFooter {
    /// The block that names filter and other blocks.
    pub metaindex: BlockHandle,
    /// The block that names the data blocks.
    pub index: BlockHandle,
}

impl TableFooter {
    /// Reads a footer. [`ErrorKind::NotLevelDb`] for those of engines that are known by their magic.
    pub fn decode(bytes: &[u8; FOOTER_BYTES]) -> Result<Self> {
        match magic_of(bytes) {
            TABLE_MAGIC => Self::handles(bytes),
            magic => match FOREIGN_MAGIC.iter().find(|(foreign, _)| *foreign == magic) {
                Some((_, engine)) => Err(Error::new(
                    ErrorKind::NotLevelDb,
                    format!("this is a table of {engine}"),
                )),
                None => Err(Error::corrupt("no table footer")),
            },
        }
    }

    fn handles(bytes: &[u8; FOOTER_BYTES]) -> Result<Self> {
        let mut reader = Reader::new(&bytes[..FOOTER_BYTES - 8]);
        Ok(Self {
            metaindex: BlockHandle::read(&mut reader)?,
            index: BlockHandle::read(&mut reader)?,
        })
    }

    /// The footer of a table of `len` bytes. [`ErrorKind::NotLevelDb`] for one that is whole, with another magic.
    pub fn read(file: &dyn ReadAt, len: u64) -> Result<Self> {
        let start = len
            .checked_sub(FOOTER_BYTES as u64)
            .ok_or_else(|| Error::new(ErrorKind::Torn, format!("{len} bytes are no table")))?;
        let mut bytes = [0; FOOTER_BYTES];
        file.read_at(&mut bytes, start)?;
        match Self::decode(&bytes) {
            Err(error)
                if error.kind() == ErrorKind::Corrupt && Self::has_intact_index(&bytes, file, start) =>
            {
                Err(Error::new(
                    ErrorKind::NotLevelDb,
                    format!("table magic {:016x} is not known", magic_of(&bytes)),
                ))
            }
            decoded => decoded,
        }
    }

    /// True if these bytes lead to an index whose checksum is right, and end in a magic that is none of ours gone bad: then
    /// they are a footer, undamaged.
    fn has_intact_index(bytes: &[u8; FOOTER_BYTES], file: &dyn ReadAt, end: u64) -> bool {
        let magic = magic_of(bytes);
        if magic == 0 || differing_bytes(magic, TABLE_MAGIC) <= DAMAGED_MAGIC_BYTES_MAX {
            return false;
        }
        let checked = Self::handles(bytes).and_then(|footer| {
            if footer.index.size > META_BYTES_MAX as u64 {
                return Err(Error::corrupt("index block"));
            }
            let mut stored = vec![0; footer.index.stored_len(end)?];
            file.read_at(&mut stored, footer.index.offset)?;
            check_stored(&stored).map(drop)
        });
        checked.is_ok()
    }
}

fn differing_bytes(left: u64, right: u64) -> usize {
    let pairs = left.to_le_bytes().into_iter().zip(right.to_le_bytes());
    pairs.filter(|(left, right)| left != right).count()
}

fn magic_of(bytes: &[u8; FOOTER_BYTES]) -> u64 {
    let (_, magic) = bytes.split_last_chunk::<8>().unwrap_or((bytes, &[0; 8]));
    u64::from_le_bytes(*magic)
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
        let footer = TableFooter::read(file, len)?;
        let data_end = len - FOOTER_BYTES as u64;
        let index = read_meta_block(file, footer.index, data_end, decompressor).context(|| "index block")?;
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
    handle: BlockHandle,
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
    metaindex: BlockHandle,
    end: u64,
    decompressor: &mut Decompressor,
) -> Result<Option<FilterBlock>> {
    // Ports that write no filter write no metaindex either.
    if metaindex == (BlockHandle { offset: 0, size: 0 }) {
        return Ok(None);
    }
    let block = read_meta_block(file, metaindex, end, decompressor).context(|| "metaindex block")?;
    let mut entries = BlockEntries::new(&block).context(|| "metaindex block")?;
    let (mut filter, mut left) = (None, end);
    while let Some((name, value)) = entries.next().context(|| "metaindex block")? {
        let Some(name) = name.strip_prefix(FILTER_PREFIX) else {
            continue;
        };
        let name = String::from_utf8_lossy(name).into_owned();
        let handle = BlockHandle::read(&mut Reader::new(value)).context(|| "metaindex block")?;
        // Blocks do not overlap: together they are no longer than the table.
        left = left
            .checked_sub(handle.size)
            .ok_or_else(|| Error::corrupt("metaindex block: filters overlap"))?;
        let bytes = read_meta_block(file, handle, end, decompressor).context(|| format!("filter {name}"))?;
        filter.get_or_insert(FilterBlock { name, bytes });
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

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

    /// Counts what is read of it.
    struct CountedReads<'a>(&'a [u8], AtomicUsize);

    impl ReadAt for CountedReads<'_> {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
            self.1.fetch_add(buffer.len(), Relaxed);
            buffer.copy_from_slice(&self.0[offset as usize..][..buffer.len()]);
            Ok(())
        }

        fn len(&self) -> u64 {
            self.0.len() as u64
        }
    }

    #[test]
    fn filters_are_no_longer_than_their_table() {
        use crate::codec::put_varint;
        use crate::leveldb::test_databases::block_of;

        let mut table = vec![7; 100_000];
        table.push(0);
        table.extend(masked(&table).to_le_bytes());
        let mut handle = vec![0];
        put_varint(&mut handle, 100_000);
        let names: Vec<_> = (0..1000).map(|n| format!("filter.{n:04}")).collect();
        let entries = names.iter().map(|name| (name.as_bytes(), &handle[..]));
        let mut block = block_of(entries, 16);
        let (offset, size) = (table.len() as u64, block.len() as u64);
        block.push(0);
        block.extend(masked(&block).to_le_bytes());
        table.extend(block);
        let counted = CountedReads(&table, AtomicUsize::new(0));
        let metaindex = BlockHandle { offset, size };
        let read = read_filter(
            &counted,
            metaindex,
            table.len() as u64,
            &mut Decompressor::default(),
        );
        assert!(read.unwrap_err().to_string().contains("overlap"));
        let bytes = counted.1.load(Relaxed);
        assert!(bytes <= 2 * table.len(), "{bytes} bytes read");
    }

    #[test]
    fn tables_of_other_engines_are_refused_by_name() {
        for (magic, engine) in FOREIGN_MAGIC {
            let mut footer = [0; FOOTER_BYTES];
            footer[40..].copy_from_slice(&magic.to_le_bytes());
            let error = TableFooter::decode(&footer).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotLevelDb);
            assert!(error.to_string().contains(engine), "{error}");
        }
    }

    #[test]
    fn another_magic_behind_a_right_index_is_unknown_and_anything_else_damaged() {
        use crate::leveldb::test_databases::{op, table_of};
        let mut table = table_of(&[op(b"key", 1, Some(b"value"))], 1, BlockCodec::None);
        let len = table.len();
        table[len - 8..].copy_from_slice(b"OTHERMAG");
        let kind = |table: &Vec<u8>| TableFooter::read(table, table.len() as u64).unwrap_err().kind();
        assert_eq!(kind(&table), ErrorKind::NotLevelDb);
        let mut damaged = TABLE_MAGIC.to_le_bytes();
        damaged[..DAMAGED_MAGIC_BYTES_MAX].fill(b'?');
        table[len - 8..].copy_from_slice(&damaged);
        assert_eq!(
            kind(&table),
            ErrorKind::Corrupt,
            "half of LevelDB's magic is there"
        );
        table[len - 8..].copy_from_slice(b"OTHERMAG");
        let index = len - FOOTER_BYTES - 3;
        table[index] ^= 1;
        assert_eq!(kind(&table), ErrorKind::Corrupt);
    }

    #[test]
    fn handles_that_leave_the_table_are_refused() {
        for (offset, size) in [(0, 96), (96, 0), (u64::MAX, 1), (1, u64::MAX), (50, 46)] {
            assert!(
                BlockHandle { offset, size }.stored_len(100).is_err(),
                "{offset} {size}"
            );
        }
        assert_eq!(BlockHandle { offset: 95, size: 0 }.stored_len(100).unwrap(), 5);
    }
}
