//! Reads a LevelDB of any dialect, verified and read-only: prints its records, and what is damaged.
//!
//! `cargo run --example read_leveldb -- DIRECTORY`. A database that a program has open is captured first; nothing is written
//! to its directory, and LOCK is not touched.

use std::path::Path;

use levault::error::{ErrorKind, Result};
use levault::leveldb::ScanBudget;
use levault::source::{CaptureOptions, Database, RecordSink};

struct PrintedRecords;

impl RecordSink for PrintedRecords {
    fn record(&mut self, key: &[u8], value: &[u8], certain: bool) -> Result<()> {
        let mark = if certain { ' ' } else { '?' };
        println!("{mark} {} = {} bytes", key.escape_ascii(), value.len());
        Ok(())
    }
}

fn main() -> Result<()> {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: read_leveldb DIRECTORY");
        std::process::exit(2);
    };
    let captured = CaptureOptions::default().capture(Path::new(&directory))?;
    let database = Database::from_captured(captured, ScanBudget::default());
    let outcome = database.scan(&mut PrintedRecords)?;
    match database.prove_unchanged() {
        Err(error) if error.kind() == ErrorKind::Changed => eprintln!("read again: {error}"),
        proven => proven?,
    }
    for damage in &outcome.damage {
        eprintln!("damaged: {damage:?}");
    }
    eprintln!(
        "{} records, comparator {:?}",
        outcome.records,
        database.layout().comparator
    );
    std::process::exit(i32::from(!outcome.damage.is_empty()));
}
