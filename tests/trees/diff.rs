//! `diff` of files.

use levault::id::BlobId;
use levault::snapshot::EntryKind;
use serde_json::Value;

use super::scene::{Scene, Thing, directory, file, history, link, other};

/// Modifier and path or key of every change.
fn changes(lines: &[Value]) -> Vec<String> {
    let changes = lines.iter().filter(|line| line["message_type"] == "change");
    let text = |line: &Value| {
        let what = line["path"].as_str().or(line["key"].as_str()).unwrap();
        format!("{} {what}", line["modifier"].as_str().unwrap())
    };
    changes.map(text).collect()
}

fn differences(scene: &Scene, args: &[&str]) -> Vec<String> {
    changes(
        &scene
            .tool
            .run([&["diff", "--json"], args].concat())
            .ok()
            .json_lines(),
    )
}

/// The profile with one of each change.
fn later() -> Vec<(&'static str, Thing)> {
    let mut bytes = history();
    bytes[2_000_000] ^= 1;
    let default = directory(vec![
        ("History", file(&bytes)),
        ("leveldb", other(EntryKind::Database(0))),
        ("link", link(b"elsewhere")),
        ("new", directory(vec![("a", file(b"abc")), ("b", link(b"a"))])),
    ]);
    vec![
        ("Default", default),
        ("Local State", file(b"{}\n").with(|meta| meta.mode = Some(0o600))),
        ("pipe", directory(vec![("in", file(b"x"))])),
        ("twin", file(b"{}\n")),
    ]
}

fn two_states() -> Scene {
    let mut scene = Scene::new();
    scene.change(&[(b"key:new".to_vec(), Some(b"value".to_vec()))]);
    scene.store(later());
    scene
}

/// The two states of the profile; between them is one of the database alone.
const OLD: &str = "latest~2";

#[test]
fn files_are_told_by_path_and_databases_by_key() {
    let scene = two_states();
    let at = |text: &str| text.replace("~", "/home/u/profile");
    let expected = [
        "M ~/Default/History",
        "- ~/Default/empty",
        "M ~/Default/link",
        "+ ~/Default/new",
        "+ ~/Default/new/a",
        "+ ~/Default/new/b",
        "- ~/console",
        "T ~/pipe",
        "+ ~/pipe/in",
        "+ ~/twin",
        "+ key:new",
    ];
    assert_eq!(differences(&scene, &[OLD, "latest"]), expected.map(at));
    let metadata = differences(&scene, &[OLD, "latest", "--metadata"]);
    assert_eq!(metadata[6..8], [at("U ~/Local State"), at("- ~/console")]);
    let back = differences(&scene, &["latest", OLD]);
    assert!(
        back.contains(&at("- ~/pipe/in"))
            && back.contains(&at("+ ~/console"))
            && back.contains(&"- key:new".into())
    );
    assert!(differences(&scene, &["latest", "latest"]).is_empty());
}

#[test]
fn what_differs_is_counted() {
    let scene = two_states();
    let lines = scene
        .tool
        .run(["diff", "--json", "--counts", OLD, "latest"])
        .ok()
        .json_lines();
    assert_eq!(lines.len(), 2, "records and files");
    let records = &lines[0];
    assert_eq!(
        (&records["db"], &records["added"]["records"]),
        (&"profile/Default/leveldb".into(), &1.into())
    );
    let files = &lines[1];
    assert_eq!(files["message_type"], "statistics");
    assert_eq!(
        (&files["changed_files"], &files["changed_metadata"]),
        (&1.into(), &1.into())
    );
    let tallies = |files: u64, dirs: u64, others: u64, bytes: u64| serde_json::json!({"files": files, "dirs": dirs, "others": others, "bytes": bytes});
    assert_eq!(files["added"], tallies(3, 2, 1, 7));
    assert_eq!(files["removed"], tallies(1, 0, 2, 0));
    let text = scene.tool.run(["diff", OLD, "latest"]).ok().text();
    assert!(
        text.contains("+    /home/u/profile/Default/new/\n") && text.contains("+  key:new  (5 B)\n"),
        "{text}"
    );
    assert!(text.ends_with("files: added 3 (7 B), changed 1 (2.9 MiB), removed 1 (0 B); directories: added 2, removed 0; others: added 1, changed 1, removed 2; metadata alone: 1\n"), "{text}");
}

#[test]
fn parts_are_compared_with_parts() {
    let scene = two_states();
    let part =
        |old: &str, new: &str| differences(&scene, &[&format!("{OLD}:{old}"), &format!("latest:{new}")]);
    assert_eq!(part("profile/pipe", "profile/pipe").len(), 2);
    assert_eq!(
        part("profile/Default/leveldb", "profile/Default/leveldb"),
        ["+ key:new"]
    );
    assert_eq!(part("profile/Default", "/home/u/profile/Default").len(), 7);
    assert_eq!(
        part("profile/Default/empty", "profile/twin"),
        ["M /home/u/profile/twin"]
    );
    scene.tool.run(["diff", "latest~2:profile", "latest"]).exits(2);
    scene
        .tool
        .run(["diff", "latest:profile", "latest:profile", "--db", "x"])
        .exits(2);
    let one = differences(&scene, &["--db", "profile/Default/leveldb", OLD, "latest"]);
    assert_eq!(one, ["+ key:new"]);
}

#[test]
fn what_only_one_has_is_told_whole_and_what_is_beside_a_database_is_too() {
    let scene = Scene::new();
    let whole = differences(&scene, &["latest~1", "latest"]);
    assert_eq!(
        whole.len(),
        11,
        "{whole:?}: the tree, and the database alone that is gone"
    );
    assert!(whole.contains(&"+ /home/u/profile/Default/leveldb/NOTES".into()));
    let mut scene = scene;
    let mut sources = scene.repo.select("latest").unwrap().snapshot.sources;
    let levault::snapshot::SnapshotSource::Database(database) = &mut sources[0] else {
        panic!("a database")
    };
    database.beside = None;
    scene.put(sources);
    assert_eq!(
        differences(&scene, &["latest~1", "latest"]),
        ["- /home/u/profile/Default/leveldb/NOTES"]
    );
}

#[test]
fn a_directory_that_is_the_same_is_not_read_and_one_that_is_lost_is_told_of() {
    let mut scene = Scene::bare();
    let lost = |id: u8| other(EntryKind::Directory(BlobId([id; 32])));
    scene.store(vec![("a", lost(1)), ("b", file(b"1"))]);
    scene.store(vec![("a", lost(1)), ("b", file(b"2"))]);
    assert_eq!(
        differences(&scene, &["latest~1", "latest"]),
        ["M /home/u/profile/b"]
    );
    scene.store(vec![("a", lost(2)), ("b", file(b"1"))]);
    let ended = scene.tool.run(["diff", "--json", "latest~1", "latest"]).exits(3);
    assert_eq!(changes(&ended.json_lines()), ["M /home/u/profile/b"]);
    assert!(ended.stderr.contains("compare a: "), "{}", ended.stderr);
}
