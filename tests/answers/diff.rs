//! `diff`: records that were added, changed and removed.

use serde_json::{Value, json};

use crate::{delete, orders, put, snapshots_after};

fn changes(lines: &[Value]) -> Vec<(String, String)> {
    let changes = lines.iter().filter(|line| line["message_type"] == "change");
    let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    changes
        .map(|line| (text(line, "modifier"), text(line, "key")))
        .collect()
}

fn found(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(sign, key)| ((*sign).to_owned(), (*key).to_owned()))
        .collect()
}

#[test]
fn what_was_added_changed_and_removed_is_listed_and_counted() {
    let round = [
        put("order/00003", "other"),
        put("order/00004", "item 4"),
        delete("order/00005"),
        delete("order/99999"),
        put("user/1", "new"),
    ];
    let (tool, _) = snapshots_after(&[&orders(500), &round]);
    let ended = tool.run(["diff", "latest~1", "latest", "--json"]).ok();
    let forward = found(&[("M", "order/00003"), ("-", "order/00005"), ("+", "user/1")]);
    assert_eq!(changes(&ended.json_lines()), forward);
    let summary = ended.summary();
    assert_eq!(summary["added"], json!({"records": 1, "bytes": 9}));
    assert_eq!(summary["changed"], json!({"records": 1, "bytes": 16}));
    assert_eq!(summary["removed"], json!({"records": 1, "bytes": 17}));

    let back = tool.run(["diff", "latest", "latest~1", "--json"]).ok();
    let backward = found(&[("M", "order/00003"), ("+", "order/00005"), ("-", "user/1")]);
    assert_eq!(changes(&back.json_lines()), backward);

    let text = tool.run(["diff", "latest~1", "latest"]).ok().text();
    assert!(text.contains("M  order/00003  (6 B to 5 B)\n"), "{text}");
    assert!(
        text.ends_with("shop: added 1 (9 B), changed 1 (16 B), removed 1 (17 B)\n"),
        "{text}"
    );
    let counts = tool.run(["diff", "latest~1", "latest", "--counts"]).ok().text();
    assert_eq!(counts.lines().count(), 1, "{counts}");
}

#[test]
fn a_snapshot_does_not_differ_from_itself_nor_from_one_of_the_same_records() {
    let (tool, db) = snapshots_after(&[&orders(200)]);
    tool.backup(&db).ok();
    for old in ["latest", "latest~1"] {
        let ended = tool.run(["diff", old, "latest", "--json"]).ok();
        assert_eq!(ended.json_lines().len(), 1, "{}", ended.text());
    }
}

#[test]
fn a_prefix_or_a_range_narrows_it() {
    let round = [put("a", "1"), put("b/1", "1"), put("b/2", "1"), put("c", "1")];
    let (tool, _) = snapshots_after(&[&orders(10), &round]);
    for (flags, keys) in [
        (&["--prefix", "b/"][..], &["b/1", "b/2"][..]),
        (&["--prefix-hex", "622f32"], &["b/2"]),
        (&["--range", "b/2..d"], &["b/2", "c"]),
        (&["--range", "..b/2"], &["a", "b/1"]),
        (&["--range-hex", "63.."], &["c"]),
    ] {
        let args = ["diff", "latest~1", "latest", "--json"].iter().chain(flags);
        let lines = tool.run(args.copied()).ok().json_lines();
        let expected: Vec<_> = keys.iter().map(|key| ("+", *key)).collect();
        assert_eq!(changes(&lines), found(&expected), "{flags:?}");
    }
    tool.run(["diff", "latest~1", "latest", "--range", "b"]).exits(2);
    tool.run(["diff", "latest~1", "latest", "--range", "b..", "--prefix", "b"])
        .exits(2);
}

#[test]
fn a_long_value_that_changed_in_one_byte_is_one_change() {
    let (mut long, short) = ("x".repeat(300_000), put("short", "y"));
    let first = [put("long", &long), short.clone()];
    long.replace_range(200_000..200_001, "z");
    let (tool, _) = snapshots_after(&[&first, &[put("long", &long), short]]);
    let lines = tool
        .run(["diff", "latest~1", "latest", "--json"])
        .ok()
        .json_lines();
    assert_eq!(changes(&lines), found(&[("M", "long")]));
    assert_eq!(lines[0]["new_size"], 300_000);
}

#[test]
fn keys_that_are_not_text_are_told_in_base64_alone() {
    let raw = (vec![0xff, 0, 0x80], Some(b"v".to_vec()));
    let (tool, _) = snapshots_after(&[&orders(3), &[raw]]);
    let lines = tool
        .run(["diff", "latest~1", "latest", "--json"])
        .ok()
        .json_lines();
    assert_eq!(lines[0]["key_b64"], "/wCA");
    assert!(lines[0]["key"].is_null());
}

#[test]
fn a_database_that_is_stored_as_files_has_no_diff() {
    let (tool, db) = snapshots_after(&[&orders(3)]);
    tool.run(["backup", "--physical", db.to_str().unwrap()]).ok();
    let ended = tool.run(["diff", "latest~1", "latest"]).exits(2);
    assert!(ended.stderr.contains("stored as files"), "{}", ended.stderr);
}
