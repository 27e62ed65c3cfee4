//! Stores the files and directories that a walk sends.
//!
//! The storing thread: chunks into the writer, steps into trees.

use crossbeam_channel::Receiver;
use rayon::prelude::*;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::ChangeCounts;
use super::file_reader::FileChunk;
use super::walk_channel::{EnteredDirectory, FileId, FinishedFile, WalkBatch, WalkStep};
use crate::blob::{BlobKind, NamedBlob};
use crate::chunk::{ChunkList, ChunkRef, ListBuilder};
use crate::error::{Error, ErrorKind, Result};
use crate::id::BlobId;
use crate::repo::{BlobWriter, Repo};
use crate::report::OperationReport;
use crate::run::LeafCutter;
use crate::snapshot::{DirectoryBuilder, EntryKind, TreeEntry};

/// A root as it is stored.
pub struct StoredTree {
    /// `None` for a root without entries.
    pub tree: Option<BlobId>,
    /// Directories below it, by what they were before.
    pub directories: ChangeCounts,
}

/// Ends when the walk closes the channel.
pub fn store_batches(
    repo: &Repo,
    writer: &mut BlobWriter,
    batches: Receiver<WalkBatch>,
    report: &OperationReport,
) -> Result<Vec<StoredTree>> {
    let mut trees = TreeStorer::new(repo);
    for batch in batches {
        trees.store_batch(batch, report)?;
        writer.add_named(std::mem::take(&mut trees.blobs))?;
    }
    Ok(trees.roots)
}

/// A chunk, and how often in a row it stands.
type RepeatedChunk = (ChunkRef, u64);

/// A directory under way; a root is one without a name.
struct DirectoryInProgress {
    entered: EnteredDirectory,
    entries: u64,
}

struct TreeStorer<'r> {
    repo: &'r Repo,
    open: Vec<(DirectoryInProgress, DirectoryBuilder)>,
    file: ListBuilder,
    /// What is to be stored: chunks, and the lists and trees that they end.
    blobs: Vec<NamedBlob>,
    /// Chunks of one byte that are stored already, by byte and length.
    runs: HashMap<(u8, usize), ChunkRef>,
    /// Files of which other names may follow.
    linked_files: HashMap<FileId, TreeEntry>,
    directories: ChangeCounts,
    roots: Vec<StoredTree>,
}

impl<'r> TreeStorer<'r> {
    fn new(repo: &'r Repo) -> Self {
        Self {
            repo,
            open: Vec::new(),
            file: ListBuilder::new(),
            blobs: Vec::new(),
            runs: HashMap::new(),
            linked_files: HashMap::new(),
            directories: ChangeCounts::default(),
            roots: Vec::new(),
        }
    }

    fn store_batch(&mut self, batch: WalkBatch, report: &OperationReport) -> Result<()> {
        let keys = self.repo.domain_keys();
        self.store_repeated_chunks(&batch.chunks);
        let runs = &self.runs;
        let name = |chunk: FileChunk| match chunk {
            FileChunk::Bytes(plain) => {
                let blob = NamedBlob::name(keys, BlobKind::Data, plain);
                Ok((chunk_of(&blob), 1, Some(blob)))
            }
            FileChunk::Repeated(run) => {
                let chunk = runs.get(&(run.byte, run.len)).ok_or_else(step_order_error)?;
                Ok((*chunk, run.count, None))
            }
        };
        let named: Vec<_> = batch.chunks.into_par_iter().map(name).collect::<Result<_>>()?;
        let mut chunks = Vec::with_capacity(named.len());
        for (chunk, count, blob) in named {
            report.bytes_done.add(chunk.bytes * count);
            chunks.push((chunk, count));
            self.blobs.extend(blob);
        }
        let mut chunks = chunks.into_iter();
        batch
            .steps
            .into_iter()
            .try_for_each(|step| self.apply_step(step, &mut chunks))
    }

    /// Chunks of one byte are stored once, however many holes there are.
    fn store_repeated_chunks(&mut self, chunks: &[FileChunk]) {
        for chunk in chunks {
            let FileChunk::Repeated(run) = chunk else { continue };
            if let Entry::Vacant(place) = self.runs.entry((run.byte, run.len)) {
                let plain = vec![run.byte; run.len];
                let blob = NamedBlob::name(self.repo.domain_keys(), BlobKind::Data, plain);
                place.insert(chunk_of(&blob));
                self.blobs.push(blob);
            }
        }
    }

    fn apply_step(&mut self, step: WalkStep, chunks: &mut dyn Iterator<Item = RepeatedChunk>) -> Result<()> {
        match step {
            WalkStep::BeginRoot => self.open(EnteredDirectory::default()),
            WalkStep::EnterDirectory(entered) => self.open(entered),
            WalkStep::Entry(entry) => self.push(entry)?,
            WalkStep::FileChunks(count) => self.push_chunks(&mut chunks.take(count))?,
            WalkStep::RestartFile => self.file = ListBuilder::new(),
            WalkStep::EndFile(file, count) => {
                self.push_chunks(&mut chunks.take(count))?;
                let list = std::mem::take(&mut self.file);
                let list = list.finish(&mut blob_adder(self.repo, &mut self.blobs))?;
                self.push_file(file, list)?;
            }
            WalkStep::UnchangedFile(file, list) => self.push_file(file, list)?,
            WalkStep::LinkedFile(name, id) => self.push_kept_file(name, id)?,
            WalkStep::LeaveDirectory => self.leave_directory()?,
            WalkStep::EndRoot => self.end_root()?,
        }
        Ok(())
    }

    fn push_file(&mut self, file: FinishedFile, list: ChunkList) -> Result<()> {
        let entry = TreeEntry {
            name: file.name,
            kind: EntryKind::File(list),
            meta: file.meta,
        };
        if let Some(id) = file.link_id {
            self.linked_files.insert(id, entry.clone());
        }
        self.push(entry)
    }

    fn push_kept_file(&mut self, name: Vec<u8>, id: FileId) -> Result<()> {
        let kept = self.linked_files.get(&id).ok_or_else(step_order_error)?;
        let entry = TreeEntry { name, ..kept.clone() };
        self.push(entry)
    }

    fn leave_directory(&mut self) -> Result<()> {
        let (DirectoryInProgress { entered, .. }, tree) = self.close()?;
        let EnteredDirectory {
            name,
            meta,
            parent_entry: before,
        } = entered;
        match before {
            None => self.directories.new += 1,
            Some(before) if before == (tree, meta.clone()) => self.directories.unmodified += 1,
            Some(_) => self.directories.changed += 1,
        }
        let kind = EntryKind::Directory(tree);
        self.push(TreeEntry { name, kind, meta })
    }

    fn end_root(&mut self) -> Result<()> {
        let is_empty = self.open.last().is_some_and(|(root, _)| root.entries == 0);
        let tree = if is_empty {
            self.open.pop().and(None)
        } else {
            Some(self.close()?.1)
        };
        let directories = std::mem::take(&mut self.directories);
        self.roots.push(StoredTree { tree, directories });
        Ok(())
    }

    fn open(&mut self, entered: EnteredDirectory) {
        let secret = self.repo.domain_keys().chunker_secret().expose();
        let (entries, builder) = (0, DirectoryBuilder::new(LeafCutter::new(secret)));
        self.open
            .push((DirectoryInProgress { entered, entries }, builder));
    }

    fn close(&mut self) -> Result<(DirectoryInProgress, BlobId)> {
        let (directory, builder) = self.open.pop().ok_or_else(step_order_error)?;
        let tree = builder.finish(&mut blob_adder(self.repo, &mut self.blobs))?;
        Ok((directory, tree))
    }

    fn push(&mut self, entry: TreeEntry) -> Result<()> {
        let (directory, builder) = self.open.last_mut().ok_or_else(step_order_error)?;
        directory.entries += 1;
        builder.push(entry, &mut blob_adder(self.repo, &mut self.blobs))
    }

    fn push_chunks(&mut self, chunks: &mut dyn Iterator<Item = RepeatedChunk>) -> Result<()> {
        for (chunk, count) in chunks {
            let store = &mut blob_adder(self.repo, &mut self.blobs);
            self.file.push_repeated(chunk, count, store)?;
        }
        Ok(())
    }
}

fn chunk_of(blob: &NamedBlob) -> ChunkRef {
    ChunkRef {
        id: blob.id(),
        bytes: blob.plain().len() as u64,
    }
}

/// Names a blob that is stored with the rest of its batch.
fn blob_adder<'b>(
    repo: &'b Repo,
    blobs: &'b mut Vec<NamedBlob>,
) -> impl FnMut(BlobKind, Vec<u8>) -> Result<BlobId> + 'b {
    move |kind, plain| {
        let blob = NamedBlob::name(repo.domain_keys(), kind, plain);
        let id = blob.id();
        blobs.push(blob);
        Ok(id)
    }
}

fn step_order_error() -> Error {
    Error::new(ErrorKind::Io, "the steps of the walk are out of order")
}
