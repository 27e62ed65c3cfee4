//! Encodes tar headers with pax records.
//!
//! One entry's header: a ustar block, and pax records for what does not fit in it.

use tar::{EntryType, Header};

use super::sparse_map::ContentRanges;
use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::{DeviceNumber, FileMetadata};

/// Longest name that a header holds, bytes; longer ones stand in a record.
const TAR_NAME_BYTES_MAX: usize = 100;

/// Largest number of a device that seven octal digits hold.
const TAR_DEVICE_MAX: u32 = 0o7_777_777;

/// Latest time that eleven octal digits hold, seconds.
const TAR_MTIME_MAX: u64 = 0o77_777_777_777;

/// What an entry is.
#[derive(Clone, Copy)]
pub enum TarEntryKind<'a> {
    Directory,
    /// So many bytes.
    File(u64),
    Sparse(&'a ContentRanges),
    /// Another name of a file that stands before it under this one.
    HardLink(&'a [u8]),
    Symlink(&'a [u8]),
    Fifo,
    Device(DeviceNumber),
}

/// A header with its records.
pub struct TarHeader {
    pub header: Header,
    pub pax_records: Vec<(String, Vec<u8>)>,
    /// What no header can say, in words.
    pub unrepresentable: Vec<String>,
}

impl TarHeader {
    /// The header of what stands at `path`, which is empty for the archive's root.
    pub fn new(path: &[u8], meta: &FileMetadata, what: TarEntryKind) -> Result<Self> {
        let mut head = Self {
            header: Header::new_ustar(),
            pax_records: Vec::new(),
            unrepresentable: Vec::new(),
        };
        let header = &mut head.header;
        header.set_entry_type(entry_type(what));
        header.set_mode(meta.mode.unwrap_or(default_mode(what)) & 0o7777);
        header.set_uid(meta.uid.unwrap_or(0).into());
        header.set_gid(meta.gid.unwrap_or(0).into());
        header.set_size(size(what));
        head.set_name(path, what);
        head.set_kind_fields(what)?;
        head.mtime(meta.mtime_nanos.unwrap_or(0));
        if !matches!(what, TarEntryKind::HardLink(_)) {
            head.xattrs(meta);
        }
        head.header.set_cksum();
        Ok(head)
    }

    fn add_pax_record(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.pax_records.push((name.into(), value.into()));
    }

    fn set_name(&mut self, path: &[u8], what: TarEntryKind) {
        let path = match (path, what) {
            ([], TarEntryKind::Directory) => b"./".to_vec(),
            (_, TarEntryKind::Directory) => [path, b"/"].concat(),
            _ => path.to_vec(),
        };
        let name = match what {
            TarEntryKind::Sparse(_) => {
                self.add_pax_record("GNU.sparse.name", &path[..]);
                let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                [b"GNUSparseFile.0/", last].concat()
            }
            _ => path,
        };
        if name.len() > TAR_NAME_BYTES_MAX {
            self.add_pax_record("path", &name[..]);
        }
        copy_name(&mut self.header.as_old_mut().name, &name);
    }

    fn set_kind_fields(&mut self, what: TarEntryKind) -> Result<()> {
        match what {
            TarEntryKind::Symlink(target) | TarEntryKind::HardLink(target) => {
                if target.len() > TAR_NAME_BYTES_MAX {
                    self.add_pax_record("linkpath", target);
                }
                copy_name(&mut self.header.as_old_mut().linkname, target);
            }
            TarEntryKind::Device(device) => self.device(device)?,
            TarEntryKind::Sparse(segments) => {
                self.add_pax_record("GNU.sparse.major", "1");
                self.add_pax_record("GNU.sparse.minor", "0");
                self.add_pax_record("GNU.sparse.realsize", segments.file_bytes().to_string());
            }
            TarEntryKind::Directory | TarEntryKind::File(_) | TarEntryKind::Fifo => {}
        }
        Ok(())
    }

    fn device(&mut self, device: DeviceNumber) -> Result<()> {
        if device.major.max(device.minor) > TAR_DEVICE_MAX {
            let what = format!("device {}:{} in a tar", device.major, device.minor);
            return Err(Error::new(ErrorKind::Limit, what));
        }
        let numbers = self.header.set_device_major(device.major);
        numbers
            .and_then(|()| self.header.set_device_minor(device.minor))
            .map_err(|cause| Error::io("set a device's numbers", cause))
    }

    /// Whole seconds since 1970 fit in the header.
    fn mtime(&mut self, nanos: i128) {
        const SECOND: i128 = 1_000_000_000;
        // What the header's eleven octal digits cannot hold, a record does.
        let seconds = u64::try_from(nanos / SECOND).unwrap_or(0);
        self.header.set_mtime(seconds.min(TAR_MTIME_MAX));
        if nanos < 0 || nanos % SECOND != 0 || seconds > TAR_MTIME_MAX {
            let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
            let second = SECOND.unsigned_abs();
            self.add_pax_record("mtime", format!("{sign}{}.{:09}", nanos / second, nanos % second));
        }
    }

    fn xattrs(&mut self, meta: &FileMetadata) {
        for (name, value) in &meta.xattrs {
            match std::str::from_utf8(name) {
                // An equals sign would end the name early.
                Ok(name) if !name.contains('=') => {
                    self.add_pax_record(&format!("SCHILY.xattr.{name}"), &value[..])
                }
                _ => self.unrepresentable.push(format!(
                    "no tar holds the extended attribute {}",
                    String::from_utf8_lossy(name)
                )),
            }
        }
    }
}

/// As much of a name as fits; what is longer stands in a record.
fn copy_name(field: &mut [u8; TAR_NAME_BYTES_MAX], name: &[u8]) {
    let len = name.len().min(TAR_NAME_BYTES_MAX);
    field[..len].copy_from_slice(&name[..len]);
}

fn entry_type(what: TarEntryKind) -> EntryType {
    match what {
        TarEntryKind::Directory => EntryType::Directory,
        TarEntryKind::File(_) | TarEntryKind::Sparse(_) => EntryType::Regular,
        TarEntryKind::HardLink(_) => EntryType::Link,
        TarEntryKind::Symlink(_) => EntryType::Symlink,
        TarEntryKind::Fifo => EntryType::Fifo,
        TarEntryKind::Device(device) if device.is_block => EntryType::Block,
        TarEntryKind::Device(_) => EntryType::Char,
    }
}

fn default_mode(what: TarEntryKind) -> u32 {
    match what {
        TarEntryKind::Directory => 0o755,
        TarEntryKind::Symlink(_) => 0o777,
        _ => 0o644,
    }
}

fn size(what: TarEntryKind) -> u64 {
    match what {
        TarEntryKind::File(bytes) => bytes,
        TarEntryKind::Sparse(segments) => segments.stored_bytes(),
        _ => 0,
    }
}
