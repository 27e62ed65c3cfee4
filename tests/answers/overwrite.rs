//! `restore --overwrite`: what becomes of a database that stands where one is restored to.

use std::path::Path;

use crate::common::{Model, scan, write};
use crate::support::tool::{Ended, Tool, files_below};
use crate::{orders, put, snapshots_after};

fn restore(tool: &Tool, target: &Path, overwrite: &str) -> Ended {
    let mut command = tool.command();
    command.args([
        "restore",
        "latest",
        "--json",
        "--overwrite",
        overwrite,
        "--target",
    ]);
    Ended::of(command.arg(target))
}

fn saved(count: u32) -> Model {
    orders(count)
        .into_iter()
        .map(|(key, value)| (key, value.unwrap()))
        .collect()
}

/// A hidden directory beside it is a stage or an old database that was left behind; pins are the backup's.
fn names_beside(target: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(target.parent().unwrap()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with('.') && !name.contains(".levault-pins-"))
        .collect()
}

#[test]
fn an_equal_database_is_left_as_it_is_and_of_another_one_what_differs_is_written() {
    let (tool, db) = snapshots_after(&[&orders(500)]);
    let before = files_below(&db);
    let ended = restore(&tool, &db, "if-changed").ok();
    assert_eq!(ended.summary()["databases"][0]["unchanged"], true);
    let after = files_below(&db);
    assert!(before == after, "not a byte, and no file");

    write(
        &db,
        &[put("order/00001", "changed meanwhile"), put("extra", "not saved")],
    );
    let ended = restore(&tool, &db, "if-changed").ok();
    let summary = &ended.summary()["databases"][0];
    assert_eq!(summary["unchanged"], false);
    let in_place = &summary["in_place"];
    // The log as it was filled is written too.
    assert!((1..100).contains(&in_place["records_put"].as_u64().unwrap()));
    assert_eq!(in_place["records_deleted"], 1);
    assert!(in_place["bytes_written"].as_u64() < in_place["bytes_linked"].as_u64());
    assert!(scan(&db).unwrap() == saved(500));
    assert_eq!(names_beside(&db), [""; 0]);
}

#[test]
fn always_replaces_whatever_the_database_holds_and_never_is_the_default() {
    let (tool, db) = snapshots_after(&[&orders(500)]);
    write(&db, &[put("more", "x")]);
    assert_ne!(tool.restore("latest", &db).code, 0);
    assert_ne!(restore(&tool, &db, "never").code, 0);
    assert_eq!(scan(&db).unwrap().len(), 501);
    let ended = restore(&tool, &db, "always").ok();
    assert!(ended.summary()["databases"][0]["in_place"].is_null());
    assert!(scan(&db).unwrap() == saved(500));
    restore(&tool, &tool.path("new"), "always").ok();
    assert!(scan(&tool.path("new")).unwrap() == saved(500));
}

#[test]
fn a_database_in_use_is_not_replaced() {
    let (tool, db) = snapshots_after(&[&orders(50)]);
    let handle = rusty_leveldb::DB::open(&db, Default::default()).unwrap();
    restore(&tool, &db, "always").exits(11);
    restore(&tool, &db, "if-changed").exits(11);
    drop(handle);
    restore(&tool, &db, "always").ok();
}

#[test]
fn files_that_are_no_part_of_a_database_are_never_lost() {
    let (tool, db) = snapshots_after(&[&orders(50)]);
    write(&db, &[put("more", "x")]);
    std::fs::write(db.join("notes.txt"), "mine").unwrap();
    for overwrite in ["always", "if-changed"] {
        let ended = restore(&tool, &db, overwrite).exits(1);
        assert!(ended.stderr.contains("notes.txt"), "{}", ended.stderr);
    }
    let home = tool.path("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("LOG"), "not a database").unwrap();
    restore(&tool, &home, "always").exits(1);
    assert!(home.join("LOG").exists());
}

#[test]
fn a_damaged_database_is_replaced_when_that_is_said_and_not_before() {
    let (tool, db) = snapshots_after(&[&orders(500)]);
    let is_table =
        |path: &&(std::path::PathBuf, Vec<u8>)| path.0.extension().is_some_and(|name| name == "ldb");
    let files = files_below(&db);
    let (table, bytes) = files.iter().find(is_table).unwrap();
    let mut wrong = bytes.clone();
    wrong[50] ^= 1;
    std::fs::write(table, wrong).unwrap();
    let ended = restore(&tool, &db, "if-changed").exits(1);
    assert!(ended.stderr.contains("--overwrite always"), "{}", ended.stderr);
    restore(&tool, &db, "always").ok();
    assert!(scan(&db).unwrap() == saved(500));
}
