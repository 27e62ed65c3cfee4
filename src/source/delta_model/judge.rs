//! Compares two naive maps: what a change scan must find.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::engine::ModelState;
use super::random::canonical;
use crate::error::Result;
use crate::leveldb::changed_records::{ChangeSink, OwnedRecord};
use crate::leveldb::test_databases::WriteOp;
use crate::source::RecordSink;

pub type KeyValue = (Vec<u8>, Vec<u8>);
pub type ExpectedChange = (Option<KeyValue>, Option<KeyValue>);

/// Age of an entry's file: the smaller, the newer. Written apart from `SourceAge`.
type ModelAge = (u16, u64);

/// The newest entry of a key, and where it is: no table is a log.
pub struct NewestOp<'a> {
    op: &'a WriteOp,
    age: ModelAge,
    table: Option<u64>,
    tied: bool,
}

/// What the cases were made of.
#[derive(Debug, Default)]
pub struct ModelCounters {
    pub pairs: u64,
    pub without_shared: u64,
    pub shared_tables: u64,
    pub moved_tables: u64,
    pub changes: u64,
    /// Keys that an unshared file has.
    pub seen: u64,
    /// Of these, whose visible entry of either state is in a shared table: the lookup decides.
    pub looked_up: u64,
    /// It is one shared table's in both.
    pub same_in_both: u64,
    /// It is a deletion in a shared table.
    pub deleted_in_shared: u64,
    /// It is a deletion in a file of the state's own.
    pub deleted_in_own: u64,
    /// Pairs with such a lookup.
    pub pairs_looked_up: u64,
    /// Several entries of one number, of which age decides.
    pub ties: u64,
    /// A log has the key, and a table's entry is newer.
    pub older_in_log: u64,
    /// The same in one state, while the other's newest entry is in a log: the trap of a reader that trusts logs.
    pub older_in_one_log: u64,
    /// Both visible entries are in logs.
    pub both_in_logs: u64,
    /// By the place of the visible entry: log, level 0, level 1, ...
    pub places: BTreeMap<u16, u64>,
    pub idb: u64,
    pub large_values: u64,
    pub tables_read: u64,
}

pub fn newest(state: &ModelState) -> BTreeMap<Vec<u8>, NewestOp<'_>> {
    let mut newest: BTreeMap<Vec<u8>, NewestOp> = BTreeMap::new();
    let mut add = |op, age: ModelAge, table| {
        let key = canonical(&state.order, &WriteOp::clone(op).key);
        let found = NewestOp {
            op,
            age,
            table,
            tied: false,
        };
        match newest.get_mut(&key) {
            None => {
                newest.insert(key, found);
            }
            Some(kept) => {
                let tied = kept.op.sequence == op.sequence && kept.op != op;
                let replace = (op.sequence, kept.age) > (kept.op.sequence, age);
                let was_tied = kept.tied && kept.op.sequence == op.sequence;
                if replace {
                    *kept = found;
                }
                kept.tied = was_tied || tied;
            }
        }
    };
    for op in state.logs.values().flatten().flatten() {
        add(op, (0, 0), None);
    }
    for (&(level, number), table) in &state.tables {
        let within = match level {
            0 => u64::MAX - number,
            _ => 0,
        };
        for op in &table.ops {
            add(op, (1 + u16::from(level), within), Some(number));
        }
    }
    newest
}

fn pair(newest: Option<&NewestOp>) -> Option<KeyValue> {
    let op = newest?.op;
    Some((op.key.clone(), op.value.clone()?))
}

/// What is visible, in order.
pub fn records(state: &ModelState) -> Vec<KeyValue> {
    let mut records: Vec<KeyValue> = newest(state).values().filter_map(|one| pair(Some(one))).collect();
    records.sort_by(|a, b| state.order.compare(&a.0, &b.0));
    records
}

/// Tables that are one file in both.
pub fn shared(old: &ModelState, new: &ModelState) -> BTreeSet<u64> {
    let numbers: BTreeMap<u64, _> = old
        .tables
        .iter()
        .map(|((_, number), table)| (*number, table))
        .collect();
    let same = |((_, number), table): (&(u8, u64), &Arc<_>)| {
        let other = numbers.get(number)?;
        Arc::ptr_eq(other, table).then_some(*number)
    };
    new.tables.iter().filter_map(same).collect()
}

/// The difference of the two maps, in order.
pub fn difference(old: &ModelState, new: &ModelState) -> Vec<ExpectedChange> {
    let (before, after) = (newest(old), newest(new));
    let keys: BTreeSet<&Vec<u8>> = before.keys().chain(after.keys()).collect();
    let mut changes: Vec<ExpectedChange> = keys
        .into_iter()
        .map(|key| (pair(before.get(key)), pair(after.get(key))))
        .filter(|(old, new)| old != new)
        .collect();
    let key = |(old, new): &ExpectedChange| {
        old.as_ref()
            .or(new.as_ref())
            .map(|pair| pair.0.clone())
            .unwrap_or_default()
    };
    changes.sort_by(|a, b| new.order.compare(&key(a), &key(b)));
    changes
}

impl ModelCounters {
    pub fn count(&mut self, old: &ModelState, new: &ModelState, shared: &BTreeSet<u64>) {
        self.pairs += 1;
        self.without_shared += u64::from(shared.is_empty());
        self.shared_tables += shared.len() as u64;
        self.idb += u64::from(new.order.name() == "idb_cmp1");
        let level = |state: &ModelState, wanted: u64| {
            state
                .tables
                .keys()
                .find(|(_, number)| *number == wanted)
                .map(|place| place.0)
        };
        self.moved_tables += shared
            .iter()
            .filter(|&&number| level(old, number) != level(new, number))
            .count() as u64;
        let maps = [newest(old), newest(new)];
        let looked_up = self.looked_up;
        let mut seen: BTreeSet<Vec<u8>> = BTreeSet::new();
        let mut logged: [BTreeSet<Vec<u8>>; 2] = Default::default();
        for (side, state) in [old, new].into_iter().enumerate() {
            let own = state
                .tables
                .iter()
                .filter(|((_, number), _)| !shared.contains(number));
            seen.extend(
                own.flat_map(|(_, table)| &table.ops)
                    .map(|op| canonical(&new.order, &op.key)),
            );
            logged[side] = state
                .logs
                .values()
                .flatten()
                .flatten()
                .map(|op| canonical(&new.order, &op.key))
                .collect();
            seen.extend(logged[side].iter().cloned());
        }
        for key in &seen {
            let found = [maps[0].get(key), maps[1].get(key)];
            let is_shared = |one: &&NewestOp| one.table.is_some_and(|number| shared.contains(&number));
            let hits: Vec<&NewestOp> = found.into_iter().flatten().filter(is_shared).collect();
            self.seen += 1;
            self.looked_up += u64::from(!hits.is_empty());
            self.same_in_both += u64::from(hits.len() == 2 && hits[0].table == hits[1].table);
            self.deleted_in_shared += u64::from(hits.iter().any(|one| one.op.value.is_none()));
            let own = found.into_iter().flatten().filter(|one| !is_shared(one));
            self.deleted_in_own += u64::from(own.clone().any(|one| one.op.value.is_none()));
            self.ties += u64::from(found.into_iter().flatten().any(|one| one.tied));
            self.both_in_logs +=
                u64::from(found.iter().all(|one| one.is_some_and(|one| one.table.is_none())));
            let older = |side: usize| {
                logged[side].contains(key) && found[side].is_some_and(|one| one.table.is_some())
            };
            self.older_in_log += u64::from(older(0) || older(1));
            let both_logged = logged.iter().all(|keys| keys.contains(key));
            self.older_in_one_log += u64::from(both_logged && older(0) != older(1));
            self.large_values += u64::from(
                found
                    .into_iter()
                    .flatten()
                    .any(|one| one.op.value.as_ref().is_some_and(|value| value.len() > 60_000)),
            );
            for one in found.into_iter().flatten() {
                *self.places.entry(one.age.0).or_default() += 1;
            }
        }
        self.pairs_looked_up += u64::from(self.looked_up > looked_up);
    }
}

/// Collects what is handed out.
#[derive(Default)]
pub struct CollectedChanges {
    pub changes: Vec<ExpectedChange>,
    pub records: Vec<KeyValue>,
}

fn owned((key, value): OwnedRecord) -> KeyValue {
    (key.to_vec(), value.to_vec())
}

impl ChangeSink for CollectedChanges {
    fn change(&mut self, old: Option<OwnedRecord>, new: Option<OwnedRecord>) -> Result<()> {
        self.changes.push((old.map(owned), new.map(owned)));
        Ok(())
    }
}

impl RecordSink for CollectedChanges {
    fn record(&mut self, key: &[u8], value: &[u8], certain: bool) -> Result<()> {
        assert!(certain, "nothing is damaged");
        self.records.push((key.to_vec(), value.to_vec()));
        Ok(())
    }
}
