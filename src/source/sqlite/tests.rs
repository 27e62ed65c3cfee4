use std::fs;

use tempfile::TempDir;

use super::*;

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_database_is_watched_while_something_lies_beside_it() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("db");
    write(&path, b"SQLite format 3\0 and pages");
    assert!(SqliteWatch::begin(&path).is_none());
    for end in JOURNAL_SUFFIXES {
        let beside = dir.path().join(format!("db{end}"));
        write(&beside, b"");
        assert!(
            !SqliteWatch::begin(&path).unwrap().is_in_use(),
            "{end} of no bytes"
        );
        write(&beside, b"frames");
        let watched = SqliteWatch::begin(&path).unwrap();
        assert_eq!(watched.path(), path);
        assert!(watched.is_in_use() && !watched.has_changed());
        write(&beside, b"more frames");
        assert!(watched.has_changed(), "{end} was written");
        let watched = SqliteWatch::begin(&path).unwrap();
        write(&path, b"SQLite format 3\0 and other pages");
        assert!(watched.has_changed(), "the database was written");
        let watched = SqliteWatch::begin(&path).unwrap();
        fs::remove_file(&beside).unwrap();
        assert!(watched.has_changed(), "{end} went");
    }
}

#[test]
fn what_does_not_begin_like_a_database_is_none() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("db");
    write(&dir.path().join("db-wal"), b"frames");
    for bytes in [&b"SQLite format 3"[..], b"SQLite format 2\0..", b""] {
        write(&path, bytes);
        assert!(!is_database(&path) && SqliteWatch::begin(&path).is_none());
    }
    write(&dir.path().join("other"), SQLITE_HEADER);
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("other", &path).unwrap();
    assert!(!is_database(&path), "no link is followed");
    assert!(is_database(&dir.path().join("other")));
}

#[test]
fn what_lies_beside_is_told_from_names() {
    let names = |names: &[&str]| names.iter().map(OsString::from).collect::<Vec<_>>();
    let has = |all: &[&str]| has_journal_file(OsStr::new("db"), &names(all));
    assert!(has(&["a", "db-wal", "x"]) && has(&["db-journal"]));
    assert!(!has(&["db", "db-shm", "xdb-wal"]) && !has(&[]));
    assert_eq!(
        companion_names(OsStr::new("db")).to_vec(),
        names(&["db-wal", "db-journal", "db-shm"])
    );
}

#[cfg(feature = "sqlite")]
mod exact {
    use rusqlite::Connection;

    use std::time::Duration;

    use super::*;
    use crate::report::OperationReport;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn owner_of(path: &Path) -> SqliteOwner {
        use std::os::unix::fs::MetadataExt;
        let facts = std::fs::metadata(path).unwrap();
        let (uid, gid) = (facts.uid(), facts.gid());
        SqliteOwner { uid, gid }
    }

    fn sum(path: &Path) -> (i64, i64) {
        let connection = Connection::open(path).unwrap();
        let check: String = connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(check, "ok");
        let both = "SELECT count(*), total(n) FROM t";
        connection
            .query_row(both, [], |row| Ok((row.get(0)?, row.get::<_, f64>(1)? as i64)))
            .unwrap()
    }

    fn filled(path: &Path, mode: &str) -> Connection {
        let connection = Connection::open(path).unwrap();
        let set: String = connection
            .query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| row.get(0))
            .unwrap();
        assert_eq!(set, mode);
        let rows = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000)
                    INSERT INTO t SELECT n, hex(randomblob(100)) FROM c";
        connection
            .execute_batch(&format!("CREATE TABLE t (n, x); {rows}"))
            .unwrap();
        connection
    }

    #[test]
    fn a_copy_has_what_is_only_in_the_log_and_is_a_file_by_itself() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("db");
        let owner = filled(&path, "wal");
        assert!(SqliteWatch::begin(&path).is_some());
        let copy = exact_copy(&path, owner_of(&path), PATIENCE, &OperationReport::default()).unwrap();
        assert_eq!(sum(&copy), (20000, 200010000));
        owner.execute_batch("DELETE FROM t WHERE n > 10").unwrap();
        let again = exact_copy(&path, owner_of(&path), PATIENCE, &OperationReport::default()).unwrap();
        assert_eq!(sum(&again), (10, 55));
    }

    #[test]
    fn what_a_writer_has_not_committed_is_not_in_the_copy() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("db");
        let owner = filled(&path, "delete");
        owner.execute_batch("BEGIN IMMEDIATE; DELETE FROM t").unwrap();
        let copy = exact_copy(&path, owner_of(&path), PATIENCE, &OperationReport::default()).unwrap();
        assert_eq!(sum(&copy).0, 20000);
    }

    #[test]
    fn what_cannot_be_copied_is_an_error_and_leaves_nothing() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("db");
        write(&path, b"SQLite format 3\0 and nonsense");
        assert!(exact_copy(&path, owner_of(&path), PATIENCE, &OperationReport::default()).is_err());
        drop(filled(&dir.path().join("good"), "delete"));
        std::os::unix::fs::symlink("good", dir.path().join("link")).unwrap();
        assert!(
            exact_copy(
                &dir.path().join("link"),
                owner_of(&path),
                PATIENCE,
                &OperationReport::default()
            )
            .is_err()
        );
        let stopped = OperationReport::default();
        stopped.stop();
        let error = exact_copy(&dir.path().join("good"), owner_of(&path), PATIENCE, &stopped).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Interrupted);
    }

    /// SQLite goes by paths, and the database's owner may lead them to what only root may read.
    #[test]
    fn root_copies_a_users_database_as_that_user_and_its_own_only_where_no_other_leads_it() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("not run: needs root");
            return;
        }
        let dir = TempDir::new().unwrap();
        let set_mode = |path: &Path, mode| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set_mode(dir.path(), 0o755);
        let home = dir.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let (theirs, secret) = (home.join("db"), dir.path().join("secret"));
        drop(filled(&theirs, "delete"));
        drop(filled(&secret, "delete"));
        set_mode(&secret, 0o600);
        let nobody = SqliteOwner {
            uid: 65534,
            gid: 65534,
        };
        let report = OperationReport::default();
        for path in [&home, &theirs] {
            std::os::unix::fs::chown(path, Some(nobody.uid), Some(nobody.gid)).unwrap();
        }
        let copy = exact_copy(&theirs, nobody, PATIENCE, &report).unwrap();
        assert_eq!(sum(&copy), (20000, 200010000));
        let error = exact_copy(&secret, nobody, PATIENCE, &report).unwrap_err();
        assert!(error.to_string().contains("unable to open"), "{error}");

        let roots = home.join("roots");
        drop(filled(&roots, "delete"));
        let error = exact_copy(&roots, owner_of(&roots), PATIENCE, &report).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Denied, "{error}");
        assert!(exact_copy(&secret, owner_of(&secret), PATIENCE, &report).is_ok());
    }
}
