//! Kinds that extend or protect the API server: admission, custom resources, aggregation, flow control.

use super::Kind;
use super::builder::{Group, group};

const ADMISSION: Group =
    group("admissionregistration.k8s.io", "v1", "io.k8s.api.admissionregistration.v1");
const APIEXTENSIONS: Group =
    group("apiextensions.k8s.io", "v1", "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1");
const APIREGISTRATION: Group =
    group("apiregistration.k8s.io", "v1", "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1");
const FLOWCONTROL: Group = group("flowcontrol.apiserver.k8s.io", "v1", "io.k8s.api.flowcontrol.v1");
const MIGRATION: Group =
    group("storagemigration.k8s.io", "v1beta1", "io.k8s.api.storagemigration.v1beta1");
const CATEGORY: &str = "api-extensions";

pub(super) fn admissionregistration() -> Vec<Kind> {
    let row = |kind, plural| ADMISSION.cluster(kind, plural).category(CATEGORY);
    vec![
        row("MutatingAdmissionPolicy", "mutatingadmissionpolicies"),
        row("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"),
        row("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
        row("ValidatingAdmissionPolicy", "validatingadmissionpolicies").status(),
        row("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
        row("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
    ]
}

pub(super) fn apiextensions() -> Vec<Kind> {
    vec![
        APIEXTENSIONS
            .cluster("CustomResourceDefinition", "customresourcedefinitions")
            .short("crd crds")
            .category(CATEGORY)
            .status(),
    ]
}

pub(super) fn apiregistration() -> Vec<Kind> {
    vec![APIREGISTRATION.cluster("APIService", "apiservices").category(CATEGORY).status()]
}

pub(super) fn flowcontrol() -> Vec<Kind> {
    vec![
        FLOWCONTROL.cluster("FlowSchema", "flowschemas").status(),
        FLOWCONTROL.cluster("PriorityLevelConfiguration", "prioritylevelconfigurations").status(),
    ]
}

/// Beta in 1.36; clients that migrate stored objects expect it.
pub(super) fn storagemigration() -> Vec<Kind> {
    vec![MIGRATION.cluster("StorageVersionMigration", "storageversionmigrations").status()]
}
