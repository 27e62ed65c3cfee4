//! Clocks that were wrong: of snapshots that are ahead of now, and of one that is behind.

use std::fs;

use serde_json::Value;

use crate::support::machine::{needs_command, skip};
use crate::support::tool::{Ended, Tool};
use crate::with_source;

/// A backup of `source/f` with this content, by a clock that shows another date. False where faketime has no effect.
fn backup_at(tool: &Tool, date: Option<&str>, content: &str) -> bool {
    fs::write(tool.path("source/f"), content).unwrap();
    let source = tool.path("source");
    let Some(date) = date else {
        tool.backup(&source).ok();
        return true;
    };
    let usual = tool.command();
    let mut command = std::process::Command::new("faketime");
    command
        .arg(date)
        .arg(usual.get_program())
        .arg("backup")
        .arg(&source);
    for (name, value) in usual.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if !needs_command("faketime", "faketime") {
        return false;
    }
    Ended::of(&mut command).ok();
    let listed = tool.run(["snapshots", "--json"]).ok().text();
    let has_effect = listed.contains(&format!("\"time\":\"{}", &date[..4]));
    if !has_effect {
        skip("faketime has no effect here");
    }
    has_effect
}

fn warned(ended: &Ended) -> bool {
    ended.stderr.contains("later than now")
}

#[test]
fn a_snapshot_of_the_future_is_told_and_is_not_the_latest_once_another_is_made() {
    let tool = with_source();
    if !backup_at(&tool, Some("2036-01-01 12:00:00"), "stale") {
        return;
    }
    // Alone it is the latest, and that is told.
    let alone = tool.run(["dump", "latest:source/f"]).ok();
    assert!(alone.text() == "stale" && warned(&alone));
    fs::write(tool.path("source/f"), "fresh").unwrap();
    let backup = tool.backup(&tool.path("source")).ok();
    assert!(warned(&backup), "{}", backup.stderr);
    for words in [
        &["dump", "latest:source/f"][..],
        &["snapshots"],
        &["ls", "latest"],
        &["stats", "latest"],
        &["diff", "latest~1", "latest"],
    ] {
        let ended = tool.run(words.iter().copied()).ok();
        assert!(warned(&ended), "{words:?}: {}", ended.stderr);
    }
    assert_eq!(tool.run(["dump", "latest:source/f"]).ok().text(), "fresh");
    assert_eq!(tool.run(["dump", "latest~1:source/f"]).ok().text(), "stale");
    let restored = tool.path("restored");
    assert!(warned(&tool.restore("latest", &restored).ok()));
    assert_eq!(fs::read_to_string(restored.join("f")).unwrap(), "fresh");
}

#[test]
fn a_policy_neither_counts_nor_forgets_a_snapshot_of_the_future() {
    let tool = with_source();
    if !backup_at(&tool, Some("2036-01-01 12:00:00"), "stale") {
        return;
    }
    for content in ["one", "two", "three"] {
        backup_at(&tool, None, content);
    }
    let forget = tool.run(["forget", "--keep-last", "1"]).ok();
    assert!(warned(&forget), "{}", forget.stderr);
    let left: Value = serde_json::from_str(&tool.run(["snapshots", "--json"]).ok().text()).unwrap();
    let times: Vec<_> = left
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["time"].as_str().unwrap()[..4].to_owned())
        .collect();
    assert_eq!(times.len(), 2, "{times:?}");
    assert_eq!(tool.run(["dump", "latest:source/f"]).ok().text(), "three");
    // By name it goes.
    tool.run(["forget", "latest~1"]).ok();
    assert!(!warned(&tool.run(["snapshots"]).ok()));
}

#[test]
fn a_backup_by_a_clock_that_is_behind_is_told() {
    let tool = with_source();
    backup_at(&tool, None, "before");
    if !backup_at(&tool, Some("2001-01-01 12:00:00"), "after") {
        return;
    }
    let listed = tool.run(["dump", "latest:source/f"]).ok();
    assert!(
        listed.stderr.contains("a clock that was behind"),
        "{}",
        listed.stderr
    );
}
