//! `dump` of files and directories; GNU tar is the judge of archives.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use levault::snapshot::{DeviceNumber, EntryKind};

use super::common::{scan, value};
use super::scene::{MTIME, Scene, Thing, directory, file, history, link, other};

/// Unpacks the archive that `dump` writes of this place.
fn unpacked(scene: &Scene, place: &str) -> PathBuf {
    let target = scene.tool.path("unpacked");
    fs::create_dir(&target).unwrap();
    let mut dump = scene.tool.command();
    let dump = dump.args(["dump", "--archive", "tar", place]);
    let mut dump = dump.stdout(Stdio::piped()).spawn().unwrap();
    let tar = Command::new("tar")
        .args([
            "--extract",
            "--preserve-permissions",
            "--xattrs",
            "--xattrs-include=*",
        ])
        .args([
            "--no-same-owner",
            "--delay-directory-restore",
            "--warning=no-timestamp",
        ])
        // Only root may make devices.
        .args((!rustix::process::geteuid().is_root()).then_some("--exclude=console"))
        .arg("--directory")
        .arg(&target)
        .stdin(dump.stdout.take().unwrap())
        .output()
        .unwrap();
    assert!(dump.wait().unwrap().success());
    let said = String::from_utf8_lossy(&tar.stderr);
    assert!(tar.status.success() && said.is_empty(), "{said}");
    target
}

/// The scene gives this directory a mode with which only root enters it.
fn make_enterable(directory: &Path) {
    fs::set_permissions(directory, PermissionsExt::from_mode(0o700)).unwrap();
}

fn facts(path: &Path) -> Metadata {
    fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_file_is_printed_as_it_was() {
    let scene = Scene::new();
    for place in [
        "latest:profile/Default/History",
        "latest:/home/u/profile/Default/History",
    ] {
        assert!(scene.tool.run(["dump", place]).ok().stdout == history());
    }
    assert!(
        scene
            .tool
            .run(["dump", "latest", "profile/Default/History"])
            .ok()
            .stdout
            == history()
    );
    assert!(
        scene
            .tool
            .run(["dump", "latest:profile/Default/empty"])
            .ok()
            .stdout
            .is_empty()
    );
    let target = scene.tool.path("History");
    let to_file = [
        "dump",
        "latest:profile/Default/History",
        "--target",
        target.to_str().unwrap(),
    ];
    scene.tool.run(to_file).ok();
    assert!(fs::read(&target).unwrap() == history());
    assert_ne!(scene.tool.run(to_file).code, 0, "it is there already");
    for (args, code) in [
        (&["dump", "latest:profile/Default/link"][..], 2),
        (&["dump", "latest:profile/pipe"], 2),
        (&["dump", "latest:profile/Default/History", "--prefix", "a"], 2),
        (&["dump", "latest:profile", "--with-uncertain"], 2),
        (&["dump", "latest:profile/none"], 1),
    ] {
        assert!(scene.tool.run(args.iter().copied()).exits(code).stdout.is_empty());
    }
}

#[test]
fn a_directory_is_an_archive_with_its_databases_restored() {
    let scene = Scene::new();
    let at = unpacked(&scene, "latest:profile");
    assert!(fs::read(at.join("Default/History")).unwrap() == history());
    assert_eq!(
        fs::read_link(at.join("Default/link")).unwrap(),
        Path::new("../Local State")
    );
    assert!(facts(&at.join("pipe")).file_type().is_fifo());
    for (name, mode) in [
        ("", 0o750),
        ("Default", 0o750),
        ("Local State", 0o640),
        ("Default/leveldb", 0o600),
    ] {
        let facts = facts(&at.join(name));
        assert_eq!(facts.mode() & 0o7777, mode, "{name}");
        let mtime = facts.mtime() * 1_000_000_000 + facts.mtime_nsec();
        assert_eq!(mtime, MTIME, "{name}");
    }
    let database = at.join("Default/leveldb");
    make_enterable(&database);
    assert_eq!(fs::read(database.join("NOTES")).unwrap(), b"beside\n");
    fs::remove_file(database.join("NOTES")).unwrap();
    assert!(scan(&database).unwrap() == scene.model);
}

#[test]
fn a_database_alone_is_an_archive_on_request() {
    let scene = Scene::new();
    let at = unpacked(&scene, "latest:profile/Default/leveldb");
    assert!(at.join("NOTES").exists() && scan(&at).unwrap() == scene.model);
}

#[test]
fn all_of_a_snapshot_is_an_archive_with_each_source_under_its_name() {
    let scene = Scene::new();
    let at = unpacked(&scene, "latest:/");
    assert!(fs::read(at.join("profile/Default/History")).unwrap() == history());
    make_enterable(&at.join("profile/Default/leveldb"));
    assert!(at.join("profile/Default/leveldb/CURRENT").exists());
}

/// Names and links that no header holds, links that are one file, holes, attributes, odd times.
fn odd() -> Vec<(&'static str, Thing)> {
    let long = "long ".repeat(45);
    let deep = directory(vec![(&long, directory(vec![(&long, file(b"deep"))]))]);
    let mut content = value(1, 1 << 20);
    content[4096..800_000].fill(0);
    content[900_000..].fill(0);
    let holes = vec![(4096, 795_904), (900_000, (1 << 20) - 900_000)];
    let linked = || file(b"linked").with(|meta| meta.hard_link = Some(7));
    let xattr = |value: &[u8]| vec![(b"user.note".to_vec(), value.to_vec())];
    vec![
        ("a link", linked()),
        ("another link", linked()),
        (
            "attributes",
            file(b"a").with(|meta| meta.xattrs = xattr(b"\xff\n\0=")),
        ),
        (
            "before 1970",
            file(b"old").with(|meta| meta.mtime_nanos = Some(-1_500_000_000)),
        ),
        ("deep", deep),
        ("holes", file(&content).with(|meta| meta.holes = holes)),
        ("to far", link(long.as_bytes())),
    ]
}

#[test]
fn an_archive_keeps_what_tars_of_old_could_not() {
    let mut scene = Scene::bare();
    scene.store(odd());
    let at = unpacked(&scene, "latest:profile");
    let long = "long ".repeat(45);
    assert_eq!(
        fs::read(at.join("deep").join(&long).join(&long)).unwrap(),
        b"deep"
    );
    assert_eq!(fs::read_link(at.join("to far")).unwrap(), Path::new(&long));
    let [one, other] = ["a link", "another link"].map(|name| facts(&at.join(name)));
    assert_eq!((one.ino(), one.nlink()), (other.ino(), 2));
    assert_eq!(fs::read(at.join("another link")).unwrap(), b"linked");
    let mut attribute = [0; 9];
    let len = rustix::fs::getxattr(at.join("attributes"), "user.note", &mut attribute).unwrap();
    assert_eq!(&attribute[..len], b"\xff\n\0=");
    let old = facts(&at.join("before 1970"));
    assert_eq!((old.mtime(), old.mtime_nsec()), (-2, 500_000_000));
    let holes = at.join("holes");
    let sparse = facts(&holes);
    assert_eq!(sparse.len(), 1 << 20);
    assert!(sparse.blocks() * 512 < 300_000, "{} blocks", sparse.blocks());
    let plain = scene.tool.run(["dump", "latest:profile/holes"]).ok().stdout;
    assert!(fs::read(&holes).unwrap() == plain);
}

#[test]
fn devices_have_their_numbers_and_those_no_tar_holds_end_it() {
    let mut scene = Scene::new();
    let list = |scene: &Scene, place: &str| {
        let dumped = scene.tool.run(["dump", "-a", "tar", place]).ok().stdout;
        let path = scene.tool.path("archive.tar");
        fs::write(&path, dumped).unwrap();
        let listed = Command::new("tar").arg("-tvf").arg(path).output().unwrap();
        String::from_utf8(listed.stdout).unwrap()
    };
    let text = list(&scene, "latest:profile/console");
    assert!(text.starts_with("crw-------") && text.contains("5,1 "), "{text}");
    assert!(text.ends_with(" console\n"), "{text}");
    let large = EntryKind::Device(DeviceNumber {
        is_block: true,
        major: 1,
        minor: 1 << 21,
    });
    scene.store(vec![("disk", other(large))]);
    let ended = scene.tool.run(["dump", "latest:profile"]).exits(1);
    assert!(
        ended.stderr.contains("archive disk: device 1:2097152"),
        "{}",
        ended.stderr
    );
}

#[test]
fn content_that_is_lost_ends_a_dump_with_an_error() {
    let scene = Scene::new();
    scene.damage("profile/Default/History");
    for place in ["latest:profile/Default/History", "latest:profile"] {
        let ended = scene.tool.run(["dump", place]).exits(1);
        assert!(ended.stderr.contains("blob"), "{}", ended.stderr);
    }
}
