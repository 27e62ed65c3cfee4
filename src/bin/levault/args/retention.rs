//! Arguments of `forget`, `undelete`, `tag` and `protect`.

use clap::Args;
use levault::ops::forget::{GroupBy, KeepCount, KeepDuration};
use std::ffi::OsString;

/// What to forget. (The letters are restic's.)
#[derive(Args)]
pub struct ForgetArgs {
    /// Give space back as well, as `prune` does
    #[arg(long)]
    pub prune: bool,
    #[command(flatten)]
    pub how: super::prune::PruneOptions,
    /// Forget exactly these (ids, `latest`, `latest~N`); no policy and no filter goes with them
    #[arg(value_name = "SNAPSHOT", conflicts_with_all = ["PolicyArgs", "FilterArgs", "group_by", "unsafe_allow_remove_all"])]
    pub ids: Vec<String>,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Apply the policy to snapshots that have these in common, each group by itself: host, db, tags, or '' for one group
    #[arg(short, long, value_name = "WHAT", default_value = "host,db,tags")]
    pub group_by: GroupBy,
    /// Permit that all snapshots of a group are forgotten
    #[arg(long)]
    pub unsafe_allow_remove_all: bool,
    /// Print what would be forgotten
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// What is kept: a snapshot that fits one of these.
#[derive(Args)]
#[group(multiple = true)]
pub struct PolicyArgs {
    /// Keep the last N snapshots (N: a number, or `unlimited`)
    #[arg(short = 'l', long, value_name = "N", allow_hyphen_values = true)]
    pub keep_last: Option<KeepCount>,
    /// Keep the newest of each of the last N hours that have any
    #[arg(short = 'H', long, value_name = "N", allow_hyphen_values = true)]
    pub keep_hourly: Option<KeepCount>,
    /// The same of days
    #[arg(short = 'd', long, value_name = "N", allow_hyphen_values = true)]
    pub keep_daily: Option<KeepCount>,
    /// The same of weeks (from Monday on)
    #[arg(short = 'w', long, value_name = "N", allow_hyphen_values = true)]
    pub keep_weekly: Option<KeepCount>,
    /// The same of months
    #[arg(short = 'm', long, value_name = "N", allow_hyphen_values = true)]
    pub keep_monthly: Option<KeepCount>,
    /// The same of quarters of a year
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub keep_quarter_yearly: Option<KeepCount>,
    /// The same of years
    #[arg(short = 'y', long, value_name = "N", allow_hyphen_values = true)]
    pub keep_yearly: Option<KeepCount>,
    /// Keep all that are newer than this before the latest (2y5m7d3h)
    #[arg(long, value_name = "DURATION")]
    pub keep_within: Option<KeepDuration>,
    /// Keep the newest of each hour, of those newer than this before the latest
    #[arg(long, value_name = "DURATION")]
    pub keep_within_hourly: Option<KeepDuration>,
    /// The same of days
    #[arg(long, value_name = "DURATION")]
    pub keep_within_daily: Option<KeepDuration>,
    /// The same of weeks
    #[arg(long, value_name = "DURATION")]
    pub keep_within_weekly: Option<KeepDuration>,
    /// The same of months
    #[arg(long, value_name = "DURATION")]
    pub keep_within_monthly: Option<KeepDuration>,
    /// The same of quarters of a year
    #[arg(long, value_name = "DURATION")]
    pub keep_within_quarter_yearly: Option<KeepDuration>,
    /// The same of years
    #[arg(long, value_name = "DURATION")]
    pub keep_within_yearly: Option<KeepDuration>,
    /// Keep snapshots that have all of these tags ('': those without tags); may be given several times
    #[arg(long, value_name = "TAG[,TAG]")]
    pub keep_tag: Vec<String>,
    /// Keep this snapshot; may be given several times
    #[arg(long, value_name = "SNAPSHOT")]
    pub keep_id: Vec<String>,
}

/// Which snapshots are looked at. Each may be given several times: one of a kind must fit.
#[derive(Args)]
#[group(multiple = true)]
pub struct FilterArgs {
    /// Only snapshots of this host
    #[arg(long, value_name = "HOST")]
    pub host: Vec<String>,
    /// Only snapshots that have all of these tags ('': those without tags)
    #[arg(long, value_name = "TAG[,TAG]")]
    pub tag: Vec<String>,
    /// Only snapshots with a database of this name or path
    #[arg(long, value_name = "NAME")]
    pub database: Vec<OsString>,
}

#[derive(Args)]
pub struct UndeleteArgs {
    /// Bring these back (ids or their beginnings); none: list those that can be
    #[arg(value_name = "SNAPSHOT")]
    pub ids: Vec<String>,
}

#[derive(Args)]
pub struct SnapshotIdArgs {
    /// Snapshots (ids, `latest`, `latest~N`)
    #[arg(required = true, value_name = "SNAPSHOT")]
    pub ids: Vec<String>,
}

#[derive(Args)]
pub struct TagArgs {
    #[command(flatten)]
    pub these: SnapshotIdArgs,
    #[command(flatten)]
    pub change: TagChangeArgs,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
pub struct TagChangeArgs {
    /// These tags instead of all there are ('': none); may be given several times
    #[arg(long, value_name = "TAG[,TAG]", conflicts_with_all = ["add", "remove"])]
    pub set: Vec<String>,
    /// These besides
    #[arg(long, value_name = "TAG[,TAG]")]
    pub add: Vec<String>,
    /// Without these
    #[arg(long, value_name = "TAG[,TAG]")]
    pub remove: Vec<String>,
}
