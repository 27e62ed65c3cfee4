//! Arguments of `repair`.

use clap::{Args, Subcommand};
use levault::repo::ParityShare;

#[derive(Args)]
pub struct RepairArgs {
    #[command(subcommand)]
    pub verb: RepairCommand,
}

#[derive(Subcommand)]
pub enum RepairCommand {
    /// Put config back from its copy, or the copy from config
    Config(RepairApplyArgs),
    /// Make what is missing of the index from the packs
    Index(RepairIndexArgs),
    /// Heal damaged packs by their parity; store again what still opens of the others, and note what is lost; reads the
    /// packs whole
    Packs(RepairTargetArgs),
    /// Make new snapshots of what is left of those that lost something; the old ones are forgotten
    Snapshots(RepairTargetArgs),
    /// Store parity beside packs that have none or too little, and beside all that are stored from then on
    AddParity(AddParityArgs),
    /// Put damaged packs right by their parity; needs no password
    Heal(HealArgs),
}

#[derive(Args)]
pub struct RepairTargetArgs {
    /// Ids or the beginnings of them; all without any
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    #[command(flatten)]
    pub apply: RepairApplyArgs,
}

#[derive(Args)]
pub struct RepairApplyArgs {
    /// Do it; without this, say what would be done
    #[arg(long)]
    pub apply: bool,
}

#[derive(Args)]
pub struct RepairIndexArgs {
    /// Believe nothing of the index: read every pack's directory
    #[arg(long)]
    pub read_all_packs: bool,
    #[command(flatten)]
    pub apply: RepairApplyArgs,
}

#[derive(Args)]
pub struct AddParityArgs {
    /// For bursts of damage up to this share of a pack (default: the repository's own, else 5%); none: store no more
    #[arg(long, value_name = "SHARE", value_parser = request)]
    pub share: Option<ParityRequest>,
    /// Do it
    #[arg(long)]
    pub apply: bool,
}

/// How much parity there is to be.
#[derive(Clone, Copy)]
pub enum ParityRequest {
    None,
    Share(ParityShare),
}

fn request(words: &str) -> Result<ParityRequest, String> {
    match words {
        "none" => Ok(ParityRequest::None),
        share => share.parse().map(ParityRequest::Share),
    }
}

#[derive(Args)]
pub struct HealArgs {
    /// Only these (names or their beginnings)
    #[arg(value_name = "PACK")]
    pub packs: Vec<String>,
    /// Do it
    #[arg(long)]
    pub apply: bool,
}
