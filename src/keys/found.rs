//! A new repository's first objects, all at once.

use super::config::{Config, Parameters};
use super::keyring::{Keyring, SlotEntry};
use super::slot::{Anchor, OpenedSlot, Password, Slot, SlotCost};
use crate::clock::UnixNanos;
use crate::crypto::exchange::Identity;
use crate::crypto::{ChunkerSecret, Entropy};
use crate::envelope::object_id;
use crate::error::Result;
use crate::id::{ObjectId, RepositoryId};

/// What `init` stores: keyring, then slot, then config and its copy, which make it a repository.
pub struct Founding {
    /// The same bytes for `config` and `config.copy`.
    pub config: Vec<u8>,
    /// The first slot, with its name.
    pub slot: (ObjectId, Vec<u8>),
    /// The first keyring, with its name.
    pub first_keyring: (ObjectId, Vec<u8>),
    /// The keyring, open.
    pub keyring: Keyring,
    /// What the slot vouches for.
    pub anchor: Anchor,
}

/// Makes the objects of a new repository. Runs argon2id once.
pub fn found(
    parameters: &Parameters,
    password: &Password,
    cost: SlotCost,
    label: &str,
    now: UnixNanos,
    entropy: &mut dyn Entropy,
) -> Result<Founding> {
    found_like(parameters, password, cost, label, now, None, entropy)
}

/// The same; chunks are cut as by `chunker`, where there is one: another repository's, so that what is cut for one is
/// cut for both. Nothing else is shared (docs/decisions/0010-copy.md).
pub fn found_like(
    parameters: &Parameters,
    password: &Password,
    cost: SlotCost,
    label: &str,
    now: UnixNanos,
    chunker: Option<&ChunkerSecret>,
    entropy: &mut dyn Entropy,
) -> Result<Founding> {
    let repository = RepositoryId(entropy.salt()?);
    let identity = Identity::random(entropy)?;
    let entry = SlotEntry {
        public: identity.public(),
        created: now,
        label: label.to_owned(),
    };
    let mut keyring = Keyring::first(repository, entry, now, entropy)?;
    if let Some(chunker) = chunker {
        keyring = keyring.cutting_as(chunker)?;
    }
    let ring_bytes = keyring.seal(entropy)?;
    let anchor = Anchor {
        repository,
        first_keyring: object_id(&ring_bytes),
    };
    let slot = Slot::seal(&OpenedSlot { identity, anchor }, password, cost, now, entropy)?;
    let config = Config::seal(parameters, anchor, &keyring, now, entropy)?;
    Ok(Founding {
        config,
        slot: (object_id(&slot), slot),
        first_keyring: (anchor.first_keyring, ring_bytes),
        keyring,
        anchor,
    })
}
