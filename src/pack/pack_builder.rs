//! Builds packs from sealed blobs.
//!
//! [`PackBuilder`] gives every blob the next ordinal, which is the nonce, and a place; `seal_all` seals it there.
//! There is no other way to seal under the pack's key: so no nonce is used twice, whatever is retried or left out.

#[cfg(any(test, feature = "test-util"))]
use std::sync::Arc;

use super::pack_directory;
use super::pack_key::PackKey;
use super::pack_verifier::{verify, verify_sent};
use super::seal_blobs::CompressedBlob;
#[cfg(any(test, feature = "test-util"))]
use super::seal_blobs::seal_all;
use super::{FinishedPack, PackedBlob};
#[cfg(any(test, feature = "test-util"))]
use crate::blob::NamedBlob;
#[cfg(any(test, feature = "test-util"))]
use crate::compress::Compressor;
use crate::crypto::Entropy;
use crate::envelope::object_id;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::DomainId;
#[cfg(any(test, feature = "test-util"))]
use crate::keys::Keyring;
use crate::keys::{KeyAccess, SealedToOwner};
use crate::limits::{PACK_BLOBS_MAX, PACK_STORED_BYTES_MAX};

/// A pack being filled.
pub struct PackBuilder {
    key: PackKey,
    sent: Option<SealedToOwner>,
    /// What is filled, and room that was filled once: memory that is written a first time costs a page fault every 4 KiB,
    /// and to clear it costs a pass.
    room: Vec<u8>,
    filled: usize,
    directory: Vec<PackedBlob>,
    /// Never goes back, not even for a blob that was taken back.
    next_ordinal: u32,
}

impl PackBuilder {
    #[cfg(any(test, feature = "test-util"))]
    /// An empty pack under a fresh key. What `room` held is overwritten.
    pub fn new(
        keyring: &Arc<Keyring>,
        domain: DomainId,
        room: Vec<u8>,
        entropy: &mut dyn Entropy,
    ) -> Result<Self> {
        Self::sealed_for(&KeyAccess::Owner(Arc::clone(keyring)), domain, room, entropy)
    }

    /// The same by whoever writes: a write-only host seals it to the owner, with an ephemeral key that goes with the
    /// finished pack.
    pub fn sealed_for(
        holder: &KeyAccess,
        domain: DomainId,
        mut room: Vec<u8>,
        entropy: &mut dyn Entropy,
    ) -> Result<Self> {
        let (key, sent) = PackKey::new(holder, domain, entropy)?;
        let header = *key.part.header();
        room.resize(room.len().max(header.len()), 0);
        room[..header.len()].copy_from_slice(&header);
        Ok(PackBuilder {
            key,
            sent,
            room,
            filled: header.len(),
            directory: Vec::new(),
            next_ordinal: 0,
        })
    }

    #[cfg(any(test, feature = "test-util"))]
    /// Compresses, seals and appends one blob; where it lies.
    pub fn push<P: AsRef<[u8]> + Sync>(
        &mut self,
        blob: NamedBlob<P>,
        compressor: &mut Compressor,
    ) -> Result<PackedBlob> {
        let pressed = [CompressedBlob::new(blob, compressor)?];
        seal_all(vec![(self, &pressed)])?;
        self.directory
            .last()
            .copied()
            .ok_or_else(|| Error::corrupt("a pack without what was appended"))
    }

    /// Gives a blob an ordinal and a place at the end, where it is to be sealed.
    pub(super) fn place_blob<P: AsRef<[u8]>>(&mut self, blob: &CompressedBlob<P>) -> Result<()> {
        let end = self.filled + blob.stored_len();
        if (end + pack_directory::stored_len(self.directory.len() + 1)) as u64 > PACK_STORED_BYTES_MAX {
            let why = format!("pack passes {PACK_STORED_BYTES_MAX} bytes");
            return Err(Error::new(ErrorKind::Limit, why));
        }
        let name = blob.name(self.take_ordinal()?);
        self.directory.push(PackedBlob {
            id: name.id,
            kind: name.kind,
            ordinal: name.ordinal,
            // Both fit: the limit is below 4 GiB.
            offset: self.filled as u32,
            len: (end - self.filled) as u32,
            plain_len: name.plain_len,
        });
        self.filled = end;
        Ok(())
    }

    /// Each once; the bound also keeps the directory's ordinal out of reach.
    fn take_ordinal(&mut self) -> Result<u32> {
        if self.next_ordinal as usize >= PACK_BLOBS_MAX {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("a pack holds {PACK_BLOBS_MAX} blobs"),
            ));
        }
        self.next_ordinal += 1;
        Ok(self.next_ordinal - 1)
    }

    /// The blobs from the `begin`th on, and their places, which follow one another.
    pub(super) fn placed_since(&mut self, begin: usize) -> (&PackKey, &[PackedBlob], &mut [u8]) {
        if self.room.len() < self.filled {
            self.room.resize(self.filled, 0);
        }
        let blobs = &self.directory[begin..];
        let start = blobs.first().map_or(self.filled, |blob| blob.offset as usize);
        (&self.key, blobs, &mut self.room[start..self.filled])
    }

    /// Drops the blobs from the `begin`th on.
    pub(super) fn truncate_to(&mut self, begin: usize) {
        if let Some(first) = self.directory.get(begin) {
            self.filled = first.offset as usize;
            self.directory.truncate(begin);
        }
    }

    /// Bytes it would have if it were finished now.
    pub fn len(&self) -> usize {
        self.filled + pack_directory::stored_len(self.directory.len())
    }

    /// Blobs appended so far.
    pub fn blobs(&self) -> usize {
        self.directory.len()
    }

    /// True while nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.directory.is_empty()
    }

    #[cfg(any(test, feature = "test-util"))]
    /// Seals the directory, closes the pack and names it.
    pub fn finish(self) -> Result<FinishedPack> {
        self.close().map(ClosedPack::name)
    }

    /// Seals the directory and closes the pack. Naming is a pass over all its bytes, left to who has the time.
    pub fn close(self) -> Result<ClosedPack> {
        let mut bytes = self.room;
        bytes.truncate(self.filled);
        pack_directory::append(&self.key, &self.directory, &mut bytes).context(|| "finish pack")?;
        Ok(ClosedPack {
            sent: self.sent,
            bytes,
            directory: self.directory,
        })
    }
}

/// A pack that is complete but for its name.
pub struct ClosedPack {
    sent: Option<SealedToOwner>,
    bytes: Vec<u8>,
    directory: Vec<PackedBlob>,
}

impl ClosedPack {
    #[cfg(any(test, feature = "test-util"))]
    /// Hashes its bytes.
    pub fn name(self) -> FinishedPack {
        self.hash_to_verify().into_pack()
    }

    /// The same, for a pack that is to be opened first.
    pub fn hash_to_verify(self) -> NamedPack {
        let pack = FinishedPack {
            id: object_id(&self.bytes),
            bytes: self.bytes,
            directory: self.directory,
        };
        NamedPack {
            pack,
            sent: self.sent,
        }
    }
}

/// A pack that has its name and was not opened yet.
pub struct NamedPack {
    pack: FinishedPack,
    sent: Option<SealedToOwner>,
}

impl NamedPack {
    /// What is to be stored.
    pub fn pack(&self) -> &FinishedPack {
        &self.pack
    }

    /// Opens and compares it (`pack::verify`).
    pub fn verify(&self, holder: &KeyAccess) -> Result<()> {
        match (holder, &self.sent) {
            (KeyAccess::Owner(keyring), _) => verify(keyring, &self.pack),
            (KeyAccess::Host(credential), Some(sent)) => verify_sent(sent, credential, &self.pack),
            (KeyAccess::Host(_), None) => {
                Err(Error::new(ErrorKind::Usage, "pack was sealed by somebody else"))
            }
        }
    }

    /// The pack alone: nothing is left by which a write-only host could open it.
    pub fn into_pack(self) -> FinishedPack {
        self.pack
    }
}
