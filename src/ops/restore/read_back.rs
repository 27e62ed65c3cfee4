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
use crate::record::{SetDigestAcc, StreamStretch};
use crate::report::Report;
use crate::source::{Database, RecordSink, TableRow};

/// Stretches for each core: the last to end are short, and only two strides of each are hashed by the one that joins them.
const STRETCHES_PER_CORE: usize = 8;

/// Memory of a thread is a few times the longest record: beyond this, one thread reads all.
const LONGEST_BYTES_MAX: u64 = 4 << 20;

/// How much of the stream each table holds, by file number.
#[derive(Clone, Debug, Default)]
pub struct StreamBytes {
    pub tables: BTreeMap<u64, u64>,
    /// Of the longest record.
    pub longest: u64,
}

/// Which digest is wanted; the one of the stream can be had outside the repository too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    Stream(StreamDigest),
    Set(SetDigest),
}

/// What reads a database back.
pub struct Reading<'a> {
    pub by_stream: bool,
    pub set_digest_key: &'a [u8; 32],
    pub report: &'a Report,
}

/// What was read so far.
pub struct ReadBack<'a> {
    pub records: u64,
    digested: Digested<'a>,
    report: &'a Report,
}

enum Digested<'a> {
    Stream(StreamStretch),
    Set(Box<SetDigestAcc<'a>>),
}

impl<'a> Reading<'a> {
    /// Begins behind so many bytes of the stream.
    pub fn begin(&self, at: u64) -> ReadBack<'a> {
        ReadBack {
            records: 0,
            digested: if self.by_stream {
                Digested::Stream(StreamStretch::at(at))
            } else {
                Digested::Set(Box::new(SetDigestAcc::new(self.set_digest_key)))
            },
            report: self.report,
        }
    }

    /// Reads all of a database in stretches; `None` where that cannot be, or where anything is wrong: a scan of the whole
    /// then tells what.
    pub fn in_stretches(&self, database: &Database, bytes: &StreamBytes) -> Result<Option<ReadBack<'a>>> {
        let cores = rayon::current_num_threads();
        let row = database
            .table_row()
            .filter(|_| bytes.longest <= LONGEST_BYTES_MAX);
        let stretches = row.map_or_else(Vec::new, |row| row.split(STRETCHES_PER_CORE * cores));
        let Some(stretches) = placed(stretches, bytes) else {
            return Ok(None);
        };
        let read = |(at, stretch): (u64, TableRow)| {
            let mut sink = self.begin(at);
            let outcome = stretch.scan(cores, &mut sink)?;
            Ok(outcome.damage.is_empty().then_some(sink))
        };
        let read: Option<Vec<_>> = stretches.into_par_iter().map(read).collect::<Result<_>>()?;
        let mut read = read.into_iter().flatten();
        let first = read.next();
        Ok(first.and_then(|first| read.try_fold(first, ReadBack::join)))
    }
}

/// Each stretch with where it begins; `None` where that is not known.
fn placed<'d>(stretches: Vec<TableRow<'d>>, bytes: &StreamBytes) -> Option<Vec<(u64, TableRow<'d>)>> {
    let mut at = 0;
    let place = |stretch: TableRow<'d>| {
        let begins = at;
        for number in stretch.numbers() {
            at += bytes.tables.get(&number)?;
        }
        Some((begins, stretch))
    };
    stretches.into_iter().map(place).collect()
}

impl ReadBack<'_> {
    /// The digest of it.
    pub fn digest(&self) -> Option<Digest> {
        match &self.digested {
            Digested::Stream(stretch) => stretch.digest().map(Digest::Stream),
            Digested::Set(set) => Some(Digest::Set(set.digest())),
        }
    }

    fn join(mut self, next: Self) -> Option<Self> {
        self.records += next.records;
        let meets = match (&mut self.digested, &next.digested) {
            (Digested::Stream(stretch), Digested::Stream(next)) => stretch.join(next),
            (Digested::Set(set), Digested::Set(next)) => {
                set.merge(&next.digest());
                true
            }
            _ => false,
        };
        meets.then_some(self)
    }
}

impl RecordSink for ReadBack<'_> {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        self.records += 1;
        if self.records.is_multiple_of(4096) {
            self.report.go_on()?;
        }
        match &mut self.digested {
            Digested::Stream(stretch) => stretch.record(key, value),
            Digested::Set(set) => set.add_record(key, value),
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "read_back_tests.rs"]
mod tests;
