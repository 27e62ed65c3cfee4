//! Somebody has a host's credential and puts objects in the owner's name, or another host's: nobody believes one, and
//! nobody is kept from his data by one.

use levault::annotations::{
    CountedSnapshot, DeletionMark, ForgetReason, ForgetRecord, MarkedPack, Note, NoteSubject, SnapshotNote,
    deletion_mark, forget_record, note,
};
use levault::crypto::OsEntropy;
use levault::crypto::key_exchange::{PublicKey, SecretKey};
use levault::envelope::{self, Header, KeyScheme, ObjectClass, parse_clear};
use levault::error::ErrorKind;
use levault::id::{EpochId, ObjectId};
use levault::keys::keyring::sent_secret;
use levault::keys::{KeySlot, Keyring, OpenedSlot, SlotEntry};
use levault::ops::prune::Prune;
use levault::snapshot::{Snapshot, snapshot_codec};

use super::attacks::{MAIL, Taken, WEB, header, taken};
use super::*;

/// An object of one part sealed by everything that the thief can seal by, under any domain's name.
fn sealed(taken: &Taken, class: ObjectClass, domain: DomainId, clear: &[u8], plain: &[u8]) -> Vec<Vec<u8>> {
    let keys = taken.keys();
    let own = keys.index_key().expose();
    let ephemeral = SecretKey::random(&mut OsEntropy).unwrap();
    let repository = taken.credential.anchor().repository;
    let recipient = taken.credential.recipient();
    let exchange = sent_secret(&ephemeral, &recipient, keys.pre_shared_key(), &repository).unwrap();
    let with = |scheme, epoch, ephemeral, secret: &[u8]| {
        let header = Header {
            domain,
            epoch: EpochId(epoch),
            ephemeral,
            ..header(class, scheme)
        };
        envelope::seal_one(header, secret, clear, plain).unwrap()
    };
    vec![
        with(KeyScheme::Epoch, 1, [0; 32], own),
        with(KeyScheme::Domain, 0, [0; 32], own),
        with(KeyScheme::Exchange, 1, ephemeral.public().0, &exchange),
    ]
}

fn snapshot(taken: &Taken, domain: DomainId) -> Snapshot {
    let mut snapshot = taken
        .scene
        .owner
        .snapshot(&taken.outcomes[0].snapshot.unwrap())
        .unwrap();
    snapshot.domain = domain;
    snapshot.counter = 99;
    snapshot.time.0 += 1_000_000_000_000;
    snapshot
}

/// Header and body of another domain, or one of each: none of them is a snapshot of that domain.
#[test]
fn a_snapshot_of_another_domain_cannot_be_forged() {
    let taken = taken();
    let mut forged = 0;
    for inside in [DomainId(0), WEB, MAIL] {
        let plain = snapshot_codec::encode(&snapshot(&taken, inside)).unwrap();
        for outside in [DomainId(0), WEB, MAIL] {
            for bytes in sealed(&taken, ObjectClass::Snapshot, outside, b"", &plain) {
                let name = taken.scene.put(ObjectKind::Snapshot, &bytes);
                let is_its_own = taken.scene.owner.snapshot(&name.id).is_ok();
                forged += u32::from(is_its_own);
                let exchange = Header::decode(&bytes).unwrap().scheme == KeyScheme::Exchange;
                assert_eq!(is_its_own, (inside, outside, exchange) == (WEB, WEB, true));
            }
        }
    }
    assert_eq!(forged, 1);
    taken.all_come_back();
    let catalog = taken.scene.owner.catalog().unwrap();
    assert_eq!((catalog.snapshots.len(), catalog.unreadable.len()), (4, 26));
    assert_eq!(
        catalog.next_counter_and_parent().0,
        2,
        "the owner's counters go on behind the owner's"
    );
    assert_eq!(
        catalog.select("latest").unwrap().id,
        taken.outcomes[0].snapshot.unwrap()
    );
    // They stop whoever deletes, and can be let go of by name.
    let error = Prune::default()
        .run(&taken.scene.owner, &OperationReport::default())
        .unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

/// What it says of the owner's snapshots and packs, by any key that it has.
#[test]
fn nothing_that_only_the_owner_may_say_is_believed() {
    let taken = taken();
    let owner = &taken.scene.owner;
    let id = taken.outcomes[0].snapshot.unwrap();
    let when = owner.clock().now();
    let about = NoteSubject::Snapshot {
        id,
        said: SnapshotNote::Suspect("trust me".into()),
    };
    let note = note::encode(&Note { when, about }).unwrap();
    let forgotten = forget_record::encode(&ForgetRecord {
        when,
        why: ForgetReason::ByHand,
        words: String::new(),
        snapshots: vec![CountedSnapshot {
            id,
            domain: DomainId(0),
            counter: 1,
        }],
    });
    let said = [
        (ObjectKind::Note, ObjectClass::Note, note),
        (ObjectKind::Forgotten, ObjectClass::Forgotten, forgotten.unwrap()),
        (ObjectKind::Audit, ObjectClass::Audit, b"all is well".to_vec()),
        (ObjectKind::Bad, ObjectClass::Bad, vec![1; 46]),
    ];
    for (kind, class, plain) in &said {
        for domain in [DomainId(0), WEB] {
            for bytes in sealed(&taken, *class, domain, b"", plain) {
                taken.scene.put(*kind, &bytes);
            }
        }
    }
    let notes = owner.notes().unwrap();
    assert_eq!((notes.notes.len(), notes.unread.len()), (0, 6));
    let stored = owner.forget_records().unwrap();
    assert_eq!((stored.records.len(), stored.unread.len()), (0, 6));
    assert!(owner.forgotten_now().unwrap().of(&id).is_none());
    taken.all_come_back();
}

/// A mark is believed without a key by who stores again, and by nobody who deletes.
#[test]
fn a_forged_mark_costs_space_and_deletes_nothing() {
    let taken = taken();
    let owner = &taken.scene.owner;
    let packs = taken.scene.objects(ObjectKind::Pack);
    let mut named: Vec<_> = packs
        .iter()
        .map(|(name, bytes)| (name.id, bytes.len() as u64))
        .collect();
    named.sort_unstable();
    let mark = deletion_mark::encode(&DeletionMark {
        when: owner.clock().now(),
        packs: named
            .iter()
            .map(|(pack, len)| MarkedPack {
                pack: *pack,
                len: *len,
            })
            .collect(),
        replaces: None,
    })
    .unwrap();
    for bytes in sealed(&taken, ObjectClass::Mark, DomainId(0), &mark, b"") {
        taken.scene.put(ObjectKind::Mark, &bytes);
    }
    let prune = Prune {
        grace: std::time::Duration::ZERO,
        unsafe_grace: true,
        ..Prune::default()
    };
    assert!(prune.run(owner, &OperationReport::default()).is_err());
    assert_eq!(taken.scene.objects(ObjectKind::Pack).len(), packs.len());
    let again = Backup {
        databases: levault::ops::backup::DatabaseBackupOptions {
            pinning: levault::ops::backup::PinMode::None,
            ..Default::default()
        },
        ..Backup::new(vec![taken.scene.path("db")])
    };
    let again = again.run(owner, &OperationReport::default()).unwrap();
    assert!(again.bytes_added > 0, "stored again");
    assert_eq!(records(owner, &again), taken.model);
    taken.all_come_back();
}

/// A slot that opens an identity of the thief's, and a keyring that is sealed to everybody.
#[test]
fn a_slot_or_a_keyring_that_it_adds_opens_nothing_and_changes_nothing() {
    let taken = taken();
    let anchor = taken.credential.anchor();
    let password = Password::new(b"the thief's".to_vec());
    let identity = SecretKey::random(&mut OsEntropy).unwrap();
    let own = identity.public();
    let when = taken.scene.owner.clock().now();
    let slot = KeySlot::seal(
        &OpenedSlot { identity, anchor },
        &password,
        SlotCost::cheap(),
        when,
        &mut OsEntropy,
    );
    taken.scene.put(ObjectKind::Slot, &slot.unwrap());
    let open = || Repo::open(taken.scene.storage.clone(), &password, common::settings());
    assert_eq!(
        open().err().unwrap().kind(),
        ErrorKind::WrongKey,
        "no keyring is sealed to it"
    );
    for public in [own, the_owners(&taken)] {
        let entry = SlotEntry {
            public,
            created: when,
            label: String::new(),
        };
        let ring = Keyring::first(anchor.repository, entry, when, &mut OsEntropy).unwrap();
        let (id, slots) = (anchor.first_keyring, ring.slots().to_vec());
        let next = ring
            .successor(id, slots, levault::keys::EpochChange::Keep, when, &mut OsEntropy)
            .unwrap();
        for ring in [ring, next] {
            taken
                .scene
                .put(ObjectKind::Keyring, &ring.seal(&mut OsEntropy).unwrap());
        }
    }
    assert!(open().is_err());
    let owner = common::open(taken.scene.storage.clone()).unwrap();
    for outcome in &taken.outcomes {
        assert_eq!(records(&owner, outcome), taken.model);
    }
}

/// Slots' public keys stand in the clear in every keyring.
fn the_owners(taken: &Taken) -> PublicKey {
    let (_, ring) = taken.scene.objects(ObjectKind::Keyring).remove(0);
    let (_, clear, _) = parse_clear(ObjectClass::Keyring, &ring).unwrap();
    PublicKey(clear[107..139].try_into().unwrap())
}

/// A lease that it forges is nobody's, and in nobody's way.
#[test]
fn a_forged_lease_is_in_nobodys_way() {
    let taken = taken();
    let now = taken.scene.owner.clock().now().0;
    let mut clear = vec![1];
    clear.extend_from_slice(&[7; 16]);
    clear.extend_from_slice(&now.to_le_bytes());
    clear.extend_from_slice(&(now + 3_600_000_000_000).to_le_bytes());
    clear.push(0);
    for (number, bytes) in (0..).zip(sealed(&taken, ObjectClass::Lease, DomainId(0), &clear, b"")) {
        let name = ObjectName::new(ObjectKind::Lease, ObjectId([number; 32]));
        taken.scene.storage.put_new(name, &bytes).unwrap();
    }
    Prune::default()
        .run(&taken.scene.owner, &OperationReport::default())
        .unwrap();
    taken.all_come_back();
}
