//! The procedure for a person in trouble, through the tool.

use std::os::unix::fs::PermissionsExt;

use crate::common;
use crate::support::tool::{Ended, Tool};

#[test]
fn the_tool_says_what_to_do_and_does_it() {
    let tool = Tool::new();
    let db = tool.path("db");
    let model = common::fill(&db, 2_000, 400);
    tool.run(["backup", "--no-pins", &db.display().to_string()]).ok();
    let packs = files(&tool.repository().join("packs"));
    let largest = packs
        .iter()
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(largest).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    // Stored objects are read-only, which stops all but root.
    std::fs::set_permissions(largest, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(largest, bytes).unwrap();
    for segment in files(&tool.repository().join("index")) {
        std::fs::remove_file(segment).unwrap();
    }
    tool.run(["check", "--read-data"]).exits(25);
    let told = said(tool.run(["repair", "index"]).ok());
    assert!(told.contains("--apply"), "{told}");
    tool.run(["repair", "index", "--apply"]).ok();
    let told = said(tool.run(["check", "--read-data"]).exits(25));
    assert!(told.contains("repair packs"), "{told}");
    tool.run(["repair", "packs"]).exits(3);
    let json = said(tool.run(["--json", "repair", "packs", "--apply"]).exits(3));
    assert!(json.contains("\"blobs_noted_bad\":1"), "{json}");
    tool.run(["repair", "snapshots"]).exits(3);
    let told = said(tool.run(["repair", "snapshots", "--apply"]).exits(3));
    assert!(told.contains("repository/records"), "{told}");
    tool.run(["repair", "snapshots"]).ok();
    let listed = said(tool.run(["ls", "latest"]).ok());
    assert!(listed.contains("lost: repository/records"), "{listed}");
    let target = tool.path("back").display().to_string();
    let told = said(tool.run(["restore", "latest", "--target", &target]).exits(3));
    assert!(told.contains("lost in the repository"), "{told}");
    let back = common::scan(&tool.path("back")).unwrap();
    assert!(back.len() < model.len() && back.iter().all(|(key, value)| model.get(key) == Some(value)));
    let lost = model.keys().find(|key| !back.contains_key(*key)).unwrap();
    let lost = std::str::from_utf8(lost).unwrap();
    let told = said(tool.run(["get", "latest", lost]).exits(3));
    assert!(told.contains("not known"), "{told}");
    tool.run(["get", "latest", "no such key"]).exits(1);
    for args in [
        &["dump", "latest"][..],
        &["ls", "latest", "--keys"],
        &["find", lost],
        &["history", lost],
    ] {
        tool.run(args.iter().copied()).exits(3);
    }
    tool.run(["diff", "latest", "latest"]).exits(3);
    tool.run(["repair", "config"]).ok();
    tool.run(["backup", "--no-pins", &db.display().to_string()]).ok();
    tool.run(["get", "latest", lost]).ok();
}

/// Both of its outputs.
fn said(ended: Ended) -> String {
    ended.text() + &ended.stderr
}

fn files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: std::path::PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(below).collect()
}
