//! Agrees on a key with the owner of a public key (X25519).
//!
//! X25519: an identity that others can seal to without a secret of their own.

use super::{Entropy, Secret32};
use crate::error::{Error, Result};

/// The half of an identity that everybody may know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PublicKey(pub [u8; 32]);

/// An X25519 secret key.
pub struct SecretKey(Secret32);

impl SecretKey {
    /// A new one.
    pub fn random(entropy: &mut dyn Entropy) -> Result<Self> {
        Ok(Self(Secret32::random(entropy)?))
    }

    /// One that was kept.
    pub fn from_secret(secret: Secret32) -> Self {
        Self(secret)
    }

    /// What is kept of it.
    pub fn secret(&self) -> &Secret32 {
        &self.0
    }

    /// The half to give away.
    pub fn public(&self) -> PublicKey {
        PublicKey(x25519_dalek::x25519(
            *self.0.expose(),
            x25519_dalek::X25519_BASEPOINT_BYTES,
        ))
    }

    /// The secret shared with `other`. An all-zero one (a `other` of small order, which only an attacker sends)
    /// is refused: it would be known to everybody.
    pub fn shared(&self, other: &PublicKey) -> Result<Secret32> {
        let mut shared = x25519_dalek::x25519(*self.0.expose(), other.0);
        let shared = Secret32::take(&mut shared);
        match shared.expose().iter().fold(0, |all, byte| all | byte) {
            0 => Err(Error::corrupt("public key gives an all-zero shared secret")),
            _ => Ok(shared),
        }
    }
}
