//! Takes and breaks leases, which keep prunes apart.
//!
//! A prune's announcement: it keeps two from doing the same work, and no safety rests on it.

use crate::clock::UnixNanos;
use crate::codec::{Reader, put_prefixed};
use crate::crypto::{Entropy, OsEntropy};
use crate::envelope::ObjectClass;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::limits::LABEL_BYTES_MAX;
use crate::storage::{ObjectKind, ObjectName};

use super::object_deletion::DeletePermit;
use super::{OWN_DOMAIN, Repo};

/// The only version of leases so far.
const LEASE_VERSION: u8 = 1;

/// The term of a lease, nanoseconds. A process that dies leaves its lease in force no longer than this.
const LEASE_TERM_NANOS: i64 = 2 * 3600 * 1_000_000_000;

/// Held until it is dropped or its term is over.
pub struct Lease<'a> {
    repo: &'a Repo,
    name: ObjectName,
}

impl Repo {
    /// Takes the lease for what `text` describes.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] while another process has it; the storage's error if one that is there cannot be read.
    pub fn lease(&self, text: &str) -> Result<Lease<'_>> {
        self.check_writable()?;
        // By the storage's clock, if it has one: whose own is wrong must not take others' leases for over.
        let now = match self.storage_now() {
            Err(error) if error.kind() == ErrorKind::Usage => self.clock().now(),
            now => now?,
        };
        self.refuse_leased(now, None)?;
        let (name, bytes) = self.new_lease(now, text)?;
        match self.storage().put_new(name, &bytes) {
            // No safety rests on it, and what it is for may be to make room.
            Err(error) if error.kind() == ErrorKind::Full => {}
            put => put.context(|| "store a lease")?,
        }
        let lease = Lease { repo: self, name };
        // Of two that come at once each sees the other now, and at least one gives way.
        self.refuse_leased(now, Some(name))?;
        Ok(lease)
    }

    /// Takes all leases away, also those of processes that are still at work: no safety rests on leases, but two prunes at
    /// once do each other's work. How many there were.
    pub fn break_leases(&self) -> Result<usize> {
        self.check_writable()?;
        let listed = self.storage().list(ObjectKind::Lease);
        let listed = listed.context(|| "list the leases")?;
        for lease in &listed {
            self.delete(&DeletePermit::Disposable, lease.name)?;
        }
        Ok(listed.len())
    }

    fn refuse_leased(&self, now: UnixNanos, own: Option<ObjectName>) -> Result<()> {
        let listed = self.storage().list(ObjectKind::Lease);
        for listed in listed.context(|| "list the leases")? {
            if Some(listed.name) == own {
                continue;
            }
            match self.read_lease(listed.name) {
                Ok((expires, holder)) if now < expires && expires.0 - now.0 <= LEASE_TERM_NANOS => {
                    let what = format!(
                        "{holder} has the repository until its lease ends ({})",
                        listed.name.path()
                    );
                    return Err(Error::new(ErrorKind::Busy, what));
                }
                // Expired, or with a term that nothing of ours has.
                Ok(_) => self.delete(&DeletePermit::Disposable, listed.name)?,
                Err(error) => self.delete_unreadable(listed.name, error)?,
            }
        }
        Ok(())
    }

    /// Deletes a lease whose bytes are no lease of this repository. One that could not be fetched, or that a later version
    /// wrote, may be in force: it stays, and the error is returned.
    fn delete_unreadable(&self, name: ObjectName, error: Error) -> Result<()> {
        match error.kind() {
            ErrorKind::Corrupt | ErrorKind::Torn | ErrorKind::WrongKey | ErrorKind::Limit => {
                self.delete(&DeletePermit::Disposable, name)
            }
            ErrorKind::NotFound => Ok(()),
            _ => Err(error.context(format!("read {}", name.path()))),
        }
    }

    fn new_lease(&self, now: UnixNanos, text: &str) -> Result<(ObjectName, Vec<u8>)> {
        let mut random = [0; 48];
        OsEntropy.fill(&mut random)?;
        let mut clear = vec![LEASE_VERSION];
        clear.extend_from_slice(&random[..16]);
        clear.extend_from_slice(&now.0.to_le_bytes());
        clear.extend_from_slice(&now.0.saturating_add(LEASE_TERM_NANOS).to_le_bytes());
        put_prefixed(&mut clear, text.as_bytes());
        let bytes =
            self.keyring()?
                .seal_object(ObjectClass::Lease, OWN_DOMAIN, &clear, &[], &mut OsEntropy)?;
        let mut id = ObjectId([0; 32]);
        id.0.copy_from_slice(&random[16..]);
        let kind = ObjectKind::Lease;
        Ok((ObjectName { kind, id }, bytes))
    }

    /// When it ends, and who has it, in words. Leases have random names, so only the key tells whose they are.
    fn read_lease(&self, name: ObjectName) -> Result<(UnixNanos, String)> {
        let bytes = self.storage().get(name, 4096)?;
        let named = crate::envelope::object_id(&bytes);
        let opened = self.keyring()?.open_object(ObjectClass::Lease, &named, &bytes)?;
        let mut reader = Reader::new(&opened.clear);
        if reader.u8()? != LEASE_VERSION {
            return Err(Error::new(ErrorKind::TooNew, "a lease of a later version"));
        }
        let _holder: [u8; 16] = reader.array()?;
        let (_made, expires) = (reader.u64()?, UnixNanos(reader.u64()?.cast_signed()));
        let len = reader.len_varint(LABEL_BYTES_MAX, "text")?;
        let text = String::from_utf8_lossy(reader.bytes(len)?).into_owned();
        reader.finish()?;
        Ok((expires, text))
    }
}

impl Lease<'_> {
    /// True if it was taken of this repository.
    pub(super) fn is_of(&self, repo: &Repo) -> bool {
        self.repo.id() == repo.id()
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // One that stays is over in two hours.
        let _ = self.repo.delete(&DeletePermit::Disposable, self.name);
    }
}
