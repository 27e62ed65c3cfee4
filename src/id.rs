//! Identifier types, one for each kind of name.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Bytes in one.
            pub const LEN: usize = $len;

            /// Lower-case hexadecimal, whole.
            pub fn to_hex(&self) -> String {
                data_encoding::HEXLOWER.encode(&self.0)
            }

            /// The first eight hexadecimal digits: enough for people, never for programs.
            pub fn short(&self) -> String {
                data_encoding::HEXLOWER.encode(&self.0[..4])
            }

            /// Reads exactly what [`Self::to_hex`] writes; `None` for anything else.
            pub fn from_hex(text: &str) -> Option<Self> {
                let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }
    };
}

id!(/** A repository: random, made at `init`. */ RepositoryId, 32);
id!(/** A blob: keyed BLAKE3 of its plain bytes, with a key per kind and dedup domain. */ BlobId, 32);
id!(/** A stored object: BLAKE3 of its stored bytes, or random where FORMAT.md says so. */ ObjectId, 32);
id!(/** One unbroken history of one database. */ TimelineId, 16);
id!(/** Sum modulo 2^256 of the keyed BLAKE3 of each record: equal for equal sets. */ SetDigest, 32);
id!(/** BLAKE3 of the canonical record stream: equal for equal databases. */ StreamDigest, 32);

/// A dedup domain: hosts in one share ids and trust one another; 0 is the owner's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct DomainId(pub u32);

/// A generation of the epoch key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct EpochId(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_out_and_comes_back_and_nothing_else_does() {
        let id = BlobId([0xab; 32]);
        assert_eq!(BlobId::from_hex(&id.to_hex()), Some(id));
        assert_eq!(id.short(), "abababab");
        for wrong in ["", "ab", "AB", &"ab".repeat(33), &"zz".repeat(32)] {
            assert_eq!(BlobId::from_hex(wrong), None, "{wrong}");
        }
    }
}
