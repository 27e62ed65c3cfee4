//! FORMAT.md section 11 in the plainest arithmetic: the field, the coefficients, and a decoder by elimination. It shares
//! nothing with the crate that computes the code, so that the two vouch for one another; whoever has the document and
//! no crate can heal by this.

use super::*;
use crate::document::{assert_example, example};
use crate::envelope::{ObjectClass, object_id, parse_clear};

const DOCUMENT: &str = include_str!("../../docs/format/11-annotations.md");

/// x^16 + x^5 + x^3 + x^2 + 1.
const POLYNOMIAL: u32 = 0x1_002d;

/// The sixteen elements that the bits of a symbol stand for.
const BASIS: [u16; 16] = [
    0x0001, 0xacca, 0x3c0e, 0x163e, 0xc582, 0xed2e, 0x914c, 0x4012, 0x6c98, 0x10d8, 0x6a72, 0xb900, 0xfdb8,
    0xfb34, 0xff38, 0x991e,
];

/// Symbols to elements and back, and the product of symbols.
struct Field {
    element: Vec<u16>,
    symbol: Vec<u16>,
}

impl Field {
    fn new() -> Self {
        let of_bits = |symbol: u16| {
            let bits = (0..16).filter(|bit| (symbol >> bit) & 1 == 1);
            bits.fold(0, |sum, bit| sum ^ BASIS[bit])
        };
        let element: Vec<u16> = (0..=u16::MAX).map(of_bits).collect();
        let mut symbol = vec![0; 1 << 16];
        for (from, to) in element.iter().enumerate() {
            symbol[usize::from(*to)] = from as u16;
        }
        Self { element, symbol }
    }

    fn product(&self, a: u16, b: u16) -> u16 {
        let (mut left, right) = (
            u32::from(self.element[usize::from(a)]),
            self.element[usize::from(b)],
        );
        let mut sum = 0;
        for bit in 0..16 {
            sum ^= left * u32::from((right >> bit) & 1);
            left = (left << 1) ^ ((left >> 15) * POLYNOMIAL);
        }
        self.symbol[sum as usize]
    }

    fn inverse(&self, of: u16) -> u16 {
        // 2^16 - 2 is 2 + 4 + ... + 2^15.
        let (mut square, mut product) = (of, 1);
        for _ in 1..16 {
            square = self.product(square, square);
            product = self.product(product, square);
        }
        product
    }

    /// c(i, j): how much of data shard j is in parity shard i of m.
    fn coefficient(&self, parity: usize, data: usize, of: usize) -> u16 {
        let width = of.next_power_of_two();
        let others = (0..width).filter(|v| *v != parity);
        others.fold(1, |product, v| self.product(product, ((width + data) ^ v) as u16))
    }
}

/// Symbol n of each 64 bytes: its low byte is byte n, its high byte is byte 32 + n.
fn symbols(shard: &[u8]) -> Vec<u16> {
    let blocks = shard.chunks(64);
    blocks
        .flat_map(|block| (0..32).map(move |n| u16::from_le_bytes([block[n], block[32 + n]])))
        .collect()
}

fn bytes(symbols: &[u16]) -> Vec<u8> {
    let low = |block: &[u16]| {
        block
            .iter()
            .map(|symbol| symbol.to_le_bytes()[0])
            .collect::<Vec<_>>()
    };
    let high = |block: &[u16]| {
        block
            .iter()
            .map(|symbol| symbol.to_le_bytes()[1])
            .collect::<Vec<_>>()
    };
    symbols
        .chunks(32)
        .flat_map(|block| [low(block), high(block)].concat())
        .collect()
}

fn add(field: &Field, sum: &mut [u16], factor: u16, shard: &[u16]) {
    for (sum, symbol) in sum.iter_mut().zip(shard) {
        *sum ^= field.product(factor, *symbol);
    }
}

fn data_shards(pack: &[u8], geometry: &ShardGeometry) -> Vec<Vec<u16>> {
    let mut padded = pack.to_vec();
    padded.resize(geometry.data() * geometry.shard_len(), 0);
    padded.chunks(geometry.shard_len()).map(symbols).collect()
}

fn parity_by_formula(field: &Field, pack: &[u8], geometry: &ShardGeometry) -> Vec<Vec<u16>> {
    let data = data_shards(pack, geometry);
    let parity = |number| {
        let mut sum = vec![0; geometry.shard_len() / 2];
        for (at, shard) in data.iter().enumerate() {
            add(
                field,
                &mut sum,
                field.coefficient(number, at, geometry.parity()),
                shard,
            );
        }
        sum
    };
    (0..geometry.parity()).map(parity).collect()
}

/// Gauss: as many parity shards as data shards are lost, those lost eliminated one after the other.
fn restore_by_formula(
    field: &Field,
    geometry: &ShardGeometry,
    data: &mut [Vec<u16>],
    lost: &[usize],
    parity: &[(usize, Vec<u16>)],
) {
    let coefficient = |number, at| field.coefficient(number, at, geometry.parity());
    let mut rows: Vec<(Vec<u16>, Vec<u16>)> = parity[..lost.len()]
        .iter()
        .map(|(number, shard)| {
            let mut sum = shard.clone();
            for at in (0..data.len()).filter(|at| !lost.contains(at)) {
                add(field, &mut sum, coefficient(*number, at), &data[at]);
            }
            (lost.iter().map(|at| coefficient(*number, *at)).collect(), sum)
        })
        .collect();
    for column in 0..lost.len() {
        let pivot = (column..rows.len())
            .find(|row| rows[*row].0[column] != 0)
            .unwrap();
        rows.swap(column, pivot);
        let by = field.inverse(rows[column].0[column]);
        let scale = |row: &[u16]| row.iter().map(|x| field.product(by, *x)).collect::<Vec<_>>();
        let (left, right) = (scale(&rows[column].0), scale(&rows[column].1));
        for (number, row) in rows.iter_mut().enumerate() {
            let factor = row.0[column];
            if number != column {
                add(field, &mut row.0, factor, &left);
                add(field, &mut row.1, factor, &right);
            }
        }
        rows[column] = (left, right);
    }
    for (at, (_, shard)) in lost.iter().zip(rows) {
        data[*at] = shard;
    }
}

fn pack_of(len: usize) -> Vec<u8> {
    let mut pack = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut pack);
    pack
}

const CASES: [(usize, usize, usize); 9] = [
    (1, 64, 1),
    (130, 64, 2),
    (640, 64, 3),
    (64 * 9, 64, 9),
    (64 * 40, 64, 5),
    (64 * 33 + 1, 64, 33),
    (64 * 70, 64, 64),
    (4000, 1152, 2),
    (9000, 2112, 5),
];

#[test]
fn the_crate_computes_the_code_of_the_document() {
    let field = Field::new();
    for (len, shard_len, parity) in CASES {
        let (pack, geometry) = (
            pack_of(len),
            ShardGeometry::new(len as u64, shard_len, parity).unwrap(),
        );
        let object = encode_as(&pack, &object_id(&pack), geometry).unwrap();
        for (number, shard) in parity_by_formula(&field, &pack, &geometry).iter().enumerate() {
            let stored = &object[geometry.parity_range(number)];
            assert_eq!(
                stored,
                bytes(shard),
                "shard {number} of {len} {shard_len} {parity}"
            );
        }
    }
}

#[test]
fn the_document_alone_is_enough_to_heal() {
    let field = Field::new();
    for (len, shard_len, parity) in CASES {
        let (pack, geometry) = (
            pack_of(len),
            ShardGeometry::new(len as u64, shard_len, parity).unwrap(),
        );
        let object = encode_as(&pack, &object_id(&pack), geometry).unwrap();
        let mut data = data_shards(&pack, &geometry);
        // The last ones, so that the unfinished one is among them; the parity shards from the back as well.
        let lost: Vec<_> = (geometry.data() - parity.min(6)..geometry.data()).collect();
        lost.iter().for_each(|at| data[*at].fill(0));
        let shards: Vec<_> = (0..parity)
            .rev()
            .map(|number| (number, symbols(&object[geometry.parity_range(number)])))
            .collect();
        restore_by_formula(&field, &geometry, &mut data, &lost, &shards);
        let mut healed = data.iter().flat_map(|shard| bytes(shard)).collect::<Vec<_>>();
        healed.truncate(len);
        assert!(healed == pack, "{len} {shard_len} {parity}");
    }
}

/// The pack of the document's example: bytes 0 to 129.
fn documented() -> Vec<u8> {
    (0..130).collect()
}

#[test]
fn the_documents_parity_object_is_the_one_of_this_program() {
    let pack = documented();
    let object = encode(&pack, ParityShare::DEFAULT).unwrap();
    assert_example(DOCUMENT, "parity", &object);
    let stored = example(DOCUMENT, "parity");
    let (_, clear, rest) = parse_clear(ObjectClass::Parity, &stored).unwrap();
    assert_eq!((clear.len(), rest.len()), (stored.len() - HEAD_OFFSET, 0));
    let parity = ParityObject::open(&stored).unwrap();
    assert_eq!(parity.head().pack, object_id(&pack));
    assert_eq!(parity.head().geometry, ShardGeometry::new(130, 64, 2).unwrap());
    assert_eq!(
        parity.repair(&pack[128..]).unwrap().bytes,
        pack,
        "the last two bytes are left"
    );
}
