//! Adds parity objects to packs that lack them.
//!
//! Parity beside the packs (docs/decisions/0009-parity.md): which packs have it, and making it for those that have not.
//!
//! Parity objects are named by their content like all others, not by their pack: whose parity one is stands in its
//! head, and reading all heads is one small read an object. Only who needs to know does that: `check`, `repair`, and a
//! prune that deleted packs. A backup never does.

use std::collections::HashSet;

use crate::engine::parity_listing::{ListedParity, StoredParity, is_damage};
use crate::envelope::object_id;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::limits::PACK_STORED_BYTES_MAX;
use crate::parity::{self, ParityShare};
use crate::repo::{DeletePermit, Repo};
use crate::report::OperationReport;
use crate::storage::{ObjectKind, ObjectName};

/// Parity to be made for packs that have none, or too little.
#[derive(Clone, Copy, Debug)]
pub struct AddParity {
    /// For which share of each pack; the repository's own if there is one, else [`ParityShare::DEFAULT`].
    pub share: Option<ParityShare>,
    /// Counts only.
    pub dry_run: bool,
}

/// What was made, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddParityOutcome {
    /// For which share of each pack.
    pub share: ParityShare,
    /// Packs that may be counted on.
    pub packs: u64,
    /// Those that had too little parity or none.
    pub packs_without: u64,
    /// Bytes of the parity objects made for them.
    pub bytes: u64,
    /// Parity objects that went: those for a smaller share, and those of which neither head can be read.
    pub replaced: u64,
    /// Packs that are damaged: there is no parity of a pack that is not whole.
    pub damaged: Vec<ObjectId>,
}

impl AddParity {
    /// Makes it, and notes the share: what is stored from then on gets parity as it is stored.
    ///
    /// Packs that are marked, or that no segment names, are let be: the first are to go, the others are their writer's.
    pub fn run(&self, repo: &Repo, report: &OperationReport) -> Result<AddParityOutcome> {
        repo.check_writable()?;
        let kept = repo.parity_share()?;
        let share = self.share.or(kept).unwrap_or(ParityShare::DEFAULT);
        let parities = ListedParity::load(repo.storage_reader(), report)?;
        let mut packs = Vec::new();
        for domain in repo.domains()? {
            let repo = repo.in_domain(domain)?;
            packs.extend(repo.usable_packs(&repo.index_summary()?)?);
        }
        packs.sort_unstable();
        let mut added = AddParityOutcome {
            share,
            packs: packs.len() as u64,
            packs_without: 0,
            bytes: 0,
            replaced: 0,
            damaged: Vec::new(),
        };
        if kept != Some(share) && !self.dry_run {
            repo.put_parity_share(Some(share))?;
        }
        packs.retain(|(id, len)| !covers_share(parities.of_pack(id), share, *len));
        report.bytes_total.add(packs.iter().map(|(_, len)| len).sum());
        let mut made = HashSet::new();
        for (id, len) in packs {
            report.go_on()?;
            made.extend(self.add(repo, (&id, len), parities.of_pack(&id), &mut added)?);
            report.bytes_done.add(len);
        }
        if !self.dry_run {
            added.replaced += remove_headerless(repo, &parities, &made)?;
        }
        Ok(added)
    }

    fn add(
        &self,
        repo: &Repo,
        (id, len): (&ObjectId, u64),
        smaller: &[StoredParity],
        added: &mut AddParityOutcome,
    ) -> Result<Option<ObjectId>> {
        added.packs_without += 1;
        if self.dry_run {
            added.bytes += parity::ShardGeometry::plan(len, added.share)?.object_len() as u64;
            return Ok(None);
        }
        let name = ObjectName::new(ObjectKind::Pack, *id);
        let pack = match repo.storage_reader().get(name, PACK_STORED_BYTES_MAX) {
            // Swept meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            pack => pack.context(|| name.path())?,
        };
        if object_id(&pack) != *id {
            added.damaged.push(*id);
            return Ok(None);
        }
        let object = parity::encode(&pack, added.share)?;
        let new = repo.put_parity(&object)?;
        added.bytes += object.len() as u64;
        // The new one is durable, and heals all that they do.
        let permit = DeletePermit::Superseded(new);
        for old in smaller.iter().filter(|old| old.id != new.name().id) {
            repo.delete(&permit, old.name())?;
            added.replaced += 1;
        }
        Ok(Some(new.name().id))
    }
}

/// Parity that nobody can tell the pack of heals nothing, and every sound pack has another now. What a later program may
/// understand stays, and what could not be read just now.
fn remove_headerless(repo: &Repo, parities: &ListedParity, made: &HashSet<ObjectId>) -> Result<u64> {
    let unreadable = parities.unreadable.iter();
    let headless = unreadable.filter(|unread| is_damage(&unread.error()));
    let mut removed = 0;
    for unread in headless.filter(|unread| !made.contains(&unread.id)) {
        let name = ObjectName::new(ObjectKind::Parity, unread.id);
        repo.delete(&DeletePermit::Damaged, name)?;
        removed += 1;
    }
    Ok(removed)
}

/// True if some parity heals a burst of the share. One that is not of its length is none.
fn covers_share(parities: &[StoredParity], share: ParityShare, len: u64) -> bool {
    parities.iter().any(|parity| {
        let geometry = &parity.header.geometry;
        geometry.len() as u64 == len
            && geometry.object_len() as u64 == parity.len
            && geometry.burst() as u64 >= share.of(len)
    })
}
