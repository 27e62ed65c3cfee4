//! Checks parity objects, and tries them on damaged packs.
//!
//! Parity: held to its names, and tried on the packs that were found damaged.

use crate::engine::heal_packs::Heal;
use crate::engine::parity_listing::{ParityReadMode, status};
use crate::error::Result;
use crate::repo::Repo;
use crate::report::OperationReport;
use crate::storage::{ObjectKind, ObjectName};

use super::findings::CheckFindings;
use super::{CheckOutcome, ReadData};

/// What to do about a damaged parity object: its pack makes it again.
const PARITY_HELPS: &str = "no data is lost: `levault repair heal --apply` makes it again from its pack; if that cannot \
    tell which pack that is, `levault repair add-parity --apply` does";

/// Looks at the parity objects, and says which damaged packs they can heal.
pub fn check(
    repo: &Repo,
    read: ReadData,
    findings: &mut CheckFindings,
    outcome: &mut CheckOutcome,
    report: &OperationReport,
) -> Result<()> {
    let storage = repo.storage_reader();
    let read = match read {
        ReadData::All => ParityReadMode::All,
        _ => ParityReadMode::Headers,
    };
    let status = status(storage, read, report)?;
    outcome.packs_with_parity = status.packs_with_parity;
    for (object, what) in status.damaged {
        findings.add(object.path(), what, PARITY_HELPS);
    }
    let paths = findings.objects().filter_map(ObjectName::from_path);
    let packs: Vec<_> = paths
        .filter(|name| name.kind == ObjectKind::Pack)
        .map(|name| name.id)
        .collect();
    if status.objects == 0 || packs.is_empty() {
        return Ok(());
    }
    let dry_run = true;
    let heal = Heal { packs, dry_run };
    for healed in heal.run(repo.storage_healer(), report)?.healed {
        let helps = format!(
            "`levault repair heal {} --apply` puts its bytes back",
            healed.object.id.short()
        );
        findings.advise(&healed.object.path(), &helps);
    }
    Ok(())
}
