//! Checks packs without keys: presence, size, hash.
//!
//! Packs without a key: there, of the size that the index says, and by their age also hashed.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use crate::annotations::{AuditMethod, AuditResult, LatestAudits};
use crate::envelope::{Header, ObjectClass, check_name};
use crate::error::{ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::limits::PACK_STORED_BYTES_MAX;
use crate::repo::KeylessRepo;
use crate::report::OperationReport;
use crate::storage::{ListedObject, ObjectKind, ObjectName};

use super::super::audit_recorder::AuditRecorder;
use super::super::findings::CheckFindings;
use super::super::packs::{IS_MISSING, concerns_pack, path};
use super::super::read_plan::{PackAge, ReadProgress};
use super::super::verification_dates::VerificationDates;
use super::super::{CheckNotice, CheckOutcome, ReadData, read_data};
use super::objects::{ClearObjects, into_inner, lock, segments};
use super::on_threads;

/// What to do about a pack that is not there, for who cannot know what needs it.
const MISSING_HELPS: &str = "check with the password, which tells whether a snapshot needs it; if so, bring it back from \
    another copy of the repository";

/// What to do about a damaged pack, for who holds no key.
const PACK_HELPS: &str = "bring it back from another copy of the repository, or run `levault repair heal`, which needs no \
    password, if it has parity; else the owner's `levault repair packs`";

/// What to do about packs that were damaged the last time.
const AGAIN_HELPS: &str = "check --keyless with --read-data, or with a larger --budget: it is read first";

/// All packs by listing and index, and the contents of those that `read` chooses.
pub fn check(
    vault: &KeylessRepo,
    seen: &ClearObjects,
    read: ReadData,
    findings: &mut CheckFindings,
    outcome: &mut CheckOutcome,
    report: &OperationReport,
) -> Result<()> {
    let listed = vault
        .storage_reader()
        .list(ObjectKind::Pack)
        .context(|| "list the packs")?;
    outcome.packs = listed.len() as u64;
    sizes(vault, seen, &listed, findings, outcome)?;
    let stored = vault.audits(listed.iter().map(|pack| pack.name.id))?;
    for unread in stored
        .unread
        .iter()
        .filter(|unread| unread.kind == ErrorKind::Limit)
    {
        outcome.notices.push(CheckNotice {
            object: ObjectName::new(ObjectKind::Audit, unread.id).path(),
            what: unread.what.clone(),
            since: None,
            helps: "nothing, if all clocks are right; what it says does not count".into(),
        });
    }
    let audits = contents(vault, &listed, stored.audits, read, findings, outcome, report)?;
    outcome.verified = VerificationDates::of(&listed, &audits, vault.clock().now());
    Ok(())
}

/// Every pack that the index names is there. The index is looked at once more for one that is not: a sweep replaces the
/// segments first.
fn sizes(
    vault: &KeylessRepo,
    seen: &ClearObjects,
    listed: &[ListedObject],
    findings: &mut CheckFindings,
    outcome: &mut CheckOutcome,
) -> Result<()> {
    let there: HashMap<_, _> = listed.iter().map(|pack| (pack.name.id, pack.len)).collect();
    let mut missing = Vec::new();
    for (id, len) in seen.segments.packs() {
        match there.get(&id) {
            Some(stored) if *stored == len => {}
            Some(stored) => findings.add(
                path(&id),
                format!("{stored} bytes long, {len} indexed"),
                PACK_HELPS,
            ),
            None => missing.push(id),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let still = segments(vault)?.packs();
    missing.sort_unstable();
    for id in missing.iter().filter(|id| still.contains_key(*id)) {
        if !seen.marked.contains(id) {
            findings.add(path(id), IS_MISSING, MISSING_HELPS)
        } else {
            outcome.notices.push(CheckNotice {
                object: path(id),
                what: "is missing, and was marked to go".into(),
                since: None,
                helps: "the next prune drops the entries".into(),
            })
        }
    }
    Ok(())
}

/// What reading leads to, shared by the threads.
struct PackReading<'a, 's> {
    progress: ReadProgress,
    record: AuditRecorder<'s>,
    read: HashSet<ObjectId>,
    findings: &'a mut CheckFindings,
    outcome: &'a mut CheckOutcome,
}

fn contents(
    vault: &KeylessRepo,
    listed: &[ListedObject],
    audits: LatestAudits,
    read: ReadData,
    findings: &mut CheckFindings,
    outcome: &mut CheckOutcome,
    report: &OperationReport,
) -> Result<LatestAudits> {
    let clock = vault.clock();
    let plan = read_data::plan(&ages(listed, &audits), read, clock.now());
    report.bytes_total.add(plan.bytes());
    let store = |audit: &_| vault.put_audit(audit);
    let reading = Mutex::new(PackReading {
        progress: ReadProgress::new(plan, read.budget(), clock.now()),
        record: AuditRecorder::new(audits, AuditMethod::Hashed, clock.now(), &store),
        read: HashSet::new(),
        findings,
        outcome,
    });
    let next = || {
        report.go_on()?;
        let now = clock.now();
        Ok(lock(&reading).progress.next(now).map(|pack| (pack, now)))
    };
    let ended = on_threads(&next, &|(pack, begun)| {
        let right = has_right_hash(vault, &pack);
        let mut reading = lock(&reading);
        report.bytes_done.add(pack.len);
        reading.outcome.packs_read += 1;
        reading.outcome.bytes_read += pack.len;
        reading.read.insert(pack.id);
        let found = match right {
            Ok(()) => AuditResult::Right,
            // Swept since it was listed, or lost: the index tells next time.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                let (object, what) = (path(&pack.id), error.to_string());
                reading.findings.add(object, what, PACK_HELPS);
                if concerns_pack(&error) {
                    AuditResult::Wrong
                } else {
                    return Ok(());
                }
            }
        };
        reading.record.record(pack.id, found, begun);
        reading.record.store_periodically(clock.now());
        Ok(())
    });
    let reading = into_inner(reading);
    reading.outcome.packs_left = reading.progress.bytes_left().count() as u64;
    let audits = reading.record.finish(&mut reading.outcome.notices);
    ended?;
    for pack in listed.iter().filter(|pack| !reading.read.contains(&pack.name.id)) {
        let last = audits.last(AuditMethod::Hashed, &pack.name.id);
        if last.is_some_and(|last| last.found == AuditResult::Wrong) {
            let what = "was not right when it was last read, and was not read again this time";
            reading.findings.add(path(&pack.name.id), what, AGAIN_HELPS);
        }
    }
    Ok(audits)
}

fn ages(listed: &[ListedObject], audits: &LatestAudits) -> Vec<PackAge> {
    let age = |listed: &ListedObject| PackAge {
        id: listed.name.id,
        len: listed.len,
        last: audits
            .last(AuditMethod::Hashed, &listed.name.id)
            .map(|last| (last.when, last.found)),
    };
    listed.iter().map(age).collect()
}

fn has_right_hash(vault: &KeylessRepo, pack: &PackAge) -> Result<()> {
    let name = ObjectName::new(ObjectKind::Pack, pack.id);
    let bytes = vault.storage_reader().get(name, PACK_STORED_BYTES_MAX)?;
    check_name(&pack.id, &bytes)?;
    Header::decode(&bytes)?.expect_class(ObjectClass::Pack)
}
