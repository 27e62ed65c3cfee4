//! What is kept beside a database for its next backup, as the tool shows it, lists it and gives it back.

use std::path::Path;

use serde_json::Value;

use crate::common::{fill, key, write};
use crate::orders;
use crate::support::tool::{Ended, Tool};

fn backup(tool: &Tool, db: &Path, more: &[&str]) -> Value {
    let mut command = tool.command();
    command.args(["backup", "--json"]).args(more).arg(db);
    Ended::of(&mut command).ok().summary()
}

fn pins(tool: &Tool, verb: &str, db: &Path) -> Vec<Value> {
    Ended::of(tool.command().args(["pins", verb, "--json"]).arg(db))
        .ok()
        .json_lines()
}

#[test]
fn pins_are_listed_and_dropped_and_the_next_backup_reads_everything() {
    let tool = Tool::new();
    let db = tool.path("shop");
    fill(&db, 600, 300);
    assert_eq!(pins(&tool, "list", &db).len(), 0);
    let first = backup(&tool, &db, &[]);
    let listed = pins(&tool, "list", &db);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["snapshot_id"], first["snapshot_id"]);
    assert_eq!(listed[0]["bytes"], first["databases"][0]["pinned_bytes"]);
    assert!(listed[0]["bytes"].as_u64().unwrap() > 10_000, "tables");
    assert_eq!(
        (&listed[0]["bytes_alone"], &listed[0]["in_use"]),
        (&0.into(), &false.into())
    );

    write(&db, &[(key(1), Some(b"changed".to_vec()))]);
    let second = backup(&tool, &db, &[]);
    let scope = &second["databases"][0]["scope"];
    assert_eq!(
        (&scope["read"], &scope["keys_changed"]),
        (&"changes".into(), &1.into())
    );
    assert_eq!(scope["since"], first["snapshot_id"]);

    assert_eq!(pins(&tool, "gc", &db).len(), 0, "they are of use");
    assert_eq!(pins(&tool, "drop", &db).len(), 1);
    assert_eq!(pins(&tool, "list", &db).len(), 0);
    assert_eq!(backup(&tool, &db, &[])["databases"][0]["scope"]["read"], "all");
}

#[test]
fn pins_of_a_database_that_is_gone_are_collected() {
    let tool = Tool::new();
    let db = tool.path("shop");
    fill(&db, 600, 300);
    backup(&tool, &db, &[]);
    std::fs::remove_dir_all(&db).unwrap();
    let listed = pins(&tool, "list", &db);
    assert!(listed[0]["bytes"].as_u64().unwrap() > 10_000, "tables");
    assert_eq!(listed[0]["bytes_alone"], listed[0]["bytes"]);
    assert_eq!(pins(&tool, "gc", &db).len(), 1);
    assert_eq!(pins(&tool, "list", &db).len(), 0);
}

#[test]
fn what_is_larger_than_allowed_is_not_kept_and_that_is_said() {
    let tool = Tool::new();
    let db = tool.path("shop");
    fill(&db, 600, 300);
    let mut command = tool.command();
    command
        .args(["backup", "--json", "--pin-bytes-max", "1K"])
        .arg(&db);
    let ended = Ended::of(&mut command).ok();
    assert!(
        ended.stderr.contains("nothing is kept for the next backup"),
        "{}",
        ended.stderr
    );
    assert_eq!(pins(&tool, "list", &db).len(), 0);
    assert_eq!(
        backup(&tool, &db, &["--no-pins"])["databases"][0]["scope"]["read"],
        "all"
    );
    assert_eq!(pins(&tool, "list", &db).len(), 0);
}

#[test]
fn a_skipped_snapshot_is_said_to_programs_and_people() {
    let tool = Tool::new();
    let db = tool.path("shop");
    write(&db, &orders(50));
    let first = backup(&tool, &db, &[]);
    let skipped = backup(&tool, &db, &["--skip-if-unchanged"]);
    assert_eq!(
        (&skipped["snapshot_id"], &skipped["dry_run"]),
        (&Value::Null, &false.into())
    );
    assert_eq!(skipped["unchanged_since"], first["snapshot_id"]);
    let told = Ended::of(tool.command().args(["backup", "--skip-if-unchanged"]).arg(&db)).ok();
    assert!(
        told.text().contains("nothing changed since snapshot"),
        "{}",
        told.text()
    );
}
