//! Restores hard links: the first name as a file, others as links.
//!
//! Names of one file: the first that is restored has the content, the others become links to it.
//!
//! A snapshot says which names those are, and need not be believed: names whose content differs are not linked. Which
//! file is done is known only when its worker is; a link that comes too early waits for the end.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::snapshot::EntryKind;
use crate::target::tree::PlacedFile;

/// Files of several names that are remembered; of more, each name becomes a file of its own: 100 MB at worst.
const LINK_GROUPS_MAX: usize = 1 << 19;

/// One file of several names: the source that says so, and its number there.
pub type LinkGroup = (usize, u64);

/// What is known of the first names.
#[derive(Default)]
pub struct HardLinks {
    first: Mutex<HashMap<LinkGroup, FirstName>>,
    contents: RandomState,
}

struct FirstName {
    content: u64,
    placed: Option<PlacedFile>,
}

/// What a name is to become.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkRole {
    /// The first: it has the content.
    First,
    /// Another name of the first.
    Other,
    /// A file by itself.
    Alone,
    /// The snapshot says that it is another name of a file with other content.
    Contradicting,
}

impl HardLinks {
    /// The next name of a group, in the order of the walk.
    pub fn assign_role(&self, group: LinkGroup, kind: &EntryKind) -> LinkRole {
        let content = self.contents.hash_one(LinkContent(kind));
        let mut first = self.lock();
        let is_full = first.len() >= LINK_GROUPS_MAX;
        match first.entry(group) {
            Entry::Occupied(first) if first.get().content == content => LinkRole::Other,
            Entry::Occupied(_) => LinkRole::Contradicting,
            Entry::Vacant(_) if is_full => LinkRole::Alone,
            Entry::Vacant(first) => {
                first.insert(FirstName {
                    content,
                    placed: None,
                });
                LinkRole::First
            }
        }
    }

    /// The first name is a file now.
    pub fn set_placed(&self, group: LinkGroup, placed: PlacedFile) {
        if let Some(first) = self.lock().get_mut(&group) {
            first.placed = Some(placed);
        }
    }

    /// Where the first is; `None` as long as it is not there.
    pub fn placed_first(&self, group: LinkGroup) -> Option<PlacedFile> {
        self.lock().get(&group).and_then(|first| first.placed.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LinkGroup, FirstName>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What names of one file must agree in.
struct LinkContent<'a>(&'a EntryKind);

impl Hash for LinkContent<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self.0 {
            EntryKind::File(list) => (0, list).hash(state),
            EntryKind::Symlink(target) => (1, target).hash(state),
            EntryKind::Fifo => 2.hash(state),
            EntryKind::Device(device) => (3, device.is_block, device.major, device.minor).hash(state),
            EntryKind::Directory(_) | EntryKind::Database(_) => 4.hash(state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_content_are_not_believed() {
        let links = HardLinks::default();
        let link = |to: &[u8]| EntryKind::Symlink(to.to_vec());
        assert_eq!(links.assign_role((0, 7), &link(b"a")), LinkRole::First);
        assert_eq!(links.assign_role((0, 7), &link(b"a")), LinkRole::Other);
        assert_eq!(links.assign_role((0, 7), &link(b"b")), LinkRole::Contradicting);
        assert_eq!(
            links.assign_role((0, 7), &EntryKind::Fifo),
            LinkRole::Contradicting
        );
        assert_eq!(
            links.assign_role((1, 7), &link(b"b")),
            LinkRole::First,
            "of another source"
        );
        assert!(links.placed_first((0, 7)).is_none());
    }
}
