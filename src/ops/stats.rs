//! Stats: what uses the space, in all and by snapshot.

use std::collections::HashMap;

use crate::blob::BlobKind;
use crate::chunk::{BlobSource, ChunkList, Chunks};
use crate::error::Result;
use crate::id::{BlobId, ObjectId};
use crate::leveldb::Comparator;
use crate::repo::{BlobReader, Repo, StoredSnapshot};
use crate::report::Report;
use crate::run::{KeyRange, Payload, Walker, read_leaf};
use crate::snapshot::{Content, DatabaseRoot, DirectoryWalk, EntryKind, Run};
use crate::storage::ObjectKind;

/// The whole repository, and each snapshot asked for.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Packs stored.
    pub packs: u64,
    /// Blobs indexed, each once.
    pub blobs: u64,
    /// Bytes of all packs.
    pub stored_bytes: u64,
    /// Bytes of all blobs before compression.
    pub plain_bytes: u64,
    /// Oldest first.
    pub snapshots: Vec<SnapshotStats>,
}

/// What one snapshot restores to and rests on.
#[derive(Clone, Debug)]
pub struct SnapshotStats {
    /// The snapshot.
    pub id: ObjectId,
    /// Key and value bytes it restores.
    pub restore_bytes: u64,
    /// Stored bytes of the blobs it rests on.
    pub stored_bytes: u64,
    /// Those of them that no other snapshot rests on.
    pub exclusive_bytes: u64,
}

impl Stats {
    /// Plain bytes for each stored one.
    pub fn compression_ratio(&self) -> f64 {
        match self.stored_bytes {
            0 => 1.0,
            stored => self.plain_bytes as f64 / stored as f64,
        }
    }

    /// Key and value bytes of all snapshots together, as if nothing was shared.
    pub fn restore_bytes(&self) -> u64 {
        self.snapshots.iter().map(|snapshot| snapshot.restore_bytes).sum()
    }
}

/// Counts; reads inner nodes, and leaves only where long values hang on them.
pub fn stats(repo: &Repo, only: Option<&StoredSnapshot>, report: &Report) -> Result<Stats> {
    let lookup = repo.lookup()?;
    let listed = repo.storage().list(ObjectKind::Pack)?;
    let mut stats = Stats {
        packs: listed.len() as u64,
        stored_bytes: listed.iter().map(|pack| pack.len).sum(),
        ..Stats::default()
    };
    let mut last = None;
    for entry in lookup.iter_all()? {
        let entry = entry?;
        if last != Some(entry.id) {
            stats.blobs += 1;
            stats.plain_bytes += u64::from(entry.location.plain_len);
        }
        last = Some(entry.id);
    }
    let snapshots = repo.snapshots()?;
    let reader = BlobReader::new(repo, &lookup);
    let mut uses = Uses {
        reader: &reader,
        report,
        by_blob: HashMap::new(),
        stored: vec![0; snapshots.len()],
    };
    for (number, stored) in snapshots.iter().enumerate() {
        for database in stored.snapshot.databases() {
            uses.database(database, number as u32)?;
        }
    }
    let rows = uses.rows(&snapshots)?;
    stats.snapshots = rows
        .into_iter()
        .filter(|row| only.is_none_or(|only| only.id == row.id))
        .collect();
    Ok(stats)
}

/// Snapshots that use a blob: how many, and the last one seen.
#[derive(Clone, Copy)]
struct Users {
    kind: BlobKind,
    count: u32,
    last: u32,
}

struct Uses<'a> {
    reader: &'a BlobReader<'a>,
    report: &'a Report,
    by_blob: HashMap<BlobId, Users>,
    /// Stored bytes of each snapshot's blobs.
    stored: Vec<u64>,
}

impl Uses<'_> {
    fn database(&mut self, database: &DatabaseRoot, number: u32) -> Result<()> {
        let comparator = Comparator::from_name(&database.shape.comparator);
        for run in database.runs() {
            self.run(run, &comparator, number)?;
        }
        if let Content::Physical { tree } = &database.content {
            self.tree(tree, number)?;
        }
        database
            .beside
            .iter()
            .try_for_each(|tree| self.tree(tree, number))
    }

    fn run(&mut self, run: &Run, comparator: &Comparator, number: u32) -> Result<()> {
        let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
        let reader = self.reader;
        let walker = Walker::new(reader, run.root.as_ref(), &order);
        walker.blobs(&mut |kind, id| {
            self.report.go_on()?;
            self.note(kind, *id, number)
        })?;
        for span in walker.leaves(KeyRange::all()) {
            let span = span?;
            if span.leaf.chunked == 0 {
                continue;
            }
            let plain = reader.blob(BlobKind::Leaf, &span.leaf.id)?;
            read_leaf(&plain, &span, &order, |entry| match &entry.payload {
                Payload::Chunked(list) => self.chunks(list, number),
                _ => Ok(()),
            })?;
        }
        Ok(())
    }

    fn tree(&mut self, tree: &BlobId, number: u32) -> Result<()> {
        self.note(BlobKind::Tree, *tree, number)?;
        for entry in DirectoryWalk::open(tree, self.reader)? {
            match entry?.kind {
                EntryKind::File(list) => self.chunks(&list, number)?,
                EntryKind::Directory(id) => self.tree(&id, number)?,
                EntryKind::Symlink(_) | EntryKind::Database(_) => {}
            }
        }
        Ok(())
    }

    fn chunks(&mut self, list: &ChunkList, number: u32) -> Result<()> {
        for chunk in Chunks::new(list.clone(), self.reader) {
            self.note(BlobKind::Data, chunk?.id, number)?;
        }
        Ok(())
    }

    fn note(&mut self, kind: BlobKind, id: BlobId, number: u32) -> Result<()> {
        let users = self.by_blob.entry(id).or_insert(Users {
            kind,
            count: 0,
            last: 0,
        });
        if users.count > 0 && users.last == number {
            return Ok(());
        }
        users.count += 1;
        users.last = number;
        self.stored[number as usize] += stored_len(self.reader, kind, &id)?;
        Ok(())
    }

    fn rows(self, snapshots: &[StoredSnapshot]) -> Result<Vec<SnapshotStats>> {
        let row = |(stored, bytes): (&StoredSnapshot, &u64)| SnapshotStats {
            id: stored.id,
            restore_bytes: stored.snapshot.databases().map(DatabaseRoot::bytes).sum(),
            stored_bytes: *bytes,
            exclusive_bytes: 0,
        };
        let mut rows: Vec<_> = snapshots.iter().zip(&self.stored).map(row).collect();
        for (id, users) in self.by_blob.iter().filter(|(_, users)| users.count == 1) {
            rows[users.last as usize].exclusive_bytes += stored_len(self.reader, users.kind, id)?;
        }
        Ok(rows)
    }
}

fn stored_len(reader: &BlobReader, kind: BlobKind, id: &BlobId) -> Result<u64> {
    let first = reader.locations(kind, id)?.into_iter().next();
    Ok(first.map_or(0, |location| u64::from(location.len)))
}
