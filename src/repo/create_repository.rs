//! Creates a repository in an order that leaves no half.
//!
//! `init`: the objects that make a repository, in the order that never leaves half of one.
//!
//! Keyring, slot, `config.copy`, `config` last: until `config` is there, nobody takes the place for a repository.
//! Then everything is read back from the storage and opened with the password, as any other program would.

use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::crypto::{ChunkerSecret, OsEntropy};
use crate::envelope::object_id;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::keys::{Parameters, Password, SlotCost, create_initial_objects_like};
use crate::storage::{ObjectKind, ObjectName, Storage};

use super::{Repo, RepoSettings};

/// What a new repository is to be.
#[derive(Clone, Debug, Default)]
pub struct NewRepository {
    /// Sizes that all its writers keep to.
    pub parameters: Parameters,
    /// What a guess of the password costs.
    pub cost: SlotCost,
    /// A name for the first slot.
    pub label: String,
}

impl Repo {
    /// Makes a repository in an empty storage and opens it.
    pub fn create(
        storage: Arc<dyn Storage>,
        password: &Password,
        new: NewRepository,
        settings: RepoSettings,
    ) -> Result<Repo> {
        Self::create_with(storage, password, new, settings, None)
    }

    /// The same, where chunks are cut as in `like`: values and files that are backed up into one and copied from the
    /// other then share their chunks. Of `like`'s keys it has the chunker secret and no other.
    pub fn create_like(
        storage: Arc<dyn Storage>,
        password: &Password,
        new: NewRepository,
        settings: RepoSettings,
        like: &Repo,
    ) -> Result<Repo> {
        let chunker = like.domain_keys().chunker_secret();
        Self::create_with(storage, password, new, settings, Some(chunker))
    }

    fn create_with(
        storage: Arc<dyn Storage>,
        password: &Password,
        new: NewRepository,
        settings: RepoSettings,
        chunker: Option<&ChunkerSecret>,
    ) -> Result<Repo> {
        refuse_existing_repository(&*storage)?;
        let mut parameters = new.parameters;
        if let Some(bytes) = settings.pack_bytes {
            parameters.pack_bytes =
                u32::try_from(bytes).map_err(|_| Error::new(ErrorKind::Usage, "packs that large"))?;
        }
        let founding = create_initial_objects_like(
            &parameters,
            password,
            new.cost,
            &new.label,
            SystemClock.now(),
            chunker,
            &mut OsEntropy,
        )?;
        let put = |kind, id, bytes: &[u8]| {
            let name = ObjectName { kind, id };
            storage
                .put_new(name, bytes)
                .context(|| format!("store {}", name.path()))
        };
        put(
            ObjectKind::Keyring,
            founding.first_keyring.0,
            &founding.first_keyring.1,
        )?;
        put(ObjectKind::Slot, founding.slot.0, &founding.slot.1)?;
        put(ObjectKind::ConfigCopy, fixed_name_id(), &founding.config)?;
        put(ObjectKind::Config, fixed_name_id(), &founding.config)?;
        Repo::open(storage, password, settings).context(|| "read the new repository back")
    }
}

/// Config and its copy have fixed names.
pub(super) fn fixed_name_id() -> ObjectId {
    ObjectId([0; ObjectId::LEN])
}

/// A slot or a keyring alone is what a killed `init` leaves: it opens nothing and is in nobody's way.
fn refuse_existing_repository(storage: &dyn Storage) -> Result<()> {
    for kind in [
        ObjectKind::Config,
        ObjectKind::ConfigCopy,
        ObjectKind::Snapshot,
        ObjectKind::Pack,
    ] {
        if let Some(there) = storage.list(kind)?.first() {
            let message = format!("{} already holds {}", storage.describe(), there.name.path());
            return Err(Error::new(ErrorKind::Exists, message).context("make a repository"));
        }
    }
    Ok(())
}

/// Reads a content-named object whole and holds it to its name.
pub(super) fn get_content_named(storage: &dyn Storage, name: ObjectName) -> Result<Vec<u8>> {
    let bytes = storage
        .get(name, crate::limits::OBJECT_BYTES_MAX)
        .context(|| format!("read {}", name.path()))?;
    if object_id(&bytes) == name.id {
        Ok(bytes)
    } else {
        Err(Error::corrupt("the stored bytes do not hash to the object's name").context(name.path()))
    }
}
