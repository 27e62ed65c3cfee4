//! Loads all snapshots and selects among them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::annotations::{
    CompactedStacks, ForgetEvent, ForgottenSnapshots, QuarantineFolder, StoredForgetRecord,
};
use crate::clock::UnixNanos;
use crate::envelope::Header;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{DomainId, ObjectId};
use crate::snapshot::{DatabaseRoot, Snapshot, SnapshotCandidate, select};
use crate::storage::{ListedObject, ObjectKind, ObjectName};

use super::create_repository::get_content_named;
use super::host_quota::HostQuotas;
use super::stored_annotations::{UnreadAnnotation, is_unreadable};
use super::{OWN_DOMAIN, Repo, StoredForgetRecords};

/// How often the snapshots are listed anew because one that was listed is gone.
const LISTINGS_MAX: u32 = 3;

/// A snapshot and the name it is stored under.
#[derive(Clone, Debug)]
pub struct StoredSnapshot {
    /// Its name.
    pub id: ObjectId,
    /// What it says.
    pub snapshot: Snapshot,
}

/// A snapshot that was forgotten, and is still stored.
#[derive(Clone, Debug)]
pub struct ForgottenSnapshot {
    /// Its name.
    pub id: ObjectId,
    /// What it says; `None` if its bytes are damaged, which nobody minds any more.
    pub snapshot: Option<Snapshot>,
    /// How it came that it is forgotten.
    pub since: ForgetEvent,
}

/// A snapshot that counts, since it was not forgotten, and could not be read.
#[derive(Clone, Debug)]
pub struct UnreadSnapshot {
    /// Its name.
    pub id: ObjectId,
    /// The one domain that can be concerned: its stored bytes are those that its name promises, and their header says so.
    /// `None` where that cannot be told; then any domain can.
    pub domain: Option<DomainId>,
    /// What kind of error that was.
    pub kind: ErrorKind,
    /// Why it could not be read.
    pub what: String,
}

impl UnreadSnapshot {
    /// True for a write-only host's that is left out for what it would cost. No program stores one: nothing is missing.
    pub fn is_out_of_proportion(&self) -> bool {
        self.kind == ErrorKind::Limit && self.domain.is_some_and(|domain| domain != OWN_DOMAIN)
    }

    /// True unless what it may be is another domain's.
    pub fn may_concern(&self, domain: DomainId) -> bool {
        self.domain.is_none_or(|known| known == domain)
    }
}

impl fmt::Display for UnreadSnapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        self.what.fmt(formatter)
    }
}

/// The highest counter of each domain, and whose it was if that is known.
pub(crate) type NewestCounters = BTreeMap<DomainId, (u64, Option<ObjectId>)>;

/// All snapshots that are stored, those that count apart from those that were forgotten. What users see are those that
/// count; a forgotten one can be had by its whole id alone, until a prune sweeps it.
#[derive(Clone, Debug, Default)]
pub struct SnapshotCatalog {
    /// Those that count: ordered by time, then by name; but those of a wrong clock (`clocks.rs`) come first.
    pub snapshots: Vec<StoredSnapshot>,
    /// Those that were forgotten, and not brought back: in the same order, damaged ones first.
    pub forgotten: Vec<ForgottenSnapshot>,
    /// Snapshots that count and could not be read; the others do not need them.
    pub unreadable: Vec<UnreadSnapshot>,
    /// Snapshots that could not be read, and that the owner set aside for it. They do not count.
    pub quarantined: Vec<UnreadSnapshot>,
    /// Forgettings that could not be read. What they name is among `snapshots`: to show too much is the safe side for
    /// whoever reads, and whoever deletes stops here.
    pub unread_forget_records: Vec<UnreadAnnotation>,
    /// Notes that could not be read: where some snapshot's records lie may not be known.
    pub unread_notes: Vec<UnreadAnnotation>,
    /// Snapshots whose records lie elsewhere than their objects say.
    compacted_stacks: HashMap<ObjectId, CompactedStacks>,
    /// Whose counters and histories are meant: the owner's, unless a write-only host remembers its own.
    domain: Option<DomainId>,
    /// The highest counter of each domain that any snapshot has or, as far as is known, had; and whose it was.
    newest: NewestCounters,
    /// When the snapshots were listed; `None` where nothing is said of clocks.
    pub(super) listed_at: Option<UnixNanos>,
    /// Snapshots whose time is ahead though later ones were made since.
    pub(super) clock_ahead: HashSet<ObjectId>,
}

impl Repo {
    /// Loads all snapshots. A damaged one is told of and left out; one that cannot be fetched is an error.
    ///
    /// # Errors
    /// [`ErrorKind::RolledBack`] if one that was seen here before is gone, and was not forgotten.
    pub fn catalog(&self) -> Result<SnapshotCatalog> {
        for _ in 1..LISTINGS_MAX {
            match self.list_snapshots() {
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::RolledBack) => {}
                catalog => return catalog,
            }
        }
        self.list_snapshots()
    }

    /// The same for whoever deletes in this domain: a snapshot that counts and may be of it, a forgetting or a note that
    /// cannot be read is an error, because it could need anything, or be the one that brings back what needs it. To be called last, after packs
    /// and index were listed (docs/ORDERING.md, rule 4), and anew for each time something is deleted.
    pub fn catalog_for_deletion(&self) -> Result<SnapshotCatalog> {
        let catalog = self.catalog()?;
        // What another domain's snapshot needs is never in a pack of this one.
        let mut unread = catalog.unreadable.iter();
        if let Some(unread) = unread.find(|unread| unread.may_concern(self.domain())) {
            return Err(Error::corrupt(format!(
                "a snapshot cannot be read, and what it needs is not known: {unread}"
            )));
        }
        // After the catalog, whose facts were loaded before: what they lacked is still there to stop us.
        self.forget_records()?.require_complete(&self.notes()?)?;
        Ok(catalog)
    }

    /// One listing. The snapshots come before the facts: what is said of them is never older than they are.
    fn list_snapshots(&self) -> Result<SnapshotCatalog> {
        let listed = self.storage().list(ObjectKind::Snapshot);
        let listed = listed.context(|| "list the snapshots")?;
        let stored = self.forget_records()?;
        let stored_notes = self.notes()?;
        let notes = stored_notes.current_notes();
        let mut catalog = SnapshotCatalog::default();
        let forgotten = stored.forgotten_snapshots(&notes);
        let read = |id: &ObjectId| {
            let mut snapshot = self.snapshot_as_stored(id)?;
            notes.apply_compactions(id, &mut snapshot);
            Ok(snapshot)
        };
        let there: HashSet<_> = listed.iter().map(|listed| listed.name.id).collect();
        let (mut found, mut shares) = (BTreeMap::new(), HostQuotas::default());
        for listed in listed {
            let id = listed.name.id;
            match (read(&id), forgotten.of(&id)) {
                (Ok(snapshot), _) => {
                    let left_out = shares.add(id, &snapshot, listed.len);
                    found.insert(id, snapshot);
                    for id in left_out {
                        let snapshot = found.remove(&id);
                        catalog.drop_over_quota(id, snapshot, forgotten.of(&id));
                    }
                }
                (Err(error), None) if is_unreadable(&error) => {
                    let unread = self.unread_snapshot(&listed, &error);
                    if notes.is_quarantined(QuarantineFolder::Snapshots, &id) {
                        catalog.quarantined.push(unread);
                    } else {
                        catalog.unreadable.push(unread);
                    }
                }
                (Err(error), Some(since)) if is_unreadable(&error) => catalog.add_forgotten(id, None, since),
                // It was swept since it was listed.
                (Err(error), Some(_)) if error.kind() == ErrorKind::NotFound => {}
                (Err(error), _) => return Err(error),
            }
        }
        for (id, snapshot) in found {
            match forgotten.of(&id) {
                None => catalog.snapshots.push(StoredSnapshot { id, snapshot }),
                Some(since) => catalog.add_forgotten(id, Some(snapshot), since),
            }
        }
        catalog.unread_forget_records = stored.unread.clone();
        catalog.unread_notes = stored_notes.unread;
        let rebased = notes
            .snapshots()
            .filter(|(_, standing)| !standing.rebasings.is_empty());
        catalog.compacted_stacks = rebased
            .map(|(id, standing)| (*id, standing.rebasings.clone()))
            .collect();
        catalog.listed_at = Some(self.clock().now());
        catalog.sort_snapshots(&forgotten);
        self.check_high_water(&catalog.newest, &there, &stored.records)?;
        Ok(catalog)
    }

    /// What could not be read, and whose it can be.
    fn unread_snapshot(&self, listed: &ListedObject, error: &Error) -> UnreadSnapshot {
        // A name is the hash of its object: bytes that fit it were stored so, and open in no other domain.
        let header =
            get_content_named(&**self.storage(), listed.name).and_then(|bytes| Header::decode(&bytes));
        UnreadSnapshot {
            id: listed.name.id,
            domain: header.ok().map(|header| header.domain),
            kind: error.kind(),
            what: error.to_string(),
        }
    }

    /// Holds what is there to what was seen here before, and remembers the newest.
    pub(crate) fn check_high_water(
        &self,
        newest: &NewestCounters,
        there: &HashSet<ObjectId>,
        forgettings: &[StoredForgetRecord],
    ) -> Result<()> {
        // A forgetting explains its snapshot's end for ever, also where a note undid it for a time.
        let was_forgotten = |id: &ObjectId| forgettings.iter().any(|it| it.forgetting.snapshot_ids(id));
        for domain in self.domains()? {
            let newest = newest
                .get(&domain)
                .and_then(|(counter, id)| Some((*counter, (*id)?)));
            let seen = self.in_domain(domain)?.high_water_store();
            seen.check_snapshots(newest, |id| there.contains(id) || was_forgotten(id))?;
        }
        Ok(())
    }

    /// Which snapshots are forgotten, as far as that can be read.
    pub fn forgotten_now(&self) -> Result<ForgottenSnapshots> {
        self.resolve_forgotten(&self.forget_records()?)
    }

    /// Notes are loaded only where one could bring something back.
    fn resolve_forgotten(&self, stored: &StoredForgetRecords) -> Result<ForgottenSnapshots> {
        if stored.records.is_empty() {
            Ok(ForgottenSnapshots::default())
        } else {
            Ok(stored.forgotten_snapshots(&self.notes()?.current_notes()))
        }
    }

    /// The snapshots that count, oldest first.
    pub fn snapshots(&self) -> Result<Vec<StoredSnapshot>> {
        Ok(self.catalog()?.snapshots)
    }

    /// The snapshot that `words` name: `latest`, `latest~N`, an id or its beginning. A whole id needs no other
    /// snapshot to be readable, and may be that of a forgotten one.
    pub fn select(&self, words: &str) -> Result<StoredSnapshot> {
        match ObjectId::from_hex(words) {
            Some(id) => Ok(StoredSnapshot {
                id,
                snapshot: self.snapshot(&id)?,
            }),
            None => self.catalog()?.select(words).cloned(),
        }
    }

    /// The same, where `latest` is the latest of those that have what is wanted, if any has.
    pub fn select_with(&self, words: &str, has: &dyn Fn(&Snapshot) -> bool) -> Result<StoredSnapshot> {
        if !words.starts_with("latest") {
            return self.select(words);
        }
        let catalog = self.catalog()?;
        let (bare, domain) = catalog.split_domain_prefix(words)?;
        if bare != "latest" {
            return catalog.select(words).cloned();
        }
        let meant = |stored: &&StoredSnapshot| {
            domain.is_none_or(|domain| stored.snapshot.domain == domain) && has(&stored.snapshot)
        };
        let known = catalog
            .snapshots
            .iter()
            .filter(meant)
            .map(|stored| SnapshotCandidate {
                id: stored.id,
                time: stored.snapshot.time,
                is_set_aside: catalog.clock_ahead.contains(&stored.id),
            });
        let known: Vec<_> = known.collect();
        if known.is_empty() {
            return catalog.select(words).cloned();
        }
        catalog.of_id(select(&known, bare)?, words).cloned()
    }

    /// Proves that all of `snapshots` are still listed, not forgotten, and have their records where `seen` says, so that
    /// what they rest on is nobody's to delete; [`ErrorKind::Busy`] if one has gone meanwhile.
    ///
    /// Why a forgotten one is as good as gone for a writer whose runs lie in it: its packs are those of a snapshot that
    /// a prune need not spare. Only a forgetting can lead to their marks, it is durable before them, and so a proof
    /// that finds the snapshot to count comes before any such mark (docs/ORDERING.md, section 7). For the same reason a
    /// forgetting that cannot be read, and a prune elsewhere may well be able to, is a reason not to rest on it. A stack
    /// that one run stands in for is the same: only the note that says so can lead to marks on the stack's packs.
    pub fn prove_snapshots(&self, snapshots: &HashSet<ObjectId>, seen: &SnapshotCatalog) -> Result<()> {
        if snapshots.is_empty() {
            return Ok(());
        }
        let busy = |what: String| Err(Error::new(ErrorKind::Busy, what));
        let listed = self.storage().list(ObjectKind::Snapshot);
        let listed = listed.context(|| "list the snapshots")?.into_iter();
        let listed: HashSet<_> = listed.map(|listed| listed.name.id).collect();
        let stored = self.forget_records()?;
        if let Some(unread) = stored.unread.first() {
            return busy(format!(
                "which snapshots are forgotten cannot be told: {}",
                unread.what
            ));
        }
        let notes = self.notes()?;
        if let Some(unread) = notes.unread.first() {
            return busy(format!(
                "what is noted of snapshots cannot be told: {}",
                unread.what
            ));
        }
        let notes = notes.current_notes();
        let forgotten = stored.forgotten_snapshots(&notes);
        for id in snapshots {
            if !listed.contains(id) || forgotten.of(id).is_some() {
                return busy(format!(
                    "snapshot {} has gone or was forgotten meanwhile",
                    id.short()
                ));
            }
            if notes
                .of(id)
                .map(|standing| &standing.rebasings)
                .filter(|some| !some.is_empty())
                != seen.compacted_stacks.get(id)
            {
                return busy(format!("snapshot {} was stored anew meanwhile", id.short()));
            }
        }
        Ok(())
    }
}

impl SnapshotCatalog {
    /// The snapshot among those that count that `words` name: `latest`, `latest~N`, an id or its beginning. `latest` is the
    /// owner's latest, or the latest of the only host that has any; `latest@N` and `latest~N@N` are those of a domain. (A
    /// host chooses the time that its snapshots claim.)
    pub fn select(&self, words: &str) -> Result<&StoredSnapshot> {
        let (bare, domain) = self.split_domain_prefix(words)?;
        let meant = self.snapshots.iter();
        let meant = meant.filter(|stored| domain.is_none_or(|domain| stored.snapshot.domain == domain));
        let known = meant.map(|stored| SnapshotCandidate {
            id: stored.id,
            time: stored.snapshot.time,
            is_set_aside: self.clock_ahead.contains(&stored.id),
        });
        let id = match select(&known.collect::<Vec<_>>(), bare) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.forgotten_or(words, error)),
            id => id?,
        };
        self.of_id(id, words)
    }

    fn of_id(&self, id: ObjectId, words: &str) -> Result<&StoredSnapshot> {
        let found = self.snapshots.iter().find(|stored| stored.id == id);
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no snapshot {words}")))
    }

    /// True if records of some snapshot lie elsewhere than its object says.
    pub fn has_compacted_stacks(&self) -> bool {
        !self.compacted_stacks.is_empty()
    }

    /// The snapshots of one domain alone. A forgotten one that cannot be read is of the domain that its forgetting names.
    #[must_use]
    pub(crate) fn of_domain(mut self, domain: DomainId) -> Self {
        self.domain = Some(domain);
        self.snapshots.retain(|stored| stored.snapshot.domain == domain);
        self.forgotten.retain(|forgotten| {
            let counted = forgotten.since.counted.domain;
            forgotten
                .snapshot
                .as_ref()
                .map_or(counted, |snapshot| snapshot.domain)
                == domain
        });
        self
    }

    /// How it came that the snapshot, which is still here, is forgotten.
    pub fn forgotten(&self, id: &ObjectId) -> Option<&ForgottenSnapshot> {
        self.forgotten.iter().find(|forgotten| forgotten.id == *id)
    }

    /// Counter of the next snapshot of the domain, and the one it follows. Forgotten ones count here, also when they
    /// are swept: a counter that was given once is never given again.
    pub fn next_counter_and_parent(&self) -> (u64, Option<ObjectId>) {
        self.newest
            .get(&self.domain())
            .map_or((1, None), |(counter, id)| (counter.saturating_add(1), *id))
    }

    /// Snapshots that count and forgotten ones, ordered by time, then by name: what happened, not what is offered.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = (ObjectId, &Snapshot)> {
        let counting = self.snapshots.iter().map(|stored| (stored.id, &stored.snapshot));
        let forgotten = self.forgotten.iter();
        let forgotten = forgotten.filter_map(|forgotten| Some((forgotten.id, forgotten.snapshot.as_ref()?)));
        let by_time = |(id, snapshot): (ObjectId, _)| (self.sort_key(id, snapshot), snapshot);
        let sorted: BTreeMap<_, &Snapshot> = counting.chain(forgotten).map(by_time).collect();
        sorted.into_iter().map(|((.., id), snapshot)| (id, snapshot))
    }

    /// The newest state of the database at `path`, whose history it continues unless something tells that it is another. It
    /// may be forgotten: what was forgotten may be brought back, and must not be another's history. `None` if that history
    /// went on at another path: then the database was moved, and another stands in its place.
    pub fn newest_at(&self, host: &str, path: &Path) -> Option<&DatabaseRoot> {
        // Any write-only host may claim this name, this path and any history.
        let is_ours = |snapshot: &Snapshot| snapshot.domain == self.domain() && snapshot.host == host;
        let path = path.as_os_str().as_bytes();
        let mut elsewhere = HashSet::new();
        for (_, snapshot) in self.all().rev().filter(|(_, snapshot)| is_ours(snapshot)) {
            let here = snapshot.databases().find(|database| database.path == path);
            if let Some(database) = here {
                return (!elsewhere.contains(&database.timeline)).then_some(database);
            }
            elsewhere.extend(snapshot.databases().map(|database| database.timeline));
        }
        None
    }

    /// The words without a domain, and the domain that they mean; `None` for any.
    fn split_domain_prefix<'w>(&self, words: &'w str) -> Result<(&'w str, Option<DomainId>)> {
        if let Some((bare, number)) = words.rsplit_once('@') {
            let number = number
                .parse()
                .map_err(|_| usage(format!("{words}: want latest@DOMAIN, a number")))?;
            return Ok((bare, Some(DomainId(number))));
        }
        let domains: BTreeSet<_> = self
            .snapshots
            .iter()
            .map(|stored| stored.snapshot.domain)
            .collect();
        match (words.starts_with("latest"), domains.first(), domains.len()) {
            (true, Some(first), count) if count == 1 || *first == OWN_DOMAIN => Ok((words, Some(*first))),
            (true, Some(first), _) => Err(usage(format!(
                "{words}: there are snapshots of several domains; name one, as {words}@{}",
                first.0
            ))),
            _ => Ok((words, None)),
        }
    }

    /// What a write-only host remembers, oldest first.
    pub(super) fn of_host(
        domain: DomainId,
        snapshots: Vec<StoredSnapshot>,
        newest: (u64, Option<ObjectId>),
    ) -> Self {
        Self {
            snapshots,
            domain: Some(domain),
            newest: [(domain, newest)].into(),
            ..Self::default()
        }
    }

    /// Where a snapshot stands in the order of what happened.
    fn sort_key(&self, id: ObjectId, snapshot: &Snapshot) -> (bool, UnixNanos, ObjectId) {
        (!self.clock_ahead.contains(&id), snapshot.time, id)
    }

    fn domain(&self) -> DomainId {
        self.domain.unwrap_or(OWN_DOMAIN)
    }

    fn add_forgotten(&mut self, id: ObjectId, snapshot: Option<Snapshot>, since: &ForgetEvent) {
        let since = since.clone();
        self.forgotten.push(ForgottenSnapshot { id, snapshot, since });
    }

    /// A host's snapshot for which there is no room.
    fn drop_over_quota(&mut self, id: ObjectId, snapshot: Option<Snapshot>, since: Option<&ForgetEvent>) {
        match (snapshot, since) {
            (_, Some(since)) => self.add_forgotten(id, None, since),
            (None, None) => {}
            (Some(snapshot), None) => self.unreadable.push(UnreadSnapshot {
                id,
                domain: Some(snapshot.domain),
                kind: ErrorKind::Limit,
                what: format!(
                    "{} is left out: it takes {} bytes of memory, and snapshots of domain {} take more together than is in \
                     proportion to what is stored of them",
                    ObjectName::new(ObjectKind::Snapshot, id).path(),
                    snapshot.memory(),
                    snapshot.domain.0
                ),
            }),
        }
    }

    fn sort_snapshots(&mut self, forgotten: &ForgottenSnapshots) {
        self.clock_ahead = self.find_ahead_of_clock();
        let set_aside = &self.clock_ahead;
        self.snapshots
            .sort_by_key(|stored| (!set_aside.contains(&stored.id), stored.snapshot.time, stored.id));
        self.forgotten
            .sort_by_key(|forgotten| (forgotten.snapshot.as_ref().map(time_of), forgotten.id));
        let mut newest = NewestCounters::new();
        let stored = self
            .all()
            .map(|(id, snapshot)| (snapshot.domain, (snapshot.counter, id)));
        for (domain, (counter, id)) in stored.chain(forgotten.newest_event()) {
            let highest = newest.entry(domain).or_insert((counter, Some(id)));
            *highest = (counter, Some(id)).max(*highest);
        }
        self.newest = newest;
    }

    fn forgotten_or(&self, words: &str, error: Error) -> Error {
        let prefix = words.to_ascii_lowercase();
        let mut found = self.forgotten.iter().map(|forgotten| forgotten.id.to_hex());
        match found.find(|id| id.starts_with(&prefix)) {
            Some(id) => Error::new(
                ErrorKind::NotFound,
                format!(
                    "snapshot {words} is forgotten; `levault undelete {words}` brings it back, and {id} names it until then"
                ),
            ),
            None => error,
        }
    }
}

fn usage(message: String) -> Error {
    Error::new(ErrorKind::Usage, message)
}

fn time_of(snapshot: &Snapshot) -> UnixNanos {
    snapshot.time
}
