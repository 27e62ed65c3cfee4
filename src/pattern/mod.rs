//! Matches paths against gitignore patterns.
//!
//! Which paths a person means: patterns as in `.gitignore`, over the paths of a walk or of a stored tree.
//!
//! ```text
//! backup /home/u:      *.o   cache/         any depth, by name; a slash at the end: directories only
//!                      /home/u/tmp          the absolute path, as restic reads it
//!                      src/gen   ./tmp      from the PATH that was asked for: /home/u/src/gen, /home/u/tmp
//!                      **/gen/out           any depth again
//!                      !keep.o              takes back what an earlier pattern said
//! ```
//!
//! The last pattern that matches decides. A walk asks from the top down and does not enter what is left out, so
//! nothing can be taken back from inside it. Why a slash at the beginning is the filesystem's root and not the PATH's:
//! lists of excludes hold lines like `/tmp` and `/bin`, and they must not take `~/tmp` and `~/bin` from a backup.
//!
//! A pattern is matched by the `ignore` crate: `*` and `?` stop at a slash, `[a-z]` and `{a,b}` are alternatives, `?` is
//! one byte, and case is ignored for the letters A to Z. Names need not be UTF-8, nor need patterns: in one that is not, `?` is
//! one character, or one byte that belongs to none.

mod parse;
mod selector;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::{Error, ErrorKind, Result};
use parse::{GitignoreLine, as_text};
pub use selector::{Selector, SelectorChoice};

/// Whether `A` and `a` are the same letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseSensitivity {
    /// They are not.
    Matters,
    /// They are.
    Ignored,
}

/// One pattern that a person gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// It is no UTF-8, and the text stands for its bytes.
    is_raw: bool,
    case: CaseSensitivity,
}

/// Where something lies that patterns are asked about.
#[derive(Clone, Copy, Debug)]
pub struct PatternPath<'a> {
    /// Its absolute path, as it is or was when it was saved.
    pub absolute: &'a Path,
    /// Its path from the PATH that was asked for; empty for that itself.
    pub inner: &'a Path,
    /// A directory, or a database.
    pub is_directory: bool,
}

/// What patterns say of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternMatch<'a> {
    /// None matches.
    Nothing,
    /// It is meant, by this pattern.
    Meant(&'a str),
    /// It is taken back, by this one.
    TakenBack(&'a str),
}

/// Patterns in the order they were given.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    groups: Vec<PatternGroup>,
}

/// Neighbours that all mean, or all take back: among them the order does not matter, so they are matched at once.
#[derive(Clone, Debug)]
struct PatternGroup {
    /// Looked up by the absolute path.
    absolute: Gitignore,
    /// Looked up by the path from the PATH that was asked for.
    inner: Gitignore,
    /// The same two of patterns that are not UTF-8, looked up by paths as `as_text` shows them.
    raw: Option<[Gitignore; 2]>,
}

impl<'a> PatternPath<'a> {
    /// The place of an entry of a stored tree.
    pub fn stored(absolute: &'a [u8], inner: &'a [u8], is_directory: bool) -> Self {
        Self {
            absolute: Path::new(OsStr::from_bytes(absolute)),
            inner: Path::new(OsStr::from_bytes(inner)),
            is_directory,
        }
    }
}

impl Patterns {
    /// Makes the matcher. [`ErrorKind::Usage`] names the pattern that is none.
    pub fn new(patterns: &[Pattern]) -> Result<Self> {
        let lines: Vec<GitignoreLine> = patterns.iter().map(Pattern::parse).collect::<Result<_>>()?;
        let groups = lines.chunk_by(|one, next| one.takes_back == next.takes_back);
        Ok(Self {
            groups: groups.map(PatternGroup::new).collect::<Result<_>>()?,
        })
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// What the last pattern that matches says. Directories above the place are not asked for.
    pub fn say(&self, place: &PatternPath<'_>) -> PatternMatch<'_> {
        let said = self.groups.iter().rev().map(|group| group.say(place));
        said.into_iter()
            .find(|said| *said != PatternMatch::Nothing)
            .unwrap_or(PatternMatch::Nothing)
    }
}

impl PatternGroup {
    fn new(lines: &[GitignoreLine]) -> Result<Self> {
        let matchers = |is_raw: bool| {
            let lines = lines.iter().filter(|line| line.is_raw == is_raw);
            let (absolute, inner): (Vec<_>, Vec<_>) = lines.partition(|line| !line.from_asked);
            Ok::<_, Error>([matcher(&absolute)?, matcher(&inner)?])
        };
        let [absolute, inner] = matchers(false)?;
        let has_raw = lines.iter().any(|line| line.is_raw);
        Ok(Self {
            absolute,
            inner,
            raw: has_raw.then(|| matchers(true)).transpose()?,
        })
    }

    fn say(&self, place: &PatternPath<'_>) -> PatternMatch<'_> {
        let said = matches_of_both(&self.absolute, &self.inner, place);
        match (&self.raw, said) {
            (Some([absolute, inner]), PatternMatch::Nothing) => {
                let text = |path: &Path| as_text(path.as_os_str().as_bytes());
                let [whole, below] = [place.absolute, place.inner].map(text);
                let place = PatternPath {
                    absolute: Path::new(&whole),
                    inner: Path::new(&below),
                    is_directory: place.is_directory,
                };
                matches_of_both(absolute, inner, &place)
            }
            (_, said) => said,
        }
    }
}

fn matches_of_both<'a>(
    absolute: &'a Gitignore,
    inner: &'a Gitignore,
    place: &PatternPath<'_>,
) -> PatternMatch<'a> {
    match matches_of(absolute, place.absolute, place) {
        // The PATH itself lies nowhere below it.
        PatternMatch::Nothing if !place.inner.as_os_str().is_empty() => matches_of(inner, place.inner, place),
        said => said,
    }
}

/// The empty root leaves paths as they are, but for a slash at the beginning.
fn matcher(lines: &[&GitignoreLine]) -> Result<Gitignore> {
    let mut builder = GitignoreBuilder::new("");
    let wrong = |error: ignore::Error| Error::new(ErrorKind::Usage, format!("not a pattern: {error}"));
    for line in lines {
        builder
            .case_insensitive(line.case == CaseSensitivity::Ignored)
            .map_err(wrong)?;
        builder.add_line(None, &line.gitignore).map_err(wrong)?;
    }
    builder.build().map_err(wrong)
}

fn matches_of<'a>(matcher: &'a Gitignore, path: &Path, place: &PatternPath<'_>) -> PatternMatch<'a> {
    match matcher.matched(path, place.is_directory) {
        ignore::Match::None => PatternMatch::Nothing,
        ignore::Match::Ignore(glob) => PatternMatch::Meant(glob.original()),
        ignore::Match::Whitelist(glob) => PatternMatch::TakenBack(glob.original()),
    }
}
