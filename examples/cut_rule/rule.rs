//! The candidates: each says where the leaves of a list of records end.

use std::time::Instant;

use levault::chunk::{Chunker, InputEnd};
use levault::record::{element_len, put_element};
use levault::run::{LeafCutter, LeafDraft};
use siphasher::sip::SipHasher13;

use crate::workload::{ALL, Record};

/// A way to cut: gives the end (exclusive) of each leaf as a number of records.
pub type Rule = fn(&[Record]) -> Vec<usize>;

pub const RULES: &[(&str, Rule)] = &[
    ("stream: FastCDC 16/64/256K, to the record's end", stream),
    ("key hash, min 2K, max 256K smallest hash", |records| {
        keyed(records, plain(72, Weight::Exact))
    }),
    ("the same, weight rounded to a power of two", |records| {
        keyed(records, plain(88, Weight::Rounded))
    }),
    ("key hash, ramp 1/2 then 2x at 64K", |records| {
        keyed(records, ramp(112, 28))
    }),
    ("key hash, ramp 1/4 then 4x at 64K", |records| {
        keyed(records, ramp(256, 16))
    }),
    ("key hash, ramp 1/8 then 8x at 64K", |records| {
        keyed(records, ramp(512, 8))
    }),
    ("key hash, ramp 1/16 then 16x at 64K", |records| {
        keyed(records, ramp(1024, 4))
    }),
    ("levault's LeafCutter", levault),
];

#[derive(Clone, Copy)]
enum Weight {
    Exact,
    Rounded,
}

struct Params {
    min: usize,
    turn: usize,
    rare: u64,
    often: u64,
    weight: Weight,
}

fn plain(average_kib: u64, weight: Weight) -> Params {
    let average = average_kib << 10;
    Params {
        min: 2 << 10,
        turn: usize::MAX,
        rare: average,
        often: average,
        weight,
    }
}

fn ramp(rare_kib: u64, often_kib: u64) -> Params {
    let (rare, often) = (rare_kib << 10, often_kib << 10);
    Params {
        min: 0,
        turn: 64 << 10,
        rare,
        often,
        weight: Weight::Exact,
    }
}

const MAX: usize = 256 << 10;

/// Cuts on a keyed hash of the key; at the maximum, after the record with the smallest hash for its weight.
fn keyed(records: &[Record], params: Params) -> Vec<usize> {
    let hasher = SipHasher13::new_with_key(&[3; 16]);
    let mut ends = Vec::new();
    let (mut start, mut at, mut bytes) = (0, 0, 0);
    let mut least = (u64::MAX, 0);
    while at < records.len() {
        let (key, value) = &records[at];
        let len = element_len(key.len(), value.len());
        bytes += len;
        at += 1;
        let weight = match params.weight {
            Weight::Exact => len as u64,
            Weight::Rounded => len.next_power_of_two() as u64,
        };
        let scaled = hasher.hash(key) / weight;
        if bytes >= params.min && scaled < least.0 {
            least = (scaled, at);
        }
        let scale = if bytes + len / 2 < params.turn {
            params.rare
        } else {
            params.often
        };
        let by_hash = bytes >= params.min && scaled < u64::MAX / scale;
        if !by_hash && bytes < MAX {
            continue;
        }
        if !by_hash && least.1 > start {
            at = least.1;
        }
        ends.push(at);
        (start, bytes, least) = (at, 0, (u64::MAX, 0));
    }
    if start < records.len() {
        ends.push(records.len());
    }
    ends
}

/// FastCDC over the canonical stream; a cut inside a record moves to its end.
fn stream(records: &[Record]) -> Vec<usize> {
    let cutter = Chunker::new(&[3; 32]);
    let mut bytes = Vec::new();
    let mut offsets = Vec::new();
    for (key, value) in records {
        put_element(&mut bytes, key, value);
        offsets.push(bytes.len());
    }
    let (mut ends, mut start) = (Vec::new(), 0);
    while let Some(len) = cutter.first_chunk_len(&bytes[start..], InputEnd::Ended) {
        let end = offsets.partition_point(|offset| *offset < start + len) + 1;
        start = offsets[end - 1];
        ends.push(end);
    }
    ends
}

fn levault(records: &[Record]) -> Vec<usize> {
    let mut cutter = LeafCutter::new(&[3; 32]);
    let mut ends = Vec::new();
    for (index, (key, value)) in records.iter().enumerate() {
        if cutter.cut_after(key, element_len(key.len(), value.len())) {
            ends.push(index + 1);
        }
    }
    if ends.last() != Some(&records.len()) {
        ends.push(records.len());
    }
    ends
}

/// What the scan thread pays a record: filling the draft and asking the cutter, against FastCDC over the stream.
pub fn measure_speed() {
    println!(
        "\n| records | fill and key hash, ns a record | MB/s | FastCDC over the stream alone, ns a record | MB/s |"
    );
    println!("|--|--|--|--|--|");
    for (name, make) in ALL {
        let records = make(64 << 20);
        let bytes: usize = records
            .iter()
            .map(|(key, value)| element_len(key.len(), value.len()))
            .sum();
        let keyed = nanos(|| fill(&records));
        let mut joined = Vec::new();
        records
            .iter()
            .for_each(|(key, value)| put_element(&mut joined, key, value));
        let cutter = Chunker::new(&[3; 32]);
        let stream = nanos(|| cutter.chunks(&joined).count());
        let count = records.len() as f64;
        let row = [
            keyed / count,
            bytes as f64 / keyed * 1e3,
            stream / count,
            bytes as f64 / stream * 1e3,
        ];
        println!(
            "| {name} | {:.1} | {:.0} | {:.1} | {:.0} |",
            row[0], row[1], row[2], row[3]
        );
    }
}

fn fill(records: &[Record]) -> usize {
    let mut cutter = LeafCutter::new(&[3; 32]);
    let mut draft = LeafDraft::with_capacity(320 << 10);
    let mut leaves = 0;
    for (key, value) in records {
        let weight = draft.push_inline(key, value).expect("synthetic values are short");
        if cutter.cut_after(key, weight) {
            leaves += 1;
            draft.clear();
        }
    }
    leaves
}

/// The best of five, nanoseconds.
pub fn nanos<T>(mut work: impl FnMut() -> T) -> f64 {
    let once = |_| {
        let start = Instant::now();
        std::hint::black_box(work());
        start.elapsed().as_nanos() as f64
    };
    (0..5).map(once).fold(f64::INFINITY, f64::min)
}
