//! `find`: the snapshots that have some keys.

use serde_json::Value;

use crate::{delete, orders, put, snapshots_after};

/// Keys by the number of their snapshot.
fn matches(lines: &[Value]) -> Vec<(usize, String)> {
    let found: Vec<_> = lines
        .iter()
        .filter(|line| line["message_type"] == "match")
        .collect();
    let mut ids: Vec<_> = found.iter().map(|line| line["snapshot"].clone()).collect();
    ids.dedup();
    let number = |line: &Value| ids.iter().position(|id| *id == line["snapshot"]).unwrap();
    let text = |line: &Value| line["key"].as_str().unwrap().to_owned();
    found.into_iter().map(|line| (number(line), text(line))).collect()
}

fn named(pairs: &[(usize, &str)]) -> Vec<(usize, String)> {
    pairs.iter().map(|(at, key)| (*at, (*key).to_owned())).collect()
}

#[test]
fn keys_and_prefixes_are_found_in_each_snapshot_that_has_them() {
    let (tool, _) = snapshots_after(&[
        &orders(30),
        &[put("user/1", "a"), put("user/2", "b")],
        &[delete("user/1")],
    ]);
    let ended = tool.run(["find", "--prefix", "user/", "--json"]).ok();
    let expected = named(&[(0, "user/1"), (0, "user/2"), (1, "user/2")]);
    assert_eq!(matches(&ended.json_lines()), expected);
    assert_eq!(
        (&ended.summary()["hits"], &ended.summary()["snapshots"]),
        (&3.into(), &2.into())
    );

    let keys = tool
        .run(["find", "user/1", "order/00001", "no such", "--json"])
        .ok();
    let expected = named(&[
        (0, "order/00001"),
        (1, "user/1"),
        (1, "order/00001"),
        (2, "order/00001"),
    ]);
    assert_eq!(matches(&keys.json_lines()), expected);

    let one = tool
        .run(["find", "--range", "user/..", "--snapshot", "latest", "--json"])
        .ok();
    assert_eq!(matches(&one.json_lines()), named(&[(0, "user/2")]));
    let text = tool.run(["find", "user/1"]).ok().text();
    assert!(
        text.contains("         1  user/1\n") && text.ends_with("1 records in 1 snapshots\n"),
        "{text}"
    );
}

#[test]
fn nothing_found_is_an_answer_and_nothing_asked_is_none() {
    let (tool, _) = snapshots_after(&[&orders(3)]);
    assert_eq!(tool.run(["find", "no such", "--json"]).ok().summary()["hits"], 0);
    tool.run(["find"]).exits(2);
    tool.run(["find", "a", "--prefix", "b"]).exits(2);
}
