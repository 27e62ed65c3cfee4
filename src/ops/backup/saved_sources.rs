//! Collects all sources that a backup stored.

use std::collections::BTreeSet;

use super::save_database::SavedDatabase;
use super::trees::{PlannedTree, StoredRoot, TreeCounts, WalkRoot};
use super::{DatabaseBackupOutcome, TreeBackupOutcome};
use crate::engine::tree::databases_inside_sources;
use crate::error::{Error, ErrorKind, Result};
use crate::id::BlobId;
use crate::snapshot::{SnapshotSource, TreeRoot};
use crate::source::exclude_rules::ExcludedItems;

/// Databases first: trees name them by their numbers.
#[derive(Default)]
pub struct SavedSources {
    pub databases: Vec<SavedDatabase>,
    trees: Vec<SavedTree>,
    /// What was left out of the paths.
    pub left_out: ExcludedItems,
    /// Numbers of the databases that trees name.
    pub named_by_trees: BTreeSet<u32>,
}

struct SavedTree {
    tree: PlannedTree,
    root: BlobId,
    counts: TreeCounts,
}

impl SavedSources {
    /// One database alone.
    pub fn from_database(saved: SavedDatabase) -> Self {
        Self {
            databases: vec![saved],
            ..Self::default()
        }
    }

    /// A root that was walked. One that could not be read has told so.
    pub fn add_root(&mut self, stored: StoredRoot) {
        match (stored.root, stored.tree) {
            (WalkRoot::Tree(tree), Some(root)) => self.trees.push(SavedTree {
                tree,
                root,
                counts: stored.counts,
            }),
            (WalkRoot::Tree(_), None) => {}
            (WalkRoot::Beside { number, .. }, beside) => {
                if let Some(saved) = self.databases.get_mut(number as usize) {
                    saved.root.beside = beside;
                    saved.outcome.beside = stored.counts;
                }
            }
        }
    }

    /// A snapshot of nothing helps nobody.
    pub fn refuse_empty(&self) -> Result<()> {
        if self.databases.is_empty() && self.trees.is_empty() {
            Err(Error::new(
                ErrorKind::NotFound,
                "nothing of the paths can be saved",
            ))
        } else {
            Ok(())
        }
    }

    /// As the snapshot lists them.
    pub fn sources(&self) -> Vec<SnapshotSource> {
        let databases = self.databases.iter();
        let databases = databases.map(|saved| SnapshotSource::Database(Box::new(saved.root.clone())));
        databases
            .chain(
                self.trees
                    .iter()
                    .map(|saved| SnapshotSource::Tree(saved.tree_root())),
            )
            .collect()
    }

    /// The databases that lie inside other sources, where names and paths do not tell the same.
    pub fn inside_databases(&self, sources: &[SnapshotSource]) -> Option<Vec<u32>> {
        let inside: Vec<_> = self.named_by_trees.iter().copied().collect();
        (databases_inside_sources(sources) != inside).then_some(inside)
    }

    pub fn tree_outcomes(&self) -> Vec<TreeBackupOutcome> {
        let outcome = |saved: &SavedTree| TreeBackupOutcome {
            name: saved.tree.name.clone(),
            path: saved.tree.path.clone(),
            counts: saved.counts,
        };
        self.trees.iter().map(outcome).collect()
    }

    pub fn bytes_read(&self) -> u64 {
        let of = |outcome: &DatabaseBackupOutcome| outcome.capture.bytes_read + outcome.beside.bytes_read;
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
    fn tree_root(&self) -> TreeRoot {
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
pub fn have_same_paths(left: &[SnapshotSource], right: &[SnapshotSource]) -> bool {
    left.iter()
        .map(SnapshotSource::path)
        .eq(right.iter().map(SnapshotSource::path))
}

/// True if two snapshots have the same sources, and the same files in them.
pub fn have_same_files(left: &[SnapshotSource], right: &[SnapshotSource]) -> bool {
    let same = |(left, right): (&SnapshotSource, &SnapshotSource)| match (left, right) {
        (SnapshotSource::Database(left), SnapshotSource::Database(right)) => left.beside == right.beside,
        (SnapshotSource::Tree(left), SnapshotSource::Tree(right)) => left.root == right.root,
        _ => false,
    };
    let same = |(left, right): (&SnapshotSource, &SnapshotSource)| {
        left.name() == right.name() && left.path() == right.path() && same((left, right))
    };
    left.len() == right.len() && left.iter().zip(right).all(same)
}
