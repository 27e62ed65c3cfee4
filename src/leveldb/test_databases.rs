//! Databases for tests, file by file: tables with tombstones and old versions in them, logs of batches, MANIFESTs.
//! Written apart from the table writer, so that reader and writer do not share a mistake.

use std::collections::BTreeMap;

use super::block::BlockEntries;
use super::block_decompressor::Decompressor;
use super::checksum::masked;
use super::comparator::Comparator;
use super::database_layout::BlockCodec;
use super::internal_key::compare_internal;
use super::log_writer::append_record;
use super::read_at::ReadAt;
use super::scan_context::OpenFiles;
use super::table_reader::{BlockHandle, TABLE_MAGIC, Table};
use super::version::{TableMeta, VersionEdit};
use crate::codec::{Reader, put_prefixed, put_varint};
use crate::error::{Error, ErrorKind, Result};

/// One write: key, sequence number, value or deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteOp {
    pub key: Vec<u8>,
    pub sequence: u64,
    pub value: Option<Vec<u8>>,
}

pub fn op(key: &[u8], sequence: u64, value: Option<&[u8]>) -> WriteOp {
    WriteOp {
        key: key.to_vec(),
        sequence,
        value: value.map(<[u8]>::to_vec),
    }
}

/// What LevelDB shows after all of them.
pub fn visible<'a>(ops: impl IntoIterator<Item = &'a WriteOp>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut newest: BTreeMap<&[u8], &WriteOp> = BTreeMap::new();
    for op in ops {
        let kept = newest.entry(&op.key).or_insert(op);
        if kept.sequence < op.sequence {
            *kept = op;
        }
    }
    let visible = |(key, op): (&[u8], &WriteOp)| Some((key.to_vec(), op.value.clone()?));
    newest.into_iter().filter_map(visible).collect()
}

impl WriteOp {
    pub fn internal_key(&self) -> Vec<u8> {
        let tag = self.sequence << 8 | u64::from(self.value.is_some());
        [&self.key[..], &tag.to_le_bytes()].concat()
    }
}

/// A batch's record.
pub fn batch_of(ops: &[WriteOp]) -> Vec<u8> {
    let mut out = ops.first().map_or(0, |op| op.sequence).to_le_bytes().to_vec();
    out.extend((ops.len() as u32).to_le_bytes());
    for op in ops {
        out.push(u8::from(op.value.is_some()));
        put_prefixed(&mut out, &op.key);
        if let Some(value) = &op.value {
            put_prefixed(&mut out, value);
        }
    }
    out
}

/// A log of batches.
pub fn log_of<'a>(batches: impl IntoIterator<Item = &'a [WriteOp]>) -> Vec<u8> {
    let mut log = Vec::new();
    for batch in batches {
        append_record(&mut log, &batch_of(batch));
    }
    log
}

/// A block of sorted entries, restarting every `interval` keys.
pub fn block_of<'a>(entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>, interval: usize) -> Vec<u8> {
    let (mut out, mut restarts, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (key, value)) in entries.into_iter().enumerate() {
        let mut shared = key.iter().zip(&last).take_while(|(a, b)| a == b).count();
        if index % interval == 0 {
            restarts.push(out.len() as u32);
            shared = 0;
        }
        for len in [shared, key.len() - shared, value.len()] {
            put_varint(&mut out, len as u64);
        }
        out.extend_from_slice(&key[shared..]);
        out.extend_from_slice(value);
        last = key.to_vec();
    }
    if restarts.is_empty() {
        restarts.push(0);
    }
    out.extend(restarts.iter().flat_map(|offset| offset.to_le_bytes()));
    out.extend((restarts.len() as u32).to_le_bytes());
    out
}

fn put_block(out: &mut Vec<u8>, plain: &[u8], codec: BlockCodec) -> Vec<u8> {
    let stored = match codec {
        BlockCodec::Snappy => snap::raw::Encoder::new().compress_vec(plain).unwrap(),
        BlockCodec::Zstd => zstd::bulk::compress(plain, 1).unwrap(),
        _ => plain.to_vec(),
    };
    let mut handle = Vec::new();
    put_varint(&mut handle, out.len() as u64);
    put_varint(&mut handle, stored.len() as u64);
    let body = [&stored[..], &[codec.id()]].concat();
    out.extend_from_slice(&body);
    out.extend(masked(&body).to_le_bytes());
    handle
}

/// A table of operations already in internal-key order, with `per_block` entries in a block.
pub fn table_of(ops: &[WriteOp], per_block: usize, codec: BlockCodec) -> Vec<u8> {
    let block = |ops: &[WriteOp]| {
        let keys: Vec<Vec<u8>> = ops.iter().map(WriteOp::internal_key).collect();
        let values = ops.iter().map(|op| op.value.as_deref().unwrap_or_default());
        let block = block_of(keys.iter().map(Vec::as_slice).zip(values), 4);
        (keys.last().unwrap().clone(), block)
    };
    table_of_blocks(ops.chunks(per_block).map(block), 1, codec)
}

/// A table of plain blocks, each with its index key, each of them named so often in the index.
pub fn table_of_blocks(
    blocks: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    named: usize,
    codec: BlockCodec,
) -> Vec<u8> {
    let (mut out, mut index) = (Vec::new(), Vec::new());
    for (key, block) in blocks {
        let handle = put_block(&mut out, &block, codec);
        index.resize(index.len() + named, (key, handle));
    }
    let metaindex = put_block(&mut out, &block_of([], 1), BlockCodec::None);
    let index = block_of(index.iter().map(|(key, handle)| (&key[..], &handle[..])), 1);
    let index = put_block(&mut out, &index, codec);
    let mut footer = [metaindex, index].concat();
    footer.resize(40, 0);
    out.extend(footer);
    out.extend(TABLE_MAGIC.to_le_bytes());
    out
}

/// A block of so many keys, each the one before and one byte more: thirteen bytes stored of each.
pub fn growing_block(keys: u32) -> Vec<u8> {
    let tag = (1u64 << 8 | 1).to_le_bytes();
    let mut out = Vec::new();
    for number in 0..keys {
        for len in [number, 9, 0] {
            put_varint(&mut out, u64::from(len));
        }
        out.push(b'a');
        out.extend(tag);
    }
    out.extend([0u32, 1].iter().flat_map(|number| number.to_le_bytes()));
    out
}

/// A database with one table of such a block.
pub fn growing_keys(keys: u32) -> MemoryFiles {
    let key = |len: u32| op(&vec![b'a'; len as usize], 1, None).internal_key();
    let with_value = |mut key: Vec<u8>| {
        let at = key.len() - 8;
        key[at] = 1;
        key
    };
    let bytes = table_of_blocks(
        [(b"b\x01\x01\0\0\0\0\0\0".to_vec(), growing_block(keys))],
        1,
        BlockCodec::None,
    );
    let mut files = MemoryFiles::new(&Comparator::Bytewise);
    let meta = TableMeta {
        number: 5,
        size: bytes.len() as u64,
        smallest: with_value(key(1)),
        largest: with_value(key(keys)),
    };
    files.edit.added.push((1, meta));
    files.tables.insert(5, bytes);
    files
}

/// Sorts operations as a table has them.
pub fn sort(ops: &mut [WriteOp], order: &Comparator) {
    ops.sort_by(|a, b| compare_internal(order, &a.internal_key(), &b.internal_key()));
}

/// The files of a database, in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles {
    pub tables: BTreeMap<u64, Vec<u8>>,
    pub logs: BTreeMap<u64, Vec<u8>>,
    pub edit: VersionEdit,
}

impl MemoryFiles {
    pub fn new(order: &Comparator) -> Self {
        Self {
            edit: VersionEdit {
                comparator: Some(order.name().as_bytes().to_vec()),
                log_number: Some(0),
                next_file: Some(1000),
                last_sequence: Some(0),
                ..VersionEdit::default()
            },
            ..Self::default()
        }
    }

    /// Adds a table of operations in order.
    pub fn add_table(
        &mut self,
        level: u8,
        number: u64,
        ops: &[WriteOp],
        per_block: usize,
        codec: BlockCodec,
    ) {
        let bytes = table_of(ops, per_block, codec);
        let meta = TableMeta {
            number,
            size: bytes.len() as u64,
            smallest: ops.first().unwrap().internal_key(),
            largest: ops.last().unwrap().internal_key(),
        };
        self.edit.added.push((level, meta));
        self.tables.insert(number, bytes);
    }

    pub fn add_log<'a>(&mut self, number: u64, batches: impl IntoIterator<Item = &'a [WriteOp]>) {
        self.logs.insert(number, log_of(batches));
    }

    pub fn manifest(&self) -> Vec<u8> {
        let (mut record, mut manifest) = (Vec::new(), Vec::new());
        self.edit.encode(&mut record);
        append_record(&mut manifest, &record);
        manifest
    }

    /// Writes them all to a directory.
    pub fn write_to(&self, directory: &std::path::Path) {
        let write = |name: String, bytes: &[u8]| std::fs::write(directory.join(name), bytes).unwrap();
        write("CURRENT".into(), b"MANIFEST-000001\n");
        write("MANIFEST-000001".into(), &self.manifest());
        for (number, bytes) in &self.tables {
            write(format!("{number:06}.ldb"), bytes);
        }
        for (number, bytes) in &self.logs {
            write(format!("{number:06}.log"), bytes);
        }
    }
}

impl OpenFiles for MemoryFiles {
    fn open_table(&self, number: u64) -> Result<Box<dyn ReadAt>> {
        open(&self.tables, number)
    }

    fn open_log(&self, number: u64) -> Result<Box<dyn ReadAt>> {
        open(&self.logs, number)
    }
}

fn open(files: &BTreeMap<u64, Vec<u8>>, number: u64) -> Result<Box<dyn ReadAt>> {
    match files.get(&number) {
        Some(bytes) => Ok(Box::new(bytes.clone())),
        None => Err(Error::new(ErrorKind::NotFound, format!("no file {number}"))),
    }
}

/// Puts another codec's id behind the data block of this index, or behind all of them, and makes their checksums right.
/// The table must have been made with [`BlockCodec::None`].
pub fn recode(table: &mut [u8], block: Option<usize>, id: u8) {
    let blocks = data_blocks(table).into_iter().enumerate();
    for (_, handle) in blocks.filter(|(index, _)| block.is_none_or(|wanted| wanted == *index)) {
        recode_at(table, handle.offset as usize, handle.size as usize, id);
    }
}

/// The same for the block of `size` bytes at `at`.
pub fn recode_at(table: &mut [u8], at: usize, size: usize, id: u8) {
    let end = at + size;
    table[end] = id;
    let crc = masked(&table[at..=end]);
    table[end + 1..end + 5].copy_from_slice(&crc.to_le_bytes());
}

/// Where a table's data blocks lie.
pub fn data_blocks(table: &[u8]) -> Vec<BlockHandle> {
    let bytes = table.to_vec();
    let open = Table::open(&bytes, bytes.len() as u64, &mut Decompressor::default()).unwrap();
    let mut entries = BlockEntries::new(&open.index).unwrap();
    let mut handles = Vec::new();
    while let Some((_, value)) = entries.next().unwrap() {
        handles.push(BlockHandle::read(&mut Reader::new(value)).unwrap());
    }
    handles
}
