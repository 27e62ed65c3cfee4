//! Chooses short index keys that separate data blocks.
//!
//! Index keys: short keys that part one data block from the next.
//!
//! An index entry's key must not sort before the last key of its block, and must sort before the first key of
//! the next. Shortening needs to know the order, so it is done for the bytewise comparator only. Where nothing
//! is gained, the index takes the last user key with the *smallest* tag (sequence 0, kind 0), not the entry's
//! own: internal keys fall by tag, so it stands behind every version of that key and before any other key,
//! whatever the comparator. The entry's own tag would be legal too, but rusty-leveldb 4.0.2 does not find an
//! entry whose internal key equals the index key, and all our records carry the sequence number that a first
//! `get` asks for.

use super::block_builder::{Tag, common_prefix};

/// Sorts before every entry of its user key: the highest sequence number, kind "value".
pub(crate) const TAG_FIRST: Tag = ((((1u64 << 56) - 1) << 8) | 1).to_le_bytes();

/// Sorts behind every entry of its user key.
pub(crate) const TAG_LAST: Tag = [0; 8];

/// Puts into `separator` the user key for the index entry between `last` and `next`; returns its tag.
/// `next` is `None` behind the table's last block.
pub(crate) fn separate_bytewise(last: &[u8], next: Option<&[u8]>, separator: &mut Vec<u8>) -> Tag {
    let cut = match next {
        Some(next) => cut_between(last, next),
        None => last.iter().position(|&byte| byte != 0xff),
    };
    separator.clear();
    match cut {
        Some(index) if index + 1 < last.len() => {
            separator.extend_from_slice(&last[..index]);
            separator.push(last[index] + 1);
            TAG_FIRST
        }
        _ => {
            separator.extend_from_slice(last);
            TAG_LAST
        }
    }
}

/// The byte of `last` that can be counted up without reaching `next`.
fn cut_between(last: &[u8], next: &[u8]) -> Option<usize> {
    let differs = common_prefix(last, next);
    let (byte, limit) = (*last.get(differs)?, *next.get(differs)?);
    (u16::from(byte) + 1 < u16::from(limit)).then_some(differs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Ordering;

    /// LevelDB's order of internal keys.
    fn compare(a: (&[u8], Tag), b: (&[u8], Tag)) -> Ordering {
        a.0.cmp(b.0)
            .then(u64::from_le_bytes(b.1).cmp(&u64::from_le_bytes(a.1)))
    }

    const TAG: Tag = [1, 9, 0, 0, 0, 0, 0, 0];

    fn check(last: &[u8], next: Option<&[u8]>) -> Vec<u8> {
        let mut separator = Vec::new();
        let tag = separate_bytewise(last, next, &mut separator);
        assert!(separator.len() <= last.len());
        let found = (&separator[..], tag);
        assert_eq!(
            compare((last, TAG), found),
            Ordering::Less,
            "rusty-leveldb needs it"
        );
        if let Some(next) = next {
            assert_eq!(compare(found, (next, TAG)), Ordering::Less);
            assert_eq!(compare(found, (next, TAG_FIRST)), Ordering::Less);
        }
        separator
    }

    #[test]
    fn separators_are_as_short_as_leveldbs_own() {
        assert_eq!(check(b"abc1xyz", Some(b"abc9")), b"abc2");
        assert_eq!(check(b"abc1xyz", Some(b"abc2")), b"abc1xyz");
        assert_eq!(check(b"abc", Some(b"abcdef")), b"abc");
        assert_eq!(check(b"", Some(b"a")), b"");
        assert_eq!(
            check(b"a", Some(b"c")),
            b"a",
            "one byte for one byte gains nothing"
        );
        assert_eq!(check(b"\xff\xffab", None), b"\xff\xffb");
        assert_eq!(check(b"\xff\xff", None), b"\xff\xff");
        assert_eq!(check(b"", None), b"");
    }

    proptest! {
        #[test]
        fn a_separator_lies_between(
            prefix in prop::collection::vec(any::<u8>(), 0..6),
            a in prop::collection::vec(prop_oneof![Just(0), Just(1), Just(254), Just(255), any::<u8>()], 0..6),
            b in prop::collection::vec(prop_oneof![Just(0), Just(1), Just(254), Just(255), any::<u8>()], 0..6),
        ) {
            prop_assume!(a != b);
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            let (low, high) = ([&prefix[..], &low].concat(), [&prefix[..], &high].concat());
            check(&low, Some(&high));
            check(&high, None);
        }
    }
}
