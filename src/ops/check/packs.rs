//! Packs: listed and of the right size, their directories in agreement with the index, and with data every part
//! opened.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use crate::envelope::object_id;
use crate::error::{Act, Error, Kind, Result};
use crate::id::{BlobId, ObjectId};
use crate::index::Location;
use crate::limits::PACK_STORED_BYTES_MAX;
use crate::pack::{PackedBlob, ScannedBlob, scan_directory};
use crate::repo::{Repo, location_of, sealed_name};
use crate::report::Report;
use crate::storage::{Listed, ObjectKind, ObjectName};

use super::findings::Findings;
use super::objects::Index;
use super::{CheckOutcome, ReadData};

/// What to do about a damaged pack.
fn helps(id: &ObjectId) -> String {
    format!(
        "bring it back from another copy of the repository, or run `levault repair packs {} --apply`: what still opens is \
         stored again, and the next backup stores again what its source still has",
        id.short()
    )
}

/// What is wrong with packs, for those whose trees lead to them.
#[derive(Default)]
pub struct PackFacts {
    /// Packs that cannot be read at all, and why.
    lost: HashMap<ObjectId, String>,
    /// Parts that do not open in packs that can be read.
    bad: HashSet<(ObjectId, u32)>,
}

impl PackFacts {
    /// All indexed packs but the sound ones are as good as lost.
    pub fn of_sound(index: &Index, sound: &HashMap<ObjectId, u64>) -> Self {
        let unsound = index.facts.packs.keys().filter(|id| !sound.contains_key(*id));
        let why = || "is missing, of another size, or marked to go".to_owned();
        Self {
            lost: unsound.map(|id| (*id, why())).collect(),
            bad: HashSet::new(),
        }
    }

    /// What is wrong with this copy of a blob; `None` if nothing is known to be.
    pub fn wrong_with(&self, location: &Location) -> Option<String> {
        match self.lost.get(&location.pack) {
            Some(why) => Some(why.clone()),
            None => self
                .bad
                .contains(&(location.pack, location.ordinal))
                .then(|| "a part of it does not open".into()),
        }
    }
}

/// Looks at all packs, and reads those `read` chooses.
pub fn check(
    repo: &Repo,
    index: &Index,
    read: ReadData,
    findings: &mut Findings,
    outcome: &mut CheckOutcome,
    report: &Report,
) -> Result<PackFacts> {
    let all = repo.storage().list(ObjectKind::Pack).act(|| "list the packs")?;
    let mut listed = Vec::with_capacity(all.len());
    for pack in &all {
        if repo.is_of_this_domain(pack, &index.facts)? {
            listed.push(*pack);
        }
    }
    let chosen = choose(&listed, read);
    outcome.packs += listed.len() as u64;
    report.bytes_total.add(
        listed
            .iter()
            .filter(|pack| chosen.contains(&pack.name.id))
            .map(|pack| pack.len)
            .sum(),
    );
    let mut packs = Packs {
        repo,
        index,
        findings,
        facts: PackFacts::default(),
        entries: HashMap::new(),
    };
    packs.count_entries(outcome)?;
    packs.find_missing(&all);
    for pack in &listed {
        report.go_on()?;
        match chosen.contains(&pack.name.id) {
            false => packs.directory(pack),
            true => {
                packs.data(pack)?;
                outcome.packs_read += 1;
                outcome.bytes_read += pack.len;
                report.bytes_done.add(pack.len);
            }
        }
    }
    Ok(packs.facts)
}

fn choose(listed: &[Listed], read: ReadData) -> HashSet<ObjectId> {
    let ids = listed.iter().map(|pack| pack.name.id);
    match read {
        ReadData::None => HashSet::new(),
        ReadData::All => ids.collect(),
        ReadData::Part { part, of } => ids.filter(|id| u32::from(id.0[0]) % of == part - 1).collect(),
        ReadData::Share(share) => at_random(listed, (share * total(listed) as f64).ceil() as u64),
        ReadData::Bytes(bytes) => at_random(listed, bytes),
    }
}

fn total(listed: &[Listed]) -> u64 {
    listed.iter().map(|pack| pack.len).sum()
}

/// Packs in an order nobody can foresee, until they hold `bytes`.
fn at_random(listed: &[Listed], bytes: u64) -> HashSet<ObjectId> {
    let mut seed = [0; 32];
    // Without random numbers the order is the same every time; nothing worse.
    let _ = getrandom::fill(&mut seed);
    let mut packs: Vec<_> = listed.iter().collect();
    packs.sort_by_key(|pack| *blake3::keyed_hash(&seed, &pack.name.id.0).as_bytes());
    let mut left = bytes;
    let enough = |pack: &&&Listed| {
        let more = left > 0;
        left = left.saturating_sub(pack.len);
        more
    };
    packs.iter().take_while(enough).map(|pack| pack.name.id).collect()
}

struct Packs<'a> {
    repo: &'a Repo,
    index: &'a Index,
    findings: &'a mut Findings,
    facts: PackFacts,
    /// Index entries by pack.
    entries: HashMap<ObjectId, u64>,
}

impl Packs<'_> {
    fn count_entries(&mut self, outcome: &mut CheckOutcome) -> Result<()> {
        for entry in self.index.lookup.iter_all()? {
            outcome.blobs += 1;
            *self.entries.entry(entry?.location.pack).or_default() += 1;
        }
        Ok(())
    }

    fn find_missing(&mut self, listed: &[Listed]) {
        let there: HashMap<_, _> = listed.iter().map(|pack| (pack.name.id, pack.len)).collect();
        for (id, len) in &self.index.facts.packs {
            match there.get(id) {
                Some(stored) if stored == len => {}
                Some(stored) => self.lose(id, format!("{stored} bytes long, {len} indexed")),
                None => self.lose(id, "is missing".into()),
            }
        }
    }

    fn lose(&mut self, id: &ObjectId, why: String) {
        self.findings.add(path(id), why.clone(), &helps(id));
        self.facts.lost.insert(*id, why);
    }

    /// Compares the pack's own directory with the index; packs that nothing indexes are left by killed backups.
    fn directory(&mut self, pack: &Listed) {
        if !self.index.facts.packs.contains_key(&pack.name.id) {
            return;
        }
        match self.repo.pack_directory(&pack.name.id, pack.len) {
            Ok(directory) => self.compare(&pack.name.id, &directory),
            Err(error) => self
                .findings
                .add(path(&pack.name.id), error.to_string(), &helps(&pack.name.id)),
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
            self.findings.add(path(id), what, &helps(id));
        }
    }

    /// Reads the pack whole: its hash, its directory, every part.
    fn data(&mut self, pack: &Listed) -> Result<()> {
        let id = pack.name.id;
        let bytes = match self.repo.storage().get(pack.name, PACK_STORED_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => {
                self.lose(&id, error.to_string());
                return Ok(());
            }
        };
        let (is_whole, scanned) = rayon::join(
            || object_id(&bytes) == id,
            || scan_directory(self.repo.keyring()?, &bytes),
        );
        if !is_whole {
            self.findings.add(
                path(&id),
                "the stored bytes do not hash to the pack's name",
                &helps(&id),
            );
        }
        match scanned {
            Ok(scanned) => self.parts(&id, &scanned),
            Err(error) => {
                self.findings.add(path(&id), error.to_string(), &helps(&id));
                self.parts_by_index(&id, &bytes)
            }
        }
    }

    fn parts(&mut self, id: &ObjectId, scanned: &[ScannedBlob]) -> Result<()> {
        for part in scanned {
            if let Err(error) = &part.outcome {
                self.findings.add(path(id), error.to_string(), &helps(id));
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
        for entry in self.index.lookup.iter_all()? {
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

/// As the storage calls a pack.
pub fn path(id: &ObjectId) -> String {
    ObjectName {
        kind: ObjectKind::Pack,
        id: *id,
    }
    .path()
}
