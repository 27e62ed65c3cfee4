//! What the target has and the snapshot does not: removed where that was asked for, below what is restored and nowhere
//! else, as far as the patterns mean it.

use std::sync::Arc;

use super::Planned;
use super::walker::{Hands, Where};
use crate::error::Result;
use crate::leveldb::name::FileName;
use crate::pattern::{Choice, Place, Selector};
use crate::scratch;
use crate::target::tree::{Directory, What};

/// One name that the snapshot does not have.
pub struct Extra<'a> {
    pub selector: &'a Selector,
    pub place: Where,
    /// It stands in a database's directory.
    pub is_database: bool,
}

impl Extra<'_> {
    /// Removes it. Sockets are never saved, so that a snapshot has none says nothing; what this program made for itself
    /// beside a database is no part of the tree.
    pub fn remove(
        &self,
        directory: &Arc<Directory>,
        name: &[u8],
        parent: Choice,
        hands: &mut Hands,
    ) -> Result<()> {
        let is_leveldbs = || std::str::from_utf8(name).is_ok_and(|name| FileName::parse(name).is_some());
        if scratch::is_ours(name) || self.is_database && is_leveldbs() {
            return Ok(());
        }
        let Some(standing) = directory
            .look(name)?
            .filter(|standing| standing.what != What::Other)
        else {
            return Ok(());
        };
        let asked = Place::stored(&self.place.absolute, &self.place.inner, standing.is_directory());
        let choice = self.selector.choose(&asked, parent);
        match choice {
            Choice::LeaveOut => return Ok(()),
            Choice::Take if !standing.is_directory() => return one(directory, name, hands),
            Choice::Take if self.selector.exclude.is_empty() && self.selector.include.is_empty() => {
                return one(directory, name, hands);
            }
            Choice::Take | Choice::Search => {}
        }
        // Some of what is in it may not be meant.
        let inside = directory.standing_child(name, &standing, None)?;
        for inner in inside.names()? {
            let extra = Extra {
                selector: self.selector,
                place: self.place.below(&inner),
                is_database: false,
            };
            extra.remove(&inside, &inner, choice, hands)?;
        }
        match choice == Choice::Take && inside.names()?.is_empty() {
            true => one(directory, name, hands),
            false => Ok(()),
        }
    }
}

fn one(directory: &Arc<Directory>, name: &[u8], hands: &mut Hands) -> Result<()> {
    match hands {
        Hands::Plan(each, _) => {
            each(Planned::removal(directory.shown_in(name)));
            Ok(())
        }
        Hands::Work(shop, _) => {
            shop.tally.removed();
            directory.remove(name)
        }
    }
}
