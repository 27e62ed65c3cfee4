//! Stores one database: as records where possible, else as files.
//!
//! One database: looked at, read, stored; as records when they can be told, else as files.

use std::iter;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::annotations::{CurrentNotes, Note, NoteSubject, SnapshotNote};
use crate::crypto::{Entropy, OsEntropy};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{ObjectId, SetDigest, TimelineId};
use crate::leveldb::DatabaseLayout;
use crate::leveldb::scan_context::{ScanBudget, is_buffering};
use crate::repo::{BlobWriter, Repo, SnapshotCatalog};
use crate::report::OperationReport;
use crate::snapshot::{
    CaptureRecord, DatabaseContent, DatabaseRoot, RecordedDamage, RecordedHold, SourceTrust, StoredRunRef,
};
use crate::source::in_process::MemoryHandle;
use crate::source::pins::StateToPin;
use crate::source::{self, CapturedFiles, Database, DatabaseFile, HeldDirectory, ScanOutcome};

use super::audit::{self, AuditDisagreement};
use super::host_memory::HostMemory;
use super::increment::{self, IncrementAttempt, StoredIncrement};
use super::stored_form::{capture_record, file_damage, set_damage};
use super::{DatabaseBackupOutcome, DatabaseStorageMode, ReadScope, TreeCounts, save_files};
use crate::engine::run_pipeline::{self, StoredDatabaseRuns, StoredRun};

/// What the repository says before anything is read.
pub struct DatabaseInput {
    pub catalog: SnapshotCatalog,
    pub notes: CurrentNotes,
    /// What a write-only host goes by, which can read none of it.
    pub host: Option<HostMemory>,
}

impl DatabaseInput {
    pub fn load(repo: &Repo) -> Result<Self> {
        let notes = repo.notes()?.current_notes();
        let catalog = repo.catalog()?;
        Ok(Self {
            catalog,
            notes,
            host: None,
        })
    }

    /// Reports what could not be read of it.
    pub fn report_unreadable(&self, report: &OperationReport) {
        let snapshots = self.catalog.unreadable.iter();
        let records = self.catalog.unread_forget_records.iter();
        snapshots.for_each(|unread| report.notice(&unread.what));
        records.for_each(|unread| report.notice(&unread.what));
    }
}

/// What is known of a database before it is read.
pub struct DatabaseRequest<'a> {
    pub path: &'a Path,
    /// Its directory, held; `None` for one that this program has open.
    pub held: Option<&'a HeldDirectory>,
    pub name: &'a str,
    /// Store its files, whatever its records say.
    pub physical: bool,
    /// Read everything, and compare with what the changes alone make of it.
    pub full: bool,
    /// The same after so many increments; never for 0.
    pub audit_every: u32,
    /// Nothing is stored.
    pub dry_run: bool,
    /// What there is already.
    pub input: &'a DatabaseInput,
    /// The newest state of what stood at its path, whose history it continues unless something tells otherwise.
    pub newest: Option<&'a DatabaseRoot>,
    /// The inode of its directory, if it could be looked at.
    pub inode: Option<u64>,
}

/// A database as the snapshot keeps it, and what to tell of it.
type StoredDatabaseParts = (DatabaseRoot, DatabaseBackupOutcome, Option<u32>);

/// A database that is stored.
pub struct SavedDatabase {
    pub root: DatabaseRoot,
    pub outcome: DatabaseBackupOutcome,
    /// Its files, to be kept for the next backup once the snapshot is durable.
    pub state_to_pin: Option<StateToPin>,
    /// Its number among the sources of the snapshot that it stands on.
    pub parent_source: Option<u32>,
}

impl SavedDatabase {
    /// The snapshot that has the same records.
    pub fn unchanged_since(&self) -> Option<ObjectId> {
        match self.outcome.scope {
            ReadScope::Changes { since, keys: 0, .. } => Some(since),
            _ => None,
        }
    }

    /// The snapshot whose runs it has below its own.
    pub fn parent_id(&self) -> Option<ObjectId> {
        match self.outcome.scope {
            ReadScope::Changes { since, .. } => Some(since),
            ReadScope::Whole { .. } => None,
        }
    }

    /// Notes which snapshots are in doubt, before the one is stored that is not.
    pub fn note_suspects(&self, repo: &Repo) -> Result<()> {
        let Some(disagreement) = &self.outcome.disagreement else {
            return Ok(());
        };
        let when = repo.clock().now();
        disagreement.suspects.iter().try_for_each(|id| {
            let said = SnapshotNote::Suspect(format!("{}: {disagreement}", self.root.name));
            let about = NoteSubject::Snapshot { id: *id, said };
            repo.put_note(&Note { when, about }).map(|_| ())
        })
    }

    /// Keeps the files, which source number `source` of `snapshot` was made of. A failure costs the next backup a full read, and is told.
    pub fn pin(&mut self, snapshot: ObjectId, source: u32, report: &OperationReport) {
        let Some(to_pin) = self.state_to_pin.take() else {
            return;
        };
        let root = &self.root;
        let unfit = root.is_damaged() || root.is_physical() || root.trust != SourceTrust::Verified;
        let kept = if unfit || to_pin.is_unpinnable() {
            to_pin.discard().map(|()| None)
        } else {
            to_pin.pin_for_snapshot(snapshot, source).map(Some)
        };
        match kept {
            Ok(kept) => self.outcome.pinned = kept.map(|kept| kept.bytes),
            Err(error) => report.notice(format!(
                "{}: nothing is kept for the next backup: {error}",
                root.name
            )),
        }
    }
}

/// Reads and stores one database that was captured, or could not be for its damage.
pub fn save_captured(
    repo: &Repo,
    writer: &mut BlobWriter,
    wanted: &DatabaseRequest,
    captured: Result<CapturedFiles>,
    report: &OperationReport,
) -> Result<SavedDatabase> {
    match captured.map(|captured| read_from_pins(captured, wanted, report)) {
        Ok(database) => {
            let saved = save_database(repo, writer, wanted, &database, report);
            let (root, outcome, stands_on_source) = prove_unchanged(saved, &database)?;
            let to_pin = StateToPin::from_database(database);
            Ok(SavedDatabase {
                root,
                outcome,
                state_to_pin: to_pin,
                parent_source: stands_on_source,
            })
        }
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            let mut saving = DatabaseSaver::new(repo, writer, wanted, report);
            let (root, outcome, stands_on_source) = saving.store_unreadable(&error)?;
            let to_pin = None;
            Ok(SavedDatabase {
                root,
                outcome,
                state_to_pin: to_pin,
                parent_source: stands_on_source,
            })
        }
        Err(error) => Err(error),
    }
}

/// What was read, if it is one state of the database; what failed on the way may have failed for the same reason.
fn prove_unchanged(saved: Result<StoredDatabaseParts>, database: &Database) -> Result<StoredDatabaseParts> {
    if let Err(error) = &saved
        && error.kind() == ErrorKind::Interrupted
    {
        return saved;
    }
    database.prove_unchanged()?;
    saved
}

/// The database, its logs read from the copies that will be pinned.
fn read_from_pins(
    mut captured: CapturedFiles,
    wanted: &DatabaseRequest,
    report: &OperationReport,
) -> Database {
    if let Err(error) = captured.pin_logs() {
        let name = wanted.name;
        report.notice(format!("{name}: nothing is kept for the next backup: {error}"));
    }
    Database::from_captured(captured, ScanBudget::default())
}

/// The same of a database whose list of files is read already.
pub fn save_database(
    repo: &Repo,
    writer: &mut BlobWriter,
    wanted: &DatabaseRequest,
    database: &Database,
    report: &OperationReport,
) -> Result<StoredDatabaseParts> {
    let mut saving = DatabaseSaver::new(repo, writer, wanted, report);
    report
        .bytes_total
        .add(database.files().map(|file| file.len).sum());
    if wanted.physical {
        return saving.store_as_files(database, "as asked".into());
    }
    let refusal = match database.unknown_format_error() {
        Some(unknown) => unknown,
        None => match saving.store_records(database) {
            Err(error) if is_buffering(error.kind()) => error,
            result => return result,
        },
    };
    report.notice(format!("{}: stored as files: {refusal}", wanted.name));
    saving.store_as_files(database, refusal.to_string())
}

/// A database that exists in another library's memory only.
pub fn save_memory_database(
    repo: &Repo,
    writer: &mut BlobWriter,
    wanted: &DatabaseRequest,
    memory: &mut MemoryHandle,
    report: &OperationReport,
) -> Result<StoredDatabaseParts> {
    let saving = DatabaseSaver::new(repo, writer, wanted, report);
    let stored = run_pipeline::store_runs(repo, saving.writer, |scan| memory.scan(scan), report)?;
    let root = saving.logical_root(memory.layout(), 0, stored, SourceTrust::Unverified)?;
    Ok(storage_outcome(
        root,
        wanted.path,
        DatabaseStorageMode::Records,
        ReadScope::Whole { why: None },
    ))
}

struct DatabaseSaver<'a, 'w> {
    repo: &'a Repo,
    writer: &'a mut BlobWriter<'w>,
    request: &'a DatabaseRequest<'a>,
    report: &'a OperationReport,
    /// It is another history than the snapshots before have, whatever its sequence numbers say.
    begins_timeline: bool,
}

impl<'a, 'w> DatabaseSaver<'a, 'w> {
    fn new(
        repo: &'a Repo,
        writer: &'a mut BlobWriter<'w>,
        request: &'a DatabaseRequest<'a>,
        report: &'a OperationReport,
    ) -> Self {
        Self {
            repo,
            writer,
            request,
            report,
            begins_timeline: false,
        }
    }

    fn store_records(&mut self, database: &Database) -> Result<StoredDatabaseParts> {
        let made = increment::store_increment(self.repo, self.writer, self.request, database, self.report)?;
        let (why, disagreement) = match made {
            IncrementAttempt::Stored(made) => match self.audit_if_due(*made, database)? {
                Ok(told) => return Ok(told),
                Err(disagreement) => (Some(disagreement.to_string()), Some(disagreement)),
            },
            IncrementAttempt::NeedsFullRead {
                why,
                begins_timeline: another,
            } => {
                self.begins_timeline = another;
                (why, None)
            }
            IncrementAttempt::Disagrees(disagreement) => (Some(disagreement.to_string()), Some(disagreement)),
        };
        let (root, mut told, _) = self.store_all_records(database, why)?;
        told.disagreement = disagreement;
        Ok((root, told, None))
    }

    /// The increment, held to all that the database says if that is due; what they disagree in otherwise.
    fn audit_if_due(
        &mut self,
        made: StoredIncrement,
        database: &Database,
    ) -> Result<Result<StoredDatabaseParts, AuditDisagreement>> {
        let StoredIncrement {
            mut root,
            since,
            source,
            keys,
            bytes_differing,
            bytes_looked_up,
            spot_checked,
        } = made;
        self.record_capture_details(&mut root, database);
        let every = self.request.audit_every;
        let audited = self.request.full || every > 0 && root.capture.increments >= every;
        if audited {
            match audit::audit(self.repo, self.writer, database, &root, self.report)? {
                Ok(digest) => {
                    root.stream_digest = Some(digest);
                    root.capture.increments = 0;
                }
                Err(mut disagreement) => {
                    disagreement.suspects =
                        increment::suspect_snapshots(&self.request.input.catalog, since, &root);
                    return Ok(Err(disagreement));
                }
            }
        }
        let scope = ReadScope::Changes {
            since,
            keys,
            bytes_differing,
            bytes_looked_up,
            spot_checked,
            audited,
        };
        let (root, told, _) = storage_outcome(root, self.request.path, DatabaseStorageMode::Records, scope);
        Ok(Ok((root, told, Some(source))))
    }

    fn store_all_records(&mut self, database: &Database, why: Option<String>) -> Result<StoredDatabaseParts> {
        let read = |scan: &mut crate::engine::record_scan::RecordScanSink| database.scan(scan);
        let stored = run_pipeline::store_runs(self.repo, self.writer, read, self.report)?;
        let mut root = self.logical_root(
            database.layout(),
            database.last_sequence(),
            stored,
            SourceTrust::Verified,
        )?;
        self.record_capture_details(&mut root, database);
        Ok(storage_outcome(
            root,
            self.request.path,
            DatabaseStorageMode::Records,
            ReadScope::Whole { why },
        ))
    }

    fn logical_root(
        &self,
        shape: DatabaseLayout,
        last_sequence: u64,
        stored: StoredDatabaseRuns<ScanOutcome>,
        trust: SourceTrust,
    ) -> Result<DatabaseRoot> {
        let comparator = shape.comparator.clone();
        let run = |run: StoredRun| StoredRunRef {
            root: run.root,
            last_key: run.last_key,
            comparator: comparator.clone(),
            filter: None,
        };
        let uncertain = stored.uncertain.root.is_some().then_some(stored.uncertain);
        let content = DatabaseContent::Logical {
            runs: vec![run(stored.base)],
            uncertain: uncertain.map(run),
        };
        let mut root = self.database_root(shape, content, last_sequence, trust)?;
        root.records = stored.counts.records;
        root.key_bytes = stored.counts.key_bytes;
        root.value_bytes = stored.counts.value_bytes;
        root.set_digest = stored.set_digest;
        root.stream_digest = Some(stored.stream_digest);
        root.capture = capture_record(&stored.scan);
        set_damage(
            &mut root,
            stored.scan.damage.into_iter().map(RecordedDamage::from).collect(),
        );
        Ok(root)
    }

    fn store_as_files(&mut self, database: &Database, why: String) -> Result<StoredDatabaseParts> {
        let (content, bytes_read, gone) = self.store_files(database.files().collect())?;
        let mut root = self.database_root(
            database.layout(),
            content,
            database.last_sequence(),
            SourceTrust::Verified,
        )?;
        // Files out of proportion are kept as they are: to check them is the work that they are kept from.
        let checked = match database.verify() {
            Err(error) if error.kind() == ErrorKind::Limit => database.outcome_without_tables(),
            checked => checked?,
        };
        root.capture = capture_record(&checked);
        root.capture.bytes_read = bytes_read;
        root.value_bytes = bytes_read;
        self.record_capture_details(&mut root, database);
        let damage = checked.damage.into_iter().map(RecordedDamage::from);
        set_damage(&mut root, damage.chain(gone).collect());
        Ok(storage_outcome(
            root,
            self.request.path,
            DatabaseStorageMode::Files { why },
            ReadScope::Whole { why: None },
        ))
    }

    /// CURRENT or MANIFEST cannot be read: nothing says which files belong, so all of them are kept.
    fn store_unreadable(&mut self, error: &Error) -> Result<StoredDatabaseParts> {
        let all = match self.request.held {
            Some(held) => save_files::list_database_files(held)?,
            None => save_files::list_database_files(&HeldDirectory::open_path(self.request.path)?)?,
        };
        let strange = all.non_regular.into_iter();
        let strange = strange.map(|name| file_damage(name, "is no regular file, and was not read".into()));
        let (content, bytes_read, gone) = self.store_files(all.files)?;
        let mut root = self.database_root(DatabaseLayout::default(), content, 0, SourceTrust::Unverified)?;
        root.capture.bytes_read = bytes_read;
        root.value_bytes = bytes_read;
        let what = error.to_string();
        set_damage(
            &mut root,
            iter::once(file_damage("MANIFEST".into(), what))
                .chain(strange)
                .chain(gone)
                .collect(),
        );
        let why = "its MANIFEST cannot be read".into();
        Ok(storage_outcome(
            root,
            self.request.path,
            DatabaseStorageMode::Files { why },
            ReadScope::Whole { why: None },
        ))
    }

    /// The content, the bytes read, and what is reported of files that are not stored.
    fn store_files(&mut self, all: Vec<DatabaseFile>) -> Result<(DatabaseContent, u64, Vec<RecordedDamage>)> {
        let stored = save_files::store_files(self.repo, self.writer, self.request.held, all, self.report)?;
        let lost = stored.lost.into_iter();
        let lost = lost.map(|(name, why)| file_damage(name, why));
        let content = DatabaseContent::Physical { tree: stored.tree };
        Ok((content, stored.bytes, lost.collect()))
    }

    fn record_capture_details(&self, root: &mut DatabaseRoot, database: &Database) {
        root.capture.time = self.repo.clock().now();
        if let Some(cut) = database.capture_details() {
            root.capture.time = cut.time;
            root.capture.retries = cut.retries;
            root.capture.duration_nanos = u64::try_from(cut.duration.as_nanos()).unwrap_or(u64::MAX);
            root.capture.unsynced_bytes = cut.unsynced_bytes;
            root.capture.held_by = match cut.held_by {
                source::HoldMethod::Links => RecordedHold::Links,
                source::HoldMethod::Descriptors => RecordedHold::Descriptors,
                source::HoldMethod::Copies => RecordedHold::Copies,
            };
        }
    }

    fn database_root(
        &self,
        shape: DatabaseLayout,
        content: DatabaseContent,
        last_sequence: u64,
        trust: SourceTrust,
    ) -> Result<DatabaseRoot> {
        Ok(DatabaseRoot {
            name: self.request.name.to_owned(),
            path: self.request.path_bytes()?,
            directory: None,
            timeline: self.choose_timeline(last_sequence, shape.next_file)?,
            shape,
            content,
            records: 0,
            key_bytes: 0,
            value_bytes: 0,
            set_digest: SetDigest([0; 32]),
            stream_digest: None,
            last_sequence,
            damage: Vec::new(),
            damage_unlisted: 0,
            capture: CaptureRecord::default(),
            trust,
            beside: None,
            files: None,
        })
    }

    /// A number that went back, or another directory, tells another history under the same path.
    fn choose_timeline(&self, last_sequence: u64, next_file: u64) -> Result<TimelineId> {
        let wanted = self.request;
        let goes_on = |newest: &&DatabaseRoot| {
            let then = newest.directory.as_ref().and_then(|meta| meta.inode);
            let is_same = then.zip(wanted.inode).is_none_or(|(then, now)| then == now);
            // Files whose MANIFEST cannot be read have no number.
            let counts_on = next_file == 0 || newest.shape.next_file <= next_file;
            is_same && counts_on && newest.last_sequence <= last_sequence
        };
        match wanted.newest.filter(goes_on) {
            Some(newest) if !self.begins_timeline => Ok(newest.timeline),
            _ => {
                let mut id = [0; TimelineId::LEN];
                OsEntropy.fill(&mut id)?;
                Ok(TimelineId(id))
            }
        }
    }
}

impl DatabaseRequest<'_> {
    /// Where it stands, from the root on: what the snapshot records, now.
    pub fn path_bytes(&self) -> Result<Vec<u8>> {
        let path = std::path::absolute(self.path).context(|| "find the whole path")?;
        Ok(path.into_os_string().into_vec())
    }
}

fn storage_outcome(
    root: DatabaseRoot,
    path: &Path,
    stored: DatabaseStorageMode,
    scope: ReadScope,
) -> StoredDatabaseParts {
    let outcome = DatabaseBackupOutcome {
        name: root.name.clone(),
        path: PathBuf::from(path),
        stored,
        scope,
        pinned: None,
        disagreement: None,
        records: root.records,
        key_bytes: root.key_bytes,
        value_bytes: root.value_bytes,
        uncertain: root.uncertain_records(),
        last_sequence: root.last_sequence,
        damage: root.damage.clone(),
        capture: root.capture.clone(),
        dialect: root.shape.dialect,
        beside: TreeCounts::default(),
    };
    (root, outcome, None)
}
