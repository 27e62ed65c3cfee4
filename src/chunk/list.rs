//! Lists the chunks of a value: short lists inline, long ones as a tree.
//!
//! The list of a value's chunks: short ones in place, long ones as a small tree of list blobs.
//!
//! ```text
//! list    = total bytes (varint) | depth (varint) | count (varint) | count × child
//! child   = bytes beneath (varint) | blob id (32)
//! ```
//!
//! Depth 0: the children are data blobs. Depth n: list blobs, whose plain bytes are a list of depth n-1. A list
//! blob ends by its last child's id (content decides, so an edit rewrites one list blob a level), after two
//! children at least and [`LIST_CHILDREN_MAX`] at most. Canonical: one encoding for each list.

use super::{BlobSource, StoreBlob};
use crate::codec::{Reader, put_varint, varint_len};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::BlobId;
use crate::kind::BlobKind;
use crate::limits::{BLOB_BYTES_MAX, CHUNKS_INLINE_MAX, LIST_CHILDREN_MAX, TREE_LEVELS_MAX};

/// One child in this many, by its id, ends a list blob.
const LIST_CHILDREN_AVERAGE: u64 = 256;

/// One piece of a value: a data blob, or a list blob that stands for many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ChunkRef {
    /// The blob.
    pub id: BlobId,
    /// Bytes of the value beneath it: the plain length of a data blob.
    pub bytes: u64,
}

/// Everything needed to put a value together again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ChunkList {
    /// 0: children are data blobs; n: list blobs of depth n-1.
    depth: u8,
    /// In the value's order, each of one byte or more.
    children: Vec<ChunkRef>,
}

impl ChunkList {
    /// A list of data blobs as it stands in a leaf; for a length that fits ([`ListBuilder`] takes any).
    pub fn from_chunks(children: Vec<ChunkRef>) -> Result<Self> {
        Self::check_lengths(0, children, CHUNKS_INLINE_MAX)
    }

    /// 0 when the children are data blobs.
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// The blobs this list names itself.
    pub fn children(&self) -> &[ChunkRef] {
        &self.children
    }

    /// Which kind of blob the children are.
    pub fn child_kind(&self) -> BlobKind {
        match self.depth {
            0 => BlobKind::Data,
            _ => BlobKind::List,
        }
    }

    /// Bytes of the whole value.
    pub fn bytes(&self) -> u64 {
        self.children.iter().map(|child| child.bytes).sum()
    }

    /// Bytes that [`Self::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        let head = varint_len(self.bytes()) + 1 + varint_len(self.children.len() as u64);
        let child = |child: &ChunkRef| varint_len(child.bytes) + BlobId::LEN;
        head + self.children.iter().map(child).sum::<usize>()
    }

    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.bytes());
        put_varint(out, u64::from(self.depth));
        put_varint(out, self.children.len() as u64);
        for child in &self.children {
            put_varint(out, child.bytes);
            out.extend_from_slice(&child.id.0);
        }
    }

    /// Reads the list of a value or a file: at most [`CHUNKS_INLINE_MAX`] children.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Self::decode_bounded(reader, CHUNKS_INLINE_MAX)
    }

    /// Reads the plain bytes of a list blob.
    pub fn decode_blob(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let list = Self::decode_bounded(&mut reader, LIST_CHILDREN_MAX)?;
        reader.finish()?;
        Ok(list)
    }

    /// Reads the plain bytes of the list blob that `child` of a list of `depth` names, and holds it to what that says.
    pub fn decode_at_depth(depth: u8, child: &ChunkRef, plain: &[u8]) -> Result<Self> {
        let below = Self::decode_blob(plain)?;
        child.child_ids(depth, below.depth, below.bytes())?;
        Ok(below)
    }

    fn decode_bounded(reader: &mut Reader<'_>, children_max: usize) -> Result<Self> {
        let bytes = reader.varint_canonical()?;
        let depth = reader.varint_canonical()?;
        let depth = u8::try_from(depth).map_err(|_| Error::corrupt("chunk list too deep"))?;
        let count = reader.varint_canonical()?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > children_max || count > reader.remaining() / (BlobId::LEN + 1) {
            return Err(Error::corrupt(format!("chunk list of {count} children")));
        }
        let mut children = Vec::with_capacity(count);
        for _ in 0..count {
            let bytes = reader.varint_canonical()?;
            let id = BlobId(reader.array()?);
            children.push(ChunkRef { id, bytes });
        }
        let list = Self::check_lengths(depth, children, children_max)?;
        if list.bytes() == bytes {
            Ok(list)
        } else {
            Err(Error::corrupt("chunk list does not add up"))
        }
    }

    fn check_lengths(depth: u8, children: Vec<ChunkRef>, children_max: usize) -> Result<Self> {
        if depth > TREE_LEVELS_MAX {
            return Err(Error::corrupt("chunk list too deep"));
        }
        if children.len() > children_max {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("chunk list of {} children", children.len()),
            ));
        }
        let sum = children
            .iter()
            .try_fold(0u64, |sum, child| sum.checked_add(child.bytes));
        let empty = children.iter().any(|child| child.bytes == 0);
        let large = depth == 0 && children.iter().any(|child| child.bytes > BLOB_BYTES_MAX as u64);
        if sum.is_none() || empty || large {
            Err(Error::corrupt("chunk list with a child of impossible size"))
        } else {
            Ok(Self { depth, children })
        }
    }
}

/// Takes a value's chunks one by one and folds long lists into list blobs; holds at most one list a level.
#[derive(Debug, Default)]
pub struct ListBuilder {
    levels: Vec<Vec<ChunkRef>>,
}

impl ListBuilder {
    /// No chunk yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next chunk of the value.
    pub fn push(&mut self, chunk: ChunkRef, store: StoreBlob<'_>) -> Result<()> {
        self.push_at(0, chunk, store)
    }

    /// The same chunk so many times in a row: as if it was pushed so often, and by few steps for however many.
    pub fn push_repeated(&mut self, chunk: ChunkRef, count: u64, store: StoreBlob<'_>) -> Result<()> {
        self.push_repeated_at(0, chunk, count, store)
    }

    /// The list of all that was pushed.
    pub fn finish(mut self, store: StoreBlob<'_>) -> Result<ChunkList> {
        let mut level = 0;
        loop {
            let top = level + 1 >= self.levels.len();
            let children = self.levels.get_mut(level).map(std::mem::take).unwrap_or_default();
            if top && children.len() <= CHUNKS_INLINE_MAX {
                return ChunkList::check_lengths(depth_of(level)?, children, CHUNKS_INLINE_MAX);
            }
            if !children.is_empty() {
                self.store_list(level, children, store)?;
            }
            level += 1;
        }
    }

    fn push_at(&mut self, level: usize, child: ChunkRef, store: StoreBlob<'_>) -> Result<()> {
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Vec::new);
        }
        self.levels[level].push(child);
        let count = self.levels[level].len();
        // Never before the list could not stay in place: short values have no list blob at all.
        if (count > CHUNKS_INLINE_MAX && is_cut_point(&child.id)) || count == LIST_CHILDREN_MAX {
            let children = std::mem::take(&mut self.levels[level]);
            self.store_list(level, children, store)?;
        }
        Ok(())
    }

    fn push_repeated_at(
        &mut self,
        level: usize,
        child: ChunkRef,
        count: u64,
        store: StoreBlob<'_>,
    ) -> Result<()> {
        let mut left = count;
        while left > 0 && self.levels.get(level).is_some_and(|list| !list.is_empty()) {
            self.push_at(level, child, store)?;
            left -= 1;
        }
        // Behind the end of a list all that follow are equal.
        let list = if is_cut_point(&child.id) {
            CHUNKS_INLINE_MAX + 1
        } else {
            LIST_CHILDREN_MAX
        };
        let lists = left / list as u64;
        if lists > 0 {
            let below = self.encode_list(level, vec![child; list], store)?;
            self.push_repeated_at(level + 1, below, lists, store)?;
        }
        for _ in 0..left % list as u64 {
            self.push_at(level, child, store)?;
        }
        Ok(())
    }

    fn store_list(&mut self, level: usize, children: Vec<ChunkRef>, store: StoreBlob<'_>) -> Result<()> {
        let below = self.encode_list(level, children, store)?;
        self.push_at(level + 1, below, store)
    }

    fn encode_list(&self, level: usize, children: Vec<ChunkRef>, store: StoreBlob<'_>) -> Result<ChunkRef> {
        let list = ChunkList::check_lengths(depth_of(level)?, children, LIST_CHILDREN_MAX)?;
        let mut plain = Vec::with_capacity(list.encoded_len());
        list.encode(&mut plain);
        let id = store(BlobKind::List, plain)?;
        let bytes = list.bytes();
        Ok(ChunkRef { id, bytes })
    }
}

fn depth_of(level: usize) -> Result<u8> {
    match u8::try_from(level) {
        Ok(depth) if depth <= TREE_LEVELS_MAX => Ok(depth),
        _ => Err(Error::new(ErrorKind::Limit, "chunk list too deep")),
    }
}

fn is_cut_point(id: &BlobId) -> bool {
    let mut bits = [0; 8];
    bits.copy_from_slice(&id.0[..8]);
    u64::from_le_bytes(bits) < u64::MAX / LIST_CHILDREN_AVERAGE
}

/// Gives a value's data blobs in order, asking for list blobs as it meets them; what a list blob holds is
/// compared with what its parent says of it.
pub struct ChunkIterator<'a> {
    source: &'a dyn BlobSource,
    /// From the value's own list down: each with the number of its next child.
    stack: Vec<(ChunkList, usize)>,
}

impl<'a> ChunkIterator<'a> {
    /// Starts at the value's first byte.
    pub fn new(list: ChunkList, source: &'a dyn BlobSource) -> Self {
        let stack = vec![(list, 0)];
        Self { source, stack }
    }

    /// Starts at the chunk that holds the byte at `offset`, and says where that chunk begins; reads one list blob a level.
    pub fn chunk_at(list: ChunkList, offset: u64, source: &'a dyn BlobSource) -> Result<(Self, u64)> {
        let mut chunks = Self::new(list, source);
        let start = chunks.seek(offset)?;
        Ok((chunks, start))
    }

    fn seek(&mut self, offset: u64) -> Result<u64> {
        let mut start = 0;
        while let Some((list, next)) = self.stack.last_mut() {
            while let Some(child) = list
                .children
                .get(*next)
                .filter(|child| start + child.bytes <= offset)
            {
                start += child.bytes;
                *next += 1;
            }
            let (depth, child) = (list.depth, list.children.get(*next).copied());
            let Some(child) = child.filter(|_| depth > 0) else {
                break;
            };
            *next += 1;
            let list = self.open(&child, depth)?;
            self.stack.push((list, 0));
        }
        Ok(start)
    }

    fn step(&mut self) -> Result<Option<ChunkRef>> {
        while let Some((list, next)) = self.stack.last_mut() {
            let Some(child) = list.children.get(*next).copied() else {
                self.stack.pop();
                continue;
            };
            *next += 1;
            match list.depth {
                0 => return Ok(Some(child)),
                depth => {
                    let list = self.open(&child, depth)?;
                    self.stack.push((list, 0));
                }
            }
        }
        Ok(None)
    }

    fn open(&self, child: &ChunkRef, depth: u8) -> Result<ChunkList> {
        let act = || format!("chunk list {}", child.id);
        let plain = self.source.blob(BlobKind::List, &child.id)?;
        ChunkList::decode_at_depth(depth, child, &plain).context(act)
    }
}

impl Iterator for ChunkIterator<'_> {
    type Item = Result<ChunkRef>;

    /// After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.stack.clear();
        }
        step.transpose()
    }
}
