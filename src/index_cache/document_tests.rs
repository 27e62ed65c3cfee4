//! docs/format/07-index.md tells the truth.

use std::os::unix::fs::FileExt;

use super::index_row::{IndexRow, ROW_LEN};
use super::run_file::{
    BLOCK_LEN, BLOCK_NUMBER_AT, RunFile, RunFileTrailer, RunSegment, TRAILER_LEN, decode_segments, file_id,
};
use super::run_writer::{IndexRunWriter, RunPurpose};
use crate::document::{assert_example, example};
use crate::id::{BlobId, ObjectId};
use crate::index::{IndexEntry, Location, Segment, SegmentPack, encode_body, encode_header};
use crate::kind::BlobKind;

const SECTION: &str = include_str!("../../docs/format/07-index.md");

fn segment() -> Segment {
    let location = |pack, offset, len, plain_len, kind, ordinal| Location {
        pack: ObjectId([pack; 32]),
        offset,
        len,
        plain_len,
        kind,
        ordinal,
    };
    let entry = |id, location| IndexEntry {
        id: BlobId([id; 32]),
        location,
    };
    let entries = vec![
        entry(0x11, location(0xaa, 120, 20_000, 65_000, BlobKind::Leaf, 0)),
        entry(0x11, location(0xbb, 120, 20_100, 65_000, BlobKind::Leaf, 0)),
        entry(0x22, location(0xaa, 20_120, 417, 400, BlobKind::Node, 1)),
    ];
    let packs = [(0xaa, 20_690), (0xbb, 20_298)].map(|(pack, len)| SegmentPack {
        pack: ObjectId([pack; 32]),
        len,
    });
    Segment::new(packs.to_vec(), vec![ObjectId([0xcc; 32])], entries).unwrap()
}

#[test]
fn the_documents_segment_is_ours() {
    assert_example(SECTION, "index-clear", &encode_header(&segment()));
    assert_example(SECTION, "index-body", &encode_body(&segment()));
    let decoded = Segment::decode(&example(SECTION, "index-clear"), &example(SECTION, "index-body"));
    assert_eq!(decoded.unwrap(), segment());
}

#[test]
fn the_documents_run_file_is_ours() {
    let key = [7; 32];
    let segments = vec![RunSegment {
        id: ObjectId([0xdd; 32]),
        rows: 3,
        is_held: true,
        supersedes: vec![ObjectId([0xcc; 32])],
    }];
    let file = tempfile::tempfile().unwrap();
    let mut writer = IndexRunWriter::new(file, &key, file_id(&key, &segments), 3, RunPurpose::Lookup);
    for entry in segment().entries() {
        writer
            .push(&IndexRow {
                entry: *entry,
                segment: 0,
            })
            .unwrap();
    }
    let run = writer.finish(segments.clone()).unwrap();
    let mut bytes = vec![0; run.file.file.metadata().unwrap().len() as usize];
    run.file.file.read_exact_at(&mut bytes, 0).unwrap();
    let (block, rest) = bytes.split_at(BLOCK_LEN);
    let (sections, trailer) = rest.split_at(rest.len() - TRAILER_LEN);
    assert_example(SECTION, "run-row", &block[..ROW_LEN]);
    assert_example(SECTION, "run-block-end", &block[BLOCK_NUMBER_AT..]);
    assert_example(SECTION, "run-fences", &sections[..8]);
    assert_example(SECTION, "run-filter", &sections[8..72]);
    assert_example(SECTION, "run-segments", &sections[72..]);
    assert_example(SECTION, "run-trailer", trailer);

    let row = IndexRow::decode(&example(SECTION, "run-row")).unwrap();
    assert_eq!((row.entry, row.segment), (segment().entries()[0], 0));
    assert_eq!(
        decode_segments(&example(SECTION, "run-segments")).unwrap(),
        segments
    );
    let (read, _) = RunFileTrailer::decode(&example(SECTION, "run-trailer"), &key).unwrap();
    assert_eq!((read.rows, read.blocks, &read), (3, 1, &run.file.trailer));
    assert!(RunFile::open(run.file.file.try_clone().unwrap(), None, &key).is_ok());
}
