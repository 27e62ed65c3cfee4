//! `tag`, `protect`, `unprotect`: changes what holds of snapshots.

use levault::engine::tag_list::TagList;
use levault::error::Result;
use levault::ops::annotate::{self, TagEdit};
use levault::repo::{Repo, StoredSnapshot};
use serde_json::{Value, json};

use crate::args::{SnapshotIdArgs, TagArgs};
use crate::command_context::CommandContext;
use crate::exit_status::ExitStatus;

/// Gives each of the snapshots other tags.
pub fn tag(run: &CommandContext, args: &TagArgs) -> Result<ExitStatus> {
    let tags = |words: &[String]| TagList::parse_all(words).0;
    let change = if !args.change.set.is_empty() {
        TagEdit::Set(tags(&args.change.set))
    } else {
        TagEdit::Change {
            add: tags(&args.change.add),
            remove: tags(&args.change.remove),
        }
    };
    each(run, &args.these, |repo, stored| {
        let (tags, changed) = annotate::retag(repo, stored, &change)?;
        let text = format!("has the tags {}", TagList(tags.clone()));
        Ok((changed, text, ("tags", json!(tags))))
    })
}

/// Keeps each of them, whatever a policy says.
pub fn protect(run: &CommandContext, args: &SnapshotIdArgs) -> Result<ExitStatus> {
    each(run, args, |repo, stored| {
        let changed = annotate::protect(repo, stored.id)?;
        Ok((changed, "is protected".into(), ("pinned", json!(true))))
    })
}

/// Lets policies forget each of them again.
pub fn unprotect(run: &CommandContext, args: &SnapshotIdArgs) -> Result<ExitStatus> {
    each(run, args, |repo, stored| {
        let changed = annotate::unprotect(repo, stored.id)?;
        Ok((changed, "is not protected".into(), ("pinned", json!(false))))
    })
}

/// Whether it is news, in words, and as a JSON field.
type ReportedChange = (bool, String, (&'static str, Value));

/// All are found before the first is changed.
fn each(
    run: &CommandContext,
    args: &SnapshotIdArgs,
    act: impl Fn(&Repo, &StoredSnapshot) -> Result<ReportedChange>,
) -> Result<ExitStatus> {
    let repo = run.open()?;
    let all: Vec<_> = args
        .ids
        .iter()
        .map(|words| run.select(&repo, words))
        .collect::<Result<_>>()?;
    let mut changed = 0;
    for stored in &all {
        let (is_news, text, (field, value)) = act(&repo, stored)?;
        changed += u64::from(is_news);
        let mut line =
            json!({"message_type": "changed", "snapshot_id": stored.id.to_hex(), "changed": is_news});
        line[field] = value;
        run.output.write_json(&line)?;
        run.output
            .print(format!("snapshot {} {text}", stored.id.short()))?;
    }
    run.output
        .write_json(&json!({"message_type": "summary", "changed_snapshots": changed}))?;
    Ok(ExitStatus::Done)
}
