//! Goal: the right password opens, everything else is told apart: wrong password, wrong key, removed slot, damage,
//! forgery. Method: small rings with argon2id at no cost; every byte of every object is turned.

use super::ring::StoredRing;
use super::*;
use crate::clock::UnixNanos;
use crate::crypto::exchange::{Identity, PublicKey};
use crate::crypto::{Entropy, PreSharedKey, SeededEntropy};
use crate::document::assert_example;
use crate::envelope::{self, Access, Header, KeyScheme, ObjectClass, object_id};
use crate::error::{Kind, Result};
use crate::id::{DomainId, EpochId, ObjectId, RepositoryId};
use crate::kind::BlobKind;

const CONFIG_AND_SLOTS: &str = include_str!("../../docs/format/04-config-and-slots.md");
const KEYRING: &str = include_str!("../../docs/format/05-keyring.md");
const NOW: UnixNanos = UnixNanos(1_795_000_000_000_000_000);

type Stored = (ObjectId, Vec<u8>);

fn password(text: &str) -> Password {
    Password::new(text.as_bytes().to_vec())
}

fn founded(seed: u64) -> Founding {
    let mut entropy = SeededEntropy::new(seed);
    let parameters = Parameters::default();
    found(
        &parameters,
        &password("secret"),
        SlotCost::cheap(),
        "first",
        NOW,
        &mut entropy,
    )
    .unwrap()
}

fn opened(founding: &Founding) -> OpenedSlot {
    Slot::decode(&founding.slot.1)
        .unwrap()
        .unlock(&password("secret"))
        .unwrap()
}

fn entry(identity: &Identity, label: &str) -> SlotEntry {
    SlotEntry {
        public: identity.public(),
        created: NOW,
        label: label.to_owned(),
    }
}

fn stored(keyring: &Keyring, entropy: &mut SeededEntropy) -> Stored {
    let bytes = keyring.seal(entropy).unwrap();
    (object_id(&bytes), bytes)
}

/// Three rings: the founder's; one that adds a friend; one that removes the founder and begins a new epoch.
struct Story {
    anchor: Anchor,
    founder: Identity,
    friend: Identity,
    rings: [Stored; 3],
    entropy: SeededEntropy,
}

fn story() -> Story {
    let founding = founded(1);
    let OpenedSlot {
        identity: founder,
        anchor,
    } = opened(&founding);
    let mut entropy = SeededEntropy::new(2);
    let friend = Identity::random(&mut entropy).unwrap();
    let slots = vec![entry(&founder, "founder"), entry(&friend, "friend")];
    let first = founding.first_keyring;
    let added = founding
        .keyring
        .successor(first.0, slots, EpochChange::Keep, NOW, &mut entropy)
        .unwrap();
    let second = stored(&added, &mut entropy);
    let slots = vec![entry(&friend, "friend")];
    let removed = added
        .successor(second.0, slots, EpochChange::Rotate, NOW, &mut entropy)
        .unwrap();
    let third = stored(&removed, &mut entropy);
    Story {
        anchor,
        founder,
        friend,
        rings: [first, second, third],
        entropy,
    }
}

#[test]
fn a_password_leads_to_keyring_and_parameters() {
    let founding = founded(1);
    let config = Config::decode(&founding.config).unwrap();
    let slot = opened(&founding);
    assert_eq!((slot.anchor, config.anchor), (founding.anchor, founding.anchor));
    let chosen = choose(&slot.anchor, &slot.identity, &[founding.first_keyring]).unwrap();
    assert_eq!(chosen.unusable, []);
    assert_eq!(chosen.keyring.slots()[0].label, "first");
    assert_eq!(
        config.open(&chosen.keyring, &slot.anchor).unwrap(),
        Parameters::default()
    );
    let named = |keyring: &Keyring| keyring.domain(DomainId(0)).unwrap().blob_id(BlobKind::Leaf, b"x");
    assert_eq!(named(&chosen.keyring), named(&founding.keyring));
}

#[test]
fn a_wrong_password_is_told_from_a_damaged_slot() {
    let founding = founded(1);
    let slot = Slot::decode(&founding.slot.1).unwrap();
    for wrong in ["", "secre", "secret ", "Secret"] {
        assert_eq!(
            slot.unlock(&password(wrong)).err().unwrap().kind(),
            Kind::WrongPassword
        );
    }
    let mut damaged = founding.slot.1;
    damaged[130] ^= 1;
    assert_eq!(Slot::decode(&damaged).err().unwrap().kind(), Kind::Corrupt);
}

#[test]
fn every_byte_of_a_slot_a_config_and_a_keyring_matters() {
    let founding = founded(1);
    let OpenedSlot { identity, anchor } = opened(&founding);
    let slot = |bytes: &[u8]| Slot::decode(bytes)?.unlock(&password("secret")).map(drop);
    let config = |bytes: &[u8]| Config::decode(bytes)?.open(&founding.keyring, &anchor).map(drop);
    let (id, ring) = &founding.first_keyring;
    let keyring = |bytes: &[u8]| choose(&anchor, &identity, &[(*id, bytes.to_vec())]).map(drop);
    every_byte_matters(&founding.slot.1, slot);
    every_byte_matters(&founding.config, config);
    every_byte_matters(ring, keyring);
}

/// Turned bytes whose checksum, name or MAC was made anew: what somebody without keys can do.
#[test]
fn every_byte_matters_to_the_keys_and_not_only_to_checksums() {
    let founding = founded(1);
    let OpenedSlot { identity, anchor } = opened(&founding);
    let resummed = |bytes: &[u8]| {
        let mut body = bytes[..bytes.len() - 32].to_vec();
        super::slot::append_checksum(&mut body);
        body
    };
    let body_len = founding.slot.1.len() - 32;
    for at in 0..body_len {
        let mut turned = founding.slot.1.clone();
        turned[at] ^= 1;
        let unlocked = Slot::decode(&resummed(&turned)).and_then(|slot| slot.unlock(&password("secret")));
        assert!(unlocked.is_err(), "slot byte {at}");
    }
    for at in 0..founding.config.len() - 32 {
        let mut turned = founding.config.clone();
        turned[at] ^= 1;
        let opened =
            Config::decode(&resummed(&turned)).and_then(|config| config.open(&founding.keyring, &anchor));
        assert!(opened.is_err(), "config byte {at}");
    }
    for at in 0..founding.first_keyring.1.len() {
        let mut turned = founding.first_keyring.1.clone();
        turned[at] ^= 1;
        assert!(
            choose(&anchor, &identity, &[(object_id(&turned), turned)]).is_err(),
            "keyring byte {at}"
        );
    }
}

fn every_byte_matters(bytes: &[u8], open: impl Fn(&[u8]) -> Result<()>) {
    open(bytes).unwrap();
    for at in 0..bytes.len() {
        let mut turned = bytes.to_vec();
        turned[at] ^= 1 << (at % 8);
        assert!(open(&turned).is_err(), "byte {at}");
        assert!(open(&bytes[..at]).is_err(), "cut at {at}");
    }
    assert!(open(&[bytes, &[0]].concat()).is_err(), "one byte more");
}

#[test]
fn argon2_parameters_are_bounded_before_they_are_run() {
    let cheap = SlotCost::cheap();
    let wrong = [
        SlotCost {
            memory_kib: (1 << 20) + 1,
            ..cheap
        },
        SlotCost {
            memory_kib: u32::MAX,
            ..cheap
        },
        SlotCost {
            memory_kib: 7,
            ..cheap
        },
        SlotCost { passes: 0, ..cheap },
        SlotCost { passes: 65, ..cheap },
        SlotCost { lanes: 0, ..cheap },
        SlotCost {
            lanes: 17,
            memory_kib: 1 << 10,
            ..cheap
        },
        SlotCost {
            lanes: u32::MAX,
            ..cheap
        },
    ];
    let founding = founded(1);
    for cost in wrong {
        let mut entropy = SeededEntropy::new(1);
        let sealed = Slot::seal(&opened(&founding), &password("secret"), cost, NOW, &mut entropy);
        assert_eq!(sealed.unwrap_err().kind(), Kind::Limit, "{cost:?}");
        let mut planted = founding.slot.1[..founding.slot.1.len() - 32].to_vec();
        for (at, number) in [(124, cost.memory_kib), (128, cost.passes), (132, cost.lanes)] {
            planted[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        super::slot::append_checksum(&mut planted);
        assert_eq!(
            Slot::decode(&planted).err().unwrap().kind(),
            Kind::Limit,
            "{cost:?}"
        );
    }
}

#[test]
fn the_default_cost_is_the_documented_one() {
    assert_eq!(
        SlotCost::default(),
        SlotCost {
            memory_kib: 65536,
            passes: 3,
            lanes: 1
        }
    );
}

#[test]
fn a_slot_added_later_follows_the_chain_it_cannot_open() {
    let story = story();
    assert!(
        StoredRing::parse(&story.rings[0].1)
            .unwrap()
            .open(&story.friend)
            .is_err()
    );
    let chosen = choose(&story.anchor, &story.friend, &story.rings).unwrap();
    assert_eq!((chosen.keyring.generation(), chosen.id), (2, story.rings[2].0));
    assert_eq!(chosen.keyring.newest().id, EpochId(2));
    let founder = choose(&story.anchor, &story.founder, &story.rings[..2]).unwrap();
    let sealed = founder
        .keyring
        .seal_object(
            ObjectClass::Note,
            DomainId(0),
            b"",
            b"old",
            &mut SeededEntropy::new(99),
        )
        .unwrap();
    let id = object_id(&sealed);
    assert_eq!(
        chosen
            .keyring
            .open_object(ObjectClass::Note, &id, &sealed)
            .unwrap()
            .plain,
        b"old"
    );
}

#[test]
fn a_removed_slot_is_told_so_and_cannot_open_what_is_written_after() {
    let story = story();
    let error = choose(&story.anchor, &story.founder, &story.rings).err().unwrap();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains("generation 2"), "{error}");
    let old = choose(&story.anchor, &story.founder, &story.rings[..2]).unwrap();
    let new = choose(&story.anchor, &story.friend, &story.rings).unwrap();
    let sealed = new
        .keyring
        .seal_object(
            ObjectClass::Note,
            DomainId(0),
            b"",
            b"new",
            &mut SeededEntropy::new(99),
        )
        .unwrap();
    let error = old
        .keyring
        .open_object(ObjectClass::Note, &object_id(&sealed), &sealed)
        .unwrap_err();
    assert_eq!(error.kind(), Kind::WrongKey);
}

#[test]
fn a_broken_chain_is_not_followed() {
    let story = story();
    let [first, second, third] = &story.rings;
    for stored in [
        vec![third.clone()],
        vec![first.clone(), third.clone()],
        vec![second.clone(), third.clone()],
    ] {
        assert!(choose(&story.anchor, &story.friend, &stored).is_err());
    }
    let mut damaged = story.rings.clone();
    damaged[2].1[300] ^= 1;
    let chosen = choose(&story.anchor, &story.friend, &damaged).unwrap();
    assert_eq!((chosen.keyring.generation(), chosen.unusable), (1, vec![third.0]));
}

/// A storage without keys knows every public key, and may seal a ring of its own making to them.
#[test]
fn a_ring_that_the_storage_made_is_not_chosen() {
    let mut story = story();
    let mut invent = |generation: u64, predecessor: ObjectId| {
        let slot = SlotEntry {
            public: story.friend.public(),
            created: NOW,
            label: String::new(),
        };
        let mut ring = Keyring::first(story.anchor.repository, slot, NOW, &mut story.entropy).unwrap();
        (ring.generation, ring.predecessor) = (generation, predecessor);
        stored(&ring, &mut story.entropy)
    };
    let invented = [
        invent(3, story.rings[2].0),
        invent(9, ObjectId([0; 32])),
        invent(u64::MAX, story.rings[2].0),
    ];
    let invented_first = invent(0, ObjectId([0; 32]));
    let all = [&story.rings[..], &invented, &[invented_first.clone()]].concat();
    let chosen = choose(&story.anchor, &story.friend, &all).unwrap();
    assert_eq!(chosen.id, story.rings[2].0);
    assert!(choose(&story.anchor, &story.friend, &[invented_first]).is_err());
}

/// Who was removed still holds the old epoch's key, and may fork the chain there; the true ring is longer, and
/// clients that have seen it refuse the fork by their high-water mark.
#[test]
fn of_two_unbroken_chains_the_higher_counts_and_of_equals_the_smaller_name() {
    let mut story = story();
    let second = StoredRing::parse(&story.rings[1].1)
        .unwrap()
        .open(&story.friend)
        .unwrap();
    let slots = || vec![entry(&story.friend, "friend")];
    let fork = |entropy: &mut SeededEntropy| {
        second
            .successor(story.rings[1].0, slots(), EpochChange::Rotate, NOW, entropy)
            .unwrap()
    };
    let fork = fork(&mut story.entropy);
    let forked = stored(&fork, &mut story.entropy);
    let both = [&story.rings[..], &[forked.clone()]].concat();
    let chosen = choose(&story.anchor, &story.friend, &both).unwrap();
    assert_eq!(chosen.id, forked.0.min(story.rings[2].0));
    let next = fork
        .successor(forked.0, slots(), EpochChange::Keep, NOW, &mut story.entropy)
        .unwrap();
    let longer = [&both[..], &[stored(&next, &mut story.entropy)]].concat();
    assert_eq!(
        choose(&story.anchor, &story.friend, &longer)
            .unwrap()
            .keyring
            .generation(),
        3
    );
}

#[test]
fn a_config_that_the_password_does_not_vouch_for_is_refused() {
    let (ours, theirs) = (founded(1), founded(2));
    let config = Config::decode(&theirs.config).unwrap();
    let anchor = opened(&ours).anchor;
    assert_eq!(
        config.open(&theirs.keyring, &anchor).unwrap_err().kind(),
        Kind::Corrupt
    );
    let config = Config::decode(&ours.config).unwrap();
    assert_eq!(
        config.open(&theirs.keyring, &anchor).unwrap_err().kind(),
        Kind::WrongKey
    );
}

#[test]
fn parameters_outside_the_limits_are_refused() {
    let good = Parameters::default();
    let wrong = [
        Parameters {
            pack_bytes: 0,
            ..good
        },
        Parameters {
            pack_bytes: u32::MAX,
            ..good
        },
        Parameters {
            chunk: CutSizes { min: 0, ..good.chunk },
            ..good
        },
        Parameters {
            chunk: CutSizes { max: 1, ..good.chunk },
            ..good
        },
        Parameters {
            leaf: CutSizes {
                max: u32::MAX,
                ..good.leaf
            },
            ..good
        },
    ];
    for parameters in wrong {
        assert_eq!(parameters.check().unwrap_err().kind(), Kind::Limit);
    }
}

#[test]
fn a_repository_from_the_future_is_refused_by_its_config() {
    let founding = founded(1);
    let mut body = founding.config[..founding.config.len() - 32].to_vec();
    body[Header::LEN + 1] = 1;
    body[Header::LEN + 25..Header::LEN + 31].copy_from_slice(&[0, 0, 7, 0, 1, 0]);
    super::slot::append_checksum(&mut body);
    let error = Config::decode(&body).unwrap_err();
    assert_eq!(error.kind(), Kind::TooNew);
    assert!(
        error.to_string().contains("install levault 0.7.1 or later"),
        "{error}"
    );
    assert!(
        Config::decode(&founding.config)
            .unwrap()
            .features
            .gate(Access::Delete)
            .is_ok()
    );
}

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
    let founding = founded(1);
    let keyring = &founding.keyring;
    let mut entropy = SeededEntropy::new(5);
    let sender = Identity::random(&mut entropy).unwrap();
    let domain = keyring.domain(DomainId(0)).unwrap();
    let seal = |pre_shared: &PreSharedKey, repository: RepositoryId, recipient: PublicKey| {
        let secret = super::keyring::sent_secret(&sender, &recipient, pre_shared, &repository).unwrap();
        let header = Header {
            scheme: KeyScheme::Exchange,
            ephemeral: sender.public().0,
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
        assert_eq!(error.kind(), Kind::WrongKey);
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
    let founding = founded(1);
    let host_key = founding.keyring.domain(DomainId(0)).unwrap().index_key().expose();
    for class in ObjectClass::ALL
        .iter()
        .filter(|class| **class != ObjectClass::Index)
    {
        let header = Header {
            scheme: KeyScheme::Domain,
            epoch: EpochId(0),
            ..sample_header(*class)
        };
        assert!(founding.keyring.secret_of(&header).is_err(), "{class:?}");
    }
    use ObjectClass::{Pack, Snapshot, Wal};
    for class in ObjectClass::ALL
        .iter()
        .filter(|class| ![Pack, Snapshot, Wal].contains(class))
    {
        let header = Header {
            scheme: KeyScheme::Exchange,
            ephemeral: [9; 32],
            ..sample_header(*class)
        };
        assert_eq!(
            founding.keyring.secret_of(&header).unwrap_err().kind(),
            Kind::Corrupt,
            "{class:?}"
        );
    }
    let header = Header {
        scheme: KeyScheme::Domain,
        epoch: EpochId(0),
        ..sample_header(ObjectClass::Index)
    };
    let bytes = envelope::seal_one(header, host_key, b"packs", b"entries").unwrap();
    let opened = founding
        .keyring
        .open_object(ObjectClass::Index, &object_id(&bytes), &bytes)
        .unwrap();
    assert_eq!(
        (&opened.clear[..], &opened.plain[..]),
        (&b"packs"[..], &b"entries"[..])
    );
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
            Kind::Corrupt
        );
    }
    let other = founded(2).keyring;
    assert_eq!(
        other
            .open_object(ObjectClass::Note, &id, &bytes)
            .unwrap_err()
            .kind(),
        Kind::WrongKey
    );
    assert!(
        keyring
            .seal_object(ObjectClass::Note, DomainId(1), b"", b"", &mut entropy)
            .is_err()
    );
}

#[test]
fn the_documented_objects_open() {
    let founding = founded(1);
    assert_example(CONFIG_AND_SLOTS, "config", &founding.config);
    assert_example(CONFIG_AND_SLOTS, "slot", &founding.slot.1);
    assert_example(KEYRING, "keyring", &founding.first_keyring.1);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_a_decoder_of_keys_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..500),
        at: usize,
    ) {
        let _ = (doors::keyring_body(&bytes), doors::parameters(&bytes), doors::slot_payload(&bytes));
        let _ = (Slot::decode(&bytes), Config::decode(&bytes), StoredRing::parse(&bytes));
        let mut ring = crate::document::example(KEYRING, "keyring");
        let at = at % ring.len();
        let end = (at + bytes.len()).min(ring.len());
        ring.splice(at..end, bytes);
        let _ = StoredRing::parse(&ring);
    }
}
