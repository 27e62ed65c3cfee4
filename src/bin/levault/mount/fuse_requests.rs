//! Answers the kernel's FUSE requests.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fuser::{
    Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags, ReplyAttr,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyXattr, Request,
};
use levault::engine::tree;
use levault::error::{Result, ResultExt};
use levault::snapshot::{EntryKind, FileMetadata};

use super::directory_listing::OpenListing;
use super::inodes::{InodeTable, number};
use super::mount_context::{MountContext, ShownSnapshot};
use super::mount_item::{DatabaseFileItem, MountItem};
use super::record_stream::RecordStream;

/// How long the kernel may believe what it was told: of what is in a snapshot, long, for it never changes.
const SNAPSHOT_FOR: Duration = Duration::from_secs(3600);
/// Of which snapshots there are.
const SHELF_FOR: Duration = Duration::from_secs(1);

/// A mounted repository.
pub struct MountedRepository {
    world: MountContext,
    inodes: InodeTable,
    directories: HandleTable<Mutex<OpenListing>>,
    files: HandleTable<OpenFileHandle>,
}

/// A file that needs more than its inode.
enum OpenFileHandle {
    /// A file of a database that was made; it outlives the database.
    Made(File),
    Records(RecordStream),
}

/// Open files or directories by number; 0 is none.
struct HandleTable<T> {
    open: Mutex<HashMap<u64, Arc<T>>>,
    last: AtomicU64,
}

impl<T> HandleTable<T> {
    fn new() -> Self {
        Self {
            open: Mutex::default(),
            last: AtomicU64::new(0),
        }
    }

    fn add(&self, value: T) -> FileHandle {
        let handle = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.lock().insert(handle, Arc::new(value));
        FileHandle(handle)
    }

    fn get(&self, handle: FileHandle) -> Option<Arc<T>> {
        self.lock().get(&handle.0).cloned()
    }

    fn remove(&self, handle: FileHandle) {
        self.lock().remove(&handle.0);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<T>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MountedRepository {
    /// Nothing is open yet.
    pub fn new(world: MountContext) -> Self {
        Self {
            world,
            inodes: InodeTable::new(),
            directories: HandleTable::new(),
            files: HandleTable::new(),
        }
    }

    fn item(&self, ino: INodeNo) -> Result<MountItem, Errno> {
        self.inodes.get(ino.0).ok_or(Errno::ENOENT)
    }

    /// What failed is told, and whoever asked has an input/output error.
    fn reply_error<T>(&self, result: Result<T>) -> Result<T, Errno> {
        result.map_err(|error| {
            self.world.warn(&error.context("mount"));
            Errno::EIO
        })
    }

    fn find(&self, parent: INodeNo, name: &OsStr) -> Result<(fuser::FileAttr, Duration), Errno> {
        let directory = self.item(parent)?;
        let act = || format!("look up {}", name.display());
        let item = self.reply_error(self.world.child(&directory, name).context(act))?;
        let item = item.ok_or(Errno::ENOENT)?;
        let ino = number(parent.0, name.as_bytes(), item.link());
        let attr = self.reply_error(self.world.attr(ino, &item).context(act))?;
        let lasts = attribute_ttl(&item);
        self.inodes.add(ino, item);
        Ok((attr, lasts))
    }

    fn open_file(&self, ino: INodeNo) -> Result<(FileHandle, FopenFlags), Errno> {
        match self.item(ino)? {
            MountItem::Node(..) => Ok((FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE)),
            MountItem::Records(shown, number) => {
                let stream = RecordStream::new(shown, number, Arc::clone(&self.world.report));
                Ok((
                    self.files.add(OpenFileHandle::Records(stream)),
                    FopenFlags::FOPEN_DIRECT_IO,
                ))
            }
            MountItem::File(shown, file) => {
                let file = self.reply_error(self.open_restored_file(&shown, &file))?;
                Ok((
                    self.files.add(OpenFileHandle::Made(file)),
                    FopenFlags::FOPEN_KEEP_CACHE,
                ))
            }
            _ => Err(Errno::EISDIR),
        }
    }

    fn open_restored_file(&self, shown: &ShownSnapshot, file: &DatabaseFileItem) -> Result<File> {
        let made = self.world.restored_file(shown, file.database)?;
        let path = made.path.join(OsStr::from_bytes(&file.name));
        File::open(&path).context(|| format!("open {}", path.display()))
    }

    fn bytes(&self, ino: INodeNo, handle: FileHandle, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
        if let Some(open) = self.files.get(handle) {
            return self.reply_error(match &*open {
                OpenFileHandle::Made(file) => read_file(file, offset, len),
                OpenFileHandle::Records(stream) => stream.read(offset, len),
            });
        }
        let MountItem::Node(shown, place) = self.item(ino)? else {
            return Err(Errno::EBADF);
        };
        let EntryKind::File(list) = &place.node.entry.kind else {
            return Err(Errno::EISDIR);
        };
        let read = shown.view(&self.world.cache, |view| {
            tree::read_at(view.blobs(), list, offset, len)
        });
        let name = || format!("read {}", String::from_utf8_lossy(&place.node.entry.name));
        self.reply_error(read.context(name))
    }

    fn target(&self, ino: INodeNo) -> Result<Vec<u8>, Errno> {
        match self.item(ino)? {
            MountItem::Latest(target) => Ok(target.into_bytes()),
            MountItem::Node(_, place) => match &place.node.entry.kind {
                EntryKind::Symlink(target) => Ok(target.clone()),
                _ => Err(Errno::EINVAL),
            },
            _ => Err(Errno::EINVAL),
        }
    }

    fn meta(&self, ino: INodeNo) -> Result<FileMetadata, Errno> {
        match self.item(ino)? {
            MountItem::Node(_, place) => Ok(place.node.entry.meta.clone()),
            _ => Ok(FileMetadata::default()),
        }
    }
}

fn attribute_ttl(item: &MountItem) -> Duration {
    match item {
        MountItem::Top
        | MountItem::Shelf(_)
        | MountItem::Latest(_)
        | MountItem::Snapshot(_)
        | MountItem::Way(..) => SHELF_FOR,
        _ => SNAPSHOT_FOR,
    }
}

fn read_file(file: &File, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file
            .read_at(&mut bytes[filled..], offset + filled as u64)
            .context(|| "read a database's file")?
        {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Data, or how long it is for who asks with no room.
fn reply_xattr(reply: ReplyXattr, size: u32, data: &[u8]) {
    match (size, data.len()) {
        (0, len) => reply.size(len as u32),
        (size, len) if len <= size as usize => reply.data(data),
        _ => reply.error(Errno::ERANGE),
    }
}

impl Filesystem for MountedRepository {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(parent, name) {
            Ok((attr, lasts)) => reply.entry(&lasts, &attr, Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn forget(&self, _: &Request, ino: INodeNo, lookups: u64) {
        self.inodes.forget(ino.0, lookups);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = self.item(ino).and_then(|item| {
            let attr = self.reply_error(self.world.attr(ino.0, &item))?;
            Ok((attr, attribute_ttl(&item)))
        });
        match found {
            Ok((attr, lasts)) => reply.attr(&lasts, &attr),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.target(ino) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.open_file(ino) {
            Ok((handle, flags)) => reply.opened(handle, flags),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.bytes(ino, handle, offset, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.files.remove(handle);
        reply.ok();
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.item(ino) {
            Ok(item) => {
                let listing = Mutex::new(OpenListing::new(ino.0, item));
                reply.opened(self.directories.add(listing), FopenFlags::empty());
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let Some(open) = self.directories.get(handle) else {
            return reply.error(Errno::EBADF);
        };
        let mut listing = open.lock().unwrap_or_else(PoisonError::into_inner);
        let given = listing.add_entry(&self.world, offset, |entry, next| {
            !reply.add(
                INodeNo(entry.ino),
                next,
                entry.kind,
                OsStr::from_bytes(&entry.name),
            )
        });
        match self.reply_error(given.context(|| "list a directory")) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.directories.remove(handle);
        reply.ok();
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let meta = match self.meta(ino) {
            Ok(meta) => meta,
            Err(errno) => return reply.error(errno),
        };
        match meta.xattrs.iter().find(|(own, _)| own == name.as_bytes()) {
            Some((_, value)) => reply_xattr(reply, size, value),
            None => reply.error(Errno::ENODATA),
        }
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        match self.meta(ino) {
            Ok(meta) => {
                let names = meta.xattrs.iter().flat_map(|(name, _)| [&name[..], b"\0"]);
                reply_xattr(reply, size, &names.collect::<Vec<_>>().concat());
            }
            Err(errno) => reply.error(errno),
        }
    }
}
