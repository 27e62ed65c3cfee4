//! Physical mode's way back: the files as they were.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::blob::BlobKind;
use crate::chunk::{ChunkList, Chunks};
use crate::error::{Act, Error, Result};
use crate::id::BlobId;
use crate::repo::BlobReader;
use crate::report::Report;
use crate::run::BlobSource;
use crate::snapshot::{DirectoryWalk, EntryKind};
use crate::target::{FileTarget, FileWriter, Staged};

/// Stages every file of the tree below `target`.
pub fn stage(reader: &BlobReader, tree: &BlobId, target: &Path, report: &Report) -> Result<Staged> {
    let staging = FileTarget::create(target)?;
    for entry in DirectoryWalk::open(tree, reader)? {
        let entry = entry?;
        let name = Path::new(OsStr::from_bytes(&entry.name));
        match &entry.kind {
            EntryKind::File(list) => {
                file(reader, list, staging.file(name)?, report)
                    .act(|| format!("write {}", name.display()))?;
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

fn file(reader: &BlobReader, list: &ChunkList, mut file: FileWriter, report: &Report) -> Result<()> {
    for chunk in Chunks::new(list.clone(), reader) {
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
    file.finish()
}
