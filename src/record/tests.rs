//! Goal: the stream and its digests mean exactly what FORMAT.md says. Method: naive sums, known bytes.

use super::*;
use crate::document::{assert_example, example};
use crate::id::SetDigest;
use proptest::prelude::*;

const KEY: [u8; 32] = [7; 32];

fn sum_of(records: &[(Vec<u8>, Vec<u8>)]) -> SetDigest {
    let mut acc = SetDigestAccumulator::new(&KEY);
    for (key, value) in records {
        acc.add_record(key, value);
    }
    acc.digest()
}

#[test]
fn an_element_is_two_lengths_and_their_bytes() {
    let mut out = Vec::new();
    put_element(&mut out, b"ab", b"c");
    assert_eq!(out, [2, 0, 0, 0, b'a', b'b', 1, 0, 0, 0, b'c']);
    assert_eq!(out.len(), element_len(2, 1));
}

#[test]
fn a_stream_cut_anywhere_inside_an_element_is_an_error() {
    let mut out = Vec::new();
    put_element(&mut out, b"key", b"value");
    for len in 1..out.len() {
        assert!(StreamElements::new(&out[..len]).any(|e| e.is_err()), "{len}");
    }
}

#[test]
fn a_long_value_hashes_as_its_element_does() {
    let value = vec![9; 100_000];
    let mut element = Vec::new();
    put_element(&mut element, b"k", &value);
    let mut one = SetDigestAccumulator::new(&KEY);
    one.add_element(&element);
    let mut other = SetDigestAccumulator::new(&KEY);
    other.add_record(b"k", &value);
    assert_eq!(one.digest(), other.digest());
}

#[test]
fn carries_run_through_all_limbs() {
    let mut acc = SetDigestAccumulator::resume(&KEY, &SetDigest([0xff; 32]));
    let mut one = [0; 32];
    one[0] = 1;
    acc.merge(&SetDigest(one));
    assert_eq!(acc.digest(), SetDigest([0; 32]));
}

#[test]
fn a_record_that_moves_its_boundary_between_key_and_value_is_another_record() {
    let a = sum_of(&[(b"ab".to_vec(), b"c".to_vec())]);
    let b = sum_of(&[(b"a".to_vec(), b"bc".to_vec())]);
    assert_ne!(a, b);
}

proptest! {
    #[test]
    fn the_set_digest_forgets_order_and_what_was_taken_off(
        records in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..9), prop::collection::vec(any::<u8>(), 0..40)), 0..20),
        gone in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..9), prop::collection::vec(any::<u8>(), 0..40)), 0..5),
    ) {
        let mut acc = SetDigestAccumulator::new(&KEY);
        for (key, value) in gone.iter().chain(records.iter().rev()) {
            acc.add_record(key, value);
        }
        for (key, value) in &gone {
            acc.sub_record(key, value);
        }
        prop_assert_eq!(acc.digest(), sum_of(&records));
        let mut stream = Vec::new();
        for (key, value) in &records {
            put_element(&mut stream, key, value);
        }
        let mut parts = SetDigestAccumulator::new(&KEY);
        parts.add_stream(&stream).unwrap();
        prop_assert_eq!(parts.digest(), sum_of(&records));
        let back: Vec<_> = StreamElements::new(&stream).map(|e| e.unwrap()).map(|e| (e.key.to_vec(), e.value.to_vec())).collect();
        prop_assert_eq!(back, records.clone());
        let mut whole = StreamDigester::new();
        whole.stream(&stream);
        let mut each = StreamDigester::new();
        records.iter().for_each(|(key, value)| each.record(key, value));
        prop_assert_eq!(whole.digest(), each.digest());
        prop_assert_eq!(whole.digest().0, *blake3::hash(&stream).as_bytes());
    }
}

#[test]
fn the_stream_digest_does_not_care_in_which_pieces_the_stream_comes() {
    let stream: Vec<u8> = (0..400_000u32).map(|at| (at * 7 + at / 300) as u8).collect();
    for piece in [1, 63, 1_000, 65_535, 65_536, 65_537, 131_072, 200_001, 400_000] {
        let mut digester = StreamDigester::new();
        for part in stream.chunks(piece) {
            digester.stream(part);
        }
        assert_eq!(digester.digest().0, *blake3::hash(&stream).as_bytes(), "{piece}");
    }
}

#[test]
fn records_of_every_size_are_in_the_stream_digest_as_their_elements() {
    let (mut digester, mut stream) = (StreamDigester::new(), Vec::new());
    for len in [0, 1, 100, 30_000, 65_520, 65_536, 70_000, 1, 0, 300_000, 5] {
        let value = vec![len as u8; len];
        digester.record(b"key", &value);
        put_element(&mut stream, b"key", &value);
        assert_eq!(digester.digest().0, *blake3::hash(&stream).as_bytes(), "{len}");
    }
}

#[test]
fn a_record_counts_as_the_keyed_hash_of_its_padded_element() {
    for len in [0, 1, 55, 56, 57, 1015, 1016, 1017, 2039, 2040, 2041, 5000, 20_000] {
        let value = vec![5; len];
        let mut element = Vec::new();
        put_element(&mut element, b"", &value);
        let mut acc = SetDigestAccumulator::new(&KEY);
        acc.add_record(b"", &value);
        if element.len() <= 2048 {
            element.resize(element.len().next_multiple_of(64), 0);
        }
        assert_eq!(
            acc.digest().0,
            *blake3::keyed_hash(&KEY, &element).as_bytes(),
            "{len}"
        );
    }
}

const DIGESTS: &str = include_str!("../../docs/format/09-digests.md");

#[test]
fn the_documents_examples_are_what_we_compute() {
    let runs = include_str!("../../docs/format/08-runs.md");
    let mut element = Vec::new();
    put_element(&mut element, b"key", b"value");
    assert_example(runs, "element", &element);
    let mut stream = Vec::new();
    put_element(&mut stream, b"a", b"1");
    put_element(&mut stream, b"b", b"");
    assert_example(DIGESTS, "stream", &stream);
    let mut set = SetDigestAccumulator::new(&KEY);
    set.add_stream(&example(DIGESTS, "stream")).unwrap();
    assert_example(DIGESTS, "set-digest", &set.digest().0);
    let mut whole = StreamDigester::new();
    whole.stream(&stream);
    assert_example(DIGESTS, "stream-digest", &whole.digest().0);
}
