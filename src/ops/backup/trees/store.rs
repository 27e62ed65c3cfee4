//! The storing thread: chunks into the writer, steps into trees.

use crossbeam_channel::Receiver;
use rayon::prelude::*;

use super::batch::{Batch, Step};
use crate::blob::{BlobKind, NamedBlob};
use crate::chunk::{ChunkRef, ListBuilder};
use crate::error::{Error, Kind, Result};
use crate::id::BlobId;
use crate::repo::{Repo, Writer};
use crate::report::Report;
use crate::run::LeafCutter;
use crate::snapshot::{DirectoryBuilder, EntryKind, Meta, TreeEntry};

/// Ends when the walk closes the channel, with a tree for each root that is not empty.
pub fn drain(
    repo: &Repo,
    writer: &mut Writer,
    batches: Receiver<Batch>,
    report: &Report,
) -> Result<Vec<Option<BlobId>>> {
    let mut trees = Trees::new(repo);
    for batch in batches {
        trees.take(batch, report)?;
        writer.add_named(std::mem::take(&mut trees.blobs))?;
    }
    Ok(trees.roots)
}

/// A directory under way; a root is one without a name.
struct Directory {
    name: Vec<u8>,
    meta: Meta,
    entries: u64,
}

struct Trees<'r> {
    repo: &'r Repo,
    open: Vec<(Directory, DirectoryBuilder)>,
    file: ListBuilder,
    /// What is to be stored: chunks, and the lists and trees that they end.
    blobs: Vec<NamedBlob>,
    roots: Vec<Option<BlobId>>,
}

impl<'r> Trees<'r> {
    fn new(repo: &'r Repo) -> Self {
        Self {
            repo,
            open: Vec::new(),
            file: ListBuilder::new(),
            blobs: Vec::new(),
            roots: Vec::new(),
        }
    }

    fn take(&mut self, batch: Batch, report: &Report) -> Result<()> {
        let keys = self.repo.domain_keys();
        let name = |plain: Vec<u8>| NamedBlob::name(keys, BlobKind::Data, plain);
        self.blobs = batch.chunks.into_par_iter().map(name).collect();
        let named = |blob: &NamedBlob| ChunkRef {
            id: blob.id(),
            bytes: blob.plain().len() as u64,
        };
        let chunks: Vec<_> = self.blobs.iter().map(named).collect();
        report
            .bytes_done
            .add(chunks.iter().map(|chunk| chunk.bytes).sum());
        let mut chunks = chunks.into_iter();
        batch
            .steps
            .into_iter()
            .try_for_each(|step| self.step(step, &mut chunks))
    }

    fn step(&mut self, step: Step, chunks: &mut dyn Iterator<Item = ChunkRef>) -> Result<()> {
        match step {
            Step::Begin => self.open(Vec::new(), Meta::default()),
            Step::Enter { name, meta } => self.open(name, meta),
            Step::Entry(entry) => self.push(entry)?,
            Step::Piece(count) => self.piece(&mut chunks.take(count))?,
            Step::Again => self.file = ListBuilder::new(),
            Step::File {
                name,
                meta,
                chunks: count,
            } => {
                self.piece(&mut chunks.take(count))?;
                let file = std::mem::take(&mut self.file);
                let list = file.finish(&mut add(self.repo, &mut self.blobs))?;
                let kind = EntryKind::File(list);
                self.push(TreeEntry { name, kind, meta })?;
            }
            Step::Leave => {
                let (directory, tree) = self.close()?;
                let Directory { name, meta, .. } = directory;
                let kind = EntryKind::Directory(tree);
                self.push(TreeEntry { name, kind, meta })?;
            }
            Step::End => {
                let is_empty = self.open.last().is_some_and(|(root, _)| root.entries == 0);
                let tree = match is_empty {
                    true => self.open.pop().and(None),
                    false => Some(self.close()?.1),
                };
                self.roots.push(tree);
            }
        }
        Ok(())
    }

    fn open(&mut self, name: Vec<u8>, meta: Meta) {
        let secret = self.repo.domain_keys().chunker_secret().expose();
        let entries = 0;
        self.open.push((
            Directory { name, meta, entries },
            DirectoryBuilder::new(LeafCutter::new(secret)),
        ));
    }

    fn close(&mut self) -> Result<(Directory, BlobId)> {
        let (directory, builder) = self.open.pop().ok_or_else(out_of_step)?;
        let tree = builder.finish(&mut add(self.repo, &mut self.blobs))?;
        Ok((directory, tree))
    }

    fn push(&mut self, entry: TreeEntry) -> Result<()> {
        let (directory, builder) = self.open.last_mut().ok_or_else(out_of_step)?;
        directory.entries += 1;
        builder.push(entry, &mut add(self.repo, &mut self.blobs))
    }

    fn piece(&mut self, chunks: &mut dyn Iterator<Item = ChunkRef>) -> Result<()> {
        for chunk in chunks {
            self.file.push(chunk, &mut add(self.repo, &mut self.blobs))?;
        }
        Ok(())
    }
}

/// Names a blob that is stored with the rest of its batch.
fn add<'b>(
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

fn out_of_step() -> Error {
    Error::new(Kind::Io, "the walk left more directories than it entered")
}
