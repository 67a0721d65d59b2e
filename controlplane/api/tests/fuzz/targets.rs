//! What is done with each input, and what must hold. A target answers whether the input was accepted.

use api::{
    Kind,
    patch::{self, apply::Writer},
    quantity, rules,
    selector::{Fields, Labels},
    time,
};
use serde_json::{Value, json};

fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

fn kind(name: &str) -> Kind {
    api::kinds().into_iter().find(|kind| kind.kind == name).unwrap()
}

/// Objects to begin with.
pub fn objects() -> Vec<Value> {
    let container = json!({"name": "c", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}],
        "env": [{"name": "A", "value": "1"}], "resources": {"requests": {"cpu": "100m"}}});
    vec![
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}},
            "spec": {"containers": [container], "volumes": [{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": "http"}], "selector": {"a": "b"}}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n", "creationTimestamp": "2026-01-01T00:00:00Z"}, "data": {"k": "dg=="}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i", "namespace": "n"},
            "spec": {"rules": [{"host": "h", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}),
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "as.b.c"},
            "spec": {"group": "b.c", "scope": "Cluster", "names": {"plural": "as", "kind": "A"}, "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"x": {"type": "array", "items": {"type": "string"}}}}}}]}}),
    ]
}

/// What decodes is encoded and decodes to the same again.
pub fn protobuf(input: &[u8]) -> bool {
    let Ok(object) = api::protobuf::decode(input) else { return false };
    if let Some(encoded) = api::protobuf::encode(&object) {
        let again = api::protobuf::decode(&encoded).expect("own bytes decode");
        let twice = api::protobuf::encode(&again).expect("a decoded object encodes");
        assert_eq!(encoded, twice, "encoding is not stable");
    }
    true
}

/// A selector that parses can be asked.
pub fn labels(input: &[u8]) -> bool {
    let Some(text) = text(input) else { return false };
    let Ok(selector) = Labels::parse(text) else { return false };
    for object in [
        json!({}),
        json!({"metadata": {"labels": {"a": "b", "n": "5"}}}),
        json!({"metadata": {"labels": 7}}),
    ] {
        let _matched = selector.matches_object(&object);
    }
    true
}

pub fn fields(input: &[u8]) -> bool {
    let Some(text) = text(input) else { return false };
    let Ok(selector) = Fields::parse(&kind("Pod"), text) else { return false };
    for object in objects() {
        let _matched = selector.matches(&object);
    }
    true
}

pub fn values(input: &[u8]) -> bool {
    let Some(text) = text(input) else { return false };
    if let Some(instant) = time::parse(text) {
        let shown = time::format_micros(instant);
        assert_eq!(time::parse(&shown).map(time::format_micros), Some(shown));
    }
    let _shown = time::format_go_duration(time::parse_go_duration(text));
    let Ok(parsed) = quantity::parse(text) else { return false };
    let shown = parsed.to_string();
    let again = quantity::parse(&shown).unwrap_or_else(|_| panic!("{text} was written {shown}"));
    assert_eq!((again.milli(), again.to_string()), (parsed.milli(), shown));
    true
}

/// Two JSON texts, the second behind a line break; the first alone is merged with itself.
fn pair(input: &[u8]) -> Option<(Value, Value)> {
    let text = text(input)?;
    let (first, second) = text.split_once('\n').unwrap_or((text, text));
    Some((serde_json::from_str(first).ok()?, serde_json::from_str(second).ok()?))
}

pub fn patches(input: &[u8]) -> bool {
    let Some((object, change)) = pair(input) else { return false };
    let merged = patch::merge_patch(&object, &change);
    assert_eq!(
        patch::merge_patch(&merged, &change),
        merged,
        "a merge patch twice is a merge patch once"
    );
    let json = patch::json_patch(&object, &change).is_ok();
    let schema = object["kind"]
        .as_str()
        .and_then(|name| api::kinds().into_iter().find(|kind| kind.kind == name));
    let schema = schema.map_or("io.k8s.api.core.v1.Pod".to_owned(), |kind| kind.schema);
    let strategic = patch::strategic_merge(&schema, &object, &change).is_ok();
    json || strategic
}

/// What one manager applies twice is applied once.
pub fn apply(input: &[u8]) -> bool {
    let Some((live, config)) = pair(input) else { return false };
    let Some(name) = config["kind"].as_str() else { return false };
    let Some(kind) = api::kinds().into_iter().find(|kind| kind.kind == name) else { return false };
    if !live.is_object()
        || api::schema::check_types(&kind.schema, &live).is_err()
        || api::schema::check_types(&kind.schema, &config).is_err()
    {
        return false;
    }
    let writer = Writer { manager: "m", subresource: "", now: "2026-01-01T00:00:00Z", force: true };
    let Ok(once) = patch::apply::apply(&kind, Some(&live), &config, &writer) else { return false };
    let twice = patch::apply::apply(&kind, Some(&once), &config, &writer);
    let twice =
        twice.unwrap_or_else(|status| panic!("applied once, then refused: {}", status.message));
    assert_eq!(twice, once, "applied twice");
    true
}

/// Defaults, validation and columns take any object of the right types.
pub fn validation(input: &[u8]) -> bool {
    let Some((mut object, _)) = pair(input) else { return false };
    let Some(name) = object["kind"].as_str() else { return false };
    let Some(kind) = api::kinds().into_iter().find(|kind| kind.kind == name) else { return false };
    if !object["metadata"].is_object() || api::schema::check_types(&kind.schema, &object).is_err() {
        return false;
    }
    let old = object.clone();
    rules::set_defaults(&kind, &mut object);
    rules::prepare_create(&kind, &mut object);
    let causes = rules::validate(&kind, &object, None);
    let _causes = rules::validate(&kind, &object, Some(&old));
    let _table = api::columns::table(
        &kind,
        &[&object],
        json!({}),
        api::columns::IncludeObject::None,
        true,
        0,
    );
    causes.is_empty()
}
