//! Forgets snapshots, by id or by policy.
//!
//! Forget: snapshots that no longer count, named one by one or let go by a policy.
//!
//! ```text
//! catalog, notes ──group──▶ candidates ──plan──▶ kept, each with its reasons
//!                                         └────▶ the others ──forget──▶ objects under forgotten/
//! ```
//! Nothing is deleted here: a forgotten snapshot is stored, and can be brought back, until a prune sweeps it. What is
//! decided is decided before anything is written, so that a dry run tells all of it; docs/RETENTION.md has the rules.

pub mod forget_plan;
pub mod policy;
pub mod snapshot_groups;

use std::collections::{BTreeMap, HashSet};

use crate::annotations::{CountedSnapshot, CurrentNotes, ForgetReason, ForgetRecord};
use crate::clock::UnixNanos;
use crate::engine::snapshot_filter::SnapshotFilter;
use crate::envelope::Header;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{DomainId, ObjectId};
use crate::limits::{FORGOTTEN_SNAPSHOTS_MAX, NOTE_REASON_BYTES_MAX};
use crate::repo::{OWN_DOMAIN, Repo, SnapshotCatalog, StoredSnapshot, UnreadSnapshot};
use crate::storage::{ObjectKind, ObjectName};

pub use forget_plan::{KeepDecision, KeepReason, PolicyCalendar, PolicyCandidate, plan};
pub use policy::{CalendarPeriod, KeepCount, KeepDuration, RetentionPolicy};
pub use snapshot_groups::{GroupBy, SnapshotGroup, group};

/// So far ahead of now may a host's snapshot be, nanoseconds: clocks are wrong by less.
const AHEAD_MAX: i64 = 24 * 3600 * 1_000_000_000;

/// What the repository says before anything is decided.
pub struct ForgetInput {
    /// All snapshots; the tags of those that count are those that hold of them.
    pub catalog: SnapshotCatalog,
    /// What was noted of them.
    pub notes: CurrentNotes,
}

/// Snapshots to be let go by a policy.
#[derive(Clone, Debug, Default)]
pub struct PolicySelection {
    /// What is kept.
    pub policy: RetentionPolicy,
    /// Which snapshots it is applied to together.
    pub group_by: GroupBy,
    /// Which snapshots it looks at.
    pub filter: SnapshotFilter,
    /// Whether a group may lose all it has.
    pub leave: MinimumKept,
}

/// What a policy must leave of each group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinimumKept {
    /// One snapshot at least.
    #[default]
    Some,
    /// Nothing, if the policy says so.
    None,
}

/// What a policy makes of one group.
#[derive(Clone, Debug)]
pub struct GroupPlan {
    /// What its snapshots have in common.
    pub group: SnapshotGroup,
    /// Newest first, each with the reasons to keep it.
    pub keep: Vec<(StoredSnapshot, Vec<KeepReason>)>,
    /// The others, newest first.
    pub remove: Vec<StoredSnapshot>,
}

/// What is to be forgotten, and on whose word.
#[derive(Clone, Debug)]
pub struct ForgetSelection {
    /// The snapshots; each once.
    pub snapshots: Vec<CountedSnapshot>,
    /// On whose word.
    pub why: ForgetReason,
    /// The policy or the reason, in words; what is too long is cut.
    pub words: String,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct ForgetOutcome {
    /// Snapshots that are forgotten, durably.
    pub forgotten: Vec<ObjectId>,
    /// Snapshots that are not, and why.
    pub failed: Vec<(ObjectId, Error)>,
}

impl ForgetInput {
    /// Loads it. A note that cannot be read is an error here: it may be the one that protects.
    pub fn load(repo: &Repo) -> Result<Self> {
        let notes = repo.notes()?.require_complete()?;
        let mut catalog = repo.catalog()?;
        for stored in &mut catalog.snapshots {
            stored.snapshot.tags = notes.tags(&stored.id, &stored.snapshot.tags).to_vec();
        }
        Ok(Self { catalog, notes })
    }

    /// True for a group of a write-only host's domain in which some snapshot could not be read: nothing says which of the
    /// host's snapshots are the newest, and by which of them a policy should count.
    pub fn is_partly_read(&self, group: &SnapshotGroup) -> bool {
        let of_group = |unread: &UnreadSnapshot| unread.domain == Some(group.domain);
        group.domain != OWN_DOMAIN && self.catalog.unreadable.iter().any(of_group)
    }

    /// One snapshot that somebody named. `None` if it is forgotten already; a protected one is [`ErrorKind::Usage`].
    /// A whole id may be that of a snapshot whose bytes are damaged, or that was brought back in vain and is gone; both are
    /// told by [`ForgetReason::Damaged`].
    pub fn select_named(&self, repo: &Repo, words: &str) -> Result<Option<(CountedSnapshot, ForgetReason)>> {
        let whole = ObjectId::from_hex(words);
        if whole.is_some_and(|id| self.catalog.forgotten(&id).is_some()) {
            return Ok(None);
        }
        let found = match (self.catalog.select(words), whole) {
            (Ok(stored), _) => (counted_snapshot(stored), ForgetReason::ByHand),
            (Err(_), Some(id)) => (damaged(repo, id)?, ForgetReason::Damaged),
            (Err(error), None) => return Err(error),
        };
        let id = found.0.id;
        if !self.notes.is_pinned(&id) {
            Ok(Some(found))
        } else {
            Err(Error::new(
                ErrorKind::Usage,
                format!(
                    "snapshot {0} is protected; `levault unprotect {0}` first",
                    id.short()
                ),
            ))
        }
    }
}

impl PolicySelection {
    /// Decides on each group. [`ErrorKind::Usage`] for a policy that says nothing, and for one that would leave nothing of a
    /// group, unless that is asked for.
    pub fn plan(&self, known: &ForgetInput, calendar: &PolicyCalendar) -> Result<Vec<GroupPlan>> {
        self.check()?;
        let mut snapshots = known.catalog.snapshots.clone();
        snapshots.retain(|stored| self.filter.fits(stored));
        let groups = snapshot_groups::group(snapshots, self.group_by).into_iter();
        let plan = |(group, snapshots)| {
            if known.is_partly_read(&group) {
                Ok(keep_all(group, snapshots))
            } else {
                self.plan_group(group, snapshots, &known.notes, calendar)
            }
        };
        groups.map(plan).collect()
    }

    fn check(&self) -> Result<()> {
        let message = match (self.policy.is_empty(), self.leave, self.filter.is_empty()) {
            (false, ..) | (true, MinimumKept::None, false) => return Ok(()),
            (true, MinimumKept::None, true) => {
                "to forget everything takes a filter: one of --host, --tag, --database besides --unsafe-allow-remove-all"
            }
            (true, MinimumKept::Some, _) => "no policy and no snapshot is named: nothing is forgotten",
        };
        Err(Error::new(ErrorKind::Usage, message))
    }

    fn plan_group(
        &self,
        group: SnapshotGroup,
        snapshots: Vec<StoredSnapshot>,
        notes: &CurrentNotes,
        calendar: &PolicyCalendar,
    ) -> Result<GroupPlan> {
        refuse_times_ahead(&group, &snapshots, calendar)?;
        let candidates: Vec<_> = snapshots
            .iter()
            .map(|stored| policy_candidate(stored, notes))
            .collect();
        let mut stored: BTreeMap<_, _> = snapshots.into_iter().map(|stored| (stored.id, stored)).collect();
        let (mut keep, mut remove) = (Vec::new(), Vec::new());
        for decision in plan(&candidates, &self.policy, calendar) {
            let Some(stored) = stored.remove(&decision.id) else {
                continue;
            };
            if decision.is_kept() {
                keep.push((stored, decision.reasons))
            } else {
                remove.push(stored)
            }
        }
        // What is kept whatever is asked for is no answer to the policy.
        let is_of_policy = |reason: &KeepReason| !matches!(reason, KeepReason::Ahead | KeepReason::Complete);
        let none_is_kept = !keep.iter().any(|(_, reasons)| reasons.iter().any(is_of_policy));
        if !(none_is_kept && !remove.is_empty() && self.leave == MinimumKept::Some) {
            Ok(GroupPlan { group, keep, remove })
        } else {
            Err(Error::new(
                ErrorKind::Usage,
                format!(
                    "the policy would forget all snapshots of {group}; --unsafe-allow-remove-all permits that"
                ),
            ))
        }
    }
}

/// What is decided of a group whose snapshots are not all known: nothing goes.
fn keep_all(group: SnapshotGroup, snapshots: Vec<StoredSnapshot>) -> GroupPlan {
    let keep = snapshots
        .into_iter()
        .rev()
        .map(|stored| (stored, vec![KeepReason::Unread]));
    GroupPlan {
        group,
        keep: keep.collect(),
        remove: Vec::new(),
    }
}

/// A write-only host chooses the time that its snapshots claim, and by one that lies ahead a policy would let go of all
/// that are true: somebody should look first.
fn refuse_times_ahead(
    group: &SnapshotGroup,
    snapshots: &[StoredSnapshot],
    calendar: &PolicyCalendar,
) -> Result<()> {
    let ahead = |stored: &&StoredSnapshot| stored.snapshot.time.0.saturating_sub(calendar.now.0) > AHEAD_MAX;
    match snapshots
        .iter()
        .find(ahead)
        .filter(|_| group.domain != OWN_DOMAIN)
    {
        None => Ok(()),
        Some(stored) => Err(Error::new(
            ErrorKind::Usage,
            format!(
                "snapshot {} of {group} claims a time over a day ahead of now: look at it, and forget it by name or wait",
                stored.id.short()
            ),
        )),
    }
}

/// What these plans let go.
pub fn choose_snapshots(plans: &[GroupPlan], policy: &RetentionPolicy) -> ForgetSelection {
    let removed = plans.iter().flat_map(|plan| &plan.remove);
    ForgetSelection {
        snapshots: removed.map(counted_snapshot).collect(),
        why: ForgetReason::Policy,
        words: policy.to_string(),
    }
}

/// Forgets; what the outcome names as forgotten is so durably. Several forgettings are written if there are many
/// snapshots, and one that cannot be written does not keep the others from being tried.
pub fn forget(repo: &Repo, chosen: &ForgetSelection) -> Result<ForgetOutcome> {
    let mut snapshots = chosen.snapshots.clone();
    snapshots.sort_by_key(|counted| counted.id);
    snapshots.dedup_by_key(|counted| counted.id);
    let when = annotation_time(repo, &snapshots)?;
    let mut outcome = ForgetOutcome::default();
    for some in snapshots.chunks(FORGOTTEN_SNAPSHOTS_MAX) {
        let forgetting = ForgetRecord {
            when,
            why: chosen.why,
            words: truncate_reason(&chosen.words),
            snapshots: some.to_vec(),
        };
        let ids = some.iter().map(|counted| counted.id);
        match repo.put_forget_record(&forgetting) {
            Ok(_) => outcome.forgotten.extend(ids),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                let what = error.to_string();
                outcome
                    .failed
                    .extend(ids.map(|id| (id, Error::new(error.kind(), what.clone()))));
            }
        }
    }
    Ok(outcome)
}

/// Now, or right behind the last time one of these was brought back, if a clock elsewhere is ahead of ours.
fn annotation_time(repo: &Repo, snapshots: &[CountedSnapshot]) -> Result<UnixNanos> {
    let ids: HashSet<_> = snapshots.iter().map(|counted| counted.id).collect();
    let notes = repo.notes()?.current_notes();
    let undeleted = notes.snapshots().filter(|(id, _)| ids.contains(id));
    let last = undeleted
        .filter_map(|(_, standing)| Some(standing.undeleted?.0))
        .max();
    Ok(repo.clock().now().max(UnixNanos::next_after(last)))
}

fn truncate_reason(words: &str) -> String {
    words[..words.floor_char_boundary(NOTE_REASON_BYTES_MAX)].to_owned()
}

fn policy_candidate(stored: &StoredSnapshot, notes: &CurrentNotes) -> PolicyCandidate {
    PolicyCandidate {
        id: stored.id,
        time: stored.snapshot.time,
        tags: stored.snapshot.tags.clone(),
        protected: notes.is_pinned(&stored.id),
        suspect: notes.suspect_note(&stored.id).is_some(),
        incomplete: stored.snapshot.is_incomplete(),
    }
}

fn counted_snapshot(stored: &StoredSnapshot) -> CountedSnapshot {
    CountedSnapshot {
        id: stored.id,
        domain: stored.snapshot.domain,
        counter: stored.snapshot.counter,
    }
}

/// A snapshot that counts and cannot be read: forgetting it is the way on for whoever deletes.
fn damaged(repo: &Repo, id: ObjectId) -> Result<CountedSnapshot> {
    match repo.snapshot(&id) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::Corrupt | ErrorKind::Torn | ErrorKind::WrongKey | ErrorKind::Limit
            ) =>
        {
            Ok(CountedSnapshot {
                id,
                domain: header_domain(repo, id),
                counter: 0,
            })
        }
        Err(error) => {
            let forgotten = repo.forgotten_now()?;
            let brought_back = forgotten.undeleted_at().find(|counted| counted.id == id);
            brought_back.copied().ok_or(error)
        }
        Ok(snapshot) => Ok(counted_snapshot(&StoredSnapshot { id, snapshot })),
    }
}

/// By its header, which nothing vouches for: all that is left of it.
fn header_domain(repo: &Repo, id: ObjectId) -> DomainId {
    let name = ObjectName::new(ObjectKind::Snapshot, id);
    let first = repo.storage_reader().get_range(name, 0, Header::LEN);
    let header = first.and_then(|first| Header::decode(&first));
    header.map_or(OWN_DOMAIN, |header| header.domain)
}

#[cfg(test)]
mod tests;
