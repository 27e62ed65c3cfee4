//! Compares user keys by the order that the MANIFEST names.

use std::cmp::Ordering;

use super::idb_comparator;

/// LevelDB's default, in C++ and in goleveldb alike.
pub const BYTEWISE_NAME: &str = "leveldb.BytewiseComparator";

/// Chromium's order for IndexedDB keys.
pub const IDB_NAME: &str = "idb_cmp1";

/// A key order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Comparator {
    /// Plain bytes, unsigned.
    Bytewise,
    /// Chromium's `idb_cmp1`: keys of different bytes can be equal (-0 and 0, bytes behind a complete key).
    Idb,
    /// Any other, by name. Its order is its owner's secret: such a database is kept physically.
    Unknown(String),
}

impl Comparator {
    /// The comparator that a MANIFEST calls `name`.
    pub fn from_name(name: &str) -> Self {
        match name {
            BYTEWISE_NAME => Self::Bytewise,
            IDB_NAME => Self::Idb,
            other => Self::Unknown(other.to_owned()),
        }
    }

    /// The name as a MANIFEST records it.
    pub fn name(&self) -> &str {
        match self {
            Self::Bytewise => BYTEWISE_NAME,
            Self::Idb => IDB_NAME,
            Self::Unknown(name) => name,
        }
    }

    /// False for a comparator whose order we do not have, so that nothing can be merged.
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown(_))
    }

    /// Orders two user keys: a total order for every input, valid key or not. An unknown comparator orders by
    /// bytes, which is only good for containers of our own: callers ask [`Self::is_known`] before they merge.
    #[inline]
    pub fn compare(&self, a: &[u8], b: &[u8]) -> Ordering {
        match self {
            Self::Bytewise | Self::Unknown(_) => a.cmp(b),
            Self::Idb => idb_comparator::compare(a, b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_out_and_come_back() {
        for name in [BYTEWISE_NAME, IDB_NAME, "rocksdb.ReverseBytewise", ""] {
            assert_eq!(Comparator::from_name(name).name(), name);
        }
        assert!(!Comparator::from_name("levault.test.Reverse").is_known());
    }
}
