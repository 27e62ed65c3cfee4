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

use super::read_records::DatabaseChoice;
use super::restore::{DatabaseFileMetadata, DatabaseForm, DatabaseOwnership, Restore};
use super::tree::{self, ResolvedAddress, SnapshotView, TreeNode};
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
pub fn one<W: Write>(ground: ArchiveContext, found: &ResolvedAddress, out: W) -> Result<()> {
    let prefix = match found.node.entry.kind {
        EntryKind::Directory(_) | EntryKind::Database(_) => Vec::new(),
        _ => found.node.entry.name.clone(),
    };
    let mut archive = ArchiveWriter::new(ground, out);
    archive.tree(&prefix, found)?;
    archive.finish()
}

/// Writes all that a snapshot holds, each source in the place that a restore gives it.
pub fn all<W: Write>(ground: ArchiveContext, out: W) -> Result<()> {
    let mut archive = ArchiveWriter::new(ground, out);
    let view = archive.view;
    let tops = view.tops();
    for (number, place) in tops.iter().zip(places(view.snapshot(), &tops)) {
        archive.tree(&place, &view.source(*number)?)?;
    }
    archive.finish()
}

struct ArchiveWriter<'a, W: Write> {
    ground: ArchiveContext<'a>,
    view: SnapshotView<'a>,
    out: tar::Builder<W>,
    /// Files with several names, by source and number: the name that stands for all.
    links: HashMap<(usize, u64), Vec<u8>>,
}

impl<'a, W: Write> ArchiveWriter<'a, W> {
    fn new(ground: ArchiveContext<'a>, out: W) -> Self {
        Self {
            ground,
            view: SnapshotView::new(&ground.stored.snapshot, ground.reader),
            out: tar::Builder::new(out),
            links: HashMap::new(),
        }
    }

    fn finish(self) -> Result<()> {
        let mut out = self.out.into_inner().context(|| "write the archive")?;
        out.flush().context(|| "write the archive")
    }

    fn tree(&mut self, prefix: &[u8], found: &ResolvedAddress) -> Result<()> {
        let mut walk = self.view.walk(found.node.clone());
        while let Some(node) = walk.next() {
            self.ground.report.go_on()?;
            let mut path = prefix.to_vec();
            tree::join(&mut path, walk.path());
            match node {
                Ok(node) => {
                    let put = self.put(&path, &node);
                    put.context(|| format!("archive {}", String::from_utf8_lossy(&path)))?;
                }
                Err(error) => self.ground.report.problem(error.to_string()),
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &[u8], node: &TreeNode) -> Result<()> {
        let meta = &node.entry.meta;
        match &node.entry.kind {
            EntryKind::Directory(_) => self.head(path, meta, TarEntryKind::Directory),
            EntryKind::File(list) => self.file(path, node, list),
            EntryKind::Symlink(target) => self.head(path, meta, TarEntryKind::Symlink(target)),
            EntryKind::Fifo => self.head(path, meta, TarEntryKind::Fifo),
            EntryKind::Device(device) => self.head(path, meta, TarEntryKind::Device(*device)),
            EntryKind::Database(number) => {
                self.head(path, meta, TarEntryKind::Directory)?;
                self.database(path, meta, *number)
            }
        }
    }

    fn head(&mut self, path: &[u8], meta: &FileMetadata, what: TarEntryKind) -> Result<()> {
        let head = TarHeader::new(path, meta, what)?;
        for left_out in &head.left_out {
            let path = String::from_utf8_lossy(path);
            self.ground.report.problem(format!("{path}: {left_out}"));
        }
        let records = head.records.iter().map(|(name, value)| (&name[..], &value[..]));
        self.out
            .append_pax_extensions(records)
            .and_then(|()| self.out.get_mut().write_all(head.header.as_bytes()))
            .context(|| "write the archive")
    }

    fn file(&mut self, path: &[u8], node: &TreeNode, list: &ChunkList) -> Result<()> {
        let meta = &node.entry.meta;
        if let Some(number) = meta.hard_link {
            let link = (node.source, number);
            if let Some(first) = self.links.get(&link).cloned() {
                return self.head(path, meta, TarEntryKind::HardLink(&first));
            }
            self.links.insert(link, path.to_vec());
        }
        match ContentRanges::of(list.bytes(), &meta.holes) {
            None => {
                self.head(path, meta, TarEntryKind::File(list.bytes()))?;
                self.content(list, &ContentRanges::whole(list.bytes()))
            }
            Some(segments) => {
                self.head(path, meta, TarEntryKind::Sparse(&segments))?;
                let map = segments.map();
                self.out
                    .get_mut()
                    .write_all(&map)
                    .context(|| "write the archive")?;
                self.content(list, &segments)
            }
        }
    }

    fn content(&mut self, list: &ChunkList, segments: &ContentRanges) -> Result<()> {
        let out = self.out.get_mut();
        let mut at = 0;
        tree::stream(self.ground.reader, list, self.ground.report, &mut |piece| {
            let pieces = segments.of_piece(at, piece);
            at += piece.len() as u64;
            pieces
                .into_iter()
                .try_for_each(|piece| out.write_all(piece).context(|| "write the archive"))
        })?;
        pad(out, segments.bytes())
    }

    /// The files of a database, made as a restore makes them.
    fn database(&mut self, path: &[u8], meta: &FileMetadata, number: u32) -> Result<()> {
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
            contents: DatabaseForm::Records,
            ownership: DatabaseOwnership::Caller,
            ..Restore::new(&target)
        };
        restore.run(self.ground.repo, self.ground.stored, self.ground.report)?;
        let metas = DatabaseFileMetadata::read(self.ground.reader, database, meta)?;
        for name in names(&target).context(|| format!("read {}", target.display()))? {
            let mut inner = path.to_vec();
            tree::join(&mut inner, name.as_bytes());
            self.made_file(&inner, metas.of(name.as_bytes()), database, &target.join(&name))?;
        }
        Ok(())
    }

    /// A file that was just made, with what is known of the database's files and the time of the cut.
    fn made_file(
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
        self.head(path, &meta, TarEntryKind::File(facts.len()))?;
        let out = self.out.get_mut();
        let copied = std::io::copy(&mut std::io::Read::take(file, facts.len()), out);
        if copied.context(|| format!("archive {}", made.display()))? == facts.len() {
            pad(out, facts.len())
        } else {
            Err(Error::corrupt(format!("{} became shorter", made.display())))
        }
    }
}

/// The names in a directory, sorted.
fn names(directory: &Path) -> std::io::Result<Vec<std::ffi::OsString>> {
    let entries = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name()));
    let mut names: Vec<_> = entries.collect::<std::io::Result<_>>()?;
    names.sort();
    Ok(names)
}

/// Content fills whole blocks.
fn pad(out: &mut impl Write, len: u64) -> Result<()> {
    let zeros = [0; sparse_map::BLOCK];
    let missing = (len.next_multiple_of(sparse_map::BLOCK as u64) - len) as usize;
    out.write_all(&zeros[..missing]).context(|| "write the archive")
}
