//! Scans a LevelDB directory and prints what it holds: `dbscan [--fast|--stream|--shape] DIRECTORY`.
//!
//! Plain: records, bytes and the SHA-256 of the stream (le32 key length, key, le32 value length, value), then damage.
//! `--fast` leaves the hash out, for measuring; `--stream` writes the stream itself to standard output.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use levault::error::{Error, Result};
use levault::source::{Database, RecordSink, ScanOutcome};
use sha2::{Digest, Sha256};

struct Count;

impl RecordSink for Count {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        std::hint::black_box((key, value));
        Ok(())
    }
}

struct Hash(Sha256);

impl RecordSink for Hash {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        for part in [key, value] {
            self.0.update((part.len() as u32).to_le_bytes());
            self.0.update(part);
        }
        Ok(())
    }
}

struct Stream<W>(W);

impl<W: Write> RecordSink for Stream<W> {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        for part in [key, value] {
            self.0
                .write_all(&(part.len() as u32).to_le_bytes())
                .and_then(|()| self.0.write_all(part))
                .map_err(|error| Error::io("write the stream", error))?;
        }
        Ok(())
    }
}

fn report(outcome: &ScanOutcome) {
    println!(
        "records {} key_bytes {} value_bytes {}",
        outcome.records, outcome.key_bytes, outcome.value_bytes
    );
    println!(
        "tables {} table_entries {} log_entries {} bytes_read {}",
        outcome.tables, outcome.table_entries, outcome.log_entries, outcome.bytes_read
    );
    println!(
        "uncertain {} uncertain_deletions {}",
        outcome.uncertain, outcome.uncertain_deletions
    );
    for damage in &outcome.damage {
        println!("damage {damage:?}");
    }
    for tail in &outcome.torn_tails {
        println!("torn {tail:?}");
    }
}

fn run(arguments: &[String]) -> Result<bool> {
    let (mode, directory) = match arguments {
        [directory] => ("", directory),
        [mode, directory] => (mode.as_str(), directory),
        _ => {
            return Err(Error::new(
                levault::error::ErrorKind::Usage,
                "dbscan [--fast|--stream|--shape] DIRECTORY",
            ));
        }
    };
    let database = Database::open(Path::new(directory))?;
    let outcome = match mode {
        "--fast" => database.scan(&mut Count)?,
        "--stream" => database.scan(&mut Stream(BufWriter::new(std::io::stdout().lock())))?,
        "--shape" => {
            println!("{:?}", database.layout());
            return Ok(true);
        }
        _ if !database.comparator().is_known() => {
            println!("comparator {}", database.comparator().name());
            println!(
                "files {:?}",
                database.files().map(|file| file.name).collect::<Vec<_>>()
            );
            database.verify()?
        }
        _ => {
            let mut hash = Hash(Sha256::new());
            let outcome = database.scan(&mut hash)?;
            let digest: String = hash
                .0
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            println!("sha256 {digest}");
            outcome
        }
    };
    if mode != "--stream" {
        report(&outcome);
    }
    Ok(outcome.damage.is_empty())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(22),
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}
