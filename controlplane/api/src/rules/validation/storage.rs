//! storage.k8s.io.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{check_driver, check_selector, items, persistent, require_text, resources, text};
use crate::rules::names;
use crate::rules::problems::Problems;

const NODE_ID_BYTES_MAX: usize = 192;
/// Keys and values of a class's parameters together.
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;
const PARAMETERS_MAX: usize = 512;
const TOKEN_SECONDS_MIN: i64 = 600;
const UPDATE_SECONDS_MIN: i64 = 10;

pub(super) fn validate(kind: &str, new: &Value, old: Option<&Value>, problems: &mut Problems) {
    match kind {
        "StorageClass" => check_class(new, old, problems),
        "VolumeAttributesClass" => check_attributes_class(new, old, problems),
        "CSIDriver" => check_csi_driver(&new["spec"], old.map(|old| &old["spec"]), problems),
        "CSINode" => check_node(&new["spec"], old.map(|old| &old["spec"]), problems),
        "VolumeAttachment" => {
            check_attachment(&new["spec"], problems);
            if let Some(old) = old {
                problems.check_immutable("spec", &new["spec"], &old["spec"]);
            }
        }
        "CSIStorageCapacity" => check_capacity(new, old, problems),
        _ => {}
    }
}

/// A provisioner or a driver: a qualified name once it is in lower case.
fn check_provisioner(object: &Value, field: &str, problems: &mut Problems) {
    if require_text(object, field, "", problems) {
        let name = text(object, field);
        problems.check_text(field, name, names::label_key(&name.to_lowercase()));
    }
}

fn check_parameters(parameters: &Value, problems: &mut Problems) {
    let Some(map) = parameters.as_object() else { return };
    if map.len() > PARAMETERS_MAX {
        problems.too_long("parameters", PARAMETERS_MAX);
        return;
    }
    if map.contains_key("") {
        problems.invalid_text("parameters", "", "field can not be empty.");
    }
    let size = |value: &Value| value.as_str().map_or(0, str::len);
    let bytes: usize = map.iter().map(|(key, value)| key.len() + size(value)).sum();
    if bytes > PARAMETERS_BYTES_MAX {
        problems.too_long("parameters", PARAMETERS_BYTES_MAX);
    }
}

fn check_unchanged(new: &Value, old: Option<&Value>, fields: &[&str], problems: &mut Problems) {
    let Some(old) = old else { return };
    for field in fields.iter().filter(|field| new[**field] != old[**field]) {
        problems.forbidden(field, &format!("updates to {field} are forbidden."));
    }
}

fn check_class(new: &Value, old: Option<&Value>, problems: &mut Problems) {
    check_provisioner(new, "provisioner", problems);
    check_parameters(&new["parameters"], problems);
    problems.check_choice("reclaimPolicy", &new["reclaimPolicy"], &["Delete", "Retain"]);
    let modes = ["Immediate", "WaitForFirstConsumer"];
    problems.check_choice("volumeBindingMode", &new["volumeBindingMode"], &modes);
    check_topologies(new, problems);
    let fixed = ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"];
    check_unchanged(new, old, &fixed, problems);
}

/// A term of a topology: keys of labels with their values.
type Term<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn check_topologies(class: &Value, problems: &mut Problems) {
    let count = class["allowedTopologies"].as_array().map_or(0, Vec::len);
    // Upstream compares with as many empty terms as there are terms, so a term without labels is never fine.
    let mut seen = vec![Term::new(); count];
    for (path, topology) in items(class, "allowedTopologies", "") {
        let term = check_topology(topology, &path, problems);
        for _ in seen.iter().filter(|known| **known == term) {
            problems.duplicate(&format!("{path}.matchLabelExpressions"), &Value::from(""));
        }
        seen.push(term);
    }
}

fn check_topology<'a>(topology: &'a Value, path: &str, problems: &mut Problems) -> Term<'a> {
    let mut term = Term::new();
    for (path, requirement) in items(topology, "matchLabelExpressions", path) {
        let mut values = BTreeSet::new();
        if requirement["values"].as_array().is_none_or(Vec::is_empty) {
            problems.required(&format!("{path}.values"), "");
        }
        for (path, value) in items(requirement, "values", &path) {
            if !values.insert(value.as_str().unwrap_or_default()) {
                problems.duplicate(&path, value);
            }
        }
        let (at, key) = (format!("{path}.key"), text(requirement, "key"));
        problems.check_text(&at, key, names::label_key(key));
        if term.insert(key, values).is_some() {
            problems.duplicate(&at, &Value::from(key));
        }
    }
    term
}

fn check_attributes_class(new: &Value, old: Option<&Value>, problems: &mut Problems) {
    check_unchanged(new, old, &["driverName", "parameters"], problems);
    check_provisioner(new, "driverName", problems);
    if new["parameters"].as_object().is_none_or(serde_json::Map::is_empty) {
        let detail = "must contain at least one key/value pair";
        problems.required("parameters", detail);
    }
    check_parameters(&new["parameters"], problems);
}

fn check_csi_driver(spec: &Value, old: Option<&Value>, problems: &mut Problems) {
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    problems.check_choice("spec.fsGroupPolicy", &spec["fsGroupPolicy"], &policies);
    check_tokens(spec, problems);
    for (_, mode) in items(spec, "volumeLifecycleModes", "spec") {
        let modes = ["Persistent", "Ephemeral"];
        problems.check_choice("spec.volumeLifecycleModes", mode, &modes);
    }
    let period = &spec["nodeAllocatableUpdatePeriodSeconds"];
    if period.as_i64().is_some_and(|seconds| seconds < UPDATE_SECONDS_MIN) {
        let path = "spec.nodeAllocatableUpdatePeriodSeconds";
        problems.invalid(path, period, "must be greater than or equal to 10 seconds");
    }
    let Some(old) = old else { return };
    // Upstream's own spelling of the first path.
    for (path, field) in [
        ("spec.attachedRequired", "attachRequired"),
        ("spec.volumeLifecycleModes", "volumeLifecycleModes"),
    ] {
        problems.check_immutable(path, &spec[field], &old[field]);
    }
}

fn check_tokens(spec: &Value, problems: &mut Problems) {
    let mut audiences = BTreeSet::new();
    for (path, token) in items(spec, "tokenRequests", "spec") {
        if !audiences.insert(text(token, "audience")) {
            problems.duplicate(&format!("{path}.audience"), &token["audience"]);
            continue;
        }
        let (path, lifetime) = (format!("{path}.expirationSeconds"), &token["expirationSeconds"]);
        let Some(seconds) = lifetime.as_i64() else { continue };
        if seconds < TOKEN_SECONDS_MIN {
            let detail = "may not specify a duration less than 10 minutes";
            problems.invalid(&path, lifetime, detail);
        } else if seconds > 1 << 32 {
            let detail = "may not specify a duration larger than 2^32 seconds";
            problems.invalid(&path, lifetime, detail);
        }
    }
}

fn check_node(spec: &Value, old: Option<&Value>, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (path, driver) in items(spec, "drivers", "spec") {
        check_driver(driver, "name", &path, problems);
        check_node_id(driver, &path, problems);
        let count = &driver["allocatable"]["count"];
        problems.check_not_negative(&format!("{path}.allocatable.count"), count);
        if !seen.insert(text(driver, "name")) {
            problems.duplicate(&format!("{path}.name"), &driver["name"]);
        }
        check_topology_keys(driver, &path, problems);
    }
    // What a driver says of a node stays, but how many volumes it takes may change.
    let fixed = |driver: &Value| {
        let mut map = driver.as_object().cloned().unwrap_or_default();
        map.remove("allocatable");
        Value::Object(map)
    };
    for (_, before) in old.into_iter().flat_map(|old| items(old, "drivers", "spec")) {
        let same_name =
            items(spec, "drivers", "spec").find(|(_, one)| one["name"] == before["name"]);
        if let Some((_, now)) = same_name {
            problems.check_immutable("spec.drivers", &fixed(now), &fixed(before));
        }
    }
}

fn check_node_id(driver: &Value, path: &str, problems: &mut Problems) {
    require_text(driver, "nodeID", path, problems);
    if text(driver, "nodeID").len() > NODE_ID_BYTES_MAX {
        let detail = format!("must be {NODE_ID_BYTES_MAX} characters or less");
        problems.invalid(&format!("{path}.nodeID"), &driver["nodeID"], &detail);
    }
}

fn check_topology_keys(driver: &Value, path: &str, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (_, key) in items(driver, "topologyKeys", path) {
        let name = key.as_str().unwrap_or_default();
        if name.is_empty() {
            problems.required(path, "");
        }
        if !seen.insert(name) {
            problems.duplicate(path, key);
        }
        problems.check_text(path, name, names::label_key(name));
    }
}

fn check_attachment(spec: &Value, problems: &mut Problems) {
    check_driver(spec, "attacher", "spec", problems);
    let source = &spec["source"];
    let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (source.get("inlineVolumeSpec"), source["persistentVolumeName"].as_str()) {
        (None, None) => problems.required("spec.source", detail),
        (Some(_), Some(_)) => problems.forbidden("spec.source", detail),
        (None, Some(name)) => {
            let path = "spec.source.persistentVolumeName";
            if name.is_empty() {
                problems.required(path, "must specify non empty persistentVolumeName");
            } else {
                problems.check_text(path, name, names::dns1123_subdomain(name));
            }
        }
        (Some(volume), None) => {
            persistent::check_inline_volume(volume, "spec.source.inlineVolumeSpec", problems);
        }
    }
    let node = text(spec, "nodeName");
    problems.check_text("spec.nodeName", node, names::dns1123_subdomain(node));
}

fn check_capacity(new: &Value, old: Option<&Value>, problems: &mut Problems) {
    if let Some(old) = old {
        for field in ["nodeTopology", "storageClassName"] {
            problems.check_immutable(field, &new[field], &old[field]);
        }
    }
    check_selector(&new["nodeTopology"], "nodeTopology", problems);
    let class = text(new, "storageClassName");
    problems.check_text("storageClassName", class, names::dns1123_subdomain(class));
    resources::check_amount(&new["capacity"], "capacity", false, problems);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rules::tests::{defaulted, problems};

    fn check(kind: &str, object: Value, old: Option<Value>, expected: &str) {
        let complete = |mut object: Value| {
            object["metadata"] = match kind {
                "CSIStorageCapacity" => json!({"name": "x", "namespace": "d"}),
                _ => json!({"name": "x"}),
            };
            defaulted(kind, object)
        };
        let found = problems(kind, &complete(object), old.map(complete).as_ref());
        assert_eq!(found, expected, "{kind}");
    }

    #[test]
    fn classes_are_checked() {
        check("StorageClass", json!({"provisioner": "p.example.org/Disk"}), None, "");
        check("StorageClass", json!({}), None, "provisioner: Required value");
        let class = json!({"driverName": "d.example.org", "parameters": {"k": "v"}});
        let kind = "VolumeAttributesClass";
        check(kind, class.clone(), None, "");
        check(
            kind,
            json!({"driverName": "d"}),
            None,
            "parameters: Required value: must contain at least one key/value pair",
        );
        let other = json!({"driverName": "d.example.org", "parameters": {"k": "w"}});
        check(
            kind,
            other,
            Some(class),
            "parameters: Forbidden: updates to parameters are forbidden.",
        );
    }

    #[test]
    fn drivers_are_checked() {
        let kind = "CSIDriver";
        check(kind, json!({"spec": {"attachRequired": true}}), None, "");
        check(
            kind,
            json!({"spec": {"volumeLifecycleModes": ["Sometimes"]}}),
            None,
            "spec.volumeLifecycleModes: Unsupported value: \"Sometimes\": supported values: \"Ephemeral\", \"Persistent\"",
        );
        check(
            kind,
            json!({"spec": {"attachRequired": false, "podInfoOnMount": true}}),
            Some(json!({"spec": {"attachRequired": true}})),
            "spec.attachedRequired: Invalid value: false: field is immutable",
        );
        check(
            kind,
            json!({"spec": {"tokenRequests": [{"audience": "a"}, {"audience": "a"}, {"audience": "b", "expirationSeconds": 5}]}}),
            None,
            "spec.tokenRequests[1].audience: Duplicate value: \"a\"; spec.tokenRequests[2].expirationSeconds: \
             Invalid value: 5: may not specify a duration less than 10 minutes",
        );
    }

    #[test]
    fn nodes_are_checked() {
        let kind = "CSINode";
        let node =
            |name: &str, id: &str| json!({"name": name, "nodeID": id, "topologyKeys": ["t/zone"]});
        check(
            kind,
            json!({"spec": {"drivers": [node("d.example.org", "n1"), node("e", "n1")]}}),
            None,
            "",
        );
        check(
            kind,
            json!({"spec": {"drivers": [node("d", "n1"), node("d", "")]}}),
            None,
            "spec.drivers[1].nodeID: Required value; spec.drivers[1].name: Duplicate value: \"d\"",
        );
        let long = "n".repeat(193);
        let expected = format!(
            "spec.drivers[0].nodeID: Invalid value: {long:?}: must be 192 characters or less"
        );
        check(kind, json!({"spec": {"drivers": [node("d", &long)]}}), None, &expected);
        let mut more = node("d", "n1");
        more["allocatable"] = json!({"count": 5});
        let old = json!({"spec": {"drivers": [node("d", "n1")]}});
        check(kind, json!({"spec": {"drivers": [more]}}), Some(old.clone()), "");
        check(
            kind,
            json!({"spec": {"drivers": [node("d", "n2")]}}),
            Some(old),
            "spec.drivers: Invalid value: {\"name\":\"d\",\"nodeID\":\"n2\",\"topologyKeys\":[\"t/zone\"]}: field is immutable",
        );
    }

    #[test]
    fn attachments_and_capacities_are_checked() {
        let kind = "VolumeAttachment";
        let spec = |name: &str| json!({"spec": {"attacher": "a.example.org", "nodeName": "n1", "source": {"persistentVolumeName": name}}});
        check(kind, spec("v"), None, "");
        check(
            kind,
            json!({"spec": {"nodeName": "n1"}}),
            None,
            "spec.attacher: Required value; spec.source: Required value: \
             must specify exactly one of inlineVolumeSpec and persistentVolumeName",
        );
        check(
            kind,
            spec("w"),
            Some(spec("v")),
            "spec: Invalid value: {\"attacher\":\"a.example.org\",\"nodeName\":\"n1\",\"source\":{\"persistentVolumeName\":\"w\"}}: field is immutable",
        );
        let kind = "CSIStorageCapacity";
        check(kind, json!({"storageClassName": "fast", "capacity": "1Gi"}), None, "");
        check(
            kind,
            json!({"storageClassName": "fast", "capacity": "-1Gi"}),
            None,
            "capacity: Invalid value: \"-1Gi\": must be greater than or equal to 0",
        );
        check(
            kind,
            json!({"storageClassName": "slow"}),
            Some(json!({"storageClassName": "fast"})),
            "storageClassName: Invalid value: \"slow\": field is immutable",
        );
    }

    #[test]
    fn topologies_differ() {
        let of = |key: &str, values: &[&str]| json!({"matchLabelExpressions": [{"key": key, "values": values}]});
        let path = "allowedTopologies[1].matchLabelExpressions";
        for (topologies, expected) in [
            (json!([of("zone", &["a", "b"]), of("zone", &["c"])]), String::new()),
            (
                json!([of("zone", &["a", "b"]), of("zone", &["b", "a"])]),
                format!("{path}: Duplicate value: \"\""),
            ),
            (
                json!([of("zone", &["a"]), of("rack", &["a", "a"])]),
                format!("{path}[0].values[1]: Duplicate value: \"a\""),
            ),
            (
                json!([of("zone", &["a"]), of("rack", &[])]),
                format!("{path}[0].values: Required value"),
            ),
            (
                json!([of("zone", &["a"]), of("", &["a"])]),
                format!("{path}[0].key: Invalid value: \"\": name part must be non-empty"),
            ),
            (
                json!([of("zone", &["a"]), {"matchLabelExpressions": [
                    {"key": "rack", "values": ["a"]}, {"key": "rack", "values": ["b"]}]}]),
                format!("{path}[1].key: Duplicate value: \"rack\""),
            ),
            (
                json!([{}]),
                "allowedTopologies[0].matchLabelExpressions: Duplicate value: \"\"".to_owned(),
            ),
        ] {
            let class = json!({"provisioner": "p.example.org", "allowedTopologies": topologies});
            check("StorageClass", class, None, &expected);
        }
    }

    #[test]
    fn volumes_in_attachments_are_checked() {
        let fine = json!({"accessModes": ["ReadWriteOnce"], "csi": {"driver": "a.example.org", "volumeHandle": "h"}});
        let path = "spec.source.inlineVolumeSpec";
        for (fields, expected) in [
            (json!({}), String::new()),
            (
                json!({"volumeMode": "Filesystem", "persistentVolumeReclaimPolicy": "Retain"}),
                String::new(),
            ),
            (
                json!({"capacity": {"storage": "1Gi"}, "claimRef": {"name": "c"}, "storageClassName": "fast"}),
                format!(
                    "{path}.claimRef: Forbidden: may not be specified in the context of inline volumes; \
                     {path}.capacity: Forbidden: may not be specified in the context of inline volumes; \
                     {path}.storageClassName: Forbidden: may not be specified in the context of inline volumes"
                ),
            ),
            (
                json!({"csi": null, "accessModes": []}),
                format!(
                    "{path}.csi: Required value: has to be specified in the context of inline volumes; \
                     {path}.accessModes: Required value; {path}: Required value: must specify a volume type"
                ),
            ),
            (
                json!({"volumeMode": "Block", "persistentVolumeReclaimPolicy": "Delete", "accessModes": ["Any"]}),
                format!(
                    "{path}.accessModes: Unsupported value: \"Any\": supported values: \"ReadOnlyMany\", \
                     \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"; \
                     {path}.persistentVolumeReclaimPolicy: Forbidden: may only be Retain in the context of inline volumes; \
                     {path}.volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes"
                ),
            ),
            (
                json!({"hostPath": {"path": "/d"}, "nodeAffinity": {"required": {"nodeSelectorTerms": []}}}),
                format!(
                    "{path}.nodeAffinity: Forbidden: may not be specified in the context of inline volumes; \
                     {path}.csi: Forbidden: may not specify more than 1 volume type"
                ),
            ),
            (
                json!({"csi": {"driver": "a.example.org"}}),
                format!("{path}.csi.volumeHandle: Required value"),
            ),
        ] {
            let mut volume = fine.clone();
            for (field, value) in fields.as_object().unwrap() {
                volume[field] = value.clone();
            }
            let attachment = json!({"spec": {"attacher": "a.example.org", "nodeName": "n1",
                "source": {"inlineVolumeSpec": volume}}});
            check("VolumeAttachment", attachment, None, &expected);
        }
    }
}
