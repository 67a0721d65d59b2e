//! ResourceSlices: the devices of a node or a network.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

use super::{check_driver, check_size, check_unique, items, text};
use crate::rules::names;
use crate::rules::problems::Problems;

pub(super) const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];
const DEVICES_MAX: usize = 128;
/// Where devices have taints, share counters, or have lists of values.
const COMPLEX_DEVICES_MAX: usize = 64;
const ATTRIBUTES_MAX: usize = 32;
const TAINTS_MAX: usize = 16;
const COUNTER_SETS_MAX: usize = 8;
const CONDITIONS_MAX: usize = 4;
const POOL_BYTES_MAX: usize = 253;
const IDENTIFIER_BYTES_MAX: usize = 32;
const DOMAIN_BYTES_MAX: usize = 63;
const VALUE_BYTES_MAX: usize = 64;
/// The lists that an attribute's value may be.
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

static SEMANTIC_VERSION: LazyLock<Regex> = LazyLock::new(|| {
    let number = "(0|[1-9][0-9]*)";
    let part = "(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)";
    let build = "[0-9a-zA-Z-]+";
    let pattern =
        format!(r"^{number}\.{number}\.{number}(-{part}(\.{part})*)?(\+{build}(\.{build})*)?$");
    Regex::new(&pattern).expect("static pattern")
});

pub(super) fn validate(new: &Value, old: Option<&Value>, problems: &mut Problems) {
    let spec = &new["spec"];
    check_driver(spec, "driver", "spec", problems);
    check_pool(&spec["pool"], problems);
    if let Some(old) = old.map(|old| &old["spec"]) {
        let pool = &old["pool"]["name"];
        problems.check_immutable("spec.pool.name", &spec["pool"]["name"], pool);
        for field in ["driver", "nodeName"] {
            problems.check_immutable(&format!("spec.{field}"), &spec[field], &old[field]);
        }
    }
    check_place(spec, problems);
    if spec.get("sharedCounters").is_some() && spec.get("devices").is_some() {
        let detail = "only one of `sharedCounters` or `devices` is allowed";
        problems.invalid_text("spec", "", detail);
    }
    let devices_max = if is_complex(spec) { COMPLEX_DEVICES_MAX } else { DEVICES_MAX };
    if check_size(spec, "devices", devices_max, "spec", problems) {
        for (path, device) in items(spec, "devices", "spec") {
            check_device(device, spec["perDeviceNodeSelection"] == true, &path, problems);
        }
        check_unique(spec, "devices", "name", "spec", problems);
    }
    if check_size(spec, "sharedCounters", COUNTER_SETS_MAX, "spec", problems) {
        for (path, set) in items(spec, "sharedCounters", "spec") {
            check_counters(set, "name", &path, problems);
        }
        check_unique(spec, "sharedCounters", "name", "spec", problems);
    }
}

fn is_complex(spec: &Value) -> bool {
    let has_lists = |attribute: &Value| LISTS.iter().any(|list| attribute.get(*list).is_some());
    items(spec, "devices", "").any(|(_, device)| {
        ["taints", "consumesCounters"].iter().any(|field| device.get(*field).is_some())
            || device["attributes"].as_object().into_iter().flatten().any(|(_, it)| has_lists(it))
    })
}

fn check_pool(pool: &Value, problems: &mut Problems) {
    let name = text(pool, "name");
    if name.is_empty() {
        problems.required("spec.pool.name", "");
    } else {
        if name.len() > POOL_BYTES_MAX {
            problems.too_long("spec.pool.name", POOL_BYTES_MAX);
        }
        for part in name.split('/') {
            problems.check_text("spec.pool.name", part, names::dns1123_subdomain(part));
        }
    }
    let count = pool["resourceSliceCount"].as_i64().unwrap_or(0);
    if count <= 0 {
        let detail = "must be greater than zero";
        problems.invalid("spec.pool.resourceSliceCount", &json!(count), detail);
    }
    if pool["generation"].as_i64().is_some_and(|generation| generation < 0) {
        let detail = "must be greater than or equal to zero";
        problems.invalid("spec.pool.generation", &pool["generation"], detail);
    }
}

/// Which of the fields that say where a device is are set, as upstream shows them.
fn places(object: &Value, path: &str, problems: &mut Problems) -> Vec<&'static str> {
    let mut set = Vec::new();
    if let Some(node) = object["nodeName"].as_str() {
        let path = format!("{path}.nodeName");
        if node.is_empty() {
            let detail = "must be either unset or set to a non-empty string";
            problems.invalid_text(&path, node, detail);
        } else {
            set.push("`nodeName`");
            problems.check_text(&path, node, names::dns1123_subdomain(node));
        }
    }
    if object.get("nodeSelector").is_some() {
        set.push("`nodeSelector`");
    }
    for (field, shown) in
        [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")]
    {
        match object[field].as_bool() {
            Some(true) => set.push(shown),
            Some(false) => {
                let detail = "must be either unset or set to true";
                problems.invalid(&format!("{path}.{field}"), &object[field], detail);
            }
            None => {}
        }
    }
    set
}

fn check_place(spec: &Value, problems: &mut Problems) {
    let set = places(spec, "spec", problems);
    let terms = &spec["nodeSelector"]["nodeSelectorTerms"];
    if spec.get("nodeSelector").is_some() && terms.as_array().map_or(0, Vec::len) != 1 {
        let path = "spec.nodeSelector.nodeSelectorTerms";
        problems.invalid(path, terms, "must have exactly one node selector term");
    }
    let detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` \
        is required";
    match set.len() {
        0 => problems.required("spec", detail),
        1 => {}
        _ => {
            let detail = format!("{detail}, but multiple fields are set");
            problems.invalid_text("spec", &format!("{{{}}}", set.join(", ")), &detail);
        }
    }
}

fn check_device(device: &Value, has_place: bool, path: &str, problems: &mut Problems) {
    let name = text(device, "name");
    problems.check_text(&format!("{path}.name"), name, names::dns1123_label(name));
    check_attributes(device, path, problems);
    if check_size(device, "taints", TAINTS_MAX, path, problems) {
        for (path, taint) in items(device, "taints", path) {
            check_taint(taint, &path, problems);
        }
    }
    for (path, consumed) in items(device, "consumesCounters", path) {
        check_counters(consumed, "counterSet", &path, problems);
    }
    check_unique(device, "consumesCounters", "counterSet", path, problems);
    check_device_place(device, has_place, path, problems);
    check_conditions(device, path, problems);
}

fn check_device_place(device: &Value, has_place: bool, path: &str, problems: &mut Problems) {
    if !has_place {
        let fields = ["nodeName", "nodeSelector", "allNodes"];
        if fields.iter().any(|field| device.get(*field).is_some()) {
            let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if \
                `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            problems.invalid(path, &Value::Null, detail);
        }
        return;
    }
    let detail = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when \
        `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    let set = places(device, path, problems);
    match set.len() {
        0 => problems.required(path, detail),
        1 => {}
        _ => problems.invalid_text(path, &format!("{{{}}}", set.join(", ")), detail),
    }
}

fn check_attributes(device: &Value, path: &str, problems: &mut Problems) {
    let maps = ["attributes", "capacity"];
    let found: usize = maps.iter().filter_map(|map| Some(device[*map].as_object()?.len())).sum();
    if found > ATTRIBUTES_MAX {
        let detail = format!(
            "the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}"
        );
        problems.invalid(path, &json!(found), &detail);
    }
    for map in maps {
        for (key, _) in device[map].as_object().into_iter().flatten() {
            qualified_name(key, &format!("{path}.{map}"), problems);
        }
    }
    for (key, attribute) in device["attributes"].as_object().into_iter().flatten() {
        check_attribute(attribute, &format!("{path}.attributes[{key}]"), problems);
    }
}

fn check_attribute(attribute: &Value, path: &str, problems: &mut Problems) {
    match attribute.as_object().map_or(0, serde_json::Map::len) {
        1 => {}
        0 => problems.invalid_text(path, "", "exactly one value must be specified"),
        _ => problems.invalid(path, attribute, "exactly one value must be specified"),
    }
    let single = ["string", "version"].map(|field| (format!("{path}.{field}"), &attribute[field]));
    let strings = items(attribute, "strings", path);
    let versions = items(attribute, "versions", path);
    for (at, value) in single.into_iter().chain(strings).chain(versions) {
        let Some(value) = value.as_str() else { continue };
        let is_version = at.starts_with(&format!("{path}.version"));
        if is_version && !SEMANTIC_VERSION.is_match(value) {
            let detail = "must be a string compatible with semver.org spec 2.0.0";
            problems.invalid_text(&at, value, detail);
        }
        if value.len() > VALUE_BYTES_MAX {
            problems.too_long(&at, VALUE_BYTES_MAX);
        }
    }
}

fn check_taint(taint: &Value, path: &str, problems: &mut Problems) {
    let (key, value) = (text(taint, "key"), text(taint, "value"));
    problems.check_text(&format!("{path}.key"), key, names::label_key(key));
    problems.check_text(&format!("{path}.value"), value, names::label_value(value));
    let path = format!("{path}.effect");
    match text(taint, "effect") {
        "" => problems.required(&path, ""),
        _ => problems.check_choice(&path, &taint["effect"], &EFFECTS),
    }
}

/// A set of counters by name, or what a device takes of one.
fn check_counters(set: &Value, field: &str, path: &str, problems: &mut Problems) {
    let (at, name) = (format!("{path}.{field}"), text(set, field));
    if name.is_empty() {
        problems.required(&at, "");
    } else {
        problems.check_text(&at, name, names::dns1123_label(name));
    }
    let path = format!("{path}.counters");
    let Some(counters) = set["counters"].as_object().filter(|counters| !counters.is_empty()) else {
        problems.required(&path, "");
        return;
    };
    for name in counters.keys() {
        problems.check_text(&path, name, names::dns1123_label(name));
    }
}

/// Conditions that a device's binding waits for, and those that end it, come together.
fn check_conditions(device: &Value, path: &str, problems: &mut Problems) {
    let (good, bad) = ("bindingConditions", "bindingFailureConditions");
    for field in [good, bad] {
        if check_size(device, field, CONDITIONS_MAX, path, problems) {
            for (path, condition) in items(device, field, path) {
                let name = condition.as_str().unwrap_or_default();
                problems.check_text(&path, name, names::label_key(name));
            }
        }
    }
    for (missing, present) in [(good, bad), (bad, good)] {
        let has = |field: &str| device[field].as_array().is_some_and(|list| !list.is_empty());
        if has(present) && !has(missing) {
            let detail = format!("{missing} are required to use {present}");
            problems.invalid(&format!("{path}.{missing}"), &device[missing], &detail);
        }
    }
}

/// A name that may stand behind a domain.
fn qualified_name(name: &str, path: &str, problems: &mut Problems) {
    let (domain, identifier) = match name.split_once('/') {
        Some((domain, identifier)) => (Some(domain), identifier),
        None => (None, name),
    };
    match domain {
        Some("") => problems.invalid_text(path, "", "the domain must not be empty"),
        Some(domain) => {
            if domain.len() > DOMAIN_BYTES_MAX {
                problems.too_long(path, DOMAIN_BYTES_MAX);
            }
            let problem = names::dns1123_subdomain(&domain.to_lowercase());
            problems.check_text(path, domain, problem);
        }
        None => {}
    }
    if identifier.is_empty() && domain.is_some() {
        problems.invalid_text(path, "", "the name must not be empty");
        return;
    }
    if identifier.len() > IDENTIFIER_BYTES_MAX {
        problems.too_long(path, IDENTIFIER_BYTES_MAX);
    }
    problems.check_text(path, identifier, names::c_identifier(identifier));
}

/// A name behind a domain.
pub(super) fn fully_qualified_name(name: &str, path: &str, problems: &mut Problems) {
    qualified_name(name, path, problems);
    if !name.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        problems.invalid_text(path, name, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{defaulted, problems};

    fn slice(more: &[(&str, Value)]) -> Value {
        let mut spec = json!({"driver": "d.example.org", "nodeName": "n1",
            "pool": {"name": "n1/p", "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "d"}]});
        for (key, value) in more {
            spec[key] = value.clone();
        }
        defaulted("ResourceSlice", json!({"metadata": {"name": "s"}, "spec": spec}))
    }

    fn check(more: &[(&str, Value)], expected: &str) {
        assert_eq!(problems("ResourceSlice", &slice(more), None), expected);
    }

    #[test]
    fn slices_are_checked() {
        check(&[], "");
        check(&[("nodeName", Value::Null), ("allNodes", json!(true))], "");
        check(&[("driver", json!(""))], "spec.driver: Required value");
        check(
            &[("pool", json!({"name": "", "generation": -1}))],
            "spec.pool.name: Required value; spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero; \
             spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
        );
        check(
            &[("nodeName", Value::Null)],
            "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
        );
        check(
            &[("allNodes", json!(true))],
            "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, \
             `perDeviceNodeSelection` is required, but multiple fields are set",
        );
        let names = |count: usize| -> Value {
            (0..count).map(|number| json!({"name": format!("d{number}")})).collect()
        };
        check(&[("devices", names(128))], "");
        check(
            &[("devices", names(129))],
            "spec.devices: Too many: 129: must have at most 128 items",
        );
    }

    #[test]
    fn devices_are_checked() {
        let device =
            |device: Value, expected: &str| check(&[("devices", json!([device]))], expected);
        device(
            json!({"name": "d", "attributes": {"numa": {"int": 0}, "e.org/v": {"version": "1.2.3-a+b"}}, "capacity": {"m": {"value": "1Gi"}}}),
            "",
        );
        device(
            json!({"name": "d", "attributes": {"a": {}, "b": {"string": "x", "bool": false}, "v": {"version": "1"}}}),
            "spec.devices[0].attributes[a]: Invalid value: \"\": exactly one value must be specified; \
             spec.devices[0].attributes[b]: Invalid value: {\"bool\":false,\"string\":\"x\"}: exactly one value must be specified; \
             spec.devices[0].attributes[v].version: Invalid value: \"1\": must be a string compatible with semver.org spec 2.0.0",
        );
        device(
            json!({"name": "d", "taints": [{"key": "k"}], "consumesCounters": [{"counterSet": "s"}]}),
            "spec.devices[0].taints[0].effect: Required value; \
             spec.devices[0].consumesCounters[0].counters: Required value",
        );
        device(
            json!({"name": "d", "bindingConditions": ["a"]}),
            "spec.devices[0].bindingFailureConditions: Invalid value: null: \
             bindingFailureConditions are required to use bindingConditions",
        );
        device(
            json!({"name": "d", "allNodes": true}),
            "spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if \
             `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
        );
        check(
            &[("devices", json!([{"name": "d"}, {"name": "d"}]))],
            "spec.devices[1]: Duplicate value: \"d\"",
        );
        let apart = [("nodeName", Value::Null), ("perDeviceNodeSelection", json!(true))];
        check(
            &apart,
            "spec.devices[0]: Required value: exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when \
             `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
        );
    }

    #[test]
    fn slices_stay_where_they_are() {
        let old = slice(&[]);
        let new = slice(&[("nodeName", json!("n2")), ("driver", json!("e.example.org"))]);
        assert_eq!(
            problems("ResourceSlice", &new, Some(&old)),
            "spec.driver: Invalid value: \"e.example.org\": field is immutable; \
             spec.nodeName: Invalid value: \"n2\": field is immutable"
        );
    }
}
