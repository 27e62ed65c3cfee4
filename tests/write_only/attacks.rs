//! Somebody has a host's credential, and may put objects: what is refused of what they read, plant and hide.

use std::collections::HashMap;

use levault::blob::{BlobKind, NamedBlob};
use levault::compress::{Compression, Compressor};
use levault::crypto::key_exchange::SecretKey;
use levault::crypto::{Entropy, OsEntropy};
use levault::envelope::{self, Header, KeyScheme, ObjectClass};
use levault::error::ErrorKind;
use levault::id::{BlobId, EpochId, ObjectId};
use levault::index::{IndexEntry, Location, Segment, SegmentPack, encode_body, encode_header};
use levault::keys::keyring::sent_secret;
use levault::keys::{DomainKeys, KeyAccess};
use levault::ops::backup::PinMode;
use levault::pack::{FinishedPack, PackBuilder};
use levault::repo::BlobReader;

use super::*;

/// The owner, `web` whose credential was taken, and `mail`, each with a backup of the same database.
pub(super) struct Taken {
    pub(super) scene: Scene,
    pub(super) web: WriteOnlyRepo,
    pub(super) credential: Arc<Credential>,
    pub(super) model: common::Model,
    pub(super) outcomes: [BackupOutcome; 3],
}

pub(super) const WEB: DomainId = DomainId(1);
pub(super) const MAIL: DomainId = DomainId(2);

pub(super) fn taken() -> Taken {
    let mut scene = Scene::new();
    let (web, mail) = (scene.host("web"), scene.host("mail"));
    let db = scene.path("db");
    let model = common::fill(&db, 500, 300);
    let by_owner = common::backup(&scene.owner, &db).unwrap();
    let outcomes = [by_owner, backup(&web, &db), backup(&mail, &db)];
    let credential = Arc::new(scene.credential(WEB));
    Taken {
        scene,
        web,
        credential,
        model,
        outcomes,
    }
}

impl Taken {
    pub(super) fn all_come_back(&self) {
        for outcome in &self.outcomes {
            assert_eq!(records(&self.scene.owner, outcome), self.model);
        }
    }

    pub(super) fn keys(&self) -> &DomainKeys {
        self.credential.domain()
    }

    /// A segment of any domain, sealed under the index key that the thief has.
    fn segment(&self, domain: DomainId, segment: &Segment) -> Vec<u8> {
        let header = Header {
            domain,
            ..header(ObjectClass::Index, KeyScheme::Domain)
        };
        let (clear, body) = (encode_header(segment), encode_body(segment));
        envelope::seal_one(header, self.keys().index_key().expose(), &clear, &body).unwrap()
    }

    /// A pack in the thief's domain.
    fn pack(&self, blobs: &[NamedBlob]) -> FinishedPack {
        let holder = KeyAccess::Host(self.credential.clone());
        let mut builder = PackBuilder::sealed_for(&holder, WEB, Vec::new(), &mut OsEntropy).unwrap();
        let mut compressor = Compressor::new(Compression::Auto.level(BlobKind::Leaf)).unwrap();
        for blob in blobs {
            builder.push(blob.clone(), &mut compressor).unwrap();
        }
        builder.finish().unwrap()
    }
}

pub(super) fn header(class: ObjectClass, scheme: KeyScheme) -> Header {
    Header {
        class,
        scheme,
        epoch: EpochId(0),
        domain: WEB,
        clear_len: 0,
        ephemeral: [0; 32],
        salt: OsEntropy.salt().unwrap(),
        commitment: [0; 32],
    }
}

const KINDS: [(ObjectKind, ObjectClass); 4] = [
    (ObjectKind::Pack, ObjectClass::Pack),
    (ObjectKind::Index, ObjectClass::Index),
    (ObjectKind::Snapshot, ObjectClass::Snapshot),
    (ObjectKind::Keyring, ObjectClass::Keyring),
];

/// Of all that is stored the credential opens its own domain's index, and nothing else: not the owner's, not another
/// host's, and none of the packs and snapshots that it made itself.
#[test]
fn a_credential_opens_its_own_index_and_no_other_object_its_own_packs_and_snapshots_included() {
    let taken = taken();
    let mut opened = 0;
    for (kind, class) in KINDS {
        for (name, bytes) in taken.scene.objects(kind) {
            let head = Header::decode(&bytes).unwrap();
            let own = class == ObjectClass::Index && head.domain == WEB;
            let found = taken.credential.open_object(class, &name.id, &bytes);
            assert_eq!(found.is_ok(), own, "{}", name.path());
            opened += u32::from(own);
            // Whatever a program would refuse: no key that is in the file is the object's secret.
            for secret in secrets(&taken.credential, &head) {
                let key = envelope::open_key(&head, &secret).map(drop);
                let is_index_key = secret == taken.keys().index_key().expose();
                assert_eq!(key.is_ok(), own && is_index_key, "{}", name.path());
            }
        }
    }
    assert!(opened > 0, "it opens what it must");
}

/// What the credential has, and what can be made of it.
fn secrets(credential: &Credential, head: &Header) -> Vec<Vec<u8>> {
    let keys = credential.domain();
    let ephemeral = SecretKey::random(&mut OsEntropy).unwrap();
    let repository = credential.anchor().repository;
    let exchange = sent_secret(
        &ephemeral,
        &credential.recipient(),
        keys.pre_shared_key(),
        &repository,
    );
    let mut stored = exchange.unwrap().to_vec();
    // The stored ephemeral key in the place of ours: all but the shared secret itself.
    stored[32..64].copy_from_slice(&head.ephemeral);
    vec![
        keys.index_key().expose().to_vec(),
        keys.pre_shared_key().expose().to_vec(),
        keys.chunker_secret().expose().to_vec(),
        keys.set_digest_key().expose().to_vec(),
        keys.cache_key().expose().to_vec(),
        credential.recipient().0.to_vec(),
        stored,
    ]
}

/// Whoever knows a value cannot tell whether others have it: names are keyed per domain.
#[test]
fn known_content_is_found_in_no_other_domain() {
    let taken = taken();
    for domain in [DomainId(0), MAIL] {
        let view = taken.scene.owner.in_domain(domain).unwrap();
        let lookup = view.lookup().unwrap();
        let reader = BlobReader::new(&view, &lookup);
        let mut blobs = 0;
        for entry in lookup.iter_rows().unwrap() {
            let entry = entry.unwrap();
            let plain = reader.read(entry.location.kind, &entry.id).unwrap().into_plain();
            let guess = taken.keys().blob_id(entry.location.kind, &plain);
            assert_ne!(guess, entry.id);
            assert!(lookup.locations(&guess).unwrap().is_empty());
            blobs += 1;
        }
        assert!(blobs > 0);
    }
}

/// Every entry of a domain's index, by the owner.
fn entries(owner: &Repo, domain: DomainId) -> Vec<IndexEntry> {
    let lookup = owner.in_domain(domain).unwrap().lookup().unwrap();
    lookup.iter_rows().unwrap().map(|entry| entry.unwrap()).collect()
}

/// True ids of the owner's in a segment that claims to be of the owner's domain, and replaces all that are.
#[test]
fn a_segment_that_claims_the_owners_domain_plants_nothing_and_replaces_nothing() {
    let taken = taken();
    let owner = &taken.scene.owner;
    let before = entries(owner, DomainId(0));
    let wrong = taken.pack(&[NamedBlob::name(taken.keys(), BlobKind::Leaf, b"wrong".to_vec())]);
    taken.scene.put(ObjectKind::Pack, &wrong.bytes);
    let planted = planted(&wrong, before.iter().map(|entry| entry.id));
    let all: Vec<_> = owner.raw_storage().list(ObjectKind::Index).unwrap();
    let replaces = all.iter().map(|listed| listed.name.id).collect();
    let segment = Segment::new(planted.packs().to_vec(), replaces, planted.entries().to_vec()).unwrap();
    let name = taken
        .scene
        .put(ObjectKind::Index, &taken.segment(DomainId(0), &segment));
    assert_eq!(entries(owner, DomainId(0)), before);
    let facts = owner.index_summary().unwrap();
    assert!(
        facts.unreadable[0].contains(&name.id.short()),
        "{:?}",
        facts.unreadable
    );
    taken.all_come_back();
    let checked = taken.scene.check();
    assert_eq!(checked.findings.len(), 1, "{:?}", checked.findings);
    assert_eq!(checked.findings[0].object, name.path());
}

/// A segment that says of each id that it lies where the pack's first blob does.
fn planted(pack: &FinishedPack, ids: impl Iterator<Item = BlobId>) -> Segment {
    let blob = pack.directory[0];
    let location = Location {
        pack: pack.id,
        offset: blob.offset,
        len: blob.len,
        plain_len: blob.plain_len,
        kind: blob.kind,
        ordinal: blob.ordinal,
    };
    let packs = vec![SegmentPack {
        pack: pack.id,
        len: pack.bytes.len() as u64,
    }];
    let entries = ids.map(|id| IndexEntry { id, location }).collect();
    Segment::new(packs, Vec::new(), entries).unwrap()
}

/// The same in the thief's own domain, where it can say what it likes: the owner's writers and readers never ask there.
#[test]
fn true_ids_of_another_domain_in_ones_own_are_found_by_nobody() {
    let taken = taken();
    let owner = &taken.scene.owner;
    let db = taken.scene.path("second");
    common::fill(&db, 700, 300);
    // The ids that the owner's next backup will want, as if they were known.
    let ids = {
        let copy = Arc::new(taken.scene.storage.snapshot());
        let twin = common::open(copy).unwrap();
        common::backup(&twin, &db).unwrap();
        entries(&twin, DomainId(0))
    };
    let wrong = taken.pack(&[NamedBlob::name(taken.keys(), BlobKind::Leaf, b"wrong".to_vec())]);
    taken.scene.put(ObjectKind::Pack, &wrong.bytes);
    let planted = planted(&wrong, ids.iter().map(|entry| entry.id));
    taken.scene.put(ObjectKind::Index, &taken.segment(WEB, &planted));
    let outcome = common::backup(owner, &db).unwrap();
    assert!(outcome.blobs_new > 0);
    assert_eq!(records(owner, &outcome), common::scan(&db).unwrap());
    taken.all_come_back();
    let web = owner.in_domain(WEB).unwrap();
    let lookup = web.lookup().unwrap();
    let read = BlobReader::new(&web, &lookup).read(ids[0].location.kind, &ids[0].id);
    assert_eq!(
        read.unwrap_err().kind(),
        ErrorKind::Corrupt,
        "and who does ask finds it wrong"
    );
}

/// Entries of the thief's domain that point into packs of others: they name nothing, and nobody's pack becomes the
/// thief's to be pruned by.
#[test]
fn a_segment_that_names_packs_of_another_domain_names_nothing() {
    let taken = taken();
    let owner = &taken.scene.owner;
    let theirs = entries(owner, DomainId(0));
    let lens = owner.index_summary().unwrap().packs;
    let packs = lens.iter().map(|(pack, len)| SegmentPack {
        pack: *pack,
        len: *len,
    });
    let segment = Segment::new(packs.collect(), Vec::new(), theirs.clone()).unwrap();
    taken.scene.put(ObjectKind::Index, &taken.segment(WEB, &segment));
    let web = owner.in_domain(WEB).unwrap();
    let lookup = web.lookup().unwrap();
    let reader = BlobReader::new(&web, &lookup);
    let error = reader.read(theirs[0].location.kind, &theirs[0].id).unwrap_err();
    assert!(error.to_string().contains("is of domain 0"), "{error}");
    assert_eq!(owner.index_summary().unwrap().packs, lens);
    // Nothing in it is needed in the thief's domain; all of it is in the owner's.
    let prune = levault::ops::prune::Prune {
        grace: std::time::Duration::ZERO,
        unsafe_grace: true,
        ..Default::default()
    };
    prune.run(owner, &OperationReport::default()).unwrap();
    taken.all_come_back();
}

/// Whoever breaks into a host cannot make its earlier backups unreadable: what replaces its segments is not its to say.
#[test]
fn a_host_cannot_hide_what_it_stored_before() {
    let taken = taken();
    let own: Vec<ObjectId> = taken
        .scene
        .objects(ObjectKind::Index)
        .iter()
        .map(|(name, _)| name.id)
        .collect();
    let hiding = Segment::new(Vec::new(), own, Vec::new()).unwrap();
    taken.scene.put(ObjectKind::Index, &taken.segment(WEB, &hiding));
    taken.all_come_back();
    taken.scene.check_finds_nothing();
    // Nor does the owner's program delete them.
    levault::ops::prune::Prune::default()
        .run(&taken.scene.owner, &OperationReport::default())
        .unwrap();
    taken.all_come_back();
}

/// A wrong chunk under a true id of its own: a reader takes the copy that has its name.
#[test]
fn a_wrong_chunk_in_ones_own_domain_is_passed_over() {
    let taken = taken();
    let own = entries(&taken.scene.owner, WEB);
    let wrong = taken.pack(&[NamedBlob::name(taken.keys(), BlobKind::Leaf, b"wrong".to_vec())]);
    taken.scene.put(ObjectKind::Pack, &wrong.bytes);
    let planted = planted(&wrong, own.iter().map(|entry| entry.id));
    taken.scene.put(ObjectKind::Index, &taken.segment(WEB, &planted));
    taken.all_come_back();
}

/// Somebody's host name is a word in a sealed body.
#[test]
fn a_host_that_claims_anothers_name_is_in_a_group_of_its_own() {
    use levault::ops::forget::{ForgetInput, PolicySelection, RetentionPolicy};
    let taken = taken();
    let db = taken.scene.path("db");
    let mut claim = Backup::new(vec![db]);
    claim.databases.pinning = PinMode::None;
    claim.host = Some(
        taken
            .scene
            .owner
            .snapshot(&taken.outcomes[0].snapshot.unwrap())
            .unwrap()
            .host,
    );
    for _ in 0..3 {
        claim
            .run_as_host(&taken.web, &OperationReport::default())
            .unwrap();
    }
    let known = ForgetInput::load(&taken.scene.owner).unwrap();
    let policy = RetentionPolicy {
        last: "1".parse().unwrap(),
        ..RetentionPolicy::default()
    };
    for group_by in ["host,db,tags", ""] {
        let by = PolicySelection {
            policy: policy.clone(),
            group_by: group_by.parse().unwrap(),
            ..PolicySelection::default()
        };
        let plans = by.plan(&known, &calendar(&taken.scene.owner)).unwrap();
        let kept: HashMap<_, _> = plans
            .iter()
            .map(|plan| (plan.group.domain, plan.keep.len()))
            .collect();
        assert_eq!(
            kept,
            HashMap::from([(DomainId(0), 1), (WEB, 1), (MAIL, 1)]),
            "{group_by}"
        );
        let removed = plans.iter().flat_map(|plan| &plan.remove);
        assert!(removed.clone().count() == 3 && removed.clone().all(|stored| stored.snapshot.domain == WEB));
    }
}

/// The time that a host's snapshot claims decides what a policy keeps of its group: one that lies far ahead stops it.
#[test]
fn a_host_that_claims_a_time_far_ahead_pushes_nothing_out() {
    use levault::clock::{ManualClock, UnixNanos};
    use levault::ops::forget::{ForgetInput, PolicySelection, RetentionPolicy};
    let taken = taken();
    let ahead = UnixNanos(taken.scene.owner.clock().now().0 + 400 * 86_400 * 1_000_000_000);
    let web = taken.web.with_clock(Arc::new(ManualClock::new(ahead)));
    backup(&web, &taken.scene.path("db"));
    let known = ForgetInput::load(&taken.scene.owner).unwrap();
    let by = PolicySelection {
        policy: RetentionPolicy {
            last: "1".parse().unwrap(),
            ..RetentionPolicy::default()
        },
        ..PolicySelection::default()
    };
    let error = by.plan(&known, &calendar(&taken.scene.owner)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("domain 1"), "{error}");
}

pub(super) fn calendar(repo: &Repo) -> levault::ops::forget::PolicyCalendar {
    levault::ops::forget::PolicyCalendar {
        now: repo.clock().now(),
        zone: jiff::tz::TimeZone::UTC,
    }
}
