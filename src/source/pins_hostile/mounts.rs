//! What only a mount can arrange: a full disk, a database that is a mount of its own, an overlay. They need root, in a
//! place where mounts are allowed; elsewhere they say that they did not run.

use std::path::Path;

use super::scene::{BackupRound, PinsFixture, RoundRead, sh};
use super::{expect_changes, settled};

/// Unmounts when it goes.
struct TestMount(String);

impl TestMount {
    /// `None` where it is not allowed.
    fn new(words: &str, at: &Path) -> Option<Self> {
        let at = at.display().to_string();
        if sh(&format!("mount {words} {at} 2>/dev/null")) {
            return Some(Self(at));
        }
        eprintln!("not run: mount {words} is not allowed here");
        None
    }
}

impl Drop for TestMount {
    fn drop(&mut self) {
        sh(&format!("umount -l {}", self.0));
    }
}

fn place() -> (tempfile::TempDir, std::path::PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let at = place.path().join("mounted");
    std::fs::create_dir(&at).unwrap();
    (place, at)
}

#[test]
fn on_a_disk_that_is_full_nothing_is_kept_and_the_next_round_reads_all() {
    let (place, at) = place();
    let Some(_mount) = TestMount::new("-t tmpfs -o size=3m none", &at) else {
        return;
    };
    let mut scene = PinsFixture::at(place, at.join("db"));
    assert!(matches!(
        scene.round(1),
        BackupRound {
            read: RoundRead::First,
            unkept: None
        }
    ));
    scene.churn(10);
    expect_changes(&scene.round(1));
    let filler = at.join("filler");
    for left in ["", "8192", "200000"] {
        let _ = std::fs::remove_file(&filler);
        scene.churn(10);
        sh(&format!("cat /dev/zero > {} 2>/dev/null", filler.display()));
        if !left.is_empty() {
            assert!(sh(&format!("truncate -s -{left} {}", filler.display())));
        }
        let round = scene.round(1);
        assert!(
            round.unkept.is_some() || matches!(round.read, RoundRead::Changes { .. }),
            "{left} {round:?}"
        );
        let round = scene.round(1);
        eprintln!("{left}: {round:?}");
    }
    std::fs::remove_file(&filler).unwrap();
    scene.round(1);
    scene.churn(10);
    expect_changes(&scene.round(1));
}

#[test]
fn a_database_that_is_a_mount_of_its_own_has_no_pins() {
    let (place, at) = place();
    let below = place.path().join("below");
    std::fs::create_dir(&below).unwrap();
    let Some(_mount) = TestMount::new(&format!("--bind {}", below.display()), &at) else {
        return;
    };
    let mut scene = PinsFixture::at(place, at.clone());
    for _ in 0..3 {
        let round = scene.round(1);
        assert!(
            matches!(round.read, RoundRead::First | RoundRead::Full(_)) && round.unkept.is_some(),
            "{round:?}"
        );
        assert_eq!(scene.pin_directories().len(), 0, "an empty directory stays");
        scene.churn(10);
    }
}

/// Pins from before somebody mounted a copy over the database.
#[test]
fn a_mount_that_comes_over_a_pinned_database_is_right() {
    let mut scene = settled();
    let copy = scene.path("copy");
    assert!(sh(&format!("cp -a {} {}", scene.db.display(), copy.display())));
    let db = scene.db.clone();
    let Some(mount) = TestMount::new(&format!("--bind {}", copy.display()), &db) else {
        return;
    };
    scene.churn(50);
    let round = scene.round(1);
    assert!(round.unkept.is_some(), "{round:?}");
    drop(mount);
    scene.churn(50);
    let round = scene.round(1);
    assert!(
        matches!(
            round.read,
            RoundRead::Full(_) | RoundRead::Changes { .. } | RoundRead::First
        ),
        "{round:?}"
    );
}

#[test]
fn on_an_overlay_there_are_no_pins_and_lower_files_stay_where_they_are() {
    let (place, at) = place();
    let Some(_disk) = TestMount::new("-t tmpfs none", &at) else {
        return;
    };
    let merged = at.join("merged");
    assert!(sh(&format!(
        "cd {} && mkdir lower upper work merged",
        at.display()
    )));
    {
        let (elsewhere, _) = self::place();
        let lower = PinsFixture::at(elsewhere, at.join("lower/db"));
        assert!(lower.db.exists());
    }
    let options = format!(
        "-t overlay -o lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work none",
        at.display()
    );
    let Some(_mount) = TestMount::new(&options, &merged) else {
        return;
    };
    let mut scene = PinsFixture::at(place, merged.join("db"));
    for _ in 0..2 {
        let round = scene.round(1);
        assert!(
            matches!(&round, BackupRound { read: RoundRead::Full(why), .. } if why.contains("overlay")),
            "{round:?}"
        );
        scene.churn(10);
    }
}
