//! Reads the storage's clock by a scratch object.
//!
//! The storage's clock: that of a scratch object.

use crate::clock::UnixNanos;
use crate::crypto::{Entropy, OsEntropy};
use crate::envelope::{Header, KeyScheme, ObjectClass};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::{DomainId, EpochId, ObjectId};
use crate::storage::{ObjectKind, ObjectName};

use super::Repo;
use super::object_deletion::DeletePermit;

impl Repo {
    /// What time it is by the storage's clock: that of a scratch object written now.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if the storage has no modification times.
    pub fn storage_now(&self) -> Result<UnixNanos> {
        let (name, bytes) = build_probe()?;
        let storage = self.storage();
        match storage.put_new(name, &bytes) {
            // Who deletes must be able to when nothing else can be done.
            Err(error) if error.kind() == ErrorKind::Full => return storage.now()?.ok_or(error),
            put => put.context(|| "store a probe")?,
        }
        let found = storage.stat(name).context(|| "look at a probe");
        // What is left behind is swept after a day by whoever sees it.
        let _ = self.delete(&DeletePermit::Disposable, name);
        found?.modified.ok_or_else(|| {
            Error::new(
                ErrorKind::Usage,
                format!(
                    "{} tells no modification times: nothing can be swept by its clock",
                    storage.describe()
                ),
            )
        })
    }
}

/// A scratch object (FORMAT.md section 11): nothing in it is secret or vouched for.
fn build_probe() -> Result<(ObjectName, Vec<u8>)> {
    let mut random = [0; 63];
    OsEntropy.fill(&mut random)?;
    let (id, clear) = random.split_at(32);
    let header = Header {
        class: ObjectClass::Probe,
        scheme: KeyScheme::Clear,
        epoch: EpochId(0),
        domain: DomainId(0),
        clear_len: 32,
        ephemeral: [0; 32],
        salt: [0; 32],
        commitment: [0; 32],
    };
    let bytes = [&header.encode()[..], &[1], clear].concat();
    let mut name = ObjectId([0; 32]);
    name.0.copy_from_slice(id);
    let kind = ObjectKind::Probe;
    Ok((ObjectName { kind, id: name }, bytes))
}
