//! Writes a directory of a snapshot as a tar archive.
//!
//! A directory of a snapshot as a tar archive, in pax form: what a restore brings back, for any tar to unpack.
//!
//! ```text
//! directory, link, pipe, device   header alone
//! file                            header | content                    (its further hard links: a link to the first)
//! sparse file                     header | map | content of what is not a hole         (GNU's pax form 1.0)
//! database                        directory header, then its files as a restore makes them, then what is beside it
//! ```
//!
//! Content that cannot be read ends the archive with an error: there is no way to say in a tar that bytes are missing.

mod sparse_map;
mod tar_header;

use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::chunk::ChunkList;
use crate::error::{Error, Result, ResultExt};
use crate::repo::{BlobReader, Repo, StoredSnapshot};
use crate::report::OperationReport;
use crate::snapshot::restore_paths::places;
use crate::snapshot::{DatabaseRoot, EntryKind, FileMetadata};

use super::restore::{DatabaseForm, DatabaseOwnership, Restore};
use crate::engine::database_file_attributes::DatabaseFileMetadata;
use crate::engine::read_records::DatabaseChoice;
use crate::engine::tree::{self, ResolvedAddress, SnapshotView, TreeNode};
use sparse_map::ContentRanges;
use tar_header::{TarEntryKind, TarHeader};

/// What an archive is made from.
#[derive(Clone, Copy)]
pub struct ArchiveContext<'a> {
    /// In the snapshot's domain.
    pub repo: &'a Repo,
    /// The snapshot.
    pub stored: &'a StoredSnapshot,
    /// Reads its blobs.
    pub reader: &'a BlobReader<'a>,
    /// Counts, and what could not be written although the rest was.
    pub report: &'a OperationReport,
}

/// Writes what is below a directory; one thing that is none, under its own name.
pub fn archive_address<W: Write>(ground: ArchiveContext, found: &ResolvedAddress, out: W) -> Result<()> {
    let prefix = match found.node.entry.kind {
        EntryKind::Directory(_) | EntryKind::Database(_) => Vec::new(),
        _ => found.node.entry.name.clone(),
    };
    let mut archive = ArchiveWriter::new(ground, out);
    archive.write_tree(&prefix, found)?;
    archive.finish()
}

/// Writes all that a snapshot holds, each source in the place that a restore gives it.
pub fn archive_snapshot<W: Write>(ground: ArchiveContext, out: W) -> Result<()> {
    let mut archive = ArchiveWriter::new(ground, out);
    let view = archive.view;
    let tops = view.top_sources();
    for (number, place) in tops.iter().zip(places(view.snapshot(), &tops)) {
        archive.write_tree(&place, &view.resolve_source(*number)?)?;
    }
    archive.finish()
}

struct ArchiveWriter<'a, W: Write> {
    context: ArchiveContext<'a>,
    view: SnapshotView<'a>,
    out: tar::Builder<W>,
    /// Files with several names, by source and number: the name that stands for all.
    links: HashMap<(usize, u64), Vec<u8>>,
}

impl<'a, W: Write> ArchiveWriter<'a, W> {
    fn new(context: ArchiveContext<'a>, out: W) -> Self {
        Self {
            context,
            view: SnapshotView::new(&context.stored.snapshot, context.reader),
            out: tar::Builder::new(out),
            links: HashMap::new(),
        }
    }

    fn finish(self) -> Result<()> {
        let mut out = self.out.into_inner().context(|| "write the archive")?;
        out.flush().context(|| "write the archive")
    }

    fn write_tree(&mut self, prefix: &[u8], found: &ResolvedAddress) -> Result<()> {
        let mut walk = self.view.walk(found.node.clone());
        while let Some(node) = walk.next() {
            self.context.report.go_on()?;
            let mut path = prefix.to_vec();
            tree::join_path(&mut path, walk.path());
            match node {
                Ok(node) => {
                    let put = self.write_entry(&path, &node);
                    put.context(|| format!("archive {}", String::from_utf8_lossy(&path)))?;
                }
                Err(error) => self.context.report.problem(error.to_string()),
            }
        }
        Ok(())
    }

    fn write_entry(&mut self, path: &[u8], node: &TreeNode) -> Result<()> {
        let meta = &node.entry.meta;
        match &node.entry.kind {
            EntryKind::Directory(_) => self.write_header(path, meta, TarEntryKind::Directory),
            EntryKind::File(list) => self.write_file(path, node, list),
            EntryKind::Symlink(target) => self.write_header(path, meta, TarEntryKind::Symlink(target)),
            EntryKind::Fifo => self.write_header(path, meta, TarEntryKind::Fifo),
            EntryKind::Device(device) => self.write_header(path, meta, TarEntryKind::Device(*device)),
            EntryKind::Database(number) => {
                self.write_header(path, meta, TarEntryKind::Directory)?;
                self.write_database(path, meta, *number)
            }
        }
    }

    fn write_header(&mut self, path: &[u8], meta: &FileMetadata, what: TarEntryKind) -> Result<()> {
        let head = TarHeader::new(path, meta, what)?;
        for left_out in &head.unrepresentable {
            let path = String::from_utf8_lossy(path);
            self.context.report.problem(format!("{path}: {left_out}"));
        }
        let records = head
            .pax_records
            .iter()
            .map(|(name, value)| (&name[..], &value[..]));
        self.out
            .append_pax_extensions(records)
            .and_then(|()| self.out.get_mut().write_all(head.header.as_bytes()))
            .context(|| "write the archive")
    }

    fn write_file(&mut self, path: &[u8], node: &TreeNode, list: &ChunkList) -> Result<()> {
        let meta = &node.entry.meta;
        if let Some(number) = meta.hard_link {
            let link = (node.source, number);
            if let Some(first) = self.links.get(&link).cloned() {
                return self.write_header(path, meta, TarEntryKind::HardLink(&first));
            }
            self.links.insert(link, path.to_vec());
        }
        match ContentRanges::between_holes(list.bytes(), &meta.holes) {
            None => {
                self.write_header(path, meta, TarEntryKind::File(list.bytes()))?;
                self.write_content(list, &ContentRanges::whole(list.bytes()))
            }
            Some(segments) => {
                self.write_header(path, meta, TarEntryKind::Sparse(&segments))?;
                let map = segments.encode_map();
                self.out
                    .get_mut()
                    .write_all(&map)
                    .context(|| "write the archive")?;
                self.write_content(list, &segments)
            }
        }
    }

    fn write_content(&mut self, list: &ChunkList, segments: &ContentRanges) -> Result<()> {
        let out = self.out.get_mut();
        let mut at = 0;
        tree::read_file(self.context.reader, list, self.context.report, &mut |piece| {
            let pieces = segments.content_of(at, piece);
            at += piece.len() as u64;
            pieces
                .into_iter()
                .try_for_each(|piece| out.write_all(piece).context(|| "write the archive"))
        })?;
        write_padding(out, segments.bytes())
    }

    /// The files of a database, made as a restore makes them.
    fn write_database(&mut self, path: &[u8], meta: &FileMetadata, number: u32) -> Result<()> {
        let database = self.view.database(number)?;
        let mut builder = tempfile::Builder::new();
        // Whatever the umask says: what is restored is nobody else's to read.
        builder
            .prefix("levault-")
            .permissions(Permissions::from_mode(0o700));
        let dir = builder.tempdir().context(|| "make a directory for a database")?;
        let target = dir.path().join("database");
        let restore = Restore {
            database: Some(DatabaseChoice::Number(number)),
            database_form: DatabaseForm::Records,
            ownership: DatabaseOwnership::Caller,
            ..Restore::new(&target)
        };
        restore.run(self.context.repo, self.context.stored, self.context.report)?;
        let metas = DatabaseFileMetadata::read(self.context.reader, database, meta)?;
        for name in list_names(&target).context(|| format!("read {}", target.display()))? {
            let mut inner = path.to_vec();
            tree::join_path(&mut inner, name.as_bytes());
            self.write_restored_file(&inner, metas.file(name.as_bytes()), database, &target.join(&name))?;
        }
        Ok(())
    }

    /// A file that was just made, with what is known of the database's files and the time of the cut.
    fn write_restored_file(
        &mut self,
        path: &[u8],
        known: &FileMetadata,
        database: &DatabaseRoot,
        made: &Path,
    ) -> Result<()> {
        let file = File::open(made).context(|| format!("read {}", made.display()))?;
        let facts = file.metadata().context(|| format!("read {}", made.display()))?;
        let meta = FileMetadata {
            mode: Some(known.mode.unwrap_or(0o600)),
            mtime_nanos: Some(database.capture.time.0.into()),
            ..known.clone()
        };
        self.write_header(path, &meta, TarEntryKind::File(facts.len()))?;
        let out = self.out.get_mut();
        let copied = std::io::copy(&mut std::io::Read::take(file, facts.len()), out);
        if copied.context(|| format!("archive {}", made.display()))? == facts.len() {
            write_padding(out, facts.len())
        } else {
            Err(Error::corrupt(format!("{} became shorter", made.display())))
        }
    }
}

/// The names in a directory, sorted.
fn list_names(directory: &Path) -> std::io::Result<Vec<std::ffi::OsString>> {
    let entries = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name()));
    let mut names: Vec<_> = entries.collect::<std::io::Result<_>>()?;
    names.sort();
    Ok(names)
}

/// Content fills whole blocks.
fn write_padding(out: &mut impl Write, len: u64) -> Result<()> {
    let zeros = [0; sparse_map::TAR_BLOCK_BYTES];
    let missing = (len.next_multiple_of(sparse_map::TAR_BLOCK_BYTES as u64) - len) as usize;
    out.write_all(&zeros[..missing]).context(|| "write the archive")
}
