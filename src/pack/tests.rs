//! Goal: what is sealed comes back, and nothing else does. Method: small packs, every byte of which is turned.

use super::*;
use crate::blob::NamedBlob;
use crate::clock::UnixNanos;
use crate::compress::{Compression, Compressor};
use crate::crypto::exchange::Identity;
use crate::crypto::{Entropy, SeededEntropy};
use crate::error::Kind;
use crate::id::{DomainId, RepositoryId};
use crate::keys::{Keyring, SlotEntry};

fn keyring(seed: u64) -> Keyring {
    let mut entropy = SeededEntropy::new(seed);
    let slot = SlotEntry {
        public: Identity::random(&mut entropy).unwrap().public(),
        created: UnixNanos(0),
        label: String::new(),
    };
    let repository = RepositoryId(entropy.salt().unwrap());
    Keyring::first(repository, slot, UnixNanos(0), &mut entropy).unwrap()
}

fn plain(blob: usize) -> Vec<u8> {
    match blob % 3 {
        0 => vec![blob as u8; 40 * blob],
        1 => blake3::hash(&[blob as u8]).as_bytes().to_vec(),
        _ => format!("record {blob} ").repeat(20).into_bytes(),
    }
}

fn pack(keyring: &Keyring, blobs: usize, seed: u64) -> Pack {
    let mut entropy = SeededEntropy::new(seed);
    let mut builder = PackBuilder::new(keyring, DomainId(0), 1000, &mut entropy).unwrap();
    let domain = keyring.domain(DomainId(0)).unwrap();
    let mut compressor = Compressor::new(Compression::Auto).unwrap();
    for blob in 0..blobs {
        let kind = BlobKind::ALL[blob % BlobKind::ALL.len()];
        let named = NamedBlob::name(domain, kind, plain(blob));
        let sealed = builder.sealer().seal(&named, &mut compressor).unwrap();
        builder.append(sealed).unwrap();
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
    let Tail::Directory(directory) = read_directory(&key, &pack.bytes, pack.bytes.len() as u64).unwrap()
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
            assert_eq!(verify(&keyring, &pack).unwrap_err().kind(), Kind::Corrupt);
            pack.bytes[at] ^= 1 << (at % 8);
        }
        verify(&keyring, &pack).unwrap();
    }
}
