//! Which snapshot supplies a span: the newest that is whole there.

use std::cmp::Ordering;
use std::os::unix::ffi::OsStrExt;

use crate::error::{Act, Error, Kind, Result};
use crate::facts::Notes;
use crate::id::ObjectId;
use crate::ops::read;
use crate::repo::{BlobReader, Catalog, StoredSnapshot};
use crate::report::Report;
use crate::run::{KeyOrder, KeyRange, Payload, StackCursor, Tombstones, Walker};
use crate::snapshot::{Content, DatabaseRoot};

use super::{Rescue, Span, Supply, whole};

/// A state of the database that the repository has.
pub struct Candidate<'c> {
    pub stored: &'c StoredSnapshot,
    pub database: &'c DatabaseRoot,
    /// Why it is not believed.
    pub suspect: Option<String>,
    /// True if it belongs to the history that the newest one belongs to.
    is_of_newest_timeline: bool,
}

/// What the directory says of itself.
pub struct Facts<'d> {
    pub comparator: &'d str,
    pub last_sequence: u64,
}

/// A span and who supplies it.
pub struct Chosen<'c> {
    pub span: Span,
    pub candidate: Option<&'c Candidate<'c>>,
    pub supply: Option<Supply>,
    pub passed_over: Vec<(ObjectId, String)>,
}

impl Rescue {
    /// The states of the database, newest first.
    pub(super) fn candidates<'c>(&self, catalog: &'c Catalog, notes: &Notes) -> Result<Vec<Candidate<'c>>> {
        let path = whole(&self.directory)?;
        let is_it = |database: &&DatabaseRoot| match &self.database {
            Some(name) => database.name == *name,
            None => database.path == path.as_os_str().as_bytes(),
        };
        let wanted = self
            .snapshot
            .as_ref()
            .map(|words| catalog.select(words))
            .transpose()?;
        let mut found = Vec::new();
        for stored in catalog.snapshots.iter().rev() {
            for database in stored.snapshot.databases().filter(is_it) {
                found.push((stored, database));
            }
        }
        let newest = found.first().map(|(_, database)| database.timeline);
        found.retain(|(stored, _)| wanted.is_none_or(|wanted| wanted.id == stored.id));
        if found.is_empty() {
            let what = match &self.database {
                Some(name) => format!("no snapshot has a database {name}"),
                None => format!(
                    "no snapshot has the database at {}; --db names it",
                    path.display()
                ),
            };
            return Err(Error::new(Kind::NotFound, what));
        }
        let candidate = |(stored, database): (&'c StoredSnapshot, &'c DatabaseRoot)| Candidate {
            stored,
            database,
            suspect: notes.suspect(&stored.id).map(str::to_owned),
            is_of_newest_timeline: Some(database.timeline) == newest,
        };
        Ok(found.into_iter().map(candidate).collect())
    }
}

/// Tries the snapshots, newest first, until one has every record of the span, opened and compared.
pub fn choose<'c>(
    span: Span,
    candidates: &'c [Candidate<'c>],
    reader: &BlobReader,
    facts: &Facts,
    order: KeyOrder,
    report: &Report,
) -> Result<Chosen<'c>> {
    let mut passed_over = Vec::new();
    for candidate in candidates {
        let why = match candidate.doubt(&span, facts, order) {
            Some(why) => why,
            None => match candidate.try_out(&span, reader, order, report) {
                Ok(()) => {
                    let goes_on = goes_on(candidate, candidates, facts);
                    let supply = Supply {
                        snapshot: candidate.stored.id,
                        time: candidate.database.capture.time,
                        sequence: goes_on.then_some(candidate.database.last_sequence),
                    };
                    return Ok(Chosen {
                        span,
                        candidate: Some(candidate),
                        supply: Some(supply),
                        passed_over,
                    });
                }
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                Err(error) => error.to_string(),
            },
        };
        passed_over.push((candidate.stored.id, why));
    }
    Ok(Chosen {
        span,
        candidate: None,
        supply: None,
        passed_over,
    })
}

/// True if the directory goes on counting where the candidate ends: the same history, as far as can be told.
pub fn goes_on(candidate: &Candidate, candidates: &[Candidate], facts: &Facts) -> bool {
    let newest = candidates
        .first()
        .map_or(0, |newest| newest.database.last_sequence);
    candidate.is_of_newest_timeline && facts.last_sequence >= newest
}

impl Candidate<'_> {
    fn doubt(&self, span: &Span, facts: &Facts, order: KeyOrder) -> Option<String> {
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
        let hit = damage.find(|damage| span.meets(damage.smallest.as_ref(), damage.largest.as_ref(), order));
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

    fn try_out(&self, span: &Span, reader: &BlobReader, order: KeyOrder, report: &Report) -> Result<()> {
        let mut records = Records::open(self, span, reader, order)?;
        while records.take()?.is_some() {
            report.go_on()?;
        }
        Ok(())
    }
}

/// The records that a candidate has in a span, in order.
pub struct Records<'a> {
    cursor: StackCursor<'a>,
    reader: &'a BlobReader<'a>,
    span: Span,
    order: KeyOrder<'a>,
    /// The next one.
    next: Option<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Records<'a> {
    pub fn open(
        candidate: &Candidate<'a>,
        span: &Span,
        reader: &'a BlobReader<'a>,
        order: KeyOrder<'a>,
    ) -> Result<Self> {
        let Content::Logical { runs, .. } = &candidate.database.content else {
            return Err(Error::new(Kind::Usage, "it is stored as files"));
        };
        let newest_first = runs.iter().rev();
        let walkers: Vec<_> = newest_first
            .map(|run| Walker::new(reader, run.root.as_ref(), order))
            .collect();
        let range = KeyRange {
            from: span.smallest.clone(),
            to: None,
        };
        let mut records = Self {
            cursor: StackCursor::new(&walkers, &range, Tombstones::Drop, order)?,
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
    pub fn take(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
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
        let Some(entry) = self.cursor.next().act(|| "read the snapshot")? else {
            return Ok(());
        };
        if self.span.is_before(entry.key, self.order) {
            return Ok(());
        }
        let value = match &entry.payload {
            Payload::Inline(value) => value.to_vec(),
            Payload::Chunked(list) => read::join(self.reader, list)?,
            Payload::Delete | Payload::Patch(_) => return Err(read::not_a_record()),
        };
        self.next = Some((entry.key.to_vec(), value));
        Ok(())
    }
}
