//! Rebuilds the memtable from the logs, in bounded memory.
//!
//! What the logs hold and no table does, sorted: LevelDB's memtable, rebuilt within a memory bound.
//!
//! The first pass over the logs checks everything, finds the last sequence number and what is lost, and keeps the
//! entries: keys and small values in one arena, large values only by place (they are read again when they turn
//! out visible). Logs that hold more than the bound are read again pass by pass, each pass keeping the smallest keys
//! behind the pass before; nothing is ever written to a temporary file.
mod cursor;
mod first_pass;
mod later_pass;
mod memtable_pass;

use super::comparator::Comparator;
use super::damage::{DamageCollector, SourceDamage, TornTail};
use super::file_name::log_name;
use super::log_reader::read_log;
use super::missing_log::MissingLog;
use super::scan_context::{OpenFiles, ScanContext};
use super::write_batch::BatchParser;
use crate::error::{Error, Result};
pub use cursor::MemtableCursor;
use first_pass::FirstPass;
use later_pass::LaterPass;
use memtable_pass::MemtablePass;

/// What the first pass found besides entries.
#[derive(Debug, Default)]
pub struct LogReport {
    /// Sequence number of the newest whole batch; 0 if there is none.
    pub last_sequence: u64,
    /// Operations in whole batches.
    pub entries: u64,
    /// Bytes of the logs.
    pub bytes: u64,
    /// Lost stretches, each with what lies behind it.
    pub damage: Vec<SourceDamage>,
    /// Records below this may have been overwritten by what was lost.
    pub certain_from: u64,
    /// Ends that hold no whole batch.
    pub torn_tails: Vec<TornTail>,
    /// What of them is whole and cannot be read: then the entries are not all.
    pub unknown: Option<String>,
}

impl LogReport {
    /// The first sequence number that may be lost, if the batches around a single damage tell it; else 0.
    pub fn lost_after(&self) -> u64 {
        match &self.damage[..] {
            [only] => match only.sequences_lost {
                Some(lost) if self.certain_from < u64::MAX => self.certain_from.saturating_sub(lost),
                _ => 0,
            },
            _ => 0,
        }
    }

    /// Hands damage on to a scan.
    pub fn report_damage(&self, findings: &mut DamageCollector) {
        self.damage
            .iter()
            .for_each(|damage| findings.list(damage.clone()));
        findings.mark_lost_below(self.certain_from);
    }
}

/// The logs of a database, checked, with as many entries as fit.
pub struct Memtable {
    logs: Vec<u64>,
    bad_records: Vec<LogRecordLocation>,
    /// Whole batches: every pass must find as many.
    batches: u64,
    first: Option<MemtablePass>,
}

/// A record: index of its log, and where its payload begins.
type LogRecordLocation = (usize, u64);

impl Memtable {
    /// First pass over the live logs, oldest first. `absent` is the log that the MANIFEST names and nobody has;
    /// `last_sequence` is the MANIFEST's. Entries are kept while they take no more than `bytes_max`, and not at all
    /// when the order is unknown.
    pub fn read(
        files: &dyn OpenFiles,
        order: &Comparator,
        logs: Vec<u64>,
        absent: Option<MissingLog>,
        last_sequence: u64,
        bytes_max: usize,
    ) -> (Self, LogReport) {
        let mut pass = MemtablePass::new(order, bytes_max);
        pass.validate_only = !order.is_known();
        let mut first = FirstPass::new(&mut pass, last_sequence);
        first.begin_without(absent);
        for (index, &number) in logs.iter().enumerate() {
            first.read(files, index, number);
        }
        let batches = first.batches;
        let (report, bad_records) = first.finish();
        let fits = !pass.validate_only;
        let table = Self {
            logs,
            bad_records,
            batches,
            first: (fits || !order.is_known()).then(|| pass.sorted()),
        };
        (table, report)
    }

    /// A sorted source of its entries; call [`MemtableCursor::advance`] to reach the first.
    pub fn cursor<'a>(&'a self, scan: &'a ScanContext<'a>) -> MemtableCursor<'a> {
        MemtableCursor::new(scan, self)
    }

    /// The next pass, over keys behind `after`.
    fn pass(&self, scan: &ScanContext, after: Option<Vec<u8>>) -> Result<MemtablePass> {
        let mut pass = MemtablePass::new(scan.order, scan.budget.log_bytes_max);
        pass.after = after;
        pass.cuts = true;
        let mut batches = 0;
        for (index, &number) in self.logs.iter().enumerate() {
            let file = scan.files.open_log(number)?;
            scan.count_read(usize::try_from(file.len()).unwrap_or(usize::MAX));
            let mut again = LaterPass {
                pass: &mut pass,
                parser: BatchParser::default(),
                bad_records: &self.bad_records,
                log: index,
                record: None,
                skipping: false,
                failed: false,
                batches: 0,
            };
            read_log(file.as_ref(), &mut again);
            if again.failed {
                return Err(Error::corrupt(format!(
                    "{} changed while it was read",
                    log_name(number)
                )));
            }
            batches += again.batches;
        }
        if batches == self.batches {
            Ok(pass.sorted())
        } else {
            Err(Error::corrupt("a log changed while it was read"))
        }
    }
}

#[cfg(test)]
mod tests;
