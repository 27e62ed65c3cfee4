//! Goal: the right password opens, everything else is told apart: wrong password, wrong key, removed slot, damage,
//! forgery. Method: small rings with argon2id at no cost; every byte of every object is turned.

use super::stored_keyring::StoredKeyring;
use super::*;
use crate::clock::UnixNanos;
use crate::crypto::SeededEntropy;
use crate::crypto::key_exchange::SecretKey;
use crate::document::assert_example;
use crate::envelope::{Access, Header, object_id};
use crate::error::{ErrorKind, Result};
use crate::id::{DomainId, ObjectId};
use crate::kind::BlobKind;

const CONFIG_AND_SLOTS: &str = include_str!("../../docs/format/04-config-and-slots.md");
const KEYRING: &str = include_str!("../../docs/format/05-keyring.md");
pub(super) const NOW: UnixNanos = UnixNanos(1_795_000_000_000_000_000);

pub(super) type Stored = (ObjectId, Vec<u8>);

fn password(text: &str) -> Password {
    Password::new(text.as_bytes().to_vec())
}

pub(super) fn founded(seed: u64) -> InitialObjects {
    let mut entropy = SeededEntropy::new(seed);
    let parameters = Parameters::default();
    create_initial_objects(
        &parameters,
        &password("secret"),
        SlotCost::cheap(),
        "first",
        NOW,
        &mut entropy,
    )
    .unwrap()
}

pub(super) fn opened(founding: &InitialObjects) -> OpenedSlot {
    KeySlot::decode(&founding.slot.1)
        .unwrap()
        .unlock(&password("secret"))
        .unwrap()
}

pub(super) fn entry(identity: &SecretKey, label: &str) -> SlotEntry {
    SlotEntry {
        public: identity.public(),
        created: NOW,
        label: label.to_owned(),
    }
}

pub(super) fn stored(keyring: &Keyring, entropy: &mut SeededEntropy) -> Stored {
    let bytes = keyring.seal(entropy).unwrap();
    (object_id(&bytes), bytes)
}

#[test]
fn a_password_leads_to_keyring_and_parameters() {
    let founding = founded(1);
    let config = Config::decode(&founding.config).unwrap();
    let slot = opened(&founding);
    assert_eq!((slot.anchor, config.anchor), (founding.anchor, founding.anchor));
    let chosen = choose_current(&slot.anchor, &slot.identity, &[founding.first_keyring]).unwrap();
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
    let slot = KeySlot::decode(&founding.slot.1).unwrap();
    for wrong in ["", "secre", "secret ", "Secret"] {
        assert_eq!(
            slot.unlock(&password(wrong)).err().unwrap().kind(),
            ErrorKind::WrongPassword
        );
    }
    let mut damaged = founding.slot.1;
    damaged[130] ^= 1;
    assert_eq!(
        KeySlot::decode(&damaged).err().unwrap().kind(),
        ErrorKind::Corrupt
    );
}

#[test]
fn every_byte_of_a_slot_a_config_and_a_keyring_matters() {
    let founding = founded(1);
    let OpenedSlot { identity, anchor } = opened(&founding);
    let slot = |bytes: &[u8]| KeySlot::decode(bytes)?.unlock(&password("secret")).map(drop);
    let config = |bytes: &[u8]| Config::decode(bytes)?.open(&founding.keyring, &anchor).map(drop);
    let (id, ring) = &founding.first_keyring;
    let keyring = |bytes: &[u8]| choose_current(&anchor, &identity, &[(*id, bytes.to_vec())]).map(drop);
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
        super::key_slot::append_checksum(&mut body);
        body
    };
    let body_len = founding.slot.1.len() - 32;
    for at in 0..body_len {
        let mut turned = founding.slot.1.clone();
        turned[at] ^= 1;
        let unlocked = KeySlot::decode(&resummed(&turned)).and_then(|slot| slot.unlock(&password("secret")));
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
            choose_current(&anchor, &identity, &[(object_id(&turned), turned)]).is_err(),
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
        let sealed = KeySlot::seal(&opened(&founding), &password("secret"), cost, NOW, &mut entropy);
        assert_eq!(sealed.unwrap_err().kind(), ErrorKind::Limit, "{cost:?}");
        let mut planted = founding.slot.1[..founding.slot.1.len() - 32].to_vec();
        for (at, number) in [(124, cost.memory_kib), (128, cost.passes), (132, cost.lanes)] {
            planted[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        super::key_slot::append_checksum(&mut planted);
        assert_eq!(
            KeySlot::decode(&planted).err().unwrap().kind(),
            ErrorKind::Limit,
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
            lanes: 4
        }
    );
}

#[test]
fn a_config_that_the_password_does_not_vouch_for_is_refused() {
    let (ours, theirs) = (founded(1), founded(2));
    let config = Config::decode(&theirs.config).unwrap();
    let anchor = opened(&ours).anchor;
    assert_eq!(
        config.open(&theirs.keyring, &anchor).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    let config = Config::decode(&ours.config).unwrap();
    assert_eq!(
        config.open(&theirs.keyring, &anchor).unwrap_err().kind(),
        ErrorKind::WrongKey
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
        assert_eq!(parameters.check().unwrap_err().kind(), ErrorKind::Limit);
    }
}

#[test]
fn a_repository_from_the_future_is_refused_by_its_config() {
    let founding = founded(1);
    let mut body = founding.config[..founding.config.len() - 32].to_vec();
    body[Header::LEN + 1] = 1;
    body[Header::LEN + 25..Header::LEN + 31].copy_from_slice(&[0, 0, 7, 0, 1, 0]);
    super::key_slot::append_checksum(&mut body);
    let error = Config::decode(&body).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooNew);
    assert!(
        error.to_string().contains("install levault 0.7.1 or later"),
        "{error}"
    );
    assert!(
        Config::decode(&founding.config)
            .unwrap()
            .features
            .version_gate(Access::Delete)
            .is_ok()
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
        let _ = (fuzz_entry::keyring_body(&bytes), fuzz_entry::parameters(&bytes), fuzz_entry::slot_payload(&bytes));
        let _ = (KeySlot::decode(&bytes), Config::decode(&bytes), StoredKeyring::parse(&bytes));
        let mut ring = crate::document::example(KEYRING, "keyring");
        let at = at % ring.len();
        let end = (at + bytes.len()).min(ring.len());
        ring.splice(at..end, bytes);
        let _ = StoredKeyring::parse(&ring);
    }
}
