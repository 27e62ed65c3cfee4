//! What an audit is worth, and whose.

use super::*;

#[test]
fn an_audit_of_the_future_counts_for_nothing_and_is_told() {
    let scene = Scene::new(2);
    let pack = scene.packs()[0];
    let future = UnixNanos(scene.clock.now().0 + DAY);
    scene
        .repo
        .put_audit(&audit(AuditMethod::Opened, pack, future))
        .unwrap();
    scene
        .vault()
        .put_audit(&audit(AuditMethod::Hashed, pack, future))
        .unwrap();
    let stored = scene.repo.audits(scene.packs()).unwrap();
    assert_eq!(stored.unread.len(), 2);
    assert_eq!(stored.audits.last(AuditMethod::Opened, &pack), None);
    assert_eq!(stored.audits.last(AuditMethod::Hashed, &pack), None);
    let outcome = scene.check(stalest(None, Some(30)));
    none(&outcome.findings);
    assert_eq!(outcome.packs_read, scene.packs().len() as u64);
    assert_eq!(outcome.notices.len(), 2, "{:?}", outcome.notices);
    assert_eq!(scene.prune(), [], "our clock may be the wrong one");
}

#[test]
fn a_keyless_audit_is_never_a_keyed_one() {
    let scene = Scene::new(3);
    none(&scene.keyless(ReadData::All).findings);
    let outcome = scene.check(stalest(None, Some(30)));
    assert_eq!(
        outcome.packs_read,
        scene.packs().len() as u64,
        "hashed is not opened"
    );
    let outcome = Scene::check(&scene, ReadData::None);
    let within = outcome.verified.within(Duration::from_secs(86_400));
    assert_eq!((within.bytes_opened, within.bytes_hashed), (within.bytes, 0));

    // Neither can one be made to say so.
    let pack = scene.packs()[0];
    let wrong = audit(AuditMethod::Opened, pack, scene.clock.now());
    assert_eq!(
        scene.vault().put_audit(&wrong).unwrap_err().kind(),
        ErrorKind::Usage
    );
    let body = levault::annotations::audit::encode(&wrong).unwrap();
    let mut bytes = vec![0; 120];
    bytes[..8].copy_from_slice(b"levault\x1a");
    bytes[8..11].copy_from_slice(&[ObjectClass::Audit as u8, 1, 255]);
    bytes[20..24].copy_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&body);
    refused(&scene, &bytes);
    // The same bytes as a hashed one are taken: it is the word that is refused, not the form.
    bytes[121] = 1;
    let name = ObjectName::of_content(ObjectKind::Audit, &bytes);
    scene.storage.put_new(name, &bytes).unwrap();
    assert!(scene.repo.audits(scene.packs()).unwrap().unread.is_empty());
}

/// The repository makes nothing of these bytes, and says so.
fn refused(scene: &Scene, bytes: &[u8]) {
    let name = ObjectName::of_content(ObjectKind::Audit, bytes);
    scene.storage.put_new(name, bytes).unwrap();
    let stored = scene.repo.audits(scene.packs()).unwrap();
    assert_eq!(stored.unread.len(), 1, "{:?}", stored.unread);
    assert_eq!(stored.unread[0].id, name.id);
    let findings = scene.check(ReadData::None).findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].object, name.path());
    scene.storage.delete(name).unwrap();
}

#[test]
fn another_repositorys_audit_and_one_under_a_domain_key_are_refused() {
    let scene = Scene::new(1);
    let other = Scene::new(1);
    let now = scene.clock.now();
    let theirs = other
        .repo
        .put_audit(&audit(AuditMethod::Opened, scene.packs()[0], now))
        .unwrap();
    let name = ObjectName::new(ObjectKind::Audit, theirs);
    refused(&scene, &other.storage.get(name, 1 << 20).unwrap());

    let ours = scene
        .repo
        .put_audit(&audit(AuditMethod::Opened, scene.packs()[0], now))
        .unwrap();
    let name = ObjectName::new(ObjectKind::Audit, ours);
    let bytes = scene.storage.get(name, 1 << 20).unwrap();
    scene.storage.delete(name).unwrap();
    for scheme in [1, 2, 3, 4] {
        let mut forged = bytes.clone();
        forged[10] = scheme;
        if matches!(scheme, 2..=3) {
            forged[12..16].fill(0);
        }
        refused(&scene, &forged);
    }
    for at in [60, 100, bytes.len() - 1] {
        let mut forged = bytes.clone();
        forged[at] ^= 1;
        refused(&scene, &forged);
    }
}

#[test]
fn a_foreign_epochs_audit_is_never_taken_under_a_domain_key() {
    // Sealed by the domain's index key, which a write-only host holds.
    let scene = Scene::new(1);
    let domain = scene.repo.domain_keys();
    let header = levault::envelope::Header {
        class: ObjectClass::Audit,
        scheme: levault::envelope::KeyScheme::Domain,
        epoch: levault::id::EpochId(0),
        domain: domain.id(),
        clear_len: 0,
        ephemeral: [0; 32],
        salt: [7; 32],
        commitment: [0; 32],
    };
    let plain =
        levault::annotations::audit::encode(&audit(AuditMethod::Opened, scene.packs()[0], scene.clock.now()));
    let sealed = levault::envelope::seal_one(header, domain.index_key().expose(), &[], &plain.unwrap());
    refused(&scene, &sealed.unwrap());
}
