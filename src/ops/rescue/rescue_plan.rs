//! Chooses the snapshot that supplies each span.
//!
//! Which snapshot supplies a span: the newest that is whole there.

use std::cmp::Ordering;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::annotations::CurrentNotes;
use crate::engine::database_state::DatabaseState;
use crate::engine::read_records;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::repo::{BlobReader, SnapshotCatalog, StoredSnapshot};
use crate::report::OperationReport;
use crate::run::{EntryPayload, KeyOrder, KeyRange, RunReader, StackCursor, TombstoneMode};
use crate::snapshot::{DatabaseContent, DatabaseRoot};

use super::{KeySpan, Rescue, SpanSupply, whole};

/// A state of the database that the repository has.
pub struct RescueCandidate<'c> {
    pub stored: &'c StoredSnapshot,
    pub database: &'c DatabaseRoot,
    /// Why it is not believed.
    pub suspect: Option<String>,
    /// True if it belongs to the history that the newest one belongs to.
    is_of_newest_timeline: bool,
}

/// What the directory says of itself.
pub struct RescueInput<'d> {
    pub comparator: &'d str,
    pub last_sequence: u64,
}

/// A span, and the snapshot that supplies it.
pub struct SuppliedSpan<'c> {
    pub span: KeySpan,
    pub candidate: Option<&'c RescueCandidate<'c>>,
    pub supply: Option<SpanSupply>,
    pub passed_over: Vec<(ObjectId, String)>,
}

impl Rescue {
    /// The states of the database, newest first. States of another history are those of another database as far as anything
    /// tells, and are used only where the snapshot is named.
    pub(super) fn candidates<'c>(
        &self,
        catalog: &'c SnapshotCatalog,
        notes: &CurrentNotes,
    ) -> Result<Vec<RescueCandidate<'c>>> {
        let found = self.states(catalog)?;
        let newest = found.first().map(|state| state.database.timeline);
        let is_of_newest = |state: &DatabaseState| Some(state.database.timeline) == newest;
        let named = self
            .snapshot
            .as_ref()
            .map(|words| catalog.select(words))
            .transpose()?;
        let is_meant = |state: &DatabaseState| match named {
            Some(named) => named.id == state.snapshot.id,
            None => is_of_newest(state),
        };
        let candidate = |state: DatabaseState<'c>| RescueCandidate {
            stored: state.snapshot,
            database: state.database,
            suspect: notes.suspect_note(&state.snapshot.id).map(str::to_owned),
            is_of_newest_timeline: is_of_newest(&state),
        };
        let candidates: Vec<_> = found.into_iter().filter(is_meant).map(candidate).collect();
        if candidates.is_empty() {
            Err(self.no_snapshot_error("no snapshot has"))
        } else {
            Ok(candidates)
        }
    }

    /// The states of the database that is meant, newest first.
    fn states<'c>(&self, catalog: &'c SnapshotCatalog) -> Result<Vec<DatabaseState<'c>>> {
        let path = whole(&self.directory)?;
        let of = |snapshot: &'c StoredSnapshot| {
            let databases = snapshot.snapshot.databases();
            databases.map(move |database| DatabaseState { snapshot, database })
        };
        let all = || catalog.snapshots.iter().rev().flat_map(of);
        if let Some(name) = &self.database {
            let found: Vec<DatabaseState> = all().filter(|state| state.database.is_called(name)).collect();
            return one_database(found, name);
        }
        let found: Vec<DatabaseState> = all()
            .filter(|state| state.database.path == path.as_os_str().as_bytes())
            .collect();
        let Some(newest) = found.first() else {
            return Err(self.no_snapshot_error("no snapshot has"));
        };
        if self.snapshot.is_none() && is_another_directory(newest.database, &path)? {
            return Err(self.no_snapshot_error(
                "another directory stood here when it was last saved: it may be another database than",
            ));
        }
        let host = &newest.snapshot.snapshot.host;
        let domain = newest.snapshot.snapshot.domain;
        let timeline = newest.database.timeline;
        let is_ours = |state: &DatabaseState| {
            (&state.snapshot.snapshot.host, state.snapshot.snapshot.domain) == (host, domain)
        };
        // All that was saved since it was last saved here.
        let mut since = all().take_while(|state| state.snapshot.id != newest.snapshot.id);
        if self.snapshot.is_none()
            && since.any(|state| is_ours(&state) && state.database.timeline == timeline)
        {
            return Err(self.no_snapshot_error(
                "it was moved since it was last saved here, so that this may be another database than",
            ));
        }
        Ok(found)
    }

    fn no_snapshot_error(&self, why: &str) -> Error {
        let what = match &self.database {
            Some(name) => format!("{why} a database {}", String::from_utf8_lossy(name)),
            None => format!(
                "{why} the database at {}; --db NAME says which one it is, --snapshot which state",
                self.directory.display()
            ),
        };
        Error::new(ErrorKind::NotFound, what)
    }
}

/// All of these states, if they are of one place: a label alone may be that of several databases.
fn one_database<'c>(found: Vec<DatabaseState<'c>>, name: &[u8]) -> Result<Vec<DatabaseState<'c>>> {
    let place = |state: &DatabaseState<'c>| {
        (
            state.identity().domain,
            state.identity().host,
            &state.database.path[..],
        )
    };
    let Some(newest) = found.first().map(place) else {
        let what = format!("no snapshot has a database {}", String::from_utf8_lossy(name));
        return Err(Error::new(ErrorKind::NotFound, what));
    };
    match found.iter().map(place).find(|other| *other != newest) {
        None => Ok(found),
        Some(other) => Err(Error::new(
            ErrorKind::Usage,
            format!(
                "{} is the name of several databases: {} on {}, {} on {}; name one by its path",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(newest.2),
                newest.1,
                String::from_utf8_lossy(other.2),
                other.1
            ),
        )),
    }
}

/// True if the directory is known to be another than the one that was saved.
fn is_another_directory(database: &DatabaseRoot, path: &Path) -> Result<bool> {
    let then = database.directory.as_ref().and_then(|meta| meta.inode);
    let now = std::fs::metadata(path)
        .context(|| format!("look at {}", path.display()))?
        .ino();
    Ok(then.is_some_and(|then| then != now))
}

/// Tries the snapshots, newest first, until one has every record of the span, opened and compared.
pub fn choose<'c>(
    span: KeySpan,
    candidates: &'c [RescueCandidate<'c>],
    reader: &BlobReader,
    facts: &RescueInput,
    order: KeyOrder,
    report: &OperationReport,
) -> Result<SuppliedSpan<'c>> {
    let mut passed_over = Vec::new();
    for candidate in candidates {
        let why = match candidate.rejection_reason(&span, facts, order) {
            Some(why) => why,
            None => match candidate.try_candidate(&span, reader, order, report) {
                Ok(()) => {
                    let goes_on = continues_sequence(candidate, candidates, facts);
                    let supply = SpanSupply {
                        snapshot: candidate.stored.id,
                        time: candidate.database.capture.time,
                        sequence: goes_on.then_some(candidate.database.last_sequence),
                    };
                    return Ok(SuppliedSpan {
                        span,
                        candidate: Some(candidate),
                        supply: Some(supply),
                        passed_over,
                    });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) => error.to_string(),
            },
        };
        passed_over.push((candidate.stored.id, why));
    }
    Ok(SuppliedSpan {
        span,
        candidate: None,
        supply: None,
        passed_over,
    })
}

/// True if the directory goes on counting where the candidate ends: the same history, as far as can be told.
pub fn continues_sequence(
    candidate: &RescueCandidate,
    candidates: &[RescueCandidate],
    facts: &RescueInput,
) -> bool {
    let newest = candidates
        .first()
        .map_or(0, |newest| newest.database.last_sequence);
    candidate.is_of_newest_timeline && facts.last_sequence >= newest
}

impl RescueCandidate<'_> {
    fn rejection_reason(&self, span: &KeySpan, facts: &RescueInput, order: KeyOrder) -> Option<String> {
        if let Some(why) = &self.suspect {
            return Some(format!("it is suspect: {why}"));
        }
        if self.database.is_physical() {
            return Some("it is stored as files".into());
        }
        if self.database.shape.comparator != facts.comparator {
            return Some(format!(
                "its keys are ordered by {:?}",
                self.database.shape.comparator
            ));
        }
        let mut damage = self.database.damage.iter();
        let hit =
            damage.find(|damage| span.overlaps(damage.smallest.as_ref(), damage.largest.as_ref(), order));
        match hit {
            Some(damage) => Some(format!(
                "the source was damaged here when it was saved: {}",
                damage.what
            )),
            None if self.database.damage_unlisted > 0 => {
                Some("the source was damaged in more places than are listed".into())
            }
            None => None,
        }
    }

    fn try_candidate(
        &self,
        span: &KeySpan,
        reader: &BlobReader,
        order: KeyOrder,
        report: &OperationReport,
    ) -> Result<()> {
        let mut records = CandidateRecords::open(self, span, reader, order)?;
        while records.take_snapshot()?.is_some() {
            report.go_on()?;
        }
        Ok(())
    }
}

/// The records that a candidate has in a span, in order.
pub struct CandidateRecords<'a> {
    cursor: StackCursor<'a>,
    reader: &'a BlobReader<'a>,
    span: KeySpan,
    order: KeyOrder<'a>,
    /// The next one.
    next: Option<(Vec<u8>, Vec<u8>)>,
}

impl<'a> CandidateRecords<'a> {
    pub fn open(
        candidate: &RescueCandidate<'a>,
        span: &KeySpan,
        reader: &'a BlobReader<'a>,
        order: KeyOrder<'a>,
    ) -> Result<Self> {
        let DatabaseContent::Logical { runs, .. } = &candidate.database.content else {
            return Err(Error::new(ErrorKind::Usage, "it is stored as files"));
        };
        let newest_first = runs.iter().rev();
        let walkers: Vec<_> = newest_first
            .map(|run| RunReader::new(reader, run.root.as_ref(), order))
            .collect();
        let range = KeyRange {
            from: span.smallest.clone(),
            to: None,
        };
        let mut records = Self {
            cursor: StackCursor::new(&walkers, &range, TombstoneMode::Drop, order)?,
            reader,
            span: span.clone(),
            order,
            next: None,
        };
        records.advance()?;
        Ok(records)
    }

    /// The key of the next one.
    pub fn key(&self) -> Option<&[u8]> {
        self.next.as_ref().map(|(key, _)| &key[..])
    }

    /// The next one.
    pub fn take_snapshot(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let taken = self.next.take();
        if taken.is_some() {
            self.advance()?;
        }
        Ok(taken)
    }

    /// True if the next one has this key.
    pub fn is_at(&self, key: &[u8]) -> bool {
        self.key()
            .is_some_and(|next| (self.order)(next, key) == Ordering::Equal)
    }

    fn advance(&mut self) -> Result<()> {
        let Some(entry) = self.cursor.next().context(|| "read the snapshot")? else {
            return Ok(());
        };
        if self.span.is_before(entry.key, self.order) {
            return Ok(());
        }
        let value = match &entry.payload {
            EntryPayload::Inline(value) => value.to_vec(),
            EntryPayload::Chunked(list) => read_records::read_long_value(self.reader, list)?,
            EntryPayload::Delete | EntryPayload::Patch(_) => return Err(read_records::not_a_record()),
        };
        self.next = Some((entry.key.to_vec(), value));
        Ok(())
    }
}
