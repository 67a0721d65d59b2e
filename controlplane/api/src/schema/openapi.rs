//! OpenAPI v3 components of messages.

use serde_json::{Map, Value, json};

use super::{Field, Message, Shape, Type, describe, message};

const GROUP_VERSION_KIND: &str = "x-kubernetes-group-version-kind";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
const FIELDS_V1: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1";
const RAW: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should \
    convert recognized schemas to the latest internal value, and may reject unrecognized values.";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this \
    from the endpoint the client submits requests to. Cannot be updated. In CamelCase.";
const SCHEMA_PREFIX: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.";

/// OpenAPI v3 schemas of a message and all it refers to, by component name.
#[must_use]
pub fn openapi_components(schema: &str) -> Map<String, Value> {
    let mut components = Map::new();
    if let Some(message) = message(schema) {
        add_message(message, &mut components);
    }
    components
}

fn add_message(message: &'static Message, components: &mut Map<String, Value>) {
    if components.contains_key(&message.name) {
        return;
    }
    // Reserves the name first: messages may refer to themselves.
    components.insert(message.name.clone(), Value::Null);
    let mut properties = Map::new();
    let mut required: Vec<&str> = Vec::new();
    if message.is_kind {
        for (name, text) in [("apiVersion", API_VERSION), ("kind", KIND)] {
            properties.insert(name.into(), json!({"type": "string", "description": text}));
        }
    }
    for field in message.json_fields() {
        let mut property = property(field, components);
        if let Some(text) = describe_field(message, field.name) {
            property["description"] = json!(text);
        }
        properties.insert(field.name.to_owned(), property);
        if field.is_required {
            required.push(field.name);
        }
    }
    required.sort_unstable();
    let mut component = json!({"type": "object"});
    if let Some(text) = describe(&message.name, "") {
        component["description"] = json!(text);
    }
    if !properties.is_empty() {
        component["properties"] = Value::Object(properties);
    }
    if !required.is_empty() {
        component["required"] = json!(required);
    }
    if message.is_atomic {
        component["x-kubernetes-map-type"] = json!("atomic");
    }
    if message.is_kind {
        component[GROUP_VERSION_KIND] = json!([group_version_kind(message)]);
    }
    components.insert(message.name.clone(), component);
}

/// Also the fields of inlined messages.
fn describe_field(message: &Message, name: &'static str) -> Option<String> {
    let inlined = message.fields.iter().filter(|field| field.is_inline);
    describe(&message.name, name).or_else(|| {
        inlined.filter_map(Field::message).find_map(|inner| describe_field(inner, name))
    })
}

fn group_version_kind(message: &Message) -> Value {
    let (group, version) =
        message.api_version.rsplit_once('/').unwrap_or(("", message.api_version));
    let group = if group == "meta.k8s.io" { "" } else { group };
    json!({"group": group, "version": version, "kind": message.short_name()})
}

fn property(field: &Field, components: &mut Map<String, Value>) -> Value {
    let one = element(field, components);
    let mut property = match field.shape {
        Shape::One => wrap_reference(one, field),
        Shape::List => json!({"type": "array", "items": with_default(one, field)}),
        Shape::Map => json!({"type": "object", "additionalProperties": with_default(one, field)}),
    };
    let mut set = |key: &str, value: Value| property[key] = value;
    if !field.patch_strategy.is_empty() {
        set("x-kubernetes-patch-strategy", json!(field.patch_strategy));
    }
    if !field.patch_key.is_empty() {
        set("x-kubernetes-patch-merge-key", json!(field.patch_key));
    }
    if !field.list_type.is_empty() {
        set("x-kubernetes-list-type", json!(field.list_type));
    }
    if !field.list_keys.is_empty() {
        set("x-kubernetes-list-map-keys", json!(field.list_keys));
    }
    if !field.struct_type.is_empty() {
        set("x-kubernetes-map-type", json!(field.struct_type));
    }
    if field.shape == Shape::One && !field.default.is_empty() {
        let default = field.default;
        let value = match field.kind {
            Type::Text => json!(default),
            _ => serde_json::from_str(default).unwrap_or(Value::Null),
        };
        property["default"] = value;
    }
    property
}

/// A reference beside other keys stands in `allOf`, as upstream writes it.
fn wrap_reference(one: Value, field: &Field) -> Value {
    if one.get("$ref").is_none() {
        return one;
    }
    let mut wrapped = json!({"allOf": [one]});
    if field.message().is_some() && !field.is_pointer {
        wrapped["default"] = json!({});
    }
    wrapped
}

/// Elements of lists and maps have a zero default.
fn with_default(one: Value, field: &Field) -> Value {
    match field.kind {
        Type::Message(_) => json!({"allOf": [one], "default": {}}),
        Type::Text => json!({"type": "string", "default": ""}),
        _ => one,
    }
}

fn element(field: &Field, components: &mut Map<String, Value>) -> Value {
    match field.kind {
        Type::Text => json!({"type": "string"}),
        Type::Bool => json!({"type": "boolean"}),
        Type::Int32 => json!({"type": "integer", "format": "int32"}),
        Type::Int64 => json!({"type": "integer", "format": "int64"}),
        Type::Double => json!({"type": "number", "format": "double"}),
        Type::Bytes => json!({"type": "string", "format": "byte"}),
        Type::Duration => json!({"type": "string"}),
        Type::TextList => json!({"type": "array", "items": {"type": "string", "default": ""}}),
        Type::Time => special(TIME, json!({"type": "string", "format": "date-time"}), components),
        Type::MicroTime => {
            special(MICRO_TIME, json!({"type": "string", "format": "date-time"}), components)
        }
        Type::FieldsV1 => special(FIELDS_V1, json!({"type": "object"}), components),
        Type::RawExtension => special(RAW, json!({"type": "object"}), components),
        Type::Quantity => special(
            QUANTITY,
            json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            components,
        ),
        Type::IntOrString => special(
            INT_OR_STRING,
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
            components,
        ),
        Type::Json => special(&format!("{SCHEMA_PREFIX}JSON"), json!({}), components),
        Type::SchemaOrArray => {
            special(&format!("{SCHEMA_PREFIX}JSONSchemaPropsOrArray"), json!({}), components)
        }
        Type::SchemaOrBool => {
            special(&format!("{SCHEMA_PREFIX}JSONSchemaPropsOrBool"), json!({}), components)
        }
        Type::SchemaOrTexts => {
            special(&format!("{SCHEMA_PREFIX}JSONSchemaPropsOrStringArray"), json!({}), components)
        }
        Type::Message(_) => {
            let message = field.message().expect("is a message");
            add_message(message, components);
            reference(&message.name)
        }
    }
}

fn special(name: &str, schema: Value, components: &mut Map<String, Value>) -> Value {
    components.entry(name).or_insert(schema);
    reference(name)
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_refer_to_each_other() {
        let components = openapi_components("io.k8s.api.core.v1.Pod");
        let spec = &components["io.k8s.api.core.v1.PodSpec"];
        let containers = &spec["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
        assert_eq!(
            containers["items"]["allOf"][0]["$ref"],
            "#/components/schemas/io.k8s.api.core.v1.Container"
        );
        assert_eq!(spec["required"], json!(["containers"]));
        assert_eq!(
            components["io.k8s.api.core.v1.Pod"][GROUP_VERSION_KIND],
            json!([{"group": "", "version": "v1", "kind": "Pod"}])
        );
        assert!(components.values().all(|component| !component.is_null()));
        let crd = openapi_components(
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
        );
        assert!(crd.len() > 10);
    }
}
