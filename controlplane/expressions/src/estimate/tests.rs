//! Numbers that follow from cel-go's expansions; definitions test those that upstream itself expects.

use crate::{Environment, Extent, Program, Type};

/// `self` is `{list: [string; 10 of 5], map: {string: int; 7}, text: string; 100, maybe: string; 100}`.
fn cost(source: &str) -> u64 {
    let of = Type::object(
        "object",
        [
            ("list".to_owned(), Type::list(Type::String)),
            ("map".to_owned(), Type::map(Type::String, Type::Int)),
            ("text".to_owned(), Type::String),
        ],
    );
    let environment = Environment::new().variable("self", of);
    let sized = |elements_max| Extent { elements_max, ..Extent::default() };
    let list = Extent { items: Some(Box::new(sized(5))), ..sized(10) };
    let map = Extent { items: Some(Box::default()), is_map: true, ..sized(7) };
    let fields = [("list", list), ("map", map), ("text", sized(100))];
    let fields = fields.into_iter().map(|(name, extent)| (name.to_owned(), extent)).collect();
    let root = Extent { fields, ..Extent::default() };
    Program::compile(source, &environment).unwrap().cost_max(&environment, &root)
}

#[test]
fn loops_cost_what_they_expand_to() {
    for (source, expect) in [
        ("true", 0),
        ("self.text == 'x'", 3),
        // 2 for the range, 10 rounds, 1 for the result.
        ("self.list.all(x, true)", 2 + 10 * 3 + 1),
        ("self.list.exists(x, true)", 2 + 10 * 4 + 1),
        ("self.list.exists_one(x, true)", 2 + 10 * 2 + 2),
        ("self.list.filter(x, true)", 2 + 10 + 10 * 13 + 1),
        ("self.list.map(x, 1)", 2 + 10 + 10 * 12 + 1),
        ("self.list.map(x, true, 1)", 2 + 10 + 10 * 12 + 1),
        ("self.map.all(k, true)", 2 + 7 * 3 + 1),
        ("self.list.all(i, x, true)", 2 + 10 * 3 + 1),
        ("self.map.transformMap(k, v, v)", 2 + 30 + 7 * (3 + 1) + 1),
        // What filter leaves may be as long as what it had; its items are looked up at the root, where upstream looks.
        ("self.list.filter(x, true).all(y, y == y)", 143 + 10 * (3 + 2) + 1),
        ("cel.bind(x, self.text, x == x)", 10 + 2 + 2 + 10),
    ] {
        assert_eq!(cost(source), expect, "{source}");
    }
}

#[test]
fn sizes_are_followed() {
    for (source, expect) in [
        ("self.text.contains(self.text)", 4 + 10 * 10),
        ("self.text.startsWith(self.text)", 4 + 10),
        ("(self.text + 'x').contains('y')", 2 + 11 + 11),
        ("self.text in self.list", 4 + 10),
        ("'a' in self.map", 2 + 1),
        ("(true ? self.text : 'x').matches('abcd')", 2 + 11),
        ("self.text.lowerAscii().upperAscii().size() > 0", 2 + 10 + 10 + 1 + 1),
        ("self.list.join(',').size() > 0", 2 + 6 + 1 + 1),
        ("has(self.text)", 1),
        ("self.list.isSorted()", 2 + 10 * 2),
        ("sets.contains(self.list, ['a', 'b'])", 2 + 10 + 21),
        ("quantity('1').add(quantity('2')).isGreaterThan(quantity('3'))", 5),
    ] {
        assert_eq!(cost(source), expect, "{source}");
    }
}

#[test]
fn what_nobody_knows_is_endless() {
    // No schema says how long these texts are.
    for source in ["string(1) + 'x' == 'y'", "self.?text.orValue('').contains('x')"] {
        assert!(cost(source) > 1 << 50, "{source}");
    }
}
