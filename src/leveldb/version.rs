//! Encodes, decodes and applies version edits.
//!
//! MANIFEST records ⇄ edits, and edits → the version in force: live tables, live logs, last sequence.
//!
//! ```text
//! edit = { tag varint, fields }
//!  1 comparator  len, name        5 compact pointer  level, len, internal key
//!  2 log number  varint           6 table deleted    level, number
//!  3 next file   varint           7 table added      level, number, size, len, smallest, len, largest
//!  4 last seq.   varint           9 previous log     varint
//! ```
//! A record of the MANIFEST is one edit; the version is what all of them, applied in order, leave. Any tag that
//! LevelDB does not have means another program's MANIFEST (RocksDB's start at 100), so it is refused whole:
//! an edit half understood is a database half read.

use std::collections::BTreeMap;

use super::comparator::Comparator;
use crate::codec::{Reader, put_prefixed, put_varint};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::KEY_BYTES_MAX;

/// Deepest level a table may be on: C++ LevelDB has 7, goleveldb as many as it needs.
pub const LEVEL_MAX: u8 = 63;

/// Bytes behind the user key in an internal key: sequence number and kind.
pub const TAG_BYTES: usize = 8;

/// A table as the MANIFEST has it. Both keys are internal keys, at least [`TAG_BYTES`] long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableMeta {
    /// Its file number.
    pub number: u64,
    /// Its size, bytes.
    pub size: u64,
    /// Its first internal key.
    pub smallest: Vec<u8>,
    /// Its last internal key.
    pub largest: Vec<u8>,
}

impl TableMeta {
    /// The first user key.
    pub fn smallest_user_key(&self) -> &[u8] {
        user_key(&self.smallest)
    }

    /// The last user key.
    pub fn largest_user_key(&self) -> &[u8] {
        user_key(&self.largest)
    }
}

/// An internal key without its tag; all of it when it is too short to have one.
#[inline]
pub fn user_key(internal: &[u8]) -> &[u8] {
    match internal.len().checked_sub(TAG_BYTES) {
        Some(len) => &internal[..len],
        None => internal,
    }
}

/// One change to the version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionEdit {
    /// Name of the comparator; bytes, for it need not be text.
    pub comparator: Option<Vec<u8>>,
    /// First log that counts.
    pub log_number: Option<u64>,
    /// A log before it that counts too (written by very old versions, else 0).
    pub previous_log_number: Option<u64>,
    /// The next file number not yet used.
    pub next_file: Option<u64>,
    /// Sequence number of the newest entry.
    pub last_sequence: Option<u64>,
    /// Where each level's next compaction starts: level, internal key. Read, never used here.
    pub compact_pointers: Vec<(u8, Vec<u8>)>,
    /// Tables that are no longer live: level, number.
    pub deleted: Vec<(u8, u64)>,
    /// Tables that are live from now on, with their level.
    pub added: Vec<(u8, TableMeta)>,
}

impl VersionEdit {
    /// Appends the edit's record to `out`, fields in C++ LevelDB's order.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Some(name) = &self.comparator {
            put_varint(out, 1);
            put_prefixed(out, name);
        }
        for (tag, number) in [
            (2, self.log_number),
            (9, self.previous_log_number),
            (3, self.next_file),
            (4, self.last_sequence),
        ] {
            if let Some(number) = number {
                put_varint(out, tag);
                put_varint(out, number);
            }
        }
        for (level, key) in &self.compact_pointers {
            put_varint(out, 5);
            put_varint(out, u64::from(*level));
            put_prefixed(out, key);
        }
        for (level, number) in &self.deleted {
            put_varint(out, 6);
            put_varint(out, u64::from(*level));
            put_varint(out, *number);
        }
        for (level, table) in &self.added {
            put_varint(out, 7);
            put_varint(out, u64::from(*level));
            put_varint(out, table.number);
            put_varint(out, table.size);
            put_prefixed(out, &table.smallest);
            put_prefixed(out, &table.largest);
        }
    }

    /// Reads one record. [`ErrorKind::NotLevelDb`] for a tag of RocksDB, [`ErrorKind::UnknownFormat`] for one that is not known,
    /// [`ErrorKind::Corrupt`] for anything else wrong.
    pub fn decode(record: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(record);
        let mut edit = Self::default();
        while !reader.is_empty() {
            edit.decode_field(&mut reader)?;
        }
        Ok(edit)
    }

    fn decode_field(&mut self, reader: &mut Reader) -> Result<()> {
        match reader.varint()? {
            1 => self.comparator = Some(reader.prefixed()?.to_vec()),
            2 => self.log_number = Some(reader.varint()?),
            3 => self.next_file = Some(reader.varint()?),
            4 => self.last_sequence = Some(reader.varint()?),
            5 => self
                .compact_pointers
                .push((level(reader)?, internal_key(reader)?)),
            6 => self.deleted.push((level(reader)?, reader.varint()?)),
            7 => self.added.push((level(reader)?, table(reader)?)),
            9 => self.previous_log_number = Some(reader.varint()?),
            tag if tag >= 100 => {
                return Err(Error::new(
                    ErrorKind::NotLevelDb,
                    format!("MANIFEST field {tag} is RocksDB's, which levault does not read"),
                ));
            }
            tag => {
                return Err(Error::new(
                    ErrorKind::UnknownFormat,
                    format!("MANIFEST field {tag} is not known"),
                ));
            }
        }
        Ok(())
    }
}

fn level(reader: &mut Reader) -> Result<u8> {
    let level = reader.len_varint(usize::from(LEVEL_MAX), "level")?;
    Ok(level as u8)
}

fn internal_key(reader: &mut Reader) -> Result<Vec<u8>> {
    let key = reader.prefixed()?;
    match key.len() {
        TAG_BYTES.. if key.len() <= KEY_BYTES_MAX + TAG_BYTES => Ok(key.to_vec()),
        len => Err(Error::corrupt(format!("internal key of {len} bytes"))),
    }
}

fn table(reader: &mut Reader) -> Result<TableMeta> {
    Ok(TableMeta {
        number: reader.varint()?,
        size: reader.varint()?,
        smallest: internal_key(reader)?,
        largest: internal_key(reader)?,
    })
}

/// The state of a database as its MANIFEST has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The order of its keys.
    pub comparator: Comparator,
    /// First log that counts; 0 makes every log count.
    pub log_number: u64,
    /// A log before that one that counts too; 0 for none.
    pub previous_log_number: u64,
    /// The edit that named the first log told the previous one too, be it 0: C++ LevelDB's do, goleveldb's do not.
    pub previous_log_told: bool,
    /// The next file number not yet used.
    pub next_file: u64,
    /// Sequence number of the newest entry outside the logs (a log may hold newer ones).
    pub last_sequence: u64,
    /// Live tables by level and number.
    pub tables: BTreeMap<(u8, u64), TableMeta>,
}

/// Applies edits in order.
#[derive(Clone, Debug, Default)]
pub struct VersionBuilder {
    comparator: Option<Vec<u8>>,
    log_number: Option<u64>,
    previous_log_number: u64,
    previous_log_told: bool,
    next_file: Option<u64>,
    last_sequence: Option<u64>,
    tables: BTreeMap<(u8, u64), TableMeta>,
}

impl VersionBuilder {
    /// True once an edit named the comparator, as the first one of a MANIFEST does.
    pub fn has_comparator(&self) -> bool {
        self.comparator.is_some()
    }

    /// Applies the next edit. A second comparator name that differs from the first is [`ErrorKind::Corrupt`].
    pub fn apply(&mut self, edit: VersionEdit) -> Result<()> {
        if let Some(name) = edit.comparator {
            if self.comparator.as_ref().is_some_and(|known| *known != name) {
                return Err(Error::corrupt("the MANIFEST names two comparators"));
            }
            self.comparator = Some(name);
        }
        if edit.log_number.is_some() && edit.log_number != self.log_number {
            self.log_number = edit.log_number;
            self.previous_log_told = edit.previous_log_number.is_some();
        }
        self.previous_log_number = edit.previous_log_number.unwrap_or(self.previous_log_number);
        self.next_file = edit.next_file.or(self.next_file);
        // goleveldb goes back when it flushes a log behind a transaction that was committed meanwhile.
        self.last_sequence = edit.last_sequence.max(self.last_sequence);
        for table in edit.deleted {
            self.tables.remove(&table);
        }
        for (level, table) in edit.added {
            self.tables.insert((level, table.number), table);
        }
        Ok(())
    }

    /// The version, once every edit is in. What LevelDB itself insists on must be there.
    pub fn finish(self) -> Result<Version> {
        let missing = |what| Error::corrupt(format!("the MANIFEST records no {what}"));
        let name = self.comparator.unwrap_or_default();
        Ok(Version {
            comparator: match std::str::from_utf8(&name) {
                Ok(name) => Comparator::from_name(name),
                Err(_) => Comparator::Unknown(String::from_utf8_lossy(&name).into_owned()),
            },
            log_number: self.log_number.ok_or_else(|| missing("log number"))?,
            previous_log_number: self.previous_log_number,
            previous_log_told: self.previous_log_told,
            next_file: self.next_file.ok_or_else(|| missing("next file number"))?,
            last_sequence: self
                .last_sequence
                .ok_or_else(|| missing("last sequence number"))?,
            tables: self.tables,
        })
    }
}

impl Version {
    /// True if the log of that number holds writes that no table has.
    pub fn is_live_log(&self, number: u64) -> bool {
        number >= self.log_number || (number == self.previous_log_number && number != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edit() -> VersionEdit {
        let table = TableMeta {
            number: 7,
            size: 300,
            smallest: b"a\x01\x05\0\0\0\0\0\0".to_vec(),
            largest: b"b\x01\x06\0\0\0\0\0\0".to_vec(),
        };
        VersionEdit {
            comparator: Some(b"leveldb.BytewiseComparator".to_vec()),
            log_number: Some(0),
            previous_log_number: Some(0),
            next_file: Some(9),
            last_sequence: Some(1 << 40),
            compact_pointers: vec![(1, table.smallest.clone())],
            deleted: vec![(0, 5)],
            added: vec![(2, table)],
        }
    }

    #[test]
    fn an_edit_goes_out_and_comes_back() {
        let mut record = Vec::new();
        edit().encode(&mut record);
        assert_eq!(VersionEdit::decode(&record).unwrap(), edit());
        for len in 0..record.len() {
            let _ = VersionEdit::decode(&record[..len]);
        }
    }

    #[test]
    fn the_version_is_what_all_edits_leave() {
        let mut builder = VersionBuilder::default();
        builder.apply(edit()).unwrap();
        let moved = VersionEdit {
            deleted: vec![(2, 7)],
            added: edit().added.into_iter().map(|(_, table)| (3, table)).collect(),
            log_number: Some(8),
            ..VersionEdit::default()
        };
        builder.apply(moved).unwrap();
        let earlier = VersionEdit {
            last_sequence: Some(1 << 30),
            ..VersionEdit::default()
        };
        builder.apply(earlier).unwrap();
        let version = builder.finish().unwrap();
        assert_eq!(version.last_sequence, 1 << 40);
        assert_eq!(version.tables.keys().collect::<Vec<_>>(), [&(3, 7)]);
        assert!(version.is_live_log(8) && !version.is_live_log(7) && !version.is_live_log(0));
    }

    #[test]
    fn a_manifest_that_lacks_a_number_is_no_version() {
        let all = VersionEdit {
            comparator: None,
            ..edit()
        };
        for lacking in [
            VersionEdit {
                log_number: None,
                ..all.clone()
            },
            VersionEdit {
                next_file: None,
                ..all.clone()
            },
            VersionEdit {
                last_sequence: None,
                ..all.clone()
            },
        ] {
            let mut builder = VersionBuilder::default();
            builder.apply(lacking).unwrap();
            assert_eq!(builder.finish().unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn rocksdb_and_nonsense_are_told_apart() {
        assert_eq!(
            VersionEdit::decode(&[103]).unwrap_err().kind(),
            ErrorKind::NotLevelDb
        );
        assert_eq!(
            VersionEdit::decode(&[8]).unwrap_err().kind(),
            ErrorKind::UnknownFormat
        );
        assert_eq!(
            VersionEdit::decode(&[5, 1, 2, b'a', b'b']).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
        assert_eq!(
            VersionEdit::decode(&[6, 200, 1, 1]).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(edit) = VersionEdit::decode(&bytes) {
                let mut record = Vec::new();
                edit.encode(&mut record);
                prop_assert_eq!(VersionEdit::decode(&record).unwrap(), edit);
            }
        }
    }
}
