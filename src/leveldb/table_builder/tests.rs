//! What was built is taken apart again by the reader: records, index, filter, codecs, footer.

use proptest::prelude::*;
use rusty_leveldb::{BloomPolicy, FilterPolicy as PolicyInterface};

use super::*;
use crate::codec::Reader;
use crate::leveldb::block::BlockEntries;
use crate::leveldb::block_decompressor::Decompressor;
use crate::leveldb::database_layout::{FilterPolicy, TableExtension};
use crate::leveldb::table_reader::{self, FilterBlock, Table, TableFooter, read_block, read_filter};
use crate::leveldb::version::user_key;

type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// One data block with what the index says of it.
struct Block {
    offset: u64,
    index_key: Vec<u8>,
    codec: BlockCodec,
    records: Records,
}

struct Parsed {
    blocks: Vec<Block>,
    filter: Option<FilterBlock>,
}

impl Parsed {
    fn of(bytes: &Vec<u8>) -> Self {
        let mut decompressor = Decompressor::default();
        let len = bytes.len() as u64;
        let table = Table::open(bytes, len, &mut decompressor).unwrap();
        assert!(table.filter_fault.is_none());
        let footer = TableFooter::read(bytes, len).unwrap();
        let mut index = BlockEntries::new(&table.index).unwrap();
        let mut blocks = Vec::new();
        while let Some((key, handle)) = index.next().unwrap() {
            let handle = table_reader::BlockHandle::read(&mut Reader::new(handle)).unwrap();
            let (codec, plain) = read_block(bytes, handle, table.data_end, &mut decompressor).unwrap();
            blocks.push(Block {
                offset: handle.offset,
                index_key: key.to_vec(),
                codec,
                records: entries(&plain),
            });
        }
        let filter = read_filter(bytes, footer.metaindex, table.data_end, &mut decompressor).unwrap();
        Self { blocks, filter }
    }

    fn user_records(&self) -> Records {
        let all = self.blocks.iter().flat_map(|block| &block.records);
        all.map(|(key, value)| (user_key(key).to_vec(), value.clone()))
            .collect()
    }
}

fn entries(block: &[u8]) -> Records {
    let mut entries = BlockEntries::new(block).unwrap();
    let mut records = Vec::new();
    while let Some((key, value)) = entries.next().unwrap() {
        records.push((key.to_vec(), value.to_vec()));
    }
    records
}

fn compare_internal(a: &[u8], b: &[u8]) -> Ordering {
    let tag = |key: &[u8]| u64::from_le_bytes(*key.last_chunk().unwrap());
    user_key(a).cmp(user_key(b)).then(tag(b).cmp(&tag(a)))
}

fn check(shape: &DatabaseLayout, records: &Records) {
    let mut builder = TableBuilder::new(shape, &Comparator::Bytewise).unwrap();
    let table = build(&mut builder, records);
    let parsed = Parsed::of(&table.bytes);
    assert_eq!(&parsed.user_records(), records);
    assert_eq!(table.records, records.len() as u64);
    let plain_bytes: usize = records.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert_eq!(table.plain_bytes, plain_bytes as u64);
    let longest = records.iter().map(|(key, value)| key.len() + value.len()).max();
    assert_eq!(Some(table.longest_bytes as usize), longest);
    assert_eq!(user_key(&table.smallest), records[0].0);
    assert_eq!(user_key(&table.largest), records[records.len() - 1].0);
    check_blocks(shape, &parsed);
    if let Some(filter) = &parsed.filter {
        check_filter(filter, &parsed.blocks);
    }
    assert_eq!(parsed.filter.is_some(), shape.filter.is_some());
    builder.recycle(table.clone());
    assert_eq!(
        build(&mut builder, records).bytes,
        table.bytes,
        "a builder used again"
    );
}

fn build(builder: &mut TableBuilder, records: &Records) -> FinishedTable {
    for (key, value) in records {
        builder.add(key, value).unwrap();
    }
    builder.finish().unwrap()
}

fn check_blocks(shape: &DatabaseLayout, parsed: &Parsed) {
    let tag = ((shape.last_sequence << 8) | 1).to_le_bytes();
    for (index, block) in parsed.blocks.iter().enumerate() {
        assert!(block.codec == BlockCodec::None || block.codec == shape.codec);
        assert!(block.records.iter().all(|(key, _)| key.ends_with(&tag)));
        let last = &block.records[block.records.len() - 1].0;
        assert_eq!(compare_internal(last, &block.index_key), Ordering::Less);
        if let Some(next) = parsed.blocks.get(index + 1) {
            assert_eq!(
                compare_internal(&block.index_key, &next.records[0].0),
                Ordering::Less
            );
        }
    }
}

/// Finds every key in the filter that a reader would ask.
fn check_filter(filter: &FilterBlock, blocks: &[Block]) {
    let (filters, array) = filter.bytes[..filter.bytes.len() - 1]
        .split_last_chunk::<4>()
        .unwrap();
    let array = u32::from_le_bytes(*array) as usize;
    let offset = |index: usize| {
        let bytes = &filter.bytes[array + 4 * index..][..4];
        u32::from_le_bytes(bytes.try_into().unwrap()) as usize
    };
    let policy = BloomPolicy::new(10);
    for block in blocks {
        let index = (block.offset >> 11) as usize;
        let bits = &filters[offset(index)..offset(index + 1)];
        for (key, _) in &block.records {
            assert!(
                policy.key_may_match(user_key(key), bits),
                "a key that the filter hides"
            );
        }
    }
}

#[test]
fn deletions_stand_among_records_with_a_kind_of_their_own() {
    let shape = DatabaseLayout {
        last_sequence: 9,
        filter: bloom("leveldb.BuiltinBloomFilter2"),
        ..DatabaseLayout::default()
    };
    let mut builder = TableBuilder::new(&shape, &Comparator::Bytewise).unwrap();
    builder.delete(b"a").unwrap();
    builder.add(b"b", b"value").unwrap();
    builder.delete(b"c").unwrap();
    assert!(builder.delete(b"c").is_err(), "not behind the last");
    let table = builder.finish().unwrap();
    assert_eq!(table.smallest, b"a\x00\x09\0\0\0\0\0\0");
    assert_eq!(table.largest, b"c\x00\x09\0\0\0\0\0\0");
    let parsed = Parsed::of(&table.bytes);
    let entries = [("a", 0, ""), ("b", 1, "value"), ("c", 0, "")].map(|(key, kind, value)| {
        (
            [key.as_bytes(), &[kind, 9, 0, 0, 0, 0, 0, 0]].concat(),
            value.into(),
        )
    });
    assert_eq!(parsed.blocks[0].records, entries);
    check_filter(parsed.filter.as_ref().unwrap(), &parsed.blocks);
}

fn bloom(name: &str) -> Option<FilterPolicy> {
    Some(FilterPolicy {
        name: name.to_owned(),
        bits_per_key: 10,
    })
}

fn records() -> impl Strategy<Value = Records> {
    let key = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..5),
        prop::collection::vec(Just(0xff), 0..5),
        "user/[0-9]{1,4}".prop_map(String::into_bytes),
    ];
    let value = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40),
        2 => (0usize..2000).prop_map(|len| vec![7; len]),
        1 => (0usize..20_000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ];
    prop::collection::btree_map(key, value, 1..300).prop_map(|records| records.into_iter().collect())
}

fn shapes() -> impl Strategy<Value = DatabaseLayout> {
    let codec = prop::sample::select(vec![
        BlockCodec::None,
        BlockCodec::Snappy,
        BlockCodec::Zstd,
        BlockCodec::Zlib,
        BlockCodec::Deflate,
    ]);
    let filter = prop::sample::select(vec![
        None,
        bloom("leveldb.BuiltinBloomFilter2"),
        bloom("leveldb.BuiltinBloomFilter"),
    ]);
    (codec, filter, 128u32..6000, 1u32..20, 1u64..=SEQUENCE_MAX).prop_map(
        |(codec, filter, block_size, restart_interval, last_sequence)| DatabaseLayout {
            codec,
            filter,
            block_size,
            restart_interval,
            last_sequence,
            ..DatabaseLayout::default()
        },
    )
}

proptest! {
    #[test]
    fn what_is_built_is_read(shape in shapes(), records in records()) {
        check(&shape, &records);
    }
}

#[test]
fn a_shape_beyond_all_bounds_still_builds() {
    let records: Records = (0..500u32)
        .map(|number| (number.to_be_bytes().to_vec(), vec![1; 100]))
        .collect();
    for (number, bits_per_key) in [(0, 0), (u32::MAX, 255)] {
        let shape = DatabaseLayout {
            block_size: number,
            restart_interval: number,
            table_bytes: u64::from(number) << 32,
            filter: bloom("leveldb.BuiltinBloomFilter2").map(|filter| FilterPolicy {
                bits_per_key,
                ..filter
            }),
            last_sequence: 1,
            ..DatabaseLayout::default()
        };
        check(&shape, &records);
    }
}

#[test]
fn sequence_numbers_stay_within_what_every_reader_takes() {
    for (last_sequence, stored) in [(0, 1), (1, 1), (u64::MAX, SEQUENCE_MAX)] {
        let shape = DatabaseLayout {
            last_sequence,
            ..DatabaseLayout::default()
        };
        assert_eq!(restored_sequence(&shape), stored);
    }
}

#[test]
fn filters_that_we_cannot_make_right_are_left_out() {
    let records = vec![(b"key".to_vec(), b"value".to_vec())];
    for (name, table_extension) in [
        ("other.Filter", TableExtension::Ldb),
        // C++ LevelDB before 1.13 hashed signed bytes under this name.
        ("leveldb.BuiltinBloomFilter", TableExtension::Sst),
    ] {
        let shape = DatabaseLayout {
            filter: bloom(name),
            table_extension,
            ..DatabaseLayout::default()
        };
        let mut builder = TableBuilder::new(&shape, &Comparator::Bytewise).unwrap();
        let table = build(&mut builder, &records);
        assert_eq!(Parsed::of(&table.bytes).filter, None);
    }
}

#[test]
fn blocks_that_do_not_shrink_by_an_eighth_stay_as_they_are() {
    let mut state = 1u32;
    let mut noise = |len: usize| -> Vec<u8> {
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect()
    };
    for codec in [
        BlockCodec::Snappy,
        BlockCodec::Zstd,
        BlockCodec::Zlib,
        BlockCodec::Deflate,
    ] {
        let shape = DatabaseLayout {
            codec,
            ..DatabaseLayout::default()
        };
        let mut builder = TableBuilder::new(&shape, &Comparator::Bytewise).unwrap();
        // Each value fills a block: noise with a twentieth, then with a half, of zeros.
        let records = [4750, 2500]
            .into_iter()
            .enumerate()
            .map(|(key, len)| (vec![key as u8], [noise(len), vec![0; 5000 - len]].concat()))
            .collect();
        let codecs: Vec<_> = Parsed::of(&build(&mut builder, &records).bytes)
            .blocks
            .iter()
            .map(|block| block.codec)
            .collect();
        assert_eq!(codecs, [BlockCodec::None, codec]);
    }
}

#[test]
fn keys_that_do_not_ascend_and_tables_without_records_are_refused() {
    let mut builder = TableBuilder::new(&DatabaseLayout::default(), &Comparator::Bytewise).unwrap();
    assert_eq!(builder.finish().unwrap_err().kind(), ErrorKind::Usage);
    builder.add(b"b", b"").unwrap();
    assert_eq!(builder.add(b"b", b"").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(builder.add(b"a", b"").unwrap_err().kind(), ErrorKind::Corrupt);
    builder.add(b"c", b"").unwrap();
    assert_eq!(builder.finish().unwrap().records, 2);
}

#[test]
fn a_large_value_is_a_block_of_its_own_and_leaves_no_large_buffer_behind() {
    let records: Records = vec![
        (b"a".to_vec(), vec![1; 100]),
        (b"b".to_vec(), vec![2; 20 << 20]),
        (b"c".to_vec(), vec![3; 100]),
    ];
    for codec in [BlockCodec::None, BlockCodec::Snappy, BlockCodec::Zstd] {
        let shape = DatabaseLayout {
            codec,
            last_sequence: 9,
            ..DatabaseLayout::default()
        };
        check(&shape, &records);
        let mut builder = TableBuilder::new(&shape, &Comparator::Bytewise).unwrap();
        let table = build(&mut builder, &records);
        builder.recycle(table);
        assert!(builder.out.capacity() <= 8 << 20);
    }
}
