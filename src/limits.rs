//! Lists all limits on sizes, counts and durations.
//!
//! Every size, count and duration limit, with its unit and its reason. Decoders compare with these before they
//! allocate; FORMAT.md quotes them.

/// Largest value we read or write, bytes: LevelDB itself stops working near 4 GiB, and restores hold one value
/// at a time in memory.
pub const VALUE_BYTES_MAX: usize = 1 << 30;

/// Largest user key, bytes: goes with [`VALUE_BYTES_MAX`]; keys sit in nodes, so far smaller ones are kinder.
pub const KEY_BYTES_MAX: usize = 64 << 20;

/// Highest sequence number LevelDB can store: eight of the 64 bits are the entry's kind.
pub const SEQUENCE_MAX: u64 = (1 << 56) - 1;

/// Largest plain blob, bytes: one blob is one allocation on the way back.
pub const BLOB_BYTES_MAX: usize = 128 << 20;

/// Default pack, bytes: large enough for object stores, small enough that three fit the memory bound.
pub const PACK_BYTES_DEFAULT: usize = 32 << 20;

/// Smallest and largest pack a repository may ask for, bytes.
pub const PACK_BYTES_RANGE: std::ops::RangeInclusive<usize> = (4 << 20)..=(128 << 20);

/// Largest stored object that is read whole and is not a pack, bytes (index segment, snapshot, keyring, ...).
pub const OBJECT_BYTES_MAX: u64 = 64 << 20;

/// Most entries of one index segment: about 6 MiB stored and 11 MiB once decoded, so that loading one stays
/// far under the memory bound; ten million blobs are 77 segments.
pub const SEGMENT_ENTRIES_MAX: usize = 1 << 17;

/// Most packs one index segment names: each of its blobs may lie in a pack of its own.
pub const SEGMENT_PACKS_MAX: usize = SEGMENT_ENTRIES_MAX;

/// Most segments that one index segment replaces: 2 MiB of clear header.
pub const SEGMENT_SUPERSEDES_MAX: usize = 1 << 16;

/// Index entries a process keeps in memory for blobs it added, before they go to a temporary file: 3 MiB.
pub const INDEX_ADDED_ENTRIES_MAX: usize = 25_000;

/// Values longer than this leave the leaf and become a chunk list of their own, bytes.
pub const INLINE_VALUE_BYTES_MAX: usize = 64 << 10;

/// Longest patch, bytes: one that is longer than the value it makes saves nothing, and only short values have any.
pub const PATCH_BYTES_MAX: usize = INLINE_VALUE_BYTES_MAX;

/// Smallest, average and largest chunk of a value or a file, bytes: the average is a compromise between what a
/// changed byte costs (one chunk) and what a chunk costs in ids and index (about 90 bytes).
pub const CHUNK_BYTES_MIN: usize = 16 << 10;
/// See [`CHUNK_BYTES_MIN`]. FastCDC counts it as the point where its mask changes.
pub const CHUNK_BYTES_AVERAGE: usize = 64 << 10;
/// See [`CHUNK_BYTES_MIN`].
pub const CHUNK_BYTES_MAX: usize = 256 << 10;

/// Chunk references that a leaf or a tree node holds itself; a longer list moves into list blobs.
pub const CHUNKS_INLINE_MAX: usize = 32;

/// Children of one list blob at most.
pub const LIST_CHILDREN_MAX: usize = 1024;

/// A run leaf ends at the first record that reaches this many bytes, whatever the cutting rule says.
pub const LEAF_BYTES_MAX: usize = 256 << 10;

/// Children of one inner node of a run at most, and the bytes after which it ends anyway (long keys).
pub const NODE_CHILDREN_MAX: usize = 1024;
/// See [`NODE_CHILDREN_MAX`]; counted over keys, ids and counts before prefixes are shared.
pub const NODE_BYTES_MAX: usize = 256 << 10;

/// Levels of inner nodes above the leaves at most: every node has two children or more, so 40 levels are a
/// million million leaves; bounds the walk's recursion.
pub const TREE_LEVELS_MAX: u8 = 40;

/// Longest key of a record in a run, bytes: first keys stand again in every level of inner nodes and in the
/// snapshot. A database with a longer one is kept in physical mode.
pub const RUN_KEY_BYTES_MAX: usize = 1 << 20;

/// Records of one leaf at most: each takes eight bytes of [`LEAF_BYTES_MAX`] or more.
pub const LEAF_RECORDS_MAX: usize = LEAF_BYTES_MAX / 8 + 1;

/// Sources of one snapshot, tags of one snapshot, runs of one stack, and damage entries of one database at most.
pub const SNAPSHOT_SOURCES_MAX: usize = 10_000;
/// See [`SNAPSHOT_SOURCES_MAX`].
pub const SNAPSHOT_TAGS_MAX: usize = 256;
/// See [`SNAPSHOT_SOURCES_MAX`].
pub const RUNS_MAX: usize = 256;
/// See [`SNAPSHOT_SOURCES_MAX`]; further damage is counted, not listed.
pub const DAMAGE_MAX: usize = 10_000;
/// See [`SNAPSHOT_SOURCES_MAX`]; further missing paths are counted, not listed.
pub const MISSING_MAX: usize = 10_000;
/// Bytes of all missing paths and their reasons; further ones are counted, not listed.
pub const MISSING_BYTES_MAX: usize = 1 << 20;

/// Longest name, tag, host, program or comparator text in a snapshot, bytes.
pub const TEXT_BYTES_MAX: usize = 4 << 10;

/// Longest tag in a note, bytes: notes are written by hand, and each is read by every listing.
pub const NOTE_TAG_BYTES_MAX: usize = 256;
/// Longest reason or description in a note, bytes: a paragraph for people.
pub const NOTE_REASON_BYTES_MAX: usize = 4 << 10;

/// Snapshots that one object may forget at most: 430 KiB; a policy that lets go of more writes several.
pub const FORGOTTEN_SNAPSHOTS_MAX: usize = 10_000;

/// Longest path or symbolic link target, bytes; longest file name in a tree.
pub const PATH_BYTES_MAX: usize = 64 << 10;
/// See [`PATH_BYTES_MAX`].
pub const NAME_BYTES_MAX: usize = 4 << 10;

/// Largest tree blob, bytes: a part ends with the entry that passes [`LEAF_BYTES_MAX`], and one entry has 2.5 MiB at most.
/// Decoded, it takes forty times as much at worst.
pub const TREE_BYTES_MAX: usize = 4 << 20;

/// Directories in directories at most: as many as a path of Linux (4,096 bytes) can lead through.
pub const TREE_DEPTH_MAX: usize = 2048;

/// Longest file that is restored, bytes: four times what ext4 holds. A list of chunks may say any length, holes make it cheap to
/// say, and it takes as long to go through.
pub const FILE_BYTES_MAX: u64 = 1 << 46;

/// Extended attributes of one file and their bytes together at most; holes of one sparse file.
pub const XATTRS_MAX: usize = 1024;
/// See [`XATTRS_MAX`].
pub const XATTR_BYTES_MAX: usize = 1 << 20;
/// See [`XATTRS_MAX`]; a file with more is stored as if it had none.
pub const HOLES_MAX: usize = 64 << 10;

/// Longest key filter of a run, bytes.
pub const FILTER_BYTES_MAX: usize = 1 << 20;
/// Largest pack that is read, bytes: the largest that may be asked for, overshot by one largest blob, its
/// directory and change.
pub const PACK_STORED_BYTES_MAX: u64 = 288 << 20;

/// Most blobs in one pack: bounds its directory (45 bytes each) to what three packs in memory leave room for.
pub const PACK_BLOBS_MAX: usize = 1 << 20;

/// Most memory that a slot may ask of argon2, KiB (1 GiB), compared before it is run: a planted slot must not be
/// able to exhaust the machine that tries a password on it.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 1 << 20;

/// Most passes that a slot may ask of argon2: with the memory bound, a minute or two at worst.
pub const ARGON2_PASSES_MAX: u32 = 64;

/// Most lanes that a slot may ask of argon2.
pub const ARGON2_LANES_MAX: u32 = 16;

/// Largest slot, config or keyring that is read, bytes.
pub const KEY_OBJECT_BYTES_MAX: u64 = 1 << 20;

/// Most epochs a keyring holds: one rotation a day for eleven years.
pub const KEYRING_EPOCHS_MAX: usize = 4096;

/// Most dedup domains a keyring holds: one per write-only host.
pub const KEYRING_DOMAINS_MAX: usize = 1024;

/// Most slots a keyring is sealed to.
pub const KEYRING_SLOTS_MAX: usize = 256;

/// Longest label of a slot or a domain, bytes of UTF-8.
pub const LABEL_BYTES_MAX: usize = 256;

/// Most packs in one mark: 2.6 MB; of the largest packs 18 TB.
pub const MARK_PACKS_MAX: usize = 1 << 16;

/// Most data shards of one parity object: their hashes, twice, are 512 KiB; the largest pack has 4,400.
pub const PARITY_DATA_SHARDS_MAX: usize = 1 << 14;

/// Longest shard of a parity object, bytes.
pub const PARITY_SHARD_BYTES_MAX: usize = 4 << 20;

/// Largest parity object that is read, bytes: all of the largest pack once more, one shard and the hashes.
pub const PARITY_BYTES_MAX: u64 = PACK_STORED_BYTES_MAX + (8 << 20);
/// Most blobs in one note on bad ones: 3.3 MB.
pub const BAD_BLOBS_MAX: usize = 100_000;

/// Most objects in one audit: 4.2 MB; of packs of the default size 3 TB.
pub const AUDIT_OBJECTS_MAX: usize = 100_000;

/// What an object of a write-only host's domain may open to, bytes: so much whatever it takes where it is stored, and so
/// many times that. Names and counts compress ten times at most beside the ids and digests among them, which do not.
pub const HOST_PLAIN_BYTES_FREE: u64 = 256 << 10;
/// See [`HOST_PLAIN_BYTES_FREE`]; of a snapshot.
pub const HOST_SNAPSHOT_RATIO_MAX: u64 = 64;
/// See [`HOST_PLAIN_BYTES_FREE`]; of an index segment, most of which are ids.
pub const HOST_SEGMENT_RATIO_MAX: u64 = 16;

/// Bytes that one snapshot of a write-only host's domain may take in memory: so many, or [`HOST_SNAPSHOT_RATIO_MAX`] times
/// what is stored, and never more than [`HOST_SNAPSHOT_MEMORY_MAX`].
pub const HOST_SNAPSHOT_MEMORY_FREE: u64 = 4 << 20;
/// See [`HOST_SNAPSHOT_MEMORY_FREE`]: the largest plain body, and as much again.
pub const HOST_SNAPSHOT_MEMORY_MAX: u64 = 128 << 20;

/// Bytes of memory that all snapshots of one write-only host's domain may take together: so many, and
/// [`HOST_CATALOG_RATIO`] times what is stored of them.
pub const HOST_CATALOG_MEMORY_FREE: u64 = 32 << 20;
/// See [`HOST_CATALOG_MEMORY_FREE`]: no snapshot that takes less is ever left out.
pub const HOST_CATALOG_RATIO: u64 = 16;

/// Bytes of keys and plain blocks that a scan of a database may make of its tables: so many, and [`TABLE_WORK_RATIO`] for
/// each byte that is stored. Keys of a kilobyte that share all but three bytes, compressed four times, come close.
pub const TABLE_WORK_FREE: u64 = 256 << 20;
/// See [`TABLE_WORK_FREE`].
pub const TABLE_WORK_RATIO: u64 = 128;
