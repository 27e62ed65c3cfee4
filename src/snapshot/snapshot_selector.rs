//! Selects a snapshot by `latest`, `latest~N` or an id's prefix.
//!
//! Words → one snapshot, or why not: `latest`, `latest~N`, or the beginning of an id. Pure.

use crate::clock::UnixNanos;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;

/// A snapshot as far as it must be known to be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotCandidate {
    /// Its name.
    pub id: ObjectId,
    /// When it began.
    pub time: UnixNanos,
    /// Its time was set by a clock that was ahead: all others are later.
    pub is_set_aside: bool,
}

/// Candidates named in an error; there may be thousands.
const NAMED_MAX: usize = 8;

/// The one snapshot that `wanted` means. `known` may be in any order; of two of one time the greater id is later.
pub fn select(known: &[SnapshotCandidate], wanted: &str) -> Result<ObjectId> {
    match wanted.strip_prefix("latest") {
        Some("") => latest(known, 0, wanted),
        Some(rest) => match rest.strip_prefix('~').and_then(|back| back.parse().ok()) {
            Some(back) => latest(known, back, wanted),
            None => Err(usage_error(wanted)),
        },
        None => by_prefix(known, wanted),
    }
}

fn latest(known: &[SnapshotCandidate], back: usize, wanted: &str) -> Result<ObjectId> {
    let place = |known: &SnapshotCandidate| (!known.is_set_aside, known.time, known.id);
    let mut sorted: Vec<_> = known.iter().map(place).collect();
    sorted.sort_unstable();
    match sorted.iter().rev().nth(back) {
        Some((.., id)) => Ok(*id),
        None => Err(not_found_error(wanted, known.len())),
    }
}

fn by_prefix(known: &[SnapshotCandidate], wanted: &str) -> Result<ObjectId> {
    let prefix = wanted.to_ascii_lowercase();
    let digits = prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
    if prefix.is_empty() || prefix.len() > 2 * ObjectId::LEN || !digits {
        return Err(usage_error(wanted));
    }
    let mut found: Vec<ObjectId> = known.iter().map(|known| known.id).collect();
    found.retain(|id| id.to_hex().starts_with(&prefix));
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [] => Err(not_found_error(wanted, known.len())),
        [only] => Ok(only),
        _ => Err(ambiguous_error(wanted, &found)),
    }
}

fn usage_error(wanted: &str) -> Error {
    let expected = "expected `latest`, `latest~N` or the beginning of a snapshot's id";
    Error::new(ErrorKind::Usage, format!("snapshot `{wanted}`: {expected}"))
}

fn not_found_error(wanted: &str, known: usize) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("snapshot `{wanted}`: none of {known} is it"),
    )
}

fn ambiguous_error(wanted: &str, found: &[ObjectId]) -> Error {
    let shortest = shortest_unique(found);
    let name = |id: &ObjectId| id.to_hex()[..shortest].to_owned();
    let mut names: Vec<_> = found.iter().take(NAMED_MAX).map(name).collect();
    if found.len() > NAMED_MAX {
        names.push(format!("and {} more", found.len() - NAMED_MAX));
    }
    Error::new(
        ErrorKind::Usage,
        format!("snapshot `{wanted}` is not one: {}", names.join(", ")),
    )
}

/// Digits that tell all of `sorted` apart, eight at least.
fn shortest_unique(sorted: &[ObjectId]) -> usize {
    let shared = |pair: &[ObjectId]| {
        let (a, b) = (pair[0].to_hex(), pair[1].to_hex());
        a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count() + 1
    };
    sorted.windows(2).map(shared).max().unwrap_or(0).max(8)
}
