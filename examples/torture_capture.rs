//! Captures a database with random sleeps at every step: what `scripts/soak live` and `tests/live.rs` torture.
//!
//! ```text
//! torture_capture DB DIR [--pin link|descriptor|copy] [--sleep-ms N] [--seed S] [--scratch DIR]
//! ```

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use levault::error::{Error, ErrorKind, Result};
use levault::ops::capture::{TableCopyMode, capture};
use levault::report::OperationReport;
use levault::source::capture::CaptureStep;
use levault::source::{CaptureOptions, HoldMethod};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(match error.kind() {
                ErrorKind::NoConsistentCut => 21,
                _ => 1,
            })
        }
    }
}

fn run(words: &[String]) -> Result<String> {
    let flag = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1)
    };
    let number = |name: &str| flag(name).and_then(|text| text.parse().ok()).unwrap_or(0);
    let (sleep_ms, random) = (number("--sleep-ms"), AtomicU64::new(number("--seed") | 1));
    let sleep = |_: CaptureStep| {
        if sleep_ms > 0 {
            std::thread::sleep(Duration::from_micros(next(&random) % (sleep_ms * 1000)));
        }
    };
    let how = CaptureOptions {
        hold: match flag("--pin").map(String::as_str) {
            Some("descriptor") => HoldMethod::Descriptors,
            Some("copy") => HoldMethod::Copies,
            _ => HoldMethod::Links,
        },
        scratch: flag("--scratch").map(Into::into),
        before_step: Some(&sleep),
        ..CaptureOptions::default()
    };
    let [source, target, ..] = words else {
        return Err(Error::new(ErrorKind::Usage, "torture_capture DB DIR"));
    };
    let outcome = capture(
        Path::new(source),
        Path::new(target),
        &how,
        TableCopyMode::Copied,
        &OperationReport::default(),
    )?;
    let cut = outcome.capture_details;
    Ok(format!(
        "{{\"retries\": {}, \"capture_seconds\": {}, \"held_by\": \"{}\", \"last_seq\": \"{}\", \"damage\": {}}}",
        cut.retries,
        cut.duration.as_secs_f64(),
        cut.held_by,
        cut.last_sequence,
        outcome.damage.len(),
    ))
}

/// xorshift64.
fn next(state: &AtomicU64) -> u64 {
    let mut x = state.load(Ordering::Relaxed);
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    state.store(x, Ordering::Relaxed);
    x
}
