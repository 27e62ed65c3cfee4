//! A repository as a write-only host has it: what it reads is told by clear headers and by its own domain's index.
//!
//! It is a type of its own, so that what takes the owner's keys cannot be called with it. Within the crate it shares
//! [`Repo`]'s way to the storage; whatever asks for the owner's keys there is refused ([`crate::keys::Holder::owner`]).

use std::sync::Arc;

use crate::clock::Clock;
use crate::envelope::{Access, Header, ObjectClass};
use crate::error::{Act, Error, Result};
use crate::id::DomainId;
use crate::keys::{Credential, Holder};
use crate::storage::{ObjectKind, Storage};

use super::unlock::{config, known_sizes};
use super::{Cache, Catalog, HostState, Inner, Remembered, Repo, Settings, StoredSnapshot};

/// An opened repository that can be written to and not read.
#[derive(Clone)]
pub struct HostRepo {
    repo: Repo,
}

impl HostRepo {
    /// Opens the repository in `storage` with a credential.
    ///
    /// # Errors
    /// [`crate::error::Kind::NoRepository`]; [`crate::error::Kind::TooNew`]; [`crate::error::Kind::Corrupt`] if the
    /// storage shows another repository than the credential's.
    pub fn open(storage: Arc<dyn Storage>, credential: Credential, settings: Settings) -> Result<Self> {
        let mut doubts = Vec::new();
        let configs = config(&*storage, &mut doubts)?;
        if configs.iter().all(|config| config.anchor != credential.anchor()) {
            return Err(Error::corrupt(
                "config and its copy name another repository than the credential",
            ));
        }
        let mut features = *credential.features();
        for config in &configs {
            features = features.union(&config.features);
        }
        features.gate(Access::Write)?;
        let domain = credential.domain().id();
        let inner = Inner {
            id: credential.anchor().repository,
            parameters: known_sizes(*credential.parameters())?,
            holder: Holder::Host(Arc::new(credential)),
            features,
            unlocked: None,
            settings,
            doubts,
            parity_notes: super::parity::ParityNotes::default(),
        };
        Ok(Self {
            repo: Repo::of(inner, domain, storage)?,
        })
    }

    /// The host's domain.
    pub fn domain(&self) -> DomainId {
        self.repo.domain()
    }

    /// The same over another storage: a wrapper, a copy, a mirror.
    #[must_use]
    pub fn over(&self, storage: Arc<dyn Storage>) -> Self {
        let repo = self.repo.over(storage);
        Self { repo }
    }

    /// The same by another clock than the machine's.
    #[must_use]
    pub fn by_clock(&self, clock: Arc<dyn Clock>) -> Self {
        let repo = self.repo.by_clock(clock);
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
            Cache::Directory(dir) => Some(dir.join(format!("{}-host", repo.cache_name()))),
            Cache::None => None,
        };
        HostState::new(dir, repo.domain_keys().index_key().clone())
    }

    /// Its snapshots as far as it remembers them, as a catalog: counters go on behind the highest that it knows of, and
    /// behind as many as are stored.
    pub(crate) fn catalog(&self, remembered: &[Remembered]) -> Result<Catalog> {
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
        let mut catalog = Catalog::of_host(self.domain(), snapshots.collect(), newest);
        catalog.listed_at = Some(self.repo.clock().now());
        Ok(catalog)
    }

    /// How many snapshots of the host's domain are stored, by their clear headers.
    fn count_snapshots(&self) -> Result<u64> {
        let storage = self.repo.storage();
        let mut count = 0;
        for listed in storage.list(ObjectKind::Snapshot).act(|| "list the snapshots")? {
            let first = storage.get_range(listed.name, 0, listed.len.min(Header::LEN as u64) as usize);
            let is_ours =
                |header: Header| header.class == ObjectClass::Snapshot && header.domain == self.domain();
            count += u64::from(Header::decode(&first?).is_ok_and(is_ours));
        }
        Ok(count)
    }
}
