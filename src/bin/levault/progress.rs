//! Shows progress while an operation runs.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use levault::error::Result;
use levault::report::OperationReport;
use serde_json::json;

use crate::format::bytes;
use crate::output::OutputSettings;

/// Runs `work` while its report is watched.
pub fn watch<T: Send>(
    output: OutputSettings,
    report: &Arc<OperationReport>,
    work: impl FnOnce() -> T + Send,
) -> T {
    let (done, finished) = channel::<()>();
    std::thread::scope(|scope| {
        let watcher = Arc::clone(report);
        scope.spawn(move || {
            let bar = output.shows_progress().then(bar);
            let begun = Instant::now();
            while matches!(
                finished.recv_timeout(interval(output)),
                Err(RecvTimeoutError::Timeout)
            ) {
                match &bar {
                    Some(bar) => draw(bar, &watcher),
                    None => status(output, &watcher, begun).unwrap_or_else(|_| watcher.stop()),
                }
            }
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
        });
        let result = work();
        drop(done);
        result
    })
}

fn interval(output: OutputSettings) -> Duration {
    if output.shows_progress() {
        Duration::from_millis(100)
    } else {
        Duration::from_secs(1)
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

fn draw(bar: &ProgressBar, report: &OperationReport) {
    bar.set_length(report.bytes_total.get().max(report.bytes_done.get()));
    bar.set_position(report.bytes_done.get());
    bar.set_message(format!(
        "{} of {}, {} records, {} new",
        bytes(report.bytes_done.get()),
        bytes(report.bytes_total.get()),
        report.records.get(),
        bytes(report.bytes_added_packed.get()),
    ));
}

fn status(output: OutputSettings, report: &OperationReport, begun: Instant) -> Result<()> {
    let (done, total) = (report.bytes_done.get(), report.bytes_total.get());
    output.write_json(&json!({
        "message_type": "status",
        "seconds_elapsed": begun.elapsed().as_secs(),
        "percent_done": if total == 0 { 0.0 } else { (done as f64 / total as f64).min(1.0) },
        "total_bytes": total,
        "bytes_done": done,
        "records": report.records.get(),
    }))
}
