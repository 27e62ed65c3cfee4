//! Stores a byte stream as one file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::save_database::DatabaseInput;
use super::saved_sources::SavedSources;
use super::trees::{
    self, ChangeCounts, FileReadError, FileReader, PlannedTree, ReadFile, StepSender, StoredRoot, TreeCounts,
    WalkRoot, WalkStep,
};
use super::{Backup, BackupOutcome};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::repo::{BlobWriter, Repo, WriteOnlyRepo};
use crate::report::OperationReport;
use crate::snapshot::FileMetadata;
use crate::source::InputStream;
use crate::source::exclude_rules::WalkScope;

/// Its owner alone may read what is brought back: nobody knows who was to read it.
const MODE: u32 = 0o600;

impl Backup {
    /// Backs up a stream as the file `name`, at `/name`. If the stream turns out not to be whole, no snapshot is stored.
    /// `paths`, `listed` and what is for them do not count.
    pub fn from_stream(
        &self,
        repo: &Repo,
        stream: InputStream,
        name: &OsStr,
        report: &OperationReport,
    ) -> Result<BackupOutcome> {
        self.stream(repo, &DatabaseInput::load(repo)?, stream, name, report)
    }

    /// The same as a write-only host.
    pub fn from_stream_as_host(
        &self,
        host: &WriteOnlyRepo,
        stream: InputStream,
        name: &OsStr,
        report: &OperationReport,
    ) -> Result<BackupOutcome> {
        self.refuse_skipping()?;
        self.stream(host.repo(), &DatabaseInput::of_host(host)?, stream, name, report)
    }

    fn stream(
        &self,
        repo: &Repo,
        known: &DatabaseInput,
        stream: InputStream,
        name: &OsStr,
        report: &OperationReport,
    ) -> Result<BackupOutcome> {
        let wanted = self.wanted_file(name)?;
        let begin = repo.clock().now();
        let mut stream = Some(stream);
        let mut save = |writer: &mut BlobWriter| {
            let stream = stream
                .take()
                .ok_or_else(|| Error::new(ErrorKind::Io, "the stream is read"))?;
            let stored = store(repo, writer, stream, wanted.clone(), report)?;
            let mut saved = SavedSources::default();
            saved.take(stored);
            Ok(saved)
        };
        self.attempt(repo, known, begin, report, &mut save)
    }

    fn wanted_file(&self, name: &OsStr) -> Result<PlannedTree> {
        let is_name = !matches!(name.as_bytes(), b"" | b"." | b"..") && !name.as_bytes().contains(&b'/');
        if !is_name {
            let message = format!("{} is no file's name", name.display());
            return Err(Error::new(ErrorKind::Usage, message));
        }
        let called = || name.to_string_lossy().into_owned();
        Ok(PlannedTree {
            path: Path::new("/").join(name),
            name: self.name.clone().unwrap_or_else(called),
            bounds: WalkScope::default(),
        })
    }
}

fn store(
    repo: &Repo,
    writer: &mut BlobWriter,
    mut stream: InputStream,
    wanted: PlannedTree,
    report: &OperationReport,
) -> Result<StoredRoot> {
    let walk = |reading: FileReader, sink: StepSender| {
        sink.step(WalkStep::Begin)?;
        let fill = &mut |buffer: &mut [u8]| stream.read(buffer, report);
        let bytes = reading.bytes(u64::MAX, fill, &mut &sink);
        let bytes = bytes
            .map_err(FileReadError::into_error)
            .context(|| format!("save {}", wanted.name))?;
        stream.finish(report)?;
        sink.step(WalkStep::File(file_of(&wanted), 0))?;
        sink.step(WalkStep::End)?;
        Ok(bytes)
    };
    let (bytes, roots) = trees::pipe(repo, writer, walk, report)?;
    let new = 1;
    Ok(StoredRoot {
        tree: roots.into_iter().find_map(|root| root.tree),
        root: WalkRoot::Tree(wanted),
        counts: TreeCounts {
            files: ChangeCounts {
                new,
                ..ChangeCounts::default()
            },
            bytes,
            bytes_read: bytes,
            ..TreeCounts::default()
        },
    })
}

/// It has no time: equal bytes make an equal tree.
fn file_of(wanted: &PlannedTree) -> ReadFile {
    ReadFile {
        name: wanted.entry_name().as_bytes().to_vec(),
        meta: FileMetadata {
            mode: Some(MODE),
            uid: Some(rustix::process::geteuid().as_raw()),
            gid: Some(rustix::process::getegid().as_raw()),
            ..FileMetadata::default()
        },
        keep: None,
    }
}
