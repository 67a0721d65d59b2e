//! ResourceClaims, their templates, and DeviceClasses.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::slices::fully_qualified_name;
use super::{check_driver, check_size, check_unique, items, metadata, slices, text};
use crate::Kind;
use crate::rules::defaults;
use crate::rules::names;
use crate::rules::problems::Problems;

/// Requests, constraints, configurations and selectors.
const LIST_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 8;
const EXPRESSION_BYTES_MAX: usize = 10 * 1024;
const PARAMETERS_BYTES_MAX: usize = 10 * 1024;

pub(super) fn validate(kind: &Kind, new: &Value, old: Option<&Value>, problems: &mut Problems) {
    match (kind.kind.as_str(), old) {
        ("ResourceClaim" | "ResourceClaimTemplate", Some(old)) => {
            // It may be from before there were these defaults.
            let mut old = old.clone();
            defaults::apply(kind, &mut old);
            problems.check_immutable("spec", &new["spec"], &old["spec"]);
        }
        ("ResourceClaim", None) => {
            check_claim(&new["spec"]["devices"], "spec.devices", problems);
        }
        ("ResourceClaimTemplate", None) => {
            let labels = &new["spec"]["metadata"]["labels"];
            metadata::labels(labels, "spec.metadata.labels", problems);
            check_claim(&new["spec"]["spec"]["devices"], "spec.spec.devices", problems);
        }
        ("DeviceClass", _) => check_class(&new["spec"], problems),
        ("ResourceSlice", _) => slices::validate(new, old, problems),
        _ => {}
    }
}

/// The requests of a claim with their alternatives.
type Requests<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn check_claim(devices: &Value, path: &str, problems: &mut Problems) {
    let known: Requests<'_> = items(devices, "requests", "")
        .map(|(_, request)| {
            let alternatives =
                items(request, "firstAvailable", "").map(|(_, one)| text(one, "name"));
            (text(request, "name"), alternatives.collect())
        })
        .collect();
    if check_size(devices, "requests", LIST_MAX, path, problems) {
        for (path, request) in items(devices, "requests", path) {
            check_request(request, &path, problems);
        }
        check_unique(devices, "requests", "name", path, problems);
    }
    if check_size(devices, "constraints", LIST_MAX, path, problems) {
        for (path, constraint) in items(devices, "constraints", path) {
            check_constraint(constraint, &known, &path, problems);
        }
    }
    if check_size(devices, "config", LIST_MAX, path, problems) {
        for (path, config) in items(devices, "config", path) {
            check_references(config, &known, &path, problems);
            check_config(config, &path, problems);
        }
    }
}

fn check_name(object: &Value, path: &str, problems: &mut Problems) {
    let name = text(object, "name");
    problems.check_text(&format!("{path}.name"), name, names::dns1123_label(name));
}

fn check_request(request: &Value, path: &str, problems: &mut Problems) {
    check_name(request, path, problems);
    let has_alternatives = request["firstAvailable"].as_array().is_some_and(|it| !it.is_empty());
    match (request.get("exactly"), has_alternatives) {
        (None, false) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required";
            problems.required(path, detail);
        }
        (Some(_), true) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required, \
                but multiple fields are set";
            problems.invalid(path, &Value::Null, detail);
        }
        (Some(exactly), false) => {
            check_wanted(exactly, &format!("{path}.exactly"), problems);
        }
        (None, true) => {
            if !check_size(request, "firstAvailable", ALTERNATIVES_MAX, path, problems) {
                return;
            }
            for (path, one) in items(request, "firstAvailable", path) {
                check_name(one, &path, problems);
                check_wanted(one, &path, problems);
            }
            check_unique(request, "firstAvailable", "name", path, problems);
        }
    }
}

/// Class, selectors, mode and tolerations.
fn check_wanted(wanted: &Value, path: &str, problems: &mut Problems) {
    let (at, class) = (format!("{path}.deviceClassName"), text(wanted, "deviceClassName"));
    if class.is_empty() {
        problems.required(&at, "");
    } else {
        problems.check_text(&at, class, names::dns1123_subdomain(class));
    }
    check_selectors(wanted, path, problems);
    let count = wanted["count"].as_i64().unwrap_or(0);
    match text(wanted, "allocationMode") {
        "All" if count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            problems.invalid(&format!("{path}.count"), &json!(count), detail);
        }
        "ExactCount" if count <= 0 => {
            problems.invalid(&format!("{path}.count"), &json!(count), "must be greater than zero");
        }
        "All" | "ExactCount" => {}
        _ => {
            let at = format!("{path}.allocationMode");
            problems.not_supported(&at, &wanted["allocationMode"], &["All", "ExactCount"]);
        }
    }
    for (path, toleration) in items(wanted, "tolerations", path) {
        check_toleration(toleration, &path, problems);
    }
}

fn check_selectors(object: &Value, path: &str, problems: &mut Problems) {
    if !check_size(object, "selectors", LIST_MAX, path, problems) {
        return;
    }
    for (path, selector) in items(object, "selectors", path) {
        let Some(cel) = selector.get("cel") else {
            problems.required(&format!("{path}.cel"), "");
            continue;
        };
        let (at, bytes) = (format!("{path}.cel.expression"), text(cel, "expression").len());
        if bytes == 0 {
            problems.required(&at, "");
        } else if bytes > EXPRESSION_BYTES_MAX {
            problems.too_long(&at, EXPRESSION_BYTES_MAX);
        }
    }
}

fn check_toleration(toleration: &Value, path: &str, problems: &mut Problems) {
    let (key, value) = (text(toleration, "key"), text(toleration, "value"));
    if !key.is_empty() {
        problems.check_text(&format!("{path}.key"), key, names::label_key(key));
    }
    match text(toleration, "operator") {
        "Exists" if !value.is_empty() => {
            let detail = "must be empty for operator `Exists`";
            problems.invalid_text(&format!("{path}.value"), value, detail);
        }
        "Equal" => {
            problems.check_text(&format!("{path}.value"), value, names::label_value(value));
        }
        "Exists" => {}
        _ => {
            let operators = ["Equal", "Exists"];
            let at = format!("{path}.operator");
            problems.not_supported(&at, &toleration["operator"], &operators);
        }
    }
    problems.check_choice(&format!("{path}.effect"), &toleration["effect"], &slices::EFFECTS);
}

fn check_constraint(constraint: &Value, known: &Requests<'_>, path: &str, problems: &mut Problems) {
    check_references(constraint, known, path, problems);
    let named = ["matchAttribute", "distinctAttribute"]
        .into_iter()
        .find_map(|field| Some((field, constraint[field].as_str()?)));
    match named {
        Some((field, name)) => fully_qualified_name(name, &format!("{path}.{field}"), problems),
        None => {
            let detail = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, \
                but multiple fields are set";
            problems.required(path, detail);
        }
    }
}

/// Names of requests, each alone or with one of its alternatives.
fn check_references(object: &Value, known: &Requests<'_>, path: &str, problems: &mut Problems) {
    if !check_size(object, "requests", LIST_MAX, path, problems) {
        return;
    }
    let mut seen = BTreeSet::new();
    for (path, reference) in items(object, "requests", path) {
        let name = reference.as_str().unwrap_or_default();
        let (request, alternative) = match name.split_once('/') {
            Some((request, alternative)) => (request, Some(alternative)),
            None => (name, None),
        };
        let is_known = known.get(request).is_some_and(|alternatives| {
            alternative.is_none_or(|alternative| alternatives.contains(alternative))
        });
        if !is_known {
            let detail = "must be the name of a request in the claim \
                or the name of a request and a subrequest separated by '/'";
            problems.invalid_text(&path, name, detail);
        }
        if !seen.insert(name) {
            problems.duplicate(&path, reference);
        }
    }
}

fn check_config(config: &Value, path: &str, problems: &mut Problems) {
    let path = format!("{path}.opaque");
    let Some(opaque) = config.get("opaque") else {
        problems.required(&path, "");
        return;
    };
    check_driver(opaque, "driver", &path, problems);
    let at = format!("{path}.parameters");
    match opaque.get("parameters") {
        None | Some(Value::Null) => problems.required(&at, ""),
        Some(parameters) if parameters.to_string().len() > PARAMETERS_BYTES_MAX => {
            problems.too_long(&at, PARAMETERS_BYTES_MAX);
        }
        Some(Value::Object(_)) => {}
        Some(_) => {
            problems.invalid_text(&at, "<value omitted>", "must be a valid JSON object");
        }
    }
}

fn check_class(spec: &Value, problems: &mut Problems) {
    check_selectors(spec, "spec", problems);
    if check_size(spec, "config", LIST_MAX, "spec", problems) {
        for (path, config) in items(spec, "config", "spec") {
            check_config(config, &path, problems);
        }
    }
    if let Some(name) = spec["extendedResourceName"].as_str()
        && !is_extended_resource(name)
    {
        let detail = "must be a valid extended resource name";
        problems.invalid_text("spec.extendedResourceName", name, detail);
    }
}

/// A qualified name outside kubernetes.io that also works behind `requests.`.
fn is_extended_resource(name: &str) -> bool {
    name.contains('/')
        && !name.contains("kubernetes.io/")
        && !name.starts_with("requests.")
        && names::label_key(&format!("requests.{name}")).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{defaulted, problems};

    fn claim(devices: &Value) -> Value {
        let object =
            json!({"metadata": {"name": "c", "namespace": "d"}, "spec": {"devices": devices}});
        defaulted("ResourceClaim", object)
    }

    fn request(more: &[(&str, Value)]) -> Value {
        let mut exactly = json!({"deviceClassName": "c.example.org"});
        for (key, value) in more {
            exactly[key] = value.clone();
        }
        json!({"name": "r", "exactly": exactly})
    }

    fn check(cases: &[(Value, &str)]) {
        for (devices, expected) in cases {
            assert_eq!(problems("ResourceClaim", &claim(devices), None), *expected);
        }
    }

    #[test]
    fn requests_are_checked() {
        let alternative = |name: &str| json!({"name": name, "deviceClassName": "c"});
        let selector = |expression: &str| json!([{"cel": {"expression": expression}}]);
        let one = |more: &[(&str, Value)]| json!({"requests": [request(more)]});
        let many: Vec<Value> =
            (0..33).map(|number| json!({"name": format!("r{number}")})).collect();
        check(&[
            (json!({}), ""),
            (one(&[("selectors", selector("true"))]), ""),
            (one(&[("allocationMode", json!("All"))]), ""),
            (
                json!({"requests": [{"name": "r", "firstAvailable": [alternative("a"), alternative("b")]}]}),
                "",
            ),
            (
                json!({"requests": many}),
                "spec.devices.requests: Too many: 33: must have at most 32 items",
            ),
            (
                json!({"requests": [{"name": "r"}]}),
                "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            ),
            (
                json!({"requests": [request(&[]), request(&[])]}),
                "spec.devices.requests[1]: Duplicate value: \"r\"",
            ),
            (
                one(&[("count", json!(-1)), ("deviceClassName", json!(""))]),
                "spec.devices.requests[0].exactly.deviceClassName: Required value; \
                 spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero",
            ),
            (
                one(&[("allocationMode", json!("All")), ("count", json!(2))]),
                "spec.devices.requests[0].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
            ),
            (
                one(&[("allocationMode", json!("Some")), ("selectors", json!([{}]))]),
                "spec.devices.requests[0].exactly.selectors[0].cel: Required value; \
                 spec.devices.requests[0].exactly.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \"ExactCount\"",
            ),
            (
                one(&[(
                    "tolerations",
                    json!([{"operator": "Exists", "value": "v", "effect": "Never"}]),
                )]),
                "spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: \"v\": must be empty for operator `Exists`; \
                 spec.devices.requests[0].exactly.tolerations[0].effect: Unsupported value: \"Never\": \
                 supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
            ),
        ]);
    }

    #[test]
    fn constraints_and_configurations_are_checked() {
        let with = |field: &str, one: Value| {
            let mut devices = json!({"requests": [request(&[])]});
            devices[field] = json!([one]);
            devices
        };
        check(&[
            (
                with(
                    "constraints",
                    json!({"requests": ["r"], "matchAttribute": "d.example.org/numa"}),
                ),
                "",
            ),
            (
                with("constraints", json!({"requests": ["s"]})),
                "spec.devices.constraints[0].requests[0]: Invalid value: \"s\": must be the name of a request in the claim \
                 or the name of a request and a subrequest separated by '/'; \
                 spec.devices.constraints[0]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, \
                 but multiple fields are set",
            ),
            (
                with("constraints", json!({"matchAttribute": "numa"})),
                "spec.devices.constraints[0].matchAttribute: Invalid value: \"numa\": \
                 a fully qualified name must be a domain and a name separated by a slash",
            ),
            (
                with(
                    "config",
                    json!({"opaque": {"driver": "d.example.org", "parameters": {"a": 1}}}),
                ),
                "",
            ),
            (with("config", json!({})), "spec.devices.config[0].opaque: Required value"),
        ]);
    }

    #[test]
    fn claims_and_templates_keep_their_spec() {
        let devices = json!({"requests": [request(&[])]});
        let old =
            json!({"metadata": {"name": "c", "namespace": "d"}, "spec": {"devices": devices}});
        let mut labelled = claim(&devices);
        labelled["metadata"]["labels"] = json!({"a": "b"});
        assert_eq!(problems("ResourceClaim", &labelled, Some(&old)), "");
        let other = claim(&json!({"requests": [request(&[("count", json!(2))])]}));
        let found = problems("ResourceClaim", &other, Some(&old));
        assert!(
            found.starts_with("spec: Invalid value: ") && found.ends_with(": field is immutable"),
            "{found}"
        );
        let template = json!({"metadata": {"name": "t", "namespace": "d"}, "spec": {"spec": {"devices": devices}}});
        let template = defaulted("ResourceClaimTemplate", template);
        assert_eq!(problems("ResourceClaimTemplate", &template, None), "");
    }

    #[test]
    fn classes_are_checked() {
        for (spec, expected) in [
            (
                json!({"selectors": [{"cel": {"expression": "true"}}], "extendedResourceName": "example.org/gpu"}),
                "",
            ),
            (json!({}), ""),
            (
                json!({"selectors": [{"cel": {}}], "config": [{"opaque": {"driver": "d"}}]}),
                "spec.selectors[0].cel.expression: Required value; spec.config[0].opaque.parameters: Required value",
            ),
            (
                json!({"extendedResourceName": "cpu"}),
                "spec.extendedResourceName: Invalid value: \"cpu\": must be a valid extended resource name",
            ),
        ] {
            let object = json!({"metadata": {"name": "c.example.org"}, "spec": spec});
            assert_eq!(problems("DeviceClass", &defaulted("DeviceClass", object), None), expected);
        }
    }
}
