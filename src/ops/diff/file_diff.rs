//! Pairs the trees and databases of two snapshots, and compares them.
//!
//! Which parts of two snapshots belong together: trees and databases by where they stood, or two places that were named.

use std::collections::HashSet;

use super::refuse_other_domain;
use super::tree_diff::{FileChange, FileDifference, FileDifferenceVisitor, TreeComparison};
use crate::engine::database_state::DatabaseState;
use crate::engine::tree::{ResolvedAddress, SnapshotView, TreeNode, join_path};
use crate::error::Result;
use crate::id::BlobId;
use crate::repo::StoredSnapshot;
use crate::report::OperationReport;
use crate::run::BlobSource;
use crate::snapshot::{DatabaseContent, EntryKind, Snapshot, SnapshotSource, TreeEntry, covers};

/// Two states of trees, to be compared.
#[derive(Clone)]
pub struct FileComparison<'a> {
    old: &'a StoredSnapshot,
    new: &'a StoredSnapshot,
    views: [SnapshotView<'a>; 2],
    /// Paths that were not read.
    missing: [HashSet<&'a [u8]>; 2],
    /// Takes what cannot be read.
    report: &'a OperationReport,
}

/// What differs, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileDiffOutcome {
    /// Only in the new state.
    pub added: FileTotals,
    /// Only in the old state.
    pub removed: FileTotals,
    /// With other content; bytes of the new state.
    pub changed: FileTotals,
    /// With other metadata alone.
    pub metadata: u64,
    /// In one state, and not read of the other.
    pub unread: u64,
}

/// How many files, directories (databases among them) and other things, and bytes of the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileTotals {
    /// Regular files.
    pub files: u64,
    /// Directories and databases.
    pub directories: u64,
    /// Links, pipes, devices.
    pub others: u64,
    /// Of the files.
    pub bytes: u64,
}

impl<'a> FileComparison<'a> {
    /// `blobs` has the blobs of both.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Usage`] if they are of two dedup domains: blobs of the same bytes have other names there.
    pub fn new(
        old: &'a StoredSnapshot,
        new: &'a StoredSnapshot,
        blobs: &'a dyn BlobSource,
        report: &'a OperationReport,
    ) -> Result<Self> {
        refuse_other_domain(old, new)?;
        let views = [old, new].map(|stored| SnapshotView::new(&stored.snapshot, blobs));
        Ok(Self {
            old,
            new,
            views,
            missing: [old, new].map(|stored| stored.snapshot.missing.paths()),
            report,
        })
    }

    /// Gives what differs between all trees of the two, by where it stood. Trees are compared by their paths; where each
    /// snapshot has one tree alone, these two are.
    pub fn compare_snapshots(
        &self,
        outcome: &mut FileDiffOutcome,
        sink: FileDifferenceVisitor,
    ) -> Result<()> {
        let [old, new] = self.views.map(|view| view.top_sources());
        if let Some([old, new]) = self.only_trees() {
            let found = [
                self.views[0].resolve_source(old)?,
                self.views[1].resolve_source(new)?,
            ];
            return self.compare_addresses(&found[0], &found[1], outcome, sink);
        }
        for number in &old {
            let found = self.views[0].resolve_source(*number)?;
            match find_source_at(&self.new.snapshot, &new, &found.path) {
                Some(other) => {
                    let other = self.views[1].resolve_source(other)?;
                    self.compare_addresses(&found, &other, outcome, sink)?;
                }
                None => self.report_whole_source(&found, FileChange::Removed, outcome, sink)?,
            }
        }
        for number in new {
            let found = self.views[1].resolve_source(number)?;
            if find_source_at(&self.old.snapshot, &old, &found.path).is_none() {
                self.report_whole_source(&found, FileChange::Added, outcome, sink)?;
            }
        }
        Ok(())
    }

    /// The same between two places.
    pub fn compare_addresses(
        &self,
        old: &ResolvedAddress,
        new: &ResolvedAddress,
        outcome: &mut FileDiffOutcome,
        sink: FileDifferenceVisitor,
    ) -> Result<()> {
        self.run_below(&new.path, outcome, sink, |pairs| {
            pairs.compare(&old.node, &new.node)
        })
    }

    fn report_whole_source(
        &self,
        found: &ResolvedAddress,
        change: FileChange,
        outcome: &mut FileDiffOutcome,
        sink: FileDifferenceVisitor,
    ) -> Result<()> {
        self.run_below(&found.path, outcome, sink, |pairs| {
            pairs.report_whole(b"", &found.node, change)
        })
    }

    /// What lies beside a database in both, and its own files where both are stored as files.
    pub fn compare_beside(
        &self,
        old: DatabaseState,
        new: DatabaseState,
        outcome: &mut FileDiffOutcome,
        sink: FileDifferenceVisitor,
    ) -> Result<()> {
        let path = &new.database.path;
        for [old, new] in [
            physical_trees(old, new),
            [old.database.beside, new.database.beside],
        ] {
            let [old, new] = [old, new].map(|tree| tree.map(directory_node));
            self.run_below(path, outcome, sink, |pairs| match (&old, &new) {
                (Some(old), Some(new)) => pairs.compare(old, new),
                (Some(old), None) => pairs.report_below(b"", old, FileChange::Removed),
                (None, Some(new)) => pairs.report_below(b"", new, FileChange::Added),
                (None, None) => Ok(()),
            })?;
        }
        Ok(())
    }

    /// What a state does not have since it was not read there is neither removed nor added.
    fn unread_or(&self, change: FileChange, path: &[u8]) -> FileChange {
        let missing = match change {
            FileChange::Removed => &self.missing[1],
            FileChange::Added => &self.missing[0],
            _ => return change,
        };
        if covers(missing, path) {
            FileChange::Unread
        } else {
            change
        }
    }

    /// Runs a comparison whose paths are below `base`, and counts.
    fn run_below(
        &self,
        base: &[u8],
        outcome: &mut FileDiffOutcome,
        sink: FileDifferenceVisitor,
        run: impl FnOnce(&mut TreeComparison) -> Result<()>,
    ) -> Result<()> {
        let mut sink = |difference: &FileDifference| {
            let mut path = base.to_vec();
            join_path(&mut path, difference.path);
            let difference = FileDifference {
                path: &path,
                change: self.unread_or(difference.change, &path),
                ..*difference
            };
            outcome.count(&difference);
            sink(&difference)
        };
        run(&mut TreeComparison::new(self.views, self.report, &mut sink))
    }

    /// The databases that both have, as far as they lie in these places (anywhere without); by what leads there.
    pub fn common_databases(&self, places: Option<[&ResolvedAddress; 2]>) -> Vec<[DatabaseState<'a>; 2]> {
        let bases = match places {
            Some(places) => Some(places.map(|found| &found.path[..])),
            None => self.only_paths(),
        };
        let inside = |number: usize, stored: &'a StoredSnapshot| {
            let base = bases.map(|bases| bases[number].to_vec());
            let databases = stored.snapshot.databases();
            databases.filter_map(move |database| {
                let rest = match &base {
                    Some(base) => path_below(&database.path, base)?,
                    None => &database.path[..],
                };
                let state = DatabaseState {
                    snapshot: stored,
                    database,
                };
                Some((rest, state))
            })
        };
        let old: std::collections::HashMap<_, _> = inside(0, self.old).collect();
        let pair = |(rest, new)| old.get(rest).map(|old| [*old, new]);
        inside(1, self.new).filter_map(pair).collect()
    }

    /// The sources, if each snapshot has one tree alone.
    fn only_trees(&self) -> Option<[usize; 2]> {
        let [old, new] = self.views.map(|view| {
            let tops = view.top_sources();
            let is_tree =
                |number: &usize| matches!(view.snapshot().sources[*number], SnapshotSource::Tree(_));
            match tops[..] {
                [only] => Some(only).filter(is_tree),
                _ => None,
            }
        });
        Some([old?, new?])
    }

    /// Where these stood.
    fn only_paths(&self) -> Option<[&'a [u8]; 2]> {
        let [old, new] = self.only_trees()?;
        Some([
            self.old.snapshot.sources[old].path(),
            self.new.snapshot.sources[new].path(),
        ])
    }
}

/// The files of a database that both have as files.
fn physical_trees(old: DatabaseState, new: DatabaseState) -> [Option<BlobId>; 2] {
    match [&old.database.content, &new.database.content] {
        [
            DatabaseContent::Physical { tree: old },
            DatabaseContent::Physical { tree: new },
        ] => [Some(*old), Some(*new)],
        _ => [None, None],
    }
}

/// What is left of a path below `base`; nothing if it is that itself.
fn path_below<'p>(path: &'p [u8], base: &[u8]) -> Option<&'p [u8]> {
    match path.strip_prefix(base.strip_suffix(b"/").unwrap_or(base))? {
        [] => Some(b""),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// The source at this path among some.
fn find_source_at(snapshot: &Snapshot, numbers: &[usize], path: &[u8]) -> Option<usize> {
    let is_there = |number: &&usize| snapshot.sources[**number].path() == path;
    numbers.iter().find(is_there).copied()
}

/// A directory by its tree alone.
fn directory_node(tree: BlobId) -> TreeNode {
    let entry = TreeEntry {
        name: Vec::new(),
        kind: EntryKind::Directory(tree),
        meta: Default::default(),
    };
    // No file's links are followed, and nothing is stated of it.
    let source = usize::MAX;
    TreeNode { source, entry }
}

impl FileDiffOutcome {
    fn count(&mut self, difference: &FileDifference) {
        let node = difference.new.or(difference.old);
        match difference.change {
            FileChange::Added => self.added.count(node),
            FileChange::Removed => self.removed.count(node),
            FileChange::Content => self.changed.count(node),
            FileChange::Metadata => self.metadata += 1,
            FileChange::Unread => self.unread += 1,
            FileChange::Type => {
                self.removed.count(difference.old);
                self.added.count(difference.new);
            }
        }
    }
}

impl FileTotals {
    fn count(&mut self, node: Option<&TreeNode>) {
        match node.map(|node| &node.entry.kind) {
            Some(EntryKind::File(list)) => {
                self.files += 1;
                self.bytes += list.bytes();
            }
            Some(EntryKind::Directory(_) | EntryKind::Database(_)) => self.directories += 1,
            Some(_) => self.others += 1,
            None => {}
        }
    }
}
