//! Excludes directories that contain a tag file.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::{Error, ErrorKind, Result};

/// How the file of a cache directory begins, by <https://bford.info/cachedir/>.
const CACHE_HEADER: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Longest beginning that is asked for, bytes.
const HEADER_BYTES_MAX: usize = 4096;

/// Such a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagFile {
    /// Its name.
    pub name: OsString,
    /// How it begins.
    pub header: Vec<u8>,
}

impl TagFile {
    /// CACHEDIR.TAG with the signature that makes it one.
    pub fn of_caches() -> Self {
        Self {
            name: "CACHEDIR.TAG".into(),
            header: CACHE_HEADER.to_vec(),
        }
    }

    /// Reads `NAME` or `NAME:HEADER`.
    pub fn parse(text: &OsStr) -> Result<Self> {
        let mut parts = text.as_bytes().splitn(2, |byte| *byte == b':');
        let (name, header) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let is_name = !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/');
        if is_name && header.len() <= HEADER_BYTES_MAX {
            Ok(Self {
                name: OsStr::from_bytes(name).to_owned(),
                header: header.to_vec(),
            })
        } else {
            Err(Error::new(
                ErrorKind::Usage,
                format!("{} is no file's name", text.display()),
            ))
        }
    }

    /// Whether a directory has it. One that cannot be read is not there: rather too much is saved than too little.
    pub fn is_in(&self, directory: &Path) -> bool {
        let path = directory.join(&self.name);
        if self.header.is_empty() {
            std::fs::symlink_metadata(path).is_ok()
        } else {
            self.has_header(&path).unwrap_or(false)
        }
    }

    fn has_header(&self, path: &Path) -> std::io::Result<bool> {
        let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32;
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let mut header = vec![0; self.header.len()];
        file.read_exact(&mut header)?;
        Ok(header == self.header)
    }
}
