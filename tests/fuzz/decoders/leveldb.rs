//! Decoders of what LevelDB wrote.

use std::cmp::Ordering;
use std::io::Write;
use std::path::Path;

use levault::codec::Reader;
use levault::error::Result;
use levault::leveldb::block::BlockEntries;
use levault::leveldb::block_decompressor::{Decompressor, codec_of};
use levault::leveldb::file_name::FileName;
use levault::leveldb::idb_comparator;
use levault::leveldb::log_reader::{LogSink, UnreadableSpan, read_log};
use levault::leveldb::table_reader::{BlockHandle, Table, read_block};
use levault::leveldb::version::{TableMeta, VersionEdit};
use levault::leveldb::write_batch::{BatchParser, BatchSink};
use levault::source::{Database, RecordSink};

use super::seeds::{log, table};

/// A log or MANIFEST: its records, and the batches in them.
pub fn leveldb_log(data: &[u8]) {
    let mut sink = Batches::default();
    let tail = read_log(&data.to_vec(), &mut sink);
    if let Some(tail) = tail {
        assert!(tail.from <= tail.to && tail.to <= data.len() as u64);
    }
}

#[derive(Default)]
struct Batches {
    record: Vec<u8>,
}

impl LogSink for Batches {
    fn part(&mut self, _offset: u64, payload: &[u8]) {
        self.record.extend_from_slice(payload);
    }

    fn end(&mut self, _start: u64, _hole: Option<UnreadableSpan>) {
        let _ = VersionEdit::decode(&self.record);
        leveldb_batch(&self.record);
        self.record.clear();
    }

    fn abort(&mut self) {
        self.record.clear();
    }
}

/// A batch parsed whole, and in pieces of any size: both must see the same.
pub fn leveldb_batch(data: &[u8]) {
    let whole = batch_in_pieces(data, data.len().max(1));
    for piece in [1, 3, 7, 13] {
        assert_eq!(batch_in_pieces(data, piece), whole, "in pieces of {piece}");
    }
}

/// The operations as text, if all of it was approved of.
pub(super) fn batch_in_pieces(data: &[u8], piece: usize) -> Option<Vec<u8>> {
    let (mut parser, mut seen) = (BatchParser::default(), Seen::default());
    for (index, bytes) in data.chunks(piece).enumerate() {
        parser.push((index * piece) as u64, bytes, &mut seen).ok()?;
    }
    parser.finish().ok()?;
    Some(seen.0)
}

#[derive(Default)]
struct Seen(Vec<u8>);

impl BatchSink for Seen {
    fn delete(&mut self, key: &[u8], sequence: u64) {
        self.0
            .extend_from_slice(format!("delete {key:?} {sequence};").as_bytes());
    }

    fn put(&mut self, key: &[u8], sequence: u64, len: usize, offset: u64) {
        self.0
            .extend_from_slice(format!("put {key:?} {sequence} {len} {offset}:").as_bytes());
    }

    fn value(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
    }
}

/// One change to the set of tables: what is understood must survive being written and read again.
pub fn leveldb_version(data: &[u8]) {
    if let Ok(edit) = VersionEdit::decode(data) {
        let mut again = Vec::new();
        edit.encode(&mut again);
        assert_eq!(VersionEdit::decode(&again).expect("own encoding"), edit);
    }
}

/// A file name.
pub fn leveldb_name(data: &[u8]) {
    if let Ok(name) = std::str::from_utf8(data) {
        let _ = FileName::parse(name);
    }
}

/// Three keys of any bytes: Chromium's order must be a total one, or merging loses records.
pub fn idb_order(data: &[u8]) {
    let mut thirds = data.chunks(data.len().div_ceil(3).max(1));
    let [a, b, c] = [thirds.next(), thirds.next(), thirds.next()].map(Option::unwrap_or_default);
    assert_eq!(idb_comparator::compare(a, a), Ordering::Equal);
    assert_eq!(
        idb_comparator::compare(a, b),
        idb_comparator::compare(b, a).reverse()
    );
    let (ab, bc) = (idb_comparator::compare(a, b), idb_comparator::compare(b, c));
    if ab == bc || bc == Ordering::Equal {
        assert_eq!(idb_comparator::compare(a, c), ab);
    }
}

/// A table's bytes: footer, index, filter, every data block.
pub fn leveldb_table(data: &[u8]) {
    let (file, mut decompressor) = (data.to_vec(), Decompressor::default());
    let Ok(table) = Table::open(&file, file.len() as u64, &mut decompressor) else {
        return;
    };
    let Ok(mut index) = BlockEntries::new(&table.index) else {
        return;
    };
    while let Ok(Some((_, handle))) = index.next() {
        let Ok(handle) = BlockHandle::read(&mut Reader::new(handle)) else {
            continue;
        };
        if let Ok((_, block)) = read_block(&file, handle, table.data_end, &mut decompressor) {
            walk(&block);
        }
    }
}

fn walk(block: &[u8]) {
    let Ok(mut entries) = BlockEntries::new(block) else {
        return;
    };
    let mut before = 0;
    while let Ok(Some(_)) = entries.next() {
        assert!(entries.position() > before && entries.position() <= block.len());
        before = entries.position();
    }
}

/// A codec's number and a stored block whose checksum was right.
pub fn leveldb_block(data: &[u8]) {
    let Some((id, stored)) = data.split_first() else {
        return;
    };
    let Some(codec) = codec_of(*id, stored) else {
        return;
    };
    let mut plain = Vec::new();
    if let Ok(len) = Decompressor::default().decompress(codec, stored, &mut plain) {
        walk(&plain[..len]);
    }
}

/// A directory whose files were written around the input: what is read must come in strictly rising order, and
/// twice the same.
pub fn leveldb_database(data: &[u8]) {
    let _ = database_records(data);
}

/// Frames fields of a MANIFEST, a log's batch and a data block with right checksums, so that what is behind those is
/// reached, and reads the database they make; `None` if it is none.
pub fn database_records(data: &[u8]) -> Option<Vec<u8>> {
    let (&[edit_len, batch_len, codec, smallest], rest) = data.split_first_chunk()?;
    let (edit, rest) = rest.split_at_checked(edit_len.into())?;
    let (batch, block) = rest.split_at_checked(batch_len.into())?;
    let dir = tempfile::tempdir().expect("make a directory");
    let table = table(block, codec);
    let mut first = Vec::new();
    first_edit(table.len() as u64, smallest).encode(&mut first);
    let put = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).expect("write a file");
    put("CURRENT", b"MANIFEST-000002\n");
    put("MANIFEST-000002", &[log(&first), log(edit)].concat());
    put("000003.log", &log(batch));
    put("000005.ldb", &table);
    let records = scan(dir.path());
    assert_eq!(scan(dir.path()), records);
    records
}

fn first_edit(size: u64, smallest: u8) -> VersionEdit {
    let internal = |key: &[u8]| [key, &0x101u64.to_le_bytes()].concat();
    VersionEdit {
        comparator: Some(b"leveldb.BytewiseComparator".to_vec()),
        log_number: Some(3),
        previous_log_number: Some(0),
        next_file: Some(6),
        last_sequence: Some(9),
        added: vec![(
            1,
            TableMeta {
                number: 5,
                size,
                smallest: if smallest == 0 {
                    internal(b"key/1")
                } else {
                    internal(&[smallest])
                },
                largest: internal(b"other"),
            },
        )],
        ..VersionEdit::default()
    }
}

/// The records of a database, as a stream; `None` if it could not be read as one.
fn scan(directory: &Path) -> Option<Vec<u8>> {
    let mut sink = Rising::default();
    Database::open(directory).ok()?.scan(&mut sink).ok()?;
    Some(sink.stream)
}

#[derive(Default)]
struct Rising {
    last: Option<Vec<u8>>,
    stream: Vec<u8>,
}

impl RecordSink for Rising {
    fn record(&mut self, key: &[u8], value: &[u8], certain: bool) -> Result<()> {
        assert!(
            self.last.as_deref().is_none_or(|last| last < key),
            "records out of order"
        );
        self.last = Some(key.to_vec());
        writeln!(self.stream, "{key:?} {value:?} {certain}").expect("memory");
        Ok(())
    }
}
