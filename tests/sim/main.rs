//! Goal: no published snapshot loses a blob, whatever runs beside what, dies when, or hears of it late. Method: the
//! production code over a simulated storage and clock, several processes at once, one storage call at a time in an order
//! that the seed chooses; replies are lost, processes die, listings lag, clocks differ, hours pass. One judge: every
//! snapshot that was reported and not forgotten restores to exactly what its database held.
//!
//! `LEVAULT_SIM_SEED=n` replays one seed, `LEVAULT_SIM_TRACE=1` tells every call, `LEVAULT_SIM_SEEDS=n` runs so many.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "../common/mod.rs"]
mod common;
mod sched;
mod storage;
mod world;

use world::World;

/// Jobs of one life.
const JOBS: usize = 24;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

#[test]
fn nothing_that_was_reported_is_lost() {
    let first = number("LEVAULT_SIM_SEED");
    let count = number("LEVAULT_SIM_SEEDS").unwrap_or(300);
    let seeds = first.map_or(0..count, |seed| seed..seed + 1);
    let mut wrong = Vec::new();
    for seed in seeds {
        wrong.extend(World::new(seed).run(JOBS));
        assert!(wrong.len() < 20, "{}", wrong.join("\n"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
