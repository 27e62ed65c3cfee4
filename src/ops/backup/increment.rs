//! Stores a database as its parent's stack and one delta.
//!
//! A database as a snapshot has it, and what changed since: one more run on the stack.
//!
//! An increment stands on the snapshot that the pins name. It is given up, and the database read in full, whenever
//! something about pins, snapshot or database is not as it must be; the reason is told.

use crate::error::{ErrorKind, Result};
use crate::id::ObjectId;
use crate::leveldb::Comparator;
use crate::record::SetDigestAccumulator;
use crate::repo::{BlobWriter, Repo, SnapshotCatalog, StoredSnapshot};
use crate::report::OperationReport;
use crate::run::compaction_plan::{self, CompactionPlan};
use crate::snapshot::{
    CaptureRecord, DatabaseContent, DatabaseRoot, SnapshotSource, SourceTrust, StoredRunRef,
};
use crate::source::changed_records::{DeltaOutcome, ages_may_differ, visit_changes};
use crate::source::pins::ParentState;
use crate::source::{Database, TornTail};

use super::audit::AuditDisagreement;
use super::compaction::compact_stack;
use super::parent_damage;
use super::save_database::DatabaseRequest;
use super::spot_check::{SpotCheck, SpotCheckVerdict};
use super::stored_form::log_tail;
use crate::engine::record_scan::RecordCounts;
use crate::engine::run_pipeline::{self, StoredDatabaseRuns, StoredRun};

/// What came of the wish for an increment.
pub enum IncrementAttempt {
    /// The changes are stored.
    Stored(Box<StoredIncrement>),
    /// All of it must be read; the reason, unless it is simply the first time.
    NeedsFullRead {
        why: Option<String>,
        /// It is another database than before: a new history begins.
        begins_timeline: bool,
    },
    /// The changes that were read are not all, or others: keys that were read again say so.
    Disagrees(AuditDisagreement),
}

/// The database as it is now, standing on a snapshot.
pub struct StoredIncrement {
    pub root: DatabaseRoot,
    /// That snapshot.
    pub since: ObjectId,
    /// Its number among the sources of that.
    pub source: u32,
    /// Keys whose records are not the same.
    pub keys: u64,
    /// Bytes of what had to be compared: tables that differ, and logs.
    pub bytes_differing: u64,
    /// Bytes of other tables, in which single keys were looked up.
    pub bytes_looked_up: u64,
    /// Keys that were read again, and agree.
    pub spot_checked: u64,
}

fn needs_full_read(why: impl Into<String>) -> IncrementAttempt {
    IncrementAttempt::NeedsFullRead {
        why: Some(why.into()),
        begins_timeline: false,
    }
}

/// Makes an increment if it can be proven right.
pub fn store_increment(
    repo: &Repo,
    writer: &mut BlobWriter,
    wanted: &DatabaseRequest,
    database: &Database,
    report: &OperationReport,
) -> Result<IncrementAttempt> {
    let before = match database.pins().map(|pins| pins.parent_state(database)) {
        None | Some(Ok(None)) => {
            return Ok(IncrementAttempt::NeedsFullRead {
                why: None,
                begins_timeline: false,
            });
        }
        Some(Err(error)) => {
            // What touched the files may have put others in their place.
            let another = error.kind() == ErrorKind::Mismatch;
            let why = Some(error.to_string());
            return Ok(IncrementAttempt::NeedsFullRead {
                why,
                begins_timeline: another,
            });
        }
        Some(Ok(Some(before))) => before,
    };
    let parent = match find_parent(repo, wanted, &before) {
        Ok(parent) => parent,
        Err(why) => return Ok(needs_full_read(why)),
    };
    if let Some(increment) = find_contradiction(parent, &before, database) {
        return Ok(increment);
    }
    if let Some(why) = parent_damage::find_parent_damage(repo, writer, parent, report)? {
        return Ok(needs_full_read(why));
    }
    let mut check = SpotCheck::begin(database, &before.shared)?;
    let stored = run_pipeline::store_runs(
        repo,
        writer,
        |scan| {
            visit_changes(
                &before.database,
                database,
                &before.shared,
                &mut check.sample_changes(scan),
            )
        },
        report,
    )?;
    if let Err(error) = before.database.prove_unchanged() {
        let why = Some(error.to_string());
        return Ok(IncrementAttempt::NeedsFullRead {
            why,
            begins_timeline: true,
        });
    }
    if let Some(damage) = stored.scan.damage.first() {
        return Ok(needs_full_read(format!("{}: {}", damage.file, damage.what)));
    }
    let (bytes_differing, bytes_looked_up) = (stored.scan.bytes_differing, stored.scan.bytes_looked_up);
    let keys = stored.base.root.as_ref().map_or(0, |root| root.top.records);
    let Some(mut root) = stack_on_parent(repo, parent, database, stored) else {
        return Ok(needs_full_read("the changes do not fit the state before"));
    };
    let spot_checked = match check.compare(repo, parent, &before.database, database)? {
        SpotCheckVerdict::Agrees(keys) => keys,
        SpotCheckVerdict::Unreadable(why) => return Ok(needs_full_read(why)),
        SpotCheckVerdict::Differs(mut disagreement) => {
            disagreement.suspects = suspect_snapshots(&wanted.input.catalog, before.snapshot, &root);
            return Ok(IncrementAttempt::Disagrees(disagreement));
        }
    };
    // The state before may have been saved under another name, and elsewhere.
    wanted.name.clone_into(&mut root.name);
    root.path = wanted.path_bytes()?;
    if !wanted.dry_run {
        compact_stack(repo, writer, &mut root, report)?;
    }
    Ok(IncrementAttempt::Stored(Box::new(StoredIncrement {
        root,
        since: before.snapshot,
        source: before.source,
        keys,
        bytes_differing,
        bytes_looked_up,
        spot_checked,
    })))
}

/// The pinned snapshot's database, if an increment may stand on it.
fn find_parent<'a>(
    repo: &Repo,
    wanted: &DatabaseRequest<'a>,
    before: &ParentState,
) -> Result<&'a DatabaseRoot, String> {
    let stored = find_counted_snapshot(&wanted.input.catalog, &before.snapshot)?;
    let source = stored.snapshot.sources.get(before.source as usize);
    let Some(SnapshotSource::Database(root)) = source else {
        return Err(format!(
            "source {} of snapshot {} is no database",
            before.source,
            before.snapshot.short()
        ));
    };
    let DatabaseContent::Logical {
        runs,
        uncertain: None,
    } = &root.content
    else {
        return Err("the state before was not stored as records alone".into());
    };
    if root.is_damaged()
        || root.trust != SourceTrust::Verified
        || stored.snapshot.domain != repo.domain_keys().id()
    {
        return Err("the state before was damaged or is of another kind".into());
    }
    if let Some(reason) = wanted.input.notes.suspect_note(&before.snapshot) {
        return Err(format!(
            "snapshot {} is suspect: {reason}",
            before.snapshot.short()
        ));
    }
    let sizes: Vec<_> = runs.iter().map(StoredRunRef::bytes).collect();
    match compaction_plan::plan(&sizes) {
        CompactionPlan::Leave | CompactionPlan::Newest(_) if repo.keyring().is_err() && runs.len() >= compaction_plan::STACK_RUNS_MAX => Err(
            "a write-only host cannot fold its changes, and there are as many as may stand on one another"
                .into(),
        ),
        CompactionPlan::Renew => Err("its changes have grown to half of it, so that it is stored anew".into()),
        _ => Ok(root),
    }
}

/// The pinned snapshot, if it counts. A forgotten one is as good as gone: its packs are nobody's to rest on, and may be
/// marked already ([`Repo::prove_snapshots`]).
fn find_counted_snapshot<'a>(
    catalog: &'a SnapshotCatalog,
    id: &ObjectId,
) -> Result<&'a StoredSnapshot, String> {
    if let Some(unread) = catalog.unread_forget_records.first() {
        return Err(format!(
            "which snapshots are forgotten cannot be told: {}",
            unread.what
        ));
    }
    if let Some(unread) = catalog.unread_notes.first() {
        return Err(format!(
            "what is noted of snapshots cannot be told: {}",
            unread.what
        ));
    }
    let gone = match catalog.forgotten(id) {
        Some(_) => "forgotten",
        None => "gone",
    };
    let found = catalog.snapshots.iter().find(|stored| stored.id == *id);
    found.ok_or_else(|| format!("snapshot {}, which it was compared with, is {gone}", id.short()))
}

/// What tells that the two states are not one database's, or not whole.
fn find_contradiction(
    parent: &DatabaseRoot,
    before: &ParentState,
    now: &Database,
) -> Option<IncrementAttempt> {
    let then = &before.database;
    // Greater is what a backup leaves that found no record changed, and stored no snapshot for it.
    if then.last_sequence() < parent.last_sequence {
        return Some(needs_full_read(
            "the pinned files are not those of the snapshot they name",
        ));
    }
    let another = |why: &str| {
        Some(IncrementAttempt::NeedsFullRead {
            why: Some(why.to_owned()),
            begins_timeline: true,
        })
    };
    if now.last_sequence() < then.last_sequence() {
        return another("its sequence numbers went back: it was rolled back, restored or replaced");
    }
    if now.manifest_number() < then.manifest_number() {
        return another(
            "its MANIFEST has a smaller number than before: it was repaired, restored or replaced",
        );
    }
    let tables = &then.version().tables;
    let replaced = now.version().tables.keys().any(|&(_, number)| {
        !before.shared.contains(&number) && tables.keys().any(|&(_, other)| other == number)
    });
    if replaced {
        return another("a table has its number and is another file: it was restored or replaced");
    }
    if ages_may_differ(then, now, &before.shared) {
        return Some(needs_full_read(
            "the age of its tables is told otherwise than before, as behind a repair",
        ));
    }
    let mut damage = now
        .damage_at_a_glance()
        .into_iter()
        .chain(then.damage_at_a_glance());
    damage
        .next()
        .map(|damage| needs_full_read(format!("{}: {}", damage.file, damage.what)))
}

/// The state before with one run more; `None` if more was taken away than there was.
fn stack_on_parent(
    repo: &Repo,
    parent: &DatabaseRoot,
    database: &Database,
    stored: StoredDatabaseRuns<DeltaOutcome>,
) -> Option<DatabaseRoot> {
    let mut root = parent.clone();
    let before = RecordCounts {
        records: parent.records,
        key_bytes: parent.key_bytes,
        value_bytes: parent.value_bytes,
    };
    let counts = before.subtract(stored.removed_counts)?.with(stored.counts);
    (root.records, root.key_bytes, root.value_bytes) = (counts.records, counts.key_bytes, counts.value_bytes);
    let mut digest =
        SetDigestAccumulator::resume(repo.domain_keys().set_digest_key().expose(), &parent.set_digest);
    digest.merge(&stored.set_digest);
    digest.unmerge(&stored.removed_digest);
    root.set_digest = digest.digest();
    root.last_sequence = database.last_sequence();
    root.shape.last_sequence = database.last_sequence();
    root.shape.next_file = database.version().next_file;
    root.capture = capture_record(&stored.scan, database);
    root.capture.increments = parent.capture.increments.saturating_add(1);
    if let (Some(run), DatabaseContent::Logical { runs, .. }) = (
        stored_run_ref(stored.base, database.comparator()),
        &mut root.content,
    ) {
        runs.push(run);
        root.stream_digest = None;
    }
    Some(root)
}

/// Snapshots that a disagreement puts in doubt: those that stand on increments since all of the database was last read.
/// Forgotten ones too: they may be brought back, and one of them may be what was read in full.
pub fn suspect_snapshots(catalog: &SnapshotCatalog, since: ObjectId, root: &DatabaseRoot) -> Vec<ObjectId> {
    let until = catalog.all().rev().skip_while(|(id, _)| *id != since);
    let of_it = until.filter_map(|(id, snapshot)| {
        // Wherever it stood, and whatever it was called.
        let states = snapshot
            .databases()
            .filter(|other| other.timeline == root.timeline);
        Some((id, states.map(|state| state.capture.increments).max()?))
    });
    of_it
        .take_while(|(_, increments)| *increments > 0)
        .map(|(id, _)| id)
        .collect()
}

/// `None` for a run without entries.
pub(super) fn stored_run_ref(stored: StoredRun, comparator: &Comparator) -> Option<StoredRunRef> {
    stored.root.is_some().then(|| StoredRunRef {
        root: stored.root,
        last_key: stored.last_key,
        comparator: comparator.name().to_owned(),
        filter: None,
    })
}

fn capture_record(outcome: &DeltaOutcome, database: &Database) -> CaptureRecord {
    let tails: Vec<TornTail> = database.torn_tails();
    CaptureRecord {
        tables: database.version().tables.len() as u64,
        bytes_read: outcome.bytes_read,
        log_entries: database.log_entries(),
        torn_tails: tails.iter().map(log_tail).collect(),
        ..CaptureRecord::default()
    }
}
