//! Lists: one tree of what they name.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use levault::error::ErrorKind;
use levault::ops::backup::{Backup, BackupOutcome};
use levault::pattern::{CaseSensitivity, Pattern, Patterns};

use super::Scene;
use super::seen::{Thing, database, latest, things, trees};

impl Scene {
    fn backup_of(&self, paths: &[&str], listed: &[&str]) -> levault::error::Result<BackupOutcome> {
        self.wanted(paths, listed).run(&self.repo, &self.report)
    }

    fn wanted(&self, paths: &[&str], listed: &[&str]) -> Backup {
        let all = |names: &[&str]| names.iter().map(|name| self.path(name)).collect::<Vec<PathBuf>>();
        let mut backup = Backup::new(all(paths));
        backup.listed = all(listed);
        backup
    }

    /// Name, path and entries of each tree of the newest snapshot.
    fn all_trees(&self) -> Vec<(String, PathBuf, Vec<String>)> {
        let snapshot = latest(&self.repo);
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let all = trees(&snapshot).into_iter().map(|tree| {
            let entries = things(&self.repo, &tree.root).keys().map(text).collect();
            let path = Path::new(std::ffi::OsStr::from_bytes(&tree.path)).to_owned();
            (tree.name.clone(), path, entries)
        });
        all.collect()
    }
}

#[test]
fn what_is_listed_makes_one_tree_and_nothing_else_is_in_it() {
    let scene = Scene::new();
    for name in [
        "www/img/a.png",
        "www/img/b.png",
        "www/index.html",
        "www/draft",
        "mail/in/1",
        "mail/out/2",
        "else/x",
    ] {
        scene.file(&format!("srv/{name}"), name);
    }
    let listed = [
        "srv/www/index.html",
        "srv/mail",
        "srv/www/img/a.png",
        "srv/mail/in",
        "srv/www/index.html",
    ];
    scene.backup_of(&[], &listed).unwrap();
    scene.has_no_problem();
    let entries = [
        "srv",
        "srv/mail",
        "srv/mail/in",
        "srv/mail/in/1",
        "srv/mail/out",
        "srv/mail/out/2",
        "srv/www",
        "srv/www/img",
        "srv/www/img/a.png",
        "srv/www/index.html",
    ];
    let root = scene.path("srv").canonicalize().unwrap();
    let entries = entries.map(String::from).to_vec();
    assert_eq!(scene.all_trees(), [("srv".to_owned(), root, entries)]);
    scene.is_sound();
}

#[test]
fn more_files_than_a_snapshot_has_sources_are_one_source() {
    let scene = Scene::new();
    let many = scene.path("many");
    fs::create_dir(&many).unwrap();
    let names: Vec<_> = (0..10_100).map(|number| format!("many/{number}")).collect();
    for name in &names {
        fs::write(scene.path(name), name).unwrap();
    }
    let listed: Vec<_> = names[1..].iter().map(|name| &name[..]).collect();
    let outcome = scene.backup_of(&[], &listed).unwrap();
    assert_eq!(outcome.trees.len(), 1);
    assert_eq!(outcome.trees[0].counts.files.new, 10_099);
}

#[test]
fn one_listed_thing_is_like_a_path_and_what_lies_in_a_path_is_not_saved_twice() {
    let scene = Scene::new();
    scene.file("a/b/x", "x");
    scene.file("a/b/y", "y");
    scene.file("c", "c");
    scene.backup_of(&[], &["a/b"]).unwrap();
    let [(name, _, entries)] = &scene.all_trees()[..] else {
        panic!()
    };
    assert_eq!(
        (&name[..], &entries[..]),
        ("b", &["b", "b/x", "b/y"].map(String::from)[..])
    );
    scene.backup_of(&["a"], &["a/b/x", "c"]).unwrap();
    let names: Vec<_> = scene.all_trees().into_iter().map(|tree| tree.0).collect();
    assert_eq!(names, ["a", "c"]);
    let mut named = scene.wanted(&[], &["a/b/x", "c"]);
    named.name = Some("chosen".into());
    named.run(&scene.repo, &scene.report).unwrap();
    assert_eq!(scene.all_trees()[0].0, "chosen");
}

#[test]
fn listed_databases_are_captured_also_when_only_their_files_are_listed() {
    let scene = Scene::new();
    let by_files = scene.database("home/by-files");
    scene.database("home/whole");
    scene.database("home/other");
    scene.file("home/by-files/listed", "foreign");
    scene.file("home/by-files/not", "foreign");
    let mut listed = vec!["home/whole".to_owned(), "home/by-files/listed".to_owned()];
    for entry in fs::read_dir(&by_files).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !["listed", "not"].contains(&&name[..]) {
            listed.push(format!("home/by-files/{name}"));
        }
    }
    let listed: Vec<_> = listed.iter().map(|name| &name[..]).collect();
    let outcome = scene.backup_of(&[], &listed).unwrap();
    scene.has_no_problem();
    let names: Vec<_> = outcome
        .databases
        .iter()
        .map(|database| &database.name[..])
        .collect();
    assert_eq!(names, ["home/by-files", "home/whole"]);
    let snapshot = latest(&scene.repo);
    let (_, root) = database(&snapshot, "home/by-files");
    let beside = things(&scene.repo, &root.beside.unwrap());
    assert_eq!(
        beside,
        [(b"listed".to_vec(), Thing::File(b"foreign".to_vec()))].into()
    );
    let all = things(&scene.repo, &trees(&snapshot)[0].root);
    assert_eq!(all[&b"home/whole"[..]], Thing::Database(1));
    // All files of one database alone, as find(1) lists them.
    let own: Vec<_> = listed
        .iter()
        .copied()
        .filter(|name| name.starts_with("home/by"))
        .collect();
    let outcome = scene.backup_of(&[], &own).unwrap();
    assert_eq!((outcome.databases.len(), outcome.trees.len()), (1, 0));
    scene.is_sound();
}

#[test]
fn a_foreign_file_that_is_listed_is_not_its_database() {
    let scene = Scene::new();
    scene.database("home/db");
    scene.file("home/db/notes", "foreign");
    scene.file("home/x", "x");
    let outcome = scene.backup_of(&[], &["home/db/notes", "home/x"]).unwrap();
    assert!(outcome.databases.is_empty());
    let entries = ["home", "home/db", "home/db/notes", "home/x"].map(String::from);
    assert_eq!(scene.all_trees()[0].2, entries);
}

#[test]
fn what_is_listed_and_missing_is_a_problem_and_the_rest_is_saved() {
    let scene = Scene::new();
    scene.file("a/x", "x");
    scene.file("a/y", "y");
    scene.backup_of(&[], &["a/x", "a/gone", "a/y"]).unwrap();
    assert_eq!(scene.report.problems().len(), 1);
    assert!(scene.report.problems()[0].contains("a/gone"));
    assert_eq!(scene.all_trees()[0].2, ["a", "a/x", "a/y"]);
    assert_eq!(
        scene.backup_of(&[], &["gone"]).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn a_listed_path_through_a_link_is_saved_where_it_leads() {
    let scene = Scene::new();
    scene.file("real/deep/x", "x");
    scene.file("y", "y");
    std::os::unix::fs::symlink("real", scene.path("link")).unwrap();
    scene.backup_of(&[], &["link/deep/x", "y"]).unwrap();
    scene.has_no_problem();
    let (_, _, entries) = &scene.all_trees()[0];
    assert_eq!(entries.len(), 5);
    assert!(
        entries[3].ends_with("/real/deep/x") && entries[4].ends_with("/y"),
        "{entries:?}"
    );
}

#[test]
fn listed_things_are_judged_and_the_way_to_them_is_not() {
    let scene = Scene::new();
    for name in ["tmp/a/x.o", "tmp/a/x.c", "tmp/b/tmp/y", "tmp/b/z"] {
        scene.file(name, name);
    }
    let mut backup = scene.wanted(&[], &["tmp/a/x.o", "tmp/a/x.c", "tmp/b"]);
    let words = ["*.o", "tmp"].map(|word| Pattern::word(word, CaseSensitivity::Matters));
    backup.rules.patterns = Patterns::new(&words).unwrap();
    let outcome = backup.run(&scene.repo, &scene.report).unwrap();
    let entries = ["tmp", "tmp/a", "tmp/a/x.c", "tmp/b", "tmp/b/z"].map(String::from);
    assert_eq!(scene.all_trees()[0].2, entries);
    assert_eq!(outcome.left_out.by_pattern, 2);
}
