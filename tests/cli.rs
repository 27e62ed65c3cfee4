//! The tool as its users meet it: exit codes, words, JSON, secrets. Each test runs the real program in a process of
//! its own, in a directory of its own; what the operations do inside is tested below the tool.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use support::tool::{Ended, PASSWORD, Tool, files_below};

const RECORDS: u32 = 500;

/// A small database made by rusty-leveldb: 500 records, some deleted again, written in two sessions.
fn database(tool: &Tool) -> PathBuf {
    let path = tool.path("shop");
    for half in [0..RECORDS, RECORDS / 2..RECORDS] {
        let options = rusty_leveldb::Options {
            write_buffer_size: 16 << 10,
            ..Default::default()
        };
        let mut db = rusty_leveldb::DB::open(&path, options).unwrap();
        for i in half {
            db.put(key(i).as_bytes(), value(i).as_bytes()).unwrap();
        }
        db.put(b"gone", b"x").unwrap();
        db.delete(b"gone").unwrap();
        db.flush().unwrap();
        db.close().unwrap();
    }
    path
}

fn key(i: u32) -> String {
    format!("order/{i:05}")
}

fn value(i: u32) -> String {
    format!(
        "{{\"item\":{i},\"price\":{}}}",
        i.wrapping_mul(2_654_435_761) % 10_000
    )
}

/// A repository with one snapshot of the database.
fn backed_up() -> (Tool, PathBuf) {
    let tool = Tool::new();
    let db = database(&tool);
    tool.backup(&db).ok();
    (tool, db)
}

fn raw_stream(records: impl Iterator<Item = (String, String)>) -> Vec<u8> {
    let mut stream = Vec::new();
    for text in records.flat_map(|(key, value)| [key, value]) {
        stream.extend_from_slice(&(text.len() as u32).to_le_bytes());
        stream.extend_from_slice(text.as_bytes());
    }
    stream
}

// Refusals: nothing is done, and the exit code says why.

#[test]
fn a_wrong_password_exits_12_and_says_what_to_check() {
    let tool = Tool::new();
    let ended = Ended::of(tool.command().arg("snapshots").env("LEVAULT_PASSWORD", "wrong")).exits(12);
    assert!(ended.stdout.is_empty());
    assert!(ended.stderr.contains("LEVAULT_PASSWORD"), "{}", ended.stderr);
}

#[test]
fn a_place_without_a_repository_exits_10() {
    let tool = Tool::bare();
    tool.run(["snapshots"]).exits(10);
    std::fs::create_dir(tool.repository()).unwrap();
    tool.run(["snapshots"]).exits(10);
    std::fs::write(tool.repository().join("notes.txt"), "not a repository").unwrap();
    tool.run(["check"]).exits(10);
}

#[test]
fn init_leaves_a_directory_that_holds_something_alone() {
    let tool = Tool::bare();
    std::fs::create_dir(tool.repository()).unwrap();
    std::fs::write(tool.repository().join("notes.txt"), "mine").unwrap();
    assert_ne!(tool.run(["init"]).code, 0);
    assert_eq!(files_below(&tool.repository()).len(), 1);
}

#[test]
fn init_never_touches_a_repository_that_is_there() {
    let (tool, _) = backed_up();
    let before = tool.repository_files();
    assert_ne!(tool.run(["init"]).code, 0);
    assert!(tool.repository_files() == before);
}

#[test]
fn a_rocksdb_is_refused_by_name() {
    let tool = Tool::new();
    let db = database(&tool);
    std::fs::write(db.join("OPTIONS-000007"), "[Version]\n  rocksdb_version=9.1.0\n").unwrap();
    std::fs::write(db.join("IDENTITY"), "d5b1b3e6-7d5e-4b5e-9d5f-6f2f7c7c7b7a").unwrap();
    let ended = tool.backup(&db).exits(20);
    assert!(
        ended.stderr.to_lowercase().contains("rocksdb"),
        "{}",
        ended.stderr
    );
}

#[test]
fn words_that_make_no_sense_exit_2() {
    let tool = Tool::new();
    for args in [
        &[][..],
        &["bakcup"],
        &["backup"],
        &["restore", "latest"],
        &["snapshots", "--no-such-flag"],
        &["check", "--read-data-subset", "4/3"],
        &["check", "--read-data", "--read-data-subset", "1/3"],
        &["get", "latest"],
        &["get", "latest", "--key-hex", "0g"],
        &["backup", "--compression", "most", "x"],
        &["backup", "--pack-size", "0", "x"],
    ] {
        tool.run(args.iter().copied()).exits(2);
    }
}

#[test]
fn an_environment_value_that_is_wrong_is_an_error_and_never_ignored() {
    let (tool, db) = backed_up();
    for (name, wrong) in [
        ("LEVAULT_COMPRESSION", "most"),
        ("LEVAULT_PACK_SIZE", "large"),
        ("LEVAULT_PACK_SIZE", "-1"),
        ("LEVAULT_REPOSITORY", ""),
    ] {
        let ended = Ended::of(tool.command().arg("backup").arg(&db).env(name, wrong)).exits(2);
        assert!(
            ended.stderr.contains(name) || ended.stderr.contains(wrong),
            "{name}: {}",
            ended.stderr
        );
    }
}

#[test]
fn two_sources_of_one_setting_in_the_environment_are_refused() {
    let tool = Tool::new();
    let file = tool.path("password");
    std::fs::write(&file, PASSWORD).unwrap();
    Ended::of(
        tool.command()
            .arg("snapshots")
            .env("LEVAULT_PASSWORD_FILE", &file),
    )
    .exits(2);
    let place = tool.path("place");
    std::fs::write(&place, tool.repository().to_str().unwrap()).unwrap();
    Ended::of(
        tool.command()
            .arg("snapshots")
            .env("LEVAULT_REPOSITORY_FILE", &place),
    )
    .exits(2);
}

#[test]
fn a_flag_wins_over_the_environment() {
    let tool = Tool::new();
    let file = tool.path("password");
    std::fs::write(&file, PASSWORD).unwrap();
    Ended::of(
        tool.command()
            .args(["snapshots", "-p"])
            .arg(&file)
            .env("LEVAULT_PASSWORD", "wrong"),
    )
    .ok();
    let repository = tool.repository();
    Ended::of(
        tool.command()
            .args(["snapshots", "-r"])
            .arg(&repository)
            .env("LEVAULT_REPOSITORY", "nowhere"),
    )
    .ok();
}

#[test]
fn restore_refuses_a_target_that_holds_anything() {
    let (tool, _) = backed_up();
    let target = tool.path("target");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("mine.txt"), "keep me").unwrap();
    assert_ne!(tool.restore("latest", &target).code, 0);
    assert_eq!(
        files_below(&target),
        [(target.join("mine.txt"), b"keep me".to_vec())]
    );
}

#[test]
fn restore_refuses_a_target_whose_lock_is_held() {
    let (tool, _) = backed_up();
    let target = tool.path("target");
    std::fs::create_dir(&target).unwrap();
    let lock = std::fs::File::create(target.join("LOCK")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_ne!(tool.restore("latest", &target).code, 0);
    assert_eq!(files_below(&target).len(), 1);
}

#[test]
fn a_snapshot_or_key_that_is_not_there_fails() {
    let (tool, _) = backed_up();
    assert_ne!(tool.run(["ls", "ffffffff"]).code, 0);
    assert_ne!(tool.run(["ls", "latest~1"]).code, 0);
    assert_ne!(tool.run(["get", "latest", "no such key"]).code, 0);
    let target = tool.path("target");
    assert_ne!(tool.restore("latest~7", &target).code, 0);
    assert!(!target.exists());
}

// Damage: exit code 22 for the source, 25 for the repository.

#[test]
fn a_damaged_source_exits_22_and_is_saved_and_listed() {
    let tool = Tool::new();
    let db = database(&tool);
    let table = files_below(&db)
        .into_iter()
        .map(|(path, _)| path)
        .find(|path| is_table(path))
        .unwrap();
    let mut bytes = std::fs::read(&table).unwrap();
    bytes[100] ^= 0x10;
    std::fs::write(&table, bytes).unwrap();
    let ended = Ended::of(tool.command().args(["backup", "--json"]).arg(&db)).exits(22);
    let summary = ended.summary();
    let damage = summary["databases"][0]["source_damage"].as_array().unwrap();
    assert!(!damage.is_empty());
    let name = table.file_name().unwrap().to_str().unwrap();
    assert!(damage[0]["file"].as_str().unwrap().contains(name), "{damage:?}");
    let snapshots = &tool.run(["snapshots", "--json"]).ok().json_lines()[0];
    assert_eq!(snapshots.as_array().unwrap().len(), 1);
}

fn is_table(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "ldb")
}

#[test]
fn check_exits_25_when_a_stored_byte_changed_and_names_the_object() {
    let (tool, _) = backed_up();
    tool.run(["check"]).ok();
    tool.run(["check", "--read-data"]).ok();
    let (pack, mut bytes) = tool
        .repository_files()
        .into_iter()
        .filter(|(path, _)| path.to_str().unwrap().contains("packs"))
        .max_by_key(|(_, bytes)| bytes.len())
        .unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::set_permissions(&pack, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&pack, bytes).unwrap();
    let ended = tool.run(["check", "--read-data"]).exits(25);
    let name = pack.file_name().unwrap().to_str().unwrap();
    assert!(
        format!("{}{}", ended.text(), ended.stderr).contains(&name[..8]),
        "{}",
        ended.stderr
    );
    let target = tool.path("target");
    assert_ne!(tool.restore("latest", &target).code, 0);
    assert!(!target.exists(), "half a result");
}

#[test]
fn check_exits_25_when_an_object_is_gone() {
    let (tool, _) = backed_up();
    for (path, _) in tool.repository_files() {
        if path.to_str().unwrap().contains("packs") {
            std::fs::remove_file(path).unwrap();
        }
    }
    tool.run(["check"]).exits(25);
}

// Secrets.

#[test]
fn the_password_is_never_an_argument() {
    let tool = Tool::bare();
    for args in [
        ["--password", PASSWORD, "snapshots"],
        ["--password=x", "snapshots", "--json"],
    ] {
        tool.run(args).exits(2);
    }
    let help = tool.run(["--help"]).ok().text();
    assert!(!help.contains("--password <"), "{help}");
}

#[test]
fn the_password_comes_by_file_command_descriptor_or_environment() {
    let tool = Tool::new();
    let file = tool.path("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let bare = || {
        let mut command = tool.command();
        command.env_remove("LEVAULT_PASSWORD").arg("snapshots");
        command
    };
    Ended::of(bare().arg("-p").arg(&file)).ok();
    Ended::of(bare().env("LEVAULT_PASSWORD_FILE", &file)).ok();
    Ended::of(
        bare()
            .arg("--password-command")
            .arg(format!("cat '{}'", file.display())),
    )
    .ok();
    Ended::of(bare().env("LEVAULT_PASSWORD_COMMAND", format!("cat '{}'", file.display()))).ok();
    Ended::with_input(bare().env("LEVAULT_PASSWORD_FD", "0"), PASSWORD.as_bytes()).ok();
    let ended = Ended::of(&mut bare());
    assert_ne!(ended.code, 0, "no password, no terminal: an error, never a wait");
}

#[test]
fn neither_keys_nor_values_nor_names_are_readable_in_the_repository() {
    let (tool, _) = backed_up();
    for (path, bytes) in tool.repository_files() {
        for secret in ["order/", "\"price\"", "shop", PASSWORD] {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} in {}", path.display());
        }
    }
}

#[test]
fn the_repository_and_the_cache_are_for_their_owner_only() {
    let (tool, _) = backed_up();
    for place in [tool.repository(), tool.path("cache")] {
        let mode = std::fs::metadata(&place).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", place.display());
    }
}

// Words and JSON.

#[test]
fn backup_json_is_lines_with_restics_field_names() {
    let tool = Tool::new();
    let db = database(&tool);
    let ended = Ended::of(
        tool.command()
            .args(["backup", "--json", "--tag", "nightly", "--host", "here"])
            .arg(&db),
    )
    .ok();
    assert!(ended.stderr.is_empty(), "{}", ended.stderr);
    let summary = ended.summary();
    assert_eq!(summary["snapshot_id"].as_str().unwrap().len(), 64);
    for field in [
        "backup_start",
        "backup_end",
        "total_duration",
        "total_bytes_processed",
        "data_blobs",
        "data_added",
        "data_added_packed",
    ] {
        assert!(!summary[field].is_null(), "{field} is missing in {summary}");
    }
    for field in ["backup_start", "backup_end"] {
        let at = summary[field].as_str().unwrap();
        at.parse::<jiff::Timestamp>()
            .unwrap_or_else(|error| panic!("{field} {at}: {error}"));
    }
    assert_eq!(summary["databases"][0]["records"], RECORDS);
    assert!(
        summary["databases"][0]["last_seq"].is_string(),
        "sequence numbers pass 2^53"
    );
}

#[test]
fn snapshots_json_is_one_array_with_restics_field_names() {
    let tool = Tool::new();
    let db = database(&tool);
    Ended::of(
        tool.command()
            .args(["backup", "--tag", "nightly", "--host", "here", "--name", "shop-1"])
            .arg(&db),
    )
    .ok();
    let lines = tool.run(["snapshots", "--json"]).ok().json_lines();
    assert_eq!(lines.len(), 1);
    let snapshot = &lines[0][0];
    assert_eq!(snapshot["hostname"], "here");
    assert_eq!(snapshot["tags"], serde_json::json!(["nightly"]));
    assert_eq!(snapshot["paths"][0], db.to_str().unwrap());
    assert_eq!(snapshot["databases"][0]["db"], "shop-1");
    let (id, short) = (
        snapshot["id"].as_str().unwrap(),
        snapshot["short_id"].as_str().unwrap(),
    );
    assert_eq!((id.len(), short.len()), (64, 8));
    assert!(id.starts_with(short));
    snapshot["time"]
        .as_str()
        .unwrap()
        .parse::<jiff::Timestamp>()
        .unwrap();
}

#[test]
fn a_failure_in_json_is_one_exit_error_with_code_and_message() {
    let tool = Tool::new();
    let ended = Ended::of(
        tool.command()
            .args(["snapshots", "--json"])
            .env("LEVAULT_PASSWORD", "wrong"),
    )
    .exits(12);
    assert!(ended.stdout.is_empty());
    let error = ended.exit_error();
    assert_eq!(error["code"], 12);
    assert!(!error["message"].as_str().unwrap().is_empty());
}

#[test]
fn every_reading_verb_speaks_json() {
    let (tool, _) = backed_up();
    for args in [
        &["check", "--json"][..],
        &["stats", "--json"],
        &["ls", "latest", "--json"],
        &["key", "list", "--json"],
        &["version", "--json"],
    ] {
        let ended = tool.run(args.iter().copied()).ok();
        assert!(!ended.json_lines().is_empty(), "{args:?}");
    }
    assert_eq!(tool.run(["check", "--json"]).ok().summary()["num_errors"], 0);
}

#[test]
fn keys_that_are_not_text_travel_as_base64_and_hexadecimal() {
    let tool = Tool::new();
    let path = tool.path("bytes");
    let mut db = rusty_leveldb::DB::open(&path, Default::default()).unwrap();
    db.put(&[0xff, 0x00, 0x80], &[0, 1, 2, 0xfe]).unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    tool.backup(&path).ok();
    assert_eq!(
        tool.run(["get", "latest", "--key-hex", "ff0080"]).ok().stdout,
        [0, 1, 2, 0xfe]
    );
    assert_eq!(
        tool.run(["get", "latest", "--key-b64", "/wCA"]).ok().stdout,
        [0, 1, 2, 0xfe]
    );
    let lines = tool.run(["dump", "latest"]).ok().json_lines();
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (&lines[0]["key_b64"], &lines[0]["value_b64"]),
        (&"/wCA".into(), &"AAEC/g==".into())
    );
    assert!(lines[0]["key"].is_null());
}

#[test]
fn off_a_terminal_there_is_no_progress_and_quiet_says_nothing() {
    let tool = Tool::new();
    let db = database(&tool);
    let loud = tool.backup(&db).ok();
    assert!(loud.stderr.is_empty(), "{}", loud.stderr);
    assert!(
        !loud.text().contains('\u{1b}') && !loud.text().contains('\r'),
        "{}",
        loud.text()
    );
    let quiet = Ended::of(tool.command().args(["backup", "-q"]).arg(&db)).ok();
    assert!(
        quiet.stdout.is_empty() && quiet.stderr.is_empty(),
        "{}{}",
        quiet.text(),
        quiet.stderr
    );
}

#[test]
fn help_and_version_exit_0() {
    let tool = Tool::bare();
    let help = tool.run(["--help"]).ok().text();
    for verb in [
        "init",
        "backup",
        "snapshots",
        "ls",
        "get",
        "dump",
        "restore",
        "check",
        "stats",
        "key",
    ] {
        assert!(help.contains(verb), "{verb} is missing in {help}");
        tool.run([verb, "--help"]).ok();
    }
    assert!(tool.run(["--version"]).ok().text().starts_with("levault "));
}

// Snapshots and records.

#[test]
fn short_ids_latest_and_latest_before_it_name_snapshots() {
    let (tool, db) = backed_up();
    let mut handle = rusty_leveldb::DB::open(&db, Default::default()).unwrap();
    handle.put(b"order/00001", b"changed").unwrap();
    handle.flush().unwrap();
    handle.close().unwrap();
    let second = Ended::of(tool.command().args(["backup", "--json"]).arg(&db))
        .ok()
        .summary();
    let id = second["snapshot_id"].as_str().unwrap();
    let get = |snapshot: &str| tool.run(["get", snapshot, "order/00001"]).ok().text();
    assert_eq!(get("latest"), "changed");
    assert_eq!(get(id), "changed");
    assert_eq!(get(&id[..8]), "changed");
    assert_eq!(get("latest~0"), "changed");
    assert_eq!(get("latest~1"), value(1));
}

#[test]
fn an_unchanged_database_adds_no_data() {
    let (tool, db) = backed_up();
    let packs = |tool: &Tool| {
        let files = tool.repository_files().into_iter();
        files
            .filter(|(path, _)| path.to_str().unwrap().contains("packs"))
            .map(|(_, bytes)| bytes.len())
            .sum::<usize>()
    };
    let before = packs(&tool);
    let summary = Ended::of(tool.command().args(["backup", "--json"]).arg(&db))
        .ok()
        .summary();
    assert_eq!(summary["data_added"], 0, "{summary}");
    assert!(packs(&tool) < before + 4096);
}

#[test]
fn dump_raw_is_the_canonical_stream_and_prefix_narrows_it() {
    let (tool, _) = backed_up();
    let all = tool.run(["dump", "latest", "--format", "raw"]).ok().stdout;
    assert!(all == raw_stream((0..RECORDS).map(|i| (key(i), value(i)))));
    let some = tool
        .run(["dump", "latest", "--format", "raw", "--prefix", "order/0012"])
        .ok()
        .stdout;
    assert!(some == raw_stream((120..130).map(|i| (key(i), value(i)))));
}

#[test]
fn ls_shows_the_database_and_its_count() {
    let (tool, db) = backed_up();
    let text = tool.run(["ls", "latest"]).ok().text();
    assert!(
        text.contains("shop") && text.contains(&RECORDS.to_string()),
        "{text}"
    );
    assert!(text.contains(db.to_str().unwrap()), "{text}");
}

#[test]
fn a_restored_database_opens_in_rusty_leveldb_and_holds_every_record() {
    let (tool, _) = backed_up();
    let target = tool.path("target");
    tool.restore("latest", &target).ok();
    let mut db = rusty_leveldb::DB::open(&target, Default::default()).unwrap();
    for i in 0..RECORDS {
        assert_eq!(db.get(key(i).as_bytes()).unwrap(), value(i).as_bytes(), "{i}");
    }
    assert!(db.get(b"gone").is_none());
    db.put(b"order/99999", b"more").unwrap();
    db.close().unwrap();
}

#[test]
fn several_databases_go_into_one_snapshot_and_each_comes_back_under_its_name() {
    let tool = Tool::new();
    let first = database(&tool);
    let second = tool.path("warehouse");
    copy_dir(&first, &second);
    Ended::of(tool.command().arg("backup").args([&first, &second])).ok();
    assert_ne!(tool.run(["dump", "latest"]).code, 0, "which of the two?");
    tool.run(["dump", "latest", "--db", "warehouse"]).ok();
    let target = tool.path("target");
    tool.restore("latest", &target).ok();
    for name in ["shop", "warehouse"] {
        assert!(target.join(name).join("CURRENT").exists(), "{name}");
    }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for (path, bytes) in files_below(from) {
        std::fs::write(to.join(path.file_name().unwrap()), bytes).unwrap();
    }
}

#[test]
fn physical_mode_brings_the_files_back_byte_for_byte() {
    let tool = Tool::new();
    let db = database(&tool);
    Ended::of(tool.command().args(["backup", "--physical"]).arg(&db)).ok();
    let target = tool.path("target");
    tool.restore("latest", &target).ok();
    for (path, bytes) in files_below(&target) {
        let name = path.file_name().unwrap();
        assert!(std::fs::read(db.join(name)).unwrap() == bytes, "{name:?}");
    }
    let mut handle = rusty_leveldb::DB::open(&target, Default::default()).unwrap();
    assert_eq!(handle.get(key(7).as_bytes()).unwrap(), value(7).as_bytes());
    handle.close().unwrap();
}

// What must not be touched.

#[test]
fn a_dry_run_writes_nothing() {
    let (tool, db) = backed_up();
    let mut handle = rusty_leveldb::DB::open(&db, Default::default()).unwrap();
    handle.put(b"new", &[7; 5000]).unwrap();
    handle.flush().unwrap();
    handle.close().unwrap();
    let (repository, source) = (tool.repository_files(), files_below(&db));
    for flag in ["-n", "--dry-run"] {
        Ended::of(tool.command().args(["backup", flag]).arg(&db)).ok();
        let target = tool.path("target");
        Ended::of(
            tool.command()
                .args(["restore", "latest", flag, "--target"])
                .arg(&target),
        )
        .ok();
        assert!(!target.exists());
    }
    assert!(tool.repository_files() == repository);
    assert!(files_below(&db) == source);
}

#[test]
fn a_backup_writes_nothing_into_the_source_and_reading_nothing_into_the_repository() {
    let tool = Tool::new();
    let db = database(&tool);
    let before = files_below(&db);
    tool.backup(&db).ok();
    assert!(files_below(&db) == before);
    let repository = tool.repository_files();
    for args in [
        &["snapshots"][..],
        &["ls", "latest"],
        &["dump", "latest"],
        &["check"],
        &["stats"],
        &["key", "list"],
    ] {
        tool.run(args.iter().copied()).ok();
    }
    tool.restore("latest", &tool.path("target")).ok();
    assert!(tool.repository_files() == repository);
}

#[test]
fn without_a_cache_everything_works_the_same() {
    let tool = Tool::bare();
    tool.run(["--no-cache", "init"]).ok();
    let db = database(&tool);
    Ended::of(tool.command().args(["--no-cache", "backup"]).arg(&db)).ok();
    Ended::of(tool.command().args(["--no-cache", "check", "--read-data"])).ok();
    assert!(!tool.path("cache").exists());
}
