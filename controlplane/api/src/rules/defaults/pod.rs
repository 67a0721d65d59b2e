//! Defaults of pods and pod templates.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{default, default_text, items, section, text};
use crate::quantity::{self, Quantity};

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
/// 0644
const FILE_MODE: i64 = 420;
const TOKEN_SECONDS: i64 = 3600;

/// A Pod: its spec, and requests that follow limits.
pub(super) fn apply_pod(pod: &mut Value) {
    let spec = section(pod, "spec");
    apply_spec(spec);
    for list in ["initContainers", "containers"] {
        items(spec, list).for_each(copy_limits_to_requests);
    }
    default(spec, "enableServiceLinks", json!(true));
    default_host_ports(spec);
    mirror_pod_ip(pod);
}

/// `podIP` and `podIPs[0]` are one value; `podIP` counts where they differ.
fn mirror_pod_ip(pod: &mut Value) {
    let Some(status) = pod.get_mut("status").filter(|status| status.is_object()) else { return };
    let first = status["podIPs"][0]["ip"].as_str().unwrap_or_default().to_owned();
    let single = text(status, "podIP").to_owned();
    match (single.is_empty(), first.is_empty()) {
        (true, false) => status["podIP"] = json!(first),
        (false, _) if single != first => status["podIPs"] = json!([{"ip": single}]),
        _ => {}
    }
}

/// The spec of a pod or pod template.
pub(super) fn apply_spec(spec: &mut Value) {
    default_text(spec, "dnsPolicy", "ClusterFirst");
    default_text(spec, "restartPolicy", "Always");
    default_text(spec, "schedulerName", "default-scheduler");
    default(spec, "securityContext", json!({}));
    default(spec, "terminationGracePeriodSeconds", json!(30));
    mirror_service_account(spec);
    default_host_ports(spec);
    for list in CONTAINER_LISTS {
        items(spec, list).for_each(apply_container);
    }
    items(spec, "volumes").for_each(apply_volume);
}

/// The old name of `serviceAccountName` always carries the same value.
fn mirror_service_account(spec: &mut Value) {
    let name = match text(spec, "serviceAccountName") {
        "" => text(spec, "serviceAccount"),
        name => name,
    }
    .to_owned();
    if !name.is_empty() {
        spec["serviceAccountName"] = json!(name);
        spec["serviceAccount"] = json!(name);
    }
}

fn default_host_ports(spec: &mut Value) {
    if spec["hostNetwork"] != true {
        return;
    }
    for list in ["initContainers", "containers"] {
        for container in items(spec, list) {
            for port in items(container, "ports") {
                let number = port["containerPort"].clone();
                if port["hostPort"].as_i64().unwrap_or(0) == 0 {
                    port["hostPort"] = number;
                }
            }
        }
    }
}

fn apply_container(container: &mut Value) {
    default_text(container, "terminationMessagePath", "/dev/termination-log");
    default_text(container, "terminationMessagePolicy", "File");
    let policy = pull_policy(text(container, "image"));
    default_text(container, "imagePullPolicy", policy);
    for port in items(container, "ports") {
        default_text(port, "protocol", "TCP");
    }
    for variable in items(container, "env") {
        if let Some(reference) = variable.pointer_mut("/valueFrom/fieldRef") {
            default_text(reference, "apiVersion", "v1");
        }
        if let Some(key) = variable.pointer_mut("/valueFrom/fileKeyRef") {
            default(key, "optional", json!(false));
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(name) {
            apply_probe(probe);
        }
    }
    for hook in ["/lifecycle/postStart/httpGet", "/lifecycle/preStop/httpGet"] {
        if let Some(action) = container.pointer_mut(hook) {
            apply_http_get(action);
        }
    }
}

/// `Always` for images without a tag or with `latest`, unless pinned by digest.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn apply_probe(probe: &mut Value) {
    for (field, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        if probe[field].as_i64().unwrap_or(0) == 0 {
            probe[field] = json!(value);
        }
    }
    if let Some(action) = probe.get_mut("httpGet") {
        apply_http_get(action);
    }
    if let Some(action) = probe.get_mut("grpc") {
        default(action, "service", json!(""));
    }
}

fn apply_http_get(action: &mut Value) {
    default_text(action, "path", "/");
    default_text(action, "scheme", "HTTP");
}

/// Resources that have a limit and no request ask for their limit.
fn copy_limits_to_requests(container: &mut Value) {
    let Some(limits) = container["resources"]["limits"].as_object().cloned() else { return };
    let requests = section(section(container, "resources"), "requests");
    for (name, amount) in limits {
        default(requests, &name, amount);
    }
}

const VOLUME_NAME_ONLY: usize = 1;

fn apply_volume(volume: &mut Value) {
    if volume.as_object().is_some_and(|map| map.len() == VOLUME_NAME_ONLY) {
        volume["emptyDir"] = json!({});
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source) {
            default(source, "defaultMode", json!(FILE_MODE));
        }
    }
    if let Some(path) = volume.get_mut("hostPath") {
        default(path, "type", json!(""));
    }
    if let Some(api) = volume.get_mut("downwardAPI") {
        items(api, "items").for_each(apply_downward_item);
    }
    if let Some(projected) = volume.get_mut("projected") {
        items(projected, "sources").for_each(apply_projection);
    }
    if let Some(spec) = volume.pointer_mut("/ephemeral/volumeClaimTemplate/spec") {
        default_text(spec, "volumeMode", "Filesystem");
    }
    if let Some(iscsi) = volume.get_mut("iscsi") {
        default_text(iscsi, "iscsiInterface", "default");
    }
    if let Some(image) = volume.get_mut("image") {
        let policy = pull_policy(text(image, "reference"));
        default_text(image, "pullPolicy", policy);
    }
}

fn apply_projection(source: &mut Value) {
    if let Some(token) = source.get_mut("serviceAccountToken") {
        default(token, "expirationSeconds", json!(TOKEN_SECONDS));
    }
    if let Some(api) = source.get_mut("downwardAPI") {
        items(api, "items").for_each(apply_downward_item);
    }
}

fn apply_downward_item(item: &mut Value) {
    if let Some(reference) = item.get_mut("fieldRef") {
        default_text(reference, "apiVersion", "v1");
    }
    if let Some(reference) = item.get_mut("resourceFieldRef") {
        default(reference, "divisor", json!("0"));
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`, upstream `pkg/apis/core/v1/helper/qos`. Resources of the pod as a whole,
/// where there are any, count instead of the containers'.
pub(crate) fn qos_class(pod: &Value) -> &'static str {
    let spec = &pod["spec"];
    let amounts = |owner: &Value, kind: &str| -> BTreeMap<String, Quantity> {
        let all = owner["resources"][kind].as_object().into_iter().flatten();
        let parse = |amount: &Value| quantity::parse(amount.as_str()?).ok();
        all.filter(|(name, _)| is_compute(name))
            .filter_map(|(name, amount)| Some((name.clone(), parse(amount)?)))
            .filter(|(_, amount)| !amount.is_zero())
            .collect()
    };
    let of_containers = || {
        let lists = ["initContainers", "containers"].into_iter();
        lists.flat_map(|list| spec[list].as_array().into_iter().flatten()).collect()
    };
    let owners: Vec<&Value> = match spec["resources"].is_object() {
        true => vec![spec],
        false => of_containers(),
    };
    let mut any = false;
    let mut guaranteed = true;
    for owner in owners {
        let (requests, limits) = (amounts(owner, "requests"), amounts(owner, "limits"));
        any |= !requests.is_empty() || !limits.is_empty();
        // An absent request is the limit.
        let equal = requests.iter().all(|(name, request)| limits.get(name) == Some(request));
        guaranteed &= limits.len() == 2 && equal;
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn is_compute(name: &str) -> bool {
    matches!(name, "cpu" | "memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::defaulted;

    #[test]
    fn classes_follow_amounts_not_their_text() {
        let of = |requests: Value, limits: Value| json!({"requests": requests, "limits": limits});
        let both = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
        for (pod, container, expect) in [
            (Value::Null, of(json!({}), json!({})), "BestEffort"),
            (Value::Null, of(both("0", "0"), json!({})), "BestEffort"),
            (Value::Null, of(both("1000m", "1Gi"), both("1", "1024Mi")), "Guaranteed"),
            (Value::Null, of(json!({}), both("1", "1Gi")), "Guaranteed"),
            (Value::Null, of(both("1", "1Gi"), both("2", "1Gi")), "Burstable"),
            (Value::Null, of(both("1", "1Gi"), json!({"cpu": "1"})), "Burstable"),
            (of(both("1", "1Gi"), both("1", "1Gi")), of(json!({}), json!({})), "Guaranteed"),
            (of(both("1", "1Gi"), json!({})), of(both("1", "1Gi"), both("1", "1Gi")), "Burstable"),
        ] {
            let mut spec = json!({"containers": [{"name": "c", "resources": container}]});
            if pod.is_object() {
                spec["resources"] = pod;
            }
            assert_eq!(qos_class(&json!({"spec": spec})), expect, "{spec}");
        }
    }

    #[test]
    fn both_addresses_of_a_status_are_one() {
        for (status, expect) in [
            (
                json!({"podIP": "10.0.0.1"}),
                json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}),
            ),
            (
                json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}),
                json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}),
            ),
            (
                json!({"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}),
                json!({"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}]}),
            ),
        ] {
            let pod = defaulted("Pod", json!({"spec": {"containers": []}, "status": status}));
            assert_eq!(pod["status"], expect);
        }
    }

    #[test]
    fn pods_get_their_defaults() {
        let pod = defaulted(
            "Pod",
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {
                "containers": [{"name": "c", "image": "nginx:1.27", "ports": [{"containerPort": 80}],
                    "readinessProbe": {"httpGet": {"port": 80}},
                    "resources": {"limits": {"cpu": "1"}}}],
                "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}]}}),
        );
        let spec = &pod["spec"];
        assert_eq!(spec["dnsPolicy"], "ClusterFirst");
        assert_eq!(spec["restartPolicy"], "Always");
        assert_eq!(spec["terminationGracePeriodSeconds"], 30);
        let container = &spec["containers"][0];
        assert_eq!(container["imagePullPolicy"], "IfNotPresent");
        assert_eq!(container["ports"][0]["protocol"], "TCP");
        assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/");
        assert_eq!(container["readinessProbe"]["failureThreshold"], 3);
        assert_eq!(container["resources"]["requests"]["cpu"], "1");
        assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
        assert_eq!(spec["volumes"][1]["secret"]["defaultMode"], 420);
        assert_eq!(defaulted("Pod", pod.clone()), pod, "defaulting twice changes nothing");
    }

    #[test]
    fn pull_policies() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("r:5000/nginx", "Always"),
            ("nginx:latest", "Always"),
            ("r:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:0", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn qos_classes() {
        let pod = |resources: Value| json!({"spec": {"containers": [{"resources": resources}]}});
        let full = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(qos_class(&pod(json!({}))), "BestEffort");
        assert_eq!(qos_class(&pod(json!({"requests": {"cpu": "1"}}))), "Burstable");
        assert_eq!(qos_class(&pod(json!({"limits": full, "requests": full}))), "Guaranteed");
    }
}
