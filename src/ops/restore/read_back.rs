//! Reads a restored database back, and computes its digests.
//!
//! What reads back, counted and digested: where the database is one row of tables, in stretches on all cores.
//!
//! ```text
//! row of tables --split--> scan and digest a stretch --+--join in order--> count, digest
//!                          scan and digest a stretch --+
//! ```
//! A stretch of the stream is digested where it stands in it, so it must be known how long those before it are: whoever
//! wrote the tables says so. Nothing is trusted in that: stretches that do not meet are not joined. This road proves that
//! a database is the expected one, or says nothing; what is wrong with it is told by a scan of the whole.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::error::Result;
use crate::id::{SetDigest, StreamDigest};
use crate::record::{SetDigestAccumulator, StreamPartition};
use crate::report::OperationReport;
use crate::source::{Database, DisjointTables, RecordSink};

/// Stretches for each core: the last to end are short, and only two strides of each are hashed by the one that joins them.
const PARTITIONS_PER_CORE: usize = 8;

/// Memory of a thread is a few times the longest record: beyond this, one thread reads all.
const PARALLEL_RECORD_BYTES_MAX: u64 = 4 << 20;

/// How much of the stream each table holds, by file number.
#[derive(Clone, Debug, Default)]
pub struct TableStreamBytes {
    pub tables: BTreeMap<u64, u64>,
    /// Of the longest record.
    pub longest_record: u64,
}

/// Which digest is wanted; the one of the stream can be had outside the repository too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamOrSetDigest {
    Stream(StreamDigest),
    Set(SetDigest),
}

/// What reads a database back.
pub struct ReadBackContext<'a> {
    pub by_stream: bool,
    pub set_digest_key: &'a [u8; 32],
    pub report: &'a OperationReport,
}

/// What was read so far.
pub struct ReadBackAccumulator<'a> {
    pub records: u64,
    digest_state: ReadBackDigest<'a>,
    report: &'a OperationReport,
}

enum ReadBackDigest<'a> {
    Stream(StreamPartition),
    Set(Box<SetDigestAccumulator<'a>>),
}

impl<'a> ReadBackContext<'a> {
    /// Begins behind so many bytes of the stream.
    pub fn begin_at(&self, at: u64) -> ReadBackAccumulator<'a> {
        ReadBackAccumulator {
            records: 0,
            digest_state: if self.by_stream {
                ReadBackDigest::Stream(StreamPartition::partition_at(at))
            } else {
                ReadBackDigest::Set(Box::new(SetDigestAccumulator::new(self.set_digest_key)))
            },
            report: self.report,
        }
    }

    /// Reads all of a database in stretches; `None` where that cannot be, or where anything is wrong: a scan of the whole
    /// then tells what.
    pub fn read_partitions(
        &self,
        database: &Database,
        bytes: &TableStreamBytes,
    ) -> Result<Option<ReadBackAccumulator<'a>>> {
        let cores = rayon::current_num_threads();
        let row = database
            .disjoint_tables()
            .filter(|_| bytes.longest_record <= PARALLEL_RECORD_BYTES_MAX);
        let stretches = row.map_or_else(Vec::new, |row| {
            row.split_into_partitions(PARTITIONS_PER_CORE * cores)
        });
        let Some(stretches) = with_stream_offsets(stretches, bytes) else {
            return Ok(None);
        };
        let read = |(at, stretch): (u64, DisjointTables)| {
            let mut sink = self.begin_at(at);
            let outcome = stretch.scan(cores, &mut sink)?;
            Ok(outcome.damage.is_empty().then_some(sink))
        };
        let read: Option<Vec<_>> = stretches.into_par_iter().map(read).collect::<Result<_>>()?;
        let mut read = read.into_iter().flatten();
        let first = read.next();
        Ok(first.and_then(|first| read.try_fold(first, ReadBackAccumulator::join_next)))
    }
}

/// Each stretch with where it begins; `None` where that is not known.
fn with_stream_offsets<'d>(
    stretches: Vec<DisjointTables<'d>>,
    bytes: &TableStreamBytes,
) -> Option<Vec<(u64, DisjointTables<'d>)>> {
    let mut at = 0;
    let place = |stretch: DisjointTables<'d>| {
        let begins = at;
        for number in stretch.numbers() {
            at += bytes.tables.get(&number)?;
        }
        Some((begins, stretch))
    };
    stretches.into_iter().map(place).collect()
}

impl ReadBackAccumulator<'_> {
    /// The digest of it.
    pub fn digest(&self) -> Option<StreamOrSetDigest> {
        match &self.digest_state {
            ReadBackDigest::Stream(stretch) => stretch.digest().map(StreamOrSetDigest::Stream),
            ReadBackDigest::Set(set) => Some(StreamOrSetDigest::Set(set.digest())),
        }
    }

    fn join_next(mut self, next: Self) -> Option<Self> {
        self.records += next.records;
        let meets = match (&mut self.digest_state, &next.digest_state) {
            (ReadBackDigest::Stream(stretch), ReadBackDigest::Stream(next)) => stretch.join_partitions(next),
            (ReadBackDigest::Set(set), ReadBackDigest::Set(next)) => {
                set.merge(&next.digest());
                true
            }
            _ => false,
        };
        meets.then_some(self)
    }
}

impl RecordSink for ReadBackAccumulator<'_> {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        self.records += 1;
        if self.records.is_multiple_of(4096) {
            self.report.go_on()?;
        }
        match &mut self.digest_state {
            ReadBackDigest::Stream(stretch) => stretch.record(key, value),
            ReadBackDigest::Set(set) => set.add_record(key, value),
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "read_back_tests.rs"]
mod tests;
