//! Combines includes and excludes, from the top of a tree down.

use super::{PatternMatch, PatternPath, Patterns};

/// What is wanted of a tree: all that is included (everything, where there are no includes) and not excluded.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// What is meant here comes with all that is in it. Empty: everything is meant.
    pub include: Patterns,
    /// What is meant here is left out with all that is in it.
    pub exclude: Patterns,
}

/// What becomes of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectorChoice {
    /// It is wanted, and what is in it, as far as nothing says otherwise.
    Take,
    /// A directory that is not wanted for itself: only for what may be wanted in it.
    Search,
    /// Neither it nor anything in it.
    LeaveOut,
}

impl Selector {
    /// The choice for the top of a tree: that of a directory above it, which nobody asked for.
    pub fn could_match_below(&self) -> SelectorChoice {
        if self.include.is_empty() {
            SelectorChoice::Take
        } else {
            SelectorChoice::Search
        }
    }

    /// The choice for an entry of a directory that had the choice `parent`.
    pub fn is_selected(&self, place: &PatternPath<'_>, parent: SelectorChoice) -> SelectorChoice {
        match (parent, self.exclude.say(place), self.include.say(place)) {
            (SelectorChoice::LeaveOut, ..)
            | (_, PatternMatch::Meant(_), _)
            | (.., PatternMatch::TakenBack(_)) => SelectorChoice::LeaveOut,
            (.., PatternMatch::Meant(_)) | (SelectorChoice::Take, ..) => SelectorChoice::Take,
            (SelectorChoice::Search, ..) if place.is_directory => SelectorChoice::Search,
            (SelectorChoice::Search, ..) => SelectorChoice::LeaveOut,
        }
    }
}
