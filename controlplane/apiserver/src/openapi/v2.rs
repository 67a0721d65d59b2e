//! `/openapi/v2`: one Swagger document of everything that is served, made from the v3 documents.

use serde_json::{Map, Value, json};

/// Keys of v3 schemas that v2 cannot say.
const V3_ONLY: [&str; 6] =
    ["oneOf", "anyOf", "not", "nullable", "x-kubernetes-validations", "allOf"];
const REFERENCE: &str = "$ref";
const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const IDENTITY: &str = "x-kubernetes-group-version-kind";

/// Puts v3 documents together.
#[must_use]
pub fn document(parts: Vec<Value>) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for mut part in parts {
        if let Value::Object(items) = part["paths"].take() {
            paths.extend(items.into_iter().map(|(path, item)| (path, path_item(item))));
        }
        if let Value::Object(schemas) = part["components"]["schemas"].take() {
            for (name, schema) in schemas {
                definitions.entry(name).or_insert_with(|| to_v2(schema));
            }
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": crate::serve::GIT_VERSION},
        "paths": paths, "definitions": definitions,
    })
}

/// A schema without what v2 does not know, and without what kubectl makes too much of (upstream `ToStructuralOpenAPIV2` and
/// `buildKubeNative` of apiextensions-apiserver); references point to `definitions`.
fn to_v2(schema: Value) -> Value {
    match schema {
        Value::Object(fields) => object_to_v2(fields),
        Value::Array(list) => list.into_iter().map(to_v2).collect(),
        other => other,
    }
}

fn object_to_v2(mut fields: Map<String, Value>) -> Value {
    if let Some(Value::String(target)) = fields.get_mut(REFERENCE) {
        *target = target.replace("#/components/schemas/", "#/definitions/");
    }
    // A reference beside other keys.
    if let Some(one) = fields.get("allOf").and_then(|all| all[0][REFERENCE].as_str()) {
        let target = one.replace("#/components/schemas/", "#/definitions/");
        fields.insert(REFERENCE.into(), Value::from(target));
    }
    let is = |fields: &Map<String, Value>, key: &str| fields.get(key) == Some(&json!(true));
    if is(&fields, "nullable") {
        remove(&mut fields, &["type", "items", "properties"]);
    }
    let had_choice = fields.contains_key("oneOf") && !fields.contains_key("type");
    remove(&mut fields, &V3_ONLY);
    if had_choice {
        fields.insert("type".into(), json!("string"));
    }
    if is(&fields, PRESERVE) {
        if fields.contains_key(IDENTITY) {
            // kubectl would complain about every field beside those it is told of.
            fields.retain(|key, _| key == IDENTITY);
            fields.insert("type".into(), json!("object"));
            return Value::Object(fields);
        }
        remove(&mut fields, &["properties", "items"]);
        if fields.get("type").is_some_and(|kind| kind == "object" || kind == "array") {
            fields.remove("type");
        }
    }
    if is(&fields, "x-kubernetes-int-or-string") {
        fields.remove("type");
    }
    forget_nullable(&mut fields);
    // Names of properties may be anything: only their schemas are converted.
    let properties = match fields.remove("properties") {
        Some(Value::Object(properties)) => {
            Some(properties.into_iter().map(|(name, schema)| (name, to_v2(schema))).collect())
        }
        _ => None,
    };
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = fields.remove(key) {
            fields.insert(key.into(), to_v2(inner));
        }
    }
    if let Some(properties) = properties {
        fields.insert("properties".into(), Value::Object(properties));
    }
    Value::Object(fields)
}

fn remove(fields: &mut Map<String, Value>, keys: &[&str]) {
    for key in keys {
        fields.remove(*key);
    }
}

/// What may be null is not required: v2 cannot say that it may.
fn forget_nullable(fields: &mut Map<String, Value>) {
    if fields.get("additionalProperties").is_some_and(|inner| inner["nullable"] == true) {
        fields.remove("required");
    }
    let Some(Value::Array(mut required)) = fields.remove("required") else { return };
    let nullable = |name: &Value| {
        let property = fields.get("properties")?.get(name.as_str()?)?;
        property["nullable"].as_bool()
    };
    required.retain(|name| nullable(name) != Some(true));
    if !required.is_empty() {
        fields.insert("required".into(), Value::Array(required));
    }
}

fn path_item(item: Value) -> Value {
    let Value::Object(item) = item else { return json!({}) };
    let convert = |(key, value): (String, Value)| match key.as_str() {
        "parameters" => (key, parameters(value)),
        _ => (key, operation(value)),
    };
    Value::Object(item.into_iter().map(convert).collect())
}

fn parameters(list: Value) -> Value {
    let Value::Array(list) = list else { return json!([]) };
    let one = |mut parameter: Value| {
        if let Value::Object(schema) = parameter["schema"].take() {
            let fields = parameter.as_object_mut().expect("a parameter is an object");
            fields.remove("schema");
            fields.extend(schema);
        }
        parameter
    };
    list.into_iter().map(one).collect()
}

fn operation(mut operation: Value) -> Value {
    let mut list = parameters(operation["parameters"].take());
    let body = operation["requestBody"].take();
    let Some(fields) = operation.as_object_mut() else { return operation };
    fields.remove("requestBody");
    fields.insert("consumes".into(), json!(["*/*"]));
    if let Some(content) = body["content"].as_object().filter(|content| !content.is_empty()) {
        let schema = content.values().next().map(|one| to_v2(one["schema"].clone()));
        let mut parameter = json!({"name": "body", "in": "body", "schema": schema});
        if body["required"] == true {
            parameter["required"] = json!(true);
        }
        if let Value::Array(list) = &mut list {
            list.insert(0, parameter);
        }
        fields.insert("consumes".into(), content.keys().cloned().collect());
    }
    fields.insert("parameters".into(), list);
    let mut produces = json!(["application/json"]);
    if let Some(responses) = fields.get_mut("responses").and_then(Value::as_object_mut) {
        for response in responses.values_mut() {
            let content = response["content"].take();
            let shown = response.as_object_mut().expect("a response is an object");
            shown.remove("content");
            let Some(content) = content.as_object() else { continue };
            produces = content.keys().cloned().collect();
            if let Some(one) = content.values().next() {
                shown.insert("schema".into(), to_v2(one["schema"].clone()));
            }
        }
    }
    fields.insert("produces".into(), produces);
    fields.insert("schemes".into(), json!(["https"]));
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_v2_cannot_say_is_left_out() {
        let reference = "#/components/schemas/A";
        for (v3, v2) in [
            (json!({"$ref": reference}), json!({"$ref": "#/definitions/A"})),
            (
                json!({"allOf": [{"$ref": reference}], "default": {}, "description": "x"}),
                json!({"$ref": "#/definitions/A", "default": {}, "description": "x"}),
            ),
            (json!({"oneOf": [{"type": "string"}, {"type": "number"}]}), json!({"type": "string"})),
            (
                json!({"type": "object", "nullable": true, "properties": {"not": {"type": "string"}}}),
                json!({}),
            ),
            (
                json!({"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "string", "nullable": true}, "b": {"type": "string"}}}),
                json!({"type": "object", "required": ["b"], "properties": {"a": {}, "b": {"type": "string"}}}),
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"b": {}}}}}),
                json!({"type": "object", "properties": {"a": {"x-kubernetes-preserve-unknown-fields": true}}}),
            ),
            (
                json!({"type": "object", "x-kubernetes-group-version-kind": [], "x-kubernetes-preserve-unknown-fields": true, "properties": {"spec": {}}}),
                json!({"type": "object", "x-kubernetes-group-version-kind": []}),
            ),
        ] {
            assert_eq!(to_v2(v3), v2);
        }
    }

    #[test]
    fn bodies_become_parameters() {
        let item = json!({
            "parameters": [{"name": "n", "in": "path", "required": true, "schema": {"type": "string"}}],
            "put": {"parameters": [], "requestBody": {"required": true, "content": {"*/*": {"schema": {"$ref": "#/components/schemas/A"}}}},
                "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": {"type": "string"}}}}}},
        });
        let item = path_item(item);
        assert_eq!(
            item["parameters"][0],
            json!({"name": "n", "in": "path", "required": true, "type": "string"})
        );
        assert_eq!(item["put"]["parameters"][0]["schema"]["$ref"], "#/definitions/A");
        assert_eq!(
            item["put"]["responses"]["200"],
            json!({"description": "OK", "schema": {"type": "string"}})
        );
        assert_eq!(item["put"]["produces"], json!(["application/json"]));
    }
}
