//! A repository in memory, a directory to back up, and a place to restore to.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use levault::error::Result;
use levault::ops::backup::{Backup, PinMode};
use levault::ops::restore::{OverwriteMode, Restore, RestoreOutcome};
use levault::repo::Repo;
use levault::report::OperationReport;
use levault::storage::MemoryStorage;
use tempfile::TempDir;

use super::{common, support};

pub struct Scene {
    pub dir: TempDir,
    pub repo: Repo,
    pub report: OperationReport,
}

impl Scene {
    pub fn new() -> Self {
        Self {
            dir: support::memory(),
            repo: common::create(Arc::new(MemoryStorage::default())).unwrap(),
            report: OperationReport::default(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where restores go.
    pub fn target(&self) -> PathBuf {
        self.path("target")
    }

    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub fn database(&self, name: &str) -> common::Model {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        common::fill(&path, 50, 20)
    }

    pub fn backup(&self, names: &[&str]) {
        let paths = names.iter().map(|name| self.path(name)).collect();
        let backup = Backup {
            databases: levault::ops::backup::DatabaseBackupOptions {
                pinning: PinMode::None,
                ..Default::default()
            },
            ..Backup::new(paths)
        };
        backup.run(&self.repo, &OperationReport::default()).unwrap();
    }

    /// The newest snapshot to the target.
    pub fn restore(&self) -> RestoreOutcome {
        self.try_restore(|_| ()).unwrap()
    }

    /// The same over what stands there.
    pub fn restore_over(&self, overwrite: OverwriteMode) -> RestoreOutcome {
        self.try_restore(|restore| restore.overwrite = overwrite).unwrap()
    }

    pub fn try_restore(&self, change: impl FnOnce(&mut Restore)) -> Result<RestoreOutcome> {
        let mut restore = Restore::new(self.target());
        change(&mut restore);
        let stored = self.repo.select("latest").unwrap();
        restore.run(&self.repo, &stored, &self.report)
    }

    #[track_caller]
    pub fn has_no_problem(&self) {
        assert_eq!(self.report.problems(), [""; 0]);
    }

    /// Names in a directory, sorted.
    pub fn names(&self, directory: &str) -> Vec<String> {
        names(&self.path(directory))
    }
}

pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Bytes that look random.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}
