//! Addresses of other storages, in every command, option and variable that takes a local place.

use std::fs;
use std::path::Path;

use crate::support::tool::{Ended, Tool, files_below};
use crate::{command, with_source};

/// As users of other tools write them, or as they stand in a unit file that no shell expands.
const FOREIGN: [&str; 16] = [
    "s3:s3.host.invalid/bucket",
    "s3://bucket",
    "sftp:user@host.invalid:/srv/repo",
    "sftp://user@host.invalid/srv",
    "rest:http://host.invalid:8000/",
    "rclone:remote:path",
    "b2:bucket:path",
    "azure:container:/",
    "gs:bucket:/",
    "swift:container:/",
    "host.invalid:/srv/repo",
    "user@host.invalid:srv/repo",
    "ssh://host.invalid/srv",
    "file:///srv/repo",
    "~/repo",
    "$HOME/repo",
];

/// Every verb with the words it needs to be parsed.
const VERBS: [&[&str]; 26] = [
    &["init"],
    &["backup", "/etc/hostname"],
    &["backup", "--dry-run", "/etc/hostname"],
    &["snapshots"],
    &["ls", "latest"],
    &["get", "latest", "key"],
    &["dump", "latest"],
    &["diff", "latest", "latest"],
    &["history", "key"],
    &["find", "x"],
    &["restore", "latest", "--target", "made"],
    &["rescue", "/etc", "--output", "made"],
    &["forget", "--keep-last", "1"],
    &["undelete"],
    &["tag", "latest", "--set", "x"],
    &[
        "copy",
        "--from-repo",
        "/nowhere",
        "--from-insecure-no-password",
        "--init",
    ],
    &["protect", "latest"],
    &["unprotect", "latest"],
    &["check"],
    &["repair", "index"],
    &["repair", "snapshots", "--apply"],
    &["stats"],
    &["prune"],
    &["unlock"],
    &["key", "list"],
    &[
        "key",
        "add",
        "--write-only",
        "--output",
        "made",
        "--new-insecure-no-password",
    ],
];

/// Asserts that the run is refused as a usage error and made nothing in its directory.
#[track_caller]
fn refused(ended: Ended, at: &Path) {
    let made: Vec<_> = fs::read_dir(at)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(made.is_empty(), "{} made {made:?}", ended.what);
    assert_eq!(ended.code, 2, "{}\n{}", ended.what, ended.stderr);
}

#[test]
fn an_address_of_another_storage_makes_no_directory_in_any_verb() {
    let tool = Tool::bare();
    let at = tool.path("empty");
    fs::create_dir(&at).unwrap();
    for verb in VERBS {
        let flag = Ended::of(command(&tool, &at, verb).args(["-r", FOREIGN[0]]));
        refused(flag, &at);
    }
    for address in FOREIGN {
        refused(
            Ended::of(command(&tool, &at, &["init", "-r", address]).env_remove("LEVAULT_REPOSITORY")),
            &at,
        );
        refused(
            Ended::of(command(&tool, &at, &["init"]).env("LEVAULT_REPOSITORY", address)),
            &at,
        );
    }
}

#[test]
fn an_address_is_refused_in_files_that_name_a_repository_and_as_source_of_a_copy() {
    let tool = with_source();
    let (at, named) = (tool.path("empty"), tool.path("named"));
    fs::create_dir(&at).unwrap();
    for address in FOREIGN {
        fs::write(&named, address).unwrap();
        let file = named.to_str().unwrap();
        let by_file = Ended::of(&mut command(&tool, &at, &["init", "--repository-file", file]));
        refused(by_file, &at);
        let by_variable = command(&tool, &at, &["init"])
            .env_remove("LEVAULT_REPOSITORY")
            .env("LEVAULT_REPOSITORY_FILE", file)
            .output()
            .unwrap();
        assert_eq!(by_variable.status.code(), Some(2));
        let copy = ["copy", "--from-insecure-no-password"];
        refused(
            Ended::of(command(&tool, &at, &copy).args(["--from-repo", address])),
            &at,
        );
        refused(
            Ended::of(command(&tool, &at, &copy).env("LEVAULT_FROM_REPOSITORY", address)),
            &at,
        );
        refused(
            Ended::of(command(&tool, &at, &copy).args(["--from-repository-file", file])),
            &at,
        );
    }
}

#[test]
fn an_address_is_refused_wherever_something_would_be_written() {
    let tool = with_source();
    tool.backup(&tool.path("source")).ok();
    let at = tool.path("empty");
    fs::create_dir(&at).unwrap();
    for address in FOREIGN {
        for words in [
            &["restore", "latest", "--target", address][..],
            &["dump", "latest:source/f", "--target", address],
            &["rescue", "/etc", "--output", address],
            &["capture", "/etc", address],
            &[
                "key",
                "add",
                "--write-only",
                "--new-insecure-no-password",
                "--output",
                address,
            ],
            &["snapshots", "--cache-dir", address],
        ] {
            refused(Ended::of(&mut command(&tool, &at, words)), &at);
        }
        refused(
            Ended::of(command(&tool, &at, &["snapshots"]).env("LEVAULT_CACHE_DIR", address)),
            &at,
        );
    }
}

#[test]
fn a_path_is_a_path_if_it_says_so() {
    let tool = Tool::bare();
    let at = tool.path("work");
    fs::create_dir(&at).unwrap();
    for (named, made) in [
        ("./host:x", "host:x"),
        ("local:s3:y", "s3:y"),
        ("./~", "~"),
        ("plain", "plain"),
    ] {
        Ended::of(&mut command(&tool, &at, &["init", "-r", named])).ok();
        assert!(!files_below(&at.join(made)).is_empty(), "{named}");
    }
}
