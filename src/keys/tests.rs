//! Goal: the right password opens, everything else is told apart: wrong password, wrong key, removed slot, damage,
//! forgery. Method: small rings with argon2id at no cost; every byte of every object is turned.

use super::*;
use crate::clock::UnixNanos;
use crate::crypto::SeededEntropy;
use crate::crypto::exchange::Identity;
use crate::envelope::{ObjectClass, object_id};
use crate::error::Kind;
use crate::id::{DomainId, ObjectId};

const NOW: UnixNanos = UnixNanos(1_795_000_000_000_000_000);

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
    let named = |keyring: &Keyring| {
        keyring
            .domain(DomainId(0))
            .unwrap()
            .blob_id(crate::blob::BlobKind::Leaf, b"x")
    };
    assert_eq!(named(&chosen.keyring), named(&founding.keyring));
}
