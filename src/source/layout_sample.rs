//! Derives a database's options from a sample of its tables.
//!
//! Layout from a sample: what the owner chose is recorded nowhere, but a few tables show it.
//!
//! A writer closes a data block with the entry that brings it to the block size, so every block but a table's last
//! is at least that long, and was shorter before its last entry. A filter has as many bits as bits per key times the
//! keys of the blocks it covers.

use super::bounded_file::BoundedFile;
use super::detect_database::read_prefix;
use crate::codec::Reader;
use crate::error::Result;
use crate::held_directory::HeldDirectory;
use crate::leveldb::block::{BlockEntries, entries_end, entry_at, restarts};
use crate::leveldb::block_decompressor::Decompressor;
use crate::leveldb::database_layout::{BlockCodec, DatabaseLayout, Dialect, FilterPolicy, TableExtension};
use crate::leveldb::level_iterator::LevelTable;
use crate::leveldb::odd_sized_table::find_likely_end;
use crate::leveldb::scan_context::OpenFiles;
use crate::leveldb::table_reader::{
    BlockHandle, FOOTER_BYTES, FilterBlock, TableFooter, read_block, read_filter,
};

/// Tables looked at.
const TABLES_MAX: usize = 8;
/// Data blocks looked at in each, from its start.
const BLOCKS_MAX: usize = 16;

/// What the sample showed.
#[derive(Default)]
struct LayoutSample {
    codecs: Vec<BlockCodec>,
    /// The block size lies above this ...
    block_size_above: usize,
    /// ... and not above this.
    block_size_max: Option<usize>,
    restart_interval: Option<u32>,
    filter: Option<String>,
    filter_bits: u64,
    filter_keys: u64,
}

/// The shape that a sample of `tables` shows, with defaults for what it does not.
pub fn sample_layout(
    files: &dyn OpenFiles,
    directory: &HeldDirectory,
    tables: &[LevelTable],
    comparator: &str,
) -> DatabaseLayout {
    let mut seen = LayoutSample::default();
    let mut decompressor = Decompressor::default();
    let stride = tables.len().div_ceil(TABLES_MAX).max(1);
    for table in tables.iter().step_by(stride) {
        // A table that cannot be read shows nothing; the scan reports it.
        let _ = sample_table(files, table, &mut decompressor, &mut seen);
    }
    let default = DatabaseLayout::default();
    let filter = seen.filter.as_ref().map(|name| FilterPolicy {
        name: name.clone(),
        bits_per_key: bits_per_key(&seen),
    });
    let codec = match (seen.codecs.is_empty(), most_common(&seen.codecs)) {
        (true, _) => default.codec,
        (false, codec) => codec.unwrap_or(BlockCodec::None),
    };
    let mojang = seen
        .codecs
        .iter()
        .any(|codec| matches!(codec, BlockCodec::Zlib | BlockCodec::Deflate));
    DatabaseLayout {
        comparator: comparator.to_owned(),
        codec,
        block_size: block_size(&seen).unwrap_or(default.block_size),
        restart_interval: seen.restart_interval.unwrap_or(default.restart_interval),
        dialect: dialect(directory, mojang, filter.as_ref()),
        filter,
        table_bytes: table_bytes(tables).unwrap_or(default.table_bytes),
        table_extension: extension(tables),
        ..default
    }
}

fn sample_table(
    files: &dyn OpenFiles,
    table: &LevelTable,
    decompressor: &mut Decompressor,
    seen: &mut LayoutSample,
) -> Result<()> {
    let file = files.open_table(table.meta.number)?;
    let len = find_likely_end(file.len(), &table.meta);
    let footer = TableFooter::read(file.as_ref(), len)?;
    let end = len - FOOTER_BYTES as u64;
    let (_, index) = read_block(file.as_ref(), footer.index, end, decompressor)?;
    let filter = read_filter(file.as_ref(), footer.metaindex, end, decompressor).unwrap_or_default();
    let mut handles = Vec::new();
    let mut entries = BlockEntries::new(&index)?;
    while let Some((_, value)) = entries.next()? {
        handles.push(BlockHandle::read(&mut Reader::new(value))?);
    }
    let mut keys = Vec::new();
    for (position, handle) in handles.iter().take(BLOCKS_MAX).enumerate() {
        // Shape is not worth reading values of megabytes.
        if handle.size > 4 << 20 {
            continue;
        }
        let (codec, plain) = read_block(file.as_ref(), *handle, end, decompressor)?;
        seen.codecs.push(codec);
        let count = seen.sample_block(&plain, position + 1 == handles.len())?;
        keys.push((handle.offset, count));
    }
    if let Some(filter) = filter {
        seen.sample_filter(&filter, &keys, handles.len() <= keys.len());
    }
    Ok(())
}

impl LayoutSample {
    /// Counts the block's entries and learns from its sizes.
    fn sample_block(&mut self, plain: &[u8], is_last: bool) -> Result<u64> {
        let end = entries_end(plain)?;
        let (mut at, mut last, mut count) = (0, 0, 0u64);
        let second_restart = restarts(plain).nth(1);
        while let Some(entry) = (at < end).then(|| entry_at(plain, at, end)).flatten() {
            if second_restart == Some(at as u32) && self.restart_interval.is_none() {
                self.restart_interval = u32::try_from(count).ok();
            }
            last = at;
            at = entry.end;
            count += 1;
        }
        if !is_last && count > 0 {
            // Before its last entry the block had the same restarts, or one less.
            self.block_size_above = self.block_size_above.max(plain.len() - (at - last) - 4);
            self.block_size_max = Some(self.block_size_max.unwrap_or(usize::MAX).min(plain.len()));
        }
        Ok(count)
    }

    /// `keys` has the offset and key count of the table's first blocks; `all` when those are all its blocks.
    fn sample_filter(&mut self, filter: &FilterBlock, keys: &[(u64, u64)], all: bool) {
        self.filter.get_or_insert_with(|| filter.name.clone());
        let Some(offsets) = FilterOffsets::read(&filter.bytes) else {
            return;
        };
        let group = |offset: u64| offset >> offsets.base_log;
        let last_group = keys.last().map(|(offset, _)| group(*offset));
        for same in keys.chunk_by(|a, b| group(a.0) == group(b.0)) {
            let number = group(same[0].0);
            // The last filter may cover blocks that were not looked at.
            if !all && Some(number) == last_group {
                continue;
            }
            let count: u64 = same.iter().map(|(_, count)| count).sum();
            let bytes = offsets.len_of(number).unwrap_or(0).saturating_sub(1);
            // Eight bytes are the least a filter has, whatever was asked for.
            if bytes > 8 && count > 0 {
                self.filter_bits += bytes * 8;
                self.filter_keys += count;
            }
        }
    }
}

/// The trailer of a filter block: an offset for each stretch of 2^base_log file bytes.
struct FilterOffsets<'a> {
    offsets: &'a [u8],
    base_log: u8,
}

impl<'a> FilterOffsets<'a> {
    fn read(block: &'a [u8]) -> Option<Self> {
        let (&base_log, rest) = block.split_last()?;
        let (filters, array) = rest.split_last_chunk::<4>()?;
        let start = u32::from_le_bytes(*array) as usize;
        // The array's own offset serves as the end of the last filter.
        let offsets = block.get(start..filters.len() + 4)?;
        (base_log < 64).then_some(Self { offsets, base_log })
    }

    fn len_of(&self, number: u64) -> Option<u64> {
        let at = usize::try_from(number).ok()?.checked_mul(4)?;
        let mut reader = Reader::new(self.offsets.get(at..)?);
        let (start, end) = (reader.u32().ok()?, reader.u32().ok()?);
        Some(u64::from(end.saturating_sub(start)))
    }
}

fn bits_per_key(seen: &LayoutSample) -> u8 {
    // Sizes are rounded up to bytes, so the quotient is never below the truth.
    match seen.filter_bits.checked_div(seen.filter_keys) {
        Some(bits) => bits.clamp(1, 255) as u8,
        None => 10,
    }
}

/// The codec of most blocks that are compressed at all.
fn most_common(codecs: &[BlockCodec]) -> Option<BlockCodec> {
    let all = [
        BlockCodec::Snappy,
        BlockCodec::Zstd,
        BlockCodec::Zlib,
        BlockCodec::Deflate,
    ];
    let count = |wanted: &BlockCodec| codecs.iter().filter(|codec| *codec == wanted).count();
    all.into_iter().filter(|codec| count(codec) > 0).max_by_key(count)
}

/// The roundest number that agrees with every block seen.
fn block_size(seen: &LayoutSample) -> Option<u32> {
    let max = seen.block_size_max?;
    let above = seen.block_size_above.min(max.saturating_sub(1));
    let roundest = (0..32)
        .rev()
        .map(|bits| (max >> bits) << bits)
        .find(|&size| size > above)?;
    u32::try_from(roundest).ok().filter(|&size| size > 0)
}

/// The size three quarters of the tables below level 0 stay under.
fn table_bytes(tables: &[LevelTable]) -> Option<u64> {
    let mut sizes: Vec<u64> = tables
        .iter()
        .filter(|table| table.level > 0)
        .map(|table| table.meta.size)
        .collect();
    sizes.sort_unstable();
    let size = *sizes.get(sizes.len() * 3 / 4)?;
    (sizes.len() >= 4).then(|| size.clamp(256 << 10, 1 << 30))
}

fn extension(tables: &[LevelTable]) -> TableExtension {
    let sst = tables
        .iter()
        .filter(|table| table.extension == TableExtension::Sst)
        .count();
    if sst * 2 > tables.len() {
        TableExtension::Sst
    } else {
        TableExtension::Ldb
    }
}

fn dialect(directory: &HeldDirectory, mojang: bool, filter: Option<&FilterPolicy>) -> Dialect {
    if mojang {
        return Dialect::Mojang;
    }
    match filter.map(|filter| filter.name.as_str()) {
        Some("leveldb.BuiltinBloomFilter") => return Dialect::Go,
        Some("leveldb.BuiltinBloomFilter2") => return Dialect::Cpp,
        _ => {}
    }
    // goleveldb begins its diary with a ruler, C++ with a date.
    let diary = match directory.open_file("LOG") {
        Ok((file, len)) => read_prefix(&BoundedFile(file.into(), len), 16),
        Err(_) => return Dialect::Unknown,
    };
    match diary.first() {
        Some(b'=') => Dialect::Go,
        Some(byte) if byte.is_ascii_digit() => Dialect::Cpp,
        _ => Dialect::Unknown,
    }
}
