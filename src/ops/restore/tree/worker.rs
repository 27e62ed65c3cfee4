//! Fetches chunks and writes files, on several threads.
//!
//! The workers: chunks out of the repository, into files, and read back.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Receiver;

use super::super::{RestoreContext, VerifyMode};
use super::file_content::{self, RestoredFileReader, ZeroChunks};
use super::hard_links::{HardLinks, LinkGroup};
use super::restore_tasks::{ChunkTask, FileInProgress, FileTask, RestoreTask};
use super::{RestoreCounters, is_fatal};
use crate::blob::{BlobKind, NamedBlob};
use crate::error::{Error, ErrorKind, Result};
use crate::id::BlobId;
use crate::repo::{BlobReader, Repo};
use crate::report::OperationReport;
use crate::target::TreeTarget;
use crate::target::tree::{ExistingEntry, FileDraft};

/// Plain bytes of one file fetched at once, when it is written by one worker alone.
const STREAM_BYTES: u64 = 4 << 20;

/// Files of several names that wait for the end; of more, each is written anew.
const SHARED_MAX: usize = 1 << 17;

/// What all workers of one tree share.
pub struct WorkerContext<'a> {
    pub repo: &'a Repo,
    pub reader: &'a BlobReader<'a>,
    pub target: &'a TreeTarget,
    pub report: &'a OperationReport,
    pub zeros: ZeroChunks<'a>,
    pub links: HardLinks,
    pub tally: RestoreCounters,
    pub verifies: bool,
    /// Names of a standing file that has one of its own.
    pub names_each: u64,
    /// Links whose first name was not there yet.
    pub late: Mutex<Vec<(LinkGroup, FileTask)>>,
    /// First names of files that stand with several names: theirs only, or others too, is seen in the end.
    shared: Mutex<Vec<(LinkGroup, FileTask, ExistingEntry)>>,
    has_failed: AtomicBool,
}

impl<'a> WorkerContext<'a> {
    pub fn new(restoring: &'a RestoreContext, target: &'a TreeTarget) -> Self {
        Self {
            repo: restoring.repo,
            reader: restoring.reader,
            target,
            report: restoring.report,
            zeros: ZeroChunks::new(restoring.repo),
            links: HardLinks::default(),
            tally: RestoreCounters::default(),
            verifies: restoring.wish.verify == VerifyMode::Full,
            names_each: target.names_each(),
            late: Mutex::default(),
            shared: Mutex::default(),
            has_failed: AtomicBool::new(false),
        }
    }

    /// Works until no more tasks come.
    pub fn work(&self, jobs: Receiver<Vec<RestoreTask>>) -> Result<()> {
        for tasks in jobs {
            if self.has_failed.load(Ordering::Relaxed) {
                return Err(Error::new(
                    ErrorKind::Interrupted,
                    "another restore thread has failed",
                ));
            }
            let done = self.report.go_on().and_then(|()| self.batch(tasks));
            done.inspect_err(|_| self.has_failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    }

    fn batch(&self, tasks: Vec<RestoreTask>) -> Result<()> {
        let chunks = FetchedChunks::fetch(self.reader, &tasks);
        for task in tasks {
            match task {
                RestoreTask::Write(writing, pieces) => {
                    self.write_pieces(&writing, &pieces, &chunks)?;
                    self.release(writing)?;
                }
                RestoreTask::Compare(file) => self.compare(file)?,
                RestoreTask::Link(group, file) => self.link(group, file)?,
            }
        }
        Ok(())
    }

    fn write_pieces(
        &self,
        writing: &FileInProgress,
        pieces: &[ChunkTask],
        chunks: &FetchedChunks,
    ) -> Result<()> {
        if writing.has_failed() {
            return Ok(());
        }
        match self.try_write(writing, pieces, chunks) {
            Err(error) => self.fail(writing, error),
            done => done,
        }
    }

    fn try_write(
        &self,
        writing: &FileInProgress,
        pieces: &[ChunkTask],
        chunks: &FetchedChunks,
    ) -> Result<()> {
        let (_, file) = self.begin(writing)?;
        for piece in pieces {
            let blob = chunks.get(self.reader, &piece.chunk.id)?;
            piece.chunk.holds(blob.plain())?;
            file_content::write(file, piece.offset, blob.plain(), &writing.file.holes)?;
            self.report.bytes_done.add(piece.chunk.bytes);
        }
        Ok(())
    }

    /// The file, made by the first that asks.
    pub fn begin<'w>(&self, writing: &'w FileInProgress) -> Result<&'w (FileDraft, File)> {
        let _alone = lock(&writing.making);
        if let Some(made) = writing.made.get() {
            return Ok(made);
        }
        let new = &writing.file;
        let bytes = new.list.bytes();
        file_content::check_room(&*new.directory.open()?, bytes, &new.holes)?;
        let mut draft = self.target.draft(&new.directory, &new.name, new.clears)?;
        draft.set_vacant(new.is_vacant);
        let file = draft.file()?;
        let made = writing.made.get_or_init(|| (draft, file));
        if !new.holes.is_empty() {
            file_content::set_len(&made.1, bytes)?;
        }
        Ok(made)
    }

    /// What was written of it goes; the others do not suffer.
    pub fn fail(&self, writing: &FileInProgress, error: Error) -> Result<()> {
        if is_fatal(&error) {
            return Err(error);
        }
        if writing.fail() {
            self.problem(&writing.file, error);
        }
        Ok(())
    }

    pub fn problem(&self, file: &FileTask, error: Error) {
        self.tally.failed(&error);
        let act = format!("restore {}", file.shown());
        self.target.problems().add(error.context(act));
    }

    /// Whoever lets go of it last finishes it.
    pub fn release(&self, writing: Arc<FileInProgress>) -> Result<()> {
        let Some(writing) = Arc::into_inner(writing) else {
            return Ok(());
        };
        let has_failed = writing.has_failed();
        let Some((draft, file)) = writing.made.into_inner() else {
            return Ok(());
        };
        let finished = if has_failed {
            Ok(false)
        } else {
            self.finish(&writing.file, &draft, &file)
        };
        match finished {
            Ok(true) => self.place(&writing.file, draft),
            Ok(false) => draft.discard(),
            Err(error) => {
                draft.discard()?;
                if is_fatal(&error) {
                    Err(error)
                } else {
                    self.problem(&writing.file, error);
                    Ok(())
                }
            }
        }
    }

    fn finish(&self, new: &FileTask, draft: &FileDraft, file: &File) -> Result<bool> {
        if self.verifies && !self.reading().is(file, &new.list, &new.holes)? {
            return Err(Error::new(
                ErrorKind::Mismatch,
                "what was written is not what was saved",
            ));
        }
        draft.set_on(file, &new.attributes).map(|()| true)
    }

    fn place(&self, new: &FileTask, draft: FileDraft) -> Result<()> {
        if let Some(group) = new.first_of {
            self.links.done(group, draft.placed());
        }
        self.tally.a_file(new.list.bytes());
        self.target.place(draft)
    }

    fn reading(&self) -> RestoredFileReader<'_> {
        RestoredFileReader {
            repo: self.repo,
            source: self.reader,
            zeros: &self.zeros,
            report: self.report,
        }
    }

    fn compare(&self, new: FileTask) -> Result<()> {
        let same = new
            .directory
            .file(&new.name)
            .and_then(|file| self.reading().is(&file, &new.list, &new.holes));
        match same {
            Ok(true) => self.refresh(new),
            Err(error) if is_fatal(&error) => Err(error),
            // What cannot be read is written anew.
            _ => self.write_whole(new),
        }
    }

    /// The file that stands there stays.
    pub fn refresh(&self, new: FileTask) -> Result<()> {
        if let Err(error) = new.directory.refresh(&new.name, &new.attributes) {
            self.problem(&new, error);
        }
        if let Some(group) = new.first_of {
            self.links.done(group, new.directory.placed(&new.name)?);
        }
        self.tally.a_same_file(new.list.bytes());
        self.report.bytes_done.add(new.list.bytes());
        Ok(())
    }

    /// Writes a file from beginning to end.
    pub fn write_whole(&self, new: FileTask) -> Result<()> {
        let writing = FileInProgress::new(new);
        if let Err(error) = self.stream(&writing) {
            self.fail(&writing, error)?;
        }
        self.release(writing)
    }

    fn stream(&self, writing: &Arc<FileInProgress>) -> Result<()> {
        self.begin(writing)?;
        let (mut waiting, mut bytes) = (Vec::new(), 0);
        for piece in file_content::pieces(&writing.file.list, self.reader)? {
            let piece = piece?;
            if self.zeros.is_hole(&piece, &writing.file.holes) {
                continue;
            }
            bytes += piece.chunk.bytes;
            waiting.push(piece);
            if bytes >= STREAM_BYTES {
                bytes = 0;
                self.write_some(writing, std::mem::take(&mut waiting))?;
            }
        }
        self.write_some(writing, waiting)
    }

    fn write_some(&self, writing: &Arc<FileInProgress>, pieces: Vec<ChunkTask>) -> Result<()> {
        self.report.go_on()?;
        let task = [RestoreTask::Write(writing.clone(), pieces)];
        let chunks = FetchedChunks::fetch(self.reader, &task);
        match &task[0] {
            RestoreTask::Write(writing, pieces) => self.try_write(writing, pieces, &chunks),
            _ => Ok(()),
        }
    }

    fn link(&self, group: LinkGroup, new: FileTask) -> Result<()> {
        let Some(first) = self.links.first(group) else {
            lock(&self.late).push((group, new));
            return Ok(());
        };
        let linked = || {
            let mut draft = self.target.draft(&new.directory, &new.name, new.clears)?;
            draft.set_vacant(new.is_vacant);
            draft.link(&first)?;
            Ok(draft)
        };
        match linked() {
            Ok(draft) => {
                self.tally.another();
                self.target.place(draft)
            }
            Err(error) if is_fatal(&error) => Err(error),
            // The filesystem has no hard links, no more of this one, or none across this mount: the content counts.
            Err(_) => {
                self.tally.unlinked();
                self.write_whole(FileTask {
                    first_of: Some(group),
                    ..new
                })
            }
        }
    }

    /// Keeps the first name of a file that stands with several names until all of the snapshot's names are known.
    pub fn keep_shared(&self, group: LinkGroup, new: FileTask, standing: ExistingEntry) -> Result<()> {
        let mut shared = lock(&self.shared);
        if shared.len() < SHARED_MAX {
            shared.push((group, new, standing));
            return Ok(());
        }
        drop(shared);
        self.write_whole(new)
    }

    /// A file whose standing names are the snapshot's, and no others, stays; any other gives way to a new file, so that
    /// no name is changed that was not to be.
    fn finish_shared(&self) -> Result<()> {
        let shared = std::mem::take(&mut *lock(&self.shared));
        let mut others: HashMap<LinkGroup, Vec<bool>> = HashMap::new();
        let identities: HashMap<_, _> = shared
            .iter()
            .map(|(group, _, at)| (*group, at.identity))
            .collect();
        for (group, new) in lock(&self.late).iter() {
            if let Some(identity) = identities.get(group) {
                let at = new.directory.entry(&new.name)?;
                let is_it = at.is_some_and(|at| at.identity == *identity);
                others.entry(*group).or_default().push(is_it);
            }
        }
        for (group, new, standing) in shared {
            let others = others.remove(&group).unwrap_or_default();
            let names = 1 + others.iter().filter(|is_it| **is_it).count() as u64;
            if others.iter().all(|is_it| *is_it) && names * self.names_each == standing.links {
                self.compare(new)?
            } else {
                self.write_whole(new)?
            }
        }
        Ok(())
    }

    /// Links that came too early. One whose first name could not be restored becomes the first.
    pub fn finish_links(&self) -> Result<()> {
        self.finish_shared()?;
        let late = std::mem::take(&mut *lock(&self.late));
        for (group, mut new) in late {
            match self.links.first(group) {
                Some(_) => self.link(group, new)?,
                None => {
                    new.first_of = Some(group);
                    self.write_whole(new)?;
                }
            }
        }
        Ok(())
    }
}

/// Chunks that were fetched together.
struct FetchedChunks(HashMap<BlobId, NamedBlob>);

/// A chunk that was fetched, or is read now.
enum FetchedChunk<'c> {
    Fetched(&'c NamedBlob),
    Read(NamedBlob),
}

impl FetchedChunk<'_> {
    fn plain(&self) -> &[u8] {
        match self {
            Self::Fetched(blob) => blob.plain(),
            Self::Read(blob) => blob.plain(),
        }
    }
}

impl FetchedChunks {
    /// All that the tasks want, each once; none if one cannot be had, so that each file learns of its own.
    fn fetch(reader: &BlobReader, tasks: &[RestoreTask]) -> Self {
        let mut wanted = Vec::new();
        for task in tasks {
            if let RestoreTask::Write(_, pieces) = task {
                wanted.extend(pieces.iter().map(|piece| (BlobKind::Data, piece.chunk.id)));
            }
        }
        wanted.sort_unstable_by_key(|(_, id)| *id);
        wanted.dedup();
        let blobs = reader.read_many(&wanted).unwrap_or_default();
        Self(wanted.into_iter().map(|(_, id)| id).zip(blobs).collect())
    }

    fn get(&self, reader: &BlobReader, id: &BlobId) -> Result<FetchedChunk<'_>> {
        match self.0.get(id) {
            Some(blob) => Ok(FetchedChunk::Fetched(blob)),
            None => reader.read(BlobKind::Data, id).map(FetchedChunk::Read),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
