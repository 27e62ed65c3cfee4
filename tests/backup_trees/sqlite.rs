//! SQLite's databases among the files.

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Scene;

const HEADER: &[u8] = b"SQLite format 3\0 and pages";

#[test]
fn a_quiet_database_is_saved_without_a_word_and_a_busy_one_with_a_notice() {
    let scene = Scene::new();
    scene.file("home/db", HEADER);
    let wal = scene.file("home/db-wal", "frames");
    scene.backup(&["home"]);
    assert_eq!(scene.report.notices(), [""; 0]);

    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::options().append(true).open(&wal).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                file.write_all(b"frame").unwrap();
            }
        });
        // The writer need not have its turn in the first backup.
        for _ in 0..200 {
            if is_told(&scene) {
                break;
            }
            scene.try_backup(&["home"]).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(is_told(&scene), "{:?}", scene.report.notices());
}

fn is_told(scene: &Scene) -> bool {
    let told = |notice: &String| notice.contains("home/db: SQLite wrote to it");
    scene.report.notices().iter().any(told)
}

#[cfg(feature = "sqlite")]
mod exact {
    use std::fs;
    use std::path::Path;

    use levault::ops::backup::{Backup, SqliteMode};
    use rusqlite::Connection;

    use super::super::seen::{Thing, latest, stored, trees};
    use super::*;

    fn filled(path: &Path) -> Connection {
        let owner = Connection::open(path).unwrap();
        let set = "PRAGMA journal_mode = wal";
        owner.query_row(set, [], |_| Ok(())).unwrap();
        owner
            .execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (1), (2), (3)")
            .unwrap();
        owner
    }

    #[test]
    fn a_database_in_use_is_saved_as_one_file_that_has_everything() {
        let scene = Scene::new();
        scene.file("home/x", "x");
        let owner = filled(&scene.path("home/db"));
        owner.execute_batch("BEGIN IMMEDIATE; DELETE FROM t").unwrap();
        let alone = filled(&scene.path("alone"));
        scene.file("home/db2", HEADER);
        let backup = Backup {
            files: levault::ops::backup::FileBackupOptions {
                sqlite: SqliteMode::Exact,
                ..Default::default()
            },
            ..Backup::new(vec![scene.path("home"), scene.path("alone")])
        };
        backup.run(&scene.repo, &scene.report).unwrap();
        scene.has_no_problem();
        assert_eq!(scene.report.notices(), [""; 0]);
        drop((owner, alone));
        let snapshot = latest(&scene.repo);
        let roots = trees(&snapshot);
        let home = stored(&scene.repo, &roots[0].root);
        let names: Vec<_> = home.keys().map(|name| String::from_utf8_lossy(name)).collect();
        assert_eq!(names, ["home", "home/db", "home/db2", "home/x"]);
        let alone = stored(&scene.repo, &roots[1].root);
        for (thing, meta) in [&home[&b"home/db"[..]], &alone[&b"alone"[..]]] {
            let Thing::File(bytes) = thing else { panic!() };
            let copy = scene.path("copy");
            fs::write(&copy, bytes).unwrap();
            let copy = Connection::open(&copy).unwrap();
            let all: i64 = copy
                .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
                .unwrap();
            assert_eq!(all, 3);
            assert!(meta.mtime_nanos.is_some() && meta.ctime_nanos.is_none() && meta.inode.is_none());
        }
        scene.is_sound();
    }
}
