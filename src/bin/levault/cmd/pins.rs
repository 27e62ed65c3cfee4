//! `pins`: lists and drops pins.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use levault::error::Result;
use levault::source::pins::{PinSet, list};
use serde_json::{Value, json};

use super::print_node::with_path;
use crate::args::{PinsArgs, PinsCommand};
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use crate::format::bytes;

/// Lists, or removes.
pub fn run(run: &CommandContext, args: &PinsArgs) -> Result<ExitStatus> {
    match &args.verb {
        PinsCommand::List(of) => each(run, &of.paths, |_, set| print_pins(run, set)),
        PinsCommand::Drop(of) => each(run, &of.paths, |_, set| remove(run, set)),
        PinsCommand::Gc(of) => each(run, &of.paths, |path, set| {
            if !path.exists() || set.pinned_for.is_none() && !set.in_use {
                remove(run, set)
            } else {
                Ok(())
            }
        }),
    }
}

fn each(
    run: &CommandContext,
    paths: &[impl AsRef<Path>],
    act: impl Fn(&Path, &PinSet) -> Result<()>,
) -> Result<ExitStatus> {
    for path in paths {
        for set in list(path.as_ref())? {
            act(path.as_ref(), &set)?;
        }
    }
    Ok(if run.report.problems().is_empty() {
        ExitStatus::Done
    } else {
        ExitStatus::Incomplete
    })
}

fn print_pins(run: &CommandContext, set: &PinSet) -> Result<()> {
    run.output.write_json(&as_json(set))?;
    let of = set.pinned_for.as_ref().map_or_else(
        || "nothing that can be used".to_owned(),
        |(repository, snapshot)| {
            format!(
                "snapshot {} of repository {}",
                snapshot.short(),
                &repository.to_hex()[..8]
            )
        },
    );
    run.output.print(format!(
        "{}: {of}; {} tables, {}, {} of it kept by this alone{}",
        set.path.display(),
        set.tables,
        bytes(set.bytes),
        bytes(set.bytes_alone),
        if set.in_use { "; in use" } else { "" },
    ))
}

fn remove(run: &CommandContext, set: &PinSet) -> Result<()> {
    set.remove()?;
    run.output.write_json(&as_json(set))?;
    run.output.print(format!("{}: removed", set.path.display()))
}

fn as_json(set: &PinSet) -> Value {
    let value = json!({
        "message_type": "pins",
        "repository_id": set.pinned_for.as_ref().map(|(repository, _)| repository.to_hex()),
        "snapshot_id": set.pinned_for.as_ref().map(|(_, snapshot)| snapshot.to_hex()),
        "tables": set.tables,
        "bytes": set.bytes,
        "bytes_alone": set.bytes_alone,
        "in_use": set.in_use,
    });
    with_path(value, "path", set.path.as_os_str().as_bytes())
}
