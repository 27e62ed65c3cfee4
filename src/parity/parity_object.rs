//! Writes and reads parity objects, and heals packs with them.
//!
//! ```text
//! header 120 │ head 64 │ hashes 16(k+m) │ m parity shards │ hashes again │ head again
//! ```
//! What is read may be damaged anywhere, cut or longer. So nothing here asks for the whole: whichever head is right
//! says where everything is, a hash that is right in either list serves, and every stretch is looked for by its place
//! from the front and, where the length is wrong, by its place from the end too.

use super::parity_header::{HASH_LEN, ParityHeader, hash};
use super::{ParityShare, ShardGeometry, reed_solomon};
use crate::envelope::{Header, KeyScheme, ObjectClass, object_id};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{DomainId, EpochId, ObjectId};

/// Where the first head stands; the other are the last [`ParityHeader::LEN`] bytes.
pub const HEAD_OFFSET: usize = Header::LEN;

/// The parity object of a pack. Nothing in it is random: the same pack and share make the same bytes.
pub fn encode(pack: &[u8], share: ParityShare) -> Result<Vec<u8>> {
    encode_as(
        pack,
        &object_id(pack),
        ShardGeometry::plan(pack.len() as u64, share)?,
    )
}

/// The same with a geometry of old, as an object is made again. `name` must be the pack's.
pub fn encode_as(pack: &[u8], name: &ObjectId, geometry: ShardGeometry) -> Result<Vec<u8>> {
    if pack.len() != geometry.len() {
        return Err(Error::new(ErrorKind::Limit, "parity of a pack of another length"));
    }
    let head = ParityHeader {
        pack: *name,
        geometry,
    };
    let mut out = vec![0; geometry.object_len()];
    let shards = geometry.parity_range(0).start..geometry.parity_range(geometry.parity()).start;
    out[..HEAD_OFFSET].copy_from_slice(&header(&geometry).encode());
    reed_solomon::parity_of(&geometry, pack, &mut out[shards.clone()])?;
    let data = (0..geometry.data()).map(|number| hash(&pack[geometry.data_range(number)]));
    let parity = (0..geometry.parity()).map(|number| hash(&out[geometry.parity_range(number)]));
    let hashes: Vec<u8> = data.chain(parity).flatten().collect();
    out[HEAD_OFFSET..HEAD_OFFSET + ParityHeader::LEN].copy_from_slice(&head.encode());
    out[HEAD_OFFSET + ParityHeader::LEN..shards.start].copy_from_slice(&hashes);
    out[shards.end..shards.end + hashes.len()].copy_from_slice(&hashes);
    out[shards.end + hashes.len()..].copy_from_slice(&head.encode());
    Ok(out)
}

fn header(geometry: &ShardGeometry) -> Header {
    Header {
        class: ObjectClass::Parity,
        scheme: KeyScheme::Clear,
        epoch: EpochId(0),
        domain: DomainId(0),
        clear_len: (geometry.object_len() - Header::LEN) as u32,
        ephemeral: [0; 32],
        salt: [0; 32],
        commitment: [0; 32],
    }
}

/// A parity object as it was read: one of its heads is right.
#[derive(Clone, Copy, Debug)]
pub struct ParityObject<'a> {
    head: ParityHeader,
    bytes: StoredBytes<'a>,
}

/// A pack as it was stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealedPack {
    /// Its bytes, which have its name.
    pub bytes: Vec<u8>,
    /// Data shards that were computed anew.
    pub shards: usize,
}

impl<'a> ParityObject<'a> {
    /// Finds out whose parity it is. [`ErrorKind::Corrupt`] if neither head is right.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        let front = bytes.get(HEAD_OFFSET..HEAD_OFFSET + ParityHeader::LEN);
        let head = front
            .ok_or_else(|| Error::new(ErrorKind::Torn, "a parity object ends within its head"))
            .and_then(ParityHeader::decode)
            .or_else(|error| match bytes.last_chunk::<{ ParityHeader::LEN }>() {
                Some(back) => ParityHeader::decode(back).map_err(|back| match back.kind() {
                    ErrorKind::TooNew => back,
                    _ => error,
                }),
                None => Err(error),
            })?;
        let bytes = StoredBytes {
            bytes,
            len: head.geometry.object_len(),
        };
        Ok(Self { head, bytes })
    }

    #[cfg(any(test, feature = "test-util"))]
    /// What it is parity of.
    pub fn head(&self) -> &ParityHeader {
        &self.head
    }

    /// The pack, of whose `stored` bytes any may be wrong, missing or too many.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if more is lost than parity is left, or if what comes out has not the pack's name.
    pub fn repair(&self, stored: &[u8]) -> Result<HealedPack> {
        let geometry = &self.head.geometry;
        let (mut bytes, is_lost) = self.collect_shards(stored);
        let lost = is_lost.iter().filter(|lost| **lost).count();
        let parity = self.whole_shards();
        if lost > parity.len() {
            return Err(Error::corrupt(format!(
                "{lost} of {} shards are damaged, and parity for {} is left",
                geometry.data(),
                parity.len()
            )));
        }
        if lost > 0 {
            reed_solomon::restore(geometry, &mut bytes, &is_lost, &parity)?;
        }
        if object_id(&bytes) == self.head.pack {
            Ok(HealedPack { bytes, shards: lost })
        } else {
            Err(Error::corrupt(
                "what the parity makes of it has not the pack's name",
            ))
        }
    }

    /// The data shards that are whole, each in its place, and which are not.
    fn collect_shards(&self, stored: &[u8]) -> (Vec<u8>, Vec<bool>) {
        let geometry = &self.head.geometry;
        let stored = StoredBytes {
            bytes: stored,
            len: geometry.len(),
        };
        let mut bytes = vec![0; geometry.len()];
        let gather = |number| match self.find(&stored, geometry.data_range(number), number) {
            Some(shard) => {
                bytes[geometry.data_range(number)].copy_from_slice(shard);
                false
            }
            None => true,
        };
        let is_lost = (0..geometry.data()).map(gather).collect();
        (bytes, is_lost)
    }

    fn whole_shards(&self) -> Vec<(usize, &'a [u8])> {
        let geometry = &self.head.geometry;
        let find = |number| {
            let hash = geometry.data() + number;
            let shard = self.find(&self.bytes, geometry.parity_range(number), hash)?;
            Some((number, shard))
        };
        (0..geometry.parity()).filter_map(find).collect()
    }

    /// A shard of which some hash is right.
    fn find<'s>(
        &self,
        within: &StoredBytes<'s>,
        at: std::ops::Range<usize>,
        number: usize,
    ) -> Option<&'s [u8]> {
        let hashes = self.hashes(number);
        let is_whole = |shard: &&[u8]| hashes.iter().flatten().any(|known| **known == hash(shard));
        within.shard_offsets(at).into_iter().flatten().find(is_whole)
    }

    /// What stands in the lists for a shard; parity shards are counted behind data shards.
    fn hashes(&self, number: usize) -> [Option<&'a [u8]>; 4] {
        let geometry = &self.head.geometry;
        let first = HEAD_OFFSET + ParityHeader::LEN + number * HASH_LEN;
        let again = geometry.parity_range(geometry.parity()).start + number * HASH_LEN;
        let [a, b] = self.bytes.shard_offsets(first..first + HASH_LEN);
        let [c, d] = self.bytes.shard_offsets(again..again + HASH_LEN);
        [a, b, c, d]
    }
}

/// Bytes of which there should be `len`.
#[derive(Clone, Copy, Debug)]
struct StoredBytes<'a> {
    bytes: &'a [u8],
    len: usize,
}

impl<'a> StoredBytes<'a> {
    /// Where a stretch may stand: by its distance from the front; where the length is wrong, from the end too.
    fn shard_offsets(&self, at: std::ops::Range<usize>) -> [Option<&'a [u8]>; 2] {
        let front = self.bytes.get(at.clone());
        if self.bytes.len() == self.len {
            return [front, None];
        }
        let shifted = |from_front: usize| (from_front + self.bytes.len()).checked_sub(self.len);
        let back = shifted(at.start)
            .zip(shifted(at.end))
            .and_then(|(start, end)| self.bytes.get(start..end));
        [front, back]
    }
}
