//! Reads a database through a rusty-leveldb handle of this process.
//!
//! The in-process source: a program that has its database open in rusty-leveldb lends us the handle.
//!
//! A database on disk is flushed, and its files are then read with our own reader while the handle stays
//! borrowed, so nobody can write. The library is asked for nothing else: its iterator passes over damaged blocks
//! without a word, and every iterator made keeps compactions from dropping old versions for the handle's life.
//! LOCK is not opened: closing any descriptor of it could give up a lock that this very process holds.
//!
//! Only a database in memory is iterated, for there is nothing else to read; what rusty-leveldb leaves out is
//! left out, so its snapshot says that the source was not verified.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rusty_leveldb::{DB, LdbIterator, Status, StatusCode};

use super::{Database, RecordSink, ScanOutcome};
use crate::error::{Error, ErrorKind, Result};
use crate::leveldb::{Comparator, DatabaseLayout};

/// A database that another part of this program has open.
pub enum HandleSource<'db> {
    /// Its files are read; everything is verified.
    Disk(DiskHandle<'db>),
    /// It is iterated; nothing can be verified.
    Memory(MemoryHandle<'db>),
}

impl<'db> HandleSource<'db> {
    /// A database whose files are in `directory`, the path that `db` was opened with (a handle does not tell
    /// it): flushes what the handle still buffers, and opens the files.
    ///
    /// # Errors
    /// Those of [`Database::open`], and whatever stops the flush.
    pub fn on_disk(db: &'db mut DB, directory: &Path) -> Result<Self> {
        flush(db)?;
        Ok(Self::Disk(DiskHandle {
            database: Box::new(Database::open(directory)?),
            borrowed: PhantomData,
        }))
    }

    /// A database that exists in memory only (`rusty_leveldb::in_memory()`), with the comparator it was opened
    /// with.
    pub fn in_memory(db: &'db mut DB, comparator: Comparator) -> Self {
        Self::Memory(MemoryHandle { db, comparator })
    }

    /// False when damage in the source would go unseen: the snapshot must say `unverified-source`.
    pub fn is_verified(&self) -> bool {
        matches!(self, Self::Disk(_))
    }
}

/// A database on disk, which cannot change while this lives.
pub struct DiskHandle<'db> {
    database: Box<Database>,
    borrowed: PhantomData<&'db mut DB>,
}

impl DiskHandle<'_> {
    /// Its files, as any closed database's.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Its files, to be scanned.
    pub fn database_mut(&mut self) -> &mut Database {
        &mut self.database
    }
}

/// A database in memory.
pub struct MemoryHandle<'db> {
    db: &'db mut DB,
    comparator: Comparator,
}

impl MemoryHandle<'_> {
    /// The order of its keys.
    pub fn comparator(&self) -> &Comparator {
        &self.comparator
    }

    /// A layout for its restore: LevelDB's own defaults, for it has no files to learn from.
    pub fn layout(&self) -> DatabaseLayout {
        DatabaseLayout {
            comparator: self.comparator.name().to_owned(),
            ..DatabaseLayout::default()
        }
    }

    /// Hands every record to `sink` in the order of the keys.
    ///
    /// # Errors
    /// The sink's; [`ErrorKind::Corrupt`] when keys come in another order than the comparator's, or rusty-leveldb
    /// panics.
    pub fn scan(&mut self, sink: &mut dyn RecordSink) -> Result<ScanOutcome> {
        let mut records = catch_panic(|| self.db.new_iter())?.map_err(|status| failed("iterate", status))?;
        let mut outcome = ScanOutcome::default();
        let mut last_key: Option<Vec<u8>> = None;
        while catch_panic(|| records.advance())? {
            let Some((key, value)) = catch_panic(|| records.current())? else {
                return Err(Error::corrupt("an iterator that advanced stands nowhere"));
            };
            if let Some(last_key) = &last_key
                && self.comparator.compare(last_key, &key) != Ordering::Less
            {
                return Err(Error::corrupt("keys do not ascend in the comparator's order"));
            }
            sink.record(&key, &value, true)?;
            outcome.records += 1;
            outcome.key_bytes += key.len() as u64;
            outcome.value_bytes += value.len() as u64;
            let last_key = last_key.get_or_insert_default();
            last_key.clear();
            last_key.extend_from_slice(&key);
        }
        Ok(outcome)
    }
}

fn flush(db: &mut DB) -> Result<()> {
    catch_panic(|| db.flush())?.map_err(|status| failed("flush the open database", status))
}

/// rusty-leveldb panics on some inputs; its caller, who handed us the database for a backup, must get an error.
fn catch_panic<T>(call: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| Error::corrupt("rusty-leveldb panicked"))
}

fn failed(act: &str, status: Status) -> Error {
    let kind = match status.code {
        StatusCode::Corruption | StatusCode::InvalidData => ErrorKind::Corrupt,
        StatusCode::PermissionDenied => ErrorKind::Denied,
        StatusCode::LockError => ErrorKind::Busy,
        _ => ErrorKind::Io,
    };
    Error::with_cause(kind, act.to_owned(), status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusty_leveldb::{Options, in_memory};

    #[derive(Default)]
    struct HandleRecords(Vec<(Vec<u8>, Vec<u8>)>);

    impl RecordSink for HandleRecords {
        fn record(&mut self, key: &[u8], value: &[u8], certain: bool) -> Result<()> {
            assert!(certain);
            self.0.push((key.to_vec(), value.to_vec()));
            Ok(())
        }
    }

    /// Puts, overwrites and deletes; what must be left.
    fn fill(db: &mut DB) -> Vec<(Vec<u8>, Vec<u8>)> {
        for number in (0..3000u32).chain(0..1000) {
            db.put(&number.to_be_bytes(), format!("value {number}").as_bytes())
                .unwrap();
        }
        for number in 2000..3000u32 {
            db.delete(&number.to_be_bytes()).unwrap();
        }
        (0..2000u32)
            .map(|number| {
                (
                    number.to_be_bytes().to_vec(),
                    format!("value {number}").into_bytes(),
                )
            })
            .collect()
    }

    #[test]
    fn an_open_database_is_read_from_its_files_and_stays_locked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("database");
        let options = Options {
            write_buffer_size: 32 << 10,
            ..Options::default()
        };
        let mut db = DB::open(&path, options).unwrap();
        let expected = fill(&mut db);
        {
            let source = HandleSource::on_disk(&mut db, &path).unwrap();
            assert!(source.is_verified());
            let HandleSource::Disk(disk) = source else {
                panic!("on disk");
            };
            let mut records = HandleRecords::default();
            let outcome = disk.database().scan(&mut records).unwrap();
            assert_eq!(outcome.damage, []);
            assert!(records.0 == expected, "{} records", records.0.len());
        }
        let held = crate::target::check_target_free(&path).unwrap_err();
        assert_eq!(held.kind(), ErrorKind::Busy, "our reading gave up nobody's lock");
        db.put(b"later", b"write").unwrap();
        assert_eq!(db.get(b"later").as_deref(), Some(&b"write"[..]));
    }

    #[test]
    fn a_database_in_memory_is_iterated_and_not_verified() {
        let mut db = DB::open("nowhere", in_memory()).unwrap();
        let expected = fill(&mut db);
        let source = HandleSource::in_memory(&mut db, Comparator::Bytewise);
        assert!(!source.is_verified());
        let HandleSource::Memory(mut memory) = source else {
            panic!("in memory");
        };
        let mut records = HandleRecords::default();
        let outcome = memory.scan(&mut records).unwrap();
        assert!(records.0 == expected, "{} records", records.0.len());
        assert_eq!(outcome.records, 2000);
        assert_eq!(outcome.key_bytes, 8000);
        assert_eq!(memory.layout().comparator, "leveldb.BytewiseComparator");
    }

    #[test]
    fn an_order_that_is_not_the_comparators_is_an_error() {
        let mut db = DB::open("nowhere", in_memory()).unwrap();
        // As idb_cmp1 keys, the second sorts before the first: a shorter number of the database id.
        let keys: [&[u8]; 2] = [
            &[0, 1, 1, 1, 3, 0, 0, 0, 0, 0, 0, 0, 64],
            &[0, 1, 1, 1, 3, 0, 0, 0, 0, 0, 0, 240, 63],
        ];
        for key in keys {
            db.put(key, b"value").unwrap();
        }
        assert_eq!(Comparator::Idb.compare(keys[0], keys[1]), Ordering::Greater);
        let HandleSource::Memory(mut memory) = HandleSource::in_memory(&mut db, Comparator::Idb) else {
            panic!("in memory");
        };
        let error = memory.scan(&mut HandleRecords::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_path_without_a_database_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let mut db = DB::open("nowhere", in_memory()).unwrap();
        let error = HandleSource::on_disk(&mut db, directory.path()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NotLevelDb);
    }
}
