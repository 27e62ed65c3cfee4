//! Reads single records of a snapshot, without a restore.
//!
//! Records of a snapshot without restoring it: one key, a prefix, all; only the blobs they need are read.

use rayon::prelude::*;

use crate::blob::{BlobKind, NamedBlob};
use crate::chunk::{self, ChunkIterator, ChunkList};
use crate::error::{Error, ErrorKind, Result};
use crate::leveldb::Comparator;
use crate::limits::VALUE_BYTES_MAX;
use crate::repo::{BlobReader, BlobRequest, Repo};
use crate::report::OperationReport;
use crate::run::{
    self, BlobSource, EntryPayload, KeyOrder, KeyRange, LeafSpan, OwnedEntry, RunReader, StackCursor,
    TombstoneMode, read_leaf,
};
use crate::snapshot::{DatabaseContent, DatabaseRoot, Snapshot, SnapshotSource, StoredRunRef};

use crate::engine::key_selection::KeySelection;
use crate::engine::tree::{self, top_sources};

/// Leaves fetched at once: enough to keep cores and disk busy, a few MiB at most in memory.
const LEAVES_AHEAD: usize = 32;

/// Takes a key and its value; an error ends the reading.
pub type RecordVisitor<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// Which records are wanted.
#[derive(Clone, Debug, Default)]
pub struct RecordQuery {
    /// Only these keys.
    pub selection: KeySelection,
    /// Also records that lay in damaged ranges of the source.
    pub with_uncertain: bool,
}

/// Which database of a snapshot is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseChoice {
    /// The one with this label or at this absolute path.
    Named(Vec<u8>),
    /// The one with this number among the sources.
    Number(u32),
}

impl<T: Into<Vec<u8>>> From<T> for DatabaseChoice {
    fn from(name: T) -> Self {
        Self::Named(name.into())
    }
}

/// The database of a snapshot that `name` means, or its only one; those that lie in the directory of another do not count.
///
/// # Errors
/// [`ErrorKind::NotFound`]; [`ErrorKind::Usage`] if it is not said which of several.
pub fn find_database<'s>(snapshot: &'s Snapshot, name: Option<&[u8]>) -> Result<&'s DatabaseRoot> {
    tree::database_by_number(snapshot, find_database_number(snapshot, name)?)
}

/// The number among the sources of the same.
pub fn find_database_number(snapshot: &Snapshot, name: Option<&[u8]>) -> Result<u32> {
    let Some(name) = name else {
        return only_database_number(snapshot).ok_or_else(|| {
            let message = format!("the snapshot holds {}; name one", describe_databases(snapshot));
            Error::new(ErrorKind::Usage, message)
        });
    };
    let is_it =
        |source: &SnapshotSource| matches!(source, SnapshotSource::Database(_)) && source.is_called(name);
    let numbered = snapshot.sources.iter().enumerate();
    let found: Vec<usize> = numbered
        .filter(|(_, source)| is_it(source))
        .map(|(number, _)| number)
        .collect();
    match found[..] {
        [] => Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "no database {} in the snapshot; it holds {}",
                String::from_utf8_lossy(name),
                describe_databases(snapshot)
            ),
        )),
        // A snapshot has few sources, see `SNAPSHOT_SOURCES_MAX`.
        [only] => Ok(only as u32),
        _ => Err(tree::ambiguous_address_error(snapshot, &found, name)),
    }
}

fn only_database_number(snapshot: &Snapshot) -> Option<u32> {
    let is_database = |number: &usize| matches!(snapshot.sources[*number], SnapshotSource::Database(_));
    let all: Vec<usize> = (0..snapshot.sources.len()).filter(is_database).collect();
    let number = match (&all[..], &top_sources(snapshot)[..]) {
        ([only], _) => *only,
        (_, [top]) if is_database(top) => *top,
        _ => return None,
    };
    u32::try_from(number).ok()
}

fn describe_databases(snapshot: &Snapshot) -> String {
    let names: Vec<_> = snapshot
        .databases()
        .map(|database| database.name.as_str())
        .collect();
    if names.is_empty() {
        "no database".into()
    } else {
        names.join(", ")
    }
}

/// The value of one key; `None` when the snapshot has no such key. [`ErrorKind::Lost`] if it may have had one, and the
/// repository lost it.
pub fn get(repo: &Repo, database: &DatabaseRoot, key: &[u8]) -> Result<Option<Vec<u8>>> {
    let lookup = repo.lookup()?;
    let reader = BlobReader::new(repo, &lookup);
    match find_entry(&reader, database, key)? {
        Some(OwnedEntry::Inline(value)) => Ok(Some(value)),
        Some(OwnedEntry::Chunked(list)) => read_long_value(&reader, &list).map(Some),
        Some(OwnedEntry::Delete | OwnedEntry::Patch(_)) => Err(not_a_record()),
        None => check_absence_is_known(database, key).map(|()| None),
    }
}

/// [`ErrorKind::Lost`] for a key that may have been in a hole of the database: that it is not there says nothing.
pub fn check_absence_is_known(database: &DatabaseRoot, key: &[u8]) -> Result<()> {
    let comparator = Comparator::from_name(&database.shape.comparator);
    let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
    match database.merged_hole(key, &order) {
        None => Ok(()),
        Some(hole) => Err(Error::new(
            ErrorKind::Lost,
            format!(
                "whether {} had the key is not known: {}",
                database.name, hole.what
            ),
        )),
    }
}

/// What the repository lost of the selected keys, in words; `None` if nothing.
pub fn describe_lost_keys(database: &DatabaseRoot, selection: &KeySelection) -> Option<String> {
    let comparator = Comparator::from_name(&database.shape.comparator);
    let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
    let count = database.holes_in(&selection.range(&comparator), &order).count();
    (count > 0).then(|| {
        let name = &database.name;
        format!("{name}: records may be missing in {count} key ranges that were lost in the repository; `levault ls` lists them")
    })
}

/// The entry of one key, never a deletion or a patch. Reads one path from root to leaf of each run that may hold the key, newest
/// first, until one does.
pub fn find_entry(
    source: &dyn BlobSource,
    database: &DatabaseRoot,
    key: &[u8],
) -> Result<Option<OwnedEntry>> {
    let comparator = Comparator::from_name(&database.shape.comparator);
    let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
    let runs = runs(database, false)?.into_iter().rev();
    let holding = runs.filter(|run| run.may_hold(key, &order));
    let walkers = holding.map(|run| RunReader::new(source, run.root.as_ref(), &order));
    run::stack_cursor::get(walkers, key)
}
/// Every wished record in the database's order; nothing is given before its blob was compared with its name.
pub fn read_records(
    repo: &Repo,
    database: &DatabaseRoot,
    wish: &RecordQuery,
    report: &OperationReport,
    sink: RecordVisitor,
) -> Result<()> {
    let lookup = repo.lookup()?;
    read_records_with(&BlobReader::new(repo, &lookup), database, wish, report, sink)
}

/// [`read_records`], through a reader that is there already.
pub fn read_records_with(
    reader: &BlobReader,
    database: &DatabaseRoot,
    wish: &RecordQuery,
    report: &OperationReport,
    sink: RecordVisitor,
) -> Result<()> {
    let comparator = Comparator::from_name(&database.shape.comparator);
    let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
    let range = wish.selection.range(&comparator);
    let mut wished = |key: &[u8], value: &[u8]| {
        if wish.selection.contains(key, &order) {
            sink(key, value)
        } else {
            Ok(())
        }
    };
    let runs = runs(database, wish.with_uncertain)?;
    match runs[..] {
        [run] => read_one_run(reader, run, range, &order, report, &mut wished),
        _ => read_stack(reader, &runs, range, &order, report, &mut wished),
    }
}

/// The records of one base run, in order.
pub fn read_run_records(
    reader: &BlobReader,
    run: &StoredRunRef,
    comparator: &Comparator,
    report: &OperationReport,
    sink: RecordVisitor,
) -> Result<()> {
    let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
    read_one_run(reader, run, KeyRange::all(), &order, report, sink)
}

/// The database's runs, oldest first.
pub fn runs(database: &DatabaseRoot, with_uncertain: bool) -> Result<Vec<&StoredRunRef>> {
    match &database.content {
        DatabaseContent::Logical { runs, uncertain } => Ok(runs
            .iter()
            .chain(uncertain.iter().filter(|_| with_uncertain))
            .collect()),
        DatabaseContent::Physical { .. } => {
            let why = format!(
                "{} is stored as files; restore it to read its records",
                database.name
            );
            Err(Error::new(ErrorKind::Usage, why))
        }
    }
}

fn read_one_run(
    reader: &BlobReader,
    run: &StoredRunRef,
    range: KeyRange,
    order: KeyOrder,
    report: &OperationReport,
    sink: RecordVisitor,
) -> Result<()> {
    let mut leaves = RunReader::new(reader, run.root.as_ref(), order).leaves(range);
    loop {
        report.go_on()?;
        let ahead: Vec<LeafSpan> = leaves.by_ref().take(LEAVES_AHEAD).collect::<Result<_>>()?;
        if ahead.is_empty() {
            return Ok(());
        }
        for (span, blob) in ahead.iter().zip(fetch_leaves(reader, &ahead)?) {
            visit_leaf_records(reader, blob.plain(), span, order, sink)?;
            report.bytes_done.add(span.leaf.bytes);
            report.records.add(span.leaf.records);
        }
    }
}

/// Opens leaves on all cores.
pub fn fetch_leaves(reader: &BlobReader, spans: &[LeafSpan]) -> Result<Vec<NamedBlob>> {
    let share = spans.len().div_ceil(rayon::current_num_threads()).max(1);
    let part = |spans: &[LeafSpan]| reader.read_many(&leaf_requests(spans));
    let parts: Vec<_> = spans.par_chunks(share).map(part).collect::<Result<_>>()?;
    Ok(parts.into_iter().flatten().collect())
}

/// The blobs of these leaves.
pub fn leaf_requests(spans: &[LeafSpan]) -> Vec<BlobRequest> {
    spans.iter().map(|span| (BlobKind::Leaf, span.leaf.id)).collect()
}

/// The records of one leaf of a base run, long values put together; the leaf is held to its place in the tree.
fn visit_leaf_records(
    source: &dyn BlobSource,
    plain: &[u8],
    span: &LeafSpan,
    order: KeyOrder,
    sink: RecordVisitor,
) -> Result<()> {
    read_leaf(plain, span, order, |entry| match &entry.payload {
        EntryPayload::Inline(value) => sink(entry.key, value),
        EntryPayload::Chunked(list) => sink(entry.key, &read_long_value(source, list)?),
        EntryPayload::Delete | EntryPayload::Patch(_) => Err(not_a_record()),
    })
}

fn read_stack(
    reader: &BlobReader,
    runs: &[&StoredRunRef],
    range: KeyRange,
    order: KeyOrder,
    report: &OperationReport,
    sink: RecordVisitor,
) -> Result<()> {
    let walkers: Vec<_> = runs
        .iter()
        .rev()
        .map(|run| RunReader::new(reader, run.root.as_ref(), order))
        .collect();
    let mut merged = StackCursor::new(&walkers, &range, TombstoneMode::Drop, order)?;
    while let Some(entry) = merged.next()? {
        let bytes = entry.payload.element_bytes(entry.key);
        match &entry.payload {
            EntryPayload::Inline(value) => sink(entry.key, value)?,
            EntryPayload::Chunked(list) => sink(entry.key, &read_long_value(reader, list)?)?,
            EntryPayload::Delete | EntryPayload::Patch(_) => return Err(not_a_record()),
        }
        report.bytes_done.add(bytes);
        report.records.add(1);
        report.go_on()?;
    }
    Ok(())
}

/// For an entry that stands on others, where none can.
#[cold]
pub fn not_a_record() -> Error {
    Error::corrupt("a deletion or a patch in a run that holds every record")
}

/// A long value, whole.
pub fn read_long_value(source: &dyn BlobSource, list: &ChunkList) -> Result<Vec<u8>> {
    let len = usize::try_from(list.bytes())
        .ok()
        .filter(|len| *len <= VALUE_BYTES_MAX);
    let len = len.ok_or_else(|| Error::corrupt(format!("a value of {} bytes", list.bytes())))?;
    // Grown as chunks come, not by the list's word alone.
    let mut value = Vec::with_capacity(len.min(1 << 20));
    for chunk in ChunkIterator::new(list.clone(), source) {
        let chunk = chunk?;
        let plain = chunk::data(source, &chunk)?;
        if value.capacity() - value.len() < plain.len() {
            value.reserve_exact(len.saturating_sub(value.len()).min(value.len().max(8 << 20)));
        }
        value.extend_from_slice(&plain);
    }
    Ok(value)
}
