//! Compares a restored database with its recorded digests.

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::SetDigest;
use crate::leveldb::Comparator;
use crate::record::SetDigestAccumulator;
use crate::repo::{BlobReader, Repo};
use crate::report::OperationReport;
use crate::snapshot::{DatabaseContent, DatabaseRoot};
use crate::source::Database;
use crate::source::HeldDirectory;

use super::read_back::{ReadBackAccumulator, ReadBackContext, StreamOrSetDigest, TableStreamBytes};
use super::table_writer::SelectionTotals;
use crate::engine::read_records;

/// What must come back.
pub struct ExpectedDatabase {
    records: u64,
    digest: StreamOrSetDigest,
    /// Of the tables that hold it, where that is known.
    bytes: TableStreamBytes,
}

impl ExpectedDatabase {
    /// All that the snapshot recorded: by the stream digest where it has one, else by the set digest.
    pub fn from_snapshot(
        repo: &Repo,
        reader: &BlobReader,
        database: &DatabaseRoot,
        with_uncertain: bool,
    ) -> Result<Self> {
        let key = repo.domain_keys().set_digest_key().expose();
        let digest = match (with_uncertain, database.stream_digest) {
            (false, Some(digest)) => StreamOrSetDigest::Stream(digest),
            (false, None) => StreamOrSetDigest::Set(database.set_digest),
            (true, _) => StreamOrSetDigest::Set(digest_with_uncertain(reader, database, key)?),
        };
        let uncertain = if with_uncertain {
            database.uncertain_records()
        } else {
            0
        };
        Ok(Self::of(database.records + uncertain, digest))
    }

    /// What was selected from the snapshot while it was written.
    pub fn from_selection(written: &SelectionTotals) -> Self {
        Self::of(written.records, StreamOrSetDigest::Stream(written.digest))
    }

    /// So many records with this digest.
    pub fn of(records: u64, digest: StreamOrSetDigest) -> Self {
        Self {
            records,
            digest,
            bytes: TableStreamBytes::default(),
        }
    }

    /// In tables that hold so much of the stream.
    pub fn in_tables(self, bytes: TableStreamBytes) -> Self {
        Self { bytes, ..self }
    }

    /// What was read beside what is expected.
    pub fn compare(&self, read: &ReadBackAccumulator) -> DatabaseComparison {
        if read.records != self.records {
            return DatabaseComparison::Other(format!(
                "{} records read back, {} expected",
                read.records, self.records
            ));
        }
        if read.digest() == Some(self.digest) {
            DatabaseComparison::Same
        } else {
            DatabaseComparison::Other("the digest of what reads back is not the expected one".into())
        }
    }
}

/// What a database is beside what is expected.
pub enum DatabaseComparison {
    /// It has these records.
    Same,
    /// It has others; how that shows.
    Other(String),
    /// Something in it cannot be read.
    Damaged(String),
}

/// Reads back what was written; anything but the expected records is [`ErrorKind::Mismatch`].
pub fn verify(
    repo: &Repo,
    expected: &ExpectedDatabase,
    path: &HeldDirectory,
    report: &OperationReport,
) -> Result<()> {
    match compare(repo, expected, path, report).context(|| "read back what was written")? {
        DatabaseComparison::Same => Ok(()),
        DatabaseComparison::Other(what) => Err(Error::new(ErrorKind::Mismatch, what)),
        DatabaseComparison::Damaged(what) => Err(Error::new(
            ErrorKind::Mismatch,
            format!("it reads back damaged: {what}"),
        )),
    }
}

/// Reads a database and compares its count and digest.
pub fn compare(
    repo: &Repo,
    expected: &ExpectedDatabase,
    path: &HeldDirectory,
    report: &OperationReport,
) -> Result<DatabaseComparison> {
    let reading = ReadBackContext {
        by_stream: matches!(expected.digest, StreamOrSetDigest::Stream(_)),
        set_digest_key: repo.domain_keys().set_digest_key().expose(),
        report,
    };
    match Database::open_in(path).and_then(|database| reading.compare(&database, expected)) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            Ok(DatabaseComparison::Damaged(error.to_string()))
        }
        compared => compared,
    }
}

impl ReadBackContext<'_> {
    fn compare(&self, database: &Database, expected: &ExpectedDatabase) -> Result<DatabaseComparison> {
        let in_stretches = self.read_partitions(database, &expected.bytes)?;
        let compared = in_stretches.map(|read| expected.compare(&read));
        if let Some(DatabaseComparison::Same) = compared {
            return Ok(DatabaseComparison::Same);
        }
        let mut read = self.begin_at(0);
        let outcome = database.scan(&mut read)?;
        Ok(match outcome.damage.first() {
            Some(damage) => DatabaseComparison::Damaged(format!("{}: {}", damage.file, damage.what)),
            None => expected.compare(&read),
        })
    }
}

/// The recorded digest, and that of the uncertain records, which is not recorded, from their leaves.
fn digest_with_uncertain(reader: &BlobReader, database: &DatabaseRoot, key: &[u8; 32]) -> Result<SetDigest> {
    let mut digest = SetDigestAccumulator::resume(key, &database.set_digest);
    if let DatabaseContent::Logical {
        uncertain: Some(run), ..
    } = &database.content
    {
        let comparator = Comparator::from_name(&database.shape.comparator);
        let mut add = |key: &[u8], value: &[u8]| {
            digest.add_record(key, value);
            Ok(())
        };
        read_records::read_run_records(reader, run, &comparator, &OperationReport::default(), &mut add)?;
    }
    Ok(digest.digest())
}
