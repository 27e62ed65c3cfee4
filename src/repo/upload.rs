//! A thread that stores finished packs, so that the CPU stages never wait for a disk's sync.
//!
//! ```text
//! Writer --(bounded: 1 pack)--> upload thread --put_new--> storage
//!        <--(unbounded, small: name, length, directory)--
//! ```
//! The channel's bound is the memory bound: one pack waiting, one being stored. The first error ends the thread;
//! every later send fails and the writer asks for the error.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::error::{Act, Error, Kind, Result};
use crate::id::ObjectId;
use crate::pack::{Pack, PackedBlob};
use crate::storage::{ObjectKind, ObjectName, Storage};

/// A pack that is durable.
pub struct StoredPack {
    pub id: ObjectId,
    pub len: u64,
    pub directory: Vec<PackedBlob>,
}

/// The thread and its two channels.
pub struct Uploader {
    packs: Option<Sender<Pack>>,
    stored: Receiver<StoredPack>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Uploader {
    /// Starts the thread.
    pub fn start(storage: Arc<dyn Storage>) -> Result<Self> {
        let (packs, waiting) = bounded(0);
        let (done, stored) = unbounded();
        let thread = std::thread::Builder::new()
            .name("levault-upload".into())
            .spawn(move || upload(&*storage, &waiting, &done))
            .act(|| "start the upload thread")?;
        Ok(Self {
            packs: Some(packs),
            stored,
            thread: Some(thread),
        })
    }

    /// Hands a pack over; waits while another is being stored.
    pub fn send(&mut self, pack: Pack) -> Result<()> {
        let sent = self.packs.as_ref().is_some_and(|packs| packs.send(pack).is_ok());
        match sent {
            true => Ok(()),
            false => Err(self
                .end()
                .err()
                .unwrap_or_else(|| Error::new(Kind::Io, "the upload thread has ended"))),
        }
    }

    /// What became durable since the last call.
    pub fn stored(&self) -> impl Iterator<Item = StoredPack> + '_ {
        self.stored.try_iter()
    }

    /// Waits until all packs are durable.
    pub fn end(&mut self) -> Result<()> {
        self.packs = None;
        match self.thread.take() {
            Some(thread) => thread
                .join()
                .unwrap_or_else(|_| Err(Error::new(Kind::Io, "the upload thread panicked"))),
            None => Ok(()),
        }
    }
}

impl Drop for Uploader {
    fn drop(&mut self) {
        // An abandoned backup: the packs on their way become unreferenced objects, which harm nothing.
        let _ = self.end();
    }
}

fn upload(storage: &dyn Storage, packs: &Receiver<Pack>, done: &Sender<StoredPack>) -> Result<()> {
    for pack in packs {
        let name = ObjectName {
            kind: ObjectKind::Pack,
            id: pack.id,
        };
        storage
            .put_new(name, &pack.bytes)
            .act(|| format!("store pack {}", pack.id.short()))?;
        let stored = StoredPack {
            id: pack.id,
            len: pack.bytes.len() as u64,
            directory: pack.directory,
        };
        // The receiver is gone only when the writer was dropped: nobody is left to tell.
        let _ = done.send(stored);
    }
    Ok(())
}
