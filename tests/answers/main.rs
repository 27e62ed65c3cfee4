//! Answers from snapshots without restoring them whole: what differs, what became of a key, where keys are, what uses
//! the space; and restores of some keys. The real program on real databases; what it costs is watched at the storage.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/mod.rs"]
mod support;

mod check_cost;
mod cost;
mod diff;
mod find;
mod history;
mod identity;
mod overwrite;
mod pins;
mod some_keys;
mod stacks;
mod stats;

use std::path::PathBuf;

use support::tool::Tool;

/// A key and its new value, or none to delete it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// A put.
pub fn put(key: &str, value: &str) -> Change {
    (key.into(), Some(value.into()))
}

/// A deletion.
pub fn delete(key: &str) -> Change {
    (key.into(), None)
}

/// A repository with a snapshot after each of these rounds of changes.
pub fn snapshots_after(rounds: &[&[Change]]) -> (Tool, PathBuf) {
    let tool = Tool::new();
    let db = tool.path("shop");
    for round in rounds {
        common::write(&db, round);
        tool.backup(&db).ok();
    }
    (tool, db)
}

/// `order/00000` and on, each with a value of its own.
pub fn orders(count: u32) -> Vec<Change> {
    (0..count)
        .map(|n| put(&format!("order/{n:05}"), &format!("item {n}")))
        .collect()
}
