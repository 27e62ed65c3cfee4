//! Commands that only read, or only say what they would do, held to the repository they leave behind.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::machine::needs_mount_namespace;
use crate::support::tool::{Ended, Tool};

/// Repository with two snapshots of a directory and a database, one of them forgotten, and another repository with none.
fn scene() -> Tool {
    let tool = Tool::new();
    let source = tool.path("source");
    std::fs::create_dir(&source).unwrap();
    database(&source.join("db"));
    for content in ["one", "two", "three"] {
        std::fs::write(source.join("f"), content).unwrap();
        tool.run(["backup", source.to_str().unwrap()]).ok();
    }
    tool.run(["forget", "latest~2"]).ok();
    let other = tool.path("other");
    tool.run(["init", "-r", other.to_str().unwrap()]).ok();
    tool
}

fn database(path: &Path) {
    let mut db = rusty_leveldb::DB::open(path, rusty_leveldb::Options::default()).unwrap();
    db.put(b"key", b"value").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
}

/// What only reads or is a dry run, with the exit code that it has; `{}` is the test's directory.
const READERS: [&str; 31] = [
    "snapshots",
    "snapshots --json latest",
    "ls latest",
    "ls latest:source/db --keys",
    "get latest:source/db key",
    "dump latest:source/f",
    "dump latest:source",
    "dump latest:source/db --format raw",
    "diff latest~1 latest",
    "history key",
    "find f",
    "stats",
    "undelete",
    "key list",
    "version",
    "restore latest --target {}/to --dry-run",
    "restore latest --target {}/restored",
    "forget --keep-last 1 --dry-run",
    "forget latest --dry-run",
    "forget --keep-last 1 --prune --dry-run",
    "forget --keep-last 1 --prune --grace 0s --unsafe-grace --dry-run",
    "prune --dry-run",
    "prune --grace 0s --unsafe-grace --repack-outdated --max-unused 0 --dry-run",
    "backup {}/source --dry-run",
    "backup {}/source --dry-run --full",
    "copy --dry-run --from-repo {}/other",
    "repair config",
    "repair index",
    "repair packs",
    "repair snapshots",
    "rescue {}/source/db --output {}/rescued",
];

/// Every file and directory below with what a write to it would change.
fn tree(root: &Path) -> BTreeMap<PathBuf, (i64, i64, i64, i64, u64)> {
    let entries = walkdir::WalkDir::new(root)
        .into_iter()
        .map(|entry| entry.unwrap());
    let facts = |entry: walkdir::DirEntry| {
        let meta = entry.metadata().unwrap();
        let times = (
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
            meta.len(),
        );
        (entry.into_path(), times)
    };
    entries.map(facts).collect()
}

fn words(tool: &Tool, line: &str) -> Vec<String> {
    let here = tool.dir.path().to_str().unwrap();
    line.split(' ').map(|word| word.replace("{}", here)).collect()
}

#[test]
fn what_reads_or_is_a_dry_run_changes_nothing_in_the_repository() {
    let tool = scene();
    for line in READERS {
        let before = (tree(&tool.repository()), tree(&tool.path("other")));
        let _ = std::fs::remove_dir_all(tool.path("restored"));
        let mut command = tool.command();
        command.env("LEVAULT_FROM_PASSWORD", crate::support::tool::PASSWORD);
        Ended::of(command.args(words(&tool, line))).ok();
        let after = (tree(&tool.repository()), tree(&tool.path("other")));
        assert!(before == after, "{line} changed the repository");
    }
}

#[test]
fn what_reads_or_is_a_dry_run_works_where_nothing_may_be_written() {
    if !needs_mount_namespace() {
        return;
    }
    let tool = scene();
    let here = tool.dir.path().to_str().unwrap().to_owned();
    let read_only = format!(
        "for r in repository other; do mount --bind {here}/$r {here}/$r && mount -o remount,bind,ro {here}/$r || exit 77; done; \
         touch {here}/repository/x 2>/dev/null && exit 77; exec \"$@\"",
    );
    let also = ["check", "check --read-data", "repair heal", "unlock"];
    for line in READERS.into_iter().chain(also) {
        let usual = tool.command();
        let _ = std::fs::remove_dir_all(tool.path("restored"));
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            &read_only,
            "sh",
        ]);
        command.arg(usual.get_program()).args(words(&tool, line));
        for (name, value) in usual.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("LEVAULT_FROM_PASSWORD", crate::support::tool::PASSWORD);
        let ended = Ended::of(&mut command);
        ended.ok();
    }
}
