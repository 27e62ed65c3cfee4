//! Filters what a walk excludes, and counts it.

use std::ffi::OsString;
use std::fs::Metadata;
use std::path::Path;

use crate::source::exclude_rules::{ExcludeVerdict, ExcludedItems, WalkScope};

/// The bounds of the root that is walked, and what was left out of all of them.
#[derive(Debug, Default)]
pub struct ExcludeFilter {
    pub scope: WalkScope,
    pub left_out: ExcludedItems,
}

impl ExcludeFilter {
    /// Whether an entry is taken.
    pub fn includes(&mut self, path: &Path, facts: &Metadata) -> bool {
        match self.scope.judge(path, facts.into()) {
            ExcludeVerdict::Included => true,
            ExcludeVerdict::NotListed => false,
            ExcludeVerdict::Excluded(why) => {
                self.left_out.add(path, why);
                false
            }
        }
    }

    /// The names in a directory that is taken, without those that nobody asked for, and those that the directory's tag
    /// file or filesystem leaves out.
    pub fn included_names(&mut self, directory: &Path, mut names: Vec<OsString>) -> Vec<OsString> {
        let within = self.scope.directory_scope(directory);
        names.retain(|name| {
            let path = directory.join(name);
            let left_out = within.judge(name);
            left_out.into_iter().for_each(|why| self.left_out.add(&path, why));
            left_out.is_none() && self.scope.is_requested(&path)
        });
        names
    }
}
