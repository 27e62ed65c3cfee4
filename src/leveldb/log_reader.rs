//! Reads records from logs and MANIFESTs.
//!
//! Logs and MANIFESTs: 32 KiB blocks ⇄ records.
//!
//! ```text
//! block:    | fragment | fragment | ... | up to 6 bytes of nothing |
//! fragment: | masked crc (4) | length (2) | type (1) | payload |      type: 1 full, 2 first, 3 middle, 4 last
//! ```
//!
//! A record may be larger than memory should be, so it is handed on fragment by fragment, and only [`LogSink::end`]
//! says that it was whole. What could not be read is a [`UnreadableSpan`], and its place tells what it means: behind the
//! last whole record it is a *tail* (a write that was under way, or zeros a writer had set aside); before a whole
//! record it is a *hole*, and whoever knows the records' sequence numbers decides whether anything is lost.

use super::checksum::masked;
use super::read_at::ReadAt;
use crate::error::Result;

/// Bytes in a block.
pub const BLOCK_BYTES: usize = 32 << 10;
/// Bytes in front of a fragment's payload.
pub const HEADER_BYTES: usize = 7;
/// Blocks read at once.
const WINDOW_BLOCKS: usize = 8;

/// Bytes of a log that hold no whole record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableSpan {
    /// First byte.
    pub from: u64,
    /// First byte behind.
    pub to: u64,
    /// What was first found wrong.
    pub why: &'static str,
    /// All bytes are zero.
    pub zeros: bool,
    /// The file ended before the fragment it began: how a write under way looks.
    pub cut_short: bool,
}

/// Takes the records of a log.
pub trait LogSink {
    /// More payload of the record under way; `offset` is where it lies in the file.
    fn part(&mut self, offset: u64, payload: &[u8]);
    /// The record that began at `start` is whole. `hole` is what could not be read in front of it.
    fn end(&mut self, start: u64, hole: Option<UnreadableSpan>);
    /// What was handed on since the last [`LogSink::end`] is no record.
    fn abort(&mut self);
}

/// Reads a log from its first byte to its last; the tail behind the last whole record is returned, `None` when
/// there is none or only zeros. Unreadable blocks are holes: this never fails.
pub fn read_log(file: &dyn ReadAt, sink: &mut dyn LogSink) -> Option<UnreadableSpan> {
    read_log_from(file, 0, sink)
}

/// [`read_log`] from a byte on at which a record begins.
pub fn read_log_from(file: &dyn ReadAt, start: u64, sink: &mut dyn LogSink) -> Option<UnreadableSpan> {
    let mut records = LogRecordReader {
        sink,
        under_way: None,
        hole: None,
    };
    let mut window =
        vec![0; (BLOCK_BYTES * WINDOW_BLOCKS).min(usize::try_from(file.len()).unwrap_or(usize::MAX))];
    let mut at = start;
    while at < file.len() {
        // The first window ends where a block ends, so that all others hold whole blocks.
        let room = window.len() as u64 - at % BLOCK_BYTES as u64;
        let len = (file.len() - at).min(room) as usize;
        match file.read_at(&mut window[..len], at) {
            Ok(()) => read_blocks(&mut records, at, &window[..len]),
            Err(_) => read_block_by_block(&mut records, file, at, &mut window[..len]),
        }
        at += len as u64;
    }
    records.finish(file.len())
}

fn read_blocks(records: &mut LogRecordReader, at: u64, window: &[u8]) {
    for block in blocks(at, window.len()) {
        read_block(records, at + block.start as u64, &window[block]);
    }
}

/// A disk that cannot read one block can often read its neighbours.
fn read_block_by_block(records: &mut LogRecordReader, file: &dyn ReadAt, at: u64, window: &mut [u8]) {
    for range in blocks(at, window.len()) {
        let at = at + range.start as u64;
        let block = &mut window[range];
        match file.read_at(block, at) {
            Ok(()) => read_block(records, at, block),
            Err(_) => records.bad_fragment_error(
                at,
                at + block.len() as u64,
                FragmentFault::new("block cannot be read"),
            ),
        }
    }
}

/// The blocks in `len` bytes from `at`; the first may begin within one.
fn blocks(at: u64, len: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let room = BLOCK_BYTES - ((at + start as u64) % BLOCK_BYTES as u64) as usize;
        let range = start..len.min(start + room);
        start = range.end;
        (!range.is_empty()).then_some(range)
    })
}

/// The fragments of one block; one that ends before a block's end is the file's last.
fn read_block(records: &mut LogRecordReader, at: u64, block: &[u8]) {
    let is_whole = (at + block.len() as u64).is_multiple_of(BLOCK_BYTES as u64);
    let mut position = 0;
    while position < block.len() {
        let rest = &block[position..];
        if rest.len() < HEADER_BYTES && is_whole {
            return;
        }
        let offset = at + position as u64;
        match LogFragment::read(rest) {
            Ok(fragment) => {
                records.fragment(offset, &fragment);
                position += HEADER_BYTES + fragment.payload.len();
            }
            Err(mut wrong) => {
                wrong.cut_short &= !is_whole;
                let len = bad_length_error(rest, &wrong);
                records.bad_fragment_error(offset, offset + len as u64, wrong);
                position += len;
            }
        }
    }
}

/// How much of the block is lost with a bad fragment. Its length can be trusted when a good fragment follows;
/// else the rest of the block is given up, as LevelDB does.
fn bad_length_error(rest: &[u8], wrong: &FragmentFault) -> usize {
    match wrong.len {
        Some(len)
            if rest
                .get(len..)
                .is_some_and(|next| LogFragment::read(next).is_ok()) =>
        {
            len
        }
        _ => rest.len(),
    }
}

struct LogFragment<'a> {
    kind: u8,
    payload: &'a [u8],
}

/// Why a fragment cannot be used.
struct FragmentFault {
    why: &'static str,
    zeros: bool,
    cut_short: bool,
    /// Bytes of the fragment by its own header, if they fit.
    len: Option<usize>,
}

impl FragmentFault {
    fn new(why: &'static str) -> Self {
        Self {
            why,
            zeros: false,
            cut_short: false,
            len: None,
        }
    }
}

impl<'a> LogFragment<'a> {
    fn read(rest: &'a [u8]) -> Result<Self, FragmentFault> {
        let cut_short = |why| FragmentFault {
            cut_short: true,
            ..FragmentFault::new(why)
        };
        let Some((header, behind)) = rest.split_first_chunk::<HEADER_BYTES>() else {
            let zeros = rest.iter().all(|&byte| byte == 0);
            return Err(FragmentFault {
                zeros,
                ..cut_short("header is cut short")
            });
        };
        let [c0, c1, c2, c3, l0, l1, kind] = *header;
        let len = usize::from(u16::from_le_bytes([l0, l1]));
        if *header == [0; HEADER_BYTES] && behind.iter().all(|&byte| byte == 0) {
            return Err(FragmentFault {
                zeros: true,
                ..FragmentFault::new("zeros")
            });
        }
        if len > behind.len() {
            return Err(cut_short("record is longer than its block"));
        }
        let whole = HEADER_BYTES + len;
        let wrong = |why| FragmentFault {
            len: Some(whole),
            ..FragmentFault::new(why)
        };
        if masked(&rest[HEADER_BYTES - 1..whole]) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(wrong("checksum mismatch"));
        }
        match kind {
            1..=4 => Ok(Self {
                kind,
                payload: &behind[..len],
            }),
            _ => Err(wrong("unknown record type")),
        }
    }
}

/// Fragments → records.
struct LogRecordReader<'a> {
    sink: &'a mut dyn LogSink,
    /// Where the record began that still waits for its last fragment.
    under_way: Option<u64>,
    /// What could not be read since the last whole record.
    hole: Option<UnreadableSpan>,
}

impl LogRecordReader<'_> {
    fn fragment(&mut self, offset: u64, fragment: &LogFragment) {
        let begins = matches!(fragment.kind, 1 | 2);
        let behind = offset + (HEADER_BYTES + fragment.payload.len()) as u64;
        match (begins, self.under_way) {
            (true, Some(_)) => {
                self.bad_fragment_error(offset, offset, FragmentFault::new("record has no end"))
            }
            (false, None) => {
                return self.bad_fragment_error(
                    offset,
                    behind,
                    FragmentFault::new("record has no beginning"),
                );
            }
            // A record that goes on does so at the head of the next block; see `value_bytes_at`.
            (false, Some(_)) if !offset.is_multiple_of(BLOCK_BYTES as u64) => {
                return self.bad_fragment_error(
                    offset,
                    behind,
                    FragmentFault::new("fragment is out of place"),
                );
            }
            _ => {}
        }
        let start = *self.under_way.get_or_insert(offset);
        self.sink.part(offset + HEADER_BYTES as u64, fragment.payload);
        if matches!(fragment.kind, 1 | 4) {
            self.under_way = None;
            self.sink.end(start, self.hole.take());
        }
    }

    /// `from..to` cannot be used, nor can the record under way.
    fn bad_fragment_error(&mut self, from: u64, to: u64, wrong: FragmentFault) {
        let start = self.under_way.take();
        if start.is_some() {
            self.sink.abort();
        }
        let from = start.unwrap_or(from);
        let zeros = wrong.zeros && start.is_none();
        match &mut self.hole {
            // Zeros set aside tell nothing; the first real fault does.
            Some(hole) if hole.zeros && !zeros => {
                hole.why = wrong.why;
                hole.cut_short = wrong.cut_short;
                hole.zeros = false;
                hole.to = to;
            }
            Some(hole) => hole.to = to,
            None => {
                self.hole = Some(UnreadableSpan {
                    from,
                    to,
                    why: wrong.why,
                    zeros,
                    cut_short: wrong.cut_short,
                });
            }
        }
    }

    fn finish(mut self, len: u64) -> Option<UnreadableSpan> {
        if self.under_way.is_some() {
            let wrong = FragmentFault {
                cut_short: true,
                ..FragmentFault::new("record has no end")
            };
            self.bad_fragment_error(len, len, wrong);
        }
        self.hole.filter(|hole| !hole.zeros)
    }
}

/// Where the bytes of a record go on: a payload at `offset` of the file runs to the end of its block, skips the
/// next block's fragment header, and so on. Gives the file ranges that hold `len` payload bytes from `offset`.
pub fn payload_ranges(offset: u64, len: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    let (mut at, mut left) = (offset, len);
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        if at.is_multiple_of(BLOCK_BYTES as u64) {
            at += HEADER_BYTES as u64;
        }
        let take = left.min(BLOCK_BYTES as u64 - at % BLOCK_BYTES as u64);
        let range = at..at + take;
        at += take;
        left -= take;
        Some(range)
    })
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
