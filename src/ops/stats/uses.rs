//! Which blobs databases rest on, and which of them no other group of databases does.
//!
//! Memory: for each blob its first user, and one bit for each of three sets; the number of users does not count.

use std::collections::HashSet;

use crate::blob::BlobKind;
use crate::chunk::{BlobSource, ChunkList};
use crate::error::Result;
use crate::id::BlobId;
use crate::leveldb::Comparator;
use crate::report::Report;
use crate::run::{KeyRange, Payload, Walker, read_leaf};
use crate::snapshot::{Content, DatabaseRoot, DirectoryWalk, EntryKind, Run};

use super::Share;
use super::blobs::{Bits, Blobs};

/// A blob that no group uses.
const NOBODY: u32 = u32::MAX;

/// A blob that several groups use.
const SEVERAL: u32 = u32::MAX - 1;

/// What each group of databases rests on, and rests on alone.
pub fn shares(
    source: &dyn BlobSource,
    blobs: &Blobs,
    groups: &[Vec<&DatabaseRoot>],
    report: &Report,
) -> Result<Vec<Share>> {
    let mut uses = Uses {
        source,
        blobs,
        report,
        users: vec![NOBODY; blobs.len()],
        base: None,
    };
    let each = (0..).zip(groups);
    let mut shares = each
        .map(|(number, group)| uses.group(number, group))
        .collect::<Result<Vec<_>>>()?;
    for (blob, user) in uses.users.iter().enumerate() {
        if let Some(share) = shares.get_mut(*user as usize) {
            share.exclusive_bytes += blobs.stored_len(blob);
        }
    }
    Ok(shares)
}

struct Uses<'a> {
    source: &'a dyn BlobSource,
    blobs: &'a Blobs,
    report: &'a Report,
    /// Number of the only group that uses a blob.
    users: Vec<u32>,
    /// The blobs of the base that was walked last: the next snapshot's is often the same.
    base: Option<(BlobId, Bits)>,
}

/// The blobs of one group.
struct Group {
    number: u32,
    all: Bits,
    runs: HashSet<BlobId>,
    share: Share,
}

impl Uses<'_> {
    fn group(&mut self, number: u32, databases: &[&DatabaseRoot]) -> Result<Share> {
        let mut group = Group {
            number,
            all: Bits::new(self.blobs.len()),
            runs: HashSet::new(),
            share: Share::default(),
        };
        for database in databases {
            group.share.restore_bytes += database.bytes();
            self.database(database, &mut group)?;
        }
        Ok(group.share)
    }

    fn database(&mut self, database: &DatabaseRoot, group: &mut Group) -> Result<()> {
        for run in database.runs() {
            self.run(run, group)?;
        }
        let files = match &database.content {
            Content::Physical { tree } => Some(tree),
            Content::Logical { .. } => None,
        };
        for tree in files.into_iter().chain(&database.beside) {
            let mut found = Bits::new(self.blobs.len());
            self.tree(tree, &mut found)?;
            self.count(&found, group);
        }
        Ok(())
    }

    fn run(&mut self, run: &Run, group: &mut Group) -> Result<()> {
        let Some(root) = &run.root else { return Ok(()) };
        let id = root.top.id;
        if !group.runs.insert(id) {
            return Ok(());
        }
        let known = self.base.take_if(|(base, _)| *base == id);
        let found = match known {
            Some((_, found)) => found,
            None => self.walk(run)?,
        };
        self.count(&found, group);
        if run.filter.is_none() || self.base.is_none() {
            self.base = Some((id, found));
        }
        Ok(())
    }

    fn count(&mut self, found: &Bits, group: &mut Group) {
        group.all.extend(found, |blob| {
            group.share.stored_bytes += self.blobs.stored_len(blob);
            let user = &mut self.users[blob];
            *user = if *user == NOBODY { group.number } else { SEVERAL };
        });
    }

    /// Reads inner nodes, and leaves only where long values hang on them.
    fn walk(&self, run: &Run) -> Result<Bits> {
        let comparator = Comparator::from_name(&run.comparator);
        let order = |left: &[u8], right: &[u8]| comparator.compare(left, right);
        let walker = Walker::new(self.source, run.root.as_ref(), &order);
        let mut found = Bits::new(self.blobs.len());
        walker.blobs(&mut |_, id| {
            self.note(id, &mut found);
            self.report.go_on()
        })?;
        let chunked = run.root.as_ref().is_some_and(|root| root.top.chunked > 0);
        let leaves = chunked.then(|| walker.leaves(KeyRange::all()));
        for span in leaves.into_iter().flatten() {
            let span = span?;
            if span.leaf.chunked == 0 {
                continue;
            }
            let plain = self.source.blob(BlobKind::Leaf, &span.leaf.id)?;
            read_leaf(&plain, &span, &order, |entry| match &entry.payload {
                Payload::Chunked(list) => self.list(list, &mut found),
                _ => Ok(()),
            })?;
        }
        Ok(found)
    }

    fn tree(&self, tree: &BlobId, found: &mut Bits) -> Result<()> {
        self.note(tree, found);
        for entry in DirectoryWalk::open(tree, self.source)? {
            match entry?.kind {
                EntryKind::File(list) => self.list(&list, found)?,
                EntryKind::Directory(id) => self.tree(&id, found)?,
                EntryKind::Symlink(_) | EntryKind::Database(_) => {}
            }
        }
        Ok(())
    }

    fn list(&self, list: &ChunkList, found: &mut Bits) -> Result<()> {
        for child in list.children() {
            self.note(&child.id, found);
            if list.depth() > 0 {
                let plain = self.source.blob(BlobKind::List, &child.id)?;
                self.list(&ChunkList::decode_blob(&plain)?, found)?;
            }
        }
        self.report.go_on()
    }

    fn note(&self, id: &BlobId, found: &mut Bits) {
        if let Some(number) = self.blobs.number(id) {
            found.insert(number);
        }
    }
}
