//! What is left out: of the trees, of the search for databases, and of the counts.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use levault::error::ErrorKind;
use levault::ops::backup::{Backup, BackupOutcome};
use levault::pattern::{CaseSensitivity, Pattern, Patterns};
use levault::source::ExcludeRules;
use levault::source::exclude_rules::TagFile;

use super::Scene;
use super::seen::{Thing, database, latest, things, trees};

fn rules(words: &[&str]) -> ExcludeRules {
    let all: Vec<_> = words
        .iter()
        .map(|word| Pattern::word(word, CaseSensitivity::Matters))
        .collect();
    ExcludeRules {
        patterns: Patterns::new(&all).unwrap(),
        ..ExcludeRules::default()
    }
}

impl Scene {
    fn backup_by(&self, names: &[&str], rules: ExcludeRules) -> levault::error::Result<BackupOutcome> {
        let mut backup = Backup::new(names.iter().map(|name| self.path(name)).collect());
        backup.rules = rules;
        backup.run(&self.repo, &self.report)
    }

    /// The paths of the newest snapshot's only tree.
    fn only_tree(&self) -> Vec<String> {
        let snapshot = latest(&self.repo);
        let [tree] = trees(&snapshot)[..] else {
            panic!("{:?}", snapshot.sources)
        };
        let things = things(&self.repo, &tree.root);
        things
            .keys()
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect()
    }
}

#[test]
fn patterns_leave_out_files_and_whole_directories() {
    let scene = Scene::new();
    for name in [
        "a.c",
        "a.o",
        "keep.o",
        "build/x.c",
        "src/build",
        "src/gen/y.c",
        "deep/src/gen/z.c",
    ] {
        scene.file(&format!("home/{name}"), name);
    }
    fs::write(scene.path("home").join(OsStr::from_bytes(b"\xff.o")), "x").unwrap();
    let absolute = scene.path("home/deep/src/gen/z.c");
    let rules = rules(&["*.o", "!keep.o", "build/", "src/gen", absolute.to_str().unwrap()]);
    let outcome = scene.backup_by(&["home"], rules).unwrap();
    scene.has_no_problem();
    assert_eq!(
        scene.only_tree(),
        [
            "home",
            "home/a.c",
            "home/deep",
            "home/deep/src",
            "home/deep/src/gen",
            "home/keep.o",
            "home/src",
            "home/src/build"
        ]
    );
    assert_eq!((outcome.left_out.by_pattern, outcome.left_out.count()), (5, 5));
    let named = outcome.left_out.named.iter();
    assert!(
        named
            .clone()
            .any(|(path, why)| *path == scene.path("home/build") && why == "the pattern build/")
    );
    assert_eq!(outcome.trees[0].counts.files.new, 3);
    scene.is_sound();
}

#[test]
fn what_is_left_out_need_not_be_readable() {
    let scene = Scene::new();
    scene.file("home/secret/x", "x");
    let closed = scene.file("home/closed", "x");
    scene.file("home/open", "x");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    // Of a socket that is met there is a notice, whoever runs this test.
    let _socket = std::os::unix::net::UnixListener::bind(scene.path("home/secret.sock")).unwrap();
    scene.backup_by(&["home"], rules(&["closed", "secret*"])).unwrap();
    scene.has_no_problem();
    assert_eq!(scene.report.notices(), [""; 0]);
    assert_eq!(scene.only_tree(), ["home", "home/open"]);
}

#[test]
fn large_files_and_what_lies_beside_tag_files_is_left_out() {
    let scene = Scene::new();
    scene.file("home/large", [7; 101]);
    scene.file("home/small", [7; 100]);
    scene.file(
        "home/cache/CACHEDIR.TAG",
        "Signature: 8a477f597d28d172789f06886806bc55",
    );
    scene.file("home/cache/deep/x", "x");
    scene.file("home/cache/y", "y");
    scene.file("home/other/.nobackup", "");
    scene.file("home/other/z", "z");
    let rules = ExcludeRules {
        file_bytes_max: Some(100),
        tag_files: vec![
            TagFile::of_caches(),
            TagFile::parse(OsStr::new(".nobackup")).unwrap(),
        ],
        ..ExcludeRules::default()
    };
    let outcome = scene.backup_by(&["home"], rules).unwrap();
    assert_eq!(
        scene.only_tree(),
        [
            "home",
            "home/cache",
            "home/cache/CACHEDIR.TAG",
            "home/other",
            "home/other/.nobackup",
            "home/small"
        ]
    );
    assert_eq!((outcome.left_out.too_large, outcome.left_out.by_tag_file), (1, 3));
    scene.is_sound();
}

#[test]
fn a_database_in_what_is_left_out_is_not_captured() {
    let scene = Scene::new();
    for name in [
        "home/out/db",
        "home/tagged/db",
        "home/tagged-itself",
        "home/named",
        "home/in/db",
    ] {
        scene.database(name);
    }
    scene.file("home/tagged/.no", "");
    scene.file("home/tagged-itself/.no", "");
    let mut rules = rules(&["out", "named"]);
    rules.tag_files.push(TagFile::parse(OsStr::new(".no")).unwrap());
    let outcome = scene.backup_by(&["home"], rules).unwrap();
    scene.has_no_problem();
    let names: Vec<_> = outcome
        .databases
        .iter()
        .map(|database| &database.name[..])
        .collect();
    assert_eq!(names, ["home/in/db"]);
    assert_eq!(
        scene.only_tree(),
        [
            "home",
            "home/in",
            "home/in/db",
            "home/tagged",
            "home/tagged-itself",
            "home/tagged-itself/.no",
            "home/tagged/.no"
        ]
    );
    scene.is_sound();
}

#[test]
fn a_tag_file_in_a_path_itself_counts_too() {
    let scene = Scene::new();
    scene.database("home/db");
    scene.file("home/.no", "");
    let rules = || ExcludeRules {
        tag_files: vec![TagFile::parse(OsStr::new(".no")).unwrap()],
        ..ExcludeRules::default()
    };
    let outcome = scene.backup_by(&["home"], rules()).unwrap();
    assert!(outcome.databases.is_empty());
    assert_eq!(scene.only_tree(), ["home", "home/.no"]);
    scene.file("home/db/.no", "");
    let outcome = scene.backup_by(&["home/db"], rules()).unwrap();
    assert!(outcome.databases.is_empty());
    assert_eq!(scene.only_tree(), ["db", "db/.no"]);
}

#[test]
fn of_a_database_only_foreign_files_are_left_out() {
    let scene = Scene::new();
    scene.database("home/db");
    scene.file("home/db/notes.ldb.txt", "foreign");
    scene.file("home/db/keep", "foreign");
    scene.file("home/db/sub/x", "foreign");
    let mut rules = rules(&["*.ldb", "*.log", "CURRENT", "MANIFEST-*", "*.txt", "sub"]);
    rules.file_bytes_max = Some(10);
    let outcome = scene.backup_by(&["home"], rules).unwrap();
    scene.has_no_problem();
    let snapshot = latest(&scene.repo);
    let (number, root) = database(&snapshot, "home/db");
    assert_eq!((number, root.records), (0, 50));
    let beside = things(&scene.repo, &root.beside.unwrap());
    assert_eq!(
        beside,
        [(b"keep".to_vec(), Thing::File(b"foreign".to_vec()))].into()
    );
    assert_eq!(
        outcome.left_out.by_pattern, 2,
        "none of the database's own: {:?}",
        outcome.left_out
    );
    scene.is_sound();
}

#[test]
fn a_path_is_judged_by_its_own_name_and_nothing_at_all_is_an_error() {
    let scene = Scene::new();
    scene.file("work/a.iso", "x");
    scene.file("work/b", "x");
    scene
        .backup_by(&["work/a.iso", "work/b"], rules(&["*.iso", "work"]))
        .unwrap();
    assert_eq!(scene.only_tree(), ["b"]);
    assert!(scene.report.notices()[0].contains("a.iso: left out: the pattern *.iso"));
    let error = scene.backup_by(&["work/a.iso"], rules(&["*.iso"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
}

#[test]
fn a_link_with_a_slash_behind_it_is_the_directory_it_leads_to() {
    let scene = Scene::new();
    scene.file("real/x", "x");
    std::os::unix::fs::symlink("real", scene.path("link")).unwrap();
    scene.backup(&["link/"]);
    assert_eq!(scene.only_tree(), ["real", "real/x"]);
    scene.backup(&["link"]);
    assert_eq!(scene.only_tree(), ["link"]);
}
