//! Converts stored metadata to attributes of restored files, and reports refused ones.

use std::path::Path;

use crate::report::OperationReport;
use crate::target::tree::{AttributeKind, RefusedAttributes, TargetAttributes};

/// What a restore gives back beside content.
pub fn attributes(meta: &crate::snapshot::FileMetadata) -> TargetAttributes {
    TargetAttributes {
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        mtime_nanos: meta.mtime_nanos,
        xattrs: meta.xattrs.clone(),
    }
}

/// Reports the attributes that are not as they were. What only root may set is a notice; what the filesystem cannot
/// keep is lost, and so a problem.
pub fn report_refused_attributes(withheld: &RefusedAttributes, report: &OperationReport) {
    let owners = withheld.refused_by_permission(AttributeKind::Owner);
    if owners > 0 {
        report.notice(format!(
            "owner or group of {owners} things are not as they were: only root may give files to others"
        ));
    }
    let xattrs = withheld.refused_by_permission(AttributeKind::Xattr);
    if xattrs > 0 {
        report.notice(format!(
            "{xattrs} extended attributes were not set: this user may not"
        ));
    }
    let rounded = withheld.rounded_times();
    if rounded > 0 {
        report.notice(format!(
            "the time of modification of {rounded} things is less exact than it was: this filesystem rounds it"
        ));
    }
    for (kind, what) in [
        (AttributeKind::Owner, "owner or group"),
        (AttributeKind::Mode, "mode"),
        (AttributeKind::Time, "time of modification"),
        (AttributeKind::Xattr, "extended attributes"),
    ] {
        let count = withheld.refused_by_filesystem(kind);
        if count > 0 {
            report.problem(format!(
                "{what} of {count} things are not as they were saved: the target's filesystem cannot keep them"
            ));
        }
    }
}

/// What is said of a directory that is called as one of ours.
pub(crate) fn describe_unproven_leftover(path: &Path) -> String {
    format!(
        "{}: called as what a killed levault leaves, and not proven to be: left alone; look into it, and remove it by hand",
        path.display()
    )
}
