//! Opens a repository as a write-only host.
//!
//! A repository as a write-only host has it: what it reads is told by clear headers and by its own domain's index.
//!
//! It is a type of its own, so that what takes the owner's keys cannot be called with it. Within the crate it shares
//! [`Repo`]'s way to the storage; whatever asks for the owner's keys there is refused ([`crate::keys::KeyAccess::owner`]).

use std::sync::Arc;

use crate::clock::Clock;
use crate::envelope::{Access, Header, ObjectClass};
use crate::error::{Error, Result, ResultExt};
use crate::id::DomainId;
use crate::keys::{Credential, KeyAccess};
use crate::storage::{ObjectKind, Storage};

use super::unlock::{check_parameter_sizes, read_configs};
use super::{
    CacheLocation, HostState, RememberedSnapshot, Repo, RepoInner, RepoSettings, SnapshotCatalog,
    StoredSnapshot,
};

/// An opened repository that can be written to and not read.
#[derive(Clone)]
pub struct WriteOnlyRepo {
    repo: Repo,
}

impl WriteOnlyRepo {
    /// Opens the repository in `storage` with a credential.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::NoRepository`]; [`crate::error::ErrorKind::TooNew`]; [`crate::error::ErrorKind::Corrupt`] if the
    /// storage shows another repository than the credential's.
    pub fn open(storage: Arc<dyn Storage>, credential: Credential, settings: RepoSettings) -> Result<Self> {
        let mut doubts = Vec::new();
        let configs = read_configs(&*storage, &mut doubts)?;
        if configs.iter().all(|config| config.anchor != credential.anchor()) {
            return Err(Error::corrupt(
                "config and its copy name another repository than the credential",
            ));
        }
        let mut features = *credential.features();
        for config in &configs {
            features = features.union(&config.features);
        }
        features.version_gate(Access::Write)?;
        let domain = credential.domain().id();
        let inner = RepoInner {
            id: credential.anchor().repository,
            parameters: check_parameter_sizes(*credential.parameters())?,
            key_access: KeyAccess::Host(Arc::new(credential)),
            features,
            unlocked: None,
            settings,
            unlock_warnings: doubts,
            parity_notes: super::stored_parity::ParityNotes::default(),
        };
        Ok(Self {
            repo: Repo::from_inner(inner, domain, storage)?,
        })
    }

    /// The host's domain.
    pub fn domain(&self) -> DomainId {
        self.repo.domain()
    }

    /// The same over another storage: a wrapper, a copy, a mirror.
    #[must_use]
    pub fn with_storage(&self, storage: Arc<dyn Storage>) -> Self {
        let repo = self.repo.with_storage(storage);
        Self { repo }
    }

    /// The same by another clock than the machine's.
    #[must_use]
    pub fn with_clock(&self, clock: Arc<dyn Clock>) -> Self {
        let repo = self.repo.with_clock(clock);
        Self { repo }
    }

    /// What it shares with the owner's.
    pub(crate) fn repo(&self) -> &Repo {
        &self.repo
    }

    /// What it remembers of its snapshots.
    pub(crate) fn state(&self) -> HostState {
        let repo = &self.repo;
        let dir = match &repo.settings().cache {
            CacheLocation::Directory(dir) => Some(dir.join(format!("{}-host", repo.cache_name()))),
            CacheLocation::None => None,
        };
        HostState::new(dir, repo.domain_keys().index_key().clone())
    }

    /// Its snapshots as far as it remembers them, as a catalog: counters go on behind the highest that it knows of, and
    /// behind as many as are stored.
    pub(crate) fn catalog(&self, remembered: &[RememberedSnapshot]) -> Result<SnapshotCatalog> {
        let newest = remembered
            .iter()
            .map(|kept| (kept.snapshot.counter, Some(kept.id)))
            .max();
        let newest = match newest {
            Some(newest) => newest,
            None => (self.count_snapshots()?, None),
        };
        let snapshots = remembered.iter().map(|kept| StoredSnapshot {
            id: kept.id,
            snapshot: kept.snapshot.clone(),
        });
        let mut catalog = SnapshotCatalog::of_host(self.domain(), snapshots.collect(), newest);
        catalog.listed_at = Some(self.repo.clock().now());
        Ok(catalog)
    }

    /// How many snapshots of the host's domain are stored, by their clear headers.
    fn count_snapshots(&self) -> Result<u64> {
        let storage = self.repo.storage();
        let mut count = 0;
        for listed in storage
            .list(ObjectKind::Snapshot)
            .context(|| "list the snapshots")?
        {
            let first = storage.get_range(listed.name, 0, listed.len.min(Header::LEN as u64) as usize);
            let is_ours =
                |header: Header| header.class == ObjectClass::Snapshot && header.domain == self.domain();
            count += u64::from(Header::decode(&first?).is_ok_and(is_ours));
        }
        Ok(count)
    }
}
