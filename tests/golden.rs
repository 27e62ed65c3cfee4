//! Repositories of released formats stay readable for ever: what an older levault stored is opened, checked and compared
//! with what it said then. `cargo test --test golden -- --ignored make` writes the one of the format of today anew, which
//! is right only before that format is released.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::tool::{Ended, Tool, files_below};

/// The password added second.
const OTHER: &str = "another password";

/// The write-only host's, for its credential.
const HOST: &str = "a host's password";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format-1")
}

/// The golden repository, copied to a place that may be written.
fn opened() -> (Tool, Value) {
    let tool = Tool {
        dir: support::memory(),
    };
    copy_tree(&golden().join("repository"), &tool.repository());
    let told = fs::read(golden().join("told.json")).unwrap();
    (tool, serde_json::from_slice(&told).unwrap())
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let place = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir_all(place).unwrap()
        } else {
            fs::copy(entry.path(), place).unwrap();
        }
    }
}

fn as_user(tool: &Tool, password: &str, args: &[&str]) -> Ended {
    Ended::of(tool.command().args(args).env("LEVAULT_PASSWORD", password))
}

/// Every snapshot's databases, by the hash of their records.
fn states(tool: &Tool, password: &str) -> Value {
    let listed = as_user(tool, password, &["snapshots", "--json"]).ok().text();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let state = |snapshot: &Value| {
        let id = snapshot["id"].as_str().unwrap();
        let stream = as_user(tool, password, &["dump", id, "--format", "raw"])
            .ok()
            .stdout;
        json!({"id": id, "stream": blake3::hash(&stream).to_hex().as_str(), "bytes": stream.len(),
            "tags": snapshot["tags"], "protected": snapshot["protected"], "domain": snapshot["domain"]})
    };
    listed.as_array().unwrap().iter().map(state).collect()
}

#[test]
fn a_repository_of_format_1_opens_checks_and_holds_what_it_held() {
    let (tool, told) = opened();
    assert_eq!(states(&tool, support::tool::PASSWORD), told["snapshots"]);
    assert_eq!(states(&tool, OTHER), told["snapshots"]);
    tool.run(["check", "--read-data"]).ok();
    tool.run(["check", "--keyless", "--read-data"]).ok();
    tool.restore("latest", &tool.path("restored")).ok();
    let forgotten = tool.run(["undelete", "--json"]).ok().text();
    assert!(
        forgotten.contains(told["forgotten"].as_str().unwrap()),
        "{forgotten}"
    );
}

#[test]
fn a_repository_of_format_1_goes_on_living() {
    let (tool, told) = opened();
    tool.run(["undelete", told["forgotten"].as_str().unwrap()]).ok();
    let db = tool.path("shop");
    common::fill(&db, 300, 200);
    tool.backup(&db).ok();
    let credential = tool.path("credential");
    fs::copy(golden().join("credential"), &credential).unwrap();
    let host = |tool: &Tool| {
        let mut command = tool.command();
        command
            .arg("--credential")
            .arg(&credential)
            .env("LEVAULT_PASSWORD", HOST);
        Ended::of(command.arg("backup").arg(&db))
    };
    host(&tool).ok();
    tool.run(["forget", "--keep-last", "2"]).ok();
    tool.run(["prune"]).ok();
    tool.run(["check", "--read-data"]).ok();
    as_user(&tool, HOST, &["snapshots"]).exits(12);
}

#[test]
#[ignore = "writes the golden repository anew"]
fn make() {
    let tool = Tool {
        dir: support::memory(),
    };
    tool.run(["init", "--parity", "20%"]).ok();
    let db = tool.path("shop");
    common::fill(&db, 300, 200);
    tool.backup(&db).ok();
    for version in 1..4 {
        let long = common::value(version, 200_000);
        let mut changes: Vec<_> = (0..20)
            .map(|i| (common::key(i), Some(common::value(i + version, 200))))
            .collect();
        changes.push((common::key(900), Some(long)));
        changes.push((common::key(40 + version), None));
        common::write(&db, &changes);
        tool.backup(&db).ok();
    }
    tool.run(["tag", "latest~1", "--add", "golden"]).ok();
    tool.run(["protect", "latest~1"]).ok();
    let files = ["other", "host"].map(|name| tool.path(name));
    fs::write(&files[0], OTHER).unwrap();
    fs::write(&files[1], HOST).unwrap();
    Ended::of(
        tool.command()
            .args(["key", "add", "--new-password-file"])
            .arg(&files[0]),
    )
    .ok();
    tool.run(["key", "rotate"]).ok();
    let mut host = tool.command();
    host.args([
        "key",
        "add",
        "--write-only",
        "--label",
        "golden",
        "--new-password-file",
    ])
    .arg(&files[1]);
    Ended::of(host.arg("--output").arg(tool.path("credential"))).ok();
    let mut host = tool.command();
    host.arg("--credential")
        .arg(tool.path("credential"))
        .env("LEVAULT_PASSWORD", HOST);
    Ended::of(host.args(["backup", "--no-pins"]).arg(&db)).ok();
    tool.backup(&db).ok();
    let listed: Value = serde_json::from_str(&tool.run(["snapshots", "--json"]).ok().text()).unwrap();
    let forgotten = listed[0]["id"].as_str().unwrap().to_owned();
    tool.run(["forget", &forgotten]).ok();
    tool.run(["prune"]).ok();
    tool.run(["check", "--read-data"]).ok();
    tool.run(["check", "--keyless", "--read-data"]).ok();
    let _ = fs::remove_dir_all(golden());
    for (path, bytes) in files_below(&tool.repository()) {
        let place = golden()
            .join("repository")
            .join(path.strip_prefix(tool.repository()).unwrap());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, bytes).unwrap();
    }
    fs::copy(tool.path("credential"), golden().join("credential")).unwrap();
    let told = json!({"snapshots": states(&tool, support::tool::PASSWORD), "forgotten": forgotten});
    fs::write(
        golden().join("told.json"),
        serde_json::to_string_pretty(&told).unwrap() + "\n",
    )
    .unwrap();
}
