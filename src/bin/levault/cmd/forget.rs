//! `forget`: which snapshots are let go, and why the others are not.

mod tell;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use levault::error::{Error, Result};
use levault::facts::{CountedSnapshot, Why};
use levault::ops::forget::{self, ByPolicy, Calendar, Chosen, Filter, Known, Leave, Policy, Rhythm, TagList};
use levault::repo::Repo;
use serde_json::json;

use super::Run;
use crate::advice::Ending;
use crate::args::{ForgetArgs, PolicyArgs};

/// What a request led to.
#[derive(Default)]
struct Done {
    forgotten: u64,
    failed: u64,
}

/// Forgets what is named, or what the policy does not keep.
pub fn run(run: &Run, args: &ForgetArgs) -> Result<Ending> {
    if args.ids.is_empty() {
        by_policy(run, args)
    } else {
        by_hand(run, args)
    }
}

fn by_policy(run: &Run, args: &ForgetArgs) -> Result<Ending> {
    let wish = wish(args);
    let repo = run.open()?;
    let known = load(run, &repo)?;
    let wish = ByPolicy {
        policy: policy(&args.policy, &known)?,
        ..wish
    };
    let calendar = calendar(run, &repo);
    let plans = wish.plan(&known, &calendar)?;
    tell::plans(run, &plans, &known, &calendar)?;
    let chosen = forget::chosen(&plans, &wish.policy);
    let done = carry_out(run, &repo, args, vec![chosen])?;
    tell::end(run, &done, args.dry_run)?;
    prune(run, &repo, args)?;
    let whole = known.catalog.unreadable.is_empty() && run.report.problems().is_empty();
    Ok(ending(&done, whole))
}

/// Several may be named, and one that cannot be forgotten does not keep the others; all of them failing is a failure.
fn by_hand(run: &Run, args: &ForgetArgs) -> Result<Ending> {
    let repo = run.open()?;
    let known = load(run, &repo)?;
    let (mut chosen, mut refused) = (Vec::new(), Vec::new());
    for words in &args.ids {
        match known.named(&repo, words) {
            Ok(Some(found)) => chosen.push(found),
            Ok(None) => run.output.warn(&format!("snapshot {words} is forgotten already")),
            Err(error) => refused.push(error),
        }
    }
    if refused.len() == args.ids.len() {
        return Err(first(run, refused));
    }
    refused
        .iter()
        .for_each(|error| run.output.warn(&error.to_string()));
    let mut done = carry_out(run, &repo, args, by_reason(chosen))?;
    done.failed += refused.len() as u64;
    run.output.emit(
        &json!({"message_type": "summary", "forgotten": done.forgotten, "failed": done.failed,
        "dry_run": args.dry_run}),
    )?;
    tell::end(run, &done, args.dry_run)?;
    prune(run, &repo, args)?;
    Ok(ending(&done, run.report.problems().is_empty()))
}

fn prune(run: &Run, repo: &Repo, args: &ForgetArgs) -> Result<()> {
    if args.prune {
        super::prune::prune(run, repo, &args.how, args.dry_run)
    } else {
        Ok(())
    }
}

fn first(run: &Run, mut refused: Vec<Error>) -> Error {
    let first = refused.remove(0);
    refused
        .iter()
        .for_each(|error| run.output.warn(&error.to_string()));
    first
}

fn by_reason(found: Vec<(CountedSnapshot, Why)>) -> Vec<Chosen> {
    let mut all: BTreeMap<u8, Chosen> = BTreeMap::new();
    for (snapshot, why) in found {
        let of = all.entry(why as u8).or_insert_with(|| Chosen {
            snapshots: Vec::new(),
            why,
            words: String::new(),
        });
        of.snapshots.push(snapshot);
    }
    all.into_values().collect()
}

fn carry_out(run: &Run, repo: &Repo, args: &ForgetArgs, all: Vec<Chosen>) -> Result<Done> {
    let mut done = Done::default();
    for chosen in all {
        if args.dry_run {
            done.forgotten += chosen.snapshots.len() as u64;
            continue;
        }
        let outcome = forget::forget(repo, &chosen)?;
        done.forgotten += outcome.forgotten.len() as u64;
        done.failed += outcome.failed.len() as u64;
        for (id, error) in &outcome.failed {
            run.output
                .warn(&format!("snapshot {} is not forgotten: {error}", id.short()));
        }
    }
    Ok(done)
}

fn ending(done: &Done, whole: bool) -> Ending {
    if done.failed == 0 && whole {
        Ending::Done
    } else {
        Ending::Incomplete
    }
}

fn load(run: &Run, repo: &Repo) -> Result<Known> {
    let known = Known::load(repo)?;
    run.tell_unread(&known.catalog);
    run.tell_clocks(&known.catalog);
    Ok(known)
}

/// The zone of this machine, or of TZ: whose hours and days are meant.
fn calendar(run: &Run, repo: &Repo) -> Calendar {
    let zone = TimeZone::try_system().unwrap_or_else(|error| {
        run.output.warn(&format!(
            "the time zone cannot be told, so days are those of UTC: {error}"
        ));
        TimeZone::UTC
    });
    let now = repo.clock().now();
    Calendar { now, zone }
}

fn wish(args: &ForgetArgs) -> ByPolicy {
    let filter = &args.filter;
    ByPolicy {
        policy: Policy::default(),
        group_by: args.group_by,
        filter: Filter {
            hosts: filter.host.clone(),
            tags: filter.tag.iter().map(|words| TagList::parse(words)).collect(),
            databases: names(&filter.database),
        },
        leave: if args.unsafe_allow_remove_all {
            Leave::None
        } else {
            Leave::Some
        },
    }
}

fn policy(args: &PolicyArgs, known: &Known) -> Result<Policy> {
    use Rhythm::{Daily, Hourly, Monthly, QuarterYearly, Weekly, Yearly};
    let slots = [
        (Hourly, args.keep_hourly),
        (Daily, args.keep_daily),
        (Weekly, args.keep_weekly),
        (Monthly, args.keep_monthly),
        (QuarterYearly, args.keep_quarter_yearly),
        (Yearly, args.keep_yearly),
    ];
    let within = [
        (Hourly, args.keep_within_hourly),
        (Daily, args.keep_within_daily),
        (Weekly, args.keep_within_weekly),
        (Monthly, args.keep_within_monthly),
        (QuarterYearly, args.keep_within_quarter_yearly),
        (Yearly, args.keep_within_yearly),
    ];
    let ids = args.keep_id.iter().map(|words| known.catalog.select(words));
    Ok(Policy {
        last: args.keep_last.unwrap_or_default(),
        slots: given(slots),
        within: args.keep_within.unwrap_or_default(),
        slots_within: given(within),
        tags: args.keep_tag.iter().map(|words| TagList::parse(words)).collect(),
        ids: ids.map(|stored| Ok(stored?.id)).collect::<Result<_>>()?,
    })
}

fn given<T>(all: [(Rhythm, Option<T>); 6]) -> BTreeMap<Rhythm, T> {
    all.into_iter()
        .filter_map(|(rhythm, value)| Some((rhythm, value?)))
        .collect()
}

/// Names or paths in bytes.
pub fn names(words: &[OsString]) -> Vec<Vec<u8>> {
    words.iter().map(|name| name.as_bytes().to_vec()).collect()
}
