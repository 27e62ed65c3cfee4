//! Deaths, and others at work meanwhile.

use super::*;

#[test]
fn a_source_or_a_destination_that_dies_at_its_nth_call_costs_nothing_but_time() {
    let source = Source::new(3);
    for of_source in [true, false] {
        let mut failed = 0;
        for call in 1.. {
            let (storage, to) = fresh();
            let behind = if of_source { &source.storage } else { &storage };
            let faulty = Arc::new(Faulty::new(Arc::clone(behind)).dead_from(call));
            let dying: Arc<dyn Storage> = faulty.clone();
            let result = match of_source {
                true => copy(&source.repo.over(dying), &to),
                false => copy(&source.repo, &to.over(dying)),
            };
            let what = format!("call {call} of the source: {of_source}");
            clean(&to);
            let whole = result.is_ok_and(|outcome| outcome.refused.is_empty());
            failed += u32::from(!whole);
            let outcome = copy(&source.repo, &to).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(outcome.copied.len() + outcome.there, 3, "{what}");
            holds(&to, &source.states);
            clean(&to);
            if faulty.calls() < call {
                assert!(whole && failed > 10, "{what}: {failed}");
                break;
            }
        }
    }
}

/// Does something right before the n-th call.
struct AtCall<F> {
    inner: Arc<MemoryStorage>,
    at: u64,
    calls: AtomicU64,
    act: F,
}

impl<F: Fn()> AtCall<F> {
    fn inner(&self) -> &MemoryStorage {
        if self.calls.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            (self.act)();
        }
        &self.inner
    }
}

impl<F: Fn() + Send + Sync> Storage for AtCall<F> {
    fn put_new(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        self.inner().put_new(name, bytes)
    }
    fn get(&self, name: ObjectName, max: u64) -> Result<Vec<u8>> {
        self.inner().get(name, max)
    }
    fn get_range(&self, name: ObjectName, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.inner().get_range(name, offset, len)
    }
    fn stat(&self, name: ObjectName) -> Result<Listed> {
        self.inner().stat(name)
    }
    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        self.inner().list(kind)
    }
    fn delete(&self, name: ObjectName) -> Result<()> {
        self.inner().delete(name)
    }
    fn heal(&self, name: ObjectName, bytes: &[u8]) -> Result<()> {
        self.inner().heal(name, bytes)
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

const HOUR: i64 = 3600 * 1_000_000_000;

/// Copies that were forgotten: their packs are nobody's, a new copy counts on them, a prune lets them go.
#[test]
fn a_backup_and_a_prune_in_the_destination_at_any_call_cost_nothing() {
    let source = Source::new(2);
    let clock = Arc::new(ManualClock::new(UnixNanos(1_700_000_000_000_000_000)));
    let storage = Arc::new(MemoryStorage::with_clock(clock.clone()));
    let to = common::create(storage.clone()).unwrap().by_clock(clock.clone());
    copy(&source.repo, &to).unwrap();
    ids(&to).into_iter().for_each(|id| common::forget(&to, id));
    clock.advance(24 * HOUR);
    let other = source.dir.path().join("other");
    common::fill(&other, 500, 100);
    let mut marked = 0;
    for call in 1.. {
        let storage = Arc::new(storage.snapshot());
        let to = to.over(storage.clone());
        let beside = to.clone();
        let backup = Backup {
            pinning: levault::ops::backup::Pinning::None,
            ..Backup::new(vec![other.clone()])
        };
        let meanwhile = Arc::new(AtCall {
            inner: storage,
            at: call,
            calls: AtomicU64::new(0),
            act: move || {
                backup.run(&beside, &Report::default()).unwrap();
                Prune::default().run(&beside, &Report::default()).unwrap();
            },
        });
        let outcome = copy(&source.repo, &to.over(meanwhile.clone())).unwrap();
        assert_eq!(outcome.copied.len(), 2, "call {call}");
        marked += to.storage().list(ObjectKind::Mark).unwrap().len();
        clock.advance(73 * HOUR);
        Prune::default().run(&to, &Report::default()).unwrap();
        for (copied, state) in outcome.copied.iter().zip(&source.states) {
            assert!(
                common::records(&to, &copied.to.to_hex()).unwrap() == *state,
                "call {call}"
            );
        }
        clean(&to);
        if meanwhile.calls.load(Ordering::SeqCst) < call {
            assert!(marked > 0);
            return;
        }
    }
}
