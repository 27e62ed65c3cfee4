//! Arguments of `quarantine`.

use clap::{Args, Subcommand};

#[derive(Args)]
pub struct QuarantineArgs {
    #[command(subcommand)]
    pub verb: QuarantineCommand,
}

#[derive(Subcommand)]
pub enum QuarantineCommand {
    /// List the snapshots and index segments that cannot be read
    List,
    /// Set some of them aside: from then on they are passed over, and stop no prune
    Add(QuarantineAddArgs),
    /// Take some back
    Remove(ObjectIdArgs),
}

#[derive(Args)]
pub struct ObjectIdArgs {
    /// Ids or the beginnings of them
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
}

#[derive(Args)]
pub struct QuarantineAddArgs {
    #[command(flatten)]
    pub these: ObjectIdArgs,
    /// Also what claims to be of a later levault, which none of yours is: a prune deletes what it may need
    #[arg(long)]
    pub newer: bool,
}
