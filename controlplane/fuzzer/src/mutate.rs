//! Small changes to inputs, from a seed. No input or clock decides anything else.

/// Xorshift.
pub struct Random(u64);

impl Random {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end as u64)).expect("it is less than a usize")
    }
}

/// What a JSON scalar becomes; inserted like the words of the parser under test, too.
const SCALARS: &[&[u8]] = &[
    b"null",
    b"{}",
    b"[]",
    b"\"\"",
    b"-1",
    b"0",
    b"9223372036854775808",
    b"1e999",
    b"true",
    b"[{}]",
];

/// One to four changes.
pub fn mutate(base: &[u8], other: &[u8], words: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut out = base.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(out.len() + 1);
        match random.below(6) {
            0 if at < out.len() => out[at] ^= 1 << random.below(8),
            1 if at < out.len() => drop(out.remove(at)),
            2 => {
                let pick = random.below(SCALARS.len() + words.len());
                insert(
                    &mut out,
                    at,
                    SCALARS.get(pick).unwrap_or_else(|| &words[pick - SCALARS.len()]),
                );
            }
            3 => {
                let start = random.below(other.len() + 1);
                let length = random.below((other.len() - start).min(64) + 1);
                insert(&mut out, at, &other[start..start + length]);
            }
            4 => {
                let end = (at + random.below(32)).min(out.len());
                out.drain(at..end);
            }
            _ => replace_token(&mut out, random),
        }
    }
    out
}

fn insert(out: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    out.splice(at..at, bytes.iter().copied());
}

/// Replaces a JSON scalar by a word: keeps more inputs well-formed than bytes alone would.
fn replace_token(out: &mut Vec<u8>, random: &mut Random) {
    let starts: Vec<usize> = (1..out.len()).filter(|at| out[at - 1] == b':').collect();
    if starts.is_empty() {
        return;
    }
    let start = starts[random.below(starts.len())];
    let rest = &out[start..];
    let end = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']')).unwrap_or(rest.len());
    let word = SCALARS[random.below(SCALARS.len())];
    out.splice(start..start + end, word.iter().copied());
}
