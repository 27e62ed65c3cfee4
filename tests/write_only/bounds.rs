//! Somebody has a host's credential and stores what costs more to read than to store: the owner's work stays in
//! proportion, other domains are not concerned, and what is left out is reported.

use std::collections::HashMap;

use levault::annotations::{Note, NoteSubject, QuarantineFolder};
use levault::crypto::OsEntropy;
use levault::engine::snapshot_filter::SnapshotFilter;
use levault::envelope::ObjectClass;
use levault::error::ErrorKind;
use levault::id::ObjectId;
use levault::limits::{HOST_CATALOG_MEMORY_FREE, HOST_CATALOG_RATIO};
use levault::ops::forget::{
    self, ForgetInput, GroupBy, KeepReason, MinimumKept, PolicySelection, RetentionPolicy,
};
use levault::ops::prune::Prune;
use levault::ops::quarantine::{self, NewerFormatMode};
use levault::snapshot::{LogTail, Snapshot, SnapshotSource, snapshot_codec};

use super::attacks::{MAIL, Taken, WEB, calendar, taken};
use super::*;

impl Taken {
    /// Stores a snapshot as the thief can.
    fn put_snapshot(&self, snapshot: &Snapshot) -> ObjectId {
        let plain = snapshot_codec::encode(snapshot).unwrap();
        let class = ObjectClass::Snapshot;
        let sealed = self
            .credential
            .seal_object(class, WEB, b"", &plain, &mut OsEntropy);
        self.scene.put(ObjectKind::Snapshot, &sealed.unwrap()).id
    }

    /// A snapshot of 200 KiB that takes 4 MiB in memory, and next to nothing where it is stored.
    fn bloated(&self, counter: u64) -> Snapshot {
        let of_web = self.outcomes[1].snapshot.unwrap();
        let mut snapshot = self.scene.owner.snapshot(&of_web).unwrap();
        snapshot.counter = counter;
        let SnapshotSource::Database(database) = &mut snapshot.sources[0] else {
            panic!()
        };
        let empty = LogTail {
            file: String::new(),
            offset: 0,
            bytes_left: 0,
        };
        database.capture.torn_tails = vec![empty; 9_000];
        let many = vec![snapshot.sources[0].clone(); 8];
        snapshot.sources.extend(many);
        snapshot
    }

    fn stored(&self) -> HashMap<ObjectId, u64> {
        let listed = self.scene.storage.list(ObjectKind::Snapshot).unwrap();
        listed.into_iter().map(|one| (one.name.id, one.len)).collect()
    }
}

/// What the policy `--keep-last 1` makes of each group.
fn keep_one(owner: &Repo) -> Vec<forget::GroupPlan> {
    let by = PolicySelection {
        policy: RetentionPolicy {
            last: forget::KeepCount::Of(1),
            ..RetentionPolicy::default()
        },
        group_by: GroupBy::default(),
        filter: SnapshotFilter::default(),
        leave: MinimumKept::Some,
    };
    by.plan(&ForgetInput::load(owner).unwrap(), &calendar(owner))
        .unwrap()
}

#[test]
fn a_domains_snapshots_take_memory_in_proportion_and_what_is_left_out_is_reported() {
    let taken = taken();
    let bloated: Vec<_> = (2..22)
        .map(|counter| taken.put_snapshot(&taken.bloated(counter)))
        .collect();
    let stored = taken.stored();
    let takes = |ids: &[ObjectId]| ids.iter().map(|id| stored[id]).sum::<u64>();
    assert!(takes(&bloated) < 200_000, "{} bytes are stored", takes(&bloated));
    let owner = &taken.scene.owner;
    let catalog = owner.catalog().unwrap();
    let of_web = catalog.snapshots.iter().filter(|one| one.snapshot.domain == WEB);
    let of_web: Vec<_> = of_web.collect();
    let memory: usize = of_web.iter().map(|one| one.snapshot.memory()).sum();
    let all: u64 = stored.values().sum();
    assert!(
        memory as u64 <= HOST_CATALOG_MEMORY_FREE + HOST_CATALOG_RATIO * all,
        "{memory}"
    );
    // What a host stored in earnest stays, and so does everybody else's.
    assert_eq!(catalog.snapshots.len(), 3 + of_web.len() - 1);
    taken.all_come_back();
    let left_out: Vec<_> = catalog.unreadable.iter().map(|unread| unread.id).collect();
    assert_eq!(left_out.len() + of_web.len(), 21);
    assert!(left_out.iter().all(|id| bloated.contains(id)));
    assert!(catalog.unreadable.iter().all(|unread| unread.domain == Some(WEB)));
    let checked = taken.scene.check();
    for id in &left_out {
        let path = ObjectName::new(ObjectKind::Snapshot, *id).path();
        let finding = checked.findings.iter().find(|finding| finding.object == path);
        assert!(finding.unwrap().what.contains("in proportion"));
    }
    // A policy does not count by what it cannot see; the owner's own group is not concerned.
    for plan in keep_one(owner) {
        assert!(plan.remove.is_empty());
        let is_unread = plan
            .keep
            .iter()
            .all(|(_, reasons)| reasons == &[KeepReason::Unread]);
        assert_eq!(is_unread, plan.group.domain == WEB, "{}", plan.group);
    }
}

#[test]
fn what_cannot_be_read_in_one_domain_stops_the_prune_of_that_domain_alone() {
    let taken = taken();
    for counter in 2..22 {
        taken.put_snapshot(&taken.bloated(counter));
    }
    let owner = &taken.scene.owner;
    let prune = || {
        let report = OperationReport::default();
        let prune = Prune {
            grace: std::time::Duration::ZERO,
            unsafe_grace: true,
            ..Prune::default()
        };
        let outcome = prune.run(owner, &report).unwrap();
        (outcome.swept.snapshots, report.problems())
    };
    let [of_owner, _, of_mail] = taken.outcomes.each_ref().map(|outcome| outcome.snapshot.unwrap());
    common::forget(owner, of_owner);
    common::forget(owner, of_mail);
    let (mut swept, problems) = prune();
    swept.sort();
    let mut both = [of_owner, of_mail];
    both.sort();
    assert_eq!(swept, both);
    assert!(
        problems.len() == 1 && problems[0].contains("domain 1"),
        "{problems:?}"
    );
    assert_ne!(MAIL, WEB);
    // Let go of by name, they stop nothing.
    for _ in 0..3 {
        for unread in owner.catalog().unwrap().unreadable {
            common::forget(owner, unread.id);
        }
    }
    let (swept, problems) = prune();
    assert_eq!(problems, [""; 0]);
    assert!(!swept.is_empty());
    assert_eq!(records(owner, &taken.outcomes[1]), taken.model);
}

/// What anybody can put who may write: bytes of nobody's, and an object that claims the owner's domain.
#[test]
fn junk_stops_the_prune_until_the_owner_sets_it_aside_and_no_longer() {
    let taken = taken();
    let owner = &taken.scene.owner;
    let junk = [
        taken.scene.put(ObjectKind::Snapshot, b"junk").id,
        taken.scene.put(ObjectKind::Index, b"other junk").id,
    ];
    let prune = || Prune::default().run(owner, &OperationReport::default());
    let ids: Vec<_> = junk.iter().map(ObjectId::to_hex).collect();
    assert!(prune().is_err());
    assert_eq!(quarantine::list_unreadable(owner).unwrap().len(), 2);
    assert_eq!(
        quarantine::add(owner, &ids[..1], NewerFormatMode::Refused)
            .unwrap()
            .len(),
        1
    );
    assert!(prune().is_err(), "the other one is still there");
    quarantine::add(owner, &[ids[1][..8].to_owned()], NewerFormatMode::Refused).unwrap();
    prune().unwrap();
    let checked = taken.scene.check();
    assert!(checked.findings.is_empty(), "{:?}", checked.findings);
    assert_eq!(checked.notices.len(), 2);
    assert_eq!(owner.catalog().unwrap().quarantined.len(), 1);
    taken.all_come_back();
    quarantine::remove(owner, &ids).unwrap();
    assert!(prune().is_err());
    assert_eq!(taken.scene.check().findings.len(), 2);
}

/// A note that says so of what can be read hides nothing and gives nothing up; what is later than this levault is refused.
#[test]
fn what_can_be_read_is_never_set_aside() {
    let taken = taken();
    let owner = &taken.scene.owner;
    let good = taken.outcomes[0].snapshot.unwrap();
    let refused = quarantine::add(owner, &[good.to_hex()], NewerFormatMode::Refused).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    let segments = taken.scene.objects(ObjectKind::Index);
    let all = segments
        .iter()
        .map(|(name, _)| (name.id, QuarantineFolder::Index));
    for (id, folder) in all.chain([(good, QuarantineFolder::Snapshots)]) {
        let about = NoteSubject::Quarantine {
            id,
            folder,
            holds: true,
        };
        let when = owner.clock().now();
        owner.put_note(&Note { when, about }).unwrap();
    }
    let prune = Prune {
        grace: std::time::Duration::ZERO,
        unsafe_grace: true,
        ..Prune::default()
    };
    let outcome = prune.run(owner, &OperationReport::default()).unwrap();
    assert!(outcome.swept.packs.is_empty() && outcome.swept.snapshots.is_empty());
    taken.all_come_back();
    let mut newer = taken
        .scene
        .storage
        .get(ObjectName::new(ObjectKind::Snapshot, good), u64::MAX)
        .unwrap();
    newer[9] = 9;
    let newer = taken.scene.put(ObjectKind::Snapshot, &newer).id.to_hex();
    let refused = quarantine::add(owner, std::slice::from_ref(&newer), NewerFormatMode::Refused).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooNew);
    quarantine::add(owner, &[newer], NewerFormatMode::Included).unwrap();
    prune.run(owner, &OperationReport::default()).unwrap();
}

/// A segment that cannot be read and alone says where a snapshot's blobs lie: set aside, it still stops the prune.
#[test]
fn a_segment_that_is_needed_is_missed_although_it_was_set_aside() {
    let taken = taken();
    let owner = &taken.scene.owner;
    for (name, mut bytes) in taken.scene.objects(ObjectKind::Index) {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        taken.scene.storage.delete(name).unwrap();
        taken.scene.storage.put_new(name, &bytes).unwrap();
    }
    let unread: Vec<_> = quarantine::list_unreadable(owner).unwrap();
    let ids: Vec<_> = unread.iter().map(|object| object.id.to_hex()).collect();
    assert!(!ids.is_empty());
    quarantine::add(owner, &ids, NewerFormatMode::Refused).unwrap();
    let before = taken.scene.objects(ObjectKind::Pack).len();
    assert!(Prune::default().run(owner, &OperationReport::default()).is_err());
    assert_eq!(taken.scene.objects(ObjectKind::Pack).len(), before);
}
