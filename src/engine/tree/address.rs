//! Resolves an address within a snapshot to a source.
//!
//! An address is the absolute path where a source stood, or its label, and names below it; bytes, as paths are. A slash at
//! the beginning tells the two apart, so that no label answers for a path. Of several sources that fit, the longest wins. Two
//! that fit equally are an error: the first of them may be another database than the one that is meant.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::source_label::parts;
use crate::snapshot::{Snapshot, SnapshotSource};

/// Sources named in an error.
const NAMED_SOURCES_MAX: usize = 8;

/// The number of a source, and the names below it that are left.
type AddressedPath<'a> = (usize, Vec<&'a [u8]>);

/// The source that an address names; `None` if there is none.
pub fn find_source<'a>(snapshot: &Snapshot, address: &'a [u8]) -> Result<Option<AddressedPath<'a>>> {
    let names: Vec<_> = parts(address).collect();
    let fits = |source: &SnapshotSource| matched_names(source, address.starts_with(b"/"), &names);
    let fitting = |(number, source)| fits(source).map(|len| (number, len));
    let all: Vec<(usize, usize)> = snapshot.sources.iter().enumerate().filter_map(fitting).collect();
    let Some(len) = all.iter().map(|(_, len)| *len).max() else {
        return Ok(None);
    };
    let longest = all.into_iter().filter(|(_, of)| *of == len);
    let number = select_source(snapshot, longest.map(|(number, _)| number).collect(), address)?;
    Ok(Some((number, names[len..].to_vec())))
}

/// True if an address names a source of the snapshot, or something that may be in one; no address names all.
pub fn can_lead_into(snapshot: &Snapshot, address: &[u8]) -> bool {
    parts(address).next().is_none() || !matches!(find_source(snapshot, address), Ok(None))
}

/// How many of the names lead to the source.
fn matched_names(source: &SnapshotSource, is_path: bool, names: &[&[u8]]) -> Option<usize> {
    let leads = |own: &[u8], least: usize| {
        let own: Vec<_> = parts(own).collect();
        (own.len() >= least && names.starts_with(&own)).then_some(own.len())
    };
    if is_path {
        leads(source.path(), 0)
    } else {
        leads(&source.label(), 1).or_else(|| leads(source.name().as_bytes(), 1))
    }
}

/// The only one of these sources; of several, the only one that lies in no other.
fn select_source(snapshot: &Snapshot, numbers: Vec<usize>, address: &[u8]) -> Result<usize> {
    if let [only] = numbers[..] {
        return Ok(only);
    }
    let tops: HashSet<_> = top_sources(snapshot).into_iter().collect();
    let outer: Vec<_> = numbers.iter().filter(|number| tops.contains(number)).collect();
    match outer[..] {
        [only] => Ok(*only),
        _ => Err(ambiguous_address_error(snapshot, &numbers, address)),
    }
}

/// The error for an address or label that several sources have.
pub fn ambiguous_address_error(snapshot: &Snapshot, numbers: &[usize], address: &[u8]) -> Error {
    let shown = |number: &usize| {
        let source = &snapshot.sources[*number];
        format!("{} ({})", String::from_utf8_lossy(source.path()), source.name())
    };
    let mut all: Vec<_> = numbers.iter().take(NAMED_SOURCES_MAX).map(shown).collect();
    if numbers.len() > NAMED_SOURCES_MAX {
        all.push(format!("{} more", numbers.len() - NAMED_SOURCES_MAX));
    }
    let address = String::from_utf8_lossy(address);
    let message = format!(
        "{address} is the name of several sources: {}; name one by its path, or restore the snapshot whole",
        all.join(", ")
    );
    Error::new(ErrorKind::Usage, message)
}

/// The sources that lie in no other source.
pub fn top_sources(snapshot: &Snapshot) -> Vec<usize> {
    let inside: HashSet<u32> = match &snapshot.inside {
        Some(inside) => inside.iter().copied().collect(),
        None => databases_inside_sources(&snapshot.sources).into_iter().collect(),
    };
    let is_top = |number: &usize| !u32::try_from(*number).is_ok_and(|number| inside.contains(&number));
    (0..snapshot.sources.len()).filter(is_top).collect()
}

/// Numbers of the databases that lie in another source as far as names and paths tell, ascending: a database that was found
/// on the way is named after where it was found, so label and path agree on what leads there.
pub fn databases_inside_sources(sources: &[SnapshotSource]) -> Vec<u32> {
    let labels: Vec<_> = sources.iter().map(SnapshotSource::label).collect();
    let spots: Vec<_> = sources
        .iter()
        .zip(&labels)
        .map(|(source, label)| SourceLocation::of(source, label))
        .collect();
    let mut by_hash: HashMap<[u64; 2], Vec<&SourceLocation>> = HashMap::new();
    spots
        .iter()
        .for_each(|spot| by_hash.entry(spot.prefix_hashes(0)).or_default().push(spot));
    let lies_inside = |spot: &SourceLocation| {
        (1..=spot.common_suffix_len()).any(|up| {
            let outer = by_hash.get(&spot.prefix_hashes(up)).into_iter().flatten();
            outer.into_iter().any(|outer| spot.is_below(outer, up))
        })
    };
    let numbered = (0..).zip(sources.iter().zip(&spots));
    numbered
        .filter(|(_, (source, spot))| matches!(source, SnapshotSource::Database(_)) && lies_inside(spot))
        .map(|(number, _)| number)
        .collect()
}

/// Label and path of a source, in parts.
struct SourceLocation<'s> {
    label: Vec<&'s [u8]>,
    path: Vec<&'s [u8]>,
    /// Of the first parts of both, none to all: work grows with the length of names, whatever a snapshot says.
    hashes: [Vec<u64>; 2],
}

impl<'s> SourceLocation<'s> {
    fn of(source: &'s SnapshotSource, label: &'s [u8]) -> Self {
        let (label, path): (Vec<_>, Vec<_>) = (parts(label).collect(), parts(source.path()).collect());
        let hashes = [hash_prefixes(&label), hash_prefixes(&path)];
        Self { label, path, hashes }
    }

    /// How many of the last parts are the same.
    fn common_suffix_len(&self) -> usize {
        let ends = self.label.iter().rev().zip(self.path.iter().rev());
        ends.take_while(|(name, path)| name == path).count()
    }

    /// Of all parts but the last few.
    fn prefix_hashes(&self, up: usize) -> [u64; 2] {
        self.hashes.each_ref().map(|hashes| hashes[hashes.len() - 1 - up])
    }

    fn is_below(&self, outer: &Self, up: usize) -> bool {
        self.label[..self.label.len() - up] == outer.label && self.path[..self.path.len() - up] == outer.path
    }
}

fn hash_prefixes(parts: &[&[u8]]) -> Vec<u64> {
    let mut hasher = DefaultHasher::new();
    let mut all = vec![hasher.finish()];
    for part in parts {
        part.hash(&mut hasher);
        all.push(hasher.finish());
    }
    all
}
