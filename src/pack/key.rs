//! What opens one pack: its part key, and the domain that its blobs are named in.

use std::sync::Arc;

use crate::crypto::Entropy;
use crate::envelope::{Header, ObjectClass, PartKey};
use crate::error::{Act, Error, Result};
use crate::id::DomainId;
use crate::keys::{DomainKeys, Keyring};

/// Opens the blobs of one pack. Cheap to keep: some 200 bytes.
pub struct PackKey {
    pub(super) part: PartKey,
    pub(super) domain: Arc<DomainKeys>,
}

impl PackKey {
    /// The key of the stored pack that begins with these bytes ([`super::HEADER_LEN`] are enough).
    /// [`crate::error::Kind::WrongKey`] if the keyring does not hold it.
    pub fn open(keyring: &Keyring, first_bytes: &[u8]) -> Result<Self> {
        let open = || -> Result<_> {
            let header = Header::decode(first_bytes)?;
            let part = keyring.open_key(ObjectClass::Pack, &header)?;
            match header.clear_len {
                0 => Ok(PackKey {
                    part,
                    domain: Arc::clone(keyring.domain(header.domain)?),
                }),
                _ => Err(Error::corrupt("a pack has no clear part")),
            }
        };
        open().act(|| "read pack header")
    }

    /// A fresh key for a new pack.
    pub(super) fn new(keyring: &Keyring, domain: DomainId, entropy: &mut dyn Entropy) -> Result<Self> {
        Ok(PackKey {
            part: keyring.new_key(ObjectClass::Pack, domain, entropy)?,
            domain: Arc::clone(keyring.domain(domain)?),
        })
    }

    /// The domain of the pack's blobs.
    pub fn domain(&self) -> &Arc<DomainKeys> {
        &self.domain
    }
}
