//! Captures the planned databases, one right after the other.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ATTEMPTS_MAX;
use super::backup_attempt::BackupAttempt;
use super::trees::{BackupPlan, PlannedDatabaseBackup};
use crate::error::{Error, ErrorKind, Result};
use crate::report::OperationReport;
use crate::snapshot::FileMetadata;
use crate::source::walk::read_entry;
use crate::source::{
    CaptureOptions, CapturedFiles, DatabasePins, HeldDirectory, HoldMethod, database_file_metadata_in,
    wait_until_settled,
};

/// What became of a capture.
pub struct CaptureResult {
    /// The database's directory; `None` if it could not be opened.
    pub held: Option<HeldDirectory>,
    pub captured: Result<CapturedFiles>,
}

impl CaptureResult {
    /// The directory that was captured.
    pub fn directory(&self) -> Option<HeldDirectory> {
        match &self.captured {
            Ok(captured) => Some(captured.directory().clone()),
            Err(_) => self.held.clone(),
        }
    }
}

/// Databases whose files were changed under their reading, and how often: one that stands in the way of all others is left
/// out of the last attempt, unless it was asked for.
#[derive(Default)]
pub struct UnsteadyDatabases(RefCell<HashMap<PathBuf, u32>>);

impl UnsteadyDatabases {
    pub fn note_change(&self, path: &Path) {
        *self.0.borrow_mut().entry(path.to_owned()).or_default() += 1;
    }

    pub fn is_unsteady(&self, path: &Path) -> bool {
        self.0
            .borrow()
            .get(path)
            .is_some_and(|times| times + 1 >= ATTEMPTS_MAX)
    }
}

/// A database at one moment.
pub struct CapturedDatabase {
    pub found: PlannedDatabaseBackup,
    /// Its directory; `None` if it could not be opened.
    pub held: Option<HeldDirectory>,
    /// Where its list of files cannot be read, it is saved as files.
    pub captured: Result<CapturedFiles>,
    /// What a restore gives back to its directory.
    pub directory: Option<FileMetadata>,
    /// What a restore gives the files in it.
    pub files: Option<FileMetadata>,
}

impl CapturedDatabase {
    pub fn of(found: PlannedDatabaseBackup, taken: CaptureResult, report: &OperationReport) -> Self {
        let CaptureResult { held, captured } = taken;
        let directory = held
            .as_ref()
            .and_then(|held| read_directory_metadata(&found, held, report));
        Self {
            files: held.as_ref().and_then(database_file_metadata_in),
            found,
            held,
            captured,
            directory,
        }
    }
}

/// All captures.
#[derive(Default)]
pub struct CapturedDatabases {
    /// By their numbers among the sources.
    pub captured: Vec<CapturedDatabase>,
    /// The number of the database in each directory; `None` if it could not be captured.
    pub by_directory: HashMap<PathBuf, Option<u32>>,
}

impl CapturedDatabases {
    /// The directory that was captured under this number.
    pub fn captured_directory(&self, number: Option<u32>) -> Option<HeldDirectory> {
        let taken = self.captured.get(number? as usize)?;
        match &taken.captured {
            Ok(captured) => Some(captured.directory().clone()),
            Err(_) => taken.held.clone(),
        }
    }
}

impl BackupAttempt<'_> {
    /// All captures, one right after the other, and which number among the sources each database has.
    pub fn capture_all(
        &self,
        plan: &BackupPlan,
        pins: Vec<Option<Arc<DatabasePins>>>,
    ) -> Result<CapturedDatabases> {
        let mut cuts = CapturedDatabases::default();
        let taken = self.capture_planned(plan, pins)?;
        for (found, mut taken) in plan.databases.iter().zip(taken) {
            if !found.is_requested && self.unsteady.is_unsteady(&found.path) {
                taken.captured = Err(Error::new(
                    ErrorKind::Changed,
                    "its files changed under every reading",
                ));
            }
            let number = if report_unsaved(found, &taken.captured, self.report) {
                None
            } else {
                cuts.captured
                    .push(CapturedDatabase::of(found.clone(), taken, self.report));
                u32::try_from(cuts.captured.len() - 1).ok()
            };
            cuts.by_directory.insert(found.path.clone(), number);
        }
        Ok(cuts)
    }

    /// All cuts, back to back in the order of the paths. A database whose list of files cannot be read is no reason
    /// to lose the others, nor is one that was not asked for by its path; what makes a whole backup senseless is.
    fn capture_planned(
        &self,
        plan: &BackupPlan,
        pins: Vec<Option<Arc<DatabasePins>>>,
    ) -> Result<Vec<CaptureResult>> {
        let take = |(found, pins): (&PlannedDatabaseBackup, Option<Arc<DatabasePins>>)| {
            let taken = self.capture_one(found, pins);
            match taken.captured {
                Err(error) if found.is_requested && error.kind() != ErrorKind::Corrupt => Err(error),
                _ => Ok(taken),
            }
        };
        plan.databases.iter().zip(pins).map(take).collect()
    }

    /// The directory is held from now on: by now a hook may have mounted another there.
    pub fn capture_one(
        &self,
        found: &PlannedDatabaseBackup,
        pins: Option<Arc<DatabasePins>>,
    ) -> CaptureResult {
        let captured = self.capture_held(found, pins);
        let held = match &captured {
            Ok(captured) => Some(captured.directory().clone()),
            Err(_) => found.open_held().ok(),
        };
        CaptureResult { held, captured }
    }

    fn capture_held(
        &self,
        found: &PlannedDatabaseBackup,
        pins: Option<Arc<DatabasePins>>,
    ) -> Result<CapturedFiles> {
        let mut capture = CaptureOptions {
            // Where there are no pins nothing need be made beside the database.
            hold: HoldMethod::Descriptors,
            touched: found.touched.clone(),
            ..CaptureOptions::default()
        };
        capture.timeout = self.options.databases.patience.unwrap_or(capture.timeout);
        capture.pins = pins;
        wait_until_settled(&found.path);
        capture.capture_held_by(&|| found.open_held())
    }
}

/// True, and told, if a database cannot be saved and is no reason to lose the rest. One whose list of files cannot be
/// read is saved as files.
pub fn report_unsaved(
    found: &PlannedDatabaseBackup,
    captured: &Result<CapturedFiles>,
    report: &OperationReport,
) -> bool {
    match captured {
        Err(error) if !found.is_requested && error.kind() != ErrorKind::Corrupt => {
            report.problem_at(&found.path, format!("{}: not saved: {error}", found.name));
            true
        }
        _ => false,
    }
}

/// What a restore gives back to a database's directory; `None` if it is gone by now.
fn read_directory_metadata(
    found: &PlannedDatabaseBackup,
    held: &HeldDirectory,
    report: &OperationReport,
) -> Option<FileMetadata> {
    let mut meta = read_entry(held, held.path(), report).ok()?.meta;
    let facts = held.open().ok()?.metadata().ok()?;
    found.touched.restore_mtime(&facts, &mut meta);
    // Another directory at this path, one day, is another database.
    meta.inode = Some(facts.ino());
    Some(meta)
}
