//! What a person wrote → a line of a gitignore, and from where it is anchored.

use super::{Case, Pattern};
use crate::error::{Act, Error, Kind, Result};

/// A pattern in gitignore's own writing.
pub(super) struct Line {
    pub gitignore: String,
    pub case: Case,
    /// It takes back instead of meaning.
    pub takes_back: bool,
    /// It is anchored at the PATH that was asked for; else it looks at absolute paths.
    pub from_asked: bool,
}

impl Pattern {
    /// A pattern given as a word: `#` begins no comment, and spaces at its end count.
    pub fn word(text: &str, case: Case) -> Self {
        let escaped = if text.starts_with('#') { "\\" } else { "" };
        let (last, rest) = match text.chars().next_back() {
            // A class of one: the only way to keep any space from being trimmed.
            Some(last) if last.is_whitespace() && !text.ends_with("\\ ") => {
                (format!("[{last}]"), &text[..text.len() - last.len_utf8()])
            }
            _ => (String::new(), text),
        };
        let text = format!("{escaped}{rest}{last}");
        Self { text, case }
    }

    /// The patterns of a file: one a line; empty lines and those that begin with `#` are none.
    pub fn lines(bytes: &[u8], case: Case) -> Result<Vec<Self>> {
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let numbered = bytes.split(|byte| *byte == b'\n').enumerate();
        let parse = |(at, line)| {
            let text = std::str::from_utf8(line).map_err(|_| {
                let what = "not UTF-8 (`?` stands for any one byte)";
                Error::new(Kind::Usage, what).act(format!("line {}", at + 1))
            })?;
            let pattern = Self {
                text: text.trim_end_matches('\r').to_owned(),
                case,
            };
            match pattern.text.starts_with('#') || pattern.text.trim().is_empty() {
                true => Ok(None),
                false => pattern
                    .parse()
                    .act(|| format!("line {}", at + 1))
                    .map(|_| Some(pattern)),
            }
        };
        numbered.map(parse).filter_map(Result::transpose).collect()
    }

    pub(super) fn parse(&self) -> Result<Line> {
        let wrong = |what: &str| {
            Err(Error::new(
                Kind::Usage,
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
        Ok(Line {
            gitignore: format!("{not}{body}"),
            case: self.case,
            takes_back: !not.is_empty(),
            from_asked,
        })
    }
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
