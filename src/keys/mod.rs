//! Manages who can open a repository, and with which keys.
//!
//! Who may open a repository, and with what (FORMAT.md sections 4 and 5):
//!
//! ```text
//! password ──argon2id──▶ slot ──▶ identity, repository id, first keyring's hash (the anchor)
//!                                     │ X25519                 │ trusted, because the password vouches for it
//! keyring 0 ◀──MAC── keyring 1 ◀──MAC── keyring 2 ──▶ epoch keys, domains, slots
//! config: clear: features, repository id, first keyring's hash; sealed: parameters
//! ```
//!
//! A slot vouches for the hash of the first keyring; each keyring commits, in the clear, to its newest epoch key;
//! and each carries a MAC under its predecessor's. So whoever holds one password can follow the chain from the
//! first keyring to the newest without having been able to open those between, and a storage that holds no key
//! can neither plant a keyring nor a config. What a removed key holder can still do stands in THREATS.md.
//!
//! All pure: bytes, a password and randomness in, values out. The order in which the objects are written and
//! read belongs to `repo`.

pub mod config;
pub mod domain_keys;
#[cfg(any(test, feature = "test-util"))]
pub mod fuzz_entry;
pub mod host_credential;
pub mod initial_objects;
pub mod key_access;
pub mod key_slot;
pub mod keyring;
pub mod keyring_chain;
pub mod stored_keyring;

#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod credential_tests;
#[cfg(test)]
mod keyring_tests;
#[cfg(test)]
mod tests;

pub use config::{Config, CutSizes, Parameters};
pub use domain_keys::DomainKeys;
pub use host_credential::{Credential, SealedCredential, SealedToOwner};
pub use initial_objects::{InitialObjects, create_initial_objects, create_initial_objects_like};
pub use key_access::KeyAccess;
pub use key_slot::{KeySlot, OpenedSlot, Password, RepositoryAnchor, SlotCost};
pub use keyring::{Epoch, EpochChange, Keyring, OpenedObject, SlotEntry};
pub use keyring_chain::{CurrentKeyring, choose_current};
