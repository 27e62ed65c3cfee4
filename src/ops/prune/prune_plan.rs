//! Plans what becomes of each pack.
//!
//! What becomes of each pack: facts in, plan out. Nothing here reads or writes.

use crate::clock::UnixNanos;
use crate::id::ObjectId;

/// How much may be left unused, and how careful to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PruneLimits {
    /// Unused bytes that may stay, for each used one.
    pub unused_share_max: f64,
    /// The same in bytes, if that is more.
    pub unused_bytes_max: u64,
    /// Bytes of live blobs that may be stored again.
    pub repack_bytes_max: u64,
    /// Nanoseconds between a mark and its sweep, by the storage's clock.
    pub grace: i64,
    /// When a pack of this repository is full, bytes.
    pub pack_bytes: u64,
}

/// One listed pack, as the index, the marks and the snapshots have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackUsage {
    /// Its name.
    pub id: ObjectId,
    /// Stored bytes, as listed.
    pub len: u64,
    /// When it was stored, by the storage's clock.
    pub modified: Option<UnixNanos>,
    /// What the index says of it.
    pub standing: IndexStanding,
    /// Marked since; `Some(None)` where the storage has no times.
    pub marked: Option<Option<UnixNanos>>,
    /// Stored bytes of live blobs of which the copy to be kept is here.
    pub live_bytes: u64,
    /// Live blobs of which there is a copy here, and another one to be kept.
    pub spare_copies: u64,
    /// Holds a blob that a live snapshot needs and no unmarked pack has.
    pub needed: bool,
    /// Sealed under an older epoch than the newest, and to be stored again for it.
    pub outdated: bool,
    /// Holds a blob that a snapshot needs which cannot be swept yet, and no unmarked pack has.
    pub retained: bool,
}

/// What the index says of a listed pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexStanding {
    /// Indexed, of the right size.
    Sound,
    /// In no segment: of a backup that was killed or is under way.
    Unindexed,
    /// Indexed with another size: damaged.
    WrongSize,
}

/// Why a pack is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkReason {
    /// No live snapshot needs anything in it.
    Dead,
    /// What is live in it is stored again first.
    Repacked,
}

/// What a prune does, apart from the sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrunePlan {
    /// Packs to be marked at once.
    pub dead: Vec<ObjectId>,
    /// Packs whose live blobs are stored again before they are marked, the most wasteful first.
    pub repack: Vec<ObjectId>,
    /// Live bytes in those.
    pub repack_bytes: u64,
    /// Marked packs that are needed again.
    pub unmark: Vec<ObjectId>,
    /// Bytes of unmarked packs before, those used of them, and bytes that are unmarked and unused after.
    pub bytes_before: u64,
    /// See [`PrunePlan::bytes_before`].
    pub bytes_used: u64,
    /// See [`PrunePlan::bytes_before`].
    pub bytes_unused_after: u64,
}

/// Younger packs are let be, where the grace is not shorter: most are of backups that are under way, which would have to
/// store them again.
const YOUNG: i64 = 6 * 3600 * 1_000_000_000;

/// Packs of less than one part in so many of a full one are small ...
const SMALL_SHARE: u64 = 8;

/// ... and are stored again together, when there are so many.
const SMALL_COUNT: usize = 16;

/// Plans at `now`, by the storage's clock. Of what is live, stacks hide `hidden` bytes: those are unused as well.
pub fn plan(packs: &[PackUsage], hidden: u64, limits: &PruneLimits, now: UnixNanos) -> PrunePlan {
    let mut plan = PrunePlan::default();
    let mut candidates: Vec<&PackUsage> = Vec::new();
    for pack in packs {
        let young = pack
            .modified
            .is_none_or(|modified| now.0.saturating_sub(modified.0) < YOUNG.min(limits.grace));
        match pack.marked {
            Some(_) if pack.needed => plan.unmark.push(pack.id),
            Some(_) => continue,
            None if pack.live_bytes == 0 && !young => {
                plan.dead.push(pack.id);
                plan.bytes_before += pack.len;
                continue;
            }
            None if pack.standing == IndexStanding::Sound && (!young || pack.outdated) => {
                candidates.push(pack)
            }
            None => {}
        }
        plan.bytes_before += pack.len;
        plan.bytes_used += pack.live_bytes;
        plan.bytes_unused_after += pack.unused_limit();
    }
    let hidden = hidden.min(plan.bytes_used);
    plan.bytes_used -= hidden;
    plan.bytes_unused_after += hidden;
    plan.choose_repack(candidates, limits);
    plan
}

impl PackUsage {
    fn unused_limit(&self) -> u64 {
        self.len.saturating_sub(self.live_bytes)
    }
}

impl PrunePlan {
    /// What becomes of another domain's packs, too.
    pub(super) fn add(&mut self, domain: PrunePlan) {
        self.dead.extend(domain.dead);
        self.repack.extend(domain.repack);
        self.repack_bytes += domain.repack_bytes;
        self.unmark.extend(domain.unmark);
        self.bytes_before += domain.bytes_before;
        self.bytes_used += domain.bytes_used;
        self.bytes_unused_after += domain.bytes_unused_after;
    }

    /// What is stored again: the packs that waste most for what they hold, until little enough is wasted; outdated ones; and
    /// small ones, of which increments leave many.
    fn choose_repack(&mut self, mut candidates: Vec<&PackUsage>, limits: &PruneLimits) {
        let small = |pack: &PackUsage| pack.len < limits.pack_bytes / SMALL_SHARE;
        let merge = candidates.iter().filter(|pack| small(pack)).count() >= SMALL_COUNT;
        let waste =
            |pack: &PackUsage| u128::from(pack.unused_limit()) * 1_000_000 / u128::from(pack.len.max(1));
        candidates.sort_by_key(|pack| (std::cmp::Reverse(waste(pack)), pack.id));
        let share = (self.bytes_used as f64 * limits.unused_share_max.max(0.0)) as u64;
        let allowed = share.max(limits.unused_bytes_max);
        for pack in candidates {
            let wasteful = self.bytes_unused_after > allowed && self.is_worth_while(pack);
            let fits = self.repack_bytes.saturating_add(pack.live_bytes) <= limits.repack_bytes_max;
            if fits && (pack.outdated || wasteful || merge && small(pack)) {
                self.repack.push(pack.id);
                self.repack_bytes += pack.live_bytes;
                self.bytes_unused_after -= pack.unused_limit();
            }
        }
    }

    /// A pack's own directory is never used; what else is not?
    fn is_worth_while(&self, pack: &PackUsage) -> bool {
        pack.unused_limit() > pack.len / 50
    }
}

/// What may be swept of one mark at `now`, by the storage's clock: its packs that are there and that nothing needs.
/// `None` if the grace is not over.
pub fn is_grace_over(since: Option<UnixNanos>, grace: i64, now: UnixNanos) -> bool {
    since.is_some_and(|since| now.0.saturating_sub(since.0) >= grace)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600 * 1_000_000_000;
    const NOW: UnixNanos = UnixNanos(1000 * HOUR);

    fn limits() -> PruneLimits {
        PruneLimits {
            unused_share_max: 0.05,
            unused_bytes_max: 0,
            repack_bytes_max: u64::MAX,
            grace: 72 * HOUR,
            pack_bytes: 1000,
        }
    }

    fn pack(number: u8, len: u64, live_bytes: u64) -> PackUsage {
        PackUsage {
            id: ObjectId([number; 32]),
            len,
            modified: Some(UnixNanos(0)),
            standing: IndexStanding::Sound,
            marked: None,
            live_bytes,
            spare_copies: 0,
            needed: false,
            outdated: false,
            retained: false,
        }
    }

    fn numbers(ids: &[ObjectId]) -> Vec<u8> {
        ids.iter().map(|id| id.0[0]).collect()
    }

    #[test]
    fn what_nothing_needs_is_marked_and_what_is_half_dead_stored_again() {
        let packs = [pack(1, 1000, 0), pack(2, 1000, 980), pack(3, 1000, 500)];
        let plan = plan(&packs, 0, &limits(), NOW);
        assert_eq!((numbers(&plan.dead), numbers(&plan.repack)), (vec![1], vec![3]));
        assert_eq!((plan.bytes_before, plan.bytes_used), (3000, 1480));
        assert_eq!((plan.repack_bytes, plan.bytes_unused_after), (500, 20));
    }

    #[test]
    fn a_little_waste_is_let_be_and_the_most_wasteful_goes_first() {
        let packs = [pack(1, 1000, 960), pack(2, 1000, 700), pack(3, 1000, 400)];
        let few = PruneLimits {
            repack_bytes_max: 450,
            ..limits()
        };
        assert_eq!(numbers(&plan(&packs, 0, &few, NOW).repack), [3]);
        let much = PruneLimits {
            unused_share_max: 0.2,
            ..limits()
        };
        assert_eq!(numbers(&plan(&packs, 0, &much, NOW).repack), [3]);
        assert_eq!(numbers(&plan(&packs, 0, &limits(), NOW).repack), [3, 2]);
    }

    #[test]
    fn what_stacks_hide_counts_as_unused_in_packs_that_are_all_live() {
        let packs = [pack(1, 1000, 970), pack(2, 1000, 1000)];
        let planned = |hidden| plan(&packs, hidden, &limits(), NOW);
        let (none, some) = (planned(0), planned(80));
        assert_eq!(
            (none.repack.len(), none.bytes_used, none.bytes_unused_after),
            (0, 1970, 30)
        );
        assert_eq!(
            (numbers(&some.repack), some.bytes_used, some.bytes_unused_after),
            (vec![1], 1890, 80)
        );
        assert_eq!(planned(u64::MAX).bytes_used, 0, "more is hidden than there is");
    }

    #[test]
    fn young_packs_and_packs_of_unknown_age_are_let_be() {
        for modified in [Some(UnixNanos(NOW.0 - HOUR)), Some(UnixNanos(NOW.0 + HOUR)), None] {
            let young = PackUsage {
                modified,
                ..pack(1, 1000, 0)
            };
            assert_eq!(plan(&[young], 0, &limits(), NOW).dead, []);
        }
    }

    #[test]
    fn a_marked_pack_is_needed_or_let_be() {
        let marked = PackUsage {
            marked: Some(Some(UnixNanos(0))),
            ..pack(1, 1000, 0)
        };
        assert_eq!(
            plan(std::slice::from_ref(&marked), 0, &limits(), NOW),
            PrunePlan::default()
        );
        let needed = PackUsage {
            needed: true,
            live_bytes: 10,
            ..marked
        };
        assert_eq!(numbers(&plan(&[needed], 0, &limits(), NOW).unmark), [1]);
    }

    #[test]
    fn many_small_packs_become_few() {
        let small: Vec<_> = (0..16).map(|number| pack(number, 100, 99)).collect();
        assert_eq!(plan(&small, 0, &limits(), NOW).repack.len(), 16);
        assert_eq!(plan(&small[1..], 0, &limits(), NOW).repack.len(), 0);
    }

    #[test]
    fn packs_of_an_older_epoch_are_stored_again_however_full() {
        let full = pack(1, 1000, 990);
        let outdated = PackUsage {
            outdated: true,
            ..pack(2, 1000, 990)
        };
        let packs = [full, outdated];
        assert_eq!(numbers(&plan(&packs, 0, &limits(), NOW).repack), [2]);
        let little = PruneLimits {
            repack_bytes_max: 989,
            ..limits()
        };
        assert_eq!(plan(&packs, 0, &little, NOW).repack, []);
    }

    #[test]
    fn a_pack_of_another_size_is_not_read_but_goes_when_it_is_dead() {
        let wrong = |live| PackUsage {
            standing: IndexStanding::WrongSize,
            ..pack(1, 1000, live)
        };
        assert_eq!(plan(&[wrong(1)], 0, &limits(), NOW).repack, []);
        assert_eq!(numbers(&plan(&[wrong(0)], 0, &limits(), NOW).dead), [1]);
    }

    #[test]
    fn marks_ripen_by_the_storages_clock() {
        assert!(is_grace_over(Some(UnixNanos(NOW.0 - 72 * HOUR)), 72 * HOUR, NOW));
        assert!(!is_grace_over(
            Some(UnixNanos(NOW.0 - 72 * HOUR + 1)),
            72 * HOUR,
            NOW
        ));
        assert!(!is_grace_over(Some(UnixNanos(NOW.0 + 1)), 72 * HOUR, NOW));
        assert!(!is_grace_over(None, 0, NOW));
    }
}
