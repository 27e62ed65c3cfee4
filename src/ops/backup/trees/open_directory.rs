//! Lists a directory in order, reading metadata ahead.
//!
//! A directory that is being walked: its names in order, looked at a little ahead by several threads.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rayon::ThreadPool;
use rayon::prelude::*;

use super::exclude_filter::ExcludeFilter;
use super::parent_files::ParentEntries;
use crate::error::{ErrorKind, Result};
use crate::leveldb::file_name::FileName;
use crate::report::OperationReport;
use crate::scratch_directory;
use crate::snapshot::TreeEntry;
use crate::source::walk::{WalkedEntry, is_levault_directory, read_details, read_stat};
use crate::source::{HeldDirectory, TouchedDirectories};

/// So many names are looked at together.
const SCAN_AHEAD_MAX: usize = 256;

/// Fewer are not worth waking threads for.
const PARALLEL_SCAN_MIN: usize = 8;

/// Who looks.
#[derive(Clone, Copy)]
pub struct EntryScanners<'a> {
    pub threads: &'a ThreadPool,
    /// What this backup did to the times of directories.
    pub touched: &'a TouchedDirectories,
    pub report: &'a OperationReport,
}

pub struct OpenDirectory<'a> {
    directory: PathBuf,
    names: Vec<OsString>,
    /// The first name that nobody has looked at.
    next: usize,
    scanned: VecDeque<ScannedEntry>,
    /// It is a database's own: what belongs to the database is passed over.
    pub is_database: bool,
    parent_entries: Option<ParentEntries<'a>>,
}

/// Something in a directory.
pub struct ScannedEntry {
    pub path: PathBuf,
    pub walked: WalkedEntry,
    /// What the snapshot before has under this name.
    pub parent_entry: Option<TreeEntry>,
    /// Where its name stands among the directory's.
    name_index: usize,
}

impl ScannedEntry {
    pub fn name(&self) -> &OsStr {
        // The root itself has a name of its own, which is never asked for here.
        self.path.file_name().unwrap_or_default()
    }
}

impl<'a> OpenDirectory<'a> {
    /// The names of a directory, in byte order.
    pub fn new(
        directory: PathBuf,
        names: Vec<OsString>,
        is_database: bool,
        parent_entries: Option<ParentEntries<'a>>,
    ) -> Self {
        Self {
            directory,
            names,
            next: 0,
            scanned: VecDeque::new(),
            is_database,
            parent_entries,
        }
    }

    /// The next thing that is there and taken.
    pub fn next(
        &mut self,
        ground: &HeldDirectory,
        sieve: &mut ExcludeFilter,
        looking: EntryScanners,
    ) -> Option<ScannedEntry> {
        while self.scanned.is_empty() && self.next < self.names.len() {
            self.scan_ahead(ground, sieve, looking);
        }
        let mut found = self.scanned.pop_front()?;
        let before = self.parent_entries.as_mut();
        found.parent_entry =
            before.and_then(|before| before.find_entry(self.names[found.name_index].as_bytes()));
        Some(found)
    }

    /// The names behind one that was given.
    pub fn names_after(&self, found: &ScannedEntry) -> &[OsString] {
        self.names.get(found.name_index + 1..).unwrap_or_default()
    }

    /// What is left out is not looked at closely: nobody needs to be able to read it.
    fn scan_ahead(&mut self, ground: &HeldDirectory, sieve: &mut ExcludeFilter, looking: EntryScanners) {
        let places: Vec<_> = (self.next..self.names.len()).take(SCAN_AHEAD_MAX).collect();
        self.next += places.len();
        // Held for these names only: a process may not have a descriptor for each of many levels.
        let held = match ground.descendant(&self.directory) {
            Ok(held) => held,
            // What belongs to the database is captured.
            Err(error) if error.kind() == ErrorKind::NotFound && self.is_database => return,
            Err(error) => return looking.report.problem_at(&self.directory, error.to_string()),
        };
        let path = |place: usize| (place, self.directory.join(&self.names[place]));
        let paths: Vec<_> = places.into_iter().map(path).collect();
        let seen = looking.map_parallel(paths, |(place, path)| {
            let facts = read_stat(&held, &self.names[place]);
            (place, path, facts)
        });
        let mut taken = Vec::new();
        for (place, path, facts) in seen {
            match facts {
                Ok(facts) if self.includes(&held, &path, &self.names[place], &facts, sieve) => {
                    taken.push((place, path, facts));
                }
                Ok(_) => {}
                // The owner deletes what it needs no more; what belongs to the database is captured.
                Err(error)
                    if error.kind() == ErrorKind::NotFound && self.is_database_file(&self.names[place]) => {}
                Err(error) => looking.report.problem_at(&path, error.to_string()),
            }
        }
        let looked = looking.map_parallel(taken, |(place, path, facts)| {
            looking
                .scan_entry(&held, &self.names[place], place, path.clone(), &facts)
                .map_err(|error| (path, error))
        });
        for found in looked {
            match found {
                Ok(found) => self.scanned.push_back(found),
                Err((path, error)) => looking.report.problem_at(&path, error.to_string()),
            }
        }
    }

    /// True for a file of the database whose directory this is.
    fn is_database_file(&self, name: &OsStr) -> bool {
        self.is_database && name.to_str().and_then(FileName::parse).is_some()
    }

    /// Not what this program made for itself, nor what a database's own source has.
    fn includes(
        &self,
        held: &HeldDirectory,
        path: &Path,
        name: &OsStr,
        facts: &Metadata,
        sieve: &mut ExcludeFilter,
    ) -> bool {
        let is_passed_over = if facts.is_dir() {
            scratch_directory::is_scratch_name(name.as_bytes())
                && held
                    .child(name)
                    .is_ok_and(|directory| is_levault_directory(&directory))
        } else {
            self.is_database_file(name)
        };
        !is_passed_over && sieve.includes(path, facts)
    }
}

impl EntryScanners<'_> {
    /// Looks closely at what has these facts.
    pub fn scan_entry(
        &self,
        held: &HeldDirectory,
        name: &OsStr,
        place: usize,
        path: PathBuf,
        facts: &Metadata,
    ) -> Result<ScannedEntry> {
        let mut looked = read_details(held, name, facts, self.report)?;
        self.touched.restore_mtime(facts, &mut looked.meta);
        Ok(ScannedEntry {
            walked: looked,
            path,
            parent_entry: None,
            name_index: place,
        })
    }

    /// In order.
    fn map_parallel<T: Send, U: Send>(&self, all: Vec<T>, each: impl Fn(T) -> U + Sync + Send) -> Vec<U> {
        match all.len() {
            0..=PARALLEL_SCAN_MIN => all.into_iter().map(each).collect(),
            _ => self.threads.install(|| all.into_par_iter().map(each).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rayon::ThreadPoolBuilder;

    use super::*;

    fn problems(is_database: bool, gone: &[&str]) -> Vec<String> {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("kept"), "x").unwrap();
        let mut names: Vec<OsString> = gone.iter().map(OsString::from).collect();
        names.push("kept".into());
        names.sort();
        let (threads, report) = (
            ThreadPoolBuilder::new().build().unwrap(),
            OperationReport::default(),
        );
        let looking = EntryScanners {
            threads: &threads,
            touched: &TouchedDirectories::default(),
            report: &report,
        };
        let mut level = OpenDirectory::new(place.path().to_owned(), names, is_database, None);
        let (mut sieve, ground) = (
            ExcludeFilter::default(),
            HeldDirectory::open_path(place.path()).unwrap(),
        );
        let found = level.next(&ground, &mut sieve, looking).unwrap();
        assert_eq!(found.name(), "kept");
        assert!(level.next(&ground, &mut sieve, looking).is_none());
        report.problems()
    }

    #[test]
    fn what_a_databases_owner_deletes_between_listing_and_look_is_no_problem() {
        let of_a_database = [
            "000007.log",
            "000008.ldb",
            "000009.sst",
            "MANIFEST-000004",
            "LOG.old",
            "000010.dbtmp",
            "CURRENT.bak",
            "CURRENT",
        ];
        assert_eq!(problems(true, &of_a_database), [""; 0]);
        assert_eq!(
            problems(true, &["notes.txt"]).len(),
            1,
            "what else vanishes is told"
        );
        assert_eq!(problems(false, &["000007.log"]).len(), 1);
    }
}
