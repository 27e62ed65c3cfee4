//! `history`: what became of one key.

use serde_json::Value;

use crate::{delete, orders, put, snapshots_after};

#[test]
fn each_value_is_told_with_its_first_and_last_snapshot() {
    let (tool, _) = snapshots_after(&[
        &orders(50),
        &[put("key", "one")],
        &[put("other", "x")],
        &[put("key", "two")],
        &[delete("key")],
        &[put("key", "one")],
    ]);
    let ids: Vec<String> = tool.run(["snapshots", "--json"]).ok().json_lines()[0]
        .as_array()
        .unwrap()
        .iter()
        .map(|snapshot| snapshot["id"].as_str().unwrap().to_owned())
        .collect();
    let ended = tool.run(["history", "key", "--json"]).ok();
    let lines = ended.json_lines();
    let told = |line: &Value| {
        let place = |name: &str| ids.iter().position(|id| line[name] == **id).unwrap();
        let value = line["value"].as_str().unwrap_or("absent").to_owned();
        (place("first_snapshot"), place("last_snapshot"), value)
    };
    let versions: Vec<_> = lines
        .iter()
        .filter(|line| line["message_type"] == "version")
        .map(told)
        .collect();
    let expected = [
        (0, 0, "absent"),
        (1, 2, "one"),
        (3, 3, "two"),
        (4, 4, "absent"),
        (5, 5, "one"),
    ];
    assert_eq!(
        versions,
        expected.map(|(first, last, value)| (first, last, value.to_owned()))
    );
    assert_eq!(lines[1]["snapshots"], 2);
    assert_eq!(lines[1]["key"], "key");
    assert_eq!(ended.summary()["versions"], 5);

    let text = tool.run(["history", "--key-hex", "6b6579"]).ok().text();
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(text.lines().nth(1).unwrap().ends_with("  one"), "{text}");
}

#[test]
fn databases_are_told_apart_and_one_that_never_had_the_key_is_silent() {
    let (tool, db) = snapshots_after(&[&[put("key", "one")]]);
    let other = tool.path("other");
    crate::common::write(&other, &[put("key", "elsewhere")]);
    let empty = tool.path("third");
    crate::common::write(&empty, &[put("x", "y")]);
    for db in [&db, &other, &empty] {
        tool.backup(db).ok();
    }
    let all = tool.run(["history", "key", "--json"]).ok().json_lines();
    let names: Vec<_> = all[..all.len() - 1]
        .iter()
        .map(|line| line["db"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["other", "shop"]);
    let one = tool
        .run(["history", "key", "--db", "other", "--json"])
        .ok()
        .json_lines();
    assert_eq!(one[0]["value"], "elsewhere");
    assert_eq!(one.len(), 2);
    tool.run(["history", "key", "--host", "nobody's"]).exits(1);
}

#[test]
fn a_key_that_no_snapshot_has_fails_and_says_so() {
    let (tool, _) = snapshots_after(&[&orders(3)]);
    let ended = tool.run(["history", "no such key"]).exits(1);
    assert!(ended.stderr.contains("no such key"), "{}", ended.stderr);
}
