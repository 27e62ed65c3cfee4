//! What a backup of directories leaves out.
//!
//! ```text
//! judge(place, len)          by patterns and by size: pure
//! within(directory)          what of a directory counts that has a tag file, or lies on another filesystem
//! ```
//! Both are asked from the top down, in the search for databases and again when files are read; below what is left out
//! nothing is asked. A directory with a tag file stays, and so does the file that says why it is empty; so does the
//! directory on which another filesystem is mounted. A database's own files are never judged one by one: it is
//! captured whole, or, where its directory is left out, not at all.

mod left_out;
mod tag_file;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::path::Path;

use crate::pattern::{Patterns, Place, Said};
pub use left_out::LeftOut;
pub use tag_file::TagFile;

/// What a person asked to leave out.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// What these mean.
    pub patterns: Patterns,
    /// Regular files of more bytes than this.
    pub file_bytes_max: Option<u64>,
    /// What lies in directories that have one of these.
    pub tag_files: Vec<TagFile>,
    /// What lies on another filesystem than the PATH that was asked for.
    pub one_filesystem: bool,
}

/// Why something is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why<'r> {
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
pub enum Within<'r> {
    /// All of it.
    All,
    /// Nothing but the file of this name, if there is one.
    Nothing(Option<&'r OsStr>, Why<'r>),
}

impl Rules {
    /// Why an entry is left out, if it is; `file_bytes` of a regular file. Of an entry whose directory is left out, do
    /// not ask.
    pub fn judge(&self, place: &Place<'_>, file_bytes: Option<u64>) -> Option<Why<'_>> {
        match (self.patterns.say(place), file_bytes, self.file_bytes_max) {
            (Said::Meant(pattern), ..) => Some(Why::Pattern(pattern)),
            (_, Some(bytes), Some(max)) if bytes > max => Some(Why::TooLarge),
            _ => None,
        }
    }

    /// Looks at a directory, which lies on the filesystem `device`, below a PATH on the filesystem `asked`.
    pub fn within(&self, directory: &Path, device: u64, asked: u64) -> Within<'_> {
        if self.crosses(device, asked) {
            return Within::Nothing(None, Why::OtherFilesystem);
        }
        let mut tag_files = self.tag_files.iter();
        match tag_files.find(|tag_file| tag_file.is_in(directory)) {
            Some(TagFile { name, .. }) => Within::Nothing(Some(name), Why::TagFile(name)),
            None => Within::All,
        }
    }

    /// Whether something on the filesystem `device` is beyond what was asked for.
    pub fn crosses(&self, device: u64, asked: u64) -> bool {
        self.one_filesystem && device != asked
    }
}

impl<'r> Within<'r> {
    /// Why an entry of the directory is left out, if it is.
    pub fn judge(&self, name: &OsStr) -> Option<Why<'r>> {
        match self {
            Self::Nothing(kept, why) if *kept != Some(name) => Some(*why),
            _ => None,
        }
    }
}
