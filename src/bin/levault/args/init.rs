//! Arguments of `init`.

use clap::Args;
use levault::repo::ParityShare;

use super::SourceArgs;

#[derive(Args)]
pub struct InitArgs {
    /// Store parity beside each pack: a burst of damage up to this share of it can be healed, without a password (5%)
    #[arg(long, value_name = "SHARE")]
    pub parity: Option<ParityShare>,
    #[command(flatten)]
    pub source: SourceArgs,
    /// Cut chunks where the repository named by --from-repo does, so that both share what is copied and what is backed up
    #[arg(long)]
    pub copy_chunker_params: bool,
}
