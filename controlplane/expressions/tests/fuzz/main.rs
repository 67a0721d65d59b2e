//! Any source: compiling, estimating and evaluating end with a value or an error, the same every time. See crate `fuzzer`.

use std::path::Path;

use expressions::{Budget, Environment, Extent, Program, Type, Value, Variables};
use serde_json::json;

const WORDS: &[&[u8]] = &[
    b"o",
    b".a",
    b".?b",
    b"[0]",
    b"[?1]",
    b"n",
    b"s",
    b"-2",
    b"3u",
    b"1.5",
    b"0x7fffffffffffffff",
    b"1e308",
    b"'x'",
    b"b'y'",
    b"r'\\'",
    b"null",
    b" - ",
    b" % ",
    b" == ",
    b" in ",
    b" && ",
    b" || ",
    b" ? ",
    b" : ",
    b"!",
    b"(",
    b")",
    b"[",
    b"]",
    b"{",
    b"}",
    b", ",
    b".all(x, ",
    b".map(x, x",
    b".exists(i, v, ",
    b".filter(x, ",
    b"has(o.a)",
    b"size(s)",
    b".matches('[')",
    b".matches('(a*)*b')",
    b"quantity('1')",
    b"duration('1h')",
    b"timestamp('9999-12-31T23:59:59Z')",
    b"cel.bind(y, n, ",
    b"optional.of(",
    b".orValue(",
    b"'%d'.format([n])",
    b"\\u0000",
    b"\xf0\x9f\x92\xa9",
];

#[test]
fn cel() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/cel");
    fuzzer::Target { name: "cel", corpus, extra: Vec::new(), words: WORDS, check }.run();
}

fn check(input: &[u8]) -> bool {
    let Ok(source) = std::str::from_utf8(input) else { return false };
    let environment = Environment::new()
        .variable("o", Type::Dyn)
        .variable("n", Type::Int)
        .variable("s", Type::String);
    let Ok(program) = Program::compile(source, &environment) else { return false };
    assert_eq!(cost(&program, &environment), cost(&program, &environment), "{source}");
    let object = json!({"a": {"b": [1, "x", null, {"c": 1.5}]}});
    let variables =
        Variables::new().with("o", &object).with("n", Value::Int(3)).with("s", Value::text("sé"));
    let one = program.evaluate(&variables, &mut Budget::default());
    let two = program.evaluate(&variables, &mut Budget::default());
    // As text: a value that is no number differs from itself.
    assert_eq!(format!("{one:?}"), format!("{two:?}"), "{source}");
    true
}

/// What it may cost, where a text may be as long as a request.
fn cost(program: &Program, environment: &Environment) -> u64 {
    let text = Extent { elements_max: 3 << 20, ..Extent::default() };
    let fields = [("o".to_owned(), text.clone()), ("s".to_owned(), text)];
    program.cost_max(environment, &Extent { fields: fields.into(), ..Extent::default() })
}
