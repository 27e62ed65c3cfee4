//! Reads many blocks of a table at once.

use super::open_table::OpenTable;
use crate::error::Result;
use crate::leveldb::scan_context::ScanContext;

/// The stretch of a table that was read last.
#[derive(Default)]
pub(super) struct ReadAheadWindow {
    pub(super) bytes: Vec<u8>,
    pub(super) start: u64,
    pub(super) len: usize,
}

impl ReadAheadWindow {
    pub(super) fn discard(&mut self) {
        self.len = 0;
    }

    /// Makes `stored_len` bytes from the open table's handle readable; returns where in `bytes` they begin.
    #[inline]
    pub(super) fn ensure_window(
        &mut self,
        scan: &ScanContext,
        open: &OpenTable,
        stored_len: usize,
    ) -> Result<usize> {
        let offset = open.handle.offset;
        if offset >= self.start {
            let ahead = offset - self.start;
            if ahead + stored_len as u64 <= self.len as u64 {
                return Ok(ahead as usize);
            }
        }
        self.refill(scan, open, stored_len)?;
        Ok(0)
    }

    fn refill(&mut self, scan: &ScanContext, open: &OpenTable, stored_len: usize) -> Result<()> {
        let offset = open.handle.offset;
        let left = open.frame.data_end.saturating_sub(offset);
        let wanted = scan
            .budget
            .window_bytes
            .max(stored_len)
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        self.len = 0;
        // Where a disk cannot read the window it may still read this block.
        let len = match open.file.read_at(&mut self.bytes[..wanted], offset) {
            Ok(()) => wanted,
            Err(_) => {
                open.file.read_at(&mut self.bytes[..stored_len], offset)?;
                stored_len
            }
        };
        self.start = offset;
        self.len = len;
        scan.count_read(len);
        Ok(())
    }
}
