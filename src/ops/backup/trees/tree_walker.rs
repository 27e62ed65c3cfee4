//! Walks directories in order of names, without recursion.
//!
//! The walk: directory by directory, in order of names, without recursion.

use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use super::databases_by_directory::{DatabasesByDirectory, UnsavedDatabase};
use super::exclude_filter::ExcludeFilter;
use super::open_directory::{EntryScanners, OpenDirectory, ScannedEntry};
use super::parent_files::{ParentEntries, ParentFiles, ParentRoots};
use super::read_queue::{QueuedFile, ReadQueue};
use super::sqlite::SqliteDatabases;
use super::walk_channel::{EnteredDirectory, WalkStep};
use super::{PlannedTree, TreeCounts, WalkRoot};
use crate::error::Result;
use crate::id::{BlobId, ObjectId};
use crate::report::OperationReport;
use crate::snapshot::{EntryKind, TreeEntry};
use crate::source::HeldDirectory;
use crate::source::exclude_rules::ExcludedItems;
use crate::source::sqlite::SqliteOwner;
use crate::source::walk::{FileFingerprint, FileKind, list_below, read_stat};

/// What was walked.
pub struct TreeWalkOutcome {
    /// Each root, and what was found below it.
    pub roots: Vec<(WalkRoot, TreeCounts)>,
    /// What was left out of all of them.
    pub left_out: ExcludedItems,
    /// Packs with the files that were not read.
    pub dependencies: HashSet<ObjectId>,
}

/// Walks roots and tells what is there.
pub struct TreeWalker<'a, 'd, 'c> {
    pub queue: ReadQueue<'a>,
    pub databases: &'d mut DatabasesByDirectory<'c>,
    pub filter: ExcludeFilter,
    /// Where the root lies that is walked.
    pub held_base: Arc<HeldDirectory>,
    pub sqlites: SqliteDatabases<'a>,
    pub scanners: EntryScanners<'a>,
    /// Older snapshots, if files may be taken over.
    pub parent: Option<(ParentRoots<'a>, &'a ParentFiles<'a>)>,
    pub report: &'a OperationReport,
}

impl<'a> TreeWalker<'a, '_, '_> {
    /// All roots, and the directories of databases that are met on the way.
    pub fn walk_roots(mut self, roots: Vec<WalkRoot>) -> Result<TreeWalkOutcome> {
        let mut roots = VecDeque::from(roots);
        let mut found = Vec::new();
        while let Some(root) = roots.pop_front() {
            let counts = self.walk_root(&root)?;
            found.push((root, counts));
            roots.extend(self.databases.take_late_roots());
        }
        Ok(TreeWalkOutcome {
            roots: found,
            left_out: self.filter.left_out,
            dependencies: self.queue.dependencies,
        })
    }

    fn walk_root(&mut self, root: &WalkRoot) -> Result<TreeCounts> {
        self.queue.counts = TreeCounts::default();
        self.filter.scope = root.scope().clone();
        match root.open_held() {
            Ok(ground) => self.held_base = Arc::new(ground),
            Err(error) => self.report.problem_at(root.walk_base(), error.to_string()),
        }
        self.queue.push_step(WalkStep::BeginRoot)?;
        let mut open = match root {
            WalkRoot::Tree(tree) => self.start_tree(tree)?,
            WalkRoot::Beside { directory, .. } => vec![self.start_beside(directory)],
        };
        while let Some(level) = open.last_mut() {
            match level.next(&self.held_base, &mut self.filter, self.scanners) {
                Some(found) => {
                    let name = found.name().to_owned();
                    let below = self.visit_entry(found, name, Some(level))?;
                    open.extend(below);
                }
                None => {
                    let left = open.pop();
                    if left.is_some_and(|level| !level.is_database) {
                        self.queue.push_step(WalkStep::LeaveDirectory)?;
                    }
                }
            }
        }
        self.queue.push_step(WalkStep::EndRoot)?;
        self.queue.flush()?;
        self.sqlites.report_changed();
        Ok(self.queue.counts)
    }

    /// The path itself, which is the only entry of its tree.
    fn start_tree(&mut self, tree: &PlannedTree) -> Result<Vec<OpenDirectory<'a>>> {
        let (path, name) = (tree.path.clone(), tree.entry_name());
        // A filesystem's root lies in itself.
        let in_it = path.file_name().unwrap_or(OsStr::new("."));
        let facts = read_stat(&self.held_base, in_it);
        let taken = facts.map(|facts| self.filter.includes(&path, &facts).then_some(facts));
        let looked = taken.and_then(|facts| {
            let found = facts.map(|facts| {
                self.scanners
                    .scan_entry(&self.held_base, in_it, 0, path.clone(), &facts)
            });
            found.transpose()
        });
        let mut found = match looked {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Vec::new()),
            Err(error) => {
                self.report.problem_at(&tree.path, error.to_string());
                return Ok(Vec::new());
            }
        };
        found.parent_entry = self.parent_entry(&tree.path, &name);
        Ok(self.visit_entry(found, name, None)?.into_iter().collect())
    }

    fn parent_entry(&self, path: &Path, name: &OsStr) -> Option<TreeEntry> {
        let (parents, earlier) = self.parent?;
        earlier
            .open_directory(&parents.tree(path)?)
            .find_entry(name.as_bytes())
    }

    fn start_beside(&mut self, directory: &Path) -> OpenDirectory<'a> {
        let names = self.list_names(directory);
        let before = self.parent.and_then(|(parents, earlier)| {
            let tree = parents.beside(directory)?;
            Some(earlier.open_directory(&tree))
        });
        OpenDirectory::new(directory.to_owned(), names, true, before)
    }

    /// What cannot be listed is told, and empty.
    fn list_names(&mut self, directory: &Path) -> Vec<OsString> {
        let names = list_below(&self.held_base, directory).unwrap_or_else(|error| {
            self.report.problem_at(directory, error.to_string());
            Vec::new()
        });
        self.filter.included_names(directory, names)
    }

    /// One thing that was listed; a directory is to be walked next.
    fn visit_entry(
        &mut self,
        found: ScannedEntry,
        name: OsString,
        level: Option<&OpenDirectory>,
    ) -> Result<Option<OpenDirectory<'a>>> {
        if self.sqlites.is_covered_by_copy(&found.path) {
            return Ok(None);
        }
        let kind = match &found.walked.kind {
            FileKind::File(stamp) => {
                let stamp = *stamp;
                return self.visit_file(found, name, stamp, level).map(|()| None);
            }
            FileKind::Directory => return self.visit_directory(found, name),
            FileKind::Symlink(target) => EntryKind::Symlink(target.clone()),
            FileKind::Fifo => EntryKind::Fifo,
            FileKind::Device(device) => EntryKind::Device(*device),
            FileKind::Socket => {
                let path = found.path.display();
                self.report.notice(format!("{path}: a socket is not saved"));
                return Ok(None);
            }
        };
        self.visit_other(found, name, kind).map(|()| None)
    }

    fn visit_file(
        &mut self,
        found: ScannedEntry,
        name: OsString,
        stamp: FileFingerprint,
        level: Option<&OpenDirectory>,
    ) -> Result<()> {
        let owner = SqliteOwner {
            uid: found.walked.meta.uid.unwrap_or(0),
            gid: found.walked.meta.gid.unwrap_or(0),
        };
        let copy = match level {
            Some(level) => self
                .sqlites
                .prepare_file(&found.path, owner, &name, level.names_after(&found)),
            None => self.sqlites.prepare_lone_file(&found.path, owner, &name),
        };
        self.queue.push_file(QueuedFile {
            held_base: Arc::clone(&self.held_base),
            fingerprint: copy.as_ref().map_or(Ok(stamp), |copy| fingerprint_copy(copy))?,
            path: found.path,
            name: name.into_vec(),
            meta: found.walked.meta,
            parent_entry: found
                .parent_entry
                .filter(|before| matches!(before.kind, EntryKind::File(_))),
            copy,
        })
    }

    fn visit_other(&mut self, found: ScannedEntry, name: OsString, kind: EntryKind) -> Result<()> {
        self.queue.counts.others += 1;
        let (name, meta) = (name.into_vec(), found.walked.meta);
        self.queue
            .push_step(WalkStep::Entry(TreeEntry { name, kind, meta }))
    }

    fn visit_directory(&mut self, found: ScannedEntry, name: OsString) -> Result<Option<OpenDirectory<'a>>> {
        let names = self.list_names(&found.path);
        match self
            .databases
            .database_number(&self.held_base, &found.path, &names, &self.filter.scope)
        {
            Ok(Some(number)) => {
                let kind = EntryKind::Database(number);
                return self.visit_other(found, name, kind).map(|()| None);
            }
            Err(UnsavedDatabase) => return Ok(None),
            Ok(None) => {}
        }
        let before = found.parent_entry.and_then(|before| match before.kind {
            EntryKind::Directory(tree) => Some((tree, before.meta)),
            _ => None,
        });
        let entries = self.parent_entries(before.as_ref().map(|(tree, _)| *tree));
        let (name, meta) = (name.into_vec(), found.walked.meta);
        self.queue.push_step(WalkStep::EnterDirectory(EnteredDirectory {
            name,
            meta,
            parent_entry: before,
        }))?;
        Ok(Some(OpenDirectory::new(found.path, names, false, entries)))
    }

    fn parent_entries(&self, before: Option<BlobId>) -> Option<ParentEntries<'a>> {
        let (_, earlier) = self.parent?;
        Some(earlier.open_directory(&before?))
    }
}

/// Of a temporary file of ours.
fn fingerprint_copy(copy: &Path) -> Result<FileFingerprint> {
    let above = HeldDirectory::open_path(copy.parent().unwrap_or(Path::new("/")))?;
    FileFingerprint::of_path_below(&above, copy)
}
