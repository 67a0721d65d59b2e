//! What calls cost at most, and how large their results are.

use super::{Estimate, Extent, Place, Size, Step, size::part};
use crate::{functions::Function, types::Type};

/// For each character that is looked at.
const CHARACTER: f64 = 0.1;
/// For each character of a regular expression.
const PATTERN: f64 = 0.25;
/// For a question to the authorizer: two are allowed in an expression.
const ACCESS: u64 = 350_000;
/// Characters of the patterns behind named formats, and of a format's name.
const FORMAT_PATTERN: f64 = 128.0;
const FORMAT_NAME: u64 = 64;
/// Bytes of an address at most.
const ADDRESS: Size = Size { min: 4, max: 16 };

/// The call's own cost, and the size of its result where something else than its type tells it.
struct Own {
    cost: u64,
    size: Option<Size>,
}

impl Own {
    fn cost(cost: u64) -> Self {
        Self { cost, size: None }
    }

    fn sized(cost: u64, size: Size) -> Self {
        Self { cost, size: Some(size) }
    }
}

pub(super) fn call<'e>(
    function: &Function,
    arguments: &[Estimate<'e>],
    root: &'e Extent,
) -> Estimate<'e> {
    let types: Vec<Type> = arguments.iter().map(|argument| argument.of.clone()).collect();
    let of = function.promise(&types, None).unwrap_or(Type::Dyn);
    let given = arguments.iter().fold(0u64, |sum, one| sum.saturating_add(one.cost));
    match (function.name, arguments) {
        // Only takes the type away.
        ("dyn", [argument]) => {
            let cost = argument.cost.saturating_add(1);
            return Estimate { cost, of, place: Place::Nowhere, ..argument.clone() };
        }
        ("_[_]", [list, _]) if !matches!(list.of, Type::Optional(_)) => {
            let found =
                Estimate::found(given.saturating_add(1), of, list.place.step(Step::Items, root));
            let size = list.entry.map(|entry| entry.value).or(found.size);
            return Estimate { size, ..found };
        }
        _ => {}
    }
    let own = library(function.name, arguments, root)
        .or_else(|| language(function.name, arguments))
        .unwrap_or(Own::cost(1));
    let made = Estimate::made(given.saturating_add(own.cost), of);
    Estimate { size: own.size.or(made.size), ..made }
}

fn size(arguments: &[Estimate<'_>], index: usize) -> Size {
    arguments.get(index).map_or(Size::UNKNOWN, Estimate::size_or_unknown)
}

fn walk(size: Size) -> u64 {
    size.walk(CHARACTER)
}

/// Kubernetes' functions.
fn library(name: &str, arguments: &[Estimate<'_>], root: &Extent) -> Option<Own> {
    let first = size(arguments, 0);
    Some(match name {
        "check" => Own::cost(ACCESS),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
            Own::cost(search(arguments.first()?, root))
        }
        "url" | "jsonpatch.escapeKey" | "lowerAscii" | "upperAscii" | "substring" | "trim" => {
            Own::sized(walk(first), first)
        }
        "replace" => {
            let made = replaced(first, size(arguments, 1), size(arguments, 2));
            Own::sized(first.walk(2.0 * CHARACTER), made)
        }
        "split" => {
            let limit = arguments.get(2).and_then(|limit| limit.whole);
            let limit = limit.and_then(|limit| u64::try_from(limit).ok());
            let made = Size { min: 0, max: limit.unwrap_or(first.max) };
            Own::sized(first.walk(2.0 * CHARACTER), made)
        }
        "join" => {
            let made = joined(arguments, root);
            Own::sized(walk(made), made)
        }
        "find" | "findAll" => {
            Own::sized(matching(first, size(arguments, 1)), Size { min: 0, max: first.max })
        }
        "containsIP" => Own::cost(walk(ADDRESS.plus(ADDRESS)).saturating_add(parsed(arguments))),
        "containsCIDR" => {
            let compared = walk(ADDRESS.plus(ADDRESS)) + walk(ADDRESS) + 1;
            Own::cost(compared.saturating_add(parsed(arguments)))
        }
        "validate" => Own::cost(part(walk(size(arguments, 1)), FORMAT_PATTERN * PATTERN)),
        "sets.contains" | "sets.intersects" => Own::cost(crossed(arguments, 1)),
        "sets.equivalent" => Own::cost(crossed(arguments, 2)),
        "_==_" => return same_opaque(arguments).map(Own::cost),
        _ => return None,
    })
}

/// The language's own functions and operators.
fn language(name: &str, arguments: &[Estimate<'_>]) -> Option<Own> {
    let (first, second) = (size(arguments, 0), size(arguments, 1));
    let is = |index: usize, of: &Type| arguments.get(index).is_some_and(|one| one.of == *of);
    Some(match name {
        "format" => Own::cost(walk(first)),
        "bytes" if is(0, &Type::String) => {
            Own::sized(walk(first), Size { min: first.min, max: first.max.saturating_mul(4) })
        }
        "string" if is(0, &Type::Bytes) => {
            Own::sized(walk(first), Size { min: first.min / 4, max: first.max })
        }
        "strings.quote" => {
            let quoted = first.times(Size { min: 1, max: 2 }).plus(Size { min: 2, max: 2 });
            Own::sized(walk(first), quoted)
        }
        "startsWith" | "endsWith" => Own::cost(walk(second)),
        "matches" => Own::cost(matching(first, second)),
        "contains" => Own::cost(walk(first).saturating_mul(walk(second))),
        "@in" => match arguments.get(1)?.of {
            Type::Map(..) => Own::cost(1),
            Type::List(_) => Own::cost(second.max),
            _ => Own::cost(second.max.max(1)),
        },
        "_+_" => return added(arguments),
        "_==_" | "_!=_" => Own::cost(part(first.max.min(second.max), CHARACTER)),
        "_<_" | "_<=_" | "_>_" | "_>=_" if may_be_texts(arguments) => {
            let compared = part(first.max.min(second.max), CHARACTER);
            // Numbers could be compared as well where types are not known.
            let known = arguments.iter().any(|one| one.of != Type::Dyn);
            Own::cost(if known { compared } else { compared.max(1) })
        }
        // Of more than two numbers a list is made.
        "math.greatest" | "math.least" if arguments.len() > 2 => Own::cost(1 + super::LIST_COST),
        _ => return None,
    })
}

/// One pass over a list, its texts included, or over a text.
fn search(target: &Estimate<'_>, root: &Extent) -> u64 {
    let count = target.size_or_unknown();
    let Type::List(item) = &target.of else { return walk(count) };
    let each = match **item {
        Type::String | Type::Bytes => walk(item_size(target, root)).saturating_add(1),
        _ => 1,
    };
    count.max.saturating_mul(each)
}

/// Only a schema tells it here.
fn item_size(list: &Estimate<'_>, root: &Extent) -> Size {
    match list.place {
        Place::Nowhere => Size::UNKNOWN,
        at @ Place::At(_) => at.step(Step::Items, root).size().unwrap_or(Size::UNKNOWN),
    }
}

fn joined(arguments: &[Estimate<'_>], root: &Extent) -> Size {
    let Some(list) = arguments.first() else { return Size::UNKNOWN };
    let count = list.size_or_unknown();
    let texts = match list.of {
        Type::List(_) => count.times(item_size(list, root)),
        _ => Size::exactly(0),
    };
    if arguments.len() < 2 {
        return texts;
    }
    let gaps = Size { min: count.min.saturating_sub(1), max: count.max.saturating_sub(1) };
    texts.plus(size(arguments, 1).times(gaps))
}

/// The length of a text after a replacement: from as many short ones by long ones as fit to the opposite.
fn replaced(text: Size, old: Size, new: Size) -> Size {
    // How often something is put in, and how much of the text stays.
    let (most, kept_max) = if old.min == 0 {
        (text.max.saturating_add(1), text.max)
    } else if new.max <= old.min {
        (0, text.max)
    } else {
        (text.max.div_ceil(old.min), 0)
    };
    let (fewest, kept_min) = if old.max == 0 {
        (text.min.saturating_add(1), text.min)
    } else if old.max <= new.min {
        (0, text.min)
    } else {
        (text.min.div_ceil(old.max), 0)
    };
    Size { min: fewest, max: most }.times(new).plus(Size { min: kept_min, max: kept_max })
}

/// A text against a regular expression. One more than its length: empty texts are looked at as well.
fn matching(text: Size, pattern: Size) -> u64 {
    walk(text.plus(Size::ONE)).saturating_mul(pattern.walk(PATTERN))
}

/// The second argument is a text that becomes an address first.
fn parsed(arguments: &[Estimate<'_>]) -> u64 {
    match arguments.get(1) {
        Some(one) if one.of == Type::String => walk(one.size_or_unknown()),
        _ => 0,
    }
}

fn crossed(arguments: &[Estimate<'_>], times: u64) -> u64 {
    let pairs = size(arguments, 0).times(size(arguments, 1)).max;
    pairs.saturating_mul(times).saturating_add(1)
}

/// Values of the library compare in one step.
fn same_opaque(arguments: &[Estimate<'_>]) -> Option<u64> {
    let [one, other] = arguments else { return None };
    match (&one.of, &other.of) {
        (Type::Opaque(a), Type::Opaque(b)) if a == b => Some(match *a {
            "kubernetes.NamedFormat" => part(FORMAT_NAME, CHARACTER),
            _ => 1,
        }),
        _ => None,
    }
}

fn may_be(arguments: &[Estimate<'_>], of: impl Fn(&Type) -> bool) -> bool {
    arguments.iter().all(|one| of(&one.of) || one.of == Type::Dyn)
}

fn may_be_texts(arguments: &[Estimate<'_>]) -> bool {
    may_be(arguments, |of| *of == Type::String) || may_be(arguments, |of| *of == Type::Bytes)
}

fn added(arguments: &[Estimate<'_>]) -> Option<Own> {
    let made = size(arguments, 0).plus(size(arguments, 1));
    if may_be_texts(arguments) {
        return Some(Own::sized(walk(made), made));
    }
    may_be(arguments, |of| matches!(of, Type::List(_))).then(|| Own::sized(1, made))
}
