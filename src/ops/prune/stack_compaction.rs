//! Compacts stacks that hide much garbage.
//!
//! An increment leaves the values that it overwrote in the runs below it, where the snapshots before need them. When those
//! are forgotten nothing needs them, and no leaf that holds them can go: the snapshots that are left need its other records.
//! So the stack's visible records become one run, and a note on the snapshot says that it stands in for the stack. The
//! snapshot keeps its name. Nobody reads the new run before it was held to the snapshot's own set digest.
//!
//! Only stacks whose base no other snapshot uses: another would keep the old base, and both would be stored.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::annotations::{CompactedStack, Note, NoteSubject, SnapshotNote};
use crate::clock::UnixNanos;
use crate::engine::reachability::{ReachabilityRoot, ReachabilityRootId};
use crate::engine::read_records::{RecordQuery, read_records_with};
use crate::engine::{record_scan::RecordScanSink, run_pipeline};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{BlobId, ObjectId};
use crate::record::ELEMENT_OVERHEAD;
use crate::repo::{BlobReader, BlobWriter, Repo, SnapshotCatalog, WriteMode};
use crate::report::OperationReport;
use crate::snapshot::{DatabaseContent, DatabaseRoot, Snapshot, SnapshotSource, StoredRunRef};
use crate::source::RecordSink;
use crate::storage::ObjectKind;

use super::prune_input::{PruneInput, ReachableBytes};
use super::prune_plan::PruneLimits;

/// One stack of a snapshot that may be stored again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionCandidate {
    /// The snapshot.
    pub snapshot: ObjectId,
    /// Which of its sources.
    pub source: u32,
    /// Stored bytes of one run of the records that it shows, about.
    pub shown: u64,
    /// Stored bytes that such a run would give back, about; 0 only if nothing of it is hidden.
    pub hidden: u64,
}

/// Chooses, the most wasteful first: those that hide more than the share of what they show which may stay unused, if all
/// together pass the bytes that may; as far as bytes may be stored again. Pure.
pub fn plan(stacks: Vec<CompactionCandidate>, limits: &PruneLimits) -> Vec<CompactionCandidate> {
    let hidden = stacks
        .iter()
        .map(|stack| stack.hidden)
        .fold(0, u64::saturating_add);
    let share = limits.unused_share_max.max(0.0);
    let wasteful = |stack: &CompactionCandidate| {
        hidden > limits.unused_bytes_max && stack.hidden as f64 > stack.shown as f64 * share
    };
    let mut chosen: Vec<_> = stacks.into_iter().filter(wasteful).collect();
    chosen.sort_by_key(|stack| (std::cmp::Reverse(stack.hidden), stack.snapshot, stack.source));
    let mut left = limits.repack_bytes_max;
    chosen.retain(|stack| match left.checked_sub(stack.shown) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    });
    chosen
}

/// The stacks of live snapshots whose base no other snapshot has, among them those that are forgotten and still stored.
pub fn stacks(facts: &PruneInput) -> Vec<CompactionCandidate> {
    let live = &facts.catalog.snapshots;
    let mut uses: HashMap<BlobId, u32> = HashMap::new();
    let snapshots = live.iter().map(|stored| &stored.snapshot);
    let snapshots = snapshots.chain(facts.retained_snapshots());
    for base in snapshots.flat_map(Snapshot::databases).filter_map(base_run) {
        *uses.entry(base).or_default() += 1;
    }
    let alone = |database: &DatabaseRoot| base_run(database).is_some_and(|base| uses.get(&base) == Some(&1));
    let numbered = live.iter().flat_map(|stored| {
        let databases = (0..).zip(&stored.snapshot.sources);
        databases.filter_map(|(source, found)| match found {
            SnapshotSource::Database(database) => Some((stored.id, source, database)),
            SnapshotSource::Tree(_) => None,
        })
    });
    let alone = numbered.filter(|(.., database)| alone(database));
    alone
        .filter_map(|(snapshot, source, database)| {
            let (shown, hidden) = estimate_compaction(database, &facts.walked)?;
            Some(CompactionCandidate {
                snapshot,
                source,
                shown,
                hidden,
            })
        })
        .collect()
}

/// The states of snapshots before they were rebased, less than `grace` ago by the storage's clock (`now`): a backup that is
/// about to publish may stand on them, and its proof says nothing of their packs (docs/ORDERING.md 7).
pub fn comes_before(
    repo: &Repo,
    catalog: &SnapshotCatalog,
    now: UnixNanos,
    grace: i64,
) -> Result<Vec<Snapshot>> {
    if !catalog.has_compacted_stacks() {
        return Ok(Vec::new());
    }
    let notes = repo.notes()?.notes;
    let listed = repo
        .storage_reader()
        .list(ObjectKind::Note)
        .context(|| "list the notes")?;
    let ripe: HashSet<_> = listed
        .iter()
        .filter(|note| super::prune_plan::is_grace_over(note.modified, grace, now))
        .map(|note| note.name.id)
        .collect();
    let mut rebased: BTreeMap<ObjectId, (bool, Vec<&CompactedStack>)> = BTreeMap::new();
    for (name, note) in &notes {
        if let NoteSubject::Snapshot {
            id,
            said: SnapshotNote::Rebased(one),
        } = &note.about
        {
            let (young, all) = rebased.entry(*id).or_default();
            *young |= !ripe.contains(name);
            all.push(one);
        }
    }
    let mut states = Vec::new();
    for (id, (_, all)) in rebased.iter().filter(|(_, (young, _))| *young) {
        match repo.snapshot_as_stored(id) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // Nobody stands on one that does not count and cannot be read.
            Err(error) if is_damage(&error) && !catalog.snapshots.iter().any(|live| live.id == *id) => {}
            stored => {
                let stored = stored?;
                if stored.domain == repo.domain() {
                    states.extend(states_of(&stored, all));
                }
            }
        }
    }
    Ok(states)
}

fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Torn)
}

/// As it was written, and with each run that ever stood in: it may have been rebased more than once.
fn states_of(stored: &Snapshot, rebased: &[&CompactedStack]) -> Vec<Snapshot> {
    let with = |one: &&CompactedStack| {
        let mut state = stored.clone();
        one.apply(&mut state);
        state
    };
    std::iter::once(stored.clone())
        .chain(rebased.iter().map(with))
        .collect()
}

/// Of a database with more than one run, all of whose records are certain.
fn base_run(database: &DatabaseRoot) -> Option<BlobId> {
    match &database.content {
        DatabaseContent::Logical {
            runs,
            uncertain: None,
        } => Some(runs.first()?.root.as_ref()?.top.id),
        _ => None,
    }
}

/// What one run in place of a stack would cost and give back, in stored bytes: as if its records were to be had at what the
/// base's cost. It gives back no more than the bytes of the entries that are not shown.
fn estimate_compaction(
    database: &DatabaseRoot,
    walked: &HashMap<ReachabilityRootId, ReachableBytes>,
) -> Option<(u64, u64)> {
    let DatabaseContent::Logical { runs, .. } = &database.content else {
        return None;
    };
    let (base, deltas) = runs.split_first().filter(|(_, deltas)| !deltas.is_empty())?;
    let sum = |of: &dyn Fn(&StoredRunRef) -> u64, runs: &[StoredRunRef]| {
        runs.iter().map(of).fold(0, u64::saturating_add)
    };
    let walked = |run: &StoredRunRef| {
        walked
            .get(&ReachabilityRoot::Run(run).id())
            .copied()
            .unwrap_or_default()
    };
    let elements = (ELEMENT_OVERHEAD as u64).saturating_mul(database.records);
    let elements = elements.saturating_add(database.bytes());
    let shown = u128::from(walked(base).stored) * u128::from(elements) / u128::from(base.bytes().max(1));
    let shown = u64::try_from(shown).unwrap_or(u64::MAX);
    let stored = walked(base)
        .stored
        .saturating_add(sum(&|run| walked(run).added, deltas));
    let not_shown = sum(&StoredRunRef::bytes, runs).saturating_sub(elements);
    let hides = sum(&StoredRunRef::records, runs) > database.records;
    let hidden = stored.saturating_sub(shown).min(not_shown).max(1);
    Some((shown, if hides { hidden } else { 0 }))
}

/// Carries the plan out. A stack that is not what its snapshot says is told of and left as it is, for `check` to look at;
/// so is one for which the disk has no room.
pub fn run(
    repo: &Repo,
    catalog: &SnapshotCatalog,
    stacks: &[CompactionCandidate],
    report: &OperationReport,
) -> Result<()> {
    for stack in stacks {
        let stored = catalog
            .snapshots
            .iter()
            .find(|stored| stored.id == stack.snapshot);
        let Some(stored) = stored else { continue };
        let id = stack.snapshot.short();
        match compact_stack(repo, &stored.snapshot, stack, report) {
            Err(error) if matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::Full) => {
                report.notice(format!("snapshot {id} is not stored anew: {error}"));
            }
            done => done.context(|| format!("store snapshot {id} anew"))?,
        }
    }
    Ok(())
}

/// Stores the stack's records as one run, proves it, and notes it.
///
/// # Errors
/// [`ErrorKind::Mismatch`] if the records are not those of the snapshot: then nothing is noted. [`ErrorKind::Busy`] if a pack of the
/// new run has gone meanwhile.
fn compact_stack(
    repo: &Repo,
    snapshot: &Snapshot,
    stack: &CompactionCandidate,
    report: &OperationReport,
) -> Result<()> {
    let Some(SnapshotSource::Database(database)) = snapshot.sources.get(stack.source as usize) else {
        return Err(Error::new(ErrorKind::Usage, "no such source"));
    };
    let lookup = repo.lookup()?;
    let reader = BlobReader::new(repo, &lookup);
    let mut writer = BlobWriter::start(repo, report, WriteMode::StoreNew)?;
    let read = |scan: &mut RecordScanSink| {
        let mut record = |key: &[u8], value: &[u8]| scan.record(key, value, true);
        read_records_with(&reader, database, &RecordQuery::default(), report, &mut record)
    };
    let stored = run_pipeline::store_runs(repo, &mut writer, read, report)?;
    let rests_on = writer.finish()?;
    let same_stream = database
        .stream_digest
        .is_none_or(|digest| digest == stored.stream_digest);
    if (stored.counts.records, stored.set_digest) != (database.records, database.set_digest) || !same_stream {
        return Err(Error::new(
            ErrorKind::Mismatch,
            "the records read are not those of the snapshot",
        ));
    }
    repo.prove_packs(&rests_on)?;
    let run = StoredRunRef {
        root: stored.base.root,
        last_key: stored.base.last_key,
        comparator: database.shape.comparator.clone(),
        filter: None,
    };
    let source = stack.source;
    let note = Note {
        when: repo.clock().now(),
        about: NoteSubject::Snapshot {
            id: stack.snapshot,
            said: SnapshotNote::Rebased(Box::new(CompactedStack { source, run })),
        },
    };
    // Twice, under two names: without it the snapshot is lost when the stack is gone.
    repo.put_note(&note)?;
    repo.put_note(&note).map(drop)
}
