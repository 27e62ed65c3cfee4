//! What was found damaged.

use super::*;

#[test]
fn damage_is_remembered_as_damage_until_the_pack_is_read_and_right() {
    let scene = Scene::new(4);
    none(&scene.check(ReadData::All).findings);
    let pack = scene.packs()[1];
    let good = scene
        .storage
        .get(ObjectName::new(ObjectKind::Pack, pack), 1 << 30)
        .unwrap();
    scene.damage(pack);
    scene.clock.advance(DAY);
    assert!(!scene.check(ReadData::All).findings.is_empty());
    assert_eq!(
        scene.last(AuditMethod::Opened, &pack).unwrap().1,
        AuditResult::Wrong
    );
    for other in scene.packs().iter().filter(|other| **other != pack) {
        assert_eq!(
            scene.last(AuditMethod::Opened, other).unwrap().1,
            AuditResult::Right
        );
    }
    scene.clock.advance(DAY);
    // Not forgotten by a check that would read nothing of its own.
    let plain = scene.check(ReadData::None);
    assert!(!plain.findings.is_empty());
    assert_eq!(plain.packs_read, 1);
    let fresh = scene.check(stalest(Some(60), Some(30)));
    assert!(!fresh.findings.is_empty());
    // Brought back: read again, found right, and that is the end of it.
    scene
        .storage
        .heal(ObjectName::new(ObjectKind::Pack, pack), &good)
        .unwrap();
    none(&scene.check(ReadData::None).findings);
    let plain = scene.check(ReadData::None);
    none(&plain.findings);
    assert_eq!(plain.packs_read, 0);
}

#[test]
fn damaged_packs_do_not_eat_every_budget_and_none_of_them_is_passed_over_in_silence() {
    let scene = Scene::new(12);
    let packs = scene.packs();
    let damaged = &packs[..6];
    damaged.iter().for_each(|pack| scene.damage(*pack));
    let repo = scene.repo.with_storage(scene.slow(1));
    assert!(!check(&repo, stalest(None, None)).findings.is_empty());
    scene.clock.advance(DAY);
    let began = scene.clock.now();
    let outcome = check(&repo, stalest(Some(8), None));
    assert_eq!(outcome.packs_read, 8);
    let read_now = |pack: &&ObjectId| scene.last(AuditMethod::Opened, pack).unwrap().0 >= began;
    assert_eq!(
        damaged.iter().filter(read_now).count(),
        2,
        "a quarter of the time"
    );
    for pack in damaged {
        let path = ObjectName::new(ObjectKind::Pack, *pack).path();
        assert!(
            outcome.findings.iter().any(|finding| finding.object == path),
            "{path}"
        );
    }
}
