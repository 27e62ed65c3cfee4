//! Expands glob patterns.
//!
//! A pattern → the paths that are called so: `*`, `?`, `[a-z]` and `\` in any part of it, as in a shell, but that `*`
//! means names that begin with a dot too.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use crate::error::{Error, ErrorKind, Result};
use crate::source::walk::list;

/// All paths that match, in order. What cannot be listed has no names.
///
/// # Errors
/// [`ErrorKind::Usage`] for what is no pattern.
pub fn expand(pattern: &str) -> Result<Vec<PathBuf>> {
    let start = match pattern.strip_prefix('/') {
        Some(_) => PathBuf::from("/"),
        None => PathBuf::new(),
    };
    let mut found = vec![start];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        found = match matcher(part)? {
            None => found.iter().map(|path| path.join(part)).collect(),
            Some(matcher) => found
                .iter()
                .flat_map(|path| matching_children(path, &matcher))
                .collect(),
        };
    }
    found.retain(|path| std::fs::symlink_metadata(path).is_ok());
    Ok(found)
}

fn matching_children<'m>(
    directory: &Path,
    matcher: &'m GlobMatcher,
) -> impl Iterator<Item = PathBuf> + use<'m> {
    let here = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let names = list(here).unwrap_or_default();
    let directory = directory.to_owned();
    let matching = names.into_iter().filter(|name| matcher.is_match(Path::new(name)));
    matching.map(move |name| directory.join(name))
}

/// `None` for a part that is a plain name.
fn matcher(part: &str) -> Result<Option<GlobMatcher>> {
    if !part.contains(['*', '?', '[', '\\']) {
        return Ok(None);
    }
    let glob = GlobBuilder::new(&braces_escaped(part))
        .backslash_escape(true)
        .build()
        .map_err(|error| {
            Error::new(
                ErrorKind::Usage,
                format!("{part:?} is no pattern: {}", error.kind()),
            )
        })?;
    Ok(Some(glob.compile_matcher()))
}

/// A shell's braces are no pattern and the matcher's are: outside of brackets they are plain here.
fn braces_escaped(part: &str) -> String {
    let (mut escaped, mut is_escape, mut class) = (String::new(), false, None::<usize>);
    for letter in part.chars() {
        if class.is_none() && !is_escape && matches!(letter, '{' | '}') {
            escaped.push('\\');
        }
        class = match class {
            // What stands first in brackets does not end them.
            Some(1..) if letter == ']' => None,
            Some(0) if matches!(letter, '^' | '!') => Some(0),
            Some(letters) => Some(letters + 1),
            None if letter == '[' && !is_escape => Some(0),
            None => None,
        };
        is_escape = letter == '\\' && !is_escape;
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn parts_match_names_and_braces_are_plain() {
        for (part, yes, no) in [
            ("*.txt", &["a.txt", ".txt", "\u{e9}.txt"][..], &["a.txt2"][..]),
            ("a?c", &["abc"], &["ac", "abbc"]),
            ("[a-c]x", &["ax"], &["dx", "[x"]),
            ("[^a]x", &["bx"], &["ax"]),
            ("[]{]x", &["]x", "{x"], &["x", "\\x"]),
            ("*{1}", &["f{1}"], &["f1"]),
            ("\\*", &["*"], &["a"]),
            ("\\{a,b}*", &["{a,b}c"], &["ac"]),
            ("**", &["a", ".b"], &[]),
        ] {
            let matcher = matcher(part).unwrap().unwrap();
            let matches = |name: &&&str| matcher.is_match(Path::new(OsStr::new(**name)));
            assert_eq!(yes.iter().filter(matches).count(), yes.len(), "{part}");
            assert_eq!(no.iter().filter(matches).count(), 0, "{part}");
        }
        assert!(matcher("f{1}").unwrap().is_none());
        assert_eq!(matcher("[a").unwrap_err().kind(), ErrorKind::Usage);
    }
}
