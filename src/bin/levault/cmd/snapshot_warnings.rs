//! Warns of suspect and forgotten snapshots before they are read.

use levault::engine::tree::can_lead_into;
use levault::error::Result;
use levault::repo::{Repo, StoredSnapshot};

use crate::args::SnapshotPath;
use crate::command_context::CommandContext;
use crate::format::time;

impl CommandContext<'_> {
    /// The snapshot that `words` name, for whoever is about to take data from it: a suspect one is warned of at once,
    /// because what comes then may be long, or for a program. Notes never keep anybody from the data.
    pub fn select_to_read(&self, repo: &Repo, place: &SnapshotPath) -> Result<StoredSnapshot> {
        let stored = self.select_place(repo, place)?;
        for warning in [warning(repo, &stored), forgotten(repo, &stored)]
            .into_iter()
            .flatten()
        {
            self.report.notice(&warning);
            self.output.warn(&warning);
        }
        Ok(stored)
    }

    /// The snapshot that the words name; `latest` is the latest that has what stands behind the colon.
    pub fn select_place(&self, repo: &Repo, place: &SnapshotPath) -> Result<StoredSnapshot> {
        if place.snapshot.starts_with("latest") {
            self.warn_of_clocks(&repo.catalog()?);
        }
        repo.select_with(&place.snapshot, &|snapshot| {
            can_lead_into(snapshot, &place.address)
        })
    }
}

fn warning(repo: &Repo, stored: &StoredSnapshot) -> Option<String> {
    let short = stored.id.short();
    let notes = match repo.notes() {
        Ok(notes) => notes,
        Err(error) => {
            return Some(format!(
                "whether snapshot {short} is suspect cannot be told: {error}"
            ));
        }
    };
    if let Some(reason) = notes.current_notes().suspect_note(&stored.id) {
        return Some(format!(
            "snapshot {short} is suspect: {reason}; `levault check` says more"
        ));
    }
    notes.unread.first().map(|unread| {
        let what = &unread.what;
        format!("a note that may be about snapshot {short} was passed over: {what}")
    })
}

/// A forgotten snapshot can be had by its whole id, for as long as nobody takes its data.
fn forgotten(repo: &Repo, stored: &StoredSnapshot) -> Option<String> {
    let short = stored.id.short();
    let standing = repo.forgotten_now().ok()?;
    standing.of(&stored.id).map(|since| {
        let when = time(since.when);
        format!("snapshot {short} was forgotten {when}, and a prune may take its data; `levault undelete {short}` keeps it")
    })
}
