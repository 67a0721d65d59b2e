//! Tables of applies and updates.

use serde_json::{Value, json};

use super::{Writer, apply, apply_custom, track};
use crate::Kind;
use crate::rules::tests::kind;

const NOW: &str = "2026-01-01T00:00:00Z";

fn writer(manager: &str) -> Writer<'_> {
    Writer { manager, subresource: "", now: NOW, force: false }
}

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
}

fn owners(object: &Value) -> Vec<(String, String)> {
    let list = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    list.iter().map(|entry| (text(entry, "manager"), text(entry, "operation"))).collect()
}

fn fields_of(object: &Value, manager: &str) -> Value {
    let list = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    list.iter()
        .find(|entry| entry["manager"] == manager)
        .map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

#[test]
fn apply_creates_and_owns() {
    let kind = kind("Deployment");
    let created = apply(&kind, None, &deployment(json!({"replicas": 3})), &writer("a")).unwrap();
    assert_eq!(created["spec"]["replicas"], 3);
    assert_eq!(fields_of(&created, "a"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(created["metadata"]["managedFields"][0]["operation"], "Apply");
    assert_eq!(created["metadata"]["managedFields"][0]["time"], NOW);
}

#[test]
fn conflicts_are_named_and_forced() {
    let kind = kind("Deployment");
    let created = apply(&kind, None, &deployment(json!({"replicas": 3})), &writer("a")).unwrap();
    let config = deployment(json!({"replicas": 5}));
    let refused = apply(&kind, Some(&created), &config, &writer("b")).unwrap_err();
    assert_eq!(refused.reason.code(), 409);
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"a\": .spec.replicas"
    );
    assert_eq!(refused.causes[0].field, ".spec.replicas");
    assert_eq!(refused.causes[0].reason, "FieldManagerConflict");
    let forced = Writer { force: true, ..writer("b") };
    let changed = apply(&kind, Some(&created), &config, &forced).unwrap();
    assert_eq!(owners(&changed), [("b".into(), "Apply".into())]);
    let same =
        apply(&kind, Some(&created), &deployment(json!({"replicas": 3})), &writer("b")).unwrap();
    assert_eq!(owners(&same).len(), 2, "equal values are shared");
}

#[test]
fn fields_no_longer_applied_go_away() {
    let kind = kind("Deployment");
    let container = |name: &str, image: &str| json!({"name": name, "image": image});
    let with = |containers: Value| {
        deployment(json!({"paused": true, "template": {"spec": {"containers": containers}}}))
    };
    let first = with(json!([container("x", "1"), container("y", "1")]));
    let live = apply(&kind, None, &first, &writer("a")).unwrap();
    let other =
        deployment(json!({"template": {"spec": {"containers": [{"name": "y", "tty": true}]}}}));
    let live = apply(&kind, Some(&live), &other, &writer("b")).unwrap();
    let less = deployment(json!({"template": {"spec": {"containers": [container("x", "2")]}}}));
    let live = apply(&kind, Some(&live), &less, &writer("a")).unwrap();
    assert!(live["spec"].get("paused").is_none());
    assert_eq!(
        live["spec"]["template"]["spec"]["containers"],
        json!([{"name": "x", "image": "2"}, {"name": "y", "tty": true}]),
    );
}

#[test]
fn updates_take_fields_from_appliers() {
    let kind = kind("Deployment");
    let old = apply(&kind, None, &deployment(json!({"replicas": 3, "paused": true})), &writer("a"))
        .unwrap();
    let mut new = old.clone();
    new["spec"]["replicas"] = json!(9);
    track(&kind, Some(&old), &mut new, &writer("hpa"));
    assert_eq!(fields_of(&new, "a"), json!({"f:spec": {"f:paused": {}}}));
    assert_eq!(fields_of(&new, "hpa"), json!({"f:spec": {"f:replicas": {}}}));
    let mut same = new.clone();
    track(&kind, Some(&new), &mut same, &Writer { now: "2027-01-01T00:00:00Z", ..writer("hpa") });
    assert_eq!(same, new, "a write that changes nothing leaves no trace");
}

#[test]
fn creates_are_tracked_like_upstream() {
    let kind = kind("Pod");
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "uid": "u", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}], "dnsPolicy": "ClusterFirst"}, "status": {}});
    track(&kind, None, &mut pod, &writer("kubectl-create"));
    assert_eq!(
        fields_of(&pod, "kubectl-create"),
        json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {}}}, "f:dnsPolicy": {}}})
    );
    let old = pod.clone();
    pod["status"] = json!({"phase": "Running"});
    let status = Writer { subresource: "status", ..writer("kubelet") };
    track(&kind, Some(&old), &mut pod, &status);
    assert_eq!(fields_of(&pod, "kubelet"), json!({"f:status": {"f:phase": {}}}));
    assert_eq!(owners(&pod).len(), 2);
}

#[test]
fn ports_are_keyed_with_their_default_protocol() {
    let kind = kind("Service");
    let service = |port: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [port]}});
    let mut live =
        apply(&kind, None, &service(json!({"port": 80, "name": "a"})), &writer("a")).unwrap();
    live["spec"]["ports"][0]["protocol"] = json!("TCP");
    let again = apply(&kind, Some(&live), &service(json!({"port": 80, "name": "b"})), &writer("a"))
        .unwrap();
    assert_eq!(again["spec"]["ports"], json!([{"port": 80, "name": "b", "protocol": "TCP"}]));
}

#[test]
fn client_side_apply_hands_over_to_kubectl() {
    let kind = kind("Deployment");
    let config = deployment(json!({"replicas": 1}));
    let mut live = config.clone();
    live["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": config.to_string()});
    track(&kind, None, &mut live, &writer("kubectl-client-side-apply"));
    let wanted = deployment(json!({"replicas": 2}));
    assert!(apply(&kind, Some(&live), &wanted, &writer("someone")).is_err());
    let taken = apply(&kind, Some(&live), &wanted, &writer("kubectl")).unwrap();
    assert_eq!(taken["spec"]["replicas"], 2);
}

#[test]
fn objects_without_managers_start_with_the_first_apply() {
    let kind = kind("Deployment");
    let live = deployment(json!({"replicas": 1}));
    let applied =
        apply(&kind, Some(&live), &deployment(json!({"paused": true})), &writer("a")).unwrap();
    assert_eq!(
        owners(&applied),
        [("a".into(), "Apply".into()), ("before-first-apply".into(), "Update".into())]
    );
}

#[test]
fn custom_resources_follow_their_schema() {
    let custom = Kind {
        schema: String::new(),
        group: "e.com".into(),
        version: "v1".into(),
        kind: "Foo".into(),
        ..kind("Lease")
    };
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"items": {
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
        "items": {"type": "object", "properties": {"id": {"type": "string"}}}}}}}});
    let foo = |items: Value| json!({"apiVersion": "e.com/v1", "kind": "Foo", "metadata": {"name": "f"}, "spec": {"items": items}});
    let live = apply_custom(&custom, Some(&schema), None, &foo(json!([{"id": "1"}])), &writer("a"))
        .unwrap();
    let both =
        apply_custom(&custom, Some(&schema), Some(&live), &foo(json!([{"id": "2"}])), &writer("b"))
            .unwrap();
    assert_eq!(both["spec"]["items"], json!([{"id": "1"}, {"id": "2"}]));
    let wrong = json!({"apiVersion": "e.com/v2", "kind": "Foo"});
    assert!(
        apply_custom(&custom, None, None, &wrong, &writer("a"))
            .unwrap_err()
            .message
            .contains("Incorrect version")
    );
}

#[test]
fn list_items_must_be_told_apart() {
    let kind = kind("Deployment");
    for (containers, expect) in [
        (
            json!([{"image": "i"}]),
            ".spec.template.spec.containers: element 0: associative list with keys has an element that omits key field \"name\"",
        ),
        (
            json!([{"name": "c"}, {"name": "c"}]),
            ".spec.template.spec.containers: duplicate entries for key {\"name\":\"c\"}",
        ),
    ] {
        let config = deployment(json!({"template": {"spec": {"containers": containers}}}));
        let refused = apply(&kind, None, &config, &writer("a")).unwrap_err();
        assert!(refused.message.contains(expect), "{}", refused.message);
        let start = "failed to create typed patch object (/d; apps/v1, Kind=Deployment): ";
        assert!(refused.message.starts_with(start), "{}", refused.message);
    }
}
