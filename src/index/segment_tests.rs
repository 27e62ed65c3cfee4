use super::test_segments::{entry, random_segment};
use super::*;
use crate::error::ErrorKind;
use crate::limits::{BLOB_BYTES_MAX, SEGMENT_ENTRIES_MAX};

fn decode(header: &[u8], body: &[u8]) -> crate::error::Result<Segment> {
    Segment::decode(header, body)
}

#[test]
fn segments_go_out_and_come_back() {
    for seed in 0..50 {
        let segment = random_segment(seed, (seed * seed) as usize % 300);
        let (header, body) = (encode_header(&segment), encode_body(&segment));
        assert_eq!(decode(&header, &body).unwrap(), segment);
    }
    let empty = Segment::default();
    assert_eq!(
        (encode_header(&empty), encode_body(&empty)),
        (vec![0, 0], vec![0])
    );
    assert_eq!(decode(&[0, 0], &[0]).unwrap(), empty);
}

#[test]
fn a_header_says_where_it_ends() {
    let segment = random_segment(3, 20);
    let mut header = encode_header(&segment);
    let len = header.len();
    header.extend_from_slice(b"sealed body");
    assert_eq!(decode_header(&header).unwrap().2, len);
    assert!(Segment::decode(&header[..len], &encode_body(&segment)).is_ok());
    assert_eq!(
        Segment::decode(&header, &encode_body(&segment))
            .unwrap_err()
            .kind(),
        ErrorKind::Corrupt
    );
}

#[test]
fn cut_short_or_with_bytes_too_many_it_is_an_error() {
    let segment = random_segment(4, 9);
    let (header, mut body) = (encode_header(&segment), encode_body(&segment));
    for len in 0..header.len() {
        assert!(decode_header(&header[..len]).is_err(), "{len}");
    }
    for len in 0..body.len() {
        assert!(decode_body(&body[..len], segment.packs()).is_err(), "{len}");
    }
    body.push(0);
    assert!(decode_body(&body, segment.packs()).is_err());
}

#[test]
fn every_flipped_bit_is_an_error_or_another_segment_in_its_one_encoding() {
    let segment = random_segment(5, 9);
    let (header, body) = (encode_header(&segment), encode_body(&segment));
    for (at, bit) in (0..header.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut flipped = header.clone();
        flipped[at] ^= 1 << bit;
        if let Ok((packs, supersedes, used)) = decode_header(&flipped) {
            let other = Segment::new(packs, supersedes, Vec::new()).unwrap();
            assert_eq!(encode_header(&other), flipped[..used]);
        }
    }
    for (at, bit) in (0..body.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut flipped = body.clone();
        flipped[at] ^= 1 << bit;
        if let Ok(entries) = decode_body(&flipped, segment.packs()) {
            let other = Segment::new(segment.packs().to_vec(), Vec::new(), entries).unwrap();
            assert_eq!(encode_body(&other), flipped, "byte {at} bit {bit}");
        }
    }
}

#[test]
fn counts_are_compared_with_what_is_there_before_anything_is_allocated() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
    for bytes in [&huge[..], &[0, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0x80, 0x00, 0]] {
        assert_eq!(decode_header(bytes).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    assert_eq!(decode_body(&huge, &[]).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn what_cannot_be_is_refused_on_both_ways() {
    let good = entry(1, 1);
    let pack = SegmentPack {
        pack: good.location.pack,
        len: u64::from(good.location.offset) + u64::from(good.location.len),
    };
    let kind = |packs: &[SegmentPack], entries: &[IndexEntry]| {
        let made = Segment::new(packs.to_vec(), Vec::new(), entries.to_vec());
        made.map(|_| ()).map_err(|error| error.kind())
    };
    assert_eq!(kind(&[pack], &[good]), Ok(()));
    assert_eq!(kind(&[], &[good]), Err(ErrorKind::Usage));
    let shorter = SegmentPack {
        len: pack.len - 1,
        ..pack
    };
    assert_eq!(kind(&[shorter], &[good]), Err(ErrorKind::Usage));
    assert_eq!(kind(&[shorter, pack], &[good]), Err(ErrorKind::Usage));
    let body = encode_body(&Segment::new(vec![pack], Vec::new(), vec![good]).unwrap());
    assert_eq!(
        decode_body(&body, &[shorter]).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    assert_eq!(decode_body(&body, &[]).unwrap_err().kind(), ErrorKind::Corrupt);

    let mut longer = good;
    longer.location.plain_len = BLOB_BYTES_MAX as u32 + 1;
    assert_eq!(kind(&[pack], &[longer]), Err(ErrorKind::Usage));
    let mut directory = good;
    directory.location.ordinal = u32::MAX;
    assert_eq!(kind(&[pack], &[directory]), Err(ErrorKind::Usage));

    let mut unknown_kind = body;
    unknown_kind[33] = 99;
    assert_eq!(
        decode_body(&unknown_kind, &[pack]).unwrap_err().kind(),
        ErrorKind::TooNew
    );

    let many = (0..=SEGMENT_ENTRIES_MAX as u64).map(|seed| IndexEntry {
        id: entry(seed, 1).id,
        ..good
    });
    assert_eq!(kind(&[pack], &many.collect::<Vec<_>>()), Err(ErrorKind::Limit));
}
