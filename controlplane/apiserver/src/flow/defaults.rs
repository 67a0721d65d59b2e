//! The mandatory and the suggested objects (upstream `pkg/apis/flowcontrol/bootstrap/default.go`).

use serde_json::{Value, json};

use super::GROUP;

/// The two levels and schemas that always exist.
pub const MANDATORY: [&str; 2] = ["exempt", "catch-all"];

/// Levels: name, shares, lendable percent, queues, hand size; queues hold 50 requests each.
const LEVELS: [(&str, u32, u32, u32, u32); 6] = [
    ("system", 30, 33, 64, 6),
    ("node-high", 40, 25, 64, 6),
    ("leader-election", 10, 0, 16, 4),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
    ("global-default", 20, 50, 128, 6),
];

/// Priority levels first: schemas refer to them.
#[must_use]
pub fn objects() -> Vec<Value> {
    let mut all = vec![
        object(
            "PriorityLevelConfiguration",
            "exempt",
            json!({
            "type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}),
        ),
        object(
            "PriorityLevelConfiguration",
            "catch-all",
            json!({
            "type": "Limited", "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0,
                "limitResponse": {"type": "Reject"}}}),
        ),
    ];
    all.extend(LEVELS.map(|(name, shares, lendable, queues, hand)| {
        object("PriorityLevelConfiguration", name, json!({
            "type": "Limited", "limited": {"nominalConcurrencyShares": shares, "lendablePercent": lendable,
                "limitResponse": {"type": "Queue",
                    "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50}}}}))
    }));
    all.extend(schemas());
    all
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind,
        "metadata": {"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}},
        "spec": spec,
    })
}

fn schema(
    name: &str,
    level: &str,
    precedence: i64,
    method: &str,
    subjects: &Value,
    rules: (Value, Value),
) -> Value {
    let mut rule = json!({"subjects": subjects});
    for (field, value) in [("resourceRules", rules.0), ("nonResourceRules", rules.1)] {
        if !value.is_null() {
            rule[field] = json!([value]);
        }
    }
    let mut spec = json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": [rule]});
    if !method.is_empty() {
        spec["distinguisherMethod"] = json!({"type": method});
    }
    object("FlowSchema", name, spec)
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "group": {"name": name}})
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

fn account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}})
}

/// Resource and path rule for everything.
fn everything() -> (Value, Value) {
    let resources = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]});
    (resources, json!({"verbs": ["*"], "nonResourceURLs": ["*"]}))
}

fn leases(verbs: &[&str]) -> (Value, Value) {
    let rule = json!({"verbs": verbs, "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "namespaces": ["*"]});
    (rule, Value::Null)
}

fn schemas() -> Vec<Value> {
    let everyone = json!([group("system:unauthenticated"), group("system:authenticated")]);
    let write = ["get", "create", "update"];
    let (manager, scheduler) = ("system:kube-controller-manager", "system:kube-scheduler");
    let nodes = json!([group("system:nodes")]);
    let mut node_high =
        schema("system-node-high", "node-high", 400, "ByUser", &nodes, leases(&["*"]));
    if let Some(rules) = node_high["spec"]["rules"][0]["resourceRules"].as_array_mut() {
        rules.push(json!({"verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"], "clusterScope": true, "namespaces": ["*"]}));
    }
    let endpoints =
        json!({"verbs": write, "apiGroups": [""], "resources": ["endpoints"], "namespaces": ["*"]});
    vec![
        schema("exempt", "exempt", 1, "", &json!([group("system:masters")]), everything()),
        schema(
            "probes",
            "exempt",
            2,
            "",
            &everyone,
            (
                Value::Null,
                json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}),
            ),
        ),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            "ByUser",
            &json!([user(manager), user(scheduler), account("*")]),
            leases(&write),
        ),
        schema(
            "endpoint-controller",
            "workload-high",
            150,
            "ByUser",
            &json!([
                user(manager),
                account("endpoint-controller"),
                account("endpointslicemirroring-controller")
            ]),
            (endpoints, Value::Null),
        ),
        schema(
            "workload-leader-election",
            "leader-election",
            200,
            "ByUser",
            &json!([group("system:serviceaccounts")]),
            leases(&write),
        ),
        node_high,
        schema("system-nodes", "system", 500, "ByUser", &nodes, everything()),
        schema(
            "kube-controller-manager",
            "workload-high",
            800,
            "ByNamespace",
            &json!([user(manager)]),
            everything(),
        ),
        schema(
            "kube-scheduler",
            "workload-high",
            800,
            "ByNamespace",
            &json!([user(scheduler)]),
            everything(),
        ),
        schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            "ByNamespace",
            &json!([account("*")]),
            everything(),
        ),
        schema(
            "service-accounts",
            "workload-low",
            9000,
            "ByUser",
            &json!([group("system:serviceaccounts")]),
            everything(),
        ),
        schema("global-default", "global-default", 9900, "ByUser", &everyone, everything()),
        schema("catch-all", "catch-all", 10000, "ByUser", &everyone, everything()),
    ]
}
