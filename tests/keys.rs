//! Passwords and epochs through the library: who opens what, before and behind a change, at every crash, and when two
//! change keys at once. Nobody is ever locked out who was not removed.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;

use std::sync::Arc;

use levault::error::{ErrorKind, Result};
use levault::keys::{Password, SlotCost};
use levault::repo::{Repo, recovery_password};
use levault::storage::faulty_storage::{FaultyStorage, InjectedFault};
use levault::storage::{MemoryStorage, ObjectKind, Storage};

fn password(text: &str) -> Password {
    Password::new(text.as_bytes().to_vec())
}

fn open(storage: &Arc<MemoryStorage>, text: &str) -> Result<Repo> {
    Repo::open(storage.clone(), &password(text), common::settings())
}

const OWN: &str = "correct horse";

/// A repository with a snapshot of a small database.
fn scene() -> (tempfile::TempDir, Arc<MemoryStorage>, common::Model) {
    let dir = tempfile::tempdir().unwrap();
    let model = common::fill(&dir.path().join("db"), 300, 200);
    let storage = Arc::new(MemoryStorage::default());
    let repo = common::create(storage.clone()).unwrap();
    common::backup(&repo, &dir.path().join("db")).unwrap();
    (dir, storage, model)
}

fn cheap() -> SlotCost {
    SlotCost::cheap()
}

#[test]
fn an_added_password_opens_all_there_was_and_the_first_one_still_does() {
    let (dir, storage, model) = scene();
    let repo = open(&storage, OWN).unwrap();
    let slot = repo
        .add_password(&password("second"), cheap(), "a colleague")
        .unwrap();
    for text in [OWN, "second"] {
        let repo = open(&storage, text).unwrap();
        assert_eq!(common::records(&repo, "latest").unwrap(), model);
        assert_eq!(repo.slots().unwrap().len(), 2);
    }
    let second = open(&storage, "second").unwrap();
    let current = second
        .slots()
        .unwrap()
        .into_iter()
        .find(|slot| slot.current)
        .unwrap();
    assert_eq!(current.id, slot);
    // Each reads what the other writes.
    common::backup(&second, &dir.path().join("db")).unwrap();
    assert_eq!(
        common::records(&open(&storage, OWN).unwrap(), "latest").unwrap(),
        model
    );
}

#[test]
fn a_changed_password_opens_everything_and_the_old_one_nothing_even_with_its_slot_kept() {
    let (dir, storage, model) = scene();
    let kept: Vec<_> = storage.list(ObjectKind::Slot).unwrap();
    let bytes = storage.get(kept[0].name, 1 << 20).unwrap();
    let repo = open(&storage, OWN).unwrap();
    repo.change_password(&password("new"), cheap()).unwrap();
    let new = open(&storage, "new").unwrap();
    assert_eq!(common::records(&new, "latest").unwrap(), model);
    common::backup(&new, &dir.path().join("db")).unwrap();
    assert_eq!(
        open(&storage, OWN).err().unwrap().kind(),
        ErrorKind::WrongPassword
    );
    storage.put_new(kept[0].name, &bytes).unwrap();
    assert_eq!(open(&storage, OWN).err().unwrap().kind(), ErrorKind::Denied);
    assert!(
        open(&storage, "new").is_ok(),
        "a slot put back is in nobody's way"
    );
}

#[test]
fn a_removed_password_opens_nothing_and_the_current_one_cannot_be_removed() {
    let (_dir, storage, model) = scene();
    let repo = open(&storage, OWN).unwrap();
    let second = repo.add_password(&password("second"), cheap(), "").unwrap();
    let slots = repo.slots().unwrap();
    let own = slots.iter().find(|slot| slot.current).unwrap();
    assert_eq!(repo.remove_password(own).unwrap_err().kind(), ErrorKind::Usage);
    let other = slots.iter().find(|slot| slot.id == second).unwrap();
    repo.remove_password(other).unwrap();
    assert_eq!(
        open(&storage, "second").err().unwrap().kind(),
        ErrorKind::WrongPassword
    );
    let repo = open(&storage, OWN).unwrap();
    assert_eq!(common::records(&repo, "latest").unwrap(), model);
    assert_eq!(repo.slots().unwrap().len(), 1);
}

#[test]
fn a_new_epoch_seals_what_comes_and_opens_what_was() {
    let (dir, storage, model) = scene();
    open(&storage, OWN).unwrap().rotate_keys().unwrap();
    let before: Vec<_> = storage.list(ObjectKind::Snapshot).unwrap();
    let repo = open(&storage, OWN).unwrap();
    common::backup(&repo, &dir.path().join("db")).unwrap();
    let epoch = |listed: &levault::storage::ListedObject| storage.get(listed.name, 1 << 20).unwrap()[12];
    let after = storage.list(ObjectKind::Snapshot).unwrap();
    let new = after.iter().find(|listed| !before.contains(listed)).unwrap();
    assert_eq!((epoch(&before[0]), epoch(new)), (1, 2));
    for words in ["latest", "latest~1"] {
        assert_eq!(common::records(&repo, words).unwrap(), model);
    }
}

#[test]
fn changes_at_once_are_all_made() {
    let (_dir, storage, _) = scene();
    let repos: Vec<_> = (0..4).map(|_| open(&storage, OWN).unwrap()).collect();
    std::thread::scope(|scope| {
        for (number, repo) in repos.iter().enumerate() {
            scope.spawn(move || {
                let text = format!("password {number}");
                repo.add_password(&password(&text), cheap(), &text).unwrap();
            });
        }
    });
    for number in 0..4 {
        assert!(open(&storage, &format!("password {number}")).is_ok(), "{number}");
    }
    assert!(open(&storage, OWN).is_ok());
}

#[test]
fn whenever_a_change_dies_somebody_who_should_opens_the_repository() {
    type Change = fn(&Repo) -> Result<()>;
    let changes: [Change; 3] = [
        |repo| repo.add_password(&password("new"), cheap(), "").map(drop),
        |repo| repo.change_password(&password("new"), cheap()).map(drop),
        |repo| repo.rotate_keys(),
    ];
    for (which, change) in changes.into_iter().enumerate() {
        for dead in [true, false] {
            for call in 0..40 {
                let (_dir, storage, model) = scene();
                let repo = open(&storage, OWN).unwrap();
                let faulty = FaultyStorage::new(storage.clone());
                let faulty = if dead {
                    faulty.dead_from(call)
                } else {
                    faulty.fail_at(call, InjectedFault::LostReply)
                };
                let changed = change(&repo.with_storage(Arc::new(faulty)));
                let opened = [OWN, "new"].map(|text| open(&storage, text));
                let one = opened.into_iter().find_map(Result::ok);
                let one = one.unwrap_or_else(|| panic!("{which}: locked out, dead {dead}, at call {call}"));
                assert_eq!(common::records(&one, "latest").unwrap(), model);
                if changed.is_ok() && which == 1 {
                    assert!(open(&storage, "new").is_ok());
                }
            }
        }
    }
}

#[test]
fn a_recovery_password_is_long_and_another_one_each_time() {
    let (one, other) = (recovery_password().unwrap(), recovery_password().unwrap());
    assert_ne!(one, other);
    assert_eq!(one.replace('-', "").len(), 26);
    assert!(
        one.chars()
            .all(|letter| letter == '-' || letter.is_ascii_lowercase() || letter.is_ascii_digit())
    );
}
