//! Writes a run file from sorted rows.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use super::bloom_filter::{BlockedBloomFilter, word};
use super::index_row::{IndexRow, ROW_LEN};
use super::run_file::{
    BLOCK_LEN, BLOCK_MAC_AT, BLOCK_NUMBER_AT, Bytes32, IndexRun, ROWS_PER_BLOCK, RunFile, RunFileSection,
    RunFileTrailer, RunSegment, derive_file_key, encode_segments, mac_of,
};
use crate::error::{Result, ResultExt};

/// Whether single blobs will be looked up in the run, or it will only be merged into another one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RunPurpose {
    Lookup,
    Merge,
}

/// Takes rows in order; fences and filter grow in memory and go to the file's end.
pub(super) struct IndexRunWriter {
    out: BufWriter<File>,
    file_id: Bytes32,
    key: Bytes32,
    block: Vec<u8>,
    rows: u64,
    fences: Vec<u64>,
    filter: BlockedBloomFilter,
    segment_rows: Vec<u64>,
}

impl IndexRunWriter {
    /// Begins an empty file; `rows_max` is how many rows there will be, or a few more.
    pub(super) fn new(
        file: File,
        cache_key: &Bytes32,
        file_id: Bytes32,
        rows_max: u64,
        purpose: RunPurpose,
    ) -> Self {
        Self {
            out: BufWriter::with_capacity(16 * BLOCK_LEN, file),
            file_id,
            key: derive_file_key(cache_key, &file_id),
            block: Vec::with_capacity(BLOCK_LEN),
            rows: 0,
            fences: Vec::with_capacity(rows_max.div_ceil(ROWS_PER_BLOCK as u64) as usize),
            filter: match purpose {
                RunPurpose::Lookup => BlockedBloomFilter::for_blobs(rows_max),
                RunPurpose::Merge => BlockedBloomFilter::default(),
            },
            segment_rows: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, row: &IndexRow) -> Result<()> {
        if self.block.is_empty() {
            self.fences.push(word(&row.entry.id, 0));
        }
        row.encode(&mut self.block);
        self.filter.insert(&row.entry.id);
        self.rows += 1;
        self.count(row.segment as usize);
        if self.block.len() == BLOCK_NUMBER_AT {
            self.finish_block()
        } else {
            Ok(())
        }
    }

    fn count(&mut self, segment: usize) {
        if self.segment_rows.len() <= segment {
            self.segment_rows.resize(segment + 1, 0);
        }
        self.segment_rows[segment] += 1;
    }

    fn finish_block(&mut self) -> Result<()> {
        let rows = (self.block.len() / ROW_LEN) as u16;
        let number = self.fences.len() as u64 - 1;
        self.block.resize(BLOCK_NUMBER_AT, 0);
        self.block.extend_from_slice(&number.to_le_bytes());
        self.block.extend_from_slice(&rows.to_le_bytes());
        self.block.resize(BLOCK_MAC_AT, 0);
        let mac = blake3::keyed_hash(&self.key, &self.block);
        self.block.extend_from_slice(mac.as_bytes());
        self.out
            .write_all(&self.block)
            .context(|| "write the index cache")?;
        self.block.clear();
        Ok(())
    }

    /// Writes the rest of the file. `segments` are those that the rows' numbers mean; their row counts are
    /// filled in here.
    pub(super) fn finish(mut self, mut segments: Vec<RunSegment>) -> Result<IndexRun> {
        if !self.block.is_empty() {
            self.finish_block()?;
        }
        for (number, segment) in segments.iter_mut().enumerate() {
            segment.rows = self.segment_rows.get(number).copied().unwrap_or(0);
        }
        let table = encode_segments(&segments);
        let trailer = self.write_sections(&table).context(|| "write the index cache")?;
        let file = self.out.into_inner().map_err(|error| error.into_error());
        Ok(IndexRun {
            file: Arc::new(RunFile {
                file: file.context(|| "write the index cache")?,
                trailer,
                segments,
                key: self.key,
                path: None,
            }),
            fences: self.fences,
            filter: self.filter,
        })
    }

    fn write_sections(&mut self, table: &[u8]) -> std::io::Result<RunFileTrailer> {
        let fences: Vec<u8> = self.fences.iter().flat_map(|fence| fence.to_le_bytes()).collect();
        let mac = |section, bytes: &[u8]| *mac_of(&self.key, section, bytes).as_bytes();
        let trailer = RunFileTrailer {
            rows: self.rows,
            blocks: self.fences.len() as u64,
            filter_len: self.filter.bytes.len() as u64,
            segments_len: table.len() as u64,
            file_id: self.file_id,
            fences_mac: mac(RunFileSection::Fences, &fences),
            filter_mac: mac(RunFileSection::Filter, &self.filter.bytes),
            segments_mac: mac(RunFileSection::Segments, table),
        };
        for section in [&fences[..], &self.filter.bytes, table, &trailer.encode(&self.key)] {
            self.out.write_all(section)?;
        }
        self.out.flush()?;
        Ok(trailer)
    }
}
