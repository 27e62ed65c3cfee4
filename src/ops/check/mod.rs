//! Check: prove that what is stored can be restored.
//!
//! Every object is held to its name, every index entry to its pack's own directory, every tree to its counts and
//! its order; with data, every part is opened and every snapshot's set digest computed anew. A finding names the
//! object, what hangs on it and the command that helps. A store that cannot be listed is an error, not a finding.
//!
//! ```text
//! config, slots --> snapshots listed --> index --> packs (sizes, directories, data) --> trees --> digests
//! ```
//! What the owner noted is told beside the findings, as notices: a suspect snapshot is no error of the repository, which
//! holds exactly what was recorded of it; whether it can be relied on is for people to judge, so `check` says it and
//! ends as if it had not.
//!
//! Packs go first: what is wrong with them is known when a tree leads to them, so each finding can say which
//! snapshots and keys it costs.

mod facts;
mod findings;
mod housekeeping;
mod objects;
mod packs;
mod parity;
mod snapshots;
mod trees;

use crate::error::{Act, Result};
use crate::repo::{Repo, StoredSnapshot};
use crate::report::Report;
use crate::storage::ObjectKind;

use facts::Facts;
pub use facts::Notice;
pub use findings::Finding;
use findings::Findings;
use packs::PackFacts;
use trees::Ground;

/// How much pack data is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReadData {
    /// Directories only.
    None,
    /// Every byte.
    All,
    /// The `part`-th of `of` parts, 1 to `of`: which is which never changes.
    Part {
        /// Which part.
        part: u32,
        /// Of how many.
        of: u32,
    },
    /// This share of all packs, 0 to 1, at random.
    Share(f64),
    /// Packs of about so many bytes together, at random.
    Bytes(u64),
}

/// What to check.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Check {
    /// How much pack data to read.
    pub read: ReadData,
}

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct CheckOutcome {
    /// Empty: all that was looked at is right.
    pub findings: Vec<Finding>,
    /// What should be known although nothing is wrong with the repository: suspect snapshots, notes that lead nowhere.
    pub notices: Vec<Notice>,
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Snapshots that are stored and forgotten: nobody needs what they hold, so they were not looked at.
    pub forgotten: u64,
    /// Packs listed.
    pub packs: u64,
    /// Packs whose data was read.
    pub packs_read: u64,
    /// Bytes of pack data read.
    pub bytes_read: u64,
    /// Blobs indexed.
    pub blobs: u64,
    /// Packs that have parity.
    pub packs_with_parity: u64,
}

impl Check {
    /// Looks at everything; the findings are all there are.
    pub fn run(&self, repo: &Repo, report: &Report) -> Result<CheckOutcome> {
        let mut findings = Findings::default();
        let mut outcome = CheckOutcome::default();
        objects::check(repo, &mut findings)?;
        housekeeping::check(repo, &mut findings)?;
        // Snapshots before the index, as every reader: a backup that ends meanwhile then looks like none.
        let listed = repo.storage().list(ObjectKind::Snapshot);
        let listed = listed.act(|| "list the snapshots")?;
        let facts = Facts::load(repo)?;
        facts.check_seen(repo, &listed, &mut findings)?;
        outcome.notices = facts.check(&listed, &mut findings);
        let snapshots = snapshots::check(repo, &listed, &facts, &mut findings)?;
        outcome.forgotten = facts.forgotten_among(&listed);
        for domain in repo.domains()? {
            let repo = &repo.in_domain(domain)?;
            let of_it = snapshots.iter().filter(|stored| stored.snapshot.domain == domain);
            let of_it: Vec<_> = of_it.cloned().collect();
            let index = objects::index(repo, &mut findings)?;
            let packs = packs::check(repo, &index, self.read, &mut findings, &mut outcome, report)?;
            let ground = Ground {
                repo,
                index: &index,
                packs: &packs,
                data: self.read == ReadData::All,
                report,
            };
            trees::check(&ground, &of_it, &mut findings, &mut outcome)?;
        }
        parity::check(repo, self.read, &mut findings, &mut outcome, report)?;
        outcome.findings = findings.finish();
        Ok(outcome)
    }
}

/// What a snapshot lacks: its trees are walked whole, and each blob that they lead to must lie in a pack that may be
/// counted on (indexed, listed, of the right size, unmarked). No data is read. Empty: it can be relied on.
pub fn lacks(repo: &Repo, stored: &StoredSnapshot, report: &Report) -> Result<Vec<Finding>> {
    let mut findings = Findings::default();
    let repo = &repo.in_domain(stored.snapshot.domain)?;
    let index = objects::index(repo, &mut Findings::default())?;
    let sound = repo.sound_packs(&index.facts)?;
    let ground = Ground {
        repo,
        index: &index,
        packs: &PackFacts::of_sound(&index, &sound),
        data: false,
        report,
    };
    let stored = std::slice::from_ref(stored);
    trees::check(&ground, stored, &mut findings, &mut CheckOutcome::default())?;
    Ok(findings.finish())
}
