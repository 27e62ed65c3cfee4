//! Walks directories in order of names, without recursion.
//!
//! The walk: directory by directory, in order of names, without recursion.

use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use super::databases::{DatabasesByDirectory, UnsavedDatabase};
use super::exclude_filter::ExcludeFilter;
use super::open_directory::{EntryScanners, FoundEntry, OpenDirectory};
use super::parent_files::{ParentEntries, ParentFiles, ParentRoots};
use super::read_queue::{FoundFile, ReadQueue};
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
use crate::source::walk::{FileFingerprint, FileKind, facts_in, list_below};

/// What was walked.
pub struct WalkTotals {
    /// Each root, and what was found below it.
    pub found: Vec<(WalkRoot, TreeCounts)>,
    /// What was left out of all of them.
    pub left_out: ExcludedItems,
    /// Packs with the files that were not read.
    pub relied_on: HashSet<ObjectId>,
}

/// Walks roots and tells what is there.
pub struct TreeWalker<'a, 'd, 'c> {
    pub gather: ReadQueue<'a>,
    pub databases: &'d mut DatabasesByDirectory<'c>,
    pub sieve: ExcludeFilter,
    /// Where the root lies that is walked.
    pub ground: Arc<HeldDirectory>,
    pub sqlites: SqliteDatabases<'a>,
    pub looking: EntryScanners<'a>,
    /// Older snapshots, if files may be taken over.
    pub earlier: Option<(ParentRoots<'a>, &'a ParentFiles<'a>)>,
    pub report: &'a OperationReport,
}

impl<'a> TreeWalker<'a, '_, '_> {
    /// All roots, and the directories of databases that are met on the way.
    pub fn all(mut self, roots: Vec<WalkRoot>) -> Result<WalkTotals> {
        let mut roots = VecDeque::from(roots);
        let mut found = Vec::new();
        while let Some(root) = roots.pop_front() {
            let counts = self.root(&root)?;
            found.push((root, counts));
            roots.extend(self.databases.found_late());
        }
        Ok(WalkTotals {
            found,
            left_out: self.sieve.left_out,
            relied_on: self.gather.relied_on,
        })
    }

    fn root(&mut self, root: &WalkRoot) -> Result<TreeCounts> {
        self.gather.read = TreeCounts::default();
        self.sieve.bounds = root.bounds().clone();
        match root.hold() {
            Ok(ground) => self.ground = Arc::new(ground),
            Err(error) => self.report.problem_at(root.ground(), error.to_string()),
        }
        self.gather.step(WalkStep::Begin)?;
        let mut open = match root {
            WalkRoot::Tree(tree) => self.tree(tree)?,
            WalkRoot::Beside { directory, .. } => vec![self.beside(directory)],
        };
        while let Some(level) = open.last_mut() {
            match level.next(&self.ground, &mut self.sieve, self.looking) {
                Some(found) => {
                    let name = found.name().to_owned();
                    let below = self.take(found, name, Some(level))?;
                    open.extend(below);
                }
                None => {
                    let left = open.pop();
                    if left.is_some_and(|level| !level.is_database) {
                        self.gather.step(WalkStep::Leave)?;
                    }
                }
            }
        }
        self.gather.step(WalkStep::End)?;
        self.gather.flush()?;
        self.sqlites.report_changed();
        Ok(self.gather.read)
    }

    /// The path itself, which is the only entry of its tree.
    fn tree(&mut self, tree: &PlannedTree) -> Result<Vec<OpenDirectory<'a>>> {
        let (path, name) = (tree.path.clone(), tree.entry_name());
        // A filesystem's root lies in itself.
        let in_it = path.file_name().unwrap_or(OsStr::new("."));
        let facts = facts_in(&self.ground, in_it);
        let taken = facts.map(|facts| self.sieve.takes(&path, &facts).then_some(facts));
        let looked = taken.and_then(|facts| {
            let found = facts.map(|facts| self.looking.found(&self.ground, in_it, 0, path.clone(), &facts));
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
        found.before = self.before(&tree.path, &name);
        Ok(self.take(found, name, None)?.into_iter().collect())
    }

    fn before(&self, path: &Path, name: &OsStr) -> Option<TreeEntry> {
        let (parents, earlier) = self.earlier?;
        earlier.directory(&parents.tree(path)?).named(name.as_bytes())
    }

    fn beside(&mut self, directory: &Path) -> OpenDirectory<'a> {
        let names = self.list(directory);
        let before = self.earlier.and_then(|(parents, earlier)| {
            let tree = parents.beside(directory)?;
            Some(earlier.directory(&tree))
        });
        OpenDirectory::new(directory.to_owned(), names, true, before)
    }

    /// What cannot be listed is told, and empty.
    fn list(&mut self, directory: &Path) -> Vec<OsString> {
        let names = list_below(&self.ground, directory).unwrap_or_else(|error| {
            self.report.problem_at(directory, error.to_string());
            Vec::new()
        });
        self.sieve.names(directory, names)
    }

    /// One thing that was listed; a directory is to be walked next.
    fn take(
        &mut self,
        found: FoundEntry,
        name: OsString,
        level: Option<&OpenDirectory>,
    ) -> Result<Option<OpenDirectory<'a>>> {
        if self.sqlites.is_not_needed(&found.path) {
            return Ok(None);
        }
        let kind = match &found.looked.what {
            FileKind::File(stamp) => {
                let stamp = *stamp;
                return self.file(found, name, stamp, level).map(|()| None);
            }
            FileKind::Directory => return self.directory(found, name),
            FileKind::Symlink(target) => EntryKind::Symlink(target.clone()),
            FileKind::Fifo => EntryKind::Fifo,
            FileKind::Device(device) => EntryKind::Device(*device),
            FileKind::Socket => {
                let path = found.path.display();
                self.report.notice(format!("{path}: a socket is not saved"));
                return Ok(None);
            }
        };
        self.other(found, name, kind).map(|()| None)
    }

    fn file(
        &mut self,
        found: FoundEntry,
        name: OsString,
        stamp: FileFingerprint,
        level: Option<&OpenDirectory>,
    ) -> Result<()> {
        let owner = SqliteOwner {
            uid: found.looked.meta.uid.unwrap_or(0),
            gid: found.looked.meta.gid.unwrap_or(0),
        };
        let copy = match level {
            Some(level) => self.sqlites.meet(&found.path, owner, &name, level.behind(&found)),
            None => self.sqlites.meet_alone(&found.path, owner, &name),
        };
        self.gather.file(FoundFile {
            ground: Arc::clone(&self.ground),
            stamp: copy.as_ref().map_or(Ok(stamp), |copy| stamp_of(copy))?,
            path: found.path,
            name: name.into_vec(),
            meta: found.looked.meta,
            before: found
                .before
                .filter(|before| matches!(before.kind, EntryKind::File(_))),
            copy,
        })
    }

    fn other(&mut self, found: FoundEntry, name: OsString, kind: EntryKind) -> Result<()> {
        self.gather.read.others += 1;
        let (name, meta) = (name.into_vec(), found.looked.meta);
        self.gather.step(WalkStep::Entry(TreeEntry { name, kind, meta }))
    }

    fn directory(&mut self, found: FoundEntry, name: OsString) -> Result<Option<OpenDirectory<'a>>> {
        let names = self.list(&found.path);
        match self
            .databases
            .number(&self.ground, &found.path, &names, &self.sieve.bounds)
        {
            Ok(Some(number)) => {
                let kind = EntryKind::Database(number);
                return self.other(found, name, kind).map(|()| None);
            }
            Err(UnsavedDatabase) => return Ok(None),
            Ok(None) => {}
        }
        let before = found.before.and_then(|before| match before.kind {
            EntryKind::Directory(tree) => Some((tree, before.meta)),
            _ => None,
        });
        let entries = self.entries_of(before.as_ref().map(|(tree, _)| *tree));
        let (name, meta) = (name.into_vec(), found.looked.meta);
        self.gather
            .step(WalkStep::Enter(EnteredDirectory { name, meta, before }))?;
        Ok(Some(OpenDirectory::new(found.path, names, false, entries)))
    }

    fn entries_of(&self, before: Option<BlobId>) -> Option<ParentEntries<'a>> {
        let (_, earlier) = self.earlier?;
        Some(earlier.directory(&before?))
    }
}

/// Of a temporary file of ours.
fn stamp_of(copy: &Path) -> Result<FileFingerprint> {
    let above = HeldDirectory::named(copy.parent().unwrap_or(Path::new("/")))?;
    FileFingerprint::below(&above, copy)
}
