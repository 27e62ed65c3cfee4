//! Goal: a credential opens with its password and says what the keyring says; what it seals only the owner opens, and
//! what only the owner may say it cannot say. Method: small rings with argon2id at no cost.

use super::tests::{NOW, founded};
use super::*;
use crate::crypto::SeededEntropy;
use crate::document::{assert_example, example};
use crate::envelope::{self, Features, Header, KeyScheme, ObjectClass, object_id};
use crate::error::ErrorKind;
use crate::id::DomainId;
use crate::kind::BlobKind;

const DOCUMENT: &str = include_str!("../../docs/format/05-keyring.md");

fn password(text: &str) -> Password {
    Password::new(text.as_bytes().to_vec())
}

/// The founder's ring with two hosts, and the anchor.
fn hosts() -> (Keyring, RepositoryAnchor, SeededEntropy) {
    let founding = founded(1);
    let mut entropy = SeededEntropy::new(3);
    let mut ring = founding.keyring;
    for (label, id) in [("host", 1), ("other", 2)] {
        assert_eq!(ring.add_domain(label, &mut entropy).unwrap(), DomainId(id));
    }
    (ring, founding.anchor, entropy)
}

fn credential(ring: &Keyring, anchor: RepositoryAnchor, domain: u32) -> Credential {
    let features = Features::of_new_repository();
    Credential::of(ring, DomainId(domain), anchor, features, Parameters::default()).unwrap()
}

fn sealed() -> Vec<u8> {
    let (ring, anchor, mut entropy) = hosts();
    let cheap = SlotCost::cheap();
    let credential = credential(&ring, anchor, 1);
    credential
        .seal(&password("secret"), cheap, NOW, &mut entropy)
        .unwrap()
}

#[test]
fn the_documented_credential_opens() {
    let (ring, anchor, _) = hosts();
    assert_example(DOCUMENT, "credential", &sealed());
    let sealed = SealedCredential::decode(&example(DOCUMENT, "credential")).unwrap();
    let opened = sealed.unlock(&password("secret")).unwrap();
    assert_eq!((opened.anchor(), opened.epoch()), (anchor, ring.newest().id));
    assert_eq!(opened.parameters(), &Parameters::default());
    assert_eq!(
        (opened.domain().id(), opened.domain().label()),
        (DomainId(1), "host")
    );
    let of_ring = ring.domain(DomainId(1)).unwrap();
    let named = |keys: &DomainKeys| keys.blob_id(BlobKind::Leaf, b"x");
    assert_eq!(named(opened.domain()), named(of_ring));
}

#[test]
fn every_byte_of_a_credential_matters_to_the_keys_and_not_only_to_the_checksum() {
    let good = sealed();
    let open = |bytes: &[u8]| {
        SealedCredential::decode(bytes)?
            .unlock(&password("secret"))
            .map(drop)
    };
    open(&good).unwrap();
    for at in 0..good.len() - 32 {
        let mut turned = good.clone();
        turned[at] ^= 1 << (at % 8);
        assert_eq!(open(&turned).unwrap_err().kind(), ErrorKind::Corrupt, "byte {at}");
        turned.truncate(good.len() - 32);
        super::key_slot::append_checksum(&mut turned);
        assert!(open(&turned).is_err(), "byte {at}, summed anew");
        assert!(open(&good[..at]).is_err(), "cut at {at}");
    }
    assert_eq!(
        SealedCredential::decode(&good)
            .unwrap()
            .unlock(&password("secret "))
            .err()
            .unwrap()
            .kind(),
        ErrorKind::WrongPassword
    );
    assert!(KeySlot::decode(&good).is_err(), "a credential is no slot");
}

#[test]
fn the_owners_domain_gets_no_credential() {
    let (ring, anchor, _) = hosts();
    let features = Features::of_new_repository();
    for (domain, kind) in [(0, ErrorKind::Usage), (9, ErrorKind::WrongKey)] {
        let made = Credential::of(&ring, DomainId(domain), anchor, features, Parameters::default());
        assert_eq!(made.err().unwrap().kind(), kind);
    }
}

/// What a host seals the owner opens, and neither it nor another host can.
#[test]
fn a_host_cannot_open_what_it_sealed_and_the_owner_can() {
    let (ring, anchor, mut entropy) = hosts();
    let [host, other] = [1, 2].map(|domain| credential(&ring, anchor, domain));
    let snapshot = host
        .seal_object(
            ObjectClass::Snapshot,
            DomainId(1),
            b"",
            b"all that I have",
            &mut entropy,
        )
        .unwrap();
    let id = object_id(&snapshot);
    let opened = ring.open_object(ObjectClass::Snapshot, &id, &snapshot).unwrap();
    assert_eq!(
        (&opened.plain[..], opened.header.domain),
        (&b"all that I have"[..], DomainId(1))
    );
    for keys in [&host, &other] {
        let refused = keys
            .open_object(ObjectClass::Snapshot, &id, &snapshot)
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Denied);
        // Whatever the program says: none of the five keys and no public one is the secret.
        let header = Header::decode(&snapshot).unwrap();
        for secret in [
            keys.domain().index_key().expose(),
            keys.domain().pre_shared_key().expose(),
            keys.domain().chunker_secret().expose(),
            keys.domain().set_digest_key().expose(),
            &header.ephemeral,
        ] {
            assert_eq!(
                envelope::open_key(&header, secret).err().unwrap().kind(),
                ErrorKind::WrongKey
            );
        }
    }
    let after_rotation = ring
        .successor(
            anchor.first_keyring,
            ring.slots().to_vec(),
            EpochChange::Rotate,
            NOW,
            &mut entropy,
        )
        .unwrap();
    assert!(
        after_rotation
            .open_object(ObjectClass::Snapshot, &id, &snapshot)
            .is_ok()
    );
}

#[test]
fn a_segment_is_opened_by_its_host_and_its_owner_and_no_other_host() {
    let (ring, anchor, mut entropy) = hosts();
    let [host, other] = [1, 2].map(|domain| credential(&ring, anchor, domain));
    let by_host = host.seal_object(
        ObjectClass::Index,
        DomainId(1),
        b"packs",
        b"entries",
        &mut entropy,
    );
    let by_owner = ring.seal_object(
        ObjectClass::Index,
        DomainId(1),
        b"packs",
        b"entries",
        &mut entropy,
    );
    for segment in [by_host.unwrap(), by_owner.unwrap()] {
        let id = object_id(&segment);
        assert_eq!(Header::decode(&segment).unwrap().scheme, KeyScheme::Domain);
        assert_eq!(
            ring.open_object(ObjectClass::Index, &id, &segment).unwrap().plain,
            b"entries"
        );
        assert_eq!(
            host.open_object(ObjectClass::Index, &id, &segment).unwrap().plain,
            b"entries"
        );
        assert_eq!(
            other
                .open_object(ObjectClass::Index, &id, &segment)
                .unwrap_err()
                .kind(),
            ErrorKind::Denied
        );
    }
    let owners = ring
        .seal_object(ObjectClass::Index, DomainId(0), b"", b"", &mut entropy)
        .unwrap();
    let refused = host.open_object(ObjectClass::Index, &object_id(&owners), &owners);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Denied);
}

#[test]
fn a_host_seals_nothing_in_the_owners_name_and_nothing_in_another_domain() {
    let (ring, anchor, mut entropy) = hosts();
    let host = credential(&ring, anchor, 1);
    let may = [ObjectClass::Index, ObjectClass::Snapshot, ObjectClass::Wal];
    for class in ObjectClass::ALL.iter().copied() {
        let own = host.seal_object(class, DomainId(1), b"", b"x", &mut entropy);
        assert_eq!(own.is_ok(), may.contains(&class), "{class:?}");
        for domain in [0, 2] {
            let error = host.seal_object(class, DomainId(domain), b"", b"x", &mut entropy);
            assert_eq!(
                error.unwrap_err().kind(),
                ErrorKind::Denied,
                "{class:?} in {domain}"
            );
        }
    }
}
