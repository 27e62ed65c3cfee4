//! Names of one file: those of the snapshot are one file again, and no file that the snapshot has by itself shares its
//! content or its attributes with another name.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use levault::ops::restore::{OverwriteMode, VerifyMode};
use proptest::prelude::*;

use super::disk::{self, assert_same};
use super::scene::Scene;

const MODES: [OverwriteMode; 2] = [OverwriteMode::IfChanged, OverwriteMode::Always];

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A target in which two names are one file, where the snapshot has two files of equal content and time.
#[test]
fn files_that_are_one_in_the_target_are_two_again() {
    for overwrite in MODES {
        for verify in [VerifyMode::Full, VerifyMode::None] {
            let scene = Scene::new();
            let [a, b] = ["source/a", "source/b"].map(|name| scene.file(name, "same"));
            for path in [&a, &b] {
                fs::File::open(path)
                    .unwrap()
                    .set_modified(std::time::UNIX_EPOCH)
                    .unwrap();
            }
            set_mode(&a, 0o600);
            set_mode(&b, 0o644);
            let was = disk::read(&scene.path("source"));
            scene.backup(&["source"]);
            scene.restore();
            fs::remove_file(scene.path("target/b")).unwrap();
            fs::hard_link(scene.path("target/a"), scene.path("target/b")).unwrap();
            scene
                .try_restore(|restore| {
                    restore.overwrite = overwrite;
                    restore.verify = verify;
                })
                .unwrap();
            assert_same(&disk::read(&scene.target()), &was);
        }
    }
}

/// A backup by hard links beside the target, as `cp -al` makes it.
#[test]
fn a_name_outside_of_the_target_keeps_content_and_attributes() {
    for overwrite in MODES {
        for is_linked in [false, true] {
            let scene = Scene::new();
            let file = scene.file("source/file", "content");
            if is_linked {
                fs::hard_link(&file, scene.path("source/other")).unwrap();
            }
            let was = disk::read(&scene.path("source"));
            scene.backup(&["source"]);
            scene.restore();
            fs::hard_link(scene.path("target/file"), scene.path("outside")).unwrap();
            set_mode(&scene.path("outside"), 0o604);
            scene.restore_over(overwrite);
            assert_same(&disk::read(&scene.target()), &was);
            let outside = fs::metadata(scene.path("outside")).unwrap();
            assert_eq!(outside.mode() & 0o777, 0o604, "{overwrite:?}");
            assert_eq!(outside.nlink(), 1, "{overwrite:?}, linked: {is_linked}");
        }
    }
}

#[test]
fn names_that_are_right_already_are_not_written_again() {
    let scene = Scene::new();
    let file = scene.file("source/a/file", "content");
    fs::hard_link(&file, scene.path("source/other")).unwrap();
    scene.backup(&["source"]);
    scene.restore();
    let inode = || fs::metadata(scene.path("target/other")).unwrap().ino();
    let before = inode();
    let again = scene.restore_over(OverwriteMode::IfChanged);
    assert_eq!((again.tree.files, inode()), (0, before));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any sharing in the source, over any sharing in the target.
    #[test]
    fn any_sharing_comes_back_over_any_other(
        source in proptest::collection::vec(0..3usize, 5),
        target in proptest::collection::vec(0..3usize, 5),
        overwrite in proptest::sample::select(MODES.to_vec()),
    ) {
        let scene = Scene::new();
        let make = |root: &str, groups: &[usize]| {
            fs::create_dir_all(scene.path(root)).unwrap();
            for (name, group) in groups.iter().enumerate() {
                let path = scene.path(&format!("{root}/{name}"));
                match groups[..name].iter().position(|other| other == group) {
                    Some(first) => fs::hard_link(scene.path(&format!("{root}/{first}")), path).unwrap(),
                    None => {
                        // Equal content and time, so that nothing tells them apart but their modes.
                        fs::write(&path, "content").unwrap();
                        set_mode(&path, 0o600 + *group as u32);
                        fs::File::open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
                    }
                }
            }
        };
        make("source", &source);
        make("target", &target);
        let was = disk::read(&scene.path("source"));
        scene.backup(&["source"]);
        scene.restore_over(overwrite);
        scene.has_no_problem();
        assert_same(&disk::read(&scene.target()), &was);
    }
}
