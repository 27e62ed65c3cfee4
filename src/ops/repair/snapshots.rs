//! Replaces damaged snapshots by what can still be read.
//!
//! `repair snapshots`: of a snapshot that lost blobs, what can still be read becomes a new one, its holes recorded; then
//! the old one is forgotten, which `undelete` undoes.
//!
//! ```text
//! closure lacks blobs? --> read all that is left --> new packs --> index --> new snapshot --> its notes --> old one forgotten
//! ```

use std::collections::{HashMap, HashSet};

use crate::annotations::{CountedSnapshot, CurrentNotes, ForgetReason, Note, NoteSubject, SnapshotNote};
use crate::engine::blob_cache::BlobCacheReader;
use crate::engine::publish_snapshot::SnapshotDependencies;
use crate::engine::reachability::{ReachabilityRootId, ReachabilityWalk, VisitedNodes, source_roots};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{BlobId, ObjectId};
use crate::index_cache::IndexLookup;
use crate::ops::forget::{ForgetSelection, forget};
use crate::repo::{BlobReader, BlobWriter, Repo, SnapshotCatalog, StoredSnapshot, TrustedCopies, WriteMode};
use crate::report::OperationReport;
use crate::run::BlobSource;
use crate::run::partial_run::is_loss;
use crate::snapshot::{MissingPaths, RecordedDamage, Snapshot, SnapshotSource, TreeRoot};

use super::rebuild_database::{DatabaseRebuild, ReadableBlobs};
use super::repair_files::{LostFile, LostPart, RemainingFiles};
use super::{RepairMode, select_packs};

/// Blobs of packs that no segment names: what a few killed writers leave. More are a lost index.
const UNINDEXED_BLOBS_MAX: usize = 100_000;

/// Which snapshots are looked at.
#[derive(Clone, Debug, Default)]
pub struct RepairSnapshots {
    /// Ids or the beginnings of them. Those are read whole, to the last record; without any, those that count are looked
    /// at, and what the index and the notes on bad blobs say is believed.
    pub snapshots: Vec<String>,
    /// Whether it is done.
    pub mode: RepairMode,
}

/// One database of a snapshot that is repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairedDatabase {
    /// Its name.
    pub name: String,
    /// What is lost of it.
    pub holes: Vec<RecordedDamage>,
    /// Records that it had.
    pub records_before: u64,
    /// Records that are left.
    pub records: u64,
}

/// One tree of files of a snapshot that is repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairedTree {
    /// Its name.
    pub name: String,
    /// What is lost of it, as far as it is listed.
    pub lost: Vec<LostFile>,
    /// Further things that are lost.
    pub more: u64,
    /// Files that it had.
    pub files_before: u64,
    /// Files that are left, those in part among them.
    pub files: u64,
}

/// A snapshot that is repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairedSnapshot {
    /// The one that lost blobs.
    pub id: ObjectId,
    /// What stands for it now; `None` for a dry run.
    pub repaired_as: Option<ObjectId>,
    /// Databases that lost something. Without any of these and of trees, a repair before stored the new one, and ended
    /// before the old one was forgotten.
    pub databases: Vec<RepairedDatabase>,
    /// Trees that lost something.
    pub trees: Vec<RepairedTree>,
}

/// What was found and done, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotRepairOutcome {
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Those that lost something.
    pub repaired: Vec<RepairedSnapshot>,
    /// Those that cannot be repaired, and why.
    pub failed: Vec<(ObjectId, String)>,
}

impl RepairSnapshots {
    /// Looks at snapshots, and makes new ones of those that lost something if it is told to.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the index or a note on bad blobs cannot be read, or does not know of blobs that are there:
    /// they are to be repaired first.
    /// [`ErrorKind::Busy`] if something that the new ones rest on goes meanwhile. The storage's.
    pub fn run(&self, repo: &Repo, report: &OperationReport) -> Result<SnapshotRepairOutcome> {
        self.repaired(repo, report).map_err(|error| match error.kind() {
            ErrorKind::Lost => error.with_kind(ErrorKind::Corrupt),
            _ => error,
        })
    }

    fn repaired(&self, repo: &Repo, report: &OperationReport) -> Result<SnapshotRepairOutcome> {
        repo.check_writable()?;
        // Without all notes it is not known where each snapshot's records lie, and much would look lost.
        repo.notes()?
            .require_complete()
            .context(|| "read all notes; repair or remove what cannot be read first")?;
        let catalog = repo.catalog()?.of_domain(repo.domain());
        let ground = SnapshotRepairContext::load(repo, report)?;
        let wanted = select_packs(
            "snapshot that counts",
            &self.snapshots,
            catalog.snapshots.iter().map(|stored| stored.id),
        )?;
        let wanted: HashSet<_> = wanted.into_iter().collect();
        let mut outcome = SnapshotRepairOutcome::default();
        let found = ground.found_damage(&catalog, &wanted, !self.snapshots.is_empty(), &mut outcome)?;
        if found.is_empty() {
            return Ok(outcome);
        }
        let store = match self.mode {
            RepairMode::Apply => WriteMode::StoreNew,
            RepairMode::DryRun => WriteMode::DryRun,
        };
        let mut writer = BlobWriter::start(repo, report, store)?;
        let mut made = Vec::new();
        for stored in found {
            made.extend(ground.rebuild(&mut writer, &catalog, stored, &mut outcome)?);
        }
        let packs = writer.finish()?;
        if self.mode == RepairMode::Apply {
            publish(repo, &catalog, made, &packs, &mut outcome)?;
        } else {
            outcome.repaired.extend(made.into_iter().map(|made| made.told));
        }
        Ok(outcome)
    }
}

/// What there is.
struct SnapshotRepairContext<'a> {
    repo: &'a Repo,
    report: &'a OperationReport,
    lookup: IndexLookup,
    lost: HashSet<ObjectId>,
    unindexed: HashSet<BlobId>,
    bad: HashSet<BlobId>,
}

/// A snapshot to be, or one that is there already.
struct MadeSnapshot {
    snapshot: Option<Snapshot>,
    told: RepairedSnapshot,
    old: CountedSnapshot,
}

impl<'a> SnapshotRepairContext<'a> {
    fn load(repo: &'a Repo, report: &'a OperationReport) -> Result<Self> {
        let index = repo.index_summary()?;
        if let Some(what) = index.unreadable.first() {
            let error = Error::corrupt(what.clone());
            return Err(error.context("the index is damaged; run `levault repair index --apply` first"));
        }
        let bad = repo.bad_blobs()?.require_complete(repo).map_err(|error| {
            error.context("which blobs are bad cannot be told; run `levault repair packs --apply` first")
        })?;
        let packs = repo.packs(&index)?;
        Ok(Self {
            repo,
            report,
            lookup: repo.lookup_for(&index)?,
            lost: packs.lost,
            unindexed: packs_of(repo, &packs.unindexed, report)?,
            bad,
        })
    }

    fn unrepaired(&self) -> ReadableBlobs<'_> {
        ReadableBlobs {
            reader: BlobReader::new(self.repo, &self.lookup),
            copies: TrustedCopies {
                repo: self.repo,
                lookup: &self.lookup,
                lost: &self.lost,
                bad: &self.bad,
            },
            unindexed: &self.unindexed,
        }
    }

    /// Snapshots that are to be made anew. Whatever was named is read whole; of the others those whose trees lead to
    /// blobs that are lost.
    fn found_damage<'c>(
        &self,
        catalog: &'c SnapshotCatalog,
        wanted: &HashSet<ObjectId>,
        all: bool,
        outcome: &mut SnapshotRepairOutcome,
    ) -> Result<Vec<&'c StoredSnapshot>> {
        let left = self.unrepaired();
        let recent = BlobCacheReader::new(&left);
        let mut walked = HashMap::new();
        let mut found = Vec::new();
        for stored in catalog
            .snapshots
            .iter()
            .filter(|stored| wanted.contains(&stored.id))
        {
            outcome.snapshots += 1;
            if all || self.missing_blobs_of(&left, &recent, stored, &mut walked)? {
                found.push(stored);
            }
        }
        Ok(found)
    }

    fn missing_blobs_of(
        &self,
        left: &ReadableBlobs,
        source: &dyn BlobSource,
        stored: &StoredSnapshot,
        walked: &mut HashMap<ReachabilityRootId, bool>,
    ) -> Result<bool> {
        let closure = ReachabilityWalk {
            source,
            report: self.report,
        };
        let mut each = |_, id: &BlobId| {
            if left.has(id)? {
                Ok(())
            } else {
                Err(Error::corrupt(format!("blob {} is lost", id.short())))
            }
        };
        let mut lacks = false;
        for root in stored.snapshot.sources.iter().flat_map(source_roots) {
            lacks |= repair_once(walked, root.id(), || {
                closure.walk_root(root, &mut VisitedNodes::default(), &mut each)
            })?;
        }
        Ok(lacks)
    }

    /// What is left of a snapshot; `None` if all of it can be read, or if it is beyond repair.
    fn rebuild(
        &self,
        writer: &mut BlobWriter,
        catalog: &SnapshotCatalog,
        stored: &StoredSnapshot,
        outcome: &mut SnapshotRepairOutcome,
    ) -> Result<Option<MadeSnapshot>> {
        let old = CountedSnapshot {
            id: stored.id,
            domain: stored.snapshot.domain,
            counter: stored.snapshot.counter,
        };
        let told = |repaired_as, databases, trees| RepairedSnapshot {
            id: stored.id,
            repaired_as,
            databases,
            trees,
        };
        let notes = self.repo.notes()?.current_notes();
        let was_brought_back = notes.of(&stored.id).is_some_and(|it| it.undeleted.is_some());
        let there = repaired_before(catalog, stored).filter(|_| !was_brought_back);
        if let Some(there) = there {
            return Ok(Some(MadeSnapshot {
                snapshot: None,
                told: told(Some(there), Vec::new(), Vec::new()),
                old,
            }));
        }
        let left = self.unrepaired();
        let mut rebuild = DatabaseRebuild {
            repo: self.repo,
            source: &left,
            writer,
            report: self.report,
        };
        let mut snapshot = stored.snapshot.clone();
        let (mut databases, mut trees) = (Vec::new(), Vec::new());
        let mut missing = snapshot.missing.clone();
        for source in &mut snapshot.sources {
            let database = match source {
                SnapshotSource::Database(database) => database,
                SnapshotSource::Tree(tree) => {
                    let (root, left) = rebuild.tree(tree).context(|| tree.name.clone())?;
                    if !left.lost.is_empty() {
                        note_missing(tree, &left, &stored.id, &mut missing);
                        trees.push(RepairedTree {
                            name: tree.name.clone(),
                            lost: left.lost,
                            more: left.more,
                            files_before: tree.files,
                            files: root.files,
                        });
                        *tree = root;
                    }
                    continue;
                }
            };
            let rebuilt = rebuild.database(database, &stored.id)?;
            if rebuilt.holes.is_empty() {
                // Not a blob of it is lost: as it is it rests on what is stored.
                continue;
            }
            databases.push(RepairedDatabase {
                name: database.name.clone(),
                holes: rebuilt.holes,
                records_before: database.records,
                records: rebuilt.root.records,
            });
            **database = rebuilt.root;
        }
        if databases.is_empty() && trees.is_empty() {
            if rebuild.writer.trusted_copies().are_all_trusted() {
                return Ok(None);
            }
            let what = "all of it can be read; `levault repair packs` stores again what is in damaged packs";
            outcome.failed.push((stored.id, what.into()));
            return Ok(None);
        }
        snapshot.missing = missing;
        // It is no copy of anything any more: whoever copies must bring the whole one again.
        snapshot.original = None;
        snapshot.program = concat!("levault ", env!("CARGO_PKG_VERSION")).into();
        Ok(Some(MadeSnapshot {
            snapshot: Some(snapshot),
            told: told(None, databases, trees),
            old,
        }))
    }
}

/// What a tree lost, as missing from the snapshot that is made of what is left.
fn note_missing(tree: &TreeRoot, left: &RemainingFiles, old: &ObjectId, missing: &mut MissingPaths) {
    let short = old.short();
    let last = crate::engine::tree::parts(&tree.path).last().unwrap_or_default();
    let above = tree.path.strip_suffix(last).unwrap_or_default();
    for lost in &left.lost {
        let what = match lost.what {
            LostPart::Entries => "the list of its entries was lost".to_owned(),
            LostPart::File => "it was lost".to_owned(),
            LostPart::Bytes(bytes) => format!("{bytes} bytes of it were lost"),
        };
        let reason = format!("{what} in the repository after it was saved as snapshot {short}");
        missing.add([above, &lost.path].concat(), &reason);
    }
    if left.more > 0 {
        let reason = format!("{} further files were lost in the repository", left.more);
        missing.add(tree.path.clone(), &reason);
    }
}

/// What packs hold that no segment names. A segment that is gone leaves nothing that could be found damaged: all that it
/// named looks lost, and lies there.
fn packs_of(repo: &Repo, packs: &[(ObjectId, u64)], report: &OperationReport) -> Result<HashSet<BlobId>> {
    let mut blobs = HashSet::new();
    for (pack, len) in packs {
        report.go_on()?;
        match repo.pack_directory(pack, *len) {
            Ok(directory) => blobs.extend(directory.iter().map(|blob| blob.id)),
            // Nothing can be had from it.
            Err(error) if is_loss(&error) || error.kind() == ErrorKind::WrongKey => {}
            Err(error) => return Err(error.context(format!("look into pack {}", pack.short()))),
        }
        if blobs.len() > UNINDEXED_BLOBS_MAX {
            let what =
                format!("more than {UNINDEXED_BLOBS_MAX} blobs lie in packs that are in no index segment");
            return Err(Error::corrupt(what).context("run `levault repair index --apply` first"));
        }
    }
    Ok(blobs)
}

/// True if the walk leads to something that is lost.
fn repair_once(
    walked: &mut HashMap<ReachabilityRootId, bool>,
    key: ReachabilityRootId,
    walk: impl FnOnce() -> Result<()>,
) -> Result<bool> {
    if let Some(lacks) = walked.get(&key) {
        return Ok(*lacks);
    }
    let lacks = match walk() {
        Ok(()) => false,
        Err(error) if is_loss(&error) => true,
        Err(error) => return Err(error),
    };
    walked.insert(key, lacks);
    Ok(lacks)
}

/// The snapshot that a repair made of this one, if it ended before the old one was forgotten.
fn repaired_before(catalog: &SnapshotCatalog, old: &StoredSnapshot) -> Option<ObjectId> {
    let made_of = |stored: &&StoredSnapshot| {
        let mut databases = stored.snapshot.databases();
        let has_hole =
            databases.any(|database| database.holes().any(|hole| hole.lost_after() == Some(old.id)));
        has_hole || is_same_but_for_trees(&old.snapshot, &stored.snapshot)
    };
    let found = catalog.snapshots.iter().find(made_of);
    found.map(|stored| stored.id)
}

/// A tree has no place for a hole. No two snapshots were begun and ended in the same nanoseconds but one and what was made
/// of it.
fn is_same_but_for_trees(old: &Snapshot, new: &Snapshot) -> bool {
    let of = |snapshot: &Snapshot| {
        (
            snapshot.domain,
            snapshot.host.clone(),
            snapshot.user.clone(),
            snapshot.time,
            snapshot.time_end,
        )
    };
    let same =
        |(old, new): (&SnapshotSource, &SnapshotSource)| old.name() == new.name() && old.path() == new.path();
    let other = |(old, new): (&SnapshotSource, &SnapshotSource)| match (old, new) {
        (SnapshotSource::Tree(old), SnapshotSource::Tree(new)) => old.root != new.root,
        _ => false,
    };
    let pairs = || old.sources.iter().zip(&new.sources);
    let is_later = new.counter > old.counter && new.original.is_none();
    let has_same = old.sources.len() == new.sources.len() && pairs().all(same);
    is_later && of(old) == of(new) && has_same && pairs().any(other)
}

/// Each new snapshot is durable, and what was noted of the old one is noted of it, before the old one is forgotten.
fn publish(
    repo: &Repo,
    catalog: &SnapshotCatalog,
    made: Vec<MadeSnapshot>,
    packs: &HashMap<ObjectId, u64>,
    outcome: &mut SnapshotRepairOutcome,
) -> Result<()> {
    let notes = repo.notes()?.current_notes();
    let (mut counter, mut previous) = catalog.next_counter_and_parent();
    for mut made in made {
        if let Some(mut snapshot) = made.snapshot {
            (snapshot.counter, snapshot.previous) = (counter, previous);
            snapshot.tags = notes.tags(&made.old.id, &snapshot.tags).to_vec();
            // A database of which nothing is lost still rests on the old one's runs.
            let rests_on = SnapshotDependencies {
                catalog,
                packs: packs.clone(),
                parents: [made.old.id].into(),
            };
            let id = rests_on.publish(repo, &snapshot)?;
            (counter, previous) = (counter.saturating_add(1), Some(id));
            made.told.repaired_as = Some(id);
        }
        if let Some(id) = made.told.repaired_as {
            note_alike(repo, &notes, &made.old.id, id)?;
            forget_old(repo, made.old, id)?;
        }
        outcome.repaired.push(made.told);
    }
    Ok(())
}

fn note_alike(repo: &Repo, notes: &CurrentNotes, old: &ObjectId, new: ObjectId) -> Result<()> {
    let note = |said| {
        repo.put_note(&Note {
            when: repo.clock().now(),
            about: NoteSubject::Snapshot { id: new, said },
        })
    };
    if notes.is_pinned(old) && !notes.is_pinned(&new) {
        note(SnapshotNote::Pin)?;
    }
    match notes.suspect_note(old) {
        Some(reason) if notes.suspect_note(&new).is_none() => {
            note(SnapshotNote::Suspect(reason.to_owned())).map(drop)
        }
        _ => Ok(()),
    }
}

fn forget_old(repo: &Repo, old: CountedSnapshot, new: ObjectId) -> Result<()> {
    let chosen = ForgetSelection {
        snapshots: vec![old],
        why: ForgetReason::Damaged,
        words: format!("repaired as snapshot {}", new.to_hex()),
    };
    match forget(repo, &chosen)?.failed.pop() {
        None => Ok(()),
        Some((_, error)) if error.kind() == ErrorKind::Interrupted => Err(error),
        Some((_, error)) => Err(error.context(format!(
            "forget snapshot {}, which is repaired as {}",
            old.id.short(),
            new.short()
        ))),
    }
}
