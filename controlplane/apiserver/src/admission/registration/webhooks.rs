//! MutatingWebhookConfiguration and ValidatingWebhookConfiguration.

use std::collections::BTreeSet;

use api::rules::{names, problems::Problems};
use serde_json::Value;
use url::Url;

use super::{conditions, items, resources, text};

const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

pub fn validate(object: &Value, old: &Value, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (index, webhook) in items(object, "webhooks") {
        let path = format!("webhooks[{index}]");
        let name = text(webhook, "name");
        let before = items(old, "webhooks").find(|(_, one)| one["name"] == webhook["name"]);
        let before = before.map_or(&Value::Null, |(_, webhook)| webhook);
        validate_one(webhook, before, &path, problems);
        if !name.is_empty() && !seen.insert(name) {
            problems.duplicate(&format!("{path}.name"), &webhook["name"]);
        }
    }
}

fn validate_one(webhook: &Value, before: &Value, path: &str, problems: &mut Problems) {
    check_name(webhook, &format!("{path}.name"), problems);
    for (index, rule) in items(webhook, "rules") {
        resources::check_rule(rule, &format!("{path}.rules[{index}]"), problems);
    }
    resources::check_failure_policy(webhook, &format!("{path}.failurePolicy"), problems);
    let policies = ["Equivalent", "Exact"];
    problems.check_choice(&format!("{path}.matchPolicy"), &webhook["matchPolicy"], &policies);
    resources::check_reinvocation(webhook, &format!("{path}.reinvocationPolicy"), problems);
    check_versions(webhook, &format!("{path}.admissionReviewVersions"), problems);
    let effects = &webhook["sideEffects"];
    if effects.is_null() {
        problems.required(&format!("{path}.sideEffects"), "must specify one of None, NoneOnDryRun");
    } else {
        problems.check_choice(&format!("{path}.sideEffects"), effects, &["None", "NoneOnDryRun"]);
    }
    let seconds = &webhook["timeoutSeconds"];
    if seconds.as_i64().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        problems.invalid(&format!("{path}.timeoutSeconds"), seconds, detail);
    }
    resources::check_selectors(webhook, &format!("{path}."), problems);
    check_client(&webhook["clientConfig"], &format!("{path}.clientConfig"), problems);
    conditions::validate(webhook, before, &format!("{path}."), true, problems);
}

fn check_name(webhook: &Value, path: &str, problems: &mut Problems) {
    let name = text(webhook, "name");
    if name.is_empty() {
        problems.required(path, "");
        return;
    }
    problems.check_text(path, name, names::dns1123_subdomain(name));
    if name.split('.').count() < 3 {
        problems.invalid_text(
            path,
            name,
            "should be a domain with at least three segments separated by dots",
        );
    }
}

fn check_versions(webhook: &Value, path: &str, problems: &mut Problems) {
    let versions: Vec<&str> =
        items(webhook, "admissionReviewVersions").filter_map(|(_, one)| one.as_str()).collect();
    if versions.is_empty() {
        let detail = format!("must specify one of {}", VERSIONS.join(", "));
        problems.required(path, &detail);
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, version) in versions.iter().enumerate() {
        if !seen.insert(version) {
            problems.duplicate(&format!("{path}[{index}]"), &Value::from(*version));
        }
        problems.check_text(&format!("{path}[{index}]"), version, names::dns1123_label(version));
    }
    if !versions.iter().any(|version| VERSIONS.contains(version)) {
        let detail = format!("must include at least one of {}", VERSIONS.join(", "));
        problems.invalid(path, &webhook["admissionReviewVersions"], &detail);
    }
}

fn check_client(config: &Value, path: &str, problems: &mut Problems) {
    match (config["url"].as_str(), config["service"].is_object()) {
        (Some(url), false) => check_url(url, &format!("{path}.url"), problems),
        (None, true) => check_service(&config["service"], &format!("{path}.service"), problems),
        _ => problems.required(path, "exactly one of url or service is required"),
    }
}

fn check_url(text: &str, path: &str, problems: &mut Problems) {
    const FORM: &str = "; desired format: https://host[/path]";
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => {
            problems.required(path, &format!("url must be a valid URL: {error}{FORM}"));
            return;
        }
    };
    let mut complain = |detail: &str| problems.invalid_text(path, text, detail);
    if url.scheme() != "https" {
        complain(&format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        complain(&format!("host must be specified{FORM}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        complain("user information is not permitted in the URL");
    }
    if url.fragment().is_some() {
        complain("fragments are not permitted in the URL");
    }
    if url.query().is_some() {
        complain("query parameters are not permitted in the URL");
    }
}

fn check_service(service: &Value, path: &str, problems: &mut Problems) {
    if text(service, "name").is_empty() {
        problems.required(&format!("{path}.name"), "service name is required");
    }
    if text(service, "namespace").is_empty() {
        problems.required(&format!("{path}.namespace"), "service namespace is required");
    }
    let port = &service["port"];
    if port.as_i64().is_some_and(|port| !(1..=65535).contains(&port)) {
        let detail = "port is not valid: must be between 1 and 65535, inclusive";
        problems.invalid(&format!("{path}.port"), port, detail);
    }
    let Some(url) = service["path"].as_str() else { return };
    let at = format!("{path}.path");
    if !url.starts_with('/') {
        problems.invalid_text(&at, url, "must start with a '/'");
        return;
    }
    if url == "/" {
        return;
    }
    let segments = url[1..].trim_end_matches('/').split('/');
    for (index, segment) in segments.enumerate() {
        if segment.is_empty() {
            let detail = format!("segment[{index}] may not be empty");
            problems.invalid_text(&at, url, &detail);
        } else if let Some(problem) = names::dns1123_subdomain(segment) {
            problems.invalid_text(&at, url, &format!("segment[{index}]: {problem}"));
        }
    }
}
