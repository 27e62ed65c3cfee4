//! Seals and opens objects with the keys of a repository.
//!
//! An opened keyring: every key of a repository, and the way objects get theirs from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::domain_keys::{DomainKeys, OWNERS, checked_label};
use crate::clock::UnixNanos;
use crate::crypto::key_exchange::{PublicKey, SecretKey};
use crate::crypto::{ChunkerSecret, Entropy, EpochKey, PreSharedKey};
use crate::envelope::{self, Features, Header, KeyScheme, ObjectClass, PartKey};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{DomainId, EpochId, ObjectId, RepositoryId};
use crate::limits::{KEYRING_DOMAINS_MAX, KEYRING_EPOCHS_MAX, KEYRING_SLOTS_MAX};

/// A generation of keys: objects name the one they are sealed under.
pub struct Epoch {
    /// Its number, from 1.
    pub id: EpochId,
    /// What object keys of scheme 0 derive from.
    pub key: EpochKey,
    /// What write-only hosts seal to (scheme 1).
    pub recipient: SecretKey,
    /// When it began, by its maker's clock.
    pub created: UnixNanos,
}

/// Who can open a keyring: the public half of a slot's identity, and what people call it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotEntry {
    /// Tells which slot.
    pub public: PublicKey,
    /// When it was added, by its maker's clock.
    pub created: UnixNanos,
    /// For people: user and host, or a purpose.
    pub label: String,
}

/// Whether a new keyring begins a new epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpochChange {
    /// Somebody is added: the keys stay.
    Keep,
    /// Somebody is removed: what is written from now on is out of their reach.
    Rotate,
}

/// All keys of a repository, as one generation has them.
pub struct Keyring {
    pub(super) repository: RepositoryId,
    pub(super) generation: u64,
    pub(super) predecessor: ObjectId,
    /// The epoch whose key authenticates this ring: the predecessor's newest, or our own in the first.
    pub(super) mac_epoch: EpochId,
    pub(super) created: UnixNanos,
    pub(super) features: Features,
    pub(super) epochs: Arc<Vec<Epoch>>,
    pub(super) domains: BTreeMap<DomainId, Arc<DomainKeys>>,
    pub(super) slots: Vec<SlotEntry>,
}

impl Keyring {
    /// The first keyring of a new repository, with one epoch, the owner's domain and one slot.
    pub fn first(
        repository: RepositoryId,
        slot: SlotEntry,
        created: UnixNanos,
        entropy: &mut dyn Entropy,
    ) -> Result<Self> {
        let epoch = new_epoch(EpochId(1), created, entropy)?;
        let owner = DomainKeys::random(DomainId(0), "", entropy)?;
        Ok(Keyring {
            repository,
            generation: 0,
            predecessor: ObjectId([0; 32]),
            mac_epoch: epoch.id,
            created,
            features: Features::of_new_repository(),
            epochs: Arc::new(vec![epoch]),
            domains: BTreeMap::from([(DomainId(0), Arc::new(owner))]),
            slots: checked_slots(vec![slot])?,
        })
    }

    /// A first keyring whose own domain cuts chunks by another repository's secret.
    pub(super) fn with_chunker_secret_of(mut self, chunker: &ChunkerSecret) -> Result<Self> {
        let own = self.domain(DomainId(0))?.cutting_as(chunker);
        self.domains.insert(DomainId(0), Arc::new(own));
        Ok(self)
    }

    /// The keyring that follows this one, which is stored as `id`, sealed to `slots` and nobody else.
    pub fn successor(
        &self,
        id: ObjectId,
        slots: Vec<SlotEntry>,
        change: EpochChange,
        created: UnixNanos,
        entropy: &mut dyn Entropy,
    ) -> Result<Self> {
        let mut epochs = self.copy_epochs();
        if change == EpochChange::Rotate {
            let next = EpochId(self.newest().id.0 + 1);
            epochs.push(new_epoch(next, created, entropy)?);
        }
        within("epochs", epochs.len(), KEYRING_EPOCHS_MAX)?;
        Ok(Keyring {
            repository: self.repository,
            generation: self.generation + 1,
            predecessor: id,
            mac_epoch: self.newest().id,
            created,
            features: self.features,
            epochs: Arc::new(epochs),
            domains: self.domains.clone(),
            slots: checked_slots(slots)?,
        })
    }

    /// Adds the domain of a new write-only host; its number. No number is given twice: no domain is ever taken out.
    pub fn add_domain(&mut self, label: &str, entropy: &mut dyn Entropy) -> Result<DomainId> {
        domains_within(self.domains.len() + 1)?;
        let last = self.domains.last_key_value().map_or(0, |(id, _)| id.0);
        let id = DomainId(
            last.checked_add(1)
                .ok_or_else(|| Error::new(ErrorKind::Limit, "no domain is left"))?,
        );
        self.domains
            .insert(id, Arc::new(DomainKeys::random(id, label, entropy)?));
        Ok(id)
    }

    /// The repository these are the keys of.
    pub fn repository(&self) -> RepositoryId {
        self.repository
    }

    /// How many keyrings came before. Clients refuse one below the highest they have seen.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Features switched on since the config was written; in force together with the config's.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Who can open it, sorted by public key.
    pub fn slots(&self) -> &[SlotEntry] {
        &self.slots
    }

    /// When it was made, by its maker's clock.
    pub fn created(&self) -> UnixNanos {
        self.created
    }

    /// The epoch that new objects are sealed under.
    pub fn newest(&self) -> &Epoch {
        self.epochs
            .last()
            .expect("checked on every way in: a keyring has an epoch")
    }

    /// The epoch an object names, or [`ErrorKind::WrongKey`].
    pub fn epoch(&self, id: EpochId) -> Result<&Epoch> {
        self.epochs
            .binary_search_by_key(&id, |epoch| epoch.id)
            .map(|index| &self.epochs[index])
            .map_err(|_| {
                Error::new(
                    ErrorKind::WrongKey,
                    format!("epoch {} is not in the keyring", id.0),
                )
            })
    }

    /// The keys of a domain an object names, or [`ErrorKind::WrongKey`].
    pub fn domain(&self, id: DomainId) -> Result<&Arc<DomainKeys>> {
        let missing = || {
            Error::new(
                ErrorKind::WrongKey,
                format!("domain {} is not in the keyring", id.0),
            )
        };
        self.domains.get(&id).ok_or_else(missing)
    }

    /// Every domain, by number.
    pub fn domains(&self) -> impl Iterator<Item = &Arc<DomainKeys>> {
        self.domains.values()
    }

    /// Seals an object of one part, with `clear` authenticated beside it, under the newest epoch.
    pub fn seal_object(
        &self,
        class: ObjectClass,
        domain: DomainId,
        clear: &[u8],
        plain: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>> {
        if class == ObjectClass::Index && domain != OWNERS {
            // The domain's host has to find its blobs in it.
            return self.domain(domain)?.seal_segment(clear, plain, entropy);
        }
        let header = self.new_header(class, domain, entropy)?;
        envelope::seal_one(header, self.newest().key.expose(), clear, plain)
            .context(|| format!("seal {}", class.word()))
    }

    /// Opens an object of one part that is stored as `id`. [`ErrorKind::Corrupt`] if the bytes are not the stored
    /// ones, [`ErrorKind::WrongKey`] if they are but this ring does not hold their key.
    pub fn open_object(&self, class: ObjectClass, id: &ObjectId, bytes: &[u8]) -> Result<OpenedObject> {
        let open = || -> Result<_> {
            envelope::check_name(id, bytes)?;
            let parts = envelope::parse_one(class, bytes)?;
            let plain = parts.open(&self.epoch_secret(&parts.header)?)?;
            Ok(OpenedObject {
                clear: parts.clear.to_vec(),
                header: parts.header,
                plain,
            })
        };
        open().context(|| format!("open {} {}", class.word(), id.short()))
    }

    /// A fresh key, of a new object of many parts, under the newest epoch.
    pub fn new_key(
        &self,
        class: ObjectClass,
        domain: DomainId,
        entropy: &mut dyn Entropy,
    ) -> Result<PartKey> {
        let header = self.new_header(class, domain, entropy)?;
        Ok(envelope::commit(header, self.newest().key.expose()))
    }

    /// The key of the stored object that begins with `header`.
    pub fn open_key(&self, class: ObjectClass, header: &Header) -> Result<PartKey> {
        header.expect_class(class)?;
        envelope::open_key(header, &self.epoch_secret(header)?)
    }

    fn new_header(&self, class: ObjectClass, domain: DomainId, entropy: &mut dyn Entropy) -> Result<Header> {
        self.domain(domain)?;
        Ok(Header {
            class,
            scheme: KeyScheme::Epoch,
            epoch: self.newest().id,
            domain,
            clear_len: 0,
            ephemeral: [0; 32],
            salt: entropy.salt()?,
            commitment: [0; 32],
        })
    }

    /// What the key of an object derives from, by its class and scheme (FORMAT.md section 3). What only the owner
    /// may say is only taken under an epoch key.
    pub fn epoch_secret(&self, header: &Header) -> Result<Zeroizing<Vec<u8>>> {
        use ObjectClass::{Index, Pack, Snapshot, Wal};
        match (header.scheme, header.class) {
            (KeyScheme::Epoch, _) => {
                self.domain(header.domain)?;
                Ok(Zeroizing::new(self.epoch(header.epoch)?.key.expose().to_vec()))
            }
            (KeyScheme::Exchange | KeyScheme::Domain, _) if header.domain == OWNERS => {
                Err(Error::corrupt(format!(
                    "{} in the owner's domain is not sealed under an epoch key",
                    header.class.word()
                )))
            }
            (KeyScheme::Exchange, Pack | Snapshot | Wal) => {
                let recipient = &self.epoch(header.epoch)?.recipient;
                let pre_shared = self.domain(header.domain)?.pre_shared_key();
                host_public_secret(recipient, &header.ephemeral, pre_shared, &self.repository)
            }
            (KeyScheme::Domain, Index) => {
                let key = self.domain(header.domain)?.index_key();
                Ok(Zeroizing::new(key.expose().to_vec()))
            }
            (scheme, class) => {
                let message = format!(
                    "a {} is never sealed by key scheme {}",
                    class.word(),
                    scheme as u8
                );
                Err(Error::corrupt(message))
            }
        }
    }

    /// Epoch keys are shared with the successor for a moment: one of the two rings is dropped soon.
    fn copy_epochs(&self) -> Vec<Epoch> {
        let copy = |epoch: &Epoch| Epoch {
            id: epoch.id,
            key: epoch.key.clone(),
            recipient: SecretKey::from_secret(epoch.recipient.secret().clone()),
            created: epoch.created,
        };
        self.epochs.iter().map(copy).collect()
    }
}

/// An object of one part, opened: every byte of it is what its writer wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenedObject {
    /// Epoch and domain stand here.
    pub header: Header,
    /// What could be read without a key.
    pub clear: Vec<u8>,
    /// What could not.
    pub plain: Vec<u8>,
}

/// The secret of a public-key object as its recipient finds it: X25519 ‖ ephemeral ‖ recipient ‖ pre-shared key
/// ‖ repository id.
pub fn host_public_secret(
    recipient: &SecretKey,
    ephemeral: &[u8; 32],
    pre_shared: &PreSharedKey,
    repository: &RepositoryId,
) -> Result<Zeroizing<Vec<u8>>> {
    let ephemeral = PublicKey(*ephemeral);
    let shared = recipient.shared(&ephemeral)?;
    Ok(exchange_secret(
        shared.expose(),
        &ephemeral,
        &recipient.public(),
        pre_shared,
        repository,
    ))
}

/// The same as its sender finds it, from an ephemeral identity that is used once.
pub fn sent_secret(
    ephemeral: &SecretKey,
    recipient: &PublicKey,
    pre_shared: &PreSharedKey,
    repository: &RepositoryId,
) -> Result<Zeroizing<Vec<u8>>> {
    let shared = ephemeral.shared(recipient)?;
    Ok(exchange_secret(
        shared.expose(),
        &ephemeral.public(),
        recipient,
        pre_shared,
        repository,
    ))
}

fn exchange_secret(
    shared: &[u8; 32],
    ephemeral: &PublicKey,
    recipient: &PublicKey,
    pre_shared: &PreSharedKey,
    repository: &RepositoryId,
) -> Zeroizing<Vec<u8>> {
    let mut secret = Zeroizing::new(Vec::with_capacity(160));
    for part in [
        shared,
        &ephemeral.0,
        &recipient.0,
        pre_shared.expose(),
        &repository.0,
    ] {
        secret.extend_from_slice(part);
    }
    secret
}

fn new_epoch(id: EpochId, created: UnixNanos, entropy: &mut dyn Entropy) -> Result<Epoch> {
    Ok(Epoch {
        id,
        key: EpochKey::random(entropy)?,
        recipient: SecretKey::random(entropy)?,
        created,
    })
}

/// Sorted by public key, each once, at least one.
pub(super) fn checked_slots(mut slots: Vec<SlotEntry>) -> Result<Vec<SlotEntry>> {
    slots.sort_by_key(|slot| slot.public);
    slots
        .iter()
        .try_for_each(|slot| checked_label(&slot.label).map(drop))?;
    within("slots", slots.len(), KEYRING_SLOTS_MAX)?;
    if slots.windows(2).any(|pair| pair[0].public == pair[1].public) {
        Err(Error::new(ErrorKind::Usage, "a slot stands in the keyring twice"))
    } else {
        Ok(slots)
    }
}

/// At least one, at most `max`.
pub(super) fn within(what: &str, count: usize, max: usize) -> Result<()> {
    if (1..=max).contains(&count) {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Limit,
            format!("{count} {what}; a keyring has 1 to {max}"),
        ))
    }
}

/// The bounds that encoding and decoding keep.
pub(super) fn domains_within(count: usize) -> Result<()> {
    within("domains", count, KEYRING_DOMAINS_MAX)
}
