//! What all audits say together, of the packs that are there: the latest word on each, opened and hashed apart.
//!
//! Keyless audits are anybody's word: they never stand in for keyed ones, neither when something is told nor when an
//! audit is superseded. Memory is bounded by the packs that are there, whatever somebody else put among the audits.

use std::collections::{HashMap, HashSet};

use super::audit::{Audit, AuditMethod, AuditResult, AuditedObject};
use crate::clock::UnixNanos;
use crate::envelope::ObjectClass;
use crate::id::ObjectId;

/// The latest audit result of each pack.
#[derive(Clone, Debug, Default)]
pub struct LatestAudits {
    there: HashSet<ObjectId>,
    opened: HashMap<ObjectId, LatestAudit>,
    hashed: HashMap<ObjectId, LatestAudit>,
    all: Vec<(ObjectId, AuditMethod)>,
    /// Audits that speak of something that is no pack: what they are good for is for others to say.
    beyond: HashSet<ObjectId>,
}

/// The latest word on a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatestAudit {
    /// When reading it began.
    pub when: UnixNanos,
    /// How it was.
    pub found: AuditResult,
    /// The audit that says so: how many objects it has, and its name. `None` before it is stored.
    audit: Option<(usize, ObjectId)>,
}

impl LatestAudits {
    /// Nothing is known yet of these packs, and nothing will be of others.
    pub fn of(packs: impl IntoIterator<Item = ObjectId>) -> Self {
        Self {
            there: packs.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Takes an audit in; their order means nothing.
    pub fn add(&mut self, id: ObjectId, audit: &Audit) {
        self.all.push((id, audit.how));
        for audited in &audit.objects {
            match audited.class {
                ObjectClass::Pack => self.say(audit.how, audited, Some((audit.objects.len(), id))),
                _ => drop(self.beyond.insert(id)),
            }
        }
    }

    /// Takes in what was just read.
    pub fn note(&mut self, how: AuditMethod, audited: &AuditedObject) {
        self.say(how, audited, None);
    }

    fn say(&mut self, how: AuditMethod, audited: &AuditedObject, audit: Option<(usize, ObjectId)>) {
        if !self.there.contains(&audited.id) {
            return;
        }
        let said = LatestAudit {
            when: audited.when,
            found: audited.found,
            audit,
        };
        let last = self.of_way_mut(how).entry(audited.id).or_insert(said);
        if (last.when, last.audit) < (said.when, said.audit) {
            *last = said;
        }
    }

    /// The latest word on a pack, of those who did so with it.
    pub fn last(&self, how: AuditMethod, pack: &ObjectId) -> Option<LatestAudit> {
        self.of_way(how).get(pack).copied()
    }

    /// Audits without which nothing is known less: each thing they say, somebody says later or of a pack that is gone.
    ///
    /// Of all that is said of a pack in one way one word counts, the greatest by (when, objects in the audit, audit's
    /// name): of equals the merged one. An audit that has none such is superseded. So whoever deletes by this, having seen more audits or fewer, leaves each word that
    /// counts among those that are there: in every view that has it, it counts.
    pub fn superseded(&self) -> Vec<ObjectId> {
        let counts: HashSet<_> = self
            .counting(AuditMethod::Opened)
            .chain(self.counting(AuditMethod::Hashed))
            .collect();
        let all = self.all.iter().map(|(id, _)| *id);
        all.filter(|id| !counts.contains(id) && !self.beyond.contains(id))
            .collect()
    }

    /// How many stored audits have a word that counts.
    pub fn counting_audits(&self, how: AuditMethod) -> usize {
        self.counting(how).collect::<HashSet<_>>().len()
    }

    /// All that counts, by pack: what one audit can say for many.
    pub fn merged(&self, how: AuditMethod) -> Vec<AuditedObject> {
        let audited = |(id, last): (&ObjectId, &LatestAudit)| AuditedObject {
            class: ObjectClass::Pack,
            id: *id,
            found: last.found,
            when: last.when,
        };
        let mut all: Vec<_> = self.of_way(how).iter().map(audited).collect();
        all.sort_by_key(|audited| audited.id);
        all
    }

    fn counting(&self, how: AuditMethod) -> impl Iterator<Item = ObjectId> {
        self.of_way(how).values().filter_map(|last| Some(last.audit?.1))
    }

    fn of_way(&self, how: AuditMethod) -> &HashMap<ObjectId, LatestAudit> {
        match how {
            AuditMethod::Opened => &self.opened,
            AuditMethod::Hashed => &self.hashed,
        }
    }

    fn of_way_mut(&mut self, how: AuditMethod) -> &mut HashMap<ObjectId, LatestAudit> {
        match how {
            AuditMethod::Opened => &mut self.opened,
            AuditMethod::Hashed => &mut self.hashed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> ObjectId {
        ObjectId([number; 32])
    }

    fn pack(number: u8, found: AuditResult, when: i64) -> AuditedObject {
        AuditedObject {
            class: ObjectClass::Pack,
            id: id(number),
            found,
            when: UnixNanos(when),
        }
    }

    fn right(number: u8, when: i64) -> AuditedObject {
        pack(number, AuditResult::Right, when)
    }

    fn audit(how: AuditMethod, objects: &[AuditedObject]) -> Audit {
        let objects = objects.to_vec();
        Audit { how, objects }
    }

    /// What these say of packs 1 to 3, in this order and in the other.
    fn both_ways(all: &[(u8, Audit)]) -> [LatestAudits; 2] {
        let mut audits = [
            LatestAudits::of([id(1), id(2), id(3)]),
            LatestAudits::of([id(1), id(2), id(3)]),
        ];
        for (name, audit) in all {
            audits[0].add(id(*name), audit);
        }
        for (name, audit) in all.iter().rev() {
            audits[1].add(id(*name), audit);
        }
        audits
    }

    #[test]
    fn of_each_pack_the_newest_word_counts_in_whatever_order_they_come() {
        let all = [
            (91, audit(AuditMethod::Opened, &[right(1, 10), right(2, 30)])),
            (
                92,
                audit(
                    AuditMethod::Opened,
                    &[right(1, 20), pack(2, AuditResult::Wrong, 20)],
                ),
            ),
        ];
        for audits in both_ways(&all) {
            let last = |number| {
                audits
                    .last(AuditMethod::Opened, &id(number))
                    .map(|last| (last.when.0, last.found))
            };
            assert_eq!(last(1), Some((20, AuditResult::Right)));
            assert_eq!(last(2), Some((30, AuditResult::Right)));
            assert_eq!(last(3), None);
            assert!(audits.superseded().is_empty(), "each has a word that counts");
        }
    }

    #[test]
    fn an_audit_goes_when_others_say_later_all_it_says_or_its_packs_are_gone() {
        let all = [
            (91, audit(AuditMethod::Opened, &[right(1, 10), right(2, 10)])),
            (92, audit(AuditMethod::Opened, &[right(1, 20)])),
            (93, audit(AuditMethod::Opened, &[right(2, 20), right(77, 99)])),
            (94, audit(AuditMethod::Opened, &[right(77, 99)])),
        ];
        for audits in both_ways(&all) {
            let mut superseded = audits.superseded();
            superseded.sort_unstable();
            assert_eq!(superseded, [id(91), id(94)]);
        }
        // The one that is left with a word on pack 1 stays.
        for audits in both_ways(&[all[0].clone(), all[2].clone()]) {
            assert!(audits.superseded().is_empty());
        }
    }

    #[test]
    fn of_two_equal_audits_one_goes_and_the_same_one_for_all() {
        let same = audit(AuditMethod::Opened, &[right(1, 10)]);
        for audits in both_ways(&[(91, same.clone()), (92, same)]) {
            assert_eq!(audits.superseded(), [id(91)]);
        }
    }

    #[test]
    fn keyless_and_keyed_audits_supersede_their_like_alone() {
        let all = [
            (91, audit(AuditMethod::Opened, &[right(1, 10)])),
            (92, audit(AuditMethod::Hashed, &[right(1, 20)])),
            (93, audit(AuditMethod::Opened, &[right(2, 30)])),
            (94, audit(AuditMethod::Hashed, &[right(2, 20)])),
        ];
        for audits in both_ways(&all) {
            assert!(audits.superseded().is_empty());
            assert_eq!(
                audits.last(AuditMethod::Opened, &id(1)).unwrap().when,
                UnixNanos(10)
            );
        }
    }

    #[test]
    fn an_audit_of_more_than_packs_is_left_to_who_knows_more() {
        let mut beyond = right(1, 10);
        beyond.class = ObjectClass::Snapshot;
        for audits in both_ways(&[(91, audit(AuditMethod::Opened, &[beyond]))]) {
            assert!(audits.superseded().is_empty());
            assert_eq!(audits.last(AuditMethod::Opened, &id(1)), None);
        }
    }

    #[test]
    fn what_is_merged_supersedes_what_it_was_merged_of() {
        let all = [
            (91, audit(AuditMethod::Opened, &[right(1, 10), right(2, 30)])),
            (
                92,
                audit(
                    AuditMethod::Opened,
                    &[right(1, 20), pack(3, AuditResult::Wrong, 5)],
                ),
            ),
        ];
        let [mut audits, _] = both_ways(&all);
        audits.note(AuditMethod::Opened, &right(2, 40));
        let merged = audits.merged(AuditMethod::Opened);
        assert_eq!(
            merged,
            [right(1, 20), right(2, 40), pack(3, AuditResult::Wrong, 5)]
        );
        // Under a name below theirs as well: what is said at the same time is the same.
        for name in [1, 99] {
            let mut again = LatestAudits::of([id(1), id(2), id(3)]);
            let merged = audit(AuditMethod::Opened, &merged);
            for (name, audit) in all
                .iter()
                .map(|(name, audit)| (*name, audit))
                .chain([(name, &merged)])
            {
                again.add(id(name), audit);
            }
            assert_eq!(again.superseded(), [id(91), id(92)], "{name}");
        }
    }
}
