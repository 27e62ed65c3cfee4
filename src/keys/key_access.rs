//! Holds the keys of this process: the owner's or a write-only host's.
//!
//! Whose keys a process works with: the owner's, which open everything, or a write-only host's.
//!
//! The scheme of what is sealed follows from the holder; nobody chooses it. What takes the owner's keys asks for them
//! ([`KeyAccess::owner`]) and is refused before it has touched anything.

use std::sync::Arc;

use super::domain_keys::DomainKeys;
use super::host_credential::{Credential, refused_error};
use super::keyring::{Keyring, OpenedObject};
use crate::crypto::Entropy;
use crate::envelope::ObjectClass;
use crate::error::Result;
use crate::id::{DomainId, ObjectId};

/// The keys at hand. Clones share them.
#[derive(Clone)]
pub enum KeyAccess {
    /// All keys of the repository.
    Owner(Arc<Keyring>),
    /// Those of one domain, and the owner's public key.
    Host(Arc<Credential>),
}

impl KeyAccess {
    /// The owner's keys; [`crate::error::ErrorKind::Denied`] for a host.
    pub fn owner(&self) -> Result<&Arc<Keyring>> {
        match self {
            Self::Owner(keyring) => Ok(keyring),
            Self::Host(_) => Err(refused_error("read, delete or change what is stored")),
        }
    }

    /// Keys of a domain, if they are at hand.
    pub fn domain(&self, id: DomainId) -> Result<&Arc<DomainKeys>> {
        match self {
            Self::Owner(keyring) => keyring.domain(id),
            Self::Host(credential) if credential.domain().id() == id => Ok(credential.domain()),
            Self::Host(_) => Err(refused_error(format!("work in domain {}", id.0))),
        }
    }

    /// Seals an object of one part.
    pub fn seal_object(
        &self,
        class: ObjectClass,
        domain: DomainId,
        clear: &[u8],
        plain: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>> {
        match self {
            Self::Owner(keyring) => keyring.seal_object(class, domain, clear, plain, entropy),
            Self::Host(credential) => credential.seal_object(class, domain, clear, plain, entropy),
        }
    }

    /// Opens an object of one part that is stored as `id`.
    pub fn open_object(&self, class: ObjectClass, id: &ObjectId, bytes: &[u8]) -> Result<OpenedObject> {
        match self {
            Self::Owner(keyring) => keyring.open_object(class, id, bytes),
            Self::Host(credential) => credential.open_object(class, id, bytes),
        }
    }
}
