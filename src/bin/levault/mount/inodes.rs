//! Maps inode numbers to items of the mount.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use levault::id::ObjectId;

use super::mount_item::MountItem;

/// The number of the top.
pub const TOP: u64 = 1;

/// Items that the kernel knows.
pub struct InodeTable(Mutex<HashMap<u64, KnownInode>>);

struct KnownInode {
    item: MountItem,
    /// How often the kernel was told of it, and has not forgotten it.
    lookups: u64,
}

impl InodeTable {
    /// The top alone, which is never forgotten.
    pub fn new() -> Self {
        let top = KnownInode {
            item: MountItem::Top,
            lookups: 1,
        };
        Self(Mutex::new(HashMap::from([(TOP, top)])))
    }

    pub fn get(&self, ino: u64) -> Option<MountItem> {
        self.find_number().get(&ino).map(|known| known.item.clone())
    }

    /// The kernel is told of it once more.
    pub fn add(&self, ino: u64, item: MountItem) {
        let mut known = self.find_number();
        let entry = known.entry(ino).or_insert(KnownInode {
            item: item.clone(),
            lookups: 0,
        });
        entry.item = item;
        entry.lookups += 1;
    }

    /// The kernel forgot it so often.
    pub fn forget(&self, ino: u64, lookups: u64) {
        let mut known = self.find_number();
        if ino == TOP {
            return;
        }
        if let Some(entry) = known.get_mut(&ino) {
            entry.lookups = entry.lookups.saturating_sub(lookups);
            if entry.lookups == 0 {
                known.remove(&ino);
            }
        }
    }

    fn find_number(&self) -> std::sync::MutexGuard<'_, HashMap<u64, KnownInode>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of what a directory has under this name, the same at every mount; one file has one, whatever its name.
pub fn number(parent: u64, name: &[u8], link: Option<(ObjectId, usize, u64)>) -> u64 {
    let mut hasher = blake3::Hasher::new();
    match link {
        Some((snapshot, source, link)) => hasher
            .update(b"link")
            .update(&snapshot.0)
            .update(&(source as u64).to_le_bytes())
            .update(&link.to_le_bytes()),
        None => hasher.update(b"name").update(&parent.to_le_bytes()).update(name),
    };
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    // 0 is none, 1 the top.
    u64::from_le_bytes(bytes).max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_is_known_until_it_is_forgotten_as_often_as_it_was_told() {
        let inodes = InodeTable::new();
        let item = || MountItem::Latest("x".into());
        inodes.add(7, item());
        inodes.add(7, item());
        inodes.forget(7, 1);
        assert!(inodes.get(7).is_some());
        inodes.forget(7, 1);
        assert!(inodes.get(7).is_none());
        inodes.forget(TOP, 99);
        assert!(inodes.get(TOP).is_some());
    }

    #[test]
    fn numbers_follow_the_way_unless_a_file_has_several_names() {
        let link = Some((ObjectId([1; 32]), 0, 5));
        assert_eq!(number(2, b"a", link), number(3, b"b", link));
        assert_ne!(number(2, b"a", None), number(3, b"a", None));
        assert_ne!(number(2, b"a", None), number(2, b"b", None));
    }
}
