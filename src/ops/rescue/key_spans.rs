//! Computes the key spans where a damaged database lacks records.
//!
//! Where a damaged database may lack something: spans of keys, apart from one another and in order.

use std::cmp::Ordering;

use crate::run::KeyOrder;
use crate::source::LostEntries;

/// Keys from `smallest` to `largest`, both included; all on a side that has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySpan {
    /// The first key.
    pub smallest: Option<Vec<u8>>,
    /// The last key.
    pub largest: Option<Vec<u8>>,
}

impl KeySpan {
    /// Every key.
    pub fn all() -> Self {
        Self::default()
    }

    /// True if `key` comes before it.
    pub fn is_after(&self, key: &[u8], order: KeyOrder) -> bool {
        let smallest = self.smallest.as_ref();
        smallest.is_some_and(|smallest| order(key, smallest) == Ordering::Less)
    }

    /// True if `key` comes behind it.
    pub fn is_before(&self, key: &[u8], order: KeyOrder) -> bool {
        let largest = self.largest.as_ref();
        largest.is_some_and(|largest| order(key, largest) == Ordering::Greater)
    }

    /// True if a range of keys, open where it has no end, has a key of it.
    pub fn overlaps(&self, smallest: Option<&Vec<u8>>, largest: Option<&Vec<u8>>, order: KeyOrder) -> bool {
        !smallest.is_some_and(|key| self.is_before(key, order))
            && !largest.is_some_and(|key| self.is_after(key, order))
    }
}

/// The spans of what a scan lost. A log that lost something may have held any key; that is left out where no snapshot
/// can help with it.
pub fn of(lost: &LostEntries, everything: bool, without_logs: bool, order: KeyOrder) -> Vec<KeySpan> {
    if everything || (lost.below > 0 && !without_logs) {
        return vec![KeySpan::all()];
    }
    let mut ranges = lost.ranges.clone();
    ranges.sort_by(|left, right| order(&left.0, &right.0));
    let mut spans: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (smallest, largest) in ranges {
        match spans.last_mut() {
            Some(last) if order(&smallest, &last.1) != Ordering::Greater => {
                if order(&largest, &last.1) == Ordering::Greater {
                    last.1 = largest;
                }
            }
            _ => spans.push((smallest, largest)),
        }
    }
    let span = |(smallest, largest)| KeySpan {
        smallest: Some(smallest),
        largest: Some(largest),
    };
    spans.into_iter().map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(smallest: &str, largest: &str) -> KeySpan {
        KeySpan {
            smallest: Some(smallest.into()),
            largest: Some(largest.into()),
        }
    }

    #[test]
    fn spans_are_apart_and_in_order_and_a_lost_log_concerns_every_key() {
        let range = |smallest: &str, largest: &str| (smallest.into(), largest.into());
        let mut lost = LostEntries {
            ranges: vec![
                range("m", "p"),
                range("a", "c"),
                range("n", "o"),
                range("c", "d"),
                range("p", "q"),
            ],
            ..LostEntries::default()
        };
        let order = |a: &[u8], b: &[u8]| a.cmp(b);
        assert_eq!(of(&lost, false, false, &order), [span("a", "d"), span("m", "q")]);
        assert_eq!(of(&lost, true, false, &order), [KeySpan::all()]);
        lost.below = 7;
        assert_eq!(of(&lost, false, false, &order), [KeySpan::all()]);
        assert_eq!(of(&lost, false, true, &order).len(), 2);
        assert!(of(&LostEntries::default(), false, false, &order).is_empty());
    }

    #[test]
    fn a_span_includes_both_its_ends() {
        let order = |a: &[u8], b: &[u8]| a.cmp(b);
        let (span, key) = (span("b", "d"), |text: &str| Some(text.as_bytes().to_vec()));
        for (smallest, largest, meets) in [
            ("a", "b", true),
            ("d", "e", true),
            ("a", "aa", false),
            ("da", "e", false),
            ("c", "c", true),
        ] {
            let (smallest, largest) = (key(smallest), key(largest));
            assert_eq!(span.overlaps(smallest.as_ref(), largest.as_ref(), &order), meets);
        }
        assert!(span.overlaps(None, None, &order));
    }
}
