//! Decides what becomes of an existing target.
//!
//! Something stands where it is restored to: what becomes of it.

use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::repo::{BlobReader, Repo};
use crate::report::OperationReport;
use crate::snapshot::{DatabaseContent, DatabaseRoot};
use crate::source::detect_database::{DetectedDirectory, detect};
use crate::target::{self, OccupiedTarget};

use super::Restore;
use super::verify_database::{self, DatabaseComparison, ExpectedDatabase};

/// What becomes of what stands where something is restored to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverwriteMode {
    /// The restore is refused.
    #[default]
    Refuse,
    /// In a tree it is left as it is, and what is missing is restored. A database that was asked for by itself is
    /// refused.
    Never,
    /// It is left as it is unless it is older: a file by its time of modification, a database by the newest of its files
    /// and the moment it was saved.
    IfNewer,
    /// It is left as it is if it reads back as what would be restored. Else a file is replaced; of a database what differs
    /// is written above its own tables, or all of it where that is better, and a damaged one is refused.
    IfChanged,
    /// It is replaced.
    Always,
}

/// What else lies in the directory of a database that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherFilesPolicy {
    /// There may be nothing: it would be lost, for the snapshot knows nothing of the kind.
    Refuse,
    /// It comes along.
    Keep,
}

impl Restore {
    /// Of databases that were asked for by themselves.
    pub(super) fn check_target(&self) -> Result<()> {
        match self.overwrite {
            OverwriteMode::Refuse | OverwriteMode::Never => target::check_target_free(&self.target),
            OverwriteMode::IfNewer | OverwriteMode::IfChanged | OverwriteMode::Always => Ok(()),
        }
    }

    /// What makes no sense whatever the snapshot holds.
    pub(super) fn check_options(&self) -> Result<()> {
        let is_part = !self.selection.is_all();
        match self.overwrite {
            OverwriteMode::IfChanged | OverwriteMode::IfNewer if is_part => Err(Error::new(
                ErrorKind::Usage,
                "only a whole database can be compared with what is there",
            )),
            OverwriteMode::Refuse if self.extra_entries == super::ExtraEntries::Delete => Err(Error::new(
                ErrorKind::Usage,
                "--delete is for a target that may be overwritten; say how by --overwrite",
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn occupied_target(&self, others: OtherFilesPolicy) -> OccupiedTarget {
        match (self.overwrite, others) {
            (OverwriteMode::Refuse | OverwriteMode::Never, _) => OccupiedTarget::Refuse,
            (_, OtherFilesPolicy::Refuse) => OccupiedTarget::Replace,
            (_, OtherFilesPolicy::Keep) => OccupiedTarget::ReplaceAndKeep,
        }
    }

    /// True if a database that stands there may be what would be restored.
    pub(super) fn compares_existing(&self) -> bool {
        matches!(self.overwrite, OverwriteMode::IfChanged | OverwriteMode::IfNewer)
    }

    /// Whether what stands at the target is what would be restored.
    pub(super) fn matches_existing(
        &self,
        repo: &Repo,
        reader: &BlobReader,
        database: &DatabaseRoot,
        target: &Path,
        report: &OperationReport,
    ) -> Result<bool> {
        if !self.compares_existing() || !target.join("CURRENT").exists() {
            return Ok(false);
        }
        let held = target::open_target_directory(target)?;
        let _closed = target::lock_database_in(&held)?;
        let compared = match &database.content {
            DatabaseContent::Physical { .. } => return Ok(false),
            DatabaseContent::Logical { .. } => {
                let expected = ExpectedDatabase::from_snapshot(repo, reader, database, self.with_uncertain)?;
                verify_database::compare(repo, &expected, &held, report)
            }
        };
        match compared.context(|| format!("read {}", target.display()))? {
            DatabaseComparison::Same => Ok(true),
            DatabaseComparison::Other(_) => Ok(false),
            DatabaseComparison::Damaged(what) => Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "{} is damaged ({what}) and cannot be compared; replace it with --overwrite always",
                    target.display()
                ),
            )),
        }
    }
}

/// True if some file of the database at `target` was changed after the moment that is to be restored.
pub fn is_target_newer(database: &DatabaseRoot, target: &Path) -> Result<bool> {
    let doing = || format!("look at {}", target.display());
    let saved = database.capture.time.0;
    let entries = match std::fs::read_dir(target) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        entries => entries.context(doing)?,
    };
    for entry in entries {
        let changed = entry
            .and_then(|entry| entry.metadata()?.modified())
            .context(doing)?;
        let since = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
        if i64::try_from(since.as_nanos()).unwrap_or(i64::MAX) > saved {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What lies beside a LevelDB comes along when it is replaced; the files of a RocksDB or a fork would be taken for that.
pub fn refuse_foreign(target: &Path) -> Result<()> {
    match target.is_dir().then(|| detect(target)).transpose()? {
        Some(DetectedDirectory::Foreign(foreign)) => Err(Error::new(
            ErrorKind::Exists,
            format!("{} holds {foreign}", target.display()),
        )),
        _ => Ok(()),
    }
}
