//! Reads the logs first: parses, collects damage, keeps entries that fit.
//!
//! The first pass over the logs: parses, judges what is lost, and keeps entries as long as they fit.

use super::memtable_pass::MemtablePass;
use super::{LogRecordLocation, LogReport};
use crate::error::{Error, ErrorKind};
use crate::leveldb::damage::{SourceDamage, TornTail};
use crate::leveldb::file_name::log_name;
use crate::leveldb::log_cut_point::{SequenceGap, fill};
use crate::leveldb::log_reader::{LogSink, UnreadableSpan, read_log};
use crate::leveldb::missing_log::MissingLog;
use crate::leveldb::scan_context::OpenFiles;
use crate::leveldb::write_batch::{BatchHeader, BatchParser};

/// The first pass: parses, judges what is lost, and keeps entries as long as they fit.
pub(super) struct FirstPass<'p> {
    pass: &'p mut MemtablePass,
    parser: BatchParser,
    report: LogReport,
    bad_records: Vec<LogRecordLocation>,
    manifest_sequence: u64,
    /// The sequence number that the next batch should begin with.
    expected: Option<u64>,
    /// The first whole batch tells whether this log was lost or empty.
    absent: Option<u64>,
    first_in_log: bool,
    log: usize,
    number: u64,
    /// Where the record under way began, and what to forget if it is none.
    record: Option<(u64, (usize, usize))>,
    fault: Option<Error>,
    pub(super) batches: u64,
    /// A stretch that was lost for certain, or may have been: the next whole batch tells.
    pending: Vec<PendingBatch>,
    /// Numbers that are missing so far; a later batch may have them.
    gaps: Vec<MissingSequences>,
}

/// Numbers that no batch had where they should have been.
struct MissingSequences {
    /// Those that are missing still.
    left: Vec<SequenceGap>,
    file: String,
    why: &'static str,
    /// Records below this may have been overwritten by what is missing; 0 if nothing can have been.
    certain_from: u64,
}

struct PendingBatch {
    number: u64,
    span: UnreadableSpan,
    what: String,
    /// It did hold a batch: bad, but whole by its checksum.
    certain: bool,
}

impl<'p> FirstPass<'p> {
    pub(super) fn new(pass: &'p mut MemtablePass, manifest_sequence: u64) -> Self {
        Self {
            pass,
            parser: BatchParser::default(),
            report: LogReport::default(),
            bad_records: Vec::new(),
            manifest_sequence,
            expected: None,
            absent: None,
            first_in_log: true,
            log: 0,
            number: 0,
            record: None,
            fault: None,
            batches: 0,
            pending: Vec::new(),
            gaps: Vec::new(),
        }
    }

    pub(super) fn begin_without(&mut self, absent: Option<MissingLog>) {
        match absent {
            None => {}
            Some(MissingLog::Lost(number)) => {
                self.mark_log_lost(number, "the MANIFEST names it, and it is not there".to_owned());
            }
            Some(MissingLog::LostIfGap(number)) => self.absent = Some(number),
        }
    }

    pub(super) fn read(&mut self, files: &dyn OpenFiles, index: usize, number: u64) {
        let file = match files.open_log(number) {
            Ok(file) => file,
            Err(error) => return self.mark_log_lost(number, error.to_string()),
        };
        self.log = index;
        self.pass.log = index;
        self.number = number;
        self.first_in_log = true;
        self.report.bytes += file.len();
        if let Some(span) = read_log(file.as_ref(), self) {
            let what = span.why.to_owned();
            self.pending.push(PendingBatch {
                number,
                span,
                what,
                certain: false,
            });
        }
    }

    /// A log of which nothing can be read.
    pub(super) fn mark_log_lost(&mut self, number: u64, what: String) {
        let span = UnreadableSpan {
            from: 0,
            to: 0,
            why: "",
            zeros: false,
            cut_short: false,
        };
        self.expected = None;
        self.pending.push(PendingBatch {
            number,
            span,
            what,
            certain: true,
        });
    }

    /// A whole batch came that begins with `base`: now what is pending can be judged by the numbers missing.
    fn classify_batch(&mut self, base: u64) {
        // LevelDB begins a log right behind the sequence number its MANIFEST records.
        let expected = self
            .expected
            .or(Some(self.manifest_sequence.saturating_add(1)).filter(|&next| next == base));
        let lost = expected.map(|expected| base.saturating_sub(expected));
        for pending in std::mem::take(&mut self.pending) {
            match lost {
                Some(0) if !pending.certain => self.record_torn_tail(pending),
                _ => {
                    self.report.certain_from = self.report.certain_from.max(base);
                    self.record_lost_range(pending, lost);
                }
            }
        }
    }

    /// Numbers that no batch has, although all bytes are readable, and that the MANIFEST does not cover. Inside one
    /// log that is a write that failed in its owner, who counts it all the same; between two, a log may be gone.
    fn record_gap(&mut self, base: u64, absent: Option<u64>) {
        let expected = self.expected.unwrap_or(self.manifest_sequence.saturating_add(1));
        if base <= expected || base - 1 <= self.manifest_sequence {
            return;
        }
        let why = match (absent, self.first_in_log) {
            (Some(_), _) => "the MANIFEST names this log, and it is not there",
            (None, true) => "a log before this one may be gone",
            (None, false) => "a write that failed in the database's owner",
        };
        self.gaps.push(MissingSequences {
            left: vec![SequenceGap {
                from: expected,
                to: base,
            }],
            file: log_name(absent.unwrap_or(self.number)),
            why,
            certain_from: if self.first_in_log { base } else { 0 },
        });
    }

    /// Writers that append side by side overtake one another: what came late is not missing.
    fn take_late_entries(&mut self, late: SequenceGap) {
        for missing in &mut self.gaps {
            missing.left = fill(&missing.left, late);
        }
        self.gaps.retain(|missing| !missing.left.is_empty());
    }

    fn record_missing_log(&mut self) {
        for missing in std::mem::take(&mut self.gaps) {
            let report = &mut self.report;
            report.certain_from = report.certain_from.max(missing.certain_from);
            report.damage.extend(missing.left.iter().map(|gap| SourceDamage {
                file: missing.file.clone(),
                offset: None,
                level: None,
                smallest: None,
                largest: None,
                sequences_lost: Some(gap.to - gap.from),
                what: format!(
                    "sequence numbers {} to {} are missing: {}",
                    gap.from,
                    gap.to - 1,
                    missing.why
                ),
            }));
        }
    }

    fn record_torn_tail(&mut self, pending: PendingBatch) {
        if !pending.span.zeros {
            self.report.torn_tails.push(TornTail {
                file: log_name(pending.number),
                offset: pending.span.from,
                bytes_left: pending.span.to - pending.span.from,
            });
        }
    }

    fn record_lost_range(&mut self, pending: PendingBatch, sequences_lost: Option<u64>) {
        let offset = (pending.span.to > 0).then_some(pending.span.from);
        self.report.damage.push(SourceDamage {
            file: log_name(pending.number),
            offset,
            level: None,
            smallest: None,
            largest: None,
            sequences_lost,
            what: pending.what,
        });
    }

    pub(super) fn finish(mut self) -> (LogReport, Vec<LogRecordLocation>) {
        self.record_missing_log();
        for pending in std::mem::take(&mut self.pending) {
            if pending.certain {
                self.report.certain_from = u64::MAX;
                self.record_lost_range(pending, None);
            } else {
                self.record_torn_tail(pending)
            }
        }
        (self.report, self.bad_records)
    }

    fn accept(&mut self, header: BatchHeader) {
        self.batches += 1;
        let absent = self.absent.take();
        if self.pending.is_empty() {
            self.record_gap(header.sequence, absent)
        } else {
            self.classify_batch(header.sequence)
        }
        self.first_in_log = false;
        let next = header.sequence + u64::from(header.count);
        if self.expected.is_some_and(|expected| header.sequence < expected) && !self.gaps.is_empty() {
            self.take_late_entries(SequenceGap {
                from: header.sequence,
                to: next,
            });
        }
        self.expected = self.expected.max(Some(next));
        self.report.entries += u64::from(header.count);
        self.report.last_sequence = self.report.last_sequence.max(next.saturating_sub(1));
    }

    /// The batch is whole, and holds what we do not know.
    fn accept_unknown(&mut self, header: BatchHeader, error: &Error) {
        self.accept(header);
        self.batches -= 1;
        let what = || format!("{}: {error}", log_name(self.number));
        self.report.unknown.get_or_insert_with(what);
        self.drop_record();
    }

    fn reject(&mut self, start: u64, error: &Error) {
        let span = UnreadableSpan {
            from: start,
            to: start + 1,
            why: "",
            zeros: false,
            cut_short: false,
        };
        self.pending.push(PendingBatch {
            number: self.number,
            span,
            what: error.to_string(),
            certain: true,
        });
        self.drop_record();
    }

    fn drop_record(&mut self) {
        if let Some((place, mark)) = self.record.take() {
            self.bad_records.push((self.log, place));
            self.pass.truncate_to(mark);
        }
    }
}

impl LogSink for FirstPass<'_> {
    fn part(&mut self, offset: u64, payload: &[u8]) {
        if self.record.is_none() {
            self.record = Some((offset, self.pass.arena_mark()));
            self.parser.reset();
            self.fault = None;
        }
        if self.fault.is_none() {
            self.fault = self.parser.push(offset, payload, self.pass).err();
        }
    }

    fn end(&mut self, start: u64, hole: Option<UnreadableSpan>) {
        if let Some(span) = hole {
            let what = span.why.to_owned();
            self.pending.push(PendingBatch {
                number: self.number,
                span,
                what,
                certain: false,
            });
        }
        match self.fault.take().map_or_else(|| self.parser.finish(), Err) {
            Ok(header) => {
                self.accept(header);
                self.record = None;
            }
            Err(error) => match self.parser.header() {
                Some(header) if error.kind() == ErrorKind::UnknownFormat => {
                    self.accept_unknown(header, &error)
                }
                _ => self.reject(start, &error),
            },
        }
    }

    fn abort(&mut self) {
        self.drop_record();
    }
}
