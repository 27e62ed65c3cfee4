//! Repairs that die.

use std::sync::Arc;

use levault::error::Result;
use levault::repo::Repo;
use levault::storage::faulty_storage::{FaultyStorage, InjectedFault};
use levault::storage::{MemoryStorage, ObjectKind, Storage};

use crate::scene::Scene;

/// Runs a repair once for every call that it makes, that call meeting a fault; `judge` looks at what is left, and the
/// repair must succeed when it is run again.
pub fn at_every_call(scene: &Scene, repair: impl Fn(&Repo) -> Result<()>, judge: impl Fn(&Scene, &str)) {
    type Faults = fn(FaultyStorage<Arc<MemoryStorage>>, u64) -> FaultyStorage<Arc<MemoryStorage>>;
    let faults: [(&str, Faults); 3] = [
        ("dead", FaultyStorage::dead_from),
        ("lost reply", |faulty, call| {
            faulty.fail_at(call, InjectedFault::LostReply).dead_from(call + 1)
        }),
        ("full", |faulty, call| faulty.fail_at(call, InjectedFault::Full)),
    ];
    for (what, fault) in faults {
        let mut failed = 0;
        for call in 1.. {
            let left = scene.on(&scene.storage);
            let faulty = Arc::new(fault(FaultyStorage::new(left.storage.clone()), call));
            let result = repair(&left.repo().with_storage(faulty.clone() as Arc<dyn Storage>));
            failed += u32::from(result.is_err());
            let what = format!("{what} at call {call}");
            judge(&left, &what);
            // Of a lease that its holder left behind, two hours pass.
            for lease in left.listed(ObjectKind::Lease) {
                left.storage.delete(lease).unwrap();
            }
            repair(&left.repo()).unwrap_or_else(|error| panic!("{what}, again: {error}"));
            judge(&left, &format!("{what}, again"));
            if faulty.calls() < call {
                assert!(failed >= 3, "{what}: only {failed} faults were felt");
                break;
            }
        }
    }
}
