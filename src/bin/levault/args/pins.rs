//! Arguments of `pins`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Args)]
pub struct PinsArgs {
    #[command(subcommand)]
    pub verb: PinsCommand,
}

#[derive(Subcommand)]
pub enum PinsCommand {
    /// List what is kept beside these databases
    List(PinsTargetArgs),
    /// Remove it: the next backup reads everything
    Drop(PinsTargetArgs),
    /// Remove what belongs to databases that are gone, and what no backup can use
    Gc(PinsTargetArgs),
}

#[derive(Args)]
pub struct PinsTargetArgs {
    /// LevelDB directories, also such that are gone
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}
