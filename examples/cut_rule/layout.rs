//! How a leaf should be laid out: bytes after zstd, and what it takes to read it back.

use levault::codec::put_varint;
use levault::record::{element_len, put_element};
use levault::run::{LeafDraft, LeafReader, encode_leaf};

use crate::rule::nanos;
use crate::workload::{ALL, Record};

type Layout = fn(&[Record]) -> Vec<u8>;

const LAYOUTS: &[(&str, Layout)] = &[
    ("canonical stream (le32 lengths)", canonical),
    ("rows: lengths, key, value", |leaf| rows(leaf, false)),
    ("rows: shared, lengths, suffix, value", |leaf| rows(leaf, true)),
    ("columns: lengths; then key, value, key, ...", |leaf| {
        columns(leaf, Keys::Whole, Place::Beside)
    }),
    ("columns: lengths; then suffix, value, ...", |leaf| {
        columns(leaf, Keys::Suffix, Place::Beside)
    }),
    ("columns: lengths; keys; values", |leaf| {
        columns(leaf, Keys::Whole, Place::Apart)
    }),
    ("columns: lengths; suffixes; values", |leaf| {
        columns(leaf, Keys::Suffix, Place::Apart)
    }),
    ("columns: lengths; suffixes by byte; values", |leaf| {
        columns(leaf, Keys::Split, Place::Apart)
    }),
    ("levault's encode_leaf", |leaf| encode_leaf(&draft(leaf))),
];

#[derive(Clone, Copy, PartialEq)]
enum Keys {
    Whole,
    Suffix,
    /// First bytes of all suffixes, then second bytes, ...
    Split,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Beside,
    Apart,
}

fn canonical(leaf: &[Record]) -> Vec<u8> {
    let mut out = Vec::new();
    leaf.iter()
        .for_each(|(key, value)| put_element(&mut out, key, value));
    out
}

fn shared(before: &[u8], key: &[u8]) -> usize {
    before.iter().zip(key).take_while(|(a, b)| a == b).count()
}

fn rows(leaf: &[Record], share: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut before: &[u8] = &[];
    for (key, value) in leaf {
        let same = if share { shared(before, key) } else { 0 };
        if share {
            put_varint(&mut out, same as u64);
        }
        put_varint(&mut out, (key.len() - same) as u64);
        put_varint(&mut out, value.len() as u64);
        out.extend_from_slice(&key[same..]);
        out.extend_from_slice(value);
        before = key;
    }
    out
}

fn columns(leaf: &[Record], keys: Keys, place: Place) -> Vec<u8> {
    let [mut a, mut b, mut c] = [Vec::new(), Vec::new(), Vec::new()];
    let (mut key_column, mut values) = (Vec::new(), Vec::new());
    let mut suffixes: Vec<&[u8]> = Vec::new();
    let mut before: &[u8] = &[];
    for (key, value) in leaf {
        let same = if keys == Keys::Whole {
            0
        } else {
            shared(before, key)
        };
        put_varint(&mut a, same as u64);
        put_varint(&mut b, (key.len() - same) as u64);
        put_varint(&mut c, value.len() as u64);
        suffixes.push(&key[same..]);
        if place == Place::Beside {
            values.extend_from_slice(&key[same..]);
        }
        values.extend_from_slice(value);
        before = key;
    }
    if keys == Keys::Split {
        let longest = suffixes.iter().map(|suffix| suffix.len()).max().unwrap_or(0);
        let byte = |at: usize| suffixes.iter().filter_map(move |suffix| suffix.get(at));
        (0..longest).for_each(|at| key_column.extend(byte(at)));
    } else if place == Place::Apart {
        suffixes
            .iter()
            .for_each(|suffix| key_column.extend_from_slice(suffix));
    }
    if keys == Keys::Whole {
        a.clear();
    }
    [a, b, c, key_column, values].concat()
}

fn draft(leaf: &[Record]) -> LeafDraft {
    let mut draft = LeafDraft::default();
    for (key, value) in leaf {
        draft.push_inline(key, value).expect("synthetic values are short");
    }
    draft
}

/// Prints bytes after zstd for each layout, size and level, then times.
pub fn measure() {
    for (name, make) in ALL {
        let records = make(16 << 20);
        let plain: usize = records
            .iter()
            .map(|(key, value)| element_len(key.len(), value.len()))
            .sum();
        println!("\n### {name}: {plain} canonical bytes; share left after zstd\n");
        println!("| layout | 64K zstd-3 | 64K zstd-1 | 32K zstd-3 | 128K zstd-3 | 128K zstd-1 |");
        println!("|--|--|--|--|--|--|");
        for (layout_name, layout) in LAYOUTS {
            print!("| {layout_name} |");
            for (kib, level) in [(64, 3), (64, 1), (32, 3), (128, 3), (128, 1)] {
                let packed = packed(&records, kib << 10, *layout, level);
                print!(" {:.4} |", packed as f64 / plain as f64);
            }
            println!();
        }
        times(&records, plain);
    }
}

fn cut(records: &[Record], bytes_max: usize) -> Vec<&[Record]> {
    let (mut leaves, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, (key, value)) in records.iter().enumerate() {
        bytes += element_len(key.len(), value.len());
        if bytes >= bytes_max {
            leaves.push(&records[start..=at]);
            (start, bytes) = (at + 1, 0);
        }
    }
    leaves.push(&records[start..]);
    leaves.retain(|leaf| !leaf.is_empty());
    leaves
}

fn packed(records: &[Record], bytes_max: usize, layout: Layout, level: i32) -> usize {
    let leaves = cut(records, bytes_max);
    let pack = |leaf: &&[Record]| {
        let plain = layout(leaf);
        let packed = zstd::bulk::compress(&plain, level)
            .expect("zstd packs any bytes")
            .len();
        // What does not shrink is stored as it is.
        packed.min(plain.len())
    };
    leaves.iter().map(pack).sum()
}

fn times(records: &[Record], plain: usize) {
    let drafts: Vec<_> = cut(records, 64 << 10).into_iter().map(draft).collect();
    let encode = nanos(|| drafts.iter().map(|draft| encode_leaf(draft).len()).sum::<usize>());
    let leaves: Vec<_> = drafts.iter().map(encode_leaf).collect();
    let decode = nanos(|| leaves.iter().map(|leaf| decode(leaf)).sum::<usize>());
    let speed = |nanos: f64| plain as f64 / nanos * 1e3;
    println!(
        "\nencode_leaf {:.0} MB/s, LeafReader {:.0} MB/s, of canonical bytes",
        speed(encode),
        speed(decode)
    );
}

fn decode(leaf: &[u8]) -> usize {
    let mut reader = LeafReader::new(leaf).expect("just encoded");
    let mut bytes = 0;
    while let Some(entry) = reader.next().expect("just encoded") {
        bytes += entry.key.len();
    }
    bytes
}
