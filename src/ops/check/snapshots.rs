//! The snapshots themselves: each opens under its name, and none is missing between two.

use crate::error::{Act, Result};
use crate::repo::{Repo, StoredSnapshot};
use crate::storage::{ObjectKind, ObjectName};

use super::findings::Findings;

/// What to do about a snapshot that cannot be read.
const HELPS: &str =
    "bring the object back from another copy of the repository; other snapshots do not need it";

/// The snapshots that can be read, by counter; the others are findings, and so are gaps between them.
pub fn check(repo: &Repo, findings: &mut Findings) -> Result<Vec<StoredSnapshot>> {
    let mut found = Vec::new();
    for listed in repo
        .storage()
        .list(ObjectKind::Snapshot)
        .act(|| "list the snapshots")?
    {
        match repo.snapshot(&listed.name.id) {
            Ok(snapshot) => found.push(StoredSnapshot {
                id: listed.name.id,
                snapshot,
            }),
            Err(error) => findings.add(listed.name.path(), error.to_string(), HELPS),
        }
    }
    found.sort_by_key(|stored| (stored.snapshot.counter, stored.id));
    gaps(&found, findings);
    Ok(found)
}

/// A gap in the counters is a snapshot that is gone although nothing of this version forgets any. Two hosts that
/// back up at once may both follow the same snapshot.
fn gaps(found: &[StoredSnapshot], findings: &mut Findings) {
    let mut before = 0;
    for stored in found {
        let counter = stored.snapshot.counter;
        if counter > before + 1 {
            let what = format!("counter {counter} follows {before}: a snapshot between them is gone");
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
