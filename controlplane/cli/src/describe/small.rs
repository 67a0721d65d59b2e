//! Kinds of few words: namespaces, accounts, configuration, roles.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::text::{Text, or_none};
use crate::json::{entries_at, items_at, name, number_at, scalar, text_at};

fn head(text: &mut Text, object: &Value, with_namespace: bool) {
    text.field("Name", name(object));
    if with_namespace {
        text.field("Namespace", text_at(object, "/metadata/namespace"));
    }
    text.map("Labels", object, "/metadata/labels", "=");
    text.map("Annotations", object, "/metadata/annotations", ": ");
}

/// Describes a namespace with its quotas and limit ranges.
pub(super) fn namespace(text: &mut Text, object: &Value, quotas: &[Value], limits: &[Value]) {
    head(text, object, false);
    text.field("Status", text_at(object, "/status/phase"));
    text.line("");
    if quotas.is_empty() {
        text.line("No resource quota.");
    } else {
        text.line("Resource Quotas");
        for quota in quotas {
            text.nested(|text| quota_lines(text, quota));
        }
    }
    text.line("");
    if limits.is_empty() {
        text.line("No LimitRange resource.");
        return;
    }
    text.line("Resource Limits");
    text.nested(|text| {
        text.line(
            "Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio",
        );
        text.line(
            "----\t--------\t---\t---\t---------------\t-------------\t-----------------------",
        );
        for limit in limits.iter().flat_map(|limit| items_at(limit, "/spec/limits")) {
            limit_lines(text, limit);
        }
    });
}

fn quota_lines(text: &mut Text, quota: &Value) {
    text.line(&format!("Name:\t{}", name(quota)));
    text.line("Resource\tUsed\tHard");
    text.line("--------\t---\t---");
    for (resource, hard) in entries_at(quota, "/status/hard") {
        let used = quota["status"]["used"].get(resource).map_or_else(|| "0".to_owned(), scalar);
        text.line(&format!("{resource}\t{used}\t{}", scalar(hard)));
    }
}

fn limit_lines(text: &mut Text, limit: &Value) {
    const FIELDS: [&str; 5] = ["min", "max", "defaultRequest", "default", "maxLimitRequestRatio"];
    let mut resources: Vec<_> = FIELDS
        .iter()
        .flat_map(|field| entries_at(limit, &format!("/{field}")))
        .map(|(resource, _)| resource)
        .collect();
    resources.sort_unstable();
    resources.dedup();
    for resource in resources {
        let cells =
            FIELDS.map(|field| limit[field].get(resource).map_or_else(|| "-".to_owned(), scalar));
        text.line(&format!("{}\t{resource}\t{}", text_at(limit, "/type"), cells.join("\t")));
    }
}

/// Describes a service account.
pub(super) fn service_account(text: &mut Text, object: &Value) {
    head(text, object, true);
    for (label, pointer) in
        [("Image pull secrets", "/imagePullSecrets"), ("Mountable secrets", "/secrets")]
    {
        let names: Vec<_> =
            items_at(object, pointer).map(|secret| text_at(secret, "/name").to_owned()).collect();
        text.list(label, &names);
    }
    text.field("Tokens", "<none>");
}

/// Describes a secret: sizes, never contents.
pub(super) fn secret(text: &mut Text, object: &Value) {
    head(text, object, true);
    text.line("");
    text.field("Type", text_at(object, "/type"));
    text.line("");
    text.line("Data");
    text.line("====");
    for (key, value) in entries_at(object, "/data") {
        let bytes = STANDARD.decode(scalar(value)).map_or(0, |bytes| bytes.len());
        text.field(key, format!("{bytes} bytes"));
    }
}

/// Describes a config map.
pub(super) fn config_map(text: &mut Text, object: &Value) {
    head(text, object, true);
    text.line("");
    text.line("Data");
    text.line("====");
    for (key, value) in entries_at(object, "/data") {
        text.line(&format!("{key}:"));
        text.line("----");
        text.line(&scalar(value).replace('\t', "    "));
        text.line("");
    }
    text.line("");
    text.line("BinaryData");
    text.line("====");
    for (key, value) in entries_at(object, "/binaryData") {
        let bytes = STANDARD.decode(scalar(value)).map_or(0, |bytes| bytes.len());
        text.line(&format!("{key}: {bytes} bytes"));
    }
    text.line("");
}

/// Describes a role or cluster role.
pub(super) fn role(text: &mut Text, object: &Value) {
    head(text, object, false);
    text.line("PolicyRule:");
    text.nested(|text| {
        text.line("Resources\tNon-Resource URLs\tResource Names\tVerbs");
        text.line("---------\t-----------------\t--------------\t-----");
        items_at(object, "/rules").flat_map(rule_lines).for_each(|line| text.line(&line));
    });
}

fn rule_lines(rule: &Value) -> Vec<String> {
    let list = |pointer: &str| {
        let all: Vec<_> = items_at(rule, pointer).map(scalar).collect();
        format!("[{}]", all.join(" "))
    };
    let line = |resource: &str| {
        let parts = [list("/nonResourceURLs"), list("/resourceNames"), list("/verbs")];
        format!("{resource}\t{}", parts.join("\t"))
    };
    let mut lines = Vec::new();
    for group in items_at(rule, "/apiGroups").map(scalar) {
        for resource in items_at(rule, "/resources").map(scalar) {
            let (base, sub) = resource.split_once('/').unwrap_or((&resource, ""));
            let group = if group.is_empty() { String::new() } else { format!(".{group}") };
            let sub = if sub.is_empty() { String::new() } else { format!("/{sub}") };
            lines.push(line(&format!("{base}{group}{sub}")));
        }
    }
    if lines.is_empty() {
        lines.push(line(""));
    }
    lines
}

/// Describes a role binding or cluster role binding.
pub(super) fn role_binding(text: &mut Text, object: &Value) {
    head(text, object, false);
    text.line("Role:");
    text.nested(|text| {
        text.field("Kind", text_at(object, "/roleRef/kind"));
        text.field("Name", text_at(object, "/roleRef/name"));
    });
    text.line("Subjects:");
    text.nested(|text| {
        text.line("Kind\tName\tNamespace");
        text.line("----\t----\t---------");
        for subject in items_at(object, "/subjects") {
            let part = |field: &str| text_at(subject, field).to_owned();
            text.line(&format!("{}\t{}\t{}", part("/kind"), part("/name"), part("/namespace")));
        }
    });
}

/// Describes a job.
pub(super) fn job(text: &mut Text, object: &Value) {
    let number = |pointer: &str, default: i64| number_at(object, pointer).unwrap_or(default);
    text.field("Name", name(object));
    text.field("Namespace", text_at(object, "/metadata/namespace"));
    let selector = crate::expose::selector_text(object, "/spec/selector/matchLabels");
    text.field("Selector", or_none(&selector));
    text.map("Labels", object, "/metadata/labels", "=");
    text.map("Annotations", object, "/metadata/annotations", ": ");
    text.field("Parallelism", number("/spec/parallelism", 1));
    text.field(
        "Completions",
        number_at(object, "/spec/completions").map_or("<unset>".to_owned(), |n| n.to_string()),
    );
    text.field_if("Completion Mode", text_at(object, "/spec/completionMode"));
    text.field("Suspend", crate::json::is_true_at(object, "/spec/suspend"));
    text.field("Backoff Limit", number("/spec/backoffLimit", 6));
    for (label, pointer) in
        [("Start Time", "/status/startTime"), ("Completed At", "/status/completionTime")]
    {
        if !text_at(object, pointer).is_empty() {
            text.field(label, super::text::date(text_at(object, pointer)));
        }
    }
    text.field(
        "Pods Statuses",
        format!(
            "{} Active / {} Succeeded / {} Failed",
            number("/status/active", 0),
            number("/status/succeeded", 0),
            number("/status/failed", 0)
        ),
    );
    super::template::describe(text, &object["spec"]["template"]);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::describe::text::tests::has_line;

    #[test]
    fn secrets_show_sizes_only() {
        let object = json!({"metadata": {"name": "s", "namespace": "x"}, "type": "Opaque", "data": {"p": "c2VjcmV0"}});
        let mut text = Text::default();
        secret(&mut text, &object);
        let text = text.finish();
        assert!(text.ends_with("\nType:  Opaque\n\nData\n====\np:  6 bytes\n"), "{text}");
        assert!(!text.contains("secret"));
    }

    #[test]
    fn roles_list_each_resource() {
        let rule =
            json!({"apiGroups": ["", "apps"], "resources": ["pods/log"], "verbs": ["get", "list"]});
        assert_eq!(
            rule_lines(&rule),
            ["pods/log\t[]\t[]\t[get list]", "pods.apps/log\t[]\t[]\t[get list]"]
        );
        let url = json!({"nonResourceURLs": ["/healthz"], "verbs": ["get"]});
        assert_eq!(rule_lines(&url), ["\t[/healthz]\t[]\t[get]"]);
    }

    #[test]
    fn namespaces_show_quotas_and_limits() {
        let quota = json!({"metadata": {"name": "q"}, "status": {"hard": {"pods": "10"}, "used": {"pods": "3"}}});
        let limit = json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}});
        let mut text = Text::default();
        namespace(
            &mut text,
            &json!({"metadata": {"name": "n"}, "status": {"phase": "Active"}}),
            &[quota],
            &[limit],
        );
        let text = text.finish();
        for line in ["Status: Active", "pods 3 10", "Container cpu - - - 1 -"] {
            assert!(has_line(&text, line), "{line:?} is missing in\n{text}");
        }
    }
}
