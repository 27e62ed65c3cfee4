//! Assigns a distinct relative path to each source.
//!
//! Places: a path of its own for each of several sources, below one directory.
//!
//! ```text
//! /srv/app/db                         db              its last name, where no other ends alike
//! /srv/a/db  /srv/b/db                a/db  b/db      as many names as tell it from the others
//! /srv/b/db  /mnt/srv/b/db            srv/b/db  mnt/srv/b/db
//! /x/a  /y/a/db  /z/db                a  a~2/db  z/db     no place lies in another: the later one gets a number
//! /                                   _
//! ```
//! **Invariant:** places are distinct, and none begins another (`tests`). The same sources always get the same places.

use std::collections::{BTreeSet, HashMap};

use super::source_label::{is_shown_as, parts, strip_number};
use super::{Snapshot, SnapshotSource};

/// What the root of a filesystem is called.
pub const ROOT_NAME: &str = "_";

/// Names of a path that are used at most: what agrees in so many is numbered.
const NAMES_MAX: usize = 64;

/// Where each of the sources with these numbers goes.
pub fn places(snapshot: &Snapshot, numbers: &[usize]) -> Vec<Vec<u8>> {
    let names: Vec<_> = numbers
        .iter()
        .map(|number| names(&snapshot.sources[*number]))
        .collect();
    distinct_paths(&names)
}

/// The names that a source's place is made from: those of its path, unless a person gave it another name.
fn names(source: &SnapshotSource) -> Vec<&[u8]> {
    let path: Vec<_> = parts(source.path()).collect();
    let label: Vec<_> = parts(source.name().as_bytes()).collect();
    let shown = source.name().rsplit('/').find(|part| !part.is_empty());
    let shown = strip_number(shown.unwrap_or_default());
    match path.last() {
        Some(last) if is_shown_as(shown, last) => path,
        None if shown == ROOT_NAME => path,
        _ => label,
    }
}

/// A path for each list of names, made from the last of them.
pub fn distinct_paths(all: &[Vec<&[u8]>]) -> Vec<Vec<u8>> {
    let lengths = lengths(all);
    let mut taken = TakenPaths::default();
    let wanted = all.iter().zip(lengths).map(|(names, len)| {
        let names = &names[names.len() - len..];
        if names.is_empty() {
            ROOT_NAME.as_bytes().to_vec()
        } else {
            names
                .iter()
                .map(|name| plain_name(name))
                .collect::<Vec<_>>()
                .join(&b'/')
        }
    });
    wanted.map(|place| taken.take_name(place)).collect()
}

/// How many of its last names tell each list from all others.
fn lengths(all: &[Vec<&[u8]>]) -> Vec<usize> {
    let mut lengths = vec![None; all.len()];
    // Lists of one number agree in all names so far.
    let mut group = vec![0; all.len()];
    for len in 1..=NAMES_MAX {
        let mut groups: HashMap<(usize, Option<&[u8]>), Vec<usize>> = HashMap::new();
        for (number, names) in all
            .iter()
            .enumerate()
            .filter(|(number, _)| lengths[*number].is_none())
        {
            let name = names.len().checked_sub(len).map(|at| names[at]);
            groups.entry((group[number], name)).or_default().push(number);
        }
        if groups.is_empty() {
            break;
        }
        for (next, ((_, name), members)) in groups.into_iter().enumerate() {
            for number in &members {
                group[*number] = next;
                if members.len() == 1 || name.is_none() {
                    lengths[*number] = Some(len.min(all[*number].len()));
                }
            }
        }
    }
    let most = |(len, names): (Option<usize>, &Vec<&[u8]>)| len.unwrap_or(names.len().min(NAMES_MAX));
    lengths.into_iter().zip(all).map(most).collect()
}

/// A name that a directory can hold, and that leads nowhere else.
fn plain_name(name: &[u8]) -> Vec<u8> {
    match name {
        b"." | b".." => [b"_", name].concat(),
        name => name
            .iter()
            .map(|byte| if *byte == 0 { b'_' } else { *byte })
            .collect(),
    }
}

/// Places that are given away, each with a slash behind it.
#[derive(Default)]
struct TakenPaths {
    places: BTreeSet<Vec<u8>>,
    /// The number to try next behind a first name.
    numbers: HashMap<Vec<u8>, u32>,
}

impl TakenPaths {
    fn take_name(&mut self, wanted: Vec<u8>) -> Vec<u8> {
        let (first, rest) = match wanted.iter().position(|byte| *byte == b'/') {
            Some(at) => wanted.split_at(at),
            None => (&wanted[..], &[][..]),
        };
        let mut place = wanted.clone();
        while !self.is_free(&place) {
            let number = self.numbers.entry(first.to_vec()).or_insert(1);
            *number += 1;
            place = [first, format!("~{number}").as_bytes(), rest].concat();
        }
        self.places.insert([&place[..], b"/"].concat());
        place
    }

    fn is_free(&self, place: &[u8]) -> bool {
        let own = [place, b"/"].concat();
        let has_inner = self.places.range(own.clone()..).next();
        let has_inner = has_inner.is_some_and(|inner| inner.starts_with(&own));
        let ends = own.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut outer = ends.map(|(at, _)| &own[..=at]);
        !has_inner && !outer.any(|outer| self.places.contains(outer))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(paths: &[&str]) -> Vec<String> {
        let names: Vec<Vec<&[u8]>> = paths
            .iter()
            .map(|path| parts(path.as_bytes()).collect())
            .collect();
        let places = distinct_paths(&names).into_iter();
        places.map(|place| String::from_utf8(place).unwrap()).collect()
    }

    #[test]
    fn a_place_has_as_many_names_as_are_needed() {
        assert_eq!(of(&["/srv/app/db"]), ["db"]);
        assert_eq!(of(&["/a/db", "/b/db", "/c"]), ["a/db", "b/db", "c"]);
        assert_eq!(of(&["/srv/b/db", "/mnt/srv/b/db"]), ["srv/b/db", "mnt/srv/b/db"]);
        assert_eq!(of(&["/", "/x", "/y/_"]), ["_", "x", "_~2"]);
        assert_eq!(of(&["/x/a", "/y/a/db", "/z/db"]), ["a", "a~2/db", "z/db"]);
        assert_eq!(of(&["/a/../.", "/b/.."]), ["_.", "_.."]);
    }

    #[test]
    fn equal_paths_get_numbers_and_long_ones_end() {
        assert_eq!(of(&["/a/db"; 3]), ["a/db", "a~2/db", "a~3/db"]);
        let long = "/d".repeat(30_000);
        let places = of(&[&format!("/x{long}"), &format!("/y{long}")]);
        assert_ne!(places[0], places[1]);
        assert!(places[0].len() < 3 * NAMES_MAX);
        let many = vec!["/d"; 10_000];
        assert_eq!(of(&many).into_iter().collect::<BTreeSet<_>>().len(), many.len());
    }

    proptest! {
        #[test]
        fn no_place_is_another_or_lies_in_one(
            paths in prop::collection::vec("(/(a|b|_|a~2|\\.\\.|\u{e9})){0,4}", 1..9)
        ) {
            let texts: Vec<&str> = paths.iter().map(String::as_str).collect();
            let places = of(&texts);
            prop_assert_eq!(&places, &of(&texts));
            for (at, place) in places.iter().enumerate() {
                let lies_in = |other: &String| format!("{place}/").starts_with(&format!("{other}/"));
                prop_assert!(!places.iter().enumerate().any(|(other, path)| other != at && lies_in(path)));
                prop_assert!(parts(place.as_bytes()).all(|part| part != b".." && part != b"."));
            }
        }
    }
}
