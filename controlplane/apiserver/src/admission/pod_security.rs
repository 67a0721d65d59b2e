//! PodSecurity: the Pod Security Standards, enforced per namespace by its labels. `policy` reads labels, `checks` are
//! the standards, `evaluate` asks them all, `namespaces` warns when labels change. Upstream: `pod-security-admission`.

mod baseline;
mod config;
mod evaluate;
mod namespaces;
mod policy;
mod restricted;
mod view;

use access::Lookup;
use api::Status;
use serde_json::Value;

use super::request::Request;
pub use config::PodSecurity;
use evaluate::evaluate;
use policy::{Level, Mode, Policy};

/// Kinds that make pods, with the path of the template.
const TEMPLATES: &[(&str, &str, &str)] = &[
    ("", "replicationcontrollers", "/spec/template"),
    ("", "podtemplates", "/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("batch", "jobs", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
];

pub fn validate(request: &Request<'_>, object: &Value, old: &Value) -> Result<(), Status> {
    if !request.is_create() && !request.is_update() {
        return Ok(());
    }
    if request.is("", "namespaces") {
        return namespaces::validate(request, object, old);
    }
    if request.is("", "pods") || request.is_sub("", "pods", "ephemeralcontainers") {
        return validate_pod(request, object, old);
    }
    if request.subresource().is_empty() {
        warn_about_template(request, object);
    }
    Ok(())
}

fn config<'a>(request: &Request<'a>) -> &'a PodSecurity {
    &request.call.app.config.pod_security
}

fn policy_of(request: &Request<'_>) -> Policy {
    let cache = &*request.call.app.cache;
    let namespace = Lookup::get(cache, "", "namespaces", "", &request.namespace);
    let defaults = &config(request).defaults;
    namespace.map_or_else(|| defaults.clone(), |namespace| Policy::of(&namespace, defaults).0)
}

fn is_exempt(request: &Request<'_>, spec: &Value) -> Option<&'static str> {
    let class = spec["runtimeClassName"].as_str().unwrap_or_default();
    config(request).exemptions.reason(&request.namespace, &request.call.user.name, class)
}

fn validate_pod(request: &Request<'_>, pod: &Value, old: &Value) -> Result<(), Status> {
    if request.is_update() && !is_significant(pod, old) {
        return Ok(());
    }
    let policy = policy_of(request);
    if policy.is_privileged() {
        return Ok(());
    }
    if let Some(reason) = is_exempt(request, &pod["spec"]) {
        request.annotate("pod-security.kubernetes.io/exempt", reason);
        return Ok(());
    }
    let metadata = &pod["metadata"];
    let enforce = &policy.enforce;
    request.annotate("pod-security.kubernetes.io/enforce-policy", &enforce.to_string());
    if let Some(found) = evaluate(enforce, metadata, &pod["spec"]) {
        let why = format!("violates PodSecurity \"{enforce}\": {found}");
        return Err(request.refuse(pod, &why));
    }
    report(request, &policy, metadata, &pod["spec"], true);
    Ok(())
}

/// Updates that cannot make a pod less safe are not judged again.
fn is_significant(new: &Value, old: &Value) -> bool {
    const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
    let annotations = |pod: &Value| -> Vec<(String, Value)> {
        let all = pod["metadata"]["annotations"].as_object().into_iter().flatten();
        all.filter(|(key, _)| key.starts_with(APPARMOR))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    let without_harmless = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        if let Some(fields) = spec.as_object_mut() {
            for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
                fields.remove(field);
            }
        }
        for list in ["containers", "initContainers"] {
            let containers = spec.get_mut(list).and_then(Value::as_array_mut);
            for fields in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
                fields.remove("image");
                fields.remove("resources");
            }
        }
        spec
    };
    annotations(new) != annotations(old) || without_harmless(new) != without_harmless(old)
}

/// Audits and warns; `enforced` says that the enforced level's findings were reported already.
fn report(request: &Request<'_>, policy: &Policy, metadata: &Value, spec: &Value, enforced: bool) {
    let audit = &policy.audit;
    if let Some(found) = evaluate(audit, metadata, spec) {
        let text = format!("would violate PodSecurity \"{audit}\": {found}");
        request.annotate("pod-security.kubernetes.io/audit-violations", &text);
    }
    let warn = &policy.warn;
    if enforced && *warn == policy.enforce {
        return;
    }
    if let Some(found) = evaluate(warn, metadata, spec) {
        request.warn(format!("would violate PodSecurity \"{warn}\": {found}"));
    }
}

/// Workloads are never refused for their template: their pods are.
fn warn_about_template(request: &Request<'_>, object: &Value) {
    let kind = request.kind();
    let row =
        TEMPLATES.iter().find(|(group, plural, _)| *group == kind.group && *plural == kind.plural);
    let Some(template) = row.and_then(|(_, _, path)| object.pointer(path)) else { return };
    let policy = policy_of(request);
    let silent = policy.level(Mode::Audit) == Level::Privileged
        && policy.level(Mode::Warn) == Level::Privileged;
    if silent || is_exempt(request, &template["spec"]).is_some() {
        return;
    }
    report(request, &policy, &template["metadata"], &template["spec"], false);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn harmless_updates_are_not_judged() {
        let old = json!({"metadata": {}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
        let with = |path: &str, value: Value| {
            let mut pod = old.clone();
            *pod.pointer_mut(path).unwrap() = value;
            pod
        };
        for (new, expect) in [
            (old.clone(), false),
            (with("/spec/containers/0/image", json!("y")), false),
            (with("/metadata", json!({"labels": {"a": "b"}})), false),
            (with("/spec/containers/0", json!({"name": "a", "securityContext": {}})), true),
            (
                with(
                    "/metadata",
                    json!({"annotations": {"container.apparmor.security.beta.kubernetes.io/a": "unconfined"}}),
                ),
                true,
            ),
        ] {
            assert_eq!(is_significant(&new, &old), expect, "{new}");
        }
    }
}
