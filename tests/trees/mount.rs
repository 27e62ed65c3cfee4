//! `mount`: what the kernel shows is what was saved, and the end leaves nothing behind. Not run, and said so, where there
//! is no /dev/fuse.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use levault::blob::BlobKind;
use levault::chunk::ChunkIterator;
use levault::engine::tree::SnapshotView;
use levault::id::BlobId;
use levault::repo::BlobReader;
use levault::snapshot::{EntryKind, SnapshotSource};

use super::common::{scan, value};
use super::scene::{MTIME, Scene, directory, file, history, link, other};
use super::support::machine;
use super::support::oracle::Oracle;
use super::support::tool::files_below;

/// How long a mount may take to come and to go.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nobody in particular, who is not root.
const PLAIN_USER: u32 = 65_534;

/// Root mounts by itself, other users by fusermount3; else the test is skipped.
fn can_mount() -> bool {
    let device = File::options().read(true).write(true).open("/dev/fuse");
    if let Err(cause) = device {
        machine::skip(&format!("needs /dev/fuse: {cause}"));
        return false;
    }
    if rustix::process::geteuid().is_root() {
        machine::needs_mount_namespace()
    } else {
        machine::needs_command("fusermount3", "fuse3")
    }
}

/// The program, serving a mount.
struct Mount {
    child: Child,
    at: PathBuf,
    /// Where it makes databases.
    temp: PathBuf,
}

impl Mount {
    fn new(scene: &Scene, flags: &[&str]) -> Self {
        Self::start(scene, scene.tool.command(), flags)
    }

    fn start(scene: &Scene, mut command: Command, flags: &[&str]) -> Self {
        let (at, temp) = (scene.tool.path("mount"), scene.tool.path("temp"));
        for dir in [&at, &temp] {
            fs::create_dir(dir).unwrap();
            fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
        }
        command.arg("mount").arg(&at).args(flags).env("TMPDIR", &temp);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let mut mount = Self { child, at, temp };
        if !line.starts_with("mounted at ") {
            panic!("{line}{}", mount.stderr());
        }
        mount
    }

    fn latest(&self) -> PathBuf {
        self.at.join("snapshots/latest")
    }

    /// Asks it to end as Ctrl-C and `kill` do.
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    /// Waits until it has ended, which it must well; what it said on standard error.
    fn ended(mut self) -> String {
        let since = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if since.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(20)),
                None => panic!("it does not end"),
            }
        };
        let said = self.stderr();
        assert_eq!(status.code(), Some(0), "{said}");
        assert_eq!(fs::read_dir(&self.at).unwrap().count(), 0, "it is unmounted");
        assert_eq!(
            fs::read_dir(&self.temp).unwrap().count(),
            0,
            "no database is left"
        );
        said
    }

    /// Unmounts it, and expects that it had nothing to say.
    fn end(self) {
        self.signal(rustix::process::Signal::TERM);
        let said = self.ended();
        assert!(said.is_empty(), "{said}");
    }
}

impl Drop for Mount {
    /// A test that failed leaves no mount behind.
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(rustix::process::Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn snapshots_stand_by_id_time_host_and_tag_with_links_to_the_latest() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    scene.tool.run(["tag", "--add", "a/b", "latest"]).ok();
    let mount = Mount::new(&scene, &[]);
    let all = scene.repo.snapshots().unwrap();
    assert_eq!(names(&mount.at), ["hosts", "ids", "snapshots", "tags"]);
    let mut ids: Vec<_> = all.iter().map(|stored| stored.id.short()).collect();
    ids.sort();
    assert_eq!(names(&mount.at.join("ids")), ids);
    let times = names(&mount.at.join("snapshots"));
    assert_eq!(times.len(), all.len() + 1);
    let host = mount.at.join("hosts").join(&all[0].snapshot.host);
    assert_eq!(names(&host), times);
    let latest = fs::read_link(mount.latest()).unwrap();
    assert_eq!(
        latest,
        Path::new(times.iter().rfind(|name| *name != "latest").unwrap())
    );
    assert_eq!(names(&mount.latest()), ["profile"]);
    assert_eq!(names(&mount.at.join("tags/a_b/latest")), ["profile"]);
    assert_eq!(names(&mount.at.join("ids").join(all[1].id.short())), ["profile"]);
    for absent in [
        "none",
        "ids/none",
        "hosts/none",
        "tags/none",
        "snapshots/latest/none",
    ] {
        let error = fs::metadata(mount.at.join(absent)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{absent}");
    }
    assert!(File::create(mount.latest().join("new")).is_err(), "read-only");
    mount.end();
}

#[test]
fn sources_stand_in_the_places_that_a_restore_gives_them() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let paths = ["a/data", "b/data", "b/x"].map(|name| scene.tool.path(name));
    for path in &paths {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("f"), path.to_str().unwrap()).unwrap();
    }
    let db = scene.tool.path("b/db");
    super::common::fill(&db, 30, 20);
    let mut backup = scene.tool.command();
    super::support::tool::Ended::of(backup.arg("backup").args(&paths).arg(&db)).ok();
    let restored = scene.tool.path("restored");
    scene.tool.restore("latest", &restored).ok();
    let mount = Mount::new(&scene, &[]);
    let mut shown = names(&mount.latest());
    shown.retain(|name| name != "db.records.jsonl");
    assert_eq!(shown, names(&restored));
    for place in ["a", "b", "a/data", "b/data", "x"] {
        assert_eq!(
            names(&mount.latest().join(place)),
            names(&restored.join(place)),
            "{place}"
        );
    }
    let read = |at: &Path| fs::read(at.join("b/data/f")).unwrap();
    assert_eq!(read(&mount.latest()), read(&restored));
    mount.end();
}

#[test]
fn files_read_as_they_are_restored_whole_and_in_parts() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let restored = scene.tool.path("restored");
    scene.tool.restore("latest", &restored).ok();
    let mount = Mount::new(&scene, &[]);
    let at = mount.latest().join("profile");
    for name in [
        "Default/History",
        "Default/empty",
        "Local State",
        "Default/leveldb/NOTES",
    ] {
        assert!(
            fs::read(at.join(name)).unwrap() == fs::read(restored.join(name)).unwrap(),
            "{name}"
        );
    }
    let (bytes, file) = (history(), File::open(at.join("Default/History")).unwrap());
    assert!(fs::read(at.join("Default/History")).unwrap() == bytes);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (bytes, file) = (&bytes, &file);
            scope.spawn(move || {
                for n in 0..50_u64 {
                    let offset = ((n * 7_919 + seed * 104_729) * 613) % bytes.len() as u64;
                    let mut part = vec![0; 10_000];
                    let len = file.read_at(&mut part, offset).unwrap();
                    assert!(
                        part[..len] == bytes[offset as usize..][..len] && len > 0,
                        "at {offset}"
                    );
                }
            });
        }
    });
    let mut end = [0; 100];
    assert_eq!(file.read_at(&mut end, bytes.len() as u64 - 10).unwrap(), 10);
    assert_eq!(file.read_at(&mut end, bytes.len() as u64).unwrap(), 0);
    drop(file);
    mount.end();
}

#[test]
fn metadata_is_what_was_saved() {
    if !can_mount() {
        return;
    }
    let mut scene = Scene::new();
    let mut all = super::scene::profile();
    let linked = || file(b"linked").with(|meta| meta.hard_link = Some(7));
    let xattrs = vec![
        (b"user.a".to_vec(), b"1".to_vec()),
        (b"user.b".to_vec(), vec![0xff; 300]),
    ];
    all.push(("x1", linked()));
    all.push(("x2", linked()));
    all.push(("x3", file(b"").with(|meta| meta.xattrs = xattrs)));
    all.push((
        "x4",
        file(b"").with(|meta| meta.mtime_nanos = Some(-1_500_000_000)),
    ));
    all.push(("x5", link(b"/no/where")));
    scene.store(all);
    let mount = Mount::new(&scene, &[]);
    let at = mount.latest().join("profile");
    let facts = |name: &str| fs::symlink_metadata(at.join(name)).unwrap();
    for (name, mode) in [
        ("", 0o040_750),
        ("Default/History", 0o100_640),
        ("pipe", 0o010_600),
        ("console", 0o020_600),
    ] {
        let facts = facts(name);
        assert_eq!(format!("{:o}", facts.mode()), format!("{mode:o}"), "{name}");
        assert_eq!((facts.uid(), facts.gid()), (1000, 100), "{name}");
        assert_eq!(
            facts.mtime() * 1_000_000_000 + facts.mtime_nsec(),
            MTIME,
            "{name}"
        );
    }
    assert!(facts("pipe").file_type().is_fifo());
    assert_eq!(facts("console").rdev(), rustix::fs::makedev(5, 1));
    assert_eq!(facts("Default/History").len(), history().len() as u64);
    let [one, two] = ["x1", "x2"].map(facts);
    assert_eq!((one.ino(), one.nlink()), (two.ino(), 2));
    assert_ne!(facts("x3").ino(), facts("x4").ino());
    let mut names = [0; 100];
    let len = rustix::fs::listxattr(at.join("x3"), &mut names).unwrap();
    assert_eq!(&names[..len], b"user.a\0user.b\0");
    let mut value = [0; 400];
    assert_eq!(
        rustix::fs::getxattr(at.join("x3"), "user.b", &mut value).unwrap(),
        300
    );
    assert!(rustix::fs::getxattr(at.join("x3"), "user.b", &mut value[..9]).is_err());
    assert!(rustix::fs::getxattr(at.join("x3"), "user.c", &mut value).is_err());
    assert_eq!((facts("x4").mtime(), facts("x4").mtime_nsec()), (-2, 500_000_000));
    assert_eq!(fs::read_link(at.join("x5")).unwrap(), Path::new("/no/where"));
    mount.end();
}

#[test]
fn everything_is_roots_on_request() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mount = Mount::new(&scene, &["--owner-root"]);
    for name in [
        "profile",
        "profile/Default/History",
        "profile/Default/leveldb/CURRENT",
    ] {
        let facts = fs::symlink_metadata(mount.latest().join(name)).unwrap();
        assert_eq!((facts.uid(), facts.gid()), (0, 0), "{name}");
    }
    mount.end();
}

#[test]
fn a_database_is_a_directory_that_leveldb_opens_and_a_file_of_records() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mount = Mount::new(&scene, &[]);
    let default = mount.latest().join("profile/Default");
    assert_eq!(
        names(&default),
        ["History", "empty", "leveldb", "leveldb.records.jsonl", "link"]
    );
    assert_eq!(fs::read_dir(&mount.temp).unwrap().count(), 1);
    let made = || fs::read_dir(&mount.temp).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::metadata(made()).unwrap().mode() & 0o777, 0o700);
    assert!(names(&made()).is_empty(), "nobody looked into it yet");
    let database = default.join("leveldb");
    let listed = names(&database);
    assert!(
        listed.contains(&"CURRENT".into()) && listed.contains(&"NOTES".into()),
        "{listed:?}"
    );
    let copy = scene.tool.path("copy");
    fs::create_dir(&copy).unwrap();
    for (path, bytes) in files_below(&database) {
        if path.file_name().unwrap() != "NOTES" {
            fs::write(copy.join(path.file_name().unwrap()), bytes).unwrap();
        }
    }
    assert!(scan(&copy).unwrap() == scene.model);
    if let Some(mut oracle) = Oracle::start() {
        assert!(oracle.dump_strictly(&copy) == scene.model);
    }

    let records = default.join("leveldb.records.jsonl");
    let dumped = scene
        .tool
        .run(["dump", "latest:profile/Default/leveldb"])
        .ok()
        .stdout;
    assert!(fs::read(&records).unwrap() == dumped);
    let file = File::open(&records).unwrap();
    let mut part = [0; 50];
    for offset in [20_000, 100, 20_010] {
        assert_eq!(file.read_at(&mut part, offset).unwrap(), 50);
        assert!(part == dumped[offset as usize..][..50], "at {offset}");
    }
    assert_eq!(file.read_at(&mut part, dumped.len() as u64 + 7).unwrap(), 0);
    drop(file);
    mount.end();
}

#[test]
fn few_databases_are_kept_and_a_file_that_is_open_stays_readable() {
    if !can_mount() {
        return;
    }
    let mut scene = Scene::new();
    (0..5).for_each(|_| scene.store(super::scene::profile()));
    let mount = Mount::new(&scene, &[]);
    let made = fs::read_dir(&mount.temp).unwrap().next().unwrap().unwrap().path();
    let ids = scene.repo.snapshots().unwrap();
    let current = |id: &str| {
        mount
            .at
            .join("ids")
            .join(id)
            .join("profile/Default/leveldb/CURRENT")
    };
    let ids: Vec<_> = ids[1..].iter().map(|stored| stored.id.short()).collect();
    let open = File::open(current(&ids[0])).unwrap();
    for id in &ids {
        assert!(fs::read_to_string(current(id)).unwrap().starts_with("MANIFEST-"));
    }
    assert_eq!(names(&made).len(), 4);
    let mut first = [0; 9];
    assert_eq!(open.read_at(&mut first, 0).unwrap(), 9);
    assert_eq!(&first, b"MANIFEST-");
    drop(open);
    assert!(
        fs::read_to_string(current(&ids[0]))
            .unwrap()
            .starts_with("MANIFEST-"),
        "it is made again"
    );
    mount.end();
}

#[test]
fn a_large_directory_is_listed_whole() {
    if !can_mount() {
        return;
    }
    let mut scene = Scene::bare();
    let names: Vec<String> = (0..3_000)
        .map(|n| format!("{n:05} {}", "x".repeat(n % 100)))
        .collect();
    let many = names.iter().map(|name| (&name[..], file(b"")));
    scene.store(vec![("many", directory(many.collect()))]);
    let mount = Mount::new(&scene, &[]);
    let many = mount.latest().join("profile/many");
    assert!(self::names(&many) == names);
    assert_eq!(fs::metadata(many.join(&names[2_999])).unwrap().len(), 0);
    mount.end();
}

#[test]
fn a_file_called_as_records_are_is_itself() {
    if !can_mount() {
        return;
    }
    let mut scene = Scene::bare();
    let database = || other(EntryKind::Database(0));
    scene.store(vec![("db", database()), ("db.records.jsonl", file(b"its own"))]);
    let mount = Mount::new(&scene, &[]);
    let at = mount.latest().join("profile");
    assert_eq!(names(&at), ["db", "db.records.jsonl"]);
    assert_eq!(fs::read(at.join("db.records.jsonl")).unwrap(), b"its own");
    mount.end();
}

#[test]
fn damage_is_an_error_for_who_reads_it_and_a_line_and_the_rest_goes_on() {
    if !can_mount() {
        return;
    }
    let mut scene = Scene::bare();
    let lost = other(EntryKind::Directory(BlobId([7; 32])));
    let big = file(&value(5, 2_000_000));
    scene.store(vec![("big", big), ("lost", lost), ("small", file(b"small"))]);
    scene.damage("profile/big");
    let mount = Mount::new(&scene, &[]);
    let at = mount.latest().join("profile");
    let eio = Some(rustix::io::Errno::IO.raw_os_error());
    assert_eq!(
        fs::read(at.join("big")).map(drop).unwrap_err().raw_os_error(),
        eio
    );
    let listed = fs::read_dir(at.join("lost")).and_then(|mut all| all.next().transpose());
    assert_eq!(listed.map(drop).unwrap_err().raw_os_error(), eio);
    assert_eq!(fs::read(at.join("small")).unwrap(), b"small");
    mount.signal(rustix::process::Signal::INT);
    let said = mount.ended();
    assert!(
        said.contains("mount: read big: ") && said.contains("mount: list a directory: "),
        "{said}"
    );
}

#[test]
fn what_a_prune_moves_beside_a_mount_is_read_from_where_it_is() {
    if !can_mount() {
        return;
    }
    let mut scene = Scene::bare();
    let stays = value(6, 1_000_000);
    scene.store(vec![
        ("goes", file(&value(5, 1_000_000))),
        ("stays", file(&stays)),
    ]);
    let old = scene.repo.select("latest").unwrap().id.to_hex();
    scene.store(vec![("stays", file(&stays))]);
    let mount = Mount::new(&scene, &[]);
    let at = mount.latest().join("profile");
    assert_eq!(names(&at), ["stays"], "the kernel knows it by now");
    scene.tool.run(["forget", &old]).ok();
    let prune = ["prune", "--grace", "0", "--unsafe-grace", "--max-unused", "0"];
    let place = |name: &str| {
        let found = scene.repo.lookup().unwrap();
        let reader = BlobReader::new(&scene.repo, &found);
        let latest = scene.repo.select("latest").unwrap();
        let found = SnapshotView::new(&latest.snapshot, &reader)
            .resolve(name.as_bytes())
            .unwrap();
        let EntryKind::File(list) = found.node.entry.kind else {
            panic!("a file")
        };
        let (mut chunks, _) = ChunkIterator::chunk_at(list, 0, &reader).unwrap();
        let first = chunks.next().unwrap().unwrap();
        reader.locations(BlobKind::Data, &first.id).unwrap()[0].pack
    };
    let before = place("profile/stays");
    scene.tool.run(prune).ok();
    assert!(place("profile/stays") != before, "it was moved");
    assert!(fs::read(at.join("stays")).unwrap() == stays);
    mount.end();
}

#[test]
fn a_database_within_itself_ends() {
    if !can_mount() {
        return;
    }
    use levault::repo::{BlobWriter, WriteMode};
    use levault::report::OperationReport;
    let mut scene = Scene::new();
    let mut sources = scene.repo.select("latest").unwrap().snapshot.sources;
    let report = OperationReport::default();
    let mut writer = BlobWriter::start(&scene.repo, &report, WriteMode::StoreNew).unwrap();
    let again = scene.weave(
        &mut writer,
        &vec![(b"again".to_vec(), other(EntryKind::Database(0)))],
    );
    writer.finish().unwrap();
    let SnapshotSource::Database(database) = &mut sources[0] else {
        panic!("a database")
    };
    database.beside = Some(again);
    scene.put(sources);
    let mount = Mount::new(&scene, &[]);
    let once = mount.latest().join("profile/Default/leveldb/again");
    assert!(names(&once).contains(&"CURRENT".into()));
    let error = fs::metadata(once.join("again")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    mount.signal(rustix::process::Signal::TERM);
    assert!(mount.ended().contains("a database within itself"));
}

#[test]
fn a_file_is_no_place_for_a_mount() {
    if !can_mount() {
        return;
    }
    let scene = Scene::bare();
    let file = scene.tool.path("file");
    fs::write(&file, "x").unwrap();
    let refused = scene.tool.run(["mount", file.to_str().unwrap()]).exits(1);
    assert!(refused.stderr.contains("ot a directory"), "{}", refused.stderr);
}

#[test]
fn fusermount_ends_it_too() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mount = Mount::new(&scene, &[]);
    names(&mount.latest().join("profile/Default/leveldb"));
    let ended = Command::new("fusermount3")
        .arg("-u")
        .arg(&mount.at)
        .status()
        .unwrap();
    assert!(ended.success());
    assert!(mount.ended().is_empty());
}

#[test]
fn what_is_in_use_at_the_end_is_detached_and_the_program_ends() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mount = Mount::new(&scene, &[]);
    let open = File::open(mount.latest().join("profile/Default/History")).unwrap();
    mount.signal(rustix::process::Signal::INT);
    let said = mount.ended();
    assert!(said.contains("is in use; it is detached"), "{said}");
    drop(open);
}

/// Gives all below a directory to the plain user.
fn give_away(directory: &Path) {
    for entry in walkdir::WalkDir::new(directory) {
        std::os::unix::fs::lchown(entry.unwrap().path(), Some(PLAIN_USER), Some(PLAIN_USER)).unwrap();
    }
}

/// Runs what follows as the plain user, with mounts of its own and a /dev/fuse that everybody may open, as systems have it.
const AS_PLAIN_USER: &str = r#"
    mknod "$0" c 10 229 && chmod 666 "$0" && mount --bind "$0" /dev/fuse || exit 99
    exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"
"#;

#[test]
fn a_plain_user_mounts_through_fusermount() {
    if !can_mount() {
        return;
    }
    if !machine::needs_root() || !machine::needs_mount_namespace() {
        return;
    }
    let scene = Scene::new();
    let (program, device) = (scene.tool.path("levault"), scene.tool.path("fuse"));
    fs::copy(env!("CARGO_BIN_EXE_levault"), &program).unwrap();
    give_away(scene.tool.dir.path());
    fs::set_permissions(scene.tool.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", AS_PLAIN_USER]);
    command.arg(&device).arg(&program).stdin(Stdio::null());
    let usual = scene.tool.command();
    command.envs(usual.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mount = Mount::start(&scene, command, &[]);
    // What it has mounted is seen from among its own mounts alone.
    let there = |user: &[&str], file: &Path| {
        let mut enter = Command::new("nsenter");
        enter
            .arg(format!("--mount=/proc/{}/ns/mnt", mount.child.id()))
            .args(user);
        enter.arg("cat").arg(file).output().unwrap()
    };
    let user = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--",
    ];
    let read = there(&user, &mount.latest().join("profile/Default/History"));
    assert!(
        read.stdout == history(),
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
    let notes = there(&user, &mount.latest().join("profile/Default/leveldb/NOTES"));
    assert_eq!(notes.stdout, b"beside\n");
    let root = there(&[], &mount.latest().join("profile/Local State"));
    assert!(
        !root.status.success() && root.stdout.is_empty(),
        "whoever did not mount it sees nothing, root included"
    );
    mount.signal(rustix::process::Signal::TERM);
    let said = mount.ended();
    assert!(said.is_empty(), "{said}");
}
