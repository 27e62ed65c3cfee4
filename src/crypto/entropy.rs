//! Provides random bytes: the system's, or seeded ones for tests.
//!
//! Where random bytes come from: handed in, so that stages stay pure and tests repeat.

use crate::error::{Error, ErrorKind, Result};

/// A source of unpredictable bytes.
pub trait Entropy {
    /// Fills all of `out`, or fails and must not be relied on.
    fn fill(&mut self, out: &mut [u8]) -> Result<()>;

    /// 32 of them: a salt, an id.
    fn salt(&mut self) -> Result<[u8; 32]> {
        let mut salt = [0; 32];
        self.fill(&mut salt)?;
        Ok(salt)
    }
}

/// The operating system's.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        #[cfg(any(test, feature = "test-util"))]
        if let Some(seeded) = &mut *process_seed() {
            return seeded.fill(out);
        }
        getrandom::fill(out)
            .map_err(|cause| Error::new(ErrorKind::Io, format!("the system gave no random bytes: {cause}")))
    }
}

/// The same bytes for the same seed: for tests and golden files, never for anything that is kept.
#[cfg(any(test, feature = "test-util"))]
pub struct SeededEntropy(blake3::OutputReader);

#[cfg(any(test, feature = "test-util"))]
impl SeededEntropy {
    /// Starts the stream of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("levault test entropy");
        hasher.update(&seed.to_le_bytes());
        Self(hasher.finalize_xof())
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Entropy for SeededEntropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        self.0.fill(out);
        Ok(())
    }
}

#[cfg(any(test, feature = "test-util"))]
static PROCESS: std::sync::Mutex<Option<SeededEntropy>> = std::sync::Mutex::new(None);

#[cfg(any(test, feature = "test-util"))]
fn process_seed() -> std::sync::MutexGuard<'static, Option<SeededEntropy>> {
    PROCESS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// From now on [`OsEntropy`] gives this process the stream of `seed`: for simulations that replay, in a process of their
/// own. No build that keeps data has this feature.
#[cfg(any(test, feature = "test-util"))]
pub fn seed_process(seed: u64) {
    *process_seed() = Some(SeededEntropy::new(seed));
}
