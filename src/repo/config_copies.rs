//! Reads and repairs the two copies of config.
//!
//! The two copies of config: read, judged, and put back from one another.

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::keys::Config;
use crate::storage::{ObjectKind, ObjectName};

use super::Repo;
use super::create_repository::fixed_name_id;
use super::object_deletion::DeletePermit;
use super::unlock::CONFIG_BYTES_MAX;

impl Repo {
    /// A copy of config, if it is whole and this repository's; what is wrong with it otherwise.
    ///
    /// # Errors
    /// The storage's, but for one that is not there.
    pub(crate) fn config_copy(&self, kind: ObjectKind) -> Result<std::result::Result<Vec<u8>, Error>> {
        let bytes = match self.storage().get(config_name(kind), CONFIG_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Limit) => {
                return Ok(Err(error));
            }
            Err(error) => return Err(error),
        };
        let (keyring, anchor) = (self.keyring()?, &self.opened_slot()?.anchor);
        let judged = Config::decode(&bytes).and_then(|config| {
            if config.anchor == *anchor {
                config.open(keyring, anchor).map(drop)
            } else {
                Err(Error::corrupt("it is another repository's"))
            }
        });
        Ok(judged.map(|()| bytes))
    }

    /// Puts `bytes`, which the other copy has, in the place of this one. A crash in between leaves the other copy, which is
    /// enough to open the repository.
    pub(crate) fn restore_config_copy(&self, kind: ObjectKind, bytes: &[u8]) -> Result<()> {
        self.check_writable()?;
        let (storage, name) = (self.storage(), config_name(kind));
        self.delete(&DeletePermit::Damaged, name)?;
        storage
            .put_new(name, bytes)
            .context(|| format!("store {}", name.path()))?;
        if storage.get(name, CONFIG_BYTES_MAX)? == bytes {
            Ok(())
        } else {
            Err(Error::corrupt("it does not read back as it was stored").context(name.path()))
        }
    }
}

fn config_name(kind: ObjectKind) -> ObjectName {
    ObjectName {
        kind,
        id: fixed_name_id(),
    }
}
