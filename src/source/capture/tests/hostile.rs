//! Goal: whatever a user who may write beside his database puts in the place of its directory, of its pins or of ours, and
//! when, the capture is of the directory that was held, and nothing outside is read, made or removed. Method: at each step
//! of a capture two names are exchanged, as renameat2(2) does it for him.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::*;
use crate::held_directory::HeldDirectory;
use crate::id::{ObjectId, RepositoryId};
use crate::source::pins::{PinOptions, StateToPin};

const STEPS: [CaptureStep; 7] = [
    CaptureStep::Current,
    CaptureStep::Manifest,
    CaptureStep::Table,
    CaptureStep::List,
    CaptureStep::Log,
    CaptureStep::ReadLogs,
    CaptureStep::Recheck,
];

fn exchange(left: &Path, right: &Path) {
    renameat_with(CWD, left, CWD, right, RenameFlags::EXCHANGE).unwrap();
}

/// Five files that nothing may touch.
fn victim(place: &Path) -> PathBuf {
    let victim = place.join("victim");
    fs::create_dir(&victim).unwrap();
    for number in 0..5 {
        fs::write(victim.join(format!("{number:06}.ldb")), "precious").unwrap();
    }
    victim
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_link_that_takes_the_databases_place_at_any_step_is_not_followed() {
    let other = LiveOwnerFixture::new();
    for number in 0..30 {
        other.owner().put(100 + number);
    }
    for hold in [HoldMethod::Links, HoldMethod::Descriptors, HoldMethod::Copies] {
        for step in STEPS {
            let scene = LiveOwnerFixture::new();
            let directory = scene.directory();
            let link = directory.with_file_name("link");
            std::os::unix::fs::symlink(other.directory(), &link).unwrap();
            let acted = Mutex::new(false);
            let before = |now: CaptureStep| {
                if now == step && !std::mem::replace(&mut *acted.lock().unwrap(), true) {
                    exchange(&directory, &link);
                }
            };
            let how = CaptureOptions {
                hold,
                before_step: Some(&before),
                ..CaptureOptions::default()
            };
            let held = HeldDirectory::open_path(&directory).unwrap();
            let seen = read(how.capture_in(&held).unwrap());
            assert!(*acted.lock().unwrap());
            scene.expect(&seen, scene.last_sequence());
            assert_eq!(hidden(&directory), 0, "{hold} {step:?}");
        }
    }
}

/// What a round of backups does with pins, with an exchange at the given step of its capture, or behind all of them.
fn round(database: &Path, repository: u8, act: &(dyn Fn(Option<CaptureStep>) + Sync)) {
    let before = |now: CaptureStep| act(Some(now));
    let id = RepositoryId([repository; 32]);
    let Ok(pins) = crate::source::DatabasePins::open(database, id, PinOptions::default(), Arc::default())
    else {
        return;
    };
    let how = CaptureOptions {
        pins: Some(Arc::new(pins)),
        before_step: Some(&before),
        ..CaptureOptions::default()
    };
    let mut captured = how.capture(database).unwrap();
    let _ = captured.pin_logs();
    let now = Database::from_captured(captured, ScanBudget::default());
    act(None);
    // What cannot be kept costs the next backup a full read.
    let _ = StateToPin::from_database(now).map(|to_pin| to_pin.pin_for_snapshot(ObjectId([7; 32]), 0));
}

#[test]
fn a_link_that_takes_the_place_of_the_pins_at_any_step_leads_nowhere() {
    for step in STEPS.into_iter().map(Some).chain([None]) {
        let scene = LiveOwnerFixture::new();
        let directory = scene.directory();
        let place = directory.parent().unwrap().to_owned();
        let victim = victim(&place);
        let before = names(&victim);
        let link = place.join("link");
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        round(&directory, 1, &|_| {});
        let all = names(&place);
        let pins = all.iter().find(|name| name.contains(".levault-pins-")).unwrap();
        let pins = place.join(pins);
        let times = AtomicU32::new(0);
        round(&directory, 1, &|now| {
            if now == step {
                exchange(&pins, &link);
                times.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert!(times.load(Ordering::Relaxed) > 0, "{step:?}");
        // Whatever stands there now, the next finds out, too.
        round(&directory, 1, &|_| {});
        exchange(&pins, &link);
        round(&directory, 1, &|_| {});
        assert_eq!(names(&victim), before, "{step:?}");
        for name in &before {
            assert_eq!(fs::read(victim.join(name)).unwrap(), b"precious");
        }
    }
}

#[test]
fn a_directory_that_was_given_the_name_of_the_pins_is_left_alone() {
    let scene = LiveOwnerFixture::new();
    let directory = scene.directory();
    let place = directory.parent().unwrap().to_owned();
    round(&directory, 1, &|_| {});
    let all = names(&place);
    let pins = all.iter().find(|name| name.contains(".levault-pins-")).unwrap();
    let pins = place.join(pins);
    fs::rename(&pins, place.join("moved")).unwrap();
    let evidence = victim(&place);
    fs::rename(&evidence, &pins).unwrap();
    let before = names(&pins);
    let open = crate::source::DatabasePins::open(
        &directory,
        RepositoryId([1; 32]),
        PinOptions::default(),
        Arc::default(),
    );
    let error = open.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("not proven"), "{error}");
    let listed = crate::source::pins::list(&directory).unwrap();
    assert!(listed.iter().all(|set| set.path == pins));
    assert_eq!(listed[0].remove().unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(names(&pins), before);
}

#[test]
fn a_directory_that_was_given_the_name_of_a_killed_captures_is_left_alone_and_reported() {
    let scene = LiveOwnerFixture::new();
    let directory = scene.directory();
    let evidence = victim(directory.parent().unwrap());
    let named = directory.with_file_name(".db.levault-capture-0123456789abcdef");
    fs::rename(&evidence, &named).unwrap();
    let captured = CaptureOptions::default().capture(&directory).unwrap();
    assert_eq!(captured.unproven_leftovers(), [named.canonicalize().unwrap()]);
    drop(captured);
    assert_eq!(names(&named).len(), 5);
}

/// What is removed at the end is what was made, not what has its name by then.
#[test]
fn a_directory_that_takes_the_place_of_a_captures_own_is_not_removed_with_it() {
    let scene = LiveOwnerFixture::new();
    let directory = scene.directory();
    let place = directory.parent().unwrap().to_owned();
    let captured = CaptureOptions::default().capture(&directory).unwrap();
    let all = names(&place);
    let own = all
        .iter()
        .find(|name| name.contains(".levault-capture-"))
        .unwrap();
    let evidence = victim(&place);
    exchange(&place.join(own), &evidence);
    drop(captured);
    assert_eq!(names(&place.join(own)).len(), 5);
}
