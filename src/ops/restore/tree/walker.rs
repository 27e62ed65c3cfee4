//! The walk over a snapshot's tree: decides about each entry, makes directories and links itself, and hands files on.
//!
//! ```text
//! snapshot's walk:   a   a/b   a/b/f        a/c          (next)
//! levels:            [top] [a] [a/b]   ->   [top] [a]    a/b is closed: what only the target has in it may go
//! ```

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::decide::{Doing, Rules, attributes, decide, is_directory};
use super::extra::Extra;
use super::links::Role;
use super::task::{Batch, NewFile, Piece, Task, Writing, weight};
use super::worker::Shop;
use super::{Planned, content, is_fatal};
use crate::error::{Error, Kind, Result};
use crate::leveldb::name::FileName;
use crate::ops::tree::{Node, View, Walk};
use crate::pattern::{Choice, Place, Selector};
use crate::report::Report;
use crate::snapshot::{EntryKind, TreeEntry};
use crate::target::ForbiddenPaths;
use crate::target::tree::{Attributes, Depth, Directory, Draft, Problems, Standing, What};

/// Takes what would be done.
pub type EachPlanned<'a> = &'a mut dyn FnMut(Planned);

/// What is done about what is decided.
pub enum Hands<'a> {
    /// It is told.
    Plan(EachPlanned<'a>, &'a Problems),
    /// It is done.
    Work(&'a Shop<'a>, Batch),
}

impl Hands<'_> {
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
pub struct Deferred {
    pub directory: Arc<Directory>,
    pub name: Vec<u8>,
    pub number: u32,
    /// The source that is restored for itself, and that it lies in.
    pub top: usize,
    pub attributes: Attributes,
    /// What stands there gives way first, as far as this says.
    pub clears: Option<Depth>,
    /// Nothing stands there.
    pub is_vacant: bool,
    pub place: Where,
    pub choice: Choice,
}

/// Where a walk begins, for patterns.
#[derive(Clone, Debug, Default)]
pub struct Where {
    /// The absolute path it stood at.
    pub absolute: Vec<u8>,
    /// The path from what was asked for.
    pub inner: Vec<u8>,
}

impl Where {
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
pub struct Start {
    /// The source that is restored for itself.
    pub top: usize,
    pub node: Node,
    /// The directory that what was asked for comes into.
    pub directory: Arc<Directory>,
    /// Under this name; without one, the directory becomes it.
    pub name: Option<Vec<u8>>,
    pub place: Where,
    /// What was chosen of the directory above.
    pub choice: Choice,
}

/// A directory on the way to what is walked now.
pub struct Level {
    pub directory: Arc<Directory>,
    pub choice: Choice,
    /// Names that stand in it and have not been met in the snapshot.
    unseen: Option<BTreeSet<Vec<u8>>>,
    /// Names that stood in it when it was come to; `None` where nothing stood at the target.
    listed: Option<HashSet<Vec<u8>>>,
    /// All of the snapshot's names were read.
    is_whole: bool,
    /// It is a database's, whose own files are not the tree's.
    is_database: bool,
    pub place: Where,
}

pub struct Walker<'a> {
    pub view: View<'a>,
    pub rules: Rules,
    pub selector: &'a Selector,
    pub report: &'a Report,
    pub forbidden: &'a ForbiddenPaths,
    pub hands: Hands<'a>,
    /// Nothing stood at the target.
    pub is_new: bool,
    pub databases: Vec<Deferred>,
    levels: Vec<Level>,
    start: Where,
    start_name: Option<Vec<u8>>,
    top: usize,
}

impl<'a> Walker<'a> {
    pub fn new(
        view: View<'a>,
        rules: Rules,
        selector: &'a Selector,
        report: &'a Report,
        forbidden: &'a ForbiddenPaths,
        hands: Hands<'a>,
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
            start: Where::default(),
            start_name: None,
            top: 0,
        }
    }

    /// Walks one of the things that were asked for.
    pub fn walk(&mut self, start: Start) -> Result<()> {
        let mut walk = self.view.walk(start.node);
        (self.start, self.start_name, self.top) = (start.place.clone(), start.name, start.top);
        let listed = self.listed(&start.directory)?;
        self.levels = vec![Level {
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
            Hands::Plan(..) => Ok(()),
            Hands::Work(_, batch) => batch.flush(),
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
                let extra = Extra {
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
    fn met(&mut self, node: &Node, walk: &Walk) -> Result<bool> {
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
        let asked = Place::stored(&place.absolute, &place.inner, is_directory(&node.entry));
        let choice = self.selector.choose(&asked, parent);
        if choice == Choice::LeaveOut {
            return Ok(false);
        }
        if is_database && std::str::from_utf8(&name).is_ok_and(|name| FileName::parse(name).is_some()) {
            let what = format!("restore {}", self.levels[walk.depth()].directory.shown_in(&name));
            self.failed(Error::corrupt("a file beside a database has a name of LevelDB's").act(what))?;
            return Ok(false);
        }
        let taken = match (&node.entry.kind, choice) {
            (EntryKind::Database(number), Choice::Take) if !self.is_start(walk) => {
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
    fn is_start(&self, walk: &Walk) -> bool {
        walk.depth() == 0 && self.start_name.is_none()
    }

    fn enter_start(&mut self, entry: &TreeEntry, place: Where, choice: Choice) -> Result<bool> {
        let directory = self.levels[0].directory.clone();
        let is_database = matches!(entry.kind, EntryKind::Database(_));
        let standing = if self.is_new { None } else { directory.standing()? };
        let doing = decide(self.rules, entry, standing.as_ref(), None);
        // A database's directory gets its attributes where the database is restored.
        if doing != Doing::Leave && !is_database && matches!(self.hands, Hands::Work(..)) {
            directory.set_attributes(attributes(&entry.meta));
        }
        self.push_level(directory, standing.is_some(), is_database, place, choice)?;
        Ok(true)
    }

    fn push_level(
        &mut self,
        directory: Arc<Directory>,
        stands: bool,
        is_database: bool,
        place: Where,
        choice: Choice,
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
        if let Hands::Work(shop, _) = &self.hands {
            shop.tally.a_directory();
        }
        self.levels.push(Level {
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

    fn listed(&self, directory: &Arc<Directory>) -> Result<Option<HashSet<Vec<u8>>>> {
        if self.is_new {
            Ok(None)
        } else {
            directory.names().map(|names| Some(names.into_iter().collect()))
        }
    }

    /// What stands under a name in a level's directory.
    ///
    /// # Errors
    /// [`Kind::Exists`] if it is there under another name only: the filesystem takes the two names for one, and what
    /// has the other name, an earlier file or one that was just restored, must not give way. [`Kind::Usage`] if it must
    /// stay untouched.
    fn standing(&mut self, depth: usize, name: &[u8]) -> Result<Option<Standing>> {
        let level = &mut self.levels[depth];
        let Some(listed) = &level.listed else {
            return Ok(None);
        };
        let standing = level.directory.look(name)?;
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
        place: Where,
        choice: Choice,
    ) -> Result<bool> {
        let above = self.levels[depth].directory.clone();
        let standing = self.standing(depth, &name)?;
        let doing = decide(self.rules, entry, standing.as_ref(), None);
        let own = attributes(&entry.meta);
        if let Hands::Work(_, batch) = &mut self.hands {
            batch.weigh(weight(&own))?;
        }
        let directory = match (&standing, doing) {
            (Some(standing), Doing::Leave) if !standing.is_directory() => {
                self.tell(&above, &name, doing, 0);
                return Ok(false);
            }
            (Some(standing), Doing::Leave) => above.standing_child(&name, standing, None)?,
            (Some(standing), Doing::Refresh) => above.standing_child(&name, standing, Some(own))?,
            (standing, _) => {
                let clears = standing.as_ref().map(|_| Depth::One);
                let directory = above.child(&name, Some(own), clears)?;
                if choice == Choice::Take {
                    self.tell(&above, &name, doing, 0);
                    if matches!(self.hands, Hands::Work(..)) {
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
        place: Where,
        choice: Choice,
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
        let is_there = standing.as_ref().is_some_and(Standing::is_directory);
        let never = self.rules.overwrite == super::super::Overwrite::Never;
        if doing == Doing::Leave && (never || !is_there) {
            self.tell(&directory, &name, Doing::Leave, root.bytes());
            return Ok(false);
        }
        if let Hands::Plan(each, _) = &mut self.hands {
            each(Planned::of_database(directory.shown_in(&name), doing, root));
        }
        self.databases.push(Deferred {
            is_vacant: standing.is_none(),
            clears: standing.filter(|_| !is_there).map(|_| Depth::One),
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
    fn thing(&mut self, node: &Node, name: &[u8], depth: usize) -> Result<()> {
        let directory = self.levels[depth].directory.clone();
        let standing = self.standing(depth, name)?;
        let link = match (&node.entry.kind, &standing) {
            (EntryKind::Symlink(_), Some(standing)) if standing.what == What::Symlink => {
                Some(directory.link_target(name)?)
            }
            _ => None,
        };
        let doing = decide(self.rules, &node.entry, standing.as_ref(), link.as_deref());
        refuse_filled(&directory, name, standing.as_ref(), doing)?;
        if let (Some(standing), Doing::Make(Depth::Whole)) = (&standing, doing) {
            self.forbidden
                .refuse_to_remove(standing.identity, &directory.shown_in(name))?;
        }
        let bytes = match &node.entry.kind {
            EntryKind::File(list) => list.bytes(),
            _ => 0,
        };
        self.tell(&directory, name, doing, bytes);
        let doing = of_what_stands(doing, standing.as_ref());
        let Hands::Work(shop, batch) = &mut self.hands else {
            return Ok(());
        };
        match (&node.entry.kind, doing) {
            (_, Doing::Leave) => {
                shop.tally.left();
                self.report.bytes_done.add(bytes);
                Ok(())
            }
            (EntryKind::File(list), doing) => {
                let new = NewFile {
                    directory,
                    name: name.to_vec(),
                    list: list.clone(),
                    attributes: attributes(&node.entry.meta),
                    holes: node.entry.meta.holes.clone(),
                    clears: clears(doing),
                    is_vacant: standing.is_none(),
                    first_of: None,
                };
                file(shop, batch, node, new, Decided { doing, standing })
            }
            (kind, doing) => special(shop, node, kind, &directory, name, Decided { doing, standing }),
        }
    }

    fn tell(&mut self, directory: &Arc<Directory>, name: &[u8], doing: Doing, bytes: u64) {
        if let Hands::Plan(each, _) = &mut self.hands {
            let target = directory.shown_in(name);
            each(Planned::of(target, doing, bytes));
        }
    }
}

/// What is removed with all that is in it is the directory that was looked at.
fn of_what_stands(doing: Doing, standing: Option<&Standing>) -> Doing {
    match (doing, standing) {
        (Doing::Make(Depth::Whole), Some(standing)) => Doing::Make(Depth::WholeOf(standing.identity)),
        (doing, _) => doing,
    }
}

fn clears(doing: Doing) -> Depth {
    match doing {
        Doing::Make(depth) => depth,
        _ => Depth::One,
    }
}

/// A directory goes with what is in it only if deleting was asked for.
fn refuse_filled(
    directory: &Arc<Directory>,
    name: &[u8],
    standing: Option<&Standing>,
    doing: Doing,
) -> Result<()> {
    let in_the_way = standing.filter(|standing| standing.is_directory() && doing == Doing::Make(Depth::One));
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
            Kind::Exists,
            format!(
                "{} is a directory that is not empty; --delete lets it go",
                directory.shown_in(name)
            ),
        ))
    }
}

/// What becomes of something, and what it was decided by.
struct Decided {
    doing: Doing,
    standing: Option<Standing>,
}

/// Two names of the snapshot that are one to the filesystem.
pub fn taken_for_another(shown: &str) -> Error {
    Error::new(
        Kind::Exists,
        format!(
            "{shown}: the target's filesystem takes this name for another one that is there; rename one of the two"
        ),
    )
}

fn file(shop: &Shop, batch: &mut Batch, node: &Node, mut new: NewFile, decided: Decided) -> Result<()> {
    let doing = decided.doing;
    let bytes = weight(&new.attributes) + 16 * new.holes.len() as u64;
    let group = node.entry.meta.hard_link.map(|number| (node.source, number));
    if let Some(group) = group {
        match shop.links.role(group, &node.entry.kind) {
            Role::First => new.first_of = Some(group),
            Role::Other => return batch.push(Task::Link(group, new), bytes),
            Role::Alone | Role::Lie => shop.tally.unlinked(),
        }
    }
    let has_more_names = decided.standing.filter(|standing| {
        standing.links > shop.names_each && matches!(doing, Doing::Compare | Doing::Refresh)
    });
    if let (Some(standing), Some(group)) = (has_more_names, new.first_of) {
        return shop.keep_shared(group, new, standing);
    }
    match doing {
        Doing::Compare => batch.push(Task::Compare(new), bytes),
        Doing::Refresh | Doing::Same => shop.refresh(new),
        _ => {
            batch.weigh(bytes)?;
            pieces(shop, batch, new)
        }
    }
}

/// Cuts a file into what is fetched together.
fn pieces(shop: &Shop, batch: &mut Batch, new: NewFile) -> Result<()> {
    let writing = Writing::new(new);
    let cut = cut(shop, batch, &writing);
    let told = match cut {
        Err(error) => shop.fail(&writing, error),
        cut => cut,
    };
    // The walker may be the last one that holds it.
    let released = shop.release(writing);
    told.and(released)
}

fn cut(shop: &Shop, batch: &mut Batch, writing: &Arc<Writing>) -> Result<()> {
    let (mut waiting, mut bytes): (Vec<Piece>, u64) = (Vec::new(), 0);
    if writing.file.list.depth() > 0 {
        // Long ones are refused here, or they would be cut to their end for nothing.
        shop.begin(writing)?;
    }
    for piece in content::pieces(&writing.file.list, shop.reader)? {
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
            batch.push(Task::Write(writing.clone(), std::mem::take(&mut waiting)), bytes)?;
            bytes = 0;
        }
    }
    batch.push(Task::Write(writing.clone(), waiting), bytes)
}

/// A link, a pipe, a device: made here and now.
fn special(
    shop: &Shop,
    node: &Node,
    kind: &EntryKind,
    directory: &Arc<Directory>,
    name: &[u8],
    decided: Decided,
) -> Result<()> {
    let doing = decided.doing;
    let group = node.entry.meta.hard_link.map(|number| (node.source, number));
    let role = group.map(|group| (group, shop.links.role(group, kind)));
    if doing == Doing::Same {
        shop.tally.left();
        if let Some((group, Role::First)) = role {
            shop.links.done(group, directory.placed(name)?);
        }
        return Ok(());
    }
    let mut draft = shop.target.draft(directory, name, clears(doing))?;
    draft.set_vacant(decided.standing.is_none());
    let first = match role {
        Some((group, Role::Other)) => shop.links.first(group),
        _ => None,
    };
    let made = match first {
        Some(first) if draft.link(&first).is_ok() => Ok(()),
        _ => make(&draft, kind, &attributes(&node.entry.meta)),
    };
    if let Err(error) = made {
        draft.discard()?;
        return Err(error.act(format!("restore {}", directory.shown_in(name))));
    }
    if let Some((group, Role::First)) = role {
        shop.links.done(group, draft.placed());
    }
    shop.tally.another();
    shop.target.place(draft)
}

fn make(draft: &Draft, kind: &EntryKind, attributes: &Attributes) -> Result<()> {
    match kind {
        EntryKind::Symlink(target) => draft.symlink(target, attributes),
        EntryKind::Fifo => draft.fifo(attributes),
        EntryKind::Device(device) => draft
            .device(device.is_block, device.major, device.minor, attributes)
            .map_err(|error| error.act("a device node, which only root may make")),
        EntryKind::File(_) | EntryKind::Directory(_) | EntryKind::Database(_) => {
            Err(Error::corrupt("nothing that is made at once"))
        }
    }
}
