//! Goal: a name belongs to bytes, kind and domain. Sealed blobs are tried out in `pack`.

use super::*;
use crate::crypto::SeededEntropy;
use crate::id::DomainId;

#[test]
fn a_name_is_the_same_for_slice_and_copy() {
    let keys = DomainKeys::random(DomainId(0), "", &mut SeededEntropy::new(1)).unwrap();
    let borrowed = NamedBlob::name(&keys, BlobKind::Leaf, &b"plain"[..]);
    let owned = borrowed.to_owned();
    assert_eq!((owned.id(), owned.kind()), (borrowed.id(), BlobKind::Leaf));
    assert_eq!(owned, NamedBlob::name(&keys, BlobKind::Leaf, b"plain".to_vec()));
    assert_ne!(owned.id(), keys.blob_id(BlobKind::Node, b"plain"));
    assert_eq!(owned.into_plain(), b"plain");
}

#[test]
fn kinds_go_out_and_come_back_and_others_are_too_new() {
    for kind in BlobKind::ALL {
        assert_eq!(BlobKind::try_from(kind as u8).unwrap(), kind);
    }
    for number in [0, 7, 255] {
        let error = BlobKind::try_from(number).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::TooNew);
    }
}
