//! Checks the records and files of every snapshot, blob by blob.
//!
//! What snapshots rest on: every tree whole, in order, with the counts its parents and the snapshot say;
//! with data, set digests computed anew from the records.
//!
//! A run's top blob stands in many snapshots: each run is walked once, and what was found of it holds for all.

mod files;
mod stack_digests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::blob::BlobKind;
use crate::chunk::{BlobSource, ChunkList};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BlobId, SetDigest};
use crate::leveldb::Comparator;
use crate::record::SetDigestAccumulator;
use crate::repo::{BlobReader, Repo, StoredSnapshot, first_readable_copy};
use crate::report::OperationReport;
use crate::run::{EntryPayload, KeyOrder, KeyRange, LeafSpan, RunReader, read_leaf};
use crate::snapshot::{DatabaseContent, DatabaseRoot, SnapshotSource, StoredRunRef, TreeRoot};

use super::CheckOutcome;
use super::findings::CheckFindings;
use super::objects::ReadableIndex;
use super::packs::{self, PackFaults};
use super::snapshots::path;
use crate::engine::read_records;
use files::WalkedDirectories;
use stack_digests::{RANGE_BYTES, SeriesStack, StackDigestContext, StackSeries};

/// What to do about a tree that does not hold.
const TREE_HELPS: &str = "run `levault repair packs --apply`, back up again from the source, then run `levault repair snapshots --apply`: it \
     records what is lost, and the rest can be restored";

/// Leaves looked at by all cores before the walk goes on.
const LEAVES_AT_ONCE: usize = 256;

/// What the trees are checked against.
pub struct TreeCheckContext<'a> {
    pub repo: &'a Repo,
    pub index: &'a ReadableIndex,
    pub packs: &'a PackFaults,
    /// Read every record, not only what inner nodes say.
    pub data: bool,
    pub report: &'a OperationReport,
}

/// Checks what every snapshot rests on. True if every tree could be walked to its ends and was right.
pub fn check<'a>(
    ground: &'a TreeCheckContext<'a>,
    snapshots: &'a [StoredSnapshot],
    findings: &mut CheckFindings,
    outcome: &mut CheckOutcome,
) -> Result<bool> {
    let mut trees = TreeCheck {
        repo: ground.repo,
        reader: BlobReader::new(ground.repo, &ground.index.lookup),
        packs: ground.packs,
        bad: ground.repo.bad_blobs()?.blobs(ground.repo),
        data: ground.data,
        report: ground.report,
        runs: HashMap::new(),
        stacks: BTreeMap::new(),
        long_values: Mutex::new(()),
        known: WalkedDirectories::default(),
        lists: Mutex::default(),
        all_right: true,
    };
    for stored in snapshots {
        ground.report.go_on()?;
        outcome.snapshots += 1;
        trees.known.next_snapshot();
        for (number, source) in stored.snapshot.sources.iter().enumerate() {
            match source {
                SnapshotSource::Database(database) => trees.database(stored, database, findings)?,
                SnapshotSource::Tree(tree) => trees.tree(stored, number, tree, findings)?,
            }
        }
    }
    trees.check_stack_digests(findings)?;
    Ok(trees.all_right)
}

/// Where a stack is recorded, for a finding.
type StackOrigin<'a> = (&'a StoredSnapshot, String);

struct TreeCheck<'a> {
    repo: &'a Repo,
    reader: BlobReader<'a>,
    packs: &'a PackFaults,
    /// Blobs that are noted as bad.
    bad: HashSet<BlobId>,
    data: bool,
    report: &'a OperationReport,
    /// By top blob and kept for all snapshots.
    runs: HashMap<(BlobId, String), RunWalkTotals>,
    /// Stacks by their base, whose digests are computed when all are known.
    stacks: BTreeMap<(Option<BlobId>, String), StackSeries<'a, StackOrigin<'a>>>,
    /// Held while a leaf with long values is read: the memory bound is a multiple of one value, not one per core.
    long_values: Mutex<()>,
    /// Directories that are right, and what they hold.
    known: WalkedDirectories,
    /// Lists of chunks that are right: depth and bytes of each.
    lists: Mutex<HashMap<BlobId, (u8, u64)>>,
    all_right: bool,
}

/// What one walk over a run found.
#[derive(Clone, Default)]
struct RunWalkTotals {
    wrong: Vec<TreeFault>,
    /// Of its records, with data.
    digest: Option<SetDigest>,
    /// First keys of ranges of its records, as [`StackSeries`] has them.
    range_starts: Vec<Vec<u8>>,
}

/// Something a tree leads to that is not right.
#[derive(Clone)]
struct TreeFault {
    object: String,
    what: String,
    keys: String,
}

impl<'a> TreeCheck<'a> {
    fn database(
        &mut self,
        stored: &'a StoredSnapshot,
        database: &'a DatabaseRoot,
        findings: &mut CheckFindings,
    ) -> Result<()> {
        let place = format!("snapshot {} database {}", stored.id.short(), database.name);
        let mut all_right = true;
        let mut add = |wrong: TreeFault| {
            all_right = false;
            let affects = format!("{place}{}", wrong.keys);
            findings.add_affecting(wrong.object, wrong.what, affects, TREE_HELPS);
        };
        match &database.content {
            DatabaseContent::Physical { tree } => self
                .check_other_files(stored, tree)?
                .into_iter()
                .for_each(&mut add),
            DatabaseContent::Logical { runs, uncertain } => {
                let mut facts = Vec::new();
                for run in runs.iter().chain(uncertain) {
                    facts.push(self.run(run, &database.shape.comparator)?);
                }
                let sound = facts.iter().all(|facts| facts.wrong.is_empty());
                facts
                    .iter()
                    .flat_map(|facts| facts.wrong.clone())
                    .for_each(&mut add);
                if sound {
                    self.add_stack(stored, database, runs, &facts);
                }
                if sound && let Some(what) = self.digest_mismatch(database, runs, &facts)? {
                    add(TreeFault {
                        object: path(stored),
                        what,
                        keys: String::new(),
                    });
                }
            }
        }
        if let Some(tree) = &database.beside {
            self.check_other_files(stored, tree)?
                .into_iter()
                .for_each(&mut add);
        }
        self.all_right &= all_right;
        Ok(())
    }

    fn tree(
        &mut self,
        stored: &StoredSnapshot,
        number: usize,
        tree: &TreeRoot,
        findings: &mut CheckFindings,
    ) -> Result<()> {
        for wrong in self.source(stored, number, tree)? {
            self.all_right = false;
            let affects = format!("snapshot {} tree {}{}", stored.id.short(), tree.name, wrong.keys);
            findings.add_affecting(wrong.object, wrong.what, affects, TREE_HELPS);
        }
        Ok(())
    }

    /// A stack's records are counted and digested with those of the others on its base.
    fn add_stack(
        &mut self,
        stored: &'a StoredSnapshot,
        database: &'a DatabaseRoot,
        runs: &'a [StoredRunRef],
        facts: &[RunWalkTotals],
    ) {
        let (Some(base), Some(Some(base_digest))) = (runs.first(), facts.first().map(|facts| facts.digest))
        else {
            return;
        };
        if runs.len() == 1 {
            return;
        }
        let id = base.root.as_ref().map(|root| root.top.id);
        let series = self
            .stacks
            .entry((id, base.comparator.clone()))
            .or_insert_with(|| StackSeries {
                base_digest,
                range_starts: facts[0].range_starts.clone(),
                stacks: Vec::new(),
            });
        series.stacks.push(SeriesStack {
            origin: (
                stored,
                format!("snapshot {} database {}", stored.id.short(), database.name),
            ),
            database,
            runs,
        });
    }

    fn check_stack_digests(&mut self, findings: &mut CheckFindings) -> Result<()> {
        for series in std::mem::take(&mut self.stacks).values() {
            let context = StackDigestContext {
                reader: &self.reader,
                key: self.repo.domain_keys().set_digest_key().expose(),
                long_values: &self.long_values,
                report: self.report,
            };
            for stack in series.mismatches(&context)? {
                self.all_right = false;
                let (stored, affects) = &stack.origin;
                let what = "the merged records do not have the recorded count and set digest";
                findings.add_affecting(path(stored), what.to_owned(), affects.clone(), TREE_HELPS);
            }
        }
        Ok(())
    }

    /// Counts always; digests with data.
    fn digest_mismatch(
        &self,
        database: &DatabaseRoot,
        runs: &[StoredRunRef],
        facts: &[RunWalkTotals],
    ) -> Result<Option<String>> {
        let [base] = runs else {
            return Ok(None);
        };
        if base.records() != database.records {
            return Ok(Some(format!(
                "{} records in its run, {} recorded",
                base.records(),
                database.records
            )));
        }
        let overhead = crate::record::element_len(0, 0) as u64 * database.records;
        if base.bytes() != database.bytes() + overhead {
            return Ok(Some(format!(
                "{} bytes in its run, {} recorded",
                base.bytes(),
                database.bytes() + overhead
            )));
        }
        match facts[0].digest {
            Some(digest) if digest != database.set_digest => {
                Ok(Some("the records do not have the recorded set digest".into()))
            }
            _ => Ok(None),
        }
    }

    fn run(&mut self, run: &StoredRunRef, comparator: &str) -> Result<RunWalkTotals> {
        let Some(root) = &run.root else {
            return Ok(RunWalkTotals {
                digest: Some(self.digest().digest()),
                ..RunWalkTotals::default()
            });
        };
        let key = (root.top.id, comparator.to_owned());
        if let Some(facts) = self.runs.get(&key) {
            return Ok(facts.clone());
        }
        let facts = self.walk(run, &Comparator::from_name(comparator))?;
        self.runs.insert(key, facts.clone());
        Ok(facts)
    }

    fn digest(&self) -> SetDigestAccumulator<'_> {
        SetDigestAccumulator::new(self.repo.domain_keys().set_digest_key().expose())
    }

    fn walk(&self, run: &StoredRunRef, comparator: &Comparator) -> Result<RunWalkTotals> {
        let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
        let mut wrong = Vec::new();
        let mut digest = self.digest();
        let mut last_key = Vec::new();
        let (mut range_starts, mut range_bytes) = (Vec::new(), 0);
        let mut spans = RunReader::new(&self.reader, run.root.as_ref(), &order).leaves(KeyRange::all());
        let mut more = true;
        while more {
            self.report.go_on()?;
            let mut batch = Vec::with_capacity(LEAVES_AT_ONCE);
            let mut broken = None;
            while more && batch.len() < LEAVES_AT_ONCE {
                match spans.next() {
                    Some(Ok(span)) => {
                        last_key.clone_from(&span.leaf.first_key);
                        if self.data && range_bytes >= RANGE_BYTES {
                            range_starts.push(last_key.clone());
                            range_bytes = 0;
                        }
                        range_bytes += span.leaf.bytes;
                        batch.push(span);
                    }
                    end => {
                        more = false;
                        broken = end.and_then(Result::err);
                    }
                }
            }
            self.leaves(&batch, &order, &mut wrong, &mut digest)?;
            if let Some(error) = broken {
                let keys = format!(", keys from {} on", key_text(&last_key));
                wrong.push(self.unreadable_finding(
                    run.root.as_ref().map(|root| root.top.id),
                    &error,
                    keys,
                )?);
            }
        }
        Ok(RunWalkTotals {
            wrong,
            digest: self.data.then(|| digest.digest()),
            range_starts,
        })
    }

    /// Leaves on all cores; findings in key order.
    fn leaves(
        &self,
        batch: &[LeafSpan],
        order: KeyOrder,
        wrong: &mut Vec<TreeFault>,
        digest: &mut SetDigestAccumulator,
    ) -> Result<()> {
        let start = || (Vec::new(), self.digest());
        let shares: Vec<_> = batch
            .par_iter()
            .try_fold(start, |(mut wrong, mut digest), span| {
                let has_long = span.leaf.chunked > 0;
                let alone = || self.long_values.lock().unwrap_or_else(PoisonError::into_inner);
                let _alone = has_long.then(alone);
                let found = self.leaf(span, order, &mut digest)?;
                wrong.extend(found.map(|found| TreeFault {
                    keys: range_text(span),
                    ..found
                }));
                Ok::<_, Error>((wrong, digest))
            })
            .collect::<Result<_>>()?;
        for (found, share) in shares {
            wrong.extend(found);
            digest.merge(&share.digest());
        }
        Ok(())
    }

    /// A leaf's place in a good pack, and with data or chunks also what is in it.
    fn leaf(
        &self,
        span: &LeafSpan,
        order: KeyOrder,
        digest: &mut SetDigestAccumulator,
    ) -> Result<Option<TreeFault>> {
        if let Some(wrong) = self.location_text(BlobKind::Leaf, &span.leaf.id)? {
            return Ok(Some(wrong));
        }
        if !self.data && span.leaf.chunked == 0 {
            return Ok(None);
        }
        let plain = match self.reader.blob(BlobKind::Leaf, &span.leaf.id) {
            Ok(plain) => plain,
            Err(error) => {
                return self
                    .unreadable_finding(Some(span.leaf.id), &error, String::new())
                    .map(Some);
            }
        };
        let mut wrong = None;
        let read = read_leaf(&plain, span, order, |entry| match &entry.payload {
            EntryPayload::Inline(value) if self.data => {
                digest.add_record(entry.key, value);
                Ok(())
            }
            EntryPayload::Chunked(list) => self
                .chunked(entry.key, list, digest)
                .map(|found| wrong = found.or(wrong.take())),
            _ => Ok(()),
        });
        match read {
            Ok(()) => Ok(wrong),
            Err(error) => self
                .unreadable_finding(Some(span.leaf.id), &error, String::new())
                .map(Some),
        }
    }

    fn chunked(
        &self,
        key: &[u8],
        list: &ChunkList,
        digest: &mut SetDigestAccumulator,
    ) -> Result<Option<TreeFault>> {
        if let Some(wrong) = self.chunks(list)? {
            return Ok(Some(wrong));
        }
        if self.data {
            digest.add_record(key, &read_records::read_long_value(&self.reader, list)?);
        }
        Ok(None)
    }

    /// What is wrong with all copies of a blob; `None` when one is good as far as is known.
    fn location_text(&self, kind: BlobKind, id: &BlobId) -> Result<Option<TreeFault>> {
        let mut wrong = None;
        let locations = self.reader.locations(kind, id)?;
        if self.bad.contains(id) && first_readable_copy(&self.reader, id, &locations).is_none() {
            return Ok(Some(TreeFault {
                object: format!("{kind:?} blob {id}"),
                what: "is noted as bad, and no copy of it opens".into(),
                keys: String::new(),
            }));
        }
        for location in locations {
            match self.packs.fault_of(&location) {
                None => return Ok(None),
                Some(what) => {
                    wrong = Some(TreeFault {
                        object: packs::path(&location.pack),
                        what,
                        keys: String::new(),
                    })
                }
            }
        }
        let unknown = || TreeFault {
            object: format!("{kind:?} blob {id}"),
            what: "no index segment knows it".into(),
            keys: String::new(),
        };
        Ok(Some(wrong.unwrap_or_else(unknown)))
    }

    /// An error met on the way, as a finding; a wish to stop stays an error.
    fn unreadable_finding(&self, id: Option<BlobId>, error: &Error, keys: String) -> Result<TreeFault> {
        if error.kind() == ErrorKind::Interrupted {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
        }
        let object = id.map_or_else(|| "a chunk list".to_owned(), |id| format!("blob {id}"));
        Ok(TreeFault {
            object,
            what: error.to_string(),
            keys,
        })
    }
}

fn range_text(span: &LeafSpan) -> String {
    let from = key_text(&span.leaf.first_key);
    match &span.upper {
        Some(upper) => format!(", keys from {from} to before {}", key_text(upper)),
        None => format!(", keys from {from} on"),
    }
}

fn key_text(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.chars().any(char::is_control) => format!("{text:?}"),
        _ => format!("0x{}", data_encoding::HEXLOWER.encode(key)),
    }
}
