//! Goal: what a comparison reads is what differs, and the blocks of shared tables that hold the keys which differ, hardly
//! more. Method: a level of shared tables, twenty times the size of one new table above it, whose keys lie together, or
//! behind, or everywhere; the blocks that must be read are counted by hand.

use std::collections::BTreeSet;

use super::engine::ModelState;
use super::random::ModelRandom;
use crate::leveldb::block_decompressor::Decompressor;
use crate::leveldb::comparator::Comparator;
use crate::leveldb::database_layout::BlockCodec;
use crate::leveldb::scan_context::ScanBudget;
use crate::leveldb::table_reader::Table;
use crate::leveldb::test_databases::{WriteOp, op};

const TABLES: u64 = 8;

/// How the old level looks.
#[derive(Clone, Copy)]
struct OldLevelLayout {
    records_per_table: u64,
    value_len: usize,
    per_block: usize,
}

const SMALL: OldLevelLayout = OldLevelLayout {
    records_per_table: 16_000,
    value_len: 100,
    per_block: 32,
};
const LARGE: OldLevelLayout = OldLevelLayout {
    records_per_table: 500,
    value_len: 4000,
    per_block: 1,
};

impl OldLevelLayout {
    fn keys(self) -> u64 {
        TABLES * self.records_per_table
    }

    /// Keys of one new table: a twentieth of all.
    fn new_keys(self) -> u64 {
        self.keys() / 20
    }
}

fn record(layout: OldLevelLayout, number: u64, sequence: u64) -> WriteOp {
    let mut value = vec![0; layout.value_len];
    blake3::Hasher::new()
        .update(&number.to_le_bytes())
        .update(&sequence.to_le_bytes())
        .finalize_xof()
        .fill(&mut value);
    op(format!("key/{number:012}").as_bytes(), sequence, Some(&value))
}

/// Reads, as a share of: the new table, and the new table with the blocks of the old that must be read.
fn ratios(name: &str, layout: OldLevelLayout, numbers: BTreeSet<u64>) -> (f64, f64) {
    let table = |index: u64| {
        let range = index * layout.records_per_table..(index + 1) * layout.records_per_table;
        (
            range
                .map(|number| record(layout, number * 2, number + 1))
                .collect(),
            layout.per_block,
            BlockCodec::None,
        )
    };
    let old = ModelState::new(&Comparator::Bytewise).with_tables(2, (0..TABLES).map(table).collect());
    let ops = numbers
        .iter()
        .map(|&number| record(layout, number, 1_000_000 + number))
        .collect();
    let new = old
        .clone()
        .with_tables(1, vec![(ops, layout.per_block, BlockCodec::None)]);
    let shared = super::judge::shared(&old, &new);
    assert_eq!(shared.len() as u64, TABLES);
    let (seen, outcome) = super::run(&old, &new, &shared, ScanBudget::default());
    assert_eq!(seen.changes.len(), numbers.len());
    let block_bytes = (layout.per_block * (layout.value_len + 20)) as u64;
    let within = numbers.iter().filter(|&&number| number < 2 * layout.keys());
    let blocks: BTreeSet<u64> = within
        .map(|number| number / 2 / layout.per_block as u64)
        .collect();
    let needed = outcome.bytes_differing + blocks.len() as u64 * block_bytes + frames(layout, &old, &blocks);
    let ratio = |of: u64| outcome.bytes_read as f64 / of as f64;
    let (of_differing, of_needed) = (ratio(outcome.bytes_differing), ratio(needed));
    eprintln!(
        "{name}: read {} KiB, {of_differing:.2} of the {} KiB that differ, {of_needed:.2} of the {} KiB that must be read",
        outcome.bytes_read >> 10,
        outcome.bytes_differing >> 10,
        needed >> 10
    );
    (of_differing, of_needed)
}

/// Bytes of the indexes of those tables that have one of these blocks.
fn frames(layout: OldLevelLayout, old: &ModelState, blocks: &BTreeSet<u64>) -> u64 {
    let per_table = layout.records_per_table / layout.per_block as u64;
    let opened: BTreeSet<u64> = blocks.iter().map(|block| block / per_table).collect();
    let bytes = opened
        .iter()
        .filter_map(|&index| old.tables.values().nth(index as usize));
    bytes
        .map(|table| {
            let frame = Table::open(
                table.bytes.as_ref(),
                table.bytes.len() as u64,
                &mut Decompressor::default(),
            );
            let frame = frame.unwrap();
            table.bytes.len() as u64 - frame.data_end + frame.index.len() as u64
        })
        .sum()
}

#[test]
fn new_keys_behind_all_others_cost_their_own_table() {
    for layout in [SMALL, LARGE] {
        let numbers = (2 * layout.keys()..).take(layout.new_keys() as usize).collect();
        let (of_differing, _) = ratios("appended", layout, numbers);
        assert!(of_differing < 1.05, "{of_differing}");
    }
}

#[test]
fn keys_that_lie_together_cost_the_blocks_they_lie_in() {
    for layout in [SMALL, LARGE] {
        let numbers = (0..layout.new_keys())
            .map(|number| 2 * (number + 7000 % layout.keys()))
            .collect();
        let (_, of_needed) = ratios("together", layout, numbers);
        assert!(of_needed < 1.25, "{of_needed}");
    }
}

#[test]
fn keys_that_lie_everywhere_cost_the_blocks_they_lie_in() {
    for layout in [SMALL, LARGE] {
        let mut random = ModelRandom(5);
        let mut numbers = BTreeSet::new();
        while (numbers.len() as u64) < layout.new_keys() {
            numbers.insert(2 * random.below(layout.keys()));
        }
        let (_, of_needed) = ratios("everywhere", layout, numbers);
        assert!(of_needed < 1.25, "{of_needed}");
    }
}

#[test]
fn few_keys_far_apart_cost_a_block_each() {
    for layout in [SMALL, LARGE] {
        let step = layout.keys() / 40;
        let numbers = (0..40).map(|index| 2 * (index * step + 3)).collect();
        let (_, of_needed) = ratios("far apart", layout, numbers);
        assert!(of_needed < 1.25, "{of_needed}");
    }
}
