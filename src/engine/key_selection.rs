//! Selects keys of a database: all, a prefix, a range.

use crate::leveldb::Comparator;
use crate::run::{KeyOrder, KeyRange};

/// Keys that are wanted; all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeySelection {
    /// Every key.
    #[default]
    All,
    /// Keys that begin with these bytes.
    Prefix(Vec<u8>),
    /// Keys in a range of the database's own order.
    Range(KeyRange),
}

impl KeySelection {
    /// True if no key is left out.
    pub fn is_all(&self) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => prefix.is_empty(),
            Self::Range(range) => *range == KeyRange::all(),
        }
    }

    /// A range that holds every wanted key; under another order than bytewise, keys with one prefix may lie anywhere.
    pub fn range(&self, comparator: &Comparator) -> KeyRange {
        match (self, comparator) {
            (Self::Range(range), _) => range.clone(),
            (Self::Prefix(prefix), Comparator::Bytewise) => KeyRange::prefix(prefix),
            _ => KeyRange::all(),
        }
    }

    /// Whether a key is wanted.
    pub fn contains(&self, key: &[u8], order: KeyOrder<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => key.starts_with(prefix),
            Self::Range(range) => range.contains(key, order),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leveldb::comparator::IDB_NAME;

    #[test]
    fn a_prefix_is_a_range_in_bytewise_order_only() {
        let prefix = KeySelection::Prefix(b"ab".to_vec());
        assert_eq!(prefix.range(&Comparator::Bytewise), KeyRange::prefix(b"ab"));
        assert_eq!(prefix.range(&Comparator::from_name(IDB_NAME)), KeyRange::all());
        assert!(prefix.contains(b"abc", &|a, b| a.cmp(b)) && !prefix.contains(b"b", &|a, b| a.cmp(b)));
    }

    #[test]
    fn what_leaves_nothing_out_says_so() {
        let all = [
            KeySelection::All,
            KeySelection::Prefix(vec![]),
            KeySelection::Range(KeyRange::all()),
        ];
        assert!(all.iter().all(KeySelection::is_all));
        assert!(!KeySelection::Prefix(vec![0]).is_all());
    }
}
