//! Checks a few keys of each increment by a full scan's rules.
//!
//! A few keys of each increment, read again by the rules of a full scan: a guard between audits that costs little.
//!
//! An increment stores nothing of a key that it takes for unchanged, so a fault in its rule loses changes in silence until
//! the next audit. The check compares, for a handful of keys, what the captured files say now with what a restore of the new
//! snapshot would give: the record that the increment stored, or that of the snapshot it stands on.
//!
//! **Which keys.** Faults of the rule sit where it decides, so some keys are drawn from each way to decide, however rare
//! that way is: of a million keys that were only compacted and one that is decided otherwise, that one is looked at.
//! Besides: keys that changed, and keys of tables that the two states share, which the increment never looked at.
//!
//! The new run is not read back from its pack (that would cost a pack for each database); what was handed to it is
//! compared. A write-only host cannot read its snapshots: there the pinned files of the state before stand for it.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::crypto::{Entropy, OsEntropy};
use crate::engine::blob_cache::BlobCacheReader;
use crate::engine::read_records::{find_entry, not_a_record, read_long_value};
use crate::error::{ErrorKind, Result};
use crate::leveldb::Comparator;
use crate::leveldb::changed_records::{ChangeSink, OwnedRecord, UnchangedReason};
use crate::repo::{BlobReader, Repo};
use crate::run::{BlobSource, OwnedEntry};
use crate::snapshot::DatabaseRoot;
use crate::source::Database;
use crate::source::key_lookup::{LookupOutcome, ValueHash};

use super::audit::{AuditDifference, AuditDisagreement};

/// Keys drawn of each way to take a record for unchanged.
const UNCHANGED_KEYS_DRAWN: usize = 4;

/// Keys drawn of those that changed.
const CHANGED_KEYS_DRAWN: usize = 8;

/// Keys drawn of tables that both states have.
const SHARED_KEYS_DRAWN: usize = 8;

/// Bytes of values after which no more keys are read: a database of large values has some of them checked.
const VALUE_BYTES_MAX: u64 = 8 << 20;

/// Keys that are to be read again, collected while the changes are read.
pub struct SpotCheck {
    random: SplitMix64,
    unchanged: [ReservoirSample<Vec<u8>>; 4],
    changed: ReservoirSample<ChangedKey>,
    /// In key order, each with what the increment stored of it, if it did.
    shared_keys: Vec<(Vec<u8>, Option<ChangedKey>)>,
    /// The next of them that a change may be of.
    next_shared: usize,
    order: Comparator,
}

/// What came of a spot check.
#[derive(Debug)]
pub enum SpotCheckVerdict {
    /// So many keys are as the increment has them.
    Agrees(u64),
    /// Some are not.
    Differs(AuditDisagreement),
    /// It could not be made, and neither can the increment be relied on.
    Unreadable(String),
}

/// Both records of a key that an increment took for changed.
#[derive(Clone, Debug)]
struct ChangedKey {
    key: Vec<u8>,
    old: Option<ValueHash>,
    new: Option<ValueHash>,
}

impl SpotCheck {
    /// Draws keys of the tables `shared` by the state before and `now`.
    pub fn begin(now: &Database, shared: &BTreeSet<u64>) -> Result<Self> {
        let mut seed = [0; 8];
        OsEntropy.fill(&mut seed)?;
        Ok(Self::seeded(u64::from_le_bytes(seed), now, shared))
    }

    fn seeded(seed: u64, now: &Database, shared: &BTreeSet<u64>) -> Self {
        let mut random = SplitMix64(seed);
        let order = now.comparator().clone();
        let mut keys = now.sample_keys(shared, SHARED_KEYS_DRAWN, &mut |end| random.below(end));
        keys.sort_by(|a, b| order.compare(a, b));
        keys.dedup_by(|a, b| order.compare(a, b).is_eq());
        Self {
            random,
            unchanged: std::array::from_fn(|_| ReservoirSample::new(UNCHANGED_KEYS_DRAWN)),
            changed: ReservoirSample::new(CHANGED_KEYS_DRAWN),
            shared_keys: keys.into_iter().map(|key| (key, None)).collect(),
            next_shared: 0,
            order,
        }
    }

    /// Hands changes on to `sink`, and draws keys of them.
    pub fn sample_changes<'s>(&'s mut self, sink: &'s mut dyn ChangeSink) -> SamplingChangeSink<'s> {
        SamplingChangeSink { check: self, sink }
    }

    /// Compares the drawn keys. `parent` is the snapshot's database that the increment stands on, made of `before`.
    pub fn compare(
        self,
        repo: &Repo,
        parent: &DatabaseRoot,
        before: &Database,
        now: &Database,
    ) -> Result<SpotCheckVerdict> {
        let cases = self.drawn_keys();
        let keys: Vec<Vec<u8>> = cases.iter().map(|case| case.key.clone()).collect();
        let found = now.look_up(&keys, VALUE_BYTES_MAX)?;
        let keys = &keys[..found.values.len()];
        let stored = match repo.keyring() {
            Ok(_) => match look_up_in_snapshot(repo, parent, keys) {
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) => {
                    let why = format!("the state before cannot be read: {error}");
                    return Ok(SpotCheckVerdict::Unreadable(why));
                }
                Ok(values) => LookupOutcome {
                    values,
                    ..LookupOutcome::default()
                },
            },
            Err(_) => before.look_up(keys, u64::MAX)?,
        };
        Ok(judge_keys(cases, stored, found))
    }

    /// All drawn keys, in order, each once; what was noted of a change goes before.
    fn drawn_keys(self) -> Vec<SpotCheckKey> {
        let same = |key| SpotCheckKey { key, changed: None };
        let changed = |noted: ChangedKey| SpotCheckKey {
            key: noted.key.clone(),
            changed: Some(noted),
        };
        let unchanged = self.unchanged.into_iter().flat_map(|drawn| drawn.kept).map(same);
        let of_shared = self.shared_keys.into_iter();
        let of_shared = of_shared.map(|(key, noted)| noted.map_or_else(|| same(key), changed));
        let mut cases: Vec<SpotCheckKey> = unchanged.chain(of_shared).collect();
        cases.extend(self.changed.kept.into_iter().map(changed));
        let order = &self.order;
        cases.sort_by(|a, b| {
            let by_key = order.compare(&a.key, &b.key);
            by_key.then(b.changed.is_some().cmp(&a.changed.is_some()))
        });
        cases.dedup_by(|next, kept| order.compare(&next.key, &kept.key).is_eq());
        cases
    }

    fn note_change(&mut self, old: Option<OwnedRecord>, new: Option<OwnedRecord>) {
        let Some((key, _)) = new.or(old) else { return };
        let noted = || ChangedKey {
            key: key.to_vec(),
            old: old.map(hash_value),
            new: new.map(hash_value),
        };
        let rest = self.shared_keys[self.next_shared..].iter_mut();
        for (drawn, change) in rest {
            match self.order.compare(drawn, key) {
                Ordering::Less => self.next_shared += 1,
                Ordering::Equal => *change = Some(noted()),
                Ordering::Greater => break,
            }
        }
        self.changed.offer(&mut self.random, noted);
    }
}

/// Judges the cases by what the snapshot before has of their keys, and what the captured files say now.
fn judge_keys(cases: Vec<SpotCheckKey>, stored: LookupOutcome, now: LookupOutcome) -> SpotCheckVerdict {
    if let Some(damage) = stored.damage.first().or(now.damage.first()) {
        return SpotCheckVerdict::Unreadable(format!("{}: {}", damage.file, damage.what));
    }
    let keys = now.values.len() as u64;
    let answers = cases.into_iter().zip(stored.values).zip(now.values);
    let differences = answers.filter_map(|((case, stored), now)| case.find_difference(stored, now));
    match AuditDisagreement::of(differences) {
        found if found.keys == 0 => SpotCheckVerdict::Agrees(keys),
        found => SpotCheckVerdict::Differs(found),
    }
}

/// A key, and both its records if the increment took it for changed.
struct SpotCheckKey {
    key: Vec<u8>,
    changed: Option<ChangedKey>,
}

impl SpotCheckKey {
    /// `stored` is what the snapshot before has, `now` what the captured files say.
    fn find_difference(self, stored: Option<ValueHash>, now: Option<ValueHash>) -> Option<AuditDifference> {
        let by_changes = self.changed.as_ref().map_or(stored, |changed| changed.new);
        let of_before = self.changed.as_ref().map_or(stored, |changed| changed.old);
        let (by_changes, in_database) = if of_before == stored {
            (by_changes, now)
        } else {
            (stored, of_before)
        };
        (by_changes != in_database).then_some(AuditDifference {
            key: self.key,
            by_changes,
            in_database,
        })
    }
}

/// Passes changes on, and draws keys.
pub struct SamplingChangeSink<'s> {
    check: &'s mut SpotCheck,
    sink: &'s mut dyn ChangeSink,
}

impl ChangeSink for SamplingChangeSink<'_> {
    fn change(&mut self, old: Option<OwnedRecord>, new: Option<OwnedRecord>) -> Result<()> {
        self.check.note_change(old, new);
        self.sink.change(old, new)
    }

    fn unchanged(&mut self, key: &[u8], reason: UnchangedReason) {
        let check = &mut *self.check;
        let drawn = &mut check.unchanged[reason as usize];
        drawn.offer(&mut check.random, || key.to_vec());
    }
}

/// What a snapshot has of `keys`.
fn look_up_in_snapshot(repo: &Repo, root: &DatabaseRoot, keys: &[Vec<u8>]) -> Result<Vec<Option<ValueHash>>> {
    let lookup = repo.lookup()?;
    let reader = BlobReader::new(repo, &lookup);
    let recent = BlobCacheReader::new(&reader);
    let value = |key: &Vec<u8>| hash_entry(&recent, find_entry(&recent, root, key)?);
    keys.iter().map(value).collect()
}

fn hash_entry(source: &dyn BlobSource, entry: Option<OwnedEntry>) -> Result<Option<ValueHash>> {
    let value = match entry {
        None => return Ok(None),
        Some(OwnedEntry::Inline(value)) => value,
        Some(OwnedEntry::Chunked(list)) => read_long_value(source, &list)?,
        Some(OwnedEntry::Delete | OwnedEntry::Patch(_)) => return Err(not_a_record()),
    };
    Ok(Some((value.len() as u64, blake3::hash(&value))))
}

fn hash_value((_, value): OwnedRecord) -> ValueHash {
    (value.len() as u64, blake3::hash(value))
}

/// Some of all that is offered, each with the same chance.
struct ReservoirSample<T> {
    kept: Vec<T>,
    max: usize,
    offered: u64,
}

impl<T> ReservoirSample<T> {
    fn new(max: usize) -> Self {
        Self {
            kept: Vec::new(),
            max,
            offered: 0,
        }
    }

    fn offer(&mut self, random: &mut SplitMix64, make: impl FnOnce() -> T) {
        self.offered += 1;
        if self.kept.len() < self.max {
            return self.kept.push(make());
        }
        if let Some(place) = self.kept.get_mut(random.below(self.offered) as usize) {
            *place = make();
        }
    }
}

/// splitmix64: an adversary who could foresee the keys could write the database anyway.
struct SplitMix64(u64);

impl SplitMix64 {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }
}

#[cfg(test)]
#[path = "spot_check_tests.rs"]
mod tests;
