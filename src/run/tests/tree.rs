//! Trees: the same for the same leaves, walked as the naive list, held to what parents say.

use super::*;
use crate::chunk::memory_blobs::noise;
use crate::limits::NODE_CHILDREN_MAX;

fn leaves(count: usize, seed: u64) -> Vec<LeafRef> {
    let make = |n: usize| LeafRef {
        first_key: format!("key {n:08}").into_bytes(),
        id: BlobId(*blake3::hash(&(n as u64 ^ seed << 32).to_le_bytes()).as_bytes()),
        records: 1 + n as u64 % 5,
        bytes: 100 + n as u64,
        chunked: n as u64 % 2,
    };
    (0..count).map(make).collect()
}

fn build(leaves: &[LeafRef]) -> (Option<RunRoot>, MemoryBlobs) {
    let mut blobs = MemoryBlobs::default();
    let mut builder = RunTreeBuilder::new();
    for leaf in leaves {
        builder
            .push(leaf.clone(), &mut |kind, plain| blobs.store(kind, plain))
            .unwrap();
    }
    let root = builder
        .finish(&mut |kind, plain| blobs.store(kind, plain))
        .unwrap();
    (root, blobs)
}

#[test]
fn trees_of_every_size_give_their_leaves_back() {
    for count in [0, 1, 2, 3, 127, 128, 129, 5_000, 60_000] {
        let leaves = leaves(count, 0);
        let (root, blobs) = build(&leaves);
        assert_eq!(root.is_none(), count == 0);
        assert!(
            count != 1 || root.as_ref().unwrap().level == 0,
            "a single leaf is the root itself"
        );
        let spans: Vec<_> = RunReader::new(&blobs, root.as_ref(), ORDER)
            .leaves(KeyRange::all())
            .map(Result::unwrap)
            .collect();
        assert!(spans.iter().map(|span| &span.leaf).eq(&leaves));
        let uppers = leaves
            .iter()
            .skip(1)
            .map(|leaf| Some(&leaf.first_key))
            .chain([None]);
        assert!(
            spans
                .iter()
                .map(|span| span.upper.as_ref())
                .eq(uppers.take(count))
        );
        let sum = root.map_or(0, |root| root.top.bytes);
        assert_eq!(sum, leaves.iter().map(|leaf| leaf.bytes).sum::<u64>());
    }
}

#[test]
fn nodes_keep_their_fan_out() {
    let (_, blobs) = build(&leaves(200_000, 1));
    let nodes: Vec<_> = blobs
        .map
        .values()
        .map(|(_, plain)| RunNode::decode(plain).unwrap())
        .collect();
    let level_1: Vec<_> = nodes
        .iter()
        .filter(|node| node.level == 1)
        .map(|node| node.children.len())
        .collect();
    let average = 200_000 / level_1.len();
    assert!((96..160).contains(&average), "{average}");
    assert!(level_1.iter().all(|count| *count <= NODE_CHILDREN_MAX));
}

#[test]
fn a_changed_leaf_changes_a_node_a_level_and_now_and_then_its_neighbour() {
    let mut new = leaves(50_000, 2);
    let (_, old_blobs) = build(&new);
    let (mut total, rounds) = (0, 50);
    for round in 0..rounds {
        let at = round * 997;
        let kept = std::mem::replace(&mut new[at].id, BlobId([round as u8; 32]));
        let (root, blobs) = build(&new);
        total += blobs.fresh(&old_blobs, BlobKind::Node);
        assert_eq!(root.unwrap().level, 3);
        new[at].id = kept;
    }
    assert!(
        total <= rounds * 5,
        "{total} nodes written for {rounds} changes of one leaf"
    );
}

#[test]
fn long_keys_end_a_node_by_bytes() {
    let long = |n: usize| LeafRef {
        first_key: [&[b'k'; 100_000][..], &n.to_be_bytes()].concat(),
        ..leaves(1, 3)[0].clone()
    };
    let leaves: Vec<_> = (0..64).map(long).collect();
    let (root, blobs) = build(&leaves);
    let walked = RunReader::new(&blobs, root.as_ref(), ORDER).leaves(KeyRange::all());
    assert_eq!(walked.map(|span| span.unwrap().leaf).collect::<Vec<_>>(), leaves);
    let children = |plain: &[u8]| RunNode::decode(plain).unwrap().children.len();
    assert!(blobs.map.values().all(|(_, plain)| children(plain) <= 3));
}

/// Every way in which a node may differ from what its parent says, or lie about order.
#[test]
fn a_node_that_is_not_what_its_parent_says_is_an_error_that_names_it() {
    let (root, blobs) = build(&leaves(2_000, 4));
    let root = root.unwrap();
    let top = RunNode::decode(&blobs.map[&root.top.id].1).unwrap();
    let victim = top.children[1].id;
    let node = RunNode::decode(&blobs.map[&victim].1).unwrap();
    let lies: [fn(&mut RunNode); 7] = [
        |node| node.level += 1,
        |node| node.children[3].records += 1,
        |node| node.children[3].bytes += 1,
        |node| node.children[0].first_key.push(0),
        |node| drop(node.children.pop()),
        |node| node.children.swap(1, 2),
        |node| node.children.last_mut().unwrap().first_key = b"z".to_vec(),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let mut wrong = node.clone();
        lie(&mut wrong);
        let mut copy = MemoryBlobs {
            map: blobs.map.clone(),
            ..MemoryBlobs::default()
        };
        copy.map.insert(victim, (BlobKind::Node, wrong.encode()));
        let walked: Result<Vec<_>> = RunReader::new(&copy, Some(&root), ORDER)
            .leaves(KeyRange::all())
            .collect();
        let error = walked.expect_err(&format!("lie {number}"));
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(&victim.to_hex()), "{error}");
    }
}

#[test]
fn first_keys_that_repeat_or_hide_what_they_share_are_refused() {
    let node = |shared: u8, suffix: &[u8]| {
        let mut out = vec![1, 1, 2, 0, 2, 1, 8, 0, shared, suffix.len() as u8, 1, 8, 0];
        [b"ab", suffix, &[1; 32], &[2; 32]]
            .iter()
            .for_each(|part| out.extend_from_slice(part));
        RunNode::decode(&out).map(drop)
    };
    assert!(node(1, b"c").is_ok());
    for (shared, suffix) in [(2, &b""[..]), (0, b"ab"), (0, b"ac"), (3, b"c")] {
        assert_eq!(
            node(shared, suffix).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "{shared} {suffix:?}"
        );
    }
}

#[test]
fn a_leaf_that_is_not_what_its_parent_says_is_an_error_that_names_it() {
    let entries: Entries = (0..9u8)
        .map(|n| (vec![n], OwnedEntry::Inline(vec![n; 9])))
        .collect();
    let draft = draft_of(&entries);
    let plain = encode_leaf(&draft);
    let honest = LeafSpan {
        leaf: draft.leaf_ref(BlobId([7; 32])),
        upper: Some(vec![9]),
    };
    verify_leaf(&plain, &honest, ORDER).unwrap();
    let lies: [fn(&mut LeafSpan); 5] = [
        |span| span.leaf.records += 1,
        |span| span.leaf.bytes += 1,
        |span| span.leaf.chunked += 1,
        |span| span.leaf.first_key = vec![1],
        |span| span.upper = Some(vec![8]),
    ];
    for lie in lies {
        let mut span = honest.clone();
        lie(&mut span);
        let error = verify_leaf(&plain, &span, ORDER).unwrap_err();
        assert!(error.to_string().contains(&BlobId([7; 32]).to_hex()), "{error}");
    }
    let backward: KeyOrder<'_> = &|a, b| b.cmp(a);
    assert!(
        verify_leaf(
            &plain,
            &LeafSpan {
                upper: None,
                ..honest
            },
            backward
        )
        .is_err()
    );
}

#[test]
fn a_range_or_a_key_reads_one_path_of_nodes() {
    let leaves = leaves(60_000, 5);
    let (root, blobs) = build(&leaves);
    let walker = RunReader::new(&blobs, root.as_ref(), ORDER);
    let range = KeyRange {
        from: Some(b"key 00030000".to_vec()),
        to: Some(b"key 00030001".to_vec()),
    };
    let found: Vec<_> = walker.leaves(range).map(|span| span.unwrap().leaf).collect();
    assert_eq!(found, leaves[30_000..30_001]);
    assert_eq!(blobs.asked.borrow().len(), usize::from(root.unwrap().level));
}

#[test]
fn all_blobs_of_a_run_are_named_once_parents_first() {
    let leaves = leaves(5_000, 6);
    let (root, blobs) = build(&leaves);
    let mut named = Vec::new();
    RunReader::new(&blobs, root.as_ref(), ORDER)
        .blobs(&mut |kind, id| {
            named.push((kind, *id));
            Ok(())
        })
        .unwrap();
    let nodes = named.iter().filter(|(kind, _)| *kind == BlobKind::Node).count();
    assert_eq!((nodes, named.len()), (blobs.map.len(), blobs.map.len() + 5_000));
    assert_eq!(named[0], (BlobKind::Node, root.unwrap().top.id));
}

fn cut(entries: &Entries) -> (Option<RunRoot>, MemoryBlobs) {
    let mut blobs = MemoryBlobs::default();
    let mut cutter = LeafCutter::new(&[9; 32]);
    let root = store_run(entries, &mut blobs, |key, weight| cutter.cut_after(key, weight));
    (root, blobs)
}

fn ends(weights: impl Iterator<Item = usize>) -> Vec<u32> {
    let mut cutter = LeafCutter::new(&[1; 32]);
    let counted = (0u32..).zip(weights);
    let ends = counted.filter(|(n, weight)| cutter.cut_after(&n.to_be_bytes(), *weight));
    ends.map(|(n, _)| n + 1).collect()
}

/// Computed from the words of docs/format/08-runs.md by another program. Whoever changes them stores everything anew.
#[test]
fn golden_leaf_ends() {
    let small = ends(std::iter::repeat_n(100, 5_000));
    assert_eq!(small, [659, 734, 1115, 1525, 2185, 2861, 3692, 4515]);
    let large = ends((0..60).map(|n| 5_000 + n * 997 % 30_000));
    let golden = [
        5, 11, 15, 17, 20, 23, 25, 27, 29, 31, 40, 44, 46, 49, 52, 54, 56, 58, 60,
    ];
    assert_eq!(large, golden);
}

/// 40,000 records of about 100 bytes.
fn many(seed: u64) -> Entries {
    let bytes = noise(seed, 40_000 * 16);
    let record = |key: &[u8]| (key.to_vec(), OwnedEntry::Inline(key.repeat(5)));
    bytes.chunks_exact(16).map(record).collect()
}

/// Changes the record of a key.
type Change = fn(&mut Entries, &[u8]);

#[test]
fn one_record_changed_changes_few_leaves() {
    let old = many(1);
    let (_, old_blobs) = cut(&old);
    let keys: Vec<_> = old.keys().cloned().collect();
    let changes: [(&str, Change); 4] = [
        ("overwrite", |entries, key| {
            drop(entries.insert(key.to_vec(), OwnedEntry::Inline(vec![1; 80])))
        }),
        ("overwrite with another length", |entries, key| {
            drop(entries.insert(key.to_vec(), OwnedEntry::Inline(vec![1; 300])))
        }),
        ("insert", |entries, key| {
            drop(entries.insert([key, b"+"].concat(), OwnedEntry::Inline(vec![1; 80])))
        }),
        ("delete", |entries, key| drop(entries.remove(key))),
    ];
    for (what, change) in changes {
        let mut fresh = Vec::new();
        for key in keys.iter().step_by(1999) {
            let mut new = old.clone();
            change(&mut new, key);
            fresh.push(cut(&new).1.fresh(&old_blobs, BlobKind::Leaf));
        }
        let total: usize = fresh.iter().sum();
        assert!(
            fresh.iter().all(|leaves| *leaves <= 8) && total <= fresh.len() * 2,
            "{what}: {fresh:?}"
        );
        assert!(
            what != "overwrite" || fresh.iter().all(|leaves| *leaves == 1),
            "{what}: {fresh:?}"
        );
    }
}

#[test]
fn leaves_are_cut_alike_whatever_the_size_of_records() {
    for len in [0, 100, 5_000, 60_000] {
        let count = ((16 << 20) / (len + 24)).min(300_000);
        let bytes = noise(len as u64, count * 16);
        let entries: Entries = bytes
            .chunks_exact(16)
            .map(|key| (key.to_vec(), OwnedEntry::Inline(vec![0; len])))
            .collect();
        let (root, blobs) = cut(&entries);
        let leaves = blobs
            .map
            .values()
            .filter(|(kind, _)| *kind == BlobKind::Leaf)
            .count();
        let average = root.unwrap().top.bytes as usize / leaves;
        assert!(
            (45_000..90_000).contains(&average),
            "records of {len} bytes: leaves of {average}"
        );
    }
}

proptest! {
    #[test]
    fn nodes_have_one_encoding(count in 1usize..20, seed in any::<u64>(), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3)) {
        let node = RunNode { level: 1, children: leaves(count, seed) };
        let mut plain = node.encode();
        prop_assert_eq!(&RunNode::decode(&plain).unwrap(), &node);
        for (at, byte) in edits {
            let at = at.index(plain.len());
            plain[at] = byte;
        }
        if let Ok(other) = RunNode::decode(&plain) {
            prop_assert_eq!(other.encode(), plain);
        }
    }

    #[test]
    fn ranges_and_keys_are_found_as_in_a_map(entries in any_entries(60), from in prop::option::of(any_key()), to in prop::option::of(any_key()), key in any_key(), size in 1usize..5) {
        let mut blobs = MemoryBlobs::default();
        let mut count = 0;
        let root = store_run(&entries, &mut blobs, |_, _| { count += 1; count % size == 0 });
        let walker = RunReader::new(&blobs, root.as_ref(), ORDER);
        let got = walker.get(&key).unwrap();
        prop_assert_eq!(got.as_ref(), entries.get(&key));
        let range = KeyRange { from, to };
        let mut found = Entries::new();
        for span in walker.leaves(range.clone()) {
            let span = span.unwrap();
            let plain = blobs.blob(BlobKind::Leaf, &span.leaf.id).unwrap();
            read_leaf(&plain, &span, ORDER, |entry| {
                if range.contains(entry.key, ORDER) {
                    found.insert(entry.key.to_vec(), entry.payload.to_owned());
                }
                Ok(())
            }).unwrap();
        }
        let mut naive = entries.clone();
        naive.retain(|key, _| range.from.as_ref().is_none_or(|from| key >= from) && range.to.as_ref().is_none_or(|to| key < to));
        prop_assert_eq!(found, naive);
    }

    #[test]
    fn a_prefix_is_the_range_of_its_keys(entries in any_entries(60), prefix in any_key()) {
        let range = KeyRange::prefix(&prefix);
        for key in entries.keys() {
            prop_assert_eq!(range.contains(key, ORDER), key.starts_with(&prefix));
        }
    }

    #[test]
    fn the_tree_forgets_how_its_records_came_together(old in any_entries(60), new in any_entries(60)) {
        let mut together = old.clone();
        together.extend(new.clone());
        let mut other = new.clone();
        old.iter().for_each(|(key, entry)| _ = other.entry(key.clone()).or_insert(entry.clone()));
        prop_assert_eq!(cut(&together).0, cut(&other).0);
    }
}
