//! Parity beside the packs: what is stored, what heals, what is refused, and what a crash leaves.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "../common/mod.rs"]
mod common;
mod crash;
mod hostile;
mod life;
#[path = "../support/mod.rs"]
mod support;
mod tool;

use std::path::PathBuf;
use std::sync::Arc;

use levault::engine::heal_packs::{Heal, HealOutcome};
use levault::engine::parity_listing::{ParityReadMode, status};
use levault::id::ObjectId;
use levault::ops::check::{Check, CheckOutcome, ReadData};
use levault::parity::ParityShare;
use levault::repo::Repo;
use levault::report::OperationReport;
use levault::storage::{HealableStorage, MemoryStorage, ObjectKind, ObjectName, Storage, StorageReader};

/// A repository that keeps parity, with one snapshot.
struct Scene {
    dir: tempfile::TempDir,
    storage: Arc<MemoryStorage>,
    repo: Repo,
}

fn share(words: &str) -> ParityShare {
    words.parse().unwrap()
}

impl Scene {
    fn new(words: &str) -> Self {
        let storage = Arc::new(MemoryStorage::default());
        let repo = common::create(storage.clone()).unwrap();
        repo.put_parity_share(Some(share(words))).unwrap();
        let scene = Self {
            dir: tempfile::tempdir().unwrap(),
            storage,
            repo,
        };
        common::fill(&scene.db(), 400, 300);
        common::backup(&scene.repo, &scene.db()).unwrap();
        scene
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("db")
    }

    fn names(&self, kind: ObjectKind) -> Vec<ObjectName> {
        self.storage
            .list(kind)
            .unwrap()
            .iter()
            .map(|listed| listed.name)
            .collect()
    }

    /// The largest pack, and its bytes.
    fn pack(&self) -> (ObjectName, Vec<u8>) {
        let listed = self.storage.list(ObjectKind::Pack).unwrap();
        let name = listed.iter().max_by_key(|listed| listed.len).unwrap().name;
        (name, self.storage.get(name, u64::MAX).unwrap())
    }

    fn heal(&self) -> HealOutcome {
        heal(&*self.storage, &[])
    }

    fn check(&self) -> CheckOutcome {
        Check { read: ReadData::All }
            .run(&self.repo, &OperationReport::default())
            .unwrap()
    }

    #[track_caller]
    fn is_sound(&self) {
        let findings = self.check().findings;
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!(
            self.heal(),
            HealOutcome {
                healed: vec![],
                unhealed: vec![],
                ..self.heal()
            }
        );
    }
}

/// Without a key.
fn heal(storage: &dyn Storage, packs: &[ObjectId]) -> HealOutcome {
    let heal = Heal {
        packs: packs.to_vec(),
        dry_run: false,
    };
    heal.run(HealableStorage::new(storage), &OperationReport::default())
        .unwrap()
}

fn is_covered(storage: &dyn Storage, what: &str) {
    let status = status(
        StorageReader::new(storage),
        ParityReadMode::All,
        &OperationReport::default(),
    )
    .unwrap();
    assert_eq!(status.packs, status.packs_with_parity, "{what}");
    assert!(status.damaged.is_empty(), "{what}: {:?}", status.damaged);
}

fn flip(bytes: &mut [u8], at: std::ops::Range<usize>) {
    bytes[at].iter_mut().for_each(|byte| *byte ^= 0xa5);
}
