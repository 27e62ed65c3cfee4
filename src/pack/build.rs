//! Sealed blobs → a finished pack.
//!
//! Sealing is the dear part and is done by many threads at once, before it is known in which order the blobs will
//! lie; appending is a copy. [`PackSealer`] gives every blob it seals the next ordinal, which is the nonce, and
//! there is no other way to seal under its key: so no nonce is used twice, whatever is retried or left out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::directory;
use super::key::PackKey;
use super::verify::{verify, verify_sent};
use super::{Pack, PackedBlob};
use crate::blob::{NamedBlob, SealedName};
use crate::compress::Compressor;
use crate::crypto::Entropy;
use crate::envelope::{Header, PART_OVERHEAD, object_id};
use crate::error::{Act, Error, Kind, Result};
use crate::id::DomainId;
use crate::keys::{Holder, Keyring, Sent};
use crate::limits::{BLOB_BYTES_MAX, PACK_BLOBS_MAX, PACK_STORED_BYTES_MAX};

/// Seals blobs for one pack, from any number of threads.
pub struct PackSealer {
    key: PackKey,
    next_ordinal: AtomicU32,
}

impl PackSealer {
    /// Compresses and seals one blob.
    pub fn seal<P: AsRef<[u8]>>(
        &self,
        blob: &NamedBlob<P>,
        compressor: &mut Compressor,
    ) -> Result<SealedBlob> {
        self.seal_next(blob, compressor)
            .act(|| format!("seal blob {}", blob.id().short()))
    }

    fn seal_next<P: AsRef<[u8]>>(
        &self,
        blob: &NamedBlob<P>,
        compressor: &mut Compressor,
    ) -> Result<SealedBlob> {
        let name = SealedName {
            id: blob.id(),
            kind: blob.kind(),
            plain_len: plain_len(blob.plain())?,
            ordinal: self.take_ordinal()?,
        };
        let (codec, packed) = compressor.compress(blob.plain())?;
        let mut bytes = Vec::with_capacity(packed.len() + PART_OVERHEAD);
        self.key.part.seal(&name.part(), codec, packed, &[], &mut bytes)?;
        let header = *self.key.part.header();
        Ok(SealedBlob { name, header, bytes })
    }

    /// Each once; the bound also keeps the directory's ordinal out of reach.
    fn take_ordinal(&self) -> Result<u32> {
        let full = || Error::new(Kind::Limit, format!("a pack holds {PACK_BLOBS_MAX} blobs"));
        let next = |ordinal: u32| ((ordinal as usize) < PACK_BLOBS_MAX).then_some(ordinal + 1);
        self.next_ordinal
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .map_err(|_| full())
    }
}

fn plain_len(plain: &[u8]) -> Result<u32> {
    let bounded = u32::try_from(plain.len())
        .ok()
        .filter(|len| *len as usize <= BLOB_BYTES_MAX);
    bounded.ok_or_else(|| {
        Error::new(
            Kind::Limit,
            format!("{} bytes pass {BLOB_BYTES_MAX}", plain.len()),
        )
    })
}

/// A blob ready for the pack whose sealer made it.
pub struct SealedBlob {
    name: SealedName,
    header: [u8; Header::LEN],
    bytes: Vec<u8>,
}

impl SealedBlob {
    /// Which blob it is.
    pub fn name(&self) -> &SealedName {
        &self.name
    }

    /// What will be stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A pack being filled.
pub struct PackBuilder {
    sealer: Arc<PackSealer>,
    sent: Option<Sent>,
    bytes: Vec<u8>,
    directory: Vec<PackedBlob>,
}

impl PackBuilder {
    /// An empty pack under a fresh key. What `bytes` held is dropped, its room is used: new memory costs a page
    /// fault every 4 KiB.
    pub fn new(
        keyring: &Arc<Keyring>,
        domain: DomainId,
        bytes: Vec<u8>,
        entropy: &mut dyn Entropy,
    ) -> Result<Self> {
        Self::held_by(&Holder::Owner(Arc::clone(keyring)), domain, bytes, entropy)
    }

    /// The same by whoever writes: a write-only host seals it to the owner, with an ephemeral key that goes with the
    /// finished pack.
    pub fn held_by(
        holder: &Holder,
        domain: DomainId,
        mut bytes: Vec<u8>,
        entropy: &mut dyn Entropy,
    ) -> Result<Self> {
        let (key, sent) = PackKey::new(holder, domain, entropy)?;
        bytes.clear();
        bytes.extend_from_slice(key.part.header());
        let sealer = Arc::new(PackSealer {
            key,
            next_ordinal: AtomicU32::new(0),
        });
        Ok(PackBuilder {
            sealer,
            sent,
            bytes,
            directory: Vec::new(),
        })
    }

    /// Seals blobs for this pack; to be handed to the threads that do.
    pub fn sealer(&self) -> &Arc<PackSealer> {
        &self.sealer
    }

    /// Adds a blob at the end, and says where it lies. Order is the caller's.
    pub fn append(&mut self, sealed: SealedBlob) -> Result<PackedBlob> {
        if sealed.header != *self.sealer.key.part.header() {
            return Err(Error::new(Kind::Usage, "blob was sealed for another pack"));
        }
        let end = self.bytes.len() as u64 + sealed.bytes.len() as u64;
        let room = directory::stored_len(self.directory.len() + 1) as u64;
        if end + room > PACK_STORED_BYTES_MAX {
            return Err(Error::new(
                Kind::Limit,
                format!("pack passes {PACK_STORED_BYTES_MAX} bytes"),
            ));
        }
        let SealedName {
            id,
            kind,
            ordinal,
            plain_len,
        } = sealed.name;
        // Both fit: the limit is below 4 GiB.
        let (offset, len) = (self.bytes.len() as u32, sealed.bytes.len() as u32);
        let packed = PackedBlob {
            id,
            kind,
            ordinal,
            offset,
            len,
            plain_len,
        };
        self.bytes.extend_from_slice(&sealed.bytes);
        self.directory.push(packed);
        Ok(packed)
    }

    /// Bytes it would have if it were finished now.
    pub fn len(&self) -> usize {
        self.bytes.len() + directory::stored_len(self.directory.len())
    }

    /// Blobs appended so far.
    pub fn blobs(&self) -> usize {
        self.directory.len()
    }

    /// True while nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.directory.is_empty()
    }

    /// Seals the directory, closes the pack and names it.
    pub fn finish(self) -> Result<Pack> {
        self.close().map(ClosedPack::name)
    }

    /// Seals the directory and closes the pack. Naming is a pass over all its bytes, left to who has the time.
    pub fn close(mut self) -> Result<ClosedPack> {
        directory::append(&self.sealer.key, &self.directory, &mut self.bytes).act(|| "finish pack")?;
        Ok(ClosedPack {
            sent: self.sent,
            bytes: self.bytes,
            directory: self.directory,
        })
    }
}

/// A pack that is complete but for its name.
pub struct ClosedPack {
    sent: Option<Sent>,
    bytes: Vec<u8>,
    directory: Vec<PackedBlob>,
}

impl ClosedPack {
    /// Hashes its bytes.
    pub fn name(self) -> Pack {
        self.take_sent().0
    }

    /// The same, opened and compared before anybody gets it ([`super::verify()`]). Then nothing is left by which a
    /// write-only host could open it.
    pub fn name_and_verify(self, holder: &Holder) -> Result<Pack> {
        let (pack, sent) = self.take_sent();
        match (holder, &sent) {
            (Holder::Owner(keyring), _) => verify(keyring, &pack)?,
            (Holder::Host(credential), Some(sent)) => verify_sent(sent, credential, &pack)?,
            (Holder::Host(_), None) => {
                return Err(Error::new(Kind::Usage, "pack was sealed by somebody else"));
            }
        }
        Ok(pack)
    }

    fn take_sent(self) -> (Pack, Option<Sent>) {
        let pack = Pack {
            id: object_id(&self.bytes),
            bytes: self.bytes,
            directory: self.directory,
        };
        (pack, self.sent)
    }
}
