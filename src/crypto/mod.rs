//! Keys, and the encryption of one message.
//!
//! Keys, and the encryption of one message. FORMAT.md sections 3 and 4 have the bytes.
//!
//! ```text
//! password --argon2id--> slot key --opens--> identity (X25519)
//! identity --X25519----> ring key --opens--> keyring: epoch keys, domains
//!   epoch key ‖ salt --derive_key(class)--> object key --ordinal as nonce--> sealed part
//!   domain: id key --derive_key(kind)--> blob names     index key, chunker secret, digest key, pre-shared key
//! ```
//!
//! **The nonce rule.** Every object has a salt of 32 random bytes and with it a key of its own; within an object
//! the nonce is the part's ordinal. So a (key, nonce) pair repeats only if one object seals two parts under one
//! ordinal, and [`crate::pack::PackBuilder`] hands out each ordinal once. What is sealed again gets a new salt.
//!
//! Knows nothing of files, of time, or of randomness it was not handed ([`Entropy`]).

pub mod aead;
pub mod derive;
pub mod entropy;
pub mod key_exchange;
pub mod secret;

#[cfg(test)]
mod tests;

pub use entropy::{Entropy, OsEntropy};
pub use secret::{CacheKey, ChunkerSecret, EpochKey, IndexKey, PreSharedKey, Secret32, SetDigestKey};

#[cfg(any(test, feature = "test-util"))]
pub use entropy::{SeededEntropy, seed_process};
