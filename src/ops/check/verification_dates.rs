//! Computes how much stored data was verified within given times.

use std::time::Duration;

use crate::annotations::{AuditMethod, AuditResult, LatestAudits};
use crate::clock::UnixNanos;
use crate::storage::ListedObject;

use super::read_plan::age;

/// When each pack was last read and found right.
#[derive(Clone, Debug, Default)]
pub struct VerificationDates {
    packs: Vec<VerifiedPack>,
    now: Option<UnixNanos>,
}

#[derive(Clone, Copy, Debug)]
struct VerifiedPack {
    len: u64,
    opened: Option<UnixNanos>,
    hashed: Option<UnixNanos>,
}

/// What was verified within some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifiedWithin {
    /// Bytes of all packs that were looked at.
    pub bytes: u64,
    /// Of these, opened with the keys and found right.
    pub bytes_opened: u64,
    /// Of the others, hashed by somebody who may hold no key. Anybody's word.
    pub bytes_hashed: u64,
    /// Packs that were never opened, or were found wrong when they were.
    pub packs_unverified: u64,
    /// When the pack was opened whose turn was longest ago; `None` if none was.
    pub oldest: Option<UnixNanos>,
}

impl VerificationDates {
    /// By what audits say of these packs.
    pub fn of(packs: &[ListedObject], audits: &LatestAudits, now: UnixNanos) -> Self {
        let right = |how, pack: &ListedObject| {
            let last = audits.last(how, &pack.name.id)?;
            (last.found == AuditResult::Right).then_some(last.when)
        };
        let pack = |listed: &ListedObject| VerifiedPack {
            len: listed.len,
            opened: right(AuditMethod::Opened, listed),
            hashed: right(AuditMethod::Hashed, listed),
        };
        let packs = packs.iter().map(pack).collect();
        Self {
            packs,
            now: Some(now),
        }
    }

    /// With what is known of other packs.
    pub(super) fn extend(&mut self, more: Self) {
        self.packs.extend(more.packs);
        self.now = more.now;
    }

    /// What of it was verified so lately.
    pub fn within(&self, longest: Duration) -> VerifiedWithin {
        let lately = |when: Option<UnixNanos>| {
            let both = when.zip(self.now);
            both.is_some_and(|(when, now)| age(when, now) <= longest)
        };
        let bytes_of = |is_one: &dyn Fn(&VerifiedPack) -> bool| -> u64 {
            let packs = self.packs.iter().filter(|pack| is_one(pack));
            packs.map(|pack| pack.len).sum()
        };
        VerifiedWithin {
            bytes: bytes_of(&|_| true),
            bytes_opened: bytes_of(&|pack| lately(pack.opened)),
            bytes_hashed: bytes_of(&|pack| !lately(pack.opened) && lately(pack.hashed)),
            packs_unverified: self.packs.iter().filter(|pack| pack.opened.is_none()).count() as u64,
            oldest: self.packs.iter().filter_map(|pack| pack.opened).min(),
        }
    }
}
