//! Reading back what was written, with the reader that backups use, and comparing it with what was recorded.

use std::path::Path;

use crate::error::{Act, Error, Kind, Result};
use crate::id::{SetDigest, StreamDigest};
use crate::leveldb::Comparator;
use crate::record::{SetDigestAcc, StreamDigester};
use crate::repo::{BlobReader, Repo};
use crate::report::Report;
use crate::snapshot::{Content, DatabaseRoot};
use crate::source::{Database, RecordSink};

use super::super::read;
use super::tables::Written;

/// What must come back.
pub struct Expected {
    records: u64,
    digest: Digest,
}

/// Which of the two is known; the one of the stream can be had outside the repository too.
enum Digest {
    Stream(StreamDigest),
    Set(SetDigest),
}

impl Expected {
    /// All that the snapshot recorded: by the stream digest where it has one, else by the set digest.
    pub fn recorded(
        repo: &Repo,
        reader: &BlobReader,
        database: &DatabaseRoot,
        with_uncertain: bool,
    ) -> Result<Self> {
        let key = repo.domain_keys().set_digest_key().expose();
        let digest = match (with_uncertain, database.stream_digest) {
            (false, Some(digest)) => Digest::Stream(digest),
            (false, None) => Digest::Set(database.set_digest),
            (true, _) => Digest::Set(with_the_uncertain(reader, database, key)?),
        };
        let uncertain = if with_uncertain {
            database.uncertain_records()
        } else {
            0
        };
        Ok(Self {
            records: database.records + uncertain,
            digest,
        })
    }

    /// What was selected from the snapshot while it was written.
    pub fn written(written: &Written) -> Self {
        Self {
            records: written.records,
            digest: Digest::Stream(written.digest),
        }
    }
}

/// Reads a database back and compares its count and digest.
pub fn verify(repo: &Repo, expected: &Expected, path: &Path, report: &Report) -> Result<()> {
    let key = repo.domain_keys().set_digest_key().expose();
    let by_stream = matches!(expected.digest, Digest::Stream(_));
    let mut sink = ReadBack {
        report,
        stream: by_stream.then(StreamDigester::new),
        set: SetDigestAcc::new(key),
        records: 0,
    };
    let outcome = Database::open(path)
        .and_then(|back| back.scan(&mut sink))
        .act(|| "read back what was written")?;
    if let Some(damage) = outcome.damage.first() {
        return Err(mismatch(format!(
            "{} reads back damaged: {}",
            damage.file, damage.what
        )));
    }
    sink.compare(expected)
}

/// The recorded digest, and that of the uncertain records, which is not recorded, from their leaves.
fn with_the_uncertain(reader: &BlobReader, database: &DatabaseRoot, key: &[u8; 32]) -> Result<SetDigest> {
    let mut digest = SetDigestAcc::resume(key, &database.set_digest);
    if let Content::Logical {
        uncertain: Some(run), ..
    } = &database.content
    {
        let comparator = Comparator::from_name(&database.shape.comparator);
        let mut add = |key: &[u8], value: &[u8]| {
            digest.add_record(key, value);
            Ok(())
        };
        read::run_records(reader, run, &comparator, &Report::default(), &mut add)?;
    }
    Ok(digest.digest())
}

fn mismatch(message: impl Into<String>) -> Error {
    Error::new(Kind::Mismatch, message)
}

struct ReadBack<'a> {
    report: &'a Report,
    stream: Option<StreamDigester>,
    set: SetDigestAcc<'a>,
    records: u64,
}

impl ReadBack<'_> {
    fn compare(&self, expected: &Expected) -> Result<()> {
        if self.records != expected.records {
            return Err(mismatch(format!(
                "{} records read back, {} expected",
                self.records, expected.records
            )));
        }
        let same = match (&self.stream, &expected.digest) {
            (Some(stream), Digest::Stream(expected)) => stream.digest() == *expected,
            (None, Digest::Set(expected)) => self.set.digest() == *expected,
            _ => false,
        };
        match same {
            true => Ok(()),
            false => Err(mismatch("the digest of what reads back is not the expected one")),
        }
    }
}

impl RecordSink for ReadBack<'_> {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        self.records += 1;
        if self.records.is_multiple_of(4096) {
            self.report.go_on()?;
        }
        match &mut self.stream {
            Some(stream) => stream.record(key, value),
            None => self.set.add_record(key, value),
        }
        Ok(())
    }
}
