//! Encodes and decodes the 64-byte header of parity objects.
//!
//! Head ⇄ its 64 bytes, which stand at both ends of a parity object: whose parity it is, and how it is cut.

use super::ShardGeometry;
use crate::codec::Reader;
use crate::envelope::gate;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;

/// The only version of parity objects so far.
const VERSION: u8 = 1;

/// Reed-Solomon over GF(2^16) as FORMAT.md section 11 has it.
const CODE: u8 = 1;

/// Bytes of a hash here: it tells damaged shards from whole ones, and vouches for nothing.
pub(super) const HASH_LEN: usize = 16;

/// Whose parity an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParityHeader {
    /// The pack.
    pub pack: ObjectId,
    /// How it is cut.
    pub geometry: ShardGeometry,
}

impl ParityHeader {
    /// Bytes of the encoded form.
    pub const LEN: usize = 64;

    /// The one encoding.
    pub fn encode(&self) -> [u8; ParityHeader::LEN] {
        let mut out = [0; ParityHeader::LEN];
        out[0] = VERSION;
        out[1] = CODE;
        out[2..4].copy_from_slice(&(self.geometry.parity() as u16).to_le_bytes());
        out[4..8].copy_from_slice(&(self.geometry.shard_len() as u32).to_le_bytes());
        out[8..16].copy_from_slice(&(self.geometry.len() as u64).to_le_bytes());
        out[16..48].copy_from_slice(&self.pack.0);
        let checksum = hash(&out[..48]);
        out[48..].copy_from_slice(&checksum);
        out
    }

    /// Reads it; [`ErrorKind::TooNew`] for a version or a code to come.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let (version, code) = (reader.u8()?, reader.u8()?);
        let (parity, shard_len, len) = (reader.u16()?, reader.u32()?, reader.u64()?);
        let pack = ObjectId(reader.array()?);
        let checksum: [u8; HASH_LEN] = reader.array()?;
        reader.finish()?;
        if checksum != hash(&bytes[..48]) {
            return Err(Error::corrupt("head of a parity object: checksum mismatch"));
        }
        gate::gate_version("parity", version, VERSION)?;
        if code != CODE {
            let message = format!("parity code {code} is not known; {}", gate::upgrade_advice());
            return Err(Error::new(ErrorKind::TooNew, message));
        }
        let geometry = ShardGeometry::new(len, shard_len as usize, usize::from(parity));
        let geometry = geometry.map_err(|error| error.with_kind(ErrorKind::Corrupt))?;
        Ok(Self { pack, geometry })
    }
}

/// What tells a whole shard, or a whole head, from a damaged one.
pub(super) fn hash(bytes: &[u8]) -> [u8; HASH_LEN] {
    let mut out = [0; HASH_LEN];
    out.copy_from_slice(&blake3::hash(bytes).as_bytes()[..HASH_LEN]);
    out
}
