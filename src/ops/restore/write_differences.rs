//! Writes the records that differ between a snapshot and a database.
//!
//! A snapshot's records beside those of a database: what must be written so that the database has the snapshot's.
//!
//! ```text
//! snapshot   a=1  b=2       d=4  e=5        (pulled)
//! database   a=1  b=0  c=3       e=5        (pushed by its scan; e stands in a log)
//! written         b=2  c†   d=4  e=5
//! ```
//! A key of which a log has the newest word is written whatever that word is, for the logs do not come along: a record
//! may be in no table, and a deletion may be all that hides an older record of one. So is a key whose newest entry
//! LevelDB would not find, because a table that it asks earlier has an older one.

use std::cmp::Ordering;

use super::in_place::{InPlaceOutcome, InPlaceTableWriter, InPlaceTables};
use crate::blob::BlobKind;
use crate::chunk::{ChunkIterator, ChunkList};
use crate::error::{Error, ErrorKind, Result};
use crate::leveldb::Comparator;
use crate::repo::{BlobReader, Repo};
use crate::report::OperationReport;
use crate::run::{EntryPayload, RunEntry, StackCursor};
use crate::source::RecordSink;

use crate::engine::read_records;

/// What both sides are read with.
#[derive(Clone, Copy)]
pub struct DifferenceContext<'a> {
    pub repo: &'a Repo,
    pub reader: &'a BlobReader<'a>,
    pub order: &'a Comparator,
    pub report: &'a OperationReport,
}

/// Takes the database's records and writes what differs; gives up when that is too much.
pub struct DifferenceWriter<'a> {
    context: DifferenceContext<'a>,
    /// Stands on the first record that is not compared yet.
    snapshot: StackCursor<'a>,
    tables: InPlaceTableWriter<'a>,
    /// Key and value bytes that may still differ.
    bytes_left: u64,
    /// The record that comes next is written also if the snapshot has the same.
    must_write: bool,
    written: InPlaceOutcome,
    gave_up: bool,
}

impl<'a> DifferenceWriter<'a> {
    /// Nothing compared yet; no more than `bytes_max` key and value bytes may differ.
    pub fn new(
        eyes: DifferenceContext<'a>,
        mut snapshot: StackCursor<'a>,
        tables: InPlaceTableWriter<'a>,
        bytes_max: u64,
    ) -> Result<Self> {
        snapshot.next()?;
        Ok(Self {
            context: eyes,
            snapshot,
            tables,
            bytes_left: bytes_max,
            must_write: false,
            written: InPlaceOutcome::default(),
            gave_up: false,
        })
    }

    /// True once more differs than is worth it: the scan ended with an error that means this.
    pub fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// The rest of the snapshot, behind the database's last key; then the new tables.
    pub fn finish(&mut self) -> Result<()> {
        self.put_records_before(None)?;
        if self.tables.finish_table()? {
            Ok(())
        } else {
            self.give_up()
        }
    }

    /// What was written, once finished.
    pub fn into_new(self) -> InPlaceTables {
        InPlaceTables {
            tables: self.tables.into_written(),
            written: self.written,
        }
    }

    /// The database has `value` under `key`, or nothing that shows.
    fn compare_key(&mut self, key: &[u8], value: Option<&[u8]>, must_write: bool) -> Result<()> {
        self.put_records_before(Some(key))?;
        let same = match self.snapshot.entry() {
            Some(entry) if self.context.order.compare(entry.key, key) == Ordering::Equal => {
                !must_write && entry.key == key && is_same(&self.context, &entry.payload, value)?
            }
            _ => return self.delete(key, value),
        };
        if !same {
            self.put()?;
        }
        self.advance()
    }

    /// Puts what only the snapshot has, up to `key`.
    fn put_records_before(&mut self, key: Option<&[u8]>) -> Result<()> {
        let is_before =
            |own: &[u8]| key.is_none_or(|key| self.context.order.compare(own, key) == Ordering::Less);
        while self.snapshot.key().is_some_and(is_before) {
            self.put()?;
            self.advance()?;
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<()> {
        let report = self.context.report;
        if let Some(entry) = self.snapshot.entry() {
            report.bytes_done.add(entry.payload.element_bytes(entry.key));
            report.records.add(1);
        }
        self.snapshot.next()?;
        report.go_on()
    }

    fn put(&mut self) -> Result<()> {
        let Some(RunEntry { key, payload }) = self.snapshot.entry() else {
            return Ok(());
        };
        if !spend_bytes(&mut self.bytes_left, key.len() as u64 + payload.value_bytes()) {
            return self.give_up();
        }
        let has_room = match &payload {
            EntryPayload::Inline(value) => self.tables.put(key, value)?,
            EntryPayload::Chunked(list) => self
                .tables
                .put(key, &read_records::read_long_value(self.context.reader, list)?)?,
            EntryPayload::Delete | EntryPayload::Patch(_) => return Err(read_records::not_a_record()),
        };
        self.written.puts += 1;
        if has_room { Ok(()) } else { self.give_up() }
    }

    /// A record that is hidden counts in full: its bytes stay in the old tables.
    fn delete(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let hidden = value.map_or(0, <[u8]>::len);
        if !spend_bytes(&mut self.bytes_left, (key.len() + hidden) as u64) || !self.tables.delete(key)? {
            return self.give_up();
        }
        self.written.deletions += 1;
        Ok(())
    }

    fn give_up(&mut self) -> Result<()> {
        self.gave_up = true;
        Err(Error::new(ErrorKind::Limit, "too much of the database differs"))
    }
}

impl RecordSink for DifferenceWriter<'_> {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        let must_write = std::mem::take(&mut self.must_write);
        self.compare_key(key, Some(value), must_write)
    }

    fn log_entry(&mut self, key: &[u8], is_deletion: bool) -> Result<()> {
        self.must_write = !is_deletion;
        if is_deletion {
            self.compare_key(key, None, true)?;
        }
        Ok(())
    }

    fn shadowed_entry(&mut self, key: &[u8], is_deletion: bool) -> Result<()> {
        self.log_entry(key, is_deletion)
    }
}

fn spend_bytes(left: &mut u64, bytes: u64) -> bool {
    let rest = left.checked_sub(bytes);
    *left = rest.unwrap_or(0);
    rest.is_some()
}

fn is_same(eyes: &DifferenceContext, payload: &EntryPayload, value: Option<&[u8]>) -> Result<bool> {
    match (payload, value) {
        (EntryPayload::Inline(own), Some(value)) => Ok(*own == value),
        (EntryPayload::Chunked(list), Some(value)) => is_same_long(eyes, list, value),
        _ => Ok(false),
    }
}

/// A long value is cut where the list says and its pieces are named anew: nothing of it is fetched.
fn is_same_long(eyes: &DifferenceContext, list: &ChunkList, value: &[u8]) -> Result<bool> {
    if list.bytes() != value.len() as u64 {
        return Ok(false);
    }
    let mut rest = value;
    for chunk in ChunkIterator::new(list.clone(), eyes.reader) {
        let chunk = chunk?;
        let Some((piece, behind)) = usize::try_from(chunk.bytes)
            .ok()
            .and_then(|len| rest.split_at_checked(len))
        else {
            return Ok(false);
        };
        if eyes.repo.domain_keys().blob_id(BlobKind::Data, piece) != chunk.id {
            return Ok(false);
        }
        rest = behind;
    }
    Ok(rest.is_empty())
}
