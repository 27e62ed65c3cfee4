//! `stats`: prints what uses the space.

use levault::error::Result;
use levault::ops::stats::{self, RepositoryStats, SourceStats, StoredShare};
use serde_json::{Map, Value, json};

use super::print_node::{one_line, put_path};
use crate::args::StatsArgs;
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use crate::format::bytes;

/// The whole repository, and each snapshot or the one asked for.
pub fn run(run: &CommandContext, args: &StatsArgs) -> Result<ExitStatus> {
    let repo = run.open()?;
    let chosen = args
        .snapshot
        .as_ref()
        .map(|words| run.select(&repo, words))
        .transpose()?;
    let stats = stats::stats(&repo, chosen.as_ref(), run.report)?;
    run.output.write_json(&to_json(&stats))?;
    run.output
        .print(format!("{} packs, {} blobs", stats.packs, stats.blobs))?;
    run.output
        .print(format!("stored       {:>12}", bytes(stats.stored_bytes)))?;
    if stats.parity > 0 {
        let (size, count) = (bytes(stats.parity_bytes), stats.parity);
        run.output
            .print(format!("parity       {size:>12}  besides, {count} objects"))?;
    }
    run.output.print(format!(
        "plain        {:>12}  (compression {:.2})",
        bytes(stats.plain_bytes),
        stats.compression_ratio()
    ))?;
    run.output.print(format!(
        "would restore{:>12}  from {} snapshots",
        bytes(stats.restore_bytes()),
        stats.snapshots.len()
    ))?;
    for row in &stats.snapshots {
        run.output.print(line(&row.id.short(), &row.share))?;
    }
    for (what, rows) in [("database", &stats.databases), ("files of", &stats.trees)] {
        for row in rows {
            let name = format!(
                "{what} {} on {}, {} snapshots",
                one_line(&row.path),
                row.host,
                row.snapshots
            );
            run.output.print(line(&name, &row.share))?;
        }
    }
    Ok(ExitStatus::Done)
}

fn line(name: &str, share: &StoredShare) -> String {
    format!(
        "{name}  restores {:>10}  rests on {:>10}, alone on {:>10}",
        bytes(share.restore_bytes),
        bytes(share.stored_bytes),
        bytes(share.exclusive_bytes)
    )
}

fn to_json(stats: &RepositoryStats) -> Value {
    let snapshots = stats.snapshots.iter().map(|row| {
        let mut object = share_json(&row.share);
        object.insert("id".into(), row.id.to_hex().into());
        Value::from(object)
    });
    json!({
        "message_type": "summary",
        "snapshots_count": stats.snapshots.len(),
        "total_size": stats.stored_bytes,
        "parity_count": stats.parity,
        "parity_size": stats.parity_bytes,
        "total_uncompressed_size": stats.plain_bytes,
        "total_blob_count": stats.blobs,
        "compression_ratio": stats.compression_ratio(),
        "dedup_ratio": stats.dedup_ratio(),
        "restore_size": stats.restore_bytes(),
        "snapshots": snapshots.collect::<Vec<_>>(),
        "databases": sources_json(&stats.databases, "db"),
        "trees": sources_json(&stats.trees, "tree"),
    })
}

/// `kind` is what the name is called.
fn sources_json(rows: &[SourceStats], kind: &str) -> Value {
    let object = |row: &SourceStats| {
        let mut object = share_json(&row.share);
        object.insert("hostname".into(), row.host.clone().into());
        object.insert("domain".into(), row.domain.0.into());
        object.insert(kind.into(), row.name.clone().into());
        put_path(&mut object, "path", &row.path);
        if let Some(timeline) = row.timeline {
            object.insert("timeline".into(), timeline.to_hex().into());
        }
        object.insert("snapshots".into(), row.snapshots.into());
        Value::from(object)
    };
    rows.iter().map(object).collect()
}

fn share_json(share: &StoredShare) -> Map<String, Value> {
    let fields = [
        ("restore_size", share.restore_bytes),
        ("stored", share.stored_bytes),
        ("shared", share.shared_bytes()),
        ("exclusive", share.exclusive_bytes),
    ];
    fields
        .into_iter()
        .map(|(name, size)| (name.to_owned(), size.into()))
        .collect()
}
