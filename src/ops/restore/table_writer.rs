//! Writes a stack of runs as tables, on all cores.
//!
//! A stack of runs into tables: the base's leaves grouped into jobs, jobs built on all cores, each into tables of its
//! own.
//!
//! ```text
//! this thread: walk the base, group leaves --[bounded: one job a core]--> workers: fetch, open, decode, build --> stage
//! ```
//! Jobs cover ranges of keys that do not overlap, so the tables do not either, whoever writes first. Of a base alone
//! a worker takes the job's leaves as they are; of a stack it merges all runs within the job's range. One long value
//! is put together at a time: the memory bound is three times one value, not one per core.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::error::{Error, ErrorKind, Result};
use crate::id::StreamDigest;
use crate::leveldb::Comparator;
use crate::leveldb::table_builder::TableBuilder;
use crate::record::{ELEMENT_OVERHEAD, StreamDigester};
use crate::repo::BlobReader;
use crate::report::OperationReport;
use crate::run::{
    EntryPayload, KeyRange, LeafSpan, RunEntry, RunReader, StackCursor, TombstoneMode, read_leaf,
};
use crate::snapshot::{DatabaseRoot, StoredRunRef};
use crate::target::DatabaseTarget;

use super::read_back::TableStreamBytes;
use crate::engine::read_records::{self, RecordQuery};

/// Tables' worth of leaves in one job: the last table of a job is cut short, so there should be few jobs ...
const TABLES_IN_JOB: u64 = 8;

/// ... but towards the end a core gets no more than this share of its part of what is left: all end together.
const REMAINING_SHARE_DIVISOR: u64 = 2;

/// Plain bytes fetched at once.
const FETCH_BYTES: u64 = 2 << 20;

/// Writes every wished record into tables below `staging`; what each of them holds.
pub fn write_tables(
    reader: &BlobReader,
    database: &DatabaseRoot,
    wish: &RecordQuery,
    staging: &DatabaseTarget,
    comparator: &Comparator,
    report: &OperationReport,
) -> Result<TableStreamBytes> {
    let tables = TableWriter::new(staging, report);
    let runs = read_records::runs(database, wish.with_uncertain)?;
    write_in_parallel(reader, &runs, database, &tables, comparator)?;
    Ok(tables.into_bytes())
}

/// What was written of a database that is not restored whole.
pub struct SelectionTotals {
    /// Records.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Of the records in order.
    pub digest: StreamDigest,
}

/// [`write`] for some of the records, which are counted and digested as they pass: of a selection nothing is recorded.
pub fn write_selected_tables(
    reader: &BlobReader,
    database: &DatabaseRoot,
    wish: &RecordQuery,
    staging: &DatabaseTarget,
    comparator: &Comparator,
    report: &OperationReport,
) -> Result<(TableStreamBytes, SelectionTotals)> {
    let tables = TableWriter::new(staging, report);
    let mut builder = TableBuilder::new(&database.shape, comparator)?;
    let (mut records, mut bytes, mut digest) = (0, 0, StreamDigester::new());
    read_records::read_records_with(reader, database, wish, report, &mut |key, value| {
        records += 1;
        bytes += (key.len() + value.len()) as u64;
        digest.record(key, value);
        tables.add(&mut builder, key, value)
    })?;
    tables.finish_table(&mut builder)?;
    let written = SelectionTotals {
        records,
        bytes,
        digest: digest.digest(),
    };
    Ok((tables.into_bytes(), written))
}

struct TableWriter<'a> {
    staging: &'a DatabaseTarget,
    numbers: AtomicU64,
    failed: AtomicBool,
    written: Mutex<TableStreamBytes>,
    report: &'a OperationReport,
}

impl<'a> TableWriter<'a> {
    fn new(staging: &'a DatabaseTarget, report: &'a OperationReport) -> Self {
        Self {
            staging,
            numbers: AtomicU64::new(1),
            failed: AtomicBool::new(false),
            written: Mutex::default(),
            report,
        }
    }

    fn add(&self, builder: &mut TableBuilder, key: &[u8], value: &[u8]) -> Result<()> {
        builder.add(key, value)?;
        if builder.is_full() {
            self.finish_table(builder)
        } else {
            Ok(())
        }
    }

    fn finish_table(&self, builder: &mut TableBuilder) -> Result<()> {
        if builder.is_empty() {
            return Ok(());
        }
        let table = builder.finish()?;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.staging.write_table(number, &table)?;
        let bytes = table.plain_bytes + table.records * ELEMENT_OVERHEAD as u64;
        self.note(number, bytes, table.longest_bytes);
        builder.recycle(table);
        if self.failed.load(Ordering::Relaxed) {
            Err(Error::new(
                ErrorKind::Interrupted,
                "another restore thread has failed",
            ))
        } else {
            self.report.go_on()
        }
    }

    fn note(&self, number: u64, bytes: u64, longest: u64) {
        let mut written = locked(&self.written);
        written.tables.insert(number, bytes);
        written.longest_record = written.longest_record.max(longest);
    }

    fn into_bytes(self) -> TableStreamBytes {
        std::mem::take(&mut locked(&self.written))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stretch of keys.
#[derive(Default)]
struct TableJob {
    /// Where it begins; `None` before the base's first key, too.
    from: Option<Vec<u8>>,
    /// The base's leaves in it.
    leaves: Vec<LeafSpan>,
}

impl TableJob {
    /// Up to the first key behind its leaves.
    fn range(&self) -> KeyRange {
        KeyRange {
            from: self.from.clone(),
            to: self.leaves.last().and_then(|span| span.upper.clone()),
        }
    }
}

/// What every worker needs.
struct TableJobContext<'a> {
    reader: &'a BlobReader<'a>,
    /// Oldest first.
    runs: &'a [&'a StoredRunRef],
    database: &'a DatabaseRoot,
    tables: &'a TableWriter<'a>,
    comparator: &'a Comparator,
    /// Held while a long value is in memory.
    long_values: Mutex<()>,
}

fn write_in_parallel(
    reader: &BlobReader,
    runs: &[&StoredRunRef],
    database: &DatabaseRoot,
    tables: &TableWriter,
    comparator: &Comparator,
) -> Result<()> {
    let shop = TableJobContext {
        reader,
        runs,
        database,
        tables,
        comparator,
        long_values: Mutex::new(()),
    };
    let cores = rayon::current_num_threads();
    let (jobs, waiting) = bounded(cores);
    thread::scope(|scope| {
        let spawn = |_| {
            let (shop, waiting) = (&shop, waiting.clone());
            scope.spawn(move || shop.run_worker(waiting))
        };
        let workers: Vec<_> = (0..cores).map(spawn).collect();
        drop(waiting);
        let walked = shop.send_jobs(jobs);
        let mut ended: Vec<Result<()>> = workers.into_iter().map(join_worker).collect();
        ended.push(walked);
        first_cause(ended)
    })
}

pub fn join_worker(worker: ScopedJoinHandle<Result<()>>) -> Result<()> {
    worker
        .join()
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Io, "a restore thread panicked")))
}

/// The error that began it: the others stopped because of it.
pub fn first_cause(ended: Vec<Result<()>>) -> Result<()> {
    let (stopped, causes): (Vec<_>, Vec<_>) = ended
        .into_iter()
        .filter_map(Result::err)
        .partition(|error| error.kind() == ErrorKind::Interrupted);
    causes.into_iter().chain(stopped).next().map_or(Ok(()), Err)
}

fn send(jobs: &Sender<TableJob>, job: TableJob) -> Result<()> {
    jobs.send(job)
        .map_err(|_| Error::new(ErrorKind::Interrupted, "all restore threads have ended"))
}

impl TableJobContext<'_> {
    /// Cuts the keys into jobs; one at least, for a base may be empty under runs that are not.
    fn send_jobs(&self, jobs: Sender<TableJob>) -> Result<()> {
        let order = |left: &[u8], right: &[u8]| self.comparator.compare(left, right);
        let root = self.runs.first().and_then(|base| base.root.as_ref());
        let mut left = root.map_or(0, |root| root.top.bytes);
        let (mut job, mut bytes, mut is_behind) = (TableJob::default(), 0, false);
        for span in RunReader::new(self.reader, root, &order).leaves(KeyRange::all()) {
            let span = span?;
            bytes += span.leaf.bytes;
            let upper = span.upper.clone();
            job.leaves.push(span);
            let is_full = bytes >= self.job_bytes(left);
            is_behind = is_full && upper.is_none();
            if is_full {
                let leaves = Vec::new();
                send(
                    &jobs,
                    std::mem::replace(&mut job, TableJob { from: upper, leaves }),
                )?;
                left = left.saturating_sub(std::mem::take(&mut bytes));
            }
        }
        if is_behind { Ok(()) } else { send(&jobs, job) }
    }

    /// For a job, when so many bytes are left.
    fn job_bytes(&self, left: u64) -> u64 {
        let table_bytes = self.database.shape.table_bytes;
        let share = left / (REMAINING_SHARE_DIVISOR * rayon::current_num_threads() as u64);
        share.clamp(table_bytes, table_bytes.saturating_mul(TABLES_IN_JOB))
    }

    fn run_worker(&self, jobs: Receiver<TableJob>) -> Result<()> {
        let mut builder = TableBuilder::new(&self.database.shape, self.comparator)?;
        for job in jobs {
            let built = match self.runs {
                [_] => self.build_leaves(&job.leaves, &mut builder),
                _ => self.build_merged(&job.range(), &mut builder),
            };
            built.inspect_err(|_| self.tables.failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    }

    fn build_leaves(&self, job: &[LeafSpan], builder: &mut TableBuilder) -> Result<()> {
        let order = |left: &[u8], right: &[u8]| self.comparator.compare(left, right);
        let mut rest = job;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |span: &&LeafSpan| {
                bytes += span.leaf.bytes;
                bytes <= FETCH_BYTES
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (now, after) = rest.split_at(count);
            rest = after;
            for (span, blob) in now
                .iter()
                .zip(self.reader.read_many(&read_records::leaf_requests(now))?)
            {
                read_leaf(blob.plain(), span, &order, |entry| self.add(entry, builder))?;
                self.tables.report.records.add(span.leaf.records);
                self.tables.report.bytes_done.add(span.leaf.bytes);
            }
        }
        self.tables.finish_table(builder)
    }

    fn build_merged(&self, range: &KeyRange, builder: &mut TableBuilder) -> Result<()> {
        let order = |left: &[u8], right: &[u8]| self.comparator.compare(left, right);
        let newest_first = self.runs.iter().rev();
        let walkers: Vec<_> = newest_first
            .map(|run| RunReader::new(self.reader, run.root.as_ref(), &order))
            .collect();
        let mut merged = StackCursor::new(&walkers, range, TombstoneMode::Drop, &order)?;
        while let Some(entry) = merged.next()? {
            self.add(&entry, builder)?;
            self.tables.report.records.add(1);
            let bytes = entry.payload.element_bytes(entry.key);
            self.tables.report.bytes_done.add(bytes);
        }
        self.tables.finish_table(builder)
    }

    fn add(&self, entry: &RunEntry<'_>, builder: &mut TableBuilder) -> Result<()> {
        match &entry.payload {
            EntryPayload::Inline(value) => self.tables.add(builder, entry.key, value),
            EntryPayload::Chunked(list) => {
                let _alone = locked(&self.long_values);
                self.tables.add(
                    builder,
                    entry.key,
                    &read_records::read_long_value(self.reader, list)?,
                )
            }
            EntryPayload::Delete | EntryPayload::Patch(_) => Err(read_records::not_a_record()),
        }
    }
}
