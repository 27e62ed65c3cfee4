//! Write-only hosts: they back up, and the owner restores; what somebody can do who has taken a credential, and what not.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod bounds;
mod crash;
mod forged;
mod increments;
mod pruned;
mod road;
mod tool;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use levault::id::DomainId;
use levault::keys::{Credential, Password, SealedCredential, SlotCost};
use levault::ops::backup::{Backup, BackupOutcome};
use levault::ops::check::{Check, CheckOutcome, ReadData};
use levault::repo::{CacheLocation, Repo, RepoSettings, WriteOnlyRepo};
use levault::report::OperationReport;
use levault::storage::{MemoryStorage, ObjectKind, ObjectName, Storage};

/// An owner's repository, hosts, and a directory for databases and caches.
struct Scene {
    dir: tempfile::TempDir,
    storage: Arc<MemoryStorage>,
    owner: Repo,
}

impl Scene {
    fn new() -> Self {
        let storage = Arc::new(MemoryStorage::default());
        let owner = common::create(storage.clone()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        Self { dir, storage, owner }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new host, with a cache of its own.
    fn host(&mut self, label: &str) -> WriteOnlyRepo {
        let domain = self.owner.add_host(label).unwrap();
        self.owner = common::open(self.storage.clone()).unwrap();
        self.open_host(domain, label)
    }

    fn open_host(&self, domain: DomainId, label: &str) -> WriteOnlyRepo {
        let settings = RepoSettings {
            cache: CacheLocation::Directory(self.path(&format!("cache-{label}"))),
            ..common::settings()
        };
        WriteOnlyRepo::open(self.storage.clone(), self.credential(domain), settings).unwrap()
    }

    /// As its file gives it.
    fn credential(&self, domain: DomainId) -> Credential {
        let password = Password::new(b"the file's".to_vec());
        let bytes = self
            .owner
            .credential(domain, &password, SlotCost::cheap())
            .unwrap();
        SealedCredential::decode(&bytes)
            .unwrap()
            .unlock(&password)
            .unwrap()
    }

    fn check(&self) -> CheckOutcome {
        let check = Check { read: ReadData::All };
        check.run(&self.owner, &OperationReport::default()).unwrap()
    }

    fn check_finds_nothing(&self) {
        let checked = self.check();
        assert!(checked.findings.is_empty(), "{:?}", checked.findings);
    }

    /// Puts an object where its content belongs: what anybody can do who may write.
    fn put(&self, kind: ObjectKind, bytes: &[u8]) -> ObjectName {
        let name = ObjectName::of_content(kind, bytes);
        self.storage.put_new(name, bytes).unwrap();
        name
    }

    fn objects(&self, kind: ObjectKind) -> Vec<(ObjectName, Vec<u8>)> {
        let listed = self.storage.list(kind).unwrap().into_iter();
        listed
            .map(|listed| (listed.name, self.storage.get(listed.name, u64::MAX).unwrap()))
            .collect()
    }
}

fn backup(host: &WriteOnlyRepo, db: &Path) -> BackupOutcome {
    Backup::new(vec![db.to_path_buf()])
        .run_as_host(host, &OperationReport::default())
        .unwrap()
}

/// The records of the snapshot that a backup made, by the owner.
fn records(owner: &Repo, outcome: &BackupOutcome) -> common::Model {
    common::records(owner, &outcome.snapshot.unwrap().to_hex()).unwrap()
}
