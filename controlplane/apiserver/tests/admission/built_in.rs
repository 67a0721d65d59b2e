//! The built-in plugins over the wire.

use super::{Cluster, Value, delete, deployment, json, make, merge, namespace, pod, refused};

fn range(name: &str, limits: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": name, "labels": {"t": "1"}}, "spec": {"limits": limits}})
}

#[tokio::test]
async fn limit_ranges_default_and_bound_pods() {
    let cluster = Cluster::start().await;
    let path = namespace(&cluster, "limits", json!({})).await;
    let limits = json!([{"type": "Container", "min": {"cpu": "50m", "memory": "100Mi"}, "max": {"cpu": "500m", "memory": "500Mi"},
        "default": {"cpu": "500m", "memory": "500Mi"}, "defaultRequest": {"cpu": "100m", "memory": "200Mi"}}]);
    make(&cluster, &format!("{path}/limitranges"), &range("l", limits)).await;
    let pods = format!("{path}/pods");
    let made = make(&cluster, &pods, &pod("bare", json!({}))).await;
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "500m", "memory": "500Mi"}, "requests": {"cpu": "100m", "memory": "200Mi"}})
    );
    let partial = pod(
        "partial",
        json!({"resources": {"requests": {"memory": "150Mi"}, "limits": {"cpu": "300m"}}}),
    );
    let made = make(&cluster, &pods, &partial).await;
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "300m", "memory": "500Mi"}, "requests": {"cpu": "300m", "memory": "150Mi"}})
    );
    for (cpu, expect) in [
        (
            "10m",
            "pods \"x\" is forbidden: minimum cpu usage per Container is 50m, but request is 10m",
        ),
        (
            "600m",
            "pods \"x\" is forbidden: maximum cpu usage per Container is 500m, but limit is 600m",
        ),
    ] {
        let body = pod(
            "x",
            json!({"resources": {"requests": {"cpu": cpu}, "limits": {"cpu": if cpu == "10m" { "100m" } else { cpu }}}}),
        );
        let (code, message) = refused(&cluster, &pods, &body).await;
        assert_eq!(code, 403);
        assert!(
            message.starts_with(expect) || message.contains(expect.split(": ").nth(1).unwrap()),
            "{message}"
        );
    }
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn limit_ranges_are_listed_patched_and_deleted_together() {
    let cluster = Cluster::start().await;
    let limits = json!([{"type": "Container", "max": {"cpu": "1"}}]);
    for name in ["one", "two"] {
        namespace(&cluster, name, json!({})).await;
        make(
            &cluster,
            &format!("/api/v1/namespaces/{name}/limitranges"),
            &range("l", limits.clone()),
        )
        .await;
    }
    let (_, list) = cluster.get("/api/v1/limitranges?labelSelector=t%3D1").await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let path = "/api/v1/namespaces/one/limitranges";
    let patch = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}});
    let (code, patched) = merge(&cluster, &format!("{path}/l"), &patch).await;
    assert_eq!((code, &patched["spec"]["limits"][0]["max"]["cpu"]), (200, &json!("2")));
    assert_eq!(delete(&cluster, &format!("{path}?labelSelector=t%3D1")).await.0, 200);
    assert_eq!(cluster.get("/api/v1/limitranges").await.1["items"].as_array().unwrap().len(), 1);
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn pod_security_refuses_and_warns() {
    let cluster = Cluster::start().await;
    let label = |mode: &str| format!("pod-security.kubernetes.io/{mode}");
    let path = namespace(&cluster, "strict", json!({label("enforce"): "restricted"})).await;
    assert_eq!(
        refused(&cluster, &format!("{path}/pods"), &pod("x", json!({}))).await,
        (
            403,
            "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
             unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
             runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
             seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
                .to_owned()
        )
    );
    let deployments = "/apis/apps/v1/namespaces/strict/deployments";
    let (code, headers, _) = cluster.json("POST", deployments, &[], &deployment("d", 1)).await;
    assert_eq!(code, 201, "workloads are warned about, not refused");
    let warning = headers["warning"].to_str().unwrap();
    assert!(
        warning.starts_with("299 - \"would violate PodSecurity \\\"restricted:latest\\\": "),
        "{warning}"
    );
    let lax = namespace(&cluster, "lax", json!({})).await;
    make(
        &cluster,
        &format!("{lax}/pods"),
        &pod("p", json!({"securityContext": {"privileged": true}})),
    )
    .await;
    let patch = json!({"metadata": {"labels": {label("enforce"): "baseline"}}});
    let headers = [("content-type", "application/merge-patch+json")];
    let (code, headers, _) = cluster.json("PATCH", &lax, &headers, &patch).await;
    assert_eq!(code, 200);
    let warnings: Vec<&str> =
        headers.get_all("warning").iter().map(|one| one.to_str().unwrap()).collect();
    assert_eq!(
        warnings,
        [
            "299 - \"existing pods in namespace \\\"lax\\\" violate the new PodSecurity enforce level \\\"baseline:latest\\\"\"",
            "299 - \"p: privileged\""
        ]
    );
    let patch = json!({"metadata": {"labels": {label("enforce"): "strict"}}});
    let (code, answer) = merge(&cluster, &lax, &patch).await;
    assert_eq!(code, 422);
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .contains("must be one of privileged, baseline, restricted"),
        "{answer}"
    );
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn nodes_start_tainted_and_claims_protected() {
    let cluster = Cluster::start().await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    let made = make(&cluster, "/api/v1/nodes", &node).await;
    assert_eq!(
        made["spec"]["taints"],
        json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}])
    );
    for (name, default) in [("plain", "false"), ("best", "true")] {
        let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "p",
            "metadata": {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": default}}});
        make(&cluster, "/apis/storage.k8s.io/v1/storageclasses", &class).await;
    }
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let made = make(&cluster, claims, &claim).await;
    assert_eq!(made["spec"]["storageClassName"], "best");
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let grow = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let (code, answer) = merge(&cluster, &format!("{claims}/c"), &grow).await;
    assert!(code == 403 || code == 422, "{answer}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn one_default_priority_class_and_its_values() {
    let cluster = Cluster::start().await;
    super::account(&cluster, "/api/v1/namespaces/default").await;
    let class = |name: &str, value: i64| json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value, "globalDefault": true});
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    make(&cluster, classes, &class("usual", 7)).await;
    let (code, message) = refused(&cluster, classes, &class("other", 8)).await;
    assert_eq!(code, 403);
    assert!(
        message.ends_with(
            "PriorityClass usual is already marked as default. Only one default can exist"
        ),
        "{message}"
    );
    let made = make(&cluster, "/api/v1/namespaces/default/pods", &pod("p", json!({}))).await;
    assert_eq!(
        (&made["spec"]["priority"], &made["spec"]["priorityClassName"]),
        (&json!(7), &json!("usual"))
    );
    cluster.handle.shutdown().await;
}

fn event(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "reason": "Test",
        "involvedObject": {"kind": "Namespace", "name": "default", "namespace": "default"}})
}

#[tokio::test]
async fn events_are_limited_only_where_it_is_asked_for() {
    let events = "/api/v1/namespaces/default/events";
    let limits = json!({"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration", "limits": [
        {"type": "Namespace", "qps": 1, "burst": 2}, {"type": "SourceAndObject", "qps": 1, "burst": 100}]});
    let limits = apiserver::EventLimits::parse(&limits).unwrap();
    let cluster = Cluster::start_with(|config| config.event_limits = limits.clone()).await;
    for name in ["a", "b", "c", "d"] {
        make(&cluster, events, &event(name)).await;
    }
    cluster.handle.shutdown().await;
    let cluster = Cluster::start_with(|config| {
        config.admission_plugins = vec!["EventRateLimit".to_owned()];
        config.event_limits = limits;
    })
    .await;
    // At once: a second brings back only one event.
    let asked: Vec<Value> = (0..40).map(|number| event(&format!("e{number}"))).collect();
    let answers =
        futures::future::join_all(asked.iter().map(|one| cluster.post(events, one))).await;
    let refusals: Vec<(u16, String)> = answers
        .into_iter()
        .filter(|(code, _)| *code != 201)
        .map(|(code, answer)| (code, answer["message"].as_str().unwrap_or_default().to_owned()))
        .collect();
    let expect =
        (429, "Too many requests: limit reached on type Namespace for key default".to_owned());
    assert!(refusals.contains(&expect), "{refusals:?}");
    let kube_system = "/api/v1/namespaces/kube-system/events";
    let mut elsewhere = event("x");
    elsewhere["involvedObject"]["namespace"] = json!("kube-system");
    make(&cluster, kube_system, &elsewhere).await;
    let dry = format!("{events}?dryRun=All");
    make(&cluster, &dry, &event("dry")).await;
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn plugins_that_are_off_by_default_can_be_turned_on() {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"externalIPs": ["192.0.2.1"], "ports": [{"port": 80}]}});
    let services = "/api/v1/namespaces/default/services";
    let cluster = Cluster::start().await;
    make(&cluster, services, &service).await;
    cluster.handle.shutdown().await;
    let on = vec!["DenyServiceExternalIPs".to_owned()];
    let cluster = Cluster::start_with(|config| config.admission_plugins = on).await;
    let (code, message) = refused(&cluster, services, &service).await;
    assert_eq!(
        (code, message.as_str()),
        (403, "services \"s\" is forbidden: Use of external IPs is denied by admission control")
    );
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn plugins_are_told_by_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admission.yaml");
    let text = "
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: EventRateLimit
  path: events.yaml
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline, enforce-version: latest}
    exemptions: {namespaces: [exempt]}
";
    std::fs::write(&file, text).unwrap();
    let events = "{apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration, limits: [{type: Server, qps: 1, burst: 1}]}";
    std::fs::write(folder.path().join("events.yaml"), events).unwrap();
    let told = apiserver::AdmissionConfig::load(&file).unwrap();
    let cluster = Cluster::start_with(|config| {
        config.admission_plugins = vec!["EventRateLimit".to_owned()];
        (config.event_limits, config.pod_security) = (told.event_limits, told.pod_security);
    })
    .await;
    let privileged = pod("x", json!({"securityContext": {"privileged": true}}));
    let plain = namespace(&cluster, "plain", json!({})).await;
    let (code, why) = refused(&cluster, &format!("{plain}/pods"), &privileged).await;
    assert_eq!(code, 403);
    assert!(why.contains("violates PodSecurity \"baseline:latest\": privileged"), "{why}");
    let own = json!({"pod-security.kubernetes.io/enforce": "privileged"});
    for (name, labels) in [("exempt", json!({})), ("own", own)] {
        let path = namespace(&cluster, name, labels).await;
        make(&cluster, &format!("{path}/pods"), &privileged).await;
    }
    let path = "/api/v1/namespaces/default/events";
    let asked: Vec<Value> = (0..20).map(|number| event(&format!("e{number}"))).collect();
    let answers = futures::future::join_all(asked.iter().map(|one| cluster.post(path, one))).await;
    assert!(answers.iter().any(|(code, _)| *code == 429), "{answers:?}");
    cluster.handle.shutdown().await;
}
