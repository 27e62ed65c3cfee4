//! Computes what uses the space of a repository.
//!
//! Stats: what uses the space, in all, by snapshot, by database and by tree of files.

mod blob_usage;

use std::collections::HashMap;

use crate::error::Result;
use crate::id::{DomainId, ObjectId, TimelineId};
use crate::repo::{BlobReader, Repo, StoredSnapshot};
use crate::report::OperationReport;
use crate::snapshot::SourceIdentity;
use crate::storage::ObjectKind;

use crate::engine::blob_cache::BlobCacheReader;
use crate::engine::blob_set::NumberedBlobs;
use blob_usage::BlobUser;

/// The whole repository, and each snapshot asked for.
#[derive(Clone, Debug, Default)]
pub struct RepositoryStats {
    /// Packs stored.
    pub packs: u64,
    /// Blobs indexed, each once.
    pub blobs: u64,
    /// Bytes of all packs.
    pub stored_bytes: u64,
    /// Parity objects beside the packs.
    pub parity: u64,
    /// Their bytes.
    pub parity_bytes: u64,
    /// Stored bytes of all blobs, each once.
    pub blob_bytes: u64,
    /// Bytes of all blobs before compression.
    pub plain_bytes: u64,
    /// Oldest first.
    pub snapshots: Vec<SnapshotStats>,
    /// By host and name; none when one snapshot was asked for.
    pub databases: Vec<SourceStats>,
    /// The same of the trees of files.
    pub trees: Vec<SourceStats>,
}

/// The bytes that some databases and trees restore to, and the stored bytes they need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredShare {
    /// Bytes of keys, values and files they restore to.
    pub restore_bytes: u64,
    /// Stored bytes of the blobs they rest on, each once.
    pub stored_bytes: u64,
    /// Those of them that nothing else rests on.
    pub exclusive_bytes: u64,
}

/// One snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotStats {
    /// The snapshot.
    pub id: ObjectId,
    /// All its sources together; exclusive is what no other snapshot rests on.
    pub share: StoredShare,
}

/// One database or tree of one host.
#[derive(Clone, Debug)]
pub struct SourceStats {
    /// The domain: a write-only host may claim any name.
    pub domain: DomainId,
    /// The host.
    pub host: String,
    /// The label of its newest state.
    pub name: String,
    /// Where it stood.
    pub path: Vec<u8>,
    /// The history of a database.
    pub timeline: Option<TimelineId>,
    /// Snapshots that have it.
    pub snapshots: u64,
    /// All its states together; exclusive is what no other database or tree rests on.
    pub share: StoredShare,
}

impl StoredShare {
    /// Stored bytes that others rest on too.
    pub fn shared_bytes(&self) -> u64 {
        self.stored_bytes - self.exclusive_bytes
    }
}

impl RepositoryStats {
    /// Plain bytes for each stored one.
    pub fn compression_ratio(&self) -> f64 {
        ratio(self.plain_bytes, self.stored_bytes)
    }

    fn add_domain(&mut self, domain: RepositoryStats) {
        self.blobs += domain.blobs;
        self.blob_bytes += domain.blob_bytes;
        self.plain_bytes += domain.plain_bytes;
        self.snapshots.extend(domain.snapshots);
        self.databases.extend(domain.databases);
        self.trees.extend(domain.trees);
    }

    /// Restored bytes for each plain one that is stored.
    pub fn dedup_ratio(&self) -> f64 {
        ratio(self.restore_bytes(), self.plain_bytes)
    }

    /// Bytes of keys, values and files of all snapshots together, as if nothing was shared.
    pub fn restore_bytes(&self) -> u64 {
        self.snapshots.iter().map(|row| row.share.restore_bytes).sum()
    }
}

fn ratio(of: u64, to: u64) -> f64 {
    match to {
        0 => 1.0,
        to => of as f64 / to as f64,
    }
}

/// Counts; reads inner nodes, and leaves only where long values hang on them.
pub fn stats(
    repo: &Repo,
    only: Option<&StoredSnapshot>,
    report: &OperationReport,
) -> Result<RepositoryStats> {
    // Snapshots before the index: what a listed snapshot rests on was indexed before it.
    let mut snapshots = repo.snapshots()?;
    // A forgotten one that was named still rests on something.
    let is_apart = |only: &&StoredSnapshot| snapshots.iter().all(|stored| stored.id != only.id);
    if let Some(only) = only.filter(is_apart) {
        snapshots.push(only.clone());
    }
    let listed = repo.storage_reader().list(ObjectKind::Pack)?;
    let parity = repo.storage_reader().list(ObjectKind::Parity)?;
    let mut stats = RepositoryStats {
        packs: listed.len() as u64,
        parity: parity.len() as u64,
        parity_bytes: parity.iter().map(|parity| parity.len).sum(),
        stored_bytes: listed.iter().map(|pack| pack.len).sum(),
        ..RepositoryStats::default()
    };
    for domain in repo.domains()? {
        let of_it = snapshots.iter().filter(|stored| stored.snapshot.domain == domain);
        let of_it: Vec<_> = of_it.cloned().collect();
        stats.add_domain(domain_stats(&repo.in_domain(domain)?, &of_it, only, report)?);
    }
    let place = |row: &SnapshotStats| snapshots.iter().position(|stored| stored.id == row.id);
    stats.snapshots.sort_by_key(place);
    Ok(stats)
}

/// The blobs and snapshots of one domain: they share nothing with another's.
fn domain_stats(
    repo: &Repo,
    snapshots: &[StoredSnapshot],
    only: Option<&StoredSnapshot>,
    report: &OperationReport,
) -> Result<RepositoryStats> {
    let lookup = repo.lookup()?;
    let blobs = NumberedBlobs::collect(lookup.iter_rows()?, lookup.len())?;
    let reader = BlobReader::new(repo, &lookup);
    let source = BlobCacheReader::new(&reader);
    let shares = |groups: &[Vec<BlobUser>]| blob_usage::stored_shares(&source, &blobs, groups, report);
    let mut stats = RepositoryStats {
        blobs: blobs.len() as u64,
        blob_bytes: blobs.stored_bytes(),
        plain_bytes: blobs.plain_bytes(),
        snapshots: snapshot_stats(snapshots, shares)?,
        ..RepositoryStats::default()
    };
    match only {
        Some(only) => stats.snapshots.retain(|row| row.id == only.id),
        None => (stats.databases, stats.trees) = source_stats(snapshots, shares)?,
    }
    Ok(stats)
}

fn snapshot_stats(
    snapshots: &[StoredSnapshot],
    shares: impl Fn(&[Vec<BlobUser>]) -> Result<Vec<StoredShare>>,
) -> Result<Vec<SnapshotStats>> {
    let groups: Vec<Vec<_>> = snapshots
        .iter()
        .map(|stored| stored.snapshot.sources.iter().map(BlobUser::from).collect())
        .collect();
    let row = |(stored, share): (&StoredSnapshot, StoredShare)| SnapshotStats { id: stored.id, share };
    Ok(snapshots.iter().zip(shares(&groups)?).map(row).collect())
}

/// Databases, and trees.
fn source_stats(
    snapshots: &[StoredSnapshot],
    shares: impl Fn(&[Vec<BlobUser>]) -> Result<Vec<StoredShare>>,
) -> Result<(Vec<SourceStats>, Vec<SourceStats>)> {
    let mut numbers: HashMap<SourceIdentity, usize> = HashMap::new();
    let mut series: Vec<((SourceIdentity, &str), Vec<BlobUser>)> = Vec::new();
    for snapshot in snapshots.iter().map(|stored| &stored.snapshot) {
        for source in &snapshot.sources {
            let identity = snapshot.identity_of(source);
            let number = *numbers.entry(identity).or_insert(series.len());
            if number == series.len() {
                series.push(((identity, ""), Vec::new()));
            }
            // The label of its newest state.
            series[number].0.1 = source.name();
            series[number].1.push(BlobUser::from(source));
        }
    }
    series.sort_by_key(|((identity, _), _)| (identity.host, identity.path));
    let (whose, groups): (Vec<_>, Vec<_>) = series.into_iter().unzip();
    let counts: Vec<_> = groups
        .iter()
        .map(|group: &Vec<BlobUser>| group.len() as u64)
        .collect();
    let mut found = (Vec::new(), Vec::new());
    let rows = whose.into_iter().zip(counts).zip(shares(&groups)?);
    for (((identity, name), snapshots), share) in rows {
        let row = SourceStats {
            domain: identity.domain,
            host: identity.host.to_owned(),
            name: name.to_owned(),
            path: identity.path.to_vec(),
            timeline: identity.timeline,
            snapshots,
            share,
        };
        let is_tree = row.timeline.is_none();
        if is_tree { &mut found.1 } else { &mut found.0 }.push(row);
    }
    Ok(found)
}
