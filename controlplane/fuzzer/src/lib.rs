//! Hostile input for tests: a corpus is replayed, then mutated from a seed, for a number of rounds or for a time.

mod mutate;

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub use mutate::Random;

/// Seconds per target; without it a run takes [`ROUNDS`] inputs.
pub const SECONDS: &str = "BULKHEAD_FUZZ_SECONDS";
/// Mutated inputs per target in an ordinary run.
const ROUNDS: usize = 2_000;
/// Inputs that are kept to be mutated further.
const KEPT_MAX: usize = 500;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// What is fed.
pub struct Target<'a> {
    pub name: &'a str,
    /// A file per input.
    pub corpus: PathBuf,
    /// Inputs beside the corpus.
    pub extra: Vec<Vec<u8>>,
    /// Words that mean something to the parser, beside the scalars of JSON.
    pub words: &'a [&'a [u8]],
    /// Panics when what must hold does not. Whether the input was accepted.
    pub check: fn(&[u8]) -> bool,
}

impl Target<'_> {
    /// Feeds the corpus and its mutations, and prints how many.
    ///
    /// # Panics
    /// When the check panics (the input is then kept in the corpus), or the corpus cannot be read.
    pub fn run(mut self) {
        let mut kept = read(&self.corpus)
            .unwrap_or_else(|error| panic!("the corpus {}: {error}", self.corpus.display()));
        kept.append(&mut self.extra);
        assert!(!kept.is_empty(), "no corpus for {}", self.name);
        for input in &kept {
            self.feed(input);
        }
        let seconds = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok());
        let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let seed = if end.is_some() { SEED ^ u64::from(std::process::id()) } else { SEED };
        let mut random = Random::new(seed);
        let (mut rounds, mut accepted) = (0_usize, 0_usize);
        while end.map_or(rounds < ROUNDS, |end| Instant::now() < end) {
            rounds += 1;
            let other = random.below(kept.len());
            let base = random.below(kept.len());
            let input = mutate::mutate(&kept[base], &kept[other], self.words, &mut random);
            if self.feed(&input) {
                accepted += 1;
                if kept.len() < KEPT_MAX {
                    kept.push(input);
                }
            }
        }
        println!("{}: {rounds} inputs from seed {seed:x}, {accepted} accepted", self.name);
    }

    fn feed(&self, input: &[u8]) -> bool {
        catch_unwind(AssertUnwindSafe(|| (self.check)(input))).unwrap_or_else(|panic| {
            let path = self.corpus.join(format!("failed-{:x}", sum(input)));
            match fs::write(&path, input) {
                Ok(()) => println!("kept: {}", path.display()),
                Err(error) => println!("not kept: {error}: {input:?}"),
            }
            resume_unwind(panic)
        })
    }
}

fn read(corpus: &Path) -> io::Result<Vec<Vec<u8>>> {
    let entries = fs::read_dir(corpus)?.collect::<Result<Vec<_>, _>>()?;
    let mut files: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    files.sort();
    files.iter().map(fs::read).collect()
}

fn sum(input: &[u8]) -> u64 {
    input.iter().fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()))
}
