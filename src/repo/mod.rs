//! An unlocked repository (its keys are open) over any storage.
//!
//! A repository that is unlocked: named, sealed, deduplicated objects over any storage.
//!
//! It knows storage and stages; it does not know where data comes from or goes to, nor which operation runs.
//!
//! # The order every writer obeys (docs/ORDERING.md argues it)
//! 1. A pack is durable before an index segment names it; a segment is durable before a snapshot rests on it; a
//!    snapshot is durable before it is reported. A crash leaves objects that nothing names, and nothing else.
//! 2. Readers list snapshots first, then load the index: whatever a listed snapshot needs was indexed before it.
//! 3. Before a snapshot is published its closure is proven: each pack it rests on is listed, of the right size
//!    and unmarked; see [`Repo::prove_packs`].
//! 4. Names are hashes of stored bytes or random: nothing rests on the store's create-if-absent.

mod blob_reader;
mod blob_writer;
mod catalog;
mod clock_probe;
mod config_copies;
mod create_repository;
mod dedup_index;
mod domain_objects;
mod high_water;
mod host_quota;
mod host_state;
mod key_management;
mod keyless_repo;
mod lease;
mod object_deletion;
mod pack_uploader;
mod sealed_objects;
mod stored_annotations;
mod stored_audits;
mod stored_bad_blobs;
mod stored_forget_records;
mod stored_marks;
mod stored_notes;
mod stored_parity;
mod trusted_copies;
mod unlock;
mod write_only_repo;
mod wrong_clocks;

use std::path::PathBuf;
use std::sync::Arc;

pub use crate::annotations::{CountedSnapshot, CurrentNotes, ForgetEvent, ForgetReason};
pub use crate::compress::Compression;
pub use crate::index_cache::IndexLookup;
pub use crate::parity::ParityShare;
pub use blob_reader::{BlobReader, BlobRequest, PackKeys};
pub use blob_writer::{BlobWriter, NewBlob, WriteMode};
pub(crate) use catalog::NewestCounters;
pub use catalog::{ForgottenSnapshot, SnapshotCatalog, StoredSnapshot, UnreadSnapshot};
pub use create_repository::NewRepository;
pub(crate) use dedup_index::DedupIndex;
pub(crate) use host_quota::HostQuotas;
#[cfg(any(test, feature = "test-util"))]
pub use host_state::reencode_remembered;
pub(crate) use host_state::{HostState, RememberedSnapshot};
pub use key_management::{HostInfo, recovery_password};
pub use keyless_repo::KeylessRepo;
pub use lease::Lease;
pub(crate) use object_deletion::{DeletePermit, DurableObject, SweepPermit};
pub use sealed_objects::{IndexSummary, ListedPacks};
pub(crate) use sealed_objects::{location_of, sealed_name};
pub use stored_annotations::UnreadAnnotation;
pub use stored_audits::StoredAudits;
pub(crate) use stored_audits::read_keyless_audit;
pub use stored_bad_blobs::StoredBadBlobs;
pub(crate) use stored_bad_blobs::first_readable_copy;
pub use stored_forget_records::StoredForgetRecords;
pub use stored_marks::StoredMark;
pub use stored_notes::StoredNotes;
pub(crate) use trusted_copies::TrustedCopies;
pub use unlock::SlotInfo;
pub use write_only_repo::WriteOnlyRepo;
pub use wrong_clocks::is_beyond_skew;

use crate::clock::Clock;
use crate::envelope::{Access, Features};
use crate::id::{DomainId, ObjectId, RepositoryId};
use crate::keys::{DomainKeys, KeyAccess, Keyring, OpenedSlot, Parameters};
use crate::storage::{HealableStorage, Storage, StorageReader};

/// The repository format this program writes.
pub const FORMAT_VERSION: u8 = crate::envelope::gate::FORMAT_VERSION;

/// The owner's dedup domain.
pub const OWN_DOMAIN: DomainId = DomainId(0);

/// How one process uses a repository.
#[derive(Clone, Debug)]
pub struct RepoSettings {
    /// Where the local cache lives.
    pub cache: CacheLocation,
    /// How hard to compress what is new.
    pub compression: Compression,
    /// When a pack is full, bytes; the repository's own size when `None`.
    pub pack_bytes: Option<usize>,
    /// Open and compare each finished pack before it is stored (docs/ORDERING.md).
    pub verify_packs: bool,
    /// Take what the storage shows for the newest, whatever was seen before: for who knows why it is older (a copy that
    /// is brought back).
    pub accept_rollback: bool,
}

impl Default for RepoSettings {
    fn default() -> Self {
        Self {
            cache: CacheLocation::None,
            compression: Compression::Auto,
            pack_bytes: None,
            verify_packs: true,
            accept_rollback: false,
        }
    }
}

/// Where the local cache lives. It is authenticated, safe to delete, and never believed over the storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheLocation {
    /// Below this directory, one directory a repository.
    Directory(PathBuf),
    /// Nowhere: what it would hold goes to a nameless temporary file.
    None,
}

/// An unlocked repository. Clones share it.
#[derive(Clone)]
pub struct Repo {
    inner: Arc<RepoInner>,
    /// What is read and written through this value.
    domain: Arc<DomainKeys>,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
}

struct RepoInner {
    id: RepositoryId,
    key_access: KeyAccess,
    parameters: Parameters,
    features: Features,
    /// The owner's slot and the way to keyrings, for who changes them.
    unlocked: Option<(ObjectId, OpenedSlot)>,
    settings: RepoSettings,
    unlock_warnings: Vec<String>,
    parity_notes: stored_parity::ParityNotes,
}

impl Repo {
    /// The repository's own name.
    pub fn id(&self) -> &RepositoryId {
        &self.inner.id
    }

    /// Where it lives: to be read.
    pub fn storage_reader(&self) -> StorageReader<'_> {
        StorageReader::new(&*self.storage)
    }

    /// Where it lives: to have damaged objects replaced.
    pub fn storage_healer(&self) -> HealableStorage<'_> {
        HealableStorage::new(&*self.storage)
    }

    /// Where it lives. Operations read by [`Repo::storage_reader`], and delete by what permits it.
    fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Where it lives, for tests that damage it.
    #[cfg(any(test, feature = "test-util"))]
    pub fn raw_storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// The same repository over another storage: a wrapper, a copy, a mirror.
    #[must_use]
    pub fn with_storage(&self, storage: Arc<dyn Storage>) -> Self {
        Self {
            storage,
            ..self.clone()
        }
    }

    /// The same repository by another clock than the machine's.
    #[must_use]
    pub fn with_clock(&self, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            ..self.clone()
        }
    }

    /// How this process uses it.
    pub fn settings(&self) -> &RepoSettings {
        &self.inner.settings
    }

    /// What time it is.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Keys of the dedup domain this process writes in.
    pub fn domain_keys(&self) -> &DomainKeys {
        &self.domain
    }

    /// Objects that unlocking had to do without (a damaged config copy, an unusable keyring): for `check`.
    pub fn unlock_warnings(&self) -> &[String] {
        &self.inner.unlock_warnings
    }

    /// Refuses if writing takes an understanding that this program lacks.
    pub(crate) fn check_writable(&self) -> crate::error::Result<()> {
        self.inner.features.version_gate(Access::Write)
    }

    /// The owner's keys; [`crate::error::ErrorKind::Denied`] for a write-only host.
    pub(crate) fn keyring(&self) -> crate::error::Result<&Arc<Keyring>> {
        self.inner.key_access.owner()
    }

    pub(crate) fn key_access(&self) -> &KeyAccess {
        &self.inner.key_access
    }

    pub(crate) fn pack_bytes(&self) -> usize {
        self.inner
            .settings
            .pack_bytes
            .unwrap_or(self.inner.parameters.pack_bytes as usize)
    }
}
