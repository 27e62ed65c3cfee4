//! Writes files, directories and links below a target.
//!
//! Files, directories and links → a tree on disk. Nothing is found by a path: every name is looked up, made, renamed or
//! removed in a directory that is held open, and no symbolic link is followed, whatever stood there or was put there.
//!
//! ```text
//! nothing there  parent/.DIR.levault-restore-…/   each thing under its own name; then all of it is DIR, by one rename
//! something      DIR/.DIR.levault-restore-…/17    each thing is made here; some thousand are made durable at once
//!                └──rename──> DIR/a/b/name         and then renamed to their places
//! ```
//! So a file that stands is never half a file, and a killed restore leaves hidden directories that the next one removes.
//!
//! What is made has no one's access but its maker's until its attributes are set. A directory gets its own when nobody
//! needs it any more, that is, after all that is in it: its times would not last else.

mod attributes;
mod existing_entry;
mod file_draft;
mod remove_entry;
mod target_directory;
#[cfg(test)]
mod tests;
mod tree_context;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::Mode;

use super::database_lock::refuse_locked_in;
use super::staging_directory::{OccupiedTarget, StagedResult, StagingDirectory, check_target_free};
use crate::error::{Error, Result, ResultExt};
use crate::held_directory::HeldDirectory;
use crate::scratch_directory;
pub(super) use attributes::remove_inherited_acls;
pub use attributes::{AttributeKind, RefusedAttributes, TargetAttributes};
pub use existing_entry::{ExistingEntry, ExistingKind, FileIdentity};
pub use file_draft::{FileDraft, PlacedFile};
pub use remove_entry::RemoveDepth;
pub use target_directory::TargetDirectory;
pub(super) use target_directory::{is_directory, names, open_directory_nofollow};
use tree_context::{DraftArea, DraftDirectory, TreeContext};
pub use tree_context::{TreeAccount, TreeProblems};

/// Drafts that wait for one sync of the filesystem; each holds a directory and a name.
const PENDING_MAX: usize = 4096;

/// Whether a tree may come where something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeMode {
    /// The target must be absent or empty.
    Refuse,
    /// It may hold what it likes.
    Into,
}

/// A tree that is being written.
pub struct TreeTarget {
    context: Arc<TreeContext>,
    root: Arc<TargetDirectory>,
    /// The whole new tree, when nothing stands at the target.
    stage: Option<StagingDirectory>,
    /// Made, and not in their places yet.
    pending: Mutex<Vec<FileDraft>>,
    links_per_file: u64,
}

impl TreeTarget {
    /// Begins a tree at `target`: a new one where nothing stands, else into what stands there.
    ///
    /// # Errors
    /// With [`MergeMode::Refuse`] those of [`check_target_free`]; [`crate::error::ErrorKind::Busy`] where a running program holds a database.
    pub fn begin(target: &Path, merge: MergeMode) -> Result<Self> {
        match (check_target_free(target), merge) {
            (Ok(()), _) => Self::begin_new(target),
            (Err(error), MergeMode::Refuse) => Err(error),
            (Err(error), MergeMode::Into) if !target.is_dir() => Err(error),
            (Err(_), MergeMode::Into) => Self::begin_merge(target),
        }
    }

    fn begin_new(target: &Path) -> Result<Self> {
        let stage = StagingDirectory::create(target, OccupiedTarget::Refuse)
            .context(|| format!("restore to {}", target.display()))?;
        let root = stage
            .directory_file()
            .try_clone()
            .context(|| "hold the stage open")?;
        let core = Arc::new(TreeContext::new(DraftArea::InPlace));
        let left_alone = stage.unproven_leftovers().to_vec();
        let tree = Self {
            root: TargetDirectory::root(core.clone(), root, target)?,
            context: core,
            stage: Some(stage),
            pending: Mutex::default(),
            links_per_file: 1,
        };
        tree.report_unproven_leftovers(&left_alone);
        Ok(tree)
    }

    fn report_unproven_leftovers(&self, paths: &[PathBuf]) {
        let mut left_alone = tree_context::locked(&self.context.report.unproven_leftovers);
        left_alone.extend_from_slice(paths);
    }

    fn begin_merge(target: &Path) -> Result<Self> {
        let doing = || format!("restore to {}", target.display());
        let target = std::fs::canonicalize(target).context(doing)?;
        let root = HeldDirectory::open_nofollow(&target)?;
        refuse_locked_in(&root)?;
        let name = target.file_name().unwrap_or_default();
        let prefix = scratch_directory::scratch_prefix(name.as_encoded_bytes(), "restore");
        let left_alone = scratch_directory::remove_leftovers(&root, &prefix)?;
        let tree = Self::with_scratch(root.open()?, &prefix, &target).context(doing)?;
        tree.report_unproven_leftovers(&left_alone);
        Ok(tree)
    }

    /// Begins to add to a directory that is held open and that nobody else looks at; nothing in it is replaced.
    pub fn add_to(root: std::fs::File, shown: &Path) -> Result<Self> {
        let core = Arc::new(TreeContext::new(DraftArea::InPlace));
        Ok(Self {
            root: TargetDirectory::root(core.clone(), root, shown)?,
            context: core,
            stage: None,
            pending: Mutex::default(),
            links_per_file: 1,
        })
    }

    /// Begins a tree in a directory that is held open, into what stands there.
    pub fn merge_into_open(root: std::fs::File, shown: &Path) -> Result<Self> {
        Self::with_scratch(
            root,
            &scratch_directory::scratch_prefix(b"tree", "restore"),
            shown,
        )
    }

    fn with_scratch(root: std::fs::File, prefix: &[u8], shown: &Path) -> Result<Self> {
        let held = root.try_clone().context(|| "hold the target open")?;
        let scratch = DraftDirectory::create(&HeldDirectory::from_fd(held.into(), shown), prefix)?;
        let core = Arc::new(TreeContext::new(DraftArea::Scratch(scratch)));
        Ok(Self {
            root: TargetDirectory::root(core.clone(), root, shown)?,
            context: core,
            stage: None,
            pending: Mutex::default(),
            links_per_file: 1,
        })
    }

    /// The directory that the target is.
    pub fn root(&self) -> &Arc<TargetDirectory> {
        &self.root
    }

    /// Of a directory whose files have a name each in another directory as well, which will go.
    #[must_use]
    pub fn with_links_per_file(mut self, names_each: u64) -> Self {
        self.links_per_file = names_each;
        self
    }

    /// Names of a file in it that has one of its own.
    pub fn links_per_file(&self) -> u64 {
        self.links_per_file
    }

    /// True if nothing of this tree was there before.
    pub fn is_new(&self) -> bool {
        matches!(self.context.area, DraftArea::InPlace)
    }

    /// What went wrong with single things.
    pub fn problems(&self) -> &TreeProblems {
        &self.context.report.problems
    }

    /// All that is to be told of it in the end.
    pub fn report(&self) -> Arc<TreeAccount> {
        self.context.report.clone()
    }

    /// Takes a draft that is whole to its place: soon, at [`TreeTarget::finish`] at the latest.
    pub fn commit_draft(&self, draft: FileDraft) -> Result<()> {
        if !draft.is_elsewhere() {
            return Ok(());
        }
        let mut pending = self.lock_pending();
        pending.push(draft);
        if pending.len() < PENDING_MAX {
            Ok(())
        } else {
            let drafts = std::mem::take(&mut *pending);
            drop(pending);
            self.commit_drafts(drafts)
        }
    }

    fn lock_pending(&self) -> std::sync::MutexGuard<'_, Vec<FileDraft>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name must not lead to what a crash may still take, so the contents come first.
    fn commit_drafts(&self, drafts: Vec<FileDraft>) -> Result<()> {
        if drafts.is_empty() {
            return Ok(());
        }
        self.sync()?;
        for draft in drafts {
            let shown = draft.display_path();
            if let Err(error) = draft.rename_into_place() {
                self.context
                    .report
                    .problems
                    .add(error.context(format!("put {shown} in its place")));
            }
        }
        Ok(())
    }

    /// Makes all that was written durable by one call: a sync for each of many small files would take minutes.
    fn sync(&self) -> Result<()> {
        let root = self.root.open()?;
        rustix::fs::syncfs(&root)
            .map_err(std::io::Error::from)
            .context(|| format!("sync the filesystem of {}", self.root.display_path().display()))
    }

    /// Everything is in its place and durable: of a new tree the stage that is yet to be published. Nobody may hold a
    /// directory of it any more.
    pub fn finish(mut self) -> Result<Option<StagedResult>> {
        let drafts = std::mem::take(&mut *self.lock_pending());
        self.commit_drafts(drafts)?;
        self.context.area.remove_scratch()?;
        let root = self.root.open()?;
        let has_mode = self.root.has_mode();
        self.root.apply_attributes();
        self.sync()?;
        let Some(mut stage) = self.stage.take() else {
            return Ok(None);
        };
        if has_mode {
            let mode = rustix::fs::fstat(&root)
                .map_err(std::io::Error::from)
                .context(|| "look at the stage")?
                .st_mode;
            stage.set_mode(Mode::from_raw_mode(mode));
        }
        Ok(Some(StagedResult::new(stage)))
    }
}

impl Drop for TreeTarget {
    /// What is thrown away needs no attributes; of what stays the directories get theirs.
    fn drop(&mut self) {
        if self.stage.is_some() {
            self.context.is_abandoned.store(true, Ordering::Relaxed);
        }
        // The next restore removes what cannot be removed now.
        let _ = self.context.area.remove_scratch();
    }
}

/// A directory that is only looked at.
pub fn inspect_only(target: &Path) -> Result<Arc<TargetDirectory>> {
    let mut core = TreeContext::new(DraftArea::InPlace);
    core.writes = false;
    let core = Arc::new(core);
    match std::fs::canonicalize(target) {
        Ok(path) => TargetDirectory::root(core, HeldDirectory::open_nofollow(&path)?.open()?, target),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(TargetDirectory::absent_root(core, target))
        }
        Err(error) => Err(Error::io(format!("find {}", target.display()), error)),
    }
}
