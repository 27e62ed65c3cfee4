//! What a walk knows of the databases that it meets.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Root;
use crate::leveldb::name::FileName;
use crate::report::Report;
use crate::source::rules::Bounds;
use crate::source::walk::candidate;
use crate::source::{Detected, HeldDirectory};

/// A database that is not in the snapshot; that is told already.
pub struct NotSaved;

/// Captures a database and gives its number among the sources; `None` if it could not, which is told.
pub type CaptureLate<'c> = &'c mut dyn FnMut(&Path, &Bounds) -> Option<u32>;

/// The databases by the directories they stand in.
pub struct Databases<'c> {
    by_directory: HashMap<PathBuf, Option<u32>>,
    capture: CaptureLate<'c>,
    late: Vec<Root>,
    named: BTreeSet<u32>,
    report: &'c Report,
}

impl<'c> Databases<'c> {
    /// Those that were captured, by their numbers, and those that could not be; `capture` takes what else is met.
    pub fn new(
        by_directory: HashMap<PathBuf, Option<u32>>,
        capture: CaptureLate<'c>,
        report: &'c Report,
    ) -> Self {
        Self {
            by_directory,
            capture,
            late: Vec::new(),
            named: BTreeSet::new(),
            report,
        }
    }

    /// The number of the database in this directory, if it is one, for a tree that names it. One that appeared behind the
    /// captures is captured now.
    pub fn number(
        &mut self,
        above: &HeldDirectory,
        directory: &Path,
        names: &[OsString],
        bounds: &Bounds,
    ) -> Result<Option<u32>, NotSaved> {
        let number = self.find(above, directory, names, bounds)?;
        self.named.extend(number);
        Ok(number)
    }

    fn find(
        &mut self,
        above: &HeldDirectory,
        directory: &Path,
        names: &[OsString],
        bounds: &Bounds,
    ) -> Result<Option<u32>, NotSaved> {
        if let Some(known) = self.by_directory.get(directory) {
            return known.map(Some).ok_or(NotSaved);
        }
        if !names.iter().any(hints) {
            return Ok(None);
        }
        let found = above.descendant(directory).and_then(|held| candidate(&held));
        match found {
            Ok(Detected::LevelDb(_)) => {}
            Ok(Detected::Foreign(foreign)) => {
                self.report.notice(format!(
                    "{}: {foreign}, stored as files: no consistent copy while a program has it open",
                    directory.display()
                ));
                return Ok(None);
            }
            _ => {
                self.tell_links(above, directory);
                return Ok(None);
            }
        }
        let number = (self.capture)(directory, bounds);
        self.by_directory.insert(directory.to_owned(), number);
        let number = number.ok_or(NotSaved)?;
        let directory = directory.to_owned();
        let bounds = bounds.clone();
        self.late.push(Root::Beside {
            number,
            directory,
            bounds,
        });
        Ok(Some(number))
    }

    /// Numbers of the databases that trees name.
    pub fn named_by_trees(self) -> BTreeSet<u32> {
        self.named
    }

    /// A database of which every file is a link is none here: what its files name lies elsewhere.
    fn tell_links(&self, above: &HeldDirectory, directory: &Path) {
        let current = above
            .descendant(directory)
            .ok()
            .and_then(|held| held.stat("CURRENT").ok());
        let is_link = |stat: &rustix::fs::Stat| {
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Symlink
        };
        if current.as_ref().is_some_and(is_link) {
            self.report.notice(format!(
                "{}: the files of a database are symbolic links here: saved as links, which are not followed",
                directory.display()
            ));
        }
    }

    /// Directories of databases that were not known when the walk began.
    pub fn found_late(&mut self) -> Vec<Root> {
        std::mem::take(&mut self.late)
    }
}

fn hints(name: &OsString) -> bool {
    let name = name.to_str().and_then(FileName::parse);
    matches!(
        name,
        Some(FileName::Current | FileName::Manifest(_) | FileName::Table(..))
    )
}
