//! Goal: of all stored keyrings the true newest one is chosen, whatever the storage or a removed key holder adds.
//! Method: a story of three rings, and every way of breaking it.

use super::stored_keyring::StoredKeyring;
use super::tests::{NOW, Stored, entry, founded, opened, stored};
use super::*;
use crate::crypto::SeededEntropy;
use crate::crypto::key_exchange::SecretKey;
use crate::envelope::{ObjectClass, object_id};
use crate::error::ErrorKind;
use crate::id::{DomainId, EpochId, ObjectId};

/// Three rings: the founder's; one that adds a friend; one that removes the founder and begins a new epoch.
struct Story {
    anchor: RepositoryAnchor,
    founder: SecretKey,
    friend: SecretKey,
    rings: [Stored; 3],
    entropy: SeededEntropy,
}

fn story() -> Story {
    let founding = founded(1);
    let OpenedSlot {
        identity: founder,
        anchor,
    } = opened(&founding);
    let mut entropy = SeededEntropy::new(2);
    let friend = SecretKey::random(&mut entropy).unwrap();
    let slots = vec![entry(&founder, "founder"), entry(&friend, "friend")];
    let first = founding.first_keyring;
    let added = founding
        .keyring
        .successor(first.0, slots, EpochChange::Keep, NOW, &mut entropy)
        .unwrap();
    let second = stored(&added, &mut entropy);
    let slots = vec![entry(&friend, "friend")];
    let removed = added
        .successor(second.0, slots, EpochChange::Rotate, NOW, &mut entropy)
        .unwrap();
    let third = stored(&removed, &mut entropy);
    Story {
        anchor,
        founder,
        friend,
        rings: [first, second, third],
        entropy,
    }
}

#[test]
fn a_slot_added_later_follows_the_chain_it_cannot_open() {
    let story = story();
    assert!(
        StoredKeyring::parse(&story.rings[0].1)
            .unwrap()
            .open(&story.friend)
            .is_err()
    );
    let chosen = choose_current(&story.anchor, &story.friend, &story.rings).unwrap();
    assert_eq!((chosen.keyring.generation(), chosen.id), (2, story.rings[2].0));
    assert_eq!(chosen.keyring.newest().id, EpochId(2));
    let founder = choose_current(&story.anchor, &story.founder, &story.rings[..2]).unwrap();
    let sealed = founder
        .keyring
        .seal_object(
            ObjectClass::Note,
            DomainId(0),
            b"",
            b"old",
            &mut SeededEntropy::new(99),
        )
        .unwrap();
    let id = object_id(&sealed);
    assert_eq!(
        chosen
            .keyring
            .open_object(ObjectClass::Note, &id, &sealed)
            .unwrap()
            .plain,
        b"old"
    );
}

#[test]
fn a_removed_slot_is_told_so_and_cannot_open_what_is_written_after() {
    let story = story();
    let error = choose_current(&story.anchor, &story.founder, &story.rings)
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("generation 2"), "{error}");
    let old = choose_current(&story.anchor, &story.founder, &story.rings[..2]).unwrap();
    let new = choose_current(&story.anchor, &story.friend, &story.rings).unwrap();
    let sealed = new
        .keyring
        .seal_object(
            ObjectClass::Note,
            DomainId(0),
            b"",
            b"new",
            &mut SeededEntropy::new(99),
        )
        .unwrap();
    let error = old
        .keyring
        .open_object(ObjectClass::Note, &object_id(&sealed), &sealed)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongKey);
}

#[test]
fn a_broken_chain_is_not_followed() {
    let story = story();
    let [first, second, third] = &story.rings;
    for stored in [
        vec![third.clone()],
        vec![first.clone(), third.clone()],
        vec![second.clone(), third.clone()],
    ] {
        assert!(choose_current(&story.anchor, &story.friend, &stored).is_err());
    }
    let mut damaged = story.rings.clone();
    damaged[2].1[300] ^= 1;
    let chosen = choose_current(&story.anchor, &story.friend, &damaged).unwrap();
    assert_eq!((chosen.keyring.generation(), chosen.unusable), (1, vec![third.0]));
}

/// A storage without keys knows every public key, and may seal a ring of its own making to them.
#[test]
fn a_ring_that_the_storage_made_is_not_chosen() {
    let mut story = story();
    let mut invent = |generation: u64, predecessor: ObjectId| {
        let slot = SlotEntry {
            public: story.friend.public(),
            created: NOW,
            label: String::new(),
        };
        let mut ring = Keyring::first(story.anchor.repository, slot, NOW, &mut story.entropy).unwrap();
        (ring.generation, ring.predecessor) = (generation, predecessor);
        stored(&ring, &mut story.entropy)
    };
    let invented = [
        invent(3, story.rings[2].0),
        invent(9, ObjectId([0; 32])),
        invent(u64::MAX, story.rings[2].0),
    ];
    let invented_first = invent(0, ObjectId([0; 32]));
    let all = [&story.rings[..], &invented, std::slice::from_ref(&invented_first)].concat();
    let chosen = choose_current(&story.anchor, &story.friend, &all).unwrap();
    assert_eq!(chosen.id, story.rings[2].0);
    assert!(choose_current(&story.anchor, &story.friend, &[invented_first]).is_err());
}

/// The strongest forgery without keys: names the true predecessor, fits its epoch number, MACs with its own key.
#[test]
fn a_ring_that_brings_another_key_for_a_true_epoch_is_not_chosen() {
    let mut story = story();
    for generation in 1..=2 {
        let before = story.rings[generation as usize - 1].0;
        let slot = entry(&story.friend, "");
        let mut ring = Keyring::first(story.anchor.repository, slot, NOW, &mut story.entropy).unwrap();
        (ring.generation, ring.predecessor) = (generation, before);
        let invented = stored(&ring, &mut story.entropy);
        let all = [&story.rings[..2], std::slice::from_ref(&invented)].concat();
        assert_eq!(
            choose_current(&story.anchor, &story.friend, &all).unwrap().id,
            story.rings[1].0
        );
        let alone = [story.rings[..generation as usize].to_vec(), vec![invented]].concat();
        assert_ne!(
            choose_current(&story.anchor, &story.friend, &alone)
                .map(|chosen| chosen.keyring.generation())
                .ok(),
            Some(generation)
        );
    }
}

/// Who holds the keys and breaks the rules: a generation that leaps ahead, so as to win for ever; a MAC that is not
/// the predecessor's.
#[test]
fn a_ring_that_does_not_continue_the_one_before_is_not_chosen() {
    let mut story = story();
    let second = StoredKeyring::parse(&story.rings[1].1)
        .unwrap()
        .open(&story.friend)
        .unwrap();
    let slots = vec![entry(&story.friend, "friend")];
    let mut successor = || {
        second
            .successor(
                story.rings[1].0,
                slots.clone(),
                EpochChange::Rotate,
                NOW,
                &mut story.entropy,
            )
            .unwrap()
    };
    let (mut leaping, mut by_itself) = (successor(), successor());
    leaping.generation = 9;
    by_itself.mac_epoch = EpochId(2);
    for ring in [leaping, by_itself] {
        let broken = stored(&ring, &mut story.entropy);
        let all = [&story.rings[..2], &[broken]].concat();
        assert_eq!(
            choose_current(&story.anchor, &story.friend, &all).unwrap().id,
            story.rings[1].0
        );
    }
}

/// Who was removed still holds the old epoch's key, and may fork the chain there; clients that have seen the true
/// ring refuse the fork by their high-water mark.
#[test]
fn of_two_unbroken_chains_the_higher_counts_and_of_equals_the_smaller_name() {
    let mut story = story();
    let second = StoredKeyring::parse(&story.rings[1].1)
        .unwrap()
        .open(&story.friend)
        .unwrap();
    let slots = || vec![entry(&story.friend, "friend")];
    let fork = |entropy: &mut SeededEntropy| {
        second
            .successor(story.rings[1].0, slots(), EpochChange::Rotate, NOW, entropy)
            .unwrap()
    };
    let fork = fork(&mut story.entropy);
    let forked = stored(&fork, &mut story.entropy);
    let both = [&story.rings[..], std::slice::from_ref(&forked)].concat();
    let chosen = choose_current(&story.anchor, &story.friend, &both).unwrap();
    assert_eq!(chosen.id, forked.0.min(story.rings[2].0));
    let next = fork
        .successor(forked.0, slots(), EpochChange::Keep, NOW, &mut story.entropy)
        .unwrap();
    let longer = [&both[..], &[stored(&next, &mut story.entropy)]].concat();
    assert_eq!(
        choose_current(&story.anchor, &story.friend, &longer)
            .unwrap()
            .keyring
            .generation(),
        3
    );
}
