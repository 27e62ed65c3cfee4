//! Handles signals: some end the run, some ask for progress.

use std::sync::Arc;
use std::time::{Duration, Instant};

use levault::error::{Result, ResultExt};
use levault::report::OperationReport;
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::format::bytes;
use crate::output::print_error;

/// Handled signals. What was ignored when we were started stays so: `nohup`, and jobs that a shell put into the background.
const HANDLED: [i32; 5] = [SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2];

/// Handles signals from now on, on a thread of its own: `report` is asked to stop, or printed on standard error.
pub fn handle(report: &Arc<OperationReport>, json: bool) -> Result<()> {
    let ignored = ignored();
    let handled = HANDLED
        .iter()
        .filter(|signal| ignored & (1 << (*signal - 1)) == 0);
    let mut signals = Signals::new(handled).context(|| "handle signals")?;
    let (report, begun) = (Arc::clone(report), Instant::now());
    let wait = move || {
        for signal in signals.forever() {
            match signal {
                SIGUSR1 | SIGUSR2 => print_progress(&report, begun.elapsed(), json),
                _ => report.stop(),
            }
        }
    };
    let thread = std::thread::Builder::new().name("signals".into()).spawn(wait);
    thread.context(|| "wait for signals").map(drop)
}

/// Signals that are ignored by whoever started us, bit n-1 for signal n; none where the system does not say.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

fn print_progress(report: &OperationReport, elapsed: Duration, json: bool) {
    let (done, total) = (report.bytes_done.get(), report.bytes_total.get());
    let problems = report.problems().len();
    let line = if json {
        json!({"message_type": "status", "seconds_elapsed": elapsed.as_secs(), "total_bytes": total,
            "bytes_done": done, "records": report.records.get(), "error_count": problems})
        .to_string()
    } else {
        format!(
            "running for {} s: {} of {} read, {} records, {} added, {problems} problems",
            elapsed.as_secs(),
            bytes(done),
            bytes(total.max(done)),
            report.records.get(),
            bytes(report.bytes_added_packed.get()),
        )
    };
    print_error(&line);
}
