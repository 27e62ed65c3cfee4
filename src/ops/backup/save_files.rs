//! Stores a database's files as they are (physical mode).
//!
//! Physical mode: a database's files as they are, for those whose records cannot be told.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use rustix::fs::FileType;

use super::trees::{self, FileReadError, FileReader, FinishedFile, StepSender, WalkStep};
use crate::blob::BlobKind;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::id::BlobId;
use crate::leveldb::file_name::FileName;
use crate::repo::{BlobWriter, Repo};
use crate::report::OperationReport;
use crate::snapshot::{FileMetadata, TreeBlob};
use crate::source::walk::mtime_nanos;
use crate::source::{DatabaseFile, HeldDirectory};

/// The regular files of a directory that LevelDB may have made: what is kept when nothing says which of them belong.
pub fn list_database_files(directory: &HeldDirectory) -> Result<DatabaseListing> {
    let mut all = DatabaseListing::default();
    for entry in directory.list()? {
        let Ok(name) = entry.name.into_string() else {
            continue;
        };
        let may_belong = !matches!(FileName::parse(&name), None | Some(FileName::Lock));
        match directory.stat(&name) {
            Ok(stat) if may_belong && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                let len = u64::try_from(stat.st_size).unwrap_or(0);
                all.files.push(DatabaseFile::in_directory(directory, name, len));
            }
            Ok(_) if may_belong => all.non_regular.push(name),
            // Deleted meanwhile, or none of its files.
            _ => {}
        }
    }
    Ok(all)
}

/// What lies in a database's directory under names of LevelDB's.
#[derive(Default)]
pub struct DatabaseListing {
    /// Regular files.
    pub files: Vec<DatabaseFile>,
    /// Names of links, pipes and whatever else is no file: nothing of it is read.
    pub non_regular: Vec<String>,
}

/// Files in the repository.
pub struct StoredFiles {
    /// The tree that lists them.
    pub tree: BlobId,
    /// What was read.
    pub bytes: u64,
    /// Names of those that are not stored, and why.
    pub lost: Vec<(String, String)>,
}

/// Stores the files of the database in `directory` and the tree that lists them.
pub fn store_files(
    repo: &Repo,
    writer: &mut BlobWriter,
    directory: Option<&HeldDirectory>,
    mut files: Vec<DatabaseFile>,
    report: &OperationReport,
) -> Result<StoredFiles> {
    files.sort_by(|left, right| left.name.cmp(&right.name));
    let walk = |reading: FileReader, sink: StepSender| {
        sink.send_step(WalkStep::BeginRoot)?;
        let (mut bytes, mut lost) = (0, Vec::new());
        for file in files {
            match store_file(&reading, &sink, directory, &file)? {
                Ok(len) => bytes += len,
                Err(why) => lost.push((file.name, why)),
            }
        }
        sink.send_step(WalkStep::EndRoot)?;
        Ok((bytes, lost))
    };
    let ((bytes, lost), roots) = trees::run_tree_pipeline(repo, writer, walk, report)?;
    let tree = match roots.into_iter().find_map(|root| root.tree) {
        Some(tree) => tree,
        None => writer.add_one(BlobKind::Tree, TreeBlob::Entries(Vec::new()).encode()?)?,
    };
    Ok(StoredFiles { tree, bytes, lost })
}

/// The bytes of a file; why there is none if its owner deleted it before we came to it, or if something else stands there.
fn store_file(
    reading: &FileReader,
    mut sink: &StepSender,
    directory: Option<&HeldDirectory>,
    file: &DatabaseFile,
) -> Result<Result<u64, String>> {
    let facts = || match directory {
        Some(directory) => file.metadata_in(directory),
        None => file.metadata(),
    };
    let opened = file.open().and_then(|open| Ok((open, meta(&facts()?))));
    let (open, meta) = match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Err("was deleted before it was read".into()));
        }
        Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(Err(error.to_string())),
        opened => opened.context(|| format!("open {}", file.name))?,
    };
    let mut at = 0;
    let fill = &mut |buffer: &mut [u8]| {
        open.read_at(buffer, at)?;
        at += buffer.len() as u64;
        Ok(buffer.len())
    };
    let bytes = reading.chunk_input(open.len(), fill, &mut sink);
    let bytes = bytes
        .map_err(FileReadError::into_error)
        .context(|| format!("read {}", file.name))?;
    let name = file.name.as_bytes().to_vec();
    let keep = None;
    sink.send_step(WalkStep::EndFile(
        FinishedFile {
            name,
            meta,
            link_id: keep,
        },
        0,
    ))?;
    Ok(Ok(bytes))
}

fn meta(facts: &Metadata) -> FileMetadata {
    FileMetadata {
        mode: Some(facts.mode() & 0o7777),
        uid: Some(facts.uid()),
        gid: Some(facts.gid()),
        mtime_nanos: Some(mtime_nanos(facts)),
        ..FileMetadata::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::keys::{Password, SlotCost};
    use crate::repo::{NewRepository, RepoSettings, WriteMode};
    use crate::storage::MemoryStorage;

    #[test]
    fn files_that_an_owner_deleted_are_told_and_the_others_stored() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["000003.log", "000005.ldb", "CURRENT"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let held = HeldDirectory::open_path(dir.path()).unwrap();
        let listed = list_database_files(&held).unwrap().files;
        std::fs::remove_file(dir.path().join("000005.ldb")).unwrap();

        let new = NewRepository {
            cost: SlotCost::cheap(),
            ..NewRepository::default()
        };
        let password = Password::new(b"password".to_vec());
        let storage = Arc::new(MemoryStorage::default());
        let repo = Repo::create(storage, &password, new, RepoSettings::default()).unwrap();
        let report = OperationReport::default();
        let mut writer = BlobWriter::start(&repo, &report, WriteMode::DryRun).unwrap();
        let stored = store_files(&repo, &mut writer, Some(&held), listed, &report).unwrap();
        assert_eq!(stored.lost.len(), 1);
        assert_eq!(stored.lost[0].0, "000005.ldb");
        assert_eq!(stored.bytes, ("000003.log".len() + "CURRENT".len()) as u64);
    }

    /// A database that opens to far more than its files is kept as they are, and the reason is given.
    #[test]
    fn keys_that_grow_by_a_byte_each_are_stored_as_files() {
        let dir = tempfile::tempdir().unwrap();
        crate::leveldb::test_databases::growing_keys(60_000).write_to(dir.path());
        let new = NewRepository {
            cost: SlotCost::cheap(),
            ..NewRepository::default()
        };
        let password = Password::new(b"x".to_vec());
        let storage = Arc::new(MemoryStorage::default());
        let repo = Repo::create(storage, &password, new, RepoSettings::default()).unwrap();
        let backup = crate::ops::backup::Backup::new(vec![dir.path().to_path_buf()]);
        let outcome = backup.run(&repo, &OperationReport::default()).unwrap();
        let database = &outcome.databases[0];
        let crate::ops::backup::DatabaseStorageMode::Files { why } = &database.stored else {
            panic!("stored as records")
        };
        assert!(why.contains("out of proportion"), "{why}");
        assert!(database.damage.is_empty(), "{:?}", database.damage);
    }
}
