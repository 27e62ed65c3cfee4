//! Notes of the source that hold of a copy too. The destination's own word, whatever it is, is not overruled.

use std::collections::HashSet;

use crate::error::Result;
use crate::facts::{About, Note, Notes, Said};
use crate::id::ObjectId;
use crate::repo::{Repo, StoredNotes};

use super::Copied;
use super::plan::{Plan, Step};

/// What is noted of a snapshot that was copied just now; how many notes. (Its tags stand in itself.)
pub fn of_new(to: &Repo, source: &StoredNotes, copied: Copied) -> Result<usize> {
    let said = missing(&source.standing(), copied.from, &Words::default(), copied.to);
    put(to, copied.to, said)
}

/// The same of those that were copied before: a copy that was killed may not have come to it, and the source may have
/// found a snapshot to be suspect since.
pub fn catch_up(to: &Repo, plan: &Plan, source: &StoredNotes, there: &StoredNotes) -> Result<usize> {
    let (standing, words) = (source.standing(), Words::of(there));
    let mut count = 0;
    for step in &plan.steps {
        if let Step::There { source, copied } = step {
            count += put(to, copied.id, missing(&standing, source.id, &words, copied.id))?;
        }
    }
    Ok(count)
}

/// Snapshots of which the destination said something itself.
#[derive(Default)]
struct Words {
    pins: HashSet<ObjectId>,
    doubts: HashSet<ObjectId>,
}

impl Words {
    fn of(stored: &StoredNotes) -> Self {
        let mut words = Self::default();
        for (_, note) in &stored.notes {
            let About::Snapshot { id, said } = &note.about else {
                continue;
            };
            match said {
                Said::Pin | Said::Unpin => drop(words.pins.insert(*id)),
                Said::Suspect(_) | Said::Cleared(_) => drop(words.doubts.insert(*id)),
                Said::Tags(_) | Said::Undelete | Said::Rebased(_) => {}
            }
        }
        words
    }
}

fn missing(source: &Notes, from: ObjectId, words: &Words, to: ObjectId) -> Vec<Said> {
    let doubt = source.suspect(&from).filter(|_| !words.doubts.contains(&to));
    let pin = source.is_pinned(&from) && !words.pins.contains(&to);
    let doubt = doubt.map(|reason| Said::Suspect(reason.to_owned()));
    doubt.into_iter().chain(pin.then_some(Said::Pin)).collect()
}

fn put(to: &Repo, id: ObjectId, said: Vec<Said>) -> Result<usize> {
    let count = said.len();
    for said in said {
        let about = About::Snapshot { id, said };
        let when = to.clock().now();
        to.put_note(&Note { when, about })?;
    }
    Ok(count)
}
