//! Holds the open directories, scratch directory and problems of one restored tree.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::attributes::{RefusedAttributes, remove_inherited_acls};
use super::existing_entry::FileIdentity;
use super::target_directory::TargetDirectory;
use crate::error::Result;
use crate::held_directory::HeldDirectory;
use crate::scratch_directory::ScratchDirectory;

/// What the scratch directory says of itself.
const DRAFTS_MARKER_TEXT: &str = "Files of a restore by levault that has not ended, or that was killed.";

/// Directories kept open at most. A process may often have 1,024 descriptors.
const OPEN_DIRECTORIES_MAX: usize = 256;

/// ext2 to ext4, XFS, btrfs, tmpfs, F2FS, ZFS, overlayfs, bcachefs, ramfs.
const NAME_PRESERVING_FILESYSTEMS: [u64; 9] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0xf2f5_2010,
    0x2fc1_2fc1,
    0x794c_7630,
    0xca45_1a4e,
    0x8584_58f6,
];

/// Problems that are told; more are counted.
const LISTED_PROBLEMS_MAX: usize = 1000;

/// What the directories of one tree share.
pub(super) struct TreeContext {
    pub(super) area: DraftArea,
    pub(super) report: Arc<TreeAccount>,
    /// It is more than looked at.
    pub(super) writes: bool,
    /// The tree is thrown away: nothing of it need be as it was.
    pub(super) is_abandoned: AtomicBool,
    /// By filesystem, whether it keeps names as they are given.
    keeps_names: Mutex<HashMap<u64, bool>>,
    /// The ones that are open, the longest open first.
    open: Mutex<VecDeque<Weak<TargetDirectory>>>,
}

/// What did not go as it should, in what became of a tree.
#[derive(Debug, Default)]
pub struct TreeAccount {
    /// What went wrong with single things.
    pub problems: TreeProblems,
    /// What could not be set.
    pub refused_attributes: RefusedAttributes,
    /// Directories that are called as what killed restores leave, and are not proven to be: they were left alone.
    pub unproven_leftovers: Mutex<Vec<PathBuf>>,
}

/// Where things are made.
pub(super) enum DraftArea {
    /// Where they are to be: nobody looks at the tree yet.
    InPlace,
    /// Elsewhere, and then renamed.
    Scratch(DraftDirectory),
}

/// A hidden directory in the target, locked while its process lives.
pub(super) struct DraftDirectory {
    made: ScratchDirectory,
    /// The same, for the drafts in it.
    pub(super) directory: Arc<File>,
    pub(super) device: u64,
    names: AtomicU64,
    is_removed: AtomicBool,
}

impl TreeContext {
    pub(super) fn new(area: DraftArea) -> Self {
        Self {
            area,
            report: Arc::default(),
            writes: true,
            is_abandoned: AtomicBool::new(false),
            keeps_names: Mutex::default(),
            open: Mutex::default(),
        }
    }

    /// True for a filesystem that keeps every name as it is given (though it may take two for one).
    pub(super) fn keeps_names(&self, directory: &File) -> bool {
        let Ok(stat) = rustix::fs::fstat(directory) else {
            return false;
        };
        let mut known = locked(&self.keeps_names);
        *known.entry(FileIdentity::of(&stat).device).or_insert_with(|| {
            let magic = rustix::fs::fstatfs(directory).map(|facts| facts.f_type as u64);
            magic.is_ok_and(|magic| NAME_PRESERVING_FILESYSTEMS.contains(&(magic & 0xffff_ffff)))
        })
    }

    /// A directory was opened and stays so; the one that has been for the longest is closed when there are too many. (It can
    /// be opened again.)
    pub(super) fn register_open(&self, directory: &Arc<TargetDirectory>) {
        let mut open = locked(&self.open);
        open.push_back(Arc::downgrade(directory));
        if open.len() > OPEN_DIRECTORIES_MAX {
            let oldest = open.pop_front().and_then(|oldest| oldest.upgrade());
            // Dropped last of all, it would be settled, which takes time.
            drop(open);
            if let Some(oldest) = oldest {
                oldest.close();
            }
        }
    }
}

impl DraftDirectory {
    pub(super) fn create(root: &HeldDirectory, prefix: &[u8]) -> Result<Self> {
        let made = ScratchDirectory::create(root, prefix, DRAFTS_MARKER_TEXT)?;
        let directory = made.directory().open()?;
        remove_inherited_acls(&directory)?;
        Ok(Self {
            device: made.directory().stat_self()?.st_dev,
            directory: Arc::new(directory),
            made,
            names: AtomicU64::new(0),
            is_removed: AtomicBool::new(false),
        })
    }

    /// A name that nothing else here has.
    pub(super) fn next_name(&self) -> OsString {
        self.names.fetch_add(1, Ordering::Relaxed).to_string().into()
    }

    /// The same for another directory.
    pub(super) fn next_name_elsewhere(&self) -> OsString {
        let mut name = self.made.name().to_owned();
        name.push(format!("-{}", self.names.fetch_add(1, Ordering::Relaxed)));
        name
    }
}

impl DraftArea {
    /// Removes the scratch directory, once.
    pub(super) fn remove_scratch(&self) -> Result<()> {
        let Self::Scratch(scratch) = self else {
            return Ok(());
        };
        if scratch.is_removed.swap(true, Ordering::Relaxed) {
            Ok(())
        } else {
            scratch.made.remove()
        }
    }
}

/// What went wrong with single things: the first thousand are told, all are counted.
#[derive(Debug, Default)]
pub struct TreeProblems {
    listed: Mutex<Vec<String>>,
    count: AtomicU64,
}

impl TreeProblems {
    /// One more.
    pub fn add(&self, problem: impl ToString) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut told = locked(&self.listed);
        if told.len() < LISTED_PROBLEMS_MAX {
            told.push(problem.to_string());
        }
    }

    #[cfg(any(test, feature = "test-util"))]
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// All that are told, oldest first, and how many more there are.
    pub fn take(&self) -> (Vec<String>, u64) {
        let told = std::mem::take(&mut *locked(&self.listed));
        let more = self.count.swap(0, Ordering::Relaxed) - told.len() as u64;
        (told, more)
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
