//! Finds files by name in snapshots.
//!
//! Files by name. What is known to hold no match is not walked again in the next snapshot, which shares most of its
//! directories with the one before.

use std::collections::HashSet;

use crate::engine::domain_views::{DomainViews, find_by_domain};
use crate::engine::tree::{NodeWalker, ResolvedAddress, SnapshotView, TreeNode};
use crate::error::{Error, Result, ResultExt};
use crate::id::BlobId;
use crate::pattern::{PatternMatch, PatternPath, Patterns};
use crate::repo::{Repo, StoredSnapshot};
use crate::report::OperationReport;
use crate::snapshot::EntryKind;

/// Directories without a match that are remembered: about 100 bytes each.
const FRUITLESS_DIRECTORIES_MAX: usize = 200_000;

/// A file, directory or database whose name was sought.
pub struct FileMatch<'m> {
    /// The snapshot it is in.
    pub snapshot: &'m StoredSnapshot,
    /// Where it stood.
    pub path: &'m [u8],
    /// What it is.
    pub node: &'m TreeNode,
}

/// Gives everything in the trees of `snapshots` that `patterns` mean, snapshot by snapshot. Where a directory cannot be
/// read, that is a problem in the report.
pub fn find_named_files(
    repo: &Repo,
    snapshots: &[StoredSnapshot],
    patterns: &Patterns,
    report: &OperationReport,
    sink: &mut dyn FnMut(&FileMatch) -> Result<()>,
) -> Result<()> {
    let views = DomainViews::open(repo, snapshots)?;
    let readers = views.readers();
    let mut known = FruitlessDirectories::default();
    for snapshot in snapshots {
        let reader = find_by_domain(&readers, snapshot.snapshot.domain)?;
        let view = SnapshotView::new(&snapshot.snapshot, reader);
        for number in view.top_sources() {
            let mut search = FileSearch {
                snapshot,
                patterns,
                report,
                fruitless: &mut known,
                open: Vec::new(),
            };
            let found = view
                .resolve_source(number)
                .and_then(|top| search.search_source(view, &top, sink));
            found.context(|| format!("look into snapshot {}", snapshot.id.short()))?;
        }
    }
    Ok(())
}

/// Directories that hold no match when they stand at this path.
#[derive(Default)]
struct FruitlessDirectories(HashSet<(BlobId, [u8; 32])>);

impl FruitlessDirectories {
    /// Patterns may depend on both the path and its part below the source.
    fn key(tree: &BlobId, path: &[u8], inner: &[u8]) -> (BlobId, [u8; 32]) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(path).update(b"\0").update(inner);
        (*tree, *hasher.finalize().as_bytes())
    }

    fn add(&mut self, key: (BlobId, [u8; 32])) {
        if self.0.len() == FRUITLESS_DIRECTORIES_MAX {
            self.0.clear();
        }
        self.0.insert(key);
    }
}

struct FileSearch<'a> {
    snapshot: &'a StoredSnapshot,
    patterns: &'a Patterns,
    report: &'a OperationReport,
    fruitless: &'a mut FruitlessDirectories,
    /// Directories that lead to what is looked at, with what will be known of them.
    open: Vec<DirectoryInSearch>,
}

struct DirectoryInSearch {
    key: Option<(BlobId, [u8; 32])>,
    /// No match so far, no database (what is beside it depends on the snapshot), nothing that could not be read.
    is_fruitless: bool,
}

impl FileSearch<'_> {
    fn search_source(
        &mut self,
        view: SnapshotView,
        top: &ResolvedAddress,
        sink: &mut dyn FnMut(&FileMatch) -> Result<()>,
    ) -> Result<()> {
        let mut walk = view.walk(top.node.clone());
        while let Some(node) = walk.next() {
            self.report.go_on()?;
            if let Err(error) = &node {
                self.report_unreadable(error);
            }
            self.close(walk.depth());
            if let Ok(node) = node {
                self.check_node(&mut walk, top, &node, sink)?;
            }
        }
        self.close(0);
        Ok(())
    }

    fn report_unreadable(&mut self, error: &Error) {
        self.open.iter_mut().for_each(|open| open.is_fruitless = false);
        let id = self.snapshot.id.short();
        self.report.problem(format!("snapshot {id}: {error}"));
    }

    /// Directories are left when the walk is no deeper than they are.
    fn close(&mut self, depth: usize) {
        while self.open.len() > depth {
            if let Some(DirectoryInSearch {
                key: Some(key),
                is_fruitless: true,
            }) = self.open.pop()
            {
                self.fruitless.add(key);
            }
        }
    }

    fn check_node(
        &mut self,
        walk: &mut NodeWalker,
        top: &ResolvedAddress,
        node: &TreeNode,
        sink: &mut dyn FnMut(&FileMatch) -> Result<()>,
    ) -> Result<()> {
        let path = top.below(walk.path());
        let is_directory = matches!(node.entry.kind, EntryKind::Directory(_) | EntryKind::Database(_));
        let place = PatternPath::stored(&path, walk.path(), is_directory);
        let is_meant = matches!(self.patterns.say(&place), PatternMatch::Meant(_));
        if is_meant || matches!(node.entry.kind, EntryKind::Database(_)) {
            self.open.iter_mut().for_each(|open| open.is_fruitless = false);
        }
        let key = match &node.entry.kind {
            EntryKind::Directory(tree) => Some(FruitlessDirectories::key(tree, &path, walk.path())),
            _ => None,
        };
        if key.is_some_and(|key| self.fruitless.0.contains(&key)) {
            walk.skip_children();
        }
        if is_directory {
            self.open.push(DirectoryInSearch {
                key,
                is_fruitless: true,
            });
        }
        if is_meant {
            sink(&FileMatch {
                snapshot: self.snapshot,
                path: &path,
                node,
            })
        } else {
            Ok(())
        }
    }
}
