//! Stores one database's records as runs, on all cores.
//!
//! One database's records into run trees: a reading thread, rayon's threads, and the one that owns the writer.
//!
//! ```text
//! calling thread                  storing thread                                     upload thread
//! read, merge, cut into drafts -> [bounded: 1 batch] -> encode, digest, name (rayon)
//!                                                       compress, seal (rayon)      -> [1 pack] -> verify, store
//!                                                       leaf ids -> tree builder -> nodes -> the same writer
//! ```
//! Memory: two batches of about [`super::record_scan::LEAF_BATCH_BYTES`], and what the writer holds. The first error ends
//! both: the reader finds its channel closed, the storing thread its own.

use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::prelude::*;

use crate::blob::{BlobKind, NamedBlob};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{SetDigest, StreamDigest};
use crate::record::SetDigestAccumulator;
use crate::repo::{BlobWriter, Repo};
use crate::report::OperationReport;
use crate::run::{RunRoot, RunTreeBuilder, encode_leaf};

use crate::engine::record_scan::{LeafBatch, RecordCounts, RecordScanSink, RunLeafDraft, ScanDigests};

/// One run, stored.
pub struct StoredRun {
    pub root: Option<RunRoot>,
    pub last_key: Vec<u8>,
}

/// All of one database, or of what changed in it, stored. `S` is what the source tells.
pub struct StoredDatabaseRuns<S> {
    /// What is certain.
    pub base: StoredRun,
    /// What damage in the source made uncertain.
    pub uncertain: StoredRun,
    /// Of what is certain.
    pub set_digest: SetDigest,
    pub stream_digest: StreamDigest,
    pub counts: RecordCounts,
    /// Of the records that changes took away.
    pub removed_digest: SetDigest,
    pub removed_counts: RecordCounts,
    pub scan: S,
}

/// Runs the pipeline until the source is read and all its leaves are in packs. The source is read on the calling
/// thread, since a handle that was lent to us must stay there.
pub fn store_runs<S>(
    repo: &Repo,
    writer: &mut BlobWriter,
    read: impl FnOnce(&mut RecordScanSink) -> Result<S>,
    report: &OperationReport,
) -> Result<StoredDatabaseRuns<S>> {
    let (batches, waiting) = bounded(1);
    let mut trees = RunTreeWriter::new(repo);
    let (scanned, stored) = thread::scope(|scope| {
        let storing = scope.spawn(|| store_batches(&mut trees, writer, waiting));
        let scanned = scan_records(repo, batches, read, report);
        let panicked = |_| Err(Error::new(ErrorKind::Io, "the storing thread panicked"));
        (scanned, storing.join().unwrap_or_else(panicked))
    });
    stored?;
    let (scanned, outcome) = scanned?;
    trees.finish(scanned, outcome, writer)
}

/// Closes the channel when it returns, whatever it returns.
fn scan_records<S>(
    repo: &Repo,
    batches: Sender<LeafBatch>,
    read: impl FnOnce(&mut RecordScanSink) -> Result<S>,
    report: &OperationReport,
) -> Result<(ScanDigests, S)> {
    let mut scan = RecordScanSink::start(repo.domain_keys(), batches, report);
    let outcome = read(&mut scan)?;
    Ok((scan.finish()?, outcome))
}

/// Ends when the reader closes the channel; closes it itself when it fails.
fn store_batches(
    trees: &mut RunTreeWriter,
    writer: &mut BlobWriter,
    batches: Receiver<LeafBatch>,
) -> Result<()> {
    batches
        .into_iter()
        .try_for_each(|batch| trees.take(batch, writer))
}

struct RunTreeWriter<'r> {
    repo: &'r Repo,
    base: RunTreeBuilder,
    uncertain: RunTreeBuilder,
    digest: SetDigestAccumulator<'r>,
}

/// Leaves that one thread encoded, in order, and the digest of those that are certain.
struct EncodedLeaves<'k> {
    digest: SetDigestAccumulator<'k>,
    leaves: Vec<(RunLeafDraft, NamedBlob)>,
}

impl<'k> EncodedLeaves<'k> {
    fn new(key: &'k [u8; 32]) -> Self {
        Self {
            digest: SetDigestAccumulator::new(key),
            leaves: Vec::new(),
        }
    }

    fn take(mut self, repo: &Repo, draft: RunLeafDraft) -> Result<Self> {
        if draft.certain {
            self.digest.add_stream(draft.draft.stream())?;
        }
        let blob = NamedBlob::name(repo.domain_keys(), BlobKind::Leaf, encode_leaf(&draft.draft));
        self.leaves.push((draft, blob));
        Ok(self)
    }
}

impl<'r> RunTreeWriter<'r> {
    fn new(repo: &'r Repo) -> Self {
        let digest = SetDigestAccumulator::new(repo.domain_keys().set_digest_key().expose());
        Self {
            repo,
            base: RunTreeBuilder::new(),
            uncertain: RunTreeBuilder::new(),
            digest,
        }
    }

    fn take(&mut self, batch: LeafBatch, writer: &mut BlobWriter) -> Result<()> {
        let (repo, key) = (self.repo, self.repo.domain_keys().set_digest_key().expose());
        // One share of the digest for many leaves: records are hashed together with others of their length.
        let shares: Vec<EncodedLeaves> = batch
            .drafts
            .into_par_iter()
            .try_fold(|| EncodedLeaves::new(key), |share, draft| share.take(repo, draft))
            .collect::<Result<_>>()?;
        let mut blobs = batch.blobs;
        let mut leaves = Vec::new();
        for share in shares {
            self.digest.merge(&share.digest.digest());
            for (draft, blob) in share.leaves {
                leaves.push((draft, blob.id()));
                blobs.push(blob);
            }
        }
        writer.add_named(blobs)?;
        for (leaf, id) in leaves {
            let tree = if leaf.certain {
                &mut self.base
            } else {
                &mut self.uncertain
            };
            tree.push(leaf.draft.leaf_ref(id), &mut |kind, plain| {
                writer.add_one(kind, plain)
            })?;
        }
        Ok(())
    }

    fn finish<S>(
        mut self,
        scanned: ScanDigests,
        scan: S,
        writer: &mut BlobWriter,
    ) -> Result<StoredDatabaseRuns<S>> {
        self.digest.merge(&scanned.undrafted_digest);
        let [base_last, uncertain_last] = scanned.last_keys;
        let mut end = |tree: RunTreeBuilder, last_key| {
            let root = tree.finish(&mut |kind, plain| writer.add_one(kind, plain))?;
            Ok::<_, Error>(StoredRun { root, last_key })
        };
        Ok(StoredDatabaseRuns {
            base: end(self.base, base_last)?,
            uncertain: end(self.uncertain, uncertain_last)?,
            set_digest: self.digest.digest(),
            stream_digest: scanned.stream_digest,
            counts: scanned.counts,
            removed_digest: scanned.removed_digest,
            removed_counts: scanned.removed_counts,
            scan,
        })
    }
}
