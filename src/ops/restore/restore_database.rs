//! Restores one database: stages, verifies, publishes.
//!
//! One database's way back: staged, with what lies beside it, read back, published.

use std::path::{Path, PathBuf};

use super::overwrite_mode::OtherFilesPolicy;
use super::read_back::TableStreamBytes;
use super::table_writer::{self, SelectionTotals};
use super::tree::{DeferredDatabase, PatternOrigin, RestoreWalkStart, name_conflict_error};
use super::verify_database::ExpectedDatabase;
use super::{
    DatabaseRestoreOutcome, ExtraEntries, InPlaceOutcome, OverwriteMode, RestoreContext, VerifyMode,
    overwrite_mode, restore_files, verify_database,
};
use crate::engine::file_attributes::describe_unproven_leftover;
use crate::engine::read_records::RecordQuery;
use crate::engine::tree::{SnapshotView, TreeNode};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::leveldb::Comparator;
use crate::pattern::SelectorChoice;
use crate::snapshot::{DatabaseContent, DatabaseRoot, EntryKind, TreeEntry};
use crate::source::HeldDirectory;
use crate::target::tree::{RefusedAttributes, TargetAttributes, TargetDirectory};
use crate::target::{DatabaseTarget, OccupiedTarget, StagedResult, TreeTarget};

/// Databases beside databases at most: a snapshot may say that each lies beside the one before.
const DATABASE_NESTING_MAX: usize = 32;

/// A database that is to be restored.
pub struct DatabaseRestore<'s> {
    /// Its number among the snapshot's sources.
    pub number: u32,
    /// The source that is restored for itself, and that it lies in.
    pub top_source: usize,
    pub root: &'s DatabaseRoot,
    /// The directory it becomes; of one in a tree a path that leads through a directory that is held open.
    pub target: PathBuf,
    /// The same for people.
    pub display_path: PathBuf,
    /// What its directory gets.
    pub attributes: Option<TargetAttributes>,
    /// What else lies in the directory of one that stands there.
    pub other_files: OtherFilesPolicy,
    /// Where it stood, for patterns; and what was chosen of it.
    pub pattern_origin: PatternOrigin,
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
    tables: TableStreamBytes,
    rewritten: Option<InPlaceOutcome>,
}

impl RestoreContext<'_> {
    /// Restores a database that a tree names.
    pub(super) fn restore_nested(&self, deferred: DeferredDatabase, nesting: usize) -> Result<()> {
        let root = SnapshotView::new(self.snapshot, self.reader).database(deferred.number)?;
        if nesting >= DATABASE_NESTING_MAX {
            return Err(Error::new(
                ErrorKind::Limit,
                "databases within databases without end",
            ));
        }
        let handle = deferred.directory.open()?;
        if deferred.is_vacant && deferred.directory.entry(&deferred.name)?.is_some() {
            return Err(name_conflict_error(
                &deferred.directory.display_path_of(&deferred.name),
            ));
        }
        if let Some(depth) = deferred.removes {
            deferred.directory.clear_name(&deferred.name, depth)?;
        }
        let step = DatabaseRestore {
            number: deferred.number,
            top_source: deferred.top_source,
            root,
            target: TargetDirectory::path_of(&handle, &deferred.name)?,
            display_path: deferred.directory.display_path().join(entry_path(&deferred.name)),
            attributes: Some(deferred.attributes),
            other_files: OtherFilesPolicy::Keep,
            pattern_origin: deferred.pattern_origin,
            choice: deferred.choice,
            nesting: nesting + 1,
        };
        self.restore_database(step)?;
        deferred.directory.record_created(&deferred.name);
        Ok(())
    }

    /// Restores one database; what became of it is among the outcomes.
    pub(super) fn restore_database(&self, step: DatabaseRestore) -> Result<()> {
        if !self
            .lock()
            .placed_databases
            .insert((step.top_source, step.number))
        {
            return Err(Error::corrupt(format!(
                "{} has more than one place",
                step.root.name
            )));
        }
        self.report_missing(step.root);
        let outcome = match self.keep_existing(&step)? {
            Some(verified) => self.unchanged_outcome(&step, verified)?,
            None => self.restore_anew(&step)?,
        };
        self.lock().restored.databases.push(outcome);
        Ok(())
    }

    /// `Some` if what stands there is left: `false` for one that is newer and was not read, `true` for one that was read and
    /// is what would be restored.
    fn keep_existing(&self, step: &DatabaseRestore) -> Result<Option<bool>> {
        if step.other_files == OtherFilesPolicy::Keep {
            overwrite_mode::refuse_foreign(&step.target)?;
        }
        if self.options.overwrite == OverwriteMode::IfNewer
            && overwrite_mode::is_target_newer(step.root, &step.target)?
        {
            return Ok(Some(false));
        }
        let there =
            self.options
                .matches_existing(self.repo, self.reader, step.root, &step.target, self.report)?;
        if there {
            self.refresh_database_files(step)?;
            self.restore_beside_in_place(step)?;
        }
        Ok(there.then_some(true))
    }

    pub(super) fn record_count(&self, step: &DatabaseRestore) -> u64 {
        let uncertain = if self.options.with_uncertain {
            step.root.uncertain_records()
        } else {
            0
        };
        step.root.records + uncertain
    }

    fn unchanged_outcome(&self, step: &DatabaseRestore, verified: bool) -> Result<DatabaseRestoreOutcome> {
        Ok(DatabaseRestoreOutcome {
            name: step.root.name.clone(),
            target: step.display_path.clone(),
            records: self.record_count(step),
            bytes: step.root.bytes(),
            as_files: step.root.is_physical(),
            verified,
            unchanged: true,
            rewritten: None,
        })
    }

    fn restore_anew(&self, step: &DatabaseRestore) -> Result<DatabaseRestoreOutcome> {
        let mut made = self.stage_database(step)?;
        for path in made.staged.unproven_leftovers() {
            self.report.notice(describe_unproven_leftover(path));
        }
        self.restore_beside(step, &made.staged)?;
        let verified = self.options.verify == VerifyMode::Full;
        if verified {
            self.read_back(step.root, &mut made)?;
        }
        if let Some(attributes) = &step.attributes {
            let withheld = RefusedAttributes::default();
            made.staged.set_attributes(attributes, &withheld)?;
            self.report_refused_attributes(&withheld);
        }
        self.report_refused_attributes(made.staged.refused_attributes());
        made.staged.publish()?;
        let written = made.selected.as_ref();
        Ok(DatabaseRestoreOutcome {
            name: step.root.name.clone(),
            target: step.display_path.clone(),
            records: written.map_or(self.record_count(step), |written| written.records),
            bytes: written.map_or(step.root.bytes(), |written| written.bytes),
            as_files: step.root.is_physical(),
            verified,
            unchanged: false,
            rewritten: made.rewritten,
        })
    }

    fn stage_database(&self, step: &DatabaseRestore) -> Result<StagedDatabase> {
        let database = step.root;
        let half = database.bytes() / 2;
        let occupied = self.options.occupied_target(step.other_files);
        let in_place = self.stage_in_place(step, occupied, half)?;
        if let Some((staged, rewritten)) = in_place {
            return Ok(StagedDatabase {
                staged,
                selected: None,
                tables: TableStreamBytes::default(),
                rewritten: Some(rewritten),
            });
        }
        match &database.content {
            DatabaseContent::Physical { tree } => {
                self.refuse_selection(database)?;
                Ok(StagedDatabase {
                    staged: restore_files::stage_files(
                        self.reader,
                        tree,
                        &step.target,
                        occupied,
                        self.options.ownership,
                        self.report,
                    )?,
                    selected: None,
                    tables: TableStreamBytes::default(),
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
        staging.set_file_attributes(self.database_file_attributes(step));
        let wish = RecordQuery {
            selection: self.options.selection.clone(),
            with_uncertain: self.options.with_uncertain,
        };
        let (reader, report) = (self.reader, self.report);
        let (tables, selected) = if self.options.selection.is_all() {
            let tables = table_writer::write_tables(reader, database, &wish, &staging, &comparator, report)?;
            (tables, None)
        } else {
            let (tables, written) =
                table_writer::write_selected_tables(reader, database, &wish, &staging, &comparator, report)?;
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
        let path = made.staged.handle();
        let (repo, reader, report) = (self.repo, self.reader, self.report);
        let expected = match (&database.content, &made.selected) {
            (DatabaseContent::Physical { tree }, _) => {
                return restore_files::verify(repo, reader, tree, path, report);
            }
            (DatabaseContent::Logical { .. }, Some(written)) => ExpectedDatabase::from_selection(written),
            (DatabaseContent::Logical { .. }, None) => {
                ExpectedDatabase::from_snapshot(repo, reader, database, self.options.with_uncertain)?
            }
        };
        let expected = expected.in_tables(std::mem::take(&mut made.tables));
        verify_database::verify(repo, &expected, path, report)
    }

    fn refuse_selection(&self, database: &DatabaseRoot) -> Result<()> {
        if self.options.selection.is_all() {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Usage,
                format!("{} is stored as files; restore it whole", database.name),
            ))
        }
    }

    /// Restores what lies beside a database into its stage, in which what lay beside the old one may be.
    fn restore_beside(&self, step: &DatabaseRestore, staged: &StagedResult) -> Result<()> {
        let has_others = staged.has_other_files();
        let deletes = has_others && self.options.extra_entries == ExtraEntries::Delete;
        if step.root.beside.is_none() && !deletes || self.options.records_only() {
            return Ok(());
        }
        let directory = staged
            .directory_file()
            .try_clone()
            .context(|| "hold the stage open")?;
        let target = if has_others {
            TreeTarget::merge_into_open(directory, &step.display_path)?.with_links_per_file(2)
        } else {
            TreeTarget::add_to(directory, &step.display_path)?
        };
        self.fill_directory_beside(step, target)
    }

    /// The database that stands there stays; what lies beside it comes into its directory.
    fn restore_beside_in_place(&self, step: &DatabaseRestore) -> Result<()> {
        let directory = HeldDirectory::open_nofollow(&step.target)?.open()?;
        let target = TreeTarget::merge_into_open(directory, &step.display_path)?;
        if let Some(attributes) = &step.attributes {
            target.root().set_attributes(attributes.clone());
        }
        if self.options.records_only() {
            target.finish().map(drop)
        } else {
            self.fill_directory_beside(step, target)
        }
    }

    fn fill_directory_beside(&self, step: &DatabaseRestore, target: TreeTarget) -> Result<()> {
        let start = RestoreWalkStart {
            top_source: step.top_source,
            node: database_node(step),
            directory: target.root().clone(),
            name: None,
            pattern_origin: step.pattern_origin.clone(),
            choice: step.choice,
        };
        let account = target.report();
        let filled = self.restore_into(&target, vec![start], step.nesting);
        let finished = filled.and_then(|()| target.finish());
        self.report_tree_problems(&account);
        finished.map(drop)
    }
}

fn entry_path(name: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(name))
}

fn database_node(step: &DatabaseRestore) -> TreeNode {
    TreeNode {
        source: step.number as usize,
        entry: TreeEntry {
            name: Vec::new(),
            kind: EntryKind::Database(step.number),
            meta: crate::snapshot::FileMetadata::default(),
        },
    }
}
