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

/// What a database is beside what is expected.
pub enum Comparison {
    /// It has these records.
    Same,
    /// It has others; how that shows.
    Other(String),
    /// Something in it cannot be read.
    Damaged(String),
}

/// Reads back what was written; anything but the expected records is [`Kind::Mismatch`].
pub fn verify(repo: &Repo, expected: &Expected, path: &Path, report: &Report) -> Result<()> {
    match compare(repo, expected, path, report).act(|| "read back what was written")? {
        Comparison::Same => Ok(()),
        Comparison::Other(what) => Err(Error::new(Kind::Mismatch, what)),
        Comparison::Damaged(what) => Err(Error::new(
            Kind::Mismatch,
            format!("it reads back damaged: {what}"),
        )),
    }
}

/// Reads a database and compares its count and digest.
pub fn compare(repo: &Repo, expected: &Expected, path: &Path, report: &Report) -> Result<Comparison> {
    let key = repo.domain_keys().set_digest_key().expose();
    let by_stream = matches!(expected.digest, Digest::Stream(_));
    let mut sink = ReadBack {
        report,
        stream: by_stream.then(StreamDigester::new),
        set: SetDigestAcc::new(key),
        records: 0,
    };
    let outcome = match Database::open(path).and_then(|back| back.scan(&mut sink)) {
        Err(error) if error.kind() == Kind::Corrupt => return Ok(Comparison::Damaged(error.to_string())),
        outcome => outcome?,
    };
    Ok(match outcome.damage.first() {
        Some(damage) => Comparison::Damaged(format!("{}: {}", damage.file, damage.what)),
        None => sink.compare(expected),
    })
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

struct ReadBack<'a> {
    report: &'a Report,
    stream: Option<StreamDigester>,
    set: SetDigestAcc<'a>,
    records: u64,
}

impl ReadBack<'_> {
    fn compare(&self, expected: &Expected) -> Comparison {
        if self.records != expected.records {
            return Comparison::Other(format!(
                "{} records read back, {} expected",
                self.records, expected.records
            ));
        }
        let same = match (&self.stream, &expected.digest) {
            (Some(stream), Digest::Stream(expected)) => stream.digest() == *expected,
            (None, Digest::Set(expected)) => self.set.digest() == *expected,
            _ => false,
        };
        match same {
            true => Comparison::Same,
            false => Comparison::Other("the digest of what reads back is not the expected one".into()),
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
