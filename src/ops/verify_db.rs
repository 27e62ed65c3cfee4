//! `verify-db`: everything that is wrong with a database, live or closed. No repository is involved.

use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::leveldb::scan::Budget;
use crate::leveldb::{Dialect, Shape};
use crate::report::Report;
use crate::source::{Capture, Cut, Damage, Database, RecordSink, ScanOutcome, detect};

/// How often a scan looks whether it is to stop, in records.
const LOOK_EVERY: u64 = 4096;

/// What was read and found.
#[derive(Clone, Debug)]
pub struct VerifyOutcome {
    /// When and how its files were had; `None` when CURRENT or the MANIFEST cannot be read.
    pub cut: Option<Cut>,
    /// How its files are laid out.
    pub shape: Shape,
    /// False when the order of its keys is not known: then tables and logs were checked one by one, and nothing
    /// was compared between them.
    pub is_ordered: bool,
    /// Counts, damage, and writes that were under way.
    pub scan: ScanOutcome,
}

impl VerifyOutcome {
    /// Who wrote it, as far as its files show.
    pub fn dialect(&self) -> Dialect {
        self.shape.dialect
    }

    /// True when nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.scan.damage.is_empty()
    }
}

/// Reads everything and checks everything: checksums of blocks and log records, the order of keys within and
/// between blocks, key ranges and sizes against the MANIFEST, overlap within levels, the run of sequence numbers.
///
/// # Errors
/// Those of [`Capture::take`], except damage, which is what this is for.
pub fn verify_db(directory: &Path, how: &Capture, report: &Report) -> Result<VerifyOutcome> {
    detect(directory)?;
    let database = match how.take(directory) {
        Ok(captured) => Database::from_captured(captured, Budget::default()),
        Err(error) if error.kind() == Kind::Corrupt => return Ok(unreadable(&error)),
        Err(error) => return Err(error),
    };
    report
        .bytes_total
        .add(database.files().map(|file| file.len).sum());
    let is_ordered = database.comparator().is_known();
    let scan = match is_ordered {
        true => database.scan(&mut Watched(report))?,
        false => database.verify()?,
    };
    Ok(VerifyOutcome {
        cut: database.cut().cloned(),
        shape: database.shape(),
        is_ordered,
        scan,
    })
}

fn unreadable(error: &Error) -> VerifyOutcome {
    let damage = Damage {
        file: "MANIFEST".into(),
        offset: None,
        level: None,
        smallest: None,
        largest: None,
        sequences_lost: None,
        what: error.to_string(),
    };
    VerifyOutcome {
        cut: None,
        shape: Shape::default(),
        is_ordered: false,
        scan: ScanOutcome {
            damage: vec![damage],
            ..ScanOutcome::default()
        },
    }
}

struct Watched<'a>(&'a Report);

impl RecordSink for Watched<'_> {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        self.0.records.add(1);
        self.0.bytes_done.add((key.len() + value.len()) as u64);
        match self.0.records.get().is_multiple_of(LOOK_EVERY) {
            true => self.0.go_on(),
            false => Ok(()),
        }
    }
}
