//! What somebody does who keeps the storage, or once had a password: by the real program, each with its exit code.
//! (A wrong password is in tests/cli.rs; what every flipped byte does in tests/damage.rs.)

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use support::tool::{Ended, Tool};

fn write(db: &Path, version: u8) {
    let mut db = rusty_leveldb::DB::open(db, rusty_leveldb::Options::default()).unwrap();
    for i in 0..100_u32 {
        let value = blake3::hash(&[&i.to_le_bytes()[..], &[version]].concat());
        db.put(&i.to_be_bytes(), &value.as_bytes().repeat(8)).unwrap();
    }
    db.flush().unwrap();
    db.close().unwrap();
}

/// A repository with so many snapshots that share nothing.
fn snapshots(count: u8) -> (Tool, PathBuf) {
    let tool = Tool::in_memory();
    let db = tool.path("shop");
    for version in 0..count {
        write(&db, version);
        backup(&tool, &db);
    }
    (tool, db)
}

fn backup(tool: &Tool, db: &Path) -> Ended {
    Ended::of(tool.command().args(["backup", "--no-pins"]).arg(db)).ok()
}

/// Files of the repository below `folder`.
fn stored(tool: &Tool, folder: &str) -> Vec<PathBuf> {
    let below = tool.repository().join(folder);
    let files = tool.repository_files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.starts_with(&below)).collect()
}

fn overwrite(path: &Path, bytes: &[u8]) {
    if path.exists() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The place becomes what it was when `files` were read.
fn roll_back(tool: &Tool, files: &[(PathBuf, Vec<u8>)]) {
    for (path, _) in tool.repository_files() {
        if !files.iter().any(|(kept, _)| *kept == path) {
            fs::remove_file(path).unwrap();
        }
    }
    files.iter().for_each(|(path, bytes)| overwrite(path, bytes));
}

fn as_user(tool: &Tool, password: &str, args: &[&str]) -> Ended {
    Ended::of(tool.command().args(args).env("LEVAULT_PASSWORD", password))
}

/// Adds a password and says the new slot's file.
fn add_password(tool: &Tool, password: &str) -> PathBuf {
    let file = tool.path("new-password");
    fs::write(&file, password).unwrap();
    let before = stored(tool, "keys");
    Ended::of(
        tool.command()
            .args(["key", "add", "--new-password-file"])
            .arg(&file),
    )
    .ok();
    let mut after = stored(tool, "keys");
    after.retain(|slot| !before.contains(slot));
    after.remove(0)
}

/// The checksum that a config and a slot end with, which anybody can make.
fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let body = bytes.len() - 32;
    let checksum = blake3::hash(&bytes[..body]);
    bytes[body..].copy_from_slice(checksum.as_bytes());
    bytes
}

/// The only slot there is.
fn place_slot(tool: &Tool, bytes: &[u8]) {
    stored(tool, "keys")
        .iter()
        .for_each(|slot| fs::remove_file(slot).unwrap());
    let name = blake3::hash(bytes).to_hex().to_string();
    overwrite(&tool.repository().join("keys").join(name), bytes);
}

#[test]
fn a_removed_password_exits_12_and_1_where_its_slot_was_kept() {
    let (tool, _) = snapshots(1);
    let slot = add_password(&tool, "second");
    as_user(&tool, "second", &["snapshots"]).ok();
    let bytes = fs::read(&slot).unwrap();
    let name = slot.file_name().unwrap().to_str().unwrap();
    tool.run(["key", "remove", &name[..8]]).ok();
    as_user(&tool, "second", &["snapshots"]).exits(12);
    overwrite(&slot, &bytes);
    let refused = as_user(&tool, "second", &["snapshots"]).exits(1);
    assert!(refused.stderr.contains("was removed"), "{}", refused.stderr);
    tool.run(["snapshots"]).ok();
}

#[test]
fn a_tampered_slot_exits_1_and_is_never_tried_beyond_its_limits() {
    let (tool, _) = snapshots(1);
    let slot = stored(&tool, "keys").remove(0);
    let bytes = fs::read(&slot).unwrap();
    let mut flipped = bytes.clone();
    flipped[200] ^= 1;
    overwrite(&slot, &flipped);
    tool.run(["snapshots"]).exits(1);
    // All argon2 memory there is, under a name and a checksum that fit.
    let mut greedy = bytes.clone();
    greedy[124..128].copy_from_slice(&u32::MAX.to_le_bytes());
    place_slot(&tool, &with_checksum(greedy));
    tool.run(["snapshots"]).exits(1);
    // Another identity's public key: the seal covers it.
    let mut other = bytes.clone();
    other[136] ^= 1;
    place_slot(&tool, &with_checksum(other));
    tool.run(["snapshots"]).exits(1);
    overwrite(&slot, &bytes);
    tool.run(["snapshots"]).ok();
}

#[test]
fn another_format_version_or_other_features_exit_1() {
    let (tool, _) = snapshots(1);
    let files = ["config", "config.copy"].map(|name| tool.repository().join(name));
    let bytes = fs::read(&files[0]).unwrap();
    // Version 0 and 2 of the envelope and of the config; a feature to be known by readers; an older levault named.
    for (at, byte) in [(9, 0), (9, 2), (120, 0), (120, 2), (121, 1), (145, 9)] {
        let mut changed = bytes.clone();
        changed[at] = byte;
        let changed = with_checksum(changed);
        files.iter().for_each(|file| overwrite(file, &changed));
        tool.run(["snapshots"]).exits(1);
    }
    files.iter().for_each(|file| overwrite(file, &bytes));
    tool.run(["check"]).ok();
}

#[test]
fn packs_that_changed_places_exit_25_and_restore_nothing() {
    let (tool, _) = snapshots(2);
    let packs = stored(&tool, "packs");
    assert!(packs.len() > 1);
    let bytes: Vec<_> = packs.iter().map(|pack| fs::read(pack).unwrap()).collect();
    for (pack, other) in packs.iter().zip(bytes.iter().skip(1).chain(&bytes[..1])) {
        overwrite(pack, other);
    }
    tool.run(["check", "--read-data"]).exits(25);
    let target = tool.path("target");
    assert_eq!(tool.restore("latest", &target).code, 1);
    assert!(!target.exists(), "half a result");
}

#[test]
fn an_old_snapshot_put_back_does_not_count_and_under_another_name_exits_25() {
    let (tool, _) = snapshots(2);
    let before = tool.repository_files();
    tool.run(["forget", "latest~1"]).ok();
    let now = ["prune", "--grace", "0", "--unsafe-grace"];
    tool.run(now).ok();
    assert_eq!(stored(&tool, "snapshots").len(), 1);
    let gone = before
        .iter()
        .find(|(path, _)| path.starts_with(tool.repository().join("snapshots")) && !path.exists());
    let (path, bytes) = gone.unwrap();
    overwrite(path, bytes);
    let listed: serde_json::Value =
        serde_json::from_str(&tool.run(["snapshots", "--json"]).ok().text()).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    tool.run(["check"]).ok();
    fs::remove_file(path).unwrap();
    // As the newest one, whose name it cannot have.
    overwrite(&stored(&tool, "snapshots")[0], bytes);
    tool.run(["check"]).exits(25);
    let target = tool.path("target");
    assert_eq!(tool.restore("latest", &target).code, 1);
}

#[test]
fn a_repository_that_was_rolled_back_exits_26_for_who_saw_more() {
    let (tool, db) = snapshots(2);
    let before = tool.repository_files();
    write(&db, 9);
    backup(&tool, &db);
    roll_back(&tool, &before);
    tool.run(["check"]).exits(25);
    for args in [&["snapshots"][..], &["restore", "latest", "--target", "nowhere"]] {
        let refused = Ended::of(tool.command().args(args)).exits(26);
        assert!(refused.stderr.contains("--accept-rollback"), "{}", refused.stderr);
    }
    Ended::of(tool.command().args(["backup", "--no-pins"]).arg(&db)).exits(26);
    // Nothing that a fresh client has is newer.
    tool.run(["snapshots", "--no-cache"]).ok();
    tool.run(["snapshots", "--accept-rollback"]).ok();
    tool.run(["snapshots"]).ok();
    backup(&tool, &db);
}

#[test]
fn a_keyring_that_was_rolled_back_exits_26_for_who_saw_the_new_one() {
    let (tool, _) = snapshots(1);
    let before = tool.repository_files();
    tool.run(["key", "rotate"]).ok();
    tool.run(["snapshots"]).ok();
    roll_back(&tool, &before);
    tool.run(["snapshots"]).exits(26);
    tool.run(["snapshots", "--no-cache"]).ok();
    tool.run(["snapshots", "--accept-rollback"]).ok();
}
