//! Makes the first objects of a new repository.

use super::config::{Config, Parameters};
use super::key_slot::{KeySlot, OpenedSlot, Password, RepositoryAnchor, SlotCost};
use super::keyring::{Keyring, SlotEntry};
use crate::clock::UnixNanos;
use crate::crypto::key_exchange::SecretKey;
use crate::crypto::{ChunkerSecret, Entropy};
use crate::envelope::object_id;
use crate::error::Result;
use crate::id::{ObjectId, RepositoryId};

/// What `init` stores: keyring, then slot, then config and its copy, which make it a repository.
pub struct InitialObjects {
    /// The same bytes for `config` and `config.copy`.
    pub config: Vec<u8>,
    /// The first slot, with its name.
    pub slot: (ObjectId, Vec<u8>),
    /// The first keyring, with its name.
    pub first_keyring: (ObjectId, Vec<u8>),
    /// The keyring, open.
    pub keyring: Keyring,
    /// What the slot vouches for.
    pub anchor: RepositoryAnchor,
}

/// Makes the objects of a new repository. Runs argon2id once.
pub fn create_initial_objects(
    parameters: &Parameters,
    password: &Password,
    cost: SlotCost,
    label: &str,
    now: UnixNanos,
    entropy: &mut dyn Entropy,
) -> Result<InitialObjects> {
    create_initial_objects_like(parameters, password, cost, label, now, None, entropy)
}

/// The same; chunks are cut as by `chunker`, where there is one: another repository's, so that what is cut for one is
/// cut for both. Nothing else is shared (docs/decisions/0010-copy.md).
pub fn create_initial_objects_like(
    parameters: &Parameters,
    password: &Password,
    cost: SlotCost,
    label: &str,
    now: UnixNanos,
    chunker: Option<&ChunkerSecret>,
    entropy: &mut dyn Entropy,
) -> Result<InitialObjects> {
    let repository = RepositoryId(entropy.salt()?);
    let identity = SecretKey::random(entropy)?;
    let entry = SlotEntry {
        public: identity.public(),
        created: now,
        label: label.to_owned(),
    };
    let mut keyring = Keyring::first(repository, entry, now, entropy)?;
    if let Some(chunker) = chunker {
        keyring = keyring.with_chunker_secret_of(chunker)?;
    }
    let ring_bytes = keyring.seal(entropy)?;
    let anchor = RepositoryAnchor {
        repository,
        first_keyring: object_id(&ring_bytes),
    };
    let slot = KeySlot::seal(&OpenedSlot { identity, anchor }, password, cost, now, entropy)?;
    let config = Config::seal(parameters, anchor, &keyring, now, entropy)?;
    Ok(InitialObjects {
        config,
        slot: (object_id(&slot), slot),
        first_keyring: (anchor.first_keyring, ring_bytes),
        keyring,
        anchor,
    })
}
