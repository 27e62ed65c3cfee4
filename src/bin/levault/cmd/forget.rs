//! `forget`: forgets snapshots, by id or by policy.

mod print_groups;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use levault::engine::snapshot_filter::SnapshotFilter;
use levault::engine::tag_list::TagList;
use levault::error::{Error, Result};
use levault::ops::forget::{
    self, CalendarPeriod, ForgetInput, ForgetSelection, MinimumKept, PolicyCalendar, PolicySelection,
    RetentionPolicy,
};
use levault::repo::Repo;
use levault::repo::{CountedSnapshot, ForgetReason};
use serde_json::json;

use crate::args::{ForgetArgs, PolicyArgs};
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;

/// What a request led to.
#[derive(Default)]
struct ForgetResult {
    forgotten: u64,
    failed: u64,
}

/// Forgets what is named, or what the policy does not keep.
pub fn run(run: &CommandContext, args: &ForgetArgs) -> Result<ExitStatus> {
    if args.ids.is_empty() {
        forget_by_policy(run, args)
    } else {
        forget_by_id(run, args)
    }
}

fn forget_by_policy(run: &CommandContext, args: &ForgetArgs) -> Result<ExitStatus> {
    let wish = selection(args);
    let repo = run.open()?;
    let known = load(run, &repo)?;
    let wish = PolicySelection {
        policy: policy(&args.policy, &known)?,
        ..wish
    };
    let calendar = calendar(run, &repo);
    let plans = wish.plan(&known, &calendar)?;
    print_groups::plans(run, &plans, &known, &calendar)?;
    let chosen = forget::choose_snapshots(&plans, &wish.policy);
    let done = carry_out(run, &repo, args, vec![chosen])?;
    print_groups::end(run, &done, args.dry_run)?;
    prune(run, &repo, args)?;
    let whole = known.catalog.unreadable.is_empty() && run.report.problems().is_empty();
    Ok(exit_status(&done, whole))
}

/// Several may be named, and one that cannot be forgotten does not keep the others; all of them failing is a failure.
fn forget_by_id(run: &CommandContext, args: &ForgetArgs) -> Result<ExitStatus> {
    let repo = run.open()?;
    let known = load(run, &repo)?;
    let (mut chosen, mut refused) = (Vec::new(), Vec::new());
    for words in &args.ids {
        match known.select_named(&repo, words) {
            Ok(Some(found)) => chosen.push(found),
            Ok(None) => run.output.warn(&format!("snapshot {words} is forgotten already")),
            Err(error) => refused.push(error),
        }
    }
    if refused.len() == args.ids.len() {
        return Err(first_line(run, refused));
    }
    refused
        .iter()
        .for_each(|error| run.output.warn(&error.to_string()));
    let mut done = carry_out(run, &repo, args, group_by_reason(chosen))?;
    done.failed += refused.len() as u64;
    run.output.write_json(
        &json!({"message_type": "summary", "forgotten": done.forgotten, "failed": done.failed,
        "dry_run": args.dry_run}),
    )?;
    print_groups::end(run, &done, args.dry_run)?;
    prune(run, &repo, args)?;
    Ok(exit_status(&done, run.report.problems().is_empty()))
}

fn prune(run: &CommandContext, repo: &Repo, args: &ForgetArgs) -> Result<()> {
    if args.prune {
        super::prune::prune(run, repo, &args.how, args.dry_run)
    } else {
        Ok(())
    }
}

fn first_line(run: &CommandContext, mut refused: Vec<Error>) -> Error {
    let first = refused.remove(0);
    refused
        .iter()
        .for_each(|error| run.output.warn(&error.to_string()));
    first
}

fn group_by_reason(found: Vec<(CountedSnapshot, ForgetReason)>) -> Vec<ForgetSelection> {
    let mut all: BTreeMap<u8, ForgetSelection> = BTreeMap::new();
    for (snapshot, why) in found {
        let of = all.entry(why as u8).or_insert_with(|| ForgetSelection {
            snapshots: Vec::new(),
            why,
            words: String::new(),
        });
        of.snapshots.push(snapshot);
    }
    all.into_values().collect()
}

fn carry_out(
    run: &CommandContext,
    repo: &Repo,
    args: &ForgetArgs,
    all: Vec<ForgetSelection>,
) -> Result<ForgetResult> {
    let mut done = ForgetResult::default();
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

fn exit_status(done: &ForgetResult, whole: bool) -> ExitStatus {
    if done.failed == 0 && whole {
        ExitStatus::Done
    } else {
        ExitStatus::Incomplete
    }
}

fn load(run: &CommandContext, repo: &Repo) -> Result<ForgetInput> {
    let known = ForgetInput::load(repo)?;
    run.warn_of_unread(&known.catalog);
    run.warn_of_clocks(&known.catalog);
    Ok(known)
}

/// The zone of this machine, or of TZ: whose hours and days are meant.
fn calendar(run: &CommandContext, repo: &Repo) -> PolicyCalendar {
    let zone = TimeZone::try_system().unwrap_or_else(|error| {
        run.output.warn(&format!(
            "the time zone cannot be told, so days are those of UTC: {error}"
        ));
        TimeZone::UTC
    });
    let now = repo.clock().now();
    PolicyCalendar { now, zone }
}

fn selection(args: &ForgetArgs) -> PolicySelection {
    let filter = &args.filter;
    PolicySelection {
        policy: RetentionPolicy::default(),
        group_by: args.group_by,
        filter: SnapshotFilter {
            hosts: filter.host.clone(),
            tags: filter.tag.iter().map(|words| TagList::parse(words)).collect(),
            databases: names(&filter.database),
        },
        leave: if args.unsafe_allow_remove_all {
            MinimumKept::None
        } else {
            MinimumKept::Some
        },
    }
}

fn policy(args: &PolicyArgs, known: &ForgetInput) -> Result<RetentionPolicy> {
    use CalendarPeriod::{Daily, Hourly, Monthly, QuarterYearly, Weekly, Yearly};
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
    Ok(RetentionPolicy {
        last: args.keep_last.unwrap_or_default(),
        slots: filter(slots),
        within: args.keep_within.unwrap_or_default(),
        slots_within: filter(within),
        tags: args.keep_tag.iter().map(|words| TagList::parse(words)).collect(),
        ids: ids.map(|stored| Ok(stored?.id)).collect::<Result<_>>()?,
    })
}

fn filter<T>(all: [(CalendarPeriod, Option<T>); 6]) -> BTreeMap<CalendarPeriod, T> {
    all.into_iter()
        .filter_map(|(rhythm, value)| Some((rhythm, value?)))
        .collect()
}

/// Names or paths in bytes.
pub fn names(words: &[OsString]) -> Vec<Vec<u8>> {
    words.iter().map(|name| name.as_bytes().to_vec()).collect()
}
