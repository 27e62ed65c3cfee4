//! Encodes, decodes and uses a write-only host's credential.
//!
//! A write-only host's credential (FORMAT.md section 5): the keys of one domain, and the owner's public key to seal to.
//!
//! ```text
//! password --argon2id--> payload: repository, first keyring, features, sizes, recipient, domain
//! ```
//! It opens index segments of its domain, and nothing else. Packs and snapshots are sealed to the owner with an
//! ephemeral key for each, which is forgotten when the object is finished: from then on the host cannot open it either.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::config::Parameters;
use super::domain_keys::{self, DomainKeys};
use super::key_slot::{self, Password, RepositoryAnchor, SlotCost, append_checksum, check_checksum};
use super::keyring::{Keyring, OpenedObject, sent_secret};
use crate::clock::UnixNanos;
use crate::codec::{Reader, put_prefixed};
use crate::crypto::Entropy;
use crate::crypto::key_exchange::{PublicKey, SecretKey};
use crate::envelope::{self, Features, Header, KeyScheme, ObjectClass, PartKey, gate};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{DomainId, EpochId, ObjectId, RepositoryId};
use crate::limits::LABEL_BYTES_MAX;

const VERSION: u8 = 1;

/// Longest encoding of the sizes, bytes.
const PARAMETERS_BYTES_MAX: usize = 64;

/// What a write-only host holds.
pub struct Credential {
    anchor: RepositoryAnchor,
    features: Features,
    parameters: Parameters,
    epoch: EpochId,
    recipient: PublicKey,
    domain: Arc<DomainKeys>,
}

/// A stored credential, its checksum found right; no password was tried yet.
pub struct SealedCredential {
    header: Header,
    cost: SlotCost,
    recipient: PublicKey,
    created: UnixNanos,
    body: Vec<u8>,
}

/// What opens one object that was just sealed to the owner: for the look at the finished object, and gone with it.
pub struct SealedToOwner {
    secret: Zeroizing<Vec<u8>>,
}

impl Credential {
    /// The credential of a domain that the keyring has.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for domain 0, which is the owner's; [`ErrorKind::WrongKey`] for one that is not there.
    pub fn of(
        keyring: &Keyring,
        domain: DomainId,
        anchor: RepositoryAnchor,
        features: Features,
        parameters: Parameters,
    ) -> Result<Self> {
        let newest = keyring.newest();
        Ok(Self {
            anchor,
            features,
            parameters,
            epoch: newest.id,
            recipient: newest.recipient.public(),
            domain: refuse_foreign_object(Arc::clone(keyring.domain(domain)?))?,
        })
    }

    /// The file's bytes. Runs argon2id once.
    pub fn seal(
        &self,
        password: &Password,
        cost: SlotCost,
        created: UnixNanos,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>> {
        let header = key_slot::empty_header(ObjectClass::Credential, entropy.salt()?);
        let secret = cost.run(password, &header.salt)?;
        let clear = key_slot::encode_clear(cost, &self.recipient, created);
        let mut bytes = envelope::seal_one(header, secret.expose(), &clear, &self.encode_payload()?)?;
        append_checksum(&mut bytes);
        Ok(bytes)
    }

    /// The repository, and where its chain of keyrings begins: to be compared with the config that the storage shows.
    pub fn anchor(&self) -> RepositoryAnchor {
        self.anchor
    }

    /// What a program must understand, as far as was known when the credential was made.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Sizes that all writers keep to.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The host's domain.
    pub fn domain(&self) -> &Arc<DomainKeys> {
        &self.domain
    }

    /// The owner's public key that is sealed to.
    pub fn recipient(&self) -> PublicKey {
        self.recipient
    }

    /// The epoch of the owner's key that is sealed to.
    pub fn epoch(&self) -> EpochId {
        self.epoch
    }

    /// Seals an object of one part: to the owner, or for the domain if it is an index segment. What is sealed to the
    /// owner is opened and compared before the key is forgotten.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] for what only the owner may say, and in any domain but the host's.
    pub fn seal_object(
        &self,
        class: ObjectClass,
        domain: DomainId,
        clear: &[u8],
        plain: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>> {
        match class {
            _ if domain != self.domain.id() => Err(refused_error(format!(
                "seal a {} of domain {}",
                class.word(),
                domain.0
            ))),
            ObjectClass::Index => self.domain.seal_segment(clear, plain, entropy),
            ObjectClass::Snapshot | ObjectClass::Wal => self.seal_to_owner(class, clear, plain, entropy),
            _ => Err(refused_error(format!(
                "say a {} in the owner's name",
                class.word()
            ))),
        }
    }

    fn seal_to_owner(
        &self,
        class: ObjectClass,
        clear: &[u8],
        plain: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>> {
        let (header, sent) = self.new_exchange(class, entropy)?;
        let bytes = envelope::seal_one(header, &sent.secret, clear, plain)?;
        let opened = envelope::parse_one(class, &bytes)?.open(&sent.secret);
        if opened.context(|| format!("open the finished {}", class.word()))? == plain {
            Ok(bytes)
        } else {
            Err(Error::corrupt(format!(
                "the finished {} opens to other bytes",
                class.word()
            )))
        }
    }

    /// A fresh key of a new pack, and what opens it once.
    pub fn new_key(&self, class: ObjectClass, entropy: &mut dyn Entropy) -> Result<(PartKey, SealedToOwner)> {
        let (header, sent) = self.new_exchange(class, entropy)?;
        Ok((envelope::commit(header, &sent.secret), sent))
    }

    fn new_exchange(&self, class: ObjectClass, entropy: &mut dyn Entropy) -> Result<(Header, SealedToOwner)> {
        let ephemeral = SecretKey::random(entropy)?;
        let pre_shared = self.domain.pre_shared_key();
        let secret = sent_secret(&ephemeral, &self.recipient, pre_shared, &self.anchor.repository)?;
        let header = Header {
            class,
            scheme: KeyScheme::Exchange,
            epoch: self.epoch,
            domain: self.domain.id(),
            clear_len: 0,
            ephemeral: ephemeral.public().0,
            salt: entropy.salt()?,
            commitment: [0; 32],
        };
        Ok((header, SealedToOwner { secret }))
    }

    /// Opens an index segment of the host's domain, stored as `id`.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] for anything else: the keys are the owner's.
    pub fn open_object(&self, class: ObjectClass, id: &ObjectId, bytes: &[u8]) -> Result<OpenedObject> {
        let open = || -> Result<_> {
            envelope::check_name(id, bytes)?;
            let parts = envelope::parse_one(class, bytes)?;
            self.may_open(&parts.header)?;
            let plain = parts.open(self.domain.index_key().expose())?;
            Ok(OpenedObject {
                clear: parts.clear.to_vec(),
                header: parts.header,
                plain,
            })
        };
        open().context(|| format!("open {} {}", class.word(), id.short()))
    }

    fn may_open(&self, header: &Header) -> Result<()> {
        match (header.class, header.scheme, header.domain == self.domain.id()) {
            (ObjectClass::Index, KeyScheme::Domain, true) => Ok(()),
            (class, ..) => Err(refused_error(format!("open a {}", class.word()))),
        }
    }

    pub(super) fn encode_payload(&self) -> Result<Zeroizing<Vec<u8>>> {
        // Room for all, so that no reallocation leaves a copy of keys behind.
        let mut out = Zeroizing::new(Vec::with_capacity(400 + PARAMETERS_BYTES_MAX + LABEL_BYTES_MAX));
        out.push(VERSION);
        out.extend_from_slice(&self.anchor.repository.0);
        out.extend_from_slice(&self.anchor.first_keyring.0);
        self.features.encode(&mut out);
        put_prefixed(&mut out, &self.parameters.encode()?);
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        out.extend_from_slice(&self.recipient.0);
        self.domain.encode(&mut out);
        Ok(out)
    }
}

/// The plain payload of a credential.
pub(super) fn decode_payload(payload: &[u8]) -> Result<Credential> {
    let mut reader = Reader::new(payload);
    gate::gate_version("credential payload", reader.u8()?, VERSION)?;
    let anchor = RepositoryAnchor {
        repository: RepositoryId(reader.array()?),
        first_keyring: ObjectId(reader.array()?),
    };
    let features = Features::decode(&mut reader)?;
    let len = reader.len_varint(PARAMETERS_BYTES_MAX, "length of the sizes")?;
    let parameters = Parameters::decode(reader.bytes(len)?)?;
    let epoch = EpochId(reader.u32()?);
    let recipient = PublicKey(reader.array()?);
    let domain = Arc::new(DomainKeys::decode(&mut reader)?);
    reader.finish()?;
    let domain = refuse_foreign_object(domain).map_err(|error| error.with_kind(ErrorKind::Corrupt))?;
    Ok(Credential {
        anchor,
        features,
        parameters,
        epoch,
        recipient,
        domain,
    })
}

fn refuse_foreign_object(domain: Arc<DomainKeys>) -> Result<Arc<DomainKeys>> {
    if domain.id() != domain_keys::OWNERS {
        Ok(domain)
    } else {
        Err(Error::new(
            ErrorKind::Usage,
            "domain 0 is the owner's, and no write-only host's",
        ))
    }
}

/// What a credential cannot do, and who can.
pub(super) fn refused_error(what: impl Into<String>) -> Error {
    let what = what.into();
    Error::new(
        ErrorKind::Denied,
        format!("a write-only host's credential cannot {what}; that takes the repository's password"),
    )
}

impl SealedCredential {
    /// Reads a credential file. Runs nothing, opens nothing; checks the checksum and the limits.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let body = check_checksum(bytes)?;
        let parts = envelope::parse_one(ObjectClass::Credential, body)?;
        let (cost, recipient, created) = key_slot::decode_clear(parts.clear)?;
        match parts.header.scheme {
            KeyScheme::Password => Ok(Self {
                header: parts.header,
                cost,
                recipient,
                created,
                body: body.to_vec(),
            }),
            _ => Err(Error::corrupt("credential is not sealed by a password")),
        }
    }

    /// Tries a password: [`ErrorKind::WrongPassword`] if it is not the one.
    pub fn unlock(&self, password: &Password) -> Result<Credential> {
        let secret = self.cost.run(password, &self.header.salt)?;
        let payload = envelope::parse_one(ObjectClass::Credential, &self.body)?
            .open(secret.expose())
            .map_err(|error| match error.kind() {
                ErrorKind::WrongKey => Error::new(
                    ErrorKind::WrongPassword,
                    "the password does not open this credential",
                ),
                _ => error,
            })?;
        let credential = decode_payload(&Zeroizing::new(payload)).context(|| "read credential")?;
        if credential.recipient == self.recipient {
            Ok(credential)
        } else {
            Err(Error::corrupt(
                "credential's clear part does not agree with its payload",
            ))
        }
    }

    /// When it was made, by its maker's clock.
    pub fn created(&self) -> UnixNanos {
        self.created
    }
}

impl SealedToOwner {
    /// The key of the object that begins with `header`, if it is the one that was sealed with this.
    pub fn open_key(&self, class: ObjectClass, header: &Header) -> Result<PartKey> {
        header.expect_class(class)?;
        envelope::open_key(header, &self.secret)
    }
}
