//! `stats`: what is stored, shared and exclusive, against sets of ids.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use levault::blob::BlobKind;
use levault::chunk::ChunkIterator;
use levault::id::BlobId;
use levault::ops::stats;
use levault::repo::{BlobReader, Repo, StoredSnapshot};
use levault::report::OperationReport;
use levault::run::{BlobSource, EntryPayload, KeyRange, RunReader, read_leaf};
use levault::storage::MemoryStorage;

use crate::common::{backup, create, fill, key, value, write};
use crate::{orders, put, snapshots_after};

/// Every blob of a snapshot with its stored bytes.
fn blobs(reader: &BlobReader, stored: &StoredSnapshot) -> BTreeMap<BlobId, u64> {
    let mut ids = BTreeSet::new();
    let order = |a: &[u8], b: &[u8]| a.cmp(b);
    for run in stored.snapshot.databases().flat_map(|database| database.runs()) {
        let walker = RunReader::new(reader, run.root.as_ref(), &order);
        walker
            .blobs(&mut |kind, id| Ok(_ = ids.insert((kind, *id))))
            .unwrap();
        for span in walker.leaves(KeyRange::all()) {
            let span = span.unwrap();
            let plain = reader.blob(BlobKind::Leaf, &span.leaf.id).unwrap();
            read_leaf(&plain, &span, &order, |entry| {
                if let EntryPayload::Chunked(list) = &entry.payload {
                    let chunks = ChunkIterator::new(list.clone(), reader)
                        .map(|chunk| (BlobKind::Data, chunk.unwrap().id));
                    ids.extend(chunks);
                    assert_eq!(list.depth(), 0, "list blobs would be missing here");
                }
                Ok(())
            })
            .unwrap();
        }
    }
    let len = |(kind, id): (BlobKind, BlobId)| (id, u64::from(reader.locations(kind, &id).unwrap()[0].len));
    ids.into_iter().map(len).collect()
}

/// Stored and exclusive bytes of each snapshot.
fn naive(repo: &Repo) -> Vec<(u64, u64)> {
    let lookup = repo.lookup().unwrap();
    let reader = BlobReader::new(repo, &lookup);
    let all: Vec<_> = repo
        .snapshots()
        .unwrap()
        .iter()
        .map(|stored| blobs(&reader, stored))
        .collect();
    let users = |id: &BlobId| all.iter().filter(|blobs| blobs.contains_key(id)).count();
    all.iter()
        .map(|blobs| {
            let alone = blobs.iter().filter(|(id, _)| users(id) == 1);
            (blobs.values().sum(), alone.map(|(_, len)| *len).sum())
        })
        .collect()
}

#[test]
fn stored_and_exclusive_bytes_are_those_of_sets_of_blobs() {
    let repo = create(Arc::new(MemoryStorage::default())).unwrap();
    let place = tempfile::tempdir().unwrap();
    let db = place.path().join("db");
    fill(&db, 20_000, 100);
    for round in 0..4_u32 {
        backup(&repo, &db).unwrap();
        write(
            &db,
            &[
                (key(round * 900), Some(value(round, 80))),
                (b"long".to_vec(), Some(value(7 + round / 2, 400_000))),
            ],
        );
    }
    let other = place.path().join("other");
    write(
        &other,
        &[
            (b"long".to_vec(), Some(value(7, 400_000))),
            (b"own".to_vec(), Some(value(99, 200_000))),
        ],
    );
    backup(&repo, &other).unwrap();

    let stats = stats::stats(&repo, None, &OperationReport::default()).unwrap();
    let rows = stats
        .snapshots
        .iter()
        .map(|row| (row.share.stored_bytes, row.share.exclusive_bytes));
    assert_eq!(rows.collect::<Vec<_>>(), naive(&repo));
    assert_eq!(stats.blob_bytes, {
        let union: BTreeMap<_, _> = {
            let lookup = repo.lookup().unwrap();
            let reader = BlobReader::new(&repo, &lookup);
            repo.snapshots()
                .unwrap()
                .iter()
                .flat_map(|stored| blobs(&reader, stored))
                .collect()
        };
        union.values().sum::<u64>()
    });
    let [db, other] = [&stats.databases[0], &stats.databases[1]];
    assert_eq!(
        (&*db.name, db.snapshots, &*other.name, other.snapshots),
        ("db", 4, "other", 1)
    );
    assert_eq!(
        db.share.exclusive_bytes + other.share.stored_bytes,
        stats.blob_bytes
    );
    assert_eq!(db.share.shared_bytes(), other.share.shared_bytes());
    assert!(other.share.shared_bytes() > 100_000 && other.share.exclusive_bytes > 100_000);

    let only = repo.select("latest").unwrap();
    let one = stats::stats(&repo, Some(&only), &OperationReport::default()).unwrap();
    assert_eq!(one.snapshots.len(), 1);
    assert_eq!(one.snapshots[0].share, stats.snapshots[4].share);
}

#[test]
fn the_tool_tells_snapshots_databases_and_ratios() {
    let (tool, _) = snapshots_after(&[&orders(2000), &[put("order/00001", "other")]]);
    let summary = tool.run(["stats", "--json"]).ok().summary();
    for field in [
        "total_size",
        "total_uncompressed_size",
        "compression_ratio",
        "dedup_ratio",
        "restore_size",
    ] {
        assert!(summary[field].is_number(), "{field} is missing in {summary}");
    }
    let rows = summary["snapshots"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let of = |name: &str| row[name].as_u64().unwrap();
        assert_eq!(of("stored"), of("shared") + of("exclusive"), "{row}");
    }
    let database = &summary["databases"][0];
    assert_eq!(
        (&database["db"], &database["snapshots"]),
        (&"shop".into(), &2.into())
    );
    let text = tool.run(["stats"]).ok().text();
    assert!(text.contains("shop") && text.contains("compression"), "{text}");
}
