//! A directory as plain values: all that a restore must bring back.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thing {
    File(Vec<u8>),
    Directory,
    Link(Vec<u8>),
    Fifo,
    Device { is_block: bool, number: u64 },
    Socket,
}

/// The same with what the filesystem knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub thing: Thing,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime_nanos: i128,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first of the names of one file.
    pub first_name: Option<Vec<u8>>,
}

/// By path from the root, which is the empty one.
pub type Disk = BTreeMap<Vec<u8>, Facts>;

/// All that stands at a path and below it.
pub fn read(root: &Path) -> Disk {
    let mut reader = Reader {
        root: root.to_owned(),
        disk: Disk::new(),
        first: BTreeMap::new(),
    };
    reader.add(b"");
    reader.disk
}

struct Reader {
    root: PathBuf,
    disk: Disk,
    first: BTreeMap<(u64, u64), Vec<u8>>,
}

impl Reader {
    fn add(&mut self, name: &[u8]) {
        let path = match name {
            b"" => self.root.clone(),
            name => self.root.join(OsStr::from_bytes(name)),
        };
        let facts = fs::symlink_metadata(&path).unwrap();
        let kind = facts.file_type();
        let thing = if kind.is_file() {
            Thing::File(fs::read(&path).unwrap())
        } else if kind.is_dir() {
            Thing::Directory
        } else if kind.is_symlink() {
            Thing::Link(fs::read_link(&path).unwrap().into_os_string().into_vec())
        } else if kind.is_fifo() {
            Thing::Fifo
        } else if kind.is_socket() {
            Thing::Socket
        } else {
            Thing::Device {
                is_block: kind.is_block_device(),
                number: facts.rdev(),
            }
        };
        let is_directory = thing == Thing::Directory;
        let linked = !is_directory && facts.nlink() > 1;
        let same = (facts.dev(), facts.ino());
        let first_name = linked.then(|| self.first.entry(same).or_insert_with(|| name.to_vec()).clone());
        let facts = Facts {
            mode: facts.mode() & 0o7777,
            uid: facts.uid(),
            gid: facts.gid(),
            mtime_nanos: i128::from(facts.mtime()) * 1_000_000_000 + i128::from(facts.mtime_nsec()),
            xattrs: xattrs(&path),
            thing,
            first_name,
        };
        self.disk.insert(name.to_vec(), facts);
        if is_directory {
            self.add_all(&path, name);
        }
    }

    fn add_all(&mut self, path: &Path, name: &[u8]) {
        let mut inner: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_vec())
            .collect();
        inner.sort();
        for one in inner {
            match name {
                b"" => self.add(&one),
                name => self.add(&[name, b"/", &one].concat()),
            }
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let Ok(len) = rustix::fs::llistxattr(path, &mut names[..]) else {
        return BTreeMap::new();
    };
    let names = names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 64 << 10];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value.truncate(len);
        value
    };
    names.map(|name| (name.to_vec(), value(name))).collect()
}

/// The first difference, in words: two whole trees are too much to print.
#[track_caller]
pub fn assert_same(back: &Disk, was: &Disk) {
    for (name, facts) in was {
        let shown = String::from_utf8_lossy(name);
        match back.get(name) {
            None => panic!("{shown:?} is not back"),
            Some(other) if other == facts => {}
            Some(other) => panic!("{shown:?}: {}\nwas {}", brief(other), brief(facts)),
        }
    }
    for name in back.keys() {
        assert!(
            was.contains_key(name),
            "{:?} is new",
            String::from_utf8_lossy(name)
        );
    }
}

fn brief(facts: &Facts) -> String {
    match &facts.thing {
        Thing::File(bytes) => {
            let rest = Facts {
                thing: Thing::File(bytes[..bytes.len().min(20)].to_vec()),
                ..facts.clone()
            };
            format!("{} bytes, {} {rest:?}", bytes.len(), blake3::hash(bytes))
        }
        _ => format!("{facts:?}"),
    }
}
