//! Copies the sources of one snapshot.
//!
//! One snapshot's sources, each into the destination. What the one before it has in common with them is taken over.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use crate::blob::BlobKind;
use crate::chunk::Chunker;
use crate::engine::blob_cache::BlobCacheReader;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{BlobId, ObjectId, TimelineId};
use crate::repo::{BlobReader, BlobWriter, NewBlob, Repo, StoredSnapshot, WriteMode};
use crate::report::OperationReport;
use crate::snapshot::{DatabaseContent, DatabaseRoot, Snapshot, SnapshotSource, StoredRunRef, TreeRoot};

use super::copy_plan;
use super::run_digests::RunDigests;

/// A snapshot as the destination will keep it; not published.
pub struct CarriedSnapshot {
    /// Counter and previous are still to be given.
    pub snapshot: Snapshot,
    /// Snapshots of the destination that answer for blobs which were not looked at.
    pub parents: BTreeSet<ObjectId>,
}

/// The identity of a source, within one domain: host, path, timeline.
type SourceLineage = (String, Vec<u8>, Option<TimelineId>);

/// The last state of a source that is in both repositories, or on its way.
pub struct SharedState {
    pub source: SnapshotSource,
    pub copied: SnapshotSource,
    /// Snapshots that answer for it.
    pub parents: BTreeSet<ObjectId>,
    /// True if parts of it may not be durable yet.
    pub is_new: bool,
}

/// Takes snapshots over, oldest first.
pub struct SnapshotCarrier<'a> {
    pub from: &'a Repo,
    /// The source's blobs ...
    pub reader: &'a BlobReader<'a>,
    /// ... and those that are met again and again.
    pub recent: &'a BlobCacheReader<'a>,
    pub to: &'a Repo,
    pub report: &'a OperationReport,
    pub sink: DestinationWriter<'a>,
    /// Where the destination cuts, if not where the source does.
    pub cutter: Option<Chunker>,
    grounds: HashMap<SourceLineage, Rc<SharedState>>,
    /// Runs that cannot be had whole: later snapshots have them too.
    lacking: HashMap<BlobId, String>,
}

/// The destination's writer. Remembers whether an error was its own.
pub struct DestinationWriter<'a> {
    writer: BlobWriter<'a>,
    pub failed: bool,
}

impl DestinationWriter<'_> {
    pub fn add(&mut self, batch: Vec<NewBlob>) -> Result<Vec<BlobId>> {
        let added = self.writer.add(batch);
        self.own_snapshots(added)
    }

    pub fn add_one(&mut self, kind: BlobKind, plain: Vec<u8>) -> Result<BlobId> {
        let added = self.writer.add_one(kind, plain);
        self.own_snapshots(added)
    }

    pub fn flush(&mut self) -> Result<()> {
        let flushed = self.writer.flush();
        self.own_snapshots(flushed)
    }

    /// Whatever is wrong with it is the destination's fault.
    pub fn own_snapshots<T>(&mut self, result: Result<T>) -> Result<T> {
        self.failed |= result.is_err();
        result
    }
}

impl<'a> SnapshotCarrier<'a> {
    pub fn start(
        from: &'a Repo,
        reader: &'a BlobReader<'a>,
        recent: &'a BlobCacheReader<'a>,
        to: &'a Repo,
        report: &'a OperationReport,
    ) -> Result<Self> {
        let secrets = [from, to].map(|repo| repo.domain_keys().chunker_secret().expose());
        Ok(Self {
            from,
            reader,
            recent,
            to,
            report,
            sink: DestinationWriter {
                writer: BlobWriter::start(to, report, WriteMode::StoreNew)?,
                failed: false,
            },
            cutter: (secrets[0] != secrets[1]).then(|| Chunker::new(secrets[1])),
            grounds: HashMap::new(),
            lacking: HashMap::new(),
        })
    }

    /// True if an error says that the source lacks something, and others may still be had.
    pub fn is_of_source(&self, error: &Error) -> bool {
        !self.sink.failed && error.kind() != ErrorKind::Interrupted
    }

    /// A snapshot that is in both.
    pub fn add_common(&mut self, source: &StoredSnapshot, copied: &StoredSnapshot) {
        let pairs = source.snapshot.sources.iter().zip(&copied.snapshot.sources);
        for (from, to) in pairs {
            let ground = SharedState {
                source: from.clone(),
                copied: to.clone(),
                parents: BTreeSet::from([copied.id]),
                is_new: false,
            };
            // Where a prune stored one of the two anew, an older pair is of more use.
            if ground.is_equivalent() {
                let lineage = lineage(&source.snapshot, from);
                self.grounds.insert(lineage, Rc::new(ground));
            }
        }
    }

    /// Copies all that the snapshot needs.
    pub fn carry_over(&mut self, stored: &StoredSnapshot) -> Result<CarriedSnapshot> {
        let (mut sources, mut parents) = (Vec::new(), BTreeSet::new());
        for source in &stored.snapshot.sources {
            let ground = self.grounds.get(&lineage(&stored.snapshot, source)).cloned();
            let copied = self
                .source(source, ground.as_deref(), &mut parents)
                .context(|| source.name().to_owned())?;
            sources.push(copied);
        }
        for (from, to) in stored.snapshot.sources.iter().zip(&sources) {
            let ground = SharedState {
                source: from.clone(),
                copied: to.clone(),
                parents: parents.clone(),
                is_new: true,
            };
            self.grounds
                .insert(lineage(&stored.snapshot, from), Rc::new(ground));
        }
        let snapshot = Snapshot {
            sources,
            original: Some(copy_plan::original(self.from.id(), stored)),
            ..stored.snapshot.clone()
        };
        Ok(CarriedSnapshot { snapshot, parents })
    }

    /// True if nothing is known to be missing in the destination.
    pub fn is_complete_at_destination(&self) -> bool {
        let writer = &self.sink.writer;
        writer.trusted_copies().are_all_trusted() && !writer.index_is_damaged()
    }

    /// Makes all that was carried durable and indexed; the packs that it lies in.
    pub fn flush(&mut self) -> Result<HashMap<ObjectId, u64>> {
        self.sink.flush()?;
        Ok(self.sink.writer.dependencies().clone())
    }

    pub fn finish(self) -> Result<()> {
        self.sink.writer.finish().map(drop)
    }

    fn source(
        &mut self,
        source: &SnapshotSource,
        ground: Option<&SharedState>,
        parents: &mut BTreeSet<ObjectId>,
    ) -> Result<SnapshotSource> {
        match source {
            SnapshotSource::Tree(tree) => {
                let before = ground.and_then(|ground| match (&ground.source, &ground.copied) {
                    (SnapshotSource::Tree(from), SnapshotSource::Tree(to)) => Some((from.root, to.root)),
                    _ => None,
                });
                let root = self.tree(&tree.root, on_path(ground, before), parents)?;
                Ok(SnapshotSource::Tree(TreeRoot { root, ..tree.clone() }))
            }
            SnapshotSource::Database(database) => {
                let ground = ground.and_then(DatabasePair::of);
                self.database(database, ground, parents)
                    .map(|root| SnapshotSource::Database(Box::new(root)))
            }
        }
    }

    fn database(
        &mut self,
        database: &DatabaseRoot,
        ground: Option<DatabasePair>,
        parents: &mut BTreeSet<ObjectId>,
    ) -> Result<DatabaseRoot> {
        let mut copied = database.clone();
        match &database.content {
            DatabaseContent::Physical { tree } => {
                let before = ground.as_ref().and_then(DatabasePair::trees);
                let before = ground
                    .as_ref()
                    .and_then(|ground| on_path(Some(ground.ground), before));
                let tree = self.tree(tree, before, parents)?;
                copied.content = DatabaseContent::Physical { tree };
            }
            DatabaseContent::Logical { runs, uncertain } => {
                let ground = ground.as_ref().filter(|ground| ground.stacks(database).is_some());
                let (stack, base) = self.stack(database, runs, ground, parents)?;
                copied.set_digest = self.digest(database, base, ground)?;
                let uncertain = uncertain.as_ref().map(|run| self.uncertain(run)).transpose()?;
                copied.content = DatabaseContent::Logical {
                    runs: stack,
                    uncertain,
                };
            }
        }
        if let Some(tree) = &database.beside {
            let before = ground.as_ref().and_then(|ground| {
                let pair = ground.from.beside.zip(ground.to.beside);
                on_path(Some(ground.ground), pair)
            });
            copied.beside = Some(self.tree(tree, before, parents)?);
        }
        Ok(copied)
    }

    /// All runs, and the sums of the base where nothing of it was taken over.
    fn stack(
        &mut self,
        database: &DatabaseRoot,
        runs: &[StoredRunRef],
        ground: Option<&DatabasePair>,
        parents: &mut BTreeSet<ObjectId>,
    ) -> Result<(Vec<StoredRunRef>, Option<RunDigests>)> {
        let before = ground.and_then(|ground| ground.stacks(database));
        let (mut stack, mut base) = (Vec::new(), None);
        for (at, run) in runs.iter().enumerate() {
            let same = before.and_then(|(from, to)| {
                let place = from
                    .iter()
                    .position(|old| old.root.is_some() && old.root == run.root)?;
                Some(to[place].root.clone())
            });
            let twins = before.filter(|_| at == 0 && same.is_none());
            if let Some(ground) = ground.filter(|_| same.is_some() || twins.is_some()) {
                parents.extend(&ground.ground.parents);
            }
            let root = match same {
                Some(root) => root,
                None => {
                    let is_new = ground.is_some_and(|ground| ground.ground.is_new);
                    let twins = twins.map(|(from, to)| (&from[0], &to[0], is_new));
                    let (root, sums) = self.run_once(run, at == 0, twins)?;
                    base = sums.or(base);
                    root
                }
            };
            stack.push(StoredRunRef { root, ..run.clone() });
        }
        Ok((stack, base))
    }

    fn uncertain(&mut self, run: &StoredRunRef) -> Result<StoredRunRef> {
        let (root, _) = self.run_once(run, false, None)?;
        Ok(StoredRunRef { root, ..run.clone() })
    }

    /// A run that was found lacking is not walked again for every snapshot that has it.
    fn run_once(
        &mut self,
        run: &StoredRunRef,
        is_base: bool,
        twins: Option<(&StoredRunRef, &StoredRunRef, bool)>,
    ) -> Result<super::copy_run::CopiedRun> {
        let id = run.root.as_ref().map(|root| root.top.id);
        if let Some(why) = id.and_then(|id| self.lacking.get(&id)) {
            return Err(Error::corrupt(why.clone()));
        }
        let copied = self.run(run, is_base, twins);
        if let (Err(error), Some(id)) = (&copied, id)
            && self.is_of_source(error)
        {
            self.lacking.insert(id, error.to_string());
        }
        copied
    }
}

impl SharedState {
    /// False for two stacks of which one cannot be the other's copy, and where something of the copy is lost.
    fn is_equivalent(&self) -> bool {
        DatabasePair::of(self).is_none_or(|both| {
            let is_whole = both.to.holes().next().is_none();
            is_whole && (both.from.is_physical() || both.stacks(both.from).is_some())
        })
    }
}

/// Corresponding roots in both repositories, and whether the copy may not be durable yet.
pub struct ParentPair<'g> {
    pub ground: &'g SharedState,
    pub from: BlobId,
    pub to: BlobId,
}

fn on_path(ground: Option<&SharedState>, pair: Option<(BlobId, BlobId)>) -> Option<ParentPair<'_>> {
    let (ground, (from, to)) = ground.zip(pair)?;
    Some(ParentPair { ground, from, to })
}

/// A database in both repositories.
pub struct DatabasePair<'g> {
    ground: &'g SharedState,
    pub from: &'g DatabaseRoot,
    pub to: &'g DatabaseRoot,
}

impl<'g> DatabasePair<'g> {
    fn of(ground: &'g SharedState) -> Option<Self> {
        match (&ground.source, &ground.copied) {
            (SnapshotSource::Database(from), SnapshotSource::Database(to)) => Some(Self { ground, from, to }),
            _ => None,
        }
    }

    fn trees(&self) -> Option<(BlobId, BlobId)> {
        match (&self.from.content, &self.to.content) {
            (DatabaseContent::Physical { tree: from }, DatabaseContent::Physical { tree: to }) => {
                Some((*from, *to))
            }
            _ => None,
        }
    }

    /// Both stacks, if they are of one order with `database` and copies of one another as far as their roots say.
    pub fn stacks(&self, database: &DatabaseRoot) -> Option<(&'g [StoredRunRef], &'g [StoredRunRef])> {
        let (DatabaseContent::Logical { runs: from, .. }, DatabaseContent::Logical { runs: to, .. }) =
            (&self.from.content, &self.to.content)
        else {
            return None;
        };
        let orders = [self.from, self.to].map(|database| &database.shape.comparator);
        let one_order = orders.iter().all(|order| **order == database.shape.comparator);
        let alike = from.len() == to.len() && from.iter().zip(to).all(|(from, to)| is_copy(from, to));
        (one_order && alike).then_some((from, to))
    }
}

/// Whether a run can be another one's copy.
fn is_copy(from: &StoredRunRef, to: &StoredRunRef) -> bool {
    let facts = |run: &StoredRunRef| {
        let top = run.root.as_ref().map(|root| &root.top);
        top.map(|top| (top.first_key.clone(), top.records, top.bytes, top.chunked))
    };
    from.last_key == to.last_key && facts(from) == facts(to)
}

fn lineage(snapshot: &Snapshot, source: &SnapshotSource) -> SourceLineage {
    let identity = snapshot.identity_of(source);
    (
        identity.host.to_owned(),
        identity.path.to_vec(),
        identity.timeline,
    )
}
