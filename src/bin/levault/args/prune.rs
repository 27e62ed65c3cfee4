//! Arguments of `prune`.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::format::{duration, size};

#[derive(Args, Clone, Debug)]
pub struct PruneArgs {
    #[command(flatten)]
    pub how: PruneOptions,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// How much is given back, and when.
#[derive(Args, Clone, Debug)]
pub struct PruneOptions {
    /// Unused space that may stay: a part of the repository (5%), a size (500M), or unlimited
    #[arg(long, value_name = "LIMIT", default_value = "5%")]
    pub max_unused: MaxUnusedArg,
    /// Store at most so much again (K, M, G, T)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_repack_size: Option<u64>,
    /// How long a pack stays after it was found to be of no use (h or d)
    #[arg(long, value_name = "TIME", default_value = "72h", value_parser = duration)]
    pub grace: Duration,
    /// Allow a grace under 6 hours: nothing else may use the repository meanwhile
    #[arg(long)]
    pub unsafe_grace: bool,
    /// Store packs again that are sealed under an older epoch of keys than the newest
    #[arg(long)]
    pub repack_outdated: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum MaxUnusedArg {
    /// Of all that is stored.
    Share(f64),
    Bytes(u64),
    Unlimited,
}

impl FromStr for MaxUnusedArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let Some(percent) = text.strip_suffix('%') else {
            return size(text).map(Self::Bytes);
        };
        let share = percent.parse::<f64>().map_err(|error| error.to_string())? / 100.0;
        if (0.0..1.0).contains(&share) {
            Ok(Self::Share(share))
        } else {
            Err("want 0% to below 100%".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_space_is_a_share_or_a_size() {
        assert!(matches!("7.5%".parse(), Ok(MaxUnusedArg::Share(share)) if share == 0.075));
        assert!(matches!("2G".parse(), Ok(MaxUnusedArg::Bytes(bytes)) if bytes == 2 << 30));
        assert!("100%".parse::<MaxUnusedArg>().is_err());
    }
}
