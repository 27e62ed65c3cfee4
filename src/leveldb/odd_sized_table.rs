//! Opens a table whose length differs from the MANIFEST's.
//!
//! The Java port records four bytes more than a compacted table has, and opens it all the same; other ports record none, or
//! what they had written before the footer. The size proves nothing about the bytes: the table's own footer and index do,
//! the checksum of each block, and that it begins and ends with the MANIFEST's keys, sequence numbers and all. A table of
//! another database under this number fails by its keys, before a record of it is handed out.

use super::block::BlockEntries;
use super::block_decompressor::Decompressor;
use super::read_at::ReadAt;
use super::table_reader::{BlockHandle, FOOTER_BYTES, Table, read_block};
use super::version::TableMeta;
use crate::codec::Reader;
use crate::error::{Error, ErrorKind, Result};

/// Opens the table that `meta` describes; [`ErrorKind::Corrupt`] or [`ErrorKind::Torn`] for one that is another or not whole.
pub fn open_sized(file: &dyn ReadAt, meta: &TableMeta, decompressor: &mut Decompressor) -> Result<Table> {
    let len = file.len();
    if len == meta.size {
        return Table::open(file, len, decompressor);
    }
    let opened = if len > meta.size && meta.size >= FOOTER_BYTES as u64 {
        open_proven(file, meta.size, meta, decompressor)
            .or_else(|_| open_proven(file, len, meta, decompressor))
    } else {
        open_proven(file, len, meta, decompressor)
    };
    opened.map_err(|error| {
        let what = format!("{len} bytes where the MANIFEST has {}", meta.size);
        error.context(what)
    })
}

/// Where the table ends that has this length, by what the MANIFEST says of it: for what is only sampled.
pub fn find_likely_end(len: u64, meta: &TableMeta) -> u64 {
    match meta.size {
        0 => len,
        size => size.min(len),
    }
}

fn open_proven(
    file: &dyn ReadAt,
    len: u64,
    meta: &TableMeta,
    decompressor: &mut Decompressor,
) -> Result<Table> {
    let table = Table::open(file, len, decompressor)?;
    let ends = candidate_ends(file, &table, decompressor)?;
    let [first, last] = ends;
    let is_another = |end: &Result<Vec<u8>>, key: &[u8]| matches!(end, Ok(found) if found != key);
    if is_another(&first, &meta.smallest) || is_another(&last, &meta.largest) {
        return Err(Error::corrupt("its first or last key is not the MANIFEST's"));
    }
    match (first, last) {
        // What cannot be read of the other end is listed with its block.
        (Ok(_), _) | (_, Ok(_)) => Ok(table),
        (Err(error), Err(_)) => Err(error),
    }
}

/// First and last internal key of a table.
fn candidate_ends(
    file: &dyn ReadAt,
    table: &Table,
    decompressor: &mut Decompressor,
) -> Result<[Result<Vec<u8>>; 2]> {
    let mut index = BlockEntries::new(&table.index)?;
    let mut handles: Option<[BlockHandle; 2]> = None;
    while let Some((_, value)) = index.next()? {
        let handle = BlockHandle::read(&mut Reader::new(value))?;
        handles.get_or_insert([handle, handle])[1] = handle;
    }
    let [first, last] = handles.ok_or_else(|| Error::new(ErrorKind::Torn, "a table without blocks"))?;
    let first = block_ends(file, first, table.data_end, decompressor).map(|(first, _)| first);
    let last = block_ends(file, last, table.data_end, decompressor).map(|(_, last)| last);
    Ok([first, last])
}

/// First and last key of a block.
pub fn block_ends(
    file: &dyn ReadAt,
    handle: BlockHandle,
    end: u64,
    decompressor: &mut Decompressor,
) -> Result<(Vec<u8>, Vec<u8>)> {
    let (_, block) = read_block(file, handle, end, decompressor)?;
    let mut entries = BlockEntries::new(&block)?;
    let mut ends: Option<(Vec<u8>, Vec<u8>)> = None;
    while let Some((key, _)) = entries.next()? {
        match &mut ends {
            None => ends = Some((key.to_vec(), key.to_vec())),
            Some((_, last)) => {
                last.clear();
                last.extend_from_slice(key);
            }
        }
    }
    ends.ok_or_else(|| Error::corrupt("block without entries"))
}
