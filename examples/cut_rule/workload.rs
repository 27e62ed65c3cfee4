//! Records like those of real programs, in key order, the same on every run.

/// Key and value.
pub type Record = (Vec<u8>, Vec<u8>);

/// splitmix64: enough for data that must only look random.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out: Vec<u8> = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(len);
        out
    }
}

const WORDS: &[&str] = &[
    "account", "ledger", "balance", "session", "update", "region", "status", "active", "pending", "closed",
    "order", "item", "price", "currency", "euro", "dollar", "total", "shipped", "customer", "address",
    "street", "city", "country", "phone", "email", "note", "priority", "created", "modified", "owner",
    "group", "member", "public", "private", "draft", "review", "approved", "rejected", "archive", "version",
    "label",
];

/// The four databases of the peers' bench, and three of the kinds that upset chunkers.
type Make = fn(usize) -> Vec<Record>;

pub const ALL: &[(&str, Make)] = &[
    ("utxo", utxo),
    ("docs", docs),
    ("series", series),
    ("tiles", tiles),
    ("sequential", sequential),
    ("zeros", zeros),
];

/// Random 33-byte keys, dense values of 40 to 55 bytes.
fn utxo(bytes: usize) -> Vec<Record> {
    let mut noise = Noise(1);
    let make = |n: usize| {
        let key = [b"C", &noise.bytes(32)[..]].concat();
        (key, noise.bytes(40 + n % 16))
    };
    sorted((0..bytes / 80).map(make).collect())
}

/// Ordered keys, JSON of 300 to 1,500 bytes.
fn docs(bytes: usize) -> Vec<Record> {
    let make = |n: usize| {
        let key = format!("doc:{:04}:{n:010}", n % 97).into_bytes();
        (key, document(&mut Noise(5 + n as u64), n))
    };
    sorted((0..bytes / 900).map(make).collect())
}

fn document(noise: &mut Noise, n: usize) -> Vec<u8> {
    let word = |noise: &mut Noise| WORDS[noise.below(WORDS.len() as u64) as usize];
    let many = |noise: &mut Noise, count: u64, quote: &str, between: &str| {
        let words: Vec<_> = (0..count)
            .map(|_| format!("{quote}{}{quote}", word(noise)))
            .collect();
        words.join(between)
    };
    let (owner, number, status) = (word(noise), noise.below(5000), word(noise));
    let tag_count = 2 + noise.below(7);
    let tags = many(noise, tag_count, "\"", ",");
    let amount = noise.below(10_000_000);
    let body_count = 30 + noise.below(140);
    let body = many(noise, body_count, "", " ");
    let created = 1_700_000_000 + n * 7;
    format!(
        "{{\"id\":{n},\"rev\":0,\"owner\":\"{owner}{number}\",\"status\":\"{status}\",\"tags\":[{tags}],\
         \"amount\":{}.{:02},\"created\":{created},\"body\":\"{body}\"}}",
        amount / 100,
        amount % 100
    )
    .into_bytes()
}

/// Keys in order of time, values of about 60 bytes that are alike.
fn series(bytes: usize) -> Vec<Record> {
    let make = |n: usize| {
        let host = n % 50;
        let time = 1_700_000_000_000u64 + (n as u64 / 50) * 1000;
        let key = [&b"m/"[..], &time.to_be_bytes(), format!("/{host:03}").as_bytes()].concat();
        let noise = Noise(9 + n as u64 / 50).next().to_le_bytes();
        let (cpu, mem, io) = (
            noise[0] % 100,
            4000 + usize::from(noise[1]) + host,
            usize::from(noise[2]) * 7,
        );
        let value =
            format!("{{\"cpu\":{cpu},\"mem\":{mem},\"io\":{io},\"host\":\"node-{host:03}\",\"ok\":true}}");
        (key, value.into_bytes())
    };
    (0..bytes / 75).map(make).collect()
}

/// 16-byte keys, dense values of 4 to 32 KiB.
fn tiles(bytes: usize) -> Vec<Record> {
    let make = |n: usize| {
        let mut noise = Noise(n as u64 * 1_000_003);
        let x = ((n * 2_654_435_761) % 4096) as i32 - 2048;
        let y = ((n * 40_503) % 4096) as i32 - 2048;
        let key = [
            &b"T"[..],
            &x.to_be_bytes(),
            &y.to_be_bytes(),
            &(n as u32).to_be_bytes(),
        ]
        .concat();
        let len = 4096 + noise.below(28 << 10) as usize;
        (key, noise.bytes(len))
    };
    sorted((0..bytes / (18 << 10)).map(make).collect())
}

/// Counted keys, values of 100 bytes, half of them noise.
fn sequential(bytes: usize) -> Vec<Record> {
    let make = |n: usize| {
        let value = [&[b'v'; 50][..], &Noise(n as u64).bytes(50)].concat();
        ((n as u64).to_be_bytes().to_vec(), value)
    };
    (0..bytes / 108).map(make).collect()
}

/// Counted keys, values of 100 zeros: FastCDC sees almost nothing to cut at.
fn zeros(bytes: usize) -> Vec<Record> {
    let make = |n: usize| ((n as u64).to_be_bytes().to_vec(), vec![0; 100]);
    (0..bytes / 108).map(make).collect()
}

fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_unstable();
    // Copied, so that they lie in memory as a scan meets them.
    records.to_vec()
}
