//! Merges sorted sources into the visible records.
//!
//! The source with the smallest key leads and hands out entries as long as its next key stays below the second
//! source's key, so a run of keys from one source costs one comparison each, and none when it is the last. Entries
//! are handed out where they lie; nothing is copied or allocated per record.

use std::cmp::Ordering;

use super::comparator::Comparator;
use super::damage::SourceAge;
use super::internal_key::SourceStep;
use super::large_values::LargeValueBuffer;
use super::level_iterator::LevelIterator;
use super::memtable::MemtableCursor;
use super::scan_context::ScanContext;
use crate::error::{Error, Result};

/// Takes visible records.
pub trait RecordSink {
    /// The newest value of `key`; keys come in the database's order, each once. `certain` is false when a newer
    /// entry for the key may have been lost to damage. An error ends the scan.
    fn record(&mut self, key: &[u8], value: &[u8], certain: bool) -> Result<()>;

    /// The newest word on `key` stands in a log: a deletion, or the record that comes next. For who does without the
    /// logs afterwards.
    fn log_entry(&mut self, _key: &[u8], _is_deletion: bool) -> Result<()> {
        Ok(())
    }

    /// The newest entry of `key` stands in a table that LevelDB asks behind one with an older entry, as writers other than
    /// C++ LevelDB leave them: a lookup finds the older one. The record comes next, if the entry is no deletion. For
    /// callers that keep the tables.
    fn shadowed_entry(&mut self, _key: &[u8], _is_deletion: bool) -> Result<()> {
        Ok(())
    }

    /// The newest word on `key` that is left, where it is a deletion or uncertain; the record comes next, if it is one.
    /// For who has another copy of what was lost.
    fn newest_version(&mut self, _key: &[u8], _word: NewestVersion) -> Result<()> {
        Ok(())
    }
}

/// What stands newest at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewestVersion {
    /// The key was deleted.
    pub is_deletion: bool,
    /// No newer entry can have been lost.
    pub certain: bool,
    /// The entry's sequence number.
    pub sequence: u64,
}

/// What a merge handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeCounts {
    /// Records handed out.
    pub records: u64,
    /// Those of them that are uncertain.
    pub uncertain: u64,
    /// Deletions that hide older entries and are themselves uncertain.
    pub uncertain_deletions: u64,
    /// Their keys, bytes.
    pub key_bytes: u64,
    /// Their values, bytes.
    pub value_bytes: u64,
}

/// A sorted source.
pub enum SortedSource<'a> {
    /// The logs.
    Logs(Box<MemtableCursor<'a>>),
    /// Tables in a row.
    Tables(Box<LevelIterator<'a>>),
}

/// What the merge asks of a source.
trait SourceCursor {
    /// True for the logs.
    const IS_LOGS: bool;
    fn user_key(&self) -> &[u8];
    fn tag(&self) -> u64;
    fn rank(&self) -> SourceAge;
    fn advance(&mut self) -> SourceStep;
    fn emit(
        &mut self,
        scratch: &mut LargeValueBuffer,
        certain: bool,
        sink: &mut dyn RecordSink,
    ) -> Result<Option<usize>>;

    /// Moves past the older entries of the current key; false behind the last entry.
    #[inline(always)]
    fn next_key(&mut self) -> bool {
        loop {
            match self.advance() {
                SourceStep::NextKey => return true,
                SourceStep::SameKey => {}
                SourceStep::End => return false,
            }
        }
    }
}

macro_rules! cursor {
    ($source:ty, $is_logs:literal) => {
        impl SourceCursor for $source {
            const IS_LOGS: bool = $is_logs;
            #[inline(always)]
            fn user_key(&self) -> &[u8] {
                <$source>::user_key(self)
            }
            #[inline(always)]
            fn tag(&self) -> u64 {
                <$source>::tag(self)
            }
            fn rank(&self) -> SourceAge {
                <$source>::rank(self)
            }
            #[inline(always)]
            fn advance(&mut self) -> SourceStep {
                <$source>::advance(self)
            }
            #[inline(always)]
            fn emit(
                &mut self,
                scratch: &mut LargeValueBuffer,
                certain: bool,
                sink: &mut dyn RecordSink,
            ) -> Result<Option<usize>> {
                <$source>::emit(self, scratch, certain, sink)
            }
        }
    };
}

cursor!(MemtableCursor<'_>, true);
cursor!(LevelIterator<'_>, false);

impl SortedSource<'_> {
    pub(super) fn user_key(&self) -> &[u8] {
        match self {
            Self::Logs(source) => source.user_key(),
            Self::Tables(source) => source.user_key(),
        }
    }

    pub(super) fn tag(&self) -> u64 {
        match self {
            Self::Logs(source) => source.tag(),
            Self::Tables(source) => source.tag(),
        }
    }

    pub(super) fn rank(&self) -> SourceAge {
        match self {
            Self::Logs(source) => source.rank(),
            Self::Tables(source) => source.rank(),
        }
    }

    /// Moves past the older entries of the current key; false behind the last entry.
    pub(super) fn next_key(&mut self) -> bool {
        match self {
            Self::Logs(source) => source.next_key(),
            Self::Tables(source) => source.next_key(),
        }
    }

    /// Hands the current entry to `sink`; `None` when its value cannot be read, which is then listed.
    pub(super) fn emit(
        &mut self,
        scratch: &mut LargeValueBuffer,
        sink: &mut dyn RecordSink,
    ) -> Result<Option<usize>> {
        match self {
            Self::Logs(source) => source.emit(scratch, true, sink),
            Self::Tables(source) => source.emit(scratch, true, sink),
        }
    }

    /// The error that ended it early, if one did.
    pub(super) fn take_error(&mut self) -> Option<Error> {
        match self {
            Self::Logs(source) => source.take_failure(),
            Self::Tables(_) => None,
        }
    }
}

/// Merges all sources into `sink`. Fails only when the sink does, or a log changed under the scan.
pub fn merge(
    scan: &ScanContext,
    sources: Vec<SortedSource>,
    sink: &mut dyn RecordSink,
) -> Result<MergeCounts> {
    let mut merge = MergingIterator {
        emitter: RecordEmitter {
            scan,
            sink,
            scratch: LargeValueBuffer::default(),
            counts: MergeCounts::default(),
        },
        order: scan.order,
        line: Vec::with_capacity(sources.len()),
        sources,
    };
    for index in 0..merge.sources.len() {
        if merge.sources[index].next_key() {
            merge.join_sources(index);
        }
    }
    while merge.step()? {}
    if let Some(error) = merge.sources.iter_mut().find_map(SortedSource::take_error) {
        return Err(error);
    }
    Ok(merge.emitter.counts)
}

struct MergingIterator<'m, 'a> {
    emitter: RecordEmitter<'m, 'a>,
    order: &'m Comparator,
    sources: Vec<SortedSource<'a>>,
    /// Sources that stand on an entry, smallest key first, and among equal keys the newest entry first.
    line: Vec<usize>,
}

impl MergingIterator<'_, '_> {
    /// Puts a source where its current entry belongs.
    fn join_sources(&mut self, index: usize) {
        let place = self
            .line
            .partition_point(|&other| self.compare(other, index) == Ordering::Less);
        self.line.insert(place, index);
    }

    fn compare(&self, a: usize, b: usize) -> Ordering {
        let (a, b) = (&self.sources[a], &self.sources[b]);
        let by_key = self.order.compare(a.user_key(), b.user_key());
        by_key
            .then_with(|| b.tag().cmp(&a.tag()))
            .then_with(|| a.rank().cmp(&b.rank()))
    }

    /// True if both are tables and LevelDB asks `hidden`'s before that of `lead`.
    fn is_probed_first(&self, hidden: usize, lead: usize) -> bool {
        let (hidden, lead) = (&self.sources[hidden], &self.sources[lead]);
        let are_tables = matches!((hidden, lead), (SortedSource::Tables(_), SortedSource::Tables(_)));
        are_tables && hidden.rank() < lead.rank()
    }

    /// Hands out entries of the leading source until another one must lead; false when none is left.
    fn step(&mut self) -> Result<bool> {
        let Some(&lead) = self.line.first() else {
            return Ok(false);
        };
        let mut is_shadowed = false;
        while let Some(&second) = self.line.get(1) {
            let (key, other) = (self.sources[lead].user_key(), self.sources[second].user_key());
            if self.order.compare(key, other) == Ordering::Less {
                break;
            }
            // An older entry for the same key: hidden.
            is_shadowed |= self.is_probed_first(second, lead);
            self.line.remove(1);
            if self.sources[second].next_key() {
                self.join_sources(second);
            }
        }
        if is_shadowed {
            let source = &self.sources[lead];
            let is_deletion = source.tag() & 0xff == 0;
            self.emitter.sink.shadowed_entry(source.user_key(), is_deletion)?;
        }
        let left = match self.line.get(1) {
            Some(&second) => match self.sources.get_disjoint_mut([lead, second]) {
                Ok([source, second]) => self.emitter.run_source(source, Some(second.user_key()))?,
                Err(_) => false,
            },
            None => self.emitter.run_source(&mut self.sources[lead], None)?,
        };
        self.line.remove(0);
        if left {
            self.join_sources(lead);
        }
        Ok(true)
    }
}

struct RecordEmitter<'m, 'a> {
    scan: &'m ScanContext<'a>,
    sink: &'m mut dyn RecordSink,
    scratch: LargeValueBuffer,
    counts: MergeCounts,
}

impl RecordEmitter<'_, '_> {
    fn run_source(&mut self, source: &mut SortedSource, bound: Option<&[u8]>) -> Result<bool> {
        match source {
            SortedSource::Logs(source) => self.run(source.as_mut(), bound),
            SortedSource::Tables(source) => self.run(source.as_mut(), bound),
        }
    }

    /// Hands out the source's entries below `bound`, the first of them in any case; true if it has more.
    fn run(&mut self, source: &mut impl SourceCursor, bound: Option<&[u8]>) -> Result<bool> {
        match (bound, self.scan.order) {
            (None, _) => self.run_until(source, |_| true),
            (Some(bound), Comparator::Idb) => self.run_until(source, |key| {
                super::idb_comparator::compare(key, bound) == Ordering::Less
            }),
            (Some(bound), _) => self.run_until(source, |key| key < bound),
        }
    }

    #[inline(always)]
    fn run_until(&mut self, source: &mut impl SourceCursor, goes_on: impl Fn(&[u8]) -> bool) -> Result<bool> {
        loop {
            self.emit_record(source)?;
            if !source.next_key() {
                return Ok(false);
            }
            if !goes_on(source.user_key()) {
                return Ok(true);
            }
        }
    }

    #[inline(always)]
    fn emit_record<C: SourceCursor>(&mut self, source: &mut C) -> Result<()> {
        let tag = source.tag();
        if C::IS_LOGS {
            self.sink.log_entry(source.user_key(), tag & 0xff == 0)?;
        }
        let certain = self.scan.findings.borrow().all_certain() || self.is_certain(source, tag);
        let is_deletion = tag & 0xff == 0;
        if is_deletion || !certain {
            let word = NewestVersion {
                is_deletion,
                certain,
                sequence: tag >> 8,
            };
            self.sink.newest_version(source.user_key(), word)?;
        }
        if is_deletion {
            self.counts.uncertain_deletions += u64::from(!certain);
            return Ok(());
        }
        if let Some(value_len) = source.emit(&mut self.scratch, certain, self.sink)? {
            self.counts.records += 1;
            self.counts.uncertain += u64::from(!certain);
            self.counts.key_bytes += source.user_key().len() as u64;
            self.counts.value_bytes += value_len as u64;
        }
        Ok(())
    }

    #[cold]
    fn is_certain(&self, source: &impl SourceCursor, tag: u64) -> bool {
        let mut findings = self.scan.findings.borrow_mut();
        findings.is_certain(self.scan.order, source.user_key(), source.rank(), tag >> 8)
    }
}
