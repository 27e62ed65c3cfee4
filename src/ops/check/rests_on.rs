//! The packs that snapshots rest on: every copy of everything that their trees lead to.

use std::collections::HashSet;

use crate::error::{Kind, Result};
use crate::id::{BlobId, ObjectId};
use crate::ops::closure::{Closure, EachBlob, trees};
use crate::ops::recent::Recent;
use crate::repo::{BlobReader, Repo, StoredSnapshot};
use crate::report::Report;
use crate::snapshot::{Run, Source};

use super::objects::Index;

/// The packs, as far as the trees can be walked. Where one breaks is for [`super::trees`] to tell.
pub fn rests_on(
    repo: &Repo,
    index: &Index,
    snapshots: &[StoredSnapshot],
    report: &Report,
) -> Result<HashSet<ObjectId>> {
    let reader = BlobReader::new(repo, &index.lookup);
    let source = Recent::new(&reader);
    let closure = Closure {
        source: &source,
        report,
    };
    let mut walk = Walk {
        closure,
        reader: &reader,
        walked: HashSet::new(),
        packs: HashSet::new(),
    };
    let mut sources = snapshots.iter().flat_map(|stored| &stored.snapshot.sources);
    sources.try_for_each(|source| walk.source(source))?;
    Ok(walk.packs)
}

struct Walk<'a> {
    closure: Closure<'a>,
    reader: &'a BlobReader<'a>,
    /// Runs and trees: snapshots share most.
    walked: HashSet<(BlobId, String)>,
    packs: HashSet<ObjectId>,
}

impl Walk<'_> {
    fn source(&mut self, source: &Source) -> Result<()> {
        match source {
            Source::Database(database) => {
                database.runs().try_for_each(|run| self.run(run))?;
                trees(database).try_for_each(|tree| self.tree(tree))
            }
            Source::Tree(tree) => self.tree(&tree.root),
        }
    }

    fn run(&mut self, run: &Run) -> Result<()> {
        let Some(root) = &run.root else { return Ok(()) };
        match self.walked.insert((root.top.id, run.comparator.clone())) {
            true => self.walk(|closure, each| closure.run(run, each)),
            false => Ok(()),
        }
    }

    fn tree(&mut self, tree: &BlobId) -> Result<()> {
        match self.walked.insert((*tree, String::new())) {
            true => self.walk(|closure, each| closure.tree(tree, each)),
            false => Ok(()),
        }
    }

    fn walk(&mut self, walk: impl FnOnce(Closure, EachBlob) -> Result<()>) -> Result<()> {
        let walked = walk(self.closure, &mut |kind, id| {
            let locations = self.reader.locations(kind, id)?;
            self.packs
                .extend(locations.into_iter().map(|location| location.pack));
            Ok(())
        });
        match walked {
            Err(error) if error.kind() == Kind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}
