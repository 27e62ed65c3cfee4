//! A small repository to be damaged.

use std::path::PathBuf;
use std::sync::Arc;

use levault::blob::BlobKind;
use levault::error::Result;
use levault::id::{BlobId, ObjectId};
use levault::ops::backup::{Backup, PinMode};
use levault::ops::check::{Check, CheckFinding, ReadData};
use levault::repo::{BlobReader, Repo};
use levault::report::OperationReport;
use levault::run::RunReader;
use levault::snapshot::{DatabaseRoot, StoredRunRef};
use levault::storage::{MemoryStorage, ObjectKind, ObjectName, Storage};

use crate::common;

/// A repository with three snapshots of a database, each read in full.
pub struct Scene {
    pub dir: tempfile::TempDir,
    pub storage: Arc<MemoryStorage>,
    pub models: Vec<common::Model>,
    pub ids: Vec<ObjectId>,
}

impl Scene {
    pub fn new() -> Self {
        let mut scene = Self::empty();
        for round in 0..3 {
            scene.change(round * 150, 400);
            scene.backup();
        }
        scene
    }

    pub fn empty() -> Self {
        let storage = Arc::new(MemoryStorage::default());
        common::create(storage.clone()).unwrap();
        Self {
            dir: tempfile::tempdir().unwrap(),
            storage,
            models: Vec::new(),
            ids: Vec::new(),
        }
    }

    pub fn db(&self) -> PathBuf {
        self.dir.path().join("db")
    }

    pub fn change(&self, from: u32, count: u32) {
        let changes: Vec<_> = (from..from + count)
            .map(|i| (common::key(i), Some(common::value(i + from, 900))))
            .collect();
        common::write(&self.db(), &changes);
    }

    pub fn backup(&mut self) {
        let id = backup(&self.repo(), &self.db()).unwrap();
        self.ids.push(id);
        self.models.push(common::scan(&self.db()).unwrap());
    }

    pub fn repo(&self) -> Repo {
        common::open(self.storage.clone()).unwrap()
    }

    pub fn listed(&self, kind: ObjectKind) -> Vec<ObjectName> {
        let listed = self.storage.list(kind).unwrap();
        listed.into_iter().map(|listed| listed.name).collect()
    }

    pub fn on(&self, storage: &MemoryStorage) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            storage: Arc::new(storage.snapshot()),
            models: self.models.clone(),
            ids: self.ids.clone(),
        }
    }

    /// The only database of a snapshot.
    pub fn database(&self, id: &ObjectId) -> DatabaseRoot {
        let snapshot = self.repo().snapshot(id).unwrap();
        snapshot.databases().next().unwrap().clone()
    }

    /// Every blob of a run's tree, the root first.
    pub fn pieces(&self, run: &StoredRunRef) -> Vec<(BlobKind, BlobId)> {
        let repo = self.repo();
        let lookup = repo.lookup().unwrap();
        let reader = BlobReader::new(&repo, &lookup);
        let mut pieces = Vec::new();
        RunReader::new(&reader, run.root.as_ref(), &|a: &[u8], b: &[u8]| a.cmp(b))
            .blobs(&mut |kind, id| {
                pieces.push((kind, *id));
                Ok(())
            })
            .unwrap();
        pieces
    }

    pub fn leaves(&self, run: &StoredRunRef) -> Vec<BlobId> {
        let pieces = self.pieces(run).into_iter();
        let leaves = pieces.filter(|(kind, _)| *kind == BlobKind::Leaf);
        leaves.map(|(_, id)| id).collect()
    }

    /// Damages every copy of a blob; their packs.
    pub fn break_blob(&self, id: &BlobId) -> Vec<ObjectName> {
        let copies = self.repo().lookup().unwrap().locations(id).unwrap();
        assert!(!copies.is_empty());
        let broken = copies.iter().map(|copy| {
            let name = ObjectName::new(ObjectKind::Pack, copy.pack);
            flip(&self.storage, name, copy.offset as usize + 20);
            name
        });
        broken.collect()
    }

    pub fn findings(&self) -> Vec<CheckFinding> {
        let check = Check { read: ReadData::All };
        check
            .run(&self.repo(), &OperationReport::default())
            .unwrap()
            .findings
    }

    pub fn is_sound(&self) {
        assert_eq!(self.findings(), []);
        self.all_come_back();
    }

    /// The database of `source` is saved here again, and comes back as it was.
    pub fn saves_and_restores(&self, source: &Self) {
        backup(&self.repo(), &source.db()).unwrap();
        let latest = common::records(&self.repo(), "latest").unwrap();
        assert_eq!(&latest, source.models.last().unwrap());
    }

    pub fn all_come_back(&self) {
        let repo = self.repo();
        for (id, model) in self.ids.iter().zip(&self.models) {
            assert!(common::records(&repo, &id.to_hex()).unwrap() == *model);
        }
    }
}

pub fn backup(repo: &Repo, db: &std::path::Path) -> Result<ObjectId> {
    let mut backup = Backup::new(vec![db.to_path_buf()]);
    backup.databases.pinning = PinMode::None;
    Ok(backup.run(repo, &OperationReport::default())?.snapshot.unwrap())
}

pub fn flip(storage: &MemoryStorage, name: ObjectName, at: usize) {
    assert!(storage.corrupt(name, |bytes| bytes[at] ^= 1));
}
