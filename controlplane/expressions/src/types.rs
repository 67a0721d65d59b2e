//! Types of expressions, and signatures of functions written as text.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// What is known of a value before it is there.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// Anything: checked only at run time.
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    Object(Arc<ObjectType>),
    Optional(Arc<Type>),
    /// A type as a value: `type(1)`, `int`.
    Type,
    /// A value of the library that has no parts, by its name.
    Opaque(&'static str),
    /// A type parameter of a signature.
    Param(char),
}

/// An object with named fields. Names are escaped (see [`crate::escape`]).
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectType {
    pub name: String,
    /// `None`: any field, of any type.
    pub fields: Option<BTreeMap<String, Type>>,
}

impl Type {
    #[must_use]
    pub fn list(of: Type) -> Self {
        Self::List(Arc::new(of))
    }

    #[must_use]
    pub fn map(key: Type, value: Type) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    #[must_use]
    pub fn optional(of: Type) -> Self {
        Self::Optional(Arc::new(of))
    }

    /// An object of exactly these fields; names not escaped yet. Fields whose names cannot be escaped are left out.
    #[must_use]
    pub fn object(name: &str, fields: impl IntoIterator<Item = (String, Type)>) -> Self {
        let escaped =
            fields.into_iter().filter_map(|(name, field)| Some((crate::escape(&name)?, field)));
        Self::Object(Arc::new(ObjectType {
            name: name.to_owned(),
            fields: Some(escaped.collect()),
        }))
    }

    /// An object of any fields.
    #[must_use]
    pub fn open_object(name: &str) -> Self {
        Self::Object(Arc::new(ObjectType { name: name.to_owned(), fields: None }))
    }

    /// Whether a value of this type may be used where `wanted` is declared.
    #[must_use]
    pub fn fits(&self, wanted: &Type) -> bool {
        unify(wanted, self, &mut BTreeMap::new())
    }
}

/// Matches a declared type with an actual one, binding parameters.
pub(crate) fn unify(declared: &Type, actual: &Type, bound: &mut BTreeMap<char, Type>) -> bool {
    match (declared, actual) {
        (Type::Param(name), actual) => match bound.get(name).cloned() {
            None | Some(Type::Dyn) => {
                bound.insert(*name, actual.clone());
                true
            }
            Some(known) => {
                if known == Type::Null {
                    bound.insert(*name, actual.clone());
                }
                unify(&known, actual, bound)
            }
        },
        (Type::Dyn, _) | (_, Type::Dyn | Type::Param(_)) => true,
        (Type::Null, _) | (_, Type::Null) => true,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => {
            unify(a, b, bound)
        }
        (Type::Map(ka, va), Type::Map(kb, vb)) => unify(ka, kb, bound) && unify(va, vb, bound),
        (Type::Object(a), Type::Object(b)) => a.name == b.name,
        // Objects of open types stand for maps: JSON has no other.
        (Type::Map(_, _), Type::Object(object)) | (Type::Object(object), Type::Map(_, _)) => {
            object.fields.is_none()
        }
        (a, b) => a == b,
    }
}

/// A type with its parameters replaced; unbound ones become `Dyn`.
pub(crate) fn substitute(of: &Type, bound: &BTreeMap<char, Type>) -> Type {
    match of {
        Type::Param(name) => match bound.get(name) {
            Some(Type::Param(_)) | None => Type::Dyn,
            Some(known) => known.clone(),
        },
        Type::List(item) => Type::list(substitute(item, bound)),
        Type::Optional(item) => Type::optional(substitute(item, bound)),
        Type::Map(key, value) => Type::map(substitute(key, bound), substitute(value, bound)),
        other => other.clone(),
    }
}

/// The type that holds both: itself, or `Dyn`.
pub(crate) fn join(one: Type, other: &Type) -> Type {
    match (&one, other) {
        (Type::Null, _) => other.clone(),
        (_, Type::Null) => one,
        _ if one == *other => one,
        (Type::List(a), Type::List(b)) => Type::list(join((**a).clone(), b)),
        (Type::Map(ka, va), Type::Map(kb, vb)) => {
            Type::map(join((**ka).clone(), kb), join((**va).clone(), vb))
        }
        (Type::Optional(a), Type::Optional(b)) => Type::optional(join((**a).clone(), b)),
        _ => Type::Dyn,
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Object(object) => f.write_str(&object.name),
            Self::Optional(item) => write!(f, "optional_type({item})"),
            Self::Type => f.write_str("type"),
            Self::Opaque(name) => f.write_str(name),
            Self::Param(name) => write!(f, "{name}"),
        }
    }
}

/// One way to call a function. As text: `string.(int)->string` with a receiver, `(A, list<A>)->bool` without.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    pub(crate) member: bool,
    /// The receiver first.
    pub(crate) arguments: Vec<Type>,
    pub(crate) result: Type,
}

impl Signature {
    /// Reads a signature of our own table.
    pub(crate) fn parse(text: &str) -> Self {
        let (call, result) = text.rsplit_once("->").expect("a signature has a result");
        let open = call.find('(').expect("a signature has arguments");
        let receiver = call[..open].strip_suffix('.');
        let inner = call[open + 1..].strip_suffix(')').expect("arguments end");
        let mut arguments: Vec<Type> = receiver.into_iter().map(parse_type).collect();
        arguments.extend(split(inner).map(parse_type));
        Self { member: receiver.is_some(), arguments, result: parse_type(result) }
    }
}

/// Parts between commas that are not inside of angle brackets.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0i32;
    text.split(move |sign| {
        depth += i32::from(sign == '<') - i32::from(sign == '>');
        sign == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

fn parse_type(text: &str) -> Type {
    let text = text.trim();
    if let Some((outer, inner)) = text.strip_suffix('>').and_then(|text| text.split_once('<')) {
        let mut parts = split(inner).map(parse_type);
        let mut next = || parts.next().expect("a parameter");
        return match outer {
            "list" => Type::list(next()),
            "optional" => Type::optional(next()),
            "map" => {
                let key = next();
                Type::map(key, next())
            }
            _ => unreachable!("unknown generic type {text} in the function table"),
        };
    }
    match text {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "type" => Type::Type,
        "quantity" => Type::Opaque("kubernetes.Quantity"),
        "url" => Type::Opaque("kubernetes.URL"),
        "ip" => Type::Opaque("net.IP"),
        "cidr" => Type::Opaque("net.CIDR"),
        "semver" => Type::Opaque("kubernetes.Semver"),
        "format" => Type::Opaque("kubernetes.NamedFormat"),
        "authorizer" => Type::Opaque("kubernetes.authorization.Authorizer"),
        "pathcheck" => Type::Opaque("kubernetes.authorization.PathCheck"),
        "groupcheck" => Type::Opaque("kubernetes.authorization.GroupCheck"),
        "resourcecheck" => Type::Opaque("kubernetes.authorization.ResourceCheck"),
        "decision" => Type::Opaque("kubernetes.authorization.Decision"),
        _ => {
            let mut letters = text.chars();
            match (letters.next(), letters.next()) {
                (Some(name), None) if name.is_ascii_uppercase() => Type::Param(name),
                _ => unreachable!("unknown type {text} in the function table"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read() {
        let signature = Signature::parse("list<A>.(map<string, A>, int)->optional<A>");
        assert!(signature.member);
        assert_eq!(signature.arguments.len(), 3);
        assert_eq!(signature.result.to_string(), "optional_type(A)");
        assert!(Signature::parse("()->bool").arguments.is_empty());
    }

    #[test]
    fn parameters_bind_once() {
        let declared = [Type::Param('A'), Type::list(Type::Param('A'))];
        let mut bound = BTreeMap::new();
        assert!(unify(&declared[0], &Type::Int, &mut bound));
        assert!(!unify(&declared[1], &Type::list(Type::String), &mut bound));
        assert_eq!(substitute(&declared[1], &bound), Type::list(Type::Int));
    }
}
