//! Opens the blobs of one pack.
//!
//! What opens one pack: its part key, and the domain that its blobs are named in.

use std::sync::Arc;

use crate::crypto::Entropy;
use crate::envelope::{Header, ObjectClass, PartKey};
use crate::error::{Error, Result, ResultExt};
use crate::id::DomainId;
use crate::keys::{Credential, DomainKeys, KeyAccess, Keyring, SealedToOwner};

/// Opens the blobs of one pack. Cheap to keep: some 200 bytes.
pub struct PackKey {
    pub(super) part: PartKey,
    pub(super) domain: Arc<DomainKeys>,
}

impl PackKey {
    /// The key of the stored pack that begins with these bytes ([`super::HEADER_LEN`] are enough).
    /// [`crate::error::ErrorKind::WrongKey`] if the keyring does not hold it.
    pub fn open(keyring: &Keyring, first_bytes: &[u8]) -> Result<Self> {
        let open = || -> Result<_> {
            let header = decode_header(first_bytes)?;
            Ok(PackKey {
                part: keyring.open_key(ObjectClass::Pack, &header)?,
                domain: Arc::clone(keyring.domain(header.domain)?),
            })
        };
        open().context(|| "read pack header")
    }

    /// The key of a finished pack that this process sealed to the owner, by what is left of its ephemeral key.
    pub(super) fn reopen(sent: &SealedToOwner, credential: &Credential, first_bytes: &[u8]) -> Result<Self> {
        let header = decode_header(first_bytes)?;
        if header.domain == credential.domain().id() {
            Ok(PackKey {
                part: sent.open_key(ObjectClass::Pack, &header)?,
                domain: Arc::clone(credential.domain()),
            })
        } else {
            Err(Error::corrupt("a pack of another domain than the host's"))
        }
    }

    /// A fresh key for a new pack, and what opens it once more if it is sealed to somebody else.
    pub(super) fn new(
        holder: &KeyAccess,
        domain: DomainId,
        entropy: &mut dyn Entropy,
    ) -> Result<(Self, Option<SealedToOwner>)> {
        let keys = Arc::clone(holder.domain(domain)?);
        let (part, sent) = match holder {
            KeyAccess::Owner(keyring) => (keyring.new_key(ObjectClass::Pack, domain, entropy)?, None),
            KeyAccess::Host(credential) => {
                let (part, sent) = credential.new_key(ObjectClass::Pack, entropy)?;
                (part, Some(sent))
            }
        };
        Ok((PackKey { part, domain: keys }, sent))
    }

    /// The domain of the pack's blobs.
    pub fn domain(&self) -> &Arc<DomainKeys> {
        &self.domain
    }
}

fn decode_header(first_bytes: &[u8]) -> Result<Header> {
    let header = Header::decode(first_bytes)?;
    match header.clear_len {
        0 => Ok(header),
        _ => Err(Error::corrupt("a pack has no clear part")),
    }
}
