//! Parses and matches lists of tags, in restic's notation.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// Tags that a snapshot must all have; an empty list fits those that have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagList(pub Vec<String>);

impl TagList {
    /// `a,b` for both of them; nothing for none at all. White space around a tag is not part of it.
    pub fn parse(words: &str) -> Self {
        Self(tags_in(words).map(str::to_owned).collect())
    }

    /// The tags of several words, each of which may name several.
    pub fn parse_all(words: &[String]) -> Self {
        Self(
            words
                .iter()
                .flat_map(|words| tags_in(words))
                .map(str::to_owned)
                .collect(),
        )
    }

    /// [`ErrorKind::Usage`] for a tag that no words could ask for: an empty one, or one with a comma or white space around it.
    pub fn check(&self) -> Result<()> {
        match self.0.iter().find(|tag| !tags_in(tag).eq([tag.as_str()])) {
            None => Ok(()),
            Some(tag) => Err(Error::new(
                ErrorKind::Usage,
                format!(
                    "tag {tag:?}: a tag is not empty and has no comma in it, and no white space around it"
                ),
            )),
        }
    }

    /// True if a snapshot with these tags fits. (One that an older program stored may have commas in it, and is then as many
    /// as it lists.)
    pub fn fits(&self, tags: &[String]) -> bool {
        let has = |wanted: &str| {
            tags.iter()
                .any(|tag| tag == wanted || tags_in(tag).any(|tag| tag == wanted))
        };
        if self.0.is_empty() {
            tags.iter().all(|tag| tag.is_empty())
        } else {
            self.0.iter().all(|tag| has(tag))
        }
    }
}

/// The one notation for tags: restic's.
fn tags_in(words: &str) -> impl Iterator<Item = &str> {
    words.split(',').map(str::trim).filter(|tag| !tag.is_empty())
}

impl fmt::Display for TagList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("(none)")
        } else {
            f.write_str(&self.0.join(","))
        }
    }
}
