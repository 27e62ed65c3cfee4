//! Goal: what another writer does otherwise is never called damage, and never lost: its database comes back as records,
//! or byte for byte as files, or is refused by name. What is damaged is still reported.
//! docs/WRITERS.md lists the writers.

mod forks;
mod sizes;
mod unknown;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Backup, BackupOutcome, DatabaseStorageMode};
use crate::error::Result;
use crate::keys::{Password, SlotCost};
use crate::ops::restore::Restore;
use crate::repo::{NewRepository, Repo, RepoSettings};
use crate::report::OperationReport;
use crate::storage::MemoryStorage;

/// Every file below a directory, by its path; a directory has no bytes.
type FilesByPath = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// A repository, and a directory for databases and what comes back.
struct DialectBench {
    repo: Repo,
    dir: tempfile::TempDir,
}

/// What a backup said, and what a restore of it brought.
struct BackupRoundTrip {
    outcome: BackupOutcome,
    notices: Vec<String>,
    problems: Vec<String>,
    restored: PathBuf,
}

impl DialectBench {
    fn new() -> Self {
        let new = NewRepository {
            cost: SlotCost::cheap(),
            ..NewRepository::default()
        };
        let password = Password::new(b"password".to_vec());
        let storage = Arc::new(MemoryStorage::default());
        Self {
            repo: Repo::create(storage, &password, new, RepoSettings::default()).unwrap(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// A directory that is made, for a database.
    fn directory(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn backup(&self, path: &Path) -> Result<(BackupOutcome, OperationReport)> {
        let report = OperationReport::default();
        let outcome = Backup::new(vec![path.to_owned()]).run(&self.repo, &report)?;
        Ok((outcome, report))
    }

    /// There and back.
    fn back_up_and_restore(&self, path: &Path) -> BackupRoundTrip {
        let (outcome, report) = self.backup(path).unwrap();
        let stored = self.repo.select(&outcome.snapshot.unwrap().to_hex()).unwrap();
        let restored = self.dir.path().join(format!("back-{}", stored.id.to_hex()));
        Restore::new(&restored)
            .run(&self.repo, &stored, &OperationReport::default())
            .unwrap();
        BackupRoundTrip {
            outcome,
            notices: report.notices(),
            problems: report.problems(),
            restored,
        }
    }
}

impl BackupRoundTrip {
    /// Why its one database is kept as files, if it is.
    fn as_files(&self) -> Option<&str> {
        match &self.outcome.databases[0].stored {
            DatabaseStorageMode::Files { why } => Some(why),
            DatabaseStorageMode::Records => None,
        }
    }

    fn damaged_files(&self) -> Vec<&str> {
        let damage = self
            .outcome
            .databases
            .iter()
            .flat_map(|database| &database.damage);
        damage.map(|damage| damage.file.as_str()).collect()
    }

    /// Sound, whole, and kept as files for a reason that has this word.
    fn assert_kept_as_files(&self, path: &Path, word: &str) {
        let why = self.as_files().expect("it is not kept as files");
        assert!(why.contains(word), "{why:?} does not say {word:?}");
        assert!(
            self.notices.iter().any(|notice| notice.contains(word)),
            "{:?}",
            self.notices
        );
        assert_eq!(
            (self.damaged_files(), self.problems.as_slice()),
            (vec![], &[][..])
        );
        assert_eq!(tree(&self.restored), tree(path));
    }
}

/// What stands below a directory, but for what is ours and the lock.
fn tree(root: &Path) -> FilesByPath {
    let mut tree = FilesByPath::new();
    for entry in walkdir::WalkDir::new(root).min_depth(1) {
        let entry = entry.unwrap();
        let name = entry.path().strip_prefix(root).unwrap();
        if name.to_string_lossy().starts_with('.') || name == Path::new("LOCK") {
            continue;
        }
        let bytes = entry
            .file_type()
            .is_file()
            .then(|| std::fs::read(entry.path()).unwrap());
        tree.insert(name.to_owned(), bytes);
    }
    tree
}
