//! Walks a snapshot's tree and creates directories and links.
//!
//! The walk over a snapshot's tree: decides about each entry, makes directories and links itself, and hands files on.
//!
//! ```text
//! snapshot's walk:   a   a/b   a/b/f        a/c          (next)
//! levels:            [top] [a] [a/b]   ->   [top] [a]    a/b is closed: what only the target has in it may go
//! ```

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::entry_decision::{EntryDecision, OverwriteRules, decide_entry, is_directory};
use super::extra_entries::ExtraEntry;
use super::hard_links::LinkRole;
use super::restore_tasks::{
    ChunkWriteTask, FileInProgress, FileRestoreTask, RestoreTask, RestoreTaskBatch, memory_weight,
};
use super::worker::RestoreWorkerContext;
use super::{PlannedEntry, file_content, is_fatal};
use crate::engine::file_attributes::attributes;
use crate::engine::tree::{NodeWalker, SnapshotView, TreeNode};
use crate::error::{Error, ErrorKind, Result};
use crate::leveldb::file_name::FileName;
use crate::pattern::{PatternPath, Selector, SelectorChoice};
use crate::report::OperationReport;
use crate::snapshot::{EntryKind, TreeEntry};
use crate::target::ForbiddenPaths;
use crate::target::tree::{
    ExistingEntry, ExistingKind, FileDraft, RemoveDepth, TargetAttributes, TargetDirectory, TreeProblems,
};

/// Takes what would be done.
pub type PlanVisitor<'a> = &'a mut dyn FnMut(PlannedEntry);

/// What is done about what is decided.
pub enum RestoreWalkMode<'a> {
    /// It is told.
    Plan(PlanVisitor<'a>, &'a TreeProblems),
    /// It is done.
    Work(&'a RestoreWorkerContext<'a>, RestoreTaskBatch),
}

impl RestoreWalkMode<'_> {
    /// Something could not be done, and the rest goes on.
    pub fn report_problem(&self, error: Error) {
        match self {
            Self::Plan(_, problems) => problems.add(error),
            Self::Work(shop, _) => {
                shop.counters.count_mismatch(&error);
                shop.target.problems().add(error);
            }
        }
    }
}

/// A database of the tree, for when the files are there.
pub struct DeferredDatabase {
    pub directory: Arc<TargetDirectory>,
    pub name: Vec<u8>,
    pub number: u32,
    /// The source that is restored for itself, and that it lies in.
    pub top_source: usize,
    pub attributes: TargetAttributes,
    /// What stands there gives way first, as far as this says.
    pub removes: Option<RemoveDepth>,
    /// Nothing stands there.
    pub is_vacant: bool,
    pub pattern_origin: PatternOrigin,
    pub choice: SelectorChoice,
}

/// Where a walk begins, for patterns.
#[derive(Clone, Debug, Default)]
pub struct PatternOrigin {
    /// The absolute path it stood at.
    pub absolute: Vec<u8>,
    /// The path from what was asked for.
    pub inner: Vec<u8>,
}

impl PatternOrigin {
    pub fn below(&self, path: &[u8]) -> Self {
        let join = |base: &[u8]| match (base, path) {
            (base, b"") => base.to_vec(),
            (b"", path) => path.to_vec(),
            (base, path) if base.ends_with(b"/") => [base, path].concat(),
            (base, path) => [base, b"/", path].concat(),
        };
        Self {
            absolute: join(&self.absolute),
            inner: join(&self.inner),
        }
    }
}

/// What a walk begins with.
pub struct RestoreWalkStart {
    /// The source that is restored for itself.
    pub top_source: usize,
    pub node: TreeNode,
    /// The directory that what was asked for comes into.
    pub directory: Arc<TargetDirectory>,
    /// Under this name; without one, the directory becomes it.
    pub name: Option<Vec<u8>>,
    pub pattern_origin: PatternOrigin,
    /// What was chosen of the directory above.
    pub choice: SelectorChoice,
}

/// A directory on the way to what is walked now.
pub struct RestoredLevel {
    pub directory: Arc<TargetDirectory>,
    pub choice: SelectorChoice,
    /// Names that stand in it and have not been met in the snapshot.
    unmatched: Option<BTreeSet<Vec<u8>>>,
    /// Names that stood in it when it was come to; `None` where nothing stood at the target.
    listed: Option<HashSet<Vec<u8>>>,
    /// All of the snapshot's names were read.
    is_fully_listed: bool,
    /// It is a database's, whose own files are not the tree's.
    is_database: bool,
    pub pattern_origin: PatternOrigin,
}

pub struct RestoreWalker<'a> {
    pub view: SnapshotView<'a>,
    pub rules: OverwriteRules,
    pub selector: &'a Selector,
    pub report: &'a OperationReport,
    pub forbidden: &'a ForbiddenPaths,
    pub mode: RestoreWalkMode<'a>,
    /// Nothing stood at the target.
    pub is_new: bool,
    pub databases: Vec<DeferredDatabase>,
    levels: Vec<RestoredLevel>,
    start: PatternOrigin,
    start_name: Option<Vec<u8>>,
    top_source: usize,
}

impl<'a> RestoreWalker<'a> {
    pub fn new(
        view: SnapshotView<'a>,
        rules: OverwriteRules,
        selector: &'a Selector,
        report: &'a OperationReport,
        forbidden: &'a ForbiddenPaths,
        mode: RestoreWalkMode<'a>,
        is_new: bool,
    ) -> Self {
        Self {
            view,
            rules,
            selector,
            report,
            forbidden,
            mode,
            is_new,
            databases: Vec::new(),
            levels: Vec::new(),
            start: PatternOrigin::default(),
            start_name: None,
            top_source: 0,
        }
    }

    /// Walks one of the things that were asked for.
    pub fn walk(&mut self, start: RestoreWalkStart) -> Result<()> {
        let mut walk = self.view.walk(start.node);
        (self.start, self.start_name, self.top_source) =
            (start.pattern_origin.clone(), start.name, start.top_source);
        let listed = self.list_names(&start.directory)?;
        self.levels = vec![RestoredLevel {
            directory: start.directory,
            choice: start.choice,
            unmatched: None,
            listed,
            is_fully_listed: true,
            is_database: false,
            pattern_origin: start.pattern_origin,
        }];
        while let Some(step) = walk.next() {
            self.report.go_on()?;
            match step {
                Ok(node) => {
                    self.close_levels(walk.depth() + 1)?;
                    if !self.visit_node(&node, &walk)? {
                        walk.skip_children();
                    }
                }
                Err(error) => {
                    if walk.is_cut_short() {
                        self.levels
                            .iter_mut()
                            .for_each(|level| level.is_fully_listed = false);
                    }
                    self.note_unlisted(error, walk.depth())?;
                }
            }
        }
        self.close_levels(0)
    }

    /// All that is handed on is on its way.
    pub fn flush(&mut self) -> Result<()> {
        match &mut self.mode {
            RestoreWalkMode::Plan(..) => Ok(()),
            RestoreWalkMode::Work(_, batch) => batch.flush(),
        }
    }

    /// Part of a directory could not be read: nobody knows what is not in it.
    fn note_unlisted(&mut self, error: Error, depth: usize) -> Result<()> {
        self.close_levels(depth + 2)?;
        if let Some(level) = self.levels.get_mut(depth + 1) {
            level.is_fully_listed = false;
        }
        self.report_unless_fatal(error)
    }

    fn report_unless_fatal(&self, error: Error) -> Result<()> {
        if is_fatal(&error) {
            return Err(error);
        }
        self.mode.report_problem(error);
        Ok(())
    }

    fn close_levels(&mut self, count: usize) -> Result<()> {
        while self.levels.len() > count {
            let Some(level) = self.levels.pop() else { break };
            let unseen = level.unmatched.as_ref().filter(|_| level.is_fully_listed);
            for name in unseen.into_iter().flatten() {
                self.report.go_on()?;
                let extra = ExtraEntry {
                    selector: self.selector,
                    forbidden: self.forbidden,
                    pattern_origin: level.pattern_origin.below(name),
                    is_database: level.is_database,
                };
                if let Err(error) = extra.remove(&level.directory, name, level.choice, &mut self.mode) {
                    self.report_unless_fatal(error)?;
                }
            }
        }
        Ok(())
    }

    /// One entry; whether to go into it.
    fn visit_node(&mut self, node: &TreeNode, walk: &NodeWalker) -> Result<bool> {
        let name = match (&self.start_name, walk.depth()) {
            (Some(name), 0) => name.clone(),
            _ => node.entry.name.clone(),
        };
        let level = &mut self.levels[walk.depth()];
        if let Some(unseen) = &mut level.unmatched {
            unseen.remove(&name);
        }
        let (parent, is_database) = (level.choice, level.is_database);
        let place = self.start.below(walk.path());
        let asked = PatternPath::stored(&place.absolute, &place.inner, is_directory(&node.entry));
        let choice = self.selector.is_selected(&asked, parent);
        if choice == SelectorChoice::LeaveOut {
            return Ok(false);
        }
        if is_database && std::str::from_utf8(&name).is_ok_and(|name| FileName::parse(name).is_some()) {
            let what = format!(
                "restore {}",
                self.levels[walk.depth()].directory.display_path_of(&name)
            );
            self.report_unless_fatal(
                Error::corrupt("a file beside a database has a name of LevelDB's").context(what),
            )?;
            return Ok(false);
        }
        let taken = match (&node.entry.kind, choice) {
            (EntryKind::Database(number), SelectorChoice::Take) if !self.is_start(walk) => {
                self.visit_database(*number, &node.entry, name, walk.depth(), place, choice)
            }
            (EntryKind::Directory(_) | EntryKind::Database(_), _) if self.is_start(walk) => {
                self.enter_start(&node.entry, place, choice)
            }
            (EntryKind::Directory(_) | EntryKind::Database(_), _) => {
                self.visit_directory(&node.entry, name, walk.depth(), place, choice)
            }
            _ => self.visit_other(node, &name, walk.depth()).map(|()| false),
        };
        match taken {
            Ok(enter) => Ok(enter),
            Err(error) => self.report_unless_fatal(error).map(|()| false),
        }
    }

    /// True for what the target itself becomes.
    fn is_start(&self, walk: &NodeWalker) -> bool {
        walk.depth() == 0 && self.start_name.is_none()
    }

    fn enter_start(
        &mut self,
        entry: &TreeEntry,
        place: PatternOrigin,
        choice: SelectorChoice,
    ) -> Result<bool> {
        let directory = self.levels[0].directory.clone();
        let is_database = matches!(entry.kind, EntryKind::Database(_));
        let standing = if self.is_new { None } else { directory.stat_self()? };
        let doing = decide_entry(self.rules, entry, standing.as_ref(), None);
        // A database's directory gets its attributes where the database is restored.
        if doing != EntryDecision::Leave && !is_database && matches!(self.mode, RestoreWalkMode::Work(..)) {
            directory.set_attributes(attributes(&entry.meta));
        }
        self.push_level(directory, standing.is_some(), is_database, place, choice)?;
        Ok(true)
    }

    fn push_level(
        &mut self,
        directory: Arc<TargetDirectory>,
        stands: bool,
        is_database: bool,
        place: PatternOrigin,
        choice: SelectorChoice,
    ) -> Result<()> {
        let listed = if stands {
            self.list_names(&directory)?
        } else {
            (!self.is_new).then(HashSet::new)
        };
        let unseen = if stands && self.rules.deletes {
            listed.as_ref().map(|names| names.iter().cloned().collect())
        } else {
            None
        };
        if let RestoreWalkMode::Work(shop, _) = &self.mode {
            shop.counters.count_directory();
        }
        self.levels.push(RestoredLevel {
            directory,
            choice,
            unmatched: unseen,
            listed,
            is_fully_listed: true,
            is_database,
            pattern_origin: place,
        });
        Ok(())
    }

    fn list_names(&self, directory: &Arc<TargetDirectory>) -> Result<Option<HashSet<Vec<u8>>>> {
        if self.is_new {
            Ok(None)
        } else {
            directory.names().map(|names| Some(names.into_iter().collect()))
        }
    }

    /// What stands under a name in a level's directory.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if it is there under another name only: the filesystem takes the two names for one, and what
    /// has the other name, an earlier file or one that was just restored, must not give way. [`ErrorKind::Usage`] if it must
    /// stay untouched.
    fn find_existing(&mut self, depth: usize, name: &[u8]) -> Result<Option<ExistingEntry>> {
        let level = &mut self.levels[depth];
        let Some(listed) = &level.listed else {
            return Ok(None);
        };
        let standing = level.directory.entry(name)?;
        let shown = || level.directory.display_path_of(name);
        if let Some(standing) = &standing {
            self.forbidden.refuse_to_touch(standing.identity, &shown())?;
            if !listed.contains(name) {
                let error = name_conflict_error(&shown());
                // What has the other name must not go as what the snapshot does not have, either.
                level.is_fully_listed = false;
                return Err(error);
            }
        }
        Ok(standing)
    }

    fn visit_directory(
        &mut self,
        entry: &TreeEntry,
        name: Vec<u8>,
        depth: usize,
        place: PatternOrigin,
        choice: SelectorChoice,
    ) -> Result<bool> {
        let above = self.levels[depth].directory.clone();
        let standing = self.find_existing(depth, &name)?;
        let doing = decide_entry(self.rules, entry, standing.as_ref(), None);
        let own = attributes(&entry.meta);
        if let RestoreWalkMode::Work(_, batch) = &mut self.mode {
            batch.add_weight(memory_weight(&own))?;
        }
        let directory = match (&standing, doing) {
            (Some(standing), EntryDecision::Leave) if !standing.is_directory() => {
                self.report_planned(&above, &name, doing, 0);
                return Ok(false);
            }
            (Some(standing), EntryDecision::Leave) => above.existing_child(&name, standing, None)?,
            (Some(standing), EntryDecision::Refresh) => above.existing_child(&name, standing, Some(own))?,
            (standing, _) => {
                let clears = standing.as_ref().map(|_| RemoveDepth::Single);
                let directory = above.child(&name, Some(own), clears)?;
                if choice == SelectorChoice::Take {
                    self.report_planned(&above, &name, doing, 0);
                    if matches!(self.mode, RestoreWalkMode::Work(..)) {
                        directory.open()?;
                    }
                }
                directory
            }
        };
        let stands = standing.is_some_and(|standing| standing.is_directory());
        let is_database = matches!(entry.kind, EntryKind::Database(_));
        self.push_level(directory, stands, is_database, place, choice)?;
        Ok(true)
    }

    fn visit_database(
        &mut self,
        number: u32,
        entry: &TreeEntry,
        name: Vec<u8>,
        depth: usize,
        place: PatternOrigin,
        choice: SelectorChoice,
    ) -> Result<bool> {
        let directory = self.levels[depth].directory.clone();
        let standing = self.find_existing(depth, &name)?;
        if let Some(standing) = &standing {
            self.forbidden
                .refuse_to_remove(standing.identity, &directory.display_path_of(&name))?;
        }
        let doing = decide_entry(self.rules, entry, standing.as_ref(), None);
        let root = self.view.database(number)?;
        // Whether a database there is to be left, is asked of the database.
        let is_there = standing.as_ref().is_some_and(ExistingEntry::is_directory);
        let never = self.rules.overwrite == super::super::OverwriteMode::Never;
        if doing == EntryDecision::Leave && (never || !is_there) {
            self.report_planned(&directory, &name, EntryDecision::Leave, root.bytes());
            return Ok(false);
        }
        if let RestoreWalkMode::Plan(each, _) = &mut self.mode {
            each(PlannedEntry::from_database_decision(
                directory.display_path_of(&name),
                doing,
                root,
            ));
        }
        self.databases.push(DeferredDatabase {
            is_vacant: standing.is_none(),
            removes: standing.filter(|_| !is_there).map(|_| RemoveDepth::Single),
            directory,
            name,
            number,
            top_source: self.top_source,
            attributes: attributes(&entry.meta),
            pattern_origin: place,
            choice,
        });
        Ok(false)
    }

    /// Anything but a directory.
    fn visit_other(&mut self, node: &TreeNode, name: &[u8], depth: usize) -> Result<()> {
        let directory = self.levels[depth].directory.clone();
        let standing = self.find_existing(depth, name)?;
        let link = match (&node.entry.kind, &standing) {
            (EntryKind::Symlink(_), Some(standing)) if standing.kind == ExistingKind::Symlink => {
                Some(directory.link_target(name)?)
            }
            _ => None,
        };
        let doing = decide_entry(self.rules, &node.entry, standing.as_ref(), link.as_deref());
        refuse_nonempty_directory(&directory, name, standing.as_ref(), doing)?;
        if let (Some(standing), EntryDecision::Make(RemoveDepth::Recursive)) = (&standing, doing) {
            self.forbidden
                .refuse_to_remove(standing.identity, &directory.display_path_of(name))?;
        }
        let bytes = match &node.entry.kind {
            EntryKind::File(list) => list.bytes(),
            _ => 0,
        };
        self.report_planned(&directory, name, doing, bytes);
        let doing = bind_to_existing(doing, standing.as_ref());
        let RestoreWalkMode::Work(shop, batch) = &mut self.mode else {
            return Ok(());
        };
        match (&node.entry.kind, doing) {
            (_, EntryDecision::Leave) => {
                shop.counters.count_left();
                self.report.bytes_done.add(bytes);
                Ok(())
            }
            (EntryKind::File(list), doing) => {
                let new = FileRestoreTask {
                    directory,
                    name: name.to_vec(),
                    list: list.clone(),
                    attributes: attributes(&node.entry.meta),
                    holes: node.entry.meta.holes.clone(),
                    removes: removal_depth(doing),
                    is_vacant: standing.is_none(),
                    first_of: None,
                };
                queue_file(
                    shop,
                    batch,
                    node,
                    new,
                    DecidedEntry {
                        decision: doing,
                        existing: standing,
                    },
                )
            }
            (kind, doing) => restore_special(
                shop,
                node,
                kind,
                &directory,
                name,
                DecidedEntry {
                    decision: doing,
                    existing: standing,
                },
            ),
        }
    }

    fn report_planned(
        &mut self,
        directory: &Arc<TargetDirectory>,
        name: &[u8],
        doing: EntryDecision,
        bytes: u64,
    ) {
        if let RestoreWalkMode::Plan(each, _) = &mut self.mode {
            let target = directory.display_path_of(name);
            each(PlannedEntry::from_decision(target, doing, bytes));
        }
    }
}

/// What is removed with all that is in it is the directory that was looked at.
fn bind_to_existing(doing: EntryDecision, standing: Option<&ExistingEntry>) -> EntryDecision {
    match (doing, standing) {
        (EntryDecision::Make(RemoveDepth::Recursive), Some(standing)) => {
            EntryDecision::Make(RemoveDepth::RecursiveIfSame(standing.identity))
        }
        (doing, _) => doing,
    }
}

fn removal_depth(doing: EntryDecision) -> RemoveDepth {
    match doing {
        EntryDecision::Make(depth) => depth,
        _ => RemoveDepth::Single,
    }
}

/// A directory goes with what is in it only if deleting was asked for.
fn refuse_nonempty_directory(
    directory: &Arc<TargetDirectory>,
    name: &[u8],
    standing: Option<&ExistingEntry>,
    doing: EntryDecision,
) -> Result<()> {
    let in_the_way = standing
        .filter(|standing| standing.is_directory() && doing == EntryDecision::Make(RemoveDepth::Single));
    let Some(standing) = in_the_way else {
        return Ok(());
    };
    if directory
        .existing_child(name, standing, None)?
        .names()?
        .is_empty()
    {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Exists,
            format!(
                "{} is a directory that is not empty; --delete lets it go",
                directory.display_path_of(name)
            ),
        ))
    }
}

/// What becomes of something, and what it was decided by.
struct DecidedEntry {
    decision: EntryDecision,
    existing: Option<ExistingEntry>,
}

/// Two names of the snapshot that are one to the filesystem.
pub fn name_conflict_error(shown: &str) -> Error {
    Error::new(
        ErrorKind::Exists,
        format!(
            "{shown}: the target's filesystem takes this name for another one that is there; rename one of the two"
        ),
    )
}

fn queue_file(
    shop: &RestoreWorkerContext,
    batch: &mut RestoreTaskBatch,
    node: &TreeNode,
    mut new: FileRestoreTask,
    decided: DecidedEntry,
) -> Result<()> {
    let doing = decided.decision;
    let bytes = memory_weight(&new.attributes) + 16 * new.holes.len() as u64;
    let group = node.entry.meta.hard_link.map(|number| (node.source, number));
    if let Some(group) = group {
        match shop.links.assign_role(group, &node.entry.kind) {
            LinkRole::First => new.first_of = Some(group),
            LinkRole::Other => return batch.push(RestoreTask::Link(group, new), bytes),
            LinkRole::Alone | LinkRole::Contradicting => shop.counters.count_unlinked(),
        }
    }
    let has_more_names = decided.existing.filter(|standing| {
        standing.links > shop.links_expected
            && matches!(doing, EntryDecision::Compare | EntryDecision::Refresh)
    });
    if let (Some(standing), Some(group)) = (has_more_names, new.first_of) {
        return shop.defer_shared(group, new, standing);
    }
    match doing {
        EntryDecision::Compare => batch.push(RestoreTask::Compare(new), bytes),
        EntryDecision::Refresh | EntryDecision::Same => shop.refresh(new),
        _ => {
            batch.add_weight(bytes)?;
            queue_file_content(shop, batch, new)
        }
    }
}

/// Cuts a file into what is fetched together.
fn queue_file_content(
    shop: &RestoreWorkerContext,
    batch: &mut RestoreTaskBatch,
    new: FileRestoreTask,
) -> Result<()> {
    let writing = FileInProgress::new(new);
    let cut = queue_chunks(shop, batch, &writing);
    let told = match cut {
        Err(error) => shop.fail_file(&writing, error),
        cut => cut,
    };
    // The walker may be the last one that holds it.
    let released = shop.finish_if_last(writing);
    told.and(released)
}

fn queue_chunks(
    shop: &RestoreWorkerContext,
    batch: &mut RestoreTaskBatch,
    writing: &Arc<FileInProgress>,
) -> Result<()> {
    let (mut waiting, mut bytes): (Vec<ChunkWriteTask>, u64) = (Vec::new(), 0);
    if writing.file.list.depth() > 0 {
        // Long ones are refused here, or they would be cut to their end for nothing.
        shop.open_draft(writing)?;
    }
    for piece in file_content::chunk_tasks(&writing.file.list, shop.reader)? {
        let piece = piece?;
        if writing.has_failed() {
            return Ok(());
        }
        if shop.zeros.is_hole(&piece, &writing.file.holes) {
            shop.report.bytes_done.add(piece.chunk.bytes);
            continue;
        }
        bytes += piece.chunk.bytes;
        waiting.push(piece);
        if bytes >= batch.bytes_until_flush() {
            shop.report.go_on()?;
            batch.push(
                RestoreTask::Write(writing.clone(), std::mem::take(&mut waiting)),
                bytes,
            )?;
            bytes = 0;
        }
    }
    batch.push(RestoreTask::Write(writing.clone(), waiting), bytes)
}

/// A link, a pipe, a device: made here and now.
fn restore_special(
    shop: &RestoreWorkerContext,
    node: &TreeNode,
    kind: &EntryKind,
    directory: &Arc<TargetDirectory>,
    name: &[u8],
    decided: DecidedEntry,
) -> Result<()> {
    let doing = decided.decision;
    let group = node.entry.meta.hard_link.map(|number| (node.source, number));
    let role = group.map(|group| (group, shop.links.assign_role(group, kind)));
    if doing == EntryDecision::Same {
        shop.counters.count_left();
        if let Some((group, LinkRole::First)) = role {
            shop.links.set_placed(group, directory.placed_entry(name)?);
        }
        return Ok(());
    }
    let mut draft = shop.target.begin_draft(directory, name, removal_depth(doing))?;
    draft.set_vacant(decided.existing.is_none());
    let first = match role {
        Some((group, LinkRole::Other)) => shop.links.placed_first(group),
        _ => None,
    };
    let made = match first {
        Some(first) if draft.create_hard_link(&first).is_ok() => Ok(()),
        _ => make_special(&draft, kind, &attributes(&node.entry.meta)),
    };
    if let Err(error) = made {
        draft.discard()?;
        return Err(error.context(format!("restore {}", directory.display_path_of(name))));
    }
    if let Some((group, LinkRole::First)) = role {
        shop.links.set_placed(group, draft.placed_entry());
    }
    shop.counters.count_other();
    shop.target.commit_draft(draft)
}

fn make_special(draft: &FileDraft, kind: &EntryKind, attributes: &TargetAttributes) -> Result<()> {
    match kind {
        EntryKind::Symlink(target) => draft.create_symlink(target, attributes),
        EntryKind::Fifo => draft.create_fifo(attributes),
        EntryKind::Device(device) => draft
            .create_device(device.is_block, device.major, device.minor, attributes)
            .map_err(|error| error.context("a device node, which only root may make")),
        EntryKind::File(_) | EntryKind::Directory(_) | EntryKind::Database(_) => {
            Err(Error::corrupt("nothing that is made at once"))
        }
    }
}
