//! Records what the repository lost of a database.
//!
//! Holes: what the repository lost of a database after it was saved, recorded in the snapshot that `repair snapshots` made
//! of what was left (FORMAT.md section 10). A hole stands among the damage of the source and is told from it by its file,
//! which no database can have: so whoever knows damage treats it right.

use std::cmp::Ordering;

use super::database_root::{DatabaseRoot, RecordedDamage};
use crate::id::ObjectId;
use crate::run::{KeyOrder, KeyRange};

/// Begins the `file` of every hole. No file of a database has a slash in its name.
const HOLE: &str = "repository/";

/// `file` of a hole in the records.
const RECORDS: &str = "repository/records";

/// `file` of a hole in the uncertain records.
const UNCERTAIN: &str = "repository/uncertain";

/// Begins the `file` of a lost file.
const FILES: &str = "repository/files/";

/// `what` of a hole: behind it the id of the snapshot that was whole, in hexadecimal.
const LOST_FROM: &str = "lost in the repository after it was saved as snapshot ";

/// What is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoleKind {
    /// Records with keys from the first to the second, or to the last of all; those in between that are there are right.
    Records(Vec<u8>, Option<Vec<u8>>),
    /// The same of records that were uncertain when they were saved.
    Uncertain(Vec<u8>, Option<Vec<u8>>),
    /// A file; `None` for files whose names are lost too.
    File(Option<String>),
}

impl RecordedDamage {
    /// The hole that `snapshot` did not have.
    pub fn hole(lost: HoleKind, snapshot: &ObjectId) -> Self {
        let (file, smallest, largest) = match lost {
            HoleKind::Records(from, to) => (RECORDS.to_owned(), Some(from), to),
            HoleKind::Uncertain(from, to) => (UNCERTAIN.to_owned(), Some(from), to),
            HoleKind::File(name) => (format!("{FILES}{}", name.unwrap_or_default()), None, None),
        };
        Self {
            file,
            offset: None,
            level: None,
            smallest,
            largest,
            what: format!("{LOST_FROM}{}", snapshot.to_hex()),
        }
    }

    /// True if the repository lost it, and not the source.
    pub fn is_hole(&self) -> bool {
        self.file.starts_with(HOLE)
    }

    /// The snapshot that had what a hole lacks.
    pub fn lost_after(&self) -> Option<ObjectId> {
        let hex = self.what.strip_prefix(LOST_FROM).filter(|_| self.is_hole())?;
        ObjectId::from_hex(hex)
    }

    /// True if it is a hole in the certain records.
    pub fn is_record_hole(&self) -> bool {
        self.file == RECORDS
    }

    /// True if a record of this key may have been in the hole.
    fn may_have_contained(&self, key: &[u8], order: KeyOrder<'_>) -> bool {
        let starts = |from: &Vec<u8>| order(from, key) != Ordering::Greater;
        let ends = |to: &Vec<u8>| order(key, to) != Ordering::Greater;
        self.is_record_hole()
            && self.smallest.as_ref().is_none_or(starts)
            && self.largest.as_ref().is_none_or(ends)
    }

    /// True if a key of the range may have been in the hole.
    fn overlaps(&self, range: &KeyRange, order: KeyOrder<'_>) -> bool {
        let before = self.largest.as_ref().is_some_and(|to| range.is_after(to, order));
        let behind = self
            .smallest
            .as_ref()
            .is_some_and(|from| range.is_before(from, order));
        self.is_record_hole() && !before && !behind
    }
}

impl DatabaseRoot {
    /// What the repository lost of it.
    pub fn holes(&self) -> impl Iterator<Item = &RecordedDamage> {
        self.damage.iter().filter(|damage| damage.is_hole())
    }

    /// The hole that a record of this key may have been in: if there is no such record, whether there was one is unknown.
    pub fn merged_hole(&self, key: &[u8], order: KeyOrder<'_>) -> Option<&RecordedDamage> {
        self.holes().find(|hole| hole.may_have_contained(key, order))
    }

    /// Holes in which there may have been records of the range.
    pub fn holes_in(&self, range: &KeyRange, order: KeyOrder<'_>) -> impl Iterator<Item = &RecordedDamage> {
        self.holes().filter(move |hole| hole.overlaps(range, order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytewise(a: &[u8], b: &[u8]) -> Ordering {
        a.cmp(b)
    }

    fn records(from: &[u8], to: Option<&[u8]>) -> RecordedDamage {
        let lost = HoleKind::Records(from.to_vec(), to.map(<[u8]>::to_vec));
        RecordedDamage::hole(lost, &ObjectId([7; 32]))
    }

    #[test]
    fn a_hole_names_the_snapshot_that_had_it_and_damage_of_a_source_does_not() {
        let hole = records(b"a", None);
        assert!(hole.is_hole() && hole.is_record_hole());
        assert_eq!(hole.lost_after(), Some(ObjectId([7; 32])));
        for lost in [
            HoleKind::File(None),
            HoleKind::File(Some("000005.ldb".into())),
            HoleKind::Uncertain(vec![], None),
        ] {
            let hole = RecordedDamage::hole(lost, &ObjectId([7; 32]));
            assert!(hole.is_hole() && !hole.is_record_hole());
        }
        let source = RecordedDamage {
            file: "000005.ldb".into(),
            ..hole
        };
        assert!(!source.is_hole());
        assert_eq!(source.lost_after(), None);
    }

    #[test]
    fn both_ends_of_a_hole_are_in_it() {
        let (hole, open) = (records(b"b", Some(b"d")), records(b"x", None));
        let held = |hole: &RecordedDamage, key: &[u8]| hole.may_have_contained(key, &bytewise);
        assert!(held(&hole, b"b") && held(&hole, b"c") && held(&hole, b"d"));
        assert!(!held(&hole, b"a") && !held(&hole, b"d\0"));
        assert!(held(&open, b"x") && held(&open, b"\xff\xff") && !held(&open, b"w"));
    }

    #[test]
    fn ranges_meet_holes_at_their_ends() {
        let hole = records(b"b", Some(b"d"));
        let range = |from: Option<&[u8]>, to: Option<&[u8]>| KeyRange {
            from: from.map(<[u8]>::to_vec),
            to: to.map(<[u8]>::to_vec),
        };
        let meets = |from, to| hole.overlaps(&range(from, to), &bytewise);
        assert!(meets(None, None) && meets(Some(b"d"), None) && meets(None, Some(b"b\0")));
        assert!(!meets(None, Some(b"b")) && !meets(Some(b"d\0"), None));
    }
}
