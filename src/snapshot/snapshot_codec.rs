//! Encodes and decodes snapshots.
//!
//! Snapshot ⇄ the plain bytes of its object: a version, then postcard. Every length and count is compared with
//! its limit before anything relies on it, and only the one encoding of a snapshot is accepted: the lowest version that
//! has all its fields.

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use super::bounded_list;
use super::database_root::{DatabaseContent, DatabaseRoot, LogTail, RecordedDamage, StoredRunRef};
use super::memory_footprint::Footprint;
use super::missing_paths::MissingPaths;
use super::tree_blob::FileMetadata;
use super::{OriginalSnapshot, Snapshot, SnapshotSource, TreeRoot};
use crate::clock::UnixNanos;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{DomainId, ObjectId};
use crate::limits::*;

/// The version of a snapshot that was made where it is.
const VERSION: u8 = 1;

/// The version of a copy: its original stands behind what version 1 has.
const VERSION_COPY: u8 = 2;

/// The version with an [`SnapshotExtension`] behind what version 1 has.
const VERSION_EXTENDED: u8 = 3;

/// The fields that version 3 has behind those of version 1.
#[derive(Default, PartialEq, Eq, Serialize)]
struct SnapshotExtension {
    original: Option<OriginalSnapshot>,
    missing: MissingPaths,
    /// One for each database among the sources, in their order.
    databases: Vec<DatabaseExtension>,
    inside: Option<Vec<u32>>,
}

/// What version 3 adds to a database.
#[derive(Default, PartialEq, Eq, Serialize, Deserialize)]
struct DatabaseExtension {
    files: Option<FileMetadata>,
    /// Of the database's directory.
    inode: Option<u64>,
}

/// The numbers in [`Snapshot::inside`], as they are read.
#[derive(Deserialize)]
struct InnerDatabases(
    #[serde(deserialize_with = "bounded_list::list::<_, _, SNAPSHOT_SOURCES_MAX>")] Vec<u32>,
);

impl SnapshotExtension {
    /// `None` if versions 1 and 2 have room for everything.
    fn of(snapshot: &Snapshot) -> Option<Self> {
        let of_database = |database: &DatabaseRoot| DatabaseExtension {
            files: database.files.clone(),
            inode: database.directory.as_ref().and_then(|meta| meta.inode),
        };
        let databases: Vec<_> = snapshot.databases().map(of_database).collect();
        let is_far = |database: &DatabaseRoot| {
            database
                .directory
                .as_ref()
                .is_some_and(FileMetadata::has_far_time)
        };
        let is_needed = !snapshot.missing.is_empty()
            || snapshot.inside.is_some()
            || databases.iter().any(|one| *one != DatabaseExtension::default())
            || snapshot.databases().any(is_far);
        is_needed.then(|| Self {
            original: snapshot.original,
            missing: snapshot.missing.clone(),
            databases,
            inside: snapshot.inside.clone(),
        })
    }
}

/// The plain bytes, to be sealed. [`ErrorKind::Limit`] for a snapshot that no program would read back.
pub fn encode(snapshot: &Snapshot) -> Result<Vec<u8>> {
    check(snapshot)?;
    let cannot = |cause| Error::with_cause(ErrorKind::Limit, "snapshot cannot be encoded", cause);
    let bytes = match (SnapshotExtension::of(snapshot), &snapshot.original) {
        (Some(extension), _) => {
            let bytes = postcard::to_extend(snapshot, vec![VERSION_EXTENDED]).map_err(cannot)?;
            postcard::to_extend(&extension, bytes).map_err(cannot)?
        }
        (None, None) => postcard::to_extend(snapshot, vec![VERSION]).map_err(cannot)?,
        (None, Some(original)) => {
            let bytes = postcard::to_extend(snapshot, vec![VERSION_COPY]).map_err(cannot)?;
            postcard::to_extend(original, bytes).map_err(cannot)?
        }
    };
    if bytes.len() as u64 <= OBJECT_BYTES_MAX {
        Ok(bytes)
    } else {
        Err(limit("snapshot", bytes.len(), OBJECT_BYTES_MAX as usize))
    }
}

/// Reads what [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<Snapshot> {
    decode_within(bytes, usize::MAX)
}

/// Reads a snapshot that may take `memory_max` bytes of memory; stops with [`ErrorKind::Limit`] at the source that passes it.
pub fn decode_within(bytes: &[u8], memory_max: usize) -> Result<Snapshot> {
    let (version, body) = bytes
        .split_first()
        .ok_or_else(|| Error::corrupt("snapshot is empty"))?;
    if !matches!(*version, VERSION | VERSION_COPY | VERSION_EXTENDED) {
        return Err(Error::new(
            ErrorKind::TooNew,
            format!("snapshot of version {version}"),
        ));
    }
    if bytes.len() as u64 > OBJECT_BYTES_MAX {
        return Err(limit("snapshot", bytes.len(), OBJECT_BYTES_MAX as usize).with_kind(ErrorKind::Corrupt));
    }
    let mut fields = SnapshotFields {
        rest: body,
        memory: 0,
        memory_max,
    };
    let mut snapshot = fields.decode_version_1()?;
    match *version {
        VERSION_COPY => snapshot.original = Some(fields.take_field()?),
        VERSION_EXTENDED => fields.extension(&mut snapshot)?,
        _ => {}
    }
    check(&snapshot).map_err(|error| error.with_kind(ErrorKind::Corrupt))?;
    if fields.rest.is_empty() && is_encoding_of(bytes, &snapshot) {
        Ok(snapshot)
    } else {
        Err(Error::corrupt("snapshot is not in its one encoding"))
    }
}

/// The fields of a snapshot in their order, and the memory that they took so far.
struct SnapshotFields<'b> {
    rest: &'b [u8],
    memory: usize,
    memory_max: usize,
}

/// What stands before the sources.
#[derive(Deserialize)]
struct SnapshotHead {
    domain: DomainId,
    counter: u64,
    previous: Option<ObjectId>,
    host: String,
    user: String,
    time: UnixNanos,
    time_end: UnixNanos,
    #[serde(deserialize_with = "bounded_list::list::<_, _, SNAPSHOT_TAGS_MAX>")]
    tags: Vec<String>,
    program: String,
}

impl<'b> SnapshotFields<'b> {
    fn take_field<T: Deserialize<'b>>(&mut self) -> Result<T> {
        let cannot = |cause| Error::with_cause(ErrorKind::Corrupt, "snapshot cannot be decoded", cause);
        let (value, rest) = postcard::take_from_bytes(self.rest).map_err(cannot)?;
        self.rest = rest;
        Ok(value)
    }

    fn decode_version_1(&mut self) -> Result<Snapshot> {
        let head: SnapshotHead = self.take_field()?;
        let mut snapshot = Snapshot {
            domain: head.domain,
            counter: head.counter,
            previous: head.previous,
            host: head.host,
            user: head.user,
            time: head.time,
            time_end: head.time_end,
            tags: head.tags,
            program: head.program,
            sources: Vec::new(),
            original: None,
            missing: MissingPaths::default(),
            inside: None,
        };
        self.count(snapshot.memory())?;
        for _ in 0..self.number_of("sources")? {
            let source: SnapshotSource = self.take_field()?;
            self.count(source.footprint())?;
            snapshot.sources.push(source);
        }
        Ok(snapshot)
    }

    /// How many entries a list has that is taken one by one.
    fn number_of(&mut self, what: &str) -> Result<usize> {
        let count = self.take_field()?;
        at_most(what, count, SNAPSHOT_SOURCES_MAX).map_err(|error| error.with_kind(ErrorKind::Corrupt))?;
        Ok(count)
    }

    fn extension(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.original = self.take_field()?;
        snapshot.missing = self.take_field()?;
        let mut left = self.number_of("databases")?;
        for source in &mut snapshot.sources {
            if let SnapshotSource::Database(database) = source {
                left = left
                    .checked_sub(1)
                    .ok_or_else(|| Error::corrupt("snapshot's extension has too few databases"))?;
                let DatabaseExtension { files, inode } = self.take_field()?;
                self.count(files.as_ref().map_or(0, Footprint::heap))?;
                database.files = files;
                if let Some(directory) = &mut database.directory {
                    directory.inode = inode;
                }
            }
        }
        if left > 0 {
            return Err(Error::corrupt("snapshot's extension has too many databases"));
        }
        let inside: Option<InnerDatabases> = self.take_field()?;
        snapshot.inside = inside.map(|InnerDatabases(numbers)| numbers);
        self.count(snapshot.inside.as_ref().map_or(0, |numbers| 4 * numbers.len()))
    }

    fn count(&mut self, bytes: usize) -> Result<()> {
        self.memory += bytes;
        if self.memory > self.memory_max {
            return Err(limit("bytes in memory", self.memory, self.memory_max));
        }
        Ok(())
    }
}

/// True if [`encode`] gives these bytes; needs no room for them.
fn is_encoding_of(bytes: &[u8], snapshot: &Snapshot) -> bool {
    let body = |version: u8| remaining_after(bytes.strip_prefix(&[version])?, snapshot);
    let rest = match (SnapshotExtension::of(snapshot), &snapshot.original) {
        (Some(extension), _) => body(VERSION_EXTENDED).and_then(|rest| remaining_after(rest, &extension)),
        (None, Some(original)) => body(VERSION_COPY).and_then(|rest| remaining_after(rest, original)),
        (None, None) => body(VERSION),
    };
    rest.is_some_and(<[u8]>::is_empty)
}

/// What follows the encoding of `value`; `None` if the bytes do not begin with it.
fn remaining_after<'b>(bytes: &'b [u8], value: &impl Serialize) -> Option<&'b [u8]> {
    postcard::serialize_with_flavor(value, CountingWriter(bytes)).ok()
}

/// Takes encoded bytes that are there already.
struct CountingWriter<'b>(&'b [u8]);

impl<'b> Flavor for CountingWriter<'b> {
    type Output = &'b [u8];

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let rest = self.0.strip_prefix(bytes);
        self.0 = rest.ok_or(postcard::Error::SerializeBufferFull)?;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Self::Output> {
        Ok(self.0)
    }
}

/// A run as it stands within a snapshot: for a note that names one.
pub(crate) fn encode_run(run: &StoredRunRef, out: &mut Vec<u8>) -> Result<()> {
    check_run(run)?;
    let bytes = postcard::to_stdvec(run)
        .map_err(|cause| Error::with_cause(ErrorKind::Limit, "run cannot be encoded", cause))?;
    out.extend_from_slice(&bytes);
    Ok(())
}

/// Reads what [`encode_run`] wrote, to the end of the bytes. That it is the one encoding is for the caller to see.
pub(crate) fn decode_run(bytes: &[u8]) -> Result<StoredRunRef> {
    let (run, rest): (StoredRunRef, _) = postcard::take_from_bytes(bytes)
        .map_err(|cause| Error::with_cause(ErrorKind::Corrupt, "run cannot be decoded", cause))?;
    if rest.is_empty() {
        Ok(run)
    } else {
        Err(Error::corrupt("bytes behind a run"))
    }
}

fn check(snapshot: &Snapshot) -> Result<()> {
    for text in [&snapshot.host, &snapshot.user, &snapshot.program] {
        at_most("text", text.len(), TEXT_BYTES_MAX)?;
    }
    at_most("tags", snapshot.tags.len(), SNAPSHOT_TAGS_MAX)?;
    all(&snapshot.tags, |tag| at_most("tag", tag.len(), TEXT_BYTES_MAX))?;
    if !snapshot.tags.is_sorted_by(|a, b| a < b) {
        return Err(Error::new(
            ErrorKind::Limit,
            "tags are not sorted, or one stands twice",
        ));
    }
    snapshot.missing.check()?;
    check_inside(snapshot)?;
    at_most("sources", snapshot.sources.len(), SNAPSHOT_SOURCES_MAX)?;
    all(&snapshot.sources, |source| match source {
        SnapshotSource::Database(database) => check_database(database),
        SnapshotSource::Tree(tree) => check_tree(tree),
    })
}

fn check_inside(snapshot: &Snapshot) -> Result<()> {
    let inside = snapshot.inside.as_deref().unwrap_or_default();
    let is_database = |number: &u32| {
        let source = snapshot.sources.get(*number as usize);
        matches!(source, Some(SnapshotSource::Database(_)))
    };
    if inside.is_sorted_by(|a, b| a < b) && inside.iter().all(is_database) {
        Ok(())
    } else {
        let what = "numbers of inner databases are out of order, or name no database";
        Err(Error::new(ErrorKind::Limit, what))
    }
}

fn check_tree(tree: &TreeRoot) -> Result<()> {
    at_most("name", tree.name.len(), TEXT_BYTES_MAX)?;
    at_most("path", tree.path.len(), PATH_BYTES_MAX)
}

fn check_database(database: &DatabaseRoot) -> Result<()> {
    at_most("name", database.name.len(), TEXT_BYTES_MAX)?;
    at_most("path", database.path.len(), PATH_BYTES_MAX)?;
    for meta in [&database.directory, &database.files].into_iter().flatten() {
        meta.check()?;
    }
    at_most("comparator", database.shape.comparator.len(), TEXT_BYTES_MAX)?;
    let filter = database.shape.filter.as_ref();
    at_most(
        "filter name",
        filter.map_or(0, |filter| filter.name.len()),
        TEXT_BYTES_MAX,
    )?;
    check_content(&database.content)?;
    at_most("damage", database.damage.len(), DAMAGE_MAX)?;
    all(&database.damage, check_damage)?;
    at_most("torn tails", database.capture.torn_tails.len(), DAMAGE_MAX)?;
    all(&database.capture.torn_tails, |tail: &LogTail| {
        at_most("file", tail.file.len(), TEXT_BYTES_MAX)
    })
}

fn check_content(content: &DatabaseContent) -> Result<()> {
    let DatabaseContent::Logical { runs, uncertain } = content else {
        return Ok(());
    };
    if runs.is_empty() {
        return Err(Error::new(ErrorKind::Limit, "stack without a base"));
    }
    at_most("runs", runs.len(), RUNS_MAX)?;
    all(runs, check_run)?;
    uncertain.as_ref().map_or(Ok(()), check_run)
}

fn check_run(run: &StoredRunRef) -> Result<()> {
    at_most("key", run.last_key.len(), RUN_KEY_BYTES_MAX)?;
    at_most("comparator", run.comparator.len(), TEXT_BYTES_MAX)?;
    run.filter.as_ref().map_or(Ok(()), |filter| filter.check())?;
    let Some(root) = &run.root else { return Ok(()) };
    at_most("key", root.top.first_key.len(), RUN_KEY_BYTES_MAX)?;
    at_most(
        "tree levels",
        usize::from(root.level),
        usize::from(TREE_LEVELS_MAX),
    )
}

fn check_damage(damage: &RecordedDamage) -> Result<()> {
    at_most("file", damage.file.len(), TEXT_BYTES_MAX)?;
    at_most("text", damage.what.len(), TEXT_BYTES_MAX)?;
    let keys = [&damage.smallest, &damage.largest];
    all(&keys, |key| {
        at_most("key", key.as_ref().map_or(0, Vec::len), RUN_KEY_BYTES_MAX)
    })
}

fn all<T>(items: &[T], check: impl Fn(&T) -> Result<()>) -> Result<()> {
    items.iter().try_for_each(check)
}

pub(super) fn at_most(what: &str, len: usize, max: usize) -> Result<()> {
    if len <= max {
        Ok(())
    } else {
        Err(limit(what, len, max))
    }
}

fn limit(what: &str, len: usize, max: usize) -> Error {
    Error::new(ErrorKind::Limit, format!("{what}: {len} passes the limit {max}"))
}
