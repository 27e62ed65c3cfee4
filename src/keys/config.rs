//! Encodes and decodes the repository's config.
//!
//! The repository's config (FORMAT.md section 4): features and ids in the clear, sizes sealed; written twice,
//! never changed.

use serde::{Deserialize, Serialize};

use super::key_slot::{RepositoryAnchor, append_checksum, check_checksum};
use super::keyring::Keyring;
use crate::clock::UnixNanos;
use crate::codec::Reader;
use crate::crypto::Entropy;
use crate::envelope::{self, Access, Features, Header, ObjectClass, gate};
use crate::error::{Error, Result, ResultExt};
use crate::id::{DomainId, ObjectId, RepositoryId};
use crate::limits::{BLOB_BYTES_MAX, PACK_BYTES_DEFAULT, PACK_BYTES_RANGE};

const VERSION: u8 = 1;

/// Smallest, wanted and largest size of what a rule cuts, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CutSizes {
    /// None is smaller, but a last one.
    pub min: u32,
    /// What the rule aims at.
    pub wanted: u32,
    /// None is larger, but a single record.
    pub max: u32,
}

/// Sizes that all writers of a repository keep to, or they would not find one another's blobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Parameters {
    /// When a pack is full, bytes.
    pub pack_bytes: u32,
    /// Chunks of values and files.
    pub chunk: CutSizes,
    /// Leaves of runs.
    pub leaf: CutSizes,
    /// Longer values leave their leaf, bytes.
    pub inline_value_bytes_max: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        let sizes = CutSizes {
            min: 16 << 10,
            wanted: 64 << 10,
            max: 256 << 10,
        };
        Parameters {
            pack_bytes: PACK_BYTES_DEFAULT as u32,
            chunk: sizes,
            leaf: sizes,
            inline_value_bytes_max: crate::limits::INLINE_VALUE_BYTES_MAX as u32,
        }
    }
}

impl Parameters {
    /// Refuses what no writer could work with.
    pub fn check(self) -> Result<Self> {
        let cut = |sizes: CutSizes| {
            (64..=sizes.wanted).contains(&sizes.min)
                && sizes.wanted <= sizes.max
                && sizes.max as usize <= BLOB_BYTES_MAX
        };
        let within =
            PACK_BYTES_RANGE.contains(&(self.pack_bytes as usize)) && cut(self.chunk) && cut(self.leaf);
        if within {
            Ok(self)
        } else {
            Err(Error::new(
                crate::error::ErrorKind::Limit,
                format!("{self:?} are outside the limits"),
            ))
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        postcard::to_extend(self, vec![VERSION])
            .map_err(|cause| Error::corrupt(format!("encode parameters: {cause}")))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let (version, body) = bytes
            .split_first()
            .ok_or_else(|| Error::corrupt("no parameters"))?;
        gate::gate_version("parameters", *version, VERSION)?;
        match postcard::take_from_bytes::<Parameters>(body) {
            Ok((parameters, [])) => parameters.check(),
            Ok(_) => Err(Error::corrupt("parameters have bytes too many")),
            Err(cause) => Err(Error::corrupt(format!("parameters: {cause}"))),
        }
    }
}

/// A stored config, its checksum found right, its sealed part not opened yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// What a program must understand.
    pub features: Features,
    /// Which repository, and where its chain of keyrings begins. Unauthenticated: compare with a slot's.
    pub anchor: RepositoryAnchor,
    /// When it was made, by its maker's clock.
    pub created: UnixNanos,
    bytes: Vec<u8>,
}

impl Config {
    /// The bytes of a new config, sealed under `keyring`'s newest epoch.
    pub fn seal(
        parameters: &Parameters,
        anchor: RepositoryAnchor,
        keyring: &Keyring,
        created: UnixNanos,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>> {
        let mut clear = vec![VERSION];
        Features::of_new_repository().encode(&mut clear);
        clear.extend_from_slice(&anchor.repository.0);
        clear.extend_from_slice(&anchor.first_keyring.0);
        clear.extend_from_slice(&created.0.to_le_bytes());
        let plain = parameters.check()?.encode()?;
        let mut bytes = keyring.seal_object(ObjectClass::Config, DomainId(0), &clear, &plain, entropy)?;
        append_checksum(&mut bytes);
        Ok(bytes)
    }

    /// Reads a stored config, and refuses one that this program may not even read.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let body = check_checksum(bytes)?;
        let mut reader = Reader::new(envelope::parse_one(ObjectClass::Config, body)?.clear);
        gate::gate_version("config", reader.u8()?, VERSION)?;
        let config = Config {
            features: Features::decode(&mut reader)?,
            anchor: RepositoryAnchor {
                repository: RepositoryId(reader.array()?),
                first_keyring: ObjectId(reader.array()?),
            },
            created: UnixNanos(reader.u64()?.cast_signed()),
            bytes: body.to_vec(),
        };
        reader.finish()?;
        config.features.version_gate(Access::Read)?;
        Ok(config)
    }

    /// The sealed part. Opening it also proves the clear part: features and ids are what the founder wrote.
    /// `anchor` is what the slot vouched for.
    pub fn open(&self, keyring: &Keyring, anchor: &RepositoryAnchor) -> Result<Parameters> {
        if self.anchor != *anchor {
            return Err(Error::corrupt(
                "config names another repository than the password vouches for",
            ));
        }
        let parts = envelope::parse_one(ObjectClass::Config, &self.bytes)?;
        let plain = parts
            .open(&keyring.epoch_secret(&parts.header)?)
            .context(|| "open config")?;
        Parameters::decode(&plain)
    }

    /// The envelope's header.
    pub fn header(&self) -> Result<Header> {
        Header::decode(&self.bytes)
    }
}
