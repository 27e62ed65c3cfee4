//! Whose a restored database is, and who may read it: as it was saved, whatever the umask, the user and the road.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use levault::ops::backup::Backup;
use levault::ops::restore::OverwriteMode;

use super::common;
use super::scene::Scene;
use super::support::machine;
use super::support::tool::{Ended, Tool};

const OWNER: (u32, u32) = (1234, 4321);
const DIRECTORY_MODE: u32 = 0o750;

/// Every file and directory from `path` down, with owner and permission bits.
fn owners(path: &Path) -> Vec<(PathBuf, u32, u32, u32)> {
    let walk = walkdir::WalkDir::new(path).sort_by_file_name().into_iter();
    let of = |entry: walkdir::DirEntry| {
        let facts = entry.metadata().unwrap();
        let name = entry.path().strip_prefix(path).unwrap().to_owned();
        (name, facts.mode() & 0o7777, facts.uid(), facts.gid())
    };
    walk.map(|entry| of(entry.unwrap())).collect()
}

fn dress(path: &Path, mode: u32, (uid, gid): (u32, u32)) {
    for entry in walkdir::WalkDir::new(path) {
        let entry = entry.unwrap();
        chown(entry.path(), Some(uid), Some(gid)).unwrap();
        let mode = if entry.file_type().is_dir() {
            DIRECTORY_MODE
        } else {
            mode
        };
        fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// Fails unless everything there is the service's own.
#[track_caller]
fn is_the_services(path: &Path, mode: u32) {
    let all = owners(path);
    assert!(all.len() > 3, "{all:?}");
    for (name, is, uid, gid) in all {
        let wanted = if path.join(&name).is_dir() {
            DIRECTORY_MODE
        } else {
            mode
        };
        assert_eq!((is, (uid, gid)), (wanted, OWNER), "{name:?}");
    }
}

fn service(scene: &Scene, mode: u32) -> PathBuf {
    scene.database("app/db");
    dress(&scene.path("app"), mode, OWNER);
    scene.path("app/db")
}

#[test]
fn records_files_and_directory_come_back_to_their_owner() {
    if !machine::needs_root() {
        return;
    }
    for mode in [0o600, 0o640, 0o660, 0o400] {
        let scene = Scene::new();
        let db = service(&scene, mode);
        scene.backup(&["app/db"]);
        scene.restore();
        is_the_services(&scene.target(), mode);
        fs::remove_dir_all(scene.target()).unwrap();
        let physical = Backup {
            databases: levault::ops::backup::DatabaseBackupOptions {
                physical: true,
                ..Default::default()
            },
            ..Backup::new(vec![db.clone()])
        };
        physical.run(&scene.repo, &scene.report).unwrap();
        scene.restore();
        is_the_services(&scene.target(), mode);
        fs::remove_dir_all(scene.target()).unwrap();
        // What cannot be read as records is stored as files.
        fs::remove_file(db.join("CURRENT")).unwrap();
        scene.backup(&["app"]);
        scene.restore();
        is_the_services(&scene.target(), mode);
    }
}

#[test]
fn a_database_in_a_tree_and_its_increments_come_back_to_their_owner() {
    if !machine::needs_root() {
        return;
    }
    let scene = Scene::new();
    let db = service(&scene, 0o600);
    scene.backup(&["app"]);
    common::fill(&db, 20, 20);
    dress(&db, 0o600, OWNER);
    scene.backup(&["app"]);
    scene.restore();
    is_the_services(&scene.target(), 0o600);
}

#[test]
fn over_another_owners_database_each_way_of_overwriting_gives_the_saved_owner() {
    if !machine::needs_root() {
        return;
    }
    let scene = Scene::new();
    let db = service(&scene, 0o600);
    scene.backup(&["app/db"]);
    scene.restore();
    for overwrite in [
        OverwriteMode::IfChanged,
        OverwriteMode::Always,
        OverwriteMode::IfNewer,
    ] {
        // The same records, then other ones; each is all of root's and open to all.
        for is_changed in [false, true] {
            if is_changed {
                common::fill(&scene.target(), 3, 20);
            }
            for entry in walkdir::WalkDir::new(scene.target()) {
                let path = entry.unwrap().into_path();
                chown(&path, Some(0), Some(0)).unwrap();
                let mode = if path.is_dir() { 0o755 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                if overwrite == OverwriteMode::IfNewer {
                    fs::File::open(&path)
                        .unwrap()
                        .set_modified(std::time::UNIX_EPOCH)
                        .unwrap();
                }
            }
            scene.restore_over(overwrite);
            for (name, mode, uid, gid) in owners(&scene.target()) {
                let is_own = ["LOCK", "LOG", "LOG.old"]
                    .iter()
                    .any(|own| name == Path::new(own));
                let wanted = if name == Path::new("") {
                    DIRECTORY_MODE
                } else {
                    0o600
                };
                assert!(
                    is_own || (mode, (uid, gid)) == (wanted, OWNER),
                    "{overwrite:?}, changed: {is_changed}: {name:?} {mode:o} {uid}:{gid}"
                );
            }
            assert_eq!(common::scan(&scene.target()).unwrap(), common::scan(&db).unwrap());
        }
    }
}

#[test]
fn where_the_files_differ_most_decide_and_none_becomes_readable_by_more() {
    if !machine::needs_root() {
        return;
    }
    let scene = Scene::new();
    let db = service(&scene, 0o644);
    let log = fs::read_dir(&db).unwrap().map(|entry| entry.unwrap().path());
    let log = log.filter(|path| path.extension().is_some_and(|end| end == "log" || end == "ldb"));
    let secret = log.last().unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&secret, Some(0), Some(0)).unwrap();
    scene.backup(&["app/db"]);
    scene.restore();
    is_the_services(&scene.target(), 0o600);
}

/// While the restore runs, at every moment, no file of it is open to others.
#[test]
fn during_a_restore_nobody_may_read_more_than_afterwards() {
    let scene = Scene::new();
    scene.database("app/db");
    let db = scene.path("app/db");
    for entry in fs::read_dir(&db).unwrap() {
        fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(&db, fs::Permissions::from_mode(0o755)).unwrap();
    scene.backup(&["app/db"]);
    let (dir, done) = (
        scene.dir.path().to_owned(),
        std::sync::atomic::AtomicBool::new(false),
    );
    let seen = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut open = Vec::new();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                for entry in walkdir::WalkDir::new(&dir).into_iter().flatten() {
                    let is_stage = entry.path().to_string_lossy().contains(".levault-restore-");
                    let Ok(facts) = entry.metadata() else { continue };
                    if is_stage && facts.is_file() && facts.mode() & 0o077 != 0 {
                        open.push(entry.into_path());
                    }
                }
            }
            open
        });
        for _ in 0..20 {
            scene.restore();
            fs::remove_dir_all(scene.target()).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        watcher.join().unwrap()
    });
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
fn rescue_capture_and_archives_give_the_owner_too() {
    if !machine::needs_root() {
        return;
    }
    let tool = Tool::in_memory();
    let db = tool.path("app/db");
    fs::create_dir_all(tool.path("app")).unwrap();
    common::fill(&db, 50, 20);
    dress(&tool.path("app"), 0o600, OWNER);
    tool.backup(&db).ok();
    let run = |args: &[&str]| Ended::of(tool.command().args(args));
    let text = |name: &str| tool.path(name).to_str().unwrap().to_owned();
    run(&["capture", db.to_str().unwrap(), &text("captured")]).ok();
    is_the_services(&tool.path("captured"), 0o600);
    run(&[
        "rescue",
        db.to_str().unwrap(),
        "--output",
        &text("rescued"),
        "--apply",
    ])
    .ok();
    is_the_services(&tool.path("rescued"), 0o600);
    run(&["dump", "latest", "--archive", "tar", "--target", &text("all.tar")]).ok();
    let mut archive = tar::Archive::new(fs::File::open(tool.path("all.tar")).unwrap());
    let mut files = 0;
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        let owner = (header.uid().unwrap(), header.gid().unwrap());
        assert_eq!(owner, (OWNER.0.into(), OWNER.1.into()), "{:?}", entry.path());
        if header.entry_type().is_file() {
            assert_eq!(header.mode().unwrap(), 0o600, "{:?}", entry.path());
            files += 1;
        }
    }
    assert!(files > 2);
}

/// `user::rwx,user:1000:rwx,group::r-x,mask::rwx,other::r-x` as the kernel keeps it.
fn access_list() -> Vec<u8> {
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, bits, id) in [
        (0x01u16, 7u16, u32::MAX),
        (0x02, 7, 1000),
        (0x04, 5, u32::MAX),
        (0x10, 7, u32::MAX),
        (0x20, 5, u32::MAX),
    ] {
        list.extend(tag.to_le_bytes());
        list.extend(bits.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

/// Restoring below a directory whose default access list opens everything to one user.
#[test]
fn what_a_restore_makes_inherits_no_access_list() {
    let scene = Scene::new();
    scene.database("source/db");
    scene.file("source/a/file", "secret");
    scene.file("source/top", "secret");
    std::os::unix::fs::symlink("top", scene.path("source/link")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scene.path("source/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let was = super::disk::read(&scene.path("source"));
    scene.backup(&["source"]);
    let place = scene.path("place");
    fs::create_dir(&place).unwrap();
    let no_flags = rustix::fs::XattrFlags::empty();
    let set = |path: &Path| rustix::fs::setxattr(path, "system.posix_acl_default", &access_list(), no_flags);
    if let Err(error) = set(&place) {
        return machine::skip(&format!("needs access lists on the filesystem: {error}"));
    }
    // Where nothing stands, then into what stands there, a directory with such a list among it.
    for is_standing in [false, true] {
        let target = place.join("target");
        if is_standing {
            fs::remove_dir_all(&target).unwrap();
            fs::create_dir_all(target.join("a")).unwrap();
            fs::write(target.join("top"), "other").unwrap();
            set(&target).unwrap();
        }
        scene
            .try_restore(|restore| {
                restore.target = target.clone();
                restore.overwrite = OverwriteMode::IfChanged;
            })
            .unwrap();
        scene.has_no_problem();
        let back = super::disk::read(&target);
        for (name, facts) in &back {
            let shown = String::from_utf8_lossy(name);
            assert!(facts.xattrs.is_empty(), "{shown:?} has {:?}", facts.xattrs.keys());
            if let Some(before) = was.get(name) {
                assert_eq!(facts.mode, before.mode, "{shown:?}");
            }
        }
    }
}

#[test]
fn a_user_who_is_not_root_hears_that_the_owner_is_another() {
    if !machine::needs_root() {
        return;
    }
    let tool = Tool::in_memory();
    let db = tool.path("app/db");
    fs::create_dir_all(tool.path("app")).unwrap();
    common::fill(&db, 50, 20);
    dress(&tool.path("app"), 0o640, OWNER);
    tool.backup(&db).ok();
    let nobody = 65_534;
    for entry in walkdir::WalkDir::new(tool.dir.path()) {
        chown(entry.unwrap().path(), Some(nobody), Some(nobody)).unwrap();
    }
    let target = tool.path("place");
    fs::create_dir(&target).unwrap();
    chown(&target, Some(nobody), Some(nobody)).unwrap();
    let mut command = tool.command_for_any_user();
    std::os::unix::process::CommandExt::uid(&mut command, nobody);
    std::os::unix::process::CommandExt::gid(&mut command, nobody);
    let ended = Ended::of(
        command
            .env("HOME", tool.dir.path())
            .args(["restore", "latest", "--target"])
            .arg(target.join("db")),
    );
    let text = ended.ok().stderr;
    assert!(text.contains("owner or group"), "{text}");
    for (name, mode, uid, _) in owners(&target.join("db")) {
        let wanted = if name == Path::new("") {
            DIRECTORY_MODE
        } else {
            0o640
        };
        assert_eq!((mode, uid), (wanted, nobody), "{name:?}");
    }
}
