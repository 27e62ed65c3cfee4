//! Refuses restores that would delete or overwrite too much.
//!
//! One wrong argument must not cost what the snapshot does not have: the repository itself, a whole machine, a home
//! directory, another disk.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::restore_database::DatabaseRestore;
use super::restore_selection::{RestoreSelection, RestoredDirectory};
use super::{ExtraEntries, Restore, RestoreContext};
use crate::error::{Error, ErrorKind, Result};
use crate::repo::{CacheLocation, Repo};
use crate::target::{ForbiddenPaths, PathProtection, is_mount_point};

/// How far what the snapshot does not have may be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteReach {
    /// From a directory that is neither the root, nor a mount point, nor one of these home directories, unless patterns
    /// limit what is restored; a home directory or a mount point also if it is restored to where it was saved.
    Ordinary {
        /// Home directories.
        homes: Vec<PathBuf>,
    },
    /// From any directory.
    Anywhere,
}

impl Default for DeleteReach {
    fn default() -> Self {
        Self::Ordinary { homes: Vec::new() }
    }
}

impl Restore {
    /// What must stay untouched: what the caller says, the repository, and its cache.
    pub(super) fn all_forbidden(&self, repo: &Repo) -> ForbiddenPaths {
        let mut forbidden = self.forbidden.clone();
        if let Some(directory) = repo.storage_reader().directory() {
            forbidden.add("the repository", &directory, PathProtection::Untouched);
        }
        if let CacheLocation::Directory(directory) = &repo.settings().cache {
            forbidden.add("the cache", directory, PathProtection::Untouched);
        }
        forbidden
    }
}

impl RestoreContext<'_> {
    /// What was asked for, if nothing is written over or emptied by it that was hardly meant.
    pub(super) fn checked_selection(&self) -> Result<RestoreSelection<'_>> {
        self.forbidden.refuse_target(&self.options.target)?;
        let what = self.resolve_selection()?;
        match &what {
            RestoreSelection::Databases(steps) => {
                steps.iter().try_for_each(|step| self.guard_database(step))?
            }
            RestoreSelection::Trees { directories, .. } => directories
                .iter()
                .try_for_each(|directory| self.guard_directory(directory))?,
        }
        Ok(what)
    }

    /// Refuses to empty a directory that was hardly meant.
    fn guard_directory(&self, pair: &RestoredDirectory) -> Result<()> {
        self.forbidden.refuse_target(&pair.target)?;
        if self.options.extra_entries != ExtraEntries::Delete || self.has_patterns() {
            return Ok(());
        }
        self.forbidden.refuse_to_empty(&pair.target)?;
        let DeleteReach::Ordinary { homes } = &self.options.delete_reach else {
            return Ok(());
        };
        let Ok(real) = pair.target.canonicalize() else {
            return Ok(());
        };
        if real == Path::new("/") {
            return Err(delete_refusal(&pair.target, "the root of the filesystem"));
        }
        let is_home = homes
            .iter()
            .any(|home| home.canonicalize().is_ok_and(|home| home == real));
        let is_in_its_place = real.as_os_str().as_bytes() == pair.saved;
        match (is_in_its_place, is_home) {
            (true, _) => Ok(()),
            (false, true) => Err(delete_refusal(&pair.target, "a home directory")),
            (false, false) if is_mount_point(&real) => Err(delete_refusal(&pair.target, "a mount point")),
            (false, false) => Ok(()),
        }
    }

    /// A database's directory is replaced as a whole, with what lies in it.
    fn guard_database(&self, step: &DatabaseRestore) -> Result<()> {
        self.forbidden.refuse_to_empty(&step.target)?;
        self.guard_directory(&RestoredDirectory {
            saved: step.root.path.clone(),
            target: step.target.clone(),
        })
    }
}

fn delete_refusal(target: &Path, what: &str) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!(
            "{} is {what}: --delete would remove from it all that the snapshot does not have; limit it by --include or \
             --exclude, or say --unsafe-allow-delete",
            target.display()
        ),
    )
}
