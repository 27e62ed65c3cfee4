//! Some keys of a database: printed, or as a database of their own.

use crate::common::{Model, scan};
use crate::support::tool::Ended;
use crate::{orders, put, snapshots_after};

fn model(keys: std::ops::Range<u32>) -> Model {
    orders(keys.end)
        .into_iter()
        .skip(keys.start as usize)
        .map(|(key, value)| (key, value.unwrap()))
        .collect()
}

#[test]
fn dump_takes_a_range() {
    let (tool, _) = snapshots_after(&[&orders(300)]);
    for flags in [
        ["--range", "order/00010..order/00013"],
        ["--range-hex", "6f726465722f3030303130..6f726465722f3030303133"],
    ] {
        let lines = tool
            .run(["dump", "latest"].into_iter().chain(flags))
            .ok()
            .json_lines();
        let keys: Vec<_> = lines.iter().map(|line| line["key"].as_str().unwrap()).collect();
        assert_eq!(keys, ["order/00010", "order/00011", "order/00012"]);
    }
}

#[test]
fn a_selection_is_restored_into_a_database_of_its_own_and_verified() {
    let (tool, _) = snapshots_after(&[&orders(3000), &[put("user/1", "a")]]);
    let restore = |name: &str, flags: [&str; 2]| {
        let target = tool.path(name);
        let mut command = tool.command();
        command
            .args(["restore", "latest", "--json", "--target"])
            .arg(&target)
            .args(flags);
        let summary = Ended::of(&mut command).ok().summary();
        let found = scan(&target).unwrap();
        assert_eq!(summary["verified"], true);
        assert_eq!(summary["records"], found.len());
        found
    };
    assert!(restore("range", ["--range", "order/01000..order/02500"]) == model(1000..2500));
    assert!(restore("prefix", ["--prefix", "order/0012"]) == model(120..130));
    assert_eq!(restore("user", ["--prefix-hex", "75736572"]).len(), 1);
    assert!(restore("none", ["--prefix", "nobody"]).is_empty());
}

#[test]
fn dump_as_a_database_is_a_restore() {
    let (tool, _) = snapshots_after(&[&orders(100)]);
    let target = tool.path("target");
    let dump = |target: &std::path::Path| {
        let mut command = tool.command();
        command.args([
            "dump",
            "latest",
            "--format",
            "leveldb",
            "--prefix",
            "order/0001",
            "--target",
        ]);
        Ended::of(command.arg(target))
    };
    dump(&target).ok();
    assert!(scan(&target).unwrap() == model(10..20));
    assert_ne!(dump(&target).code, 0, "it is not empty any more");
    tool.run(["dump", "latest", "--format", "leveldb"]).exits(2);
    let file = tool.path("records.jsonl");
    let to_file = ["dump", "latest", "--target", file.to_str().unwrap()];
    tool.run(to_file).ok();
    assert_eq!(
        std::fs::read(&file).unwrap(),
        tool.run(["dump", "latest"]).ok().stdout
    );
    assert_ne!(tool.run(to_file).code, 0, "it is there already");
}

#[test]
fn what_is_stored_as_files_is_restored_whole_or_not_at_all() {
    let (tool, db) = snapshots_after(&[&orders(10)]);
    tool.run(["backup", "--physical", db.to_str().unwrap()]).ok();
    let target = tool.path("target");
    let mut command = tool.command();
    command
        .args(["restore", "latest", "--prefix", "order", "--target"])
        .arg(&target);
    Ended::of(&mut command).exits(2);
    assert!(!target.exists());
}
