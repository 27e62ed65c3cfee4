//! Counts and lists what a backup excluded.

use std::path::{Path, PathBuf};

use super::ExcludeReason;

/// Paths that are named; further ones are counted.
const EXCLUDED_PATHS_MAX: usize = 1000;

/// What was left out. A directory counts once, whatever is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExcludedItems {
    /// By patterns.
    pub by_pattern: u64,
    /// Files that are too large.
    pub too_large: u64,
    /// Beside a tag file.
    pub by_tag_file: u64,
    /// On other filesystems.
    pub other_filesystems: u64,
    /// The first thousand of them, and why.
    pub named: Vec<(PathBuf, String)>,
}

impl ExcludedItems {
    /// Counts one more.
    pub fn add(&mut self, path: &Path, why: ExcludeReason<'_>) {
        *match why {
            ExcludeReason::Pattern(_) => &mut self.by_pattern,
            ExcludeReason::TooLarge => &mut self.too_large,
            ExcludeReason::TagFile(_) => &mut self.by_tag_file,
            ExcludeReason::OtherFilesystem => &mut self.other_filesystems,
        } += 1;
        if self.named.len() < EXCLUDED_PATHS_MAX {
            self.named.push((path.to_owned(), why.to_string()));
        }
    }

    /// How much was left out.
    pub fn count(&self) -> u64 {
        self.by_pattern + self.too_large + self.by_tag_file + self.other_filesystems
    }
}
