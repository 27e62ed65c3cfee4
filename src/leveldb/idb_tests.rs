use super::*;
use proptest::prelude::*;

fn number(kind: u8, value: f64) -> Vec<u8> {
    [&[kind][..], &value.to_le_bytes()].concat()
}

fn string(text: &str) -> Vec<u8> {
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    [&[1, (units.len() / 2) as u8][..], &units].concat()
}

fn array(elements: &[Vec<u8>]) -> Vec<u8> {
    [&[4, elements.len() as u8][..], &elements.concat()].concat()
}

fn in_store(index: u8, suffix: &[u8]) -> Vec<u8> {
    [&[0, 1, 1, index][..], suffix].concat()
}

fn assert_ascending(keys: &[Vec<u8>]) {
    for (i, a) in keys.iter().enumerate() {
        for (j, b) in keys.iter().enumerate() {
            assert_eq!(compare(a, b), i.cmp(&j), "{a:02x?} against {b:02x?}");
        }
    }
}

#[test]
fn prefixes_order_by_number_whatever_their_width() {
    assert_ascending(&[
        vec![0, 0, 0, 0, 0],
        vec![0, 0, 0, 0, 6],
        vec![0, 0, 0, 0, 50, 1],
        vec![0, 0, 0, 0, 50, 1, 0],
        vec![0, 0, 0, 0, 100, 0x7f],
        vec![0, 0, 0, 0, 100, 0x80, 1],
        vec![0, 0, 0, 0, 201, 1, 0, b'a', 1, 0, b'b'],
        vec![0, 0, 0, 0, 201, 2, 0, b'a', 0, b'a', 0],
        vec![0, 1, 0, 0, 0],
        vec![0, 1, 0, 0, 50, 1, 7],
        vec![0, 1, 0, 0, 50, 2, 0],
        vec![0, 1, 0, 0, 200, 1, 0, b'a'],
        vec![0, 1, 0, 0, 201, 1, 1, 0, b'a'],
        vec![0, 1, 1, 1, 5],
        vec![0, 1, 1, 2, 5],
        vec![0, 1, 1, 3, 5],
        vec![0, 1, 1, 30, 5],
        vec![0, 255, 1, 1, 5],
        vec![0b0010_0000, 0, 1, 1, 1, 5],
    ]);
    assert_eq!(
        compare(&[0, 1, 1, 1, 5], &[0b0010_0000, 1, 0, 1, 1, 5]),
        Ordering::Equal
    );
}

#[test]
fn keys_order_by_type_then_by_value() {
    let keys: Vec<Vec<u8>> = [
        vec![5],
        number(3, f64::NEG_INFINITY),
        number(3, -1.0),
        number(3, 0.0),
        number(3, 1e-300),
        number(3, 256.0),
        number(2, -5.0),
        number(2, 1e12),
        string(""),
        string("a"),
        string("aa"),
        string("b"),
        string("\u{ff}"),
        string("\u{1f600}"),
        string("\u{ffff}"),
        vec![6, 0],
        vec![6, 1, 0],
        vec![6, 2, 0, 0],
        vec![6, 1, 255],
        array(&[]),
        array(&[number(3, 1.0)]),
        array(&[number(3, 1.0), number(3, 0.0)]),
        array(&[number(3, 1.0), array(&[])]),
        array(&[number(3, 2.0)]),
        array(&[array(&[string("x")]), string("a")]),
        array(&[array(&[string("x")]), string("b")]),
        vec![0],
    ]
    .iter()
    .map(|key| in_store(1, key))
    .collect();
    assert_ascending(&keys);
}

#[test]
fn minus_zero_equals_zero_and_bytes_behind_a_key_do_not_count() {
    let zero = in_store(1, &number(3, 0.0));
    assert_eq!(compare(&zero, &in_store(1, &number(3, -0.0))), Ordering::Equal);
    assert_eq!(compare(&zero, &[&zero[..], b"more"].concat()), Ordering::Equal);
}

#[test]
fn index_entries_order_by_key_then_primary_key_then_sequence() {
    let entry = |key: f64, sequence: &[u8], primary: Option<f64>| {
        let primary = primary.map(|value| number(3, value)).unwrap_or_default();
        in_store(30, &[number(3, key), sequence.to_vec(), primary].concat())
    };
    assert_ascending(&[
        in_store(30, b""),
        entry(1.0, &[], None),
        entry(1.0, &[0], Some(1.0)),
        entry(1.0, &[9], Some(1.0)),
        entry(1.0, &[0], Some(2.0)),
        entry(2.0, &[0], Some(0.0)),
    ]);
    // Without a primary key Chromium does not look at the sequence number.
    assert_eq!(
        compare(&entry(1.0, &[1], None), &entry(1.0, &[2], None)),
        Ordering::Equal
    );
}

#[test]
fn arrays_nested_a_million_deep_are_compared_without_recursion() {
    let deep = in_store(1, &[4, 1].repeat(1_000_000));
    assert_eq!(compare(&deep, &deep), Ordering::Equal);
}

/// Keys that often share a beginning, valid and not.
fn any_key() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        Just(0u8),
        Just(1),
        Just(3),
        Just(4),
        Just(5),
        Just(30),
        Just(0x80),
        any::<u8>()
    ];
    let store = prop_oneof![
        Just(vec![0, 1, 1, 1]),
        Just(vec![0, 1, 1, 30]),
        Just(vec![0, 0, 0, 0]),
        Just(vec![0, 1, 0, 0])
    ];
    (store, prop::collection::vec(byte, 0..14)).prop_map(|(store, rest)| [store, rest].concat())
}

proptest! {
    #[test]
    fn any_three_keys_are_totally_ordered(a in any_key(), b in any_key(), c in any_key()) {
        prop_assert_eq!(compare(&a, &a), Ordering::Equal);
        prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        let mut sorted = [&a, &b, &c];
        sorted.sort_by(|x, y| compare(x, y));
        prop_assert!(compare(sorted[0], sorted[1]).is_le());
        prop_assert!(compare(sorted[1], sorted[2]).is_le());
        prop_assert!(compare(sorted[0], sorted[2]).is_le());
        if compare(sorted[0], sorted[1]).is_lt() {
            prop_assert!(compare(sorted[0], sorted[2]).is_lt());
        }
    }
}
