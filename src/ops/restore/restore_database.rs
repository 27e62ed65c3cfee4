//! Restores one database: stages, verifies, publishes.
//!
//! One database's way back: staged, with what lies beside it, read back, published.

use std::path::{Path, PathBuf};

use super::overwrite_mode::OtherFiles;
use super::read_back::StreamBytes;
use super::table_writer::{self, SelectionTotals};
use super::tree::{DeferredDatabase, PatternOrigin, WalkStart, taken_for_another};
use super::verify_database::ExpectedDatabase;
use super::{
    DatabaseRestoreOutcome, ExtraEntries, InPlaceOutcome, OverwriteMode, RestoreContext, VerifyMode,
    overwrite_mode, restore_files, verify_database,
};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::leveldb::Comparator;
use crate::ops::capture;
use crate::ops::read_records::RecordQuery;
use crate::ops::tree::{SnapshotView, TreeNode};
use crate::pattern::SelectorChoice;
use crate::snapshot::{DatabaseContent, DatabaseRoot, EntryKind, TreeEntry};
use crate::source::HeldDirectory;
use crate::target::tree::{RefusedAttributes, TargetAttributes, TargetDirectory};
use crate::target::{DatabaseTarget, OccupiedTarget, StagedResult, TreeTarget};

/// Databases beside databases at most: a snapshot may say that each lies beside the one before.
const NESTING_MAX: usize = 32;

/// A database that is to be restored.
pub struct DatabaseRestore<'s> {
    /// Its number among the snapshot's sources.
    pub number: u32,
    /// The source that is restored for itself, and that it lies in.
    pub top: usize,
    pub root: &'s DatabaseRoot,
    /// The directory it becomes; of one in a tree a path that leads through a directory that is held open.
    pub target: PathBuf,
    /// The same for people.
    pub shown: PathBuf,
    /// What its directory gets.
    pub attributes: Option<TargetAttributes>,
    /// What else lies in the directory of one that stands there.
    pub others: OtherFiles,
    /// Where it stood, for patterns; and what was chosen of it.
    pub place: PatternOrigin,
    pub choice: SelectorChoice,
    /// Databases it lies within.
    pub nesting: usize,
}

/// A step's result, not published yet.
struct StagedDatabase {
    staged: StagedResult,
    /// Of a selection.
    selected: Option<SelectionTotals>,
    /// What the tables hold, where all are new.
    tables: StreamBytes,
    rewritten: Option<InPlaceOutcome>,
}

impl RestoreContext<'_> {
    /// Restores a database that a tree names.
    pub(super) fn nested(&self, deferred: DeferredDatabase, nesting: usize) -> Result<()> {
        let root = SnapshotView::new(self.snapshot, self.reader).database(deferred.number)?;
        if nesting >= NESTING_MAX {
            return Err(Error::new(
                ErrorKind::Limit,
                "databases within databases without end",
            ));
        }
        let handle = deferred.directory.open()?;
        if deferred.is_vacant && deferred.directory.entry(&deferred.name)?.is_some() {
            return Err(taken_for_another(&deferred.directory.shown_in(&deferred.name)));
        }
        if let Some(depth) = deferred.clears {
            deferred.directory.clear(&deferred.name, depth)?;
        }
        let step = DatabaseRestore {
            number: deferred.number,
            top: deferred.top,
            root,
            target: TargetDirectory::path_of(&handle, &deferred.name)?,
            shown: deferred.directory.shown().join(name_of(&deferred.name)),
            attributes: Some(deferred.attributes),
            others: OtherFiles::Keep,
            place: deferred.place,
            choice: deferred.choice,
            nesting: nesting + 1,
        };
        self.database(step)?;
        deferred.directory.note_made(&deferred.name);
        Ok(())
    }

    /// Restores one database; what became of it is among the outcomes.
    pub(super) fn database(&self, step: DatabaseRestore) -> Result<()> {
        if !self.lock().used.insert((step.top, step.number)) {
            return Err(Error::corrupt(format!(
                "{} has more than one place",
                step.root.name
            )));
        }
        self.report_missing(step.root);
        let outcome = match self.leave(&step)? {
            Some(verified) => self.unchanged(&step, verified)?,
            None => self.anew(&step)?,
        };
        self.lock().restored.databases.push(outcome);
        Ok(())
    }

    /// `Some` if what stands there is left: `false` for one that is newer and was not read, `true` for one that was read and
    /// is what would be restored.
    fn leave(&self, step: &DatabaseRestore) -> Result<Option<bool>> {
        if step.others == OtherFiles::Keep {
            overwrite_mode::refuse_foreign(&step.target)?;
        }
        if self.wish.overwrite == OverwriteMode::IfNewer
            && overwrite_mode::is_newer_there(step.root, &step.target)?
        {
            return Ok(Some(false));
        }
        let there = self
            .wish
            .is_there(self.repo, self.reader, step.root, &step.target, self.report)?;
        if there {
            self.refresh_files(step)?;
            self.beside_in_place(step)?;
        }
        Ok(there.then_some(true))
    }

    pub(super) fn records(&self, step: &DatabaseRestore) -> u64 {
        let uncertain = if self.wish.with_uncertain {
            step.root.uncertain_records()
        } else {
            0
        };
        step.root.records + uncertain
    }

    fn unchanged(&self, step: &DatabaseRestore, verified: bool) -> Result<DatabaseRestoreOutcome> {
        Ok(DatabaseRestoreOutcome {
            name: step.root.name.clone(),
            target: step.shown.clone(),
            records: self.records(step),
            bytes: step.root.bytes(),
            as_files: step.root.is_physical(),
            verified,
            unchanged: true,
            rewritten: None,
        })
    }

    fn anew(&self, step: &DatabaseRestore) -> Result<DatabaseRestoreOutcome> {
        let mut made = self.make(step)?;
        for path in made.staged.left_alone() {
            self.report.notice(capture::left_alone(path));
        }
        self.beside(step, &made.staged)?;
        let verified = self.wish.verify == VerifyMode::Full;
        if verified {
            self.read_back(step.root, &mut made)?;
        }
        if let Some(attributes) = &step.attributes {
            let withheld = RefusedAttributes::default();
            made.staged.set_attributes(attributes, &withheld)?;
            self.report_refused_attributes(&withheld);
        }
        self.report_refused_attributes(made.staged.withheld());
        made.staged.publish()?;
        let written = made.selected.as_ref();
        Ok(DatabaseRestoreOutcome {
            name: step.root.name.clone(),
            target: step.shown.clone(),
            records: written.map_or(self.records(step), |written| written.records),
            bytes: written.map_or(step.root.bytes(), |written| written.bytes),
            as_files: step.root.is_physical(),
            verified,
            unchanged: false,
            rewritten: made.rewritten,
        })
    }

    fn make(&self, step: &DatabaseRestore) -> Result<StagedDatabase> {
        let database = step.root;
        let half = database.bytes() / 2;
        let occupied = self.wish.occupied(step.others);
        let in_place = self.stage_in_place(step, occupied, half)?;
        if let Some((staged, rewritten)) = in_place {
            return Ok(StagedDatabase {
                staged,
                selected: None,
                tables: StreamBytes::default(),
                rewritten: Some(rewritten),
            });
        }
        match &database.content {
            DatabaseContent::Physical { tree } => {
                self.refuse_selection(database)?;
                Ok(StagedDatabase {
                    staged: restore_files::stage(
                        self.reader,
                        tree,
                        &step.target,
                        occupied,
                        self.wish.ownership,
                        self.report,
                    )?,
                    selected: None,
                    tables: StreamBytes::default(),
                    rewritten: None,
                })
            }
            DatabaseContent::Logical { .. } => self.stage_records(step, occupied),
        }
    }

    fn stage_records(&self, step: &DatabaseRestore, occupied: OccupiedTarget) -> Result<StagedDatabase> {
        let database = step.root;
        let comparator = Comparator::from_name(&database.shape.comparator);
        let mut staging = DatabaseTarget::begin(&step.target, occupied, &database.shape, &comparator)?;
        staging.set_files(self.files_of(step));
        let wish = RecordQuery {
            selection: self.wish.selection.clone(),
            with_uncertain: self.wish.with_uncertain,
        };
        let (reader, report) = (self.reader, self.report);
        let (tables, selected) = if self.wish.selection.is_all() {
            let tables = table_writer::write(reader, database, &wish, &staging, &comparator, report)?;
            (tables, None)
        } else {
            let (tables, written) =
                table_writer::write_selected(reader, database, &wish, &staging, &comparator, report)?;
            (tables, Some(written))
        };
        Ok(StagedDatabase {
            staged: staging.finish()?,
            selected,
            tables,
            rewritten: None,
        })
    }

    fn read_back(&self, database: &DatabaseRoot, made: &mut StagedDatabase) -> Result<()> {
        let path = made.staged.held();
        let (repo, reader, report) = (self.repo, self.reader, self.report);
        let expected = match (&database.content, &made.selected) {
            (DatabaseContent::Physical { tree }, _) => {
                return restore_files::verify(repo, reader, tree, path, report);
            }
            (DatabaseContent::Logical { .. }, Some(written)) => ExpectedDatabase::written(written),
            (DatabaseContent::Logical { .. }, None) => {
                ExpectedDatabase::recorded(repo, reader, database, self.wish.with_uncertain)?
            }
        };
        let expected = expected.in_tables(std::mem::take(&mut made.tables));
        verify_database::verify(repo, &expected, path, report)
    }

    fn refuse_selection(&self, database: &DatabaseRoot) -> Result<()> {
        if self.wish.selection.is_all() {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Usage,
                format!("{} is stored as files; restore it whole", database.name),
            ))
        }
    }

    /// Restores what lies beside a database into its stage, in which what lay beside the old one may be.
    fn beside(&self, step: &DatabaseRestore, staged: &StagedResult) -> Result<()> {
        let has_others = staged.has_others();
        let deletes = has_others && self.wish.extra == ExtraEntries::Delete;
        if step.root.beside.is_none() && !deletes || self.wish.records_only() {
            return Ok(());
        }
        let directory = staged.directory().try_clone().context(|| "hold the stage open")?;
        let target = if has_others {
            TreeTarget::into_open(directory, &step.shown)?.with_names_each(2)
        } else {
            TreeTarget::add_to(directory, &step.shown)?
        };
        self.fill_beside(step, target)
    }

    /// The database that stands there stays; what lies beside it comes into its directory.
    fn beside_in_place(&self, step: &DatabaseRestore) -> Result<()> {
        let directory = HeldDirectory::unfollowed(&step.target)?.open()?;
        let target = TreeTarget::into_open(directory, &step.shown)?;
        if let Some(attributes) = &step.attributes {
            target.root().set_attributes(attributes.clone());
        }
        if self.wish.records_only() {
            target.finish().map(drop)
        } else {
            self.fill_beside(step, target)
        }
    }

    fn fill_beside(&self, step: &DatabaseRestore, target: TreeTarget) -> Result<()> {
        let start = WalkStart {
            top: step.top,
            node: node_of(step),
            directory: target.root().clone(),
            name: None,
            place: step.place.clone(),
            choice: step.choice,
        };
        let account = target.account();
        let filled = self.fill(&target, vec![start], step.nesting);
        let finished = filled.and_then(|()| target.finish());
        self.report_account(&account);
        finished.map(drop)
    }
}

fn name_of(name: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(name))
}

fn node_of(step: &DatabaseRestore) -> TreeNode {
    TreeNode {
        source: step.number as usize,
        entry: TreeEntry {
            name: Vec::new(),
            kind: EntryKind::Database(step.number),
            meta: crate::snapshot::FileMetadata::default(),
        },
    }
}
