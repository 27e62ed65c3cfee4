//! Checks a repository: index, packs and snapshots, and data if asked.
//!
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

mod audit_recorder;
mod check_annotations;
mod findings;
mod housekeeping;
mod keyless;
mod objects;
mod packs;
mod parity;
mod read_data;
mod read_plan;
mod snapshot_packs;
mod snapshots;
mod trees;
mod verification_dates;

use std::collections::HashSet;

use crate::error::{Result, ResultExt};
use crate::id::ObjectId;
use crate::repo::{Repo, StoredSnapshot};
use crate::report::OperationReport;
use crate::storage::ObjectKind;

use check_annotations::AnnotationCheck;
pub use check_annotations::CheckNotice;
pub use findings::CheckFinding;
use findings::CheckFindings;
pub use keyless::KeylessCheck;
use objects::ReadableIndex;
use packs::{IS_MISSING, PackFaults, PackSelection};
pub use read_data::ReadData;
use trees::TreeCheckContext;
pub use verification_dates::{VerificationDates, VerifiedWithin};

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
    pub findings: Vec<CheckFinding>,
    /// What should be known although nothing is wrong with the repository: suspect snapshots, notes that lead nowhere.
    pub notices: Vec<CheckNotice>,
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
    /// Packs that were to be read, and whose turn did not come within the budget.
    pub packs_left: u64,
    /// When which share of the packs was last read and found right.
    pub verified: VerificationDates,
    /// Blobs indexed.
    pub blobs: u64,
    /// Packs that have parity.
    pub packs_with_parity: u64,
}

impl Check {
    /// Looks at everything; the findings are all there are.
    pub fn run(&self, repo: &Repo, report: &OperationReport) -> Result<CheckOutcome> {
        let mut findings = CheckFindings::default();
        let mut outcome = CheckOutcome::default();
        objects::check(repo, &mut findings)?;
        housekeeping::check(repo, &mut findings)?;
        // Snapshots before the index, as every reader: a backup that ends meanwhile then looks like none.
        let listed = repo.storage_reader().list(ObjectKind::Snapshot);
        let listed = listed.context(|| "list the snapshots")?;
        let facts = AnnotationCheck::load(repo)?;
        facts.check_high_water(repo, &listed, &mut findings)?;
        outcome.notices = facts.check(&listed, &mut findings);
        let before = findings.len();
        let snapshots = snapshots::check(repo, &listed, &facts, &mut findings)?;
        let lacking = snapshots.iter();
        let lacking = lacking.filter_map(|stored| check_annotations::incomplete(stored.id, &stored.snapshot));
        outcome.notices.extend(lacking);
        outcome.forgotten = facts.forgotten_among(&listed);
        let seen = CheckScope {
            repo,
            snapshots: &snapshots,
            whole: true,
            before,
            report,
        };
        self.domains(&seen, &mut findings, &mut outcome)?;
        parity::check(repo, self.read, &mut findings, &mut outcome, report)?;
        outcome.findings = findings.finish();
        Ok(outcome)
    }

    /// Looks at these snapshots alone, and at the packs that they rest on: nothing is said of the rest.
    pub fn run_for(
        &self,
        repo: &Repo,
        snapshots: &[StoredSnapshot],
        report: &OperationReport,
    ) -> Result<CheckOutcome> {
        let mut findings = CheckFindings::default();
        let mut outcome = CheckOutcome::default();
        objects::check(repo, &mut findings)?;
        let before = findings.len();
        let seen = CheckScope {
            repo,
            snapshots,
            whole: false,
            before,
            report,
        };
        self.domains(&seen, &mut findings, &mut outcome)?;
        outcome.findings = findings.finish();
        Ok(outcome)
    }

    /// Each domain by itself: its snapshots rest on its own packs alone.
    fn domains(
        &self,
        see: &CheckScope,
        findings: &mut CheckFindings,
        outcome: &mut CheckOutcome,
    ) -> Result<()> {
        let domains = see.domains(findings)?;
        let is_all = findings.len() == see.before;
        let all: u64 = domains.iter().map(CheckedDomain::bytes).sum();
        for domain in &domains {
            let (repo, index, snapshots) = (&domain.repo, &domain.index, &domain.snapshots[..]);
            let only = if see.whole {
                None
            } else {
                Some(snapshot_packs::rests_on(repo, index, snapshots, see.report)?)
            };
            let seen = DomainObjects {
                repo,
                index,
                snapshots,
                is_all,
                report: see.report,
            };
            let part = Check {
                read: match domains.len() {
                    1 => self.read,
                    _ => self.read.subset(domain.bytes(), all),
                },
            };
            part.packs_and_trees(&seen, only.as_ref(), findings, outcome)?;
        }
        Ok(())
    }

    fn packs_and_trees(
        &self,
        seen: &DomainObjects,
        only: Option<&HashSet<ObjectId>>,
        findings: &mut CheckFindings,
        outcome: &mut CheckOutcome,
    ) -> Result<()> {
        let wish = PackSelection {
            repo: seen.repo,
            index: seen.index,
            only,
            read: self.read,
            report: seen.report,
        };
        let packs = packs::check(&wish, findings, outcome)?;
        let ground = TreeCheckContext {
            repo: seen.repo,
            index: seen.index,
            packs: &packs,
            data: self.read == ReadData::All,
            report: seen.report,
        };
        let all_right = trees::check(&ground, seen.snapshots, findings, outcome)?;
        seen.missing(&packs, all_right && seen.is_all, findings, outcome)
    }
}

/// What is to be looked at.
struct CheckScope<'a> {
    repo: &'a Repo,
    snapshots: &'a [StoredSnapshot],
    /// All packs, not only those that the snapshots rest on.
    whole: bool,
    /// Findings before snapshots and index were read.
    before: usize,
    report: &'a OperationReport,
}

/// One dedup domain, as far as its index can be read.
struct CheckedDomain {
    repo: Repo,
    index: ReadableIndex,
    snapshots: Vec<StoredSnapshot>,
}

impl CheckScope<'_> {
    fn domains(&self, findings: &mut CheckFindings) -> Result<Vec<CheckedDomain>> {
        let mut domains = Vec::new();
        for id in self.repo.domains()? {
            let of_it = self
                .snapshots
                .iter()
                .filter(|stored| stored.snapshot.domain == id);
            let snapshots: Vec<_> = of_it.cloned().collect();
            if self.whole || !snapshots.is_empty() {
                let repo = self.repo.in_domain(id)?;
                let index = objects::index(&repo, findings)?;
                domains.push(CheckedDomain {
                    repo,
                    index,
                    snapshots,
                });
            }
        }
        Ok(domains)
    }
}

impl CheckedDomain {
    /// Of its indexed packs.
    fn bytes(&self) -> u64 {
        self.index.facts.packs.values().sum()
    }
}

/// What a check of one domain goes by once it has read the small objects.
struct DomainObjects<'a> {
    repo: &'a Repo,
    index: &'a ReadableIndex,
    snapshots: &'a [StoredSnapshot],
    /// No snapshot and no segment was unreadable, and none was missed.
    is_all: bool,
    report: &'a OperationReport,
}

impl DomainObjects<'_> {
    /// Packs that are indexed and not there. A sweep that died leaves such entries, and a tree that needs one was found
    /// wrong: if none was, nobody misses the pack. Where something could not be looked at, it may be what was needed.
    ///
    /// A missing pack whose blobs all have other copies is no error either: every snapshot restores, which is what a check
    /// is to prove, and a sweep ends like that when it dies (docs/ORDERING.md 7). It is told, because a store that loses
    /// packs looks the same.
    fn missing(
        &self,
        packs: &PackFaults,
        all_right: bool,
        findings: &mut CheckFindings,
        outcome: &mut CheckOutcome,
    ) -> Result<()> {
        if packs.missing.is_empty() {
            return Ok(());
        }
        let needed = if all_right {
            snapshot_packs::rests_on(self.repo, self.index, self.snapshots, self.report)?
        } else {
            HashSet::new()
        };
        for id in &packs.missing {
            let object = packs::path(id);
            match (all_right, needed.contains(id)) {
                (false, _) => findings.add(object, IS_MISSING, &packs::advice(id)),
                (true, is_needed) => outcome.notices.push(is_missed_by_none(object, is_needed)),
            }
        }
        Ok(())
    }
}

fn is_missed_by_none(object: String, is_needed: bool) -> CheckNotice {
    let (what, helps) = if is_needed {
        (
            "is missing; of all that snapshots need of it there are other copies",
            "nothing is lost, and the next prune drops the entries; if no prune ended too early, look after the storage",
        )
    } else {
        (
            "is missing, and needed by no snapshot",
            "nothing is lost, and the next prune drops the entries",
        )
    };
    CheckNotice {
        object,
        what: what.into(),
        since: None,
        helps: helps.into(),
    }
}

/// What a snapshot lacks: its trees are walked whole, and each blob that they lead to must lie in a pack that may be
/// counted on (indexed, listed, of the right size, unmarked). No data is read. Empty: it can be relied on.
pub fn find_missing_of_snapshot(
    repo: &Repo,
    stored: &StoredSnapshot,
    report: &OperationReport,
) -> Result<Vec<CheckFinding>> {
    let mut findings = CheckFindings::default();
    let repo = &repo.in_domain(stored.snapshot.domain)?;
    let index = objects::index(repo, &mut CheckFindings::default())?;
    let sound = repo.usable_packs(&index.facts)?;
    let ground = TreeCheckContext {
        repo,
        index: &index,
        packs: &PackFaults::without_faults(&index, &sound),
        data: false,
        report,
    };
    let stored = std::slice::from_ref(stored);
    trees::check(&ground, stored, &mut findings, &mut CheckOutcome::default())?;
    Ok(findings.finish())
}
