//! A run tree into tables: leaves grouped into jobs, jobs built on all cores, each into tables of its own.
//!
//! ```text
//! this thread: walk the tree, group leaves --[bounded: one job a core]--> workers: fetch, open, decode, build --> stage
//! ```
//! Jobs cover ranges of keys that do not overlap, so the tables do not either, whoever writes first. A job with
//! long values is done by one worker at a time: the memory bound is three times one value, not one per core.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::error::{Error, Kind, Result};
use crate::id::StreamDigest;
use crate::leveldb::Comparator;
use crate::leveldb::table_build::TableBuilder;
use crate::record::StreamDigester;
use crate::repo::BlobReader;
use crate::report::Report;
use crate::run::{KeyOrder, KeyRange, LeafSpan, Walker};
use crate::snapshot::{DatabaseRoot, Run};
use crate::target::DatabaseTarget;

use super::super::read::{self, Wish};

/// Tables' worth of leaves in one job: the last table of a job is cut short, so there should be few jobs.
const TABLES_IN_JOB: u64 = 8;

/// Plain bytes fetched at once.
const FETCH_BYTES: u64 = 2 << 20;

/// Writes every wished record into tables below `staging`.
pub fn write(
    reader: &BlobReader,
    database: &DatabaseRoot,
    wish: &Wish,
    staging: &DatabaseTarget,
    comparator: &Comparator,
    report: &Report,
) -> Result<()> {
    let tables = Tables::new(staging, report);
    let runs = read::runs(database, wish.with_uncertain)?;
    match runs[..] {
        [run] => in_parallel(reader, run, database, &tables, comparator),
        _ => {
            let mut builder = TableBuilder::new(&database.shape, comparator)?;
            read::records_from(reader, database, wish, report, &mut |key, value| {
                tables.add(&mut builder, key, value)
            })?;
            tables.end(&mut builder)
        }
    }
}

/// What was written of a database that is not restored whole.
pub struct Written {
    /// Records.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Of the records in order.
    pub digest: StreamDigest,
}

/// [`write`] for some of the records, which are counted and digested as they pass: of a selection nothing is recorded.
pub fn write_selected(
    reader: &BlobReader,
    database: &DatabaseRoot,
    wish: &Wish,
    staging: &DatabaseTarget,
    comparator: &Comparator,
    report: &Report,
) -> Result<Written> {
    let tables = Tables::new(staging, report);
    let mut builder = TableBuilder::new(&database.shape, comparator)?;
    let (mut records, mut bytes, mut digest) = (0, 0, StreamDigester::new());
    read::records_from(reader, database, wish, report, &mut |key, value| {
        records += 1;
        bytes += (key.len() + value.len()) as u64;
        digest.record(key, value);
        tables.add(&mut builder, key, value)
    })?;
    tables.end(&mut builder)?;
    Ok(Written {
        records,
        bytes,
        digest: digest.digest(),
    })
}

struct Tables<'a> {
    staging: &'a DatabaseTarget,
    numbers: AtomicU64,
    failed: AtomicBool,
    report: &'a Report,
}

impl<'a> Tables<'a> {
    fn new(staging: &'a DatabaseTarget, report: &'a Report) -> Self {
        Self {
            staging,
            numbers: AtomicU64::new(1),
            failed: AtomicBool::new(false),
            report,
        }
    }

    fn add(&self, builder: &mut TableBuilder, key: &[u8], value: &[u8]) -> Result<()> {
        builder.add(key, value)?;
        match builder.is_full() {
            true => self.end(builder),
            false => Ok(()),
        }
    }

    fn end(&self, builder: &mut TableBuilder) -> Result<()> {
        if builder.is_empty() {
            return Ok(());
        }
        let table = builder.finish()?;
        self.staging
            .write_table(self.numbers.fetch_add(1, Ordering::Relaxed), &table)?;
        builder.recycle(table);
        match self.failed.load(Ordering::Relaxed) {
            true => Err(Error::new(Kind::Interrupted, "another restore thread has failed")),
            false => self.report.go_on(),
        }
    }
}

type Job = Vec<LeafSpan>;

fn in_parallel(
    reader: &BlobReader,
    run: &Run,
    database: &DatabaseRoot,
    tables: &Tables,
    comparator: &Comparator,
) -> Result<()> {
    let cores = rayon::current_num_threads();
    let (jobs, waiting) = bounded(cores);
    let long_values = Mutex::new(());
    thread::scope(|scope| {
        let spawn = |_| {
            let waiting = waiting.clone();
            let long_values = &long_values;
            scope.spawn(move || work(reader, waiting, tables, database, comparator, long_values))
        };
        let workers: Vec<_> = (0..cores).map(spawn).collect();
        drop(waiting);
        let walked = walk(
            reader,
            run,
            comparator,
            database.shape.table_bytes * TABLES_IN_JOB,
            jobs,
        );
        let mut ended: Vec<Result<()>> = workers.into_iter().map(joined).collect();
        ended.push(walked);
        first_cause(ended)
    })
}

fn joined(worker: ScopedJoinHandle<Result<()>>) -> Result<()> {
    worker
        .join()
        .unwrap_or_else(|_| Err(Error::new(Kind::Io, "a restore thread panicked")))
}

/// The error that began it: the others stopped because of it.
fn first_cause(ended: Vec<Result<()>>) -> Result<()> {
    let (stopped, causes): (Vec<_>, Vec<_>) = ended
        .into_iter()
        .filter_map(Result::err)
        .partition(|error| error.kind() == Kind::Interrupted);
    causes.into_iter().chain(stopped).next().map_or(Ok(()), Err)
}

fn walk(
    reader: &BlobReader,
    run: &Run,
    comparator: &Comparator,
    job_bytes: u64,
    jobs: Sender<Job>,
) -> Result<()> {
    let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
    let (mut job, mut bytes) = (Job::new(), 0);
    for span in Walker::new(reader, run.root.as_ref(), &order).leaves(KeyRange::all()) {
        let span = span?;
        bytes += span.leaf.bytes;
        job.push(span);
        if bytes >= job_bytes {
            send(&jobs, std::mem::take(&mut job))?;
            bytes = 0;
        }
    }
    send(&jobs, job)
}

fn send(jobs: &Sender<Job>, job: Job) -> Result<()> {
    jobs.send(job)
        .map_err(|_| Error::new(Kind::Interrupted, "all restore threads have ended"))
}

fn work(
    reader: &BlobReader,
    jobs: Receiver<Job>,
    tables: &Tables,
    database: &DatabaseRoot,
    comparator: &Comparator,
    long_values: &Mutex<()>,
) -> Result<()> {
    let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
    let mut builder = TableBuilder::new(&database.shape, comparator)?;
    for job in jobs {
        let has_long = job.iter().any(|span| span.leaf.chunked > 0);
        let _alone = has_long.then(|| long_values.lock().unwrap_or_else(PoisonError::into_inner));
        build(reader, &job, &order, tables, &mut builder)
            .inspect_err(|_| tables.failed.store(true, Ordering::Relaxed))?;
    }
    Ok(())
}

fn build(
    reader: &BlobReader,
    job: &[LeafSpan],
    order: KeyOrder,
    tables: &Tables,
    builder: &mut TableBuilder,
) -> Result<()> {
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
        for (span, blob) in now.iter().zip(reader.read_many(&read::wanted(now))?) {
            read::each_record(reader, blob.plain(), span, order, &mut |key, value| {
                tables.add(builder, key, value)
            })?;
            tables.report.records.add(span.leaf.records);
            tables.report.bytes_done.add(span.leaf.bytes);
        }
    }
    tables.end(builder)
}
