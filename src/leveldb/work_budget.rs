//! Bounds the work of a scan by the size of its tables.
//!
//! A key is stored as what it does not share with the key before it, and a block may be compressed: a table of two
//! megabytes can hold twenty gigabytes of keys. A scan may do so much work for each byte of the tables it opens, and so
//! much beside; after that it ends with [`ErrorKind::Limit`], which is no damage: the files are as
//! their writer made them, and can be kept as they are.

use std::cell::Cell;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::{TABLE_WORK_FREE, TABLE_WORK_RATIO};

/// Bytes that a scan may still make of what is stored.
pub struct WorkBudget {
    left: Cell<u64>,
    granted: Cell<u64>,
    is_spent: Cell<bool>,
}

impl Default for WorkBudget {
    fn default() -> Self {
        Self {
            left: Cell::new(TABLE_WORK_FREE),
            granted: Cell::new(TABLE_WORK_FREE),
            is_spent: Cell::new(false),
        }
    }
}

impl WorkBudget {
    /// Allows what is in proportion to a table of so many bytes.
    pub(super) fn add_allowance(&self, table_bytes: u64) {
        let more = table_bytes.saturating_mul(TABLE_WORK_RATIO);
        self.left.set(self.left.get().saturating_add(more));
        self.granted.set(self.granted.get().saturating_add(more));
    }

    /// Counts bytes that were made.
    pub(super) fn charge(&self, bytes: u64) {
        match self.left.get().checked_sub(bytes) {
            Some(left) => self.left.set(left),
            None => self.is_spent.set(true),
        }
    }

    /// True if more was asked for than is in proportion: nothing is read any more.
    #[inline]
    pub(super) fn is_spent(&self) -> bool {
        self.is_spent.get()
    }

    /// An error if the scan ended early.
    pub fn check(&self) -> Result<()> {
        if !self.is_spent() {
            return Ok(());
        }
        let granted = self.granted.get();
        Err(Error::new(
            ErrorKind::Limit,
            format!(
                "keys and blocks of its tables are out of proportion to the files: over {granted} bytes when read"
            ),
        ))
    }
}
