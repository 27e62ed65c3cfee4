//! Arguments of `check`.

use std::time::Duration;

use clap::Args;

use crate::format::duration;

#[derive(Args)]
pub struct CheckArgs {
    /// Read and open every stored byte too
    #[arg(long, conflicts_with_all = ["read_data_subset", "budget", "max_age"])]
    pub read_data: bool,
    /// Read a share: n/t (the n-th of t parts), x% or a size like 2G (at random)
    #[arg(long, value_name = "SUBSET", conflicts_with_all = ["budget", "max_age"])]
    pub read_data_subset: Option<String>,
    /// Read what was not read for longest, and begin no pack when this time is over (30m, 2h)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub budget: Option<Duration>,
    /// Read only what was last read so long ago (30d); the report of what was verified goes by it too
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub max_age: Option<Duration>,
    /// Only these snapshots (ids, `latest`, `latest~N`) and what they rest on
    #[arg(long, value_name = "SNAPSHOT", num_args = 1..)]
    pub snapshots: Vec<String>,
    /// Ask for no password: hash every object, for whoever stores a repository and must not read it
    #[arg(long, conflicts_with = "snapshots")]
    pub keyless: bool,
}
