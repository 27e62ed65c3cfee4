//! The packs that snapshots rest on: every copy of everything that their trees lead to.

use std::collections::HashSet;

use crate::error::{Kind, Result};
use crate::id::ObjectId;
use crate::ops::closure::{Closure, Root, RootId, Seen, roots};
use crate::ops::recent::Recent;
use crate::repo::{BlobReader, Repo, StoredSnapshot};
use crate::report::Report;

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
        seen: Seen::default(),
        packs: HashSet::new(),
    };
    let sources = snapshots.iter().flat_map(|stored| &stored.snapshot.sources);
    sources.flat_map(roots).try_for_each(|root| walk.root(root))?;
    Ok(walk.packs)
}

struct Walk<'a> {
    closure: Closure<'a>,
    reader: &'a BlobReader<'a>,
    walked: HashSet<RootId>,
    seen: Seen,
    packs: HashSet<ObjectId>,
}

impl Walk<'_> {
    fn root(&mut self, root: Root) -> Result<()> {
        if !self.walked.insert(root.id()) {
            return Ok(());
        }
        let walked = self.closure.root(root, &mut self.seen, &mut |kind, id| {
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
