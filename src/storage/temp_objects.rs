//! Writes temporary files, and removes those of dead writers.
//!
//! A temporary file is named `<boot>-<random>`, and its writer holds an flock on it for as long as it lives.
//! Whoever starts to write sweeps first: a file of *this boot of this machine* whose flock is free has no
//! writer any more; one of another boot or machine may be locked where we cannot see it (network
//! filesystems), so it goes when it is a day old by the store's own clock.
//!
//! Why a sweep never takes a living writer's file: the sweeper unlinks only while it holds the flock, and a
//! writer that has the flock looks whether its file still has a name, and starts anew if not. A name is
//! random and never used twice, so an unlink cannot hit a later file either.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::direct_io;
use crate::error::{Error, ErrorKind, Result};
use crate::held_directory::{HeldDirectory, device_and_inode};

/// Leftovers of other machines are removed after this many seconds: no single put takes a day.
const LEFTOVER_SECONDS_MAX: i64 = 24 * 60 * 60;

/// A file in `tmp/` that is removed when dropped, unless it was published.
pub(super) struct TempObject {
    pub(super) file: File,
    pub(super) path: PathBuf,
    published: bool,
}

impl TempObject {
    /// A new, empty, locked file of mode 0600.
    pub(super) fn create(directory: &Path) -> Result<Self> {
        for _ in 0..8 {
            if let Some(temp) = Self::try_create(directory)? {
                return Ok(temp);
            }
        }
        Err(Error::new(
            ErrorKind::Busy,
            "temporary files are swept away as fast as they are made",
        ))
    }

    fn try_create(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(format!("{}-{}", boot(), random_hex()?));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|cause| Error::io(format!("create {}", path.display()), cause))?;
        let temp = Self {
            file,
            path,
            published: false,
        };
        // A filesystem without locks leaves every leftover to the rule of age.
        let taken = matches!(temp.file.try_lock(), Err(TryLockError::WouldBlock));
        let swept = temp.file.metadata().is_ok_and(|meta| meta.nlink() == 0);
        Ok((!taken && !swept).then_some(temp))
    }

    /// Writes and syncs the content; the mode becomes 0400, because no object is ever written to again.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> Result<()> {
        let wrong = |cause| Error::io(format!("write {} bytes", bytes.len()), cause);
        direct_io::write_all(&self.file, bytes).map_err(wrong)?;
        // Filesystems without modes may refuse; then 0600, or what the mount says, has to do.
        let _ = rustix::fs::fchmod(&self.file, rustix::fs::Mode::from_raw_mode(0o400));
        self.file.sync_all().map_err(wrong)
    }

    /// The name in `tmp/` is gone: there is nothing left to remove.
    pub(super) fn mark_published(mut self) {
        self.published = true;
    }

    /// When the store's clock says this file was written, seconds.
    fn modified_seconds(&self) -> Option<i64> {
        self.file.metadata().ok().map(|meta| meta.mtime())
    }
}

impl Drop for TempObject {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes what dead writers left. Failing to do so hurts nobody, so it reports nothing.
pub(super) fn remove_dead_temps(directory: &Path, now: &TempObject) {
    let Ok((directory, all)) =
        HeldDirectory::open_nofollow(directory).and_then(|held| held.list().map(|all| (held, all)))
    else {
        return;
    };
    for entry in all {
        if Some(&*entry.name) != now.path.file_name() {
            remove_dead_temp(&directory, &entry.name, now.modified_seconds());
        }
    }
}

/// Removes a file of a dead writer: a regular one, of this user or the directory's owner, whose name is as only we draw it.
fn remove_dead_temp(directory: &HeldDirectory, name: &OsStr, now_seconds: Option<i64>) -> Option<()> {
    let (of_boot, random) = name.to_str()?.split_once('-')?;
    if !is_boot(of_boot) || !is_hex(random, 32) {
        return None;
    }
    let (file, _) = directory.open_file(name).ok()?;
    let facts = file.metadata().ok()?;
    let owners = [
        rustix::process::geteuid().as_raw(),
        directory.stat_self().ok()?.st_uid,
    ];
    if !owners.contains(&facts.uid()) {
        return None;
    }
    let locked = file.try_lock();
    let age_seconds = now_seconds?.saturating_sub(facts.mtime());
    let dead = match locked {
        Err(TryLockError::WouldBlock) => false,
        Ok(()) if of_boot == boot() && of_boot != UNKNOWN_BOOT => true,
        Ok(()) | Err(TryLockError::Error(_)) => age_seconds > LEFTOVER_SECONDS_MAX,
    };
    let is_it = directory
        .stat(name)
        .is_ok_and(|stat| device_and_inode(&stat) == (facts.dev(), facts.ino()));
    (dead && is_it).then(|| directory.remove_file(name).ok())?
}

const UNKNOWN_BOOT: &str = "elsewhere";

/// Names this boot of this kernel: only here does a free flock mean a dead writer.
fn boot() -> &'static str {
    static BOOT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    BOOT.get_or_init(|| match fs::read("/proc/sys/kernel/random/boot_id") {
        Ok(id) => blake3::hash(&id).to_hex()[..16].to_owned(),
        Err(_) => UNKNOWN_BOOT.to_owned(),
    })
}

fn is_boot(text: &str) -> bool {
    text == UNKNOWN_BOOT || is_hex(text, 16)
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn random_hex() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|cause| Error::with_cause(ErrorKind::Io, "draw a random file name", cause.to_string()))?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    fn leftover(directory: &Path, boot: &str, age: Duration) -> PathBuf {
        let path = directory.join(format!("{boot}-{}", random_hex().unwrap()));
        let file = File::create(&path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        path
    }

    /// A user may have put a link in the directory's place, or given another directory its name.
    #[test]
    fn a_sweep_takes_nothing_that_is_not_called_as_we_call_files_and_follows_no_link() {
        let place = tempfile::tempdir().unwrap();
        let day = Duration::from_secs(90_000);
        let other = place.path().join("other");
        fs::create_dir(&other).unwrap();
        let behind_the_link = leftover(&other, boot(), day);
        let tmp = place.path().join("tmp");
        std::os::unix::fs::symlink(&other, &tmp).unwrap();
        let now = TempObject::create(place.path()).unwrap();
        remove_dead_temps(&tmp, &now);
        assert!(behind_the_link.exists());
        let named = ["letter-draft", "2024-01", "0123456789abcdef-draft"];
        for name in named {
            let file = File::create(other.join(name)).unwrap();
            file.set_modified(SystemTime::now() - day).unwrap();
        }
        let link = other.join(format!("{}-{}", boot(), random_hex().unwrap()));
        std::os::unix::fs::symlink("2024-01", &link).unwrap();
        remove_dead_temps(&other, &now);
        assert!(named.iter().all(|name| other.join(name).exists()) && link.is_symlink());
        assert!(!behind_the_link.exists());
    }

    #[test]
    fn a_sweep_takes_what_dead_writers_left_and_spares_the_living() {
        let directory = tempfile::tempdir().unwrap();
        let dead = leftover(directory.path(), boot(), Duration::ZERO);
        let elsewhere_old = leftover(directory.path(), "0123456789abcdef", Duration::from_secs(90_000));
        let elsewhere_new = leftover(directory.path(), "0123456789abcdef", Duration::from_secs(80_000));
        let foreign = directory.path().join("README");
        File::create(&foreign).unwrap();
        let living = TempObject::create(directory.path()).unwrap();
        let now = TempObject::create(directory.path()).unwrap();
        remove_dead_temps(directory.path(), &now);
        assert!(!dead.exists() && !elsewhere_old.exists());
        assert!(living.path.exists() && now.path.exists() && elsewhere_new.exists() && foreign.exists());
        let path = living.path.clone();
        drop(living);
        assert!(!path.exists(), "dropping a temporary file removes it");
    }
}
