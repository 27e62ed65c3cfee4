//! Physical mode: a database's files as they are, for those whose records cannot be told.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::blob::BlobKind;
use crate::chunk::{ChunkList, ChunkRef, Cutter, ListBuilder, More};
use crate::error::{Act, Kind, Result};
use crate::id::BlobId;
use crate::leveldb::name::FileName;
use crate::limits::CHUNK_BYTES_MAX;
use crate::repo::{NewBlob, Repo, Writer};
use crate::report::Report;
use crate::run::LeafCutter;
use crate::snapshot::{DirectoryBuilder, EntryKind, Meta, TreeEntry};
use crate::source::DatabaseFile;

/// Bytes read ahead of the chunker.
const WINDOW_BYTES: usize = 8 * CHUNK_BYTES_MAX;

/// The regular files of a directory that LevelDB may have made: what is kept when nothing says which of them belong.
pub fn all_in(directory: &Path) -> Result<Vec<DatabaseFile>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).act(|| format!("list {}", directory.display()))? {
        let entry = entry.act(|| format!("list {}", directory.display()))?;
        let facts = entry
            .metadata()
            .act(|| format!("stat {}", entry.path().display()))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let may_belong = !matches!(FileName::parse(&name), None | Some(FileName::Lock));
        if facts.is_file() && may_belong {
            files.push(DatabaseFile::in_directory(directory, name, facts.len()));
        }
    }
    Ok(files)
}

/// Files in the repository.
pub struct StoredFiles {
    /// The tree that lists them.
    pub tree: BlobId,
    /// What was read.
    pub bytes: u64,
    /// Names of those that their owner deleted before we came to them.
    pub gone: Vec<String>,
}

/// Stores the files and the tree that lists them.
pub fn store(
    repo: &Repo,
    writer: &mut Writer,
    mut files: Vec<DatabaseFile>,
    report: &Report,
) -> Result<StoredFiles> {
    let secret = repo.domain_keys().chunker_secret().expose();
    let mut directory = DirectoryBuilder::new(LeafCutter::new(secret));
    let cutter = Cutter::new(secret);
    files.sort_by(|left, right| left.name.cmp(&right.name));
    let (mut bytes, mut gone) = (0, Vec::new());
    for file in &files {
        let opened = file.open().and_then(|open| Ok((open, meta(&file.metadata()?))));
        let (open, meta) = match opened {
            Err(error) if error.kind() == Kind::NotFound => {
                gone.push(file.name.clone());
                continue;
            }
            opened => opened.act(|| format!("open {}", file.name))?,
        };
        let mut read_to = 0;
        let mut fill = |buffer: &mut [u8]| {
            let got =
                usize::try_from(open.len() - read_to).map_or(buffer.len(), |left| left.min(buffer.len()));
            open.read_at(&mut buffer[..got], read_to)?;
            read_to += got as u64;
            Ok(got)
        };
        let list = one(writer, &cutter, &mut fill, report).act(|| format!("read {}", file.name))?;
        bytes += list.bytes();
        let entry = TreeEntry {
            name: file.name.as_bytes().to_vec(),
            kind: EntryKind::File(list),
            meta,
        };
        directory.push(entry, &mut |kind, plain| writer.add_one(kind, plain))?;
    }
    let tree = directory.finish(&mut |kind, plain| writer.add_one(kind, plain))?;
    Ok(StoredFiles { tree, bytes, gone })
}

/// Stores the bytes that `fill` gives, in order: it fills its buffer but at the end.
pub fn one(
    writer: &mut Writer,
    cutter: &Cutter,
    fill: &mut dyn FnMut(&mut [u8]) -> Result<usize>,
    report: &Report,
) -> Result<ChunkList> {
    let mut list = ListBuilder::new();
    let mut window = Vec::new();
    loop {
        report.go_on()?;
        let (kept, wanted) = (window.len(), WINDOW_BYTES - window.len());
        window.resize(kept + wanted, 0);
        let got = fill(&mut window[kept..])?;
        window.truncate(kept + got);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::keys::{Password, SlotCost};
    use crate::repo::{NewRepo, Settings, Store};
    use crate::storage::MemoryStorage;

    #[test]
    fn files_that_an_owner_deleted_are_told_and_the_others_stored() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["000003.log", "000005.ldb", "CURRENT"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let listed = all_in(dir.path()).unwrap();
        std::fs::remove_file(dir.path().join("000005.ldb")).unwrap();

        let new = NewRepo {
            cost: SlotCost::cheap(),
            ..NewRepo::default()
        };
        let password = Password::new(b"password".to_vec());
        let storage = Arc::new(MemoryStorage::default());
        let repo = Repo::create(storage, &password, new, Settings::default()).unwrap();
        let report = Report::default();
        let mut writer = Writer::start(&repo, &report, Store::Nothing).unwrap();
        let stored = store(&repo, &mut writer, listed, &report).unwrap();
        assert_eq!(stored.gone, ["000005.ldb"]);
        assert_eq!(stored.bytes, ("000003.log".len() + "CURRENT".len()) as u64);
    }
}
