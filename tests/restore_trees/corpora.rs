//! A browser's profile and a game's world, as the programs left them: every file comes back byte for byte, every database with
//! the records of its truth.

use std::path::Path;

use super::disk::{self, Disk, assert_same};
use super::scene::Scene;
use super::support::corpora;
use super::support::oracle::Oracle;
use levault::leveldb::file_name::FileName;

/// Everything that a restore gives back as it was: all but a database's own files.
pub fn around(root: &Path, databases: &[String]) -> Disk {
    let mut disk = disk::read(root);
    disk.retain(|name, _| {
        let name = String::from_utf8_lossy(name);
        let is_own = |database: &String| {
            let inner = name
                .strip_prefix(database.as_str())
                .and_then(|rest| rest.strip_prefix('/'));
            inner.is_some_and(|name| FileName::parse(name).is_some())
        };
        !databases.iter().any(is_own)
    });
    disk
}

#[test]
fn a_profile_and_a_world_come_back_whole() {
    let Some(mut oracle) = Oracle::start() else { return };
    for name in ["chromium_closed", "minetest_world"] {
        let corpus = corpora::unpack(name);
        let databases = corpus.databases();
        let names: Vec<_> = databases.iter().map(|(name, ..)| name.clone()).collect();
        let root = corpus.path("");
        let scene = Scene::new();
        let link = scene.path(name);
        std::os::unix::fs::symlink(&root, &link).unwrap();
        let was = around(&root, &names);
        scene.backup(&[&format!("{name}/")]);
        let restored = scene.restore();
        scene.has_no_problem();
        assert_eq!(restored.databases.len(), databases.len(), "{name}");
        let back = around(&scene.target(), &names);
        assert_same(&back, &was);
        assert!(was.len() > 10, "{name}");
        for (path, _, truth) in databases {
            let raw = oracle.raw(&scene.target().join(&path)).unwrap();
            for count in [
                "records",
                "key_bytes",
                "value_bytes",
                "sha256_bytewise",
                "comparator",
            ] {
                assert_eq!(raw[count], truth[count], "{name}: {path}: {count}");
            }
        }
    }
}
