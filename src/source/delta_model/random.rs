//! Draws numbers, keys and values from a seed, for the model.

use crate::leveldb::comparator::Comparator;

/// splitmix64.
pub struct ModelRandom(pub u64);

/// A record of database 1, object store 1; then a number, eight bytes.
const IDB_NUMBER: [u8; 5] = [0, 1, 1, 1, 3];

impl ModelRandom {
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

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// From a small space, so that writes meet; of every shape that has been trouble somewhere.
    pub fn key(&mut self, order: &Comparator) -> Vec<u8> {
        if *order == Comparator::Idb {
            return self.idb_key();
        }
        match self.below(20) {
            0 => Vec::new(),
            1..4 => {
                let len = self.below(4);
                (0..len).map(|_| [0, 1, 0xff][self.below(3) as usize]).collect()
            }
            4 => [vec![b'k'; 200], vec![self.below(4) as u8]].concat(),
            _ => format!("key/{:03}", self.below(120)).into_bytes(),
        }
    }

    /// Numbers, the two zeros often; some strings.
    fn idb_key(&mut self) -> Vec<u8> {
        let number = match self.below(16) {
            0..3 => {
                let units = self.below(3) as u8;
                let string = (0..2 * units).map(|_| self.below(2) as u8);
                return [0, 1, 1, 1, 1, units].into_iter().chain(string).collect();
            }
            3 => 0.0,
            4 => -0.0,
            _ => self.below(60) as f64 - 30.0,
        };
        [&IDB_NUMBER[..], &number.to_le_bytes()].concat()
    }

    /// Mostly small; some that fill blocks of their own, beyond every bound of a small budget.
    pub fn value(&mut self) -> Vec<u8> {
        // A few that come again: an overwrite need not be a change.
        if self.chance(20) {
            return vec![b'v'; self.below(3) as usize];
        }
        let len = match self.below(400) {
            0 => 66_000 + self.below(60_000),
            1..20 => self.below(3000),
            20..80 => 0,
            _ => self.below(24),
        };
        let mut value = vec![0; len as usize];
        let seed = self.next().to_le_bytes();
        blake3::Hasher::new()
            .update(&seed)
            .finalize_xof()
            .fill(&mut value);
        value
    }
}

/// The bytes that stand for all keys equal to this one: idb_cmp1 does not tell -0 from 0.
pub fn canonical(order: &Comparator, key: &[u8]) -> Vec<u8> {
    let negative_zero = [&IDB_NUMBER[..], &(-0.0f64).to_le_bytes()].concat();
    if *order == Comparator::Idb && key == negative_zero {
        [&IDB_NUMBER[..], &0.0f64.to_le_bytes()].concat()
    } else {
        key.to_vec()
    }
}
