//! Random sources: whatever is written, compiling and evaluating end, with a value or an error. Seeds are printed.

use expressions::{Budget, Environment, Program, Type, Value, Variables};
use serde_json::json;

const PARTS: [&str; 48] = [
    "o",
    ".a",
    ".?b",
    "[0]",
    "[?1]",
    "n",
    "s",
    "1",
    "-2",
    "3u",
    "1.5",
    "'x'",
    "b'y'",
    "true",
    "null",
    " + ",
    " - ",
    " * ",
    " / ",
    " % ",
    " == ",
    " < ",
    " in ",
    " && ",
    " || ",
    " ? ",
    " : ",
    "!",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ", ",
    ".all(x, ",
    ".map(x, x",
    ".exists(i, v, ",
    ".filter(x, ",
    "has(o.a)",
    "size(s)",
    ".matches('[')",
    "quantity('1')",
    "duration('1h')",
    "cel.bind(y, n, ",
    "optional.of(",
    ".orValue(",
    "'%d'.format([n])",
];
const SEEDS: u64 = 400;

/// Small, fixed and good enough (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % most as u64).unwrap()
    }
}

#[test]
fn any_source_ends_with_a_value_or_an_error() {
    let environment = Environment::new()
        .variable("o", Type::Dyn)
        .variable("n", Type::Int)
        .variable("s", Type::String);
    let object = json!({"a": {"b": [1, "x", null, {"c": 1.5}]}});
    let variables =
        Variables::new().with("o", &object).with("n", Value::Int(3)).with("s", Value::text("sé"));
    let mut good = 0;
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let length = 1 + random.below(14);
        let source: String = (0..length).map(|_| PARTS[random.below(PARTS.len())]).collect();
        let ended = std::panic::catch_unwind(|| Program::compile(&source, &environment).is_ok());
        let compiled = ended.unwrap_or_else(|_| panic!("seed {seed}: {source}"));
        if !compiled {
            continue;
        }
        good += 1;
        let program = Program::compile(&source, &environment).unwrap();
        let one = program.evaluate(&variables, &mut Budget::default());
        let two = program.evaluate(&variables, &mut Budget::default());
        // A value that is no number differs from itself.
        assert_eq!(format!("{one:?}"), format!("{two:?}"), "seed {seed}: {source}");
    }
    assert!(good > 0, "no source compiled");
}
