//! Describes the options a database's files were written with.
//!
//! How a database's files are laid out: what its owner chose and LevelDB itself records nowhere in one place.
//!
//! Read from the tables by `source`, kept in the snapshot, and handed to the table writer, so that a restored
//! database looks to its owner as the old one did. Every field is a best knowledge: an empty database gives
//! [`DatabaseLayout::default`]'s values for what could not be seen.

use serde::{Deserialize, Serialize};

/// How a block is compressed. Id 2 on disk is zstd (C++ LevelDB after 1.23) or zlib (old Mojang): they are
/// two codecs here, told apart by content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BlockCodec {
    /// Id 0: stored as is.
    None,
    /// Id 1: snappy, raw format. LevelDB's default.
    #[default]
    Snappy,
    /// Id 2 beginning with zstd's magic.
    Zstd,
    /// Id 2 otherwise: zlib with its header (Mojang).
    Zlib,
    /// Id 4: deflate without a header (Mojang).
    Deflate,
}

impl BlockCodec {
    /// The byte that stands behind a block written with it.
    pub fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Snappy => 1,
            Self::Zstd | Self::Zlib => 2,
            Self::Deflate => 4,
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Snappy => "snappy",
            Self::Zstd => "zstd",
            Self::Zlib => "zlib",
            Self::Deflate => "deflate",
        }
    }
}

/// Which program family wrote the files, as far as they tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dialect {
    /// Google's C++ LevelDB and what is built on it.
    Cpp,
    /// goleveldb.
    Go,
    /// Mojang's fork (Minecraft Bedrock): zlib and raw deflate blocks.
    Mojang,
    /// Nothing told.
    #[default]
    Unknown,
}

/// What table files are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TableExtension {
    /// `000123.ldb`, since LevelDB 1.14.
    #[default]
    Ldb,
    /// `000123.sst`, before.
    Sst,
}

impl TableExtension {
    /// Without the dot.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ldb => "ldb",
            Self::Sst => "sst",
        }
    }
}

/// The filter block of the tables.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FilterPolicy {
    /// The policy's name as the metaindex has it after `filter.`, e.g. `leveldb.BuiltinBloomFilter2`.
    pub name: String,
    /// Filter bits per key, rounded; inferred from sizes, so 10 may be seen where 10 was asked for with 64-bit
    /// minima on tiny tables. 1 to 255.
    pub bits_per_key: u8,
}

/// The layout of one database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseLayout {
    /// The comparator's name, from the MANIFEST; empty when it names none.
    pub comparator: String,
    /// Codec of most data blocks that were compressed at all.
    pub codec: BlockCodec,
    /// Plain bytes at which the writer closed a data block.
    pub block_size: u32,
    /// Keys between two full keys in a data block.
    pub restart_interval: u32,
    /// The filter of the tables; `None` when they have none.
    pub filter: Option<FilterPolicy>,
    /// Typical full table, bytes.
    pub table_bytes: u64,
    /// What tables are called.
    pub table_extension: TableExtension,
    /// Who wrote it.
    pub dialect: Dialect,
    /// Sequence number of the newest entry, MANIFEST and logs taken together.
    pub last_sequence: u64,
    /// The next file number by the MANIFEST.
    pub next_file: u64,
}

impl Default for DatabaseLayout {
    /// C++ LevelDB's own defaults.
    fn default() -> Self {
        Self {
            comparator: super::comparator::BYTEWISE_NAME.to_owned(),
            codec: BlockCodec::Snappy,
            block_size: 4096,
            restart_interval: 16,
            filter: None,
            table_bytes: 2 << 20,
            table_extension: TableExtension::Ldb,
            dialect: Dialect::Unknown,
            last_sequence: 0,
            next_file: 2,
        }
    }
}
