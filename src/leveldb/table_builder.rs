//! Builds tables from sorted records.
//!
//! Sorted records → one table, bytes out: the inverse of the table reader.
//!
//! ```text
//! data block | ... | filter block | metaindex block | index block | footer (48 bytes)
//! block: contents | codec id | masked CRC-32C over both (le32)
//! ```
//!
//! Every entry has one sequence number, `max(1, the cut's last)`: a restored database keeps no history, and number 0
//! would be lost in rusty-leveldb's compactions. Deletions are for tables above others.
//!
//! A builder makes one table after another and keeps its buffers and compressor between them: have one per
//! thread. Nothing is allocated per record. A value is copied into the table once; a second time when its
//! block is compressed.

use std::cmp::Ordering;

use super::block_builder::{BlockBuilder, Tag};
use super::block_compressor::BlockCompressor;
use super::checksum::masked;
use super::comparator::Comparator;
use super::database_layout::{BlockCodec, DatabaseLayout};
use super::filter::FilterBuilder;
use super::index_separator::{TAG_LAST, separate_bytewise};
use crate::codec::put_varint;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{KEY_BYTES_MAX, SEQUENCE_MAX, VALUE_BYTES_MAX};

const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
const FOOTER_BYTES: usize = 48;
const KIND_DELETE: u64 = 0;
const KIND_PUT: u64 = 1;

/// Bounds on what a [`DatabaseLayout`] may ask for; it was inferred from files that anybody may have written. LevelDB
/// itself takes blocks of 1 KiB to 4 MiB and tables of 1 MiB to 1 GiB.
const BLOCK_BYTES_RANGE: (u32, u32) = (128, 4 << 20);
const TABLE_BYTES_RANGE: (u64, u64) = (64 << 10, 64 << 20);
const RESTART_INTERVAL_RANGE: (u32, u32) = (1, 1024);

/// One whole table and what the MANIFEST says of it.
#[derive(Clone, Debug)]
pub struct FinishedTable {
    /// The file.
    pub bytes: Vec<u8>,
    /// First internal key (user key, then eight bytes of tag).
    pub smallest: Vec<u8>,
    /// Last internal key.
    pub largest: Vec<u8>,
    /// Entries in it.
    pub records: u64,
    /// Bytes of their user keys and values.
    pub plain_bytes: u64,
    /// The same of the longest entry.
    pub longest_bytes: u64,
}

/// Where a block stands: offset and length without the five bytes behind it.
#[derive(Clone, Copy, Debug)]
struct WrittenBlock {
    offset: usize,
    len: usize,
}

/// Builds tables of one database.
pub struct TableBuilder {
    comparator: Comparator,
    put_tag: Tag,
    delete_tag: Tag,
    /// Of the entry added last.
    last_tag: Tag,
    block_bytes: usize,
    table_bytes: usize,
    compressor: BlockCompressor,
    filter: Option<FilterBuilder>,
    out: Vec<u8>,
    data: BlockBuilder,
    index: Vec<u8>,
    index_entries: BlockBuilder,
    separator: Vec<u8>,
    /// The data block finished last: its index entry waits for the key that follows.
    unlisted: Option<WrittenBlock>,
    smallest: Vec<u8>,
    records: u64,
    plain_bytes: u64,
    longest_bytes: u64,
}

impl TableBuilder {
    /// Tables laid out as `shape` says, in the order of `comparator`.
    pub fn new(shape: &DatabaseLayout, comparator: &Comparator) -> Result<Self> {
        let table_bytes = shape.table_bytes.clamp(TABLE_BYTES_RANGE.0, TABLE_BYTES_RANGE.1) as usize;
        let restart_interval = shape
            .restart_interval
            .clamp(RESTART_INTERVAL_RANGE.0, RESTART_INTERVAL_RANGE.1);
        Ok(Self {
            comparator: comparator.clone(),
            put_tag: tag_of(shape, KIND_PUT),
            delete_tag: tag_of(shape, KIND_DELETE),
            last_tag: Tag::default(),
            block_bytes: shape.block_size.clamp(BLOCK_BYTES_RANGE.0, BLOCK_BYTES_RANGE.1) as usize,
            table_bytes,
            compressor: BlockCompressor::new(shape.codec)?,
            filter: FilterBuilder::of(shape),
            out: Vec::new(),
            data: BlockBuilder::new(restart_interval),
            index: Vec::new(),
            index_entries: BlockBuilder::new(1),
            separator: Vec::new(),
            unlisted: None,
            smallest: Vec::new(),
            records: 0,
            plain_bytes: 0,
            longest_bytes: 0,
        })
    }

    /// Appends a record behind the last one. Keys out of order, or past the limits of
    /// [`crate::limits`], are errors; the table is then to be thrown away.
    #[inline]
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.begin_entry(key, self.put_tag, value)
    }

    /// Appends a deletion, which hides what older tables have of the key. Errors are those of [`Self::add`].
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.begin_entry(key, self.delete_tag, &[])
    }

    /// True once the table has the size that the database's owner gives its tables: finish it before more is
    /// added.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.out.len() >= self.table_bytes
    }

    /// True while nothing was added.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The whole table; the builder is ready for the next one. An empty table is an error, for no reader
    /// expects one.
    pub fn finish(&mut self) -> Result<FinishedTable> {
        if self.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "finish a table without records"));
        }
        if !self.data.is_empty() {
            self.close_data_block()?;
        }
        if let Some(handle) = self.unlisted.take() {
            self.list(handle, None);
        }
        let metaindex = self.write_metaindex()?;
        let index = self.write_index()?;
        write_footer(&mut self.out, metaindex, index);
        Ok(FinishedTable {
            bytes: std::mem::take(&mut self.out),
            smallest: std::mem::take(&mut self.smallest),
            largest: internal_key(self.data.last_key(), &self.last_tag),
            records: std::mem::take(&mut self.records),
            plain_bytes: std::mem::take(&mut self.plain_bytes),
            longest_bytes: std::mem::take(&mut self.longest_bytes),
        })
    }

    /// Takes a written table's buffer back, so that the next table needs none of its own.
    pub fn recycle(&mut self, table: FinishedTable) {
        let mut bytes = table.bytes;
        if self.is_empty() && bytes.capacity() <= 4 * self.table_bytes {
            bytes.clear();
            self.out = bytes;
        }
    }

    #[inline]
    fn begin_entry(&mut self, key: &[u8], tag: Tag, value: &[u8]) -> Result<()> {
        self.check_order(key, value)?;
        if self.records == 0 {
            self.begin(key, &tag);
        }
        if let Some(handle) = self.unlisted.take() {
            self.list(handle, Some(key));
        }
        if let Some(filter) = &mut self.filter {
            filter.add(key);
        }
        self.data.add(&mut self.out, key, &tag, value);
        self.last_tag = tag;
        self.records += 1;
        let bytes = (key.len() + value.len()) as u64;
        self.plain_bytes += bytes;
        self.longest_bytes = self.longest_bytes.max(bytes);
        if self.data.len(&self.out) >= self.block_bytes {
            self.close_data_block()?;
        }
        Ok(())
    }

    #[inline]
    fn check_order(&self, key: &[u8], value: &[u8]) -> Result<()> {
        if key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("record of {} + {} bytes", key.len(), value.len()),
            ));
        }
        if self.records > 0 && !self.is_after_last(key) {
            return Err(Error::corrupt("records are not in the order of their keys"));
        }
        Ok(())
    }

    #[inline]
    fn is_after_last(&self, key: &[u8]) -> bool {
        match &self.comparator {
            Comparator::Unknown(_) => true,
            known => known.compare(self.data.last_key(), key) == Ordering::Less,
        }
    }

    #[cold]
    fn begin(&mut self, key: &[u8], tag: &Tag) {
        self.smallest = internal_key(key, tag);
        if self.out.capacity() == 0 {
            self.out.reserve(self.table_bytes + self.table_bytes / 8);
        }
        self.out.clear();
        self.data.begin(0);
        self.index.clear();
        self.index_entries.begin(0);
        self.unlisted = None;
        if let Some(filter) = &mut self.filter {
            filter.clear();
        }
    }

    fn close_data_block(&mut self) -> Result<()> {
        let start = self.data.start();
        self.data.finish(&mut self.out);
        self.unlisted = Some(seal(&mut self.compressor, &mut self.out, start)?);
        self.data.begin(self.out.len());
        if let Some(filter) = &mut self.filter {
            filter.start_block(self.out.len());
        }
        Ok(())
    }

    fn list(&mut self, handle: WrittenBlock, next: Option<&[u8]>) {
        let last = self.data.last_key();
        let tag = match self.comparator {
            Comparator::Bytewise => separate_bytewise(last, next, &mut self.separator),
            _ => {
                self.separator.clear();
                self.separator.extend_from_slice(last);
                TAG_LAST
            }
        };
        let (handle, len) = handle.encode();
        self.index_entries
            .add(&mut self.index, &self.separator, &tag, &handle[..len]);
    }

    /// The filter block, if there is one, and the metaindex that names it.
    fn write_metaindex(&mut self) -> Result<WrittenBlock> {
        let filter = self.filter.as_mut().map(|filter| {
            let start = self.out.len();
            filter.finish(&mut self.out);
            (filter.name(), close(&mut self.out, start, BlockCodec::None))
        });
        let start = self.out.len();
        if let Some((name, handle)) = filter {
            let (handle, len) = handle.encode();
            let name = format!("filter.{name}");
            self.out.push(0);
            put_varint(&mut self.out, name.len() as u64);
            put_varint(&mut self.out, len as u64);
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(&handle[..len]);
        }
        self.out.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0]);
        seal(&mut self.compressor, &mut self.out, start)
    }

    fn write_index(&mut self) -> Result<WrittenBlock> {
        self.index_entries.finish(&mut self.index);
        let start = self.out.len();
        self.out.extend_from_slice(&self.index);
        seal(&mut self.compressor, &mut self.out, start)
    }
}

fn tag_of(shape: &DatabaseLayout, kind: u64) -> Tag {
    (restored_sequence(shape) << 8 | kind).to_le_bytes()
}

/// The sequence number of every record of a restored database.
pub fn restored_sequence(shape: &DatabaseLayout) -> u64 {
    shape.last_sequence.clamp(1, SEQUENCE_MAX)
}

impl WrittenBlock {
    /// Two varints, as footer and index hold them; the array and how much of it is used.
    fn encode(self) -> ([u8; 20], usize) {
        let (mut bytes, mut len) = ([0; 20], 0);
        for mut number in [self.offset, self.len] {
            while number >= 0x80 {
                bytes[len] = number as u8 | 0x80;
                number >>= 7;
                len += 1;
            }
            bytes[len] = number as u8;
            len += 1;
        }
        (bytes, len)
    }
}

fn internal_key(key: &[u8], tag: &Tag) -> Vec<u8> {
    [key, tag].concat()
}

/// Compresses `out[start..]` if that pays, and seals it.
fn seal(compressor: &mut BlockCompressor, out: &mut Vec<u8>, start: usize) -> Result<WrittenBlock> {
    let codec = compressor.compress(out, start)?;
    Ok(close(out, start, codec))
}

/// Seals `out[start..]`, which `codec` compressed.
fn close(out: &mut Vec<u8>, start: usize, codec: BlockCodec) -> WrittenBlock {
    let len = out.len() - start;
    out.push(codec.id());
    let checksum = masked(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
    WrittenBlock { offset: start, len }
}

fn write_footer(out: &mut Vec<u8>, metaindex: WrittenBlock, index: WrittenBlock) {
    let start = out.len();
    for handle in [metaindex, index] {
        let (bytes, len) = handle.encode();
        out.extend_from_slice(&bytes[..len]);
    }
    out.resize(start + FOOTER_BYTES - 8, 0);
    out.extend_from_slice(&MAGIC.to_le_bytes());
}

#[cfg(test)]
mod tests;
