//! The repository's life as users meet it: space given back, passwords changed. Each test runs the real program.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod support;

use std::path::{Path, PathBuf};

use support::tool::{Ended, PASSWORD, Tool};

fn write(db: &Path, version: u8) {
    let mut db = rusty_leveldb::DB::open(db, rusty_leveldb::Options::default()).unwrap();
    for i in 0..400_u32 {
        let value = blake3::hash(&[&i.to_le_bytes()[..], &[version]].concat());
        db.put(&i.to_be_bytes(), &value.as_bytes().repeat(8)).unwrap();
    }
    db.flush().unwrap();
    db.close().unwrap();
}

/// A repository with two snapshots that have nothing in common.
fn two_snapshots() -> (Tool, PathBuf) {
    let tool = Tool::new();
    let db = tool.path("shop");
    for version in [1, 2] {
        write(&db, version);
        Ended::of(tool.command().args(["backup", "--no-pins"]).arg(&db)).ok();
    }
    (tool, db)
}

fn packs(tool: &Tool) -> u64 {
    let files = tool.repository_files();
    let packs = files
        .iter()
        .filter(|(path, _)| path.to_string_lossy().contains("packs/"));
    packs.map(|(_, bytes)| bytes.len() as u64).sum()
}

#[test]
fn prune_gives_back_what_was_forgotten_and_says_what_it_would_do_before() {
    let (tool, _) = two_snapshots();
    let before = packs(&tool);
    tool.run(["forget", "latest~1"]).ok();
    let hasty = ["prune", "--grace", "0"];
    let refused = tool.run(hasty).exits(2);
    assert!(refused.stderr.contains("--unsafe-grace"), "{}", refused.stderr);
    let now = ["prune", "--grace", "0", "--unsafe-grace", "--json"];
    let dry = tool.run(now.into_iter().chain(["-n"])).ok().summary();
    assert_eq!(packs(&tool), before);
    assert!(
        dry["packs_dead"].as_u64().unwrap() + dry["packs_repacked"].as_u64().unwrap() > 0,
        "{dry}"
    );
    let done = tool.run(now).ok().summary();
    assert!(done["bytes_deleted"].as_u64().unwrap() > before / 3, "{done}");
    assert!(packs(&tool) < before * 2 / 3);
    tool.run(["check", "--read-data"]).ok();
    let text = tool.run(["prune"]).ok().text();
    assert!(text.contains("in use"), "{text}");
}

#[test]
fn forget_and_prune_in_one_mark_and_delete_nothing_before_the_grace() {
    let (tool, _) = two_snapshots();
    let before = packs(&tool);
    let ended = tool.run(["forget", "--keep-last", "1", "--prune", "--json"]).ok();
    assert_eq!(ended.summary()["grace_seconds"], 72 * 3600);
    assert!(packs(&tool) >= before);
    let listed = tool.run(["undelete"]).ok().text();
    assert!(listed.lines().count() > 0, "{listed}");
}

#[test]
fn passwords_are_added_changed_and_removed() {
    let (tool, _) = two_snapshots();
    let with = |password: &str, args: &[&str]| {
        Ended::of(
            tool.command()
                .args(args)
                .env("LEVAULT_PASSWORD", password)
                .env("LEVAULT_NEW_PASSWORD", "second"),
        )
    };
    with(PASSWORD, &["key", "add", "--label", "a colleague"]).ok();
    with("second", &["snapshots"]).ok();
    Ended::of(
        tool.command()
            .args(["key", "passwd"])
            .env("LEVAULT_NEW_PASSWORD", "third"),
    )
    .ok();
    with(PASSWORD, &["snapshots"]).exits(12);
    with("third", &["dump", "latest"]).ok();
    let slots = with("third", &["--json", "key", "list"]).ok().text();
    let slots: serde_json::Value = serde_json::from_str(&slots).unwrap();
    let other = slots
        .as_array()
        .unwrap()
        .iter()
        .find(|slot| slot["current"] == false)
        .unwrap();
    with("third", &["key", "remove", &other["id"].as_str().unwrap()[..8]]).ok();
    with("second", &["snapshots"]).exits(12);
    with("third", &["key", "remove", "nothing"]).exits(1);
    with("third", &["key", "rotate", "--repack"]).ok();
    let sheet = with("third", &["key", "export-recovery"]).ok().text();
    let line = sheet.lines().find(|line| line.starts_with("password")).unwrap();
    with(line.split_whitespace().nth(1).unwrap(), &["check", "--read-data"]).ok();
}

#[test]
fn unlock_takes_the_lease_of_a_killed_prune_away() {
    let (tool, _) = two_snapshots();
    let leases = tool.repository().join("leases");
    let mut prune = tool.command();
    let mut child = prune
        .args(["prune"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let held = || std::fs::read_dir(&leases).is_ok_and(|mut leases| leases.next().is_some());
    while !held() && child.try_wait().unwrap().is_none() {}
    let _ = child.kill();
    child.wait().unwrap();
    if held() {
        let refused = tool.run(["prune"]).exits(11);
        assert!(refused.stderr.contains("levault unlock"), "{}", refused.stderr);
        assert_eq!(tool.run(["unlock", "--json"]).ok().summary()["leases_removed"], 1);
    }
    tool.run(["prune"]).ok();
    assert_eq!(tool.run(["unlock", "--json"]).ok().summary()["leases_removed"], 0);
}
