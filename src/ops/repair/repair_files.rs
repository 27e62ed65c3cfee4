//! Rebuilds a tree of files from its readable pieces.
//!
//! A tree of files from what is left of it. A directory whose list is lost is empty, a file of which nothing is left is left
//! out, and of one that lost some of its chunks the others come back: at their places, between zeros, under a name that
//! says so, for nobody must take it for the file.

use std::collections::HashSet;

use super::rebuild_database::DatabaseRebuild;
use crate::blob::BlobKind;
use crate::chunk::{ChunkList, ChunkRef, ListBuilder};
use crate::engine::tree_rewrite::{EntryAction, TreeRewrite, TreeRewriter};
use crate::error::{Error, Result};
use crate::id::BlobId;
use crate::limits::{CHUNK_BYTES_MAX, DAMAGE_MAX, FILE_BYTES_MAX, HOLES_MAX};
use crate::run::LeafCutter;
use crate::run::partial_run::is_loss;
use crate::snapshot::{DirectoryBuilder, EntryKind, FileMetadata, HoleKind, TreeEntry, TreeRoot};

/// Ends the name of what is left of a file.
pub const PARTIAL: &str = ".levault-partial";

/// Ends the name of the empty directory that stands for a tree of which nothing is left.
const GONE: &str = ".levault-lost";

/// A longer name no filesystem of Linux takes; what does not fit of a name is cut off before [`PARTIAL`].
const FILE_NAME_BYTES: usize = 255;

/// Whether the readable parts of a damaged file are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PartialFiles {
    /// Under a name that says so.
    Keep,
    /// The file is left out.
    Leave,
}

/// Something that a tree lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostFile {
    /// Names from the tree's root, which is the first of them.
    pub path: Vec<u8>,
    /// What became of it.
    pub what: LostPart,
}

/// What of something in a tree is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostPart {
    /// A directory's list of entries, or part of it: nobody knows their names.
    Entries,
    /// The file.
    File,
    /// So many bytes of it; the others are kept under a name that ends with [`PARTIAL`].
    Bytes(u64),
}

/// What a tree comes to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RepairTotals {
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) bytes: u64,
}

impl RepairTotals {
    fn add(&mut self, other: &Self) {
        self.files = self.files.saturating_add(other.files);
        self.directories = self.directories.saturating_add(other.directories);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// What is left of files.
pub(super) struct RemainingFiles {
    pub(super) tree: BlobId,
    pub(super) sum: RepairTotals,
    pub(super) lost: Vec<LostFile>,
    /// Further ones, which are counted alone.
    pub(super) more: u64,
}

impl RemainingFiles {
    /// As holes of a database.
    pub(super) fn holes(&self) -> Vec<HoleKind> {
        let hole = |lost: &LostFile| match lost.what {
            LostPart::Entries => HoleKind::File(None),
            _ => HoleKind::File(Some(String::from_utf8_lossy(&lost.path).into_owned())),
        };
        let more = (self.more > 0).then_some(HoleKind::File(None));
        let mut holes: Vec<_> = self.lost.iter().map(hole).chain(more).collect();
        holes.dedup();
        holes
    }
}

impl DatabaseRebuild<'_, '_> {
    /// What is left of a tree that was asked for, and its root.
    pub(super) fn tree(&mut self, old: &TreeRoot) -> Result<(TreeRoot, RemainingFiles)> {
        let mut left = self.files(&old.root, PartialFiles::Keep)?;
        if left.sum.files == 0 && left.sum.directories == 0 && !left.lost.is_empty() {
            left.tree = self.gone(old)?;
            left.sum.directories = 1;
        }
        let root = TreeRoot {
            root: left.tree,
            files: left.sum.files,
            directories: left.sum.directories,
            bytes: left.sum.bytes,
            ..old.clone()
        };
        Ok((root, left))
    }

    fn gone(&mut self, old: &TreeRoot) -> Result<BlobId> {
        let last = crate::engine::tree::parts(&old.path).last().unwrap_or(b"root");
        let empty = self.directory(None)?;
        self.directory(Some(TreeEntry {
            name: [last, GONE.as_bytes()].concat(),
            kind: EntryKind::Directory(empty),
            meta: FileMetadata::default(),
        }))
    }

    fn directory(&mut self, entry: Option<TreeEntry>) -> Result<BlobId> {
        let secret = self.repo.domain_keys().chunker_secret().expose();
        let mut new = DirectoryBuilder::new(LeafCutter::new(secret));
        let mut store = |kind, plain| self.writer.add_one(kind, plain);
        if let Some(entry) = entry {
            new.push(entry, &mut store)?;
        }
        new.finish(&mut store)
    }

    /// What is left of the files of a tree; durable only once the writer has finished.
    pub(super) fn files(&mut self, tree: &BlobId, parts: PartialFiles) -> Result<RemainingFiles> {
        let (repo, source, report) = (self.repo, self.source, self.report);
        let remake = TreeRewrite {
            source,
            secret: repo.domain_keys().chunker_secret().expose(),
            report,
        };
        let mut saving = FileTreeRepair {
            rebuild: self,
            parts,
            lists: HashSet::new(),
            lost: Vec::new(),
            more: 0,
        };
        let (tree, sum) = remake.rewrite_tree(tree, &mut saving)?;
        let FileTreeRepair { lost, more, .. } = saving;
        Ok(RemainingFiles {
            tree,
            sum,
            lost,
            more,
        })
    }
}

/// A tree on its way.
struct FileTreeRepair<'s, 'a, 'w> {
    rebuild: &'s mut DatabaseRebuild<'a, 'w>,
    parts: PartialFiles,
    /// Lists of which all is there.
    lists: HashSet<BlobId>,
    lost: Vec<LostFile>,
    more: u64,
}

impl TreeRewriter for FileTreeRepair<'_, '_, '_> {
    type DirectoryProgress = RepairTotals;
    type SubtreeTotals = RepairTotals;

    fn enter_directory(
        &mut self,
        _: &BlobId,
        from: Option<(&mut RepairTotals, &TreeEntry)>,
    ) -> Result<RepairTotals> {
        // A root is a listing, and no directory.
        let directories = u64::from(from.is_some());
        Ok(RepairTotals {
            directories,
            ..RepairTotals::default()
        })
    }

    fn decide_entry(&mut self, sum: &mut RepairTotals, path: &[u8], entry: TreeEntry) -> Result<EntryAction> {
        let list = match &entry.kind {
            EntryKind::Directory(id) => {
                let id = *id;
                return Ok(EntryAction::Enter(entry, id));
            }
            EntryKind::File(list) => list.clone(),
            _ => return Ok(EntryAction::Keep(entry)),
        };
        let error = match self.is_complete(&list) {
            Ok(()) => {
                sum.add(&file_of(&list));
                return Ok(EntryAction::Keep(entry));
            }
            Err(error) => error,
        };
        if !is_loss(&error) {
            return Err(error);
        }
        let Some((left, lost)) = self.part(&list)? else {
            self.record_loss(path, LostPart::File);
            return Ok(EntryAction::LeaveOut);
        };
        let bytes = lost.iter().map(|(_, len)| len).sum();
        self.record_loss(path, LostPart::Bytes(bytes));
        sum.add(&file_of(&left));
        Ok(EntryAction::KeepAs(
            partial_file(entry, left, lost),
            PARTIAL.as_bytes(),
        ))
    }

    fn report_unreadable(&mut self, path: &[u8], error: Error) -> Result<()> {
        if is_loss(&error) {
            self.record_loss(path, LostPart::Entries)
        } else {
            return Err(error);
        }
        Ok(())
    }

    fn finish_directory(&mut self, sum: RepairTotals) -> RepairTotals {
        sum
    }

    fn add_subtree(&mut self, above: &mut RepairTotals, below: &RepairTotals) {
        above.add(below);
    }

    fn store_blob(&mut self, kind: BlobKind, plain: Vec<u8>) -> Result<BlobId> {
        self.rebuild.writer.add_one(kind, plain)
    }
}

fn file_of(list: &ChunkList) -> RepairTotals {
    RepairTotals {
        files: 1,
        directories: 0,
        bytes: list.bytes(),
    }
}

/// What is left of a file is no other name of it, and nothing that a later backup could take for it.
fn partial_file(entry: TreeEntry, left: ChunkList, lost: ByteRanges) -> TreeEntry {
    let mut holes: ByteRanges = Vec::new();
    let mut all = [entry.meta.holes, lost].concat();
    all.sort_unstable();
    for (offset, len) in all {
        match holes.last_mut() {
            Some((from, before)) if *from + *before >= offset => {
                *before = (*before).max(offset.saturating_add(len) - *from);
            }
            _ => holes.push((offset, len)),
        }
    }
    holes.truncate(HOLES_MAX);
    let room = FILE_NAME_BYTES.saturating_sub(PARTIAL.len());
    let name = &entry.name[..entry.name.len().min(room)];
    TreeEntry {
        name: [name, PARTIAL.as_bytes()].concat(),
        kind: EntryKind::File(left),
        meta: FileMetadata {
            holes,
            hard_link: None,
            ctime_nanos: None,
            inode: None,
            ..entry.meta
        },
    }
}

/// Offsets and lengths.
type ByteRanges = Vec<(u64, u64)>;

/// What is left of a file on its way: what is lost is kept as ranges.
#[derive(Default)]
struct PartialFile {
    list: ListBuilder,
    at: u64,
    lost: ByteRanges,
}

impl FileTreeRepair<'_, '_, '_> {
    fn record_loss(&mut self, path: &[u8], what: LostPart) {
        if self.lost.len() < DAMAGE_MAX / 4 {
            self.lost.push(LostFile {
                path: path.to_vec(),
                what,
            })
        } else {
            self.more += 1
        }
    }

    /// Every blob of a list, through the writer: what it knows it only counts on. Lists in lists are 40 levels at most.
    fn is_complete(&mut self, list: &ChunkList) -> Result<()> {
        for child in list.children() {
            match list.child_kind() {
                BlobKind::List if self.lists.contains(&child.id) => {}
                BlobKind::List => {
                    let below = self.path_below(list, child)?;
                    self.is_complete(&below)?;
                    self.lists.insert(child.id);
                }
                _ => self.chunk(child)?,
            }
        }
        Ok(())
    }

    /// A list in a list, stored.
    fn path_below(&mut self, list: &ChunkList, child: &ChunkRef) -> Result<ChunkList> {
        let plain = self.blob(BlobKind::List, &child.id)?;
        ChunkList::decode_at_depth(list.depth(), child, &plain)
    }

    fn chunk(&mut self, chunk: &ChunkRef) -> Result<()> {
        let plain = self.blob(BlobKind::Data, &chunk.id)?;
        if plain.len() as u64 == chunk.bytes {
            Ok(())
        } else {
            Err(Error::corrupt("a chunk is not as long as its list says"))
        }
    }

    fn blob(&mut self, kind: BlobKind, id: &BlobId) -> Result<std::sync::Arc<[u8]>> {
        self.rebuild.report.go_on()?;
        let plain = self.rebuild.source.blob(kind, id)?;
        let stored = self.rebuild.writer.add_one(kind, plain.to_vec())?;
        if stored == *id {
            Ok(plain)
        } else {
            Err(Error::corrupt("a blob has another name than it is stored under"))
        }
    }

    /// What is left of a file, with zeros in place of what is lost, and which ranges those are; `None` if nothing is.
    fn part(&mut self, list: &ChunkList) -> Result<Option<(ChunkList, ByteRanges)>> {
        if self.parts == PartialFiles::Leave || list.bytes() > FILE_BYTES_MAX {
            return Ok(None);
        }
        let mut part = PartialFile::default();
        self.parts_of(list, &mut part)?;
        let lost: u64 = part.lost.iter().map(|(_, len)| len).sum();
        if lost == list.bytes() {
            return Ok(None);
        }
        let writer = &mut *self.rebuild.writer;
        let left = part.list.finish(&mut |kind, plain| writer.add_one(kind, plain))?;
        Ok(Some((left, part.lost)))
    }

    fn parts_of(&mut self, list: &ChunkList, part: &mut PartialFile) -> Result<()> {
        for child in list.children() {
            let read = match list.child_kind() {
                BlobKind::List => match self.path_below(list, child) {
                    Ok(below) => {
                        self.parts_of(&below, part)?;
                        continue;
                    }
                    Err(error) => Err(error),
                },
                _ => self.chunk(child),
            };
            match read {
                Ok(()) => self.push(part, *child)?,
                Err(error) if is_loss(&error) => self.zeros(part, child.bytes)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn push(&mut self, part: &mut PartialFile, chunk: ChunkRef) -> Result<()> {
        let writer = &mut *self.rebuild.writer;
        part.at += chunk.bytes;
        part.list
            .push(chunk, &mut |kind, plain| writer.add_one(kind, plain))
    }

    fn zeros(&mut self, part: &mut PartialFile, bytes: u64) -> Result<()> {
        match part.lost.last_mut() {
            Some((from, len)) if *from + *len == part.at => *len += bytes,
            _ => part.lost.push((part.at, bytes)),
        }
        let mut left = bytes;
        while left > 0 {
            self.rebuild.report.go_on()?;
            let bytes = left.min(CHUNK_BYTES_MAX as u64);
            let zeros = vec![0; bytes as usize];
            let id = self.rebuild.writer.add_one(BlobKind::Data, zeros)?;
            self.push(part, ChunkRef { id, bytes })?;
            left -= bytes;
        }
        Ok(())
    }
}
