//! Physical mode: a database's files as they are, for those whose records cannot be told.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::blob::BlobKind;
use crate::chunk::{ChunkList, ChunkRef, Cutter, ListBuilder, More};
use crate::error::{Act, Result};
use crate::id::BlobId;
use crate::limits::CHUNK_BYTES_MAX;
use crate::repo::{NewBlob, Repo, Writer};
use crate::report::Report;
use crate::run::LeafCutter;
use crate::snapshot::{DirectoryBuilder, EntryKind, Meta, TreeEntry};
use crate::source::DatabaseFile;

/// Bytes read ahead of the chunker.
const WINDOW_BYTES: usize = 8 * CHUNK_BYTES_MAX;

/// The regular files of a directory: what is kept when nothing says which of them belong.
pub fn all_in(directory: &Path) -> Result<Vec<DatabaseFile>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).act(|| format!("list {}", directory.display()))? {
        let entry = entry.act(|| format!("list {}", directory.display()))?;
        let facts = entry
            .metadata()
            .act(|| format!("stat {}", entry.path().display()))?;
        if let (true, Ok(name)) = (facts.is_file(), entry.file_name().into_string()) {
            files.push(DatabaseFile::in_directory(directory, name, facts.len()));
        }
    }
    files.retain(|file| file.name != "LOCK");
    Ok(files)
}

/// Stores the files and the tree that lists them; its blob, and the bytes read.
pub fn store(
    repo: &Repo,
    writer: &mut Writer,
    mut files: Vec<DatabaseFile>,
    report: &Report,
) -> Result<(BlobId, u64)> {
    let secret = repo.domain_keys().chunker_secret().expose();
    let mut directory = DirectoryBuilder::new(LeafCutter::new(secret));
    let cutter = Cutter::new(secret);
    files.sort_by(|left, right| left.name.cmp(&right.name));
    let mut bytes = 0;
    for file in &files {
        let list = one(writer, &cutter, file, report).act(|| format!("read {}", file.name))?;
        bytes += list.bytes();
        let entry = TreeEntry {
            name: file.name.as_bytes().to_vec(),
            kind: EntryKind::File(list),
            meta: meta(&file.metadata()?),
        };
        directory.push(entry, &mut |kind, plain| writer.add_one(kind, plain))?;
    }
    let tree = directory.finish(&mut |kind, plain| writer.add_one(kind, plain))?;
    Ok((tree, bytes))
}

fn one(writer: &mut Writer, cutter: &Cutter, file: &DatabaseFile, report: &Report) -> Result<ChunkList> {
    let bytes = file.open()?;
    let mut read_to = 0;
    let mut list = ListBuilder::new();
    let mut window = Vec::new();
    loop {
        report.go_on()?;
        let (kept, wanted) = (window.len(), WINDOW_BYTES - window.len());
        let got = usize::try_from(bytes.len() - read_to).map_or(wanted, |left| left.min(wanted));
        window.resize(kept + got, 0);
        bytes.read_at(&mut window[kept..], read_to)?;
        read_to += got as u64;
        let more = if got < wanted { More::Ended } else { More::Follows };
        let mut start = 0;
        let mut chunks = Vec::new();
        while let Some(len) = cutter.first(&window[start..], more) {
            chunks.push(NewBlob {
                kind: BlobKind::Data,
                plain: window[start..start + len].to_vec(),
            });
            start += len;
        }
        let lens: Vec<_> = chunks.iter().map(|chunk| chunk.plain.len() as u64).collect();
        for (id, bytes) in writer.add(chunks)?.into_iter().zip(lens) {
            list.push(ChunkRef { id, bytes }, &mut |kind, plain| {
                writer.add_one(kind, plain)
            })?;
            report.bytes_done.add(bytes);
        }
        window.drain(..start);
        if got < wanted {
            break;
        }
    }
    list.finish(&mut |kind, plain| writer.add_one(kind, plain))
}

fn meta(facts: &Metadata) -> Meta {
    Meta {
        mode: Some(facts.mode() & 0o7777),
        uid: Some(facts.uid()),
        gid: Some(facts.gid()),
        mtime_nanos: facts
            .mtime()
            .checked_mul(1_000_000_000)
            .map(|nanos| nanos + facts.mtime_nsec()),
        ..Meta::default()
    }
}
