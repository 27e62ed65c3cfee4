//! Audits where they are stored: stores that take none, two checks at once, and what a prune drops.

use super::*;

#[test]
fn a_store_that_takes_no_audit_makes_a_notice_and_no_error() {
    for fault in [
        InjectedFault::Full,
        InjectedFault::BeforeEffect,
        InjectedFault::TornWrite,
        InjectedFault::LostReply,
    ] {
        let scene = Scene::new(2);
        let counted = Arc::new(FaultyStorage::new(scene.storage.snapshot()));
        check(&scene.repo.with_storage(counted.clone()), ReadData::All);
        for call in 1..=counted.calls() {
            let storage = Arc::new(scene.storage.snapshot());
            let faulty = Arc::new(FaultyStorage::new(storage.clone()).fail_at(call, fault));
            let outcome = Check { read: ReadData::All }
                .run(&scene.repo.with_storage(faulty), &OperationReport::default());
            let stored = storage.list(ObjectKind::Audit).unwrap();
            let reader = scene.repo.with_storage(storage.clone());
            let known = reader.audits(scene.packs()).unwrap();
            // Torn ones say nothing; whole ones say only what was read and right.
            assert!(known.unread.len() <= usize::from(fault == InjectedFault::TornWrite));
            match outcome {
                Ok(outcome) if outcome.findings.is_empty() => {
                    let told = outcome.notices.iter().any(|notice| notice.object == "audits");
                    let lost = stored.is_empty() || !known.unread.is_empty();
                    assert!(told || !lost, "{fault:?} at {call}: {:?}", outcome.notices);
                }
                _ => {}
            }
            let again = check(&reader, stalest(None, Some(30)));
            let torn = known.unread.len();
            assert_eq!(
                again.findings.len(),
                torn,
                "{fault:?} at {call}: {:?}",
                again.findings
            );
            let within = again.verified.within(Duration::from_secs(86_400));
            assert_eq!(within.bytes_opened, within.bytes, "{fault:?} at {call}");
        }
    }
}

#[test]
fn two_checks_at_once_both_count() {
    let scene = Scene::new(6);
    std::thread::scope(|scope| {
        for part in [1, 2] {
            let scene = &scene;
            scope.spawn(move || none(&scene.check(ReadData::Part { part, of: 2 }).findings));
        }
    });
    let outcome = scene.check(ReadData::None);
    none(&outcome.findings);
    let within = outcome.verified.within(Duration::from_secs(86_400));
    assert_eq!(within.bytes_opened, within.bytes);
}

#[test]
fn prune_drops_audits_that_say_nothing_any_more_and_check_merges_many() {
    let scene = Scene::new(3);
    for _ in 0..20 {
        scene.clock.advance(MINUTE);
        scene.check(ReadData::Bytes(1));
        scene
            .vault()
            .put_audit(&audit(AuditMethod::Hashed, scene.packs()[0], scene.clock.now()))
            .unwrap();
    }
    let before = scene.repo.audits(scene.packs()).unwrap().audits;
    let gone = scene.prune();
    assert!(scene.audits() <= scene.packs().len() + 1, "{}", scene.audits());
    assert_eq!(gone.len() + scene.audits(), 40);
    let after = scene.repo.audits(scene.packs()).unwrap().audits;
    for pack in scene.packs() {
        for how in [AuditMethod::Opened, AuditMethod::Hashed] {
            assert_eq!(after.last(how, &pack), before.last(how, &pack));
        }
    }
    assert_eq!(scene.prune(), []);
    none(&scene.check(ReadData::None).findings);
    none(&scene.keyless(ReadData::None).findings);
}
