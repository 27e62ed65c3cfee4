//! Finds where logs under write can be cut consistently.
//!
//! Logs that a writer may be appending to → where each is to be cut, and whether their batches form one unbroken run.
//!
//! Only the frames, their checksums and the batches' headers are looked at, so that a cut is had while the logs
//! are as fresh as can be; the operations are parsed later, from the bytes before the cut.

use super::log_reader::{LogSink, UnreadableSpan, read_log};
use super::read_at::ReadAt;
use super::write_batch::BATCH_HEADER_BYTES;
use crate::codec::Reader;

/// Gaps remembered; beyond that none is taken back. Writers of one log that overtake one another leave a few at a time.
const GAPS_MAX: usize = 1024;

/// Sequence numbers that no batch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceGap {
    /// The first number missing.
    pub from: u64,
    /// The first number there again.
    pub to: u64,
}

/// The end of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// First byte behind the last whole record.
    pub cut: u64,
    /// What lies behind it, unless zeros or nothing.
    pub tail: Option<UnreadableSpan>,
    /// BLAKE3 of the BLAKE3s of its whole records: an append leaves it, any other write does not.
    pub content: [u8; 32],
}

/// Follows the batches of the live logs, oldest log first.
#[derive(Debug)]
pub struct LogContinuity {
    /// The MANIFEST's last sequence number: what it covers may be missing from the logs.
    covered: u64,
    /// The number that the next batch should begin with; `None` before the first, and when unreadable bytes leave
    /// it unknown.
    expected: Option<u64>,
    /// No batch was read, and nothing was unreadable.
    at_start: bool,
    first_in_log: bool,
    newest: u64,
    gaps: Vec<SequenceGap>,
    crossed: bool,
}

impl LogContinuity {
    /// Batches may begin anywhere up to the number behind `covered`, the MANIFEST's last sequence number.
    pub fn new(covered: u64) -> Self {
        Self {
            covered,
            expected: None,
            at_start: true,
            first_in_log: true,
            newest: 0,
            gaps: Vec::new(),
            crossed: false,
        }
    }

    /// Reads the next log up to the length it had when it was opened.
    pub fn read(&mut self, file: &dyn ReadAt) -> LogEnd {
        self.first_in_log = true;
        let mut frames = BatchFrames {
            run: self,
            header: Vec::with_capacity(BATCH_HEADER_BYTES),
            behind: 0,
            cut: 0,
            record: blake3::Hasher::new(),
            content: blake3::Hasher::new(),
        };
        let tail = read_log(file, &mut frames);
        let (cut, content) = (frames.cut, *frames.content.finalize().as_bytes());
        if tail.is_some() {
            self.lost_count();
        }
        LogEnd { cut, tail, content }
    }

    /// Numbers that are in no log although nothing is unreadable there, and that the MANIFEST does not cover.
    pub fn sequence_gaps(&self) -> &[SequenceGap] {
        &self.gaps
    }

    /// True when the MANIFEST's last sequence number had to bridge the step from one log to another.
    pub fn crossed_gap(&self) -> bool {
        self.crossed
    }

    /// The number of the newest operation; the MANIFEST's when the logs have none.
    pub fn last_sequence(&self) -> u64 {
        self.newest.max(self.covered)
    }

    fn lost_count(&mut self) {
        self.expected = None;
        self.at_start = false;
    }

    fn batch(&mut self, sequence: u64, count: u32) {
        let first = self.at_start.then_some(self.covered.saturating_add(1));
        if let Some(expected) = self.expected.or(first)
            && sequence > expected
        {
            let covered = sequence - 1 <= self.covered;
            self.crossed |= covered && self.first_in_log;
            if !covered && self.gaps.len() < GAPS_MAX {
                self.gaps.push(SequenceGap {
                    from: expected,
                    to: sequence,
                });
            }
        }
        self.first_in_log = false;
        self.at_start = false;
        let next = sequence.saturating_add(u64::from(count));
        if self.expected.is_some_and(|expected| sequence < expected) && self.gaps.len() < GAPS_MAX {
            self.gaps = fill(
                &self.gaps,
                SequenceGap {
                    from: sequence,
                    to: next,
                },
            );
        }
        self.expected = self.expected.max(Some(next));
        self.newest = self.newest.max(next.saturating_sub(1));
    }
}

/// What of the gaps is left when numbers came late: HyperLevelDB's writers append to one log side by side.
pub fn fill(gaps: &[SequenceGap], late: SequenceGap) -> Vec<SequenceGap> {
    let rest = |gap: &SequenceGap| {
        let before = SequenceGap {
            from: gap.from,
            to: gap.to.min(late.from),
        };
        let behind = SequenceGap {
            from: gap.from.max(late.to),
            to: gap.to,
        };
        if late.to <= gap.from || gap.to <= late.from {
            [*gap, SequenceGap { from: 0, to: 0 }]
        } else {
            [before, behind]
        }
    };
    let left = gaps.iter().flat_map(rest);
    left.filter(|gap| gap.from < gap.to).collect()
}

struct BatchFrames<'a> {
    run: &'a mut LogContinuity,
    header: Vec<u8>,
    /// First byte behind the newest fragment.
    behind: u64,
    cut: u64,
    /// Of the record under way.
    record: blake3::Hasher,
    content: blake3::Hasher,
}

impl LogSink for BatchFrames<'_> {
    fn part(&mut self, offset: u64, payload: &[u8]) {
        let wanted = BATCH_HEADER_BYTES - self.header.len();
        self.header
            .extend_from_slice(&payload[..payload.len().min(wanted)]);
        self.behind = offset + payload.len() as u64;
        self.record.update(payload);
    }

    fn end(&mut self, _start: u64, hole: Option<UnreadableSpan>) {
        self.content.update(self.record.finalize().as_bytes());
        self.record.reset();
        if hole.is_some() {
            self.run.lost_count();
        }
        let mut reader = Reader::new(&self.header);
        if let (Ok(sequence), Ok(count)) = (reader.u64(), reader.u32()) {
            self.run.batch(sequence, count);
        }
        self.header.clear();
        self.cut = self.behind;
    }

    fn abort(&mut self) {
        self.header.clear();
        self.record.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::super::log_writer::append_record;
    use super::super::test_databases::{batch_of, op};
    use super::*;

    /// A log of batches, each so many operations from a number on.
    fn log(batches: &[(u64, u64)]) -> Vec<u8> {
        let mut out = Vec::new();
        for &(from, count) in batches {
            let ops: Vec<_> = (from..from + count)
                .map(|sequence| op(b"key", sequence, Some(b"value")))
                .collect();
            append_record(&mut out, &batch_of(&ops));
        }
        out
    }

    fn run(covered: u64, logs: &[Vec<u8>]) -> LogContinuity {
        let mut run = LogContinuity::new(covered);
        for log in logs {
            assert_eq!(run.read(log).cut, log.len() as u64);
        }
        run
    }

    #[test]
    fn batches_that_follow_one_another_are_one_run() {
        let run = run(9, &[log(&[(5, 3), (8, 4)]), log(&[(12, 1)])]);
        assert_eq!(
            (run.sequence_gaps(), run.crossed_gap(), run.last_sequence()),
            (&[][..], false, 12)
        );
        assert_eq!(LogContinuity::new(9).last_sequence(), 9);
    }

    #[test]
    fn a_step_the_manifest_covers_is_none_and_is_told_when_it_leads_from_log_to_log() {
        let within = run(20, &[log(&[(5, 3), (21, 1)])]);
        assert_eq!((within.sequence_gaps(), within.crossed_gap()), (&[][..], false));
        let between = run(20, &[log(&[(5, 3)]), log(&[(21, 1)])]);
        assert_eq!((between.sequence_gaps(), between.crossed_gap()), (&[][..], true));
    }

    #[test]
    fn a_step_the_manifest_does_not_cover_is_a_gap() {
        let gap = |from, to| SequenceGap { from, to };
        assert_eq!(run(9, &[log(&[(11, 1)])]).sequence_gaps(), [gap(10, 11)]);
        assert_eq!(run(9, &[log(&[(10, 1), (13, 1)])]).sequence_gaps(), [gap(11, 13)]);
        assert_eq!(
            run(9, &[log(&[(10, 1)]), log(&[(12, 1)])]).sequence_gaps(),
            [gap(11, 12)]
        );
    }

    #[test]
    fn what_comes_late_fills_its_part_of_a_gap() {
        let gap = |from, to| SequenceGap { from, to };
        assert!(
            run(9, &[log(&[(10, 1), (12, 1), (11, 1)])])
                .sequence_gaps()
                .is_empty()
        );
        let left = run(9, &[log(&[(10, 1), (20, 1), (13, 2), (11, 1), (18, 2)])]);
        assert_eq!(left.sequence_gaps(), [gap(12, 13), gap(15, 18)]);
        assert_eq!(left.last_sequence(), 20);
        // What is there twice, as behind a flush that failed, takes nothing away.
        assert_eq!(
            run(9, &[log(&[(10, 1), (12, 1), (10, 1)])]).sequence_gaps(),
            [gap(11, 12)]
        );
    }

    #[test]
    fn a_write_under_way_is_cut_off_and_unreadable_bytes_are_no_gap() {
        let whole = log(&[(1, 2)]);
        let more = log(&[(1, 2), (3, 40)]);
        for len in whole.len() + 1..more.len() {
            let end = LogContinuity::new(0).read(&more[..len].to_vec());
            assert_eq!(end.cut, whole.len() as u64);
            assert!(end.tail.is_some());
        }
        let mut torn = more.clone();
        torn[whole.len() + 9] ^= 1;
        append_record(&mut torn, &batch_of(&[op(b"key", 50, None)]));
        let run = run(0, &[torn]);
        assert_eq!((run.sequence_gaps(), run.last_sequence()), (&[][..], 50));
    }
}
