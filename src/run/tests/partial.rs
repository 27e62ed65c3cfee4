//! Stacks that lost pieces: what is given is what the whole stack says, and whatever is not given lies in a lost range.

use std::cmp::Ordering;

use super::*;
use crate::chunk::memory_blobs::noise;
use crate::run::partial_run::{PartialRun, for_each_readable};
use crate::run::value_patch::PatchChain;

/// Numbers that stay the same for ever.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 += 1;
        let word = noise(self.0, 8);
        (u64::from_le_bytes(word.try_into().unwrap()) % bound as u64) as usize
    }
}

/// An order, and the least key behind a given one if it has such a thing.
struct Orders {
    order: KeyOrder<'static>,
    after: fn(&[u8]) -> Option<Vec<u8>>,
}

const ORDERS: [Orders; 2] = [
    Orders {
        order: &|a, b| a.cmp(b),
        after: |key| Some([key, &[0]].concat()),
    },
    Orders {
        order: &|a, b| b.cmp(a),
        after: |_| None,
    },
];

struct Stack {
    blobs: MemoryBlobs,
    /// Newest first.
    runs: Vec<(Option<RunRoot>, Vec<u8>, Entries)>,
}

/// Three to five runs; patches where there is a value to be patched.
fn stack(dice: &mut Dice, order: KeyOrder) -> Stack {
    let mut blobs = MemoryBlobs::default();
    let mut runs: Vec<(Option<RunRoot>, Vec<u8>, Entries)> = Vec::new();
    let mut state: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for depth in 0..3 + dice.below(3) {
        let mut entries = Entries::new();
        for _ in 0..if depth == 0 { 60 } else { 1 + dice.below(20) } {
            let key = vec![b'a' + dice.below(26) as u8; 1 + dice.below(3)];
            let fresh = noise(dice.0, 120);
            let entry = match (dice.below(4), state.get(&key)) {
                (0, Some(_)) if depth > 0 => OwnedEntry::Delete,
                (1 | 2, Some(old)) if depth > 0 && !entries.contains_key(&key) => {
                    let new = [&old[..], &fresh[..9]].concat();
                    PatchMaker::default()
                        .make_patch(old, &new)
                        .map_or(OwnedEntry::Inline(new), OwnedEntry::Patch)
                }
                _ => OwnedEntry::Inline(fresh),
            };
            entries.insert(key, entry);
        }
        for (key, entry) in &entries {
            match entry {
                OwnedEntry::Delete => drop(state.remove(key)),
                OwnedEntry::Inline(value) => drop(state.insert(key.clone(), value.clone())),
                OwnedEntry::Patch(patch) => {
                    drop(state.insert(key.clone(), patch.apply(&state[key]).unwrap()))
                }
                OwnedEntry::Chunked(_) => {}
            }
        }
        let mut sorted: Vec<_> = entries.iter().collect();
        sorted.sort_by(|a, b| order(a.0, b.0));
        let last = sorted.last().unwrap().0.clone();
        let mut ends = Dice(dice.0);
        let root = store_run(sorted, &mut blobs, |_, _| ends.below(4) == 0);
        runs.insert(0, (root, last, entries));
    }
    Stack { blobs, runs }
}

/// What the runs say of a key, newest first, if none is asked behind one that may have lost a word on it.
fn known(runs: &[PartialRun], entries: &[&Entries], key: &[u8], order: KeyOrder) -> Option<Vec<u8>> {
    let mut pile: Option<PatchChain> = None;
    for (run, entries) in runs.iter().zip(entries) {
        if run.lost_ranges().iter().any(|range| range.contains(key, order)) {
            return None;
        }
        match (entries.get(key), &mut pile) {
            (None, _) => {}
            (Some(OwnedEntry::Inline(value)), None) => return Some(value.clone()),
            (Some(OwnedEntry::Delete), None) => return None,
            (Some(OwnedEntry::Patch(patch)), pile @ None) => *pile = Some(PatchChain::new(&patch.as_ref())),
            (Some(under), Some(pile)) => {
                if let Some(OwnedEntry::Inline(value)) = pile.put_under(&under.as_payload()).unwrap() {
                    return Some(value);
                }
            }
            (Some(OwnedEntry::Chunked(_)), None) => unreachable!("none was made"),
        }
    }
    None
}

#[test]
fn what_is_left_of_a_stack_is_right_and_what_is_not_lies_in_a_lost_range() {
    let (mut given, mut missing, mut patched) = (0, 0, 0);
    for seed in 0..600_u64 {
        let Orders { order, after } = &ORDERS[(seed % 2) as usize];
        let mut dice = Dice(seed << 32);
        let Stack { mut blobs, runs } = stack(&mut dice, order);
        let mut model = BTreeMap::new();
        let whole: Vec<_> = runs
            .iter()
            .map(|(root, _, _)| RunReader::new(&blobs, root.as_ref(), order))
            .collect();
        let mut merged = StackCursor::new(&whole, &KeyRange::all(), TombstoneMode::Drop, order).unwrap();
        while let Some(entry) = merged.next().unwrap() {
            model.insert(entry.key.to_vec(), entry.payload.to_owned());
        }
        drop(merged);
        let mut ids: Vec<_> = blobs.map.keys().copied().collect();
        ids.sort_unstable();
        for _ in 0..1 + dice.below(3) {
            blobs.map.remove(&ids[dice.below(ids.len())]);
        }
        let partial: Vec<_> = runs
            .iter()
            .map(|(root, last, _)| {
                let walker = RunReader::new(&blobs, root.as_ref(), order);
                PartialRun::survey_losses(walker, last, after, &|| Ok(())).unwrap()
            })
            .collect();
        let entries: Vec<_> = runs.iter().map(|(_, _, entries)| entries).collect();
        let mut left = BTreeMap::new();
        let mut before: Option<Vec<u8>> = None;
        for_each_readable(&partial, order, &mut |entry| {
            if matches!(entry.payload, EntryPayload::Delete | EntryPayload::Patch(_)) {
                return Ok(());
            }
            if let Some(before) = &before {
                assert_eq!(order(before, entry.key), Ordering::Less, "seed {seed}");
            }
            before = Some(entry.key.to_vec());
            left.insert(entry.key.to_vec(), entry.payload.to_owned());
            Ok(())
        })
        .unwrap();
        for (key, entry) in &left {
            assert_eq!(
                model.get(key),
                Some(entry),
                "seed {seed}: {key:?} is not what it was"
            );
        }
        for (key, entry) in &model {
            let expected = known(&partial, &entries, key, order).map(OwnedEntry::Inline);
            assert_eq!(left.get(key), expected.as_ref(), "seed {seed}: {key:?}");
            let mut lost = partial.iter().flat_map(PartialRun::lost_ranges);
            let in_range = lost.any(|range| range.contains(key, order));
            assert!(
                in_range || left.get(key) == Some(entry),
                "seed {seed}: {key:?} in no lost range"
            );
        }
        let all = entries.iter().flat_map(|entries| entries.values());
        patched += all.filter(|entry| matches!(entry, OwnedEntry::Patch(_))).count();
        given += left.len();
        missing += model.len() - left.len();
    }
    assert!(
        given > 5_000 && missing > 2_000 && patched > 2_000,
        "{given} {missing} {patched}"
    );
}

#[test]
fn an_error_of_the_storage_is_no_loss() {
    struct Down;
    impl BlobSource for Down {
        fn blob(&self, _: BlobKind, _: &BlobId) -> Result<std::sync::Arc<[u8]>> {
            Err(crate::error::Error::new(ErrorKind::Io, "the store is down"))
        }
    }
    let mut dice = Dice(7);
    let stack = stack(&mut dice, ORDER);
    let (root, last, _) = &stack.runs[0];
    let walker = RunReader::new(&Down, root.as_ref(), ORDER);
    let survey = PartialRun::survey_losses(walker, last, |_| None, &|| Ok(()));
    assert_eq!(survey.err().unwrap().kind(), ErrorKind::Io);
}
