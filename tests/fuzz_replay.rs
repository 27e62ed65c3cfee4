//! The fuzz targets on the stable compiler: every kept input (tests/fuzz/corpus, findings among them), and good inputs
//! with every bit flipped, cut at every length, and longer. `scripts/soak fuzz` looks for new ones.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "fuzz/decoders/mod.rs"]
mod decoders;

use std::path::{Path, PathBuf};

use decoders::{TARGETS, accepts, seeds};

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

#[test]
fn kept_inputs_are_survived() {
    for (name, target) in TARGETS {
        let Ok(entries) = std::fs::read_dir(fuzz_dir().join("corpus").join(name)) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            eprintln!("{}", path.display());
            target(&std::fs::read(path).unwrap());
        }
    }
}

#[test]
fn good_inputs_with_any_bit_flipped_or_cut_or_longer_are_survived() {
    for (name, seed) in seeds() {
        let target = TARGETS.iter().find(|(target, _)| *target == name).unwrap().1;
        target(&seed);
        for len in 0..seed.len() {
            target(&seed[..len]);
        }
        for more in [0, 1, 0xff] {
            target(&[&seed[..], &[more]].concat());
        }
        let mut flipped = seed.clone();
        for bit in 0..seed.len() * 8 {
            flipped[bit / 8] ^= 1 << (bit % 8);
            target(&flipped);
            flipped[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn every_target_has_a_good_input_to_start_from() {
    let seeds = seeds();
    let lacks = |name: &str| {
        !seeds
            .iter()
            .any(|(target, seed)| *target == name && accepts(name, seed))
    };
    let lacking: Vec<_> = TARGETS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| lacks(name))
        .collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}

#[test]
fn the_database_to_start_from_is_read_to_its_last_record() {
    let (_, seed) = seeds()
        .into_iter()
        .find(|(name, _)| *name == "leveldb_database")
        .unwrap();
    let records = String::from_utf8(decoders::database_records(&seed).expect("a database")).unwrap();
    assert_eq!(records.lines().count(), 5, "{records}");
    assert!(!records.contains("false"), "{records}");
}

#[test]
fn every_target_has_its_file_and_is_listed() {
    let manifest = std::fs::read_to_string(fuzz_dir().join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let path = format!("fuzz_targets/{name}.rs");
        let source =
            std::fs::read_to_string(fuzz_dir().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(source.contains(&format!("decoders::{name}(data)")), "{path}");
        assert!(manifest.contains(&path), "{path} is missing in Cargo.toml");
    }
    assert_eq!(
        std::fs::read_dir(fuzz_dir().join("fuzz_targets"))
            .unwrap()
            .count(),
        TARGETS.len()
    );
}

/// `scripts/soak fuzz` runs this to give the fuzzer something to start from.
#[test]
#[ignore = "writes files: run by scripts/soak fuzz"]
fn write_seeds() {
    let work =
        PathBuf::from(std::env::var_os("LEVAULT_FUZZ_WORK").expect("LEVAULT_FUZZ_WORK names a directory"));
    for (name, seed) in seeds() {
        let dir = work.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let file = format!("seed-{}", &blake3::hash(&seed).to_hex()[..16]);
        std::fs::write(dir.join(file), seed).unwrap();
    }
}
