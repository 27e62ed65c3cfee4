//! Names, verifies and stores packs on a thread of its own.
//!
//! A thread that names, verifies and stores closed packs, so that the CPU stages never wait for a disk's sync. A pack is
//! verified while the storage writes it, and appears only if it was sound.
//!
//! ```text
//! Writer --(bounded: 0)--> upload thread --name, put_new_if verified, parity--> storage
//!        <--(unbounded: name, length, directory, the buffer to be filled again)--
//! ```
//! The channel's bound is the memory bound: one pack being stored (with its parity, if there is any: that share of it
//! again), and a sender waits. The last packs get a thread
//! each: no others take their place, and the end of a backup waits for one sync, not for one after the other. The
//! first error ends its thread; every later send fails and the writer asks for the error.

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::keys::KeyAccess;
use crate::pack::{ClosedPack, FinishedPack, NamedPack, PackedBlob};
use crate::parity::ParityShare;
use crate::storage::{ObjectKind, ObjectName, Storage};

use super::stored_parity::store_parity;

/// A pack that is durable.
pub struct StoredPack {
    pub id: ObjectId,
    pub len: u64,
    pub directory: Vec<PackedBlob>,
    /// The room the pack took.
    pub buffer: Vec<u8>,
}

/// The thread and its two channels.
pub struct PackUploader {
    packs: Option<Sender<ClosedPack>>,
    stored: Receiver<StoredPack>,
    /// Packs handed over and not reported as stored yet.
    in_flight: usize,
    /// Lives as long as the thread: without it nothing more will be reported.
    context: Weak<UploadContext>,
    threads: Vec<JoinHandle<Result<()>>>,
}

/// What a thread needs to store packs.
struct UploadContext {
    storage: Arc<dyn Storage>,
    /// Opens each pack before it is stored, if there is one.
    holder: Option<KeyAccess>,
    /// The share of each pack that gets parity, if any.
    parity: Option<ParityShare>,
    done: Sender<StoredPack>,
}

impl PackUploader {
    /// Starts the thread; each pack is first opened and compared with `holder`'s keys, if there is one.
    /// Its parity, if there is to be any, is durable behind it and before it is reported as stored.
    pub fn start(
        storage: Arc<dyn Storage>,
        holder: Option<KeyAccess>,
        parity: Option<ParityShare>,
    ) -> Result<Self> {
        let (packs, waiting) = bounded(0);
        let (done, stored) = unbounded();
        let store = Arc::new(UploadContext {
            storage,
            holder,
            parity,
            done,
        });
        Ok(Self {
            packs: Some(packs),
            stored,
            in_flight: 0,
            context: Arc::downgrade(&store),
            threads: vec![spawn(move || {
                waiting.into_iter().try_for_each(|pack| store.store_pack(pack))
            })?],
        })
    }

    /// Hands a pack over; waits while another is being stored.
    pub fn send(&mut self, pack: ClosedPack) -> Result<()> {
        let sent = self.packs.as_ref().is_some_and(|packs| packs.send(pack).is_ok());
        if sent {
            self.in_flight += 1;
            Ok(())
        } else {
            Err(self.thread_error())
        }
    }

    /// Hands over a pack whose room nobody needs again; does not wait.
    pub fn send_last(&mut self, pack: ClosedPack) -> Result<()> {
        let Some(store) = self.context.upgrade() else {
            return Err(self.thread_error());
        };
        self.in_flight += 1;
        self.threads.push(spawn(move || store.store_pack(pack))?);
        Ok(())
    }

    /// The next pack that became durable, waited for; `None` when none is on its way.
    pub fn next_stored(&mut self) -> Result<Option<StoredPack>> {
        if self.in_flight == 0 {
            return Ok(None);
        }
        match self.stored.recv() {
            Ok(stored) => {
                self.in_flight -= 1;
                Ok(Some(stored))
            }
            Err(_) => Err(self.thread_error()),
        }
    }

    fn thread_error(&mut self) -> Error {
        let why = self.wait_for_all().err();
        why.unwrap_or_else(|| Error::new(ErrorKind::Io, "the upload thread has ended"))
    }

    /// What became durable since the last call.
    pub fn take_stored(&mut self) -> Vec<StoredPack> {
        let stored: Vec<_> = self.stored.try_iter().collect();
        self.in_flight -= stored.len();
        stored
    }

    /// Waits until all packs are durable.
    pub fn wait_for_all(&mut self) -> Result<()> {
        self.packs = None;
        let joined = |thread: JoinHandle<Result<()>>| {
            let panicked = |_| Err(Error::new(ErrorKind::Io, "the upload thread panicked"));
            thread.join().unwrap_or_else(panicked)
        };
        let ended: Vec<_> = self.threads.drain(..).map(joined).collect();
        ended.into_iter().collect()
    }
}

impl Drop for PackUploader {
    fn drop(&mut self) {
        // An abandoned backup: the packs on their way become unreferenced objects, which harm nothing.
        let _ = self.wait_for_all();
    }
}

fn spawn(act: impl FnOnce() -> Result<()> + Send + 'static) -> Result<JoinHandle<Result<()>>> {
    std::thread::Builder::new()
        .name("levault-upload".into())
        .spawn(act)
        .context(|| "start the upload thread")
}

impl UploadContext {
    fn store_pack(&self, pack: ClosedPack) -> Result<()> {
        let pack = self.verify_and_put(pack.hash_to_verify())?;
        if let Some(share) = self.parity {
            store_parity(&*self.storage, &pack.bytes, share)?;
        }
        let stored = StoredPack {
            id: pack.id,
            len: pack.bytes.len() as u64,
            directory: pack.directory,
            buffer: pack.bytes,
        };
        // The receiver is gone only when the writer was dropped: nobody is left to tell.
        let _ = self.done.send(stored);
        Ok(())
    }

    /// Opens the pack while its bytes are on their way: it is stored if that was well.
    fn verify_and_put(&self, named: NamedPack) -> Result<FinishedPack> {
        let pack = named.pack();
        let name = ObjectName::new(ObjectKind::Pack, pack.id);
        let stored = match &self.holder {
            None => self.storage.put_new(name, &pack.bytes),
            Some(holder) => {
                let sound = || {
                    named
                        .verify(holder)
                        .context(|| "open the finished pack before it is stored")
                };
                self.storage.put_new_if(name, &pack.bytes, &sound)
            }
        };
        stored.context(|| format!("store pack {}", pack.id.short()))?;
        Ok(named.into_pack())
    }
}
