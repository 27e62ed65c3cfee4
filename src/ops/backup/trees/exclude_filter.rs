//! Filters what a walk excludes, and counts it.

use std::ffi::OsString;
use std::fs::Metadata;
use std::path::Path;

use crate::source::exclude_rules::{ExcludeVerdict, ExcludedItems, WalkScope};

/// The bounds of the root that is walked, and what was left out of all of them.
#[derive(Debug, Default)]
pub struct ExcludeFilter {
    pub bounds: WalkScope,
    pub left_out: ExcludedItems,
}

impl ExcludeFilter {
    /// Whether an entry is taken.
    pub fn takes(&mut self, path: &Path, facts: &Metadata) -> bool {
        match self.bounds.judge(path, facts.into()) {
            ExcludeVerdict::Taken => true,
            ExcludeVerdict::NotListed => false,
            ExcludeVerdict::LeftOut(why) => {
                self.left_out.add(path, why);
                false
            }
        }
    }

    /// The names in a directory that is taken, without those that nobody asked for, and those that the directory's tag
    /// file or filesystem leaves out.
    pub fn names(&mut self, directory: &Path, mut names: Vec<OsString>) -> Vec<OsString> {
        let within = self.bounds.within(directory);
        names.retain(|name| {
            let path = directory.join(name);
            let left_out = within.judge(name);
            left_out.into_iter().for_each(|why| self.left_out.add(&path, why));
            left_out.is_none() && self.bounds.is_asked(&path)
        });
        names
    }
}
