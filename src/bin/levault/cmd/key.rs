//! `key`: manages passwords and write-only hosts.

mod host;

use levault::error::{Error, ErrorKind, Result};
use levault::id::ObjectId;
use levault::keys::{Password, SlotCost};
use levault::repo::recovery_password;
use serde_json::json;

use crate::args::{KeyCommand, NewPasswordArgs};
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use crate::format::{time, time_exact};
use crate::output::print_line;
use crate::password;

/// Lists, or changes.
pub fn run(run: &CommandContext, verb: &KeyCommand) -> Result<ExitStatus> {
    match verb {
        KeyCommand::List => list(run),
        KeyCommand::Add(args) if args.write_only => host::add(run, args),
        KeyCommand::Add(args) => add(run, &args.new),
        KeyCommand::Passwd(args) => change(run, args),
        KeyCommand::Remove { slot } => remove(run, slot),
        KeyCommand::Rotate { repack } => rotate(run, *repack),
        KeyCommand::ExportRecovery => export_recovery(run),
    }
}

/// Leases keep two prunes from doing the same work; one of a killed process keeps everybody from it.
pub fn unlock(run: &CommandContext) -> Result<ExitStatus> {
    let leases = run.open()?.break_leases()?;
    run.output
        .write_json(&json!({"message_type": "summary", "leases_removed": leases}))?;
    run.output.print(format!("{leases} leases removed"))?;
    Ok(ExitStatus::Done)
}

fn add(run: &CommandContext, args: &NewPasswordArgs) -> Result<ExitStatus> {
    let repo = run.open()?;
    let password = password::read_new(args.new_password_file.as_deref())?;
    let slot = repo.add_password(&password, SlotCost::default(), &args.label)?;
    print_changed(run, "added", Some(slot))
}

fn change(run: &CommandContext, args: &NewPasswordArgs) -> Result<ExitStatus> {
    let repo = run.open()?;
    let password = password::read_new(args.new_password_file.as_deref())?;
    let slot = repo.change_password(&password, SlotCost::default())?;
    print_changed(run, "changed", Some(slot))
}

fn remove(run: &CommandContext, words: &str) -> Result<ExitStatus> {
    let repo = run.open()?;
    if words.starts_with("domain:") {
        return host::remove(&repo, words);
    }
    let mut found: Vec<_> = repo.slots()?;
    found.retain(|slot| !words.is_empty() && slot.id.to_hex().starts_with(&words.to_ascii_lowercase()));
    match &found[..] {
        [slot] => {
            repo.remove_password(slot)?;
            print_changed(run, "removed", Some(slot.id))
        }
        [] => Err(Error::new(
            ErrorKind::NotFound,
            format!("no slot {words}; `levault key list` lists them"),
        )),
        _ => Err(Error::new(
            ErrorKind::Usage,
            format!("slot {words} is not one: several begin so"),
        )),
    }
}

fn rotate(run: &CommandContext, repack: bool) -> Result<ExitStatus> {
    run.open()?.rotate_keys()?;
    let ended = print_changed(run, "rotated", None)?;
    if repack {
        super::prune::repack_outdated(run)?;
    }
    Ok(ended)
}

fn print_changed(run: &CommandContext, what: &str, slot: Option<ObjectId>) -> Result<ExitStatus> {
    let id = slot.map(|slot| slot.to_hex());
    run.output
        .write_json(&json!({"message_type": "summary", "key": what, "id": id}))?;
    match slot {
        Some(slot) => run.output.print(format!("{what}: slot {}", slot.short()))?,
        None => run.output.print("a new epoch of keys has begun")?,
    }
    Ok(ExitStatus::Done)
}

/// The sheet goes to standard output, whatever else is quiet: it is what was asked for.
fn export_recovery(run: &CommandContext) -> Result<ExitStatus> {
    let repo = run.open()?;
    let text = recovery_password()?;
    let password = Password::new(text.clone().into_bytes());
    let slot = repo.add_password(&password, SlotCost::default(), "recovery sheet")?;
    let lines = [
        "levault recovery sheet: whoever has it can read the repository. Keep it on paper, in a safe place.".to_owned(),
        format!("repository   {}", repo.id().to_hex()),
        format!("last seen at {}", repo.storage_reader().describe()),
        format!("slot         {} (`levault key remove {}` makes this sheet worthless)", slot.short(), slot.short()),
        format!("password     {text}"),
        "to restore:  levault -r REPOSITORY restore latest --target DIRECTORY".to_owned(),
        "             type the password with its hyphens, in small letters; there is no letter i, l, o or u in it".to_owned(),
    ];
    lines.iter().try_for_each(|line| print_line(line))?;
    Ok(ExitStatus::Done)
}

/// Lists the slots: never a secret among them.
fn list(run: &CommandContext) -> Result<ExitStatus> {
    let repo = run.open()?;
    let (slots, hosts) = (repo.slots()?, repo.hosts()?);
    if run.output.json {
        let rows: Vec<_> = slots
            .iter()
            .map(|slot| json!({"kind": "slot", "id": slot.id.to_hex(), "current": slot.current, "created": time_exact(slot.created),
                "memory_kib": slot.memory_kib, "iterations": slot.iterations, "parallelism": slot.parallelism}))
            .chain(hosts.iter().map(host::to_json))
            .collect();
        print_line(&serde_json::Value::from(rows).to_string())?;
    }
    run.output.print("  ID        Created               Argon2id")?;
    for slot in &slots {
        let mark = if slot.current { '*' } else { ' ' };
        run.output.print(format!(
            "{mark} {}  {}  {} MiB, {} passes, {} lanes",
            slot.id.short(),
            time(slot.created),
            slot.memory_kib / 1024,
            slot.iterations,
            slot.parallelism
        ))?;
    }
    for host in &hosts {
        run.output.print(format!(
            "  domain {:<4} write-only host {}",
            host.domain.0, host.label
        ))?;
    }
    Ok(ExitStatus::Done)
}
