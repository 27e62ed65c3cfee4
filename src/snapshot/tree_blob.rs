//! Encodes and decodes tree blobs.
//!
//! Tree blob ⇄ bytes: the entries of one directory, or, for a directory of many files, the list of its parts.
//!
//! ```text
//! version 1 (1) | level (varint) | count (varint) | count × entry (level 0) or part (level n)
//! entry = name | kind (1) | body | metadata fields      (lengths before what varies)
//! part  = first name beneath | entries beneath (varint) | blob id (32)
//! ```
//!
//! Names are any bytes but `/` and NUL, and neither `.` nor `..`; sorted as bytes, none twice. One encoding for
//! each tree.

use serde::{Deserialize, Serialize};

use super::bounded_list;
use super::snapshot_codec::at_most;
use crate::chunk::ChunkList;
use crate::codec::{Reader, put_prefixed, put_varint};
use crate::error::{Error, ErrorKind, Result};
use crate::id::BlobId;
use crate::limits::*;

/// The only version of trees so far.
const VERSION: u8 = 1;

/// One tree blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeBlob {
    /// Entries of a directory, or of one part of it.
    Entries(Vec<TreeEntry>),
    /// Parts of a directory.
    Parts {
        /// 1: the parts hold entries; n: parts of level n-1.
        level: u8,
        /// In order of names, one or more.
        parts: Vec<TreePart>,
    },
}

/// Part of a large directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreePart {
    /// Name of the first entry beneath.
    pub first_name: Vec<u8>,
    /// Entries beneath.
    pub entries: u64,
    /// The part's tree blob.
    pub id: BlobId,
}

/// One file, directory, link or database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// Name within its directory.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Mode, owner, times and the like.
    pub meta: FileMetadata,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File(ChunkList),
    /// A directory: its tree blob.
    Directory(BlobId),
    /// A symbolic link: its target.
    Symlink(Vec<u8>),
    /// A database that is a source of the same snapshot: its number among them.
    Database(u32),
    /// A named pipe.
    Fifo,
    /// A device node.
    Device(DeviceNumber),
}

/// What a device node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceNumber {
    /// Read by blocks, or byte by byte.
    pub is_block: bool,
    /// The driver's number.
    pub major: u32,
    /// The device's number within the driver.
    pub minor: u32,
}

/// What the filesystem knows of an entry beside its content. What could not be read is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMetadata {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last modification, nanoseconds since 1970-01-01T00:00:00Z: 64 bits end in 2262, filesystems do not.
    pub mtime_nanos: Option<i128>,
    /// Extended attributes, sorted by name, none twice.
    #[serde(deserialize_with = "bounded_list::list::<_, _, XATTRS_MAX>")]
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Equal for all names of one file within a source.
    pub hard_link: Option<u64>,
    /// Holes of a sparse file: offset and length, in order, apart from one another.
    #[serde(deserialize_with = "bounded_list::list::<_, _, HOLES_MAX>")]
    pub holes: Vec<(u64, u64)>,
    /// Last change of content or metadata, as [`Self::mtime_nanos`]: with the inode, whether a file is still as it was
    /// read. (This and the inode are not among the fields of a snapshot's own metadata.)
    #[serde(skip)]
    pub ctime_nanos: Option<i128>,
    /// The file's number within its filesystem.
    #[serde(skip)]
    pub inode: Option<u64>,
}

impl TreeBlob {
    /// The plain bytes. [`ErrorKind::Limit`] for a tree that no program would read back.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.check()?;
        let mut out = vec![VERSION];
        let (level, count) = match self {
            Self::Entries(entries) => (0, entries.len()),
            Self::Parts { level, parts } => (*level, parts.len()),
        };
        put_varint(&mut out, u64::from(level));
        put_varint(&mut out, count as u64);
        match self {
            Self::Entries(entries) => entries.iter().for_each(|entry| entry.encode(&mut out)),
            Self::Parts { parts, .. } => parts.iter().for_each(|part| part.encode(&mut out)),
        }
        at_most("tree", out.len(), TREE_BYTES_MAX).map(|()| out)
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(Error::new(
                ErrorKind::TooNew,
                format!("tree of version {version}"),
            ));
        }
        at_most("tree", bytes.len(), TREE_BYTES_MAX).map_err(|error| error.with_kind(ErrorKind::Corrupt))?;
        let level = reader.varint_canonical()?;
        let count = reader.varint_canonical()?;
        let tree = match u8::try_from(level) {
            Ok(0) => Self::Entries(put_list(&mut reader, count, TreeEntry::decode)?),
            Ok(level) => Self::Parts {
                level,
                parts: put_list(&mut reader, count, TreePart::decode)?,
            },
            Err(_) => return Err(Error::corrupt("tree too deep")),
        };
        reader.finish()?;
        tree.check()
            .map_err(|error| error.with_kind(ErrorKind::Corrupt))
            .map(|()| tree)
    }

    fn check(&self) -> Result<()> {
        match self {
            Self::Entries(entries) => {
                entries.iter().try_for_each(TreeEntry::check)?;
                ascending(entries.iter().map(|entry| &entry.name[..]))
            }
            Self::Parts { level, parts } => {
                let levels = 1..=TREE_LEVELS_MAX;
                let entries = parts
                    .iter()
                    .try_fold(0u64, |sum, part| sum.checked_add(part.entries));
                let honest = parts.iter().all(|part| part.entries > 0) && entries.is_some();
                if !levels.contains(level) || parts.is_empty() || !honest {
                    return Err(Error::new(ErrorKind::Limit, "tree parts of impossible count"));
                }
                parts.iter().try_for_each(|part| check_name(&part.first_name))?;
                ascending(parts.iter().map(|part| &part.first_name[..]))
            }
        }
    }
}

/// Reads `count` things; what is allocated at once stays in proportion to the bytes that are there.
fn put_list<T>(
    reader: &mut Reader<'_>,
    count: u64,
    one: impl Fn(&mut Reader<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    if count > reader.remaining() as u64 {
        return Err(Error::corrupt(format!(
            "count {count} in {} bytes",
            reader.remaining()
        )));
    }
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(one(reader)?);
    }
    Ok(items)
}

fn ascending<'a>(names: impl Iterator<Item = &'a [u8]>) -> Result<()> {
    if names.is_sorted_by(|a, b| a < b) {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::Limit, "names out of order"))
    }
}

/// A name that can be joined to a directory without leading out of it.
fn check_name(name: &[u8]) -> Result<()> {
    at_most("name", name.len(), NAME_BYTES_MAX)?;
    let escapes = matches!(name, b"" | b"." | b"..");
    if escapes || name.contains(&b'/') || name.contains(&0) {
        Err(Error::new(ErrorKind::Limit, "name that no directory holds"))
    } else {
        Ok(())
    }
}

impl TreePart {
    fn encode(&self, out: &mut Vec<u8>) {
        put_prefixed(out, &self.first_name);
        put_varint(out, self.entries);
        out.extend_from_slice(&self.id.0);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let first_name = bounded(reader, NAME_BYTES_MAX)?.to_vec();
        let entries = reader.varint_canonical()?;
        let id = BlobId(reader.array()?);
        Ok(Self {
            first_name,
            entries,
            id,
        })
    }
}

const FILE: u8 = 1;
const DIRECTORY: u8 = 2;
const SYMLINK: u8 = 3;
const DATABASE: u8 = 4;
const FIFO: u8 = 5;
const CHARACTER_DEVICE: u8 = 6;
const BLOCK_DEVICE: u8 = 7;

impl TreeEntry {
    /// Appends the encoding; what [`TreeBlob::encode`] checks is not checked here.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_prefixed(out, &self.name);
        match &self.kind {
            EntryKind::File(list) => {
                out.push(FILE);
                list.encode(out);
            }
            EntryKind::Directory(id) => {
                out.push(DIRECTORY);
                out.extend_from_slice(&id.0);
            }
            EntryKind::Symlink(target) => {
                out.push(SYMLINK);
                put_prefixed(out, target);
            }
            EntryKind::Database(number) => {
                out.push(DATABASE);
                put_varint(out, u64::from(*number));
            }
            EntryKind::Fifo => out.push(FIFO),
            EntryKind::Device(device) => device.encode(out),
        }
        self.meta.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let name = bounded(reader, NAME_BYTES_MAX)?.to_vec();
        let kind = match reader.u8()? {
            FILE => EntryKind::File(ChunkList::decode(reader)?),
            DIRECTORY => EntryKind::Directory(BlobId(reader.array()?)),
            SYMLINK => EntryKind::Symlink(bounded(reader, PATH_BYTES_MAX)?.to_vec()),
            DATABASE => EntryKind::Database(number(reader)?),
            FIFO => EntryKind::Fifo,
            CHARACTER_DEVICE => EntryKind::Device(DeviceNumber::decode(reader, false)?),
            BLOCK_DEVICE => EntryKind::Device(DeviceNumber::decode(reader, true)?),
            kind => {
                return Err(Error::new(
                    ErrorKind::TooNew,
                    format!("tree entry of kind {kind}"),
                ));
            }
        };
        let meta = FileMetadata::decode(reader)?;
        Ok(Self { name, kind, meta })
    }

    fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        if let EntryKind::Symlink(target) = &self.kind {
            at_most("symbolic link", target.len(), PATH_BYTES_MAX)?;
        }
        self.meta.check()
    }
}

impl DeviceNumber {
    fn encode(self, out: &mut Vec<u8>) {
        out.push(if self.is_block {
            BLOCK_DEVICE
        } else {
            CHARACTER_DEVICE
        });
        put_varint(out, u64::from(self.major));
        put_varint(out, u64::from(self.minor));
    }

    fn decode(reader: &mut Reader<'_>, is_block: bool) -> Result<Self> {
        Ok(Self {
            is_block,
            major: number(reader)?,
            minor: number(reader)?,
        })
    }
}

fn bounded<'a>(reader: &mut Reader<'a>, max: usize) -> Result<&'a [u8]> {
    let len = reader.varint_canonical()?;
    match usize::try_from(len) {
        Ok(len) if len <= max => reader.bytes(len),
        _ => Err(Error::corrupt(format!("length {len} passes the limit {max}"))),
    }
}

fn number(reader: &mut Reader<'_>) -> Result<u32> {
    let value = reader.varint_canonical()?;
    u32::try_from(value).map_err(|_| Error::corrupt(format!("{value} where 32 bits stand")))
}

/// Field numbers of the metadata: `field (1) | its value`, in ascending order, 0 ends them.
const END: u8 = 0;
const MODE: u8 = 1;
const UID: u8 = 2;
const GID: u8 = 3;
const MTIME: u8 = 4;
const XATTRS: u8 = 5;
const HARD_LINK: u8 = 6;
const HOLES: u8 = 7;
const CTIME: u8 = 8;
const INODE: u8 = 9;
const MTIME_FAR: u8 = 10;
const CTIME_FAR: u8 = 11;

const SECOND: i128 = 1_000_000_000;

impl FileMetadata {
    fn encode(&self, out: &mut Vec<u8>) {
        for (field, value) in [(MODE, self.mode), (UID, self.uid), (GID, self.gid)] {
            if let Some(value) = value {
                out.push(field);
                put_varint(out, u64::from(value));
            }
        }
        if let Some(mtime) = encode_near_time(self.mtime_nanos) {
            out.push(MTIME);
            out.extend_from_slice(&mtime.to_le_bytes());
        }
        if !self.xattrs.is_empty() {
            out.push(XATTRS);
            put_varint(out, self.xattrs.len() as u64);
            for (name, value) in &self.xattrs {
                put_prefixed(out, name);
                put_prefixed(out, value);
            }
        }
        if let Some(group) = self.hard_link {
            out.push(HARD_LINK);
            out.extend_from_slice(&group.to_le_bytes());
        }
        if !self.holes.is_empty() {
            out.push(HOLES);
            put_varint(out, self.holes.len() as u64);
            for (offset, len) in &self.holes {
                put_varint(out, *offset);
                put_varint(out, *len);
            }
        }
        if let Some(ctime) = encode_near_time(self.ctime_nanos) {
            out.push(CTIME);
            out.extend_from_slice(&ctime.to_le_bytes());
        }
        if let Some(inode) = self.inode {
            out.push(INODE);
            put_varint(out, inode);
        }
        for (field, time) in [(MTIME_FAR, self.mtime_nanos), (CTIME_FAR, self.ctime_nanos)] {
            if let Some(nanos) = time.filter(|_| encode_near_time(time).is_none()) {
                out.push(field);
                encode_far_time(out, nanos);
            }
        }
        out.push(END);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let mut meta = Self::default();
        let mut before = END;
        loop {
            let field = reader.u8()?;
            if field == END {
                return Ok(meta);
            }
            if field <= before {
                return Err(Error::corrupt("metadata fields out of order"));
            }
            before = field;
            meta.field(field, reader)?;
        }
    }

    fn field(&mut self, field: u8, reader: &mut Reader<'_>) -> Result<()> {
        match field {
            MODE => self.mode = Some(number(reader)?),
            UID => self.uid = Some(number(reader)?),
            GID => self.gid = Some(number(reader)?),
            MTIME => self.mtime_nanos = Some(i64::from_le_bytes(reader.array()?).into()),
            XATTRS => {
                let count = put_optional(reader, XATTRS_MAX)?;
                self.xattrs = put_list(reader, count, |reader| {
                    let name = bounded(reader, XATTR_BYTES_MAX)?.to_vec();
                    Ok((name, bounded(reader, XATTR_BYTES_MAX)?.to_vec()))
                })?;
            }
            HARD_LINK => self.hard_link = Some(u64::from_le_bytes(reader.array()?)),
            HOLES => {
                let count = put_optional(reader, HOLES_MAX)?;
                self.holes = put_list(reader, count, |reader| {
                    Ok((reader.varint_canonical()?, reader.varint_canonical()?))
                })?;
            }
            CTIME => self.ctime_nanos = Some(i64::from_le_bytes(reader.array()?).into()),
            INODE => self.inode = Some(reader.varint_canonical()?),
            MTIME_FAR if self.mtime_nanos.is_none() => self.mtime_nanos = Some(decode_far_time(reader)?),
            CTIME_FAR if self.ctime_nanos.is_none() => self.ctime_nanos = Some(decode_far_time(reader)?),
            MTIME_FAR | CTIME_FAR => return Err(Error::corrupt("metadata with one time twice")),
            _ => return Err(Error::new(ErrorKind::TooNew, format!("metadata field {field}"))),
        }
        Ok(())
    }

    /// True if a time of it needs more than 64 bits of nanoseconds.
    pub(super) fn has_far_time(&self) -> bool {
        let is_far = |time: Option<i128>| time.is_some() && encode_near_time(time).is_none();
        is_far(self.mtime_nanos) || is_far(self.ctime_nanos)
    }

    pub(super) fn check(&self) -> Result<()> {
        for time in [self.mtime_nanos, self.ctime_nanos].into_iter().flatten() {
            if i64::try_from(time.div_euclid(SECOND)).is_err() {
                return Err(Error::new(
                    ErrorKind::Limit,
                    "time of more than 64 bits of seconds",
                ));
            }
        }
        at_most("extended attributes", self.xattrs.len(), XATTRS_MAX)?;
        let bytes = self.xattrs.iter().map(|(name, value)| name.len() + value.len());
        at_most("extended attributes' bytes", bytes.sum(), XATTR_BYTES_MAX)?;
        ascending(self.xattrs.iter().map(|(name, _)| &name[..]))?;
        at_most("holes", self.holes.len(), HOLES_MAX)?;
        let mut free = 0;
        for (index, (offset, len)) in self.holes.iter().enumerate() {
            let apart = index == 0 || *offset > free;
            match offset.checked_add(*len) {
                Some(end) if apart && *len > 0 => free = end,
                _ => return Err(Error::new(ErrorKind::Limit, "holes out of order")),
            }
        }
        Ok(())
    }
}

/// A time in 64 bits of nanoseconds, if it fits.
fn encode_near_time(time: Option<i128>) -> Option<i64> {
    time.and_then(|nanos| i64::try_from(nanos).ok())
}

/// Seconds (64 bits, signed) and nanoseconds (32 bits) of a time that does not. [`FileMetadata::check`] has seen that they do.
fn encode_far_time(out: &mut Vec<u8>, nanos: i128) {
    let seconds = i64::try_from(nanos.div_euclid(SECOND)).unwrap_or(i64::MAX);
    let rest = u32::try_from(nanos.rem_euclid(SECOND)).unwrap_or(0);
    out.extend_from_slice(&seconds.to_le_bytes());
    out.extend_from_slice(&rest.to_le_bytes());
}

fn decode_far_time(reader: &mut Reader<'_>) -> Result<i128> {
    let seconds = i64::from_le_bytes(reader.array()?);
    let rest = i128::from(u32::from_le_bytes(reader.array()?));
    let nanos = i128::from(seconds) * SECOND + rest;
    if rest < SECOND && encode_near_time(Some(nanos)).is_none() {
        Ok(nanos)
    } else {
        Err(Error::corrupt("time that is not in its one encoding"))
    }
}

/// A count that would not stand there if it were zero.
fn put_optional(reader: &mut Reader<'_>, max: usize) -> Result<u64> {
    match reader.varint_canonical()? {
        count if count > 0 && count <= max as u64 => Ok(count),
        count => Err(Error::corrupt(format!(
            "count {count} passes the limit {max}, or is none"
        ))),
    }
}
