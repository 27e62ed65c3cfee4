//! Snapshots that lack something of what was asked for: every command that shows or takes one can tell.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::machine::needs_root;
use crate::support::tool::{Ended, Tool};

/// A user without any rights of his own.
const NOBODY: u32 = 65534;

/// A source with a file and a directory that come and go, beside one that stays.
struct Scene {
    tool: Tool,
    source: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let tool = Tool::new();
        let source = tool.path("source");
        fs::create_dir_all(source.join("sub")).unwrap();
        for name in ["a", "kept", "sub/c"] {
            fs::write(source.join(name), name).unwrap();
        }
        Self { tool, source }
    }

    /// A path that is named and not there, which nobody can read, root neither.
    fn absent(&self) -> PathBuf {
        self.tool.path("absent")
    }

    fn backup_incomplete(&self, words: &[&str]) -> Ended {
        let mut command = self.tool.command();
        command
            .arg("backup")
            .arg(&self.source)
            .arg(self.absent())
            .args(words);
        Ended::of(&mut command).exits(3)
    }

    fn snapshots(&self) -> Vec<Value> {
        let text = self.tool.run(["snapshots", "--json"]).ok().text();
        serde_json::from_str::<Value>(&text)
            .unwrap()
            .as_array()
            .unwrap()
            .clone()
    }
}

#[test]
fn what_a_backup_could_not_read_is_known_to_all_who_use_its_snapshot() {
    let scene = Scene::new();
    let tool = &scene.tool;
    let ended = scene.backup_incomplete(&[]);
    assert!(ended.text().contains("incomplete"), "{}", ended.text());
    let listed = scene.snapshots();
    assert_eq!(listed[0]["incomplete"], true);
    assert_eq!(listed[0]["missing"][0]["path"], scene.absent().to_str().unwrap());
    assert!(tool.run(["snapshots"]).ok().text().contains("INCOMPLETE"));
    assert!(tool.run(["ls", "latest"]).ok().stderr.contains("absent"));
    let json = tool.run(["ls", "latest", "--json"]).ok();
    assert!(
        json.json_lines()
            .iter()
            .any(|line| line["message_type"] == "missing")
    );
    let restored = tool.restore("latest", &tool.path("restored")).exits(3);
    assert!(restored.stderr.contains("absent"), "{}", restored.stderr);
    assert_eq!(fs::read_to_string(tool.path("restored/sub/c")).unwrap(), "sub/c");
    let check = tool.run(["check"]).ok();
    assert!(check.stderr.contains("incomplete"), "{}", check.stderr);
    tool.run(["dump", "latest:/", "--archive", "tar"]).exits(3);
    // What is whole comes back as such.
    tool.run(["dump", "latest:source/a"]).ok();
    tool.restore("latest:source", &tool.path("part")).ok();
    let dry = ["restore", "latest", "--dry-run", "--target", "nowhere"];
    tool.run(dry).exits(3);
}

#[test]
fn a_complete_snapshot_says_nothing_of_the_kind_and_what_is_left_out_is_not_missing() {
    let scene = Scene::new();
    let source = scene.source.to_str().unwrap();
    scene.tool.run(["backup", source, "--exclude", "sub"]).ok();
    let listed = scene.snapshots();
    assert_eq!(
        (&listed[0]["incomplete"], &listed[0]["missing_count"]),
        (&false.into(), &0.into())
    );
    scene.tool.restore("latest", &scene.tool.path("restored")).ok();
}

#[test]
fn a_copy_and_the_memory_of_a_repository_carry_what_is_missing() {
    let scene = Scene::new();
    scene.backup_incomplete(&[]);
    let other = scene.tool.path("other");
    let mut copy = scene.tool.command();
    copy.args(["copy", "--init", "-r"])
        .arg(&other)
        .args(["--from-repo"])
        .arg(scene.tool.repository());
    Ended::of(copy.env("LEVAULT_FROM_PASSWORD", crate::support::tool::PASSWORD)).ok();
    let mut restore = scene.tool.command();
    restore
        .args(["restore", "latest", "-r"])
        .arg(&other)
        .arg("--target")
        .arg(scene.tool.path("restored"));
    Ended::of(&mut restore).exits(3);
}

#[test]
fn a_backup_that_lacks_something_is_not_the_same_as_one_that_does_not() {
    let scene = Scene::new();
    let source = scene.source.to_str().unwrap().to_owned();
    scene.tool.run(["backup", &source]).ok();
    scene.tool.run(["backup", &source, "--skip-if-unchanged"]).ok();
    assert_eq!(scene.snapshots().len(), 1);
    let hook = ["backup", &source, "--skip-if-unchanged", "--post-hook", "exit 1"];
    scene.tool.run(hook).exits(3);
    assert_eq!(scene.snapshots().len(), 2, "it is stored, and says what happened");
}

#[test]
fn a_policy_keeps_the_newest_complete_snapshot_beside_incomplete_ones() {
    let scene = Scene::new();
    let source = scene.source.to_str().unwrap().to_owned();
    fs::write(scene.source.join("a"), "whole").unwrap();
    scene.tool.run(["backup", &source]).ok();
    for content in ["x", "y", "z"] {
        fs::write(scene.source.join("a"), content).unwrap();
        scene
            .tool
            .run(["backup", &source, "--post-hook", "exit 1"])
            .exits(3);
    }
    let forget = scene.tool.run(["forget", "--keep-last", "2"]).ok();
    assert!(forget.text().contains("newest complete"), "{}", forget.text());
    let left = scene.snapshots();
    let incomplete: Vec<_> = left
        .iter()
        .map(|one| one["incomplete"].as_bool().unwrap())
        .collect();
    assert_eq!(incomplete, [false, true, true]);
    assert_eq!(scene.tool.run(["dump", "latest~2:source/a"]).ok().text(), "whole");
}

/// As somebody who may not read all of it.
#[test]
fn an_unreadable_file_and_directory_are_not_taken_for_deleted() {
    if !needs_root() {
        return;
    }
    let tool = Tool::bare();
    let mine = tool.path("mine");
    fs::create_dir_all(mine.join("source/sub")).unwrap();
    for name in ["source/a", "source/kept", "source/sub/c"] {
        fs::write(mine.join(name), name).unwrap();
    }
    let source = mine.join("source");
    chown(&mine, Some(NOBODY), Some(NOBODY)).unwrap();
    let run = |words: &[&str]| {
        let mut command = tool.command_for_any_user();
        command.env("LEVAULT_REPOSITORY", mine.join("repository"));
        command
            .env("LEVAULT_CACHE_DIR", mine.join("cache"))
            .current_dir(&mine);
        Ended::of(command.uid(NOBODY).gid(NOBODY).args(words))
    };
    run(&["init"]).ok();
    run(&["backup", "source"]).ok();
    for name in ["a", "sub"] {
        fs::set_permissions(source.join(name), fs::Permissions::from_mode(0o000)).unwrap();
    }
    fs::remove_file(source.join("kept")).unwrap();
    symlink("x", source.join("link")).unwrap();
    run(&["backup", "source"]).exits(3);
    let diff = run(&["diff", "latest~1", "latest"]).exits(3);
    let sign = |name: &str| {
        let path = format!("{}/{name}", source.display());
        let text = diff.text();
        let line = text.lines().find(|line| line.ends_with(&path));
        line.map(|line| line[..1].to_owned()).unwrap_or_default()
    };
    assert_eq!(
        ["a", "sub/c", "kept", "link"].map(sign),
        ["?", "?", "-", "+"],
        "{}",
        diff.text()
    );
    let restored = run(&["restore", "latest:source/sub", "--target", "out"]).exits(3);
    assert!(restored.stderr.contains("sub"), "{}", restored.stderr);
    run(&["restore", "latest:source/link", "--target", "link"]).ok();
}
