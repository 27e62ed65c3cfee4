//! Stores a byte stream as one file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::backup_attempt::BackupAttempt;
use super::captured_databases::UnsteadyDatabases;
use super::save_database::DatabaseInput;
use super::saved_sources::SavedSources;
use super::trees::{
    self, ChangeCounts, FileReadError, FileReader, FinishedFile, PlannedTree, StepSender, StoredRoot,
    TreeCounts, WalkRoot, WalkStep,
};
use super::{Backup, BackupOutcome};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::repo::{BlobWriter, Repo, WriteOnlyRepo};
use crate::report::OperationReport;
use crate::snapshot::FileMetadata;
use crate::source::InputStream;
use crate::source::exclude_rules::WalkScope;

/// Its owner alone may read what is brought back: nobody knows who was to read it.
const RESTORED_STREAM_MODE: u32 = 0o600;

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
        self.save_stream(repo, &DatabaseInput::load(repo)?, stream, name, report)
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
        self.save_stream(
            host.repo(),
            &DatabaseInput::load_for_host(host)?,
            stream,
            name,
            report,
        )
    }

    fn save_stream(
        &self,
        repo: &Repo,
        input: &DatabaseInput,
        stream: InputStream,
        name: &OsStr,
        report: &OperationReport,
    ) -> Result<BackupOutcome> {
        let wanted = self.plan_stream_file(name)?;
        let attempt = BackupAttempt {
            options: self,
            repo,
            input,
            begin: repo.clock().now(),
            unsteady: &UnsteadyDatabases::default(),
            report,
        };
        let mut stream = Some(stream);
        let mut save = |writer: &mut BlobWriter| {
            let stream = stream
                .take()
                .ok_or_else(|| Error::new(ErrorKind::Io, "the stream is read"))?;
            let stored = store_stream(repo, writer, stream, wanted.clone(), report)?;
            let mut saved = SavedSources::default();
            saved.add_root(stored);
            Ok(saved)
        };
        attempt.run(&mut save)
    }

    fn plan_stream_file(&self, name: &OsStr) -> Result<PlannedTree> {
        let is_name = !matches!(name.as_bytes(), b"" | b"." | b"..") && !name.as_bytes().contains(&b'/');
        if !is_name {
            let message = format!("{} is no file's name", name.display());
            return Err(Error::new(ErrorKind::Usage, message));
        }
        let called = || name.to_string_lossy().into_owned();
        Ok(PlannedTree {
            path: Path::new("/").join(name),
            name: self.name.clone().unwrap_or_else(called),
            scope: WalkScope::default(),
        })
    }
}

fn store_stream(
    repo: &Repo,
    writer: &mut BlobWriter,
    mut stream: InputStream,
    wanted: PlannedTree,
    report: &OperationReport,
) -> Result<StoredRoot> {
    let walk = |reading: FileReader, sink: StepSender| {
        sink.send_step(WalkStep::BeginRoot)?;
        let fill = &mut |buffer: &mut [u8]| stream.read(buffer, report);
        let bytes = reading.chunk_input(u64::MAX, fill, &mut &sink);
        let bytes = bytes
            .map_err(FileReadError::into_error)
            .context(|| format!("save {}", wanted.name))?;
        stream.finish(report)?;
        sink.send_step(WalkStep::EndFile(stream_entry(&wanted), 0))?;
        sink.send_step(WalkStep::EndRoot)?;
        Ok(bytes)
    };
    let (bytes, roots) = trees::run_tree_pipeline(repo, writer, walk, report)?;
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
fn stream_entry(wanted: &PlannedTree) -> FinishedFile {
    FinishedFile {
        name: wanted.entry_name().as_bytes().to_vec(),
        meta: FileMetadata {
            mode: Some(RESTORED_STREAM_MODE),
            uid: Some(rustix::process::geteuid().as_raw()),
            gid: Some(rustix::process::getegid().as_raw()),
            ..FileMetadata::default()
        },
        link_id: None,
    }
}
