//! Prunes: marks and sweeps packs that no snapshot needs.
//!
//! Prune: what no snapshot needs goes, in two steps with a grace between them, and beside backups that run.
//!
//! ```text
//! sweep:  gather --plan--> delete what was marked a grace ago and is needed by nothing
//! rebase: stacks that hide much --plan--> stored again as one run, noted --> gather anew
//! mark:   gather --plan--> store live blobs of wasteful packs again --> mark dead and emptied packs
//! ```
//! Why nothing is lost is argued in docs/ORDERING.md, section 7. The sweep comes first: it needs no space.

mod audits;
mod prune_input;
pub mod prune_plan;
mod repack;
pub mod stack_compaction;
pub mod sweep;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::annotations::{DeletionMark, MarkedPack};
use crate::clock::UnixNanos;
use crate::engine::parity_listing;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;
use crate::limits::MARK_PACKS_MAX;
use crate::repo::{DeletePermit, Lease, OWN_DOMAIN, Repo, SweepPermit};
use crate::report::OperationReport;

use prune_input::{PruneInput, gather_input};
use prune_plan::{PruneLimits, PrunePlan};
use stack_compaction::CompactionCandidate;
use sweep::Sweep;

/// Shortest grace without a word: docs/ORDERING.md says what it covers.
pub const GRACE_MIN: Duration = Duration::from_secs(6 * 3600);

/// The grace unless it is configured.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(72 * 3600);

/// By so much may our clock differ from the storage's.
const CLOCKS_DIFFER_MAX: i64 = 300 * 1_000_000_000;

/// A prune to be run.
#[derive(Clone, Debug)]
pub struct Prune {
    /// Unused bytes that may stay, for each used one: 0.05 by default.
    pub unused_share_max: f64,
    /// The same in bytes, if that is more.
    pub unused_bytes_max: u64,
    /// Bytes that may be stored again.
    pub repack_bytes_max: u64,
    /// Time between a pack's mark and its end.
    pub grace: Duration,
    /// Allows a grace under [`GRACE_MIN`]: for who knows that nothing else uses the repository.
    pub unsafe_grace: bool,
    /// Packs that are sealed under an older epoch than the newest are stored again, whatever they waste.
    pub repack_outdated: bool,
    /// Plans only.
    pub dry_run: bool,
}

impl Default for Prune {
    fn default() -> Self {
        Self {
            unused_share_max: 0.05,
            unused_bytes_max: 0,
            repack_bytes_max: u64::MAX,
            grace: GRACE_DEFAULT,
            unsafe_grace: false,
            repack_outdated: false,
            dry_run: false,
        }
    }
}

/// What was done, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneOutcome {
    /// What was deleted.
    pub swept: Sweep,
    /// What was marked, or needed again.
    pub plan: PrunePlan,
    /// Stacks that were stored again as one run.
    pub rebased: Vec<CompactionCandidate>,
    /// Packs that are marked now, and their bytes.
    pub packs_marked: u64,
    /// See [`PruneOutcome::packs_marked`].
    pub bytes_marked: u64,
    /// Parity objects deleted, because their packs are gone.
    pub parity_deleted: u64,
    /// Their bytes.
    pub parity_bytes_deleted: u64,
    /// Audits that said nothing any more, and are deleted.
    pub audits_superseded: Vec<ObjectId>,
}

impl Prune {
    /// Sweeps what is ripe, then marks what is dead.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a grace that is too short or a storage without times; [`ErrorKind::Busy`] while another prune
    /// has the lease; [`ErrorKind::Limit`] if the clocks differ; any object that cannot be read or understood.
    pub fn run(&self, repo: &Repo, report: &OperationReport) -> Result<PruneOutcome> {
        self.check_grace()?;
        let lease = if self.dry_run {
            None
        } else {
            Some(repo.lease("prune")?)
        };
        let lease = lease.as_ref();
        let mut outcome = self.in_domain(repo, lease, report)?;
        let mut all_done = true;
        for domain in repo.domains()?.into_iter().filter(|domain| *domain != OWN_DOMAIN) {
            // What a host wrote into its domain is no reason to keep others' garbage.
            let rest = self.reduced_by(&outcome);
            match rest.in_domain(&repo.in_domain(domain)?, lease, report) {
                Ok(of_it) => outcome.add(of_it),
                Err(error) if is_hosts_fault(&error) => {
                    all_done = false;
                    report.problem(format!(
                        "nothing of domain {} is deleted or marked: {error}",
                        domain.0
                    ));
                }
                Err(error) => return Err(error.context(format!("prune domain {}", domain.0))),
            }
        }
        // Parity of a pack that is missed may be what brings it back.
        if all_done {
            self.parity(repo, lease, &mut outcome, report)?;
        }
        outcome.audits_superseded = if self.dry_run {
            audits::superseded(repo)?
        } else {
            audits::drop_superseded(repo, report)?
        };
        self.report_marked(repo, &mut outcome)?;
        Ok(outcome)
    }

    /// What may be stored again after what was.
    fn reduced_by(&self, outcome: &PruneOutcome) -> Self {
        let rebased = outcome.rebased.iter().map(|stack| stack.shown);
        let again = rebased.fold(outcome.plan.repack_bytes, u64::saturating_add);
        Self {
            repack_bytes_max: self.repack_bytes_max.saturating_sub(again),
            ..self.clone()
        }
    }

    fn in_domain(
        &self,
        repo: &Repo,
        lease: Option<&Lease>,
        report: &OperationReport,
    ) -> Result<PruneOutcome> {
        self.sweep_and_mark(repo, lease, report)
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => error
                    .with_kind(ErrorKind::Busy)
                    .context("another prune is at work"),
                _ => error,
            })
    }

    fn sweep_and_mark(
        &self,
        repo: &Repo,
        lease: Option<&Lease>,
        report: &OperationReport,
    ) -> Result<PruneOutcome> {
        let (swept, seen) = self.sweep(repo, lease, report)?;
        let mut limits = self.limits(repo);
        let (rebased, hidden, seen) = self.compact_stacks(repo, seen, &limits, report)?;
        let again = rebased
            .iter()
            .map(|stack| stack.shown)
            .fold(0, u64::saturating_add);
        limits.repack_bytes_max = limits.repack_bytes_max.saturating_sub(again);
        let mut plan = prune_plan::plan(&seen.facts.packs, hidden, &limits, seen.now);
        plan.dead = retain_own_packs(repo, &seen.facts, plan.dead, |id| id)?;
        plan.repack = retain_own_packs(repo, &seen.facts, plan.repack, |id| id)?;
        let mut outcome = PruneOutcome {
            swept,
            plan,
            rebased,
            ..PruneOutcome::default()
        };
        if !self.dry_run {
            carry_out(repo, &seen.facts, &outcome.plan, report)?;
            let marked = !outcome.plan.dead.is_empty() || !outcome.plan.repack.is_empty();
            if self.grace.is_zero() && marked {
                let (more, _) = self.sweep(repo, lease, report)?;
                outcome.swept.packs.extend(more.packs);
                outcome.swept.marks.extend(more.marks);
            }
        }
        Ok(outcome)
    }

    /// Deletes parity whose pack is gone, last of all: nothing ever needs it.
    fn parity(
        &self,
        repo: &Repo,
        lease: Option<&Lease>,
        outcome: &mut PruneOutcome,
        report: &OperationReport,
    ) -> Result<()> {
        let going = outcome.swept.packs.iter().map(|pack| pack.pack).collect();
        for parity in parity_listing::list_orphan_parity(repo.storage_reader(), &going, report)? {
            if let Some(lease) = lease {
                repo.delete(&DeletePermit::OrphanParity(lease), parity.name())?;
            }
            outcome.parity_deleted += 1;
            outcome.parity_bytes_deleted += parity.len;
        }
        Ok(())
    }

    /// Deletes what is ripe; what there is then.
    fn sweep(
        &self,
        repo: &Repo,
        lease: Option<&Lease>,
        report: &OperationReport,
    ) -> Result<(Sweep, PruneListing)> {
        let seen = self.list_packs(repo, report)?;
        let mut sweep = sweep::plan(&seen.facts, self.grace_nanos(), seen.now);
        sweep.packs = retain_own_packs(repo, &seen.facts, sweep.packs, |pack| &pack.pack)?;
        let Some(lease) = lease.filter(|_| !sweep.is_empty()) else {
            return Ok((sweep, seen));
        };
        sweep.run(repo, &seen.facts, &SweepPermit::new(lease, seen.begun), report)?;
        Ok((sweep, self.list_packs(repo, report)?))
    }

    /// Stores stacks again that hide much; what others hide, and what there is then.
    fn compact_stacks(
        &self,
        repo: &Repo,
        seen: PruneListing,
        limits: &PruneLimits,
        report: &OperationReport,
    ) -> Result<(Vec<CompactionCandidate>, u64, PruneListing)> {
        let all = stack_compaction::stacks(&seen.facts);
        let chosen = stack_compaction::plan(all.clone(), limits);
        let left = all.iter().filter(|stack| !chosen.contains(stack));
        let hidden = left.map(|stack| stack.hidden).fold(0, u64::saturating_add);
        if self.dry_run || chosen.is_empty() {
            return Ok((chosen, hidden, seen));
        }
        stack_compaction::run(repo, &seen.facts.catalog, &chosen, report)?;
        Ok((chosen, hidden, self.list_packs(repo, report)?))
    }

    fn list_packs(&self, repo: &Repo, report: &OperationReport) -> Result<PruneListing> {
        let begun = repo.clock().now();
        // To ask the storage takes a write, and a dry run writes nothing: what it deletes goes by our clock.
        let now = if self.dry_run { begun } else { storage_time(repo)? };
        let mut facts = gather_input(repo, now, self.grace_nanos(), report)?;
        if self.repack_outdated {
            facts.find_outdated(repo, report)?;
        }
        Ok(PruneListing { facts, now, begun })
    }

    fn limits(&self, repo: &Repo) -> PruneLimits {
        PruneLimits {
            unused_share_max: self.unused_share_max,
            unused_bytes_max: self.unused_bytes_max,
            repack_bytes_max: self.repack_bytes_max,
            grace: self.grace_nanos(),
            pack_bytes: repo.pack_bytes() as u64,
        }
    }

    fn check_grace(&self) -> Result<()> {
        if self.grace >= GRACE_MIN || self.unsafe_grace {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Usage,
                "a grace under 6 hours may take data from a backup that is under way; --unsafe-grace allows it",
            ))
        }
    }

    fn grace_nanos(&self) -> i64 {
        i64::try_from(self.grace.as_nanos()).unwrap_or(i64::MAX)
    }

    fn report_marked(&self, repo: &Repo, outcome: &mut PruneOutcome) -> Result<()> {
        let marks = repo.marks()?;
        let packs = marks.iter().flat_map(|mark| &mark.mark.packs);
        let packs: HashSet<_> = packs.collect();
        outcome.packs_marked = packs.len() as u64;
        outcome.bytes_marked = packs.iter().map(|pack| pack.len).sum();
        Ok(())
    }
}

impl PruneOutcome {
    fn add(&mut self, domain: PruneOutcome) {
        self.swept.snapshots.extend(domain.swept.snapshots);
        self.swept.packs.extend(domain.swept.packs);
        self.swept.marks.extend(domain.swept.marks);
        self.swept.unmark.extend(domain.swept.unmark);
        self.plan.add(domain.plan);
        self.rebased.extend(domain.rebased);
    }
}

/// True for what somebody who writes into a domain can bring about.
fn is_hosts_fault(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Corrupt | ErrorKind::Torn | ErrorKind::WrongKey | ErrorKind::Limit | ErrorKind::TooNew
    )
}

/// Those that are this domain's by their own headers: a host's segments may name others' packs.
fn retain_own_packs<T>(
    repo: &Repo,
    facts: &PruneInput,
    going: Vec<T>,
    id: impl Fn(&T) -> &ObjectId,
) -> Result<Vec<T>> {
    if repo.domains()?.len() == 1 || going.is_empty() {
        return Ok(going);
    }
    let lens: HashMap<_, _> = facts.packs.iter().map(|pack| (pack.id, pack.len)).collect();
    let mut ours = Vec::with_capacity(going.len());
    for pack in going {
        let len = lens.get(id(&pack)).copied().unwrap_or_default();
        if !repo.is_foreign_pack(id(&pack), len)? {
            ours.push(pack);
        }
    }
    Ok(ours)
}

/// All that there is, and when it was looked at: by the storage's clock, and by ours before the first listing.
struct PruneListing {
    facts: PruneInput,
    now: UnixNanos,
    begun: UnixNanos,
}

/// The storage's clock, if ours agrees with it.
fn storage_time(repo: &Repo) -> Result<UnixNanos> {
    let now = repo.storage_now()?;
    let differ = now.0.saturating_sub(repo.clock().now().0);
    if differ.saturating_abs() <= CLOCKS_DIFFER_MAX {
        Ok(now)
    } else {
        Err(Error::new(
            ErrorKind::Limit,
            format!(
                "our clock and the storage's differ by {} seconds: one of them is wrong, and nothing is deleted by either",
                differ / 1_000_000_000
            ),
        ))
    }
}

/// Takes marks off packs that live snapshots of this domain need and no unmarked pack can stand for.
pub(crate) fn unmark_needed(repo: &Repo, report: &OperationReport) -> Result<()> {
    if repo.marks()?.is_empty() {
        return Ok(());
    }
    // Nobody's grace is looked at: only what live snapshots need.
    let facts = gather_input(repo, UnixNanos(0), 0, report)?;
    let needed = facts.packs.iter().filter(|pack| pack.needed);
    let needed: Vec<_> = needed.map(|pack| pack.id).collect();
    sweep::unmark(repo, &facts.marks, &needed)
}

/// Stores again, then marks; nothing is deleted.
fn carry_out(repo: &Repo, facts: &PruneInput, plan: &PrunePlan, report: &OperationReport) -> Result<()> {
    sweep::unmark(repo, &facts.marks, &plan.unmark)?;
    let repacked: HashSet<_> = plan.repack.iter().copied().collect();
    let mut going: HashSet<_> = repacked.iter().chain(&plan.dead).copied().collect();
    if !repacked.is_empty() {
        match repack::repack(repo, facts, &repacked, &going, report) {
            Err(error) if error.kind() == ErrorKind::Full => {
                report.notice(format!("nothing is stored again: {error}"));
                going = plan.dead.iter().copied().collect();
            }
            done => done?,
        }
    }
    repack::prove_spares(repo, facts, &going, report)?;
    mark_packs(repo, facts, going)
}

fn mark_packs(repo: &Repo, facts: &PruneInput, going: HashSet<ObjectId>) -> Result<()> {
    let lens = facts.packs.iter().filter(|pack| going.contains(&pack.id));
    let mut packs: Vec<_> = lens
        .map(|pack| MarkedPack {
            pack: pack.id,
            len: pack.len,
        })
        .collect();
    packs.sort_unstable();
    for packs in packs.chunks(MARK_PACKS_MAX) {
        repo.put_mark(&DeletionMark {
            when: repo.clock().now(),
            packs: packs.to_vec(),
            replaces: None,
        })?;
    }
    Ok(())
}
