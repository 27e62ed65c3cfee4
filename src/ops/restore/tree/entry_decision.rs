//! Decides what becomes of each entry of a tree.
//!
//! What becomes of one entry of a tree, by what stands under its name: a pure question.

use super::super::OverwriteMode;
use crate::snapshot::{EntryKind, TreeEntry};
use crate::target::tree::{ExistingEntry, ExistingKind, RemoveDepth};

/// How a restore treats existing entries.
#[derive(Clone, Copy, Debug)]
pub struct OverwriteRules {
    /// What becomes of what stands there.
    pub overwrite: OverwriteMode,
    /// What the snapshot does not have goes.
    pub deletes: bool,
    /// Everything that is there in the end is to be read again.
    pub verifies: bool,
    /// Names of a standing file that has one of its own: a directory whose content is linked elsewhere doubles them.
    pub links_expected: u64,
}

/// What becomes of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryDecision {
    /// It is made; what stands under its name gives way.
    Make(RemoveDepth),
    /// The file that stands there is read: one of the same content stays, with other attributes.
    Compare,
    /// What stands there stays, with the attributes of the entry.
    Refresh,
    /// It is left as it is, for it is what would be restored.
    Same,
    /// It is left as it is, whatever it is.
    Leave,
}

/// Decides; `link` is where a symbolic link that stands there leads.
pub fn decide_entry(
    rules: OverwriteRules,
    entry: &TreeEntry,
    standing: Option<&ExistingEntry>,
    link: Option<&[u8]>,
) -> EntryDecision {
    let Some(standing) = standing else {
        return EntryDecision::Make(RemoveDepth::Single);
    };
    match rules.overwrite {
        OverwriteMode::Refuse | OverwriteMode::Never => EntryDecision::Leave,
        OverwriteMode::IfNewer if !is_newer(entry, standing) => EntryDecision::Leave,
        OverwriteMode::IfNewer | OverwriteMode::Always => replace_existing(rules, entry, standing),
        OverwriteMode::IfChanged => decide_if_changed(rules, entry, standing, link),
    }
}

fn is_newer(entry: &TreeEntry, standing: &ExistingEntry) -> bool {
    entry.meta.mtime_nanos > Some(standing.mtime_nanos)
}

/// A directory comes into the one that stands there, anything else in place of what does.
fn replace_existing(rules: OverwriteRules, entry: &TreeEntry, standing: &ExistingEntry) -> EntryDecision {
    match (is_directory(entry), standing.is_directory(), rules.deletes) {
        (true, true, _) => EntryDecision::Refresh,
        (false, true, true) => EntryDecision::Make(RemoveDepth::Recursive),
        _ => EntryDecision::Make(RemoveDepth::Single),
    }
}

fn decide_if_changed(
    rules: OverwriteRules,
    entry: &TreeEntry,
    standing: &ExistingEntry,
    link: Option<&[u8]>,
) -> EntryDecision {
    let mtime_agrees = entry.meta.mtime_nanos == Some(standing.mtime_nanos);
    match (&entry.kind, standing.kind) {
        // A change to it would change another name, which the snapshot has as a file by itself or not at all.
        _ if has_foreign_names(rules, entry, standing) => replace_existing(rules, entry, standing),
        (EntryKind::File(list), ExistingKind::File) if list.bytes() == standing.len => {
            if rules.verifies || !mtime_agrees {
                EntryDecision::Compare
            } else {
                EntryDecision::Refresh
            }
        }
        (EntryKind::Symlink(target), ExistingKind::Symlink) if link == Some(&target[..]) => {
            same_or_replace(mtime_agrees && has_owner(entry, standing))
        }
        (EntryKind::Fifo, ExistingKind::Fifo) => {
            same_or_replace(mtime_agrees && has_attributes(entry, standing))
        }
        (
            EntryKind::Device(device),
            ExistingKind::Device {
                is_block,
                major,
                minor,
            },
        ) => same_or_replace(
            (device.is_block, device.major, device.minor) == (is_block, major, minor)
                && mtime_agrees
                && has_attributes(entry, standing),
        ),
        _ => replace_existing(rules, entry, standing),
    }
}

fn has_foreign_names(rules: OverwriteRules, entry: &TreeEntry, standing: &ExistingEntry) -> bool {
    let has_names = !matches!(standing.kind, ExistingKind::Directory);
    has_names && entry.meta.hard_link.is_none() && standing.links > rules.links_expected
}

fn same_or_replace(is_same: bool) -> EntryDecision {
    if is_same {
        EntryDecision::Same
    } else {
        EntryDecision::Make(RemoveDepth::Single)
    }
}

fn has_owner(entry: &TreeEntry, standing: &ExistingEntry) -> bool {
    let meta = &entry.meta;
    meta.uid.is_none_or(|uid| uid == standing.uid) && meta.gid.is_none_or(|gid| gid == standing.gid)
}

fn has_attributes(entry: &TreeEntry, standing: &ExistingEntry) -> bool {
    has_owner(entry, standing) && entry.meta.mode.is_none_or(|mode| mode & 0o7777 == standing.mode)
}

/// True for what becomes a directory.
pub fn is_directory(entry: &TreeEntry) -> bool {
    matches!(entry.kind, EntryKind::Directory(_) | EntryKind::Database(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{ChunkList, ChunkRef};
    use crate::id::BlobId;
    use crate::snapshot::{DeviceNumber, FileMetadata};
    use crate::target::tree::FileIdentity;

    const MODES: [OverwriteMode; 4] = [
        OverwriteMode::Never,
        OverwriteMode::IfNewer,
        OverwriteMode::IfChanged,
        OverwriteMode::Always,
    ];

    fn entry(kind: EntryKind) -> TreeEntry {
        let meta = FileMetadata {
            mode: Some(0o644),
            uid: Some(1),
            gid: Some(2),
            mtime_nanos: Some(10),
            ..FileMetadata::default()
        };
        TreeEntry {
            name: b"x".to_vec(),
            kind,
            meta,
        }
    }

    fn file(bytes: u64) -> EntryKind {
        let id = BlobId([1; 32]);
        EntryKind::File(ChunkList::from_chunks(vec![ChunkRef { id, bytes }]).unwrap())
    }

    fn standing(what: ExistingKind, mtime_nanos: i64) -> ExistingEntry {
        let identity = FileIdentity { device: 1, inode: 1 };
        ExistingEntry {
            kind: what,
            len: 5,
            mtime_nanos: mtime_nanos.into(),
            mode: 0o644,
            uid: 1,
            gid: 2,
            links: 1,
            identity,
        }
    }

    /// In the order of [`MODES`].
    fn all(entry: &TreeEntry, standing: &ExistingEntry, deletes: bool, verifies: bool) -> [EntryDecision; 4] {
        MODES.map(|overwrite| {
            let rules = OverwriteRules {
                overwrite,
                deletes,
                verifies,
                links_expected: 1,
            };
            decide_entry(rules, entry, Some(standing), Some(b"to"))
        })
    }

    use EntryDecision::{Compare, Leave, Make, Refresh, Same};
    const ONE: EntryDecision = Make(RemoveDepth::Single);

    #[test]
    fn a_file_is_left_compared_or_replaced() {
        for (kind, mtime, verifies, expected) in [
            (file(5), 10, true, [Leave, Leave, Compare, ONE]),
            (file(5), 10, false, [Leave, Leave, Refresh, ONE]),
            (file(5), 9, false, [Leave, ONE, Compare, ONE]),
            (file(5), 11, false, [Leave, Leave, Compare, ONE]),
            (file(6), 10, true, [Leave, Leave, ONE, ONE]),
        ] {
            let doing = all(
                &entry(kind),
                &standing(ExistingKind::File, mtime),
                false,
                verifies,
            );
            assert_eq!(doing, expected, "mtime {mtime}");
        }
        let nothing = OverwriteRules {
            overwrite: OverwriteMode::Never,
            deletes: false,
            verifies: true,
            links_expected: 1,
        };
        assert_eq!(decide_entry(nothing, &entry(file(5)), None, None), ONE);
    }

    #[test]
    fn a_file_that_is_linked_to_another_name_is_never_changed() {
        let mut shared = standing(ExistingKind::File, 10);
        shared.links = 2;
        assert_eq!(
            all(&entry(file(5)), &shared, false, true),
            [Leave, Leave, ONE, ONE]
        );
        let mut of_a_group = entry(file(5));
        of_a_group.meta.hard_link = Some(1);
        assert_eq!(
            all(&of_a_group, &shared, false, true)[2],
            Compare,
            "asked again when all names are known"
        );
        shared.kind = ExistingKind::Fifo;
        assert_eq!(all(&entry(EntryKind::Fifo), &shared, false, true)[2], ONE);
    }

    #[test]
    fn a_directory_comes_into_a_directory_and_in_place_of_what_is_none() {
        for kind in [EntryKind::Directory(BlobId([1; 32])), EntryKind::Database(1)] {
            let entry = entry(kind);
            let into = all(&entry, &standing(ExistingKind::Directory, 9), false, true);
            assert_eq!(into, [Leave, Refresh, Refresh, Refresh]);
            let instead = all(&entry, &standing(ExistingKind::Symlink, 9), false, true);
            assert_eq!(instead, [Leave, ONE, ONE, ONE]);
        }
    }

    #[test]
    fn a_directory_goes_with_its_content_only_where_deleting_is_allowed() {
        let directory = standing(ExistingKind::Directory, 9);
        let whole = Make(RemoveDepth::Recursive);
        for kind in [file(5), EntryKind::Symlink(b"to".to_vec()), EntryKind::Fifo] {
            assert_eq!(
                all(&entry(kind.clone()), &directory, false, true),
                [Leave, ONE, ONE, ONE]
            );
            assert_eq!(
                all(&entry(kind), &directory, true, true),
                [Leave, whole, whole, whole]
            );
        }
    }

    #[test]
    fn what_has_no_content_is_the_same_or_made_anew() {
        let device = DeviceNumber {
            is_block: false,
            major: 1,
            minor: 3,
        };
        let same = ExistingKind::Device {
            is_block: false,
            major: 1,
            minor: 3,
        };
        let other = ExistingKind::Device {
            is_block: true,
            major: 1,
            minor: 3,
        };
        for (kind, what, is_same) in [
            (EntryKind::Symlink(b"to".to_vec()), ExistingKind::Symlink, true),
            (
                EntryKind::Symlink(b"elsewhere".to_vec()),
                ExistingKind::Symlink,
                false,
            ),
            (EntryKind::Fifo, ExistingKind::Fifo, true),
            (EntryKind::Fifo, ExistingKind::Other, false),
            (EntryKind::Device(device), same, true),
            (EntryKind::Device(device), other, false),
        ] {
            let doing = |mtime| all(&entry(kind.clone()), &standing(what, mtime), false, true)[2];
            assert_eq!(doing(10), if is_same { Same } else { ONE }, "{kind:?}");
            assert_eq!(doing(9), ONE, "{kind:?}");
        }
    }
}
