//! End to end: `init --parity`, a burst in a file, `check`, `repair heal` without a password, `check`.

use std::path::{Path, PathBuf};

use super::flip;
use super::support::tool::{Ended, Tool};

fn packs(tool: &Tool) -> Vec<(PathBuf, Vec<u8>)> {
    let files = tool.repository_files().into_iter();
    files
        .filter(|(path, _)| path.to_string_lossy().contains("/packs/"))
        .collect()
}

fn damage(path: &Path, bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let (start, burst) = (bytes.len() / 2, bytes.len() / 20);
    flip(&mut bytes, start..start + burst);
    let mut permissions = std::fs::metadata(path).unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "the test's own file")]
    permissions.set_readonly(false);
    std::fs::set_permissions(path, permissions).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn without_password(tool: &Tool, args: &[&str]) -> Ended {
    Ended::of(tool.command().env_remove("LEVAULT_PASSWORD").args(args))
}

#[test]
fn a_burst_in_a_pack_heals_without_a_password() {
    let tool = Tool::bare();
    tool.run(["init", "--parity", "5%"]).ok();
    let db = tool.path("shop");
    super::common::fill(&db, 2_000, 400);
    tool.backup(&db).ok();
    tool.run(["check", "--read-data"]).ok();
    let before = packs(&tool);
    let (path, good) = before.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    damage(path, good);

    let checked = tool.run(["check", "--read-data"]).exits(25);
    let id = &path.file_name().unwrap().to_str().unwrap()[..8];
    let advice = format!("levault repair heal {id} --apply");
    assert!(checked.stderr.contains(&advice), "{}", checked.stderr);

    let dry = without_password(&tool, &["repair", "heal", "--json"]).exits(25);
    assert_eq!(dry.summary()["healed"], 1);
    assert!(
        std::fs::read(path).unwrap() != *good,
        "without --apply it is only said"
    );
    let done = without_password(&tool, &["repair", "heal", id, "--apply"]).ok();
    assert!(done.text().contains("healed: packs/"), "{}", done.text());
    assert!(packs(&tool) == before, "byte for byte");
    tool.run(["check", "--read-data"]).ok();
    without_password(&tool, &["repair", "heal"]).ok();
    tool.restore("latest", &tool.path("again")).ok();
    without_password(&tool, &["repair", "heal", "0123"]).exits(1);
}

#[test]
fn parity_is_added_later_counted_and_ended() {
    let tool = Tool::new();
    let db = tool.path("shop");
    super::common::fill(&db, 500, 400);
    tool.backup(&db).ok();
    let parity = || {
        tool.run(["stats", "--json"]).ok().summary()["parity_size"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(parity(), 0);
    let dry = tool.run(["repair", "add-parity", "--json"]).ok().summary();
    assert_eq!((&dry["share"], &dry["dry_run"]), (&"5%".into(), &true.into()));
    assert_eq!(parity(), 0);
    let done = tool
        .run(["repair", "add-parity", "--share", "10%", "--apply", "--json"])
        .ok();
    assert_eq!(done.summary()["parity_bytes"].as_u64().unwrap(), parity());
    assert!(parity() > 0);
    let checked = tool.run(["check", "--json"]).ok().summary();
    assert_eq!(checked["packs_with_parity"], checked["packs"]);

    let one = parity();
    super::common::fill(&db, 900, 400);
    tool.backup(&db).ok();
    assert!(parity() > one, "a backup stores it from then on");
    let two = parity();
    tool.run(["repair", "add-parity", "--share", "none", "--apply"])
        .ok();
    super::common::fill(&db, 1_500, 400);
    tool.backup(&db).ok();
    assert_eq!(parity(), two);
    for wrong in ["0%", "101%", "5", "lots"] {
        tool.run(["init", "--parity", wrong]).exits(2);
    }
}

#[test]
fn repair_packs_heals_before_it_gives_anything_up() {
    let tool = Tool::bare();
    tool.run(["init", "--parity", "5%"]).ok();
    let db = tool.path("shop");
    super::common::fill(&db, 2_000, 400);
    tool.backup(&db).ok();
    let before = packs(&tool);
    let (path, good) = before.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    damage(path, good);
    let dry = tool.run(["repair", "packs", "--json"]).ok().summary();
    assert_eq!(dry["packs_healed"].as_array().unwrap().len(), 1);
    assert_eq!(dry["packs_damaged"].as_array().unwrap().len(), 0);
    assert!(std::fs::read(path).unwrap() != *good);
    tool.run(["repair", "packs", "--apply"]).ok();
    assert!(packs(&tool) == before, "byte for byte, and nothing beside");
    tool.run(["check", "--read-data"]).ok();
}
