//! Goal: what is sealed comes back, and nothing else does. Method: small packs, every byte of which is turned.

use std::sync::Arc;

use super::*;
use crate::blob::NamedBlob;
use crate::clock::UnixNanos;
use crate::compress::{Compression, Compressor};
use crate::crypto::key_exchange::SecretKey;
use crate::crypto::{Entropy, SeededEntropy};
use crate::error::ErrorKind;
use crate::id::{DomainId, RepositoryId};
use crate::keys::{Keyring, SlotEntry};

fn keyring(seed: u64) -> Arc<Keyring> {
    let mut entropy = SeededEntropy::new(seed);
    let slot = SlotEntry {
        public: SecretKey::random(&mut entropy).unwrap().public(),
        created: UnixNanos(0),
        label: String::new(),
    };
    let repository = RepositoryId(entropy.salt().unwrap());
    Arc::new(Keyring::first(repository, slot, UnixNanos(0), &mut entropy).unwrap())
}

fn plain(blob: usize) -> Vec<u8> {
    match blob % 3 {
        0 => vec![blob as u8; 40 * blob],
        1 => blake3::hash(&[blob as u8]).as_bytes().to_vec(),
        _ => format!("record {blob} ").repeat(20).into_bytes(),
    }
}

fn pack(keyring: &Arc<Keyring>, blobs: usize, seed: u64) -> FinishedPack {
    let mut entropy = SeededEntropy::new(seed);
    let mut builder = PackBuilder::new(keyring, DomainId(0), Vec::new(), &mut entropy).unwrap();
    let domain = keyring.domain(DomainId(0)).unwrap();
    let mut compressor = Compressor::new(Compression::Auto.level(BlobKind::Leaf)).unwrap();
    for blob in 0..blobs {
        let kind = BlobKind::ALL[blob % BlobKind::ALL.len()];
        let named = NamedBlob::name(domain, kind, plain(blob));
        builder.push(named, &mut compressor).unwrap();
    }
    let len = builder.len();
    let pack = builder.finish().unwrap();
    assert_eq!(pack.bytes.len(), len);
    pack
}

#[test]
fn blobs_come_back_from_a_pack_by_one_range_each() {
    let keyring = keyring(1);
    let pack = pack(&keyring, 20, 2);
    verify(&keyring, &pack).unwrap();
    let key = PackKey::open(&keyring, &pack.bytes[..HEADER_LEN]).unwrap();
    let PackTail::Directory(directory) = read_directory(&key, &pack.bytes, pack.bytes.len() as u64).unwrap()
    else {
        panic!("the whole pack is tail enough");
    };
    assert_eq!(directory, pack.directory);
    for (index, blob) in directory.iter().enumerate() {
        let range = blob.offset as usize..(blob.offset + blob.len) as usize;
        let opened = read_blob(&key, &blob.name(), &pack.bytes[range]).unwrap();
        assert_eq!((opened.plain(), opened.id()), (&plain(index)[..], blob.id));
    }
}

#[test]
fn every_byte_of_a_pack_matters() {
    let keyring = keyring(1);
    for blobs in [0, 1, 7] {
        let mut pack = pack(&keyring, blobs, 2);
        for at in 0..pack.bytes.len() {
            pack.bytes[at] ^= 1 << (at % 8);
            let all_good = scan_directory(&keyring, &pack.bytes)
                .is_ok_and(|scanned| scanned.iter().all(|scanned| scanned.outcome.is_ok()));
            assert!(!all_good, "byte {at}");
            assert_eq!(verify(&keyring, &pack).unwrap_err().kind(), ErrorKind::Corrupt);
            pack.bytes[at] ^= 1 << (at % 8);
        }
        verify(&keyring, &pack).unwrap();
    }
}

const DOCUMENT: &str = include_str!("../../docs/format/06-packs.md");

fn part_bytes<'a>(pack: &'a FinishedPack, blob: &PackedBlob) -> &'a [u8] {
    &pack.bytes[blob.offset as usize..(blob.offset + blob.len) as usize]
}

#[test]
fn a_pack_cut_anywhere_is_refused_and_its_blobs_are_still_read_singly() {
    let keyring = keyring(1);
    let pack = pack(&keyring, 5, 2);
    for at in 0..pack.bytes.len() {
        let kind = scan_directory(&keyring, &pack.bytes[..at]).unwrap_err().kind();
        assert!(
            matches!(kind, ErrorKind::Torn | ErrorKind::Corrupt),
            "cut at {at}: {kind:?}"
        );
    }
    let key = PackKey::open(&keyring, &pack.bytes[..HEADER_LEN]).unwrap();
    let first = pack.directory[0];
    assert_eq!(
        read_blob(&key, &first.name(), part_bytes(&pack, &first))
            .unwrap()
            .plain(),
        plain(0)
    );
}

#[test]
fn a_damaged_part_is_told_from_the_good_ones_beside_it() {
    let keyring = keyring(1);
    let mut pack = pack(&keyring, 5, 2);
    let bad = pack.directory[3];
    pack.bytes[bad.offset as usize + 4] ^= 1;
    let scanned = scan_directory(&keyring, &pack.bytes).unwrap();
    let outcomes: Vec<bool> = scanned.iter().map(|scanned| scanned.outcome.is_ok()).collect();
    assert_eq!(outcomes, [true, true, true, false, true]);
}

#[test]
fn parts_that_changed_places_do_not_open() {
    let keyring = keyring(1);
    let mut entropy = SeededEntropy::new(2);
    let mut builder = PackBuilder::new(&keyring, DomainId(0), Vec::new(), &mut entropy).unwrap();
    let domain = keyring.domain(DomainId(0)).unwrap().clone();
    let mut compressor = Compressor::new(Compression::Off.level(BlobKind::Leaf)).unwrap();
    for plain in [b"one", b"two"] {
        let named = NamedBlob::name(&domain, BlobKind::Data, plain);
        builder.push(named, &mut compressor).unwrap();
    }
    let pack = builder.finish().unwrap();
    let key = PackKey::open(&keyring, &pack.bytes).unwrap();
    let [one, two] = [pack.directory[0], pack.directory[1]];
    assert!(read_blob(&key, &one.name(), part_bytes(&pack, &one)).is_ok());
    assert!(read_blob(&key, &one.name(), part_bytes(&pack, &two)).is_err());
    let wrong = [
        PackedBlob { ordinal: 1, ..one },
        PackedBlob {
            kind: BlobKind::Leaf,
            ..one
        },
        PackedBlob { id: two.id, ..one },
        PackedBlob { plain_len: 2, ..one },
    ];
    for blob in wrong {
        assert!(
            read_blob(&key, &blob.name(), part_bytes(&pack, &one)).is_err(),
            "{blob:?}"
        );
    }
}

#[test]
fn what_is_sealed_again_as_it_was_packed_comes_back_and_no_turned_byte_is_taken_over() {
    let keyring = keyring(1);
    let from = pack(&keyring, 20, 2);
    let key = PackKey::open(&keyring, &from.bytes[..HEADER_LEN]).unwrap();
    let open = |blob: &PackedBlob, sealed: &[u8]| read_compressed(&key, &blob.name(), sealed);
    let mut all = Vec::new();
    for blob in &from.directory {
        let sealed = part_bytes(&from, blob);
        for at in 0..sealed.len() {
            let mut turned = sealed.to_vec();
            turned[at] ^= 1;
            assert!(open(blob, &turned).is_err(), "byte {at} of {blob:?}");
        }
        all.push(open(blob, sealed).unwrap());
    }
    let mut entropy = SeededEntropy::new(3);
    let mut builder = PackBuilder::new(&keyring, DomainId(0), Vec::new(), &mut entropy).unwrap();
    seal_all(vec![(&mut builder, &all)]).unwrap();
    let to = builder.finish().unwrap();
    verify(&keyring, &to).unwrap();
    let what = |blob: &PackedBlob| (blob.id, blob.kind, blob.len, blob.plain_len);
    assert!(to.directory.iter().map(what).eq(from.directory.iter().map(what)));
}

/// A writer with a broken machine seals bytes under a name that is not theirs: authentic, and still refused.
#[test]
fn plain_bytes_that_do_not_have_their_name_are_refused_although_the_seal_is_good() {
    let keyring = keyring(1);
    let key = keyring
        .new_key(
            crate::envelope::ObjectClass::Pack,
            DomainId(0),
            &mut SeededEntropy::new(3),
        )
        .unwrap();
    let domain = keyring.domain(DomainId(0)).unwrap();
    let id = domain.blob_id(BlobKind::Data, b"meant");
    let name = crate::blob::SealedName {
        id,
        kind: BlobKind::Data,
        ordinal: 0,
        plain_len: 5,
    };
    let mut sealed = Vec::new();
    key.seal(
        &name.part(),
        crate::compress::PartCodec::Stored,
        b"wrote",
        &[],
        &mut sealed,
    )
    .unwrap();
    let error = crate::blob::open(&key, domain, &name, &sealed).unwrap_err();
    assert!(error.to_string().contains("do not have the name"), "{error}");
    let error = crate::blob::open_packed(&key, domain, &name, &sealed).unwrap_err();
    assert!(error.to_string().contains("do not have the name"), "{error}");
}

fn pressed(keyring: &Keyring, numbers: std::ops::Range<u32>) -> Vec<CompressedBlob<[u8; 4]>> {
    let domain = keyring.domain(DomainId(0)).unwrap();
    let mut compressor = Compressor::new(Compression::Fastest.level(BlobKind::Leaf)).unwrap();
    let press = |number: u32| {
        let named = NamedBlob::name(domain, BlobKind::Data, number.to_le_bytes());
        CompressedBlob::new(named, &mut compressor).unwrap()
    };
    numbers.map(press).collect()
}

#[test]
fn many_threads_seal_into_two_packs_under_ordinals_that_are_each_used_once() {
    let keyring = keyring(1);
    let mut entropy = SeededEntropy::new(2);
    // Room that was used before, for one of them.
    let [mut one, mut two] = [vec![7; 5000], Vec::new()]
        .map(|room| PackBuilder::new(&keyring, DomainId(0), room, &mut entropy).unwrap());
    for begin in [0, 1000] {
        let [left, right] = [begin, begin + 600].map(|begin| pressed(&keyring, begin..begin + 300));
        seal_all(vec![(&mut one, &left), (&mut two, &right)]).unwrap();
    }
    for builder in [one, two] {
        assert_eq!((builder.blobs(), builder.is_empty()), (600, false));
        let pack = builder.finish().unwrap();
        assert!(pack.directory.iter().map(|blob| blob.ordinal).eq(0..600));
        verify(&keyring, &pack).unwrap();
    }
}

#[test]
fn what_was_taken_back_is_not_in_the_pack_and_its_ordinal_is_not_used_again() {
    let keyring = keyring(1);
    let mut builder =
        PackBuilder::new(&keyring, DomainId(0), Vec::new(), &mut SeededEntropy::new(2)).unwrap();
    let mut all = pressed(&keyring, 0..30);
    let (last, taken) = (all.split_off(20), all.split_off(10));
    seal_all(vec![(&mut builder, &all)]).unwrap();
    let len = builder.len();
    taken.iter().for_each(|blob| builder.place_blob(blob).unwrap());
    builder.truncate_to(10);
    assert_eq!((builder.len(), builder.blobs()), (len, 10));
    seal_all(vec![(&mut builder, &last)]).unwrap();
    let pack = builder.finish().unwrap();
    assert!(
        pack.directory
            .iter()
            .map(|blob| blob.ordinal)
            .eq((0..10).chain(20..30))
    );
    verify(&keyring, &pack).unwrap();
}

#[test]
fn verify_finds_a_directory_that_is_not_what_was_appended() {
    let keyring = keyring(1);
    let mut pack = pack(&keyring, 3, 2);
    pack.directory[1].plain_len += 1;
    assert!(verify(&keyring, &pack).is_err());
}

#[test]
fn a_pack_of_another_repository_is_sealed_under_another_key() {
    let pack = pack(&keyring(1), 1, 2);
    assert_eq!(
        scan_directory(&keyring(2), &pack.bytes).unwrap_err().kind(),
        ErrorKind::WrongKey
    );
}

#[test]
fn a_tail_that_is_too_short_says_how_much_to_read() {
    let keyring = keyring(1);
    let pack = pack(&keyring, 50, 2);
    let key = PackKey::open(&keyring, &pack.bytes).unwrap();
    let (len, bytes) = (pack.bytes.len() as u64, &pack.bytes);
    let short = read_directory(&key, &bytes[bytes.len() - 100..], len).unwrap();
    let wanted = 50 * 45 + 17 + 16;
    assert_eq!(short, PackTail::Short { wanted });
    let exact = read_directory(&key, &bytes[bytes.len() - wanted..], len).unwrap();
    assert_eq!(exact, PackTail::Directory(pack.directory.clone()));
    assert!(read_directory(&key, &bytes[bytes.len() - 15..], len).is_err());
    assert!(read_directory(&key, bytes, len + 1).is_err());
    assert_eq!(
        read_directory(&key, bytes, u64::MAX).unwrap_err().kind(),
        ErrorKind::Limit
    );
}

/// The same bytes never make the same pack: a new pack has a new salt, so a retry repeats no (key, nonce).
#[test]
fn sealing_again_shares_nothing_but_the_names() {
    let keyring = keyring(1);
    let [one, two] = [2, 3].map(|seed| pack(&keyring, 4, seed));
    for (left, right) in one.directory.iter().zip(&two.directory) {
        assert_eq!(left.id, right.id);
        assert_ne!(part_bytes(&one, left)[1..], part_bytes(&two, right)[1..]);
    }
}

#[test]
fn the_documented_pack_opens() {
    let keyring = keyring(1);
    let mut builder =
        PackBuilder::new(&keyring, DomainId(0), Vec::new(), &mut SeededEntropy::new(2)).unwrap();
    let mut compressor = Compressor::new(Compression::Off.level(BlobKind::Leaf)).unwrap();
    for (kind, plain) in [(BlobKind::Leaf, &b"a leaf"[..]), (BlobKind::Data, b"a chunk")] {
        let named = NamedBlob::name(keyring.domain(DomainId(0)).unwrap(), kind, plain);
        builder.push(named, &mut compressor).unwrap();
    }
    let pack = builder.finish().unwrap();
    crate::document::assert_example(DOCUMENT, "pack", &pack.bytes);
    verify(&keyring, &pack).unwrap();
}

/// Frames of another zstd must open for as long as the format lives: this one is kept, not made anew.
#[test]
fn a_kept_zstd_frame_inflates() {
    let frame = crate::document::example(DOCUMENT, "frame");
    let mut plain = Vec::new();
    let open = |room: &mut Vec<u8>| {
        *room = frame;
        Ok(())
    };
    crate::compress::decompress_with(1, open, 60, &mut plain).unwrap();
    assert_eq!(
        plain,
        b"record record record record record record record record end."
    );
}

proptest::proptest! {
    #[test]
    fn no_directory_makes_the_decoder_panic(
        plain in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        end: u64,
    ) {
        let _ = pack_directory::decode(&plain, end);
        let _ = pack_directory::decode(&plain, 120 + u64::from(plain.len() as u32));
    }

    #[test]
    fn no_trailer_makes_the_decoder_panic(
        mut tail in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
        len: u64,
    ) {
        let _ = pack_directory::trailer(&tail, len);
        tail.extend_from_slice(b"levpack\x1a");
        let _ = pack_directory::trailer(&tail, len % (1 << 29));
    }
}
