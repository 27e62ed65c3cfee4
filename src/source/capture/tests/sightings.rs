//! A race is not damage, however slow the machine is on which it is run; and damage does not hide behind races.

use super::*;

/// Does something before a step of a capture, once, and undoes it so long after.
fn meanwhile(
    scene: &LiveOwnerFixture,
    step: CaptureStep,
    begin: impl Fn(&mut SimulatedOwner) + Sync,
    end: impl Fn(&mut SimulatedOwner) + Sync,
) -> CaptureReadback {
    let begun: Mutex<Option<Instant>> = Mutex::new(None);
    let ended = Mutex::new(false);
    let before = |now: CaptureStep| {
        let mut begun = begun.lock().unwrap();
        match *begun {
            None if now == step => {
                begin(&mut scene.owner());
                *begun = Some(Instant::now());
            }
            Some(at)
                if at.elapsed() > Duration::from_millis(500)
                    && !std::mem::replace(&mut *ended.lock().unwrap(), true) =>
            {
                end(&mut scene.owner());
            }
            _ => {}
        }
    };
    let how = CaptureOptions {
        before_step: Some(&before),
        ..CaptureOptions::default()
    };
    read(how.capture(&scene.directory()).unwrap())
}

#[test]
fn what_is_missing_for_half_a_second_is_not_damage() {
    let away = |scene: &LiveOwnerFixture, name: String, step| {
        let (from, to) = (
            scene.directory().join(&name),
            scene.directory().with_file_name(&name),
        );
        let seen = meanwhile(
            scene,
            step,
            |_| fs::rename(&from, &to).unwrap(),
            |_| fs::rename(&to, &from).unwrap(),
        );
        scene.expect(&seen, scene.last_sequence());
        assert!(seen.cut.retries > 3, "{name}: {:?}", seen.cut);
    };
    let scene = LiveOwnerFixture::new();
    let table = scene.owner().tables()[0];
    let log = scene.owner().waiting().unwrap();
    away(
        &scene,
        crate::leveldb::file_name::table_name(table, Default::default()),
        CaptureStep::Table,
    );
    away(
        &scene,
        crate::leveldb::file_name::log_name(log),
        CaptureStep::List,
    );
    away(&scene, "CURRENT".to_owned(), CaptureStep::Current);
    let current = fs::read_to_string(scene.directory().join("CURRENT")).unwrap();
    away(&scene, current.trim().to_owned(), CaptureStep::Current);
}

#[test]
fn a_repair_is_waited_for() {
    let scene = LiveOwnerFixture::new();
    let seen = meanwhile(
        &scene,
        CaptureStep::List,
        SimulatedOwner::begin_repair,
        SimulatedOwner::end_repair,
    );
    scene.expect(&seen, scene.last_sequence());
}

#[test]
fn a_repair_that_takes_too_long_is_no_damage() {
    let scene = LiveOwnerFixture::new();
    scene.owner().begin_repair();
    let how = CaptureOptions {
        timeout: Duration::from_secs(2),
        ..CaptureOptions::default()
    };
    let error = how.capture(&scene.directory()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoConsistentCut, "{error}");
    assert!(
        error.to_string().contains("a repair had set a file aside"),
        "{error}"
    );
}

#[test]
fn a_database_that_is_rebuilt_file_by_file_is_waited_for() {
    let scene = LiveOwnerFixture::new();
    let away = scene.directory().with_file_name("away");
    fs::rename(scene.directory(), &away).unwrap();
    fs::create_dir(scene.directory()).unwrap();
    let mut left: Vec<_> = fs::read_dir(&away)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    // CURRENT and MANIFEST first, and then for longer than a fault needs to be one.
    left.sort();
    let left = Mutex::new(left);
    let last = Mutex::new(Instant::now());
    let put = |name: &std::ffi::OsStr| {
        fs::copy(away.join(name), scene.directory().join(name)).unwrap();
    };
    put("CURRENT".as_ref());
    let before = |_: CaptureStep| {
        let mut last = last.lock().unwrap();
        if last.elapsed() > Duration::from_millis(400) {
            *last = Instant::now();
            left.lock().unwrap().pop().iter().for_each(|name| put(name));
        }
    };
    let how = CaptureOptions {
        before_step: Some(&before),
        ..CaptureOptions::default()
    };
    let seen = read(how.capture(&scene.directory()).unwrap());
    scene.expect(&seen, scene.last_sequence());
}

#[test]
fn what_an_owner_goes_on_without_is_damage() {
    let scene = LiveOwnerFixture::new();
    let lost = scene.owner().tables()[0];
    fs::remove_file(scene.owner().table_path(lost)).unwrap();
    // An owner that keeps flushing.
    let last = Mutex::new(Instant::now());
    let before = |_: CaptureStep| {
        let mut last = last.lock().unwrap();
        if last.elapsed() > Duration::from_millis(100) {
            *last = Instant::now();
            let mut owner = scene.owner();
            owner.put(2);
            owner.rotate();
            owner.flush();
        }
    };
    let how = CaptureOptions {
        before_step: Some(&before),
        ..CaptureOptions::default()
    };
    let seen = read(how.capture(&scene.directory()).unwrap());
    assert_eq!(seen.outcome.damage.len(), 1, "{:?}", seen.outcome.damage);
    assert!(!seen.records.is_empty());
}
