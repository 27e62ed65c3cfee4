//! Bounds the memory of each write-only host's snapshots.
//!
//! A domain may take [`HOST_CATALOG_MEMORY_FREE`], and [`HOST_CATALOG_RATIO`] bytes for each that is stored of it. Over
//! that, the snapshot goes first that takes most for what is stored of it. So one that takes no more than that ratio is
//! never left out, whatever else its host stores: those that keep to it have room together, and whenever a domain takes
//! too much there is one among its snapshots that does not.

use std::collections::{BTreeSet, HashMap};

use crate::id::{DomainId, ObjectId};
use crate::limits::{HOST_CATALOG_MEMORY_FREE, HOST_CATALOG_RATIO};
use crate::snapshot::Snapshot;

use super::OWN_DOMAIN;

/// The shares of all domains but the owner's, which has no bound.
#[derive(Default)]
pub(crate) struct HostQuotas {
    domains: HashMap<DomainId, HostQuota>,
}

#[derive(Default)]
struct HostQuota {
    stored: u64,
    memory: u64,
    /// By memory for each 1024 bytes that are stored.
    by_ratio: BTreeSet<(u64, ObjectId, u64)>,
}

impl HostQuotas {
    /// Counts a snapshot, of which `stored` bytes are stored. Those that it returns have no room: this one, or others.
    pub fn add(&mut self, id: ObjectId, snapshot: &Snapshot, stored: u64) -> Vec<ObjectId> {
        if snapshot.domain == OWN_DOMAIN {
            return Vec::new();
        }
        let share = self.domains.entry(snapshot.domain).or_default();
        let memory = snapshot.memory() as u64;
        share.stored += stored;
        share.memory += memory;
        share.by_ratio.insert((memory * 1024 / stored.max(1), id, memory));
        let mut left_out = Vec::new();
        while share.memory > share.memory_max()
            && let Some((_, id, memory)) = share.by_ratio.pop_last()
        {
            share.memory -= memory;
            left_out.push(id);
        }
        left_out
    }
}

impl HostQuota {
    fn memory_max(&self) -> u64 {
        HOST_CATALOG_MEMORY_FREE + self.stored.saturating_mul(HOST_CATALOG_RATIO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::snapshot_codec;
    use proptest::prelude::*;

    fn snapshot(domain: u32, host_bytes: usize) -> Snapshot {
        let plain = crate::document::example(include_str!("../../docs/format/10-snapshots.md"), "snapshot");
        Snapshot {
            domain: DomainId(domain),
            host: "h".repeat(host_bytes),
            ..snapshot_codec::decode(&plain).unwrap()
        }
    }

    fn id(number: usize) -> ObjectId {
        ObjectId(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    #[test]
    fn the_owners_snapshots_have_no_bound_and_domains_have_one_each() {
        let mut shares = HostQuotas::default();
        let large = HOST_CATALOG_MEMORY_FREE as usize * 2 / 3;
        for number in 0..4 {
            assert_eq!(shares.add(id(number), &snapshot(0, large), 1), []);
        }
        assert_eq!(shares.add(id(4), &snapshot(1, large), 1), []);
        assert_eq!(shares.add(id(5), &snapshot(2, large), 1), []);
        assert_eq!(
            shares.add(id(6), &snapshot(1, large), 2),
            [id(4)],
            "more for what is stored"
        );
    }

    proptest! {
        #[test]
        fn no_domain_takes_more_than_its_share_and_whoever_keeps_to_the_ratio_stays(
            all in prop::collection::vec((1usize..12 << 20, 1u64..2 << 20), 1..40)
        ) {
            let (mut shares, mut kept) = (HostQuotas::default(), HashMap::new());
            for (number, (bytes, stored)) in all.into_iter().enumerate() {
                let snapshot = snapshot(1, bytes);
                let memory = snapshot.memory() as u64;
                kept.insert(id(number), (memory, stored));
                for left_out in shares.add(id(number), &snapshot, stored) {
                    let (memory, stored) = kept.remove(&left_out).unwrap();
                    prop_assert!(memory > HOST_CATALOG_RATIO * stored);
                }
                let takes: u64 = kept.values().map(|(memory, _)| memory).sum();
                prop_assert!(takes <= shares.domains[&DomainId(1)].memory_max());
            }
        }
    }
}
