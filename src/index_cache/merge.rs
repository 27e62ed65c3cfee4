//! Merges sorted rows of many sources into one sorted stream.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::index_row::IndexRow;
use super::merge_segments::SegmentRenumbering;
use super::run_file::{BLOCK_LEN, RunFile, rows_in};
use crate::error::Result;

/// Blocks that are read at once.
const BLOCKS_PER_READ: u64 = 16;

/// Hands out rows in order.
pub(super) trait RowSource {
    fn next_row(&mut self) -> Result<Option<IndexRow>>;
}

/// Streams all rows of a run file, from some block on.
pub(super) struct RunFileCursor {
    file: Arc<RunFile>,
    next_block: u64,
    chunk: Vec<u8>,
    /// Block within the chunk, row within the block.
    at: (usize, usize),
}

impl RunFileCursor {
    pub(super) fn read_block_rows(file: Arc<RunFile>, block: u64) -> Self {
        Self {
            file,
            next_block: block,
            chunk: Vec::new(),
            at: (0, 0),
        }
    }

    fn next_row_in_chunk(&mut self) -> Result<Option<IndexRow>> {
        while let Some(block) = self.chunk.chunks_exact(BLOCK_LEN).nth(self.at.0) {
            match rows_in(block).get(self.at.1) {
                Some(row) => {
                    self.at.1 += 1;
                    return IndexRow::decode(row).map(Some);
                }
                None => self.at = (self.at.0 + 1, 0),
            }
        }
        Ok(None)
    }
}

impl RowSource for RunFileCursor {
    fn next_row(&mut self) -> Result<Option<IndexRow>> {
        loop {
            if let Some(row) = self.next_row_in_chunk()? {
                return Ok(Some(row));
            }
            let count = BLOCKS_PER_READ.min(self.file.trailer.blocks.saturating_sub(self.next_block));
            if count == 0 {
                return Ok(None);
            }
            self.chunk = self.file.blocks(self.next_block, count as usize)?;
            self.next_block += count;
            self.at = (0, 0);
        }
    }
}

/// The rows of one run whose segment still counts, under the segment's number in the new run.
pub(super) struct RenumberedRows<S> {
    pub(super) rows: S,
    pub(super) numbers: SegmentRenumbering,
}

impl<S: RowSource> RowSource for RenumberedRows<S> {
    fn next_row(&mut self) -> Result<Option<IndexRow>> {
        while let Some(row) = self.rows.next_row()? {
            if let Some(segment) = self.numbers.get(row.segment as usize).copied().flatten() {
                return Ok(Some(IndexRow { segment, ..row }));
            }
        }
        Ok(None)
    }
}

/// Merges sorted sources.
pub(super) struct RowMerge<'a> {
    sources: Vec<Box<dyn RowSource + Send + 'a>>,
    heads: BinaryHeap<Reverse<(IndexRow, usize)>>,
}

impl<'a> RowMerge<'a> {
    pub(super) fn new(sources: Vec<Box<dyn RowSource + Send + 'a>>) -> Result<Self> {
        let mut merge = Self {
            heads: BinaryHeap::with_capacity(sources.len()),
            sources,
        };
        for number in 0..merge.sources.len() {
            merge.refill(number)?;
        }
        Ok(merge)
    }

    fn refill(&mut self, number: usize) -> Result<()> {
        let row = self.sources[number].next_row()?;
        self.heads.extend(row.map(|row| Reverse((row, number))));
        Ok(())
    }
}

impl RowSource for RowMerge<'_> {
    fn next_row(&mut self) -> Result<Option<IndexRow>> {
        let Some(Reverse((row, number))) = self.heads.pop() else {
            return Ok(None);
        };
        self.refill(number)?;
        Ok(Some(row))
    }
}
