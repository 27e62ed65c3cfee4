//! A log that the MANIFEST names and that is not there: lost, or gone because it was empty.

use super::*;

#[test]
fn a_log_nobody_deleted_is_damage() {
    let scene = LiveOwnerFixture::new();
    let log = scene.owner().log();
    scene.owner().flush();
    fs::remove_file(scene.owner().log_path(log)).unwrap();
    let seen = read(CaptureOptions::default().capture(&scene.directory()).unwrap());
    assert_eq!(seen.outcome.damage[0].file, format!("{log:06}.log"));
}

/// What goleveldb's CompactRange leaves that comes right behind its opening.
fn with_an_empty_log_rotated_away() -> LiveOwnerFixture {
    let scene = LiveOwnerFixture::of(WriterDialect::GoLevelDb);
    scene.owner().reopen();
    scene.owner().rotate();
    scene
}

#[test]
fn a_log_that_goleveldb_rotated_away_empty_is_not_missed() {
    let scene = with_an_empty_log_rotated_away();
    for _ in 0..3 {
        let seen = read(CaptureOptions::default().capture(&scene.directory()).unwrap());
        assert_eq!(seen.cut.retries, 0);
        scene.expect(&seen, scene.last_sequence());
        scene.owner().put(2);
    }
    scene.owner().transaction(3);
    scene.owner().put(1);
    let seen = read(CaptureOptions::default().capture(&scene.directory()).unwrap());
    scene.expect(&seen, scene.last_sequence());
}

#[test]
fn a_log_rotated_away_empty_under_it_costs_one_try_at_most() {
    for (step, acts) in [
        (CaptureStep::List, 1),
        (CaptureStep::Log, 1),
        (CaptureStep::Log, 2),
    ] {
        let scene = LiveOwnerFixture::of(WriterDialect::GoLevelDb);
        scene.owner().reopen();
        let seen = scene.capture(HoldMethod::Links, step, |owner| {
            (0..acts).for_each(|_| owner.rotate());
            owner.put(2);
        });
        assert!(seen.cut.retries <= 1, "{step:?}");
        scene.expect(&seen, 0);
    }
}

#[test]
fn a_lost_log_of_goleveldb_is_damage_when_the_later_one_shows_the_gap() {
    let scene = LiveOwnerFixture::of(WriterDialect::GoLevelDb);
    let lost = scene.owner().waiting().unwrap();
    fs::remove_file(scene.owner().log_path(lost)).unwrap();
    let seen = read(CaptureOptions::default().capture(&scene.directory()).unwrap());
    assert!(seen.cut.retries >= 3, "{:?}", seen.cut);
    assert_eq!(seen.outcome.damage.len(), 1);
    assert_eq!(seen.outcome.damage[0].file, format!("{lost:06}.log"));
    assert_eq!(seen.outcome.damage[0].sequences_lost, Some(5));
}

#[test]
fn a_lost_log_of_cpp_leveldb_is_damage_though_the_manifest_covers_it() {
    let scene = LiveOwnerFixture::new();
    let lost = scene.owner().waiting().unwrap();
    scene.owner().edit(VersionEdit::default());
    fs::remove_file(scene.owner().log_path(lost)).unwrap();
    let seen = read(CaptureOptions::default().capture(&scene.directory()).unwrap());
    assert!(seen.cut.retries >= 3, "{:?}", seen.cut);
    assert_eq!(seen.outcome.damage.len(), 1);
    assert_eq!(seen.outcome.damage[0].file, format!("{lost:06}.log"));
}
