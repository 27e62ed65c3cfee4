//! Rebuilds a damaged database from its files and from snapshots.
//!
//! Rescue: a damaged, closed database rebuilt as a new one, from its own good files and, where they lost something, from
//! the newest good snapshot of it.
//!
//! ```text
//! directory ──scan──▶ damage ──▶ spans of keys that may lack something
//! snapshots of it, newest first ──for each span──▶ the first that is whole there
//! directory's records, in order ──merge──▶ outside the spans: its own; inside: its own where they are certain or newer
//!                                          than the snapshot, else the snapshot's ──▶ staged, read back, renamed
//! ```
//! The directory is only read. What is uncertain and why stands at the head of `leveldb/damage.rs`; what a rescue can
//! and cannot know is told to users in docs/RESCUE.md.

mod key_spans;
mod rescue_merge;
mod rescue_plan;

use std::path::{Path, PathBuf};

use crate::clock::UnixNanos;
use crate::engine::file_attributes::{attributes, report_refused_attributes};
use crate::engine::file_list_source::FileListSource;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::leveldb::table_builder::TableBuilder;
use crate::leveldb::{Comparator, DatabaseLayout};
use crate::record::StreamDigester;
use crate::repo::{BlobReader, Repo};
use crate::report::OperationReport;
use crate::run::KeyOrder;
use crate::snapshot::FileMetadata;
use crate::source::HeldDirectory;
use crate::source::walk::read_entry;
use crate::source::{Database, NewestVersion, RecordSink, ScanOutcome, SourceDamage, database_file_metadata};
use crate::target::tree::RefusedAttributes;
use crate::target::{DatabaseTarget, check_target_free, refuse_locked};

pub use key_spans::KeySpan;
use rescue_merge::RescueMerge;
pub use rescue_merge::SpanTally;
use rescue_plan::RescueCandidate;

/// What to rescue, and how.
#[derive(Clone, Debug)]
pub struct Rescue {
    /// The damaged database's directory.
    pub directory: PathBuf,
    /// Where the new one goes: absent or an empty directory.
    pub output: PathBuf,
    /// Only this snapshot supplies what is lost; any, the newest first, when `None`.
    pub snapshot: Option<String>,
    /// The database's label or absolute path in the snapshots; when `None` it is found by its directory: path and inode.
    pub database: Option<Vec<u8>>,
    /// What becomes of records that are uncertain where no snapshot has better ones.
    pub uncertain: UncertainRecords,
    /// Whether anything is written.
    pub act: RescueMode,
}

/// What becomes of uncertain records that nothing better is known for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UncertainRecords {
    /// They are left out, as by a restore.
    #[default]
    LeaveOut,
    /// They are kept, stale or not.
    Keep,
}

/// Whether anything is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RescueMode {
    /// Everything is read and told.
    #[default]
    Tell,
    /// The new database is written, read back, and published.
    Write,
}

/// Where what a span may lack came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanSupply {
    /// The snapshot.
    pub snapshot: ObjectId,
    /// When it was taken: of writes since then nothing is known here.
    pub time: UnixNanos,
    /// Its last sequence number, if the directory goes on counting from there; newer records of the directory are kept.
    pub sequence: Option<u64>,
}

/// A span of keys, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanOutcome {
    /// Which keys.
    pub span: KeySpan,
    /// `None` if no snapshot has it whole.
    pub supply: Option<SpanSupply>,
    /// Newer snapshots that do not, and why.
    pub passed_over: Vec<(ObjectId, String)>,
    /// What was taken from where.
    pub tally: SpanTally,
}

/// What was found, and made of it.
#[derive(Clone, Debug)]
pub struct RescueOutcome {
    /// How it was known which files count.
    pub files: FileListSource,
    /// What is wrong with the directory.
    pub damage: Vec<SourceDamage>,
    /// First and last sequence number of writes that a log lost and that came behind the newest snapshot: nothing has
    /// them, and all else in the directory is newer than the snapshot.
    pub lost_writes: Option<(u64, u64)>,
    /// What may lack something; empty if nothing does.
    pub spans: Vec<SpanOutcome>,
    /// Records of the result.
    pub records: u64,
    /// Those of them that are the directory's own.
    pub own: u64,
    /// True if it was written; `false` for a dry run.
    pub written: bool,
}

impl RescueOutcome {
    /// True if nothing can be missing.
    pub fn is_whole(&self) -> bool {
        self.spans.is_empty() && self.lost_writes.is_none()
    }

    /// True if each span was supplied, however old that is.
    pub fn is_supplied(&self) -> bool {
        self.lost_writes.is_none() && self.spans.iter().all(|span| span.supply.is_some())
    }
}

/// The directory as it can be read.
struct DamagedDirectory {
    database: Database,
    files: FileListSource,
    damage: Vec<SourceDamage>,
    found: ScanOutcome,
    /// The highest sequence number in it.
    last_sequence: u64,
}

impl Rescue {
    /// Reads everything, decides, and writes if it is to.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if a program has the database open; [`ErrorKind::NotLevelDb`]; [`ErrorKind::NotFound`] if the repository has
    /// no snapshot of it; [`ErrorKind::Usage`] if the order of its keys is not known,
    /// [`ErrorKind::UnknownFormat`] if its records cannot be read otherwise; and those of the target.
    pub fn run(&self, repo: &Repo, report: &OperationReport) -> Result<RescueOutcome> {
        refuse_locked(&self.directory)?;
        if whole(&self.output)?.starts_with(whole(&self.directory)?) {
            let what = "the new database would stand inside the damaged one, which is only read";
            return Err(Error::new(ErrorKind::Usage, what));
        }
        check_target_free(&self.output)?;
        let catalog = repo.catalog()?;
        let notes = repo.notes()?.current_notes();
        let candidates = self.candidates(&catalog, &notes)?;
        let scene = self.inspect_directory(&candidates, report)?;
        let comparator = scene.database.comparator().clone();
        let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
        let guessed = matches!(scene.files, FileListSource::AllFiles(_));
        let lost_writes = scene.lost_writes(&candidates).filter(|_| !guessed);
        let spans = key_spans::of(&scene.found.lost, guessed, lost_writes.is_some(), &order);
        let lookup = repo.lookup()?;
        let reader = BlobReader::new(repo, &lookup);
        let chosen = spans
            .into_iter()
            .map(|span| {
                rescue_plan::choose(span, &candidates, &reader, &scene.file_metadata(), &order, report)
            })
            .collect::<Result<Vec<_>>>()?;
        let mut merging = RescueMerge::new(chosen, &reader, &order, self.uncertain);
        let written = match self.act {
            RescueMode::Tell => {
                let mut count = |_: &[u8], _: &[u8]| report.go_on();
                merging.run(&scene.database, &mut count)?;
                false
            }
            RescueMode::Write => {
                let shape = self.shape(&scene, &candidates, merging.choose_record());
                self.write(&scene, &shape, &mut merging, report)?;
                true
            }
        };
        let (records, own, spans) = merging.finish();
        Ok(RescueOutcome {
            files: scene.files,
            damage: scene.damage,
            lost_writes,
            spans,
            records,
            own,
            written,
        })
    }

    fn inspect_directory(
        &self,
        candidates: &[RescueCandidate],
        report: &OperationReport,
    ) -> Result<DamagedDirectory> {
        let why = match Database::open(&self.directory) {
            Ok(database) => match read(database, FileListSource::Manifest, report)? {
                scene if !scene.is_behind()? => return Ok(scene),
                _ => "the MANIFEST lacks its last edits: logs are missing, and there are newer tables"
                    .to_owned(),
            },
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                if let Ok((database, name)) = Database::open_by_newest_manifest(&self.directory) {
                    let scene = read(database, FileListSource::NewestManifest(name), report)?;
                    if !scene.is_behind()? {
                        return Ok(scene);
                    }
                }
                error.to_string()
            }
            Err(error) => return Err(error),
        };
        let comparator = candidates
            .first()
            .map(|newest| newest.database.shape.comparator.clone())
            .ok_or_else(|| {
                let what = format!("{why}; without a snapshot of it nothing tells the order of its keys");
                Error::corrupt(what)
            })?;
        let comparator = Comparator::from_name(&comparator);
        let (database, unreadable) = Database::open_all_files(&self.directory, &comparator)?;
        let mut scene = read(database, FileListSource::AllFiles(why), report)?;
        scene
            .damage
            .extend(unreadable.into_iter().map(|(file, error)| SourceDamage {
                file,
                offset: None,
                level: None,
                smallest: None,
                largest: None,
                sequences_lost: None,
                what: error.to_string(),
            }));
        Ok(scene)
    }

    /// The directory's own; without a MANIFEST that of the newest snapshot. Sequence numbers go on behind all that is
    /// in it.
    fn shape(
        &self,
        scene: &DamagedDirectory,
        candidates: &[RescueCandidate],
        chosen: &[rescue_plan::SuppliedSpan],
    ) -> DatabaseLayout {
        let mut shape = match (&scene.files, candidates.first()) {
            (FileListSource::AllFiles(_), Some(newest)) => newest.database.shape.clone(),
            _ => scene.database.layout(),
        };
        let supplied = chosen.iter().filter_map(|chosen| chosen.candidate);
        let supplied = supplied.map(|candidate| candidate.database.last_sequence);
        let all = supplied.chain([scene.last_sequence, shape.last_sequence]);
        shape.last_sequence = all.max().unwrap_or(0);
        shape
    }

    fn write(
        &self,
        scene: &DamagedDirectory,
        shape: &DatabaseLayout,
        merging: &mut RescueMerge,
        report: &OperationReport,
    ) -> Result<()> {
        let comparator = scene.database.comparator();
        let mut staging = DatabaseTarget::create(&self.output, shape, comparator)?;
        let files = database_file_metadata(&self.directory).unwrap_or_else(|| FileMetadata {
            mode: Some(0o600),
            ..FileMetadata::default()
        });
        staging.set_file_attributes(attributes(&files));
        let mut tables = RescuedTables {
            builder: TableBuilder::new(shape, comparator)?,
            staging: &staging,
            next: 1,
        };
        let mut digest = StreamDigester::new();
        merging.run(&scene.database, &mut |key, value| {
            digest.record(key, value);
            report.go_on()?;
            tables.add(key, value)
        })?;
        tables.end()?;
        let mut staged = staging.finish()?;
        let expected = (merging.records(), digest.digest());
        let mut back = RescueReadBack {
            records: 0,
            digest: StreamDigester::new(),
        };
        let outcome = Database::open_in(staged.handle())?.scan(&mut back)?;
        let found = (back.records, back.digest.digest());
        if !outcome.damage.is_empty() || found != expected {
            return Err(
                Error::new(ErrorKind::Mismatch, "it does not read back as it was written").context("rescue"),
            );
        }
        // An owner that came meanwhile has written what is not in it.
        refuse_locked(&self.directory)?;
        let source = HeldDirectory::open_path(&self.directory)?;
        let directory = read_entry(&source, source.path(), report)?.meta;
        let withheld = RefusedAttributes::default();
        staged.set_attributes(&attributes(&directory), &withheld)?;
        report_refused_attributes(&withheld, report);
        report_refused_attributes(staged.refused_attributes(), report);
        staged.publish().map(drop)
    }
}

impl DamagedDirectory {
    /// True if the MANIFEST cannot be the newest: it leads to logs that are gone, and there are tables that it cannot
    /// know.
    fn is_behind(&self) -> Result<bool> {
        Ok(self.found.lost.below > 0 && self.database.has_newer_tables()?)
    }

    /// Writes that a log lost and that no snapshot can have: they came behind the newest of the same history.
    fn lost_writes(&self, candidates: &[RescueCandidate]) -> Option<(u64, u64)> {
        let (lost, newest) = (&self.found.lost, candidates.first()?);
        let seen = rescue_plan::continues_sequence(newest, candidates, &self.file_metadata())
            .then_some(newest.database.last_sequence)?;
        (lost.below < u64::MAX && lost.from > seen).then(|| (lost.from, lost.below - 1))
    }

    fn file_metadata(&self) -> rescue_plan::RescueInput<'_> {
        rescue_plan::RescueInput {
            comparator: self.database.comparator().name(),
            last_sequence: self.last_sequence,
        }
    }
}

fn read(database: Database, files: FileListSource, report: &OperationReport) -> Result<DamagedDirectory> {
    if !database.comparator().is_known() {
        let what = format!(
            "the order of comparator {:?} is not known; `restore` brings its files back",
            database.comparator().name()
        );
        return Err(Error::new(ErrorKind::Usage, what));
    }
    let mut look = DamageScan {
        report,
        last_sequence: database.last_sequence(),
    };
    let found = database.scan(&mut look).context(|| "read the damaged database")?;
    let last_sequence = look.last_sequence;
    Ok(DamagedDirectory {
        damage: found.damage.clone(),
        database,
        files,
        found,
        last_sequence,
    })
}

/// The first pass: only where something is lost matters.
struct DamageScan<'a> {
    report: &'a OperationReport,
    last_sequence: u64,
}

impl RecordSink for DamageScan<'_> {
    fn record(&mut self, _key: &[u8], _value: &[u8], _certain: bool) -> Result<()> {
        self.report.go_on()
    }

    fn newest_version(&mut self, _key: &[u8], word: NewestVersion) -> Result<()> {
        self.last_sequence = self.last_sequence.max(word.sequence);
        Ok(())
    }
}

struct RescuedTables<'a> {
    builder: TableBuilder,
    staging: &'a DatabaseTarget,
    next: u64,
}

impl RescuedTables<'_> {
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.builder.add(key, value)?;
        if self.builder.is_full() {
            self.end()
        } else {
            Ok(())
        }
    }

    fn end(&mut self) -> Result<()> {
        if self.builder.is_empty() {
            return Ok(());
        }
        let table = self.builder.finish()?;
        self.staging.write_table(self.next, &table)?;
        self.next += 1;
        self.builder.recycle(table);
        Ok(())
    }
}

struct RescueReadBack {
    records: u64,
    digest: StreamDigester,
}

impl RecordSink for RescueReadBack {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        self.records += 1;
        self.digest.record(key, value);
        Ok(())
    }
}

/// The path that backups record.
fn whole(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).context(|| format!("find {}", path.display()))
}

/// Whether `key` lies in `span`.
fn holds(span: &KeySpan, key: &[u8], order: KeyOrder) -> bool {
    !span.is_after(key, order) && !span.is_before(key, order)
}
