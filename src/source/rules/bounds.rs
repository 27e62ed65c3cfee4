//! The rules, for one PATH that was asked for or one tree of listed paths.

use std::fs::symlink_metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Rules, Thing, Why, Within};
use crate::source::listed::{Listed, Position};

/// What is walked of one tree. All paths are absolute, at or below its root.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    rules: Arc<Rules>,
    root: PathBuf,
    /// Only this of it; all of it when `None`.
    listed: Option<Arc<Listed>>,
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged<'r> {
    /// It is taken.
    Taken,
    /// It is left out, for this reason.
    LeftOut(Why<'r>),
    /// Nobody asked for it.
    NotListed,
}

impl Bounds {
    /// All that is not left out of what lies at or below `root`; with a list, what it lists of that.
    pub fn new(rules: Arc<Rules>, root: &Path, listed: Option<Arc<Listed>>) -> Self {
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
    pub fn judge(&self, path: &Path, what: Thing) -> Judged<'_> {
        match self.position(path) {
            Position::Outside => Judged::NotListed,
            Position::Above => Judged::Taken,
            Position::Inside => {
                let inner = path.strip_prefix(&self.root).unwrap_or(Path::new(""));
                let why = self.rules.judge(inner, path, what);
                why.map_or(Judged::Taken, Judged::LeftOut)
            }
        }
    }

    /// What is walked of the contents of a directory that is taken.
    pub fn within(&self, directory: &Path) -> Within<'_> {
        if self.position(directory) != Position::Inside {
            return Within::All;
        }
        if self.rules.one_filesystem && self.is_beyond(directory) {
            return Within::Nothing(None, Why::OtherFilesystem);
        }
        match self.rules.tag_file_in(directory) {
            Some(name) => Within::Nothing(Some(name), Why::TagFile(name)),
            None => Within::All,
        }
    }

    /// Whether a search for databases goes on here. Of a database's own files none is judged; one that is listed means
    /// its database.
    pub fn is_searched(&self, path: &Path, what: Thing) -> bool {
        match what {
            Thing::Directory => self.judge(path, what) == Judged::Taken && self.within(path) == Within::All,
            _ => self.is_asked(path),
        }
    }

    /// Whether a path is, lies below, or leads to what was asked for.
    pub fn is_asked(&self, path: &Path) -> bool {
        self.position(path) != Position::Outside
    }

    fn position(&self, path: &Path) -> Position {
        let listed = self.listed.as_ref();
        listed.map_or(Position::Inside, |listed| listed.position(path))
    }

    /// Whether a directory lies on another filesystem than what was asked for by its path.
    fn is_beyond(&self, directory: &Path) -> bool {
        let listed = self.listed.as_ref();
        let asked = listed.and_then(|listed| listed.at_or_above(directory));
        let device = |path: &Path| symlink_metadata(path).map(|facts| facts.dev()).ok();
        device(directory) != device(asked.unwrap_or(&self.root))
    }
}
