//! Looks up where the copies of a blob are stored.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use zeroize::Zeroizing;

use super::cache::{LoadSegment, LookupCache};
use super::cache_plan::held_flags;
use super::index_row::IndexRow;
use super::merge::{RowMerge, RowSource, RunFileCursor};
use super::merge_segments::{IndexRunBuilder, MergeInput, merge_into, nameless_file, write_rows};
use super::run_file::{Bytes32, IndexRun};
use super::run_writer::RunPurpose;
use crate::error::Result;
use crate::id::{BlobId, ObjectId};
use crate::index::{IndexEntry, Location};
use crate::limits::INDEX_ADDED_ENTRIES_MAX;

/// Runs of added entries that may exist side by side before they are merged into one.
const ADDED_RUNS_MAX: usize = 8;

/// All locations of all blobs: those of the listed segments, and those added since.
///
/// Many threads may ask at once. A run file that proves damaged is made anew from its segments behind the
/// scenes; only a segment that cannot be loaded, or a disk that fails under a temporary file, is an error.
pub struct IndexLookup {
    added: BTreeSet<IndexEntry>,
    spill_at: usize,
    spilled: Vec<Arc<LiveRun>>,
    covering: Vec<RwLock<Arc<LiveRun>>>,
    source: RunSource,
}

/// What it takes to make runs.
#[derive(Clone)]
struct RunSource {
    directory: PathBuf,
    key: Zeroizing<Bytes32>,
    load: Arc<LoadSegment>,
}

/// A run, and which of its segments count.
pub(super) struct LiveRun {
    live: Vec<bool>,
    run: IndexRun,
}

impl LiveRun {
    pub(super) fn new(live: Vec<bool>, run: IndexRun) -> Self {
        Self { live, run }
    }

    pub(super) fn is_located_at(&self, path: Option<&Path>) -> bool {
        path.is_some() && self.run.file.path.as_deref() == path
    }

    /// Rows of runs without a segment table are this process's own, and all count.
    fn counts(&self, row: &IndexRow) -> bool {
        self.live.is_empty() || self.live.get(row.segment as usize) == Some(&true)
    }

    fn visit_rows(&self, id: &BlobId, visit: &mut dyn FnMut(IndexEntry) -> bool) -> Result<()> {
        self.run.rows_of(id, |row| !self.counts(&row) || visit(row.entry))
    }

    fn rows(&self) -> u64 {
        let segments = &self.run.file.segments;
        if segments.is_empty() {
            self.run.file.trailer.rows
        } else {
            segments
                .iter()
                .zip(&self.live)
                .filter(|(_, live)| **live)
                .map(|(segment, _)| segment.rows)
                .sum()
        }
    }
}

impl IndexLookup {
    pub(super) fn from_runs(
        parts: Vec<LiveRun>,
        directory: PathBuf,
        key: Zeroizing<Bytes32>,
        load: Arc<LoadSegment>,
    ) -> Self {
        Self {
            added: BTreeSet::new(),
            spill_at: INDEX_ADDED_ENTRIES_MAX,
            spilled: Vec::new(),
            covering: parts
                .into_iter()
                .map(|part| RwLock::new(Arc::new(part)))
                .collect(),
            source: RunSource { directory, key, load },
        }
    }

    /// Adds what this process has stored itself. Past 25,000 entries they move to a temporary file; if
    /// there is no room for one, they stay in memory, and that is tried again later.
    pub fn insert(&mut self, entry: IndexEntry) {
        self.added.insert(entry);
        if self.added.len() >= self.spill_at {
            let spilled = self.spill_to_disk();
            self.spill_at = match spilled {
                Ok(()) => INDEX_ADDED_ENTRIES_MAX,
                Err(_) => self.added.len() + INDEX_ADDED_ENTRIES_MAX,
            };
        }
    }

    fn spill_to_disk(&mut self) -> Result<()> {
        let rows = self.added.iter().map(|entry| IndexRow {
            entry: *entry,
            segment: 0,
        });
        let RunSource { directory, key, .. } = &self.source;
        let run = write_rows(directory, key, rows, self.added.len() as u64, RunPurpose::Lookup)?;
        self.spilled.push(Arc::new(LiveRun::new(Vec::new(), run)));
        self.added.clear();
        // From here on a failure loses nothing: the runs stay as they are.
        if self.spilled.len() == ADDED_RUNS_MAX {
            let inputs: Vec<_> = self
                .spilled
                .iter()
                .map(|part| MergeInput::merge_all(part.run.file.clone()))
                .collect();
            let run = merge_into(
                nameless_file(directory)?,
                key,
                &inputs,
                Vec::new(),
                RunPurpose::Lookup,
            )?;
            self.spilled = vec![Arc::new(LiveRun::new(Vec::new(), run))];
        }
        Ok(())
    }

    /// The same as it is now; what is added to one later, the other does not know.
    pub fn key_share(&self) -> Self {
        Self {
            added: self.added.clone(),
            spill_at: self.spill_at,
            spilled: self.spilled.clone(),
            covering: (0..self.covering.len())
                .map(|number| RwLock::new(self.partition(number)))
                .collect(),
            source: self.source.clone(),
        }
    }

    /// Every place where the blob lies, each once, sorted; empty if it is nowhere.
    pub fn locations(&self, id: &BlobId) -> Result<Vec<Location>> {
        let mut found = Vec::new();
        self.visit_rows(id, &mut |entry| {
            found.push(entry.location);
            true
        })?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// True if the blob lies anywhere.
    pub fn contains(&self, id: &BlobId) -> Result<bool> {
        let mut found = false;
        self.visit_rows(id, &mut |_| {
            found = true;
            false
        })?;
        Ok(found)
    }

    /// Calls `visit` with every copy, some perhaps twice, until it says stop by `false`.
    fn visit_rows(&self, id: &BlobId, visit: &mut dyn FnMut(IndexEntry) -> bool) -> Result<()> {
        let mut goes_on = true;
        let mut visit = |entry| {
            goes_on = goes_on && visit(entry);
            goes_on
        };
        let added = self.added.range(IndexEntry::first_with_id(id)..);
        let _ = added
            .take_while(|entry| entry.id == *id)
            .all(|entry| visit(*entry));
        for part in &self.spilled {
            part.visit_rows(id, &mut visit)?;
        }
        for number in 0..self.covering.len() {
            let part = self.partition(number);
            if part.visit_rows(id, &mut visit).is_err() {
                self.rebuild(number, &part)?.visit_rows(id, &mut visit)?;
            }
        }
        Ok(())
    }

    fn partition(&self, number: usize) -> Arc<LiveRun> {
        self.covering[number]
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    /// Makes a damaged run anew from its segments; the first thread that finds the damage does it.
    fn rebuild(&self, number: usize, damaged: &Arc<LiveRun>) -> Result<Arc<LiveRun>> {
        let mut part = self.covering[number]
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if Arc::ptr_eq(&part, damaged) {
            *part = Arc::new(self.source.rebuild_runs(damaged)?);
        }
        Ok(part.clone())
    }

    /// Entries it holds. An entry that two segments state counts twice here, and once in
    /// [`IndexLookup::iter_rows`].
    pub fn len(&self) -> u64 {
        let covering: u64 = (0..self.covering.len())
            .map(|number| self.partition(number).rows())
            .sum();
        let spilled: u64 = self.spilled.iter().map(|part| part.rows()).sum();
        covering + spilled + self.added.len() as u64
    }

    /// True if it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every entry once, in order of id, pack and offset, in memory that does not depend on their number.
    pub fn iter_rows(&self) -> Result<IndexEntries<'_>> {
        let mut sources: Vec<Box<dyn RowSource + Send + '_>> = vec![Box::new(AddedRows(self.added.iter()))];
        for part in &self.spilled {
            sources.push(Box::new(RunFileCursor::read_block_rows(part.run.file.clone(), 0)));
        }
        for number in 0..self.covering.len() {
            sources.push(Box::new(LiveRunRows::new(self, number)));
        }
        Ok(IndexEntries {
            rows: RowMerge::new(sources)?,
            last: None,
        })
    }

    /// Covers `listed` from now on, and keeps what was added: for a backup that lasts so long that others
    /// have stored segments meanwhile. On an error it stays as it was.
    pub fn refresh(&mut self, cache: &LookupCache, listed: &[ObjectId]) -> Result<()> {
        self.covering = cache.open(listed, self.source.load.clone())?.covering;
        Ok(())
    }

    /// Memory held, about, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let covering: usize = (0..self.covering.len())
            .map(|number| self.partition(number).run.resident_bytes())
            .sum();
        let spilled: usize = self.spilled.iter().map(|part| part.run.resident_bytes()).sum();
        (covering + spilled + self.added.len() * size_of::<IndexEntry>() * 3 / 2) as u64
    }
}

impl RunSource {
    fn rebuild_runs(&self, damaged: &LiveRun) -> Result<LiveRun> {
        damaged.run.file.remove();
        let mut builder = IndexRunBuilder::new(&self.directory, &self.key);
        let segments = damaged.run.file.segments.iter().zip(&damaged.live);
        for (segment, _) in segments.filter(|(_, live)| **live) {
            builder.add(segment.id, &(self.load)(&segment.id)?)?;
        }
        let (parked, segments) = builder.finish()?;
        let inputs: Vec<_> = parked.into_iter().map(MergeInput::merge_all).collect();
        let file = nameless_file(&self.directory)?;
        let run = merge_into(file, &self.key, &inputs, segments, RunPurpose::Lookup)?;
        Ok(LiveRun::new(held_flags(&run.file.segments), run))
    }
}

/// Every entry of a [`IndexLookup`], in order.
pub struct IndexEntries<'a> {
    rows: RowMerge<'a>,
    last: Option<IndexEntry>,
}

impl Iterator for IndexEntries<'_> {
    type Item = Result<IndexEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.rows.next_row() {
                Ok(Some(row)) if self.last == Some(row.entry) => {}
                Ok(row) => {
                    self.last = row.map(|row| row.entry);
                    return self.last.map(Ok);
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

struct AddedRows<'a>(std::collections::btree_set::Iter<'a, IndexEntry>);

impl RowSource for AddedRows<'_> {
    fn next_row(&mut self) -> Result<Option<IndexRow>> {
        Ok(self.0.next().map(|entry| IndexRow {
            entry: *entry,
            segment: 0,
        }))
    }
}

/// The live rows of one covering run; goes on in the remade one where a damaged one ended.
struct LiveRunRows<'a> {
    lookup: &'a IndexLookup,
    number: usize,
    part: Arc<LiveRun>,
    cursor: RunFileCursor,
    last: Option<IndexEntry>,
}

impl<'a> LiveRunRows<'a> {
    fn new(lookup: &'a IndexLookup, number: usize) -> Self {
        let part = lookup.partition(number);
        Self {
            lookup,
            number,
            cursor: RunFileCursor::read_block_rows(part.run.file.clone(), 0),
            part,
            last: None,
        }
    }

    fn next_new(&mut self) -> Result<Option<IndexRow>> {
        while let Some(row) = self.cursor.next_row()? {
            if self.part.counts(&row) && self.last.is_none_or(|last| last < row.entry) {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }
}

impl RowSource for LiveRunRows<'_> {
    fn next_row(&mut self) -> Result<Option<IndexRow>> {
        let row = match self.next_new() {
            Err(_) => {
                self.part = self.lookup.rebuild(self.number, &self.part)?;
                let block = self.last.map_or(0, |last| self.part.run.block_before(&last));
                self.cursor = RunFileCursor::read_block_rows(self.part.run.file.clone(), block);
                self.next_new()?
            }
            Ok(row) => row,
        };
        self.last = row.map(|row| row.entry).or(self.last);
        Ok(row)
    }
}
