//! Default roles (upstream `plugin/pkg/auth/authorizer/rbac/bootstrappolicy`, kubeadm's, and two of our own).

use std::sync::Arc;

use serde_json::{Value, json};

use super::managed;
use crate::authz::aggregate;

const R: &str = "get,list,watch";
const W: &str = "create,delete,deletecollection,patch,update";
const RW: &str = "create,delete,deletecollection,get,list,patch,update,watch";
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// Verbs, API groups and resources, each separated by commas; "" is the core group.
type Resources = (&'static str, &'static str, &'static str);

struct Role {
    name: &'static str,
    rules: &'static [Resources],
    /// Paths that may be read.
    urls: &'static [&'static str],
    /// The roles this one is aggregated to.
    into: &'static str,
}

const fn role(name: &'static str, rules: &'static [Resources]) -> Role {
    Role { name, rules, urls: &[], into: "" }
}

const USER_ROLES: &[Role] = &[
    Role {
        name: "system:aggregate-to-admin",
        into: "admin",
        urls: &[],
        rules: &[
            ("create", "authorization.k8s.io", "localsubjectaccessreviews"),
            (RW, "rbac.authorization.k8s.io", "roles,rolebindings"),
        ],
    },
    Role {
        name: "system:aggregate-to-edit",
        into: "edit",
        urls: &[],
        rules: &[
            (R, "", "pods/attach,pods/proxy,pods/exec,pods/portforward,secrets,services/proxy"),
            ("impersonate", "", "serviceaccounts"),
            (W, "", "pods,pods/attach,pods/proxy,pods/exec,pods/portforward"),
            ("create", "", "pods/eviction"),
            (
                W,
                "",
                "replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/proxy,\
                 persistentvolumeclaims,configmaps,secrets,events",
            ),
            ("create", "", "serviceaccounts/token"),
            (
                W,
                "apps",
                "statefulsets,statefulsets/scale,daemonsets,deployments,deployments/scale,deployments/rollback,\
                 replicasets,replicasets/scale",
            ),
            (W, "autoscaling", "horizontalpodautoscalers"),
            (W, "batch", "jobs,cronjobs"),
            (W, "policy", "poddisruptionbudgets"),
            (W, "networking.k8s.io", "networkpolicies,ingresses"),
            (RW, "coordination.k8s.io", "leases"),
            (W, "resource.k8s.io", "resourceclaims,resourceclaimtemplates"),
        ],
    },
    Role {
        name: "system:aggregate-to-view",
        into: "view",
        urls: &[],
        rules: &[
            (
                R,
                "",
                "pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status,\
                 endpoints,persistentvolumeclaims,persistentvolumeclaims/status,configmaps",
            ),
            (
                R,
                "",
                "limitranges,resourcequotas,bindings,events,pods/status,resourcequotas/status,namespaces/status,\
                 replicationcontrollers/status,pods/log",
            ),
            (R, "", "namespaces"),
            (R, "discovery.k8s.io", "endpointslices"),
            (
                R,
                "apps",
                "controllerrevisions,statefulsets,statefulsets/status,statefulsets/scale,daemonsets,\
                 daemonsets/status,deployments,deployments/status,deployments/scale,replicasets,replicasets/status,\
                 replicasets/scale",
            ),
            (R, "autoscaling", "horizontalpodautoscalers,horizontalpodautoscalers/status"),
            (R, "batch", "jobs,jobs/status,cronjobs,cronjobs/status"),
            (R, "policy", "poddisruptionbudgets,poddisruptionbudgets/status"),
            (R, "networking.k8s.io", "networkpolicies,ingresses,ingresses/status"),
            (R, "resource.k8s.io", "resourceclaims,resourceclaims/status,resourceclaimtemplates"),
        ],
    },
];

const SYSTEM_ROLES: &[Role] = &[
    Role { name: "cluster-admin", rules: &[("*", "*", "*")], urls: &["*"], into: "" },
    Role {
        name: "system:discovery",
        rules: &[],
        urls: &[
            "/livez",
            "/readyz",
            "/healthz",
            "/version",
            "/version/",
            "/openapi",
            "/openapi/*",
            "/api",
            "/api/*",
            "/apis",
            "/apis/*",
        ],
        into: "",
    },
    Role {
        name: "system:monitoring",
        rules: &[],
        urls: &[
            "/metrics",
            "/metrics/slis",
            "/livez",
            "/readyz",
            "/healthz",
            "/livez/*",
            "/readyz/*",
            "/healthz/*",
        ],
        into: "",
    },
    Role {
        name: "system:public-info-viewer",
        rules: &[],
        urls: &["/livez", "/readyz", "/healthz", "/version", "/version/"],
        into: "",
    },
    Role {
        name: "system:service-account-issuer-discovery",
        rules: &[],
        urls: &[
            "/.well-known/openid-configuration",
            "/.well-known/openid-configuration/",
            "/openid/v1/jwks",
            "/openid/v1/jwks/",
        ],
        into: "",
    },
    role(
        "system:basic-user",
        &[
            ("create", "authorization.k8s.io", "selfsubjectaccessreviews,selfsubjectrulesreviews"),
            ("create", "authentication.k8s.io", "selfsubjectreviews"),
        ],
    ),
    role(
        "system:auth-delegator",
        &[
            ("create", "authentication.k8s.io", "tokenreviews"),
            ("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    role(
        "system:cluster-trust-bundle-discovery",
        &[(R, "certificates.k8s.io", "clustertrustbundles")],
    ),
    role(
        "system:kubelet-api-admin",
        &[
            (R, "", "nodes"),
            ("proxy", "", "nodes"),
            ("*", "", "nodes/log,nodes/metrics,nodes/proxy,nodes/stats"),
        ],
    ),
    // What the node authorizer grants by relation has no place in a role; this one is kept for names' sake.
    role(
        "system:node",
        &[(R, "", "services,nodes"), ("create,patch,update", ",events.k8s.io", "events")],
    ),
    role(
        "system:node-problem-detector",
        &[
            ("get", "", "nodes"),
            ("patch", "", "nodes/status"),
            ("create,patch,update", ",events.k8s.io", "events"),
        ],
    ),
    role(
        "system:node-proxier",
        &[
            ("list,watch", "", "services,endpoints"),
            ("get,list,watch", "", "nodes"),
            ("create,patch,update", ",events.k8s.io", "events"),
            ("list,watch", "discovery.k8s.io", "endpointslices"),
        ],
    ),
    role(
        "system:node-bootstrapper",
        &[("create,get,list,watch", "certificates.k8s.io", "certificatesigningrequests")],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient")],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient")],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeserver",
        &[("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeserver")],
    ),
    role("system:kube-dns", &[("list,watch", "", "endpoints,services")]),
    role(
        "system:persistent-volume-provisioner",
        &[
            ("create,delete,get,list,watch", "", "persistentvolumes"),
            ("get,list,update,watch", "", "persistentvolumeclaims"),
            (R, "storage.k8s.io", "storageclasses"),
            ("watch", "", "events"),
            ("create,patch,update", ",events.k8s.io", "events"),
        ],
    ),
    role(
        "system:volume-scheduler",
        &[
            ("get,list,patch,update,watch", "", "persistentvolumes,persistentvolumeclaims"),
            (R, "storage.k8s.io", "storageclasses"),
        ],
    ),
    role(
        "system:kube-scheduler",
        &[
            ("create,patch,update", ",events.k8s.io", "events"),
            ("create,get,list,update,patch,watch", "coordination.k8s.io", "leases"),
            (R, "", "nodes,namespaces,replicationcontrollers,services"),
            ("delete,get,list,watch", "", "pods"),
            ("create", "", "bindings,pods/binding"),
            ("patch,update", "", "pods/status"),
            (R, "apps", "replicasets,statefulsets"),
            (R, "policy", "poddisruptionbudgets"),
            (R, "", "persistentvolumeclaims,persistentvolumes"),
            (
                R,
                "storage.k8s.io",
                "csinodes,csidrivers,csistoragecapacities,storageclasses,volumeattachments",
            ),
            (R, "scheduling.k8s.io", "priorityclasses"),
            (R, "resource.k8s.io", "deviceclasses,resourceclaims,resourceslices"),
            ("patch,update", "resource.k8s.io", "resourceclaims,resourceclaims/status"),
            ("create", "authentication.k8s.io", "tokenreviews"),
            ("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    // Upstream gives each controller an account of its own; ours run in one process under one identity, and two of
    // them (garbage collector, namespaces) must reach every resource anyway.
    Role {
        name: "system:kube-controller-manager",
        rules: &[
            (RW, "*", "*"),
            ("approve,sign", "certificates.k8s.io", "signers"),
            ("escalate,bind", "rbac.authorization.k8s.io", "roles,clusterroles"),
        ],
        urls: &["*"],
        into: "",
    },
    // kubeadm: a machine that joins looks whether its name is taken.
    role("kubeadm:get-nodes", &[("get", "", "nodes")]),
];

fn split(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).collect()
}

fn rules_of(role: &Role) -> Vec<Value> {
    let resources = role.rules.iter().map(|(verbs, groups, resources)| {
        json!({"verbs": split(verbs), "apiGroups": split(groups), "resources": split(resources)})
    });
    let verbs: &[&str] = if role.urls == ["*"] { &["*"] } else { &["get"] };
    let urls =
        (!role.urls.is_empty()).then(|| json!({"verbs": verbs, "nonResourceURLs": role.urls}));
    resources.chain(urls).collect()
}

fn cluster_role(role: &Role) -> Value {
    let mut metadata = managed(role.name);
    if !role.into.is_empty() {
        metadata["labels"][format!("{AGGREGATE}{}", role.into)] = json!("true");
    }
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata,
        "rules": rules_of(role)})
}

/// `admin`, `edit` and `view`: all that is labelled for them; edit is in admin, view in edit.
fn aggregated(name: &str, into: &str) -> Value {
    let mut role = cluster_role(&Role { name: "", rules: &[], urls: &[], into: "" });
    role["metadata"]["name"] = json!(name);
    if !into.is_empty() {
        role["metadata"]["labels"][format!("{AGGREGATE}{into}")] = json!("true");
    }
    let label = format!("{AGGREGATE}{name}");
    role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
    role
}

pub(super) fn cluster_roles() -> Vec<Value> {
    let plain = SYSTEM_ROLES.iter().chain(USER_ROLES).map(cluster_role);
    let aggregates =
        [aggregated("admin", ""), aggregated("edit", "admin"), aggregated("view", "edit")];
    let all: Vec<Arc<Value>> = plain.chain(aggregates).map(Arc::new).collect();
    all.iter()
        .map(|role| {
            let mut role = Value::clone(role);
            if role["aggregationRule"].is_object() {
                role["rules"] = Value::Array(aggregate(&role, &all));
            }
            role
        })
        .collect()
}

fn namespaced(namespace: &str, name: &str, rule: &Value) -> Value {
    let mut metadata = managed(name);
    metadata["namespace"] = json!(namespace);
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": [rule]})
}

pub(super) fn roles() -> Vec<Value> {
    let read = |name: &str, verbs: &[&str]| json!({"verbs": verbs, "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name]});
    vec![
        namespaced(
            "kube-system",
            "extension-apiserver-authentication-reader",
            &read("extension-apiserver-authentication", &["get", "list", "watch"]),
        ),
        namespaced(
            "kube-public",
            "kubeadm:bootstrap-signer-clusterinfo",
            &read("cluster-info", &["get"]),
        ),
    ]
}
