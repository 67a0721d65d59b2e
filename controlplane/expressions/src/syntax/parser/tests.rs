//! Texts and their trees, values and problems.

use super::*;
use crate::value::Value;

/// A tree in brackets.
fn shown(term: &Term) -> String {
    let all = |terms: &[Term]| terms.iter().map(shown).collect::<Vec<_>>().join(" ");
    let mark = |optional: bool| if optional { "?" } else { "" };
    match &term.expr {
        Expr::Literal(value) => format!("{value:?}"),
        Expr::Name(name) => name.clone(),
        Expr::Select(Select { operand, field, optional }) => {
            format!("{}.{}{field}", shown(operand), mark(*optional))
        }
        Expr::Call(Call { function, target: Some(target), arguments }) => {
            format!("({} {function} {})", shown(target), all(arguments))
        }
        Expr::Call(call) => format!("({} {})", call.function, all(&call.arguments)),
        Expr::List(items) => {
            let items = items.iter().map(|(item, q)| format!("{}{}", mark(*q), shown(item)));
            format!("[{}]", items.collect::<Vec<_>>().join(" "))
        }
        Expr::Map(entries) => {
            let entries = entries.iter().map(|entry| {
                format!("{}{}:{}", mark(entry.optional), shown(&entry.key), shown(&entry.value))
            });
            format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
        }
        Expr::Struct { name, fields } => {
            let fields = fields.iter().map(|field| {
                format!("{}{}:{}", mark(field.optional), field.name, shown(&field.value))
            });
            format!("{name}{{{}}}", fields.collect::<Vec<_>>().join(" "))
        }
    }
}

#[test]
fn operators_bind_as_written_in_the_specification() {
    for (source, expect) in [
        ("a + b * c - d", "(_-_ (_+_ a (_*_ b c)) d)"),
        ("a ? b : c ? d : e", "(_?_:_ a b (_?_:_ c d e))"),
        ("a || b && c", "(_||_ a (_&&_ b c))"),
        ("a && b && c && d", "(_&&_ (_&&_ a b) (_&&_ c d))"),
        ("a == b in c", "(@in (_==_ a b) c)"),
        ("!!a && !b", "(_&&_ a (!_ b))"),
        ("-a.b", "(-_ a.b)"),
        ("--a", "a"),
        ("a.b.c(d)[e].?f", "(_[_] (a.b c d) e).?f"),
        (".a.b", ".a.b"),
        ("a[?b]", "(_[?_] a b)"),
        ("f(a, b)(c", ""),
        ("[?a, b,]", "[?a b]"),
        ("{a: b, ?c: d,}", "{a:b ?c:d}"),
        ("a.B{c: d, `e-f`: g}", "a.B{c:d e-f:g}"),
        ("a.`b/c`", "a.b/c"),
        ("a.in", ""),
        ("a b", ""),
        ("a.namespace", "a.namespace"),
        ("namespace", ""),
        ("a // comment\n + b", "(_+_ a b)"),
    ] {
        let parsed = parse(source).map(|term| shown(&term));
        assert_eq!(parsed.as_deref().unwrap_or_default(), expect, "{source}: {parsed:?}");
    }
}

#[test]
fn literals_have_values() {
    for (source, expect) in [
        ("-9223372036854775808", Some(Value::Int(i64::MIN))),
        ("9223372036854775808", None),
        ("-0x10", Some(Value::Int(-16))),
        ("0xffu", Some(Value::Uint(255))),
        ("1.5e3", Some(Value::Double(1500.0))),
        ("-.5", Some(Value::Double(-0.5))),
        ("1e999", None),
        (r#"r"a\n""#, Some(Value::text(r"a\n"))),
        ("'''a\n'b'''", Some(Value::text("a\n'b"))),
        ("'a\nb'", None),
        (r"b'\xff'", Some(Value::Bytes([0xff][..].into()))),
        ("'open", None),
        ("null", Some(Value::Null)),
    ] {
        let value = parse(source).ok().map(|term| match term.expr {
            Expr::Literal(value) => value,
            other => panic!("{source} is {other:?}"),
        });
        assert_eq!(value, expect, "{source}");
    }
}

#[test]
fn problems_are_named_where_they_are() {
    for (source, at, message) in [
        ("a &&", 4, "Syntax error: mismatched input '<EOF>' expecting an expression"),
        ("(a", 2, "Syntax error: mismatched input '<EOF>' expecting ')'"),
        ("a = b", 2, "Syntax error: token recognition error at: '='"),
        ("a.b c", 4, "Syntax error: mismatched input 'c' expecting <EOF>"),
        ("1 + for", 4, "reserved identifier: for"),
    ] {
        assert_eq!(parse(source), Err(SyntaxError::new(at, message)), "{source}");
    }
}

#[test]
fn nesting_is_bounded_however_it_is_written() {
    let deep = |open: &str, close: &str| format!("{}a{}", open.repeat(9_999), close.repeat(9_999));
    let sources = [
        deep("(", ")"),
        deep("[", "]"),
        deep("a + ", ""),
        deep("a.", ""),
        deep("a ? b : ", ""),
        deep("f(", ")"),
        deep("{1: ", "}"),
    ];
    // On a stack as large as `compile` gives it.
    let thread = std::thread::Builder::new().stack_size(crate::compile::STACK_BYTES);
    let errors = move || sources.map(|source| parse(&source).unwrap_err().message);
    assert_eq!(thread.spawn(errors).unwrap().join().unwrap(), [(); 7].map(|()| too_deep()));
    assert!(parse(&deep("a && ", "")).is_ok());
    assert!(parse(&deep("!", "")).is_ok());
}
