//! Encodes a directory's entries as tree blobs, and reads them.
//!
//! A directory's entries ⇄ tree blobs: one blob for most, parts under parts for one of many files, cut as leaves
//! and nodes of a run are, so that one new file rewrites one part.

use super::tree_blob::{TreeBlob, TreeEntry, TreePart};
use crate::blob::BlobKind;
use crate::chunk::{BlobSource, StoreBlob};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::BlobId;
use crate::limits::TREE_LEVELS_MAX;
use crate::run::LeafCutter;
use crate::run::run_builder::is_node_cut;

/// Takes a directory's entries in order of their names and stores them.
pub struct DirectoryBuilder {
    cutter: LeafCutter,
    entries: Vec<TreeEntry>,
    /// Open lists of parts, lowest level first.
    levels: Vec<(Vec<TreePart>, usize)>,
}

impl DirectoryBuilder {
    /// A directory without entries; `cutter` as new.
    pub fn new(cutter: LeafCutter) -> Self {
        Self {
            cutter,
            entries: Vec::new(),
            levels: Vec::new(),
        }
    }

    /// The next entry in order of names.
    pub fn push(&mut self, entry: TreeEntry, store: StoreBlob<'_>) -> Result<()> {
        let mut weight = Vec::new();
        entry.encode(&mut weight);
        let ends = self.cutter.cut_after(&entry.name, weight.len());
        self.entries.push(entry);
        if ends { self.store_entries(store) } else { Ok(()) }
    }

    /// Entries that are not stored yet.
    pub fn waiting(&self) -> usize {
        self.entries.len()
    }

    /// The tree blob that stands for the directory.
    pub fn finish(mut self, store: StoreBlob<'_>) -> Result<BlobId> {
        if self.levels.is_empty() || !self.entries.is_empty() {
            if self.levels.is_empty() {
                return store(BlobKind::Tree, TreeBlob::Entries(self.entries).encode()?);
            }
            self.store_entries(store)?;
        }
        let mut level = 0;
        loop {
            let top = level + 1 == self.levels.len();
            let (parts, _) = std::mem::take(&mut self.levels[level]);
            match parts[..] {
                [TreePart { id, .. }] if top => return Ok(id),
                [] => {}
                _ => self.store_parts(level, parts, store)?,
            }
            level += 1;
        }
    }

    fn store_entries(&mut self, store: StoreBlob<'_>) -> Result<()> {
        let entries = std::mem::take(&mut self.entries);
        let first_name = entries
            .first()
            .map(|entry| entry.name.clone())
            .unwrap_or_default();
        let count = entries.len() as u64;
        let id = store(BlobKind::Tree, TreeBlob::Entries(entries).encode()?)?;
        self.push_part(
            0,
            TreePart {
                first_name,
                entries: count,
                id,
            },
            store,
        )
    }

    fn store_parts(&mut self, level: usize, parts: Vec<TreePart>, store: StoreBlob<'_>) -> Result<()> {
        let first_name = parts
            .first()
            .map(|part| part.first_name.clone())
            .unwrap_or_default();
        let entries = parts.iter().map(|part| part.entries).sum();
        let number = u8::try_from(level + 1)
            .ok()
            .filter(|level| *level <= TREE_LEVELS_MAX);
        let number = number.ok_or_else(|| Error::new(ErrorKind::Limit, "directory tree too deep"))?;
        let id = store(BlobKind::Tree, TreeBlob::Parts { level: number, parts }.encode()?)?;
        self.push_part(
            level + 1,
            TreePart {
                first_name,
                entries,
                id,
            },
            store,
        )
    }

    fn push_part(&mut self, level: usize, part: TreePart, store: StoreBlob<'_>) -> Result<()> {
        if self.levels.len() == level {
            self.levels.push(Default::default());
        }
        let (parts, bytes) = &mut self.levels[level];
        *bytes += part.first_name.len() + BlobId::LEN + 16;
        let id = part.id;
        parts.push(part);
        if is_node_cut(&id, parts.len(), *bytes) {
            let (parts, _) = std::mem::take(&mut self.levels[level]);
            self.store_parts(level, parts, store)
        } else {
            Ok(())
        }
    }
}

/// Gives the entries of one directory in order of their names, holding every part to what its parent says.
pub struct DirectoryWalk<'a> {
    source: &'a dyn BlobSource,
    entries: std::vec::IntoIter<TreeEntry>,
    /// Parts still to come, the next one last.
    parts: Vec<(TreePart, u8)>,
    /// Name of the entry given last.
    last: Option<Vec<u8>>,
    /// After a part that cannot be read come the next ones.
    past_losses: bool,
    /// Names before this one are left out.
    from: Vec<u8>,
}

impl<'a> DirectoryWalk<'a> {
    /// Reads the directory's first blob.
    pub fn open(id: &BlobId, source: &'a dyn BlobSource) -> Result<Self> {
        Self::open_from(id, Vec::new(), source)
    }

    /// The same from the first entry on whose name is `from` or behind it; of a directory in parts, reads only those
    /// that may hold such entries.
    pub fn open_from(id: &BlobId, from: Vec<u8>, source: &'a dyn BlobSource) -> Result<Self> {
        let mut walk = Self {
            source,
            entries: Vec::new().into_iter(),
            parts: Vec::new(),
            last: None,
            past_losses: false,
            from,
        };
        let tree = walk.load(id)?;
        walk.enter_part(tree);
        Ok(walk)
    }

    /// Gives an error for each part that cannot be read, and then what comes after it.
    pub fn skip_unreadable(self) -> Self {
        Self {
            past_losses: true,
            ..self
        }
    }

    fn load(&self, id: &BlobId) -> Result<TreeBlob> {
        let plain = self.source.blob(BlobKind::Tree, id)?;
        TreeBlob::decode(&plain).context(|| format!("tree {id}"))
    }

    fn enter_part(&mut self, tree: TreeBlob) {
        match tree {
            TreeBlob::Entries(mut entries) => {
                entries.drain(..entries.partition_point(|entry| entry.name < self.from));
                self.entries = entries.into_iter();
            }
            TreeBlob::Parts { level, mut parts } => {
                let before = parts.partition_point(|part| part.first_name <= self.from);
                parts.drain(..before.saturating_sub(1));
                let parts = parts.into_iter().rev();
                self.parts.extend(parts.map(|part| (part, level - 1)));
            }
        }
    }

    /// Order within a blob is the decoder's to check, order across parts is ours.
    fn check_order(&mut self, entry: TreeEntry) -> Result<TreeEntry> {
        match self.last.replace(entry.name.clone()) {
            Some(last) if last >= entry.name => Err(Error::corrupt("directory whose names are out of order")),
            _ => Ok(entry),
        }
    }

    fn next_part(&mut self) -> Result<Option<TreeEntry>> {
        loop {
            if let Some(entry) = self.entries.next() {
                return self.check_order(entry).map(Some);
            }
            let Some((part, level)) = self.parts.pop() else {
                return Ok(None);
            };
            let tree = self.load(&part.id)?;
            if tree.entry_count_says(&part, level) {
                self.enter_part(tree)
            } else {
                let error = Error::corrupt("not what its parent says");
                return Err(error.context(format!("tree {}", part.id)));
            }
        }
    }
}

impl TreeBlob {
    fn entry_count_says(&self, part: &TreePart, level: u8) -> bool {
        let (at, first, entries) = match self {
            Self::Entries(entries) => {
                let first = entries.first().map(|entry| &entry.name);
                (0, first, entries.len() as u64)
            }
            Self::Parts { level, parts } => {
                let first = parts.first().map(|part| &part.first_name);
                (*level, first, parts.iter().map(|part| part.entries).sum())
            }
        };
        at == level && first == Some(&part.first_name) && entries == part.entries
    }
}

impl Iterator for DirectoryWalk<'_> {
    type Item = Result<TreeEntry>;

    /// After an error there is nothing more, if it was not asked for.
    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.next_part();
        if entry.is_err() && !self.past_losses {
            self.parts.clear();
        }
        entry.transpose()
    }
}
