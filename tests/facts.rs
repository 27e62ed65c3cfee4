//! Notes in a repository, and what the tool says because of them. What notes mean together is tested in src/facts.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;
mod support;

use std::sync::Arc;

use levault::annotations::{Note, NoteSubject, SnapshotNote};
use levault::clock::UnixNanos;
use levault::error::ErrorKind;
use levault::id::ObjectId;
use levault::keys::Password;
use levault::ops::check::{Check, CheckOutcome, ReadData};
use levault::repo::Repo;
use levault::report::OperationReport;
use levault::storage::{LocalStorage, MemoryStorage, ObjectKind, ObjectName, Storage};
use serde_json::{Value, json};
use support::tool::{Ended, PASSWORD, Tool};

fn note(when: i64, id: ObjectId, said: SnapshotNote) -> Note {
    Note {
        when: UnixNanos(when),
        about: NoteSubject::Snapshot { id, said },
    }
}

fn suspect(id: ObjectId) -> Note {
    note(
        1_700_000_000_000_000_000,
        id,
        SnapshotNote::Suspect("3 records differ".into()),
    )
}

/// A repository in memory with one snapshot.
fn repo() -> (Arc<MemoryStorage>, Repo, ObjectId) {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("db");
    common::fill(&db, 20, 20);
    let storage = Arc::new(MemoryStorage::default());
    let repo = common::create(storage.clone()).unwrap();
    let id = common::backup(&repo, &db).unwrap().snapshot.unwrap();
    (storage, repo, id)
}

fn check(repo: &Repo) -> CheckOutcome {
    let check = Check { read: ReadData::None };
    check.run(repo, &OperationReport::default()).unwrap()
}

fn named(id: ObjectId) -> ObjectName {
    ObjectName::new(ObjectKind::Note, id)
}

/// Puts bytes among the notes under the name that is theirs.
fn plant(storage: &MemoryStorage, bytes: &[u8]) -> ObjectId {
    let name = ObjectName::of_content(ObjectKind::Note, bytes);
    storage.put_new(name, bytes).unwrap();
    name.id
}

// In the library.

#[test]
fn notes_that_were_stored_come_back_under_their_names() {
    let (storage, repo, id) = repo();
    assert!(repo.notes().unwrap().notes.is_empty());
    let first = (repo.put_note(&suspect(id)).unwrap(), suspect(id));
    let pin = note(2, id, SnapshotNote::Pin);
    let second = (repo.put_note(&pin).unwrap(), pin);
    let found = common::open(storage).unwrap().notes().unwrap();
    assert!(found.unread.is_empty());
    assert_eq!(found.notes.len(), 2);
    assert!(found.notes.contains(&first) && found.notes.contains(&second));
    let standing = found.require_complete().unwrap();
    assert_eq!(standing.suspect_note(&id), Some("3 records differ"));
    assert!(standing.is_pinned(&id));
}

#[test]
fn a_note_that_nobody_would_read_back_is_not_stored() {
    let (storage, repo, id) = repo();
    let wrong = note(1, id, SnapshotNote::Suspect("x".repeat(5000)));
    assert_eq!(repo.put_note(&wrong).unwrap_err().kind(), ErrorKind::Limit);
    assert!(storage.list(ObjectKind::Note).unwrap().is_empty());
}

#[test]
fn a_damaged_note_is_told_of_and_the_others_are_read() {
    let (storage, repo, id) = repo();
    let damaged = repo.put_note(&note(2, id, SnapshotNote::Pin)).unwrap();
    repo.put_note(&suspect(id)).unwrap();
    storage.corrupt(named(damaged), |bytes| bytes[130] ^= 1);
    let found = repo.notes().unwrap();
    assert_eq!(found.current_notes().suspect_note(&id), Some("3 records differ"));
    assert_eq!(
        (found.unread[0].id, found.unread[0].kind),
        (damaged, ErrorKind::Corrupt)
    );
    assert_eq!(found.require_complete().unwrap_err().kind(), ErrorKind::Corrupt);
    let findings = check(&repo).findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].object, named(damaged).path());
}

#[test]
fn what_somebody_else_put_among_the_notes_keeps_nobody_from_reading() {
    let (storage, repo, _) = repo();
    let (_, other, id) = self::repo();
    let mut foreign = Vec::new();
    for bytes in [&b"not an object"[..], b""] {
        foreign.push(plant(&storage, bytes));
    }
    let theirs = other.put_note(&suspect(id)).unwrap();
    foreign.push(plant(
        &storage,
        &other.raw_storage().get(named(theirs), 1 << 20).unwrap(),
    ));
    let found = repo.notes().unwrap();
    assert!(found.notes.is_empty());
    assert_eq!(found.unread.len(), foreign.len());
    assert_eq!(check(&repo).findings.len(), foreign.len());
}

#[test]
fn check_tells_of_suspect_snapshots_and_finds_no_error_in_them() {
    let (_, repo, id) = repo();
    assert!(check(&repo).notices.is_empty());
    repo.put_note(&suspect(id)).unwrap();
    let outcome = check(&repo);
    assert!(outcome.findings.is_empty(), "{:?}", outcome.findings);
    let [notice] = &outcome.notices[..] else {
        panic!("{:?}", outcome.notices);
    };
    assert_eq!(notice.object, ObjectName::new(ObjectKind::Snapshot, id).path());
    assert!(notice.what.contains("3 records differ") && !notice.helps.is_empty());
    assert_eq!(notice.since, Some(UnixNanos(1_700_000_000_000_000_000)));
    let cleared = note(i64::MAX, id, SnapshotNote::Cleared("read again".into()));
    repo.put_note(&cleared).unwrap();
    assert!(check(&repo).notices.is_empty());
}

#[test]
fn check_tells_of_a_note_whose_snapshot_is_gone_and_finds_no_error_in_it() {
    let (_, repo, _) = repo();
    let name = repo.put_note(&suspect(ObjectId([7; 32]))).unwrap();
    let outcome = check(&repo);
    assert!(outcome.findings.is_empty(), "{:?}", outcome.findings);
    assert_eq!(outcome.notices.len(), 1, "{:?}", outcome.notices);
    assert_eq!(outcome.notices[0].object, named(name).path());
    assert!(outcome.notices[0].what.contains("07070707"));
}

// In the tool.

/// A repository on disk with one snapshot tagged `nightly`, and the library's view of it.
fn on_disk() -> (Tool, Repo, ObjectId) {
    let tool = Tool::new();
    let db = tool.path("shop");
    common::fill(&db, 20, 20);
    Ended::of(tool.command().args(["backup", "--tag", "nightly"]).arg(&db)).ok();
    let storage = LocalStorage::open(tool.repository()).unwrap();
    let password = Password::new(PASSWORD.as_bytes().to_vec());
    let repo = Repo::open(Arc::new(storage), &password, common::settings()).unwrap();
    let id = repo.snapshots().unwrap()[0].id;
    (tool, repo, id)
}

fn listed(tool: &Tool, args: &[&str]) -> Value {
    let args = [&["snapshots", "--json"], args].concat();
    tool.run(args).ok().json_lines().remove(0)
}

#[test]
fn snapshots_shows_what_was_noted() {
    let (tool, repo, id) = on_disk();
    let before = listed(&tool, &[]);
    assert_eq!(
        (&before[0]["suspect"], &before[0]["pinned"]),
        (&Value::Null, &json!(false))
    );
    repo.put_note(&suspect(id)).unwrap();
    repo.put_note(&note(1, id, SnapshotNote::Pin)).unwrap();
    let after = listed(&tool, &[]);
    assert_eq!(after[0]["suspect"], "3 records differ");
    assert_eq!(after[0]["pinned"], true);
    let text = tool.run(["snapshots"]).ok().text();
    assert!(
        text.contains("SUSPECT: 3 records differ") && text.contains("(pinned)"),
        "{text}"
    );
}

#[test]
fn noted_tags_replace_a_snapshots_own_in_listing_and_selection() {
    let (tool, repo, id) = on_disk();
    let tags = vec!["kept".into(), "yearly".into()];
    repo.put_note(&note(1, id, SnapshotNote::Tags(tags))).unwrap();
    assert_eq!(listed(&tool, &[])[0]["tags"], json!(["kept", "yearly"]));
    assert_eq!(listed(&tool, &["--tag", "kept"]).as_array().unwrap().len(), 1);
    assert_eq!(listed(&tool, &["--tag", "nightly"]).as_array().unwrap().len(), 0);
}

#[test]
fn a_damaged_note_makes_the_listing_incomplete() {
    let (tool, repo, id) = on_disk();
    let name = repo.put_note(&suspect(id)).unwrap();
    let path = tool.repository().join(named(name).path());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "damaged").unwrap();
    let ended = tool.run(["snapshots"]).exits(3);
    assert!(ended.stderr.contains(&name.to_hex()), "{}", ended.stderr);
    tool.run(["check"]).exits(25);
    // What was said is not known, and the data is there all the same.
    let ended = tool.run(["dump", "latest"]).ok();
    assert!(ended.stderr.contains("passed over"), "{}", ended.stderr);
}

#[test]
fn check_says_that_a_snapshot_is_suspect_and_exits_0() {
    let (tool, repo, id) = on_disk();
    repo.put_note(&suspect(id)).unwrap();
    let ended = tool.run(["check"]).ok();
    let said = [
        "notice: snapshots/",
        "3 records differ",
        "since 2023-11-14T22:13:20Z",
    ];
    assert!(
        said.iter().all(|words| ended.stderr.contains(words)),
        "{}",
        ended.stderr
    );
    let lines = tool.run(["check", "--json"]).ok().json_lines();
    let of = |kind: &str| lines.iter().find(|line| line["message_type"] == kind).unwrap();
    assert_eq!(of("notice")["object"], format!("snapshots/{id}"));
    assert_eq!(of("notice")["since"], "2023-11-14T22:13:20Z");
    assert_eq!(of("summary")["num_notices"], 1);
    assert_eq!(of("summary")["num_errors"], 0);
}

#[test]
fn whoever_takes_data_from_a_suspect_snapshot_is_warned_and_gets_it() {
    let (tool, repo, id) = on_disk();
    let key = String::from_utf8(common::key(1)).unwrap();
    let target = tool.path("target");
    let verbs: [&[&str]; 4] = [
        &["get", "latest", &key],
        &["dump", "latest"],
        &["ls", "latest"],
        &["restore", "latest", "--target", target.to_str().unwrap()],
    ];
    for verb in &verbs[..3] {
        assert_eq!(tool.run(verb.iter().copied()).ok().stderr, "", "{verb:?}");
    }
    repo.put_note(&suspect(id)).unwrap();
    for verb in verbs {
        let ended = tool.run(verb.iter().copied()).ok();
        let warning = format!("warning: snapshot {} is suspect: 3 records differ", id.short());
        assert!(ended.stderr.contains(&warning), "{verb:?}: {}", ended.stderr);
        assert!(!ended.stdout.is_empty(), "{verb:?}");
    }
    assert!(target.join("CURRENT").exists());
}
