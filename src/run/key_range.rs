//! A half-open range of keys.
//!
//! A range of keys: from a first key on, up to a key that is not in it any more.

use super::KeyOrder;
use std::cmp::Ordering;

/// Keys at or after `from` and before `to`; without one, there is no bound on that side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The least key of the range.
    pub from: Option<Vec<u8>>,
    /// The least key after the range.
    pub to: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self::default()
    }

    /// The keys that begin with `prefix`; right in bytewise order only.
    pub fn prefix(prefix: &[u8]) -> Self {
        let last = prefix.iter().rposition(|byte| *byte != 0xff);
        let to = last.map(|at| {
            let mut to = prefix[..=at].to_vec();
            to[at] += 1;
            to
        });
        Self {
            from: Some(prefix.to_vec()),
            to,
        }
    }

    /// True if `key` lies before the range.
    pub fn is_after(&self, key: &[u8], order: KeyOrder<'_>) -> bool {
        self.from
            .as_ref()
            .is_some_and(|from| order(key, from) == Ordering::Less)
    }

    /// True if `key` lies behind the range.
    pub fn is_before(&self, key: &[u8], order: KeyOrder<'_>) -> bool {
        self.to
            .as_ref()
            .is_some_and(|to| order(key, to) != Ordering::Less)
    }

    /// True if no key before `upper` lies in the range.
    pub(super) fn starts_at_or_after(&self, upper: &[u8], order: KeyOrder<'_>) -> bool {
        self.from
            .as_ref()
            .is_some_and(|from| order(upper, from) != Ordering::Greater)
    }

    /// True if `key` lies in the range.
    pub fn contains(&self, key: &[u8], order: KeyOrder<'_>) -> bool {
        !self.is_after(key, order) && !self.is_before(key, order)
    }
}
