//! Tags: one notation for what is stored and what is asked for.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::support::tool::Tool;
use crate::with_source;

fn tags_of(tool: &Tool) -> Vec<Value> {
    let listed: Value = serde_json::from_str(&tool.run(["snapshots", "--json"]).ok().text()).unwrap();
    listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["tags"].clone())
        .collect()
}

fn count(tool: &Tool, words: &[&str]) -> usize {
    let ended = tool
        .run(["snapshots", "--json"].into_iter().chain(words.iter().copied()))
        .ok();
    serde_json::from_str::<Value>(&ended.text())
        .unwrap()
        .as_array()
        .unwrap()
        .len()
}

#[test]
fn a_comma_separates_tags_in_backup_as_in_every_filter() {
    let tool = with_source();
    let source = tool.path("source");
    tool.run([
        "backup",
        source.to_str().unwrap(),
        "--tag",
        "a,b",
        "--tag",
        " c ,,",
    ])
    .ok();
    assert_eq!(tags_of(&tool), [serde_json::json!(["a", "b", "c"])]);
    for (words, found) in [
        (&["--tag", "a"][..], 1),
        (&["--tag", "a,b"], 1),
        (&["--tag", "b, c"], 1),
        (&["--tag", "a,x"], 0),
        (&["--tag", "x", "--tag", "c"], 1),
        (&["--tag", ""], 0),
    ] {
        assert_eq!(count(&tool, words), found, "{words:?}");
    }
    let kept = tool
        .run([
            "forget",
            "--keep-tag",
            "a,b",
            "--tag",
            "b,c",
            "--dry-run",
            "--json",
        ])
        .ok();
    assert!(kept.text().contains("a,b"), "{}", kept.text());
}

/// Whatever words a user gives, each tag that is stored is found by itself, and by no other.
#[test]
fn every_tag_that_is_stored_can_be_asked_for() {
    let tool = with_source();
    let (source, words) = (tool.path("source"), ["a,b", " ,", "x y", "é,a ,", "-d", "\t e\n"]);
    for word in words {
        let tag = format!("--tag={word}");
        tool.run(["backup", source.to_str().unwrap(), &tag]).ok();
    }
    let all = tags_of(&tool);
    let of = |tags: &Value| {
        tags.as_array()
            .unwrap()
            .iter()
            .map(|tag| tag.as_str().unwrap().to_owned())
            .collect()
    };
    let sets: Vec<BTreeSet<String>> = all.iter().map(of).collect();
    for tag in sets.iter().flatten() {
        let with = sets.iter().filter(|tags| tags.contains(tag)).count();
        let asked = format!("--tag={tag}");
        assert_eq!(count(&tool, &[&asked]), with, "{tag:?}");
        let find = tool.run(["find", "f", "--json", &asked]).ok();
        assert_eq!(find.text().matches("\"match\"").count(), with, "find {tag:?}");
    }
    assert_eq!(
        count(&tool, &["--tag="]),
        sets.iter().filter(|tags| tags.is_empty()).count()
    );
}

#[test]
fn find_goes_by_the_tags_that_hold_now() {
    let tool = with_source();
    tool.run(["backup", tool.path("source").to_str().unwrap(), "--tag", "old"])
        .ok();
    tool.run(["tag", "latest", "--set", "new"]).ok();
    assert!(
        tool.run(["find", "f", "--tag", "new"])
            .ok()
            .text()
            .contains("source/f")
    );
    assert!(
        !tool
            .run(["find", "f", "--tag", "old"])
            .ok()
            .text()
            .contains("source/f")
    );
    fs::remove_dir_all(tool.path("source")).unwrap();
}
