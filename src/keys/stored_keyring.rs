//! Encodes, seals and opens stored keyrings.
//!
//! A keyring ⇄ its stored object (FORMAT.md section 5): body sealed under a random ring key, the ring key wrapped
//! for each slot's public key, a MAC over everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::domain_keys::{DomainKeys, read_label};
use super::keyring::{Epoch, Keyring, SlotEntry, checked_slots, domains_within, within};
use crate::clock::UnixNanos;
use crate::codec::{Reader, put_prefixed, put_varint};
use crate::crypto::key_exchange::{PublicKey, SecretKey};
use crate::crypto::{Entropy, EpochKey, Secret32, aead, derive};
use crate::envelope::{self, Features, Header, KeyScheme, ObjectClass, gate};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{DomainId, EpochId, ObjectId, RepositoryId};
use crate::limits::{
    KEY_OBJECT_BYTES_MAX, KEYRING_DOMAINS_MAX, KEYRING_EPOCHS_MAX, KEYRING_SLOTS_MAX, LABEL_BYTES_MAX,
};

const VERSION: u8 = 1;
const WRAPPED_LEN: usize = 32 + aead::TAG_LEN;

/// The clear part: what the chain is followed by.
#[derive(Clone, Debug)]
pub struct KeyringClearPart {
    /// How many keyrings came before.
    pub generation: u64,
    /// The one before; zero in the first.
    pub predecessor: ObjectId,
    /// Commits to the newest epoch's key.
    pub epoch_commitment: [u8; 32],
    /// The repository.
    pub repository: RepositoryId,
    wraps: Vec<(PublicKey, [u8; WRAPPED_LEN])>,
}

/// A stored keyring taken apart, nothing of it vouched for yet.
#[derive(Clone, Debug)]
pub struct StoredKeyring<'a> {
    /// BLAKE3 of the bytes.
    pub id: ObjectId,
    /// Its newest epoch's number stands here.
    pub header: Header,
    /// What is readable without a key.
    pub clear: KeyringClearPart,
    body: &'a [u8],
    mac: [u8; 32],
}

impl Keyring {
    /// The stored object. Its name is its hash.
    pub fn seal(&self, entropy: &mut dyn Entropy) -> Result<Vec<u8>> {
        self.seal_with(&self.encode_body(), entropy)
    }

    fn seal_with(&self, body: &[u8], entropy: &mut dyn Entropy) -> Result<Vec<u8>> {
        let ring_key = Secret32::random(entropy)?;
        let ephemeral = SecretKey::random(entropy)?;
        let header = Header {
            class: ObjectClass::Keyring,
            scheme: KeyScheme::Recipients,
            epoch: self.newest().id,
            domain: DomainId(0),
            clear_len: 0,
            ephemeral: ephemeral.public().0,
            salt: entropy.salt()?,
            commitment: [0; 32],
        };
        let clear = self.encode_clear(&header, &ring_key, &ephemeral)?;
        let mut bytes = envelope::seal_one(header, ring_key.expose(), &clear, body)?;
        let mac = derive::mac(&mac_key(&self.epoch(self.mac_epoch)?.key), &[&bytes]);
        bytes.extend_from_slice(&mac);
        Ok(bytes)
    }

    fn encode_clear(&self, header: &Header, ring_key: &Secret32, ephemeral: &SecretKey) -> Result<Vec<u8>> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.predecessor.0);
        out.extend_from_slice(&epoch_commitment(&self.newest().key, &self.repository));
        out.extend_from_slice(&self.repository.0);
        out.extend_from_slice(&(self.slots.len() as u16).to_le_bytes());
        for slot in &self.slots {
            let shared = ephemeral.shared(&slot.public)?;
            let key = wrap_key(&shared, header, &slot.public, &self.repository);
            let mut wrapped = ring_key.expose().to_vec();
            aead::seal(&key, 0, &[], &mut wrapped, 0)?;
            out.extend_from_slice(&slot.public.0);
            out.extend_from_slice(&wrapped);
        }
        Ok(out)
    }

    pub(super) fn encode_body(&self) -> Zeroizing<Vec<u8>> {
        // Room for all, so that no reallocation leaves a copy of keys behind.
        let labels = LABEL_BYTES_MAX + 10;
        let room = 200
            + 76 * self.epochs.len()
            + (164 + labels) * self.domains.len()
            + (40 + labels) * self.slots.len();
        let mut out = Zeroizing::new(Vec::with_capacity(room));
        out.push(VERSION);
        self.features.encode(&mut out);
        out.extend_from_slice(&self.repository.0);
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.predecessor.0);
        out.extend_from_slice(&self.mac_epoch.0.to_le_bytes());
        out.extend_from_slice(&self.created.0.to_le_bytes());
        put_varint(&mut out, self.epochs.len() as u64);
        self.epochs.iter().for_each(|epoch| encode_epoch(epoch, &mut out));
        put_varint(&mut out, self.domains.len() as u64);
        self.domains.values().for_each(|domain| domain.encode(&mut out));
        put_varint(&mut out, self.slots.len() as u64);
        self.slots.iter().for_each(|slot| encode_slot(slot, &mut out));
        out
    }

    pub(super) fn decode_body(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        gate::gate_version("keyring", reader.u8()?, VERSION)?;
        let keyring = Keyring {
            features: Features::decode(&mut reader)?,
            repository: RepositoryId(reader.array()?),
            generation: reader.u64()?,
            predecessor: ObjectId(reader.array()?),
            mac_epoch: EpochId(reader.u32()?),
            created: UnixNanos(reader.u64()?.cast_signed()),
            epochs: Arc::new(decode_epochs(&mut reader)?),
            domains: decode_domains(&mut reader)?,
            slots: decode_slots(&mut reader)?,
        };
        reader.finish()?;
        Ok(keyring)
    }
}

impl<'a> StoredKeyring<'a> {
    /// Takes the bytes of a stored keyring apart.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() as u64 > KEY_OBJECT_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("{} bytes pass {KEY_OBJECT_BYTES_MAX}", bytes.len()),
            ));
        }
        let (body, mac) = bytes
            .split_last_chunk::<32>()
            .ok_or_else(|| Error::new(ErrorKind::Torn, "ends before its MAC"))?;
        let parts = envelope::parse_one(ObjectClass::Keyring, body)?;
        match parts.header.scheme {
            KeyScheme::Recipients => {}
            _ => return Err(Error::corrupt("keyring is not sealed to recipients")),
        }
        let clear = KeyringClearPart::decode(parts.clear)?;
        Ok(StoredKeyring {
            id: envelope::object_id(bytes),
            header: parts.header,
            clear,
            body,
            mac: *mac,
        })
    }

    /// Opens it with one of the identities it is sealed to; [`ErrorKind::WrongKey`] with any other. Proves that the
    /// ring is whole and sealed to us, not that it belongs to the repository: that is the chain's to say.
    pub fn open(&self, identity: &SecretKey) -> Result<Keyring> {
        let ring_key = self.unwrap(identity)?;
        let plain = envelope::parse_one(ObjectClass::Keyring, self.body)?.open(ring_key.expose())?;
        let keyring = Keyring::decode_body(&Zeroizing::new(plain))?;
        if self.matches_clear_part(&keyring) {
            Ok(keyring)
        } else {
            Err(Error::corrupt(
                "keyring's clear part does not agree with its body",
            ))
        }
    }

    /// Whether the MAC is this epoch key's.
    pub fn is_authentic(&self, key: &EpochKey) -> bool {
        derive::same(&derive::mac(&mac_key(key), &[self.body]), &self.mac)
    }

    /// Whether the ring commits to this key as its newest.
    pub fn commits_to(&self, key: &EpochKey) -> bool {
        epoch_commitment(key, &self.clear.repository) == self.clear.epoch_commitment
    }

    fn unwrap(&self, identity: &SecretKey) -> Result<Secret32> {
        let public = identity.public();
        let index = self.clear.wraps.binary_search_by_key(&public, |wrap| wrap.0);
        let index =
            index.map_err(|_| Error::new(ErrorKind::WrongKey, "keyring is not sealed to this slot"))?;
        let shared = identity.shared(&PublicKey(self.header.ephemeral))?;
        let key = wrap_key(&shared, &self.header, &public, &self.clear.repository);
        let opened = Zeroizing::new(aead::open(&key, 0, &[], &self.clear.wraps[index].1)?);
        let mut ring_key = [0; 32];
        ring_key.copy_from_slice(&opened);
        Ok(Secret32::take(&mut ring_key))
    }

    fn matches_clear_part(&self, keyring: &Keyring) -> bool {
        let listed = self.clear.wraps.iter().map(|wrap| wrap.0);
        keyring.repository == self.clear.repository
            && keyring.generation == self.clear.generation
            && keyring.predecessor == self.clear.predecessor
            && keyring.newest().id == self.header.epoch
            && self.commits_to(&keyring.newest().key)
            && listed.eq(keyring.slots.iter().map(|slot| slot.public))
    }
}

impl KeyringClearPart {
    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        gate::gate_version("keyring", reader.u8()?, VERSION)?;
        let (generation, predecessor) = (reader.u64()?, ObjectId(reader.array()?));
        let (epoch_commitment, repository) = (reader.array()?, RepositoryId(reader.array()?));
        let count = usize::from(reader.u16()?);
        within("slots", count, KEYRING_SLOTS_MAX)?;
        let mut wraps = Vec::with_capacity(count);
        for _ in 0..count {
            wraps.push((PublicKey(reader.array()?), reader.array()?));
        }
        reader.finish()?;
        if wraps.windows(2).all(|pair| pair[0].0 < pair[1].0) {
            Ok(KeyringClearPart {
                generation,
                predecessor,
                epoch_commitment,
                repository,
                wraps,
            })
        } else {
            Err(Error::corrupt("keyring's recipients are not in order"))
        }
    }
}

fn epoch_commitment(key: &EpochKey, repository: &RepositoryId) -> [u8; 32] {
    derive::derive_public(
        "levault 2026-11 v1 epoch commitment",
        &[key.expose(), &repository.0],
    )
}

fn mac_key(epoch: &EpochKey) -> Secret32 {
    derive::derive("levault 2026-11 v1 keyring mac", &[epoch.expose()])
}

fn wrap_key(shared: &Secret32, header: &Header, public: &PublicKey, repository: &RepositoryId) -> Secret32 {
    let parts: [&[u8]; 5] = [
        shared.expose(),
        &header.ephemeral,
        &public.0,
        &repository.0,
        &header.salt,
    ];
    derive::derive("levault 2026-11 v1 keyring wrap", &parts)
}

fn encode_epoch(epoch: &Epoch, out: &mut Vec<u8>) {
    out.extend_from_slice(&epoch.id.0.to_le_bytes());
    out.extend_from_slice(epoch.key.expose());
    out.extend_from_slice(epoch.recipient.secret().expose());
    out.extend_from_slice(&epoch.created.0.to_le_bytes());
}

fn decode_epochs(reader: &mut Reader<'_>) -> Result<Vec<Epoch>> {
    let count = reader.len_varint(KEYRING_EPOCHS_MAX, "epoch count")?;
    within("epochs", count, KEYRING_EPOCHS_MAX)?;
    let mut epochs: Vec<Epoch> = Vec::new();
    for _ in 0..count {
        let id = EpochId(reader.u32()?);
        check_ascending(epochs.last().map(|last| last.id), id, "epochs")?;
        epochs.push(Epoch {
            id,
            key: EpochKey::take(&mut reader.array()?),
            recipient: SecretKey::from_secret(Secret32::take(&mut reader.array()?)),
            created: UnixNanos(reader.u64()?.cast_signed()),
        });
    }
    Ok(epochs)
}

fn decode_domains(reader: &mut Reader<'_>) -> Result<BTreeMap<DomainId, Arc<DomainKeys>>> {
    let count = reader.len_varint(KEYRING_DOMAINS_MAX, "domain count")?;
    domains_within(count)?;
    let mut domains = BTreeMap::new();
    for _ in 0..count {
        let domain = DomainKeys::decode(reader)?;
        check_ascending(domains.keys().next_back().copied(), domain.id(), "domains")?;
        domains.insert(domain.id(), Arc::new(domain));
    }
    if domains.contains_key(&DomainId(0)) {
        Ok(domains)
    } else {
        Err(Error::corrupt("keyring lacks the owner's domain"))
    }
}

fn encode_slot(slot: &SlotEntry, out: &mut Vec<u8>) {
    out.extend_from_slice(&slot.public.0);
    out.extend_from_slice(&slot.created.0.to_le_bytes());
    put_prefixed(out, slot.label.as_bytes());
}

fn decode_slots(reader: &mut Reader<'_>) -> Result<Vec<SlotEntry>> {
    let count = reader.len_varint(KEYRING_SLOTS_MAX, "slot count")?;
    let mut slots: Vec<SlotEntry> = Vec::new();
    for _ in 0..count {
        let public = PublicKey(reader.array()?);
        check_ascending(slots.last().map(|last| last.public), public, "slots")?;
        let created = UnixNanos(reader.u64()?.cast_signed());
        slots.push(SlotEntry {
            public,
            created,
            label: read_label(reader)?,
        });
    }
    checked_slots(slots)
}

fn check_ascending<T: PartialOrd>(last: Option<T>, next: T, what: &str) -> Result<()> {
    if last.is_none_or(|last| last < next) {
        Ok(())
    } else {
        Err(Error::corrupt(format!("keyring's {what} are not in order")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SeededEntropy;

    /// What only a key holder could make: each part authentic, but one for another ring than the other.
    #[test]
    fn a_clear_part_that_does_not_agree_with_the_body_is_refused() {
        let mut entropy = SeededEntropy::new(1);
        let identity = SecretKey::random(&mut entropy).unwrap();
        let slot = SlotEntry {
            public: identity.public(),
            created: UnixNanos(0),
            label: String::new(),
        };
        let make = |entropy: &mut SeededEntropy| {
            Keyring::first(RepositoryId([1; 32]), slot.clone(), UnixNanos(0), entropy).unwrap()
        };
        let honest = make(&mut entropy);
        let bytes = honest.seal_with(&honest.encode_body(), &mut entropy).unwrap();
        StoredKeyring::parse(&bytes).unwrap().open(&identity).unwrap();
        let unlike: [&dyn Fn(&mut Keyring); 5] = [
            &|ring| ring.generation = 1,
            &|ring| ring.predecessor = ObjectId([1; 32]),
            &|ring| ring.repository = RepositoryId([2; 32]),
            &|ring| ring.slots[0].public = PublicKey([9; 32]),
            &|ring| ring.epochs = make(&mut SeededEntropy::new(2)).epochs,
        ];
        for turn in unlike {
            let mut other = make(&mut SeededEntropy::new(1));
            other.epochs = Arc::clone(&honest.epochs);
            turn(&mut other);
            let bytes = honest.seal_with(&other.encode_body(), &mut entropy).unwrap();
            let outcome = StoredKeyring::parse(&bytes).unwrap().open(&identity);
            assert_eq!(outcome.err().unwrap().kind(), ErrorKind::Corrupt);
        }
    }
}
