//! The walk: directory by directory, in order of names, without recursion.

use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use super::batch::{Entered, Step};
use super::before::{Earlier, Entries, Parents};
use super::databases::{Databases, NotSaved};
use super::gather::{Gather, ToRead};
use super::level::{Found, Level, Looking};
use super::sieve::Sieve;
use super::sqlite::Sqlites;
use super::{Root, TreeCounts, WantedTree};
use crate::error::Result;
use crate::id::{BlobId, ObjectId};
use crate::report::Report;
use crate::snapshot::{EntryKind, TreeEntry};
use crate::source::HeldDirectory;
use crate::source::rules::LeftOut;
use crate::source::sqlite::Owner;
use crate::source::walk::{Stamp, What, facts_in, list_below};

/// What was walked.
pub struct Walked {
    /// Each root, and what was found below it.
    pub found: Vec<(Root, TreeCounts)>,
    /// What was left out of all of them.
    pub left_out: LeftOut,
    /// Packs with the files that were not read.
    pub relied_on: HashSet<ObjectId>,
}

/// Walks roots and tells what is there.
pub struct Descent<'a, 'd, 'c> {
    pub gather: Gather<'a>,
    pub databases: &'d mut Databases<'c>,
    pub sieve: Sieve,
    /// Where the root lies that is walked.
    pub ground: Arc<HeldDirectory>,
    pub sqlites: Sqlites<'a>,
    pub looking: Looking<'a>,
    /// Older snapshots, if files may be taken over.
    pub earlier: Option<(Parents<'a>, &'a Earlier<'a>)>,
    pub report: &'a Report,
}

impl<'a> Descent<'a, '_, '_> {
    /// All roots, and the directories of databases that are met on the way.
    pub fn all(mut self, roots: Vec<Root>) -> Result<Walked> {
        let mut roots = VecDeque::from(roots);
        let mut found = Vec::new();
        while let Some(root) = roots.pop_front() {
            let counts = self.root(&root)?;
            found.push((root, counts));
            roots.extend(self.databases.found_late());
        }
        Ok(Walked {
            found,
            left_out: self.sieve.left_out,
            relied_on: self.gather.relied_on,
        })
    }

    fn root(&mut self, root: &Root) -> Result<TreeCounts> {
        self.gather.read = TreeCounts::default();
        self.sieve.bounds = root.bounds().clone();
        match HeldDirectory::named(root.ground()) {
            Ok(ground) => self.ground = Arc::new(ground),
            Err(error) => self.report.problem_at(root.ground(), error.to_string()),
        }
        self.gather.step(Step::Begin)?;
        let mut open = match root {
            Root::Tree(tree) => self.tree(tree)?,
            Root::Beside { directory, .. } => vec![self.beside(directory)],
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
                        self.gather.step(Step::Leave)?;
                    }
                }
            }
        }
        self.gather.step(Step::End)?;
        self.gather.flush()?;
        self.sqlites.tell_moved();
        Ok(self.gather.read)
    }

    /// The path itself, which is the only entry of its tree.
    fn tree(&mut self, tree: &WantedTree) -> Result<Vec<Level<'a>>> {
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

    fn beside(&mut self, directory: &Path) -> Level<'a> {
        let names = self.list(directory);
        let before = self.earlier.and_then(|(parents, earlier)| {
            let tree = parents.beside(directory)?;
            Some(earlier.directory(&tree))
        });
        Level::new(directory.to_owned(), names, true, before)
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
    fn take(&mut self, found: Found, name: OsString, level: Option<&Level>) -> Result<Option<Level<'a>>> {
        if self.sqlites.is_not_needed(&found.path) {
            return Ok(None);
        }
        let kind = match &found.looked.what {
            What::File(stamp) => {
                let stamp = *stamp;
                return self.file(found, name, stamp, level).map(|()| None);
            }
            What::Directory => return self.directory(found, name),
            What::Symlink(target) => EntryKind::Symlink(target.clone()),
            What::Fifo => EntryKind::Fifo,
            What::Device(device) => EntryKind::Device(*device),
            What::Socket => {
                let path = found.path.display();
                self.report.notice(format!("{path}: a socket is not saved"));
                return Ok(None);
            }
        };
        self.other(found, name, kind).map(|()| None)
    }

    fn file(&mut self, found: Found, name: OsString, stamp: Stamp, level: Option<&Level>) -> Result<()> {
        let owner = Owner {
            uid: found.looked.meta.uid.unwrap_or(0),
            gid: found.looked.meta.gid.unwrap_or(0),
        };
        let copy = match level {
            Some(level) => self.sqlites.meet(&found.path, owner, &name, level.behind(&found)),
            None => self.sqlites.meet_alone(&found.path, owner, &name),
        };
        self.gather.file(ToRead {
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

    fn other(&mut self, found: Found, name: OsString, kind: EntryKind) -> Result<()> {
        self.gather.read.others += 1;
        let (name, meta) = (name.into_vec(), found.looked.meta);
        self.gather.step(Step::Entry(TreeEntry { name, kind, meta }))
    }

    fn directory(&mut self, found: Found, name: OsString) -> Result<Option<Level<'a>>> {
        let names = self.list(&found.path);
        match self
            .databases
            .number(&self.ground, &found.path, &names, &self.sieve.bounds)
        {
            Ok(Some(number)) => {
                let kind = EntryKind::Database(number);
                return self.other(found, name, kind).map(|()| None);
            }
            Err(NotSaved) => return Ok(None),
            Ok(None) => {}
        }
        let before = found.before.and_then(|before| match before.kind {
            EntryKind::Directory(tree) => Some((tree, before.meta)),
            _ => None,
        });
        let entries = self.entries_of(before.as_ref().map(|(tree, _)| *tree));
        let (name, meta) = (name.into_vec(), found.looked.meta);
        self.gather.step(Step::Enter(Entered { name, meta, before }))?;
        Ok(Some(Level::new(found.path, names, false, entries)))
    }

    fn entries_of(&self, before: Option<BlobId>) -> Option<Entries<'a>> {
        let (_, earlier) = self.earlier?;
        Some(earlier.directory(&before?))
    }
}

/// Of a temporary file of ours.
fn stamp_of(copy: &Path) -> Result<Stamp> {
    let above = HeldDirectory::named(copy.parent().unwrap_or(Path::new("/")))?;
    Stamp::below(&above, copy)
}
