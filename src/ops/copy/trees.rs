//! A tree of files. Files that are as they were in the tree before are taken over unread.

use std::collections::BTreeSet;

use crate::chunk::BlobSource;
use crate::error::{Act, Result};
use crate::id::{BlobId, ObjectId};
use crate::repo::BlobReader;
use crate::run::LeafCutter;
use crate::snapshot::{DirectoryBuilder, DirectoryWalk, EntryKind, TreeEntry};

use super::carry::{Before, Carrier};

impl Carrier<'_> {
    /// Copies a tree; its id in the destination. `before` is one that may have files in common with it, and its copy.
    pub fn tree(
        &mut self,
        tree: &BlobId,
        before: Option<Before>,
        parents: &mut BTreeSet<ObjectId>,
    ) -> Result<BlobId> {
        let Some(before) = before else {
            return self.directory(tree, None);
        };
        parents.extend(&before.ground.parents);
        if before.from == *tree {
            return Ok(before.to);
        }
        if before.ground.is_new {
            self.sink.flush()?;
        }
        let lookup = self.to.lookup();
        let lookup = self.sink.own(lookup)?;
        let there = BlobReader::new(self.to, &lookup);
        self.directory(tree, Some((before.from, before.to, &there)))
    }

    fn directory(
        &mut self,
        tree: &BlobId,
        before: Option<(BlobId, BlobId, &dyn BlobSource)>,
    ) -> Result<BlobId> {
        let mut twins = match before {
            Some((from, to, there)) => Twins::open(self.recent, &from, there, &to),
            None => Twins::none(),
        };
        let there = before.map(|(_, _, there)| there);
        let secret = self.to.domain_keys().chunker_secret().expose();
        let mut directory = DirectoryBuilder::new(LeafCutter::new(secret));
        let walk = DirectoryWalk::open(tree, self.recent);
        for entry in walk.act(|| format!("tree {}", tree.short()))? {
            self.report.go_on()?;
            let mut entry = entry?;
            let twin = twins.find(&entry.name);
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            entry.kind = self.entry(&entry.kind, twin, there).act(|| name)?;
            let sink = &mut self.sink;
            directory.push(entry, &mut |kind, plain| sink.add_one(kind, plain))?;
        }
        let sink = &mut self.sink;
        directory.finish(&mut |kind, plain| sink.add_one(kind, plain))
    }

    fn entry(
        &mut self,
        kind: &EntryKind,
        twin: Option<(EntryKind, EntryKind)>,
        there: Option<&dyn BlobSource>,
    ) -> Result<EntryKind> {
        if let Some((_, copied)) = twin.as_ref().filter(|(from, _)| from == kind) {
            return Ok(copied.clone());
        }
        match kind {
            EntryKind::File(list) => self.list(list, None).map(EntryKind::File),
            EntryKind::Directory(id) => {
                let before = match (twin, there) {
                    (Some((EntryKind::Directory(from), EntryKind::Directory(to))), Some(there)) => {
                        Some((from, to, there))
                    }
                    _ => None,
                };
                self.directory(id, before).map(EntryKind::Directory)
            }
            _ => Ok(kind.clone()),
        }
    }
}

/// A directory of the source and its copy, walked in step. Where they differ in a name, nothing more is known.
struct Twins<'a> {
    walks: Option<(DirectoryWalk<'a>, DirectoryWalk<'a>)>,
    at: Option<(TreeEntry, TreeEntry)>,
}

impl<'a> Twins<'a> {
    fn none() -> Self {
        Self {
            walks: None,
            at: None,
        }
    }

    fn open(here: &'a dyn BlobSource, from: &BlobId, there: &'a dyn BlobSource, to: &BlobId) -> Self {
        let walks = DirectoryWalk::open(from, here)
            .ok()
            .zip(DirectoryWalk::open(to, there).ok());
        let mut twins = Self { walks, at: None };
        twins.advance();
        twins
    }

    fn find(&mut self, name: &[u8]) -> Option<(EntryKind, EntryKind)> {
        while let Some((from, to)) = &self.at {
            match from.name[..].cmp(name) {
                std::cmp::Ordering::Less => self.advance(),
                std::cmp::Ordering::Equal => return Some((from.kind.clone(), to.kind.clone())),
                std::cmp::Ordering::Greater => return None,
            }
        }
        None
    }

    fn advance(&mut self) {
        self.at = self.walks.as_mut().and_then(|(from, to)| {
            let (from, to) = (from.next()?.ok()?, to.next()?.ok()?);
            (from.name == to.name).then_some((from, to))
        });
    }
}
