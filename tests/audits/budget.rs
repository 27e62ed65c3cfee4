//! What is read when, and what is written down of it.

use super::*;

#[test]
fn a_check_remembers_what_it_read_and_a_plain_one_reads_nothing() {
    let scene = Scene::new(3);
    let plain = scene.check(ReadData::None);
    none(&plain.findings);
    assert_eq!((scene.audits(), plain.packs_read), (0, 0));
    let verified = plain.verified.within(Duration::from_secs(86_400));
    assert_eq!((verified.bytes_opened, verified.oldest), (0, None));
    assert_eq!(verified.packs_unverified, scene.packs().len() as u64);

    let began = scene.clock.now();
    none(&scene.check(ReadData::All).findings);
    assert_eq!(scene.audits(), 1);
    for pack in scene.packs() {
        assert_eq!(
            scene.last(AuditMethod::Opened, &pack),
            Some((began, AuditResult::Right))
        );
    }
    scene.clock.advance(10 * DAY);
    let plain = scene.check(ReadData::None);
    let verified = |days: u64| plain.verified.within(Duration::from_secs(days * 86_400));
    assert_eq!(verified(10).bytes_opened, verified(10).bytes);
    assert!(verified(10).bytes > 0 && verified(10).bytes_hashed == 0);
    assert_eq!((verified(9).bytes_opened, verified(9).oldest), (0, Some(began)));
}

#[test]
fn a_budget_goes_on_where_the_last_one_ended_until_all_is_read() {
    let scene = Scene::new(5);
    let repo = scene.repo.with_storage(scene.slow(1));
    let packs = scene.packs().len() as u64;
    assert!(packs >= 5);
    let (mut left, mut rounds) = (packs, 0);
    while left > 0 {
        let outcome = check(&repo, stalest(Some(2), Some(30)));
        none(&outcome.findings);
        assert_eq!(outcome.packs_read, left.min(2), "two minutes, a pack each");
        left -= outcome.packs_read;
        assert_eq!(outcome.packs_left, left);
        rounds += 1;
    }
    assert_eq!(rounds, packs.div_ceil(2));
    // All are fresh; after a month the ones read first are due first.
    let outcome = check(&repo, stalest(Some(2), Some(30)));
    assert_eq!((outcome.packs_read, outcome.packs_left), (0, 0));
    let within = outcome.verified.within(Duration::from_secs(86_400));
    assert_eq!(within.bytes_opened, within.bytes);
    scene.clock.advance(31 * DAY);
    let first = scene.packs()[0];
    let began = scene.clock.now();
    assert_eq!(check(&repo, stalest(Some(1), Some(30))).packs_read, 1);
    assert_eq!(
        scene.last(AuditMethod::Opened, &first),
        Some((began, AuditResult::Right))
    );
}

#[test]
fn a_check_that_is_stopped_remembers_what_it_read_until_then() {
    let scene = Scene::new(4);
    let report = Arc::new(OperationReport::default());
    let storage = stopping(&scene.storage, report.clone());
    let stopped = Check { read: ReadData::All }.run(&scene.repo.with_storage(storage), &report);
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
    let read = scene
        .packs()
        .iter()
        .filter(|pack| scene.last(AuditMethod::Opened, pack).is_some())
        .count();
    assert_eq!(read, 2);
}

#[test]
fn a_long_check_writes_down_what_it_read_on_the_way() {
    let scene = Scene::new(4);
    none(&check(&scene.repo.with_storage(scene.slow(10)), ReadData::All).findings);
    // A change of the database makes one pack or two.
    let packs = scene.packs().len();
    assert!(packs >= 4);
    assert_eq!(
        scene.audits(),
        packs.div_ceil(2),
        "{packs} packs, two every twenty minutes"
    );
}

#[test]
fn the_seventeenth_audit_is_one_for_all_and_a_prune_leaves_it_alone() {
    for is_keyless in [false, true] {
        let scene = Scene::new(18);
        let packs = scene.packs();
        assert!(packs.len() >= 18);
        for read in 0..17 {
            scene.clock.advance(MINUTE);
            let outcome = if !is_keyless {
                scene.check(stalest(Some(0), None))
            } else {
                scene.keyless(stalest(Some(0), None))
            };
            none(&outcome.findings);
            let budget = if is_keyless { 1..=2 } else { 1..=1 };
            assert!(budget.contains(&outcome.packs_read), "{read}");
        }
        let how = if is_keyless {
            AuditMethod::Hashed
        } else {
            AuditMethod::Opened
        };
        let last = |scene: &Scene| packs.iter().map(|pack| scene.last(how, pack)).collect::<Vec<_>>();
        let before = last(&scene);
        assert_eq!(scene.audits(), 17);
        assert_eq!(scene.prune().len(), 16);
        assert_eq!((scene.audits(), last(&scene)), (1, before));
    }
}
