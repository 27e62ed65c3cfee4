//! Encodes and decodes the inner nodes of runs.
//!
//! Inner node ⇄ bytes: which children, beneath which first keys, and how much each holds.
//!
//! ```text
//! version 1 (1) | level (1) | count (varint) | count × (shared, suffix length, records, bytes, chunked: varints)
//!   | suffixes of the first keys | count × blob id (32)
//! ```
//!
//! Level 1: the children are leaves; level n: nodes of level n-1. One encoding for each list of children.

use super::leaf::shared_len;
use super::run_entry::{EntryPayload, RunEntry};
use crate::blob::BlobKind;
use crate::codec::{Reader, put_varint};
use crate::error::{Error, ErrorKind, Result};
use crate::id::BlobId;
use crate::limits::{NODE_CHILDREN_MAX, RUN_KEY_BYTES_MAX, TREE_LEVELS_MAX};

/// The only version of nodes so far.
const VERSION: u8 = 1;

/// Least bytes of one child: five numbers and an id.
const CHILD_BYTES_MIN: usize = 5 + BlobId::LEN;

/// A leaf or node as its parent knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ChildRef {
    /// Key of the first entry beneath.
    pub first_key: Vec<u8>,
    /// The blob.
    pub id: BlobId,
    /// Entries beneath, deletions included.
    pub records: u64,
    /// Bytes of the canonical elements beneath; a deletion counts as a record with an empty value.
    pub bytes: u64,
    /// Entries beneath that name chunks: 0 means that nothing but leaves and nodes hangs here.
    pub chunked: u64,
}

impl ChildRef {
    /// Adds one entry to the counts.
    pub(super) fn count(&mut self, entry: &RunEntry<'_>) -> Result<()> {
        let bytes = self.bytes.checked_add(entry.payload.element_bytes(entry.key));
        self.bytes = bytes.ok_or_else(|| Error::corrupt("more bytes than 64 bits count"))?;
        self.records += 1;
        self.chunked += u64::from(matches!(entry.payload, EntryPayload::Chunked(_)));
        Ok(())
    }
}

/// A child that is a leaf.
pub type LeafRef = ChildRef;

/// Where a run that is not empty begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct RunRoot {
    /// 0: `top` is the run's only leaf; n: `top` is a node of level n.
    pub level: u8,
    /// The one blob on top, with the counts of the whole run.
    pub top: ChildRef,
}

/// An inner node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunNode {
    /// 1: the children are leaves; n: nodes of level n-1.
    pub level: u8,
    /// In key order, one or more.
    pub children: Vec<ChildRef>,
}

/// The kind of blob at a level: 0 is leaves.
pub fn kind_at(level: u8) -> BlobKind {
    match level {
        0 => BlobKind::Leaf,
        _ => BlobKind::Node,
    }
}

impl RunNode {
    /// The plain bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, self.level];
        put_varint(&mut out, self.children.len() as u64);
        let mut before: &[u8] = &[];
        let mut suffixes = Vec::new();
        for child in &self.children {
            let shared = shared_len(before, &child.first_key);
            let suffix = &child.first_key[shared..];
            for number in [
                shared as u64,
                suffix.len() as u64,
                child.records,
                child.bytes,
                child.chunked,
            ] {
                put_varint(&mut out, number);
            }
            suffixes.extend_from_slice(suffix);
            before = &child.first_key;
        }
        out.extend_from_slice(&suffixes);
        self.children
            .iter()
            .for_each(|child| out.extend_from_slice(&child.id.0));
        out
    }

    /// Reads the one encoding; says nothing yet about key order, which takes the database's comparator.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(Error::new(
                ErrorKind::TooNew,
                format!("node of version {version}"),
            ));
        }
        let level = reader.u8()?;
        let count = usize::try_from(reader.varint_canonical()?).unwrap_or(usize::MAX);
        let fits = count <= NODE_CHILDREN_MAX && count <= reader.remaining() / CHILD_BYTES_MIN;
        if level == 0 || level > TREE_LEVELS_MAX || count == 0 || !fits {
            return Err(Error::corrupt(format!(
                "node of level {level} with {count} children"
            )));
        }
        let mut numbers = Vec::with_capacity(count);
        for _ in 0..count {
            numbers.push(NodeCounters::read(&mut reader)?);
        }
        let mut children: Vec<ChildRef> = Vec::with_capacity(count);
        for numbers in numbers {
            let before = children.last().map(|child| &child.first_key[..]);
            let child = numbers.child(before, &mut reader)?;
            children.push(child);
        }
        for child in &mut children {
            child.id = BlobId(reader.array()?);
        }
        reader.finish()?;
        Ok(Self { level, children })
    }

    /// What a parent says of this node stored as `id`; `None` if the sums pass 64 bits.
    pub fn child_ref(&self, id: BlobId) -> Option<ChildRef> {
        let first_key = self.children.first()?.first_key.clone();
        let empty = ChildRef {
            first_key,
            id,
            records: 0,
            bytes: 0,
            chunked: 0,
        };
        self.children.iter().try_fold(empty, |mut sum, child| {
            sum.records = sum.records.checked_add(child.records)?;
            sum.bytes = sum.bytes.checked_add(child.bytes)?;
            sum.chunked = sum.chunked.checked_add(child.chunked)?;
            Some(sum)
        })
    }
}

struct NodeCounters {
    shared: usize,
    suffix_len: usize,
    records: u64,
    bytes: u64,
    chunked: u64,
}

impl NodeCounters {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let shared = reader.varint_canonical()?;
        let suffix_len = reader.varint_canonical()?;
        let [records, bytes, chunked] = [
            reader.varint_canonical()?,
            reader.varint_canonical()?,
            reader.varint_canonical()?,
        ];
        let key_max = RUN_KEY_BYTES_MAX as u64;
        // A record has eight bytes of element or more, which is also what keeps `bytes` honest.
        let honest = records > 0 && chunked <= records && records <= bytes / 8;
        if shared <= key_max && suffix_len <= key_max && honest {
            Ok(Self {
                shared: shared as usize,
                suffix_len: suffix_len as usize,
                records,
                bytes,
                chunked,
            })
        } else {
            Err(Error::corrupt("node with a child of impossible size"))
        }
    }

    fn child(self, before: Option<&[u8]>, reader: &mut Reader<'_>) -> Result<ChildRef> {
        let suffix = reader.bytes(self.suffix_len)?;
        let shared = match before {
            None if self.shared == 0 => &[][..],
            Some(before) if self.shared <= before.len() && before.get(self.shared) != suffix.first() => {
                &before[..self.shared]
            }
            _ => return Err(Error::corrupt("node whose first keys repeat or share wrongly")),
        };
        let first_key = [shared, suffix].concat();
        if first_key.len() > RUN_KEY_BYTES_MAX {
            return Err(Error::corrupt("node with a key too long"));
        }
        let Self {
            records,
            bytes,
            chunked,
            ..
        } = self;
        Ok(ChildRef {
            first_key,
            id: BlobId([0; 32]),
            records,
            bytes,
            chunked,
        })
    }
}
