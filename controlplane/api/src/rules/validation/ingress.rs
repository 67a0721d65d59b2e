//! Ingress and IngressClass.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{check_port, check_segment, items, require_text, text};
use crate::rules::names;
use crate::rules::problems::Problems;

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const CONTROLLER_BYTES_MAX: usize = 250;
/// What a path of the types `Exact` and `Prefix` may not have.
const PATH_PARTS: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const PATH_ENDS: [&str; 2] = ["/..", "/."];

pub(super) fn validate(kind: &str, new: &Value, old: Option<&Value>, problems: &mut Problems) {
    if kind == "IngressClass" {
        check_class(&new["spec"], old.map(|old| &old["spec"]), problems);
        return;
    }
    let spec = &new["spec"];
    check_spec(spec, problems);
    check_tls(spec, old.is_some_and(|old| has_odd_secret(&old["spec"])), problems);
    if let Some(class) = spec["ingressClassName"].as_str() {
        problems.check_text("spec.ingressClassName", class, names::dns1123_subdomain(class));
        let annotation = new["metadata"]["annotations"][CLASS_ANNOTATION].as_str();
        if let Some(annotation) = annotation.filter(|other| old.is_none() && *other != class) {
            let path = format!("annotations.{CLASS_ANNOTATION}");
            let detail = "must match `ingressClassName` when both are specified";
            problems.invalid_text(&path, annotation, detail);
        }
    }
}

fn check_spec(spec: &Value, problems: &mut Problems) {
    let no_rules = spec["rules"].as_array().is_none_or(Vec::is_empty);
    if no_rules && spec.get("defaultBackend").is_none() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        problems.invalid("spec", &json!([]), detail);
    }
    if let Some(backend) = spec.get("defaultBackend") {
        check_backend(backend, "spec.defaultBackend", problems);
    }
    for (path, rule) in items(spec, "rules", "spec") {
        check_host(text(rule, "host"), &format!("{path}.host"), problems);
        let Some(http) = rule.get("http") else { continue };
        let path = format!("{path}.http");
        if http["paths"].as_array().is_none_or(Vec::is_empty) {
            problems.required(&format!("{path}.paths"), "");
        }
        for (path, one) in items(http, "paths", &path) {
            check_path(one, &path, problems);
        }
    }
}

fn check_host(host: &str, path: &str, problems: &mut Problems) {
    if host.is_empty() {
        return;
    }
    if host.parse::<IpAddr>().is_ok() {
        problems.invalid_text(path, host, "must be a DNS name, not an IP address");
    }
    problems.check_text(path, host, host_problem(host));
}

fn host_problem(host: &str) -> Option<String> {
    let check =
        if host.contains('*') { names::wildcard_subdomain } else { names::dns1123_subdomain };
    check(host)
}

fn check_tls(spec: &Value, secrets_may_be_odd: bool, problems: &mut Problems) {
    for (path, tls) in items(spec, "tls", "spec") {
        for (path, host) in items(tls, "hosts", &path) {
            let host = host.as_str().unwrap_or_default();
            problems.check_text(&path, host, host_problem(host));
        }
        if !secrets_may_be_odd {
            let secret = text(tls, "secretName");
            problems.check_text(&format!("{path}.secretName"), secret, secret_problem(secret));
        }
    }
}

fn secret_problem(secret: &str) -> Option<String> {
    if secret.is_empty() { None } else { names::dns1123_subdomain(secret) }
}

/// A name from before the rule may stay.
fn has_odd_secret(spec: &Value) -> bool {
    items(spec, "tls", "").any(|(_, tls)| secret_problem(text(tls, "secretName")).is_some())
}

fn check_path(one: &Value, path: &str, problems: &mut Problems) {
    let kind = &one["pathType"];
    if kind.is_null() {
        problems.required(&format!("{path}.pathType"), "pathType must be specified");
        return;
    }
    let (value, at) = (text(one, "path"), format!("{path}.path"));
    match kind.as_str() {
        Some("Exact" | "Prefix") => check_plain_path(value, &at, problems),
        Some("ImplementationSpecific") => {
            if !value.is_empty() && !value.starts_with('/') {
                problems.invalid_text(&at, value, "must be an absolute path");
            }
        }
        _ => {
            let kinds = ["Exact", "ImplementationSpecific", "Prefix"];
            problems.not_supported(&format!("{path}.pathType"), kind, &kinds);
        }
    }
    check_backend(&one["backend"], &format!("{path}.backend"), problems);
}

fn check_plain_path(value: &str, path: &str, problems: &mut Problems) {
    if !value.starts_with('/') {
        problems.invalid_text(path, value, "must be an absolute path");
    }
    for part in PATH_PARTS.into_iter().filter(|part| value.contains(part)) {
        problems.invalid_text(path, value, &format!("must not contain '{part}'"));
    }
    for end in PATH_ENDS.into_iter().filter(|end| value.ends_with(end)) {
        problems.invalid_text(path, value, &format!("cannot end with '{end}'"));
    }
}

fn check_backend(backend: &Value, path: &str, problems: &mut Problems) {
    match (backend.get("service"), backend.get("resource")) {
        (Some(_), Some(_)) => {
            problems.invalid_text(path, "", "cannot set both resource and service backends");
        }
        (None, None) => {
            problems.invalid_text(path, "", "resource or service backend is required");
        }
        (None, Some(resource)) => {
            check_reference(resource, &format!("{path}.resource"), problems);
        }
        (Some(service), None) => check_service(service, path, problems),
    }
}

fn check_service(service: &Value, path: &str, problems: &mut Problems) {
    let at = format!("{path}.service");
    if require_text(service, "name", &at, problems) {
        let name = text(service, "name");
        problems.check_text(&format!("{at}.name"), name, names::dns1123_label(name));
    }
    let port = &service["port"];
    let (name, number) = (text(port, "name"), port["number"].as_i64().unwrap_or(0));
    match (name.is_empty(), number) {
        (true, 0) => problems.required(path, "port name or number is required"),
        (true, _) => check_port(&port["number"], &format!("{at}.port.number"), problems),
        (false, 0) => check_port(&port["name"], &format!("{at}.port.name"), problems),
        (false, _) => problems.invalid_text(path, "", "cannot set both port name & port number"),
    }
}

/// Group, kind and name of another object.
fn check_reference(reference: &Value, path: &str, problems: &mut Problems) {
    if let Some(group) = reference["apiGroup"].as_str() {
        problems.check_text(&format!("{path}.apiGroup"), group, names::dns1123_subdomain(group));
    }
    check_segment(reference, "kind", path, problems);
    check_segment(reference, "name", path, problems);
}

fn check_class(spec: &Value, old: Option<&Value>, problems: &mut Problems) {
    if let Some(old) = old {
        problems.check_immutable("spec.controller", &spec["controller"], &old["controller"]);
    }
    if require_text(spec, "controller", "spec", problems) {
        check_controller(text(spec, "controller"), problems);
    }
    if let Some(parameters) = spec.get("parameters") {
        check_reference(parameters, "spec.parameters", problems);
        check_scope(parameters, problems);
    }
}

fn check_controller(controller: &str, problems: &mut Problems) {
    let path = "spec.controller";
    if controller.len() > CONTROLLER_BYTES_MAX {
        problems.too_long(path, CONTROLLER_BYTES_MAX);
    }
    match controller.split_once('/') {
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
            problems.check_text(path, domain, names::dns1123_subdomain(domain));
            problems.check_text(path, rest, names::http_path(rest));
        }
        _ => {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            problems.invalid_text(path, controller, detail);
        }
    }
}

fn check_scope(parameters: &Value, problems: &mut Problems) {
    let path = "spec.parameters.namespace";
    match (parameters["scope"].as_str(), parameters["namespace"].as_str()) {
        (None, _) => problems.required("spec.parameters.scope", ""),
        (Some("Namespace"), None) => {
            problems.required(path, "`parameters.scope` is set to 'Namespace'");
        }
        (Some("Namespace"), Some(namespace)) => {
            problems.check_text(path, namespace, names::dns1123_label(namespace));
        }
        (Some("Cluster"), Some(_)) => {
            problems.forbidden(path, "`parameters.scope` is set to 'Cluster'");
        }
        (Some("Cluster"), None) => {}
        (Some(_), _) => {
            let scopes = ["Cluster", "Namespace"];
            problems.not_supported("spec.parameters.scope", &parameters["scope"], &scopes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{defaulted, problems};

    #[test]
    fn ingresses_are_checked() {
        let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
        let path = |kind: &str, path: &str| {
            json!({"rules": [{"host": "a.b", "http": {"paths": [
                {"pathType": kind, "path": path, "backend": backend}]}}]})
        };
        for (spec, expected) in [
            (
                json!({"defaultBackend": backend, "tls": [{"hosts": ["*.a.b"], "secretName": "t"}]}),
                "",
            ),
            (path("Prefix", "/a"), ""),
            (path("ImplementationSpecific", ""), ""),
            (
                json!({}),
                "spec: Invalid value: []: either `defaultBackend` or `rules` must be specified",
            ),
            (
                path("Exact", "/a/../b"),
                "spec.rules[0].http.paths[0].path: Invalid value: \"/a/../b\": must not contain '/../'",
            ),
            (
                json!({"defaultBackend": {"service": {"name": "s"}}}),
                "spec.defaultBackend: Required value: port name or number is required",
            ),
            (
                json!({"rules": [{"host": "10.0.0.1", "http": {}}]}),
                "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address; \
                 spec.rules[0].http.paths: Required value",
            ),
            (
                json!({"defaultBackend": {}}),
                "spec.defaultBackend: Invalid value: \"\": resource or service backend is required",
            ),
        ] {
            let object = json!({"metadata": {"name": "i", "namespace": "d"}, "spec": spec});
            assert_eq!(problems("Ingress", &defaulted("Ingress", object), None), expected);
        }
        let object = json!({"metadata": {"name": "i", "namespace": "d"},
            "spec": {"defaultBackend": backend, "tls": [{"hosts": ["a*"]}], "ingressClassName": "_"}});
        let found = problems("Ingress", &object, None);
        assert!(
            found.contains("spec.tls[0].hosts[0]: Invalid value: \"a*\": a wildcard"),
            "{found}"
        );
        assert!(found.contains("spec.ingressClassName: Invalid value: \"_\""), "{found}");
    }

    #[test]
    fn classes_are_checked() {
        let class = |spec: Value| {
            let object = json!({"metadata": {"name": "c"}, "spec": spec});
            defaulted("IngressClass", object)
        };
        let old = class(json!({"controller": "example.org/c"}));
        for (object, old, expected) in [
            (old.clone(), None, ""),
            (class(json!({})), None, "spec.controller: Required value"),
            (
                class(json!({"controller": "example.org"})),
                None,
                "spec.controller: Invalid value: \"example.org\": \
                 must be a domain-prefixed path (such as \"acme.io/foo\")",
            ),
            (
                class(json!({"controller": format!("example.org/{}", "x".repeat(250))})),
                None,
                "spec.controller: Too long: may not be more than 250 bytes",
            ),
            (
                class(json!({"controller": "example.org/d"})),
                Some(&old),
                "spec.controller: Invalid value: \"example.org/d\": field is immutable",
            ),
            (
                class(
                    json!({"controller": "example.org/c", "parameters": {"kind": "K", "name": "n"}}),
                ),
                None,
                "",
            ),
            (
                class(
                    json!({"controller": "example.org/c", "parameters": {"kind": "K", "name": "n", "scope": "Namespace"}}),
                ),
                None,
                "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
            ),
            (
                class(
                    json!({"controller": "example.org/c", "parameters": {"scope": "Cluster", "namespace": "n"}}),
                ),
                None,
                "spec.parameters.kind: Required value; spec.parameters.name: Required value; \
                 spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'",
            ),
        ] {
            assert_eq!(problems("IngressClass", &object, old), expected);
        }
    }
}
