//! Operations from a seed.

use crate::support::oracle::{Change, Operation};

/// The owner's write buffer, in bytes.
pub const WRITE_BUFFER: u64 = 64 << 10;

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn key(&mut self) -> Vec<u8> {
        match self.below(40) {
            0 => Vec::new(),
            1 => vec![0xff; 1 + self.below(3) as usize],
            2 => vec![0; 1 + self.below(3) as usize],
            3 => [vec![b'k'; 300], vec![self.below(4) as u8]].concat(),
            _ => format!("key/{:04}", self.below(600)).into_bytes(),
        }
    }

    pub fn value(&mut self) -> Vec<u8> {
        let len = match self.below(200) {
            0 => 60_000 + self.below(80_000),
            1..10 => 0,
            10..60 => self.below(1500),
            _ => self.below(60),
        };
        let mut value = vec![0; len as usize];
        // Half of all values have much in common, so that increments tell them by patches.
        let alike = self.below(2) == 0;
        let seed = if alike { self.below(2) } else { self.next() };
        blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .finalize_xof()
            .fill(&mut value);
        if alike && len > 8 {
            let at = self.below(len - 8) as usize;
            value[at..at + 8].copy_from_slice(&self.next().to_le_bytes());
        }
        value
    }

    pub fn change(&mut self) -> Change {
        let key = self.key();
        (key, (self.below(5) > 0).then(|| self.value()))
    }

    fn operation(&mut self) -> Operation {
        match self.below(180) {
            0..36 => Operation::Batch((0..self.below(20)).map(|_| self.change()).collect()),
            36..42 => Operation::Reopen,
            42 => self.large_batch(),
            43 => self.transaction(),
            _ => Operation::One(self.change()),
        }
    }

    /// A batch of about the write buffer's size, or some such: goleveldb writes one that is larger straight to tables,
    /// past the log.
    pub fn large_batch(&mut self) -> Operation {
        let bytes = WRITE_BUFFER * (1 + 2 * (self.below(4) / 3)) - 2048 + self.below(4096);
        let (mut changes, mut taken) = (Vec::new(), 0);
        while taken < bytes {
            let (key, value) = self.change();
            let value = value.map(|mut value| {
                value.resize((bytes - taken).min(4000) as usize, 7);
                value
            });
            taken += (key.len() + value.as_ref().map_or(0, Vec::len) + 8) as u64;
            changes.push((key, value));
        }
        Operation::Batch(changes)
    }

    /// What goleveldb writes to tables, past the log.
    pub fn transaction(&mut self) -> Operation {
        Operation::Transaction((0..1 + self.below(20)).map(|_| self.change()).collect())
    }

    pub fn operations(&mut self, max: u64) -> Vec<Operation> {
        (0..self.below(max)).map(|_| self.operation()).collect()
    }
}
