//! Finds the captured database of each directory in a walk.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::WalkRoot;
use crate::leveldb::file_name::FileName;
use crate::report::OperationReport;
use crate::source::exclude_rules::WalkScope;
use crate::source::walk::detect_candidate;
use crate::source::{DetectedDirectory, HeldDirectory};

/// A database that could not be saved, and was reported.
pub struct UnsavedDatabase;

/// A database that was captured during the walk.
pub struct LateDatabase {
    /// Its number among the sources.
    pub number: u32,
    /// The directory that was captured.
    pub held: Option<HeldDirectory>,
}

/// Captures a database below a held directory during the walk; `None` if it failed and was reported.
pub type LateCaptureVisitor<'c> =
    &'c mut dyn FnMut(&HeldDirectory, &Path, &WalkScope) -> Option<LateDatabase>;

/// The databases by the directories they stand in.
pub struct DatabasesByDirectory<'c> {
    by_directory: HashMap<PathBuf, Option<u32>>,
    capture: LateCaptureVisitor<'c>,
    late: Vec<WalkRoot>,
    named_by_trees: BTreeSet<u32>,
    report: &'c OperationReport,
}

impl<'c> DatabasesByDirectory<'c> {
    /// Those that were captured, by their numbers, and those that could not be; `capture` takes what else is met.
    pub fn new(
        by_directory: HashMap<PathBuf, Option<u32>>,
        capture: LateCaptureVisitor<'c>,
        report: &'c OperationReport,
    ) -> Self {
        Self {
            by_directory,
            capture,
            late: Vec::new(),
            named_by_trees: BTreeSet::new(),
            report,
        }
    }

    /// The number of the database in this directory, if it is one, for a tree that names it. One that appeared behind the
    /// captures is captured now.
    pub fn database_number(
        &mut self,
        above: &HeldDirectory,
        directory: &Path,
        names: &[OsString],
        bounds: &WalkScope,
    ) -> Result<Option<u32>, UnsavedDatabase> {
        let number = self.find_or_capture(above, directory, names, bounds)?;
        self.named_by_trees.extend(number);
        Ok(number)
    }

    fn find_or_capture(
        &mut self,
        above: &HeldDirectory,
        directory: &Path,
        names: &[OsString],
        bounds: &WalkScope,
    ) -> Result<Option<u32>, UnsavedDatabase> {
        if let Some(known) = self.by_directory.get(directory) {
            return known.map(Some).ok_or(UnsavedDatabase);
        }
        if !names.iter().any(is_leveldb_name) {
            return Ok(None);
        }
        let found = above
            .descendant(directory)
            .and_then(|held| detect_candidate(&held));
        match found {
            Ok(DetectedDirectory::LevelDb(_)) => {}
            Ok(DetectedDirectory::Foreign(foreign)) => {
                self.report.notice(format!(
                    "{}: {foreign}, stored as files: no consistent copy while a program has it open",
                    directory.display()
                ));
                return Ok(None);
            }
            _ => {
                self.report_links(above, directory);
                return Ok(None);
            }
        }
        let captured = (self.capture)(above, directory, bounds);
        let number = captured.as_ref().map(|captured| captured.number);
        self.by_directory.insert(directory.to_owned(), number);
        let LateDatabase { number, held } = captured.ok_or(UnsavedDatabase)?;
        let directory = directory.to_owned();
        let bounds = bounds.clone();
        self.late.push(WalkRoot::Beside {
            number,
            directory,
            held,
            scope: bounds,
        });
        Ok(Some(number))
    }

    /// Numbers of the databases that trees name.
    pub fn named_by_trees(self) -> BTreeSet<u32> {
        self.named_by_trees
    }

    /// A database of which every file is a link is none here: what its files name lies elsewhere.
    fn report_links(&self, above: &HeldDirectory, directory: &Path) {
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
    pub fn take_late_roots(&mut self) -> Vec<WalkRoot> {
        std::mem::take(&mut self.late)
    }
}

fn is_leveldb_name(name: &OsString) -> bool {
    let name = name.to_str().and_then(FileName::parse);
    matches!(
        name,
        Some(FileName::Current | FileName::Manifest(_) | FileName::Table(..))
    )
}
