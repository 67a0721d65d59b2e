//! The smallest useful object of each kind, by number.

use serde_json::{Value, json};

fn object(api_version: &str, kind: &str, number: usize, rest: Value) -> Value {
    let name = format!("{}-{number}", kind.to_lowercase());
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    if let (Value::Object(fields), Value::Object(rest)) = (&mut object, rest) {
        fields.extend(rest);
    }
    object
}

fn named(mut object: Value, name: &str) -> Value {
    object["metadata"]["name"] = json!(name);
    object
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn workload(kind: &str, number: usize, more: Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": "x"}}, "template": template()});
    if let (Value::Object(fields), Value::Object(more)) = (&mut spec, more) {
        fields.extend(more);
    }
    object("apps/v1", kind, number, json!({"spec": spec}))
}

/// A request for the name `e2e`.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlISk1IQUNBUUF3RGpFTU1Bb0dBMVVFQXd3RFpUSmxNRmt3RXdZSEtvWkl6ajBDQVFZSUtvWkl6ajBEQVFjRApRZ0FFZzdiN0c5V0lTYytOK0NGVEtja2o0QzZkT0U3aDllaUZwY1g5SWN0U2dUNWJPRm5PRmp6VVVQYTEySDllCmNDY25aUXhJQzZjWlR3Rlp0dWg3dVhjYng2QUFNQW9HQ0NxR1NNNDlCQU1DQTBrQU1FWUNJUUNXZnFvOUh3eFIKeVBuN1BGTGdlbEdJamM0NThwNWlLVnVwWEV2QTdwMUozd0loQU9tWFJyQUJYZWoxcW9RWURGK2luenBZbml3cAptSklqSjkyeDJqT09EcTk2Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo=";

pub fn certificate_signing_requests(n: usize) -> Value {
    let spec =
        json!({"request": REQUEST, "signerName": "example.org/signer", "usages": ["client auth"]});
    object("certificates.k8s.io/v1", "CertificateSigningRequest", n, json!({"spec": spec}))
}

const RBAC: &str = "rbac.authorization.k8s.io/v1";

pub fn cluster_roles(n: usize) -> Value {
    object(
        RBAC,
        "ClusterRole",
        n,
        json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
    )
}

pub fn roles(n: usize) -> Value {
    object(
        RBAC,
        "Role",
        n,
        json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
    )
}

fn binding(kind: &str, role: &str, n: usize) -> Value {
    object(
        RBAC,
        kind,
        n,
        json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": "view"},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}]}),
    )
}

pub fn cluster_role_bindings(n: usize) -> Value {
    binding("ClusterRoleBinding", "ClusterRole", n)
}

pub fn role_bindings(n: usize) -> Value {
    binding("RoleBinding", "Role", n)
}

pub fn config_maps(n: usize) -> Value {
    object("v1", "ConfigMap", n, json!({"data": {"k": "v"}}))
}

pub fn secrets(n: usize) -> Value {
    object("v1", "Secret", n, json!({"data": {"k": "dg=="}}))
}

pub fn service_accounts(n: usize) -> Value {
    object("v1", "ServiceAccount", n, json!({}))
}

pub fn controller_revisions(n: usize) -> Value {
    object("apps/v1", "ControllerRevision", n, json!({"revision": 1, "data": {"spec": {"x": 1}}}))
}

pub fn core_events(n: usize) -> Value {
    let about = json!({"kind": "Pod", "namespace": "default", "name": "p"});
    named(
        object(
            "v1",
            "Event",
            n,
            json!({"involvedObject": about, "reason": "Test", "message": "m", "type": "Normal",
            "source": {"component": "test"}, "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2036-01-01T00:00:00Z", "count": 1}),
        ),
        &format!("core-event-{n}"),
    )
}

pub fn events(n: usize) -> Value {
    object(
        "events.k8s.io/v1",
        "Event",
        n,
        json!({"eventTime": "2036-01-01T00:00:00.000000Z", "reportingController": "test",
        "reportingInstance": "test-1", "action": "Do", "reason": "Test", "type": "Normal", "note": "n",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}}),
    )
}

fn job() -> Value {
    let mut template = template();
    template["metadata"] = json!({});
    template["spec"]["restartPolicy"] = json!("OnFailure");
    json!({"suspend": true, "template": template})
}

pub fn cron_jobs(n: usize) -> Value {
    object(
        "batch/v1",
        "CronJob",
        n,
        json!({"spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": job()}}}),
    )
}

pub fn jobs(n: usize) -> Value {
    object("batch/v1", "Job", n, json!({"spec": job()}))
}

const STORAGE: &str = "storage.k8s.io/v1";

pub fn csi_drivers(n: usize) -> Value {
    object(STORAGE, "CSIDriver", n, json!({"spec": {"attachRequired": true}}))
}

pub fn csi_nodes(n: usize) -> Value {
    object(
        STORAGE,
        "CSINode",
        n,
        json!({"spec": {"drivers": [{"name": "d.example.org", "nodeID": "n1"}]}}),
    )
}

pub fn csi_storage_capacities(n: usize) -> Value {
    object(STORAGE, "CSIStorageCapacity", n, json!({"storageClassName": "fast", "capacity": "1Gi"}))
}

pub fn storage_classes(n: usize) -> Value {
    object(STORAGE, "StorageClass", n, json!({"provisioner": "p.example.org"}))
}

pub fn volume_attachments(n: usize) -> Value {
    let spec = json!({"attacher": "a.example.org", "nodeName": "n1", "source": {"persistentVolumeName": "v"}});
    object(STORAGE, "VolumeAttachment", n, json!({"spec": spec}))
}

pub fn volume_attributes_classes(n: usize) -> Value {
    object(
        STORAGE,
        "VolumeAttributesClass",
        n,
        json!({"driverName": "d.example.org", "parameters": {"k": "v"}}),
    )
}

pub fn persistent_volumes(n: usize) -> Value {
    let spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp/x"}, "storageClassName": "none"});
    object("v1", "PersistentVolume", n, json!({"spec": spec}))
}

pub fn persistent_volume_claims(n: usize) -> Value {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "none"});
    object("v1", "PersistentVolumeClaim", n, json!({"spec": spec}))
}

pub fn daemon_sets(n: usize) -> Value {
    workload("DaemonSet", n, json!({}))
}

pub fn deployments(n: usize) -> Value {
    workload("Deployment", n, json!({"replicas": 0}))
}

pub fn replica_sets(n: usize) -> Value {
    workload("ReplicaSet", n, json!({"replicas": 0}))
}

pub fn stateful_sets(n: usize) -> Value {
    workload("StatefulSet", n, json!({"replicas": 0, "serviceName": "s"}))
}

pub fn replication_controllers(n: usize) -> Value {
    object(
        "v1",
        "ReplicationController",
        n,
        json!({"spec": {"replicas": 0, "selector": {"app": "x"}, "template": template()}}),
    )
}

pub fn pod_templates(n: usize) -> Value {
    object("v1", "PodTemplate", n, json!({"template": template()}))
}

const RESOURCE: &str = "resource.k8s.io/v1";

pub fn device_classes(n: usize) -> Value {
    object(
        RESOURCE,
        "DeviceClass",
        n,
        json!({"spec": {"selectors": [{"cel": {"expression": "true"}}]}}),
    )
}

fn claim() -> Value {
    json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c.example.org"}}]}})
}

pub fn resource_claims(n: usize) -> Value {
    object(RESOURCE, "ResourceClaim", n, json!({"spec": claim()}))
}

pub fn resource_claim_templates(n: usize) -> Value {
    object(RESOURCE, "ResourceClaimTemplate", n, json!({"spec": {"spec": claim()}}))
}

pub fn resource_slices(n: usize) -> Value {
    let pool = json!({"name": "p", "generation": 1, "resourceSliceCount": 1});
    object(
        RESOURCE,
        "ResourceSlice",
        n,
        json!({"spec": {"driver": "d.example.org", "nodeName": "n1", "pool": pool, "devices": [{"name": "d"}]}}),
    )
}

pub fn endpoint_slices(n: usize) -> Value {
    object(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        n,
        json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"]}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}),
    )
}

pub fn endpoints(n: usize) -> Value {
    object(
        "v1",
        "Endpoints",
        n,
        json!({"subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]}),
    )
}

pub fn services(n: usize) -> Value {
    object(
        "v1",
        "Service",
        n,
        json!({"spec": {"selector": {"app": "x"}, "ports": [{"name": "http", "port": 80}]}}),
    )
}

const FLOWCONTROL: &str = "flowcontrol.apiserver.k8s.io/v1";

pub fn flow_schemas(n: usize) -> Value {
    object(
        FLOWCONTROL,
        "FlowSchema",
        n,
        json!({"spec": {"priorityLevelConfiguration": {"name": "nothing"}, "matchingPrecedence": 9000,
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "nobody"}}], "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/nothing"]}]}]}}),
    )
}

pub fn priority_level_configurations(n: usize) -> Value {
    let limited = json!({"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}});
    object(
        FLOWCONTROL,
        "PriorityLevelConfiguration",
        n,
        json!({"spec": {"type": "Limited", "limited": limited}}),
    )
}

fn scaler() -> Value {
    json!({"minReplicas": 1, "maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}})
}

pub fn horizontal_pod_autoscalers(n: usize) -> Value {
    object("autoscaling/v2", "HorizontalPodAutoscaler", n, json!({"spec": scaler()}))
}

pub fn horizontal_pod_autoscalers_v1(n: usize) -> Value {
    let scaler = object("autoscaling/v1", "HorizontalPodAutoscaler", n, json!({"spec": scaler()}));
    named(scaler, &format!("old-{n}"))
}

const NETWORKING: &str = "networking.k8s.io/v1";

pub fn ingress_classes(n: usize) -> Value {
    object(NETWORKING, "IngressClass", n, json!({"spec": {"controller": "example.org/controller"}}))
}

pub fn ingresses(n: usize) -> Value {
    object(
        NETWORKING,
        "Ingress",
        n,
        json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}),
    )
}

pub fn ip_addresses(n: usize) -> Value {
    let parent = json!({"group": "", "resource": "services", "namespace": "default", "name": "s"});
    named(
        object(NETWORKING, "IPAddress", n, json!({"spec": {"parentRef": parent}})),
        &format!("192.0.2.{}", n + 1),
    )
}

pub fn service_cidrs(n: usize) -> Value {
    object(
        NETWORKING,
        "ServiceCIDR",
        n,
        json!({"spec": {"cidrs": [format!("198.51.100.{}/28", n * 16)]}}),
    )
}

pub fn network_policies(n: usize) -> Value {
    object(
        NETWORKING,
        "NetworkPolicy",
        n,
        json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
    )
}

pub fn leases(n: usize) -> Value {
    object(
        "coordination.k8s.io/v1",
        "Lease",
        n,
        json!({"spec": {"holderIdentity": "me", "leaseDurationSeconds": 30, "renewTime": "2026-01-01T00:00:00.000000Z"}}),
    )
}

pub fn limit_ranges(n: usize) -> Value {
    object(
        "v1",
        "LimitRange",
        n,
        json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}}),
    )
}

pub fn resource_quotas(n: usize) -> Value {
    object("v1", "ResourceQuota", n, json!({"spec": {"hard": {"pods": "5"}}}))
}

const ADMISSION: &str = "admissionregistration.k8s.io/v1";

fn nothing() -> Value {
    json!({"resourceRules": [{"apiGroups": ["example.org"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothing"]}]})
}

pub fn mutating_admission_policies(n: usize) -> Value {
    let mutation = json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}});
    object(
        ADMISSION,
        "MutatingAdmissionPolicy",
        n,
        json!({"spec": {"failurePolicy": "Ignore", "reinvocationPolicy": "Never",
        "matchConstraints": nothing(), "mutations": [mutation]}}),
    )
}

pub fn mutating_admission_policy_bindings(n: usize) -> Value {
    object(ADMISSION, "MutatingAdmissionPolicyBinding", n, json!({"spec": {"policyName": "none"}}))
}

pub fn validating_admission_policies(n: usize) -> Value {
    object(
        ADMISSION,
        "ValidatingAdmissionPolicy",
        n,
        json!({"spec": {"matchConstraints": nothing(), "validations": [{"expression": "true"}]}}),
    )
}

pub fn validating_admission_policy_bindings(n: usize) -> Value {
    object(
        ADMISSION,
        "ValidatingAdmissionPolicyBinding",
        n,
        json!({"spec": {"policyName": "none", "validationActions": ["Deny"]}}),
    )
}

fn webhook() -> Value {
    json!({"name": "w.example.org", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://192.0.2.1/hook"},
        "rules": [{"apiGroups": ["example.org"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothing"]}]})
}

pub fn mutating_webhook_configurations(n: usize) -> Value {
    object(ADMISSION, "MutatingWebhookConfiguration", n, json!({"webhooks": [webhook()]}))
}

pub fn validating_webhook_configurations(n: usize) -> Value {
    object(ADMISSION, "ValidatingWebhookConfiguration", n, json!({"webhooks": [webhook()]}))
}

pub fn nodes(n: usize) -> Value {
    object("v1", "Node", n, json!({"spec": {"unschedulable": true}}))
}

pub fn pod_disruption_budgets(n: usize) -> Value {
    object(
        "policy/v1",
        "PodDisruptionBudget",
        n,
        json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}}),
    )
}

pub fn priority_classes(n: usize) -> Value {
    object("scheduling.k8s.io/v1", "PriorityClass", n, json!({"value": 5, "description": "d"}))
}

pub fn runtime_classes(n: usize) -> Value {
    object("node.k8s.io/v1", "RuntimeClass", n, json!({"handler": "h"}))
}

pub fn storage_version_migrations(n: usize) -> Value {
    object(
        "storagemigration.k8s.io/v1beta1",
        "StorageVersionMigration",
        n,
        json!({"spec": {"resource": {"group": "apps", "resource": "deployments"}}}),
    )
}
