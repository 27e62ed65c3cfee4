//! The storing thread: chunks into the writer, steps into trees.

use crossbeam_channel::Receiver;
use rayon::prelude::*;

use std::collections::HashMap;

use super::Changes;
use super::batch::{Batch, Entered, FileId, NewFile, Step};
use crate::blob::{BlobKind, NamedBlob};
use crate::chunk::{ChunkList, ChunkRef, ListBuilder};
use crate::error::{Error, Kind, Result};
use crate::id::BlobId;
use crate::repo::{Repo, Writer};
use crate::report::Report;
use crate::run::LeafCutter;
use crate::snapshot::{DirectoryBuilder, EntryKind, TreeEntry};

/// A root as it is stored.
pub struct StoredTree {
    /// `None` for a root without entries.
    pub tree: Option<BlobId>,
    /// Directories below it, by what they were before.
    pub directories: Changes,
}

/// Ends when the walk closes the channel.
pub fn drain(
    repo: &Repo,
    writer: &mut Writer,
    batches: Receiver<Batch>,
    report: &Report,
) -> Result<Vec<StoredTree>> {
    let mut trees = Trees::new(repo);
    for batch in batches {
        trees.take(batch, report)?;
        writer.add_named(std::mem::take(&mut trees.blobs))?;
    }
    Ok(trees.roots)
}

/// A directory under way; a root is one without a name.
struct Directory {
    entered: Entered,
    entries: u64,
}

struct Trees<'r> {
    repo: &'r Repo,
    open: Vec<(Directory, DirectoryBuilder)>,
    file: ListBuilder,
    /// What is to be stored: chunks, and the lists and trees that they end.
    blobs: Vec<NamedBlob>,
    /// Files of which other names may follow.
    kept: HashMap<FileId, TreeEntry>,
    directories: Changes,
    roots: Vec<StoredTree>,
}

impl<'r> Trees<'r> {
    fn new(repo: &'r Repo) -> Self {
        Self {
            repo,
            open: Vec::new(),
            file: ListBuilder::new(),
            blobs: Vec::new(),
            kept: HashMap::new(),
            directories: Changes::default(),
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
            Step::Begin => self.open(Entered::default()),
            Step::Enter(entered) => self.open(entered),
            Step::Entry(entry) => self.push(entry)?,
            Step::Piece(count) => self.piece(&mut chunks.take(count))?,
            Step::Again => self.file = ListBuilder::new(),
            Step::File(file, count) => {
                self.piece(&mut chunks.take(count))?;
                let list = std::mem::take(&mut self.file);
                let list = list.finish(&mut add(self.repo, &mut self.blobs))?;
                self.file(file, list)?;
            }
            Step::Unread(file, list) => self.file(file, list)?,
            Step::Same(name, id) => self.same(name, id)?,
            Step::Leave => self.leave()?,
            Step::End => self.end()?,
        }
        Ok(())
    }

    fn file(&mut self, file: NewFile, list: ChunkList) -> Result<()> {
        let entry = TreeEntry {
            name: file.name,
            kind: EntryKind::File(list),
            meta: file.meta,
        };
        if let Some(id) = file.keep {
            self.kept.insert(id, entry.clone());
        }
        self.push(entry)
    }

    fn same(&mut self, name: Vec<u8>, id: FileId) -> Result<()> {
        let kept = self.kept.get(&id).ok_or_else(out_of_step)?;
        let entry = TreeEntry { name, ..kept.clone() };
        self.push(entry)
    }

    fn leave(&mut self) -> Result<()> {
        let (Directory { entered, .. }, tree) = self.close()?;
        let Entered { name, meta, before } = entered;
        match before {
            None => self.directories.new += 1,
            Some(before) if before == (tree, meta.clone()) => self.directories.unmodified += 1,
            Some(_) => self.directories.changed += 1,
        }
        let kind = EntryKind::Directory(tree);
        self.push(TreeEntry { name, kind, meta })
    }

    fn end(&mut self) -> Result<()> {
        let is_empty = self.open.last().is_some_and(|(root, _)| root.entries == 0);
        let tree = match is_empty {
            true => self.open.pop().and(None),
            false => Some(self.close()?.1),
        };
        let directories = std::mem::take(&mut self.directories);
        self.roots.push(StoredTree { tree, directories });
        Ok(())
    }

    fn open(&mut self, entered: Entered) {
        let secret = self.repo.domain_keys().chunker_secret().expose();
        let (entries, builder) = (0, DirectoryBuilder::new(LeafCutter::new(secret)));
        self.open.push((Directory { entered, entries }, builder));
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
    Error::new(Kind::Io, "the steps of the walk are out of order")
}
