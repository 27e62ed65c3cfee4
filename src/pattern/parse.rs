//! Parses a person's pattern into a gitignore line.

use std::borrow::Cow;

use super::{CaseSensitivity, Pattern};
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// A pattern in gitignore's own writing.
pub(super) struct GitignoreLine {
    pub gitignore: String,
    /// It is compared with names as `as_text` shows them.
    pub is_raw: bool,
    pub case: CaseSensitivity,
    /// It takes back instead of meaning.
    pub takes_back: bool,
    /// It is anchored at the PATH that was asked for; else it looks at absolute paths.
    pub from_asked: bool,
}

impl Pattern {
    /// A pattern given as a word: `#` begins no comment, and spaces at its end count.
    pub fn word(text: impl AsRef<[u8]>, case: CaseSensitivity) -> Self {
        let (text, is_raw) = display_text(text.as_ref());
        let text = &*text;
        let escaped = if text.starts_with('#') { "\\" } else { "" };
        let (last, rest) = match text.chars().next_back() {
            // A class of one: the only way to keep any space from being trimmed.
            Some(last) if last.is_whitespace() && !text.ends_with("\\ ") => {
                (format!("[{last}]"), &text[..text.len() - last.len_utf8()])
            }
            _ => (String::new(), text),
        };
        let text = format!("{escaped}{rest}{last}");
        Self { text, is_raw, case }
    }

    /// The patterns of a file: one a line; empty lines and those that begin with `#` are none.
    pub fn lines(bytes: &[u8], case: CaseSensitivity) -> Result<Vec<Self>> {
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let numbered = bytes.split(|byte| *byte == b'\n').enumerate();
        let parse = |(at, line)| {
            let (text, is_raw) = display_text(line);
            let pattern = Self {
                text: text.trim_end_matches('\r').to_owned(),
                is_raw,
                case,
            };
            if pattern.text.starts_with('#') || pattern.text.trim().is_empty() {
                Ok(None)
            } else {
                pattern
                    .parse()
                    .context(|| format!("line {}", at + 1))
                    .map(|_| Some(pattern))
            }
        };
        numbered.map(parse).filter_map(Result::transpose).collect()
    }

    pub(super) fn parse(&self) -> Result<GitignoreLine> {
        let wrong = |what: &str| {
            Err(Error::new(
                ErrorKind::Usage,
                format!("the pattern {:?} {what}", self.text),
            ))
        };
        let (not, body) = match self.text.strip_prefix('!') {
            Some(body) => ("!", body),
            None => ("", &*self.text),
        };
        if body.trim().is_empty() || body.trim_end() == "./" {
            return wrong("is empty");
        }
        if body.split('/').any(|part| part.trim_end() == "..") {
            return wrong("leads upwards with `..`: write the absolute path");
        }
        let (body, from_asked) = anchored(body);
        Ok(GitignoreLine {
            gitignore: format!("{not}{body}"),
            case: self.case,
            is_raw: self.is_raw,
            takes_back: !not.is_empty(),
            from_asked,
        })
    }
}

/// A pattern as text, and whether that is another text than its bytes.
fn display_text(bytes: &[u8]) -> (Cow<'_, str>, bool) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), false),
        Err(_) => (Cow::Owned(as_text(bytes)), true),
    }
}

/// The first of the 256 characters that stand for bytes.
const BYTE_CHARACTERS: u32 = 0x10_ff00 - 0x100;

/// Bytes as text, other bytes always as another text: what is not UTF-8, and the characters that stand for that, byte by
/// byte as a character of its own.
pub(super) fn as_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let stands_for =
        |byte: &u8| char::from_u32(BYTE_CHARACTERS + u32::from(*byte)).unwrap_or(char::REPLACEMENT_CHARACTER);
    let is_taken = |c: char| (BYTE_CHARACTERS..BYTE_CHARACTERS + 0x100).contains(&u32::from(c));
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_taken(c) {
                text.extend(c.encode_utf8(&mut [0; 4]).as_bytes().iter().map(stands_for))
            } else {
                text.push(c)
            }
        }
        text.extend(chunk.invalid().iter().map(stands_for));
    }
    text
}

/// The pattern without `./`, and whether it is anchored at the PATH that was asked for.
fn anchored(body: &str) -> (String, bool) {
    if let Some(rest) = body.strip_prefix("./") {
        return (format!("/{rest}"), true);
    }
    let free = body.starts_with('/') || body.starts_with("**/");
    let inner_slash = body.trim_end().trim_end_matches('/').contains('/');
    (body.to_owned(), inner_slash && !free)
}
