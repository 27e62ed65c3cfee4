//! Fetches chunks and writes files, on several threads.
//!
//! The workers: chunks out of the repository, into files, and read back.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Receiver;

use super::super::{RestoreContext, VerifyMode};
use super::file_content::{self, RestoredFileComparison, ZeroChunks};
use super::hard_links::{HardLinks, LinkGroup};
use super::restore_tasks::{ChunkWriteTask, FileInProgress, FileRestoreTask, RestoreTask};
use super::{RestoreCounters, is_fatal};
use crate::blob::{BlobKind, NamedBlob};
use crate::error::{Error, ErrorKind, Result};
use crate::id::BlobId;
use crate::repo::{BlobReader, Repo};
use crate::report::OperationReport;
use crate::target::TreeTarget;
use crate::target::tree::{ExistingEntry, FileDraft};

/// Plain bytes of one file fetched at once, when it is written by one worker alone.
const FILE_FETCH_BYTES: u64 = 4 << 20;

/// Files of several names that wait for the end; of more, each is written anew.
const DEFERRED_SHARED_MAX: usize = 1 << 17;

/// What all workers of one tree share.
pub struct RestoreWorkerContext<'a> {
    pub repo: &'a Repo,
    pub reader: &'a BlobReader<'a>,
    pub target: &'a TreeTarget,
    pub report: &'a OperationReport,
    pub zeros: ZeroChunks<'a>,
    pub links: HardLinks,
    pub counters: RestoreCounters,
    pub verifies: bool,
    /// Names of a standing file that has one of its own.
    pub links_expected: u64,
    /// Links whose first name was not there yet.
    pub late_links: Mutex<Vec<(LinkGroup, FileRestoreTask)>>,
    /// First names of files that stand with several names: theirs only, or others too, is seen in the end.
    deferred_shared: Mutex<Vec<(LinkGroup, FileRestoreTask, ExistingEntry)>>,
    has_failed: AtomicBool,
}

impl<'a> RestoreWorkerContext<'a> {
    pub fn new(restoring: &'a RestoreContext, target: &'a TreeTarget) -> Self {
        Self {
            repo: restoring.repo,
            reader: restoring.reader,
            target,
            report: restoring.report,
            zeros: ZeroChunks::new(restoring.repo),
            links: HardLinks::default(),
            counters: RestoreCounters::default(),
            verifies: restoring.options.verify == VerifyMode::Full,
            links_expected: target.links_per_file(),
            late_links: Mutex::default(),
            deferred_shared: Mutex::default(),
            has_failed: AtomicBool::new(false),
        }
    }

    /// Works until no more tasks come.
    pub fn run_worker(&self, jobs: Receiver<Vec<RestoreTask>>) -> Result<()> {
        for tasks in jobs {
            if self.has_failed.load(Ordering::Relaxed) {
                return Err(Error::new(
                    ErrorKind::Interrupted,
                    "another restore thread has failed",
                ));
            }
            let done = self.report.go_on().and_then(|()| self.run_batch(tasks));
            done.inspect_err(|_| self.has_failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    }

    fn run_batch(&self, tasks: Vec<RestoreTask>) -> Result<()> {
        let chunks = FetchedChunks::fetch(self.reader, &tasks);
        for task in tasks {
            match task {
                RestoreTask::Write(writing, pieces) => {
                    self.write_pieces(&writing, &pieces, &chunks)?;
                    self.finish_if_last(writing)?;
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
        pieces: &[ChunkWriteTask],
        chunks: &FetchedChunks,
    ) -> Result<()> {
        if writing.has_failed() {
            return Ok(());
        }
        match self.try_write(writing, pieces, chunks) {
            Err(error) => self.fail_file(writing, error),
            done => done,
        }
    }

    fn try_write(
        &self,
        writing: &FileInProgress,
        pieces: &[ChunkWriteTask],
        chunks: &FetchedChunks,
    ) -> Result<()> {
        let (_, file) = self.open_draft(writing)?;
        for piece in pieces {
            let blob = chunks.get(self.reader, &piece.chunk.id)?;
            piece.chunk.contains_id(blob.plain())?;
            file_content::write_chunk(file, piece.offset, blob.plain(), &writing.file.holes)?;
            self.report.bytes_done.add(piece.chunk.bytes);
        }
        Ok(())
    }

    /// The file, made by the first that asks.
    pub fn open_draft<'w>(&self, writing: &'w FileInProgress) -> Result<&'w (FileDraft, File)> {
        let _alone = lock(&writing.draft_lock);
        if let Some(made) = writing.draft.get() {
            return Ok(made);
        }
        let new = &writing.file;
        let bytes = new.list.bytes();
        file_content::check_free_space(&*new.directory.open()?, bytes, &new.holes)?;
        let mut draft = self.target.begin_draft(&new.directory, &new.name, new.removes)?;
        draft.set_vacant(new.is_vacant);
        let file = draft.create_file()?;
        let made = writing.draft.get_or_init(|| (draft, file));
        if !new.holes.is_empty() {
            file_content::set_len(&made.1, bytes)?;
        }
        Ok(made)
    }

    /// What was written of it goes; the others do not suffer.
    pub fn fail_file(&self, writing: &FileInProgress, error: Error) -> Result<()> {
        if is_fatal(&error) {
            return Err(error);
        }
        if writing.mark_failed() {
            self.report_problem(&writing.file, error);
        }
        Ok(())
    }

    pub fn report_problem(&self, file: &FileRestoreTask, error: Error) {
        self.counters.count_mismatch(&error);
        let act = format!("restore {}", file.display_path());
        self.target.problems().add(error.context(act));
    }

    /// Whoever lets go of it last finishes it.
    pub fn finish_if_last(&self, writing: Arc<FileInProgress>) -> Result<()> {
        let Some(writing) = Arc::into_inner(writing) else {
            return Ok(());
        };
        let has_failed = writing.has_failed();
        let Some((draft, file)) = writing.draft.into_inner() else {
            return Ok(());
        };
        let finished = if has_failed {
            Ok(false)
        } else {
            self.finish_content(&writing.file, &draft, &file)
        };
        match finished {
            Ok(true) => self.place(&writing.file, draft),
            Ok(false) => draft.discard(),
            Err(error) => {
                draft.discard()?;
                if is_fatal(&error) {
                    Err(error)
                } else {
                    self.report_problem(&writing.file, error);
                    Ok(())
                }
            }
        }
    }

    fn finish_content(&self, new: &FileRestoreTask, draft: &FileDraft, file: &File) -> Result<bool> {
        if self.verifies
            && !self
                .content_comparison()
                .has_content(file, &new.list, &new.holes)?
        {
            return Err(Error::new(
                ErrorKind::Mismatch,
                "what was written is not what was saved",
            ));
        }
        draft.set_file_attributes(file, &new.attributes).map(|()| true)
    }

    fn place(&self, new: &FileRestoreTask, draft: FileDraft) -> Result<()> {
        if let Some(group) = new.first_of {
            self.links.set_placed(group, draft.placed_entry());
        }
        self.counters.count_file(new.list.bytes());
        self.target.commit_draft(draft)
    }

    fn content_comparison(&self) -> RestoredFileComparison<'_> {
        RestoredFileComparison {
            repo: self.repo,
            source: self.reader,
            zeros: &self.zeros,
            report: self.report,
        }
    }

    fn compare(&self, new: FileRestoreTask) -> Result<()> {
        let same = new.directory.open_file(&new.name).and_then(|file| {
            self.content_comparison()
                .has_content(&file, &new.list, &new.holes)
        });
        match same {
            Ok(true) => self.refresh(new),
            Err(error) if is_fatal(&error) => Err(error),
            // What cannot be read is written anew.
            _ => self.write_whole(new),
        }
    }

    /// The file that stands there stays.
    pub fn refresh(&self, new: FileRestoreTask) -> Result<()> {
        if let Err(error) = new.directory.update_attributes(&new.name, &new.attributes) {
            self.report_problem(&new, error);
        }
        if let Some(group) = new.first_of {
            self.links
                .set_placed(group, new.directory.placed_entry(&new.name)?);
        }
        self.counters.count_same_file(new.list.bytes());
        self.report.bytes_done.add(new.list.bytes());
        Ok(())
    }

    /// Writes a file from beginning to end.
    pub fn write_whole(&self, new: FileRestoreTask) -> Result<()> {
        let writing = FileInProgress::new(new);
        if let Err(error) = self.stream_file(&writing) {
            self.fail_file(&writing, error)?;
        }
        self.finish_if_last(writing)
    }

    fn stream_file(&self, writing: &Arc<FileInProgress>) -> Result<()> {
        self.open_draft(writing)?;
        let (mut waiting, mut bytes) = (Vec::new(), 0);
        for piece in file_content::chunk_tasks(&writing.file.list, self.reader)? {
            let piece = piece?;
            if self.zeros.is_hole(&piece, &writing.file.holes) {
                continue;
            }
            bytes += piece.chunk.bytes;
            waiting.push(piece);
            if bytes >= FILE_FETCH_BYTES {
                bytes = 0;
                self.write_fetched(writing, std::mem::take(&mut waiting))?;
            }
        }
        self.write_fetched(writing, waiting)
    }

    fn write_fetched(&self, writing: &Arc<FileInProgress>, pieces: Vec<ChunkWriteTask>) -> Result<()> {
        self.report.go_on()?;
        let task = [RestoreTask::Write(writing.clone(), pieces)];
        let chunks = FetchedChunks::fetch(self.reader, &task);
        match &task[0] {
            RestoreTask::Write(writing, pieces) => self.try_write(writing, pieces, &chunks),
            _ => Ok(()),
        }
    }

    fn link(&self, group: LinkGroup, new: FileRestoreTask) -> Result<()> {
        let Some(first) = self.links.placed_first(group) else {
            lock(&self.late_links).push((group, new));
            return Ok(());
        };
        let linked = || {
            let mut draft = self.target.begin_draft(&new.directory, &new.name, new.removes)?;
            draft.set_vacant(new.is_vacant);
            draft.create_hard_link(&first)?;
            Ok(draft)
        };
        match linked() {
            Ok(draft) => {
                self.counters.count_other();
                self.target.commit_draft(draft)
            }
            Err(error) if is_fatal(&error) => Err(error),
            // The filesystem has no hard links, no more of this one, or none across this mount: the content counts.
            Err(_) => {
                self.counters.count_unlinked();
                self.write_whole(FileRestoreTask {
                    first_of: Some(group),
                    ..new
                })
            }
        }
    }

    /// Keeps the first name of a file that stands with several names until all of the snapshot's names are known.
    pub fn defer_shared(
        &self,
        group: LinkGroup,
        new: FileRestoreTask,
        standing: ExistingEntry,
    ) -> Result<()> {
        let mut shared = lock(&self.deferred_shared);
        if shared.len() < DEFERRED_SHARED_MAX {
            shared.push((group, new, standing));
            return Ok(());
        }
        drop(shared);
        self.write_whole(new)
    }

    /// A file whose standing names are the snapshot's, and no others, stays; any other gives way to a new file, so that
    /// no name is changed that was not to be.
    fn finish_shared(&self) -> Result<()> {
        let shared = std::mem::take(&mut *lock(&self.deferred_shared));
        let mut others: HashMap<LinkGroup, Vec<bool>> = HashMap::new();
        let identities: HashMap<_, _> = shared
            .iter()
            .map(|(group, _, at)| (*group, at.identity))
            .collect();
        for (group, new) in lock(&self.late_links).iter() {
            if let Some(identity) = identities.get(group) {
                let at = new.directory.entry(&new.name)?;
                let is_it = at.is_some_and(|at| at.identity == *identity);
                others.entry(*group).or_default().push(is_it);
            }
        }
        for (group, new, standing) in shared {
            let others = others.remove(&group).unwrap_or_default();
            let names = 1 + others.iter().filter(|is_it| **is_it).count() as u64;
            if others.iter().all(|is_it| *is_it) && names * self.links_expected == standing.links {
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
        let late = std::mem::take(&mut *lock(&self.late_links));
        for (group, mut new) in late {
            match self.links.placed_first(group) {
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
