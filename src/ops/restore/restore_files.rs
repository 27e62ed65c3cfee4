//! Restores and verifies a database stored as files.
//!
//! Physical mode's way back: the files as they were, and their reading back.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::blob::BlobKind;
use crate::chunk::{ChunkIterator, ChunkList};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::BlobId;
use crate::repo::{BlobReader, Repo};
use crate::report::OperationReport;
use crate::run::BlobSource;
use crate::snapshot::{DirectoryWalk, EntryKind};
use crate::source::HeldDirectory;
use crate::target::tree::TargetAttributes;
use crate::target::{FileTarget, FileWriter, OccupiedTarget, StagedResult};

use super::ownership::DatabaseOwnership;
use crate::engine::file_attributes::attributes;

/// Stages every file of the tree below `target`.
pub fn stage_files(
    reader: &BlobReader,
    tree: &BlobId,
    target: &Path,
    occupied: OccupiedTarget,
    ownership: DatabaseOwnership,
    report: &OperationReport,
) -> Result<StagedResult> {
    let staging = FileTarget::begin(target, occupied)?;
    for entry in DirectoryWalk::open(tree, reader)? {
        let entry = entry?;
        let name = Path::new(OsStr::from_bytes(&entry.name));
        match &entry.kind {
            EntryKind::File(list) => {
                let own = match ownership {
                    DatabaseOwnership::Recorded => attributes(&entry.meta),
                    DatabaseOwnership::Caller => TargetAttributes::default(),
                };
                write_file(reader, list, staging.file(name)?, &own, report)
                    .context(|| format!("write {}", name.display()))?;
            }
            _ => {
                return Err(Error::corrupt(format!(
                    "{} among a database's files is no file",
                    name.display()
                )));
            }
        }
    }
    staging.finish()
}

fn write_file(
    reader: &BlobReader,
    list: &ChunkList,
    mut file: FileWriter,
    own: &TargetAttributes,
    report: &OperationReport,
) -> Result<()> {
    for chunk in ChunkIterator::new(list.clone(), reader) {
        let chunk = chunk?;
        let plain = reader.blob(BlobKind::Data, &chunk.id)?;
        if plain.len() as u64 != chunk.bytes {
            return Err(Error::corrupt(format!(
                "chunk {} is not as long as its list says",
                chunk.id.short()
            )));
        }
        file.write(&plain)?;
        report.bytes_done.add(chunk.bytes);
        report.go_on()?;
    }
    file.set_attributes(own)?;
    file.finish()
}

/// Reads the staged files again and names every chunk anew: the names are what was saved.
pub fn verify(
    repo: &Repo,
    reader: &BlobReader,
    tree: &BlobId,
    directory: &HeldDirectory,
    report: &OperationReport,
) -> Result<()> {
    for entry in DirectoryWalk::open(tree, reader)? {
        let entry = entry?;
        if let EntryKind::File(list) = &entry.kind {
            let name = OsStr::from_bytes(&entry.name);
            let opened = directory.open_file(name);
            let (file, _) = opened.context(|| format!("read back {}", name.display()))?;
            verify_file(repo, reader, list, file, report)
                .context(|| format!("read back {}", name.display()))?;
        }
    }
    Ok(())
}

fn verify_file(
    repo: &Repo,
    reader: &BlobReader,
    list: &ChunkList,
    mut file: File,
    report: &OperationReport,
) -> Result<()> {
    let mut plain = Vec::new();
    for chunk in ChunkIterator::new(list.clone(), reader) {
        let chunk = chunk?;
        plain.clear();
        (&mut file)
            .take(chunk.bytes)
            .read_to_end(&mut plain)
            .context(|| "read")?;
        if repo.domain_keys().blob_id(BlobKind::Data, &plain) != chunk.id {
            return Err(Error::new(
                ErrorKind::Mismatch,
                "what was written is not what was saved",
            ));
        }
        report.go_on()?;
    }
    match file.read(&mut [0]).context(|| "read")? {
        0 => Ok(()),
        _ => Err(Error::new(
            ErrorKind::Mismatch,
            "the file is longer than what was saved",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::keys::{Password, SlotCost};
    use crate::ops::backup::Backup;
    use crate::repo::{NewRepository, RepoSettings};
    use crate::snapshot::DatabaseContent;
    use crate::storage::MemoryStorage;

    #[test]
    fn a_staged_file_that_changed_is_not_what_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        let (db, target) = (dir.path().join("db"), dir.path().join("back"));
        let mut handle = rusty_leveldb::DB::open(&db, rusty_leveldb::Options::default()).unwrap();
        handle.put(b"key", b"value").unwrap();
        handle.close().unwrap();

        let password = Password::new(b"password".to_vec());
        let new = NewRepository {
            cost: SlotCost::cheap(),
            ..NewRepository::default()
        };
        let storage = Arc::new(MemoryStorage::default());
        let repo = Repo::create(storage, &password, new, RepoSettings::default()).unwrap();
        let report = OperationReport::default();
        let backup = Backup {
            databases: crate::ops::backup::DatabaseBackupOptions {
                physical: true,
                ..Default::default()
            },
            ..Backup::new(vec![db])
        };
        backup.run(&repo, &report).unwrap();

        let stored = repo.select("latest").unwrap();
        let DatabaseContent::Physical { tree } = stored.snapshot.databases().next().unwrap().content else {
            panic!("not physical")
        };
        let lookup = repo.lookup().unwrap();
        let reader = BlobReader::new(&repo, &lookup);
        let staged = stage_files(
            &reader,
            &tree,
            &target,
            OccupiedTarget::Refuse,
            DatabaseOwnership::default(),
            &report,
        )
        .unwrap();
        let check = || verify(&repo, &reader, &tree, staged.handle(), &report).map_err(|error| error.kind());
        check().unwrap();
        let current = staged.path().join("CURRENT");
        let right = std::fs::read(&current).unwrap();
        for wrong in [
            &right[1..],
            &[&right[..], b"x"].concat(),
            &[&[right[0] ^ 1], &right[1..]].concat(),
        ] {
            std::fs::write(&current, wrong).unwrap();
            assert_eq!(check(), Err(ErrorKind::Mismatch));
        }
    }
}
