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

use super::entry_decision::{EntryDecision, OverwriteRules, attributes, decide, is_directory};
use super::extra_entries::ExtraEntry;
use super::hard_links::LinkRole;
use super::restore_tasks::{ChunkTask, FileInProgress, FileTask, RestoreTask, TaskBatch, weight};
use super::worker::WorkerContext;
use super::{PlannedEntry, file_content, is_fatal};
use crate::error::{Error, ErrorKind, Result};
use crate::leveldb::file_name::FileName;
use crate::ops::tree::{NodeWalk, SnapshotView, TreeNode};
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
pub enum WalkMode<'a> {
    /// It is told.
    Plan(PlanVisitor<'a>, &'a TreeProblems),
    /// It is done.
    Work(&'a WorkerContext<'a>, TaskBatch),
}

impl WalkMode<'_> {
    /// Something could not be done, and the rest goes on.
    pub fn problem(&self, error: Error) {
        match self {
            Self::Plan(_, problems) => problems.add(error),
            Self::Work(shop, _) => {
                shop.tally.failed(&error);
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
    pub top: usize,
    pub attributes: TargetAttributes,
    /// What stands there gives way first, as far as this says.
    pub clears: Option<RemoveDepth>,
    /// Nothing stands there.
    pub is_vacant: bool,
    pub place: PatternOrigin,
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
pub struct WalkStart {
    /// The source that is restored for itself.
    pub top: usize,
    pub node: TreeNode,
    /// The directory that what was asked for comes into.
    pub directory: Arc<TargetDirectory>,
    /// Under this name; without one, the directory becomes it.
    pub name: Option<Vec<u8>>,
    pub place: PatternOrigin,
    /// What was chosen of the directory above.
    pub choice: SelectorChoice,
}

/// A directory on the way to what is walked now.
pub struct WalkedDirectory {
    pub directory: Arc<TargetDirectory>,
    pub choice: SelectorChoice,
    /// Names that stand in it and have not been met in the snapshot.
    unseen: Option<BTreeSet<Vec<u8>>>,
    /// Names that stood in it when it was come to; `None` where nothing stood at the target.
    listed: Option<HashSet<Vec<u8>>>,
    /// All of the snapshot's names were read.
    is_whole: bool,
    /// It is a database's, whose own files are not the tree's.
    is_database: bool,
    pub place: PatternOrigin,
}

pub struct RestoreWalker<'a> {
    pub view: SnapshotView<'a>,
    pub rules: OverwriteRules,
    pub selector: &'a Selector,
    pub report: &'a OperationReport,
    pub forbidden: &'a ForbiddenPaths,
    pub hands: WalkMode<'a>,
    /// Nothing stood at the target.
    pub is_new: bool,
    pub databases: Vec<DeferredDatabase>,
    levels: Vec<WalkedDirectory>,
    start: PatternOrigin,
    start_name: Option<Vec<u8>>,
    top: usize,
}

impl<'a> RestoreWalker<'a> {
    pub fn new(
        view: SnapshotView<'a>,
        rules: OverwriteRules,
        selector: &'a Selector,
        report: &'a OperationReport,
        forbidden: &'a ForbiddenPaths,
        hands: WalkMode<'a>,
        is_new: bool,
    ) -> Self {
        Self {
            view,
            rules,
            selector,
            report,
            forbidden,
            hands,
            is_new,
            databases: Vec::new(),
            levels: Vec::new(),
            start: PatternOrigin::default(),
            start_name: None,
            top: 0,
        }
    }

    /// Walks one of the things that were asked for.
    pub fn walk(&mut self, start: WalkStart) -> Result<()> {
        let mut walk = self.view.walk(start.node);
        (self.start, self.start_name, self.top) = (start.place.clone(), start.name, start.top);
        let listed = self.listed(&start.directory)?;
        self.levels = vec![WalkedDirectory {
            directory: start.directory,
            choice: start.choice,
            unseen: None,
            listed,
            is_whole: true,
            is_database: false,
            place: start.place,
        }];
        while let Some(step) = walk.next() {
            self.report.go_on()?;
            match step {
                Ok(node) => {
                    self.close_to(walk.depth() + 1)?;
                    if !self.met(&node, &walk)? {
                        walk.pass_over();
                    }
                }
                Err(error) => {
                    if walk.is_cut_short() {
                        self.levels.iter_mut().for_each(|level| level.is_whole = false);
                    }
                    self.unlisted(error, walk.depth())?;
                }
            }
        }
        self.close_to(0)
    }

    /// All that is handed on is on its way.
    pub fn flush(&mut self) -> Result<()> {
        match &mut self.hands {
            WalkMode::Plan(..) => Ok(()),
            WalkMode::Work(_, batch) => batch.flush(),
        }
    }

    /// Part of a directory could not be read: nobody knows what is not in it.
    fn unlisted(&mut self, error: Error, depth: usize) -> Result<()> {
        self.close_to(depth + 2)?;
        if let Some(level) = self.levels.get_mut(depth + 1) {
            level.is_whole = false;
        }
        self.failed(error)
    }

    fn failed(&self, error: Error) -> Result<()> {
        if is_fatal(&error) {
            return Err(error);
        }
        self.hands.problem(error);
        Ok(())
    }

    fn close_to(&mut self, count: usize) -> Result<()> {
        while self.levels.len() > count {
            let Some(level) = self.levels.pop() else { break };
            let unseen = level.unseen.as_ref().filter(|_| level.is_whole);
            for name in unseen.into_iter().flatten() {
                self.report.go_on()?;
                let extra = ExtraEntry {
                    selector: self.selector,
                    forbidden: self.forbidden,
                    place: level.place.below(name),
                    is_database: level.is_database,
                };
                if let Err(error) = extra.remove(&level.directory, name, level.choice, &mut self.hands) {
                    self.failed(error)?;
                }
            }
        }
        Ok(())
    }

    /// One entry; whether to go into it.
    fn met(&mut self, node: &TreeNode, walk: &NodeWalk) -> Result<bool> {
        let name = match (&self.start_name, walk.depth()) {
            (Some(name), 0) => name.clone(),
            _ => node.entry.name.clone(),
        };
        let level = &mut self.levels[walk.depth()];
        if let Some(unseen) = &mut level.unseen {
            unseen.remove(&name);
        }
        let (parent, is_database) = (level.choice, level.is_database);
        let place = self.start.below(walk.path());
        let asked = PatternPath::stored(&place.absolute, &place.inner, is_directory(&node.entry));
        let choice = self.selector.choose(&asked, parent);
        if choice == SelectorChoice::LeaveOut {
            return Ok(false);
        }
        if is_database && std::str::from_utf8(&name).is_ok_and(|name| FileName::parse(name).is_some()) {
            let what = format!("restore {}", self.levels[walk.depth()].directory.shown_in(&name));
            self.failed(Error::corrupt("a file beside a database has a name of LevelDB's").context(what))?;
            return Ok(false);
        }
        let taken = match (&node.entry.kind, choice) {
            (EntryKind::Database(number), SelectorChoice::Take) if !self.is_start(walk) => {
                self.database(*number, &node.entry, name, walk.depth(), place, choice)
            }
            (EntryKind::Directory(_) | EntryKind::Database(_), _) if self.is_start(walk) => {
                self.enter_start(&node.entry, place, choice)
            }
            (EntryKind::Directory(_) | EntryKind::Database(_), _) => {
                self.directory(&node.entry, name, walk.depth(), place, choice)
            }
            _ => self.thing(node, &name, walk.depth()).map(|()| false),
        };
        match taken {
            Ok(enter) => Ok(enter),
            Err(error) => self.failed(error).map(|()| false),
        }
    }

    /// True for what the target itself becomes.
    fn is_start(&self, walk: &NodeWalk) -> bool {
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
        let standing = if self.is_new { None } else { directory.standing()? };
        let doing = decide(self.rules, entry, standing.as_ref(), None);
        // A database's directory gets its attributes where the database is restored.
        if doing != EntryDecision::Leave && !is_database && matches!(self.hands, WalkMode::Work(..)) {
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
            self.listed(&directory)?
        } else {
            (!self.is_new).then(HashSet::new)
        };
        let unseen = if stands && self.rules.deletes {
            listed.as_ref().map(|names| names.iter().cloned().collect())
        } else {
            None
        };
        if let WalkMode::Work(shop, _) = &self.hands {
            shop.tally.a_directory();
        }
        self.levels.push(WalkedDirectory {
            directory,
            choice,
            unseen,
            listed,
            is_whole: true,
            is_database,
            place,
        });
        Ok(())
    }

    fn listed(&self, directory: &Arc<TargetDirectory>) -> Result<Option<HashSet<Vec<u8>>>> {
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
    fn standing(&mut self, depth: usize, name: &[u8]) -> Result<Option<ExistingEntry>> {
        let level = &mut self.levels[depth];
        let Some(listed) = &level.listed else {
            return Ok(None);
        };
        let standing = level.directory.entry(name)?;
        let shown = || level.directory.shown_in(name);
        if let Some(standing) = &standing {
            self.forbidden.refuse_to_touch(standing.identity, &shown())?;
            if !listed.contains(name) {
                let error = taken_for_another(&shown());
                // What has the other name must not go as what the snapshot does not have, either.
                level.is_whole = false;
                return Err(error);
            }
        }
        Ok(standing)
    }

    fn directory(
        &mut self,
        entry: &TreeEntry,
        name: Vec<u8>,
        depth: usize,
        place: PatternOrigin,
        choice: SelectorChoice,
    ) -> Result<bool> {
        let above = self.levels[depth].directory.clone();
        let standing = self.standing(depth, &name)?;
        let doing = decide(self.rules, entry, standing.as_ref(), None);
        let own = attributes(&entry.meta);
        if let WalkMode::Work(_, batch) = &mut self.hands {
            batch.weigh(weight(&own))?;
        }
        let directory = match (&standing, doing) {
            (Some(standing), EntryDecision::Leave) if !standing.is_directory() => {
                self.tell(&above, &name, doing, 0);
                return Ok(false);
            }
            (Some(standing), EntryDecision::Leave) => above.standing_child(&name, standing, None)?,
            (Some(standing), EntryDecision::Refresh) => above.standing_child(&name, standing, Some(own))?,
            (standing, _) => {
                let clears = standing.as_ref().map(|_| RemoveDepth::One);
                let directory = above.child(&name, Some(own), clears)?;
                if choice == SelectorChoice::Take {
                    self.tell(&above, &name, doing, 0);
                    if matches!(self.hands, WalkMode::Work(..)) {
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

    fn database(
        &mut self,
        number: u32,
        entry: &TreeEntry,
        name: Vec<u8>,
        depth: usize,
        place: PatternOrigin,
        choice: SelectorChoice,
    ) -> Result<bool> {
        let directory = self.levels[depth].directory.clone();
        let standing = self.standing(depth, &name)?;
        if let Some(standing) = &standing {
            self.forbidden
                .refuse_to_remove(standing.identity, &directory.shown_in(&name))?;
        }
        let doing = decide(self.rules, entry, standing.as_ref(), None);
        let root = self.view.database(number)?;
        // Whether a database there is to be left, is asked of the database.
        let is_there = standing.as_ref().is_some_and(ExistingEntry::is_directory);
        let never = self.rules.overwrite == super::super::OverwriteMode::Never;
        if doing == EntryDecision::Leave && (never || !is_there) {
            self.tell(&directory, &name, EntryDecision::Leave, root.bytes());
            return Ok(false);
        }
        if let WalkMode::Plan(each, _) = &mut self.hands {
            each(PlannedEntry::of_database(directory.shown_in(&name), doing, root));
        }
        self.databases.push(DeferredDatabase {
            is_vacant: standing.is_none(),
            clears: standing.filter(|_| !is_there).map(|_| RemoveDepth::One),
            directory,
            name,
            number,
            top: self.top,
            attributes: attributes(&entry.meta),
            place,
            choice,
        });
        Ok(false)
    }

    /// Anything but a directory.
    fn thing(&mut self, node: &TreeNode, name: &[u8], depth: usize) -> Result<()> {
        let directory = self.levels[depth].directory.clone();
        let standing = self.standing(depth, name)?;
        let link = match (&node.entry.kind, &standing) {
            (EntryKind::Symlink(_), Some(standing)) if standing.what == ExistingKind::Symlink => {
                Some(directory.link_target(name)?)
            }
            _ => None,
        };
        let doing = decide(self.rules, &node.entry, standing.as_ref(), link.as_deref());
        refuse_filled(&directory, name, standing.as_ref(), doing)?;
        if let (Some(standing), EntryDecision::Make(RemoveDepth::Whole)) = (&standing, doing) {
            self.forbidden
                .refuse_to_remove(standing.identity, &directory.shown_in(name))?;
        }
        let bytes = match &node.entry.kind {
            EntryKind::File(list) => list.bytes(),
            _ => 0,
        };
        self.tell(&directory, name, doing, bytes);
        let doing = of_what_stands(doing, standing.as_ref());
        let WalkMode::Work(shop, batch) = &mut self.hands else {
            return Ok(());
        };
        match (&node.entry.kind, doing) {
            (_, EntryDecision::Leave) => {
                shop.tally.left();
                self.report.bytes_done.add(bytes);
                Ok(())
            }
            (EntryKind::File(list), doing) => {
                let new = FileTask {
                    directory,
                    name: name.to_vec(),
                    list: list.clone(),
                    attributes: attributes(&node.entry.meta),
                    holes: node.entry.meta.holes.clone(),
                    clears: clears(doing),
                    is_vacant: standing.is_none(),
                    first_of: None,
                };
                file(shop, batch, node, new, DecidedEntry { doing, standing })
            }
            (kind, doing) => special(
                shop,
                node,
                kind,
                &directory,
                name,
                DecidedEntry { doing, standing },
            ),
        }
    }

    fn tell(&mut self, directory: &Arc<TargetDirectory>, name: &[u8], doing: EntryDecision, bytes: u64) {
        if let WalkMode::Plan(each, _) = &mut self.hands {
            let target = directory.shown_in(name);
            each(PlannedEntry::of(target, doing, bytes));
        }
    }
}

/// What is removed with all that is in it is the directory that was looked at.
fn of_what_stands(doing: EntryDecision, standing: Option<&ExistingEntry>) -> EntryDecision {
    match (doing, standing) {
        (EntryDecision::Make(RemoveDepth::Whole), Some(standing)) => {
            EntryDecision::Make(RemoveDepth::WholeOf(standing.identity))
        }
        (doing, _) => doing,
    }
}

fn clears(doing: EntryDecision) -> RemoveDepth {
    match doing {
        EntryDecision::Make(depth) => depth,
        _ => RemoveDepth::One,
    }
}

/// A directory goes with what is in it only if deleting was asked for.
fn refuse_filled(
    directory: &Arc<TargetDirectory>,
    name: &[u8],
    standing: Option<&ExistingEntry>,
    doing: EntryDecision,
) -> Result<()> {
    let in_the_way =
        standing.filter(|standing| standing.is_directory() && doing == EntryDecision::Make(RemoveDepth::One));
    let Some(standing) = in_the_way else {
        return Ok(());
    };
    if directory
        .standing_child(name, standing, None)?
        .names()?
        .is_empty()
    {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Exists,
            format!(
                "{} is a directory that is not empty; --delete lets it go",
                directory.shown_in(name)
            ),
        ))
    }
}

/// What becomes of something, and what it was decided by.
struct DecidedEntry {
    doing: EntryDecision,
    standing: Option<ExistingEntry>,
}

/// Two names of the snapshot that are one to the filesystem.
pub fn taken_for_another(shown: &str) -> Error {
    Error::new(
        ErrorKind::Exists,
        format!(
            "{shown}: the target's filesystem takes this name for another one that is there; rename one of the two"
        ),
    )
}

fn file(
    shop: &WorkerContext,
    batch: &mut TaskBatch,
    node: &TreeNode,
    mut new: FileTask,
    decided: DecidedEntry,
) -> Result<()> {
    let doing = decided.doing;
    let bytes = weight(&new.attributes) + 16 * new.holes.len() as u64;
    let group = node.entry.meta.hard_link.map(|number| (node.source, number));
    if let Some(group) = group {
        match shop.links.role(group, &node.entry.kind) {
            LinkRole::First => new.first_of = Some(group),
            LinkRole::Other => return batch.push(RestoreTask::Link(group, new), bytes),
            LinkRole::Alone | LinkRole::Lie => shop.tally.unlinked(),
        }
    }
    let has_more_names = decided.standing.filter(|standing| {
        standing.links > shop.names_each && matches!(doing, EntryDecision::Compare | EntryDecision::Refresh)
    });
    if let (Some(standing), Some(group)) = (has_more_names, new.first_of) {
        return shop.keep_shared(group, new, standing);
    }
    match doing {
        EntryDecision::Compare => batch.push(RestoreTask::Compare(new), bytes),
        EntryDecision::Refresh | EntryDecision::Same => shop.refresh(new),
        _ => {
            batch.weigh(bytes)?;
            pieces(shop, batch, new)
        }
    }
}

/// Cuts a file into what is fetched together.
fn pieces(shop: &WorkerContext, batch: &mut TaskBatch, new: FileTask) -> Result<()> {
    let writing = FileInProgress::new(new);
    let cut = cut(shop, batch, &writing);
    let told = match cut {
        Err(error) => shop.fail(&writing, error),
        cut => cut,
    };
    // The walker may be the last one that holds it.
    let released = shop.release(writing);
    told.and(released)
}

fn cut(shop: &WorkerContext, batch: &mut TaskBatch, writing: &Arc<FileInProgress>) -> Result<()> {
    let (mut waiting, mut bytes): (Vec<ChunkTask>, u64) = (Vec::new(), 0);
    if writing.file.list.depth() > 0 {
        // Long ones are refused here, or they would be cut to their end for nothing.
        shop.begin(writing)?;
    }
    for piece in file_content::pieces(&writing.file.list, shop.reader)? {
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
        if bytes >= batch.room() {
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
fn special(
    shop: &WorkerContext,
    node: &TreeNode,
    kind: &EntryKind,
    directory: &Arc<TargetDirectory>,
    name: &[u8],
    decided: DecidedEntry,
) -> Result<()> {
    let doing = decided.doing;
    let group = node.entry.meta.hard_link.map(|number| (node.source, number));
    let role = group.map(|group| (group, shop.links.role(group, kind)));
    if doing == EntryDecision::Same {
        shop.tally.left();
        if let Some((group, LinkRole::First)) = role {
            shop.links.done(group, directory.placed(name)?);
        }
        return Ok(());
    }
    let mut draft = shop.target.draft(directory, name, clears(doing))?;
    draft.set_vacant(decided.standing.is_none());
    let first = match role {
        Some((group, LinkRole::Other)) => shop.links.first(group),
        _ => None,
    };
    let made = match first {
        Some(first) if draft.link(&first).is_ok() => Ok(()),
        _ => make(&draft, kind, &attributes(&node.entry.meta)),
    };
    if let Err(error) = made {
        draft.discard()?;
        return Err(error.context(format!("restore {}", directory.shown_in(name))));
    }
    if let Some((group, LinkRole::First)) = role {
        shop.links.done(group, draft.placed());
    }
    shop.tally.another();
    shop.target.place(draft)
}

fn make(draft: &FileDraft, kind: &EntryKind, attributes: &TargetAttributes) -> Result<()> {
    match kind {
        EntryKind::Symlink(target) => draft.symlink(target, attributes),
        EntryKind::Fifo => draft.fifo(attributes),
        EntryKind::Device(device) => draft
            .device(device.is_block, device.major, device.minor, attributes)
            .map_err(|error| error.context("a device node, which only root may make")),
        EntryKind::File(_) | EntryKind::Directory(_) | EntryKind::Database(_) => {
            Err(Error::corrupt("nothing that is made at once"))
        }
    }
}
