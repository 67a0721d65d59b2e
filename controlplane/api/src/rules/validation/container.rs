//! Containers: names, images, ports, environment, mounts, probes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{check_port, items, require_text, resources, text};
use crate::rules::names;
use crate::rules::problems::Problems;

pub(super) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: [&str; 2] = ["FallbackToLogsOnError", "File"];
const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const ENV_SOURCES: [&str; 5] =
    ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

/// What containers may refer to.
pub(super) struct Scene<'a> {
    pub volumes: BTreeSet<&'a str>,
    pub host_network: bool,
}

pub(super) fn validate(container: &Value, path: &str, scene: &Scene<'_>, problems: &mut Problems) {
    if require_text(container, "name", path, problems) {
        let name = text(container, "name");
        problems.check_text(&format!("{path}.name"), name, names::dns1123_label(name));
    }
    let image = text(container, "image");
    if image.is_empty() {
        problems.required(&format!("{path}.image"), "");
    } else if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        problems.invalid_text(&format!("{path}.image"), image, detail);
    }
    problems.check_choice(
        &format!("{path}.imagePullPolicy"),
        &container["imagePullPolicy"],
        &PULL_POLICIES,
    );
    problems.check_choice(
        &format!("{path}.terminationMessagePolicy"),
        &container["terminationMessagePolicy"],
        &MESSAGE_POLICIES,
    );
    check_ports(container, path, scene, problems);
    check_env(container, path, problems);
    check_mounts(container, path, scene, problems);
    check_probes(container, path, problems);
    resources::validate(&container["resources"], &format!("{path}.resources"), problems);
}

fn check_ports(container: &Value, path: &str, scene: &Scene<'_>, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (path, port) in items(container, "ports", path) {
        let name = text(port, "name");
        if !name.is_empty() {
            let at = format!("{path}.name");
            for problem in names::port_name(name) {
                problems.invalid_text(&at, name, &problem);
            }
            if !seen.insert(name) {
                problems.duplicate(&at, &port["name"]);
            }
        }
        let number = port["containerPort"].as_i64().unwrap_or(0);
        if number == 0 {
            problems.required(&format!("{path}.containerPort"), "");
        } else {
            check_port(&port["containerPort"], &format!("{path}.containerPort"), problems);
        }
        let host = port["hostPort"].as_i64().unwrap_or(0);
        if host != 0 {
            check_port(&port["hostPort"], &format!("{path}.hostPort"), problems);
        }
        if scene.host_network && host != number {
            let detail = "must match `hostPort` when `hostNetwork` is true";
            problems.invalid(&format!("{path}.containerPort"), &port["containerPort"], detail);
        }
        if text(port, "protocol").is_empty() {
            problems.required(&format!("{path}.protocol"), "");
        }
        problems.check_choice(&format!("{path}.protocol"), &port["protocol"], &PROTOCOLS);
    }
}

fn check_env(container: &Value, path: &str, problems: &mut Problems) {
    for (path, variable) in items(container, "env", path) {
        let name = text(variable, "name");
        if require_text(variable, "name", &path, problems) {
            problems.check_text(&format!("{path}.name"), name, names::env_name(name));
        }
        let Some(source) = variable.get("valueFrom").filter(|source| source.is_object()) else {
            continue;
        };
        let at = format!("{path}.valueFrom");
        let given = ENV_SOURCES.iter().filter(|name| source.get(**name).is_some()).count();
        if given == 0 {
            let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
            problems.invalid_text(&at, "", detail);
        } else if !text(variable, "value").is_empty() {
            problems.invalid_text(&at, "", "may not be specified when `value` is not empty");
        } else if given > 1 {
            problems.invalid_text(&at, "", "may not have more than one field specified at a time");
        }
        for reference in ["configMapKeyRef", "secretKeyRef"] {
            if let Some(selector) = source.get(reference) {
                require_text(selector, "name", &format!("{at}.{reference}"), problems);
                require_text(selector, "key", &format!("{at}.{reference}"), problems);
            }
        }
        if let Some(field) = source.get("fieldRef") {
            require_text(field, "fieldPath", &format!("{at}.fieldRef"), problems);
        }
    }
    for (path, source) in items(container, "envFrom", path) {
        let given =
            ["configMapRef", "secretRef"].iter().filter(|one| source.get(**one).is_some()).count();
        match given {
            0 => problems.invalid_text(
                &path,
                "",
                "must specify one of: `configMapRef` or `secretRef`",
            ),
            1 => {}
            _ => problems.invalid_text(
                &path,
                "",
                "may not have more than one field specified at a time",
            ),
        }
    }
}

fn check_mounts(container: &Value, path: &str, scene: &Scene<'_>, problems: &mut Problems) {
    let mut paths = BTreeSet::new();
    for (path, mount) in items(container, "volumeMounts", path) {
        let name = text(mount, "name");
        if require_text(mount, "name", &path, problems) && !scene.volumes.contains(name) {
            problems.not_found(&format!("{path}.name"), &mount["name"]);
        }
        let target = text(mount, "mountPath");
        if require_text(mount, "mountPath", &path, problems) && !paths.insert(target) {
            problems.invalid_text(&format!("{path}.mountPath"), target, "must be unique");
        }
        for field in ["subPath", "subPathExpr"] {
            let sub = text(mount, field);
            let at = format!("{path}.{field}");
            if sub.starts_with('/') {
                problems.invalid_text(&at, sub, "must be a relative path");
            }
            if sub.split('/').any(|part| part == "..") {
                problems.invalid_text(&at, sub, "must not contain '..'");
            }
        }
    }
}

fn check_probes(container: &Value, path: &str, problems: &mut Problems) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get(name).filter(|probe| probe.is_object()) else { continue };
        let at = format!("{path}.{name}");
        check_handler(probe, &at, problems);
        for field in [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ] {
            problems.check_not_negative(&format!("{at}.{field}"), &probe[field]);
        }
        let threshold = &probe["successThreshold"];
        if name != "readinessProbe" && threshold.as_i64().is_some_and(|times| times != 1) {
            problems.invalid(&format!("{at}.successThreshold"), threshold, "must be 1");
        }
    }
    for hook in ["postStart", "preStop"] {
        let handler = &container["lifecycle"][hook];
        if handler.is_object() && handler.get("sleep").is_none() {
            check_handler(handler, &format!("{path}.lifecycle.{hook}"), problems);
        }
    }
}

fn check_handler(handler: &Value, path: &str, problems: &mut Problems) {
    let given: Vec<&str> = HANDLERS
        .into_iter()
        .filter(|name| handler.get(*name).is_some_and(Value::is_object))
        .collect();
    let Some(first) = given.first() else {
        problems.required(path, "must specify a handler type");
        return;
    };
    for extra in &given[1..] {
        let detail = "may not specify more than 1 handler type";
        problems.forbidden(&format!("{path}.{extra}"), detail);
    }
    let action = &handler[*first];
    let at = format!("{path}.{first}");
    match *first {
        "exec" if action["command"].as_array().is_none_or(Vec::is_empty) => {
            problems.required(&format!("{at}.command"), "");
        }
        "httpGet" => {
            require_text(action, "path", &at, problems);
            check_port(&action["port"], &format!("{at}.port"), problems);
            problems.check_choice(&format!("{at}.scheme"), &action["scheme"], &["HTTP", "HTTPS"]);
        }
        "tcpSocket" | "grpc" => check_port(&action["port"], &format!("{at}.port"), problems),
        _ => {}
    }
}

/// Names are unique over all kinds of containers of a pod.
pub(super) fn check_unique(spec: &Value, path: &str, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (path, container) in items(spec, list, path) {
            let name = text(container, "name");
            if !name.is_empty() && !seen.insert(name) {
                problems.duplicate(&format!("{path}.name"), &json!(name));
            }
        }
    }
}
