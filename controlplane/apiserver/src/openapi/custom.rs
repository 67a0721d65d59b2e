//! Custom resources in OpenAPI documents. Upstream `apiextensions-apiserver/pkg/controller/openapi/builder`.

use api::Kind;
use serde_json::{Map, Value, json};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should \
    convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this \
    from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// The component of OpenAPI v3.
#[must_use]
pub fn component(kind: &Kind) -> Value {
    let reference = json!({"allOf": [{"$ref": format!("#/components/schemas/{OBJECT_META}")}], "description": METADATA});
    whole(kind, raw(kind), reference)
}

fn raw(kind: &Kind) -> Value {
    let written = kind.custom.as_ref().map(|custom| custom.raw.clone()).filter(Value::is_object);
    written.unwrap_or_else(|| json!({"type": "object"}))
}

/// Adds what every object has.
fn whole(kind: &Kind, mut schema: Value, metadata: Value) -> Value {
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true
        && schema.get("properties").is_none();
    if !schema["properties"].is_object() && !open {
        schema["properties"] = Value::Object(Map::new());
    }
    schema["type"] = json!("object");
    schema["properties"]["apiVersion"] = json!({"type": "string", "description": API_VERSION});
    schema["properties"]["kind"] = json!({"type": "string", "description": KIND});
    schema["properties"]["metadata"] = metadata;
    schema["x-kubernetes-group-version-kind"] =
        json!([{"group": kind.group, "version": kind.version, "kind": kind.kind}]);
    schema
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use api::structural::Custom;

    use super::*;

    #[test]
    fn every_object_has_its_identity() {
        let mut kind = api::kinds()
            .into_iter()
            .find(|kind| kind.kind == "Lease")
            .expect("a kind of the table");
        kind.custom = Some(Arc::new(Custom {
            raw: json!({"type": "object", "properties": {"spec": {"type": "object"}}}),
            ..Custom::default()
        }));
        let component = component(&kind);
        assert!(component["properties"]["spec"].is_object());
        assert_eq!(component["properties"]["apiVersion"]["type"], "string");
        assert_eq!(component["x-kubernetes-group-version-kind"][0]["kind"], "Lease");
    }
}
