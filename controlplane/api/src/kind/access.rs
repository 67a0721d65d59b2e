//! Kinds of authentication, authorization, rbac and certificates.

use super::Kind;
use super::builder::{Group, group};

const AUTHENTICATION: Group = group("authentication.k8s.io", "v1", "io.k8s.api.authentication.v1");
const AUTHORIZATION: Group = group("authorization.k8s.io", "v1", "io.k8s.api.authorization.v1");
const RBAC: Group = group("rbac.authorization.k8s.io", "v1", "io.k8s.api.rbac.v1");
const CERTIFICATES: Group = group("certificates.k8s.io", "v1", "io.k8s.api.certificates.v1");

/// Reviews: their answer is computed at create, nothing is stored.
pub(super) fn kinds() -> Vec<Kind> {
    vec![
        AUTHENTICATION.cluster("SelfSubjectReview", "selfsubjectreviews").only("create"),
        AUTHENTICATION.cluster("TokenReview", "tokenreviews").only("create"),
        AUTHORIZATION
            .namespaced("LocalSubjectAccessReview", "localsubjectaccessreviews")
            .only("create"),
        AUTHORIZATION.cluster("SelfSubjectAccessReview", "selfsubjectaccessreviews").only("create"),
        AUTHORIZATION.cluster("SelfSubjectRulesReview", "selfsubjectrulesreviews").only("create"),
        AUTHORIZATION.cluster("SubjectAccessReview", "subjectaccessreviews").only("create"),
    ]
}

pub(super) fn certificates() -> Vec<Kind> {
    vec![
        CERTIFICATES
            .cluster("CertificateSigningRequest", "certificatesigningrequests")
            .short("csr")
            .part("approval")
            .status()
            .selects("spec.signerName"),
    ]
}

pub(super) fn rbac() -> Vec<Kind> {
    vec![
        RBAC.cluster("ClusterRoleBinding", "clusterrolebindings"),
        RBAC.cluster("ClusterRole", "clusterroles"),
        RBAC.namespaced("RoleBinding", "rolebindings"),
        RBAC.namespaced("Role", "roles"),
    ]
}
