//! `forget`, `undelete`, `tag`, `protect` and `unprotect` as their users meet them: words, JSON, exit codes.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;
mod support;

use serde_json::{Value, json};
use support::tool::{Ended, Tool};

/// A repository with so many snapshots of a small database; their ids, oldest first.
fn backed_up(snapshots: usize) -> (Tool, Vec<String>) {
    let tool = Tool::new();
    let db = tool.path("shop");
    common::fill(&db, 20, 20);
    let ids = (0..snapshots).map(|number| {
        let mut command = tool.command();
        command.args(["backup", "--json", "--host", "till"]).arg(&db);
        if number == 0 {
            command.args(["--tag", "first"]);
        }
        let summary = Ended::of(&mut command).ok().summary();
        summary["snapshot_id"].as_str().unwrap().to_owned()
    });
    let ids = ids.collect();
    (tool, ids)
}

fn run(tool: &Tool, args: &[&str]) -> Ended {
    Ended::of(tool.command().env("TZ", "UTC").args(args))
}

fn listed(tool: &Tool) -> Vec<String> {
    let all = run(tool, &["snapshots", "--json"]).ok().json_lines().remove(0);
    ids(&all)
}

fn ids(all: &Value) -> Vec<String> {
    let all = all.as_array().unwrap().iter();
    all.map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn forget_without_a_policy_or_with_one_that_makes_no_sense_exits_2_and_forgets_nothing() {
    let (tool, all) = backed_up(2);
    for args in [
        &["forget"][..],
        &["forget", "--keep-last", "0"],
        &["forget", "--keep-last", "-2"],
        &["forget", "--keep-within", "1w"],
        &["forget", "--keep-daily", "x"],
        &["forget", "--keep-last", "1", "--group-by", "day"],
        &["forget", "latest", "--keep-last", "1"],
        &["forget", "latest", "--host", "till"],
        &["forget", "--unsafe-allow-remove-all"],
        &["forget", "--keep-tag", "nobody has it", "--host", "till"],
        &["forget", "--host", "till"],
        &["tag", "latest"],
        &["tag", "latest", "--set", "a", "--add", "b"],
        &["tag", "--add", "b"],
        &["protect"],
    ] {
        run(&tool, args).exits(2);
    }
    assert_eq!(listed(&tool), all);
}

#[test]
fn forget_by_policy_says_why_each_snapshot_is_kept() {
    let (tool, all) = backed_up(3);
    let dry = run(&tool, &["forget", "--keep-last", "1", "--group-by", "host", "-n"]).ok();
    assert!(
        dry.text().contains("2 snapshots would be forgotten"),
        "{}",
        dry.text()
    );
    assert_eq!(listed(&tool), all);
    let args = [
        "forget",
        "--keep-last",
        "1",
        "--keep-yearly",
        "2",
        "--keep-tag",
        "first",
        "--group-by",
        "host,db",
    ];
    let text = run(&tool, &args).ok().text();
    let line = |id: &str| {
        text.lines()
            .find(|line| line.contains(&id[..8]))
            .unwrap()
            .to_owned()
    };
    assert!(line(&all[2]).contains("last, yearly 20"), "{text}");
    assert!(line(&all[0]).ends_with("tag first, oldest yearly"), "{text}");
    let said = [
        "snapshots of host till, paths ",
        "hours, days and weeks are those of ",
        "keep 2:",
        "forget 1:",
    ];
    for words in [&said[..], &["1 snapshots are forgotten", "levault undelete"]].concat() {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(listed(&tool), [&*all[0], &all[2]]);
    assert_eq!(run(&tool, &["ls", "latest~1"]).ok().code, 0);
    let text = run(&tool, &["check"]).ok().text();
    assert!(text.contains("1 forgotten snapshots were passed over"), "{text}");
}

#[test]
fn forget_tells_programs_what_restic_does() {
    let (tool, all) = backed_up(2);
    let args = ["forget", "--json", "--keep-last", "1", "--group-by", "host,paths"];
    let ended = run(&tool, &args).ok();
    let lines = ended.json_lines();
    let [groups] = &lines[..] else {
        panic!("{}", ended.text())
    };
    let group = &groups[0];
    assert_eq!((&group["host"], &group["tags"]), (&json!("till"), &Value::Null));
    assert!(group["paths"][0].as_str().unwrap().ends_with("/shop"));
    assert_eq!(
        (ids(&group["keep"]), ids(&group["remove"])),
        (vec![all[1].clone()], vec![all[0].clone()])
    );
    assert_eq!(group["reasons"][0]["snapshot"]["id"], *all[1]);
    assert_eq!(group["reasons"][0]["matches"], json!(["last"]));
    assert_eq!(listed(&tool), all[1..]);
    let forgotten = run(&tool, &["undelete", "--json"]).ok().json_lines().remove(0);
    assert_eq!(ids(&forgotten), all[..1]);
    assert_eq!(
        (&forgotten[0]["why"], &forgotten[0]["words"]),
        (&json!("policy"), &json!("keep-last 1"))
    );
    assert_eq!(forgotten[0]["tags"], json!(["first"]));
}

#[test]
fn all_snapshots_of_a_group_go_only_if_that_is_asked_for() {
    let (tool, all) = backed_up(2);
    let args = ["forget", "--keep-tag", "none", "--group-by", ""];
    let ended = run(&tool, &args).exits(2);
    assert!(
        ended.stderr.contains("--unsafe-allow-remove-all"),
        "{}",
        ended.stderr
    );
    assert_eq!(listed(&tool), all);
    run(&tool, &[&args[..], &["--unsafe-allow-remove-all"]].concat()).ok();
    assert!(listed(&tool).is_empty());
    assert_ne!(run(&tool, &["ls", "latest"]).code, 0);
}

#[test]
fn snapshots_that_are_named_are_forgotten_and_others_that_cannot_be_make_it_incomplete() {
    let (tool, all) = backed_up(4);
    assert_eq!(run(&tool, &["forget", "ffffffff"]).code, 1);
    assert_eq!(listed(&tool), all);
    let text = run(&tool, &["delete", "latest"]).ok().text();
    assert!(text.contains("1 snapshots are forgotten"), "{text}");
    let ended = run(&tool, &["forget", "--json", &all[0][..8], "ffffffff"]).exits(3);
    assert_eq!(
        ended.summary(),
        json!({"message_type": "summary", "forgotten": 1, "failed": 1, "dry_run": false})
    );
    assert!(ended.stderr.contains("ffffffff"), "{}", ended.stderr);
    assert_eq!(listed(&tool), all[1..3]);
    // Again is no failure.
    let ended = run(&tool, &["forget", &all[0]]).ok();
    assert!(ended.stderr.contains("forgotten already"), "{}", ended.stderr);
}

#[test]
fn a_protected_snapshot_is_kept_until_it_is_not() {
    let (tool, all) = backed_up(3);
    run(&tool, &["protect", &all[0][..8]]).ok();
    let ended = run(&tool, &["forget", &all[0][..8]]).exits(2);
    assert!(ended.stderr.contains("levault unprotect"), "{}", ended.stderr);
    let keep_last = ["forget", "--keep-last", "1", "--group-by", "host"];
    let text = run(&tool, &keep_last).ok().text();
    assert!(
        text.lines()
            .any(|line| line.contains(&all[0][..8]) && line.ends_with("protected")),
        "{text}"
    );
    assert_eq!(listed(&tool), [&*all[0], &all[2]]);
    let changed = run(&tool, &["unprotect", "--json", &all[0][..8]]).ok();
    assert_eq!(changed.json_lines()[0]["pinned"], false);
    assert_eq!(changed.summary()["changed_snapshots"], 1);
    run(&tool, &keep_last).ok();
    assert_eq!(listed(&tool), all[2..]);
}

#[test]
fn undelete_lists_what_is_forgotten_and_brings_it_back() {
    let (tool, all) = backed_up(2);
    let text = run(&tool, &["undelete"]).ok().text();
    assert!(text.contains("0 forgotten snapshots"), "{text}");
    run(&tool, &["forget", "latest"]).ok();
    let text = run(&tool, &["undelete"]).ok().text();
    assert!(text.contains(&all[1][..8]) && text.contains("by hand"), "{text}");
    let ended = run(
        &tool,
        &[
            "restore",
            &all[1][..8],
            "--target",
            tool.path("out").to_str().unwrap(),
        ],
    );
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("levault undelete"), "{}", ended.stderr);
    let ended = run(&tool, &["dump", &all[1]]).ok();
    assert!(
        ended.stderr.contains("a prune may take its data"),
        "{}",
        ended.stderr
    );
    assert_eq!(run(&tool, &["undelete", "ffffffff"]).code, 1);
    let text = run(&tool, &["undelete", &all[1][..8]]).ok().text();
    assert!(text.contains("is back"), "{text}");
    assert_eq!(listed(&tool), all);
    run(&tool, &["check", "--read-data"]).ok();
}

#[test]
fn tags_are_set_added_and_removed() {
    let (tool, all) = backed_up(2);
    let tags = |args: &[&str]| {
        let args = [&["tag", "--json", &all[0][..8]], args].concat();
        let changed = run(&tool, &args).ok();
        let all = run(&tool, &["snapshots", "--json"]).ok().json_lines().remove(0);
        assert_eq!(changed.json_lines()[0]["tags"], all[0]["tags"]);
        all[0]["tags"].clone()
    };
    assert_eq!(
        tags(&["--add", "b,a", "--add", "c"]),
        json!(["a", "b", "c", "first"])
    );
    assert_eq!(tags(&["--remove", "first,c"]), json!(["a", "b"]));
    assert_eq!(tags(&["--add", "z", "--remove", "a,z"]), json!(["b"]));
    assert_eq!(tags(&["--set", "x"]), json!(["x"]));
    assert_eq!(tags(&["--set", ""]), json!([]));
    let again = run(&tool, &["tag", "--json", &all[0][..8], "--set", ""]).ok();
    assert_eq!(again.summary()["changed_snapshots"], 0);
    run(&tool, &["tag", &all[0][..8], &all[1][..8], "--set", "y"]).ok();
    let all = run(&tool, &["snapshots", "--json", "--tag", "y"])
        .ok()
        .json_lines()
        .remove(0);
    assert_eq!(all.as_array().unwrap().len(), 2);
}

#[test]
fn a_forgetting_that_cannot_be_read_makes_the_listing_incomplete_and_hides_nothing() {
    let (tool, all) = backed_up(2);
    run(&tool, &["forget", "latest"]).ok();
    let folder = tool.repository().join("forgotten");
    let file = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "damaged").unwrap();
    let ended = run(&tool, &["snapshots", "--json"]).exits(3);
    assert_eq!(ids(&ended.json_lines()[0]), all);
    assert!(
        ended.stderr.contains("may have forgotten are shown"),
        "{}",
        ended.stderr
    );
    run(&tool, &["check"]).exits(25);
    run(&tool, &["dump", "latest"]).ok();
}
