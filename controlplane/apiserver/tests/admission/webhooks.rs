//! Webhooks: what they see, change and refuse, and what becomes of their failures.

use super::{
    CONFIGS, Cluster, Value, delete,
    hook::{Hook, configure, denied, patched},
    json, make, map, merge, namespace, pod, refused,
};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CORE_MAPS: (&str, &str, &str) = ("", "v1", "configmaps");

fn answers(path: &str, request: &Value) -> Option<Value> {
    match path {
        "content" => {
            let object = request["object"].to_string();
            let unwanted = object.contains("offensive");
            if unwanted {
                denied("the content is offensive")
            } else {
                Some(json!({"allowed": true}))
            }
        }
        "deny" => denied("this webhook denies all requests"),
        "hang" => None,
        "allow" => Some(json!({"allowed": true, "warnings": ["be careful"]})),
        "one" => patched(json!([{"op": "add", "path": "/data/stage-1", "value": "yes"}])),
        "two" => match request["object"]["data"]["stage-1"] == "yes" {
            true => patched(json!([{"op": "add", "path": "/data/stage-2", "value": "yes"}])),
            false => Some(json!({"allowed": true})),
        },
        "init" => patched(json!([{"op": "add", "path": "/spec/initContainers", "value": [
            {"name": "added", "image": "webhook", "resources": {}}]}])),
        "prune" => patched(json!([{"op": "add", "path": "/data/unknown", "value": "x"}])),
        "self" => {
            patched(json!([{"op": "add", "path": "/metadata/labels/touched", "value": "yes"}]))
        }
        _ => Some(json!({"allowed": true})),
    }
}

#[tokio::test]
async fn webhooks_deny_config_maps_outside_exempt_namespaces() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster, answers).await;
    let mut webhook = hook.webhook("deny", &["CREATE", "UPDATE", "DELETE"], CORE_MAPS);
    webhook["namespaceSelector"] =
        json!({"matchExpressions": [{"key": "exempt", "operator": "DoesNotExist"}]});
    make(&cluster, MAPS, &map("before")).await;
    configure(&cluster, "Validating", "deny", json!([webhook])).await;
    let message = "admission webhook \"deny.example.com\" denied the request: this webhook denies all requests";
    assert_eq!(refused(&cluster, MAPS, &map("a")).await, (403, message.to_owned()));
    let before = format!("{MAPS}/before");
    let (code, _) = merge(&cluster, &before, &json!({"data": {"b": "2"}})).await;
    assert_eq!(code, 403, "an update is refused too");
    assert_eq!(delete(&cluster, &before).await.0, 403, "a deletion is refused too");
    let exempt = namespace(&cluster, "exempt", json!({"exempt": "yes"})).await;
    make(&cluster, &format!("{exempt}/configmaps"), &map("a")).await;
    let seen = hook.seen.lock().clone();
    let (_, request) = &seen[0];
    for (field, expect) in [
        ("operation", json!("CREATE")),
        ("name", json!("a")),
        ("namespace", json!("default")),
        ("dryRun", json!(false)),
        ("oldObject", Value::Null),
        ("resource", json!({"group": "", "version": "v1", "resource": "configmaps"})),
        ("requestKind", json!({"group": "", "version": "v1", "kind": "ConfigMap"})),
    ] {
        assert_eq!(request[field], expect, "{field}");
    }
    assert_eq!(seen[2].1["oldObject"]["metadata"]["name"], "before");
    assert_eq!(seen[2].1["object"], Value::Null);
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn webhook_timeouts_obey_the_failure_policy() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster, answers).await;
    let mut webhook = hook.webhook("hang", &["CREATE"], CORE_MAPS);
    webhook["timeoutSeconds"] = json!(1);
    configure(&cluster, "Validating", "hang", json!([webhook])).await;
    let (code, message) = refused(&cluster, MAPS, &map("a")).await;
    assert_eq!(code, 500);
    assert!(
        message.starts_with("Internal error occurred: failed calling webhook \"hang.example.com\": failed to call webhook: Post \"https://127.0.0.1:")
            && message.ends_with("/hang?timeout=1s\": context deadline exceeded"),
        "{message}"
    );
    let path = format!("{CONFIGS}/validatingwebhookconfigurations/hang");
    webhook["failurePolicy"] = json!("Ignore");
    merge(&cluster, &path, &json!({"webhooks": [webhook]})).await;
    make(&cluster, MAPS, &map("a")).await;
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn unreachable_webhooks_fail_closed() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster, answers).await;
    let mut webhook = hook.webhook("deny", &["CREATE"], CORE_MAPS);
    webhook["clientConfig"] =
        json!({"service": {"namespace": "default", "name": "nothing", "path": "/x"}});
    configure(&cluster, "Validating", "closed", json!([webhook])).await;
    let (code, message) = refused(&cluster, MAPS, &map("a")).await;
    assert_eq!(code, 500);
    assert!(message.contains("failed calling webhook \"deny.example.com\""), "{message}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn mutating_webhooks_run_in_order_and_again_where_needed() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster, answers).await;
    let mut two = hook.webhook("two", &["CREATE"], CORE_MAPS);
    two["reinvocationPolicy"] = json!("IfNeeded");
    let one = hook.webhook("one", &["CREATE"], CORE_MAPS);
    configure(&cluster, "Mutating", "a-first", json!([two])).await;
    configure(&cluster, "Mutating", "b-second", json!([one])).await;
    let made = make(&cluster, MAPS, &map("a")).await;
    assert_eq!(made["data"], json!({"a": "1", "stage-1": "yes", "stage-2": "yes"}));
    assert_eq!((hook.count("two"), hook.count("one")), (2, 1));
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn mutated_pods_get_defaults() {
    let cluster = Cluster::start().await;
    super::account(&cluster, "/api/v1/namespaces/default").await;
    let hook = Hook::start(&cluster, answers).await;
    let webhook = hook.webhook("init", &["CREATE"], ("", "v1", "pods"));
    configure(&cluster, "Mutating", "init", json!([webhook])).await;
    let made = make(&cluster, "/api/v1/namespaces/default/pods", &pod("a", json!({}))).await;
    let added = &made["spec"]["initContainers"][0];
    assert_eq!(added["name"], "added");
    assert_eq!(added["terminationMessagePolicy"], "File", "{added}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn webhooks_deny_attaching_to_pods() {
    let cluster = Cluster::start().await;
    super::account(&cluster, "/api/v1/namespaces/default").await;
    let pods = "/api/v1/namespaces/default/pods";
    make(&cluster, pods, &pod("a", json!({}))).await;
    let hook = Hook::start(&cluster, answers).await;
    let webhook = hook.webhook("deny", &["CONNECT"], ("", "v1", "pods/attach"));
    configure(&cluster, "Validating", "deny", json!([webhook])).await;
    let path = format!("{pods}/a/attach?stdin=true&container=c");
    let (code, message) = refused(&cluster, &path, &Value::Null).await;
    assert_eq!(code, 403, "{message}");
    assert!(message.starts_with("admission webhook \"deny.example.com\" denied"), "{message}");
    let seen = hook.seen.lock().clone();
    let (_, request) = &seen[0];
    assert_eq!(request["kind"]["kind"], "PodAttachOptions");
    assert_eq!(request["object"]["container"], "c");
    assert_eq!(
        (&request["operation"], &request["subResource"]),
        (&json!("CONNECT"), &json!("attach"))
    );
    cluster.handle.shutdown().await;
}

fn definition() -> Value {
    let schema = |title: &str| {
        json!({"openAPIV3Schema": {"type": "object", "title": title, "properties": {
        "data": {"type": "object", "properties": {"a": {"type": "string"}, "stage-1": {"type": "string"}}}}}})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.e.com"}, "spec": {"group": "e.com", "scope": "Namespaced",
        "names": {"plural": "foos", "kind": "Foo", "singular": "foo", "listKind": "FooList"}, "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": schema("one")},
            {"name": "v2", "served": true, "storage": false, "schema": schema("two")}]}})
}

/// Creates the definition and waits until its objects are served.
async fn define(cluster: &Cluster) {
    make(cluster, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition()).await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while cluster.get("/apis/e.com/v2/foos").await.0 != 200 {
        assert!(tokio::time::Instant::now() < deadline, "the definition is not served");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn webhooks_mutate_and_deny_custom_resources() {
    let cluster = Cluster::start().await;
    define(&cluster).await;
    let hook = Hook::start(&cluster, answers).await;
    let foos = "/apis/e.com/v2/namespaces/default/foos";
    let foo = |name: &str| json!({"apiVersion": "e.com/v2", "kind": "Foo", "metadata": {"name": name}, "data": {"a": "1"}});
    // The rule is about v1, the request about v2: the webhook sees v1.
    let one = hook.webhook("one", &["CREATE"], ("e.com", "v1", "foos"));
    configure(&cluster, "Mutating", "change", json!([one])).await;
    let made = make(&cluster, foos, &foo("a")).await;
    assert_eq!(made["apiVersion"], "e.com/v2");
    assert_eq!(made["data"], json!({"a": "1", "stage-1": "yes"}));
    let seen = hook.seen.lock().clone();
    assert_eq!(seen[0].1["object"]["apiVersion"], "e.com/v1");
    assert_eq!(seen[0].1["requestResource"]["version"], "v2");
    let deny = hook.webhook("deny", &["CREATE", "UPDATE", "DELETE"], ("e.com", "*", "foos"));
    configure(&cluster, "Validating", "deny", json!([deny])).await;
    assert_eq!(refused(&cluster, foos, &foo("b")).await.0, 403);
    let path = format!("{foos}/a");
    assert_eq!(merge(&cluster, &path, &json!({"data": {"a": "2"}})).await.0, 403);
    assert_eq!(delete(&cluster, &path).await.0, 403);
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn webhooks_about_v1_of_autoscalers_lose_nothing_of_v2() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster, answers).await;
    let webhook =
        hook.webhook("self", &["CREATE"], ("autoscaling", "v1", "horizontalpodautoscalers"));
    configure(&cluster, "Mutating", "touch", json!([webhook])).await;
    let metric = |name: &str, target: Value| json!({"type": "Resource", "resource": {"name": name, "target": target}});
    let metrics = json!([
        metric("memory", json!({"type": "AverageValue", "averageValue": "1Gi"})),
        metric("cpu", json!({"type": "Utilization", "averageUtilization": 80}))
    ]);
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "a", "labels": {"l": "1"}}, "spec": {"maxReplicas": 3, "metrics": metrics,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let made = make(&cluster, path, &scaler).await;
    let seen = hook.seen.lock()[0].1.clone();
    assert_eq!(seen["object"]["apiVersion"], "autoscaling/v1");
    assert_eq!(seen["object"]["spec"]["targetCPUUtilizationPercentage"], 80);
    assert_eq!(made["metadata"]["labels"]["touched"], "yes", "{made}");
    assert_eq!(made["spec"]["metrics"], metrics);
    assert!(made["metadata"].get("annotations").is_none(), "{made}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn webhooks_deny_definitions() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster, answers).await;
    let resource = ("apiextensions.k8s.io", "*", "customresourcedefinitions");
    let mut webhook = hook.webhook("deny", &["CREATE"], resource);
    webhook["objectSelector"] = json!({"matchLabels": {"deny": "yes"}});
    configure(&cluster, "Validating", "deny", json!([webhook])).await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let mut labelled = definition();
    labelled["metadata"]["labels"] = json!({"deny": "yes"});
    assert_eq!(refused(&cluster, path, &labelled).await.0, 403);
    make(&cluster, path, &definition()).await;
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn webhook_configurations_are_out_of_webhooks_reach() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster, answers).await;
    let all = ("admissionregistration.k8s.io", "*", "*");
    let deny = hook.webhook("deny", &["*"], all);
    let touch = hook.webhook("self", &["*"], all);
    configure(&cluster, "Validating", "deny", json!([deny])).await;
    configure(&cluster, "Mutating", "touch", json!([touch])).await;
    let made = configure(&cluster, "Mutating", "other", json!([])).await;
    assert_eq!(made["metadata"]["labels"], json!({"test": "yes"}));
    for path in ["validatingwebhookconfigurations/deny", "mutatingwebhookconfigurations/other"] {
        assert_eq!(delete(&cluster, &format!("{CONFIGS}/{path}")).await.0, 200);
    }
    assert!(hook.seen.lock().is_empty());
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn webhook_configurations_are_listed_changed_and_deleted_together() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster, answers).await;
    for kind in ["Validating", "Mutating"] {
        let plural = format!("{CONFIGS}/{}webhookconfigurations", kind.to_lowercase());
        for name in ["a", "b"] {
            let webhook = hook.webhook("deny", &["CREATE"], CORE_MAPS);
            configure(&cluster, kind, name, json!([webhook])).await;
        }
        let (_, list) = cluster.get(&format!("{plural}?labelSelector=test%3Dyes")).await;
        assert_eq!(list["items"].as_array().unwrap().len(), 2);
        // An update that spares creations, then a patch that brings them back.
        for name in ["a", "b"] {
            let (_, mut object) = cluster.get(&format!("{plural}/{name}")).await;
            object["webhooks"][0]["rules"][0]["operations"] = json!(["UPDATE"]);
            let path = format!("{plural}/{name}");
            let (code, _, answer) = cluster.json("PUT", &path, &[], &object).await;
            assert_eq!(code, 200, "{answer}");
        }
        make(&cluster, MAPS, &map(&format!("spared-{}", kind.to_lowercase()))).await;
        let patch = json!([{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]);
        let headers = [("content-type", "application/json-patch+json")];
        let (code, _, answer) =
            cluster.json("PATCH", &format!("{plural}/a"), &headers, &patch).await;
        assert_eq!(code, 200, "{answer}");
        assert_eq!(refused(&cluster, MAPS, &map("x")).await.0, 403);
        let (code, _) = delete(&cluster, &format!("{plural}?labelSelector=test%3Dyes")).await;
        assert_eq!(code, 200);
    }
    make(&cluster, MAPS, &map("free")).await;
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn match_conditions_choose_and_must_compile() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster, answers).await;
    for kind in ["Mutating", "Validating"] {
        let plural = format!("{CONFIGS}/{}webhookconfigurations", kind.to_lowercase());
        let mut webhook = hook.webhook("one", &["CREATE"], CORE_MAPS);
        webhook["matchConditions"] = json!([{"name": "x", "expression": "... [}"}]);
        let body = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}WebhookConfiguration"),
            "metadata": {"name": "bad"}, "webhooks": [webhook]});
        let (code, message) = refused(&cluster, &plural, &body).await;
        assert_eq!(code, 422);
        assert!(message.contains("compilation failed"), "{message}");
    }
    let mut webhook = hook.webhook("one", &["CREATE"], CORE_MAPS);
    webhook["matchConditions"] = json!([
        {"name": "skip-me", "expression": "!('skip-me' in object.metadata.?labels.orValue({}))"},
        {"name": "user", "expression": "request.userInfo.username != '' && request.namespace == 'default'"}]);
    configure(&cluster, "Mutating", "chosen", json!([webhook])).await;
    assert_eq!(make(&cluster, MAPS, &map("a")).await["data"]["stage-1"], "yes");
    let mut skipped = map("b");
    skipped["metadata"]["labels"] = json!({"skip-me": "yes"});
    assert!(make(&cluster, MAPS, &skipped).await["data"].get("stage-1").is_none());
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn dry_runs_and_warnings_reach_webhooks_and_clients() {
    let cluster = Cluster::start().await;
    let hook = Hook::start(&cluster, answers).await;
    let webhook = hook.webhook("allow", &["CREATE"], CORE_MAPS);
    configure(&cluster, "Validating", "allow", json!([webhook])).await;
    let path = format!("{MAPS}?dryRun=All");
    let (code, headers, _) = cluster.json("POST", &path, &[], &map("a")).await;
    assert_eq!(code, 201);
    assert_eq!(headers["warning"], "299 - \"be careful\"");
    assert_eq!(hook.seen.lock()[0].1["dryRun"], true);
    assert_eq!(cluster.get(&format!("{MAPS}/a")).await.0, 404);
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn webhook_resources_are_in_discovery() {
    let cluster = Cluster::start().await;
    let (_, group) = cluster.get("/apis/admissionregistration.k8s.io").await;
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let (_, list) = cluster.get(CONFIGS).await;
    let names: Vec<&str> = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    for name in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        assert!(names.contains(&name), "{names:?}");
    }
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn webhooks_deny_pods_and_config_maps_by_content_and_spare_marked_namespaces() {
    let cluster = Cluster::start().await;
    let path = namespace(&cluster, "judged", json!({})).await;
    let hook = Hook::start(&cluster, answers).await;
    let spare = json!({"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]});
    let mut webhooks = Vec::new();
    for (name, resource) in [("content", "pods"), ("content", "configmaps"), ("hang", "pods")] {
        let mut webhook = hook.webhook(name, &["CREATE", "UPDATE"], ("", "v1", resource));
        webhook["name"] = json!(format!("{name}.{resource}.example.com"));
        webhook["namespaceSelector"] = spare.clone();
        if name == "hang" {
            webhook["timeoutSeconds"] = json!(1);
            webhook["matchConditions"] =
                json!([{"name": "slow", "expression": "object.metadata.name == 'slow'"}]);
        }
        webhooks.push(webhook);
    }
    configure(&cluster, "Validating", "judge", Value::Array(webhooks)).await;
    let pods = format!("{path}/pods");
    let mut bad = pod("bad", json!({}));
    bad["metadata"]["labels"] = json!({"word": "offensive"});
    let (code, message) = refused(&cluster, &pods, &bad).await;
    assert_eq!(code, 403);
    assert!(message.ends_with("denied the request: the content is offensive"), "{message}");
    let (_, message) = refused(&cluster, &pods, &pod("slow", json!({}))).await;
    assert!(message.ends_with("context deadline exceeded"), "{message}");
    make(&cluster, &pods, &pod("good", json!({}))).await;
    let maps = format!("{path}/configmaps");
    let mut bad = map("bad");
    bad["data"]["word"] = json!("offensive");
    assert_eq!(refused(&cluster, &maps, &bad).await.0, 403);
    let good = make(&cluster, &maps, &map("good")).await;
    // Neither a PUT nor a patch makes it what it may not be.
    let own = format!("{maps}/good");
    let mut changed = good.clone();
    changed["data"] = json!({"word": "offensive"});
    assert_eq!(cluster.json("PUT", &own, &[], &changed).await.0, 403);
    assert_eq!(merge(&cluster, &own, &json!({"data": {"word": "offensive"}})).await.0, 403);
    let spared = namespace(&cluster, "spared", json!({"skip": "yes"})).await;
    make(&cluster, &format!("{spared}/configmaps"), &bad).await;
    cluster.handle.shutdown().await;
}

fn foo(version: &str, name: &str) -> Value {
    json!({"apiVersion": format!("e.com/{version}"), "kind": "Foo", "metadata": {"name": name}, "data": {"a": "1"}})
}

#[tokio::test]
async fn mutated_custom_resources_are_pruned() {
    let cluster = Cluster::start().await;
    define(&cluster).await;
    let hook = Hook::start(&cluster, answers).await;
    let one = hook.webhook("one", &["CREATE"], ("e.com", "*", "foos"));
    let prune = hook.webhook("prune", &["CREATE"], ("e.com", "*", "foos"));
    configure(&cluster, "Mutating", "change", json!([one, prune])).await;
    let foos = "/apis/e.com/v1/namespaces/default/foos";
    let made = make(&cluster, foos, &foo("v1", "a")).await;
    assert_eq!(made["data"], json!({"a": "1", "stage-1": "yes"}), "unknown fields are pruned");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn custom_resources_are_mutated_after_their_stored_version_changed() {
    let cluster = Cluster::start().await;
    define(&cluster).await;
    let hook = Hook::start(&cluster, answers).await;
    let foos = "/apis/e.com/v1/namespaces/default/foos";
    make(&cluster, foos, &foo("v1", "a")).await;
    let one = hook.webhook("one", &["UPDATE"], ("e.com", "*", "foos"));
    configure(&cluster, "Mutating", "change", json!([one])).await;
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/foos.e.com";
    let patch = json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]);
    let headers = [("content-type", "application/json-patch+json")];
    let (code, _, answer) = cluster.json("PATCH", definitions, &headers, &patch).await;
    assert_eq!(code, 200, "{answer}");
    let (code, changed) = merge(&cluster, &format!("{foos}/a"), &json!({"data": {"a": "2"}})).await;
    assert_eq!(code, 200, "{changed}");
    assert_eq!(changed["apiVersion"], "e.com/v1");
    assert_eq!(changed["data"], json!({"a": "2", "stage-1": "yes"}));
    let (_, other) = cluster.get("/apis/e.com/v2/namespaces/default/foos/a").await;
    assert_eq!(other["data"], changed["data"]);
    cluster.handle.shutdown().await;
}
