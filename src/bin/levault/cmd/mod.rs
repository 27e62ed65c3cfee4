//! Runs the command that the arguments name.

mod backup;
mod backup_inputs;
mod capture;
pub mod check;
mod copy;
mod diff;
mod dump;
mod find;
mod forbidden_paths;
mod forget;
pub mod get;
mod history;
pub mod init;
mod key;
mod ls;
mod open_snapshot;
pub mod parity;
mod pins;
mod print_node;
pub mod prune;
pub mod quarantine;
pub mod repair;
mod rescue;
mod restore;
mod select_keys;
mod snapshot_warnings;
mod snapshots;
mod stats;
mod tag_protect;
mod undelete;
mod verify_db;
mod version;

use std::sync::Arc;

use levault::error::Result;
use levault::report::OperationReport;

use crate::args::{Cli, Command};
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;
use crate::output::OutputSettings;

/// Runs the verb.
pub fn run(cli: Cli, output: OutputSettings, report: &Arc<OperationReport>) -> Result<ExitStatus> {
    let run = CommandContext {
        global: &cli.global,
        output,
        report,
    };
    match cli.verb {
        Command::Capture(args) => capture::run(&run, &args),
        Command::VerifyDb(args) => verify_db::run(&run, &args),
        Command::Init(args) => init::run(&run, &args),
        Command::Backup(args) => backup::run(&run, &args),
        Command::Snapshots(args) => snapshots::run(&run, &args),
        Command::Ls(args) => ls::run(&run, &args),
        Command::Get(args) => get::run(&run, &args),
        Command::Dump(args) => dump::run(&run, &args),
        Command::Diff(args) => diff::run(&run, &args),
        #[cfg(all(feature = "mount", target_os = "linux"))]
        Command::Mount(args) => crate::mount::run(&run, &args),
        Command::History(args) => history::run(&run, &args),
        Command::Find(args) => find::run(&run, &args),
        Command::Restore(args) => restore::run(&run, &args),
        Command::Rescue(args) => rescue::run(&run, &args),
        Command::Forget(args) => forget::run(&run, &args),
        Command::Undelete(args) => undelete::run(&run, &args),
        Command::Copy(args) => copy::run(&run, &args),
        Command::Tag(args) => tag_protect::tag(&run, &args),
        Command::Protect(args) => tag_protect::protect(&run, &args),
        Command::Unprotect(args) => tag_protect::unprotect(&run, &args),
        Command::Check(args) => check::run(&run, &args),
        Command::Repair(args) => repair::run(&run, &args),
        Command::Stats(args) => stats::run(&run, &args),
        Command::Prune(args) => prune::run(&run, &args),
        Command::Quarantine(args) => quarantine::run(&run, &args),
        Command::Unlock => key::unlock(&run),
        Command::Pins(args) => pins::run(&run, &args),
        Command::Key(args) => key::run(&run, &args.verb),
        Command::Version => version::run(&run),
    }
}
