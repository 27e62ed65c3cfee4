//! Holds the keys of a dedup domain.
//!
//! A dedup domain: the keys that hosts share who may find one another's blobs.

use crate::codec::{Reader, put_prefixed};
use crate::crypto::{
    CacheKey, ChunkerSecret, Entropy, IndexKey, PreSharedKey, Secret32, SetDigestKey, derive,
};
use crate::envelope::{self, Header, KeyScheme, ObjectClass};
use crate::error::{Error, Result};
use crate::id::{BlobId, DomainId, EpochId};
use crate::kind::BlobKind;
use crate::limits::LABEL_BYTES_MAX;

/// The domain of all who hold the keyring.
pub(super) const OWNERS: DomainId = DomainId(0);

/// The keys of one domain. They never rotate: ids must stay comparable.
pub struct DomainKeys {
    id: DomainId,
    label: String,
    id_key: Secret32,
    kind_keys: [Secret32; BlobKind::ALL.len()],
    index_key: IndexKey,
    cache_key: CacheKey,
    chunker_secret: ChunkerSecret,
    set_digest_key: SetDigestKey,
    pre_shared_key: PreSharedKey,
}

impl DomainKeys {
    /// A new domain. `label` is for people: a host's name; empty for the owner's.
    pub fn random(id: DomainId, label: &str, entropy: &mut dyn Entropy) -> Result<Self> {
        Ok(Self::assemble(
            id,
            checked_label(label)?,
            Secret32::random(entropy)?,
            IndexKey::random(entropy)?,
            ChunkerSecret::random(entropy)?,
            SetDigestKey::random(entropy)?,
            PreSharedKey::random(entropy)?,
        ))
    }

    /// The same domain with another chunker secret. (Only before anything was cut by the old one.)
    pub(super) fn cutting_as(&self, chunker: &ChunkerSecret) -> Self {
        Self::assemble(
            self.id,
            self.label.clone(),
            self.id_key.clone(),
            self.index_key.clone(),
            chunker.clone(),
            self.set_digest_key.clone(),
            self.pre_shared_key.clone(),
        )
    }

    fn assemble(
        id: DomainId,
        label: String,
        id_key: Secret32,
        index_key: IndexKey,
        chunker_secret: ChunkerSecret,
        set_digest_key: SetDigestKey,
        pre_shared_key: PreSharedKey,
    ) -> Self {
        let cache = derive::derive("levault 2026-11 v1 cache key", &[index_key.expose()]);
        Self {
            id,
            label,
            kind_keys: BlobKind::ALL.map(|kind| {
                derive::derive(
                    "levault 2026-11 v1 blob id key",
                    &[id_key.expose(), &[kind as u8]],
                )
            }),
            id_key,
            cache_key: CacheKey::from_slice(cache.expose()),
            index_key,
            chunker_secret,
            set_digest_key,
            pre_shared_key,
        }
    }

    /// The domain's number.
    pub fn id(&self) -> DomainId {
        self.id
    }

    /// What people call it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The name of a blob: keyed BLAKE3 of its plain bytes under the key of its kind.
    pub fn blob_id(&self, kind: BlobKind, plain: &[u8]) -> BlobId {
        let key = &self.kind_keys[kind as usize - 1];
        BlobId(*blake3::keyed_hash(key.expose(), plain).as_bytes())
    }

    /// Seals index segments of write-only domains.
    pub fn index_key(&self) -> &IndexKey {
        &self.index_key
    }

    /// Authenticates and encrypts the local cache of this domain.
    pub fn cache_key(&self) -> &CacheKey {
        &self.cache_key
    }

    /// Decides where chunks are cut.
    pub fn chunker_secret(&self) -> &ChunkerSecret {
        &self.chunker_secret
    }

    /// Keys the record hashes of set digests.
    pub fn set_digest_key(&self) -> &SetDigestKey {
        &self.set_digest_key
    }

    /// What the owner and a write-only host share.
    pub fn pre_shared_key(&self) -> &PreSharedKey {
        &self.pre_shared_key
    }

    /// An index segment of this domain under its index key, which the owner and the domain's host both hold (scheme 2).
    pub(super) fn seal_segment(
        &self,
        clear: &[u8],
        plain: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>> {
        let header = Header {
            class: ObjectClass::Index,
            scheme: KeyScheme::Domain,
            epoch: EpochId(0),
            domain: self.id,
            clear_len: 0,
            ephemeral: [0; 32],
            salt: entropy.salt()?,
            commitment: [0; 32],
        };
        envelope::seal_one(header, self.index_key.expose(), clear, plain)
    }

    /// Number, label, five secrets; the derived keys are derived again.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0.to_le_bytes());
        put_prefixed(out, self.label.as_bytes());
        out.extend_from_slice(self.id_key.expose());
        out.extend_from_slice(self.index_key.expose());
        out.extend_from_slice(self.chunker_secret.expose());
        out.extend_from_slice(self.set_digest_key.expose());
        out.extend_from_slice(self.pre_shared_key.expose());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self::assemble(
            DomainId(reader.u32()?),
            read_label(reader)?,
            Secret32::take(&mut reader.array()?),
            IndexKey::take(&mut reader.array()?),
            ChunkerSecret::take(&mut reader.array()?),
            SetDigestKey::take(&mut reader.array()?),
            PreSharedKey::take(&mut reader.array()?),
        ))
    }
}

/// A label that is not too long.
pub(super) fn checked_label(label: &str) -> Result<String> {
    if label.len() <= LABEL_BYTES_MAX {
        Ok(label.to_owned())
    } else {
        Err(Error::new(
            crate::error::ErrorKind::Usage,
            format!(
                "a label of {} bytes passes the limit {LABEL_BYTES_MAX}",
                label.len()
            ),
        ))
    }
}

/// The inverse of `put_prefixed(checked_label(..))`.
pub(super) fn read_label(reader: &mut Reader<'_>) -> Result<String> {
    let len = reader.len_varint(LABEL_BYTES_MAX, "label length")?;
    let label = std::str::from_utf8(reader.bytes(len)?);
    label
        .map(str::to_owned)
        .map_err(|_| Error::corrupt("label is not UTF-8"))
}
