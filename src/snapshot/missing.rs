//! What a backup was asked for and could not read, as its snapshot records it.
//!
//! A snapshot with missing paths is incomplete: it must not pass for the whole state of its sources. Both the number of
//! entries and their bytes are bounded; what passes a bound is counted.

use serde::{Deserialize, Serialize};

use super::body::at_most;
use crate::error::Result;
use crate::limits::{MISSING_BYTES_MAX, MISSING_MAX, PATH_BYTES_MAX, TEXT_BYTES_MAX};

/// One file, directory or database that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingPath {
    /// Where it stands on the source's machine, as the system's own bytes.
    pub path: Vec<u8>,
    /// Why it could not be read.
    pub reason: String,
}

/// The paths that a snapshot lacks; empty for a complete snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingPaths {
    listed: Vec<MissingPath>,
    unlisted: u64,
}

impl MissingPaths {
    /// Adds one: lists it, or counts it where the list is full. Too long a reason is cut.
    pub fn add(&mut self, path: Vec<u8>, reason: &str) {
        let one = MissingPath {
            path,
            reason: shortened(reason).to_owned(),
        };
        let is_room = self.listed.len() < MISSING_MAX && self.bytes() + one.bytes() <= MISSING_BYTES_MAX;
        if is_room && one.path.len() <= PATH_BYTES_MAX {
            self.listed.push(one);
        } else {
            self.unlisted += 1;
        }
    }

    /// The missing paths that are listed.
    pub fn listed(&self) -> &[MissingPath] {
        &self.listed
    }

    /// Missing paths beyond the listed ones.
    pub fn unlisted(&self) -> u64 {
        self.unlisted
    }

    /// All missing paths.
    pub fn count(&self) -> u64 {
        self.unlisted.saturating_add(self.listed.len() as u64)
    }

    /// True if nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    fn bytes(&self) -> usize {
        self.listed.iter().map(MissingPath::bytes).sum()
    }

    pub(super) fn check(&self) -> Result<()> {
        at_most("missing paths", self.listed.len(), MISSING_MAX)?;
        at_most("missing paths' bytes", self.bytes(), MISSING_BYTES_MAX)?;
        self.listed.iter().try_for_each(|one| {
            at_most("path", one.path.len(), PATH_BYTES_MAX)?;
            at_most("reason", one.reason.len(), TEXT_BYTES_MAX)
        })
    }
}

impl MissingPath {
    fn bytes(&self) -> usize {
        self.path.len() + self.reason.len()
    }
}

/// The longest beginning that keeps to the limit of a text.
fn shortened(text: &str) -> &str {
    let end = (0..=text.len().min(TEXT_BYTES_MAX))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}
