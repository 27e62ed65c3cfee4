//! All that a backup stored, before its snapshot is.

use std::collections::BTreeSet;

use super::database::Saved;
use super::trees::{Root, StoredRoot, TreeCounts, WantedTree};
use super::{DatabaseOutcome, TreeOutcome};
use crate::error::{Error, Kind, Result};
use crate::id::BlobId;
use crate::ops::tree::inside_by_names;
use crate::snapshot::{Source, TreeRoot};
use crate::source::rules::LeftOut;

/// Databases first: trees name them by their numbers.
#[derive(Default)]
pub struct SavedAll {
    pub databases: Vec<Saved>,
    trees: Vec<SavedTree>,
    /// What was left out of the paths.
    pub left_out: LeftOut,
    /// Numbers of the databases that trees name.
    pub named_by_trees: BTreeSet<u32>,
}

struct SavedTree {
    tree: WantedTree,
    root: BlobId,
    counts: TreeCounts,
}

impl SavedAll {
    /// One database alone.
    pub fn of(saved: Saved) -> Self {
        Self {
            databases: vec![saved],
            ..Self::default()
        }
    }

    /// A root that was walked. One that could not be read has told so.
    pub fn take(&mut self, stored: StoredRoot) {
        match (stored.root, stored.tree) {
            (Root::Tree(tree), Some(root)) => self.trees.push(SavedTree {
                tree,
                root,
                counts: stored.counts,
            }),
            (Root::Tree(_), None) => {}
            (Root::Beside { number, .. }, beside) => {
                if let Some(saved) = self.databases.get_mut(number as usize) {
                    saved.root.beside = beside;
                    saved.outcome.beside = stored.counts;
                }
            }
        }
    }

    /// A snapshot of nothing helps nobody.
    pub fn must_have_something(&self) -> Result<()> {
        if self.databases.is_empty() && self.trees.is_empty() {
            Err(Error::new(Kind::NotFound, "nothing of the paths can be saved"))
        } else {
            Ok(())
        }
    }

    /// As the snapshot lists them.
    pub fn sources(&self) -> Vec<Source> {
        let databases = self.databases.iter();
        let databases = databases.map(|saved| Source::Database(Box::new(saved.root.clone())));
        databases
            .chain(self.trees.iter().map(|saved| Source::Tree(saved.source())))
            .collect()
    }

    /// The databases that lie inside other sources, where names and paths do not tell the same.
    pub fn inside(&self, sources: &[Source]) -> Option<Vec<u32>> {
        let inside: Vec<_> = self.named_by_trees.iter().copied().collect();
        (inside_by_names(sources) != inside).then_some(inside)
    }

    pub fn tree_outcomes(&self) -> Vec<TreeOutcome> {
        let outcome = |saved: &SavedTree| TreeOutcome {
            name: saved.tree.name.clone(),
            path: saved.tree.path.clone(),
            counts: saved.counts,
        };
        self.trees.iter().map(outcome).collect()
    }

    pub fn bytes_read(&self) -> u64 {
        let of = |outcome: &DatabaseOutcome| outcome.capture.bytes_read + outcome.beside.bytes_read;
        let databases: u64 = self.databases.iter().map(|saved| of(&saved.outcome)).sum();
        databases
            + self
                .trees
                .iter()
                .map(|saved| saved.counts.bytes_read)
                .sum::<u64>()
    }
}

impl SavedTree {
    fn source(&self) -> TreeRoot {
        use std::os::unix::ffi::OsStrExt;
        TreeRoot {
            name: self.tree.name.clone(),
            path: self.tree.path.as_os_str().as_bytes().to_vec(),
            root: self.root,
            files: self.counts.files.all(),
            directories: self.counts.directories.all(),
            bytes: self.counts.bytes,
        }
    }
}

/// True if two snapshots are of the same paths.
pub fn have_same_places(left: &[Source], right: &[Source]) -> bool {
    left.iter().map(Source::path).eq(right.iter().map(Source::path))
}

/// True if two snapshots have the same sources, and the same files in them.
pub fn have_same_files(left: &[Source], right: &[Source]) -> bool {
    let same = |(left, right): (&Source, &Source)| match (left, right) {
        (Source::Database(left), Source::Database(right)) => left.beside == right.beside,
        (Source::Tree(left), Source::Tree(right)) => left.root == right.root,
        _ => false,
    };
    let same = |(left, right): (&Source, &Source)| {
        left.name() == right.name() && left.path() == right.path() && same((left, right))
    };
    left.len() == right.len() && left.iter().zip(right).all(same)
}
