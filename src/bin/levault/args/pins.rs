//! Words for what is kept beside a database.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Args)]
pub struct PinsArgs {
    #[command(subcommand)]
    pub verb: PinsVerb,
}

#[derive(Subcommand)]
pub enum PinsVerb {
    /// List what is kept beside these databases
    List(PinsOf),
    /// Remove it: the next backup reads everything
    Drop(PinsOf),
    /// Remove what belongs to databases that are gone, and what no backup can use
    Gc(PinsOf),
}

#[derive(Args)]
pub struct PinsOf {
    /// LevelDB directories, also such that are gone
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}
