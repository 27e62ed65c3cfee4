//! Checks packs against the index, and their data.
//!
//! Packs: listed and of the right size, their directories in agreement with the index, and with data every part
//! opened.

use std::collections::{BTreeSet, HashMap, HashSet};

use rayon::prelude::*;

use crate::annotations::{AuditMethod, AuditResult, LatestAudits};
use crate::envelope::object_id;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{BlobId, ObjectId};
use crate::index::Location;
use crate::limits::PACK_STORED_BYTES_MAX;
use crate::pack::{PackedBlob, ScannedBlob, scan_directory};
use crate::repo::{OWN_DOMAIN, Repo, location_of, sealed_name};
use crate::report::OperationReport;
use crate::storage::{ListedObject, ObjectKind, ObjectName};

use super::audit_recorder::{AuditRecorder, report_unread};
use super::findings::CheckFindings;
use super::objects::ReadableIndex;
use super::read_plan::{PackAge, ReadProgress};
use super::verification_dates::VerificationDates;
use super::{CheckOutcome, ReadData, read_data};

/// What to do about a damaged pack.
pub fn advice(id: &ObjectId) -> String {
    format!(
        "bring it back from another copy of the repository, or run `levault repair packs {} --apply`: what still opens is \
         stored again, and the next backup stores again what its source still has",
        id.short()
    )
}

/// Of a pack that is not there.
pub const IS_MISSING: &str = "is missing";

/// What to do about packs that were damaged the last time.
const AGAIN_HELPS: &str = "check with --read-data, or with a larger --budget: it is read first; if it was brought back, that \
    ends this";

/// What is wrong with packs, for those whose trees lead to them.
#[derive(Default)]
pub struct PackFaults {
    /// Packs that cannot be read at all, and why.
    lost: HashMap<ObjectId, String>,
    /// Of these, the ones that are not there. Whether that is damage is known when the trees were walked.
    pub missing: BTreeSet<ObjectId>,
    /// Parts that do not open in packs that can be read.
    bad: HashSet<(ObjectId, u32)>,
}

impl PackFaults {
    /// All indexed packs but the sound ones are as good as lost.
    pub fn without_faults(index: &ReadableIndex, sound: &HashMap<ObjectId, u64>) -> Self {
        let unsound = index.facts.packs.keys().filter(|id| !sound.contains_key(*id));
        let why = || "is missing, of another size, or marked to go".to_owned();
        Self {
            lost: unsound.map(|id| (*id, why())).collect(),
            ..Self::default()
        }
    }

    /// What is wrong with this copy of a blob; `None` if nothing is known to be.
    pub fn fault_of(&self, location: &Location) -> Option<String> {
        match self.lost.get(&location.pack) {
            Some(why) => Some(why.clone()),
            None => self
                .bad
                .contains(&(location.pack, location.ordinal))
                .then(|| "a part of it does not open".into()),
        }
    }
}

/// Which packs of a domain to look at, and how.
pub struct PackSelection<'a> {
    pub repo: &'a Repo,
    pub index: &'a ReadableIndex,
    /// These alone.
    pub only: Option<&'a HashSet<ObjectId>>,
    pub read: ReadData,
    pub report: &'a OperationReport,
}

/// Looks at packs, and reads those that the wish chooses.
pub fn check(
    wish: &PackSelection,
    findings: &mut CheckFindings,
    outcome: &mut CheckOutcome,
) -> Result<PackFaults> {
    let (repo, is_wanted) = (wish.repo, |id: &ObjectId| {
        wish.only.is_none_or(|only| only.contains(id))
    });
    let all = repo
        .storage_reader()
        .list(ObjectKind::Pack)
        .context(|| "list the packs")?;
    let mut listed = Vec::with_capacity(all.len());
    for pack in all.iter().filter(|pack| is_wanted(&pack.name.id)) {
        if repo.is_of_this_domain(pack, &wish.index.facts)? {
            listed.push(*pack);
        }
    }
    outcome.packs += listed.len() as u64;
    let stored = repo.audits(listed.iter().map(|pack| pack.name.id))?;
    if repo.domain_keys().id() == OWN_DOMAIN {
        report_unread(&stored.unread, findings, &mut outcome.notices);
    }
    let mut packs = PackCheck {
        repo,
        index: wish.index,
        findings,
        facts: PackFaults::default(),
        entries: HashMap::new(),
        wrong: HashSet::new(),
    };
    packs.count_entries(outcome)?;
    packs.find_missing(&all, is_wanted);
    let (read, audits) = packs.read(wish, &listed, stored.audits, outcome)?;
    for pack in listed.iter().filter(|pack| !read.contains(&pack.name.id)) {
        wish.report.go_on()?;
        packs.directory(pack);
        packs.remember(&pack.name.id, &audits);
    }
    outcome
        .verified
        .extend(VerificationDates::of(&listed, &audits, repo.clock().now()));
    Ok(packs.facts)
}

/// When the packs were last read with the keys. That somebody without them found one wrong since is a reason to look.
fn ages(listed: &[ListedObject], audits: &LatestAudits) -> Vec<PackAge> {
    let last = |id: &ObjectId| match (
        audits.last(AuditMethod::Opened, id),
        audits.last(AuditMethod::Hashed, id),
    ) {
        (opened, Some(hashed))
            if hashed.found == AuditResult::Wrong
                && opened.is_none_or(|opened| opened.when < hashed.when) =>
        {
            Some(hashed)
        }
        (opened, _) => opened,
    };
    let age = |listed: &ListedObject| PackAge {
        id: listed.name.id,
        len: listed.len,
        last: last(&listed.name.id).map(|last| (last.when, last.found)),
    };
    listed.iter().map(age).collect()
}

struct PackCheck<'a> {
    repo: &'a Repo,
    index: &'a ReadableIndex,
    findings: &'a mut CheckFindings,
    facts: PackFaults,
    /// Index entries by pack.
    entries: HashMap<ObjectId, u64>,
    /// Packs that something was found wrong with.
    wrong: HashSet<ObjectId>,
}

impl PackCheck<'_> {
    fn count_entries(&mut self, outcome: &mut CheckOutcome) -> Result<()> {
        for entry in self.index.lookup.iter_rows()? {
            outcome.blobs += 1;
            *self.entries.entry(entry?.location.pack).or_default() += 1;
        }
        Ok(())
    }

    fn find_missing(&mut self, listed: &[ListedObject], is_wanted: impl Fn(&ObjectId) -> bool) {
        let there: HashMap<_, _> = listed.iter().map(|pack| (pack.name.id, pack.len)).collect();
        let indexed = &self.index.facts.packs;
        for (id, len) in indexed.iter().filter(|(id, _)| is_wanted(id)) {
            match there.get(id) {
                Some(stored) if stored == len => {}
                Some(stored) => self.record_lost(id, format!("{stored} bytes long, {len} indexed")),
                None => self.record_missing(id),
            }
        }
    }

    /// Reads what is chosen, until that is done or its time is over. The packs that were read; and what is known of all,
    /// which is stored, also if the wish to stop ends it.
    fn read(
        &mut self,
        wish: &PackSelection,
        listed: &[ListedObject],
        audits: LatestAudits,
        outcome: &mut CheckOutcome,
    ) -> Result<(HashSet<ObjectId>, LatestAudits)> {
        let (clock, report) = (self.repo.clock(), wish.report);
        let plan = read_data::plan(&ages(listed, &audits), wish.read, clock.now());
        report.bytes_total.add(plan.bytes());
        let repo = self.repo;
        let store = |audit: &_| repo.put_audit(audit);
        let mut record = AuditRecorder::new(audits, AuditMethod::Opened, clock.now(), &store);
        let mut progress = ReadProgress::new(plan, wish.read.budget(), clock.now());
        let mut read = HashSet::new();
        let mut step = |record: &mut AuditRecorder, outcome: &mut CheckOutcome| -> Result<bool> {
            report.go_on()?;
            let now = clock.now();
            let Some(pack) = progress.next(now) else {
                return Ok(false);
            };
            if let Some(found) = self.data(&pack)? {
                record.record(pack.id, found, now);
            }
            record.store_periodically(clock.now());
            read.insert(pack.id);
            outcome.packs_read += 1;
            outcome.bytes_read += pack.len;
            report.bytes_done.add(pack.len);
            Ok(true)
        };
        let ended = loop {
            match step(&mut record, outcome) {
                Ok(true) => {}
                ended => break ended,
            }
        };
        let audits = record.finish(&mut outcome.notices);
        outcome.packs_left += progress.bytes_left().count() as u64;
        ended.map(|_| (read, audits))
    }

    /// What was found wrong, and not read since, is wrong.
    fn remember(&mut self, id: &ObjectId, audits: &LatestAudits) {
        if audits
            .last(AuditMethod::Opened, id)
            .is_some_and(|last| last.found == AuditResult::Wrong)
        {
            let what = "was not right when it was last read, and was not read again this time";
            self.findings.add(path(id), what, AGAIN_HELPS);
        }
    }

    fn record_lost(&mut self, id: &ObjectId, why: String) {
        self.find(id, why.clone());
        self.facts.lost.insert(*id, why);
    }

    /// It was swept, or it is lost: trees tell.
    fn record_missing(&mut self, id: &ObjectId) {
        self.facts.lost.insert(*id, IS_MISSING.into());
        self.facts.missing.insert(*id);
    }

    fn find(&mut self, id: &ObjectId, what: impl Into<String>) {
        self.findings.add(path(id), what, &advice(id));
        self.wrong.insert(*id);
    }

    /// Compares the pack's own directory with the index; packs that nothing indexes are left by killed backups.
    fn directory(&mut self, pack: &ListedObject) {
        if !self.index.facts.packs.contains_key(&pack.name.id) {
            return;
        }
        match self.repo.pack_directory(&pack.name.id, pack.len) {
            Ok(directory) => self.compare(&pack.name.id, &directory),
            Err(error) if error.kind() == ErrorKind::NotFound => self.record_missing(&pack.name.id),
            Err(error) => self.find(&pack.name.id, error.to_string()),
        }
    }

    fn compare(&mut self, id: &ObjectId, directory: &[PackedBlob]) {
        let is_indexed = |blob: &&PackedBlob| {
            let locations = self.index.lookup.locations(&blob.id).unwrap_or_default();
            locations.contains(&location_of(*id, blob))
        };
        let indexed = directory.iter().filter(is_indexed).count() as u64;
        let entries = self.entries.get(id).copied().unwrap_or_default();
        if indexed != entries || indexed != directory.len() as u64 {
            let what = format!(
                "{} blobs in its directory, {entries} indexed, {indexed} alike",
                directory.len()
            );
            self.find(id, what);
        }
    }

    /// Reads the pack whole: its hash, its directory, every part. `None` if nothing is known of it then.
    fn data(&mut self, pack: &PackAge) -> Result<Option<AuditResult>> {
        let id = pack.id;
        let name = ObjectName::new(ObjectKind::Pack, id);
        let bytes = match self.repo.storage_reader().get(name, PACK_STORED_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.record_missing(&id);
                return Ok(None);
            }
            Err(error) => {
                self.record_lost(&id, error.to_string());
                return Ok(concerns_pack(&error).then_some(AuditResult::Wrong));
            }
        };
        let (is_whole, scanned) = rayon::join(
            || object_id(&bytes) == id,
            || scan_directory(self.repo.keyring()?, &bytes),
        );
        if !is_whole {
            self.find(&id, "the stored bytes do not hash to the pack's name");
        }
        match scanned {
            Ok(scanned) => self.parts(&id, &scanned)?,
            Err(error) => {
                self.find(&id, error.to_string());
                self.parts_by_index(&id, &bytes)?;
            }
        }
        Ok(Some(if self.wrong.contains(&id) {
            AuditResult::Wrong
        } else {
            AuditResult::Right
        }))
    }

    fn parts(&mut self, id: &ObjectId, scanned: &[ScannedBlob]) -> Result<()> {
        for part in scanned {
            if let Err(error) = &part.outcome {
                self.find(id, error.to_string());
                self.facts.bad.insert((*id, part.blob.ordinal));
            }
        }
        if self.index.facts.packs.contains_key(id) {
            self.compare(id, &scanned.iter().map(|part| part.blob).collect::<Vec<_>>());
        }
        Ok(())
    }

    /// The directory does not open: the index still knows where the parts lie.
    fn parts_by_index(&mut self, id: &ObjectId, bytes: &[u8]) -> Result<()> {
        let mut here: Vec<(BlobId, Location)> = Vec::new();
        for entry in self.index.lookup.iter_rows()? {
            let entry = entry?;
            if entry.location.pack == *id {
                here.push((entry.id, entry.location));
            }
        }
        let opens = |(blob, location): &(BlobId, Location)| {
            let start = location.offset as usize;
            let sealed = bytes.get(start..start + location.len as usize);
            sealed
                .ok_or_else(|| Error::corrupt("lies outside the pack"))
                .and_then(|sealed| {
                    let key = crate::pack::PackKey::open(self.repo.keyring()?, bytes)?;
                    crate::pack::read_blob(&key, &sealed_name(location, blob), sealed).map(drop)
                })
        };
        let bad: Vec<_> = here
            .par_iter()
            .filter(|place| opens(place).is_err())
            .map(|(_, place)| place.ordinal)
            .collect();
        self.facts
            .bad
            .extend(bad.into_iter().map(|ordinal| (*id, ordinal)));
        Ok(())
    }
}

/// True if the object itself is to blame as far as can be told: its bytes, or the disk that they are on.
pub fn concerns_pack(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Io | ErrorKind::Corrupt | ErrorKind::Torn | ErrorKind::Limit
    )
}

/// As the storage calls a pack.
pub fn path(id: &ObjectId) -> String {
    ObjectName {
        kind: ObjectKind::Pack,
        id: *id,
    }
    .path()
}
