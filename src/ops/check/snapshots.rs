//! Checks snapshots, and finds missing ones.
//!
//! The snapshots themselves: each opens under its name, and none is missing between two.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::annotations::{CountedSnapshot, ForgottenSnapshots, QuarantineFolder};
use crate::error::{ErrorKind, Result};
use crate::id::DomainId;
use crate::repo::{HostQuotas, Repo, StoredSnapshot};
use crate::storage::{ListedObject, ObjectKind, ObjectName};

use super::check_annotations::AnnotationCheck;
use super::findings::CheckFindings;

/// Why a host's snapshot is not looked into.
const LEFT_OUT: &str =
    "takes more memory, with others of its domain, than is in proportion to what is stored of them";

/// What to do about a snapshot that cannot be read.
const HELPS: &str = "bring the object back from another copy of the repository; other snapshots do not need it (`levault forget ID` with \
     its whole id lets it go, `levault quarantine add ID` sets aside what never was one)";

/// The snapshots that count and can be read, by counter; the others are findings, and so are gaps between them.
pub fn check(
    repo: &Repo,
    listed: &[ListedObject],
    facts: &AnnotationCheck,
    findings: &mut CheckFindings,
) -> Result<Vec<StoredSnapshot>> {
    let notes = facts.notes();
    let (mut found, mut forgotten) = (BTreeMap::new(), Cow::Borrowed(&facts.forgotten));
    let mut shares = HostQuotas::default();
    for listed in listed {
        let (name, id) = (listed.name, listed.name.id);
        if forgotten.of(&id).is_some() {
            continue;
        }
        match repo.snapshot_as_stored(&id) {
            Ok(mut snapshot) => {
                notes.apply_compactions(&id, &mut snapshot);
                let left_out = shares.add(id, &snapshot, listed.len);
                found.insert(id, snapshot);
                for id in left_out {
                    found.remove(&id);
                    findings.add(ObjectName::new(ObjectKind::Snapshot, id).path(), LEFT_OUT, HELPS);
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Forgotten and swept since it was listed, or lost.
                forgotten = Cow::Owned(repo.forgotten_now()?);
                if forgotten.of(&id).is_none() {
                    findings.add(name.path(), error.to_string(), HELPS);
                }
            }
            Err(_) if notes.is_quarantined(QuarantineFolder::Snapshots, &id) => {}
            Err(error) => findings.add(name.path(), error.to_string(), HELPS),
        }
    }
    let found = found
        .into_iter()
        .map(|(id, snapshot)| StoredSnapshot { id, snapshot });
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|stored| (stored.snapshot.counter, stored.id));
    let there: HashSet<_> = listed.iter().map(|listed| listed.name.id).collect();
    let in_vain = forgotten
        .undeleted_at()
        .filter(|counted| !there.contains(&counted.id));
    let in_vain: Vec<_> = in_vain.copied().collect();
    for counted in &in_vain {
        let object = ObjectName::new(ObjectKind::Snapshot, counted.id).path();
        findings.add(object, "was forgotten and brought back, and is gone", HELPS);
    }
    for domain in repo.domains()? {
        gaps(domain, &found, &forgotten, &in_vain, findings);
    }
    Ok(found)
}

/// A gap in the counters that nothing explains is a snapshot that is gone, was not forgotten, and was not `told` of. One that was forgotten
/// because it could not be read has no counter, and explains any one gap. Two hosts that back up at once may both follow
/// the same snapshot.
fn gaps(
    domain: DomainId,
    found: &[StoredSnapshot],
    forgotten: &ForgottenSnapshots,
    told: &[CountedSnapshot],
    findings: &mut CheckFindings,
) {
    let counted = forgotten.iter().map(|(_, since)| since.counted);
    let counted = counted.chain(told.iter().copied());
    let ours = counted.filter(|counted| counted.domain == domain);
    let counters: Vec<u64> = ours.map(|counted| counted.counter).collect();
    let mut unplaced = counters.iter().filter(|counter| **counter == 0).count() as u64;
    let explained: BTreeSet<u64> = counters.into_iter().collect();
    let mut before = 0;
    for stored in found.iter().filter(|stored| stored.snapshot.domain == domain) {
        let counter = stored.snapshot.counter;
        let between = before + 1..counter.max(before + 1);
        let missing = between.end - between.start - explained.range(between).count() as u64;
        if missing <= unplaced {
            unplaced -= missing
        } else {
            let what = format!(
                "counter {counter} follows {before}: a snapshot between them is gone, and none was forgotten"
            );
            findings.add(path(stored), what, HELPS);
        }
        before = counter;
    }
}

/// As the storage calls a snapshot.
pub fn path(stored: &StoredSnapshot) -> String {
    ObjectName {
        kind: ObjectKind::Snapshot,
        id: stored.id,
    }
    .path()
}
