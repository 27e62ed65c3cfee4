//! The stages between records and blobs, one by one: cutting leaves, encoding and decoding them, digests, and
//! cutting long values. One mebibyte of records of about 100 bytes; the numbers are MiB/s of canonical stream.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use levault::chunk::Chunker;
use levault::parity::{ParityObject, ParityShare, encode as encode_parity};
use levault::record::{SetDigestAccumulator, StreamDigester, put_element};
use levault::run::{LeafCutter, LeafDraft, LeafReader, encode_leaf, set_digest};
use std::hint::black_box;

const BYTES: usize = 1 << 20;
const SECRET: [u8; 32] = [7; 32];

/// splitmix64: random keys and half-random values, the same on every run.
fn records() -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut seed = 1u64;
    let mut noise = || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).to_le_bytes()
    };
    let mut record = || {
        let key = [noise(), noise()].concat();
        (
            key,
            [&[b'v'; 44][..], &noise(), &noise(), &noise(), &noise()].concat(),
        )
    };
    let mut records: Vec<_> = (0..BYTES / 100).map(|_| record()).collect();
    records.sort();
    records
}

fn drafts(records: &[(Vec<u8>, Vec<u8>)]) -> Vec<LeafDraft> {
    let mut cutter = LeafCutter::new(&SECRET);
    let mut drafts = vec![LeafDraft::default()];
    for (key, value) in records {
        let draft = drafts.last_mut().expect("never empty");
        let weight = draft.push_inline(key, value).expect("short");
        if cutter.cut_after(key, weight) {
            drafts.push(LeafDraft::default());
        }
    }
    drafts.retain(|draft| !draft.is_empty());
    drafts
}

fn stages(criterion: &mut Criterion) {
    let records = records();
    let drafts = drafts(&records);
    let mut stream = Vec::new();
    records
        .iter()
        .for_each(|(key, value)| put_element(&mut stream, key, value));
    let leaves: Vec<_> = drafts.iter().map(encode_leaf).collect();
    let cutter = Chunker::new(&SECRET);

    let mut group = criterion.benchmark_group("stages");
    group.throughput(Throughput::Bytes(stream.len() as u64));
    group.bench_function("fill drafts and cut leaves", |bench| {
        let start = || (LeafCutter::new(&SECRET), LeafDraft::with_capacity(320 << 10));
        bench.iter_batched_ref(
            start,
            |(cutter, draft)| fill(&records, cutter, draft),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("encode leaves", |bench| {
        bench.iter(|| drafts.iter().map(|draft| encode_leaf(draft).len()).sum::<usize>());
    });
    group.bench_function("decode leaves", |bench| {
        bench.iter(|| leaves.iter().map(|leaf| decode(leaf)).sum::<usize>());
    });
    group.bench_function("set digest", |bench| {
        bench.iter(|| {
            let mut sum = SetDigestAccumulator::new(&SECRET);
            for draft in &drafts {
                sum.merge(&set_digest(draft, &SECRET).expect("own stream"));
            }
            sum.digest()
        });
    });
    group.bench_function("stream digest", |bench| {
        bench.iter(|| {
            let mut whole = StreamDigester::new();
            whole.stream(&stream);
            whole.digest()
        });
    });
    group.bench_function("cut chunks", |bench| {
        bench.iter(|| cutter.chunks(&stream).count())
    });
    group.finish();
}

fn fill(records: &[(Vec<u8>, Vec<u8>)], cutter: &mut LeafCutter, draft: &mut LeafDraft) -> usize {
    let mut leaves = 0;
    for (key, value) in records {
        let weight = draft.push_inline(key, value).expect("short");
        if cutter.cut_after(key, weight) {
            leaves += 1;
            draft.clear();
        }
    }
    leaves
}

fn decode(leaf: &[u8]) -> usize {
    let mut reader = LeafReader::new(leaf).expect("just encoded");
    let mut bytes = 0;
    while let Some(entry) = reader.next().expect("just encoded") {
        bytes += black_box(entry.key).len();
    }
    bytes
}

/// A full pack that does not compress: its parity, its hash beside that, and a burst healed.
fn parity(criterion: &mut Criterion) {
    let mut pack = vec![0; levault::limits::PACK_BYTES_DEFAULT];
    blake3::Hasher::new().finalize_xof().fill(&mut pack);
    let mut group = criterion.benchmark_group("parity");
    group
        .throughput(Throughput::Bytes(pack.len() as u64))
        .sample_size(10);
    group.bench_function("BLAKE3", |bench| bench.iter(|| blake3::hash(black_box(&pack))));
    for percent in [1, 5, 20, 100] {
        let share = ParityShare::from_ten_thousandths(percent * 100).expect("a share");
        group.bench_function(format!("encode {share}"), |bench| {
            bench.iter(|| encode_parity(black_box(&pack), share).expect("parity"));
        });
    }
    let object = encode_parity(&pack, ParityShare::DEFAULT).expect("parity");
    let mut damaged = pack.clone();
    damaged[1 << 20..(1 << 20) + (1 << 20)].fill(0);
    group.bench_function("heal 1 MiB", |bench| {
        bench.iter(|| {
            ParityObject::open(&object)
                .and_then(|parity| parity.repair(&damaged))
                .expect("healed")
        });
    });
}

criterion_group!(benches, stages, parity);
criterion_main!(benches);
