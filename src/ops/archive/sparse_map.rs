//! Maps the content ranges of sparse files in an archive.

/// Everything in a tar begins at a multiple of so many bytes.
pub const TAR_BLOCK_BYTES: usize = 512;

/// Stretches of content: offset and length, in order, apart. The last may be empty: it says where the file ends.
pub struct ContentRanges {
    file_bytes: u64,
    ranges: Vec<(u64, u64)>,
}

impl ContentRanges {
    /// Between the holes of a file; `None` if it has none.
    pub fn between_holes(file_bytes: u64, holes: &[(u64, u64)]) -> Option<Self> {
        let (mut stretches, mut at) = (Vec::new(), 0);
        for (offset, len) in holes.iter().filter(|(offset, _)| *offset < file_bytes) {
            if *offset > at {
                stretches.push((at, offset - at));
            }
            at = offset.saturating_add(*len).min(file_bytes);
        }
        let is_sparse = at > 0;
        stretches.push((at, file_bytes - at));
        is_sparse.then_some(Self {
            file_bytes,
            ranges: stretches,
        })
    }

    /// Of a file without holes.
    pub fn whole(file_bytes: u64) -> Self {
        let ranges = vec![(0, file_bytes)];
        Self { file_bytes, ranges }
    }

    /// Bytes of the file, holes included.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Bytes of content.
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|(_, len)| len).sum()
    }

    /// Bytes of map and content.
    pub fn stored_bytes(&self) -> u64 {
        self.encode_map().len() as u64 + self.bytes()
    }

    /// The count of stretches, then offset and length of each, in decimal, a line each; filled up to a block.
    pub fn encode_map(&self) -> Vec<u8> {
        let mut map = format!("{}\n", self.ranges.len());
        for (offset, len) in &self.ranges {
            map.push_str(&format!("{offset}\n{len}\n"));
        }
        let mut map = map.into_bytes();
        map.resize(map.len().next_multiple_of(TAR_BLOCK_BYTES), 0);
        map
    }

    /// The parts of a piece at `at` that are content.
    pub fn content_of<'p>(&self, at: u64, piece: &'p [u8]) -> Vec<&'p [u8]> {
        let end = at + piece.len() as u64;
        let first = self.ranges.partition_point(|(offset, len)| offset + len <= at);
        let here = self.ranges[first..]
            .iter()
            .take_while(|(offset, _)| *offset < end);
        here.map(|(offset, len)| {
            let (from, to) = (at.max(*offset), end.min(offset + len));
            &piece[(from - at) as usize..(to - at) as usize]
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretches(file_bytes: u64, holes: &[(u64, u64)]) -> Option<Vec<(u64, u64)>> {
        ContentRanges::between_holes(file_bytes, holes).map(|segments| segments.ranges)
    }

    #[test]
    fn content_is_what_lies_between_holes() {
        assert_eq!(stretches(10, &[]), None);
        assert_eq!(stretches(10, &[(10, 5)]), None, "behind the end");
        assert_eq!(stretches(10, &[(0, 10)]), Some(vec![(10, 0)]));
        assert_eq!(stretches(10, &[(2, 3)]), Some(vec![(0, 2), (5, 5)]));
        assert_eq!(
            stretches(10, &[(0, 2), (4, u64::MAX - 4)]),
            Some(vec![(2, 2), (10, 0)])
        );
    }

    #[test]
    fn pieces_give_their_content_however_they_are_cut() {
        let file: Vec<u8> = (0..100).collect();
        let segments = ContentRanges::between_holes(100, &[(0, 7), (20, 30), (60, 1), (90, 10)]).unwrap();
        let content: Vec<u8> = (7..20).chain(50..60).chain(61..90).collect();
        assert_eq!(segments.bytes(), content.len() as u64);
        for step in [1, 3, 10, 100] {
            let pieces = file.chunks(step).enumerate();
            let read = pieces.flat_map(|(n, piece)| segments.content_of((n * step) as u64, piece).concat());
            assert_eq!(read.collect::<Vec<u8>>(), content, "{step}");
        }
    }

    #[test]
    fn the_map_fills_whole_blocks() {
        let segments = ContentRanges::between_holes(10, &[(2, 3)]).unwrap();
        let map = segments.encode_map();
        assert_eq!(map.len(), TAR_BLOCK_BYTES);
        assert!(map.starts_with(b"2\n0\n2\n5\n5\n\0"));
        assert_eq!(segments.stored_bytes(), 512 + 7);
    }
}
