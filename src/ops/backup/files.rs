//! Physical mode: a database's files as they are, for those whose records cannot be told.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::trees::{self, Failed, NewFile, Reading, Sink, Step};
use crate::blob::BlobKind;
use crate::error::{Act, Kind, Result};
use crate::id::BlobId;
use crate::leveldb::name::FileName;
use crate::repo::{Repo, Writer};
use crate::report::Report;
use crate::snapshot::{Meta, Tree};
use crate::source::DatabaseFile;
use crate::source::walk::mtime_nanos;

/// The regular files of a directory that LevelDB may have made: what is kept when nothing says which of them belong.
pub fn all_in(directory: &Path) -> Result<Vec<DatabaseFile>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).act(|| format!("list {}", directory.display()))? {
        let entry = entry.act(|| format!("list {}", directory.display()))?;
        let facts = match entry.metadata() {
            // Deleted since it was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            facts => facts.act(|| format!("stat {}", entry.path().display()))?,
        };
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

/// Stores the files of the database in `directory` and the tree that lists them.
pub fn store(
    repo: &Repo,
    writer: &mut Writer,
    directory: &Path,
    mut files: Vec<DatabaseFile>,
    report: &Report,
) -> Result<StoredFiles> {
    files.sort_by(|left, right| left.name.cmp(&right.name));
    let walk = |reading: Reading, sink: Sink| {
        sink.step(Step::Begin)?;
        let (mut bytes, mut gone) = (0, Vec::new());
        for file in files {
            match one(&reading, &sink, directory, &file)? {
                Some(len) => bytes += len,
                None => gone.push(file.name),
            }
        }
        sink.step(Step::End)?;
        Ok((bytes, gone))
    };
    let ((bytes, gone), roots) = trees::pipe(repo, writer, walk, report)?;
    let tree = match roots.into_iter().find_map(|root| root.tree) {
        Some(tree) => tree,
        None => writer.add_one(BlobKind::Tree, Tree::Entries(Vec::new()).encode()?)?,
    };
    Ok(StoredFiles { tree, bytes, gone })
}

/// The bytes of a file; `None` if it is gone.
fn one(reading: &Reading, mut sink: &Sink, directory: &Path, file: &DatabaseFile) -> Result<Option<u64>> {
    let opened = file
        .open()
        .and_then(|open| Ok((open, meta(&file.metadata_in(directory)?))));
    let (open, meta) = match opened {
        Err(error) if error.kind() == Kind::NotFound => return Ok(None),
        opened => opened.act(|| format!("open {}", file.name))?,
    };
    let mut at = 0;
    let fill = &mut |buffer: &mut [u8]| {
        open.read_at(buffer, at)?;
        at += buffer.len() as u64;
        Ok(buffer.len())
    };
    let bytes = reading.bytes(open.len(), fill, &mut sink);
    let bytes = bytes
        .map_err(Failed::into_error)
        .act(|| format!("read {}", file.name))?;
    let name = file.name.as_bytes().to_vec();
    let keep = None;
    sink.step(Step::File(NewFile { name, meta, keep }, 0))?;
    Ok(Some(bytes))
}

fn meta(facts: &Metadata) -> Meta {
    Meta {
        mode: Some(facts.mode() & 0o7777),
        uid: Some(facts.uid()),
        gid: Some(facts.gid()),
        mtime_nanos: Some(mtime_nanos(facts)),
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
        let stored = store(&repo, &mut writer, dir.path(), listed, &report).unwrap();
        assert_eq!(stored.gone, ["000005.ldb"]);
        assert_eq!(stored.bytes, ("000003.log".len() + "CURRENT".len()) as u64);
    }

    /// A database that opens to far more than its files is kept as they are, and the reason is given.
    #[test]
    fn keys_that_grow_by_a_byte_each_are_stored_as_files() {
        let dir = tempfile::tempdir().unwrap();
        crate::leveldb::testing::growing_keys(60_000).write_to(dir.path());
        let new = NewRepo {
            cost: SlotCost::cheap(),
            ..NewRepo::default()
        };
        let password = Password::new(b"x".to_vec());
        let storage = Arc::new(MemoryStorage::default());
        let repo = Repo::create(storage, &password, new, Settings::default()).unwrap();
        let backup = crate::ops::backup::Backup::new(vec![dir.path().to_path_buf()]);
        let outcome = backup.run(&repo, &Report::default()).unwrap();
        let database = &outcome.databases[0];
        let crate::ops::backup::Stored::Files { why } = &database.stored else {
            panic!("stored as records")
        };
        assert!(why.contains("out of proportion"), "{why}");
        assert!(database.damage.is_empty(), "{:?}", database.damage);
    }
}
