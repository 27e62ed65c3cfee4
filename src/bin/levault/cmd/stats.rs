//! `stats`: what uses the space.

use levault::error::Result;
use levault::ops::stats;
use serde_json::json;

use super::Run;
use crate::advice::Ending;
use crate::args::StatsArgs;
use crate::output::bytes;

/// The whole repository, and each snapshot or the one asked for.
pub fn run(run: &Run, args: &StatsArgs) -> Result<Ending> {
    let repo = run.open()?;
    let chosen = args
        .snapshot
        .as_ref()
        .map(|words| repo.select(words))
        .transpose()?;
    let stats = stats::stats(&repo, chosen.as_ref(), run.report)?;
    run.output.emit(&json!({
        "message_type": "summary",
        "snapshots_count": stats.snapshots.len(),
        "total_size": stats.stored_bytes,
        "total_uncompressed_size": stats.plain_bytes,
        "total_blob_count": stats.blobs,
        "compression_ratio": stats.compression_ratio(),
        "restore_size": stats.restore_bytes(),
        "snapshots": stats.snapshots.iter().map(|row| json!({"id": row.id.to_hex(), "restore_size": row.restore_bytes,
            "stored": row.stored_bytes, "exclusive": row.exclusive_bytes})).collect::<Vec<_>>(),
    }))?;
    run.output
        .say(format!("{} packs, {} blobs", stats.packs, stats.blobs))?;
    run.output
        .say(format!("stored       {:>12}", bytes(stats.stored_bytes)))?;
    run.output.say(format!(
        "plain        {:>12}  (compression {:.2})",
        bytes(stats.plain_bytes),
        stats.compression_ratio()
    ))?;
    run.output.say(format!(
        "would restore{:>12}  from {} snapshots",
        bytes(stats.restore_bytes()),
        stats.snapshots.len()
    ))?;
    for row in &stats.snapshots {
        run.output.say(format!(
            "{}  restores {:>10}  rests on {:>10}, alone on {:>10}",
            row.id.short(),
            bytes(row.restore_bytes),
            bytes(row.stored_bytes),
            bytes(row.exclusive_bytes)
        ))?;
    }
    Ok(Ending::Done)
}
