//! Checks that need no password: what they see, what they cannot see, and that they see it without any key.
//! What they remember is tested in tests/audits.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;
mod support;

use std::path::PathBuf;
use std::sync::Arc;

use levault::annotations::{
    Audit, AuditMethod, AuditResult, AuditedObject, DeletionMark, MarkedPack, Note, NoteSubject, SnapshotNote,
};
use levault::clock::{Clock, SystemClock, UnixNanos};
use levault::envelope::ObjectClass;
use levault::error::ErrorKind;
use levault::id::ObjectId;
use levault::ops::check::{Check, CheckOutcome, KeylessCheck, ReadData};
use levault::repo::{KeylessRepo, Repo};
use levault::report::OperationReport;
use levault::storage::{MemoryStorage, ObjectKind, ObjectName, Storage};
use support::tool::{Ended, Tool};

/// A repository with an object of every kind that this version writes, and what may be done with a pack of it.
struct Scene {
    dir: tempfile::TempDir,
    storage: Arc<MemoryStorage>,
    repo: Repo,
}

impl Scene {
    fn new() -> Self {
        let storage = Arc::new(MemoryStorage::default());
        let scene = Self {
            dir: tempfile::tempdir().unwrap(),
            repo: common::create(storage.clone()).unwrap(),
            storage,
        };
        common::fill(&scene.db(), 80, 100);
        let first = scene.backup();
        common::write(&scene.db(), &[(b"more".to_vec(), Some(b"value".to_vec()))]);
        let second = scene.backup();
        let about = NoteSubject::Snapshot {
            id: second,
            said: SnapshotNote::Pin,
        };
        let when = UnixNanos(1);
        scene.repo.put_note(&Note { when, about }).unwrap();
        common::forget(&scene.repo, first);
        scene.repo.rotate_keys().unwrap();
        let packs = scene.packs();
        scene.repo.put_mark(&mark(packs[0])).unwrap();
        let object = AuditedObject {
            class: ObjectClass::Pack,
            id: packs[0],
            found: AuditResult::Right,
            when: UnixNanos(SystemClock.now().0 - 1),
        };
        let audit = |how| Audit {
            how,
            objects: vec![object],
        };
        scene.repo.put_audit(&audit(AuditMethod::Opened)).unwrap();
        scene.vault().put_audit(&audit(AuditMethod::Hashed)).unwrap();
        scene
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("db")
    }

    fn backup(&self) -> ObjectId {
        common::backup(&self.repo, &self.db()).unwrap().snapshot.unwrap()
    }

    fn vault(&self) -> KeylessRepo {
        KeylessRepo::open(self.storage.clone()).unwrap()
    }

    fn packs(&self) -> Vec<ObjectId> {
        let listed = self.storage.list(ObjectKind::Pack).unwrap();
        listed.iter().map(|listed| listed.name.id).collect()
    }
}

fn mark(pack: ObjectId) -> DeletionMark {
    DeletionMark {
        when: UnixNanos(1),
        packs: vec![MarkedPack { pack, len: 1 }],
        replaces: None,
    }
}

fn keyless(storage: MemoryStorage, read: ReadData) -> levault::error::Result<CheckOutcome> {
    let vault = KeylessRepo::open(Arc::new(storage))?;
    KeylessCheck { read }.run(&vault, &OperationReport::default())
}

/// What is found wrong, by object.
fn wrong(storage: MemoryStorage, read: ReadData) -> Vec<String> {
    let findings = keyless(storage, read).unwrap().findings;
    findings.into_iter().map(|finding| finding.object).collect()
}

#[test]
fn a_sound_repository_with_objects_of_every_kind_has_no_findings() {
    let scene = Scene::new();
    let kinds: Vec<_> = ObjectKind::ALL
        .into_iter()
        .filter(|kind| scene.storage.list(*kind).unwrap().is_empty())
        .collect();
    use ObjectKind::{Bad, Lease, Parity, Probe, Wal};
    assert_eq!(
        kinds,
        [Bad, Lease, Probe, Wal, Parity],
        "not written by this version, or gone at once"
    );
    for read in [ReadData::None, ReadData::All] {
        let outcome = keyless(scene.storage.snapshot(), read).unwrap();
        assert!(outcome.findings.is_empty(), "{:?}", outcome.findings);
        assert!(outcome.notices.is_empty(), "{:?}", outcome.notices);
        assert_eq!(outcome.snapshots, 2);
        assert_eq!(outcome.packs, scene.packs().len() as u64);
        let read_packs = if read == ReadData::All { outcome.packs } else { 0 };
        assert_eq!(outcome.packs_read, read_packs);
    }
}

#[test]
fn every_flipped_byte_is_found_and_its_object_named() {
    let scene = Scene::new();
    for name in scene.storage.names() {
        let len = scene.storage.stat(name).unwrap().len as usize;
        // Enough of each object to meet every part of it.
        for at in (0..len).step_by((len / 60).max(1)).chain([len - 1]) {
            let storage = scene.storage.snapshot();
            storage.corrupt(name, |bytes| bytes[at] ^= 1 << (at % 8));
            match keyless(storage, ReadData::All) {
                Ok(outcome) => assert!(
                    outcome
                        .findings
                        .iter()
                        .any(|finding| finding.object == name.path()),
                    "{name} byte {at}: {:?}",
                    outcome.findings
                ),
                // A config that asks for a later levault is refused before anything else.
                Err(error) => assert!(
                    name.kind.is_single() && error.kind() == ErrorKind::TooNew,
                    "{name} byte {at}: {error}"
                ),
            }
        }
    }
}

#[test]
fn a_flipped_byte_of_a_pack_takes_reading_and_a_shorter_one_does_not() {
    let scene = Scene::new();
    let name = ObjectName::new(ObjectKind::Pack, scene.packs()[1]);
    let storage = scene.storage.snapshot();
    storage.corrupt(name, |bytes| bytes[200] ^= 1);
    assert!(wrong(storage, ReadData::None).is_empty());
    for kind in [
        ObjectKind::Pack,
        ObjectKind::Index,
        ObjectKind::Snapshot,
        ObjectKind::Slot,
    ] {
        let name = scene.storage.list(kind).unwrap()[0].name;
        let storage = scene.storage.snapshot();
        storage.corrupt(name, |bytes| bytes.truncate(bytes.len() - 1));
        assert_eq!(wrong(storage, ReadData::None), [name.path()]);
    }
}

#[test]
fn what_is_deleted_is_found_where_something_in_the_clear_names_it() {
    let scene = Scene::new();
    let marked = scene.packs()[0];
    for name in scene.storage.names() {
        let storage = scene.storage.snapshot();
        storage.delete(name).unwrap();
        let outcome = keyless(storage, ReadData::None).unwrap();
        let found: Vec<_> = outcome
            .findings
            .iter()
            .map(|finding| finding.object.clone())
            .collect();
        let is_last_ring = name.kind == ObjectKind::Keyring && !is_followed(&scene, name.id);
        match name.kind {
            ObjectKind::Config | ObjectKind::ConfigCopy => assert_eq!(found, [name.path()]),
            ObjectKind::Keyring if !is_last_ring => assert_eq!(found, [name.path()]),
            ObjectKind::Pack if name.id != marked => assert_eq!(found, [name.path()]),
            // It was marked: a sweep may have taken it.
            ObjectKind::Pack => {
                assert!(found.is_empty(), "{found:?}");
                assert_eq!(outcome.notices.len(), 1, "{:?}", outcome.notices);
            }
            // Nothing in the clear names these: it takes the keys to miss them.
            _ => assert!(found.is_empty(), "{name}: {found:?}"),
        }
    }
}

/// True if a ring that is stored names this one.
fn is_followed(scene: &Scene, ring: ObjectId) -> bool {
    let rings = scene.storage.list(ObjectKind::Keyring).unwrap();
    rings.iter().any(|listed| {
        let bytes = scene.storage.get(listed.name, 1 << 20).unwrap();
        bytes.windows(32).any(|window| window == ring.0)
    })
}

#[test]
fn without_config_it_is_no_repository() {
    let scene = Scene::new();
    for name in [ObjectName::CONFIG, ObjectName::CONFIG_COPY] {
        scene.storage.delete(name).unwrap();
    }
    let error = KeylessRepo::open(scene.storage.clone()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NoRepository);
}

#[test]
fn configs_that_differ_are_found_though_each_is_whole() {
    let (scene, other) = (Scene::new(), Scene::new());
    let theirs = other.storage.get(ObjectName::CONFIG, 1 << 20).unwrap();
    scene
        .storage
        .corrupt(ObjectName::CONFIG_COPY, |bytes| *bytes = theirs);
    let found = wrong(scene.storage.snapshot(), ReadData::None);
    assert!(found.contains(&"config".to_owned()), "{found:?}");
}

#[test]
fn whatever_has_its_hash_for_a_name_and_is_no_such_object_is_found() {
    let scene = Scene::new();
    for kind in ObjectKind::ALL
        .into_iter()
        .filter(|kind| kind.is_named_by_content())
    {
        let storage = scene.storage.snapshot();
        let name = ObjectName::of_content(kind, b"something else");
        storage.put_new(name, b"something else").unwrap();
        assert_eq!(wrong(storage, ReadData::All), [name.path()]);
        // Nor is an object of another kind.
        let other = match kind {
            ObjectKind::Snapshot => ObjectKind::Note,
            _ => ObjectKind::Snapshot,
        };
        let bytes = scene.storage.list(other).unwrap()[0].name;
        let bytes = scene.storage.get(bytes, 1 << 20).unwrap();
        let storage = scene.storage.snapshot();
        let name = ObjectName::of_content(kind, &bytes);
        storage.put_new(name, &bytes).unwrap();
        assert_eq!(wrong(storage, ReadData::All), [name.path()], "{kind:?}");
    }
}

#[test]
fn the_owner_reads_first_what_a_keyless_check_found_wrong() {
    let scene = Scene::new();
    let pack = scene.packs()[1];
    assert!(
        Check { read: ReadData::All }
            .run(&scene.repo, &OperationReport::default())
            .unwrap()
            .findings
            .is_empty()
    );
    scene
        .storage
        .corrupt(ObjectName::new(ObjectKind::Pack, pack), |bytes| bytes[200] ^= 1);
    let outcome = KeylessCheck { read: ReadData::All }.run(&scene.vault(), &OperationReport::default());
    assert_eq!(outcome.unwrap().findings.len(), 1);
    let plain = Check { read: ReadData::None }
        .run(&scene.repo, &OperationReport::default())
        .unwrap();
    assert_eq!(plain.packs_read, 1);
    assert!(!plain.findings.is_empty());
    let again = KeylessCheck { read: ReadData::None }
        .run(&scene.vault(), &OperationReport::default())
        .unwrap();
    assert_eq!((again.findings.len(), again.packs_read), (1, 1));
}

// The tool.

fn tool() -> Tool {
    let tool = Tool::new();
    let db = tool.path("db");
    common::fill(&db, 200, 100);
    tool.backup(&db).ok();
    common::write(&db, &[(b"more".to_vec(), Some(b"value".to_vec()))]);
    tool.backup(&db).ok();
    tool
}

/// Without a password in the environment, and none to be asked for.
fn without_password(tool: &Tool, args: &[&str]) -> Ended {
    let mut command = tool.command();
    command
        .env_remove("LEVAULT_PASSWORD")
        .env_remove("LEVAULT_PASSWORD_FILE");
    Ended::with_input(command.args(args), b"")
}

#[test]
fn the_tool_checks_without_a_password_and_tells_of_strangers() {
    let tool = tool();
    assert_ne!(without_password(&tool, &["check"]).code, 0);
    let ended = without_password(&tool, &["check", "--keyless", "--read-data", "--json"]).ok();
    let summary = ended.summary();
    assert_eq!(summary["keyless"], true);
    assert_eq!(summary["num_notices"], 0, "{}", ended.text());
    assert_eq!(
        summary["verified"]["bytes_hashed_only"],
        summary["verified"]["total_bytes"]
    );
    assert_eq!(summary["verified"]["bytes_opened"], 0);
    let repository = tool.repository_files();
    std::fs::write(tool.repository().join("README.txt"), "whose?").unwrap();
    std::fs::create_dir(tool.repository().join("packs/other")).unwrap();
    let ended = without_password(&tool, &["check", "--keyless", "--json"]).ok();
    let lines = ended.json_lines();
    let mut strangers: Vec<_> = lines
        .iter()
        .filter(|line| line["message_type"] == "notice")
        .map(|line| line["object"].as_str().unwrap())
        .collect();
    strangers.sort_unstable();
    assert_eq!(strangers, ["README.txt", "packs/other"]);
    assert_eq!(
        tool.repository_files().len(),
        repository.len() + 1,
        "nothing was read, nothing is written"
    );
    let is_pack = |path: &&PathBuf| path.components().any(|part| part.as_os_str() == "packs");
    let pack = repository.iter().map(|(path, _)| path).find(is_pack);
    std::fs::remove_file(tool.repository().join(pack.unwrap())).unwrap();
    let ended = without_password(&tool, &["check", "--keyless"]).exits(25);
    assert!(ended.stderr.contains("is missing"), "{}", ended.stderr);
    assert!(ended.text().contains("do not prune"), "{}", ended.text());
}

#[test]
fn the_tool_remembers_what_it_read_and_says_how_much_of_all_that_is() {
    let tool = tool();
    let before = tool.repository_files();
    let plain = tool.run(["check", "--json"]).ok().summary();
    assert_eq!(plain["verified"]["bytes_opened"], 0);
    assert!(
        tool.repository_files() == before,
        "what reads nothing writes nothing"
    );
    let read = tool.run(["check", "--budget", "1h", "--json"]).ok().summary();
    assert_eq!(read["packs_read"], read["packs"]);
    let after = tool.repository_files();
    let new: Vec<_> = after
        .iter()
        .filter(|file| !before.contains(file))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(new.len(), 1);
    assert!(
        new[0].components().any(|part| part.as_os_str() == "audits"),
        "{new:?}"
    );
    let ended = tool.run(["check", "--max-age", "1d"]).ok();
    assert!(
        ended
            .text()
            .contains("within 1 days, 100.0 % of pack data was opened and right"),
        "{}",
        ended.text()
    );
    assert!(ended.text().contains("read 0 B of pack data"), "{}", ended.text());
    for wrong in [
        &["check", "--budget", "5"][..],
        &["check", "--budget", "1h", "--read-data"],
        &["check", "--max-age", "1d", "--read-data-subset", "1/2"],
        &["check", "--keyless", "--snapshots", "latest"],
    ] {
        tool.run(wrong.iter().copied()).exits(2);
    }
}

#[test]
fn the_tool_checks_some_snapshots_and_says_that_it_looked_at_nothing_else() {
    let tool = tool();
    let ended = tool.run(["check", "--snapshots", "latest", "--read-data"]).ok();
    assert!(ended.text().contains("checked 1 snapshots"), "{}", ended.text());
    assert!(ended.text().contains("were not looked at"), "{}", ended.text());
    let both = tool
        .run(["check", "--snapshots", "latest", "latest~1", "--json"])
        .ok()
        .summary();
    assert_eq!(
        (&both["snapshots"], &both["is_whole"]),
        (&2.into(), &false.into())
    );
    tool.run(["check", "--snapshots", "latest~7"]).exits(1);
}
