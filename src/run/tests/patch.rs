//! Patches: what is made of the old value is the new one, nothing else passes; stacks with patches read, fold and
//! compare as the same stacks with whole values do.

use super::*;
use crate::limits::PATCH_BYTES_MAX;
use crate::run::stack_cursor::get;
use crate::run::value_patch::PatchChain;

/// Numbers that stay the same for ever.
struct Dice(blake3::OutputReader);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    fn below(&mut self, bound: usize) -> usize {
        let mut word = [0; 8];
        self.0.fill(&mut word);
        (u64::from_le_bytes(word) % bound as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.fill(&mut bytes);
        bytes
    }

    /// A value that has much in common with `old`: bytes overwritten, put in, taken out, moved.
    fn edit(&mut self, old: &[u8]) -> Vec<u8> {
        let mut new = old.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(new.len() + 1);
            let end = (at + self.below(30)).min(new.len());
            match self.below(4) {
                0 => drop(new.splice(at..end, self.bytes(end - at))),
                1 => {
                    let len = self.below(40);
                    drop(new.splice(at..at, self.bytes(len)));
                }
                2 => drop(new.drain(at..end)),
                _ => new.rotate_left(at),
            }
        }
        new
    }
}

fn make(old: &[u8], new: &[u8]) -> Option<Patch<'static>> {
    PatchMaker::default().make_patch(old, new)
}

#[test]
fn a_patch_makes_the_new_value_of_the_old_one_and_of_no_other() {
    let (mut maker, mut made) = (PatchMaker::default(), 0);
    for seed in 0..2000 {
        let mut dice = Dice::new(seed);
        let len = [100, 700, 20_000, INLINE_VALUE_BYTES_MAX][dice.below(4)];
        let old = dice.bytes(len);
        let new = dice.edit(&old);
        let Some(patch) = maker.make_patch(&old, &new) else {
            continue;
        };
        made += 1;
        assert_eq!(Patch::decode(patch.as_bytes()).unwrap(), patch);
        assert_eq!(patch.value_bytes(), new.len());
        assert!(patch.as_bytes().len() <= new.len() / 2);
        assert_eq!(patch.apply(&old).unwrap(), new, "seed {seed}");
        let mut other = old.clone();
        other[dice.below(len)] ^= 1;
        if let Ok(value) = patch.apply(&other) {
            assert_eq!(value, new, "seed {seed}: a byte that the patch does not copy");
        }
        assert!(patch.apply(&[]).is_err());
    }
    assert!(made > 1500, "{made} of 2000");
}

#[test]
fn an_edit_in_place_costs_its_bytes() {
    let mut dice = Dice::new(1);
    let old = dice.bytes(20_000);
    let mut new = old.clone();
    for at in [0, 5_000, 19_936] {
        new[at..at + 64].copy_from_slice(&dice.bytes(64));
    }
    let patch = make(&old, &new).unwrap();
    assert!(patch.as_bytes().len() < 3 * 64 + 30, "{}", patch.as_bytes().len());
    assert_eq!(make(&old, &old).unwrap().as_bytes().len(), 3 + 4 + 1 + 3 + 1);
}

#[test]
fn values_with_little_in_common_and_those_of_other_kinds_get_none() {
    let mut dice = Dice::new(2);
    let (old, other) = (dice.bytes(5_000), dice.bytes(5_000));
    assert!(make(&old, &other).is_none());
    assert!(
        make(b"a short value", b"a short value, longer").is_none(),
        "cheaper as it is"
    );
    let long = dice.bytes(INLINE_VALUE_BYTES_MAX + 1);
    assert!(make(&long, &long[1..]).is_none(), "the old value is in chunks");
    assert!(make(&long[1..], &long).is_none(), "the new one is");
}

#[test]
fn what_no_writer_makes_is_refused() {
    // A value of 4 bytes with a check, then pieces.
    let patch = |pieces: &[u8]| [&[4, 0, 0, 0, 0][..], pieces].concat();
    assert!(Patch::decode(&patch(&[4, 1, 2, 3, 4])).is_ok());
    assert!(Patch::decode(&patch(&[0, 4, 0])).is_ok());
    assert!(Patch::decode(&[]).is_err());
    for (wrong, why) in [
        (&[4, 1, 2, 3][..], "a byte is missing"),
        (&[5, 1, 2, 3, 4, 5], "longer than the value"),
        (&[0, 5, 0], "a copy that is longer than the value"),
        (&[0, 0, 0, 4, 1, 2, 3, 4], "a copy of nothing"),
        (&[0, 4, 1], "a copy from before the value"),
        (&[0, 4, 0xff, 0xff, 0xff, 0xff, 0x7f], "a copy from far behind"),
        (&[0x84, 0, 1, 2, 3, 4], "a number that is too long"),
        (&[4, 1, 2, 3, 4, 9], "a step that ends early"),
    ] {
        assert_eq!(
            Patch::decode(&patch(wrong)).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "{why}"
        );
    }
    let long = vec![0; PATCH_BYTES_MAX + 1];
    assert!(Patch::decode(&long).is_err());
    let beyond = Patch::decode(&[4, 0, 0, 0, 0, 0, 4, 2]).unwrap().into_owned();
    assert_eq!(beyond.apply(b"four").unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_patch_of_what_is_not_there_or_in_chunks_is_corrupt() {
    let value = Dice::new(3).bytes(200);
    let patch = make(&value, &value).unwrap();
    for under in [OwnedEntry::Delete, OwnedEntry::Chunked(list(1))] {
        let found = PatchChain::new(&patch).put_under(&under.as_payload());
        assert_eq!(found.unwrap_err().kind(), ErrorKind::Corrupt);
    }
    let key = b"k".to_vec();
    let alone = vec![Entries::from([(key.clone(), OwnedEntry::Patch(patch))])];
    let deleted = vec![
        Entries::from([(key.clone(), OwnedEntry::Delete)]),
        alone[0].clone(),
    ];
    for stack in [alone, deleted] {
        let mut blobs = MemoryBlobs::default();
        let roots: Vec<_> = stack
            .iter()
            .map(|run| store_run(run, &mut blobs, |_, _| false))
            .collect();
        let walkers: Vec<_> = roots
            .iter()
            .rev()
            .map(|root| RunReader::new(&blobs, root.as_ref(), ORDER))
            .collect();
        let read = StackCursor::new(&walkers, &KeyRange::all(), TombstoneMode::Drop, ORDER)
            .and_then(|mut cursor| cursor.next().map(|entry| entry.is_some()));
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Corrupt);
        let got = get(walkers.iter().copied(), &key);
        assert_eq!(got.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

/// A stack twice: with whole values alone, and with patches where the value under it allows one.
struct Twice {
    whole: Vec<Entries>,
    patched: Vec<Entries>,
    patches: usize,
}

impl Twice {
    fn new(dice: &mut Dice) -> Self {
        let base: Entries = (0..dice.below(60)).map(|n| (key(n), Self::put(dice))).collect();
        let mut twice = Self {
            whole: vec![base.clone()],
            patched: vec![base],
            patches: 0,
        };
        (0..dice.below(7)).for_each(|_| twice.push(dice));
        twice
    }

    fn put(dice: &mut Dice) -> OwnedEntry {
        let len = [3, 150, 900][dice.below(3)];
        OwnedEntry::Inline(dice.bytes(len))
    }

    fn push(&mut self, dice: &mut Dice) {
        let below = self.visible();
        let (mut whole, mut patched) = (Entries::new(), Entries::new());
        for _ in 0..dice.below(30) {
            let key = key(dice.below(80));
            let new = match (below.get(&key), dice.below(8)) {
                (_, 0) => OwnedEntry::Delete,
                (_, 1) => OwnedEntry::Chunked(list(dice.below(3) as u8)),
                (Some(OwnedEntry::Inline(old)), _) => OwnedEntry::Inline(dice.edit(old)),
                _ => Self::put(dice),
            };
            let told = match (below.get(&key), &new) {
                (Some(OwnedEntry::Inline(old)), OwnedEntry::Inline(new)) => {
                    make(old, new).map(OwnedEntry::Patch)
                }
                _ => None,
            };
            self.patches += usize::from(told.is_some());
            patched.insert(key.clone(), told.unwrap_or_else(|| new.clone()));
            whole.insert(key, new);
        }
        self.whole.push(whole);
        self.patched.push(patched);
    }

    fn visible(&self) -> Entries {
        let mut all = Entries::new();
        self.whole.iter().for_each(|run| all.extend(run.clone()));
        all.retain(|_, entry| *entry != OwnedEntry::Delete);
        all
    }
}

fn key(n: usize) -> Vec<u8> {
    format!("k{n:03}").into_bytes()
}

/// Leaves of few records, cut by content, so that like stretches give like leaves.
fn store(stack: &[Entries], blobs: &mut MemoryBlobs) -> Vec<Option<RunRoot>> {
    let ends = |key: &[u8], _| blake3::hash(key).as_bytes()[0] < 128;
    stack.iter().map(|run| store_run(run, blobs, ends)).collect()
}

fn walkers<'a>(roots: &'a [Option<RunRoot>], blobs: &'a MemoryBlobs) -> Vec<RunReader<'a>> {
    let newest_first = roots.iter().rev();
    newest_first
        .map(|root| RunReader::new(blobs, root.as_ref(), ORDER))
        .collect()
}

fn read(walkers: &[RunReader<'_>], range: &KeyRange, tombstones: TombstoneMode) -> Entries {
    let mut cursor = StackCursor::new(walkers, range, tombstones, ORDER).unwrap();
    let mut found = Entries::new();
    while let Some(entry) = cursor.next().unwrap() {
        found.insert(entry.key.to_vec(), entry.payload.to_owned());
    }
    found
}

#[test]
fn a_stack_with_patches_reads_as_one_of_whole_values() {
    let mut patches = 0;
    for seed in 0..300 {
        let mut dice = Dice::new(seed);
        let twice = Twice::new(&mut dice);
        patches += twice.patches;
        let mut blobs = MemoryBlobs::default();
        let roots = store(&twice.patched, &mut blobs);
        let walkers = walkers(&roots, &blobs);
        let range = KeyRange {
            from: (dice.below(2) == 0).then(|| key(dice.below(40))),
            to: (dice.below(2) == 0).then(|| key(dice.below(80))),
        };
        let mut naive = twice.visible();
        for n in 0..80 {
            let found = get(walkers.iter().copied(), &key(n)).unwrap();
            assert_eq!(found.as_ref(), naive.get(&key(n)), "seed {seed}");
        }
        naive.retain(|key, _| range.contains(key, ORDER));
        assert_eq!(read(&walkers, &range, TombstoneMode::Drop), naive, "seed {seed}");
    }
    assert!(patches > 2000, "{patches}");
}

#[test]
fn the_newest_runs_folded_into_one_leave_the_stack_what_it_is() {
    for seed in 0..300 {
        let mut dice = Dice::new(seed);
        let twice = Twice::new(&mut dice);
        let keep = dice.below(twice.patched.len()) + 1;
        let mut blobs = MemoryBlobs::default();
        let newest = store(&twice.patched[keep..], &mut blobs);
        let folded = read(&walkers(&newest, &blobs), &KeyRange::all(), TombstoneMode::Keep);
        let mut stack = twice.patched[..keep].to_vec();
        stack.push(folded);
        let roots = store(&stack, &mut blobs);
        let found = read(&walkers(&roots, &blobs), &KeyRange::all(), TombstoneMode::Drop);
        assert_eq!(found, twice.visible(), "seed {seed}");
    }
}

#[test]
fn stacks_with_patches_differ_as_those_of_whole_values_do() {
    let mut found_any = 0;
    for seed in 0..400 {
        let mut dice = Dice::new(seed);
        let mut old = Twice::new(&mut dice);
        let mut new = Twice {
            whole: old.whole.clone(),
            patched: old.patched.clone(),
            patches: 0,
        };
        if dice.below(3) == 0 {
            // Another base with much in common, on which the same patches stand where they can.
            let base = old.visible();
            (new.whole, new.patched) = (vec![base.clone()], vec![base]);
        }
        (0..dice.below(3)).for_each(|_| old.push(&mut dice));
        (0..dice.below(3)).for_each(|_| new.push(&mut dice));
        let mut blobs = MemoryBlobs::default();
        let (old_roots, new_roots) = (store(&old.patched, &mut blobs), store(&new.patched, &mut blobs));
        let layers = |roots| -> Vec<StackLayer<'_>> {
            let oldest_first = walkers(roots, &blobs).into_iter().rev();
            oldest_first.map(StackLayer::new).collect()
        };
        let mut found = Vec::new();
        let differing = diff(
            &layers(&old_roots),
            &layers(&new_roots),
            &KeyRange::all(),
            ORDER,
            &mut |difference| {
                let owned = |payload: &Option<EntryPayload<'_>>| payload.as_ref().map(EntryPayload::to_owned);
                found.push((
                    difference.key.to_vec(),
                    owned(&difference.old),
                    owned(&difference.new),
                ));
                Ok(())
            },
        );
        differing.unwrap();
        let (before, after) = (old.visible(), new.visible());
        let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let naive: Vec<_> = keys
            .into_iter()
            .filter(|key| before.get(*key) != after.get(*key))
            .map(|key| (key.clone(), before.get(key).cloned(), after.get(key).cloned()))
            .collect();
        assert_eq!(found, naive, "seed {seed}");
        found_any += usize::from(!found.is_empty());
    }
    assert!(found_any > 200, "{found_any}");
}

proptest! {
    #[test]
    fn noise_is_no_patch_or_a_sound_one(bytes in prop::collection::vec(any::<u8>(), 0..60), base in prop::collection::vec(any::<u8>(), 0..60)) {
        for patch in [&bytes[..], &[&[9, 0, 0, 0, 0][..], &bytes].concat()] {
            if let Ok(patch) = Patch::decode(patch)
                && let Ok(value) = patch.apply(&base)
            {
                prop_assert_eq!(value.len(), patch.value_bytes());
            }
        }
    }
}
