//! Stacks: the merge is what laying one map over another gives.

use super::*;

fn merged(
    stack: &[Entries],
    range: &KeyRange,
    tombstones: TombstoneMode,
    size: usize,
) -> Result<Vec<(Vec<u8>, OwnedEntry)>> {
    let mut blobs = MemoryBlobs::default();
    let mut count = 0;
    let mut ends = |_: &[u8], _| {
        count += 1;
        count % size == 0
    };
    let roots: Vec<_> = stack
        .iter()
        .map(|entries| store_run(entries, &mut blobs, &mut ends))
        .collect();
    let walkers: Vec<_> = roots
        .iter()
        .rev()
        .map(|root| RunReader::new(&blobs, root.as_ref(), ORDER))
        .collect();
    let mut cursor = StackCursor::new(&walkers, range, tombstones, ORDER)?;
    let mut found = Vec::new();
    while let Some(entry) = cursor.next()? {
        found.push((entry.key.to_vec(), entry.payload.to_owned()));
    }
    Ok(found)
}

#[test]
fn an_empty_stack_and_a_stack_of_empty_runs_have_no_entries() {
    for stack in [vec![], vec![Entries::new()], vec![Entries::new(), Entries::new()]] {
        assert!(
            merged(&stack, &KeyRange::all(), TombstoneMode::Keep, 3)
                .unwrap()
                .is_empty()
        );
    }
}

#[test]
fn equal_keys_by_the_order_are_one_key_and_the_newest_bytes_win() {
    let order: KeyOrder<'_> = &|a, b| a.to_ascii_lowercase().cmp(&b.to_ascii_lowercase());
    let mut blobs = MemoryBlobs::default();
    let run = |key: &[u8]| Entries::from([(key.to_vec(), OwnedEntry::Inline(key.to_vec()))]);
    let old = store_run(&run(b"KEY"), &mut blobs, |_, _| false);
    let new = store_run(&run(b"key"), &mut blobs, |_, _| false);
    let walkers = [&new, &old].map(|root| RunReader::new(&blobs, root.as_ref(), order));
    let mut cursor = StackCursor::new(&walkers, &KeyRange::all(), TombstoneMode::Drop, order).unwrap();
    assert_eq!(cursor.next().unwrap().unwrap().key, b"key");
    assert!(cursor.next().unwrap().is_none());
}

proptest! {
    #[test]
    fn a_stack_reads_as_maps_laid_over_one_another(
        stack in prop::collection::vec(any_entries(25), 0..6),
        from in prop::option::of(any_key()),
        to in prop::option::of(any_key()),
        size in 1usize..5,
    ) {
        let range = KeyRange { from, to };
        let mut naive = Entries::new();
        stack.iter().for_each(|entries| naive.extend(entries.clone()));
        naive.retain(|key, _| range.contains(key, ORDER));
        let all = merged(&stack, &range, TombstoneMode::Keep, size).unwrap();
        prop_assert_eq!(all, naive.clone().into_iter().collect::<Vec<_>>());
        naive.retain(|_, entry| *entry != OwnedEntry::Delete);
        let live = merged(&stack, &range, TombstoneMode::Drop, size).unwrap();
        prop_assert_eq!(live, naive.into_iter().collect::<Vec<_>>());
    }
}
