//! Deletes stored objects, each with the permit that its kind needs.
//!
//! The only way from a repository to [`Storage::delete`](crate::storage::Storage::delete): whoever deletes names the permit,
//! and a permit is good for some kinds of objects alone. docs/ORDERING.md argues why each of them loses nothing.

use crate::clock::UnixNanos;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::report::OperationReport;
use crate::storage::{ObjectKind, ObjectName};

use super::{Lease, Repo};

/// How long what was listed is good for deletions, nanoseconds: the shortest grace is six times as long.
const SWEEP_TERM_NANOS: i64 = 3600 * 1_000_000_000;

/// An object that this process stored, or found stored with the same bytes: durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DurableObject(ObjectName);

impl DurableObject {
    /// Only for what the storage just answered for.
    pub(in crate::repo) fn of_stored(name: ObjectName) -> Self {
        Self(name)
    }

    /// Which object.
    pub fn name(&self) -> ObjectName {
        self.0
    }
}

/// A sweep: objects that nothing needs by listings which are not older than an hour, under a lease.
pub(crate) struct SweepPermit<'a> {
    lease: &'a Lease<'a>,
    /// Our clock before the listings.
    begun: UnixNanos,
}

impl<'a> SweepPermit<'a> {
    /// `begun` is our clock before the listings that the sweep was planned by.
    pub fn new(lease: &'a Lease<'a>, begun: UnixNanos) -> Self {
        Self { lease, begun }
    }

    fn check_term(&self, now: UnixNanos) -> Result<()> {
        let took = now.0.saturating_sub(self.begun.0);
        if (0..SWEEP_TERM_NANOS).contains(&took) {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Busy,
                "the sweep took too long for what it knew; run it again, it goes on where it ended",
            ))
        }
    }
}

/// What permits a deletion.
pub(crate) enum DeletePermit<'a> {
    /// Nothing needs the object, by listings that hold.
    Sweep(&'a SweepPermit<'a>),
    /// Parity whose pack is gone.
    OrphanParity(&'a Lease<'a>),
    /// A durable object of the same kind says all that this one says.
    Superseded(DurableObject),
    /// The object is damaged: what it said is stored anew, or known to be lost.
    Damaged,
    /// Without the object something is done again, or later: a mark, an audit, a lease, a probe.
    Disposable,
    /// A key slot that the keyring in force does not name.
    RemovedSlot,
    /// A snapshot of this process that it reported to nobody.
    Unreported,
}

impl DeletePermit<'_> {
    /// True for an object of a kind that it is good for.
    fn covers(&self, name: ObjectName) -> bool {
        use ObjectKind::{
            Audit, Bad, Config, ConfigCopy, Index, Lease, Mark, Pack, Parity, Probe, Slot, Snapshot,
        };
        let kinds: &[ObjectKind] = match self {
            Self::Sweep(_) => &[Pack, Snapshot, Mark, Bad],
            Self::OrphanParity(_) => &[Parity],
            Self::Superseded(by) => {
                return by.name().kind == name.kind
                    && by.name() != name
                    && [Index, Parity].contains(&name.kind);
            }
            Self::Damaged => &[Index, Bad, Mark, Parity, Config, ConfigCopy],
            Self::Disposable => &[Mark, Audit, Lease, Probe],
            Self::RemovedSlot => &[Slot],
            Self::Unreported => &[Snapshot],
        };
        kinds.contains(&name.kind)
    }
}

impl Repo {
    /// Deletes an object; one that is not there is success.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when a sweep's listings are too old; [`ErrorKind::Usage`] for a permit of other kinds.
    pub(crate) fn delete(&self, permit: &DeletePermit, name: ObjectName) -> Result<()> {
        let act = || format!("delete {}", name.path());
        if !permit.covers(name) {
            return Err(Error::new(ErrorKind::Usage, "nothing permits this deletion").context(act()));
        }
        match permit {
            DeletePermit::Sweep(sweep) => {
                sweep.check_term(self.clock().now())?;
                self.check_lease(sweep.lease)?;
            }
            DeletePermit::OrphanParity(lease) => self.check_lease(lease)?,
            _ => {}
        }
        self.storage().delete(name).context(act)
    }

    fn check_lease(&self, lease: &Lease) -> Result<()> {
        if lease.is_of(self) {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Usage, "the lease is another repository's"))
        }
    }

    /// Deletes objects of one kind, in their order.
    pub(crate) fn delete_all(
        &self,
        permit: &DeletePermit,
        kind: ObjectKind,
        ids: impl IntoIterator<Item = ObjectId>,
        report: &OperationReport,
    ) -> Result<()> {
        for id in ids {
            report.go_on()?;
            self.delete(permit, ObjectName::new(kind, id))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(kind: ObjectKind, number: u8) -> ObjectName {
        ObjectName::new(kind, ObjectId([number; 32]))
    }

    #[test]
    fn a_permit_is_good_for_some_kinds_of_objects_alone() {
        let by = DeletePermit::Superseded(DurableObject(named(ObjectKind::Index, 1)));
        assert!(by.covers(named(ObjectKind::Index, 2)));
        assert!(!by.covers(named(ObjectKind::Index, 1)), "itself");
        assert!(!by.covers(named(ObjectKind::Parity, 2)), "another kind");
        let by = DeletePermit::Superseded(DurableObject(named(ObjectKind::Pack, 1)));
        assert!(!by.covers(named(ObjectKind::Pack, 2)), "packs are swept");
        for (permit, kind) in [
            (DeletePermit::Damaged, ObjectKind::Pack),
            (DeletePermit::Damaged, ObjectKind::Snapshot),
            (DeletePermit::Damaged, ObjectKind::Keyring),
            (DeletePermit::Disposable, ObjectKind::Pack),
            (DeletePermit::Disposable, ObjectKind::Index),
            (DeletePermit::Disposable, ObjectKind::Note),
            (DeletePermit::RemovedSlot, ObjectKind::Keyring),
            (DeletePermit::Unreported, ObjectKind::Pack),
        ] {
            assert!(!permit.covers(named(kind, 1)), "{kind:?}");
        }
    }
}
