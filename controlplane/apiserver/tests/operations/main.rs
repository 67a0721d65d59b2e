//! Every kind's operations over the wire: create, read, list, watch, patch, replace, status, delete, delete a
//! collection. One test for each kind, all against one server.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../common/mod.rs"]
mod common;
mod lifecycle;
mod objects;

use lifecycle::lifecycle;

macro_rules! operations {
    ($($name:ident: $path:literal;)*) => {$(
        #[tokio::test]
        async fn $name() {
            lifecycle($path, stringify!($name), objects::$name).await;
        }
    )*};
}

operations! {
    certificate_signing_requests: "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    cluster_role_bindings: "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    cluster_roles: "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    config_maps: "/api/v1/namespaces/default/configmaps";
    controller_revisions: "/apis/apps/v1/namespaces/default/controllerrevisions";
    core_events: "/api/v1/namespaces/default/events";
    cron_jobs: "/apis/batch/v1/namespaces/default/cronjobs";
    csi_drivers: "/apis/storage.k8s.io/v1/csidrivers";
    csi_nodes: "/apis/storage.k8s.io/v1/csinodes";
    csi_storage_capacities: "/apis/storage.k8s.io/v1/namespaces/default/csistoragecapacities";
    daemon_sets: "/apis/apps/v1/namespaces/default/daemonsets";
    deployments: "/apis/apps/v1/namespaces/default/deployments";
    device_classes: "/apis/resource.k8s.io/v1/deviceclasses";
    endpoint_slices: "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    endpoints: "/api/v1/namespaces/default/endpoints";
    events: "/apis/events.k8s.io/v1/namespaces/default/events";
    flow_schemas: "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
    horizontal_pod_autoscalers: "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    horizontal_pod_autoscalers_v1: "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    ingress_classes: "/apis/networking.k8s.io/v1/ingressclasses";
    ingresses: "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    ip_addresses: "/apis/networking.k8s.io/v1/ipaddresses";
    jobs: "/apis/batch/v1/namespaces/default/jobs";
    leases: "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    limit_ranges: "/api/v1/namespaces/other/limitranges";
    mutating_admission_policies: "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
    mutating_admission_policy_bindings: "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings";
    mutating_webhook_configurations: "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    network_policies: "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    nodes: "/api/v1/nodes";
    persistent_volume_claims: "/api/v1/namespaces/default/persistentvolumeclaims";
    persistent_volumes: "/api/v1/persistentvolumes";
    pod_disruption_budgets: "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    pod_templates: "/api/v1/namespaces/default/podtemplates";
    priority_classes: "/apis/scheduling.k8s.io/v1/priorityclasses";
    priority_level_configurations: "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
    replica_sets: "/apis/apps/v1/namespaces/default/replicasets";
    replication_controllers: "/api/v1/namespaces/default/replicationcontrollers";
    resource_claim_templates: "/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates";
    resource_claims: "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    resource_quotas: "/api/v1/namespaces/other/resourcequotas";
    resource_slices: "/apis/resource.k8s.io/v1/resourceslices";
    role_bindings: "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    roles: "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    runtime_classes: "/apis/node.k8s.io/v1/runtimeclasses";
    secrets: "/api/v1/namespaces/default/secrets";
    service_accounts: "/api/v1/namespaces/default/serviceaccounts";
    service_cidrs: "/apis/networking.k8s.io/v1/servicecidrs";
    services: "/api/v1/namespaces/default/services";
    stateful_sets: "/apis/apps/v1/namespaces/default/statefulsets";
    storage_classes: "/apis/storage.k8s.io/v1/storageclasses";
    storage_version_migrations: "/apis/storagemigration.k8s.io/v1beta1/storageversionmigrations";
    validating_admission_policies: "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    validating_admission_policy_bindings: "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
    validating_webhook_configurations: "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    volume_attachments: "/apis/storage.k8s.io/v1/volumeattachments";
    volume_attributes_classes: "/apis/storage.k8s.io/v1/volumeattributesclasses";
}
