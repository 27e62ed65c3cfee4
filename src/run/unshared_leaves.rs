//! Finds the leaves of one run that another lacks.
//!
//! The leaves of one run that another has not: two trees walked side by side, and what is equal in both left out
//! without being read.
//!
//! A leaf or node that both trees name begins with the same key in both. The tree whose next child begins first goes
//! on, and of two that begin alike the one with the higher child is opened. So two equal children meet before either
//! is passed or opened, wherever they hang, and no leaf that both have is ever given.

use std::cmp::Ordering;

use super::run_reader::{LeafIterator, LeafSpan, RunReader, RunStep};
use super::{KeyOrder, KeyRange};
use crate::error::{Result, ResultExt};

/// Iterates over the leaves of a run that are not among another run's, in key order; loads inner nodes only.
pub(super) struct UnsharedLeaves<'a> {
    own: WalkFront<'a>,
    other: WalkFront<'a>,
    order: KeyOrder<'a>,
}

/// How far a walk has come: the child it is at, not yet opened.
struct WalkFront<'a> {
    leaves: LeafIterator<'a>,
    at: Option<RunStep>,
}

/// Who goes on.
enum WalkTurn {
    Own,
    Other,
    /// Both, past what is equal.
    Both,
}

impl<'a> UnsharedLeaves<'a> {
    /// The leaves that may hold keys of `range`. Both runs have one key order.
    pub(super) fn new(own: &RunReader<'a>, other: &RunReader<'a>, range: &KeyRange) -> Result<Self> {
        Ok(Self {
            own: WalkFront::new(own.leaves(range.clone()))?,
            other: WalkFront::new(other.leaves(range.clone()))?,
            order: own.order,
        })
    }

    fn next_leaf(&mut self) -> Result<Option<LeafSpan>> {
        while let Some(own) = &self.own.at {
            match next_turn(own, self.other.at.as_ref(), self.order) {
                WalkTurn::Both => {
                    self.own.skip_shared()?;
                    self.other.skip_shared()?;
                }
                WalkTurn::Other => self.other.advance_to(&own.1.first_key, self.order)?,
                WalkTurn::Own if own.0 > 0 => self.own.open()?,
                WalkTurn::Own => {
                    let passed = self.own.skip_shared()?;
                    return Ok(passed.map(|(_, leaf, upper)| LeafSpan { leaf, upper }));
                }
            }
        }
        Ok(None)
    }
}

fn next_turn(own: &RunStep, other: Option<&RunStep>, order: KeyOrder<'_>) -> WalkTurn {
    let Some(other) = other else { return WalkTurn::Own };
    if (own.0, own.1.id) == (other.0, other.1.id) {
        return WalkTurn::Both;
    }
    match order(&own.1.first_key, &other.1.first_key) {
        Ordering::Less => WalkTurn::Own,
        Ordering::Equal if own.0 >= other.0 => WalkTurn::Own,
        _ => WalkTurn::Other,
    }
}

impl<'a> WalkFront<'a> {
    fn new(mut leaves: LeafIterator<'a>) -> Result<Self> {
        let at = leaves.step()?;
        Ok(Self { leaves, at })
    }

    /// Goes past the child it is at, which it returns.
    fn skip_shared(&mut self) -> Result<Option<RunStep>> {
        let next = self.leaves.step()?;
        Ok(std::mem::replace(&mut self.at, next))
    }

    /// Goes into the node it is at.
    fn open(&mut self) -> Result<()> {
        if let Some((level, child, upper)) = self.at.take() {
            self.leaves.descend(level, &child, upper)?;
            self.at = self.leaves.step()?;
        }
        Ok(())
    }

    /// Goes on towards `key`: past what ends before it, into what does not.
    fn advance_to(&mut self, key: &[u8], order: KeyOrder<'_>) -> Result<()> {
        match &self.at {
            Some((level, _, upper)) if *level > 0 && !ends_before(upper, key, order) => self.open(),
            _ => self.skip_shared().map(drop),
        }
    }
}

fn ends_before(upper: &Option<Vec<u8>>, key: &[u8], order: KeyOrder<'_>) -> bool {
    upper
        .as_ref()
        .is_some_and(|upper| order(upper, key) != Ordering::Greater)
}

impl Iterator for UnsharedLeaves<'_> {
    type Item = Result<LeafSpan>;

    /// After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        let leaf = self.next_leaf().context(|| "compare two runs");
        if leaf.is_err() {
            self.own.at = None;
        }
        leaf.transpose()
    }
}
