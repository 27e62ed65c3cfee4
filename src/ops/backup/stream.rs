//! Bytes that come once, as one file in a tree of its own.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::database::Known;
use super::saved::SavedAll;
use super::trees::{
    self, Changes, Failed, NewFile, Reading, Root, Sink, Step, StoredRoot, TreeCounts, WantedTree,
};
use super::{Backup, BackupOutcome};
use crate::error::{Act, Error, Kind, Result};
use crate::repo::{HostRepo, Repo, Writer};
use crate::report::Report;
use crate::snapshot::Meta;
use crate::source::Stream;
use crate::source::rules::Bounds;

/// Its owner alone may read what is brought back: nobody knows who was to read it.
const MODE: u32 = 0o600;

impl Backup {
    /// Backs up a stream as the file `name`, at `/name`. If the stream turns out not to be whole, no snapshot is stored.
    /// `paths`, `listed` and what is for them do not count.
    pub fn from_stream(
        &self,
        repo: &Repo,
        stream: Stream,
        name: &OsStr,
        report: &Report,
    ) -> Result<BackupOutcome> {
        self.stream(repo, &Known::load(repo)?, stream, name, report)
    }

    /// The same as a write-only host.
    pub fn from_stream_as_host(
        &self,
        host: &HostRepo,
        stream: Stream,
        name: &OsStr,
        report: &Report,
    ) -> Result<BackupOutcome> {
        self.refuse_skipping()?;
        self.stream(host.repo(), &Known::of_host(host)?, stream, name, report)
    }

    fn stream(
        &self,
        repo: &Repo,
        known: &Known,
        stream: Stream,
        name: &OsStr,
        report: &Report,
    ) -> Result<BackupOutcome> {
        let wanted = self.wanted_file(name)?;
        let begin = repo.clock().now();
        let mut stream = Some(stream);
        let mut save = |writer: &mut Writer| {
            let stream = stream
                .take()
                .ok_or_else(|| Error::new(Kind::Io, "the stream is read"))?;
            let stored = store(repo, writer, stream, wanted.clone(), report)?;
            let mut saved = SavedAll::default();
            saved.take(stored);
            Ok(saved)
        };
        self.attempt(repo, known, begin, report, &mut save)
    }

    fn wanted_file(&self, name: &OsStr) -> Result<WantedTree> {
        let is_name = !matches!(name.as_bytes(), b"" | b"." | b"..") && !name.as_bytes().contains(&b'/');
        if !is_name {
            let message = format!("{} is no file's name", name.display());
            return Err(Error::new(Kind::Usage, message));
        }
        let called = || name.to_string_lossy().into_owned();
        Ok(WantedTree {
            path: Path::new("/").join(name),
            name: self.name.clone().unwrap_or_else(called),
            bounds: Bounds::default(),
        })
    }
}

fn store(
    repo: &Repo,
    writer: &mut Writer,
    mut stream: Stream,
    wanted: WantedTree,
    report: &Report,
) -> Result<StoredRoot> {
    let walk = |reading: Reading, sink: Sink| {
        sink.step(Step::Begin)?;
        let fill = &mut |buffer: &mut [u8]| stream.read(buffer, report);
        let bytes = reading.bytes(u64::MAX, fill, &mut &sink);
        let bytes = bytes
            .map_err(Failed::into_error)
            .act(|| format!("save {}", wanted.name))?;
        stream.finish(report)?;
        sink.step(Step::File(file_of(&wanted), 0))?;
        sink.step(Step::End)?;
        Ok(bytes)
    };
    let (bytes, roots) = trees::pipe(repo, writer, walk, report)?;
    let new = 1;
    Ok(StoredRoot {
        tree: roots.into_iter().find_map(|root| root.tree),
        root: Root::Tree(wanted),
        counts: TreeCounts {
            files: Changes {
                new,
                ..Changes::default()
            },
            bytes,
            bytes_read: bytes,
            ..TreeCounts::default()
        },
    })
}

/// It has no time: equal bytes make an equal tree.
fn file_of(wanted: &WantedTree) -> NewFile {
    NewFile {
        name: wanted.entry_name().as_bytes().to_vec(),
        meta: Meta {
            mode: Some(MODE),
            uid: Some(rustix::process::geteuid().as_raw()),
            gid: Some(rustix::process::getegid().as_raw()),
            ..Meta::default()
        },
        keep: None,
    }
}
