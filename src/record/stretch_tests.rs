//! Goal: stretches joined in order have the digest that the stream has by BLAKE3 itself, wherever they were cut. Method: cuts at
//! and beside every place that could matter, and records at random.

use super::super::StreamDigester;
use super::*;
use proptest::prelude::*;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

fn stretch(stream: &[u8], range: std::ops::Range<usize>) -> StreamPartition {
    let mut stretch = StreamPartition::partition_at(range.start as u64);
    stretch.stream(&stream[range]);
    stretch
}

#[test]
fn parts_cut_anywhere_have_the_digest_of_the_whole() {
    let near = |at: usize| [at.saturating_sub(1), at, at + 1];
    let places: Vec<_> = [
        0,
        STRIDE,
        2 * STRIDE,
        3 * STRIDE,
        4 * STRIDE,
        6 * STRIDE,
        8 * STRIDE,
    ]
    .into_iter()
    .flat_map(near)
    .collect();
    for &len in &places {
        let stream = bytes(len);
        let whole = blake3::hash(&stream);
        for &first in places.iter().filter(|cut| **cut <= len) {
            for &second in places.iter().filter(|cut| (first..=len).contains(*cut)) {
                let mut joined = stretch(&stream, 0..first);
                assert!(joined.join_partitions(&stretch(&stream, first..second)));
                assert!(joined.join_partitions(&stretch(&stream, second..len)));
                let digest = joined.digest().unwrap();
                assert_eq!(digest.0, *whole.as_bytes(), "{len}: {first}, {second}");
            }
        }
    }
}

#[test]
fn parts_that_do_not_meet_are_not_joined_and_have_no_digest_alone() {
    let stream = bytes(3 * STRIDE);
    let first = stretch(&stream, 0..2 * STRIDE - 5);
    for begins in [0, 2 * STRIDE - 6, 2 * STRIDE - 4, 2 * STRIDE] {
        assert!(
            !first
                .clone()
                .join_partitions(&stretch(&stream, begins..3 * STRIDE)),
            "{begins}"
        );
    }
    assert!(stretch(&stream, 1..5).digest().is_none());
    assert!(stretch(&stream, STRIDE..3 * STRIDE).digest().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn records_in_stretches_have_the_digest_of_the_stream(
        lens in prop::collection::vec((0usize..40, prop_oneof![0usize..300, 0usize..3 * STRIDE]), 0..30),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let records: Vec<_> = lens.iter().map(|&(key, value)| (bytes(key), bytes(value))).collect();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(records.len() + 1)).collect();
        cuts.extend([0, records.len()]);
        cuts.sort_unstable();
        let (mut whole, mut joined, mut at) = (StreamDigester::new(), StreamPartition::partition_at(0), 0);
        for pair in cuts.windows(2) {
            let mut next = StreamPartition::partition_at(at);
            for (key, value) in &records[pair[0]..pair[1]] {
                whole.record(key, value);
                next.record(key, value);
                at += element_len(key.len(), value.len()) as u64;
            }
            prop_assert!(joined.join_partitions(&next));
        }
        prop_assert_eq!(joined.digest(), Some(whole.digest()));
    }
}
