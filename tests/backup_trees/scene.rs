//! A directory with files and databases, and a repository in memory on a clock that is turned by hand.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use levault::clock::{ManualClock, UnixNanos};
use levault::ops::backup::{Backup, BackupOutcome, PinMode};
use levault::ops::check::{Check, ReadData};
use levault::ops::prune::{Prune, PruneOutcome};
use levault::repo::Repo;
use levault::report::OperationReport;
use levault::storage::{MemoryStorage, Storage};

use crate::common;
use crate::seen::{latest, on_disk, things, trees};

pub struct Scene {
    pub dir: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub storage: Arc<MemoryStorage>,
    pub repo: Repo,
    pub report: OperationReport,
}

impl Scene {
    /// By the machine's clock.
    pub fn new() -> Self {
        let scene = Self::on_clock();
        Self {
            repo: common::open(scene.storage.clone()).unwrap(),
            ..scene
        }
    }

    /// By a clock that stands still.
    pub fn on_clock() -> Self {
        let clock = Arc::new(ManualClock::new(UnixNanos(1_700_000_000_000_000_000)));
        let storage = Arc::new(MemoryStorage::with_clock(clock.clone()));
        Self {
            dir: tempfile::tempdir().unwrap(),
            repo: common::create(storage.clone()).unwrap().with_clock(clock.clone()),
            clock,
            storage,
            report: OperationReport::default(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub fn database(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        common::fill(&path, 50, 20);
        path
    }

    /// Until times of change are past that a write now could have, too.
    pub fn rest() {
        std::thread::sleep(std::time::Duration::from_millis(80));
    }

    pub fn backup(&self, names: &[&str]) -> BackupOutcome {
        self.try_backup(names).unwrap()
    }

    pub fn try_backup(&self, names: &[&str]) -> levault::error::Result<BackupOutcome> {
        let paths = names.iter().map(|name| self.path(name)).collect();
        Backup::new(paths).run(&self.repo, &self.report)
    }

    /// Of `home`, in another way.
    pub fn backup_with(&self, how: impl FnOnce(&mut Backup)) -> BackupOutcome {
        self.backup_over(self.storage.clone(), how)
    }

    pub fn backup_over(&self, storage: Arc<dyn Storage>, how: impl FnOnce(&mut Backup)) -> BackupOutcome {
        let mut backup = Backup::new(vec![self.path("home")]);
        backup.databases.pinning = PinMode::None;
        how(&mut backup);
        backup
            .run(&self.repo.with_storage(storage), &OperationReport::default())
            .unwrap()
    }

    pub fn has_no_problem(&self) {
        assert_eq!(self.report.problems(), [""; 0]);
    }

    /// The newest snapshot has the only tree as it is.
    pub fn is_right(&self, name: &str) {
        let snapshot = latest(&self.repo);
        let stored = things(&self.repo, &trees(&snapshot)[0].root);
        assert!(
            stored == on_disk(&self.path(name)),
            "what is stored is not what is there"
        );
    }

    pub fn is_sound(&self) {
        let check = Check { read: ReadData::All };
        let findings = check
            .run(&self.repo, &OperationReport::default())
            .unwrap()
            .findings;
        assert!(findings.is_empty(), "{findings:?}");
    }

    pub fn prune(&self) -> PruneOutcome {
        Prune::default()
            .run(&self.repo, &OperationReport::default())
            .unwrap()
    }

    pub fn hours_pass(&self, hours: i64) {
        self.clock.advance(hours * 3600 * 1_000_000_000);
    }
}
