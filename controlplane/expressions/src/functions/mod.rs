//! The function library: one table of names, signatures and what they do. To add a function: a row in its file's table.

pub(crate) mod authorizer;
mod collections;
mod formats;
mod math;
mod networks;
pub(crate) mod patterns;
mod quantities;
mod standard;
mod strings;
pub(crate) mod times;
mod versions;

use std::{collections::BTreeMap, sync::OnceLock};

use crate::{
    eval::Outcome,
    operators,
    program::EvalError,
    types::{Signature, Type, join, substitute, unify},
    value::{Opaque, Value},
};

/// A function of the library. Its receiver is its first argument.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) signatures: Vec<Signature>,
    pub(crate) call: fn(&[Value]) -> Outcome,
    cost: Cost,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// How a call's cost grows (upstream `apiserver/pkg/cel/library/cost.go`).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cost {
    One,
    /// A tenth per character or element of all arguments.
    Walk,
    /// A tenth per character of the first times a quarter per character of the second.
    Match,
    /// Each element of the first with each of the second.
    Cross,
    /// A question to the authorizer.
    Access,
}

const ACCESS_COST: u64 = 350_000;

/// A row: name, signatures, what it does, how its cost grows.
pub(crate) type Row = (&'static str, &'static [&'static str], fn(&[Value]) -> Outcome, Cost);

impl Function {
    /// What the signatures that take these types promise; `member`: only those with, or without, a receiver.
    pub(crate) fn promise(&self, types: &[Type], member: Option<bool>) -> Option<Type> {
        let mut result: Option<Type> = None;
        for signature in &self.signatures {
            let mut bound = BTreeMap::new();
            let fits = member.is_none_or(|member| signature.member == member)
                && signature.arguments.len() == types.len()
                && signature
                    .arguments
                    .iter()
                    .zip(types)
                    .all(|(want, found)| unify(want, found, &mut bound));
            if fits {
                let promised = substitute(&signature.result, &bound);
                result = Some(match result {
                    None => promised,
                    Some(known) => join(known, &promised),
                });
            }
        }
        result
    }

    pub(crate) fn cost(&self, arguments: &[Value]) -> u64 {
        let size = |index: usize| arguments.get(index).map_or(0, length);
        match self.cost {
            Cost::One => 1,
            Cost::Walk => 1 + arguments.iter().map(length).sum::<u64>().div_ceil(10),
            Cost::Match => 1 + (size(0) + 1).div_ceil(10).saturating_mul(size(1).div_ceil(4)),
            Cost::Cross => 1 + size(0).saturating_mul(size(1)),
            Cost::Access => ACCESS_COST,
        }
    }
}

fn length(value: &Value) -> u64 {
    let length = match value {
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.entries.len(),
        _ => 0,
    };
    u64::try_from(length).unwrap_or(u64::MAX)
}

const OPERATORS: &[Row] = &[
    (
        "_+_",
        &[
            "(int, int)->int",
            "(uint, uint)->uint",
            "(double, double)->double",
            "(string, string)->string",
            "(bytes, bytes)->bytes",
            "(list<A>, list<A>)->list<A>",
            "(timestamp, duration)->timestamp",
            "(duration, timestamp)->timestamp",
            "(duration, duration)->duration",
        ],
        operators::add,
        Cost::Walk,
    ),
    (
        "_-_",
        &[
            "(int, int)->int",
            "(uint, uint)->uint",
            "(double, double)->double",
            "(timestamp, timestamp)->duration",
            "(timestamp, duration)->timestamp",
            "(duration, duration)->duration",
        ],
        operators::subtract,
        Cost::One,
    ),
    (
        "_*_",
        &["(int, int)->int", "(uint, uint)->uint", "(double, double)->double"],
        operators::multiply,
        Cost::One,
    ),
    (
        "_/_",
        &["(int, int)->int", "(uint, uint)->uint", "(double, double)->double"],
        operators::divide,
        Cost::One,
    ),
    ("_%_", &["(int, int)->int", "(uint, uint)->uint"], operators::modulo, Cost::One),
    (
        "-_",
        &["(int)->int", "(double)->double", "(duration)->duration"],
        operators::negate,
        Cost::One,
    ),
    ("!_", &["(bool)->bool"], operators::not, Cost::One),
    ("_==_", &["(A, A)->bool"], operators::equals, Cost::Walk),
    ("_!=_", &["(A, A)->bool"], operators::differs, Cost::Walk),
    ("_<_", ORDERED, operators::less, Cost::Walk),
    ("_<=_", ORDERED, operators::less_or_equal, Cost::Walk),
    ("_>_", ORDERED, operators::greater, Cost::Walk),
    ("_>=_", ORDERED, operators::greater_or_equal, Cost::Walk),
    ("@in", &["(A, list<A>)->bool", "(A, map<A, B>)->bool"], operators::contained, Cost::Walk),
    (
        "_[_]",
        &[
            "(list<A>, int)->A",
            "(map<A, B>, A)->B",
            "(optional<list<A>>, int)->optional<A>",
            "(optional<map<A, B>>, A)->optional<B>",
        ],
        operators::index,
        Cost::One,
    ),
    (
        "_[?_]",
        &[
            "(list<A>, int)->optional<A>",
            "(map<A, B>, A)->optional<B>",
            "(optional<list<A>>, int)->optional<A>",
            "(optional<map<A, B>>, A)->optional<B>",
        ],
        operators::optional_index,
        Cost::One,
    ),
];

const ORDERED: &[&str] = &[
    "(bool, bool)->bool",
    "(int, int)->bool",
    "(int, uint)->bool",
    "(int, double)->bool",
    "(uint, uint)->bool",
    "(uint, int)->bool",
    "(uint, double)->bool",
    "(double, double)->bool",
    "(double, int)->bool",
    "(double, uint)->bool",
    "(string, string)->bool",
    "(bytes, bytes)->bool",
    "(timestamp, timestamp)->bool",
    "(duration, duration)->bool",
];

/// The function of this name: an operator, a plain or a qualified one.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    static TABLE: OnceLock<BTreeMap<&'static str, Function>> = OnceLock::new();
    TABLE.get_or_init(table).get(name)
}

fn table() -> BTreeMap<&'static str, Function> {
    let rows = [
        OPERATORS,
        standard::ROWS,
        times::ROWS,
        strings::ROWS,
        collections::ROWS,
        patterns::ROWS,
        networks::ROWS,
        quantities::ROWS,
        versions::ROWS,
        formats::ROWS,
        math::ROWS,
        authorizer::ROWS,
    ];
    let mut table = BTreeMap::new();
    for (name, signatures, call, cost) in rows.into_iter().flatten().copied() {
        let signatures = signatures.iter().map(|text| Signature::parse(text)).collect();
        let before = table.insert(name, Function { name, signatures, call, cost });
        assert!(before.is_none(), "two functions named {name}");
    }
    table
}

/// The text argument at this place.
pub(crate) fn text(arguments: &[Value], index: usize) -> Result<&str, EvalError> {
    arguments.get(index).and_then(Value::as_text).ok_or_else(EvalError::no_overload)
}

/// The whole number at this place.
pub(crate) fn whole(arguments: &[Value], index: usize) -> Result<i64, EvalError> {
    match arguments.get(index) {
        Some(Value::Int(number)) => Ok(*number),
        _ => Err(EvalError::no_overload()),
    }
}

/// The items of the list at this place.
pub(crate) fn items(arguments: &[Value], index: usize) -> Result<&[Value], EvalError> {
    match arguments.get(index) {
        Some(Value::List(list)) => Ok(&list.items),
        _ => Err(EvalError::no_overload()),
    }
}

/// The library value at this place.
pub(crate) fn opaque(arguments: &[Value], index: usize) -> Result<&Opaque, EvalError> {
    match arguments.get(index) {
        Some(Value::Opaque(opaque)) => Ok(opaque),
        _ => Err(EvalError::no_overload()),
    }
}

/// A length as a number of the language.
pub(crate) fn number(length: usize) -> Value {
    Value::Int(i64::try_from(length).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    /// What Kubernetes 1.36 has (`apiserver/pkg/cel/library`, `environment/base.go`), library by library; without what decides
    /// which of its arguments are evaluated (`or`, `orValue`: `compile/macros.rs`).
    const UPSTREAM: &[(&str, &str)] = &[
        ("lists", "isSorted sum min max indexOf lastIndexOf"),
        ("regex", "find findAll"),
        ("url", "url isURL getScheme getHost getHostname getPort getEscapedPath getQuery"),
        (
            "authorizer",
            "path group serviceAccount resource subresource namespace name check allowed reason errored error",
        ),
        ("authorizer selectors", "fieldSelector labelSelector"),
        (
            "quantity",
            "quantity isQuantity sign isInteger asInteger asApproximateFloat add sub isGreaterThan isLessThan compareTo",
        ),
        (
            "ip",
            "ip isIP ip.isCanonical family isUnspecified isLoopback isLinkLocalMulticast isLinkLocalUnicast isGlobalUnicast",
        ),
        ("cidr", "cidr isCIDR containsIP containsCIDR masked prefixLength"),
        ("format", "format.named validate"),
        ("semver", "semver isSemver major minor patch"),
        ("jsonpatch", "jsonpatch.escapeKey"),
        ("sets", "sets.contains sets.equivalent sets.intersects"),
        (
            "strings",
            "charAt join lowerAscii upperAscii replace split substring trim format reverse strings.quote",
        ),
        ("optional", "optional.of optional.none optional.ofNonZeroValue value hasValue"),
        (
            "standard",
            "size contains startsWith endsWith matches duration timestamp getFullYear getHours getMilliseconds",
        ),
        ("conversions", "int uint double string bytes bool type dyn"),
    ];

    #[test]
    fn every_function_of_upstream_is_there() {
        let names = UPSTREAM
            .iter()
            .flat_map(|(library, names)| names.split_whitespace().map(move |name| (library, name)));
        let missing: Vec<_> = names.filter(|(_, name)| super::find(name).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn every_signature_is_read() {
        assert!(super::find("_+_").is_some());
        assert!(super::find("charAt").unwrap().signatures[0].member);
    }
}
