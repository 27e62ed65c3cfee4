//! Applies the exclude rules within one root.

use std::fs::symlink_metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{DirectoryScope, ExcludeReason, ExcludeRules, ExcludeSubject};
use crate::source::listed_paths::{ListPosition, ListedPaths};

/// What is walked of one tree. All paths are absolute, at or below its root.
#[derive(Clone, Debug, Default)]
pub struct WalkScope {
    rules: Arc<ExcludeRules>,
    root: PathBuf,
    /// Only this of it; all of it when `None`.
    listed: Option<Arc<ListedPaths>>,
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExcludeVerdict<'r> {
    /// It is taken.
    Included,
    /// It is left out, for this reason.
    Excluded(ExcludeReason<'r>),
    /// Nobody asked for it.
    NotListed,
}

impl WalkScope {
    /// All that is not left out of what lies at or below `root`; with a list, what it lists of that.
    pub fn new(rules: Arc<ExcludeRules>, root: &Path, listed: Option<Arc<ListedPaths>>) -> Self {
        let root = root.to_owned();
        Self { rules, root, listed }
    }

    /// Where it begins.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether all is asked for that lies below where it begins.
    pub fn is_whole(&self) -> bool {
        self.listed.is_none()
    }

    /// Judges an entry. Of what lies below something that is not taken, do not ask.
    pub fn judge(&self, path: &Path, what: ExcludeSubject) -> ExcludeVerdict<'_> {
        match self.position(path) {
            ListPosition::Outside => ExcludeVerdict::NotListed,
            ListPosition::Above => ExcludeVerdict::Included,
            ListPosition::Inside => {
                let inner = path.strip_prefix(&self.root).unwrap_or(Path::new(""));
                let why = self.rules.judge(inner, path, what);
                why.map_or(ExcludeVerdict::Included, ExcludeVerdict::Excluded)
            }
        }
    }

    /// What is walked of the contents of a directory that is taken.
    pub fn directory_scope(&self, directory: &Path) -> DirectoryScope<'_> {
        if self.position(directory) != ListPosition::Inside {
            return DirectoryScope::All;
        }
        if self.rules.one_filesystem && self.is_on_other_filesystem(directory) {
            return DirectoryScope::NothingBut(None, ExcludeReason::OtherFilesystem);
        }
        match self.rules.tag_file_in(directory) {
            Some(name) => DirectoryScope::NothingBut(Some(name), ExcludeReason::TagFile(name)),
            None => DirectoryScope::All,
        }
    }

    /// Whether a search for databases goes on here. Of a database's own files none is judged; one that is listed means
    /// its database.
    pub fn is_searched(&self, path: &Path, what: ExcludeSubject) -> bool {
        match what {
            ExcludeSubject::Directory => {
                self.judge(path, what) == ExcludeVerdict::Included
                    && self.directory_scope(path) == DirectoryScope::All
            }
            _ => self.is_requested(path),
        }
    }

    /// Whether a path is, lies below, or leads to what was asked for.
    pub fn is_requested(&self, path: &Path) -> bool {
        self.position(path) != ListPosition::Outside
    }

    fn position(&self, path: &Path) -> ListPosition {
        let listed = self.listed.as_ref();
        listed.map_or(ListPosition::Inside, |listed| listed.position(path))
    }

    /// Whether a directory lies on another filesystem than what was asked for by its path.
    fn is_on_other_filesystem(&self, directory: &Path) -> bool {
        let listed = self.listed.as_ref();
        let asked = listed.and_then(|listed| listed.at_or_above(directory));
        let device = |path: &Path| symlink_metadata(path).map(|facts| facts.dev()).ok();
        device(directory) != device(asked.unwrap_or(&self.root))
    }
}
