//! Hostile input to what decodes and merges: nothing may panic, and what must hold of the results holds.
//!
//! Each target first replays its corpus (`tests/fuzz/corpus/<target>`), then mutates it from a fixed seed. In an ordinary
//! test run that takes moments; `BULKHEAD_FUZZ_SECONDS=600 cargo test -p api --test fuzz` goes on for ten minutes per
//! target from a new seed. An input that fails is kept in the corpus folder, to become a regression test.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod mutate;
mod targets;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::{Duration, Instant},
};

use mutate::Random;

/// Mutated inputs per target in an ordinary run.
const ROUNDS: usize = 2_000;
/// Inputs that are kept to be mutated further.
const KEPT_MAX: usize = 500;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Runs one input; a panic keeps it in the corpus and fails the test.
fn run(target: &str, input: &[u8], check: fn(&[u8]) -> bool) -> bool {
    match catch_unwind(AssertUnwindSafe(|| check(input))) {
        Ok(accepted) => accepted,
        Err(panic) => {
            let sum = input
                .iter()
                .fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
            let path = folder(target).join(format!("failed-{sum:x}"));
            fs::write(&path, input).unwrap();
            println!("kept: {}", path.display());
            std::panic::resume_unwind(panic);
        }
    }
}

fn fuzz(target: &str, extra: Vec<Vec<u8>>, check: fn(&[u8]) -> bool) {
    let mut kept = corpus(target);
    kept.extend(extra);
    assert!(!kept.is_empty(), "no corpus for {target}");
    for input in &kept {
        run(target, input, check);
    }
    let seconds = std::env::var("BULKHEAD_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let seed = if end.is_some() { SEED ^ u64::from(std::process::id()) } else { SEED };
    let mut random = Random::new(seed);
    let (mut rounds, mut accepted) = (0_usize, 0_usize);
    while end.map_or(rounds < ROUNDS, |end| Instant::now() < end) {
        rounds += 1;
        let other = random.below(kept.len());
        let base = random.below(kept.len());
        let input = mutate::mutate(&kept[base], &kept[other], &mut random);
        if run(target, &input, check) {
            accepted += 1;
            if kept.len() < KEPT_MAX {
                kept.push(input);
            }
        }
    }
    println!("{target}: {rounds} inputs from seed {seed:x}, {accepted} accepted");
}

#[test]
fn protobuf() {
    let objects = targets::objects();
    let encoded = objects.iter().filter_map(api::protobuf::encode).collect();
    fuzz("protobuf", encoded, targets::protobuf);
}

#[test]
fn label_selectors() {
    fuzz("labels", Vec::new(), targets::labels);
}

#[test]
fn field_selectors() {
    fuzz("fields", Vec::new(), targets::fields);
}

#[test]
fn quantities_and_times() {
    fuzz("values", Vec::new(), targets::values);
}

#[test]
fn patches() {
    fuzz("patches", Vec::new(), targets::patches);
}

#[test]
fn apply_merges() {
    fuzz("apply", Vec::new(), targets::apply);
}

#[test]
fn validation() {
    let objects = targets::objects();
    let texts = objects.iter().map(|object| object.to_string().into_bytes()).collect();
    fuzz("patches", texts, targets::validation);
}
