//! How much of a run changes when its records do: every leaf that was not there before is counted whole. All in
//! KiB of canonical stream; churn is KiB of new leaves for each changed record.

use std::collections::HashSet;

use levault::record::put_element;

use crate::rule::{RULES, Rule};
use crate::workload::{ALL, Noise, Record};

type Change = fn(&[Record], &mut Noise) -> Vec<Record>;

/// This many records change, spread at random: few leaves hold two of them.
const CHANGED: usize = 200;

/// Every kind of change.
const CHANGES: &[(&str, Change)] = &[
    ("overwrite", |records, noise| {
        spread(records, noise, |(key, value), noise| {
            vec![(key.clone(), noise.bytes(value.len()))]
        })
    }),
    ("overwrite, new length", |records, noise| {
        spread(records, noise, |(key, value), noise| {
            let len = value.len() / 2 + noise.below(value.len() as u64 + 1) as usize;
            vec![(key.clone(), noise.bytes(len))]
        })
    }),
    ("insert", |records, noise| {
        spread(records, noise, |(key, value), noise| {
            let mut new = key.clone();
            new.extend_from_slice(&noise.bytes(2));
            vec![(key.clone(), value.clone()), (new, value.clone())]
        })
    }),
    ("delete", |records, noise| {
        spread(records, noise, |_, _| Vec::new())
    }),
    ("append", |records, _| {
        let mut new = records.to_vec();
        let (key, value) = records.last().expect("records are there");
        for n in 0..CHANGED as u32 {
            new.push(([&key[..], &n.to_be_bytes()].concat(), value.clone()));
        }
        new
    }),
];

fn spread(
    records: &[Record],
    noise: &mut Noise,
    change: fn(&Record, &mut Noise) -> Vec<Record>,
) -> Vec<Record> {
    let mut chosen = HashSet::new();
    while chosen.len() < CHANGED {
        chosen.insert(noise.below(records.len() as u64) as usize);
    }
    let step = |(at, record): (usize, &Record)| {
        if chosen.contains(&at) {
            change(record, noise)
        } else {
            vec![record.clone()]
        }
    };
    records.iter().enumerate().flat_map(step).collect()
}

/// Prints one table of sizes and one of churn for each kind of records.
pub fn measure() {
    for (name, make) in ALL {
        let records = make(128 << 20);
        println!("\n### {name}: {} records\n", records.len());
        print!("| rule | leaves | mean | p5 | p95 | max | a random byte's leaf |");
        CHANGES.iter().for_each(|(change, _)| print!(" {change} |"));
        println!("\n|--|{}", "--|".repeat(6 + CHANGES.len()));
        for (rule_name, rule) in RULES {
            row(rule_name, *rule, &records);
        }
    }
}

fn row(rule_name: &str, rule: Rule, records: &[Record]) {
    let old = leaves(rule, records);
    let mut sizes: Vec<usize> = old.iter().map(|(_, len)| *len).collect();
    sizes.sort_unstable();
    let total: usize = sizes.iter().sum();
    let kib = |bytes: f64| bytes / 1024.0;
    let at = |share: usize| kib(sizes[(sizes.len() - 1) * share / 100] as f64);
    let square: f64 = sizes.iter().map(|len| (*len as f64).powi(2)).sum();
    print!(
        "| {rule_name} | {} | {:.1} | {:.0} | {:.0} | {:.0} | {:.1} |",
        sizes.len(),
        kib(total as f64 / sizes.len() as f64),
        at(5),
        at(95),
        at(100),
        kib(square / total as f64)
    );
    let known: HashSet<u64> = old.iter().map(|(hash, _)| *hash).collect();
    for (_, change) in CHANGES {
        let new = leaves(rule, &change(records, &mut Noise(77)));
        let changed: usize = new
            .iter()
            .filter(|(hash, _)| !known.contains(hash))
            .map(|(_, len)| len)
            .sum();
        print!(" {:.1} |", kib(changed as f64 / CHANGED as f64));
    }
    println!();
}

/// Hash and bytes of each leaf.
fn leaves(rule: Rule, records: &[Record]) -> Vec<(u64, usize)> {
    let hasher = siphasher::sip::SipHasher13::new();
    let mut start = 0;
    let mut leaf = |end: usize| {
        let mut bytes = Vec::new();
        records[start..end]
            .iter()
            .for_each(|(key, value)| put_element(&mut bytes, key, value));
        start = end;
        (hasher.hash(&bytes), bytes.len())
    };
    rule(records).into_iter().map(&mut leaf).collect()
}
