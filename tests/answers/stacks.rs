//! Stacks of several runs with deletions, long values and filters: every answer is that of the maps laid over one
//! another.

use std::collections::BTreeMap;
use std::sync::Arc;

use levault::blob::BlobKind;
use levault::chunk::{ChunkList, ChunkRef};
use levault::engine::database_series::DatabaseFilter;
use levault::engine::database_state::DatabaseState;
use levault::engine::key_selection::KeySelection;
use levault::engine::read_records::{self, RecordQuery};
use levault::ops::diff;
use levault::ops::find::{self, KeyQuery};
use levault::ops::history;
use levault::ops::restore::Restore;
use levault::record::StreamDigester;
use levault::repo::{BlobWriter, Repo, StoredSnapshot, WriteMode};
use levault::report::OperationReport;
use levault::run::{KeyRange, LeafCutter, LeafDraft, RunRoot, RunTreeBuilder, encode_leaf};
use levault::snapshot::{DatabaseContent, KeyBloomFilter, SnapshotSource, StoredRunRef};
use levault::storage::MemoryStorage;

use crate::common::{Model, backup, create, scan, value, write};

/// What a run says: puts, and `None` for deletions.
type Words = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn key(n: u32) -> Vec<u8> {
    format!("key/{n:06}").into_bytes()
}

/// A base of 30,000 records and three deltas; each has a long value, and the last one a key before all others.
fn all_words() -> Vec<Words> {
    let base = (0..30_000).map(|n| (key(n), Some(value(n, 100))));
    let mut words: Vec<Words> = vec![base.collect()];
    for round in 1..4 {
        let puts = (0..200).map(|n| (key(n * 160 + round), Some(value(n + round, 90))));
        let deletions = (0..100).map(|n| (key(n * 250 + 7 * round), None));
        words.push(puts.chain(deletions).collect());
    }
    for (round, run) in (0..).zip(&mut words) {
        run.insert(key(5000 + round), Some(value(round, 100_000)));
    }
    words[3].insert(b"before all".to_vec(), Some(vec![1]));
    words[3].insert(key(5001), None);
    words
}

fn visible(words: &[Words]) -> Model {
    let mut all = Words::new();
    words.iter().for_each(|run| all.extend(run.clone()));
    all.into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
}

fn push(draft: &mut LeafDraft, writer: &mut BlobWriter, key: &[u8], value: Option<&[u8]>) -> usize {
    let Some(value) = value else {
        return draft.push_delete(key).unwrap();
    };
    if value.len() <= levault::limits::INLINE_VALUE_BYTES_MAX {
        return draft.push_inline(key, value).unwrap();
    }
    let id = writer.add_one(BlobKind::Data, value.to_vec()).unwrap();
    let bytes = value.len() as u64;
    let list = ChunkList::from_chunks(vec![ChunkRef { id, bytes }]).unwrap();
    draft.push_chunked(key, list).unwrap()
}

fn store(repo: &Repo, words: &Words) -> Option<RunRoot> {
    let report = OperationReport::default();
    let mut writer = BlobWriter::start(repo, &report, WriteMode::StoreNew).unwrap();
    let (mut tree, mut draft) = (RunTreeBuilder::new(), LeafDraft::default());
    let mut cutter = LeafCutter::new(&[5; 32]);
    let mut left = words.len();
    for (key, value) in words {
        left -= 1;
        let weight = push(&mut draft, &mut writer, key, value.as_deref());
        if cutter.cut_after(key, weight) || left == 0 {
            let id = writer.add_one(BlobKind::Leaf, encode_leaf(&draft)).unwrap();
            let leaf = draft.leaf_ref(id);
            draft.clear();
            tree.push(leaf, &mut |kind, plain| writer.add_one(kind, plain))
                .unwrap();
        }
    }
    let root = tree
        .finish(&mut |kind, plain| writer.add_one(kind, plain))
        .unwrap();
    writer.finish().unwrap();
    root
}

fn run(repo: &Repo, words: &Words, is_base: bool) -> StoredRunRef {
    let mut filter = KeyBloomFilter::for_keys(words.len());
    words.keys().for_each(|key| filter.insert(key));
    StoredRunRef {
        root: store(repo, words),
        last_key: words.keys().next_back().unwrap().clone(),
        comparator: "leveldb.BytewiseComparator".into(),
        filter: Some(filter).filter(|_| !is_base),
    }
}

/// A snapshot whose database is a stack, made of one that was saved.
fn snapshot(template: &StoredSnapshot, runs: Vec<StoredRunRef>, model: &Model, number: u8) -> StoredSnapshot {
    let mut stored = template.clone();
    stored.id.0[0] = number;
    let mut digest = StreamDigester::new();
    model.iter().for_each(|(key, value)| digest.record(key, value));
    let SnapshotSource::Database(root) = &mut stored.snapshot.sources[0] else {
        panic!("a database was saved")
    };
    root.records = model.len() as u64;
    root.stream_digest = Some(digest.digest());
    root.shape.table_bytes = 100_000;
    root.content = DatabaseContent::Logical {
        runs,
        uncertain: None,
    };
    stored
}

struct Stacks {
    repo: Repo,
    /// With one run, with two, ...
    snapshots: Vec<StoredSnapshot>,
    models: Vec<Model>,
}

fn stacks() -> Stacks {
    let repo = create(Arc::new(MemoryStorage::default())).unwrap();
    let place = tempfile::tempdir().unwrap();
    write(&place.path().join("db"), &[(b"x".to_vec(), Some(b"y".to_vec()))]);
    backup(&repo, &place.path().join("db")).unwrap();
    let template = repo.select("latest").unwrap();
    let words = all_words();
    let runs: Vec<_> = words
        .iter()
        .enumerate()
        .map(|(at, words)| run(&repo, words, at == 0))
        .collect();
    let heights = 1..=words.len();
    let models: Vec<_> = heights.clone().map(|height| visible(&words[..height])).collect();
    let snapshots = heights
        .map(|height| {
            snapshot(
                &template,
                runs[..height].to_vec(),
                &models[height - 1],
                height as u8,
            )
        })
        .collect();
    Stacks {
        repo,
        snapshots,
        models,
    }
}

fn found(stacks: &Stacks, old: usize, new: usize) -> Vec<Vec<u8>> {
    let state = |at: usize| DatabaseState::of(&stacks.snapshots[at], None).unwrap();
    let mut keys = Vec::new();
    let report = OperationReport::default();
    diff::diff_records(
        &stacks.repo,
        state(old),
        state(new),
        &KeySelection::All,
        &report,
        &mut |difference| {
            keys.push(difference.key.to_vec());
            Ok(())
        },
    )
    .unwrap();
    keys
}

fn restored(stacks: &Stacks, selection: KeySelection) -> Model {
    let place = tempfile::tempdir().unwrap();
    let restore = Restore {
        selection,
        ..Restore::new(place.path().join("target"))
    };
    let stored = stacks.snapshots.last().unwrap();
    restore
        .run(&stacks.repo, stored, &OperationReport::default())
        .unwrap();
    scan(&restore.target).unwrap()
}

#[test]
fn every_answer_is_that_of_the_newest_word_on_a_key() {
    let stacks = stacks();
    let report = OperationReport::default();
    let last = stacks.snapshots.last().unwrap();
    let database = read_records::find_database(&last.snapshot, None).unwrap();
    let model = stacks.models.last().unwrap();

    let keys = (0..5100)
        .step_by(17)
        .chain(5000..5004)
        .chain([7, 14, 257])
        .map(key);
    for key in keys.chain([b"before all".to_vec(), b"absent".to_vec(), b"z".to_vec()]) {
        let got = read_records::get(&stacks.repo, database, &key).unwrap();
        assert!(
            got.as_ref() == model.get(&key),
            "{}",
            String::from_utf8_lossy(&key)
        );
    }

    let mut records = Model::new();
    read_records::read_records(
        &stacks.repo,
        database,
        &RecordQuery::default(),
        &report,
        &mut |key, value| {
            records.insert(key.to_vec(), value.to_vec());
            Ok(())
        },
    )
    .unwrap();
    assert!(records == *model);

    for (old, new) in [(0, 3), (1, 2), (3, 1), (2, 2)] {
        let (a, b) = (&stacks.models[old], &stacks.models[new]);
        let mut keys: Vec<_> = a
            .keys()
            .chain(b.keys())
            .filter(|key| a.get(*key) != b.get(*key))
            .cloned()
            .collect();
        keys.sort();
        keys.dedup();
        assert!(found(&stacks, old, new) == keys, "{old} {new}");
    }

    let key = key(5001);
    let mut lens = Vec::new();
    history::history(
        &stacks.repo,
        &stacks.snapshots,
        &DatabaseFilter::default(),
        &key,
        &report,
        &mut |version| {
            let value = version.value.as_ref();
            lens.push((
                version.snapshots,
                value.map_or(0, |value| value.as_payload().value_bytes()),
            ));
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(lens, [(1, 100), (2, 100_000), (1, 0)]);

    let mut seen = 0;
    let sought = KeyQuery::Selection(KeySelection::Prefix(b"key/005001".to_vec()));
    find::find_keys(
        &stacks.repo,
        &stacks.snapshots,
        &DatabaseFilter::default(),
        &sought,
        &report,
        &mut |_| {
            seen += 1;
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(seen, 3);
}

#[test]
fn a_stack_is_restored_on_all_cores_as_one_database() {
    let stacks = stacks();
    let model = stacks.models.last().unwrap();
    assert!(restored(&stacks, KeySelection::All) == *model);
    let range = KeyRange {
        from: Some(key(4990)),
        to: Some(key(20_000)),
    };
    let part = restored(&stacks, KeySelection::Range(range));
    let expected = model.range(key(4990)..key(20_000));
    assert!(part.iter().eq(expected));
}

#[test]
fn an_empty_base_under_a_delta_and_a_stack_of_deletions_are_restored() {
    let mut stacks = stacks();
    let words = all_words();
    let base = StoredRunRef {
        root: None,
        last_key: Vec::new(),
        ..run(&stacks.repo, &words[1], true)
    };
    let delta = run(&stacks.repo, &words[1], false);
    let model = visible(&words[1..2]);
    let small = snapshot(&stacks.snapshots[0], vec![base.clone(), delta.clone()], &model, 9);
    stacks.snapshots.push(small);
    assert!(restored(&stacks, KeySelection::All) == model);

    let gone: Words = words[1].keys().map(|key| (key.clone(), None)).collect();
    let none = run(&stacks.repo, &gone, false);
    let empty = snapshot(&stacks.snapshots[0], vec![base, delta, none], &Model::new(), 10);
    stacks.snapshots.push(empty);
    assert!(restored(&stacks, KeySelection::All).is_empty());
}
