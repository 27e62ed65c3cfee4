//! Opens the repository once for each dedup domain.
//!
//! The repository as each domain has it that some snapshots are of, with its index: blobs of one domain are looked up in
//! that domain alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, ErrorKind, Result};
use crate::id::DomainId;
use crate::index_cache::IndexLookup;
use crate::repo::{BlobReader, Repo, StoredSnapshot};

/// Index and keys by domain.
pub struct DomainViews {
    by_domain: BTreeMap<DomainId, (Repo, IndexLookup)>,
}

impl DomainViews {
    /// Those that `snapshots` need, which were listed before: what they rest on was indexed before them.
    pub fn open(repo: &Repo, snapshots: &[StoredSnapshot]) -> Result<Self> {
        let domains: BTreeSet<_> = snapshots.iter().map(|stored| stored.snapshot.domain).collect();
        let view = |domain| {
            let repo = repo.in_domain(domain)?;
            let lookup = repo.lookup()?;
            Ok((domain, (repo, lookup)))
        };
        let by_domain = domains.into_iter().map(view).collect::<Result<_>>()?;
        Ok(Self { by_domain })
    }

    /// A reader of each.
    pub fn readers(&self) -> BTreeMap<DomainId, BlobReader<'_>> {
        let views = self.by_domain.iter();
        views
            .map(|(domain, (repo, lookup))| (*domain, BlobReader::new(repo, lookup)))
            .collect()
    }
}

/// The one of a snapshot's domain.
pub fn find_by_domain<T>(by_domain: &BTreeMap<DomainId, T>, domain: DomainId) -> Result<&T> {
    let none = || Error::new(ErrorKind::WrongKey, format!("domain {} was not opened", domain.0));
    by_domain.get(&domain).ok_or_else(none)
}
