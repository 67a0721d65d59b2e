//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy.

use super::{
    CONFIGS, Cluster, Value, delete, deployment, json, make, map, merge, namespace, refused,
};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn policy(kind: &str, name: &str, resource: (&str, &str), spec: Value) -> Value {
    let mut spec = spec;
    spec["matchConstraints"] = json!({"resourceRules": [{"operations": ["CREATE", "UPDATE"],
        "apiGroups": [resource.0], "apiVersions": ["v1"], "resources": [resource.1]}]});
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn binding(kind: &str, name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["policyName"] = json!(name);
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}Binding"),
        "metadata": {"name": name}, "spec": spec})
}

async fn validating(
    cluster: &Cluster,
    name: &str,
    resource: (&str, &str),
    spec: Value,
    bound: Value,
) -> Value {
    let kind = "ValidatingAdmissionPolicy";
    let body = policy(kind, name, resource, spec);
    let made = make(cluster, &format!("{CONFIGS}/validatingadmissionpolicies"), &body).await;
    let body = binding(kind, name, bound);
    make(cluster, &format!("{CONFIGS}/validatingadmissionpolicybindings"), &body).await;
    made
}

async fn mutating(cluster: &Cluster, name: &str, resource: (&str, &str), spec: Value) {
    let kind = "MutatingAdmissionPolicy";
    let mut spec = spec;
    spec["reinvocationPolicy"] = json!("Never");
    let body = policy(kind, name, resource, spec);
    make(cluster, &format!("{CONFIGS}/mutatingadmissionpolicies"), &body).await;
    let body = binding(kind, name, json!({}));
    make(cluster, &format!("{CONFIGS}/mutatingadmissionpolicybindings"), &body).await;
}

#[tokio::test]
async fn validating_policies_refuse_deployments() {
    let cluster = Cluster::start().await;
    let spec = json!({"validations": [
        {"expression": "object.spec.replicas > 1", "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)"},
        {"expression": "namespaceObject.metadata.name == 'default'", "message": "wrong namespace"}]});
    let deny = json!({"validationActions": ["Deny"]});
    let made = validating(&cluster, "replicas", ("apps", "deployments"), spec, deny).await;
    assert_eq!(made["status"]["observedGeneration"], 1);
    assert_eq!(made["status"]["typeChecking"], json!({}), "{made}");
    let (code, message) = refused(&cluster, DEPLOYMENTS, &deployment("a", 1)).await;
    assert_eq!(
        (code, message.as_str()),
        (
            422,
            "deployments.apps \"a\" is forbidden: ValidatingAdmissionPolicy 'replicas' with binding 'replicas' denied request: wants replicas > 1, got 1"
        )
    );
    make(&cluster, DEPLOYMENTS, &deployment("a", 2)).await;
    let (code, _) =
        merge(&cluster, &format!("{DEPLOYMENTS}/a"), &json!({"spec": {"replicas": 1}})).await;
    assert_eq!(code, 422);
    namespace(&cluster, "other", json!({})).await;
    let other = "/apis/apps/v1/namespaces/other/deployments";
    assert!(refused(&cluster, other, &deployment("a", 2)).await.1.ends_with("wrong namespace"));
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn validating_policies_use_variables_params_and_the_authorizer() {
    let cluster = Cluster::start().await;
    make(&cluster, MAPS, &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "limits"}, "data": {"max": "3"}})).await;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "variables": [
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "max", "expression": "int(params.data.max)"},
            {"name": "over", "expression": "variables.replicas > variables.max"}],
        "validations": [
            {"expression": "!variables.over", "message": "too many", "reason": "Forbidden"},
            {"expression": "authorizer.group('').resource('pods').namespace('default').check('create').allowed()"}],
    });
    let bound = |missing: &str| json!({"validationActions": ["Deny"], "paramRef": {"name": "limits", "namespace": "default", "parameterNotFoundAction": missing}});
    validating(&cluster, "max", ("apps", "deployments"), spec, bound("Deny")).await;
    make(&cluster, DEPLOYMENTS, &deployment("a", 3)).await;
    let (code, message) = refused(&cluster, DEPLOYMENTS, &deployment("b", 4)).await;
    assert_eq!(code, 403);
    assert!(message.ends_with("denied request: too many"), "{message}");
    delete(&cluster, &format!("{MAPS}/limits")).await;
    let (_, message) = refused(&cluster, DEPLOYMENTS, &deployment("c", 1)).await;
    assert!(
        message.ends_with("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"),
        "{message}"
    );
    let path = format!("{CONFIGS}/validatingadmissionpolicybindings/max");
    merge(&cluster, &path, &json!({"spec": bound("Allow")})).await;
    make(&cluster, DEPLOYMENTS, &deployment("c", 9)).await;
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn validating_policies_warn_and_fail_as_told() {
    let cluster = Cluster::start().await;
    let maps = ("", "configmaps");
    let warn = json!({"validationActions": ["Warn", "Audit"]});
    let spec = json!({"validations": [{"expression": "object.data.a == '2'", "message": "a is not 2"}],
        "matchConditions": [{"name": "named", "expression": "object.metadata.name.startsWith('w')"}]});
    validating(&cluster, "warn", maps, spec, warn).await;
    let (code, headers, _) = cluster.json("POST", MAPS, &[], &map("w")).await;
    assert_eq!(code, 201);
    assert_eq!(
        headers["warning"],
        "299 - \"Validation failed for ValidatingAdmissionPolicy 'warn' with binding 'warn': a is not 2\""
    );
    let broken = json!({"validations": [{"expression": "object.missing == 1"}]});
    let deny = json!({"validationActions": ["Deny"], "matchResources": {"objectSelector": {"matchLabels": {"b": "1"}}}});
    validating(&cluster, "broken", maps, broken, deny).await;
    make(&cluster, MAPS, &map("x")).await;
    let mut labelled = map("y");
    labelled["metadata"]["labels"] = json!({"b": "1"});
    let (_, message) = refused(&cluster, MAPS, &labelled).await;
    assert!(message.contains("resulted in error: no such key: missing"), "{message}");
    let path = format!("{CONFIGS}/validatingadmissionpolicies/broken");
    merge(&cluster, &path, &json!({"spec": {"failurePolicy": "Ignore"}})).await;
    make(&cluster, MAPS, &labelled).await;
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn policies_are_type_checked() {
    let cluster = Cluster::start().await;
    let spec = json!({"validations": [{"expression": "object.spec.replicas > '1'"}, {"expression": "true"}]});
    let deny = json!({"validationActions": ["Deny"]});
    let made = validating(&cluster, "typed", ("apps", "deployments"), spec, deny).await;
    let warnings = made["status"]["typeChecking"]["expressionWarnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{made}");
    assert_eq!(warnings[0]["fieldRef"], "spec.validations[0].expression");
    assert!(
        warnings[0]["warning"].as_str().unwrap().starts_with("apps/v1, Kind=Deployment: ERROR")
    );
    let bad = policy(
        "ValidatingAdmissionPolicy",
        "bad",
        ("", "pods"),
        json!({"validations": [{"expression": "1 +"}]}),
    );
    let (code, message) =
        refused(&cluster, &format!("{CONFIGS}/validatingadmissionpolicies"), &bad).await;
    assert_eq!(code, 422);
    assert!(message.contains("spec.validations[0].expression: Invalid value"), "{message}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn mutating_policies_change_deployments() {
    let cluster = Cluster::start().await;
    let apply = json!({"mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
        "Object{spec: Object.spec{replicas: object.spec.replicas + 1}, metadata: Object.metadata{labels: {'by': 'policy'}}}"}}]});
    mutating(&cluster, "a-apply", ("apps", "deployments"), apply).await;
    let patch = json!({
        "variables": [{"name": "note", "expression": "'made by ' + request.userInfo.username"}],
        "matchConditions": [{"name": "new", "expression": "!has(object.metadata.annotations)"}],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'add', path: '/metadata/annotations', value: {'note': variables.note}}]"}}]});
    mutating(&cluster, "b-patch", ("apps", "deployments"), patch).await;
    let made = make(&cluster, DEPLOYMENTS, &deployment("a", 1)).await;
    assert_eq!(made["spec"]["replicas"], 2);
    assert_eq!(made["metadata"]["labels"], json!({"by": "policy"}));
    assert!(
        made["metadata"]["annotations"]["note"].as_str().unwrap().starts_with("made by "),
        "{made}"
    );
    assert_eq!(made["spec"]["template"]["spec"]["containers"][0]["image"], "i");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn policies_and_their_bindings_live() {
    let cluster = Cluster::start().await;
    for (kind, plural) in [
        ("ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
        ("MutatingAdmissionPolicy", "mutatingadmissionpolicies"),
    ] {
        let spec = if kind.starts_with('V') {
            json!({"validations": [{"expression": "true"}]})
        } else {
            json!({"reinvocationPolicy": "Never", "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}]})
        };
        let bound =
            if kind.starts_with('V') { json!({"validationActions": ["Deny"]}) } else { json!({}) };
        live(&cluster, &format!("{CONFIGS}/{plural}"), policy(kind, "p", ("", "pods"), spec)).await;
        let bindings = format!("{CONFIGS}/{}bindings", plural.replace("policies", "policy"));
        live(&cluster, &bindings, binding(kind, "p", bound)).await;
    }
    cluster.handle.shutdown().await;
}

/// Create, get, list, patch, update, delete, delete together.
async fn live(cluster: &Cluster, path: &str, body: Value) {
    let made = make(cluster, path, &body).await;
    assert_eq!(made["metadata"]["generation"], 1, "{made}");
    let own = format!("{path}/p");
    assert_eq!(cluster.get(&own).await.1["spec"], made["spec"]);
    assert_eq!(cluster.get(path).await.1["items"].as_array().unwrap().len(), 1);
    let (code, mut object) =
        merge(cluster, &own, &json!({"metadata": {"annotations": {"patched": "yes"}}})).await;
    assert_eq!((code, &object["metadata"]["annotations"]["patched"]), (200, &json!("yes")));
    object["metadata"]["annotations"]["updated"] = json!("yes");
    let (code, _, updated) = cluster.json("PUT", &own, &[], &object).await;
    assert_eq!((code, &updated["metadata"]["annotations"]["updated"]), (200, &json!("yes")));
    assert_eq!(delete(cluster, &own).await.0, 200);
    assert_eq!(cluster.get(&own).await.0, 404);
    make(cluster, path, &body).await;
    assert_eq!(delete(cluster, path).await.0, 200);
    assert_eq!(cluster.get(path).await.1["items"], json!([]));
}
