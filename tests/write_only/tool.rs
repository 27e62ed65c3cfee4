//! The road as people walk it: `key add --write-only`, a credential file, `backup --credential`, and what is refused.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::support::tool::{Ended, Tool, files_below};
use super::*;

const FILE: &str = "web.credential";

fn tool() -> Tool {
    let tool = Tool::in_memory();
    common::fill(&tool.path("shop"), 200, 100);
    add(&tool, &["--label", "web", "--new-insecure-no-password"]).ok();
    tool
}

fn add(tool: &Tool, args: &[&str]) -> Ended {
    let mut command = tool.command();
    command.args(["key", "add", "--write-only", "--json", "--output"]);
    Ended::of(command.arg(tool.path(FILE)).args(args))
}

/// As the host runs it: it knows no password of the repository.
fn host(tool: &Tool) -> Command {
    let mut command = tool.command();
    command
        .env_remove("LEVAULT_PASSWORD")
        .env("LEVAULT_CACHE_DIR", tool.path("host-cache"))
        .arg("--insecure-no-password")
        .arg("--credential")
        .arg(tool.path(FILE));
    command
}

#[test]
fn a_host_saves_with_its_credential_and_the_owner_restores() {
    let tool = tool();
    let mode = std::fs::metadata(tool.path(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for _ in 0..2 {
        let saved = Ended::of(host(&tool).args(["backup", "--json"]).arg(tool.path("shop"))).ok();
        assert!(saved.summary()["snapshot_id"].is_string());
    }
    let listed = tool.run(["snapshots", "--json"]).ok().json_lines().remove(0);
    let domains: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["domain"].as_u64())
        .collect();
    assert_eq!(domains, [Some(1), Some(1)]);
    tool.restore("latest", &tool.path("back")).ok();
    assert_eq!(
        common::scan(&tool.path("back")).unwrap(),
        common::scan(&tool.path("shop")).unwrap()
    );
    for args in [
        &["check", "--read-data"][..],
        &["ls", "latest", "--keys"],
        &["diff", "latest~1", "latest@1"],
        &["find", "--prefix", "key"],
        &["stats"],
        &["prune"],
        &["forget", "--keep-last", "1"],
    ] {
        Ended::of(tool.command().args(args)).ok();
    }
    let keys = tool.run(["key", "list", "--json"]).ok().json_lines().remove(0);
    assert_eq!(keys[1]["label"], "web");
    assert_eq!(keys[1]["kind"], "write-only");
}

#[test]
fn the_owner_sets_aside_what_nobody_can_read() {
    let tool = tool();
    tool.backup(&tool.path("shop")).ok();
    let name = ObjectName::of_content(ObjectKind::Snapshot, b"junk");
    std::fs::write(tool.repository().join(name.path()), b"junk").unwrap();
    assert_ne!(tool.run(["prune"]).code, 0);
    let listed = tool.run(["quarantine", "list", "--json"]).ok().json_lines();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["quarantined"], false);
    let id = name.id.to_hex();
    tool.run(["quarantine", "add", &id[..10]]).ok();
    tool.run(["prune"]).ok();
    let snapshots = tool.run(["snapshots"]).ok();
    assert!(snapshots.stderr.contains("set aside"), "{}", snapshots.stderr);
    tool.run(["quarantine", "remove", &id]).ok();
    assert_ne!(tool.run(["prune"]).code, 0);
}

/// Whatever else it is asked, the credential is refused with exit code 1, and nothing is touched.
#[test]
fn a_credential_is_refused_by_every_other_verb_before_anything_is_touched() {
    let tool = tool();
    Ended::of(host(&tool).arg("backup").arg(tool.path("shop"))).ok();
    let before = tool.repository_files();
    let target = tool.path("target");
    let target = target.to_str().unwrap();
    for args in [
        &["snapshots"][..],
        &["ls", "latest"],
        &["get", "latest", "key"],
        &["dump", "latest"],
        &["diff", "latest", "latest"],
        &["history", "key"],
        &["find", "key"],
        &["restore", "latest", "--target", target],
        &["forget", "latest"],
        &["undelete"],
        &["tag", "latest", "--add", "x"],
        &["protect", "latest"],
        &["unprotect", "latest"],
        &["check"],
        &["stats"],
        &["prune"],
        &["key", "list"],
        &["key", "rotate"],
        &["key", "export-recovery"],
    ] {
        let ended = Ended::of(host(&tool).args(args));
        assert_eq!(ended.code, 1, "{args:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("credential can back up and nothing else"),
            "{args:?}: {}",
            ended.stderr
        );
    }
    assert_eq!(tool.repository_files(), before);
    assert!(!tool.path("target").exists());
}

#[test]
fn a_credential_file_is_never_written_over_and_takes_its_password() {
    let tool = tool();
    let before = std::fs::read(tool.path(FILE)).unwrap();
    let keyrings = || files_below(&tool.repository().join("keyring")).len();
    let rings = keyrings();
    assert_eq!(
        add(&tool, &["--label", "other", "--new-insecure-no-password"]).code,
        1
    );
    assert_eq!(std::fs::read(tool.path(FILE)).unwrap(), before);
    assert_eq!(keyrings(), rings, "no host was added for it");
    std::fs::remove_file(tool.path(FILE)).unwrap();
    let mut again = tool.command();
    again.env("LEVAULT_NEW_PASSWORD", "the file's").args([
        "key",
        "add",
        "--write-only",
        "--domain",
        "1",
        "--output",
    ]);
    Ended::of(again.arg(tool.path(FILE))).ok();
    assert_eq!(keyrings(), rings, "another credential of the same host");
    let run = |password: &str| {
        let mut command = tool.command();
        command
            .env("LEVAULT_PASSWORD", password)
            .env("LEVAULT_CREDENTIAL", tool.path(FILE));
        Ended::of(command.arg("backup").arg(tool.path("shop"))).code
    };
    assert_eq!((run("wrong"), run("the file's")), (12, 0));
    let removed = tool.run(["key", "remove", "domain:1"]);
    assert_eq!(removed.code, 2, "{}", removed.stderr);
    assert!(
        removed.stderr.contains("access to the storage"),
        "{}",
        removed.stderr
    );
}

/// What a host stored is repaired like the owner's, by the owner.
#[test]
fn damage_in_a_hosts_domain_is_found_named_and_repaired() {
    let tool = tool();
    Ended::of(host(&tool).arg("backup").arg(tool.path("shop"))).ok();
    let stored = |folder: &str| {
        let below = tool.repository().join(folder);
        let mut files = files_below(&below);
        files.sort_by_key(|(_, bytes)| bytes.len());
        files.pop().unwrap()
    };
    let damage = |(path, mut bytes): (std::path::PathBuf, Vec<u8>)| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, bytes).unwrap();
    };
    damage(stored("index"));
    tool.run(["check"]).exits(25);
    tool.run(["repair", "index", "--apply"]).ok();
    tool.run(["check", "--read-data"]).ok();
    damage(stored("packs"));
    tool.run(["check", "--read-data"]).exits(25);
    let packs = tool.run(["repair", "packs", "--apply", "--json"]).exits(3);
    assert_eq!(packs.summary()["domain"], 1);
    let name = stored("packs")
        .0
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    tool.run(["repair", "packs", &name[..8]]).exits(3);
    tool.run(["repair", "packs", "ffffffff"]).exits(1);
    tool.run(["repair", "snapshots", "--apply"]).exits(3);
    tool.restore("latest", &tool.path("back")).exits(3);
    Ended::of(host(&tool).arg("backup").arg(tool.path("shop"))).ok();
    tool.restore("latest", &tool.path("whole")).ok();
    assert_eq!(
        common::scan(&tool.path("whole")).unwrap(),
        common::scan(&tool.path("shop")).unwrap()
    );
}
