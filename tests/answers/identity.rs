//! Databases that were moved, replaced, renamed, or share a name: one never answers for another.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common;
use crate::support::tool::{Ended, Tool};
use crate::{orders, put};

/// A database with orders and a key that says whose it is.
fn database(tool: &Tool, name: &str, count: u32) -> PathBuf {
    let path = tool.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    common::write(&path, &orders(count));
    common::write(&path, &[put("whose", name), put("size", &count.to_string())]);
    path
}

fn run(tool: &Tool, args: &[&OsStr]) -> Ended {
    Ended::of(tool.command().args(args))
}

/// `latest:PATH`.
fn latest(path: &Path) -> OsString {
    let mut words = OsString::from("latest:");
    words.push(path);
    words
}

/// What `get` says of a key at a path.
fn get(tool: &Tool, path: &Path, key: &str) -> String {
    run(tool, &["get".as_ref(), &latest(path), key.as_ref()])
        .ok()
        .text()
}

/// A database was moved to `app.old/db`, and another one took its place; both saved, the moved one first.
fn moved_and_replaced() -> (Tool, PathBuf, PathBuf) {
    let tool = Tool::new();
    let db = database(&tool, "app/db", 300);
    tool.backup(&db).ok();
    fs::rename(tool.path("app"), tool.path("app.old")).unwrap();
    let new = database(&tool, "app/db", 40);
    common::write(&new, &[put("whose", "new")]);
    let old = tool.path("app.old/db");
    tool.backup(&old).ok();
    tool.backup(&new).ok();
    (tool, old, new)
}

fn snapshots(tool: &Tool) -> Vec<Value> {
    let all = tool.run(["snapshots", "--json"]).ok().json_lines().remove(0);
    all.as_array().unwrap().clone()
}

#[test]
fn a_moved_database_is_recorded_where_it_is_and_what_took_its_place_is_another() {
    let (tool, old, new) = moved_and_replaced();
    let paths: Vec<_> = snapshots(&tool)
        .iter()
        .map(|one| one["paths"][0].as_str().unwrap().to_owned())
        .collect();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    assert_eq!(paths, [text(&new), text(&old), text(&new)]);
    let timelines: Vec<_> = snapshots(&tool)
        .iter()
        .map(|one| one["databases"][0]["timeline"].clone())
        .collect();
    assert_eq!(timelines[0], timelines[1], "the moved one is the same database");
    assert_ne!(timelines[0], timelines[2], "what took its place is not");
    assert_eq!(
        (get(&tool, &old, "size"), get(&tool, &new, "size")),
        ("300".into(), "40".into())
    );
    tool.run(["forget", "--keep-last", "1"]).ok();
    assert_eq!(
        (get(&tool, &old, "whose"), get(&tool, &new, "whose")),
        ("app/db".into(), "new".into())
    );
}

#[test]
fn history_and_statistics_do_not_join_what_stood_at_one_path() {
    let (tool, old, new) = moved_and_replaced();
    let lines = tool.run(["history", "size", "--json"]).ok().json_lines();
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line["message_type"] == "version")
        .map(|line| (line["path"].as_str().unwrap(), line["value"].as_str().unwrap()))
        .collect();
    let [old, new] = [&old, &new].map(|path| path.to_str().unwrap());
    assert_eq!(told, [(old, "300"), (new, "300"), (new, "40")]);
    let one = run(&tool, &["history", "size", "--db", old, "--json"].map(OsStr::new))
        .ok()
        .json_lines();
    assert_eq!(one.len(), 2);
    let stats = tool.run(["stats", "--json"]).ok().summary();
    let rows: Vec<_> = stats["databases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["snapshots"].clone())
        .collect();
    assert_eq!(rows, [1, 1, 1]);
}

/// Damages a block of the largest table.
fn damage(db: &Path) {
    let tables = fs::read_dir(db).unwrap().map(|entry| entry.unwrap().path());
    let tables = tables.filter(|path| path.extension() == Some("ldb".as_ref()));
    let largest = tables.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    bytes[100..110].fill(0xff);
    fs::write(largest, bytes).unwrap();
}

#[test]
fn a_rescue_takes_nothing_of_a_database_that_stood_there_before() {
    let tool = Tool::new();
    let db = database(&tool, "app/db", 3000);
    tool.backup(&db).ok();
    fs::rename(tool.path("app"), tool.path("app.old")).unwrap();
    let new = database(&tool, "app/db", 2000);
    common::write(&new, &[put("whose", "new")]);
    damage(&new);
    let output = tool.path("out");
    let rescue = |more: &[&str]| {
        let mut command = tool.command();
        command
            .arg("rescue")
            .arg(&new)
            .arg("--output")
            .arg(&output)
            .arg("--apply")
            .args(more);
        Ended::of(&mut command)
    };
    // It was never saved.
    let ended = rescue(&[]).exits(1);
    assert!(
        ended.stderr.contains("another directory stood here"),
        "{}",
        ended.stderr
    );
    // Saved with its damage, and the other one's state is whole.
    tool.backup(&new).exits(22);
    rescue(&[]).exits(22);
    let back = common::read_all(&output);
    assert!(
        back.len() < 2002
            && back
                .keys()
                .all(|key| key < &b"order/02000".to_vec() || key > &b"order/99999".to_vec())
    );
}

#[test]
fn the_name_and_the_path_that_were_asked_for_are_recorded() {
    let tool = Tool::new();
    let real = database(&tool, "real", 10);
    let link = tool.path("link");
    symlink(&real, &link).unwrap();
    tool.backup(&link).ok();
    run(
        &tool,
        &[
            "backup".as_ref(),
            "--name".as_ref(),
            "foo".as_ref(),
            real.as_ref(),
        ],
    )
    .ok();
    let recorded: Vec<_> = snapshots(&tool)
        .iter()
        .map(|one| {
            [&one["databases"][0]["db"], &one["paths"][0]].map(|text| text.as_str().unwrap().to_owned())
        })
        .collect();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    assert_eq!(
        recorded,
        [["link".into(), text(&link)], ["foo".into(), text(&real)]]
    );
    // The records are as they were, and the label is not.
    let ended = run(
        &tool,
        &[
            "backup".as_ref(),
            "--skip-if-unchanged".as_ref(),
            "--json".as_ref(),
            real.as_ref(),
        ],
    )
    .ok();
    assert!(ended.summary()["snapshot_id"].is_string(), "{}", ended.text());
    assert_eq!(snapshots(&tool).last().unwrap()["databases"][0]["db"], "real");
}

#[test]
fn latest_behind_which_a_path_stands_is_the_latest_that_has_it() {
    let tool = Tool::new();
    let (one, other) = (database(&tool, "one", 10), database(&tool, "other", 20));
    tool.backup(&one).ok();
    tool.backup(&other).ok();
    assert_eq!(get(&tool, &one, "size"), "10");
    run(
        &tool,
        &["get".as_ref(), &latest(&tool.path("none")), "size".as_ref()],
    )
    .exits(1);
}

#[test]
fn a_name_of_several_databases_is_refused_and_a_path_is_not() {
    let tool = Tool::new();
    let paths = [database(&tool, "x/db", 10), database(&tool, "y/db", 20)];
    for path in &paths {
        tool.backup(path).ok();
    }
    let ended = tool.run(["history", "size", "--db", "db", "--json"]).ok();
    assert_eq!(ended.summary()["versions"], 2);
    let ended = Ended::of(
        tool.command()
            .arg("rescue")
            .arg(&paths[0])
            .args(["--db", "db", "--output"])
            .arg(tool.path("out")),
    );
    assert!(ended.exits(2).stderr.contains("is the name of several databases"));
    Ended::of(tool.command().arg("backup").args(&paths)).ok();
    for (path, size) in paths.iter().zip(["10", "20"]) {
        assert_eq!(get(&tool, path, "size"), size);
    }
}

#[test]
fn a_label_never_answers_for_a_path() {
    let tool = Tool::new();
    let db = database(&tool, "w/db", 10);
    tool.backup(&tool.path("w")).ok();
    assert_eq!(get(&tool, &db, "size"), "10");
    run(&tool, &["get".as_ref(), "latest:w/db".as_ref(), "size".as_ref()]).ok();
    run(&tool, &["get".as_ref(), "latest:/w/db".as_ref(), "size".as_ref()]).exits(1);
}

#[test]
fn names_of_any_bytes_are_told_taken_and_left_out() {
    let tool = Tool::new();
    let name = |bytes: &[u8]| tool.dir.path().join(OsStr::from_bytes(bytes));
    let directory = name(b"q/t\xe9");
    let Ok(()) = fs::create_dir_all(&directory) else {
        eprintln!("not run: this filesystem takes UTF-8 alone");
        return;
    };
    for other in [&b"q/t\xe8"[..], b"q/tx"] {
        fs::create_dir_all(name(other)).unwrap();
        fs::write(name(other).join("f"), other).unwrap();
    }
    let db = directory.join("db");
    common::write(&db, &orders(20));
    let backup = run(
        &tool,
        &[
            "backup".as_ref(),
            "--json".as_ref(),
            db.as_ref(),
            name(b"q/t\xe8").as_ref(),
        ],
    )
    .ok();
    let encoded = backup.summary()["databases"][0]["path_b64"]
        .as_str()
        .unwrap()
        .to_owned();
    let decoded = data_encoding::BASE64.decode(encoded.as_bytes()).unwrap();
    assert_eq!(decoded, db.as_os_str().as_bytes());
    assert!(snapshots(&tool)[0]["paths_b64"].is_array());
    let exact = db.clone().into_os_string();
    run(
        &tool,
        &[
            "get".as_ref(),
            "latest".as_ref(),
            "--db".as_ref(),
            &exact,
            "order/00007".as_ref(),
        ],
    )
    .ok();
    let pattern = OsString::from_vec(b"t\xe8".to_vec());
    run(
        &tool,
        &[
            "backup".as_ref(),
            "--exclude".as_ref(),
            &pattern,
            name(b"q").as_ref(),
        ],
    )
    .ok();
    let out = tool.path("out");
    tool.restore("latest", &out).ok();
    assert!(out.join(OsStr::from_bytes(b"t\xe9/db/CURRENT")).exists() && out.join("tx/f").exists());
    assert!(!out.join(OsStr::from_bytes(b"t\xe8")).exists());
}
