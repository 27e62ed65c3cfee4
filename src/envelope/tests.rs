//! Goal: an envelope opens whole, under its key and as what it is, or not at all. Method: one small object of
//! each class; every byte turned, parts exchanged, numbers from the future.

use proptest::prelude::*;

use super::gate::FORMAT_VERSION;
use super::*;
use crate::crypto::{Entropy, SeededEntropy};
use crate::document::assert_example;
use crate::error::ErrorKind;
use crate::id::{DomainId, EpochId};

const DOCUMENT: &str = include_str!("../../docs/format/03-envelope.md");
const SECRET: [u8; 32] = [7; 32];

fn header(class: ObjectClass, seed: u64) -> Header {
    Header {
        class,
        scheme: KeyScheme::Epoch,
        epoch: EpochId(1),
        domain: DomainId(0),
        clear_len: 0,
        ephemeral: [0; 32],
        salt: SeededEntropy::new(seed).salt().unwrap(),
        commitment: [0; 32],
    }
}

fn sealed(class: ObjectClass) -> Vec<u8> {
    seal_one(
        header(class, 1),
        &SECRET,
        b"clear",
        b"plain plain plain plain plain plain",
    )
    .unwrap()
}

fn opened(class: ObjectClass, bytes: &[u8], secret: &[u8]) -> Result<Vec<u8>> {
    parse_one(class, bytes)?.open(secret)
}

#[test]
fn an_object_of_every_class_comes_back() {
    for class in ObjectClass::ALL {
        let bytes = sealed(*class);
        let parts = parse_one(*class, &bytes).unwrap();
        assert_eq!(parts.clear, b"clear");
        assert_eq!(
            parts.open(&SECRET).unwrap(),
            b"plain plain plain plain plain plain"
        );
    }
}

#[test]
fn every_byte_of_an_object_matters_and_so_does_its_end() {
    let bytes = sealed(ObjectClass::Note);
    let id = object_id(&bytes);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut turned = bytes.clone();
            turned[at] ^= 1 << bit;
            assert!(
                opened(ObjectClass::Note, &turned, &SECRET).is_err(),
                "byte {at} bit {bit}"
            );
            assert_eq!(check_name(&id, &turned).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        assert!(
            opened(ObjectClass::Note, &bytes[..at], &SECRET).is_err(),
            "cut at {at}"
        );
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(opened(ObjectClass::Note, &longer, &SECRET).is_err());
}

#[test]
fn a_wrong_key_is_told_from_damage_before_anything_is_opened() {
    let bytes = sealed(ObjectClass::Snapshot);
    check_name(&object_id(&bytes), &bytes).unwrap();
    let error = opened(ObjectClass::Snapshot, &bytes, &[8; 32]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongKey);
    let mut damaged = bytes.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let error = opened(ObjectClass::Snapshot, &damaged, &SECRET).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

/// ChaCha20-Poly1305 alone would let one ciphertext open under two keys; the commitment names one of them.
#[test]
fn a_key_that_an_object_does_not_commit_to_is_refused_even_if_the_tag_would_fit() {
    let mut header = header(ObjectClass::Note, 1);
    let honest = commit(header.clone(), &SECRET);
    header.commitment = Header::decode(commit(header.clone(), &[9; 32]).header())
        .unwrap()
        .commitment;
    let mut bytes = header.encode().to_vec();
    let name = PartName::single(3);
    bytes.extend_from_slice(&3u32.to_le_bytes());
    honest
        .seal(&name, PartCodec::Stored, b"abc", &[], &mut bytes)
        .unwrap();
    assert_eq!(
        opened(ObjectClass::Note, &bytes, &SECRET).unwrap_err().kind(),
        ErrorKind::WrongKey
    );
}

#[test]
fn an_object_does_not_pass_for_one_of_another_class() {
    let mut bytes = sealed(ObjectClass::Note);
    assert_eq!(
        opened(ObjectClass::Bad, &bytes, &SECRET).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    bytes[8] = ObjectClass::Bad as u8;
    assert_eq!(
        opened(ObjectClass::Bad, &bytes, &SECRET).unwrap_err().kind(),
        ErrorKind::WrongKey
    );
}

#[test]
fn a_part_opens_only_under_the_name_it_was_sealed_with() {
    let key = commit(header(ObjectClass::Pack, 1), &SECRET);
    let name = PartName {
        ordinal: 3,
        id: crate::id::BlobId([1; 32]),
        kind: 2,
        plain_len: 3,
    };
    let mut part = Vec::new();
    key.seal(&name, PartCodec::Stored, b"abc", b"clear", &mut part)
        .unwrap();
    assert_eq!(key.open(&name, &part, b"clear").unwrap(), b"abc");
    let wrong = [
        PartName { ordinal: 4, ..name },
        PartName {
            id: crate::id::BlobId([2; 32]),
            ..name
        },
        PartName { kind: 1, ..name },
        PartName { plain_len: 4, ..name },
        PartName {
            plain_len: u32::MAX,
            ..name
        },
    ];
    for name in wrong {
        assert!(key.open(&name, &part, b"clear").is_err(), "{name:?}");
    }
    assert!(key.open(&name, &part, b"other").is_err());
    let other = commit(header(ObjectClass::Pack, 2), &SECRET);
    assert!(other.open(&name, &part, b"clear").is_err());
}

#[test]
fn numbers_from_the_future_name_what_to_install() {
    for (at, value) in [(8, 17), (8, 0), (9, FORMAT_VERSION + 1), (10, 5), (11, 1)] {
        let mut bytes = sealed(ObjectClass::Note);
        bytes[at] = value;
        let error = opened(ObjectClass::Note, &bytes, &SECRET).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooNew, "byte {at}: {error}");
        assert!(
            error.to_string().contains("install a levault newer than"),
            "{error}"
        );
    }
}

#[test]
fn fields_that_a_scheme_does_not_use_are_zero() {
    let plain = Header {
        epoch: EpochId(0),
        ..header(ObjectClass::Parity, 1)
    };
    let clear = Header {
        scheme: KeyScheme::Clear,
        salt: [0; 32],
        ..plain.clone()
    };
    assert_eq!(Header::decode(&clear.encode()).unwrap(), clear);
    let wrong = [
        Header {
            scheme: KeyScheme::Clear,
            ..plain.clone()
        },
        Header {
            scheme: KeyScheme::Domain,
            epoch: EpochId(1),
            ..plain.clone()
        },
        Header {
            scheme: KeyScheme::Epoch,
            ephemeral: [1; 32],
            ..plain.clone()
        },
        Header {
            scheme: KeyScheme::Password,
            domain: DomainId(1),
            ..plain
        },
    ];
    for header in wrong {
        assert_eq!(
            Header::decode(&header.encode()).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "{header:?}"
        );
    }
}

#[test]
fn every_class_has_contexts_of_its_own_and_the_document_has_them_all() {
    let mut contexts: Vec<&str> = Vec::new();
    for class in ObjectClass::ALL {
        contexts.extend([class.key_context(), class.commitment_context()]);
        let row = format!("| {} | {} |", *class as u8, class.word());
        assert!(DOCUMENT.contains(&row), "missing: {row}");
        assert_eq!(ObjectClass::try_from(*class as u8).unwrap(), *class);
    }
    let count = contexts.len();
    contexts.sort_unstable();
    contexts.dedup();
    assert_eq!(contexts.len(), count);
    assert!(DOCUMENT.contains("`levault 2026-11 v1 WORD key`"));
    assert_eq!(ObjectClass::Pack.key_context(), "levault 2026-11 v1 pack key");
    assert_eq!(
        ObjectClass::Pack.commitment_context(),
        "levault 2026-11 v1 pack commitment"
    );
}

#[test]
fn the_documented_object_opens() {
    let mut header = header(ObjectClass::Note, 1);
    header.epoch = EpochId(2);
    header.domain = DomainId(5);
    header.salt = std::array::from_fn(|at| at as u8);
    let bytes = seal_one(header, &SECRET, b"seen", b"hello, reader").unwrap();
    assert_example(DOCUMENT, "object", &bytes);
    assert_eq!(
        opened(ObjectClass::Note, &bytes, &SECRET).unwrap(),
        b"hello, reader"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_an_envelope_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0usize..400) {
        for class in [ObjectClass::Note, ObjectClass::Slot] {
            let _ = opened(class, &bytes, &SECRET);
            let mut object = sealed(class);
            let at = cut.min(object.len());
            object.splice(at..(at + bytes.len()).min(sealed(class).len()), bytes.iter().copied());
            let same = object == sealed(class);
            prop_assert_eq!(opened(class, &object, &SECRET).is_ok(), same);
        }
    }

    #[test]
    fn what_is_sealed_is_opened(clear: Vec<u8>, plain: Vec<u8>, secret: [u8; 32]) {
        let bytes = seal_one(header(ObjectClass::Wal, 3), &secret, &clear, &plain).unwrap();
        prop_assert_eq!(opened(ObjectClass::Wal, &bytes, &secret).unwrap(), plain);
    }
}

/// Few stored bytes of a host's domain that open to many are refused by what they say of their length; an honest writer
/// stores such a body as it is.
#[test]
fn an_object_of_a_hosts_domain_opens_to_no_more_than_is_in_proportion() {
    let plain = vec![0; HOST_PLAIN_BYTES_FREE as usize + (1 << 20)];
    let packed = crate::compress::Compressor::new(Compression::Max.level(BlobKind::Leaf))
        .unwrap()
        .compress_new(&plain)
        .unwrap()
        .unwrap();
    for class in [ObjectClass::Snapshot, ObjectClass::Index] {
        for domain in [0, 1] {
            let header = Header {
                domain: DomainId(domain),
                ..header(class, 3)
            };
            let key = commit(header.clone(), &SECRET);
            let name = PartName::single(plain.len() as u32);
            let mut crafted = [&key.header()[..], &name.plain_len.to_le_bytes()].concat();
            key.seal(&name, PartCodec::Zstd, &packed, b"", &mut crafted)
                .unwrap();
            match (opened(class, &crafted, &SECRET), domain) {
                (Ok(opened), 0) => assert!(opened == plain),
                (Err(error), 1) => {
                    assert_eq!(error.kind(), ErrorKind::Limit);
                    assert!(error.to_string().contains("out of proportion"), "{error}");
                }
                (opened, _) => panic!(
                    "{class:?} of domain {domain}: {:?}",
                    opened.map(|plain| plain.len())
                ),
            }
            let honest = seal_one(header, &SECRET, b"", &plain).unwrap();
            assert!(opened(class, &honest, &SECRET).unwrap() == plain);
            assert_eq!(honest.len() > plain.len(), domain == 1);
        }
    }
}
