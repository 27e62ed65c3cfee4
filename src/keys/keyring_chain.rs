//! Chooses the keyring that counts from those stored.
//!
//! Which of the stored keyrings counts: the highest generation that an unbroken chain joins to the first.
//!
//! From generation n to the one before it, with the keys that the candidate itself brings: n carries a MAC under
//! the newest epoch key of n-1, and n-1 commits in the clear to that very key. Down at the first ring, whose hash
//! the password vouches for, the commitment shows that the candidate's oldest key is the true one; up again,
//! each true key's MAC vouches for the next ring and so for the next commitment. None of the rings between has
//! to be opened, so a slot that was added later can follow the chain as well.

use std::collections::HashMap;

use super::key_slot::RepositoryAnchor;
use super::keyring::Keyring;
use super::stored_keyring::StoredKeyring;
use crate::crypto::key_exchange::SecretKey;
use crate::envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;

/// The keyring that counts, and what was found on the way.
pub struct CurrentKeyring {
    /// The keys.
    pub keyring: Keyring,
    /// The name it is stored under: what a successor names.
    pub id: ObjectId,
    /// Generations and names from the first one to it.
    pub chain: Vec<(u64, ObjectId)>,
    /// Keyring objects whose bytes are not what was stored, or that no chain reaches: for `check` to report. One
    /// of them may have been newer than the chosen one, which is what high-water marks are for.
    pub unusable: Vec<ObjectId>,
}

/// Follows the chain over all stored keyrings. [`ErrorKind::Denied`] if a later ring leaves this identity out,
/// [`ErrorKind::WrongKey`] if none is sealed to it, [`ErrorKind::Corrupt`] if some are but no chain holds.
pub fn choose_current(
    anchor: &RepositoryAnchor,
    identity: &SecretKey,
    stored: &[(ObjectId, Vec<u8>)],
) -> Result<CurrentKeyring> {
    let rings = parse_all(anchor, stored);
    let mut candidates: Vec<&StoredKeyring<'_>> = rings.values().collect();
    candidates.sort_by_key(|ring| (std::cmp::Reverse(ring.clear.generation), ring.id));
    let mut refusal = Error::new(ErrorKind::WrongKey, "no keyring is sealed to this slot");
    for ring in candidates {
        match ring.open(identity).and_then(|keyring| {
            follow_successors(anchor, ring, &keyring, &rings).map(|chain| (keyring, chain))
        }) {
            Ok((keyring, chain)) => return finish(ring, keyring, chain, &rings, stored),
            Err(error) if error.kind() != ErrorKind::WrongKey => refusal = error,
            Err(_) => {}
        }
    }
    Err(refusal.context("choose keyring"))
}

type StoredKeyrings<'a> = HashMap<ObjectId, StoredKeyring<'a>>;

fn parse_all<'a>(anchor: &RepositoryAnchor, stored: &'a [(ObjectId, Vec<u8>)]) -> StoredKeyrings<'a> {
    stored
        .iter()
        .filter(|(id, bytes)| envelope::check_name(id, bytes).is_ok())
        .filter_map(|(id, bytes)| Some((*id, StoredKeyring::parse(bytes).ok()?)))
        .filter(|(_, ring)| ring.clear.repository == anchor.repository)
        .collect()
}

/// Walks from `ring` down to the first, and gives the way back up; fails at the first link that does not hold.
fn follow_successors(
    anchor: &RepositoryAnchor,
    ring: &StoredKeyring<'_>,
    keyring: &Keyring,
    rings: &StoredKeyrings<'_>,
) -> Result<Vec<(u64, ObjectId)>> {
    let mut ring = ring;
    let mut chain = vec![(ring.clear.generation, ring.id)];
    while ring.clear.generation > 0 {
        let before = rings.get(&ring.clear.predecessor).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("keyring {} before it is missing", ring.clear.predecessor.short()),
            )
        })?;
        let key = &keyring.epoch(before.header.epoch)?.key;
        let linked = before.clear.generation.checked_add(1) == Some(ring.clear.generation)
            && ring.is_authentic(key)
            && before.commits_to(key);
        if !linked {
            return Err(Error::corrupt(format!(
                "keyring {} does not continue the one before",
                ring.id.short()
            )));
        }
        ring = before;
        chain.push((ring.clear.generation, ring.id));
    }
    chain.reverse();
    // The first ring's bytes are fixed by its name, and what it commits to by the link above or by its own opening.
    if ring.id == anchor.first_keyring {
        Ok(chain)
    } else {
        Err(Error::corrupt(
            "keyrings do not begin with the one the password vouches for",
        ))
    }
}

fn finish(
    ring: &StoredKeyring<'_>,
    keyring: Keyring,
    chain: Vec<(u64, ObjectId)>,
    rings: &StoredKeyrings<'_>,
    stored: &[(ObjectId, Vec<u8>)],
) -> Result<CurrentKeyring> {
    let later = rings.values().find(|later| {
        later.clear.predecessor == ring.id
            && ring.clear.generation.checked_add(1) == Some(later.clear.generation)
            && later.is_authentic(&keyring.newest().key)
    });
    if let Some(later) = later {
        let generation = later.clear.generation;
        return Err(Error::new(
            ErrorKind::Denied,
            format!("this slot was removed in keyring generation {generation}"),
        ));
    }
    let unusable = stored
        .iter()
        .map(|(id, _)| *id)
        .filter(|id| !rings.contains_key(id))
        .collect();
    Ok(CurrentKeyring {
        keyring,
        id: ring.id,
        chain,
        unusable,
    })
}
