//! Opens a repository with a password.
//!
//! Opening a repository: config, the slot the password opens, the keyring that counts.
//!
//! One good copy of config is enough, and one good slot; what had to be done without is kept for `check`.

use std::sync::Arc;

use crate::clock::{SystemClock, UnixNanos};
use crate::envelope::Access;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{DomainId, ObjectId};
use crate::keys::{Config, KeyAccess, KeySlot, OpenedSlot, Parameters, Password, choose_current};
use crate::storage::{ObjectKind, ObjectName, Storage};

use super::create_repository::{fixed_name_id, get_content_named};
use super::high_water::HighWaterStore;
use super::{OWN_DOMAIN, Repo, RepoInner, RepoSettings};

/// Largest config, bytes.
pub(super) const CONFIG_BYTES_MAX: u64 = 64 << 10;

/// The public facts about a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotInfo {
    /// Its name.
    pub id: ObjectId,
    /// True for the one that opened this repository.
    pub current: bool,
    /// When it was made, by its maker's clock.
    pub created: UnixNanos,
    /// Memory a guess takes, KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
}

impl Repo {
    /// Opens the repository in `storage` with a password.
    ///
    /// # Errors
    /// [`ErrorKind::NoRepository`], [`ErrorKind::WrongPassword`], [`ErrorKind::TooNew`], [`ErrorKind::Corrupt`], [`ErrorKind::RolledBack`], and the
    /// storage's.
    pub fn open(storage: Arc<dyn Storage>, password: &Password, settings: RepoSettings) -> Result<Repo> {
        let mut doubts = Vec::new();
        let config = read_configs(&*storage, &mut doubts)?;
        let (slot, opened) = unlock(&*storage, password, &config, &mut doubts)?;
        let rings = read_keyrings(&*storage, &mut doubts)?;
        let chosen = choose_current(&opened.anchor, &opened.identity, &rings)?;
        for id in &chosen.unusable {
            doubts.push(format!(
                "keyring/{id}: no chain from the first keyring reaches it"
            ));
        }
        let domain = Arc::clone(chosen.keyring.domain(OWN_DOMAIN)?);
        HighWaterStore::of(&settings, &opened.anchor.repository, domain.cache_key())
            .check_keyring(&chosen.chain)?;
        let parameters = read_parameters(&config, &chosen.keyring, &opened, &mut doubts)?;
        let mut features = *chosen.keyring.features();
        for config in &config {
            features = features.union(&config.features);
        }
        features.version_gate(Access::Read)?;
        let inner = RepoInner {
            id: opened.anchor.repository,
            key_access: KeyAccess::Owner(Arc::new(chosen.keyring)),
            parameters,
            features,
            unlocked: Some((slot, opened)),
            settings,
            unlock_warnings: doubts,
            parity_notes: super::stored_parity::ParityNotes::default(),
        };
        Self::from_inner(inner, OWN_DOMAIN, storage)
    }

    pub(super) fn from_inner(inner: RepoInner, domain: DomainId, storage: Arc<dyn Storage>) -> Result<Repo> {
        Ok(Repo {
            domain: Arc::clone(inner.key_access.domain(domain)?),
            inner: Arc::new(inner),
            storage,
            clock: Arc::new(SystemClock),
        })
    }

    /// The slots there are, damaged ones left out.
    pub fn slots(&self) -> Result<Vec<SlotInfo>> {
        let listed = self.storage().list(ObjectKind::Slot)?;
        Ok(listed
            .into_iter()
            .filter_map(|listed| self.slot_info(listed.name).ok())
            .collect())
    }

    pub(crate) fn slot_info(&self, name: ObjectName) -> Result<SlotInfo> {
        let slot = KeySlot::decode(&get_content_named(&**self.storage(), name)?)?;
        let cost = slot.cost();
        Ok(SlotInfo {
            id: name.id,
            current: self
                .inner
                .unlocked
                .as_ref()
                .is_some_and(|(slot, _)| *slot == name.id),
            created: slot.created(),
            memory_kib: cost.memory_kib,
            iterations: cost.passes,
            parallelism: cost.lanes,
        })
    }
}

/// The readable copies of config, the one from `config` first.
pub(super) fn read_configs(storage: &dyn Storage, doubts: &mut Vec<String>) -> Result<Vec<Config>> {
    let mut found = Vec::new();
    let mut refusal = None;
    let mut missing = 0;
    for kind in [ObjectKind::Config, ObjectKind::ConfigCopy] {
        let name = ObjectName {
            kind,
            id: fixed_name_id(),
        };
        match storage
            .get(name, CONFIG_BYTES_MAX)
            .and_then(|bytes| Config::decode(&bytes))
        {
            Ok(config) => found.push(config),
            Err(error) if error.kind() == ErrorKind::TooNew => {
                return Err(error.context("open the repository"));
            }
            Err(error) => {
                missing += u32::from(error.kind() == ErrorKind::NotFound);
                doubts.push(format!("{}: {error}", name.path()));
                refusal = Some(error);
            }
        }
    }
    match refusal {
        _ if !found.is_empty() => Ok(found),
        Some(error) if missing < 2 => Err(error.context("read config and its copy")),
        _ => Err(Error::new(
            ErrorKind::NoRepository,
            format!("there is no repository at {}", storage.describe()),
        )),
    }
}

/// The first slot that the password opens and that vouches for this repository (a killed `init` may have left one
/// that vouches for none).
fn unlock(
    storage: &dyn Storage,
    password: &Password,
    configs: &[Config],
    doubts: &mut Vec<String>,
) -> Result<(ObjectId, OpenedSlot)> {
    let mut refusal = Error::new(ErrorKind::Corrupt, "the repository has no slot that can be read");
    for listed in storage.list(ObjectKind::Slot).context(|| "list the slots")? {
        let opened = get_content_named(storage, listed.name)
            .and_then(|bytes| KeySlot::decode(&bytes)?.unlock(password));
        match opened {
            Ok(opened) if configs.iter().any(|config| config.anchor == opened.anchor) => {
                return Ok((listed.name.id, opened));
            }
            Ok(_) => refusal = Error::corrupt("config and its copy name another repository than the slot"),
            Err(error) if error.kind() == ErrorKind::WrongPassword => refusal = error,
            Err(error) => doubts.push(format!("{}: {error}", listed.name.path())),
        }
    }
    match doubts.last() {
        Some(doubt) if refusal.kind() != ErrorKind::WrongPassword => Err(refusal.context(doubt.clone())),
        _ => Err(refusal.context("open the repository")),
    }
}

pub(super) fn read_keyrings(
    storage: &dyn Storage,
    doubts: &mut Vec<String>,
) -> Result<Vec<(ObjectId, Vec<u8>)>> {
    let mut rings = Vec::new();
    for listed in storage
        .list(ObjectKind::Keyring)
        .context(|| "list the keyrings")?
    {
        match get_content_named(storage, listed.name) {
            Ok(bytes) => rings.push((listed.name.id, bytes)),
            Err(error) => doubts.push(error.to_string()),
        }
    }
    Ok(rings)
}

/// The first copy of config that this keyring authenticates.
fn read_parameters(
    configs: &[Config],
    keyring: &crate::keys::Keyring,
    opened: &OpenedSlot,
    doubts: &mut Vec<String>,
) -> Result<Parameters> {
    let mut parameters = None;
    let mut refusal = Error::corrupt("no copy of config");
    for config in configs {
        match config.open(keyring, &opened.anchor) {
            Ok(opened) => parameters = parameters.or(Some(opened)),
            Err(error) => {
                doubts.push(format!("config: {error}"));
                refusal = error;
            }
        }
    }
    check_parameter_sizes(parameters.ok_or(refusal)?)
}

/// Sizes that this program cuts by.
pub(super) fn check_parameter_sizes(parameters: Parameters) -> Result<Parameters> {
    let known = Parameters {
        pack_bytes: parameters.pack_bytes,
        ..Parameters::default()
    };
    if parameters == known {
        Ok(parameters)
    } else {
        Err(Error::new(
            ErrorKind::TooNew,
            "the repository cuts chunks by sizes this program does not know",
        ))
    }
}
