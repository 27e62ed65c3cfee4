//! The rules that exclude files from a backup.
//!
//! ```text
//! Rules     by patterns and by size (pure), and by tag files
//! Bounds    the same for one tree: what of it is listed, and what lies on other filesystems
//! ```
//! All are asked from the top down, in the search for databases and again when files are read; below what is left out
//! nothing is asked. A directory with a tag file stays, and so does the file that says why it is empty; so does the
//! directory on which another filesystem is mounted. A database's own files are never judged one by one: it is
//! captured whole, or, where its directory is left out, not at all.

mod excluded_items;
mod tag_file;
#[cfg(test)]
mod tests;
mod walk_scope;

use std::ffi::OsStr;
use std::fmt;
use std::fs::Metadata;
use std::path::Path;

use crate::pattern::{PatternMatch, PatternPath, Patterns};
pub use excluded_items::ExcludedItems;
pub use tag_file::TagFile;
pub use walk_scope::{ExcludeVerdict, WalkScope};

/// What a person asked to leave out.
#[derive(Clone, Debug, Default)]
pub struct ExcludeRules {
    /// What these mean.
    pub patterns: Patterns,
    /// Regular files of more bytes than this.
    pub file_bytes_max: Option<u64>,
    /// What lies in directories that have one of these.
    pub tag_files: Vec<TagFile>,
    /// What lies on another filesystem than the PATH that was asked for.
    pub one_filesystem: bool,
}

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExcludeSubject {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its length.
        bytes: u64,
    },
    /// Neither.
    Other,
}

impl From<&Metadata> for ExcludeSubject {
    fn from(facts: &Metadata) -> Self {
        match facts.is_dir() {
            true => Self::Directory,
            false if facts.is_file() => Self::File { bytes: facts.len() },
            false => Self::Other,
        }
    }
}

/// Why something is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExcludeReason<'r> {
    /// This pattern means it.
    Pattern(&'r str),
    /// It is a file that is too large.
    TooLarge,
    /// This file lies beside it.
    TagFile(&'r OsStr),
    /// It lies on another filesystem.
    OtherFilesystem,
}

/// What of a directory's contents is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryScope<'r> {
    /// All of it.
    All,
    /// Nothing but the file of this name, if there is one.
    NothingBut(Option<&'r OsStr>, ExcludeReason<'r>),
}

impl ExcludeRules {
    /// Why an entry is left out, if it is. Of one whose directory is left out, do not ask.
    pub fn judge(&self, inner: &Path, absolute: &Path, what: ExcludeSubject) -> Option<ExcludeReason<'_>> {
        let place = PatternPath {
            absolute,
            inner,
            is_directory: what == ExcludeSubject::Directory,
        };
        match (self.patterns.say(&place), what, self.file_bytes_max) {
            (PatternMatch::Meant(pattern), ..) => Some(ExcludeReason::Pattern(pattern)),
            (_, ExcludeSubject::File { bytes }, Some(max)) if bytes > max => Some(ExcludeReason::TooLarge),
            _ => None,
        }
    }

    /// The tag file that a directory has.
    pub fn tag_file_in(&self, directory: &Path) -> Option<&OsStr> {
        let mut tag_files = self.tag_files.iter();
        let found = tag_files.find(|tag_file| tag_file.is_in(directory));
        found.map(|tag_file| &*tag_file.name)
    }
}

impl fmt::Display for ExcludeReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(pattern) => write!(f, "the pattern {pattern}"),
            Self::TooLarge => f.write_str("it is too large"),
            Self::TagFile(name) => write!(f, "{} beside it", name.display()),
            Self::OtherFilesystem => f.write_str("it is on another filesystem"),
        }
    }
}

impl<'r> DirectoryScope<'r> {
    /// Why an entry of the directory is left out, if it is.
    pub fn judge(&self, name: &OsStr) -> Option<ExcludeReason<'r>> {
        match self {
            Self::NothingBut(kept, why) if *kept != Some(name) => Some(*why),
            _ => None,
        }
    }
}
