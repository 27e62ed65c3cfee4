//! Files that the snapshot before has as they are: not read, and yet proven to be there.

use std::fs::{self, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use levault::annotations::{DeletionMark, MarkedPack};
use levault::blob::BlobKind;
use levault::clock::UnixNanos;
use levault::id::ObjectId;
use levault::index::IndexEntry;
use levault::ops::backup::{Backup, BackupOutcome, ChangeCounts};
use levault::storage::{ObjectKind, ObjectName, Storage, StorageVerb};

use crate::common::hooked::Hooked;
use crate::scene::Scene;
use crate::seen::noise;

/// A tree of a small file, a large one and one with another name, backed up once.
fn backed_up() -> Scene {
    fill(Scene::new())
}

fn fill(scene: Scene) -> Scene {
    scene.file("home/small", "small");
    scene.file("home/below/large", noise(1, 5 << 20));
    fs::hard_link(scene.path("home/small"), scene.path("home/same")).unwrap();
    fs::File::create(scene.path("home/sparse"))
        .unwrap()
        .set_len(100_000)
        .unwrap();
    Scene::rest();
    let first = counts(&scene.backup_with(|_| ()));
    assert_eq!(
        (first.0.new, first.0.all(), first.1),
        (4, 4, 5 + (5 << 20) + 100_000 + first.2)
    );
    scene
}

/// Files, bytes that were read, and five more if both names of the small file were read.
fn counts(outcome: &BackupOutcome) -> (ChangeCounts, u64, u64) {
    let counts = outcome.trees[0].counts;
    let twice = counts.bytes_read.saturating_sub(5 + (5 << 20) + 100_000);
    (counts.files, counts.bytes_read, twice)
}

fn is_unread(outcome: &BackupOutcome) {
    let (files, read, _) = counts(outcome);
    assert_eq!((files.unmodified, files.all(), read), (4, 4, 0));
}

#[test]
fn what_is_unchanged_is_not_read() {
    let scene = backed_up();
    let root = |scene: &Scene| crate::seen::trees(&crate::seen::latest(&scene.repo))[0].root;
    let first = root(&scene);
    let second = scene.backup_with(|_| ());
    is_unread(&second);
    assert_eq!(second.trees[0].counts.directories.unmodified, 2);
    assert_eq!((second.blobs_new, root(&scene)), (0, first));
    scene.is_right("home");
    scene.is_sound();

    scene.file("home/new", "new");
    let third = scene.backup_with(|_| ());
    let counts = third.trees[0].counts;
    assert_eq!(
        (counts.files.new, counts.files.unmodified, counts.bytes_read),
        (1, 4, 3)
    );
    assert_eq!(
        (counts.directories.changed, counts.directories.unmodified),
        (1, 1)
    );
    scene.is_right("home");
}

#[test]
fn who_asks_for_it_has_everything_read() {
    let scene = backed_up();
    let ways: [fn(&mut Backup); 2] = [|backup| backup.files.force = true, |backup| backup.full = true];
    for how in ways {
        let (files, read, _) = counts(&scene.backup_with(how));
        assert!(files.new == 4 && read >= 5 << 20, "{files:?}");
    }
}

#[test]
fn a_change_is_seen_though_length_and_time_are_as_before() {
    let scene = backed_up();
    let path = scene.path("home/small");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "SMALL").unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
    Scene::rest();
    assert_eq!(counts(&scene.backup_with(|_| ())).0.changed, 2, "both names");
    scene.is_right("home");
}

#[test]
fn a_changed_time_of_change_has_a_file_read_unless_it_is_not_to() {
    let scene = backed_up();
    fs::set_permissions(scene.path("home/small"), Permissions::from_mode(0o600)).unwrap();
    Scene::rest();
    is_unread(&scene.backup_with(|backup| backup.files.ignore_ctime = true));
    let mode = |name: &str| {
        let snapshot = crate::seen::latest(&scene.repo);
        crate::seen::stored(&scene.repo, &crate::seen::trees(&snapshot)[0].root)[name.as_bytes()]
            .1
            .mode
    };
    assert_eq!(mode("home/small"), Some(0o600), "metadata is always the newest");
    fs::set_permissions(scene.path("home/small"), Permissions::from_mode(0o644)).unwrap();
    Scene::rest();
    assert_eq!(counts(&scene.backup_with(|_| ())).0.changed, 2);
}

#[test]
fn another_inode_has_a_file_read_unless_it_is_not_to() {
    let scene = backed_up();
    let path = scene.path("home/below/large");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let other = scene.file("home/below/other", noise(1, 5 << 20));
    let file = fs::File::options().write(true).open(&other).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
    fs::rename(other, &path).unwrap();
    Scene::rest();
    let both =
        scene.backup_with(|backup| (backup.files.ignore_ctime, backup.files.ignore_inode) = (true, true));
    is_unread(&both);
    fs::rename(&path, scene.path("home/away")).unwrap();
    fs::copy(scene.path("home/away"), &path).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
    fs::remove_file(scene.path("home/away")).unwrap();
    Scene::rest();
    let ctime = scene.backup_with(|backup| backup.files.ignore_ctime = true);
    assert_eq!(counts(&ctime).0.changed, 1);
    scene.is_right("home");
}

#[test]
fn what_was_written_a_moment_ago_is_read_again() {
    let scene = Scene::new();
    // On a busy machine a backup may begin when the moment is over: then it tells nothing.
    let was_a_moment = (0..200).any(|_| {
        let written = Instant::now();
        scene.file("home/file", "written just now");
        scene.backup_with(|_| ());
        let was_a_moment = written.elapsed() < Duration::from_millis(50);
        let changed = counts(&scene.backup_with(|_| ())).0.changed;
        assert!(
            changed == 1 || !was_a_moment,
            "a write in the same tick would not show"
        );
        was_a_moment
    });
    assert!(was_a_moment, "no backup in 200 was as quick as a moment");
    scene.file("home/file", "written just now");
    scene.backup_with(|_| ());
    Scene::rest();
    scene.backup_with(|_| ());
    assert_eq!(counts(&scene.backup_with(|_| ())).0.unmodified, 1);
}

#[test]
fn a_parent_that_cannot_be_read_costs_a_reading_and_nothing_else() {
    let scene = backed_up();
    for listed in scene.storage.list(ObjectKind::Pack).unwrap() {
        scene.storage.delete(listed.name).unwrap();
    }
    let (files, read, _) = counts(&scene.backup_with(|_| ()));
    assert!(files.new == 4 && read >= 5 << 20, "{files:?}");
    scene.is_right("home");
}

#[test]
fn only_the_newest_snapshot_of_this_host_and_path_is_a_parent() {
    let scene = backed_up();
    let other = scene.backup_with(|backup| backup.host = Some("another".into()));
    assert_eq!(counts(&other).0.new, 4);
    let below = scene.backup_with(|backup| backup.paths = vec![scene.path("home/below")]);
    assert_eq!(below.trees[0].counts.files.new, 1);
    is_unread(&scene.backup_with(|_| ()));
}

/// Forgets the only snapshot and marks its packs behind a call of the next backup, which must not rest on them.
fn marked_behind(at: (StorageVerb, ObjectKind)) {
    let scene = fill(Scene::on_clock());
    scene.hours_pass(30);
    let first = scene.repo.select("latest").unwrap().id;
    let aside = scene.repo.clone();
    let hooked = Hooked::once(&scene.storage, at, move || {
        crate::common::forget(&aside, first);
        let prune = levault::ops::prune::Prune::default();
        let marked = prune
            .run(&aside, &levault::report::OperationReport::default())
            .unwrap();
        assert!(marked.packs_marked > 0);
    });
    let outcome = scene.backup_over(hooked, |_| ());
    assert!(outcome.blobs_new > 0, "it is stored again");
    scene.hours_pass(80);
    assert!(!scene.prune().swept.packs.is_empty());
    scene.is_right("home");
    scene.is_sound();
}

#[test]
fn files_in_packs_that_were_marked_before_they_were_looked_at_are_read() {
    marked_behind((StorageVerb::List, ObjectKind::Snapshot));
}

#[test]
fn files_in_packs_that_were_marked_after_they_were_looked_at_are_read_when_it_begins_again() {
    marked_behind((StorageVerb::GetRange, ObjectKind::Pack));
}

/// Packs with nothing but chunks of files.
fn packs_of_data_alone(scene: &Scene) -> Vec<MarkedPack> {
    let lookup = scene.repo.lookup().unwrap();
    let entries: Vec<_> = lookup.iter_rows().unwrap().map(Result::unwrap).collect();
    let has_more = |pack: ObjectId| {
        let other = |entry: &IndexEntry| entry.location.kind != BlobKind::Data;
        entries
            .iter()
            .any(|entry| entry.location.pack == pack && other(entry))
    };
    let listed = scene.storage.list(ObjectKind::Pack).unwrap();
    let mut packs: Vec<_> = listed
        .iter()
        .filter(|listed| !has_more(listed.name.id))
        .map(|listed| MarkedPack {
            pack: listed.name.id,
            len: listed.len,
        })
        .collect();
    packs.sort();
    packs
}

#[test]
fn a_snapshot_rests_on_the_packs_of_files_that_were_not_read_though_its_trees_lie_elsewhere() {
    let scene = Scene::new();
    scene.file("home/large", noise(4, 16 << 20));
    Scene::rest();
    scene.backup_with(|_| ());
    let packs = packs_of_data_alone(&scene);
    assert!(!packs.is_empty());
    let (aside, marked) = (scene.repo.clone(), packs.clone());
    let at = (StorageVerb::GetRange, ObjectKind::Pack);
    let hooked = Hooked::once(&scene.storage, at, move || {
        let (when, packs, replaces) = (UnixNanos(1), marked.clone(), None);
        aside
            .put_mark(&DeletionMark {
                when,
                packs,
                replaces,
            })
            .unwrap();
    });
    let outcome = scene.backup_over(hooked, |_| ());
    assert!(outcome.blobs_new > 0, "what they hold is stored again");
    // As a sweep does.
    for pack in packs {
        let name = ObjectName::new(ObjectKind::Pack, pack.pack);
        scene.storage.delete(name).unwrap();
    }
    scene.is_right("home");
}

#[test]
fn a_killed_backup_is_taken_up() {
    let scene = Scene::new();
    scene.file("home/large", noise(2, 20 << 20));
    let dies = Hooked::before(&scene.storage, |asked| match (asked.verb, asked.kind) {
        (StorageVerb::Put, ObjectKind::Snapshot | ObjectKind::Index) => Err(levault::error::Error::new(
            levault::error::ErrorKind::Io,
            "killed",
        )),
        _ => Ok(()),
    });
    let repo = scene.repo.with_storage(Arc::new(dies));
    let backup = Backup::new(vec![scene.path("home")]);
    backup
        .run(&repo, &levault::report::OperationReport::default())
        .unwrap_err();
    let outcome = scene.backup_with(|_| ());
    assert!(
        outcome.bytes_added < 5 << 20,
        "{} bytes stored again",
        outcome.bytes_added
    );
    scene.is_right("home");
    scene.is_sound();
}

#[test]
fn a_list_of_chunks_that_is_lost_has_the_file_read() {
    let scene = Scene::new();
    // More chunks than stand in place.
    scene.file("home/large", noise(3, 12 << 20));
    Scene::rest();
    scene.backup_with(|_| ());
    let lookup = scene.repo.lookup().unwrap();
    let list = lookup.iter_rows().unwrap().map(Result::unwrap);
    let packs: std::collections::BTreeSet<_> = list
        .filter(|entry| entry.location.kind == levault::blob::BlobKind::List)
        .map(|entry| entry.location.pack)
        .collect();
    assert!(!packs.is_empty());
    for id in packs {
        let kind = ObjectKind::Pack;
        scene.storage.delete(ObjectName { kind, id }).unwrap();
    }
    scene.backup_with(|_| ());
    scene.is_right("home");
}
