use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;
use crate::index::test_segments::{entry, random_segment, segment_of};
use crate::index::{IndexEntry, Segment, encode_body, encode_header};

const KEY: [u8; 32] = [7; 32];

/// Segments as the repository would hold them, and how often one was asked for.
#[derive(Default)]
struct Shelf {
    segments: Mutex<BTreeMap<ObjectId, Segment>>,
    loads: AtomicUsize,
}

impl Shelf {
    fn put(&self, segment: Segment) -> ObjectId {
        let mut bytes = encode_header(&segment);
        bytes.extend(encode_body(&segment));
        let id = ObjectId(*blake3::hash(&bytes).as_bytes());
        self.segments.lock().unwrap().insert(id, segment);
        id
    }

    fn load(self: &Arc<Self>) -> Arc<LoadSegment> {
        let shelf = self.clone();
        Arc::new(move |id: &ObjectId| -> Result<Segment> {
            shelf.loads.fetch_add(1, Ordering::Relaxed);
            let missing = || Error::new(ErrorKind::NotFound, format!("index/{id} is not there"));
            shelf
                .segments
                .lock()
                .unwrap()
                .get(id)
                .cloned()
                .ok_or_else(missing)
        })
    }

    fn loads(&self) -> usize {
        self.loads.swap(0, Ordering::Relaxed)
    }

    fn entries_of(&self, ids: &[ObjectId]) -> Vec<IndexEntry> {
        let segments = self.segments.lock().unwrap();
        let all: BTreeSet<_> = ids
            .iter()
            .flat_map(|id| segments[id].entries().to_vec())
            .collect();
        all.into_iter().collect()
    }
}

/// Iteration and single look-ups both say just `wanted`.
fn must_hold(lookup: &IndexLookup, wanted: &[IndexEntry]) {
    let all: Vec<_> = lookup.iter_rows().unwrap().map(|entry| entry.unwrap()).collect();
    assert!(all == wanted, "{} entries, wanted {}", all.len(), wanted.len());
    for some in wanted.chunk_by(|a, b| a.id == b.id) {
        let locations: Vec<_> = some.iter().map(|entry| entry.location).collect();
        assert_eq!(lookup.locations(&some[0].id).unwrap(), locations);
        assert!(lookup.contains(&some[0].id).unwrap());
    }
    for seed in 10_000_000..10_000_100 {
        assert!(!lookup.contains(&entry(seed, 0).id).unwrap());
        assert_eq!(lookup.locations(&entry(seed, 0).id).unwrap(), []);
    }
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// Ten segments that overlap, and what they hold together.
fn shelf_of_ten() -> (Arc<Shelf>, Vec<ObjectId>) {
    let shelf = Arc::new(Shelf::default());
    let ids = (0..10).map(|seed| shelf.put(segment_of(random_segment(seed, 90).entries().to_vec(), vec![])));
    let ids = ids.collect();
    (shelf, ids)
}

#[test]
fn a_lookup_says_what_the_segments_say_with_a_cache_and_without() {
    let (shelf, ids) = shelf_of_ten();
    let directory = tempfile::tempdir().unwrap();
    let kept = LookupCache::open_directory(directory.path().join("not/yet/there"), KEY);
    for cache in [&LookupCache::open_anonymous(KEY), &kept] {
        let lookup = cache.open(&ids, shelf.load()).unwrap();
        must_hold(&lookup, &shelf.entries_of(&ids));
        assert_eq!(shelf.loads(), 10);
        let nothing = cache.open(&[], shelf.load()).unwrap();
        assert!(nothing.is_empty() && !nothing.contains(&entry(1, 1).id).unwrap());
    }
}

#[test]
fn a_segment_is_loaded_once_and_listings_may_grow_and_shrink() {
    let (shelf, ids) = shelf_of_ten();
    let directory = tempfile::tempdir().unwrap();
    let cache = LookupCache::open_directory(directory.path(), KEY);
    for (listed, loads) in [(0..4, 4), (0..4, 0), (2..9, 5), (0..2, 2), (0..10, 8), (0..10, 0)] {
        let listed = &ids[listed];
        must_hold(
            &cache.open(listed, shelf.load()).unwrap(),
            &shelf.entries_of(listed),
        );
        assert_eq!(shelf.loads(), loads, "{}", listed.len());
    }
    assert_eq!(files_in(directory.path()).len(), 1, "small runs are merged");
}

#[test]
fn a_run_too_large_to_rewrite_is_masked_and_two_runs_that_agree_say_it_once() {
    let shelf = Arc::new(Shelf::default());
    let put = |seeds: std::ops::Range<u64>| {
        shelf.put(segment_of(seeds.map(|seed| entry(seed, 1)).collect(), vec![]))
    };
    let [large, small, overlapping] = [put(0..10_000), put(10_000..12_000), put(11_990..13_490)];
    let directory = tempfile::tempdir().unwrap();
    let cache = LookupCache::open_directory(directory.path(), KEY);
    for (listed, loads, runs) in [
        (&[large, small][..], 2, 1),
        (&[large], 0, 1),
        (&[large, small, overlapping], 1, 2),
        (&[large, overlapping], 0, 2),
    ] {
        let lookup = cache.open(listed, shelf.load()).unwrap();
        must_hold(&lookup, &shelf.entries_of(listed));
        assert_eq!(
            (shelf.loads(), files_in(directory.path()).len()),
            (loads, runs),
            "{}",
            listed.len()
        );
        let is_masked = !listed.contains(&small) && !listed.contains(&overlapping);
        assert!(!is_masked || !lookup.contains(&entry(10_500, 1).id).unwrap());
    }
}

#[test]
fn a_superseded_segment_does_not_count_while_its_successor_is_listed() {
    let shelf = Arc::new(Shelf::default());
    let [a, b, c] = [1, 2, 3].map(|seed| random_segment(seed, 60).entries().to_vec());
    let old = shelf.put(segment_of(a, vec![]));
    let newer = shelf.put(segment_of(b, vec![old]));
    let newest = shelf.put(segment_of(c, vec![newer]));
    let directory = tempfile::tempdir().unwrap();
    for cache in [
        LookupCache::open_anonymous(KEY),
        LookupCache::open_directory(directory.path(), KEY),
    ] {
        for (listed, counts) in [
            (&[old, newer, newest][..], newest),
            (&[old, newer], newer),
            (&[old, newer, newest], newest),
            (&[old, newest], newest),
            (&[old], old),
        ] {
            let lookup = cache.open(listed, shelf.load()).unwrap();
            let wanted = if listed == [old, newest] {
                shelf.entries_of(&[old, newest])
            } else {
                shelf.entries_of(&[counts])
            };
            must_hold(&lookup, &wanted);
        }
    }
    shelf.loads();
    let cache = LookupCache::open_directory(directory.path(), KEY);
    cache.open(&[old, newer, newest], shelf.load()).unwrap();
    shelf.loads();
    cache.open(&[old, newer, newest], shelf.load()).unwrap();
    assert_eq!(
        shelf.loads(),
        0,
        "superseded segments are not loaded at every start"
    );
}

#[test]
fn whatever_befalls_the_cache_is_no_error_and_changes_no_answer() {
    let shelf = Arc::new(Shelf::default());
    let ids = [1, 2].map(|seed| shelf.put(random_segment(3 * seed, 60)));
    let directory = tempfile::tempdir().unwrap();
    let cache = LookupCache::open_directory(directory.path(), KEY);
    let wanted = shelf.entries_of(&ids);
    cache.open(&ids, shelf.load()).unwrap();
    let file = files_in(directory.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    for at in (0..whole.len()).step_by(37).chain(whole.len() - 200..whole.len()) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&file, &flipped).unwrap();
        let lookup = cache.open(&ids, shelf.load()).unwrap();
        match at % 2 {
            0 => must_hold(&lookup, &wanted),
            _ => assert!(wanted.iter().all(|entry| lookup.contains(&entry.id).unwrap())),
        }
        assert!(shelf.loads() >= 2, "the flip at {at} was not seen");
    }
    for len in [0, 1, 199, 200, 4096, whole.len() - 1] {
        fs::write(&file, &whole[..len]).unwrap();
        must_hold(&cache.open(&ids, shelf.load()).unwrap(), &wanted);
    }
    let foreign = LookupCache::open_directory(directory.path(), [8; 32]);
    must_hold(&foreign.open(&ids, shelf.load()).unwrap(), &wanted);
    assert_eq!(files_in(directory.path()).len(), 1);
}

#[test]
fn damage_found_while_reading_is_made_good_from_the_segments() {
    let (shelf, ids) = shelf_of_ten();
    let directory = tempfile::tempdir().unwrap();
    let cache = LookupCache::open_directory(directory.path(), KEY);
    let wanted = shelf.entries_of(&ids);
    for damage_after in [0, 100, 800] {
        let lookup = cache.open(&ids, shelf.load()).unwrap();
        let mut entries = lookup.iter_rows().unwrap();
        let before: Vec<_> = entries
            .by_ref()
            .take(damage_after)
            .map(|entry| entry.unwrap())
            .collect();
        let file = files_in(directory.path()).remove(0);
        let len = fs::metadata(&file).unwrap().len();
        let open = fs::OpenOptions::new().write(true).open(&file).unwrap();
        open.set_len(0).unwrap();
        open.set_len(len).unwrap();
        shelf.loads();
        let after: Vec<_> = entries.map(|entry| entry.unwrap()).collect();
        assert!([before, after].concat() == wanted, "after {damage_after}");
        must_hold(&lookup, &wanted);
        assert_eq!(shelf.loads(), 10);
        assert_eq!(
            files_in(directory.path()),
            [] as [PathBuf; 0],
            "it removed itself"
        );
    }
}

#[test]
fn a_segment_that_cannot_be_loaded_is_an_error_and_not_an_empty_answer() {
    let (shelf, mut ids) = shelf_of_ten();
    ids.push(ObjectId([9; 32]));
    let directory = tempfile::tempdir().unwrap();
    for cache in [
        LookupCache::open_anonymous(KEY),
        LookupCache::open_directory(directory.path(), KEY),
    ] {
        let error = cache.open(&ids, shelf.load()).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_done_without() {
    let (shelf, ids) = shelf_of_ten();
    let file = tempfile::NamedTempFile::new().unwrap();
    let cache = LookupCache::open_directory(file.path().join("below a file"), KEY);
    must_hold(&cache.open(&ids, shelf.load()).unwrap(), &shelf.entries_of(&ids));
}

#[test]
fn processes_that_share_a_cache_do_not_hurt_one_another() {
    let (shelf, ids) = shelf_of_ten();
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (shelf, ids, directory) = (&shelf, &ids, &directory);
            scope.spawn(move || {
                let cache = LookupCache::open_directory(directory.path(), KEY);
                for round in 0..25 {
                    let start = (thread * 3 + round) % 7;
                    let listed = &ids[start..start + 3];
                    must_hold(
                        &cache.open(listed, shelf.load()).unwrap(),
                        &shelf.entries_of(listed),
                    );
                }
            });
        }
    });
    assert!(files_in(directory.path()).len() < 8);
}

#[test]
fn what_is_added_is_found_at_once_and_spills_without_a_trace() {
    let (shelf, ids) = shelf_of_ten();
    let directory = tempfile::tempdir().unwrap();
    let cache = LookupCache::open_directory(directory.path(), KEY);
    let mut lookup = cache.open(&ids, shelf.load()).unwrap();
    let mut wanted = shelf.entries_of(&ids);
    for seed in 0..460_000 {
        let added = entry(seed, 99);
        lookup.insert(added);
        wanted.push(added);
        if seed % 30_011 == 0 {
            assert!(
                lookup
                    .locations(&entry(seed / 2, 0).id)
                    .unwrap()
                    .contains(&entry(seed / 2, 99).location)
            );
        }
    }
    assert!(lookup.resident_bytes() < 8_000_000, "{}", lookup.resident_bytes());
    let stated: usize = ids.iter().map(|id| shelf.entries_of(&[*id]).len()).sum();
    assert_eq!(lookup.len(), 460_000 + stated as u64);
    wanted.sort();
    let all: Vec<_> = lookup.iter_rows().unwrap().map(|entry| entry.unwrap()).collect();
    assert!(all == wanted);
    assert_eq!(
        files_in(directory.path()).len(),
        1,
        "temporary files have no names"
    );

    lookup.refresh(&cache, &ids[..1]).unwrap();
    assert!(lookup.contains(&entry(459_999, 0).id).unwrap());
    assert!(lookup.len() < wanted.len() as u64);
}

#[test]
fn without_room_to_spill_what_is_added_stays_in_memory() {
    let shelf = Arc::new(Shelf::default());
    let directory = tempfile::tempdir().unwrap();
    let gone = directory.path().join("gone");
    let mut lookup = LookupCache::open_directory(&gone, KEY)
        .open(&[], shelf.load())
        .unwrap();
    fs::remove_dir_all(&gone).unwrap();
    for seed in 0..110_000 {
        lookup.insert(entry(seed, 1));
    }
    assert_eq!(lookup.iter_rows().unwrap().count(), 110_000);
}

#[test]
fn many_locations_of_one_blob_span_blocks_and_are_all_found() {
    let shelf = Arc::new(Shelf::default());
    let mut entries: Vec<_> = (0..500).map(|pack| entry(1, pack)).collect();
    entries.extend((2..300).map(|seed| entry(seed, 0)));
    let ids = [shelf.put(segment_of(entries, vec![]))];
    let lookup = LookupCache::open_anonymous(KEY).open(&ids, shelf.load()).unwrap();
    must_hold(&lookup, &shelf.entries_of(&ids));
}

#[test]
fn the_filter_lets_little_pass_that_is_not_there() {
    let mut filter = bloom_filter::BlockedBloomFilter::for_blobs(20_000);
    (0..20_000).for_each(|seed| filter.insert(&entry(seed, 0).id));
    assert!((0..20_000).all(|seed| filter.may_hold(&entry(seed, 0).id)));
    let passed = (20_000..120_000)
        .filter(|seed| filter.may_hold(&entry(*seed, 0).id))
        .count();
    assert!(passed < 400, "{passed} of 100,000");
}

#[test]
fn a_million_blobs_take_under_four_bytes_each() {
    let shelf = Arc::new(Shelf::default());
    let ids: Vec<_> = (0..10u64)
        .map(|number| {
            segment_of(
                (0..100_000)
                    .map(|seed| entry(number * 100_000 + seed, number))
                    .collect(),
                vec![],
            )
        })
        .map(|segment| shelf.put(segment))
        .collect();
    let lookup = LookupCache::open_anonymous(KEY).open(&ids, shelf.load()).unwrap();
    assert_eq!(lookup.len(), 1_000_000);
    assert!(lookup.resident_bytes() < 4_000_000, "{}", lookup.resident_bytes());
    assert_eq!(
        lookup.locations(&entry(654_321, 0).id).unwrap(),
        [entry(654_321, 6).location]
    );
}
