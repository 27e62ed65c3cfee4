//! The walk: directory by directory, in order of names, without recursion.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crossbeam_channel::Sender;

use super::batch::{Batch, Step};
use super::databases::{Databases, NotSaved};
use super::gather::{Gather, Read, ToRead};
use super::sieve::Sieve;
use super::sqlite::Sqlites;
use super::{Root, TreeCounts};
use crate::chunk::Cutter;
use crate::error::{Error, Result};
use crate::leveldb::name::FileName;
use crate::report::Report;
use crate::scratch;
use crate::snapshot::{EntryKind, Meta, TreeEntry};
use crate::source::rules::LeftOut;
use crate::source::walk::{Looked, Stamp, What, facts, list, look_closer};

/// A directory that is being walked.
struct Level {
    directory: PathBuf,
    names: std::vec::IntoIter<OsString>,
    /// It is a database's own: what belongs to the database is passed over.
    is_database: bool,
}

/// Walks roots and tells what is there.
pub struct Descent<'a, 'd, 'c> {
    gather: Gather<'a>,
    databases: &'d mut Databases<'c>,
    report: &'a Report,
    open: Vec<Level>,
    counts: TreeCounts,
    sieve: Sieve,
    sqlites: Sqlites<'a>,
}

impl<'a, 'd, 'c> Descent<'a, 'd, 'c> {
    pub fn new(
        cutter: &'a Cutter,
        batches: Sender<Batch>,
        databases: &'d mut Databases<'c>,
        sieve: Sieve,
        sqlites: Sqlites<'a>,
        report: &'a Report,
    ) -> Self {
        Self {
            gather: Gather::new(cutter, batches, report),
            databases,
            report,
            open: Vec::new(),
            counts: TreeCounts::default(),
            sieve,
            sqlites,
        }
    }

    /// All roots, and the directories of databases that are met on the way; what was found below each, and what of all
    /// was left out.
    pub fn all(mut self, roots: Vec<Root>) -> Result<(Vec<(Root, TreeCounts)>, LeftOut)> {
        let mut roots = VecDeque::from(roots);
        let mut walked = Vec::new();
        while let Some(root) = roots.pop_front() {
            let counts = self.root(&root)?;
            walked.push((root, counts));
            roots.extend(self.databases.found_late());
        }
        Ok((walked, self.sieve.left_out))
    }

    fn root(&mut self, root: &Root) -> Result<TreeCounts> {
        self.counts = TreeCounts::default();
        self.gather.read = Read::default();
        self.sieve.bounds = root.bounds().clone();
        self.gather.step(Step::Begin)?;
        match root {
            Root::Tree(tree) => self.take(tree.path.clone(), &tree.entry_name(), false)?,
            Root::Beside { directory, .. } => self.open_database(directory),
        }
        while let Some(level) = self.open.last_mut() {
            match level.names.next() {
                Some(name) => {
                    let (path, is_database) = (level.directory.join(&name), level.is_database);
                    self.take(path, &name, is_database)?;
                }
                None => self.leave()?,
            }
        }
        self.gather.step(Step::End)?;
        self.gather.flush()?;
        self.sqlites.tell_moved();
        self.counts.files.new = self.gather.read.files;
        self.counts.bytes = self.gather.read.bytes;
        self.counts.bytes_read = self.gather.read.bytes;
        Ok(self.counts)
    }

    fn open_database(&mut self, directory: &Path) {
        match list(directory) {
            Ok(names) => self.open.push(Level {
                directory: directory.to_owned(),
                names: self.sieve.names(directory, names).into_iter(),
                is_database: true,
            }),
            Err(error) => self.report.problem(error.to_string()),
        }
    }

    fn leave(&mut self) -> Result<()> {
        match self.open.pop() {
            Some(level) if !level.is_database => self.gather.step(Step::Leave),
            _ => Ok(()),
        }
    }

    /// One thing that was listed.
    fn take(&mut self, path: PathBuf, name: &OsStr, in_database: bool) -> Result<()> {
        let Some(Looked { what, meta, .. }) = self.look(&path, name, in_database) else {
            return Ok(());
        };
        let kind = match what {
            What::File(stamp) => return self.file(path, name, stamp, meta),
            What::Directory => return self.directory(path, name, meta),
            What::Symlink(target) => EntryKind::Symlink(target),
            What::Fifo => EntryKind::Fifo,
            What::Device(device) => EntryKind::Device(device),
            What::Socket => {
                self.report
                    .notice(format!("{}: a socket is not saved", path.display()));
                return Ok(());
            }
        };
        self.other(name, kind, meta)
    }

    /// What an entry is; `None` if it is not saved here. What is left out is not looked at closely: nobody needs to be
    /// able to read it.
    fn look(&mut self, path: &Path, name: &OsStr, in_database: bool) -> Option<Looked> {
        let told = |error: Error| self.report.problem(error.to_string());
        let facts = facts(path).map_err(told).ok()?;
        let is_passed_over = is_passed_over(name, facts.is_dir(), in_database);
        if is_passed_over || self.sqlites.is_not_needed(path) || !self.sieve.takes(path, &facts) {
            return None;
        }
        look_closer(path, &facts, self.report).map_err(told).ok()
    }

    fn file(&mut self, path: PathBuf, name: &OsStr, stamp: Stamp, meta: Meta) -> Result<()> {
        let copy = match self.open.last() {
            Some(level) => self.sqlites.meet(&path, name, level.names.as_slice()),
            None => self.sqlites.meet_alone(&path, name),
        };
        let name = name.as_bytes().to_vec();
        self.gather.file(ToRead {
            stamp: copy.as_ref().map_or(Ok(stamp), |copy| Stamp::at(copy))?,
            path,
            name,
            meta,
            copy,
        })
    }

    fn other(&mut self, name: &OsStr, kind: EntryKind, meta: Meta) -> Result<()> {
        self.counts.others += 1;
        let name = name.as_bytes().to_vec();
        self.gather.step(Step::Entry(TreeEntry { name, kind, meta }))
    }

    fn directory(&mut self, path: PathBuf, name: &OsStr, meta: Meta) -> Result<()> {
        let names = list(&path).unwrap_or_else(|error| {
            self.report.problem(error.to_string());
            Vec::new()
        });
        let names = self.sieve.names(&path, names);
        match self.databases.number(&path, &names, &self.sieve.bounds) {
            Ok(Some(number)) => return self.other(name, EntryKind::Database(number), meta),
            Err(NotSaved) => return Ok(()),
            Ok(None) => {}
        }
        self.counts.directories.new += 1;
        self.open.push(Level {
            directory: path,
            names: names.into_iter(),
            is_database: false,
        });
        let name = name.to_os_string().into_vec();
        self.gather.step(Step::Enter { name, meta })
    }
}

/// What this program made for itself, and what a database's own source has.
fn is_passed_over(name: &OsStr, is_directory: bool, in_database: bool) -> bool {
    match is_directory {
        true => scratch::is_ours(name.as_bytes()),
        false => in_database && name.to_str().and_then(FileName::parse).is_some(),
    }
}
