//! `find` of files.

use levault::snapshot::EntryKind;

use super::scene::{Scene, directory, file, other, profile};

/// The paths found in each snapshot, and all hits.
fn found(scene: &Scene, args: &[&str]) -> (Vec<Vec<String>>, u64) {
    let ended = scene.tool.run([&["find", "--json"], args].concat()).ok();
    let mut snapshots: Vec<(String, Vec<String>)> = Vec::new();
    for line in ended
        .json_lines()
        .iter()
        .filter(|line| line["message_type"] == "match")
    {
        let [id, path] = ["snapshot", "path"].map(|field| line[field].as_str().unwrap_or("a key").to_owned());
        match snapshots.last_mut().filter(|(last, _)| *last == id) {
            Some((_, paths)) => paths.push(path),
            None => snapshots.push((id, vec![path])),
        }
    }
    let hits = ended.summary()["hits"].as_u64().unwrap();
    (snapshots.into_iter().map(|(_, paths)| paths).collect(), hits)
}

fn below(paths: &[&str]) -> Vec<String> {
    paths
        .iter()
        .map(|path| format!("/home/u/profile/{path}"))
        .collect()
}

#[test]
fn files_are_found_by_name_and_path_in_each_snapshot_that_has_them() {
    let mut scene = Scene::new();
    let mut later = profile();
    later.push(("zoo", directory(vec![("History", file(b"new"))])));
    scene.store(later.clone());
    scene.store(later);
    let one = || below(&["Default/History"]);
    let two = || below(&["Default/History", "zoo/History"]);
    assert_eq!(found(&scene, &["History"]), (vec![one(), two(), two()], 5));
    assert_eq!(found(&scene, &["history"]).1, 0);
    assert_eq!(found(&scene, &["-i", "history"]).1, 5);
    assert_eq!(
        found(&scene, &["zoo/*"]).0,
        [below(&["zoo/History"]), below(&["zoo/History"])]
    );
    assert_eq!(
        found(&scene, &["/home/*/profile/Default/H*"]).0,
        [one(), one(), one()]
    );
    assert_eq!(
        found(&scene, &["-s", "latest", "NOTES", "level*"]).0,
        [below(&["Default/leveldb", "Default/leveldb/NOTES"])]
    );
    assert_eq!(found(&scene, &["--host", "elsewhere", "History"]).1, 0);
    assert_eq!(
        found(&scene, &["--db", "profile/Default/leveldb", "History"]).1,
        0
    );
}

#[test]
fn what_is_beside_a_database_is_found_though_the_directory_above_it_is_as_it_was() {
    let mut scene = Scene::new();
    let mut sources = scene.repo.select("latest").unwrap().snapshot.sources;
    let levault::snapshot::SnapshotSource::Database(database) = &mut sources[0] else {
        panic!("a database")
    };
    let notes = database.beside.take();
    scene.put(sources.clone());
    let levault::snapshot::SnapshotSource::Database(database) = &mut sources[0] else {
        panic!("a database")
    };
    database.beside = notes;
    scene.put(sources);
    let notes = || below(&["Default/leveldb/NOTES"]);
    assert_eq!(found(&scene, &["NOTES"]).0, [notes(), notes()]);
}

#[test]
fn a_word_is_a_key_too_and_people_see_both() {
    let mut scene = Scene::bare();
    let key = std::str::from_utf8(scene.model.first_key_value().unwrap().0)
        .unwrap()
        .to_owned();
    scene.store(vec![
        ("db", other(EntryKind::Database(0))),
        (&key, file(b"named as a key")),
    ]);
    let text = scene
        .tool
        .run(["find", "--snapshot", "latest", "-l", &key])
        .ok()
        .text();
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines[0].ends_with(": /home/u/profile/Default/leveldb") && lines[1].ends_with(&key),
        "{text}"
    );
    assert!(
        lines[2].starts_with("snapshot ") && lines[3].starts_with("-rw-r-----"),
        "{text}"
    );
    assert_eq!(lines[4], "1 records and 1 files in 1 snapshots");
    // A key need not be a pattern, where there are no files.
    scene.tool.run(["find", "[z-a]"]).exits(2);
    scene.tool.run(["find", "--snapshot", "latest~1", "[z-a]"]).ok();
}

#[test]
fn a_directory_that_cannot_be_read_is_told_of_in_every_snapshot() {
    use levault::id::BlobId;
    let mut scene = Scene::bare();
    let lost = other(EntryKind::Directory(BlobId([7; 32])));
    let profile = vec![("a", directory(vec![("lost", lost)])), ("b", file(b""))];
    scene.store(profile.clone());
    scene.store(profile);
    let ended = scene.tool.run(["find", "b"]).exits(3);
    assert_eq!(ended.stderr.matches("list a/lost").count(), 2, "{}", ended.stderr);
    assert!(
        ended.text().contains("and 2 files in 2 snapshots"),
        "{}",
        ended.text()
    );
}
