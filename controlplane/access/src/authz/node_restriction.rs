//! What a kubelet may write, judged by the object itself (upstream `plugin/pkg/admission/noderestriction`).

use std::collections::BTreeMap;

use api::Status;
use serde_json::Value;

use super::{Attributes, forbidden::refuse, node_graph::MIRROR};
use crate::Lookup;

/// Labels under kubernetes.io and k8s.io that a node may set on itself.
const OWN_LABELS: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const OWN_LABEL_NAMESPACES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

struct Write<'a> {
    node: &'a str,
    wanted: &'a Attributes,
    object: &'a Value,
    old: &'a Value,
}

pub(super) fn check(
    lookup: &dyn Lookup,
    wanted: &Attributes,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), Status> {
    let Some(node) = wanted.user.node() else { return Ok(()) };
    let write = Write {
        node,
        wanted,
        object: object.unwrap_or(&Value::Null),
        old: old.unwrap_or(&Value::Null),
    };
    let sub = wanted.subresource.as_str();
    let judged = match (wanted.group.as_str(), wanted.resource.as_str(), sub) {
        ("", "pods", "") => write.check_pod(),
        ("", "pods", "status") => write.check_pod_status(),
        ("", "pods", "eviction") => write.check_eviction(lookup),
        ("", "pods", _) => Err(format!(
            "unexpected pod subresource {sub:?}, only 'status' and 'eviction' are allowed"
        )),
        ("", "nodes", _) => write.check_node(),
        ("", "persistentvolumeclaims", "status") => write.check_claim_status(),
        ("", "serviceaccounts", "token") => write.check_token(lookup),
        ("coordination.k8s.io", "leases", _) | ("storage.k8s.io", "csinodes", _) => {
            write.check_own_name()
        }
        ("resource.k8s.io", "resourceslices", _) => write.check_slice(),
        _ => Ok(()),
    };
    judged.map_err(|text| refuse(&wanted.group, &wanted.resource, write.name(), &text))
}

impl Write<'_> {
    fn name(&self) -> &str {
        let named = api::meta::name(self.object);
        if self.wanted.name.is_empty() { named } else { &self.wanted.name }
    }

    fn is_delete(&self) -> bool {
        matches!(self.wanted.verb.as_str(), "delete" | "deletecollection")
    }

    fn check_pod(&self) -> Result<(), String> {
        match self.wanted.verb.as_str() {
            "create" => self.check_mirror_pod(),
            "delete" => self.check_on_node(self.old, "delete"),
            verb => Err(format!(
                "unexpected operation {verb:?}, node {:?} can only create and delete mirror pods",
                self.node
            )),
        }
    }

    /// A mirror pod may not pull anything in that would make other objects readable.
    fn check_mirror_pod(&self) -> Result<(), String> {
        let pod = self.object;
        let node = self.node;
        if pod["metadata"]["annotations"].get(MIRROR).is_none() {
            return Err(format!(
                "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
            ));
        }
        self.check_on_node(pod, "create")?;
        if pod["spec"]["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty()) {
            return Err(format!(
                "node {node:?} can not create pods that reference a service account"
            ));
        }
        let text = pod["spec"].to_string();
        let references = [
            "\"secretKeyRef\":",
            "\"secretRef\":",
            "\"configMapKeyRef\":",
            "\"configMapRef\":",
            "\"imagePullSecrets\":[{",
        ];
        if references.iter().any(|reference| text.contains(reference)) {
            return Err(format!(
                "node {node:?} can not create pods that reference secrets or configmaps"
            ));
        }
        let volumes = pod["spec"]["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_local = |volume: &Value| {
            volume["hostPath"].is_object()
                || volume["emptyDir"].is_object()
                || volume["downwardAPI"].is_object()
        };
        if !volumes.iter().all(is_local) {
            return Err(format!(
                "node {node:?} can not create pods that reference API objects in volumes"
            ));
        }
        Ok(())
    }

    fn check_on_node(&self, pod: &Value, verb: &str) -> Result<(), String> {
        if pod["spec"]["nodeName"].as_str() == Some(self.node) {
            return Ok(());
        }
        Err(format!("node {:?} can only {verb} pods with spec.nodeName set to itself", self.node))
    }

    fn check_pod_status(&self) -> Result<(), String> {
        self.check_on_node(self.old, "update pod status for")?;
        if labels(self.object) != labels(self.old) {
            return Err(format!("node {:?} cannot update labels through pod status", self.node));
        }
        if self.object["status"]["resourceClaimStatuses"]
            != self.old["status"]["resourceClaimStatuses"]
        {
            return Err(format!("node {:?} cannot update resource claim statuses", self.node));
        }
        Ok(())
    }

    fn check_eviction(&self, lookup: &dyn Lookup) -> Result<(), String> {
        let pod = lookup.get("", "pods", &self.wanted.namespace, self.name());
        match pod {
            None => Ok(()),
            Some(pod) => self.check_on_node(&pod, "evict"),
        }
    }

    fn check_own_name(&self) -> Result<(), String> {
        if self.name() == self.node {
            return Ok(());
        }
        let resource = &self.wanted.resource;
        Err(format!(
            "node {:?} can only access {resource} with the same name as the requesting node",
            self.node
        ))
    }

    /// A node publishes its own devices only.
    fn check_slice(&self) -> Result<(), String> {
        let slice = if self.object.is_null() { self.old } else { self.object };
        // Each deletion of a collection is judged with its object.
        if slice.is_null() || slice["spec"]["nodeName"].as_str() == Some(self.node) {
            return Ok(());
        }
        let verb = if self.old.is_null() { "create" } else { "modify or delete" };
        Err(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"))
    }

    fn check_node(&self) -> Result<(), String> {
        let (node, name) = (self.node, self.name());
        if name != node {
            return Err(format!("node {node:?} is not allowed to modify node {name:?}"));
        }
        if self.is_delete() {
            return Ok(());
        }
        if !self.object["spec"]["configSource"].is_null()
            && self.object["spec"]["configSource"] != self.old["spec"]["configSource"]
        {
            return Err(format!("node {node:?} is not allowed to set configSource"));
        }
        if !self.old.is_null() {
            if !same_list(&self.old["spec"]["taints"], &self.object["spec"]["taints"]) {
                return Err(format!("node {node:?} is not allowed to modify taints"));
            }
            if !same_list(
                &self.old["metadata"]["ownerReferences"],
                &self.object["metadata"]["ownerReferences"],
            ) {
                return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
            }
        }
        self.check_labels()
    }

    fn check_labels(&self) -> Result<(), String> {
        let (old, new) = (labels(self.old), labels(self.object));
        let changed = new.keys().chain(old.keys()).filter(|key| old.get(*key) != new.get(*key));
        let mut refused: Vec<&str> = changed.copied().filter(|key| !is_own_label(key)).collect();
        refused.sort_unstable();
        refused.dedup();
        if refused.is_empty() {
            return Ok(());
        }
        let verb = if self.old.is_null() { "set" } else { "modify" };
        Err(format!("is not allowed to {verb} the following labels: {}", refused.join(", ")))
            .map_err(|text| format!("node {:?} {text}", self.node))
    }

    fn check_claim_status(&self) -> Result<(), String> {
        let mut expected = self.old.clone();
        expected["status"] = self.object["status"].clone();
        expected["metadata"] = self.object["metadata"].clone();
        if expected == *self.object {
            return Ok(());
        }
        Err(format!("node {:?} is not allowed to update fields other than status", self.node))
    }

    fn check_token(&self, lookup: &dyn Lookup) -> Result<(), String> {
        let node = self.node;
        let reference = &self.object["spec"]["boundObjectRef"];
        let text = |key: &str| reference[key].as_str().unwrap_or_default();
        if text("kind") != "Pod" || text("apiVersion") != "v1" || text("name").is_empty() {
            return Err(format!("node requested token not bound to a pod: node {node:?}"));
        }
        if text("uid").is_empty() {
            return Err("node requested token with a pod binding without a uid".into());
        }
        let pod = lookup.get("", "pods", &self.wanted.namespace, text("name"));
        let pod = pod.ok_or_else(|| format!("pod {:?} not found", text("name")))?;
        if api::meta::uid(&pod) != text("uid") {
            return Err("the UID in the bound object reference does not match the UID in record. \
                The object might have been deleted and then recreated"
                .into());
        }
        if pod["spec"]["nodeName"].as_str() != Some(node) {
            return Err("node requested token bound to a pod scheduled on a different node".into());
        }
        Ok(())
    }
}

fn labels(object: &Value) -> BTreeMap<&str, &Value> {
    let labels = object["metadata"]["labels"].as_object();
    labels.into_iter().flatten().map(|(key, value)| (key.as_str(), value)).collect()
}

/// Labels outside Kubernetes' namespaces are the node's own business, `node-restriction.kubernetes.io/` never is.
fn is_own_label(key: &str) -> bool {
    let Some((namespace, _)) = key.split_once('/') else { return true };
    let within = |domain: &str| {
        namespace == domain
            || namespace.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
    };
    if within("node-restriction.kubernetes.io") {
        return false;
    }
    if !within("kubernetes.io") && !within("k8s.io") {
        return true;
    }
    OWN_LABELS.contains(&key) || OWN_LABEL_NAMESPACES.iter().any(|domain| within(domain))
}

fn same_list(a: &Value, b: &Value) -> bool {
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    items(a) == items(b)
}
