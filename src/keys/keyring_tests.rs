//! Goal: an object opens by the key its class and scheme allow, and by no other.

use super::keyring::sent_secret;
use super::tests::founded;
use super::*;
use crate::crypto::key_exchange::{PublicKey, SecretKey};
use crate::crypto::{Entropy, PreSharedKey, SeededEntropy};
use crate::envelope::{self, Header, KeyScheme, ObjectClass, object_id};
use crate::error::ErrorKind;
use crate::id::{DomainId, EpochId, RepositoryId};
use crate::kind::BlobKind;

#[test]
fn domains_and_kinds_name_the_same_bytes_differently() {
    let mut entropy = SeededEntropy::new(1);
    let [one, two] = [0, 1].map(|id| DomainKeys::random(DomainId(id), "host", &mut entropy).unwrap());
    let mut ids: Vec<_> = BlobKind::ALL
        .iter()
        .flat_map(|kind| [one.blob_id(*kind, b"x"), two.blob_id(*kind, b"x")])
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 2 * BlobKind::ALL.len());
}

/// What a write-only host seals: only the owner opens it, only with the domain's pre-shared key.
#[test]
fn an_object_sealed_to_the_owner_opens_by_epoch_and_domain() {
    let mut entropy = SeededEntropy::new(5);
    let mut keyring = founded(1).keyring;
    let host = keyring.add_domain("host", &mut entropy).unwrap();
    let sender = SecretKey::random(&mut entropy).unwrap();
    let domain = keyring.domain(host).unwrap();
    let seal = |pre_shared: &PreSharedKey, repository: RepositoryId, recipient: PublicKey| {
        let secret = sent_secret(&sender, &recipient, pre_shared, &repository).unwrap();
        let header = Header {
            scheme: KeyScheme::Exchange,
            ephemeral: sender.public().0,
            domain: host,
            ..sample_header(ObjectClass::Snapshot)
        };
        envelope::seal_one(header, &secret, b"", b"for the owner").unwrap()
    };
    let recipient = keyring.newest().recipient.public();
    let good = seal(domain.pre_shared_key(), keyring.repository(), recipient);
    let opened = keyring
        .open_object(ObjectClass::Snapshot, &object_id(&good), &good)
        .unwrap();
    assert_eq!(opened.plain, b"for the owner");
    let other = PreSharedKey::random(&mut entropy).unwrap();
    let wrong = [
        seal(&other, keyring.repository(), recipient),
        seal(domain.pre_shared_key(), RepositoryId([0; 32]), recipient),
        seal(domain.pre_shared_key(), keyring.repository(), sender.public()),
    ];
    for bytes in wrong {
        let error = keyring
            .open_object(ObjectClass::Snapshot, &object_id(&bytes), &bytes)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongKey);
    }
}

fn sample_header(class: ObjectClass) -> Header {
    Header {
        class,
        scheme: KeyScheme::Epoch,
        epoch: EpochId(1),
        domain: DomainId(0),
        clear_len: 0,
        ephemeral: [0; 32],
        salt: SeededEntropy::new(6).salt().unwrap(),
        commitment: [0; 32],
    }
}

/// A write-only host may add packs and snapshots; what only the owner may say it cannot say, by any scheme.
#[test]
fn only_an_epoch_key_speaks_for_the_owner() {
    let mut keyring = founded(1).keyring;
    let host = keyring.add_domain("host", &mut SeededEntropy::new(5)).unwrap();
    let host_key = keyring.domain(host).unwrap().index_key().expose();
    for class in ObjectClass::ALL
        .iter()
        .filter(|class| **class != ObjectClass::Index)
    {
        let header = Header {
            scheme: KeyScheme::Domain,
            epoch: EpochId(0),
            domain: host,
            ..sample_header(*class)
        };
        assert!(keyring.epoch_secret(&header).is_err(), "{class:?}");
    }
    use ObjectClass::{Pack, Snapshot, Wal};
    for class in ObjectClass::ALL
        .iter()
        .filter(|class| ![Pack, Snapshot, Wal].contains(class))
    {
        let header = Header {
            scheme: KeyScheme::Exchange,
            ephemeral: [9; 32],
            domain: host,
            ..sample_header(*class)
        };
        assert_eq!(
            keyring.epoch_secret(&header).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "{class:?}"
        );
    }
    let header = Header {
        scheme: KeyScheme::Domain,
        epoch: EpochId(0),
        domain: host,
        ..sample_header(ObjectClass::Index)
    };
    let bytes = envelope::seal_one(header, host_key, b"packs", b"entries").unwrap();
    let opened = keyring
        .open_object(ObjectClass::Index, &object_id(&bytes), &bytes)
        .unwrap();
    assert_eq!(
        (&opened.clear[..], &opened.plain[..]),
        (&b"packs"[..], &b"entries"[..])
    );
}

/// Whoever was removed still holds the keys of the owner's domain, which never rotate: there they say nothing.
#[test]
fn in_the_owners_domain_only_an_epoch_key_says_anything() {
    let keyring = founded(1).keyring;
    for (scheme, class) in [
        (KeyScheme::Domain, ObjectClass::Index),
        (KeyScheme::Exchange, ObjectClass::Pack),
        (KeyScheme::Exchange, ObjectClass::Snapshot),
        (KeyScheme::Exchange, ObjectClass::Wal),
    ] {
        let header = Header {
            scheme,
            ephemeral: [9; 32],
            ..sample_header(class)
        };
        assert_eq!(
            keyring.epoch_secret(&header).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "{class:?}"
        );
    }
}

#[test]
fn bytes_that_are_not_the_stored_ones_are_corrupt_whatever_they_say() {
    let founding = founded(1);
    let mut entropy = SeededEntropy::new(7);
    let keyring = &founding.keyring;
    let bytes = keyring
        .seal_object(ObjectClass::Note, DomainId(0), b"c", b"p", &mut entropy)
        .unwrap();
    let id = object_id(&bytes);
    assert_eq!(
        keyring.open_object(ObjectClass::Note, &id, &bytes).unwrap().clear,
        b"c"
    );
    for at in 0..bytes.len() {
        let mut turned = bytes.clone();
        turned[at] ^= 0x80;
        assert_eq!(
            keyring
                .open_object(ObjectClass::Note, &id, &turned)
                .unwrap_err()
                .kind(),
            ErrorKind::Corrupt
        );
    }
    let other = founded(2).keyring;
    assert_eq!(
        other
            .open_object(ObjectClass::Note, &id, &bytes)
            .unwrap_err()
            .kind(),
        ErrorKind::WrongKey
    );
    assert!(
        keyring
            .seal_object(ObjectClass::Note, DomainId(1), b"", b"", &mut entropy)
            .is_err()
    );
}
