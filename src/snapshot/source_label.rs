//! Compares labels of sources with the parts of addresses.
//!
//! Labels of sources as bytes: what an address of a person is compared with.
//!
//! A label is text. Where it was made from names that are not UTF-8 it shows `\u{fffd}` for their bytes, and the path has
//! the bytes themselves.

use std::borrow::Cow;

use super::{DatabaseRoot, SnapshotSource};

/// The names of a path.
pub fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
}

/// A label without the number that tells it from an equal one.
pub(super) fn strip_number(label: &str) -> &str {
    match label.rsplit_once('~') {
        Some((bare, number)) if !bare.is_empty() && number.parse::<u32>().is_ok() => bare,
        _ => label,
    }
}

impl SnapshotSource {
    /// The label in bytes.
    pub fn label(&self) -> Cow<'_, [u8]> {
        label(self.name(), self.path())
    }

    /// True if `address` is its absolute path or its label.
    pub fn is_called(&self, address: &[u8]) -> bool {
        is_called(self.name(), self.path(), address)
    }
}

impl DatabaseRoot {
    /// True if `address` is its absolute path or its label.
    pub fn is_called(&self, address: &[u8]) -> bool {
        is_called(&self.name, &self.path, address)
    }
}

fn is_called(name: &str, path: &[u8], address: &[u8]) -> bool {
    let is = |other: &[u8]| parts(other).eq(parts(address));
    if address.starts_with(b"/") {
        is(path)
    } else {
        is(name.as_bytes()) || is(&label(name, path))
    }
}

fn label<'s>(name: &'s str, path: &[u8]) -> Cow<'s, [u8]> {
    if !name.contains(char::REPLACEMENT_CHARACTER) {
        return Cow::Borrowed(name.as_bytes());
    }
    let shown: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    let names: Vec<&[u8]> = parts(path).collect();
    let last = names.len().checked_sub(shown.len()).map(|from| &names[from..]);
    match last {
        Some(last)
            if last
                .iter()
                .zip(&shown)
                .all(|(name, shown)| is_shown_as(shown, name)) =>
        {
            Cow::Owned(last.join(&b'/'))
        }
        _ => Cow::Borrowed(name.as_bytes()),
    }
}

/// True if `text` is what is shown for `name`.
pub(super) fn is_shown_as(text: &str, name: &[u8]) -> bool {
    String::from_utf8_lossy(name) == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_shows_bytes_that_are_not_text_and_means_them() {
        let path = b"/w/q/t\xe9/db";
        assert_eq!(*label("q/t\u{fffd}/db", path), *b"q/t\xe9/db");
        assert_eq!(*label("q/x\u{fffd}/db", path), *"q/x\u{fffd}/db".as_bytes());
        for address in [&b"q/t\xe9/db"[..], b"/w/q/t\xe9/db/", "q/t\u{fffd}/db".as_bytes()] {
            assert!(is_called("q/t\u{fffd}/db", path, address), "{address:?}");
        }
        for other in [&b"q/t\xe8/db"[..], b"/q/t\xe9/db", b"db", b""] {
            assert!(!is_called("q/t\u{fffd}/db", path, other), "{other:?}");
        }
    }

    #[test]
    fn a_number_is_not_part_of_what_a_label_was_made_from() {
        assert_eq!(strip_number("db~2"), "db");
        for label in ["db", "~2", "db~", "db~x"] {
            assert_eq!(strip_number(label), label);
        }
    }
}
