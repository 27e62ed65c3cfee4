//! Goal: our use of the primitives is the published one. Method: the RFCs' own vectors where the wrappers allow.

use super::key_exchange::{PublicKey, SecretKey};
use super::*;

fn hex<const N: usize>(text: &str) -> [u8; N] {
    data_encoding::HEXLOWER
        .decode(text.as_bytes())
        .unwrap()
        .try_into()
        .unwrap()
}

/// RFC 7748 section 6.1.
#[test]
fn two_identities_share_the_secret_of_the_rfc() {
    let identity = |secret: &str| SecretKey::from_secret(Secret32::take(&mut hex(secret)));
    let alice = identity("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob = identity("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    assert_eq!(
        alice.public().0,
        hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    );
    assert_eq!(
        bob.public().0,
        hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    );
    let secret = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert_eq!(*alice.shared(&bob.public()).unwrap().expose(), secret);
    assert_eq!(*bob.shared(&alice.public()).unwrap().expose(), secret);
}

#[test]
fn a_public_key_of_small_order_is_refused() {
    let identity = SecretKey::random(&mut SeededEntropy::new(1)).unwrap();
    let mut one = [0; 32];
    one[0] = 1;
    for small in [[0; 32], one] {
        assert!(identity.shared(&PublicKey(small)).is_err());
    }
}

#[test]
fn taking_a_secret_wipes_where_it_came_from() {
    let mut bytes = [9; 32];
    let secret = Secret32::take(&mut bytes);
    assert_eq!((bytes, secret.expose()), ([0; 32], &[9; 32]));
}

#[test]
fn the_nonce_is_the_ordinal_and_each_gives_another_text() {
    let key = Secret32::from_slice(&[1; 32]);
    let seal = |ordinal| {
        let mut buffer = b"clear same".to_vec();
        aead::seal(&key, ordinal, b"aad", &mut buffer, 5).unwrap();
        buffer
    };
    let texts: std::collections::BTreeSet<Vec<u8>> = [0, 1, 256, 1 << 16, u32::MAX].map(seal).into();
    assert_eq!(texts.len(), 5);
    assert!(
        texts
            .iter()
            .all(|text| text.starts_with(b"clear") && text.len() == 5 + 5 + aead::TAG_LEN)
    );
    assert_eq!(aead::open(&key, 256, b"aad", &seal(256)[5..]).unwrap(), b" same");
    for (ordinal, aad) in [(255, &b"aad"[..]), (256, b"aaD")] {
        assert!(aead::open(&key, ordinal, aad, &seal(256)[5..]).is_err());
    }
    assert!(aead::open(&key, 0, b"", &[0; 15]).is_err());
}

#[test]
fn the_systems_entropy_does_not_repeat() {
    assert_ne!(OsEntropy.salt().unwrap(), OsEntropy.salt().unwrap());
}
