//! Lists what a backup could not read.
//!
//! A snapshot with missing paths is incomplete: it must not pass for the whole state of its sources. Both the number of
//! entries and their bytes are bounded; what passes a bound is counted.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::bounded_list;
use super::snapshot_codec::at_most;
use crate::error::Result;
use crate::limits::{MISSING_BYTES_MAX, MISSING_MAX, PATH_BYTES_MAX, TEXT_BYTES_MAX};

/// Missing paths that are named in sentences; the others are counted.
const SENTENCES_MAX: usize = 20;

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
    #[serde(deserialize_with = "bounded_list::list::<_, _, MISSING_MAX>")]
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
        // Behind the first that is not listed none is: the listed ones are the first, and a million cost no more.
        let is_room = self.unlisted == 0
            && self.listed.len() < MISSING_MAX
            && self.bytes() + one.bytes() <= MISSING_BYTES_MAX;
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

    /// Those that are at `top`, below it or above it, and those that are not about a path.
    pub fn about<'m>(&'m self, top: &'m [u8]) -> impl Iterator<Item = &'m MissingPath> {
        self.listed
            .iter()
            .filter(move |one| is_within(&one.path, top) || is_within(top, &one.path))
    }

    /// What is missing at `top` or below it, in sentences; none if that is complete.
    pub fn sentences(&self, top: &[u8]) -> Vec<String> {
        let about: Vec<_> = self.about(top).collect();
        let told = about.iter().take(SENTENCES_MAX);
        let mut all: Vec<_> = told
            .map(|one| format!("the snapshot is incomplete: {one}"))
            .collect();
        let more = (about.len() as u64)
            .saturating_sub(SENTENCES_MAX as u64)
            .saturating_add(self.unlisted);
        if more > 0 {
            all.push(format!(
                "{more} further paths could not be read when the snapshot was made"
            ));
        }
        all
    }

    /// The listed paths, to look up many others.
    pub fn paths(&self) -> HashSet<&[u8]> {
        let paths = self.listed.iter().map(|one| &one.path[..]);
        paths.filter(|path| !path.is_empty()).collect()
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

impl fmt::Display for MissingPath {
    /// The reason, which names the path where there is one; on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = String::from_utf8_lossy(&self.path);
        let text = if self.path.is_empty() || self.reason.contains(&*path) {
            self.reason.clone()
        } else {
            format!("{path}: {}", self.reason)
        };
        let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        f.write_str(&text.chars().map(shown).collect::<String>())
    }
}

/// Whether `path` is one of `missing`, or lies below one.
pub fn covers(missing: &HashSet<&[u8]>, path: &[u8]) -> bool {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let mut above = ends.map(|(end, _)| &path[..end]);
    !missing.is_empty() && (missing.contains(path) || above.any(|path| missing.contains(path)))
}

/// True for the same path, a longer one below it, and for the empty top, which all are within.
fn is_within(path: &[u8], top: &[u8]) -> bool {
    match path.strip_prefix(top) {
        Some([]) => true,
        Some([next, ..]) => *next == b'/' || top.is_empty() || top.ends_with(b"/"),
        None => false,
    }
}

/// The longest beginning that keeps to the limit of a text.
fn shortened(text: &str) -> &str {
    let end = (0..=text.len().min(TEXT_BYTES_MAX))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}
