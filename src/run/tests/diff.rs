//! What differs between stacks: as two maps differ, over random stacks that share runs and subtrees, and read at the
//! cost of the difference.

use super::*;

/// A stack of runs in maps, oldest first.
type Stack = Vec<Entries>;

/// Key, old entry, new entry.
type Found = (Vec<u8>, Option<OwnedEntry>, Option<OwnedEntry>);

/// Numbers that stay the same for ever.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn key(&mut self, keys: usize) -> Vec<u8> {
        format!("k{:05}", self.below(keys)).into_bytes()
    }

    fn put(&mut self) -> OwnedEntry {
        match self.below(12) {
            0 => OwnedEntry::Chunked(list(self.below(3) as u8)),
            _ => OwnedEntry::Inline(vec![self.below(4) as u8; 3]),
        }
    }

    fn delta(&mut self, keys: usize) -> Entries {
        let count = self.below(30);
        let entry = |dice: &mut Self| match dice.below(3) {
            0 => (dice.key(keys), OwnedEntry::Delete),
            _ => (dice.key(keys), dice.put()),
        };
        (0..count).map(|_| entry(self)).collect()
    }

    /// A base near this one: some records changed, gone or new, perhaps a whole stretch gone.
    fn near(&mut self, base: &Entries, keys: usize) -> Entries {
        let mut near = base.clone();
        for (key, entry) in self.delta(keys) {
            match entry {
                OwnedEntry::Delete => near.remove(&key),
                put => near.insert(key, put),
            };
        }
        if self.below(4) == 0 {
            let (from, to) = (self.key(keys), self.key(keys));
            near.retain(|key, _| *key < from || *key >= to);
        }
        near
    }

    fn stacks(&mut self) -> (Stack, Stack) {
        let keys = [20, 300, 4000][self.below(3)];
        let records = self.below(keys);
        let base: Entries = (0..records).map(|_| (self.key(keys), self.put())).collect();
        let common = self.below(3);
        let mut old: Stack = [base]
            .into_iter()
            .chain((0..common).map(|_| self.delta(keys)))
            .collect();
        let mut new = old.clone();
        match self.below(3) {
            0 => new[0] = self.near(&old[0].clone(), keys),
            1 => new = vec![self.near(&visible(&old), keys)],
            _ => {}
        }
        for stack in [&mut old, &mut new] {
            let own = self.below(3);
            stack.extend((0..own).map(|_| self.delta(keys)).collect::<Vec<_>>());
        }
        (old, new)
    }
}

/// What a reader of the stack sees.
fn visible(stack: &Stack) -> Entries {
    let mut all = Entries::new();
    stack.iter().for_each(|run| all.extend(run.clone()));
    all.retain(|_, entry| *entry != OwnedEntry::Delete);
    all
}

fn naive(old: &Stack, new: &Stack, range: &KeyRange) -> Vec<Found> {
    let (old, new) = (visible(old), visible(new));
    let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let differs = |key: &&&Vec<u8>| range.contains(key, ORDER) && old.get(**key) != new.get(**key);
    let found = |key: &Vec<u8>| (key.clone(), old.get(key).cloned(), new.get(key).cloned());
    keys.iter().filter(differs).map(|key| found(key)).collect()
}

/// Leaves of two records, cut by content, so that like stretches give like leaves.
fn store(stack: &Stack, blobs: &mut MemoryBlobs) -> Vec<Option<RunRoot>> {
    let ends = |key: &[u8], _| blake3::hash(key).as_bytes()[0] < 128;
    stack.iter().map(|run| store_run(run, blobs, ends)).collect()
}

fn layers<'a>(stack: &'a Stack, roots: &'a [Option<RunRoot>], blobs: &'a MemoryBlobs) -> Vec<StackLayer<'a>> {
    let layer = |(run, root): (&'a Entries, &'a Option<RunRoot>)| {
        let walker = RunReader::new(blobs, root.as_ref(), ORDER);
        // A filter that is right and now and then says maybe for nothing.
        StackLayer::filtered(walker, |key| run.contains_key(key) || key.ends_with(b"7"))
    };
    stack.iter().zip(roots).map(layer).collect()
}

fn found(old: &[StackLayer<'_>], new: &[StackLayer<'_>], range: &KeyRange) -> Vec<Found> {
    let mut found = Vec::new();
    diff(old, new, range, ORDER, &mut |difference| {
        found.push((
            difference.key.to_vec(),
            difference.old.as_ref().map(EntryPayload::to_owned),
            difference.new.as_ref().map(EntryPayload::to_owned),
        ));
        Ok(())
    })
    .unwrap();
    found
}

#[test]
fn random_stacks_differ_as_their_maps_do() {
    let mut levels = std::collections::BTreeSet::new();
    for seed in 0..600 {
        let mut dice = Dice(seed);
        let (old, new) = dice.stacks();
        let range = match dice.below(3) {
            0 => KeyRange {
                from: Some(dice.key(4000)),
                to: (dice.below(2) == 0).then(|| dice.key(4000)),
            },
            _ => KeyRange::all(),
        };
        let mut blobs = MemoryBlobs::default();
        let (old_roots, new_roots) = (store(&old, &mut blobs), store(&new, &mut blobs));
        levels.extend(old_roots.iter().flatten().map(|root| root.level));
        let got = found(
            &layers(&old, &old_roots, &blobs),
            &layers(&new, &new_roots, &blobs),
            &range,
        );
        assert_eq!(got, naive(&old, &new, &range), "seed {seed}");
    }
    assert!(
        levels.contains(&2),
        "no tree was high enough to share nodes: {levels:?}"
    );
}

/// Blobs read for a comparison that finds `differences`.
fn cost(old: &Stack, new: &Stack, differences: usize) -> (usize, usize) {
    let mut blobs = MemoryBlobs::default();
    let (old_roots, new_roots) = (store(old, &mut blobs), store(new, &mut blobs));
    let got = found(
        &layers(old, &old_roots, &blobs),
        &layers(new, &new_roots, &blobs),
        &KeyRange::all(),
    );
    assert_eq!(got.len(), differences);
    let asked = blobs.asked.borrow();
    let of = |kind| asked.iter().filter(|asked| **asked == kind).count();
    (of(BlobKind::Leaf), of(BlobKind::Node))
}

/// 40,000 records, and a change of every thousandth.
fn large() -> (Entries, Entries) {
    let key = |n: u32| format!("k{n:08}").into_bytes();
    let base: Entries = (0..40_000)
        .map(|n| (key(n), OwnedEntry::Inline(vec![0; 4])))
        .collect();
    let changes = (0..40).map(|n| (key(n * 1000), OwnedEntry::Inline(vec![1; 4])));
    (base, changes.collect())
}

#[test]
fn an_increment_costs_its_keys_alone() {
    let (base, changes) = large();
    let (leaves, nodes) = cost(&vec![base.clone()], &vec![base, changes], 40);
    assert!(
        leaves <= 2 * 40 + 1 && nodes <= 40 * 2,
        "{leaves} leaves, {nodes} nodes"
    );
}

#[test]
fn two_bases_cost_the_paths_to_what_differs() {
    let (base, changes) = large();
    let mut other = base.clone();
    other.extend(changes);
    let (leaves, nodes) = cost(&vec![base.clone()], &vec![other], 40);
    assert_eq!(leaves, 2 * 40, "one leaf of each side for each change");
    assert!(
        nodes <= 40 * 2 * 2 * 2,
        "{nodes} nodes: each side's walk opens both paths"
    );
    let (leaves, nodes) = cost(&vec![base.clone()], &vec![base], 0);
    assert_eq!((leaves, nodes), (0, 0), "equal roots are not opened");
}

#[test]
fn bases_without_anything_in_common_are_read_once() {
    let (base, _) = large();
    let other: Entries = base
        .keys()
        .map(|key| ([&key[..], b"+"].concat(), OwnedEntry::Inline(vec![1; 4])))
        .collect();
    let mut blobs = MemoryBlobs::default();
    store(&vec![base.clone()], &mut blobs);
    store(&vec![other.clone()], &mut blobs);
    let stored = blobs
        .map
        .values()
        .filter(|(kind, _)| *kind == BlobKind::Leaf)
        .count();
    let (leaves, _) = cost(&vec![base], &vec![other], 80_000);
    assert_eq!(leaves, stored);
}

#[test]
fn keys_that_are_equal_by_the_order_are_one_key_that_changed() {
    let order: KeyOrder<'_> = &|a, b| a.to_ascii_lowercase().cmp(&b.to_ascii_lowercase());
    let mut blobs = MemoryBlobs::default();
    let run = |key: &[u8]| Entries::from([(key.to_vec(), OwnedEntry::Inline(vec![1]))]);
    let roots = [&b"KEY"[..], b"key", b"kEy"].map(|key| store_run(&run(key), &mut blobs, |_, _| false));
    let layer = |at: usize| StackLayer::new(RunReader::new(&blobs, roots[at].as_ref(), order));
    let changed = |old: &[StackLayer<'_>], new: &[StackLayer<'_>]| {
        let mut keys = Vec::new();
        diff(old, new, &KeyRange::all(), order, &mut |difference| {
            assert!(difference.old.is_some() && difference.new.is_some());
            keys.push(difference.key.to_vec());
            Ok(())
        })
        .unwrap();
        keys
    };
    assert_eq!(changed(&[layer(0)], &[layer(1)]), [b"key"]);
    assert_eq!(changed(&[layer(0)], &[layer(0), layer(2)]), [b"kEy"]);
    assert!(changed(&[layer(0)], &[layer(1), layer(0)]).is_empty());
}
