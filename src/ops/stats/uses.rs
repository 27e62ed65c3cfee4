//! Which blobs databases rest on, and which of them no other group of databases does.
//!
//! Memory: for each blob its first user, and one bit for each of three sets; the number of users does not count.

use std::collections::HashSet;

use crate::chunk::BlobSource;
use crate::error::Result;
use crate::id::BlobId;
use crate::ops::closure::{Closure, Seen, trees};
use crate::report::Report;
use crate::snapshot::{DatabaseRoot, Run, Source, TreeRoot};

use super::Share;
use crate::ops::blobs::{Bits, Blobs};

/// A blob that no group uses.
const NOBODY: u32 = u32::MAX;

/// A blob that several groups use.
const SEVERAL: u32 = u32::MAX - 1;

/// What uses blobs.
#[derive(Clone, Copy)]
pub enum User<'s> {
    Database(&'s DatabaseRoot),
    Tree(&'s TreeRoot),
}

impl<'s> From<&'s Source> for User<'s> {
    fn from(source: &'s Source) -> Self {
        match source {
            Source::Database(database) => Self::Database(database),
            Source::Tree(tree) => Self::Tree(tree),
        }
    }
}

/// What each group of databases and trees rests on, and rests on alone.
pub fn shares(
    source: &dyn BlobSource,
    blobs: &Blobs,
    groups: &[Vec<User>],
    report: &Report,
) -> Result<Vec<Share>> {
    let mut uses = Uses {
        closure: Closure { source, report },
        blobs,
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
    closure: Closure<'a>,
    blobs: &'a Blobs,
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
    seen: Seen,
    share: Share,
}

impl Uses<'_> {
    fn group(&mut self, number: u32, users: &[User]) -> Result<Share> {
        let mut group = Group {
            number,
            all: Bits::new(self.blobs.len()),
            runs: HashSet::new(),
            seen: Seen::default(),
            share: Share::default(),
        };
        for user in users {
            let bytes = match user {
                User::Database(database) => database.bytes(),
                User::Tree(tree) => tree.bytes,
            };
            group.share.restore_bytes = group.share.restore_bytes.saturating_add(bytes);
            match user {
                User::Database(database) => self.database(database, &mut group)?,
                User::Tree(tree) => self.tree(&tree.root, &mut group)?,
            }
        }
        Ok(group.share)
    }

    fn tree(&mut self, tree: &BlobId, group: &mut Group) -> Result<()> {
        let mut found = Bits::new(self.blobs.len());
        self.closure
            .tree(tree, &mut group.seen, &mut |_, id| self.note(id, &mut found))?;
        self.count(&found, group);
        Ok(())
    }

    fn database(&mut self, database: &DatabaseRoot, group: &mut Group) -> Result<()> {
        for run in database.runs() {
            self.run(run, group)?;
        }
        trees(database).try_for_each(|tree| self.tree(tree, group))
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

    fn walk(&self, run: &Run) -> Result<Bits> {
        let mut found = Bits::new(self.blobs.len());
        self.closure.run(run, &mut |_, id| self.note(id, &mut found))?;
        Ok(found)
    }

    fn note(&self, id: &BlobId, found: &mut Bits) -> Result<()> {
        if let Some(number) = self.blobs.number(id) {
            found.insert(number);
        }
        Ok(())
    }
}
