//! Finds the files that are unchanged since the parent snapshot.
//!
//! The trees of the newest snapshot of the same paths: which files need not be read.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::chunk::ChunkList;
use crate::engine::reachability::ReachabilityWalk;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BlobId, DomainId, ObjectId};
use crate::repo::{BlobReader, DedupIndex, SnapshotCatalog};
use crate::report::OperationReport;
use crate::snapshot::{DatabaseRoot, DirectoryWalk, EntryKind, FileMetadata, SnapshotSource, TreeEntry};
use crate::source::walk::FileFingerprint;

/// What of a file must be as it was for it not to be read, besides length and time of modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeDetection {
    /// The time of its last change.
    pub ctime: bool,
    /// Its number within its filesystem.
    pub inode: bool,
}

/// Where roots are looked for in older snapshots.
#[derive(Clone, Copy)]
pub struct ParentRoots<'a> {
    /// What there is.
    pub catalog: &'a SnapshotCatalog,
    pub host: &'a str,
    pub domain: DomainId,
}

impl ParentRoots<'_> {
    /// The tree of this path in the newest snapshot that has one.
    pub fn tree(&self, path: &Path) -> Option<BlobId> {
        self.newest(path, |source| match source {
            SnapshotSource::Tree(tree) => Some(tree.root),
            SnapshotSource::Database(_) => None,
        })
    }

    /// The tree of what lay beside the database of this path.
    pub fn beside(&self, path: &Path) -> Option<BlobId> {
        let beside = |database: &DatabaseRoot| database.beside;
        self.newest(path, |source| match source {
            SnapshotSource::Tree(_) => None,
            SnapshotSource::Database(database) => beside(database),
        })
    }

    fn newest(&self, path: &Path, of: impl Fn(&SnapshotSource) -> Option<BlobId>) -> Option<BlobId> {
        let newest = self.catalog.snapshots.iter().rev().map(|stored| &stored.snapshot);
        let ours = newest.filter(|snapshot| snapshot.host == self.host && snapshot.domain == self.domain);
        let mut of_path = ours
            .flat_map(|snapshot| &snapshot.sources)
            .filter(|source| source.path() == path.as_os_str().as_bytes());
        of_path.find_map(of)
    }
}

/// Files of older snapshots, and whether all that they consist of is still there.
pub struct ParentFiles<'a> {
    pub dedup_index: &'a DedupIndex<'a>,
    /// Over `known`.
    pub reader: &'a BlobReader<'a>,
    pub change_detection: ChangeDetection,
    pub report: &'a OperationReport,
}

impl<'a> ParentFiles<'a> {
    /// The entries of a directory of then, in order of their names. What cannot be read is told, and as good as absent.
    pub fn open_directory(&self, id: &BlobId) -> ParentEntries<'a> {
        let walk = DirectoryWalk::open(id, self.reader);
        let walk = walk
            .map_err(|error| report_unreadable_parent(&error, self.report))
            .ok();
        ParentEntries {
            walk,
            next: None,
            report: self.report,
        }
    }

    /// The chunks of a file of then that is the same now, and the packs that have them; `None` if it must be read.
    pub fn find_unchanged(
        &self,
        now: &FileFingerprint,
        before: &TreeEntry,
    ) -> Result<Option<(ChunkList, Vec<ObjectId>)>> {
        let EntryKind::File(list) = &before.kind else {
            return Ok(None);
        };
        if !self.change_detection.is_unchanged(now, list, &before.meta) {
            return Ok(None);
        }
        let mut packs = Vec::new();
        let mut each = |_, id: &BlobId| match self.dedup_index.pack_of(id)? {
            Some(pack) => {
                packs.push(pack);
                Ok(())
            }
            None => Err(Error::new(ErrorKind::NotFound, "it is stored no more")),
        };
        let closure = ReachabilityWalk {
            source: self.reader,
            report: self.report,
        };
        match closure.walk_chunk_list(list, &mut each) {
            Ok(()) => Ok(Some((list.clone(), packs))),
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(_) => Ok(None),
        }
    }
}

impl ChangeDetection {
    /// A file without a time of change may have been written to since, and is never the same.
    fn is_unchanged(self, now: &FileFingerprint, list: &ChunkList, then: &FileMetadata) -> bool {
        let ctime = then.ctime_nanos;
        let changed = !self.ctime || ctime == Some(now.ctime_nanos);
        let inode = !self.inode || then.inode == Some(now.inode);
        let content = list.bytes() == now.len && then.mtime_nanos == Some(now.mtime_nanos);
        ctime.is_some() && changed && inode && content
    }
}

/// Entries of one directory, asked for in order of names.
pub struct ParentEntries<'a> {
    walk: Option<DirectoryWalk<'a>>,
    next: Option<TreeEntry>,
    report: &'a OperationReport,
}

impl ParentEntries<'_> {
    /// The entry of this name. Of an earlier name nothing can be asked any more.
    pub fn find_entry(&mut self, name: &[u8]) -> Option<TreeEntry> {
        loop {
            match self.next.take() {
                Some(entry) if &entry.name[..] == name => return Some(entry),
                Some(entry) if &entry.name[..] > name => {
                    self.next = Some(entry);
                    return None;
                }
                _ => {}
            }
            match self.walk.as_mut()?.next()? {
                Ok(entry) => self.next = Some(entry),
                Err(error) => {
                    report_unreadable_parent(&error, self.report);
                    self.walk = None;
                }
            }
        }
    }
}

fn report_unreadable_parent(error: &Error, report: &OperationReport) {
    report.notice(format!(
        "the snapshot before cannot be read here, so these files are read: {error}"
    ));
}
