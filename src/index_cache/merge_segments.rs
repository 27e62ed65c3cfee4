//! Merges index segments into one run, in bounded memory.
//!
//! Segments → one run, in memory that does not grow with their number: rows are sorted by fifty thousand,
//! parked in temporary files, and merged.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::index_row::IndexRow;
use super::merge::{RenumberedRows, RowMerge, RowSource, RunFileCursor};
use super::run_file::{Bytes32, IndexRun, RunFile, RunSegment, file_id};
use super::run_writer::{IndexRunWriter, RunPurpose};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::index::Segment;

/// Rows sorted in memory at a time: 4.4 MiB.
const SORTED_ROWS_MAX: usize = 50_000;

/// Parked files merged at a time: that many file descriptors and 64 KiB each.
const PARKED_MAX: usize = 64;

/// For each segment number of an input its number in the output, or `None` if its rows are left out.
pub(super) type SegmentRenumbering = Arc<[Option<u32>]>;

/// A run file, and which of its rows go into a merged one.
pub(super) struct MergeInput {
    pub(super) file: Arc<RunFile>,
    /// Nothing here: all rows, and the numbers as they are.
    pub(super) numbers: Option<SegmentRenumbering>,
}

impl MergeInput {
    /// All of it.
    pub(super) fn merge_all(file: Arc<RunFile>) -> Self {
        Self { file, numbers: None }
    }

    fn source(&self) -> Box<dyn RowSource + Send> {
        let rows = RunFileCursor::read_block_rows(self.file.clone(), 0);
        match self.numbers.clone() {
            Some(numbers) => Box::new(RenumberedRows { rows, numbers }),
            None => Box::new(rows),
        }
    }

    /// At least the rows that go in; exact where the file has a segment table.
    fn rows_max(&self) -> u64 {
        match &self.numbers {
            Some(numbers) if !self.file.segments.is_empty() => {
                let segments = self.file.segments.iter().zip(&**numbers);
                segments
                    .filter(|(_, number)| number.is_some())
                    .map(|(segment, _)| segment.rows)
                    .sum()
            }
            _ => self.file.trailer.rows,
        }
    }
}

/// Merges `inputs` into `file`. `segments` are those of the new numbers.
pub(super) fn merge_into(
    file: File,
    cache_key: &Bytes32,
    inputs: &[MergeInput],
    segments: Vec<RunSegment>,
    purpose: RunPurpose,
) -> Result<IndexRun> {
    let rows = inputs.iter().map(MergeInput::rows_max).sum();
    let mut writer = IndexRunWriter::new(file, cache_key, file_id(cache_key, &segments), rows, purpose);
    let mut merge = RowMerge::new(inputs.iter().map(MergeInput::source).collect())?;
    while let Some(row) = merge.next_row()? {
        writer.push(&row)?;
    }
    writer.finish(segments)
}

/// Collects segments; their rows are numbered in the order in which they were added.
pub(super) struct IndexRunBuilder<'a> {
    directory: &'a Path,
    cache_key: &'a Bytes32,
    sorting: Vec<IndexRow>,
    /// By level: sixty-four files of one are merged into one of the next.
    parked: Vec<Vec<Arc<RunFile>>>,
    /// What was added so far.
    pub(super) segments: Vec<RunSegment>,
}

impl<'a> IndexRunBuilder<'a> {
    /// Parks files, which have no name, in `directory`.
    pub(super) fn new(directory: &'a Path, cache_key: &'a Bytes32) -> Self {
        Self {
            directory,
            cache_key,
            sorting: Vec::new(),
            parked: Vec::new(),
            segments: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, id: ObjectId, segment: &Segment) -> Result<()> {
        let number = u32::try_from(self.segments.len()).ok();
        let number = number.filter(|number| *number < super::index_row::SEGMENT_NUMBER_MAX);
        let number = number.ok_or_else(|| Error::new(ErrorKind::Limit, "too many index segments"))?;
        for entry in segment.entries() {
            self.sorting.push(IndexRow {
                entry: *entry,
                segment: number,
            });
            if self.sorting.len() == SORTED_ROWS_MAX {
                self.spill_rows()?;
            }
        }
        self.segments.push(RunSegment {
            id,
            rows: segment.entries().len() as u64,
            is_held: true,
            supersedes: segment.supersedes().to_vec(),
        });
        Ok(())
    }

    /// All rows in order of entry, spread over a few files, and what their segment numbers mean.
    pub(super) fn finish(mut self) -> Result<(Vec<Arc<RunFile>>, Vec<RunSegment>)> {
        if !self.sorting.is_empty() {
            self.spill_rows()?;
        }
        Ok((self.parked.into_iter().flatten().collect(), self.segments))
    }

    fn spill_rows(&mut self) -> Result<()> {
        self.sorting.sort_unstable();
        let run = {
            let rows = self.sorting.drain(..);
            let count = rows.len() as u64;
            write_rows(self.directory, self.cache_key, rows, count, RunPurpose::Merge)?
        };
        self.spill_rows_at(0, run.file)
    }

    fn spill_rows_at(&mut self, level: usize, file: Arc<RunFile>) -> Result<()> {
        if self.parked.len() == level {
            self.parked.push(Vec::new());
        }
        self.parked[level].push(file);
        if self.parked[level].len() < PARKED_MAX {
            return Ok(());
        }
        let inputs: Vec<_> = std::mem::take(&mut self.parked[level])
            .into_iter()
            .map(MergeInput::merge_all)
            .collect();
        let file = nameless_file(self.directory)?;
        let merged = merge_into(file, self.cache_key, &inputs, Vec::new(), RunPurpose::Merge)?;
        self.spill_rows_at(level + 1, merged.file)
    }
}

/// Sorted rows → a run in a file without a name.
pub(super) fn write_rows(
    directory: &Path,
    cache_key: &Bytes32,
    rows: impl Iterator<Item = IndexRow>,
    rows_max: u64,
    purpose: RunPurpose,
) -> Result<IndexRun> {
    let file = nameless_file(directory)?;
    let mut writer = IndexRunWriter::new(file, cache_key, file_id(cache_key, &[]), rows_max, purpose);
    for row in rows {
        writer.push(&row)?;
    }
    writer.finish(Vec::new())
}

/// A file that is gone when it is closed, also if we are killed.
pub(super) fn nameless_file(directory: &Path) -> Result<File> {
    tempfile::tempfile_in(directory).context(|| format!("make a temporary file in {}", directory.display()))
}
