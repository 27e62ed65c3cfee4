//! An address within a snapshot → the source that is meant, and what is left of the address.
//!
//! An address is a source's name, or the path it stood at, and names below it. Of several that fit, the longest wins,
//! names before paths. It is bytes, as paths are.

use std::collections::HashSet;

use crate::snapshot::{Snapshot, Source};

/// The source that an address names, and the names below it that are left.
pub fn source<'a>(snapshot: &Snapshot, address: &'a [u8]) -> Option<(usize, Vec<&'a [u8]>)> {
    let parts: Vec<_> = parts(address).collect();
    let by_name = || longest(snapshot, &parts, |source| source.name().as_bytes());
    let by_path = || match address.starts_with(b"/") {
        true => longest(snapshot, &parts, Source::path),
        false => None,
    };
    let by_name = by_name().filter(|(_, len)| *len > 0);
    let (number, len) = by_name.or_else(by_path)?;
    Some((number, parts[len..].to_vec()))
}

/// The sources that lie in no other source.
pub fn tops(snapshot: &Snapshot) -> Vec<usize> {
    let places: Vec<_> = snapshot.sources.iter().map(Place::of).collect();
    let all: HashSet<_> = places.iter().cloned().collect();
    (0..places.len())
        .filter(|number| !places[*number].outer().any(|outer| all.contains(&outer)))
        .collect()
}

/// Name and path of a source, in parts.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place<'a> {
    name: Vec<&'a [u8]>,
    path: Vec<&'a [u8]>,
}

impl<'a> Place<'a> {
    fn of(source: &'a Source) -> Self {
        Self {
            name: parts(source.name().as_bytes()).collect(),
            path: parts(source.path()).collect(),
        }
    }

    /// Sources that this one may lie in. A database that was found on the way is named after where it was found, so name
    /// and path agree on what leads there.
    fn outer(&self) -> impl Iterator<Item = Self> {
        let ends = self.name.iter().rev().zip(self.path.iter().rev());
        let same = ends.take_while(|(name, path)| name == path).count();
        (1..=same).map(|up| Self {
            name: self.name[..self.name.len() - up].to_vec(),
            path: self.path[..self.path.len() - up].to_vec(),
        })
    }
}

/// The names of a path.
pub fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
}

/// The source with the most parts that `address` begins with, the first of them; and how many those are.
fn longest(snapshot: &Snapshot, address: &[&[u8]], of: impl Fn(&Source) -> &[u8]) -> Option<(usize, usize)> {
    let mut best: Option<(usize, usize)> = None;
    for (number, source) in snapshot.sources.iter().enumerate() {
        let own: Vec<_> = parts(of(source)).collect();
        if address.starts_with(&own) && best.is_none_or(|(_, len)| own.len() > len) {
            best = Some((number, own.len()));
        }
    }
    best
}
