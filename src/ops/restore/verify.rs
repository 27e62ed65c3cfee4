//! Reading back what was written, with the reader that backups use, and comparing it with what was recorded.

use std::path::Path;

use crate::error::{Act, Error, Kind, Result};
use crate::id::SetDigest;
use crate::leveldb::Comparator;
use crate::record::{SetDigestAcc, StreamDigester};
use crate::repo::{BlobReader, Repo};
use crate::report::Report;
use crate::snapshot::{Content, DatabaseRoot};
use crate::source::{Database, RecordSink};

use super::super::read;

/// Compares count, and the stream digest where the snapshot has one, else the set digest.
pub fn verify(
    repo: &Repo,
    reader: &BlobReader,
    database: &DatabaseRoot,
    with_uncertain: bool,
    path: &Path,
    report: &Report,
) -> Result<()> {
    let key = repo.domain_keys().set_digest_key().expose();
    let by_stream = database.stream_digest.filter(|_| !with_uncertain);
    let mut sink = ReadBack {
        report,
        stream: by_stream.map(|_| StreamDigester::new()),
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
    let uncertain = if with_uncertain {
        database.uncertain_records()
    } else {
        0
    };
    if sink.records != database.records + uncertain {
        let recorded = database.records + uncertain;
        return Err(mismatch(format!(
            "{} records read back, {recorded} recorded",
            sink.records
        )));
    }
    let same = match (&sink.stream, by_stream) {
        (Some(stream), Some(recorded)) => stream.digest() == recorded,
        _ => sink.set.digest() == expected(reader, database, with_uncertain, key)?,
    };
    match same {
        true => Ok(()),
        false => Err(mismatch("the digest of what reads back is not the recorded one")),
    }
}

/// The recorded digest, and that of the uncertain records, which is not recorded, from their leaves.
fn expected(
    reader: &BlobReader,
    database: &DatabaseRoot,
    with_uncertain: bool,
    key: &[u8; 32],
) -> Result<SetDigest> {
    let mut digest = SetDigestAcc::resume(key, &database.set_digest);
    if let (
        true,
        Content::Logical {
            uncertain: Some(run), ..
        },
    ) = (with_uncertain, &database.content)
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
