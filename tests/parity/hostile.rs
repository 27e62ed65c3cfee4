//! Parity that lies. Anybody who can write to the storage can put it there; a pack must never become anything but what
//! its name says, and true parity beside the lies must still serve.

use levault::ops::add_parity::AddParity;
use levault::parity::{HEAD_OFFSET, ParityHeader, ShardGeometry, encode, encode_as};

use super::*;

fn put(storage: &MemoryStorage, object: &[u8]) -> ObjectName {
    let name = ObjectName::of_content(ObjectKind::Parity, object);
    storage.put_new(name, object).unwrap();
    name
}

/// Both heads of an object, with checksums that are right.
fn with_head(object: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut object = object.to_vec();
    let back = object.len() - ParityHeader::LEN;
    for at in [HEAD_OFFSET, back] {
        let head = &mut object[at..at + ParityHeader::LEN];
        change(head);
        let checksum = blake3::hash(&head[..48]);
        head[48..].copy_from_slice(&checksum.as_bytes()[..16]);
    }
    object
}

/// Every lie that we can think of about this pack.
fn lies(pack: &[u8], id: &ObjectId) -> Vec<Vec<u8>> {
    let mut other = pack.to_vec();
    other.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(3));
    let whole = ShardGeometry::plan(pack.len() as u64, ParityShare::WHOLE).unwrap();
    let honest = encode(pack, share("50%")).unwrap();
    let mut lies = vec![
        // Another pack's shards under this one's name; and what would make it a pack of another length.
        encode_as(&other, id, whole).unwrap(),
        encode_as(
            &other[..900],
            id,
            ShardGeometry::plan(900, ParityShare::WHOLE).unwrap(),
        )
        .unwrap(),
        // No parity at all.
        Vec::new(),
        vec![0; 4000],
        honest[..HEAD_OFFSET + ParityHeader::LEN].to_vec(),
        // Shards that are whole by their hashes, in another order.
        with_swapped_shards(&honest, pack.len() as u64),
    ];
    for (at, number) in [
        (2..4, &u16::MAX.to_le_bytes()[..]),
        (2..4, &[0, 0]),
        (4..8, &u32::MAX.to_le_bytes()),
        (4..8, &64u32.to_le_bytes()),
        (4..8, &0u32.to_le_bytes()),
        (8..16, &u64::MAX.to_le_bytes()),
        (8..16, &(280u64 << 20).to_le_bytes()),
        (8..16, &0u64.to_le_bytes()),
    ] {
        lies.push(with_head(&honest, |head| {
            head[at.clone()].copy_from_slice(number)
        }));
    }
    lies
}

fn with_swapped_shards(honest: &[u8], len: u64) -> Vec<u8> {
    let geometry = ShardGeometry::plan(len, share("50%")).unwrap();
    let hash = |number: usize| {
        let start = HEAD_OFFSET + ParityHeader::LEN + 16 * (geometry.data() + number);
        start..start + 16
    };
    let shards = HEAD_OFFSET + ParityHeader::LEN + 16 * (geometry.data() + geometry.parity());
    let (first, second) = (shards, shards + geometry.shard_len());
    let mut object = honest.to_vec();
    for at in 0..geometry.shard_len() {
        object.swap(first + at, second + at);
    }
    for (a, b) in hash(0).zip(hash(1)) {
        object.swap(a, b);
    }
    object
}

#[test]
fn lies_heal_nothing_and_keep_nobody_from_healing() {
    let storage = Arc::new(MemoryStorage::default());
    let repo = common::create(storage.clone()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    common::fill(&dir.path().join("db"), 400, 300);
    common::backup(&repo, &dir.path().join("db")).unwrap();
    let listed = storage.list(ObjectKind::Pack).unwrap();
    let name = listed.iter().max_by_key(|pack| pack.len).unwrap().name;
    let pack = storage.get(name, u64::MAX).unwrap();
    let lies: Vec<_> = lies(&pack, &name.id)
        .iter()
        .map(|lie| put(&storage, lie))
        .collect();
    assert!(heal(&*storage, &[name.id]).healed.is_empty(), "it is whole");

    storage.corrupt(name, |bytes| flip(bytes, 3_000..4_000));
    let damaged = storage.get(name, u64::MAX).unwrap();
    let swapped = lies[5];
    let outcome = heal(&*storage, &[name.id]);
    assert!(outcome.healed.is_empty(), "{:?}", outcome.healed);
    assert_eq!(outcome.unhealed.len(), 1);
    assert!(
        storage.get(name, u64::MAX).unwrap() == damaged,
        "nothing was written"
    );
    assert!(storage.stat(swapped).is_ok());

    put(&storage, &encode(&pack, ParityShare::DEFAULT).unwrap());
    assert_eq!(heal(&*storage, &[name.id]).healed[0].object, name);
    assert!(storage.get(name, u64::MAX).unwrap() == pack);
    // Those that claim to be parity of this pack and are not are told, and stay.
    let outcome = heal(&*storage, &[]);
    assert!(
        outcome
            .healed
            .iter()
            .all(|healed| healed.object.kind == ObjectKind::Parity)
    );
    let add = AddParity {
        share: None,
        dry_run: false,
    };
    add.run(&repo, &OperationReport::default()).unwrap();
    for snapshot in repo.snapshots().unwrap() {
        common::records(&repo, &snapshot.id.to_hex()).unwrap();
    }
}
