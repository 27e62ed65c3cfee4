//! `ls` of files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::scene::{Scene, directory, file, profile};
use super::support::tool::Ended;

fn lines(ended: &Ended) -> Vec<String> {
    ended.text().lines().map(str::to_owned).collect()
}

#[test]
fn a_snapshot_is_listed_whole_and_a_path_by_what_it_holds() {
    let scene = Scene::new();
    let list = |args: &[&str]| lines(&scene.tool.run([&["ls"], args].concat()).ok());
    let all = list(&["latest"]);
    assert!(
        all[0].contains("500 records")
            && all[0].ends_with("profile/Default/leveldb  /home/u/profile/Default/leveldb")
    );
    let below = |paths: &[&str]| {
        paths
            .iter()
            .map(|path| format!("/home/u/profile{path}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        all[1..],
        below(&[
            "",
            "/Default",
            "/Default/History",
            "/Default/empty",
            "/Default/leveldb",
            "/Default/leveldb/NOTES",
            "/Default/link",
            "/Local State",
            "/console",
            "/pipe"
        ])
    );
    let top = below(&["/Default", "/Local State", "/console", "/pipe"]);
    assert_eq!(list(&["latest:profile"]), top);
    assert_eq!(list(&["latest:/home/u/profile/"]), top);
    assert_eq!(list(&["latest", "/home/u/profile"]), top);
    assert_eq!(list(&["latest:profile", "--recursive"]), all[2..]);
    assert_eq!(
        list(&["latest:profile", "Default/History", "Default/leveldb"]),
        below(&["/Default/History", "/Default/leveldb/NOTES"])
    );
    scene.tool.run(["ls", "latest:profile/none"]).exits(1);
    scene.tool.run(["ls", "latest", "/home"]).exits(1);
}

#[test]
fn the_long_list_shows_mode_owner_size_and_time() {
    let scene = Scene::new();
    let list = lines(
        &scene
            .tool
            .run(["ls", "-l", "latest:profile/Default", "--recursive"])
            .ok(),
    );
    let len = super::scene::history().len();
    let time = "2024-05-06T07:08:09Z";
    assert_eq!(
        list[0],
        format!("-rw-r-----  1000   100 {len:>10} {time} /home/u/profile/Default/History")
    );
    assert!(list[2].starts_with("drw-------  1000   100 "), "{}", list[2]);
    assert!(list[2].ends_with("/home/u/profile/Default/leveldb  (database, 500 records)"));
    assert!(
        list[4].ends_with(" /home/u/profile/Default/link -> ../Local State"),
        "{}",
        list[4]
    );
    let console = lines(&scene.tool.run(["ls", "-l", "latest:profile/console"]).ok());
    assert!(console[0].starts_with("crw------- "), "{console:?}");
    let units = lines(
        &scene
            .tool
            .run(["ls", "-l", "--human-readable", "latest:profile/Default/History"])
            .ok(),
    );
    assert!(units[0].contains(" 2.9 MiB "), "{units:?}");
}

#[test]
fn programs_get_restics_fields() {
    let scene = Scene::new();
    let nodes = scene
        .tool
        .run(["ls", "--json", "latest:profile/Default"])
        .ok()
        .json_lines();
    let file = &nodes[0];
    for (field, value) in [
        ("message_type", "node"),
        ("struct_type", "node"),
        ("type", "file"),
        ("name", "History"),
        ("path", "/home/u/profile/Default/History"),
        ("permissions", "-rw-r-----"),
        ("mtime", "2024-05-06T07:08:09.000000005Z"),
    ] {
        assert_eq!(file[field], value);
    }
    for (field, value) in [
        ("uid", 1000),
        ("gid", 100),
        ("mode", 0o100_640),
        ("size", super::scene::history().len() as i64),
    ] {
        assert_eq!(file[field], value);
    }
    assert_eq!(
        (&nodes[2]["type"], &nodes[2]["records"]),
        (&"database".into(), &500.into())
    );
    assert_eq!(nodes[2]["db"], "profile/Default/leveldb");
    assert_eq!(
        (&nodes[3]["type"], &nodes[3]["linktarget"]),
        (&"symlink".into(), &"../Local State".into())
    );
    assert!(nodes[3].get("size").is_none());
}

#[test]
fn a_name_that_is_not_text_can_be_named_and_is_told_whole() {
    let mut scene = Scene::bare();
    let mut all = profile();
    let odd = directory(vec![("x", file(b"in"))]);
    all.push(("Default2", odd));
    let super::scene::What::Directory(entries) = &mut all[4].1.what else {
        panic!("a directory")
    };
    entries[0].0 = b"a\xff\nb".to_vec();
    all.sort_by_key(|(name, _)| *name);
    scene.store(all);
    let place = OsStr::from_bytes(b"latest:profile/Default2/a\xff\nb");
    let ended = Ended::of(scene.tool.command().args(["ls", "--json"]).arg(place)).ok();
    let node = &ended.json_lines()[0];
    assert_eq!(node["name_b64"], "Yf8KYg==");
    assert_eq!(node["name"], "a\u{fffd}\nb");
    let ended = Ended::of(scene.tool.command().arg("ls").arg(place)).ok();
    assert_eq!(ended.text(), "/home/u/profile/Default2/a\u{fffd}\\nb\n");
}

#[test]
fn the_address_of_a_database_does_for_its_name() {
    let scene = Scene::new();
    for place in [
        "latest:profile/Default/leveldb",
        "latest:/home/u/profile/Default/leveldb",
    ] {
        let keys = lines(&scene.tool.run(["ls", "--keys", place]).ok());
        assert_eq!(keys.len(), scene.model.len());
        let (key, value) = scene.model.first_key_value().unwrap();
        let key = std::str::from_utf8(key).unwrap();
        assert_eq!(&scene.tool.run(["get", place, key]).ok().stdout, value);
        assert_eq!(
            lines(&scene.tool.run(["dump", place]).ok()).len(),
            scene.model.len()
        );
        scene.tool.run(["dump", place, "--db", "x"]).exits(2);
    }
    scene.tool.run(["ls", "--keys", "latest:profile"]).exits(2);
    let target = scene.tool.path("back");
    scene.tool.restore("latest:profile/Default/leveldb", &target).ok();
    assert!(super::common::scan(&target).unwrap() == scene.model);
}
