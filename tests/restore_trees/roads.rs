//! Trees by the other roads: copied elsewhere, forgotten and brought back, pruned, saved by a write-only host, under new
//! keys, and with a damaged database in them. Each time all of the source comes back.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;

use levault::clock::{ManualClock, UnixNanos};
use levault::keys::{Password, SealedCredential, SlotCost};
use levault::ops::backup::Backup;
use levault::ops::check::{Check, ReadData};
use levault::ops::copy::Copy;
use levault::ops::prune::Prune;
use levault::ops::rescue::{Rescue, RescueMode, UncertainRecords};
use levault::ops::restore::Restore;
use levault::ops::undelete::{select_forgotten, undelete};
use levault::repo::{CacheLocation, Repo, RepoSettings, WriteOnlyRepo};
use levault::report::OperationReport;
use levault::storage::MemoryStorage;
use tempfile::TempDir;

use super::common::{self, Model};
use super::corpora::around;
use super::disk::{Disk, assert_same};
use super::scene::noise;

const DATABASES: [&str; 2] = ["data/db", "data/db/more/inner"];

/// A tree with nested databases, files of one and of several chunks, links of both kinds, and attributes.
struct World {
    dir: TempDir,
    clock: Arc<ManualClock>,
    storage: Arc<MemoryStorage>,
    repo: Repo,
    models: Vec<Model>,
}

/// What is there at one moment.
type Was = (Disk, Vec<Model>);

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir_all(home.join("data")).unwrap();
        let outer = common::fill(&home.join("data/db"), 300, 90);
        fs::create_dir_all(home.join("data/db/more")).unwrap();
        let inner = common::fill(&home.join("data/db/more/inner"), 40, 20);
        fs::write(home.join("data/db/notes"), "beside").unwrap();
        fs::write(home.join("big"), noise(1, 3 << 20)).unwrap();
        fs::hard_link(home.join("big"), home.join("same")).unwrap();
        symlink("data/db", home.join("link")).unwrap();
        rustix::fs::setxattr(
            home.join("data"),
            "user.mine",
            b"1",
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
        let clock = Arc::new(ManualClock::new(UnixNanos(1_700_000_000_000_000_000)));
        let storage = Arc::new(MemoryStorage::with_clock(clock.clone()));
        let repo = common::create(storage.clone()).unwrap().with_clock(clock.clone());
        let models = vec![outer, inner];
        Self {
            dir,
            clock,
            storage,
            repo,
            models,
        }
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn wish(&self) -> Backup {
        Backup::new(vec![self.home()])
    }

    fn backup(&self) {
        // Packs of today may belong to a backup that is under way.
        self.clock.advance(25 * 3600 * 1_000_000_000);
        self.wish().run(&self.repo, &OperationReport::default()).unwrap();
    }

    /// Other files, another record, and what was there before.
    fn change(&mut self, round: u32) -> Was {
        let was = self.now();
        let (key, value) = (common::key(round), common::value(round, 60));
        common::write(
            &self.home().join("data/db"),
            &[(key.clone(), Some(value.clone()))],
        );
        self.models[0].insert(key, value);
        fs::write(self.home().join("data/db/notes"), noise(round.into(), 10_000)).unwrap();
        fs::write(
            self.home().join(format!("new{round}")),
            noise(round.into(), 400_000),
        )
        .unwrap();
        fs::remove_file(self.home().join("link")).unwrap();
        symlink(format!("elsewhere{round}"), self.home().join("link")).unwrap();
        was
    }

    fn now(&self) -> Was {
        let mut disk = around(&self.home(), &DATABASES.map(str::to_owned));
        disk.retain(|name, _| !String::from_utf8_lossy(name).contains(".levault-"));
        (disk, self.models.clone())
    }

    #[track_caller]
    fn is_back(&self, repo: &Repo, words: &str, was: &Was) {
        let target = self.dir.path().join("target");
        let report = OperationReport::default();
        Restore::new(target.clone())
            .run(repo, &repo.select(words).unwrap(), &report)
            .unwrap();
        assert_eq!(report.problems(), [""; 0]);
        assert_same(&around(&target, &DATABASES.map(str::to_owned)), &was.0);
        for (name, model) in DATABASES.iter().zip(&was.1) {
            assert!(common::scan(&target.join(name)).unwrap() == *model, "{name}");
        }
        fs::remove_dir_all(&target).unwrap();
    }

    /// Marks, waits, sweeps.
    fn prune(&self, prune: &Prune) -> u64 {
        prune.run(&self.repo, &OperationReport::default()).unwrap();
        self.clock.advance(73 * 3600 * 1_000_000_000);
        let swept = prune.run(&self.repo, &OperationReport::default()).unwrap().swept;
        swept.packs.len() as u64
    }
}

#[track_caller]
fn is_sound(repo: &Repo) {
    let check = Check { read: ReadData::All };
    let findings = check.run(repo, &OperationReport::default()).unwrap().findings;
    assert!(findings.is_empty(), "{findings:?}");
}

/// Directories may be touched by the first backup's pins; later lists begin behind it.
fn settled() -> World {
    let world = World::new();
    world.backup();
    world
}

#[test]
fn a_copy_of_trees_restores_from_the_other_repository_alone() {
    let mut world = settled();
    let then = world.now();
    world.backup();
    let other = common::create(Arc::new(MemoryStorage::default())).unwrap();
    let done = Copy::default().run(&world.repo, &other, &OperationReport::default(), &mut |_| ());
    let done = done.unwrap();
    assert_eq!((done.copied.len(), done.refused.len()), (2, 0));
    world.is_back(&other, "latest", &then);
    is_sound(&other);
    world.change(1);
    world.backup();
    let copied = Copy::default().run(&world.repo, &other, &OperationReport::default(), &mut |_| ());
    assert_eq!(copied.unwrap().copied.len(), 1);
    world.is_back(&other, "latest", &world.now());
    world.is_back(&other, "latest~1", &then);
    is_sound(&other);
}

#[test]
fn what_is_kept_of_trees_comes_back_behind_a_prune_and_what_was_forgotten_before_it() {
    let mut world = settled();
    world.backup();
    let then = world.change(1);
    world.backup();
    let now = world.now();
    let ids: Vec<_> = world
        .repo
        .snapshots()
        .unwrap()
        .iter()
        .map(|stored| stored.id)
        .collect();
    common::forget(&world.repo, ids[1]);
    let catalog = world.repo.catalog().unwrap();
    undelete(
        &world.repo,
        select_forgotten(&catalog, &ids[1].to_hex()).unwrap(),
        &OperationReport::default(),
    )
    .unwrap();
    world.is_back(&world.repo, &ids[1].to_hex(), &then);
    common::forget(&world.repo, ids[0]);
    common::forget(&world.repo, ids[2]);
    let swept = world.prune(&Prune {
        unused_share_max: 0.0,
        ..Prune::default()
    });
    assert!(swept > 0, "nothing was swept");
    world.is_back(&world.repo, "latest", &then);
    is_sound(&world.repo);
    // The next backup stands on what is left.
    world.backup();
    world.is_back(&world.repo, "latest", &now);
    is_sound(&world.repo);
}

#[test]
fn trees_of_a_write_only_host_come_back_by_the_owner() {
    let mut world = World::new();
    let domain = world.repo.add_host("web").unwrap();
    world.repo = common::open(world.storage.clone())
        .unwrap()
        .with_clock(world.clock.clone());
    let password = Password::new(b"the file's".to_vec());
    let sealed = world
        .repo
        .credential(domain, &password, SlotCost::cheap())
        .unwrap();
    let credential = SealedCredential::decode(&sealed)
        .unwrap()
        .unlock(&password)
        .unwrap();
    let settings = RepoSettings {
        cache: CacheLocation::Directory(world.dir.path().join("cache")),
        ..common::settings()
    };
    let host = WriteOnlyRepo::open(world.storage.clone(), credential, settings).unwrap();
    for round in 0..3 {
        let was = world.now();
        let done = world
            .wish()
            .run_as_host(&host, &OperationReport::default())
            .unwrap();
        world.is_back(&world.repo, &done.snapshot.unwrap().to_hex(), &was);
        world.change(round);
    }
    is_sound(&world.repo);
}

#[test]
fn trees_come_back_under_new_keys_and_files_of_the_old_are_taken_over() {
    let mut world = settled();
    world.backup();
    let then = world.now();
    world.repo.rotate_keys().unwrap();
    world.repo = common::open(world.storage.clone())
        .unwrap()
        .with_clock(world.clock.clone());
    world.is_back(&world.repo, "latest", &then);
    world.change(1);
    world.backup();
    let now = world.now();
    world.prune(&Prune {
        repack_outdated: true,
        ..Prune::default()
    });
    world.is_back(&world.repo, "latest", &now);
    world.is_back(&world.repo, "latest~1", &then);
    is_sound(&world.repo);
}

#[test]
fn a_damaged_database_within_a_tree_is_rescued_from_snapshots_of_the_tree() {
    let world = settled();
    for (name, model) in DATABASES.iter().zip(&world.models) {
        let directory = world.home().join(name);
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("MANIFEST")
            {
                fs::remove_file(path).unwrap();
            }
        }
        let rescue = Rescue {
            directory,
            output: world.dir.path().join("rescued").join(name),
            snapshot: None,
            database: None,
            uncertain: UncertainRecords::LeaveOut,
            act: RescueMode::Write,
        };
        fs::create_dir_all(rescue.output.parent().unwrap()).unwrap();
        let done = rescue.run(&world.repo, &OperationReport::default()).unwrap();
        assert!(done.is_supplied() && done.written, "{done:?}");
        assert!(common::scan(&rescue.output).unwrap() == *model, "{name}");
    }
}
