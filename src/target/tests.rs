//! What may go wrong with a target: it is in use, it is not empty, the disk is full, the process dies, a path
//! leads out. In each case the target must be as it was.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::FlockOperation;
use tempfile::TempDir;

use super::*;
use crate::error::ErrorKind;
use crate::leveldb::table_builder::{FinishedTable, TableBuilder};
use crate::leveldb::{Comparator, DatabaseLayout};

fn table(keys: &[&str]) -> FinishedTable {
    let mut builder = TableBuilder::new(&DatabaseLayout::default(), &Comparator::Bytewise).unwrap();
    for key in keys {
        builder.add(key.as_bytes(), b"value").unwrap();
    }
    builder.finish().unwrap()
}

fn database(target: &Path) -> crate::error::Result<DatabaseTarget> {
    DatabaseTarget::create(target, &DatabaseLayout::default(), &Comparator::Bytewise)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("database");
    (directory, target)
}

#[test]
fn nothing_is_seen_before_it_is_published() {
    let (parent, target) = place();
    let writing = database(&target).unwrap();
    writing.write_table(1, &table(&["a", "b"])).unwrap();
    assert_eq!(names(parent.path()).len(), 1, "only the stage");
    let mode = fs::metadata(writing.stage_path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let staged = writing.finish().unwrap();
    assert!(!target.exists());
    assert_eq!(names(staged.path()), ["000001.ldb", "CURRENT", "MANIFEST-000002"]);
    staged.publish().unwrap();
    assert_eq!(names(parent.path()), ["database"]);
    assert_eq!(fs::read(target.join("CURRENT")).unwrap(), b"MANIFEST-000002\n");
}

#[test]
fn a_published_directory_has_the_mode_of_the_one_it_replaces() {
    let (_parent, target) = place();
    fs::create_dir(&target).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o750)).unwrap();
    database(&target).unwrap().finish().unwrap().publish().unwrap();
    let mode = fs::metadata(&target).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o750);
}

#[test]
fn dropped_at_any_point_it_leaves_nothing() {
    let (parent, target) = place();
    drop(database(&target).unwrap());
    let writing = database(&target).unwrap();
    writing.write_table(1, &table(&["a"])).unwrap();
    drop(writing);
    drop(database(&target).unwrap().finish().unwrap());
    drop(FileTarget::create(&target).unwrap());
    assert_eq!(names(parent.path()), [""; 0]);
}

#[test]
fn a_target_in_use_or_not_empty_is_refused() {
    let (parent, target) = place();
    fs::write(&target, "a file").unwrap();
    assert_eq!(check_target_free(&target).unwrap_err().kind(), ErrorKind::Exists);
    fs::remove_file(&target).unwrap();
    symlink(parent.path().join("nowhere"), &target).unwrap();
    assert_eq!(check_target_free(&target).unwrap_err().kind(), ErrorKind::Usage);
    fs::remove_file(&target).unwrap();
    fs::create_dir(&target).unwrap();
    check_target_free(&target).unwrap();
    fs::write(target.join("LOCK"), "").unwrap();
    assert_eq!(check_target_free(&target).unwrap_err().kind(), ErrorKind::Exists);
    let lock = fs::File::open(target.join("LOCK")).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    assert_eq!(check_target_free(&target).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(database(&target).unwrap_err().kind(), ErrorKind::Busy);
    rustix::fs::flock(&lock, FlockOperation::Unlock).unwrap();
    assert_eq!(check_target_free(&target).unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(names(&target), ["LOCK"]);
    assert_eq!(names(parent.path()), ["database"]);
    assert_eq!(
        check_target_free(Path::new("/")).unwrap_err().kind(),
        ErrorKind::Usage
    );
    assert_eq!(
        check_target_free(&parent.path().join("..")).unwrap_err().kind(),
        ErrorKind::Exists
    );
}

/// Runs the named test of this file in a process of its own, which finds `target` in its environment.
fn in_child(test: &str, target: &Path, shell: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{shell} exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("target::tests::{test}"), "--nocapture"])
        .env(CHILD, target)
        .stdout(Stdio::piped());
    command
}

const CHILD: &str = "LEVAULT_TEST_CHILD_TARGET";

fn child_target() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

fn wait_for_line(child: &mut std::process::Child, wanted: &str) {
    use std::io::BufRead;
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    assert!(output.lines().any(|line| line.unwrap().contains(wanted)));
}

#[test]
fn a_lock_by_fcntl_is_seen_too() {
    if let Some(target) = child_target() {
        let lock = fs::File::create(target.join("LOCK")).unwrap();
        rustix::fs::fcntl_lock(&lock, FlockOperation::LockExclusive).unwrap();
        println!("held");
        std::thread::sleep(std::time::Duration::from_secs(60));
        return;
    }
    let (_parent, target) = place();
    fs::create_dir(&target).unwrap();
    let mut child = in_child("a_lock_by_fcntl_is_seen_too", &target, "")
        .spawn()
        .unwrap();
    wait_for_line(&mut child, "held");
    assert_eq!(check_target_free(&target).unwrap_err().kind(), ErrorKind::Busy);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(check_target_free(&target).unwrap_err().kind(), ErrorKind::Exists);
}

/// A child that another thread forks has the owner's descriptors until it executes its program.
#[test]
fn a_lock_that_is_let_go_of_in_a_moment_is_waited_for() {
    let (_parent, target) = place();
    fs::create_dir(&target).unwrap();
    let hold = || {
        let lock = fs::File::create(target.join("LOCK")).unwrap();
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
        std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(60));
            drop(lock);
        })
    };
    let other = hold();
    super::refuse_locked(&target).unwrap();
    other.join().unwrap();
    let other = hold();
    super::lock_database(&target).unwrap();
    other.join().unwrap();
}

#[test]
fn what_a_killed_restore_left_is_removed_and_a_running_one_is_spared() {
    if let Some(target) = child_target() {
        let writing = database(&target).unwrap();
        writing.write_table(1, &table(&["a"])).unwrap();
        println!("staged");
        std::thread::sleep(std::time::Duration::from_secs(60));
        return;
    }
    let (parent, target) = place();
    let test = "what_a_killed_restore_left_is_removed_and_a_running_one_is_spared";
    let mut child = in_child(test, &target, "").spawn().unwrap();
    wait_for_line(&mut child, "staged");
    drop(database(&target).unwrap());
    assert_eq!(names(parent.path()).len(), 1, "it runs");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(database(&parent.path().join("data")).unwrap());
    assert_eq!(
        names(parent.path()).len(),
        1,
        "another target's restore leaves it"
    );
    drop(database(&target).unwrap());
    assert_eq!(names(parent.path()), [""; 0]);
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    if let Some(target) = child_target() {
        let writing = database(&target).unwrap();
        let mut builder = TableBuilder::new(&DatabaseLayout::default(), &Comparator::Bytewise).unwrap();
        let random: Vec<u8> = (0..100_000u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_769).to_le_bytes())
            .collect();
        builder.add(b"key", &random).unwrap();
        let error = writing.write_table(1, &builder.finish().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        drop(writing);
        let files = FileTarget::create(&target).unwrap();
        let error = files.file(Path::new("file")).unwrap().write(&random).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        return;
    }
    // A limit on file sizes stands in for the disk: a filesystem of our own would need privileges.
    let (parent, target) = place();
    let child = in_child(
        "a_full_disk_is_an_error_and_leaves_nothing",
        &target,
        "trap '' XFSZ; ulimit -f 64;",
    );
    let output = { child }.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(names(parent.path()), [""; 0]);
}

#[test]
fn of_two_restores_to_one_target_the_first_to_finish_wins() {
    let (_parent, target) = place();
    let (first, second) = (database(&target).unwrap(), database(&target).unwrap());
    second.write_table(1, &table(&["second"])).unwrap();
    let (first, second) = (first.finish().unwrap(), second.finish().unwrap());
    first.publish().unwrap();
    assert_eq!(second.publish().unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(names(&target), ["CURRENT", "MANIFEST-000001"]);
}

#[test]
fn tables_are_written_by_many_threads_and_listed_by_number() {
    let (_parent, target) = place();
    let writing = database(&target).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let writing = &writing;
            scope.spawn(move || {
                for number in (1..=40).filter(|number| number % 4 == thread) {
                    let key = format!("{number:03}");
                    writing.write_table(number, &table(&[&key])).unwrap();
                }
            });
        }
    });
    let staged = writing.finish().unwrap();
    assert_eq!(names(staged.path()).len(), 42);
}

#[test]
fn tables_that_overlap_are_refused() {
    let (_parent, target) = place();
    let write = |first: [&str; 2], second: [&str; 2]| {
        let writing = database(&target).unwrap();
        writing.write_table(1, &table(&first)).unwrap();
        writing.write_table(2, &table(&second)).unwrap();
        writing.finish()
    };
    for (first, second) in [
        (["a", "c"], ["b", "d"]),
        (["a", "c"], ["c", "d"]),
        (["b", "d"], ["a", "b"]),
    ] {
        assert_eq!(write(first, second).unwrap_err().kind(), ErrorKind::Usage);
    }
    write(["c", "d"], ["a", "b"]).unwrap();
    let writing = database(&target).unwrap();
    writing.write_table(1, &table(&["a"])).unwrap();
    assert_eq!(
        writing.write_table(1, &table(&["b"])).unwrap_err().kind(),
        ErrorKind::Exists
    );
}

#[test]
fn missing_directories_above_the_target_are_made() {
    let (parent, _) = place();
    let target = parent.path().join("deep/deeper/database");
    database(&target).unwrap().finish().unwrap().publish().unwrap();
    assert!(target.join("CURRENT").exists());
}

#[test]
fn files_are_written_below_the_target_only() {
    let (parent, target) = place();
    let files = FileTarget::create(&target).unwrap();
    symlink(parent.path(), files.stage_path().join("link")).unwrap();
    for path in [
        "/etc/passwd",
        "../out",
        "a/../../out",
        "..",
        ".",
        "",
        "a/",
        "./a",
        "link",
        "link/out",
    ] {
        assert!(files.file(Path::new(path)).is_err(), "{path}");
    }
    fs::remove_file(files.stage_path().join("link")).unwrap();
    for path in ["CURRENT", "a/b/c", "a/b/d"] {
        let mut file = files.file(Path::new(path)).unwrap();
        file.write(b"first ").unwrap();
        file.write(path.as_bytes()).unwrap();
        file.finish().unwrap();
    }
    assert_eq!(
        files.file(Path::new("CURRENT")).unwrap_err().kind(),
        ErrorKind::Exists
    );
    files.finish().unwrap().publish().unwrap();
    assert_eq!(fs::read(target.join("a/b/c")).unwrap(), b"first a/b/c");
    assert_eq!(names(&target), ["CURRENT", "a"]);
    assert_eq!(names(parent.path()), ["database"]);
}

#[test]
fn a_name_near_the_filesystems_limit_is_staged() {
    let (parent, _) = place();
    let target = parent.path().join("n".repeat(250));
    database(&target).unwrap().finish().unwrap().publish().unwrap();
    assert!(target.join("CURRENT").exists());
}

/// A closed database, and a directory that nothing may touch.
fn replaced_and_evidence() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let (target, evidence) = (parent.path().join("db"), parent.path().join("evidence"));
    fs::create_dir(&target).unwrap();
    fs::write(target.join("CURRENT"), "MANIFEST-000001\n").unwrap();
    fs::create_dir(&evidence).unwrap();
    fs::write(evidence.join("file"), "precious").unwrap();
    (parent, target, evidence)
}

#[test]
fn a_directory_that_came_in_the_place_of_the_database_to_be_replaced_is_not_removed() {
    let (parent, target, evidence) = replaced_and_evidence();
    let files = FileTarget::begin(&target, OccupiedTarget::Replace).unwrap();
    fs::rename(&target, parent.path().join("moved")).unwrap();
    fs::rename(&evidence, &target).unwrap();
    let error = files.finish().unwrap().publish().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists, "{error}");
    assert_eq!(fs::read(target.join("file")).unwrap(), b"precious");
    assert!(parent.path().join("moved/CURRENT").exists());
}

#[test]
fn a_directory_that_came_in_the_place_of_the_stage_is_not_removed_with_it() {
    let (parent, target, evidence) = replaced_and_evidence();
    let files = FileTarget::create(&parent.path().join("new")).unwrap();
    let hidden = files.stage_path().parent().unwrap().to_owned();
    fs::rename(&hidden, parent.path().join("moved")).unwrap();
    fs::rename(&evidence, &hidden).unwrap();
    drop(files);
    assert_eq!(fs::read(hidden.join("file")).unwrap(), b"precious");
    assert!(target.exists());
}

#[test]
fn a_directory_that_was_given_the_name_of_a_killed_restores_is_left_alone_and_reported() {
    let (parent, _, evidence) = replaced_and_evidence();
    let named = parent.path().join(".new.levault-restore-0123456789abcdef");
    fs::rename(&evidence, &named).unwrap();
    let left = parent.path().join(".new.levault-restore-1123456789abcdef");
    crate::scratch_directory::tests::leave_to_next_process(&left, &["half"]);
    let files = FileTarget::create(&parent.path().join("new")).unwrap();
    let staged = files.finish().unwrap();
    assert_eq!(staged.unproven_leftovers(), [named.canonicalize().unwrap()]);
    assert!(!left.exists());
    staged.publish().unwrap();
    assert_eq!(fs::read(named.join("file")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(parent.path().join("new")).unwrap().count(), 0);
}

/// Who may not write to a directory may not move it to another, but for root.
#[test]
fn a_directory_that_its_owner_may_not_write_to_is_published_with_that_mode() {
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("new");
    let mut staged = FileTarget::create(&target).unwrap().finish().unwrap();
    let attributes = tree::TargetAttributes {
        mode: Some(0o555),
        ..tree::TargetAttributes::default()
    };
    staged
        .set_attributes(&attributes, &tree::RefusedAttributes::default())
        .unwrap();
    staged.publish().unwrap();
    assert_eq!(
        fs::metadata(&target).unwrap().permissions().mode() & 0o7777,
        0o555
    );
    fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
}
