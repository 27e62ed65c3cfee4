//! Selects the paths that lists name.
//!
//! Paths out of lists: many things that a person, or a program like find(1), chose.
//!
//! A list may name a hundred thousand files, and a snapshot has ten thousand sources. So all lists together make one tree.
//! It begins at the deepest directory that holds everything listed, and has of it what is listed (a directory with all
//! that is in it) and the directories on the way there:
//!
//! ```text
//! /srv/www/index.html   /srv/www/img/a.png   /srv/mail
//! └── /srv: directory        its owner, mode and times, and nothing of it but
//!     ├── mail               all of it
//!     └── www: directory
//!         ├── img: directory ── a.png
//!         └── index.html
//! ```
//! A path that leads through a symbolic link is taken from where it leads: a tree has nothing below a link.

mod find_listed;
mod glob;
mod list_parser;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use find_listed::find_listed;
pub use list_parser::{ListFormat, parse_list};

/// Paths that are there, from the root on, each once, and none below another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedPaths {
    /// In the order of their parts, so that all below a directory are neighbours.
    paths: Vec<PathBuf>,
}

/// How a path stands to what is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListPosition {
    /// It is listed, or below what is.
    Inside,
    /// A directory on the way to what is listed.
    Above,
    /// Neither.
    Outside,
}

impl ListedPaths {
    /// Of absolute paths without `..`.
    pub fn new(mut paths: Vec<PathBuf>) -> Self {
        paths.sort();
        paths.dedup_by(|next, before| next.starts_with(before));
        Self { paths }
    }

    /// Takes away what lies in these.
    pub fn remove_inside(&mut self, others: &[PathBuf]) {
        self.paths
            .retain(|path| !others.iter().any(|other| path.starts_with(other)));
    }

    /// All of them.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The deepest path that is at or above them all; `None` if there are none.
    pub fn root(&self) -> Option<PathBuf> {
        let (first, last) = (self.paths.first()?, self.paths.last()?);
        let shared = first.components().zip(last.components());
        let shared = shared.take_while(|(left, right)| left == right);
        Some(shared.map(|(part, _)| part).collect())
    }

    /// Where this path stands.
    pub fn position(&self, path: &Path) -> ListPosition {
        let behind = self.paths.get(self.count_up_to(path));
        if self.at_or_above(path).is_some() {
            ListPosition::Inside
        } else if behind.is_some_and(|next| next.starts_with(path)) {
            ListPosition::Above
        } else {
            ListPosition::Outside
        }
    }

    /// The listed path that this one is, or lies below.
    pub fn at_or_above(&self, path: &Path) -> Option<&Path> {
        let before = self.paths.get(self.count_up_to(path).checked_sub(1)?)?;
        path.starts_with(before).then_some(before)
    }

    /// How many are not behind this path.
    fn count_up_to(&self, path: &Path) -> usize {
        self.paths.partition_point(|listed| listed.as_path() <= path)
    }
}
