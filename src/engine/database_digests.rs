//! Computes a database's digests on all cores.
//!
//! Digests of a database that is read in order, computed on all cores: for who stores nothing.

use rayon::prelude::*;

use crate::error::Result;
use crate::id::{SetDigest, StreamDigest};
use crate::record::{SetDigestAccumulator, StreamDigester, element_len, put_element};
use crate::report::OperationReport;
use crate::source::RecordSink;

/// Elements are hashed together when they are so many bytes ...
const GATHERED_BYTES: usize = 2 << 20;

/// ... in parts of so many.
const PART_BYTES: usize = 128 << 10;

/// Takes certain records in key order.
pub struct DigestPipeline<'a> {
    key: &'a [u8; 32],
    report: &'a OperationReport,
    stream: StreamDigester,
    set: SetDigestAccumulator<'a>,
    gathered: Vec<u8>,
    /// Where parts of it begin.
    parts: Vec<usize>,
    records: u64,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseDigests {
    pub records: u64,
    pub set: SetDigest,
    pub stream: StreamDigest,
}

impl<'a> DigestPipeline<'a> {
    /// Of no record; `key` is the domain's for set digests.
    pub fn new(key: &'a [u8; 32], report: &'a OperationReport) -> Self {
        Self {
            key,
            report,
            stream: StreamDigester::new(),
            set: SetDigestAccumulator::new(key),
            gathered: Vec::new(),
            parts: Vec::new(),
            records: 0,
        }
    }

    /// Of all records.
    pub fn finish(mut self) -> Result<DatabaseDigests> {
        self.hash()?;
        Ok(DatabaseDigests {
            records: self.records,
            set: self.set.digest(),
            stream: self.stream.digest(),
        })
    }

    fn hash(&mut self) -> Result<()> {
        self.report.go_on()?;
        self.parts.push(self.gathered.len());
        let (key, all) = (self.key, &self.gathered);
        let parts: Vec<_> = self.parts.windows(2).map(|ends| &all[ends[0]..ends[1]]).collect();
        let sum = |part: &&[u8]| {
            let mut sum = SetDigestAccumulator::new(key);
            sum.add_stream(part)?;
            Ok(sum.digest())
        };
        let stream = &mut self.stream;
        let (sums, ()) = rayon::join(
            || parts.par_iter().map(sum).collect::<Result<Vec<_>>>(),
            || stream.stream(all),
        );
        sums?.iter().for_each(|sum| self.set.merge(sum));
        self.gathered.clear();
        self.parts.clear();
        Ok(())
    }
}

impl RecordSink for DigestPipeline<'_> {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        self.records += 1;
        if element_len(key.len(), value.len()) > GATHERED_BYTES {
            self.hash()?;
            self.stream.record(key, value);
            self.set.add_record(key, value);
            return Ok(());
        }
        if self
            .parts
            .last()
            .is_none_or(|from| self.gathered.len() - from >= PART_BYTES)
        {
            self.parts.push(self.gathered.len());
        }
        put_element(&mut self.gathered, key, value);
        if self.gathered.len() >= GATHERED_BYTES {
            self.hash()
        } else {
            Ok(())
        }
    }
}
