//! Storages that take their time, or are left early.

use std::sync::Arc;

use levault::clock::ManualClock;
use levault::report::OperationReport;
use levault::storage::StorageVerb;
use levault::storage::{MemoryStorage, ObjectKind};

use super::MINUTE;
use super::common::hooked::{Asked, Hooked};

fn reads_a_pack(asked: &Asked) -> bool {
    (asked.verb, asked.kind) == (StorageVerb::Get, ObjectKind::Pack)
}

/// Turns the clock on whenever a pack is read whole.
pub fn slow(inner: &Arc<MemoryStorage>, clock: Arc<ManualClock>, minutes: i64) -> Arc<Hooked> {
    Arc::new(Hooked::before(inner, move |asked| {
        clock.advance(minutes * MINUTE * i64::from(reads_a_pack(asked)));
        Ok(())
    }))
}

/// Asks for an end when the second pack is read.
pub fn stopping(inner: &Arc<MemoryStorage>, report: Arc<OperationReport>) -> Arc<Hooked> {
    Arc::new(Hooked::before(inner, move |asked| {
        if reads_a_pack(asked) && report.bytes_done.get() > 0 {
            report.stop();
        }
        Ok(())
    }))
}
