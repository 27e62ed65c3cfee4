//! Accesses a repository without its keys.
//!
//! A repository without its keys: what whoever stores it can tell. It lists, hashes and parses what is clear; there is
//! no way from here to anything that is sealed.

use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{HealableStorage, ObjectKind, Storage, StorageReader};

/// A repository in `storage`, of which no key is known.
#[derive(Clone)]
pub struct KeylessRepo {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
}

impl KeylessRepo {
    /// The repository in `storage`. [`ErrorKind::NoRepository`] where neither `config` nor its copy is.
    pub fn open(storage: Arc<dyn Storage>) -> Result<Self> {
        let configs = [ObjectKind::Config, ObjectKind::ConfigCopy];
        let found = configs.map(|kind| storage.list(kind));
        for found in found {
            if !found?.is_empty() {
                let clock = Arc::new(SystemClock);
                return Ok(Self { storage, clock });
            }
        }
        Err(Error::new(
            ErrorKind::NoRepository,
            format!("there is no repository at {}", storage.describe()),
        ))
    }

    /// The same by another clock than the machine's.
    #[must_use]
    pub fn with_clock(&self, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            ..self.clone()
        }
    }

    /// Where it lives: to be read.
    pub fn storage_reader(&self) -> StorageReader<'_> {
        StorageReader::new(&*self.storage)
    }

    /// Where it lives: to have damaged objects replaced.
    pub fn storage_healer(&self) -> HealableStorage<'_> {
        HealableStorage::new(&*self.storage)
    }

    pub(super) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// What time it is.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}
