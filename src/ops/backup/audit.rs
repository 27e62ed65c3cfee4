//! Compares a full scan with what increments stored.
//!
//! The slow path that checks the fast one: all of a database is read, and compared with what its changes made of it.
//!
//! Counts and digests tell whether the two agree. Where they do not, both are read again side by side, and the report says
//! which keys differ and how: enough to find the bug, or what tampered with the source.

use std::cmp::Ordering;
use std::fmt;

use crate::engine::database_digests::DigestPipeline;
use crate::engine::read_records::{not_a_record, read_long_value, runs};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ObjectId, StreamDigest};
use crate::leveldb::Comparator;
use crate::repo::{BlobReader, BlobWriter, Repo};
use crate::report::OperationReport;
use crate::run::{KeyRange, OwnedEntry, RunReader, StackCursor, TombstoneMode};
use crate::snapshot::DatabaseRoot;
use crate::source::{Database, RecordSink};

/// Differences that are told one by one.
const DIFFERENCES_MAX: usize = 20;

/// All of a database does not say what its changes made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditDisagreement {
    /// Keys whose records differ.
    pub keys: u64,
    /// The first of them.
    pub differences: Vec<AuditDifference>,
    /// Snapshots that are in doubt for it.
    pub suspects: Vec<ObjectId>,
}

/// One key's records, by the hash of their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditDifference {
    /// The key.
    pub key: Vec<u8>,
    /// Length and BLAKE3 of the value that the changes made; `None` for no record.
    pub by_changes: Option<(u64, blake3::Hash)>,
    /// The same of the value that is in the database.
    pub in_database: Option<(u64, blake3::Hash)>,
}

impl AuditDisagreement {
    /// All of these differences, the first of them told one by one.
    pub(super) fn of(differences: impl Iterator<Item = AuditDifference>) -> Self {
        let mut found = Self::default();
        for difference in differences {
            found.add(difference);
        }
        found
    }

    fn add(&mut self, difference: AuditDifference) {
        self.keys += 1;
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(difference);
        }
    }
}

impl fmt::Display for AuditDisagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the changes that were read make {} records another than the database has: please report this",
            self.keys
        )
    }
}

/// Reads all of `database` and compares it with `root`. The stream digest of what it read, or the disagreement.
pub fn audit(
    repo: &Repo,
    writer: &mut BlobWriter,
    database: &Database,
    root: &DatabaseRoot,
    report: &OperationReport,
) -> Result<Result<StreamDigest, AuditDisagreement>> {
    let mut digests = DigestPipeline::new(repo.domain_keys().set_digest_key().expose(), report);
    let scanned = database.scan(&mut digests)?;
    if let Some(damage) = scanned.damage.first() {
        // The full backup that follows saves what can be read, and lists what cannot.
        report.notice(format!("{}: {}: {}", root.name, damage.file, damage.what));
        return Ok(Err(AuditDisagreement::default()));
    }
    let found = digests.finish()?;
    if (found.records, found.set) == (root.records, root.set_digest) {
        return Ok(Ok(found.stream));
    }
    if repo.keyring().is_err() {
        // A write-only host cannot read what it stored: which records they are is not told.
        return Ok(Err(AuditDisagreement::default()));
    }
    // The newest run may still be in open packs.
    writer.flush()?;
    find_differences(repo, database, root).map(Err)
}

/// Both side by side.
fn find_differences(repo: &Repo, database: &Database, root: &DatabaseRoot) -> Result<AuditDisagreement> {
    let lookup = repo.lookup()?;
    let reader = BlobReader::new(repo, &lookup);
    let comparator = Comparator::from_name(&root.shape.comparator);
    let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
    let walkers: Vec<_> = runs(root, false)?
        .iter()
        .rev()
        .map(|run| RunReader::new(&reader, run.root.as_ref(), &order))
        .collect();
    let stack = StackCursor::new(&walkers, &KeyRange::all(), TombstoneMode::Drop, &order)?;
    let mut sides = AuditSides {
        reader: &reader,
        comparator: &comparator,
        stack,
        ahead: None,
        found: AuditDisagreement::default(),
    };
    sides.step()?;
    database.scan(&mut sides)?;
    sides.report_remaining()?;
    match sides.found.keys {
        0 => Err(Error::new(
            ErrorKind::Mismatch,
            "counts or digests disagree, and no record does: the snapshot's are wrong",
        )),
        _ => Ok(sides.found),
    }
}

struct AuditSides<'a> {
    reader: &'a BlobReader<'a>,
    comparator: &'a Comparator,
    stack: StackCursor<'a>,
    /// The stack's next record.
    ahead: Option<(Vec<u8>, OwnedEntry)>,
    found: AuditDisagreement,
}

impl AuditSides<'_> {
    fn step(&mut self) -> Result<()> {
        let next = self.stack.next()?;
        self.ahead = next.map(|entry| (entry.key.to_vec(), entry.payload.to_owned()));
        Ok(())
    }

    /// The stack's next record if its key comes before `key`, or is it.
    fn take(&mut self, key: &[u8], wanted: Ordering) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let is_it = |(ahead, _): &mut (Vec<u8>, OwnedEntry)| self.comparator.compare(ahead, key) == wanted;
        let Some((key, entry)) = self.ahead.take_if(is_it) else {
            return Ok(None);
        };
        self.step()?;
        let value = match entry {
            OwnedEntry::Inline(value) => value,
            OwnedEntry::Chunked(list) => read_long_value(self.reader, &list)?,
            OwnedEntry::Delete | OwnedEntry::Patch(_) => return Err(not_a_record()),
        };
        Ok(Some((key, value)))
    }

    fn report_remaining(&mut self) -> Result<()> {
        while let Some((key, _)) = &self.ahead {
            let key = key.clone();
            if let Some((key, value)) = self.take(&key, Ordering::Equal)? {
                self.add_difference(&key, Some(&value), None);
            }
        }
        Ok(())
    }

    fn add_difference(&mut self, key: &[u8], by_changes: Option<&[u8]>, in_database: Option<&[u8]>) {
        let facts = |value: &[u8]| (value.len() as u64, blake3::hash(value));
        self.found.add(AuditDifference {
            key: key.to_vec(),
            by_changes: by_changes.map(facts),
            in_database: in_database.map(facts),
        });
    }
}

impl RecordSink for AuditSides<'_> {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        while let Some((before, value)) = self.take(key, Ordering::Less)? {
            self.add_difference(&before, Some(&value), None);
        }
        match self.take(key, Ordering::Equal)? {
            Some((same, by_changes)) if same == key && by_changes == value => {}
            Some((_, by_changes)) => self.add_difference(key, Some(&by_changes), Some(value)),
            None => self.add_difference(key, None, Some(value)),
        }
        Ok(())
    }
}
