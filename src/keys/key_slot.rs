//! Encodes, decodes and unlocks password slots.
//!
//! A slot: password ⇄ identity (FORMAT.md section 4).

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::clock::UnixNanos;
use crate::codec::Reader;
use crate::crypto::key_exchange::{PublicKey, SecretKey};
use crate::crypto::{Entropy, Secret32};
use crate::envelope::{self, Header, KeyScheme, ObjectClass, gate};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{DomainId, EpochId, ObjectId, RepositoryId};
use crate::limits::{ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX, KEY_OBJECT_BYTES_MAX};

const VERSION: u8 = 1;
const ARGON2ID_13: u8 = 1;
const CLEAR_LEN: usize = 56;
const PAYLOAD_LEN: usize = 97;

/// What the user types: wiped on drop, never shown.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Password(Vec<u8>);

impl Password {
    /// Takes the bytes over. An empty password is a password.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// What one try at a password costs, ours and a guesser's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotCost {
    /// Memory, KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes, filled side by side as far as there are cores.
    pub lanes: u32,
}

impl Default for SlotCost {
    /// 64 MiB, 3 passes, 4 lanes: RFC 9106's second choice, within the memory bound of the whole tool.
    fn default() -> Self {
        SlotCost {
            memory_kib: 64 << 10,
            passes: 3,
            lanes: 4,
        }
    }
}

impl SlotCost {
    /// No protection at all, for tests.
    #[cfg(any(test, feature = "test-util"))]
    pub fn cheap() -> Self {
        SlotCost {
            memory_kib: 8,
            passes: 1,
            lanes: 1,
        }
    }

    /// Refuses what is over the limits, before anything is run.
    fn check(self) -> Result<Self> {
        let within = self.memory_kib <= ARGON2_MEMORY_KIB_MAX
            && (1..=ARGON2_PASSES_MAX).contains(&self.passes)
            && (1..=ARGON2_LANES_MAX).contains(&self.lanes)
            && self.memory_kib >= 8 * self.lanes;
        if within {
            Ok(self)
        } else {
            Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "argon2id with {} KiB, {} passes, {} lanes is outside the limits ({ARGON2_MEMORY_KIB_MAX} KiB, \
             {ARGON2_PASSES_MAX}, {ARGON2_LANES_MAX}; 8 KiB a lane at least)",
                    self.memory_kib, self.passes, self.lanes
                ),
            ))
        }
    }

    /// Runs argon2id. Its memory is given back before this returns.
    pub(super) fn run(self, password: &Password, salt: &[u8; 32]) -> Result<Secret32> {
        let SlotCost {
            memory_kib,
            passes,
            lanes,
        } = self.check()?;
        let mut output = [0; 32];
        argon2::Params::new(memory_kib, passes, lanes, Some(32))
            .map(|params| argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params))
            .and_then(|argon2| argon2.hash_password_into(&password.0, salt, &mut output))
            .map_err(|cause| Error::new(ErrorKind::Limit, format!("argon2id: {cause}")))?;
        Ok(Secret32::take(&mut output))
    }
}

/// What a password vouches for: the repository, and the keyring its chain begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RepositoryAnchor {
    /// The repository's id.
    pub repository: RepositoryId,
    /// The hash of its first keyring.
    pub first_keyring: ObjectId,
}

/// What a slot holds, once a password has opened it.
pub struct OpenedSlot {
    /// Opens the keyrings that are sealed to it.
    pub identity: SecretKey,
    /// What to check config and keyrings against.
    pub anchor: RepositoryAnchor,
}

/// A stored slot, its checksum found right.
pub struct KeySlot {
    header: Header,
    cost: SlotCost,
    public: PublicKey,
    created: UnixNanos,
    bytes: Vec<u8>,
}

impl KeySlot {
    /// Wraps `opened` under `password`; gives the object's bytes, whose hash is its name.
    pub fn seal(
        opened: &OpenedSlot,
        password: &Password,
        cost: SlotCost,
        created: UnixNanos,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>> {
        let header = empty_header(ObjectClass::Slot, entropy.salt()?);
        let secret = cost.run(password, &header.salt)?;
        let clear = encode_clear(cost, &opened.identity.public(), created);
        let mut payload = Zeroizing::new(Vec::with_capacity(PAYLOAD_LEN));
        payload.push(VERSION);
        payload.extend_from_slice(opened.identity.secret().expose());
        payload.extend_from_slice(&opened.anchor.repository.0);
        payload.extend_from_slice(&opened.anchor.first_keyring.0);
        let mut bytes = envelope::seal_one(header, secret.expose(), &clear, &payload)?;
        append_checksum(&mut bytes);
        Ok(bytes)
    }

    /// Reads a stored slot. Runs nothing, opens nothing; checks the checksum and the limits.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let body = check_checksum(bytes)?;
        let parts = envelope::parse_one(ObjectClass::Slot, body)?;
        let (cost, public, created) = decode_clear(parts.clear)?;
        match parts.header.scheme {
            KeyScheme::Password => Ok(KeySlot {
                header: parts.header,
                cost,
                public,
                created,
                bytes: body.to_vec(),
            }),
            _ => Err(Error::corrupt("slot is not sealed by a password")),
        }
    }

    /// Tries a password: [`ErrorKind::WrongPassword`] if it is not the one.
    pub fn unlock(&self, password: &Password) -> Result<OpenedSlot> {
        let secret = self.cost.run(password, &self.header.salt)?;
        let payload = envelope::parse_one(ObjectClass::Slot, &self.bytes)?
            .open(secret.expose())
            .map_err(|error| match error.kind() {
                ErrorKind::WrongKey => {
                    Error::new(ErrorKind::WrongPassword, "the password does not open this slot")
                }
                _ => error,
            })?;
        decode_payload(&Zeroizing::new(payload)).context(|| "read slot")
    }

    /// The identity's public half: keyrings list it if they are sealed to it.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// What a try costs.
    pub fn cost(&self) -> SlotCost {
        self.cost
    }

    /// When it was made, by its maker's clock.
    pub fn created(&self) -> UnixNanos {
        self.created
    }
}

pub(super) fn empty_header(class: ObjectClass, salt: [u8; 32]) -> Header {
    Header {
        class,
        scheme: KeyScheme::Password,
        epoch: EpochId(0),
        domain: DomainId(0),
        clear_len: 0,
        ephemeral: [0; 32],
        salt,
        commitment: [0; 32],
    }
}

pub(super) fn encode_clear(cost: SlotCost, public: &PublicKey, created: UnixNanos) -> Vec<u8> {
    let mut out = Vec::with_capacity(CLEAR_LEN);
    out.extend_from_slice(&[VERSION, ARGON2ID_13, 0, 0]);
    for number in [cost.memory_kib, cost.passes, cost.lanes] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&public.0);
    out.extend_from_slice(&created.0.to_le_bytes());
    out
}

pub(super) fn decode_clear(clear: &[u8]) -> Result<(SlotCost, PublicKey, UnixNanos)> {
    let mut reader = Reader::new(clear);
    gate::gate_version("slot", reader.u8()?, VERSION)?;
    gate::gate_version("slot's password hash", reader.u8()?, ARGON2ID_13)?;
    if reader.u16()? != 0 {
        return Err(Error::corrupt("slot has bytes where it has none"));
    }
    let cost = SlotCost {
        memory_kib: reader.u32()?,
        passes: reader.u32()?,
        lanes: reader.u32()?,
    }
    .check()?;
    let public = PublicKey(reader.array()?);
    let created = UnixNanos(reader.u64()?.cast_signed());
    reader.finish()?;
    Ok((cost, public, created))
}

pub(super) fn decode_payload(payload: &[u8]) -> Result<OpenedSlot> {
    let mut reader = Reader::new(payload);
    gate::gate_version("slot payload", reader.u8()?, VERSION)?;
    let identity = SecretKey::from_secret(Secret32::take(&mut reader.array()?));
    let anchor = RepositoryAnchor {
        repository: RepositoryId(reader.array()?),
        first_keyring: ObjectId(reader.array()?),
    };
    reader.finish()?;
    Ok(OpenedSlot { identity, anchor })
}

/// Slots and configs end with the BLAKE3 of all bytes before, in every format version.
pub(super) fn append_checksum(bytes: &mut Vec<u8>) {
    let checksum = blake3::hash(bytes);
    bytes.extend_from_slice(checksum.as_bytes());
}

/// The bytes before the checksum, if it is theirs.
pub(super) fn check_checksum(bytes: &[u8]) -> Result<&[u8]> {
    if bytes.len() as u64 > KEY_OBJECT_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::Limit,
            format!("{} bytes pass {KEY_OBJECT_BYTES_MAX}", bytes.len()),
        ));
    }
    let (body, checksum) = bytes
        .split_last_chunk::<32>()
        .ok_or_else(|| Error::new(ErrorKind::Torn, "ends before its checksum"))?;
    if blake3::hash(body) == blake3::Hash::from_bytes(*checksum) {
        Ok(body)
    } else {
        Err(Error::corrupt("checksum mismatch"))
    }
}
