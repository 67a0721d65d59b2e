//! PersistentVolumes and PersistentVolumeClaims.

use serde_json::{Value, json};

use super::{check_driver, check_selector, items, require_text, resources, text};
use crate::rules::names;
use crate::rules::problems::Problems;

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
/// Where a volume may come from, in the order in which upstream looks.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];
/// Labels of nodes under their old and their present names.
const RENAMED_LABELS: [(&str, &str); 5] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

pub(super) fn validate(kind: &str, new: &Value, old: Option<&Value>, problems: &mut Problems) {
    if kind == "PersistentVolume" {
        check_volume(&new["spec"], problems);
        if let Some(old) = old {
            check_volume_update(&new["spec"], &old["spec"], problems);
        }
        return;
    }
    check_claim(&new["spec"], "spec", problems);
    if let Some(old) = old {
        check_claim_update(new, old, problems);
    }
}

fn check_modes(spec: &Value, path: &str, problems: &mut Problems) {
    let modes = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    let at = format!("{path}.accessModes");
    let (mut of_one_pod, mut of_more) = (false, false);
    for (_, mode) in items(spec, "accessModes", path) {
        problems.check_choice(&at, mode, &modes);
        of_one_pod |= mode == "ReadWriteOncePod";
        of_more |= mode.as_str().is_some_and(|mode| modes[..3].contains(&mode));
    }
    if of_one_pod && of_more {
        problems.forbidden(&at, "may not use ReadWriteOncePod with other access modes");
    }
}

fn check_volume_mode(spec: &Value, path: &str, problems: &mut Problems) {
    let modes = ["Block", "Filesystem"];
    problems.check_choice(&format!("{path}.volumeMode"), &spec["volumeMode"], &modes);
}

/// The name of a class, which may be empty.
fn check_class(spec: &Value, field: &str, path: &str, problems: &mut Problems) {
    let class = text(spec, field);
    if !class.is_empty() {
        problems.check_text(&format!("{path}.{field}"), class, names::dns1123_subdomain(class));
    }
}

fn check_more_than_zero(amount: &Value, path: &str, problems: &mut Problems) {
    if !super::is_positive(amount) {
        problems.invalid(path, amount, "must be greater than zero");
    }
}

fn check_claim(spec: &Value, path: &str, problems: &mut Problems) {
    if spec["accessModes"].as_array().is_none_or(Vec::is_empty) {
        let detail = "at least 1 access mode is required";
        problems.required(&format!("{path}.accessModes"), detail);
    }
    check_selector(&spec["selector"], &format!("{path}.selector"), problems);
    check_modes(spec, path, problems);
    check_volume_mode(spec, path, problems);
    let at = format!("{path}.resources[storage]");
    match spec["resources"]["requests"].get("storage") {
        None => problems.required(&at, ""),
        Some(amount) => check_more_than_zero(amount, &at, problems),
    }
    check_class(spec, "storageClassName", path, problems);
    check_class(spec, "volumeAttributesClassName", path, problems);
    for field in ["dataSource", "dataSourceRef"] {
        if let Some(source) = spec.get(field) {
            check_data_source(source, &format!("{path}.{field}"), problems);
        }
    }
}

fn check_data_source(source: &Value, path: &str, problems: &mut Problems) {
    require_text(source, "name", path, problems);
    require_text(source, "kind", path, problems);
    if text(source, "apiGroup").is_empty() && text(source, "kind") != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        problems.invalid_text(path, text(source, "kind"), detail);
    }
}

/// A claim's spec stays, but for what the binder fills in and what a bound claim may ask for.
fn check_claim_update(new: &Value, old: &Value, problems: &mut Problems) {
    let (now, before) = (&new["spec"], &old["spec"]);
    if comparable_claim(new, old) != *before {
        let detail = "spec is immutable after creation except resources.requests and \
            volumeAttributesClassName for bound claims";
        problems.forbidden("spec", detail);
    }
    let size = |object: &Value| resources::parse(&object["requests"]["storage"]);
    let held = resources::parse(&old["status"]["capacity"]["storage"]);
    if let (Some(size), Some(before)) = (size(&now["resources"]), size(&before["resources"]))
        && size < before
        && held.is_some_and(|held| size <= held)
    {
        let detail = "field can not be less than status.capacity";
        problems.forbidden("spec.resources.requests.storage", detail);
    }
    problems.check_immutable("volumeMode", &now["volumeMode"], &before["volumeMode"]);
    let (class, path) = ("volumeAttributesClassName", "spec.volumeAttributesClassName");
    if before[class].is_string() {
        match now[class].as_str() {
            None => problems.forbidden(path, "update from non-nil value to nil is forbidden"),
            Some("") if before[class] != "" => {
                let detail = "update from non-nil value to an empty string is forbidden";
                problems.forbidden(path, detail);
            }
            Some(_) => {}
        }
    }
}

/// The new spec with the old values of what may change.
fn comparable_claim(new: &Value, old: &Value) -> Value {
    let (mut spec, before) = (new["spec"].clone(), &old["spec"]);
    let bound = new["status"]["phase"] == "Bound";
    if text(before, "volumeName").is_empty() {
        take_back(&mut spec, before, "volumeName");
    }
    // The default class may come late.
    let asked = old["metadata"]["annotations"][CLASS_ANNOTATION].as_str();
    if before.get("storageClassName").is_none()
        && spec["storageClassName"].as_str().is_some_and(|class| asked.is_none_or(|it| it == class))
    {
        take_back(&mut spec, before, "storageClassName");
    }
    if bound && spec.get("volumeAttributesClassName").is_some() {
        take_back(&mut spec, before, "volumeAttributesClassName");
    }
    let path = "/resources/requests";
    if let (Some(requests), Some(requests_before)) = (spec.pointer_mut(path), before.pointer(path))
    {
        let size = |requests: &Value| resources::parse(&requests["storage"]);
        if bound || size(requests) == size(requests_before) {
            take_back(requests, requests_before, "storage");
        }
    }
    spec
}

/// Gives a field the value that it has elsewhere.
fn take_back(object: &mut Value, source: &Value, field: &str) {
    let Some(map) = object.as_object_mut() else { return };
    match source.get(field) {
        Some(value) => drop(map.insert(field.to_owned(), value.clone())),
        None => drop(map.remove(field)),
    }
}

fn check_volume(spec: &Value, problems: &mut Problems) {
    if spec["accessModes"].as_array().is_none_or(Vec::is_empty) {
        problems.required("spec.accessModes", "");
    }
    check_modes(spec, "spec", problems);
    check_volume_mode(spec, "spec", problems);
    check_capacity(&spec["capacity"], problems);
    let (policies, path) = (["Delete", "Recycle", "Retain"], "spec.persistentVolumeReclaimPolicy");
    problems.check_choice(path, &spec["persistentVolumeReclaimPolicy"], &policies);
    check_sources(spec, "spec", problems);
    if spec["hostPath"]["path"] == "/" && spec["persistentVolumeReclaimPolicy"] == "Recycle" {
        problems.forbidden(path, "may not be 'recycle' for a hostPath mount of '/'");
    }
    check_class(spec, "storageClassName", "spec", problems);
    check_class(spec, "volumeAttributesClassName", "spec", problems);
    if let Some(class) = spec["volumeAttributesClassName"].as_str() {
        if class.is_empty() {
            let detail = "an empty string is disallowed";
            problems.required("spec.volumeAttributesClassName", detail);
        }
        if spec.get("csi").is_none() {
            let detail = "has to be specified when using volumeAttributesClassName";
            problems.required("spec.csi", detail);
        }
    }
}

fn check_capacity(capacity: &Value, problems: &mut Problems) {
    let amounts = capacity.as_object().into_iter().flatten();
    match amounts.clone().count() {
        0 => problems.required("spec.capacity", ""),
        1 if capacity.get("storage").is_some() => {}
        _ => problems.not_supported("spec.capacity", capacity, &["storage"]),
    }
    for (name, amount) in amounts {
        check_more_than_zero(amount, &format!("spec.capacity[{name}]"), problems);
    }
}

/// A volume described where it is attached, not in an object of its own.
pub(super) fn check_inline_volume(spec: &Value, path: &str, problems: &mut Problems) {
    let at = |field: &str| format!("{path}.{field}");
    let strange = "may not be specified in the context of inline volumes";
    let has = |field: &str| !spec[field].is_null();
    if has("claimRef") {
        problems.forbidden(&at("claimRef"), strange);
    }
    if spec["capacity"].as_object().is_some_and(|amounts| !amounts.is_empty()) {
        problems.forbidden(&at("capacity"), strange);
    }
    if !has("csi") {
        problems.required(&at("csi"), "has to be specified in the context of inline volumes");
    }
    if spec["accessModes"].as_array().is_none_or(Vec::is_empty) {
        problems.required(&at("accessModes"), "");
    }
    check_modes(spec, path, problems);
    if !matches!(text(spec, "persistentVolumeReclaimPolicy"), "" | "Retain") {
        let detail = "may only be Retain in the context of inline volumes";
        problems.forbidden(&at("persistentVolumeReclaimPolicy"), detail);
    }
    if has("nodeAffinity") {
        problems.forbidden(&at("nodeAffinity"), strange);
    }
    check_sources(spec, path, problems);
    if !text(spec, "storageClassName").is_empty() {
        problems.forbidden(&at("storageClassName"), strange);
    }
    if has("volumeMode") && spec["volumeMode"] != "Filesystem" {
        let detail =
            "may not specify volumeMode other than Filesystem in the context of inline volumes";
        problems.forbidden(&at("volumeMode"), detail);
    }
}

fn check_sources(spec: &Value, path: &str, problems: &mut Problems) {
    let present: Vec<&str> =
        SOURCES.into_iter().filter(|source| spec.get(*source).is_some()).collect();
    if present.is_empty() {
        problems.required(path, "must specify a volume type");
    }
    // Upstream does not count before a flexVolume.
    for extra in present.iter().skip(1).filter(|source| **source != "flexVolume") {
        let detail = "may not specify more than 1 volume type";
        problems.forbidden(&format!("{path}.{extra}"), detail);
    }
    let Some(first) = present.first() else { return };
    let (source, affinity) = (&spec[*first], format!("{path}.nodeAffinity"));
    let path = format!("{path}.{first}");
    match *first {
        "hostPath" | "local" => {
            require_text(source, "path", &path, problems);
        }
        "nfs" => {
            require_text(source, "server", &path, problems);
            require_text(source, "path", &path, problems);
        }
        "csi" => {
            check_driver(source, "driver", &path, problems);
            require_text(source, "volumeHandle", &path, problems);
        }
        _ => {}
    }
    if *first == "local" && spec.get("nodeAffinity").is_none() {
        problems.required(&affinity, "Local volume requires node affinity");
    }
}

fn check_volume_update(new: &Value, old: &Value, problems: &mut Problems) {
    if volume_source(new, old) != volume_source(old, old) {
        let detail = "spec.persistentvolumesource is immutable after creation";
        problems.forbidden("spec.persistentvolumesource", detail);
    }
    problems.check_immutable("volumeMode", &new["volumeMode"], &old["volumeMode"]);
    let affinity = |spec: &Value| {
        RENAMED_LABELS
            .into_iter()
            .fold(spec["nodeAffinity"].to_string(), |all, (old, now)| all.replace(old, now))
    };
    if old.get("nodeAffinity").is_some() && affinity(new) != affinity(old) {
        problems.invalid("nodeAffinity", &new["nodeAffinity"], "field is immutable");
    }
    let class = "volumeAttributesClassName";
    if old.get(class).is_some() && new.get(class).is_none() {
        let detail = "update from non-nil value to nil is forbidden";
        problems.forbidden("spec.volumeAttributesClassName", detail);
    }
}

/// What a volume comes from; the secret for growing it may be added.
fn volume_source(spec: &Value, old: &Value) -> Value {
    let found = SOURCES.into_iter().filter_map(|source| Some((source, spec.get(source)?)));
    let mut sources = json!({});
    for (source, value) in found {
        sources[source] = value.clone();
    }
    let secret = "controllerExpandSecretRef";
    let is_new = old.get("csi").is_some_and(|csi| csi.get(secret).is_none());
    if is_new && let Some(csi) = sources.get_mut("csi").and_then(Value::as_object_mut) {
        csi.remove(secret);
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{defaulted, problems};

    fn merged(mut spec: Value, more: &Value) -> Value {
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    }

    fn claim(more: &Value, phase: &str) -> Value {
        let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}});
        let object = json!({"metadata": {"name": "c", "namespace": "d"}, "spec": merged(spec, more),
            "status": {"phase": phase, "capacity": {"storage": "1Gi"}}});
        defaulted("PersistentVolumeClaim", object)
    }

    fn sized(size: &str) -> Value {
        json!({"resources": {"requests": {"storage": size}}})
    }

    #[test]
    fn claims_are_checked() {
        for (more, expected) in [
            (json!({}), ""),
            (
                json!({"accessModes": []}),
                "spec.accessModes: Required value: at least 1 access mode is required",
            ),
            (
                json!({"accessModes": ["ReadWriteOncePod", "ReadOnlyMany"]}),
                "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            ),
            (json!({"resources": {}}), "spec.resources[storage]: Required value"),
            (
                sized("0"),
                "spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
            ),
            (
                json!({"dataSource": {"kind": "VolumeSnapshot", "name": "s"}}),
                "spec.dataSource: Invalid value: \"VolumeSnapshot\": \
                 must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            ),
        ] {
            assert_eq!(problems("PersistentVolumeClaim", &claim(&more, "Pending"), None), expected);
        }
    }

    #[test]
    fn claims_keep_their_spec() {
        let fixed = "spec: Forbidden: spec is immutable after creation except resources.requests and \
            volumeAttributesClassName for bound claims";
        let small = "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity";
        for (phase, old, new, expected) in [
            ("Pending", json!({}), json!({"volumeName": "v", "storageClassName": "s"}), ""),
            ("Pending", json!({"volumeName": "v"}), json!({"volumeName": "w"}), fixed),
            ("Pending", json!({}), sized("3Gi"), fixed),
            ("Pending", json!({}), sized("2048Mi"), ""),
            ("Bound", json!({}), sized("3Gi"), ""),
            ("Bound", sized("3Gi"), sized("2Gi"), ""),
            ("Bound", json!({}), sized("1Gi"), small),
            ("Bound", json!({}), json!({"accessModes": ["ReadOnlyMany"]}), fixed),
            ("Bound", json!({}), json!({"volumeAttributesClassName": "a"}), ""),
            (
                "Bound",
                json!({"volumeAttributesClassName": "a"}),
                json!({"volumeAttributesClassName": ""}),
                "spec.volumeAttributesClassName: Forbidden: update from non-nil value to an empty string is forbidden",
            ),
        ] {
            let (old, new) = (claim(&old, phase), claim(&new, phase));
            assert_eq!(problems("PersistentVolumeClaim", &new, Some(&old)), expected);
        }
    }

    fn volume(more: &Value) -> Value {
        let spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]});
        let object = json!({"metadata": {"name": "v"}, "spec": merged(spec, more)});
        defaulted("PersistentVolume", object)
    }

    #[test]
    fn volumes_are_checked() {
        let path = json!({"path": "/a"});
        for (more, expected) in [
            (json!({"hostPath": path}), ""),
            (json!({}), "spec: Required value: must specify a volume type"),
            (json!({"hostPath": path, "accessModes": []}), "spec.accessModes: Required value"),
            (json!({"hostPath": path, "capacity": {}}), "spec.capacity: Required value"),
            (
                json!({"hostPath": path, "capacity": {"cpu": "1"}}),
                "spec.capacity: Unsupported value: {\"cpu\":\"1\"}: supported values: \"storage\"",
            ),
            (
                json!({"hostPath": path, "nfs": {"server": "s", "path": "/p"}}),
                "spec.nfs: Forbidden: may not specify more than 1 volume type",
            ),
            (
                json!({"local": path}),
                "spec.nodeAffinity: Required value: Local volume requires node affinity",
            ),
            (json!({"csi": {"driver": "d"}}), "spec.csi.volumeHandle: Required value"),
        ] {
            assert_eq!(problems("PersistentVolume", &volume(&more), None), expected);
        }
    }

    #[test]
    fn volumes_keep_their_source() {
        let csi = |more: &Value| json!({"csi": merged(json!({"driver": "d", "volumeHandle": "h"}), more)});
        let secret = json!({"controllerExpandSecretRef": {"name": "s", "namespace": "d"}});
        let affinity = |key: &str| {
            json!({"local": {"path": "/a"}, "nodeAffinity": {"required": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": key, "operator": "Exists"}]}]}}})
        };
        for (old, new, expected) in [
            (csi(&json!({})), csi(&secret), ""),
            (
                csi(&json!({})),
                csi(&json!({"volumeHandle": "i"})),
                "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation",
            ),
            (
                affinity("failure-domain.beta.kubernetes.io/zone"),
                affinity("topology.kubernetes.io/zone"),
                "",
            ),
        ] {
            let (old, new) = (volume(&old), volume(&new));
            assert_eq!(problems("PersistentVolume", &new, Some(&old)), expected);
        }
        let (old, new) = (volume(&affinity("a")), volume(&affinity("b")));
        let found = problems("PersistentVolume", &new, Some(&old));
        assert!(found.starts_with("nodeAffinity: Invalid value: "), "{found}");
    }
}
