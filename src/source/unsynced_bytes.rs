//! Counts the bytes of a file that are not on disk yet.
#![allow(
    unsafe_code,
    reason = "cachestat(2) has no safe wrapper yet; it reads two plain structures and fills one"
)]

use std::fs::File;

/// Bytes of the file's first `len` that are in dirty pages or on their way to the disk; whole pages count. `None`
/// where the system cannot tell: other than Linux, before 6.5, or a file of another user.
#[cfg(target_os = "linux")]
pub(super) fn unsynced_bytes(file: &File, len: u64) -> Option<u64> {
    use std::os::fd::AsRawFd;

    #[repr(C)]
    struct PageRange {
        offset: u64,
        len: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct PageStates {
        cached: u64,
        dirty: u64,
        writeback: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    if len == 0 {
        return Some(0);
    }
    let (range, mut pages) = (PageRange { offset: 0, len }, PageStates::default());
    let no_flags: libc::c_uint = 0;
    // SAFETY: the descriptor is open while `file` is borrowed; both structures are laid out as the call wants
    // them and outlive it; it writes into the second only.
    let failed = unsafe {
        libc::syscall(
            SYS_CACHESTAT,
            file.as_raw_fd(),
            &raw const range,
            &raw mut pages,
            no_flags,
        )
    };
    let bytes = (pages.dirty + pages.writeback).saturating_mul(rustix::param::page_size() as u64);
    (failed == 0).then_some(bytes.min(len))
}

/// The same number on every architecture.
#[cfg(target_os = "linux")]
const SYS_CACHESTAT: libc::c_long = 451;

#[cfg(not(target_os = "linux"))]
pub(super) fn unsynced_bytes(_file: &File, _len: u64) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_was_synced_is_not_counted() {
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        assert_eq!(unsynced_bytes(&file, 0), Some(0));
        file.write_all(&[7; 100_000]).unwrap();
        let Some(before) = unsynced_bytes(&file, 100_000) else {
            return;
        };
        assert!((1..=100_000).contains(&before), "{before}");
        file.sync_all().unwrap();
        assert_eq!(unsynced_bytes(&file, 100_000), Some(0));
    }
}
