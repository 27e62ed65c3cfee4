//! Combines forget records and notes into the set of forgotten snapshots.
//!
//! Which snapshots are forgotten now: of all that was said the last word counts, as for [`CurrentNotes`].
//!
//! A forgetting names snapshots; an `undelete` note names one. Both have a time and a name, and the later by (when, name)
//! stands: so a snapshot may be forgotten, brought back and forgotten again, and every reader of the same objects comes
//! to the same end, whatever order the storage lists them in.

use std::collections::BTreeMap;

use super::CurrentNotes;
use crate::clock::UnixNanos;
use crate::id::{DomainId, ObjectId};

/// One act of forgetting: snapshots that no longer count from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgetRecord {
    /// When, by its writer's clock.
    pub when: UnixNanos,
    /// On whose word.
    pub why: ForgetReason,
    /// The policy or the reason, in words.
    pub words: String,
    /// The snapshots; ascending by id, none twice, one at least.
    pub snapshots: Vec<CountedSnapshot>,
}

impl ForgetRecord {
    /// True if the snapshot is one of those.
    pub fn snapshot_ids(&self, id: &ObjectId) -> bool {
        self.snapshots
            .binary_search_by_key(id, |counted| counted.id)
            .is_ok()
    }
}

/// On whose word a snapshot was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ForgetReason {
    /// Somebody named it.
    ByHand = 0,
    /// A policy did not keep it.
    Policy = 1,
    /// It was damaged beyond use.
    Damaged = 2,
}

/// A snapshot and its place in its domain's count, which explains the gap when it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountedSnapshot {
    /// Its name.
    pub id: ObjectId,
    /// Its domain.
    pub domain: DomainId,
    /// Its counter; 0 where it could not be read any more.
    pub counter: u64,
}

/// A forgetting and what the storage tells of its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredForgetRecord {
    /// The object's name.
    pub name: ObjectId,
    /// When the storage's clock says it was written; `None` where the store has no times.
    pub modified: Option<UnixNanos>,
    /// What it says.
    pub forgetting: ForgetRecord,
}

/// How it came that a snapshot is forgotten: the first forgetting since it was last brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgetEvent {
    /// The object that says so.
    pub name: ObjectId,
    /// When, by its writer's clock: for people.
    pub when: UnixNanos,
    /// When by the storage's clock: what any margin goes by. `None` where the store has no times.
    pub modified: Option<UnixNanos>,
    /// On whose word.
    pub why: ForgetReason,
    /// The policy or the reason, in words.
    pub words: String,
    /// The snapshot's place in its domain's count.
    pub counted: CountedSnapshot,
}

/// What holds by all forgettings and all notes.
#[derive(Clone, Debug, Default)]
pub struct ForgottenSnapshots {
    now: BTreeMap<ObjectId, ForgetEvent>,
    /// What an undelete note undid; some of it may have been forgotten again.
    undone: BTreeMap<ObjectId, CountedSnapshot>,
    last_said: BTreeMap<ObjectId, UnixNanos>,
    newest: BTreeMap<DomainId, (u64, ObjectId)>,
}

impl ForgottenSnapshots {
    /// What these say together; their order means nothing.
    pub fn new(all: &[StoredForgetRecord], notes: &CurrentNotes) -> Self {
        let mut in_order: Vec<_> = all.iter().collect();
        in_order.sort_by_key(|stored| (stored.forgetting.when, stored.name));
        let mut forgotten = Self::default();
        for stored in in_order {
            let counted = stored.forgetting.snapshots.iter();
            counted.for_each(|counted| forgotten.apply(stored, *counted, notes));
        }
        forgotten
    }

    /// How it came that the snapshot is forgotten; `None` if it counts.
    pub fn of(&self, snapshot: &ObjectId) -> Option<&ForgetEvent> {
        self.now.get(snapshot)
    }

    /// All that are forgotten, by snapshot; they may be gone.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectId, &ForgetEvent)> {
        self.now.iter()
    }

    /// All that were forgotten once and count again, by snapshot; they may be gone, where an undelete failed half-way.
    pub fn undeleted_at(&self) -> impl Iterator<Item = &CountedSnapshot> {
        let undone = self.undone.iter();
        undone.filter_map(|(id, counted)| (!self.now.contains_key(id)).then_some(counted))
    }

    /// When it was last said that the snapshot is forgotten, whether that holds or not: what brings it back must be later.
    pub fn last_annotation_time(&self, snapshot: &ObjectId) -> Option<UnixNanos> {
        self.last_said.get(snapshot).copied()
    }

    /// The highest counter of the domain that was ever said to be forgotten, and whose it was: counters go on behind it.
    pub fn newest_event_of(&self, domain: DomainId) -> Option<(u64, ObjectId)> {
        self.newest.get(&domain).copied()
    }

    /// The same for every domain.
    pub fn newest_event(&self) -> impl Iterator<Item = (DomainId, (u64, ObjectId))> {
        self.newest.iter().map(|(domain, newest)| (*domain, *newest))
    }

    fn apply(&mut self, stored: &StoredForgetRecord, counted: CountedSnapshot, notes: &CurrentNotes) {
        let said = (stored.forgetting.when, stored.name);
        let place = (counted.counter, counted.id);
        let newest = self.newest.entry(counted.domain).or_insert(place);
        *newest = place.max(*newest);
        self.last_said.insert(counted.id, said.0);
        let undeleted = notes.of(&counted.id).and_then(|standing| standing.undeleted);
        if undeleted.is_none_or(|undeleted| undeleted < said) {
            let since = || ForgetEvent::new(stored, counted);
            self.now.entry(counted.id).or_insert_with(since);
        } else {
            self.undone.insert(counted.id, counted);
        }
    }
}

impl ForgetEvent {
    fn new(stored: &StoredForgetRecord, counted: CountedSnapshot) -> Self {
        Self {
            name: stored.name,
            when: stored.forgetting.when,
            modified: stored.modified,
            why: stored.forgetting.why,
            words: stored.forgetting.words.clone(),
            counted,
        }
    }
}
