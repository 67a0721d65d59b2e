//! A position in a type: how values there merge, and what lies below.

use serde_json::{Map, Value};

use crate::schema::{self, Field, Message, Shape};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Where in its type a value stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Node<'a> {
    /// One value, owned as a whole.
    Leaf,
    Message(&'static Message),
    /// A list field as a whole.
    List(&'static Field),
    /// A map field as a whole.
    Map(&'static Field),
    /// Without a schema: objects are granular, lists are one value.
    Free,
    /// The root of a custom resource, with its version's schema.
    Custom(Option<&'a Value>),
    /// Inside a custom resource's OpenAPI schema.
    Open(&'a Value),
}

/// How values at a node merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    Leaf,
    Fields,
    /// A list whose items are told apart by these fields.
    Keyed(Vec<String>),
    /// A list of distinct scalars.
    Set,
}

impl<'a> Node<'a> {
    fn of_field(field: &'static Field) -> Self {
        match field.shape {
            Shape::One => Self::of_element(field),
            Shape::List => Self::List(field),
            Shape::Map => Self::Map(field),
        }
    }

    fn of_element(field: &'static Field) -> Self {
        let is_granular = field.struct_type == "granular";
        match field.message() {
            Some(message) if is_granular || !message.is_atomic && field.struct_type != "atomic" => {
                Self::Message(message)
            }
            _ => Self::Leaf,
        }
    }

    /// The layout that fits both values of a comparison; a value of the wrong shape makes a leaf.
    pub fn layout(self, one: Option<&Value>, other: Option<&Value>) -> Layout {
        let present: Vec<&Value> =
            [one, other].into_iter().flatten().filter(|value| !value.is_null()).collect();
        let objects = !present.is_empty() && present.iter().all(|value| value.is_object());
        let lists = !present.is_empty() && present.iter().all(|value| value.is_array());
        let layout = self.own_layout();
        match layout {
            Layout::Fields if objects => Layout::Fields,
            Layout::Keyed(_) | Layout::Set if lists => layout,
            // Null or absent on both sides.
            Layout::Fields | Layout::Keyed(_) | Layout::Set if present.is_empty() => layout,
            _ => Layout::Leaf,
        }
    }

    fn own_layout(self) -> Layout {
        match self {
            Self::Leaf => Layout::Leaf,
            Self::Message(_) | Self::Custom(_) | Self::Free => Layout::Fields,
            Self::Map(field) if field.struct_type == "atomic" => Layout::Leaf,
            Self::Map(_) => Layout::Fields,
            Self::List(field) => match field.list_type {
                "map" => {
                    Layout::Keyed(field.list_keys.iter().map(|key| (*key).to_owned()).collect())
                }
                "set" => Layout::Set,
                _ => Layout::Leaf,
            },
            Self::Open(schema) => open_layout(schema),
        }
    }

    /// The node of a field or map entry.
    pub fn child(self, name: &str) -> Self {
        match self {
            Self::Message(message) => match message.field(name) {
                // The table lives as long as the program.
                Some(_) => static_field(message, name).map_or(Self::Free, Self::of_field),
                None if message.is_kind && (name == "apiVersion" || name == "kind") => Self::Leaf,
                None => Self::Free,
            },
            Self::Map(field) => Self::of_element(field),
            Self::Custom(schema) => match (name, schema) {
                ("metadata", _) => schema::message(OBJECT_META).map_or(Self::Free, Self::Message),
                ("apiVersion" | "kind", _) => Self::Leaf,
                (_, Some(schema)) => Self::Open(schema).child(name),
                (_, None) => Self::Free,
            },
            Self::Open(schema) => {
                let below = schema["properties"].get(name).or_else(|| {
                    schema.get("additionalProperties").filter(|below| below.is_object())
                });
                below.map_or(Self::Free, Self::Open)
            }
            Self::Free | Self::Leaf | Self::List(_) => Self::Free,
        }
    }

    /// The node of a list's items.
    pub fn item(self) -> Self {
        match self {
            Self::List(field) => Self::of_element(field),
            Self::Open(schema) => schema.get("items").map_or(Self::Free, Self::Open),
            _ => Self::Free,
        }
    }

    /// True for fields of structs, false for entries of maps.
    pub fn is_named(self, name: &str) -> bool {
        match self {
            Self::Message(message) => {
                message.field(name).is_some()
                    || message.is_kind && (name == "apiVersion" || name == "kind")
            }
            Self::Custom(schema) => {
                matches!(name, "apiVersion" | "kind" | "metadata")
                    || schema.is_some_and(|schema| schema["properties"].get(name).is_some())
            }
            Self::Open(schema) => schema["properties"].get(name).is_some(),
            _ => false,
        }
    }

    /// True for fields that upstream's encoder writes even when they are empty.
    pub fn is_always_written(self, name: &str) -> bool {
        match self {
            Self::Message(message) => {
                message.field(name).is_some_and(|field| !field.omit_empty && !field.omit_zero)
            }
            _ => false,
        }
    }

    /// The path element of a list's item.
    pub fn element(self, layout: &Layout, index: usize, item: &Value) -> String {
        match layout {
            Layout::Set => format!("v:{item}"),
            Layout::Keyed(keys) => {
                let mut found = Map::new();
                for key in keys {
                    let value = item.get(key).filter(|value| !value.is_null()).cloned();
                    if let Some(value) = value.or_else(|| self.item().default_of(key)) {
                        found.insert(key.clone(), value);
                    }
                }
                if found.is_empty() {
                    return format!("i:{index}");
                }
                found.sort_keys();
                format!("k:{}", Value::Object(found))
            }
            Layout::Leaf | Layout::Fields => format!("i:{index}"),
        }
    }

    /// What is wrong with the lists of an applied configuration: items that cannot be told apart.
    pub fn check(self, value: &Value, path: &str) -> Result<(), String> {
        match value {
            Value::Object(fields) => fields.iter().try_for_each(|(name, inner)| {
                self.child(name).check(inner, &format!("{path}.{name}"))
            }),
            Value::Array(items) => {
                if let layout @ Layout::Keyed(_) = self.own_layout() {
                    self.check_keys(&layout, items, path)?;
                }
                items.iter().enumerate().try_for_each(|(index, item)| {
                    self.item().check(item, &format!("{path}[{index}]"))
                })
            }
            _ => Ok(()),
        }
    }

    fn check_keys(self, layout: &Layout, items: &[Value], path: &str) -> Result<(), String> {
        let Layout::Keyed(keys) = layout else { return Ok(()) };
        let mut seen = std::collections::BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let omitted = |key: &&String| {
                item.get(*key).is_none_or(Value::is_null) && self.item().default_of(key).is_none()
            };
            if let Some(key) = keys.iter().find(omitted) {
                return Err(format!(
                    "{path}: element {index}: associative list with keys has an element that omits key field {key:?} \
                     (and doesn't have default value)"
                ));
            }
            let element = self.element(layout, index, item);
            if !seen.insert(element.clone()) {
                return Err(format!(
                    "{path}: duplicate entries for key {}",
                    element.trim_start_matches("k:")
                ));
            }
        }
        Ok(())
    }

    fn default_of(self, name: &str) -> Option<Value> {
        match self {
            Self::Message(message) => {
                let default = message.field(name)?.default;
                (!default.is_empty()).then(|| Value::String(default.to_owned()))
            }
            Self::Open(schema) => schema["properties"][name].get("default").cloned(),
            _ => None,
        }
    }
}

fn static_field(message: &'static Message, name: &str) -> Option<&'static Field> {
    message.field(name)
}

fn open_layout(schema: &Value) -> Layout {
    if schema["x-kubernetes-map-type"] == "atomic" {
        return Layout::Leaf;
    }
    if schema["type"] == "array" || schema.get("items").is_some() {
        return match schema["x-kubernetes-list-type"].as_str() {
            Some("map") => Layout::Keyed(
                schema["x-kubernetes-list-map-keys"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|key| key.as_str().map(str::to_owned))
                    .collect(),
            ),
            Some("set") => Layout::Set,
            _ => Layout::Leaf,
        };
    }
    match schema["type"].as_str() {
        Some("string" | "integer" | "number" | "boolean") => Layout::Leaf,
        _ => Layout::Fields,
    }
}
