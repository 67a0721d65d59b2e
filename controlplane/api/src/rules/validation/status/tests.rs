//! Statuses with one mistake each, in upstream's words.

use serde_json::{Value, json};

use crate::rules::tests::status_problems;

/// An object with a spec and a status.
fn object(spec: Value, status: Value) -> Value {
    json!({"metadata": {"name": "a", "namespace": "d"}, "spec": spec, "status": status})
}

/// What is said about a new status, by the old one.
fn said(kind: &str, spec: &Value, old: &Value, new: &Value) -> String {
    let at = |status: &Value| {
        let mut object = object(spec.clone(), status.clone());
        if crate::rules::tests::kind(kind).scope == crate::Scope::Cluster {
            object["metadata"] = json!({"name": "a"});
        }
        object
    };
    status_problems(kind, &at(new), &at(old))
}

#[test]
fn counts_fit_together() {
    let none = json!({});
    for (kind, old, new, expect) in [
        ("Deployment", &none, json!({"replicas": 3, "readyReplicas": 3, "updatedReplicas": 3}), ""),
        (
            "Deployment",
            &none,
            json!({"unavailableReplicas": -1}),
            "status.unavailableReplicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "Deployment",
            &none,
            json!({"replicas": 1, "readyReplicas": 1, "availableReplicas": 2}),
            "status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas; \
             status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas",
        ),
        ("Deployment", &json!({"collisionCount": 2}), json!({"collisionCount": 2}), ""),
        (
            "Deployment",
            &json!({"collisionCount": 2}),
            json!({}),
            "status.collisionCount: Invalid value: 0: cannot be decremented",
        ),
        (
            "ReplicaSet",
            &none,
            json!({"replicas": 1, "fullyLabeledReplicas": 2}),
            "status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas",
        ),
        (
            "ReplicationController",
            &none,
            json!({"replicas": 1, "readyReplicas": 2}),
            "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
        ),
        (
            "StatefulSet",
            &none,
            json!({"replicas": 2, "availableReplicas": 1}),
            "status.availableReplicas: Invalid value: 1: cannot be greater than status.readyReplicas",
        ),
        (
            "DaemonSet",
            &json!({"collisionCount": 2}),
            json!({"numberReady": -1, "collisionCount": 1}),
            "status.numberReady: Invalid value: -1: must be greater than or equal to 0; \
             status.collisionCount: Invalid value: 1: cannot be decremented",
        ),
        (
            "HorizontalPodAutoscaler",
            &none,
            json!({"desiredReplicas": -1}),
            "status.desiredReplicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        ("CronJob", &none, json!({"active": []}), ""),
        ("ServiceCIDR", &none, json!({"conditions": [{"type": "Ready"}]}), ""),
        ("PersistentVolume", &none, json!({"phase": "Bound"}), ""),
    ] {
        assert_eq!(said(kind, &json!({}), old, &new), expect, "{kind} {new}");
    }
}

#[test]
fn conditions_are_whole() {
    let fine = json!({"type": "Fine", "status": "True", "reason": "A", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let with = |field: &str, value: Value| {
        let mut condition = fine.clone();
        condition[field] = value;
        json!([condition])
    };
    for (conditions, expect) in [
        (json!([fine]), ""),
        (json!([fine, fine]), "status.conditions[1].type: Duplicate value: \"Fine\""),
        (
            with("status", json!("Yes")),
            "status.conditions[0].status: Unsupported value: \"Yes\": supported values: \"False\", \"True\", \"Unknown\"",
        ),
        (
            with("lastTransitionTime", Value::Null),
            "status.conditions[0].lastTransitionTime: Required value",
        ),
        (with("reason", json!("")), "status.conditions[0].reason: Required value"),
        (
            with("reason", json!("a b")),
            "status.conditions[0].reason: Invalid value: \"a b\": a condition reason must start with alphabetic \
             character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an \
             alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or \
             'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')",
        ),
        (
            with("message", json!("x".repeat(32_769))),
            "status.conditions[0].message: Too long: may not be more than 32768 bytes",
        ),
        (
            with("observedGeneration", json!(-1)),
            "status.conditions[0].observedGeneration: Invalid value: -1: must be greater than or equal to zero",
        ),
    ] {
        let status = json!({"conditions": conditions});
        assert_eq!(said("PodDisruptionBudget", &json!({}), &json!({}), &status), expect);
    }
    let twice = json!({"conditions": [{"type": "Dangling"}, {"type": "Dangling"}, {"type": ""}]});
    for kind in ["FlowSchema", "PriorityLevelConfiguration"] {
        assert_eq!(
            said(kind, &json!({}), &json!({}), &twice),
            "status.conditions[1].type: Duplicate value: \"Dangling\"; status.conditions[2].type: Required value"
        );
    }
}

/// A job's status with the conditions named.
fn job(conditions: &[&str], fields: Value) -> Value {
    let mut status = fields;
    let conditions: Vec<Value> =
        conditions.iter().map(|one| json!({"type": one, "status": "True"})).collect();
    status["conditions"] = Value::from(conditions);
    status
}

#[test]
fn jobs_end_once_and_in_order() {
    let (start, end) = ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z");
    let running = job(&[], json!({"startTime": start, "active": 1}));
    let met = job(&["SuccessCriteriaMet"], json!({"startTime": start, "active": 1}));
    let done = job(
        &["SuccessCriteriaMet", "Complete"],
        json!({"startTime": start, "completionTime": end, "succeeded": 1}),
    );
    let failed = job(&["FailureTarget", "Failed"], json!({"startTime": start, "failed": 2}));
    for (old, new, expect) in [
        (&running, met.clone(), ""),
        (&met, done.clone(), ""),
        (&running, failed.clone(), ""),
        (
            &running,
            job(&["Complete"], json!({"startTime": start, "completionTime": end})),
            "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        ),
        (
            &running,
            job(&["Failed"], json!({"startTime": start})),
            "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
        ),
        (
            &met,
            job(&["SuccessCriteriaMet", "Complete"], json!({"startTime": start})),
            "status.completionTime: Required value: completionTime is required for Complete jobs",
        ),
        (
            &running,
            job(&[], json!({"startTime": start, "completionTime": end})),
            "status.completionTime: Invalid value: \"2026-01-01T00:01:00Z\": cannot set completionTime when there is no Complete=True condition",
        ),
        (
            &met,
            job(
                &["SuccessCriteriaMet", "Complete"],
                json!({"startTime": end, "completionTime": start}),
            ),
            "status.completionTime: Invalid value: \"2026-01-01T00:00:00Z\": must be equal to or after `startTime`; \
             status.startTime: Invalid value: \"2026-01-01T00:01:00Z\": field is immutable for unsuspended job once set",
        ),
        (
            &done,
            met.clone(),
            "status.conditions: Invalid value: cannot disable the terminal Complete=True condition; \
             status.succeeded: Invalid value: 0: cannot decrease the succeeded counter",
        ),
        (
            &failed,
            job(
                &["FailureTarget", "Failed"],
                json!({"startTime": start, "failed": 2, "active": 1}),
            ),
            "status.active: Invalid value: 1: active>0 is invalid for finished job",
        ),
        (
            &running,
            job(&["FailureTarget", "Failed"], json!({"terminating": 1})),
            "status.startTime: Required value: startTime is required for finished job; \
             status.terminating: Invalid value: 1: terminating>0 is invalid for finished job; \
             status.startTime: Invalid value: null: field is immutable for unsuspended job once set",
        ),
        (
            &running,
            job(&["FailureTarget", "SuccessCriteriaMet"], json!({"startTime": start})),
            "status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        ),
        (
            &running,
            job(&[], json!({"startTime": start, "active": 1, "ready": 2})),
            "status.ready: Invalid value: 2: cannot set more ready pods than active",
        ),
        (
            &running,
            job(
                &[],
                json!({"startTime": start, "uncountedTerminatedPods": {"succeeded": ["a", ""], "failed": ["a"]}}),
            ),
            "status.uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty; \
             status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
        ),
    ] {
        assert_eq!(said("Job", &json!({"completions": 1}), old, &new), expect, "{new}");
    }
}

#[test]
fn indexes_of_jobs_rise() {
    let spec = json!({"completions": 6, "completionMode": "Indexed", "backoffLimitPerIndex": 1});
    for (completed, failed, expect) in [
        ("0,2-4", Some("1,5"), ""),
        (
            "3,2",
            None,
            "status.completedIndexes: Invalid value: \"3,2\": error parsing completedIndexes: non-increasing order, previous: 3, current: 2",
        ),
        (
            "6",
            None,
            "status.completedIndexes: Invalid value: \"6\": error parsing completedIndexes: too large index: \"6\"",
        ),
        (
            "0",
            Some("x"),
            "status.failedIndexes: Invalid value: \"x\": error parsing failedIndexes: cannot convert string to integer for index: \"x\"",
        ),
        (
            "0-3",
            Some("2-4"),
            "status.failedIndexes: Invalid value: \"2-4\": failedIndexes and completedIndexes overlap at index: 2",
        ),
    ] {
        let mut status = json!({"completedIndexes": completed});
        if let Some(failed) = failed {
            status["failedIndexes"] = json!(failed);
        }
        assert_eq!(said("Job", &spec, &json!({}), &status), expect, "{status}");
        assert_eq!(said("Job", &spec, &status, &status), "", "what is there stays: {status}");
    }
    let plain = json!({"completions": 6});
    let status = json!({"completedIndexes": "1", "failedIndexes": "2"});
    assert_eq!(
        said("Job", &plain, &json!({}), &status),
        "status.completedIndexes: Invalid value: \"1\": cannot set non-empty completedIndexes when non-indexed completion mode; \
         status.failedIndexes: Invalid value: \"2\": cannot set non-null failedIndexes when backoffLimitPerIndex is null"
    );
}

#[test]
fn ended_containers_stay_ended() {
    let of =
        |name: &str, code: i64| json!({"name": name, "state": {"terminated": {"exitCode": code}}});
    let running = |name: &str| json!({"name": name, "state": {"running": {}}});
    let spec = |policy: &str, own: Value| {
        let mut container = json!({"name": "c"});
        if own.is_object() {
            container["restartPolicy"] = own["restartPolicy"].clone();
            container["restartPolicyRules"] = own["restartPolicyRules"].clone();
        }
        json!({"restartPolicy": policy, "containers": [container],
            "initContainers": [{"name": "c"}, {"name": "s", "restartPolicy": "Always"}]})
    };
    let on_three = json!({"restartPolicy": "Never", "restartPolicyRules": [
        {"action": "Restart", "exitCodes": {"operator": "In", "values": [3]}}]});
    let all = json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "RestartAllContainers",
        "exitCodes": {"operator": "In", "values": [3]}}]});
    for (field, policy, own, name, code, refused) in [
        ("containerStatuses", "Always", Value::Null, "c", 0, false),
        ("containerStatuses", "OnFailure", Value::Null, "c", 1, false),
        ("containerStatuses", "OnFailure", Value::Null, "c", 0, true),
        ("containerStatuses", "Never", Value::Null, "c", 1, true),
        ("containerStatuses", "Never", on_three.clone(), "c", 3, false),
        ("containerStatuses", "Never", on_three, "c", 4, true),
        ("containerStatuses", "Never", all, "c", 4, false),
        ("initContainerStatuses", "Never", Value::Null, "c", 0, true),
        ("initContainerStatuses", "Never", Value::Null, "s", 0, false),
        ("ephemeralContainerStatuses", "Always", Value::Null, "c", 0, true),
    ] {
        let (old, new) = (json!({field: [of(name, code)]}), json!({field: [running(name)]}));
        let found = said("Pod", &spec(policy, own), &old, &new);
        let expect = format!(
            "status.{field}[0].state: Forbidden: may not be transitioned to non-terminated state"
        );
        assert_eq!(found, if refused { expect } else { String::new() }, "{policy} {name} {code}");
        assert_eq!(said("Pod", &spec(policy, Value::Null), &old, &old), "");
    }
}

#[test]
fn pods_have_addresses_and_a_class() {
    let old = json!({"qosClass": "Burstable", "podIPs": [{"ip": "010.0.0.1"}]});
    let with = |field: &str, value: Value| {
        let mut status = json!({"qosClass": "Burstable"});
        status[field] = value;
        status
    };
    let (none, bound) = (json!({}), json!({"nodeName": "n1"}));
    for (spec, new, expect) in [
        (&none, with("podIPs", json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}])), ""),
        (&none, with("podIPs", json!([{"ip": "010.0.0.1"}])), ""),
        (
            &none,
            with("podIPs", json!([{"ip": "x"}])),
            "status.podIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
        (
            &none,
            with("podIPs", json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}])),
            "status.podIPs: Invalid value: [{\"IP\":\"10.0.0.1\"},{\"IP\":\"10.0.0.2\"}]: may specify no more than one IP for each IP family",
        ),
        (
            &none,
            with("hostIPs", json!([{"ip": "10.0.0.1"}])),
            "status.hostIPs[0].ip: Invalid value: \"10.0.0.1\": must be equal to `hostIP`",
        ),
        (
            &none,
            json!({"qosClass": "BestEffort"}),
            "status.qosClass: Invalid value: \"BestEffort\": field is immutable",
        ),
        (&none, with("nominatedNodeName", json!("n2")), ""),
        (
            &bound,
            with("nominatedNodeName", json!("n2")),
            "status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node",
        ),
        (
            &none,
            with(
                "conditions",
                json!([{"type": "Ready"}, {"type": "example.com/a"}, {"type": "Ready", "observedGeneration": -1}]),
            ),
            "status.conditions[2].observedGeneration: Invalid value: -1: must be a non-negative integer",
        ),
        (
            &none,
            with("resourceClaimStatuses", json!([{"name": "c"}])),
            "status.resourceClaimStatuses[0].name: Invalid value: \"c\": must match the name of an entry in `spec.resourceClaims`",
        ),
    ] {
        assert_eq!(said("Pod", spec, &old, &new), expect, "{new}");
    }
}

#[test]
fn balancers_answer_at_addresses() {
    let balancer = |points: Value| json!({"loadBalancer": {"ingress": points}});
    let (cluster, outside) = (json!({"type": "ClusterIP"}), json!({"type": "LoadBalancer"}));
    let old = balancer(json!([{"ip": "010.0.0.9", "ipMode": "VIP"}]));
    for (kind, spec, points, expect) in [
        (
            "Service",
            &outside,
            json!([{"ip": "192.0.2.1", "ipMode": "VIP"}, {"hostname": "a.example.com"}]),
            "",
        ),
        ("Service", &outside, json!([{"ip": "010.0.0.9", "ipMode": "Proxy"}]), ""),
        ("Service", &cluster, json!([]), ""),
        (
            "Service",
            &cluster,
            json!([{"ip": "192.0.2.1"}]),
            "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'",
        ),
        (
            "Service",
            &outside,
            json!([{"ip": "192.0.2.1"}, {"hostname": "a", "ipMode": "VIP"}, {"ip": "192.0.2.2", "ipMode": "Any"}]),
            "status.loadBalancer.ingress[0].ipMode: Required value: must be specified when `ip` is set; \
             status.loadBalancer.ingress[1].ipMode: Forbidden: may not be specified when `ip` is not set; \
             status.loadBalancer.ingress[2].ipMode: Unsupported value: \"Any\": supported values: \"Proxy\", \"VIP\"",
        ),
        (
            "Ingress",
            &outside,
            json!([{"ip": "192.0.2.1"}, {"ip": "1"}, {"hostname": "192.0.2.1"}]),
            "status.loadBalancer.ingress[1].ip: Invalid value: \"1\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff); \
             status.loadBalancer.ingress[2].hostname: Invalid value: \"192.0.2.1\": must be a DNS name, not an IP address",
        ),
    ] {
        assert_eq!(said(kind, spec, &old, &balancer(points.clone())), expect, "{points}");
    }
}

#[test]
fn amounts_are_amounts() {
    let none = json!({});
    for (kind, new, expect) in [
        ("Node", json!({"capacity": {"cpu": "500m", "pods": "110", "example.com/gpu": "2"}}), ""),
        (
            "Node",
            json!({"capacity": {"pods": "500m"}, "allocatable": {"cpu": "-1"}}),
            "status.capacity.pods: Invalid value: \"500m\": must be an integer; \
             status.allocatable.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
        ),
        (
            "Node",
            json!({"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "10.0.0.1"},
                {"type": "InternalIP", "address": "10.0.0.1"}]}),
            "status.addresses[2]: Duplicate value: {\"Type\":\"InternalIP\",\"Address\":\"10.0.0.1\"}",
        ),
        (
            "ResourceQuota",
            json!({"hard": {"pods": "5", "count/jobs.batch": "1", "requests.hugepages-2Mi": "1"}, "used": {"pods": "1"}}),
            "",
        ),
        (
            "ResourceQuota",
            json!({"hard": {"storage": "1", "things": "1"}, "used": {"pods": "-1"}}),
            "status.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota; \
             status.hard[things]: Invalid value: \"things\": must be a standard resource type or fully qualified; \
             status.hard[things]: Invalid value: \"things\": must be a standard resource for quota; \
             status.used[pods]: Invalid value: \"-1\": must be greater than or equal to 0",
        ),
        (
            "PersistentVolumeClaim",
            json!({"capacity": {"storage": "-1"}, "allocatedResourceStatuses": {"storage": "NodeResizePending"}}),
            "status.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
        ),
    ] {
        assert_eq!(said(kind, &none, &none, &new), expect, "{new}");
    }
}

#[test]
fn new_quotas_and_nodes_have_amounts_too() {
    use crate::rules::tests::problems;
    let quota = |name: &str| json!({"metadata": {"name": "q", "namespace": "d"}, "spec": {"hard": {name: "1"}}});
    for (name, expect) in [
        ("pods", ""),
        ("count/jobs.batch", ""),
        ("requests.example.com/gpu", ""),
        ("gold.storageclass.storage.k8s.io/requests.storage", ""),
        ("requests.storage", ""),
        (
            "storage",
            "spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota",
        ),
    ] {
        assert_eq!(problems("ResourceQuota", &quota(name), None), expect);
    }
    let node = json!({"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "-1"}}});
    let expect = "status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0";
    assert_eq!(problems("Node", &node, None), expect);
    assert_eq!(problems("Node", &node, Some(&node)), "");
}

#[test]
fn namespaces_end_when_deleted() {
    let namespace = |phase: &str, deleted: bool| {
        let mut object = json!({"metadata": {"name": "a"}, "status": {"phase": phase}});
        if deleted {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        object
    };
    for (phase, deleted, expect) in [
        ("Active", false, ""),
        ("Terminating", true, ""),
        (
            "Terminating",
            false,
            "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty",
        ),
        (
            "Active",
            true,
            "status.Phase: Invalid value: \"Active\": may only be 'Terminating' if `deletionTimestamp` is not empty",
        ),
    ] {
        let new = namespace(phase, deleted);
        assert_eq!(status_problems("Namespace", &new, &new), expect);
    }
}

#[test]
fn certificates_are_issued_once() {
    use base64::Engine;
    let encode = |pem: &str| base64::engine::general_purpose::STANDARD.encode(pem);
    let block = |kind: &str, body: &str| {
        encode(&format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n"))
    };
    let fine = block("CERTIFICATE", "MAA=");
    let approved = json!({"type": "Approved", "status": "True"});
    let none = json!({});
    for (old, new, expect) in [
        (&none, json!({"certificate": fine, "conditions": [approved]}), ""),
        (
            &none,
            json!({"certificate": block("PRIVATE KEY", "MAA=")}),
            "status.certificate: Invalid value: \"<certificate data>\": only CERTIFICATE PEM blocks are allowed, found \"PRIVATE KEY\"",
        ),
        (
            &none,
            json!({"certificate": encode("text")}),
            "status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block",
        ),
        (
            &none,
            json!({"certificate": block("CERTIFICATE", "a: b\n\nMAA=")}),
            "status.certificate: Invalid value: \"<certificate data>\": no PEM block headers are permitted",
        ),
        (
            &none,
            json!({"certificate": block("CERTIFICATE", "AAAA")}),
            "status.certificate: Invalid value: \"<certificate data>\": x509: malformed certificate",
        ),
        (
            &json!({"certificate": fine}),
            json!({"certificate": block("CERTIFICATE", "MAAA")}),
            "status.certificate: Forbidden: updates may not modify existing certificate content",
        ),
        (
            &none,
            json!({"conditions": [approved, {"type": "Denied", "status": "False"}, {"type": "X"}]}),
            "status.conditions[1].status: Unsupported value: \"False\": supported values: \"True\"; \
             status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive; \
             status.conditions[2].status: Required value",
        ),
        (
            &json!({"conditions": [{"type": "Failed", "status": "True"}]}),
            none.clone(),
            "status.conditions: Forbidden: updates may not remove a condition of type \"Failed\"",
        ),
    ] {
        assert_eq!(said("CertificateSigningRequest", &none, old, &new), expect, "{new}");
    }
}
