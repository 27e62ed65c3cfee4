//! Finds changed records between two captures of a database.

use std::collections::{BTreeMap, BTreeSet};

use super::database::{Database, split_into_rows};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::leveldb::changed_records::{ChangeSink, ChangedFiles, table_delta};
use crate::leveldb::damage::SourceDamage;
use crate::leveldb::level_iterator::{LevelIterator, LevelTable};
use crate::leveldb::merging_iterator::SortedSource;
use crate::leveldb::scan_context::{ScanBudget, ScanContext};

/// What a comparison read and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeltaOutcome {
    /// Bytes read of both states' files.
    pub bytes_read: u64,
    /// Of those, bytes of tables that are in both states, in which single keys were looked up.
    pub bytes_looked_up: u64,
    /// Bytes of the tables that are in one state only, and of both states' logs.
    pub bytes_differing: u64,
    /// Tables in both states.
    pub tables_shared: u64,
    /// Tables in one only.
    pub tables_differing: u64,
    /// What could not be read. If there is anything, the changes handed out are not all.
    pub damage: Vec<SourceDamage>,
}

/// Hands every key whose visible record is not the same in `old` and `new` to `sink`, in key order. `shared` are the
/// numbers of tables that are the same file in both.
///
/// # Errors
/// The sink's; [`ErrorKind::Usage`] if the two do not have one known order of keys.
pub fn visit_changes(
    old: &Database,
    new: &Database,
    shared: &BTreeSet<u64>,
    sink: &mut dyn ChangeSink,
) -> Result<DeltaOutcome> {
    let order = new.comparator();
    if !order.is_known() || old.comparator().name() != order.name() {
        return Err(Error::new(
            ErrorKind::Usage,
            "the two states have no known order in common",
        ));
    }
    if let Some(unknown) = old.unknown_format_error().or_else(|| new.unknown_format_error()) {
        return Err(unknown);
    }
    let (before, after) = (DisjointState::of(old, shared), DisjointState::of(new, shared));
    let rows = [&before, &after].map(|tables| split_levels_into_rows(new, &tables.own));
    let shared_rows = split_levels_into_rows(new, &after.shared);
    let sources = rows[0].len() + rows[1].len() + shared_rows.len();
    let budget = new.budget.for_sources(sources);
    let (old_files, new_files) = (old.open_view(sources), new.open_view(sources));
    let old_scan = ScanContext::new(&old_files, order, budget);
    let new_scan = ScanContext::new(&new_files, order, budget);
    // Single blocks: what lies around a key that is looked up is not wanted.
    let one_by_one = ScanBudget {
        window_bytes: 0,
        ..budget
    };
    let shared_scan = ScanContext::new(&new_files, order, one_by_one);
    let [old_rows, new_rows] = rows;
    let from = changed_files(&old_scan, old, old_rows, &before);
    let to = changed_files(&new_scan, new, new_rows, &after);
    table_delta(&shared_scan, from, to, shared_rows, sink).context(|| "compare with the state before")?;
    let mut outcome = DeltaOutcome {
        tables_shared: after.shared.len() as u64,
        tables_differing: (before.own.len() + after.own.len()) as u64,
        bytes_differing: before.own_bytes() + after.own_bytes() + old.log_report.bytes + new.log_report.bytes,
        bytes_read: old.log_report.bytes + new.log_report.bytes,
        bytes_looked_up: shared_scan.bytes_read.get(),
        damage: old.damage_at_a_glance(),
    };
    outcome.damage.extend(new.damage_at_a_glance());
    for mut scan in [old_scan, new_scan, shared_scan] {
        if let Some(refusal) = scan.take_refusal_error() {
            return Err(refusal);
        }
        outcome.bytes_read += scan.bytes_read.get();
        outcome.damage.extend(scan.findings.into_inner().into_damage());
    }
    Ok(outcome)
}

/// True if [`visit_changes`] may miss something: a shared table rose in age. That decides between entries of one sequence number,
/// which a rollback followed by a repair can leave; no file differs for it.
pub fn ages_may_differ(then: &Database, now: &Database, shared: &BTreeSet<u64>) -> bool {
    let before: BTreeMap<u64, u8> = (then.version().tables.keys())
        .map(|&(level, number)| (number, level))
        .collect();
    let mut tables = now.version().tables.keys();
    tables.any(|(level, number)| {
        shared.contains(number) && before.get(number).is_some_and(|before| level < before)
    })
}

/// A state's tables, apart.
struct DisjointState {
    shared: Vec<LevelTable>,
    own: Vec<LevelTable>,
}

impl DisjointState {
    fn of(database: &Database, shared: &BTreeSet<u64>) -> Self {
        let all = database.all_tables().into_iter();
        let (shared, own) = all.partition(|table| shared.contains(&table.meta.number));
        Self { shared, own }
    }

    fn own_bytes(&self) -> u64 {
        self.own.iter().map(|table| table.meta.size).sum()
    }
}

fn changed_files<'a>(
    scan: &'a ScanContext<'a>,
    database: &'a Database,
    rows: Vec<Vec<LevelTable>>,
    tables: &DisjointState,
) -> ChangedFiles<'a> {
    let chains = rows
        .into_iter()
        .map(|row| SortedSource::Tables(Box::new(LevelIterator::new(scan, row))));
    let logs = SortedSource::Logs(Box::new(database.memtable.cursor(scan)));
    ChangedFiles {
        sources: chains.chain([logs]).collect(),
        ranks: tables
            .shared
            .iter()
            .map(|table| (table.meta.number, table.rank))
            .collect(),
    }
}

/// Rows of tables that do not overlap, each of one level.
fn split_levels_into_rows(database: &Database, tables: &[LevelTable]) -> Vec<Vec<LevelTable>> {
    let mut levels: BTreeMap<u8, Vec<LevelTable>> = BTreeMap::new();
    for table in tables {
        levels.entry(table.level).or_default().push(table.clone());
    }
    let order = database.comparator();
    levels
        .into_values()
        .flat_map(|tables| split_into_rows(order, tables))
        .collect()
}
