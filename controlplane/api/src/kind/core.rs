//! Kinds of the core group.

use super::Kind;
use super::builder::{Group, group};

const CORE: Group = group("", "v1", "io.k8s.api.core.v1");
const PROXY_VERBS: &str = "create delete get head options patch update";
const CORE_EVENT_FIELDS: &str = "involvedObject.kind involvedObject.namespace involvedObject.name \
    involvedObject.uid involvedObject.apiVersion involvedObject.resourceVersion \
    involvedObject.fieldPath reason reportingComponent source type";
const POD_FIELDS: &str = "spec.nodeName spec.restartPolicy spec.schedulerName \
    spec.serviceAccountName spec.hostNetwork status.phase status.podIP status.podIPs \
    status.nominatedNodeName";

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        CORE.namespaced("Binding", "bindings").only("create"),
        component_status(),
        CORE.namespaced("ConfigMap", "configmaps").short("cm"),
        endpoints(),
        CORE.namespaced("Event", "events").short("ev").selects(CORE_EVENT_FIELDS),
        CORE.namespaced("LimitRange", "limitranges").short("limits"),
        namespace(),
        CORE.cluster("Node", "nodes")
            .short("no")
            .sub("proxy", ("", "v1", "NodeProxyOptions"), PROXY_VERBS)
            .status()
            .selects("spec.unschedulable"),
        CORE.namespaced("PersistentVolumeClaim", "persistentvolumeclaims").short("pvc").status(),
        CORE.cluster("PersistentVolume", "persistentvolumes").short("pv").status(),
        pod(),
        CORE.namespaced("PodTemplate", "podtemplates"),
        CORE.namespaced("ReplicationController", "replicationcontrollers")
            .short("rc")
            .category("all")
            .scale()
            .status()
            .selects("status.replicas"),
        CORE.namespaced("ResourceQuota", "resourcequotas").short("quota").status(),
        CORE.namespaced("Secret", "secrets").selects("type"),
        CORE.namespaced("ServiceAccount", "serviceaccounts").short("sa").sub(
            "token",
            ("authentication.k8s.io", "v1", "TokenRequest"),
            "create",
        ),
        CORE.namespaced("Service", "services")
            .short("svc")
            .category("all")
            .sub("proxy", ("", "v1", "ServiceProxyOptions"), PROXY_VERBS)
            .status()
            .selects("spec.clusterIP spec.type"),
    ]
}

fn component_status() -> Kind {
    CORE.cluster("ComponentStatus", "componentstatuses")
        .short("cs")
        .only("get list")
        .deprecated("v1.19+")
}

fn endpoints() -> Kind {
    let since = "v1.33+; use discovery.k8s.io/v1 EndpointSlice";
    let mut kind = CORE.namespaced("Endpoints", "endpoints").short("ep").deprecated(since);
    kind.singular = "endpoints".to_owned();
    kind
}

fn namespace() -> Kind {
    CORE.cluster("Namespace", "namespaces")
        .short("ns")
        .only("create delete get list patch update watch")
        .sub("finalize", ("", "", ""), "update")
        .status()
        .selects("status.phase")
}

fn pod() -> Kind {
    CORE.namespaced("Pod", "pods")
        .short("po")
        .category("all")
        .sub("attach", ("", "v1", "PodAttachOptions"), "create get")
        .sub("binding", ("", "v1", "Binding"), "create")
        .part("ephemeralcontainers")
        .sub("eviction", ("policy", "v1", "Eviction"), "create")
        .sub("exec", ("", "v1", "PodExecOptions"), "create get")
        .sub("log", ("", "", ""), "get")
        .sub("portforward", ("", "v1", "PodPortForwardOptions"), "create get")
        .sub("proxy", ("", "v1", "PodProxyOptions"), PROXY_VERBS)
        .part("resize")
        .status()
        .selects(POD_FIELDS)
}
