//! Secret bytes: on the heap, wiped on drop, without `Debug`.
//!
//! Secrets are types: on the heap (so that moving one leaves no copy behind), wiped on drop, without `Debug`,
//! without `Serialize`. Reading the bytes is one visible word, `expose`.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Entropy;
use crate::error::Result;

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Zeroize, ZeroizeOnDrop)]
        pub struct $name(Box<[u8; 32]>);

        impl $name {
            /// Takes over `bytes` and wipes where they came from.
            pub fn take(bytes: &mut [u8; 32]) -> Self {
                let secret = Self(Box::new(*bytes));
                bytes.zeroize();
                secret
            }

            /// Copies `bytes`, which stay the caller's to wipe.
            pub fn from_slice(bytes: &[u8; 32]) -> Self {
                let mut secret = Self(Box::new([0; 32]));
                secret.0.copy_from_slice(bytes);
                secret
            }

            /// A new random one.
            pub fn random(entropy: &mut dyn Entropy) -> Result<Self> {
                let mut secret = Self(Box::new([0; 32]));
                entropy.fill(&mut secret.0[..])?;
                Ok(secret)
            }

            /// The bytes. Every use of this word is a place to look at in review.
            pub fn expose(&self) -> &[u8; 32] {
                &self.0
            }
        }
    };
}

secret!(
    /// 32 secret bytes of no further kind: object keys, wrap keys.
    Secret32
);
secret!(
    /// The key of an epoch: every object sealed by scheme 0 has its own key derived from one of these.
    EpochKey
);
secret!(
    /// Keys the local cache and, in write-only domains, the index segments.
    IndexKey
);
secret!(
    /// Authenticates and encrypts cache files; derived from a domain's [`IndexKey`].
    CacheKey
);
secret!(
    /// Turns the gear table of a dedup domain: where its chunks are cut.
    ChunkerSecret
);
secret!(
    /// Keys the hash of each record that a set digest sums.
    SetDigestKey
);
secret!(
    /// Shared by the owner and a write-only host, mixed into public-key packs: without it nobody can write there.
    PreSharedKey
);
