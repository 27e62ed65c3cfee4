//! Builds a block from sorted entries.
//!
//! ```text
//! entry: shared | unshared | value length (varints) | key after the shared prefix | value
//! block: entry ... | restart offset (le32) ... | restart count (le32)
//! ```
//!
//! The block grows at the end of the table's own buffer, so a value is copied once on its way into a table
//! that is not compressed.

use crate::codec::put_varint;

/// Sequence number and kind, as they stand behind each user key: le64 of `sequence << 8 | kind`.
pub(crate) type Tag = [u8; 8];

/// Room for the three lengths in front of an entry.
const ENTRY_HEAD_BYTES_MAX: usize = 30;

/// A block being written at the end of a buffer.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    restart_interval: u32,
    start: usize,
    restarts: Vec<u32>,
    since_restart: u32,
    /// User key of the entry added last; outlives its block, for the separator behind it.
    last_key: Vec<u8>,
}

impl BlockBuilder {
    pub(crate) fn new(restart_interval: u32) -> Self {
        Self {
            restart_interval,
            start: 0,
            restarts: Vec::new(),
            since_restart: 0,
            last_key: Vec::new(),
        }
    }

    /// Begins a block at the end of a buffer that holds `start` bytes.
    pub(crate) fn begin(&mut self, start: usize) {
        self.start = start;
        self.restarts.clear();
    }

    /// Where the block begins in its buffer.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// The user key added last.
    pub(crate) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.restarts.is_empty()
    }

    /// Bytes of the block if it were finished now.
    #[inline]
    pub(crate) fn len(&self, out: &[u8]) -> usize {
        out.len() - self.start + 4 * self.restarts.len() + 4
    }

    /// Appends an entry; keys come in the database's order.
    #[inline]
    pub(crate) fn add(&mut self, out: &mut Vec<u8>, key: &[u8], tag: &Tag, value: &[u8]) {
        let shared = self.shared_prefix(out.len(), key);
        let unshared = &key[shared..];
        let unshared_len = unshared.len() + tag.len();
        out.reserve(ENTRY_HEAD_BYTES_MAX + unshared_len + value.len());
        if (shared | unshared_len | value.len()) < 0x80 {
            out.extend_from_slice(&[shared as u8, unshared_len as u8, value.len() as u8]);
        } else {
            put_varint(out, shared as u64);
            put_varint(out, unshared_len as u64);
            put_varint(out, value.len() as u64);
        }
        out.extend_from_slice(unshared);
        out.extend_from_slice(tag);
        out.extend_from_slice(value);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(unshared);
    }

    /// Appends the restart offsets: the block is whole.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let restarts: &[u32] = if self.restarts.is_empty() {
            &[0]
        } else {
            &self.restarts
        };
        out.reserve(4 * restarts.len() + 4);
        for offset in restarts.iter().chain([&(restarts.len() as u32)]) {
            out.extend_from_slice(&offset.to_le_bytes());
        }
    }

    #[inline]
    fn shared_prefix(&mut self, out_len: usize, key: &[u8]) -> usize {
        if self.restarts.is_empty() || self.since_restart == self.restart_interval {
            self.restarts.push((out_len - self.start) as u32);
            self.since_restart = 1;
            return 0;
        }
        self.since_restart += 1;
        common_prefix(&self.last_key, key)
    }
}

/// Leading bytes that two keys have in common.
#[inline]
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let (a_words, _) = a[..len].as_chunks::<8>();
    let (b_words, _) = b[..len].as_chunks::<8>();
    for (index, (a_word, b_word)) in a_words.iter().zip(b_words).enumerate() {
        let differ = u64::from_le_bytes(*a_word) ^ u64::from_le_bytes(*b_word);
        if differ != 0 {
            return index * 8 + differ.trailing_zeros() as usize / 8;
        }
    }
    let mut shared = a_words.len() * 8;
    while shared < len && a[shared] == b[shared] {
        shared += 1;
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_laid_out_as_leveldb_documents_it() {
        let mut out = b"before".to_vec();
        let mut block = BlockBuilder::new(2);
        block.begin(out.len());
        for (key, value) in [("apple", "1"), ("apply", "22"), ("apt", "")] {
            block.add(&mut out, key.as_bytes(), b"\x01seq\0\0\0\0", value.as_bytes());
        }
        let len = block.len(&out);
        block.finish(&mut out);
        assert_eq!(len, out.len() - 6);
        let mut expected = b"before".to_vec();
        expected.extend_from_slice(b"\x00\x0d\x01apple\x01seq\0\0\0\x001");
        expected.extend_from_slice(b"\x04\x09\x02y\x01seq\0\0\0\x0022");
        expected.extend_from_slice(b"\x00\x0b\x00apt\x01seq\0\0\0\0");
        expected.extend_from_slice(&[0, 0, 0, 0, 31, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(out, expected);
    }

    #[test]
    fn prefixes_are_counted_across_words() {
        for len in 0..40 {
            let a = vec![7u8; len];
            for differ in 0..len {
                let mut b = a.clone();
                b[differ] = 8;
                assert_eq!(common_prefix(&a, &b), differ);
            }
            assert_eq!(common_prefix(&a, &[7; 20]), len.min(20));
        }
    }
}
