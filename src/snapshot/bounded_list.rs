//! Decodes lists whose length is bounded.
//!
//! A list of a million empty entries takes three bytes of each on the wire and a hundred in memory.

use std::fmt::{self, Formatter};
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Entries for which room is made before any is read.
const ROOM_MAX: usize = 64;

/// Reads a list of `MAX` entries at most.
pub(super) fn list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(BoundedList::<T, MAX>(PhantomData))
}

struct BoundedList<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for BoundedList<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut Formatter) -> fmt::Result {
        write!(formatter, "a list of {MAX} entries at most")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let count = entries.size_hint().unwrap_or_default();
        if count > MAX {
            return Err(A::Error::custom("a list passes its limit"));
        }
        let mut list = Vec::with_capacity(count.min(ROOM_MAX));
        while let Some(entry) = entries.next_element()? {
            if list.len() == MAX {
                return Err(A::Error::custom("a list passes its limit"));
            }
            list.push(entry);
        }
        Ok(list)
    }
}
