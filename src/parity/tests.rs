//! What may go wrong with a pack and with its parity: bursts, scattered damage, too few bytes and too many, lies.

use proptest::prelude::*;

use super::*;
use crate::envelope::{Header, object_id};
use crate::error::ErrorKind;
use crate::id::ObjectId;

fn pack_of(len: usize, seed: u64) -> Vec<u8> {
    let mut pack = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut pack);
    pack
}

fn share(percent: u16) -> ParityShare {
    ParityShare::from_ten_thousandths(percent * 100).unwrap()
}

fn flip(bytes: &mut [u8], at: std::ops::Range<usize>) {
    bytes[at].iter_mut().for_each(|byte| *byte ^= 0x55);
}

/// Mostly short, some of several megabytes; around the borders of shards.
fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => 1usize..5_000,
        4 => 5_000usize..200_000,
        1 => 200_000usize..(4 << 20),
        2 => (1usize..60).prop_map(|shards| shards * 64),
        2 => (1usize..60).prop_map(|shards| shards * 64 + 1),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_burst_of_the_share_heals(len in lengths(), percent in 1u16..=100, at in 0.0..=1.0f64, seed: u64) {
        let (pack, share) = (pack_of(len, seed), share(percent));
        let object = encode(&pack, share).unwrap();
        let parity = ParityObject::open(&object).unwrap();
        let burst = share.of(len as u64) as usize;
        prop_assert!(parity.head().geometry.burst() >= burst);
        for burst in [burst, parity.head().geometry.burst(), 1] {
            let start = ((len - burst) as f64 * at) as usize;
            let mut damaged = pack.clone();
            flip(&mut damaged, start..start + burst);
            let mended = parity.repair(&damaged).unwrap();
            prop_assert!(mended.bytes == pack);
            prop_assert!(mended.shards > 0);
        }
    }

    #[test]
    fn any_shards_may_be_lost_up_to_their_number(
        len in lengths(),
        percent in 1u16..=100,
        order: u64,
        of_parity in 0.0..=1.0f64,
        seed: u64,
    ) {
        let (pack, share) = (pack_of(len, seed), share(percent));
        let mut object = encode(&pack, share).unwrap();
        let geometry = ParityObject::open(&object).unwrap().head().geometry;
        let by_lot = |count: usize, word: u8| {
            let mut all: Vec<_> = (0..count).collect();
            all.sort_by_key(|number| {
                *blake3::hash(&[&order.to_le_bytes()[..], &number.to_le_bytes(), &[word]].concat()).as_bytes()
            });
            all
        };
        let parity_lost = (geometry.parity() as f64 * of_parity) as usize;
        let mut damaged = pack.clone();
        for number in by_lot(geometry.parity(), 1).into_iter().take(parity_lost) {
            let at = geometry.parity_range(number).end - 1;
            flip(&mut object, at..at + 1);
        }
        let lost = by_lot(geometry.data(), 2);
        let left = geometry.parity() - parity_lost;
        for number in &lost[..left] {
            let at = geometry.data_range(*number).start;
            flip(&mut damaged, at..at + 1);
        }
        let parity = ParityObject::open(&object).unwrap();
        let mended = parity.repair(&damaged).unwrap();
        prop_assert!(mended.bytes == pack);
        prop_assert_eq!(mended.shards, left);
        if let Some(more) = lost.get(left) {
            let at = geometry.data_range(*more).start;
            flip(&mut damaged, at..at + 1);
            prop_assert_eq!(parity.repair(&damaged).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn bytes_that_are_missing_or_too_many_heal_like_wrong_ones(
        len in lengths(),
        percent in 1u16..=100,
        at in 0.0..=1.0f64,
        more in 1usize..3_000,
        seed: u64,
    ) {
        let (pack, share) = (pack_of(len, seed), share(percent));
        let object = encode(&pack, share).unwrap();
        let parity = ParityObject::open(&object).unwrap();
        let burst = share.of(len as u64) as usize;
        let cut = &pack[..len - burst];
        let front = &pack[burst..];
        let longer = [&pack[..], &pack_of(more, seed ^ 1)].concat();
        let start = ((len - 1) as f64 * at) as usize;
        let within = [&pack[..start], &pack_of(more, seed ^ 2), &pack[start..]].concat();
        for damaged in [cut, front, &longer, &within] {
            prop_assert!(parity.repair(damaged).unwrap().bytes == pack);
        }
    }

    #[test]
    fn what_is_no_parity_is_an_error_and_never_another_pack(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        head in any::<(u16, u32, u64)>(),
    ) {
        let pack = pack_of(300, 7);
        if let Ok(parity) = ParityObject::open(&bytes) {
            prop_assert!(parity.repair(&pack).is_err());
        }
        // A head that is right, of whatever it pleases.
        let mut lie = encode(&pack, ParityShare::DEFAULT).unwrap();
        let head_at = HEAD_OFFSET..HEAD_OFFSET + ParityHeader::LEN;
        lie[HEAD_OFFSET + 2..HEAD_OFFSET + 4].copy_from_slice(&head.0.to_le_bytes());
        lie[HEAD_OFFSET + 4..HEAD_OFFSET + 8].copy_from_slice(&(head.1 / 64 * 64).to_le_bytes());
        lie[HEAD_OFFSET + 8..HEAD_OFFSET + 16].copy_from_slice(&(head.2 % (1 << 20)).to_le_bytes());
        seal_head(&mut lie[head_at]);
        if let Ok(parity) = ParityObject::open(&lie)
            && let Ok(mended) = parity.repair(&pack)
        {
            prop_assert!(mended.bytes == pack);
        }
    }
}

/// Sets the checksum right.
fn seal_head(head: &mut [u8]) {
    let checksum = parity_header::hash(&head[..48]);
    head[48..64].copy_from_slice(&checksum);
}

#[test]
fn a_parity_object_that_is_hit_anywhere_still_serves() {
    let pack = pack_of(200_000, 1);
    let object = encode(&pack, share(5)).unwrap();
    let geometry = ParityObject::open(&object).unwrap().head().geometry;
    let mut damaged = pack.clone();
    flip(&mut damaged, 70_000..70_001);
    let heals = |object: &[u8], what: &str| {
        let mended = ParityObject::open(object).and_then(|parity| parity.repair(&damaged));
        let mended = mended.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(mended.bytes == pack, "{what}");
    };
    // A burst of all parity shards but one, wherever it begins: it may take a head, a list of hashes and shards.
    let burst = (geometry.parity() - 2) * geometry.shard_len();
    for start in (0..object.len() - burst)
        .step_by(97)
        .chain([object.len() - burst])
    {
        let mut hit = object.clone();
        flip(&mut hit, start..start + burst);
        heals(&hit, &format!("a burst at {start}"));
    }
    for len in [
        object.len() - 1,
        object.len() - ParityHeader::LEN,
        object.len() - burst,
    ] {
        heals(&object[..len], &format!("cut to {len}"));
        heals(
            &object[object.len() - len..],
            &format!("without its beginning, {len} left"),
        );
    }
    heals(&[&object[..], &[0; 1000]].concat(), "longer");
    heals(&[&[0; 1000], &object[..]].concat(), "longer at the front");
    // Each list of hashes hit in every second place, not in the same.
    let mut hit = object.clone();
    let lists = HEAD_OFFSET + ParityHeader::LEN..geometry.parity_range(0).start;
    let again = geometry.parity_range(geometry.parity()).start;
    for (number, at) in lists.step_by(16).enumerate() {
        let at = if number % 2 == 0 { at } else { again + number * 16 };
        flip(&mut hit, at..at + 1);
    }
    heals(&hit, "half of each list");
}

#[test]
fn without_a_head_there_is_nothing_to_go_by() {
    let pack = pack_of(5_000, 1);
    let object = encode(&pack, share(5)).unwrap();
    for at in HEAD_OFFSET..HEAD_OFFSET + ParityHeader::LEN {
        let mut hit = object.clone();
        flip(&mut hit, at..at + 1);
        assert!(ParityObject::open(&hit).is_ok(), "the other head serves");
        let last = object.len() - 1;
        flip(&mut hit, last..last + 1);
        assert_eq!(ParityObject::open(&hit).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    for len in 0..HEAD_OFFSET + ParityHeader::LEN {
        assert!(ParityObject::open(&object[..len]).is_err(), "{len}");
    }
}

#[test]
fn a_pack_that_is_gone_comes_back_from_parity_of_all_of_it_and_from_no_less() {
    let pack = pack_of(100_000, 3);
    let object = encode(&pack, ParityShare::WHOLE).unwrap();
    assert!(ParityObject::open(&object).unwrap().repair(&[]).unwrap().bytes == pack);
    let object = encode(&pack, share(90)).unwrap();
    let gone = ParityObject::open(&object).unwrap().repair(&[]).unwrap_err();
    assert!(
        gone.to_string().contains("shards are damaged, and parity for"),
        "{gone}"
    );
}

#[test]
fn nothing_is_handed_on_that_has_not_the_packs_name() {
    let (pack, other) = (pack_of(5_000, 1), pack_of(5_000, 2));
    let geometry = ShardGeometry::plan(5_000, share(5)).unwrap();
    // Another's shards under this pack's name: whole by their hashes, and not this pack.
    let lie = encode_as(&other, &object_id(&pack), geometry).unwrap();
    for stored in [&pack, &other] {
        let error = ParityObject::open(&lie).unwrap().repair(stored).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    let honest = encode(&other, share(5)).unwrap();
    assert_ne!(ParityObject::open(&honest).unwrap().head().pack, object_id(&pack));
    assert!(encode_as(&pack[1..], &ObjectId([0; 32]), geometry).is_err());
}

#[test]
fn versions_and_codes_to_come_are_told_from_damage() {
    let object = encode(&pack_of(500, 1), share(5)).unwrap();
    for at in 0..2 {
        let mut later = object.clone();
        later[HEAD_OFFSET + at] = 2;
        seal_head(&mut later[HEAD_OFFSET..HEAD_OFFSET + ParityHeader::LEN]);
        let last = later.len() - 1;
        flip(&mut later, last..last + 1);
        assert_eq!(ParityObject::open(&later).unwrap_err().kind(), ErrorKind::TooNew);
    }
}

#[test]
fn the_same_pack_has_the_same_parity_and_its_object_is_a_clear_one() {
    let pack = pack_of(70_000, 1);
    let object = encode(&pack, share(5)).unwrap();
    assert!(object == encode(&pack, share(5)).unwrap());
    let header = Header::decode(&object).unwrap();
    assert_eq!(object.len(), HEAD_OFFSET + header.clear_len as usize);
}
