//! The real program: as a user who is not root, and what it says.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;

use rustix::fs::{FileType, Mode};

use super::support::machine;
use super::support::tool::{Ended, Tool};

const NOBODY: u32 = 65_534;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Lets everybody read what is there.
fn open_to_all(root: &Path) {
    for entry in walkdir::WalkDir::new(root) {
        let path = entry.unwrap().into_path();
        set_mode(&path, mode(&path) | if path.is_dir() { 0o755 } else { 0o644 });
    }
}

#[test]
fn a_user_who_is_not_root_gets_what_such_a_user_may_have() {
    if !machine::needs_root() {
        return;
    }
    let tool = Tool::in_memory();
    let source = tool.path("source");
    fs::create_dir_all(source.join("closed")).unwrap();
    fs::write(source.join("program"), "program").unwrap();
    fs::write(source.join("closed/file"), "file").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        source.join("null"),
        FileType::CharacterDevice,
        Mode::RUSR,
        rustix::fs::makedev(1, 3),
    )
    .unwrap();
    set_mode(&source.join("program"), 0o4755);
    set_mode(&source.join("closed"), 0o555);
    tool.backup(&source).ok();
    open_to_all(tool.dir.path());
    let place = tool.path("place");
    fs::create_dir(&place).unwrap();
    chown(&place, Some(NOBODY), Some(NOBODY)).unwrap();
    let target = place.join("target");
    let restore = |flags: &[&str]| {
        let mut command = tool.command_for_any_user();
        command
            .uid(NOBODY)
            .gid(NOBODY)
            .args(["restore", "latest", "--no-cache"]);
        Ended::of(command.args(flags).arg("--target").arg(&target))
    };
    let ended = restore(&[]).exits(3);
    assert!(
        ended.stderr.contains("null") && ended.stderr.contains("only root may make"),
        "{}",
        ended.stderr
    );
    assert_eq!(
        ended.stderr.matches("only root may give").count(),
        1,
        "{}",
        ended.stderr
    );
    assert_eq!(fs::read(target.join("program")).unwrap(), b"program");
    assert_eq!(
        mode(&target.join("program")),
        0o755,
        "the right of another owner is not lent"
    );
    assert_eq!(fs::metadata(target.join("program")).unwrap().uid(), NOBODY);
    assert_eq!(mode(&target.join("closed")), 0o555);
    assert!(!target.join("null").exists());

    set_mode(&target.join("closed/file"), 0o644);
    fs::write(target.join("closed/file"), "changed").unwrap();
    restore(&["--overwrite", "always"]).exits(3);
    assert_eq!(
        fs::read(target.join("closed/file")).unwrap(),
        b"file",
        "its owner may write to a closed directory"
    );
    assert_eq!(mode(&target.join("closed")), 0o555);
}

#[test]
fn it_says_what_it_did_and_what_it_would_do() {
    let tool = Tool::in_memory();
    let source = tool.path("source");
    fs::create_dir_all(source.join("a")).unwrap();
    fs::write(source.join("a/one"), "one").unwrap();
    fs::write(source.join("two"), "two").unwrap();
    tool.backup(&source).ok();
    let target = tool.path("target");
    let restore = |flags: &[&str]| {
        Ended::of(
            tool.command()
                .args(["restore", "latest", "--target"])
                .arg(&target)
                .args(flags),
        )
    };
    let plan = restore(&["--dry-run", "-v"]).ok();
    assert!(
        plan.text().contains("would restore") && plan.text().contains("/a/one"),
        "{}",
        plan.text()
    );
    assert!(!target.exists());
    let summary = restore(&["--json"]).ok().summary();
    assert_eq!(summary["files_restored"], 2);
    assert_eq!(summary["bytes_restored"], 6);
    assert_eq!(summary["verified"], true);
    restore(&[]).exits(1);
    restore(&["--delete"]).exits(2);
    fs::write(target.join("extra"), "extra").unwrap();
    let summary = restore(&["--overwrite", "if-changed", "--delete", "--json"])
        .ok()
        .summary();
    assert_eq!(
        (&summary["files_restored"], &summary["files_skipped"]),
        (&0.into(), &2.into())
    );
    assert_eq!(summary["files_deleted"], 1);
    assert!(!target.join("extra").exists());
}
