//! Goal: a capture writes, renames, deletes and locks nothing in the database's directory, works where links or
//! descriptors cannot be had, or says why it does not, and saves what damage leaves. Method: the real program,
//! watched by strace, as another user, with few descriptors, on another filesystem, on databases damaged while open.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use levault::leveldb::log_writer::append_record;
use levault::leveldb::table_builder::TableBuilder;
use levault::leveldb::version::{TableMeta, VersionEdit};
use levault::leveldb::{Comparator, DatabaseLayout};
use serde_json::Value;
use support::machine;
use support::tool::{Ended, PASSWORD, Tool, files_below};

/// A user without any rights of his own.
const NOBODY: u32 = 65534;

/// A database with tables and a log, written by rusty-leveldb in two sessions, and still open.
fn open_database(path: &Path) -> rusty_leveldb::DB {
    let options = || rusty_leveldb::Options {
        write_buffer_size: 16 << 10,
        reuse_logs: false,
        ..Default::default()
    };
    let mut db = rusty_leveldb::DB::open(path, options()).unwrap();
    fill(&mut db, 0..2000);
    db.close().unwrap();
    drop(db);
    let mut db = rusty_leveldb::DB::open(path, options()).unwrap();
    fill(&mut db, 1990..2010);
    db
}

fn fill(db: &mut rusty_leveldb::DB, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let value = format!("value {}", number.wrapping_mul(2_654_435_761));
        db.put(format!("key {number:06}").as_bytes(), value.as_bytes())
            .unwrap();
    }
    // Unlike LevelDB, rusty-leveldb keeps what it acknowledged in a buffer of its own.
    db.flush().unwrap();
}

fn capture(tool: &Tool, db: &Path, target: &str) -> Ended {
    let args = ["capture", "--json"];
    Ended::of(tool.command().args(args).arg(db).arg(tool.path(target)))
}

fn verify(tool: &Tool, db: &Path) -> Ended {
    Ended::of(tool.command().args(["verify-db", "--json"]).arg(db))
}

/// The first table's path.
fn a_table(db: &Path) -> PathBuf {
    let mut tables: Vec<_> = files_below(db).into_iter().map(|(path, _)| path).collect();
    tables.retain(|path| path.extension().is_some_and(|extension| extension == "ldb"));
    tables
        .into_iter()
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap()
}

fn as_nobody(tool: &Tool, args: &[&str], paths: &[&Path]) -> Ended {
    let mut command = tool.command_for_any_user();
    command.env("TMPDIR", tool.path("tmp")).uid(NOBODY).gid(NOBODY);
    Ended::of(command.args(args).args(paths))
}

#[test]
fn an_open_database_is_backed_up_copied_and_verified_and_goes_on() {
    let tool = Tool::new();
    let path = tool.path("db");
    let mut db = open_database(&path);
    let ended = Ended::of(tool.command().args(["backup", "--json"]).arg(&path)).ok();
    let saved = &ended.summary()["databases"][0];
    assert_eq!(
        (saved["records"].as_u64(), saved["held_by"].as_str()),
        (Some(2010), Some("links"))
    );
    assert!(saved["captured_at"].is_string() && saved["retries"] == 0);
    let copied = capture(&tool, &path, "copy").ok().summary();
    assert_eq!(copied["last_seq"], saved["last_seq"]);
    let sound = verify(&tool, &path).ok().summary();
    assert_eq!(
        (sound["records"].as_u64(), sound["sound"].as_bool()),
        (Some(2010), Some(true))
    );
    fill(&mut db, 5000..5010);
    assert_eq!(verify(&tool, &path).ok().summary()["records"], 2020);
    assert_eq!(verify(&tool, &tool.path("copy")).ok().summary()["records"], 2010);
    db.close().unwrap();
}

/// Words of work done must come from what was done: without CURRENT, the broken table is named, and how it was read.
#[test]
fn verify_db_without_current_reads_the_tables_and_names_the_broken_one() {
    let tool = Tool::bare();
    let path = tool.path("db");
    open_database(&path).close().unwrap();
    let table = a_table(&path);
    let mut bytes = fs::read(&table).unwrap();
    bytes[100] ^= 0xff;
    fs::write(&table, bytes).unwrap();
    fs::remove_file(path.join("CURRENT")).unwrap();
    let ended = Ended::of(tool.command().arg("verify-db").arg(&path)).exits(22);
    let name = table.file_name().unwrap().to_str().unwrap();
    assert!(ended.stderr.contains(name), "{}", ended.stderr);
    assert!(ended.stderr.contains("read by MANIFEST-"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("is not known"), "{}", ended.stderr);
    let summary = verify(&tool, &path).exits(22).summary();
    assert!(summary["bytes_read"].as_u64() > Some(0) && summary["tables_read"].as_u64() > Some(0));
    assert_eq!(
        (&summary["records_read"], &summary["sound"]),
        (&true.into(), &false.into())
    );
}

#[test]
fn a_copy_is_its_own_unless_links_are_asked_for() {
    let tool = Tool::bare();
    let path = tool.path("db");
    let mut db = open_database(&path);
    db.close().unwrap();
    let links = |path: &Path| fs::metadata(a_table(path)).unwrap().nlink();
    assert_eq!(capture(&tool, &path, "copy").ok().summary()["files_linked"], 0);
    assert_eq!(links(&path), 1);
    let args = ["capture", "--link", "--json"];
    let linked = Ended::of(tool.command().args(args).arg(&path).arg(tool.path("linked"))).ok();
    assert!(linked.summary()["files_linked"].as_u64().unwrap() > 0);
    assert_eq!((links(&path), links(&tool.path("linked"))), (2, 2));
    let refused = capture(&tool, &path, "copy").exits(1);
    assert!(refused.stderr.contains("is not empty"), "{}", refused.stderr);
}

/// Joins the two lines that strace writes of a call during which another thread's call is shown.
fn whole_calls(trace: &str) -> String {
    let mut begun = std::collections::HashMap::new();
    let mut whole = String::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').unwrap_or(("", line));
        if let Some(beginning) = line.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, beginning);
        } else if let Some((_, end)) = call.trim_start().split_once(" resumed>") {
            whole += &format!("{}{end}\n", begun.remove(thread).unwrap_or(line));
        } else {
            whole += &format!("{line}\n");
        }
    }
    whole
        + &begun
            .into_values()
            .map(|call| format!("{call}\n"))
            .collect::<String>()
}

#[test]
fn a_call_that_strace_writes_in_two_lines_is_one() {
    let trace = "1 openat(5</db>, \"x\", O_RDONLY <unfinished ...>\n2 close(3) = 0\n1  <... openat resumed>) = 7</db/x>\n\
        2 flock(4</db/LOCK>, LOCK_EX <unfinished ...>\n";
    let whole =
        "2 close(3) = 0\n1 openat(5</db>, \"x\", O_RDONLY) = 7</db/x>\n2 flock(4</db/LOCK>, LOCK_EX\n";
    assert_eq!(whole_calls(trace), whole);
}

/// Lines of strace that touch the directory in a way a reader has no business with.
fn trespasses(trace: &str, directory: &Path) -> Vec<String> {
    let (inside, held) = (
        format!("{}/", directory.display()),
        format!("<{}>", directory.display()),
    );
    let is_there = |text: &str| text.contains(&inside) || text.contains(&held);
    let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"];
    let is_wrong = |line: &&str| {
        let call = line.split_once(' ').map_or(*line, |(_, call)| call.trim_start());
        // The directory that is held, and the name in it.
        let target: Vec<&str> = call.rsplit(',').skip(1).take(2).collect();
        match call.split('(').next().unwrap_or_default() {
            "open" | "openat" => call.contains("LOCK\"") || writes.iter().any(|flag| call.contains(flag)),
            // What is linked is read; where the link goes must be elsewhere.
            "linkat" | "link" => target.iter().any(|part| is_there(part)),
            _ => true,
        }
    };
    let lines = trace.lines().filter(|line| is_there(line));
    lines.filter(is_wrong).map(str::to_owned).collect()
}

#[test]
fn nothing_in_the_directory_is_written_renamed_deleted_or_locked() {
    let tool = Tool::new();
    let path = tool.path("db").canonicalize().unwrap_or_else(|_| tool.path("db"));
    let mut db = open_database(&path);
    let calls = "open,openat,creat,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,symlinkat,mkdir,\
        mkdirat,rmdir,truncate,ftruncate,flock,fcntl,fchmod,fchmodat,chmod,chown,fchown,fchownat,utimensat,setxattr,\
        fsetxattr,write,pwrite64,writev,fallocate";
    let target = tool.path("copy");
    for verb in [
        vec!["backup"],
        vec!["capture", target.to_str().unwrap()],
        vec!["verify-db"],
    ] {
        let (trace, place) = (tool.path("trace"), path.to_str().unwrap());
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-y", "-s", "300", "-e", &format!("trace={calls}"), "-o"])
            .arg(&trace);
        strace
            .arg(env!("CARGO_BIN_EXE_levault"))
            .arg(verb[0])
            .arg(place)
            .args(&verb[1..]);
        strace
            .env("LEVAULT_REPOSITORY", tool.repository())
            .env("LEVAULT_PASSWORD", PASSWORD);
        strace.arg("--no-cache");
        Ended::of(&mut strace).ok();
        let trace = whole_calls(&fs::read_to_string(trace).unwrap());
        assert!(
            trace.contains(", \"CURRENT\", "),
            "{verb:?}: the trace shows what is read"
        );
        // Reading owner's flags of a descriptor is no lock.
        let wrong: Vec<_> = trespasses(&trace, &path)
            .into_iter()
            .filter(|line| {
                !(line.contains("fcntl(") && !line.contains("F_SETLK") && !line.contains("F_OFD_SETLK"))
            })
            .collect();
        assert_eq!(wrong, Vec::<String>::new(), "{verb:?}");
    }
    db.close().unwrap();
}

#[test]
fn a_trespass_would_be_seen() {
    let path = Path::new("/data/db");
    for line in [
        r#"12 openat(AT_FDCWD, "/data/db/LOCK", O_RDONLY|O_CLOEXEC) = 3"#,
        r#"12 openat(AT_FDCWD, "/data/db/x", O_WRONLY|O_CREAT, 0666) = 3"#,
        r#"12 unlink("/data/db/000005.ldb") = 0"#,
        r#"12 linkat(AT_FDCWD, "/data/db/5.ldb", AT_FDCWD, "/data/db/6.ldb", 0) = 0"#,
        r#"12 flock(3</data/db/LOCK>, LOCK_EX) = 0"#,
        r#"12 openat(5</data/db>, "LOCK", O_RDONLY|O_CLOEXEC) = 3</data/db/LOCK>"#,
        r#"12 openat(5</data/db>, "x", O_WRONLY|O_CREAT, 0666) = 3</data/db/x>"#,
        r#"12 unlinkat(5</data/db>, "000005.ldb", 0) = 0"#,
        r#"12 linkat(5</data/db>, "5.ldb", 5</data/db>, "6.ldb", 0) = 0"#,
        r#"12 renameat(5</data/db>, "5.ldb", 7</data>, "6.ldb") = 0"#,
    ] {
        assert_eq!(trespasses(line, path).len(), 1, "{line}");
    }
    for line in [
        r#"12 openat(AT_FDCWD, "/data/db/CURRENT", O_RDONLY|O_CLOEXEC) = 3"#,
        r#"12 linkat(AT_FDCWD, "/data/db/5.ldb", AT_FDCWD, "/data/.db.levault-capture-1/5.ldb", 0) = 0"#,
        r#"12 openat(5</data/db>, "CURRENT", O_RDONLY|O_NONBLOCK|O_CLOEXEC) = 3</data/db/CURRENT>"#,
        r#"12 linkat(5</data/db>, "5.ldb", 7</data/.db.levault-capture-1>, "5.ldb", 0) = 0"#,
        r#"12 openat(AT_FDCWD, "/data/repo/x", O_WRONLY|O_CREAT, 0666) = 3"#,
    ] {
        assert_eq!(trespasses(line, path), Vec::<String>::new());
    }
}

#[test]
fn another_users_database_is_held_by_descriptors_if_it_may_be_read_and_refused_with_the_reason_if_not() {
    if !machine::needs_root() {
        return;
    }
    let tool = Tool::bare();
    let path = tool.path("db");
    let mut db = open_database(&path);
    db.close().unwrap();
    for directory in [tool.dir.path(), &path] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for name in ["tmp", "mine"] {
        fs::create_dir(tool.path(name)).unwrap();
        fs::set_permissions(tool.path(name), fs::Permissions::from_mode(0o777)).unwrap();
    }
    let target = tool.path("mine/copy");
    let read = as_nobody(&tool, &["capture", "--json"], &[&path, &target])
        .ok()
        .summary();
    assert_ne!(read["held_by"], "copies");
    assert_eq!(verify(&tool, &target).ok().summary()["records"], 2010);

    let table = a_table(&path);
    fs::set_permissions(&table, fs::Permissions::from_mode(0o600)).unwrap();
    let refused = as_nobody(&tool, &["capture"], &[&path, &tool.path("mine/other")]).exits(1);
    assert!(
        refused
            .stderr
            .contains(table.file_name().unwrap().to_str().unwrap()),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("run as a user who may read"),
        "{}",
        refused.stderr
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let refused = as_nobody(&tool, &["verify-db"], &[&path]).exits(1);
    assert!(refused.stderr.contains("ermission denied"), "{}", refused.stderr);
}

#[test]
fn a_database_on_another_filesystem_is_backed_up() {
    let Ok(shared) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let tool = Tool::new();
    let path = shared.path().join("db");
    let mut db = open_database(&path);
    let saved = Ended::of(tool.command().args(["backup", "--json"]).arg(&path))
        .ok()
        .summary();
    assert_eq!(saved["databases"][0]["records"], 2010);
    db.close().unwrap();
    let beside = fs::read_dir(shared.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut beside: Vec<_> = beside.map(|name| name.into_string().unwrap()).collect();
    beside.sort();
    assert_eq!(beside.len(), 2, "{beside:?}");
    assert!(beside[0].starts_with(".db.levault-pins-"), "{beside:?}");
}

/// A database of so many tables with one record each.
fn many_tables(directory: &Path, count: u64) {
    fs::create_dir(directory).unwrap();
    let mut builder = TableBuilder::new(&DatabaseLayout::default(), &Comparator::Bytewise).unwrap();
    let mut edit = VersionEdit {
        comparator: Some(Comparator::Bytewise.name().as_bytes().to_vec()),
        log_number: Some(0),
        next_file: Some(count + 10),
        last_sequence: Some(1),
        ..VersionEdit::default()
    };
    for number in 2..count + 2 {
        builder.add(format!("{number:09}").as_bytes(), b"value").unwrap();
        let table = builder.finish().unwrap();
        fs::write(directory.join(format!("{number:06}.ldb")), &table.bytes).unwrap();
        edit.added.push((
            1,
            TableMeta {
                number,
                size: table.bytes.len() as u64,
                smallest: table.smallest.clone(),
                largest: table.largest.clone(),
            },
        ));
    }
    let (mut record, mut manifest) = (Vec::new(), Vec::new());
    edit.encode(&mut record);
    append_record(&mut manifest, &record);
    fs::write(directory.join("MANIFEST-000001"), manifest).unwrap();
    fs::write(directory.join("CURRENT"), "MANIFEST-000001\n").unwrap();
}

#[test]
fn twenty_thousand_tables_need_few_descriptors() {
    let tool = Tool::bare();
    let path = tool.path("db");
    many_tables(&path, 20_000);
    let limited = |words: String| {
        let program = env!("CARGO_BIN_EXE_levault");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n 256; exec {program} {words}")]);
        command.env("TMPDIR", tool.dir.path());
        Ended::of(&mut command).ok().summary()
    };
    let (db, copy) = (path.display(), tool.path("copy"));
    let captured = limited(format!("capture --link --json {db} {}", copy.display()));
    assert_eq!(
        (&captured["held_by"], &captured["files"]),
        (&Value::from("links"), &Value::from(20_002))
    );
    // verify-db prefers descriptors, has too few, and copies.
    assert_eq!(limited(format!("verify-db --json {db}"))["records"], 20_000);
}

#[test]
fn a_table_damaged_while_the_database_is_open_costs_its_own_records_only() {
    let tool = Tool::new();
    let path = tool.path("db");
    let mut db = open_database(&path);
    tool.backup(&path).ok();
    let table = a_table(&path);
    let mut bytes = fs::read(&table).unwrap();
    bytes[100] ^= 1;
    fs::write(&table, &bytes).unwrap();

    let damaged = Ended::of(tool.command().args(["backup", "--json"]).arg(&path))
        .exits(22)
        .summary();
    let saved = &damaged["databases"][0];
    let records = saved["records"].as_u64().unwrap();
    assert!((1..2010).contains(&records), "{records}");
    let damage = &saved["source_damage"][0];
    assert_eq!(damage["file"].as_str(), table.file_name().unwrap().to_str());
    assert!(damage["offset"].is_u64() && damage["smallest"].is_string() && damage["largest"].is_string());
    let told = verify(&tool, &path).exits(22).summary();
    assert_eq!(told["source_damage"][0]["file"], damage["file"]);

    // What is lost is lost: nothing older stands in for it.
    tool.restore("latest", &tool.path("back")).exits(3);
    let back = verify(&tool, &tool.path("back")).ok().summary();
    assert_eq!(back["records"].as_u64(), Some(records));

    bytes[100] ^= 1;
    fs::write(&table, &bytes).unwrap();
    let healthy = Ended::of(tool.command().args(["backup", "--json"]).arg(&path))
        .ok()
        .summary();
    assert_eq!(healthy["databases"][0]["records"], 2010);
    db.close().unwrap();
}

#[test]
fn databases_of_one_backup_are_cut_back_to_back_between_the_hooks() {
    let tool = Tool::new();
    let paths: Vec<_> = ["first", "second", "third"].map(|name| tool.path(name)).into();
    for path in &paths {
        open_database(path).close().unwrap();
    }
    let log = tool.path("log");
    let hook = |word: &str| format!("echo {word} $(date +%s.%N) >> {}", log.display());
    let mut command = tool.command();
    command.args([
        "backup",
        "--json",
        "--pre-hook",
        &hook("before"),
        "--post-hook",
        &hook("after"),
    ]);
    let summary = Ended::of(command.args(&paths)).ok().summary();
    let cuts: Vec<_> = summary["databases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|database| database["captured_at"].as_str().unwrap().parse().unwrap())
        .collect::<Vec<jiff::Timestamp>>();
    assert!(cuts.is_sorted() && cuts.len() == 3);
    let text = fs::read_to_string(log).unwrap();
    let times: Vec<f64> = text
        .lines()
        .map(|line| line.split(' ').nth(1).unwrap().parse().unwrap())
        .collect();
    let seconds = |time: &jiff::Timestamp| time.as_nanosecond() as f64 / 1e9;
    assert!(
        times[0] <= seconds(&cuts[0]) && seconds(&cuts[2]) <= times[1],
        "{times:?} {cuts:?}"
    );
}

/// Two closed databases with the same file numbers and lengths: every value begins with the tag.
fn alike(tool: &Tool, tags: [&str; 2]) -> [PathBuf; 2] {
    tags.map(|tag| {
        let path = tool.path(tag);
        let options = || rusty_leveldb::Options {
            write_buffer_size: 64 << 10,
            ..Default::default()
        };
        for session in 0..2 {
            let mut db = rusty_leveldb::DB::open(&path, options()).unwrap();
            for number in 0..1500 {
                let value = format!("{tag} {session} {number:060}");
                db.put(format!("key {number:06}").as_bytes(), value.as_bytes())
                    .unwrap();
            }
            db.close().unwrap();
        }
        path
    })
}

/// The tags of a database's values.
fn tags(path: &Path) -> std::collections::BTreeSet<String> {
    use rusty_leveldb::LdbIterator;
    let mut db = rusty_leveldb::DB::open(path, rusty_leveldb::Options::default()).unwrap();
    let mut records = db.new_iter().unwrap();
    let mut tags = std::collections::BTreeSet::new();
    while let Some((_, value)) = records.next() {
        tags.insert(String::from_utf8_lossy(&value[..3]).into_owned());
    }
    tags
}

#[test]
fn a_database_that_is_copied_over_between_capture_and_reading_is_read_again_or_not_saved() {
    for flags in [
        vec![],
        vec!["--no-pins"],
        vec!["--physical"],
        vec!["--no-pins", "--physical"],
    ] {
        for once in [true, false] {
            let tool = Tool::new();
            let [old, new] = alike(&tool, ["old", "new"]);
            let (db, marker) = (tool.path("db"), tool.path("marker"));
            // Onto the same inodes, LOCK and all.
            let hook = format!(
                "{}{{ touch {}; cp {}/* {}/; }}",
                if once {
                    format!("test -e {} || ", marker.display())
                } else {
                    String::new()
                },
                marker.display(),
                old.display(),
                db.display(),
            );
            let sh =
                |words: &str| assert!(Command::new("sh").args(["-c", words]).status().unwrap().success());
            sh(&format!("cp -r {} {}", new.display(), db.display()));
            let mut command = tool.command();
            command.args(["backup", "--post-hook-early", "--post-hook", &hook]);
            let ended = Ended::of(command.args(&flags).arg(&db));
            if !once {
                assert!(
                    ended.exits(21).stderr.contains("was written to or replaced"),
                    "{flags:?}"
                );
                assert_eq!(tool.run(["snapshots", "--json"]).ok().text().trim(), "[]");
                continue;
            }
            ended.ok();
            tool.restore("latest", &tool.path("back")).ok();
            assert_eq!(tags(&tool.path("back")), ["old".to_owned()].into(), "{flags:?}");
        }
    }
}

#[test]
fn a_database_that_is_made_anew_between_capture_and_reading_is_saved_as_it_was() {
    for hook in ["rm DB/* && cp NEW/* DB/", "mv DB AWAY && cp -r NEW DB"] {
        let tool = Tool::new();
        let [old, new] = alike(&tool, ["old", "new"]);
        let db = tool.path("db");
        fs::rename(&old, &db).unwrap();
        let hook = hook
            .replace("DB", db.to_str().unwrap())
            .replace("NEW", new.to_str().unwrap())
            .replace("AWAY", tool.path("away").to_str().unwrap());
        let mut command = tool.command();
        command.args(["backup", "--post-hook-early", "--post-hook", &hook]);
        Ended::of(command.arg(&db)).ok();
        tool.restore("latest", &tool.path("back")).ok();
        assert_eq!(tags(&tool.path("back")), ["old".to_owned()].into());
        // The next one is of the other database, and no change of this one.
        tool.backup(&db).ok();
        tool.restore("latest", &tool.path("again")).ok();
        assert_eq!(tags(&tool.path("again")), ["new".to_owned()].into());
    }
}

#[test]
fn a_hook_that_fails_stops_the_backup_and_one_that_fails_afterwards_makes_it_incomplete() {
    let tool = Tool::new();
    let path = tool.path("db");
    open_database(&path).close().unwrap();
    let backup = |flags: &[&str]| Ended::of(tool.command().arg("backup").args(flags).arg(&path));
    let failed = backup(&["--pre-hook", "exit 9"]).exits(1);
    assert!(failed.stderr.contains("exit status: 9"), "{}", failed.stderr);
    let late = backup(&["--pre-hook", "sleep 60", "--hook-timeout", "1"]).exits(1);
    assert!(late.stderr.contains("killed after 1 s"), "{}", late.stderr);
    assert_eq!(tool.run(["snapshots", "--json"]).ok().text().trim(), "[]");
    backup(&["--post-hook", "exit 9"]).exits(3);
}
