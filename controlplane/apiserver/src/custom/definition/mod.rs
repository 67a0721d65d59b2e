//! What a CustomResourceDefinition must be like. Upstream `apiextensions/validation/validation.go`. Pure.

mod columns;
mod cost;
mod rules;
mod schema;
mod versions;

use api::rules::{names, problems::Problems};
use serde_json::{Value, json};

/// Collects all problems of a definition, and of its change.
pub fn validate(new: &Value, old: Option<&Value>, problems: &mut Problems) {
    let spec = &new["spec"];
    let group = text(spec, "group");
    let wanted = format!("{}.{group}", text(&spec["names"], "plural"));
    let name = api::meta::name(new);
    if name != wanted {
        problems.invalid_text("metadata.name", name, "must be spec.names.plural+\".\"+spec.group");
    }
    check_group(group, problems);
    problems_of_scope(&spec["scope"], problems);
    if spec["preserveUnknownFields"] == true {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                      spec.versions[*].schema instead";
        problems.invalid("spec.preserveUnknownFields", &json!(true), detail);
    }
    check_names(&spec["names"], problems);
    versions::validate(spec, old.map(|old| &old["spec"]), problems);
    check_conversion(&spec["conversion"], problems);
    if let Some(old) = old {
        check_change(new, old, problems);
    }
}

/// Fills in what upstream `SetDefaults_CustomResourceDefinitionSpec` fills in.
pub fn set_defaults(definition: &mut Value) {
    let Some(spec) = definition.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    if spec["names"].is_object() {
        let kind = text(&spec["names"], "kind").to_owned();
        let defaults = [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))];
        for (field, value) in defaults {
            if text(&spec["names"], field).is_empty() && !kind.is_empty() {
                spec["names"][field] = json!(value);
            }
        }
    }
    if text(&spec["conversion"], "strategy").is_empty() {
        spec["conversion"]["strategy"] = json!("None");
    }
    if let Some(service) = spec["conversion"].pointer_mut("/webhook/clientConfig/service")
        && service.is_object()
        && service["port"].is_null()
    {
        service["port"] = json!(443);
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn check_group(group: &str, problems: &mut Problems) {
    if group.is_empty() {
        problems.required("spec.group", "");
    } else if let Some(problem) = names::dns1123_subdomain(group) {
        problems.invalid_text("spec.group", group, &problem);
    } else if !group.contains('.') {
        problems.invalid_text("spec.group", group, "should be a domain with at least one dot");
    }
}

fn problems_of_scope(scope: &Value, problems: &mut Problems) {
    match scope.as_str() {
        None | Some("") => problems.required("spec.scope", ""),
        Some("Cluster" | "Namespaced") => {}
        Some(_) => problems.not_supported("spec.scope", scope, &["Cluster", "Namespaced"]),
    }
}

fn check_names(given: &Value, problems: &mut Problems) {
    for field in ["plural", "singular"] {
        let path = format!("spec.names.{field}");
        let name = text(given, field);
        if name.is_empty() {
            problems.required(&path, "");
        } else {
            problems.check_text(&path, name, names::dns1035_label(name));
        }
    }
    for field in ["kind", "listKind"] {
        let path = format!("spec.names.{field}");
        let name = text(given, field);
        if name.is_empty() {
            problems.required(&path, "");
        } else if let Some(problem) = names::dns1035_label(&name.to_lowercase()) {
            problems.invalid_text(
                &path,
                name,
                &format!("may have mixed case, but should otherwise match: {problem}"),
            );
        }
    }
    if !text(given, "kind").is_empty() && given["kind"] == given["listKind"] {
        problems.invalid(
            "spec.names.listKind",
            &given["listKind"],
            "kind and listKind may not be the same",
        );
    }
    for list in ["shortNames", "categories"] {
        for (index, one) in given[list].as_array().into_iter().flatten().enumerate() {
            let name = one.as_str().unwrap_or_default();
            problems.check_text(
                &format!("spec.names.{list}[{index}]"),
                name,
                names::dns1035_label(name),
            );
        }
    }
}

fn check_conversion(conversion: &Value, problems: &mut Problems) {
    let strategy = &conversion["strategy"];
    match strategy.as_str() {
        None | Some("") => problems.required("spec.conversion.strategy", ""),
        Some("None") => {
            if !conversion["webhook"].is_null() {
                let detail = "should not be set when strategy is not set to Webhook";
                problems.forbidden("spec.conversion.webhook", detail);
            }
        }
        Some("Webhook") => check_webhook(&conversion["webhook"], problems),
        Some(_) => {
            problems.not_supported("spec.conversion.strategy", strategy, &["None", "Webhook"])
        }
    }
}

fn check_webhook(webhook: &Value, problems: &mut Problems) {
    const PATH: &str = "spec.conversion.webhook.clientConfig";
    let client = &webhook["clientConfig"];
    if client.is_null() {
        problems.required(
            "spec.conversion.webhookClientConfig",
            "required when strategy is set to Webhook",
        );
    } else {
        match (client["url"].as_str(), client["service"].is_object()) {
            (Some(_), true) | (None, false) => {
                problems.required(PATH, "exactly one of url or service is required");
            }
            (Some(address), false) => {
                let parsed = url::Url::parse(address);
                if !parsed.is_ok_and(|url| url.scheme() == "https") {
                    let detail = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
                    problems.invalid_text(&format!("{PATH}.url"), address, detail);
                }
            }
            (None, true) => {
                for field in ["name", "namespace"] {
                    if text(&client["service"], field).is_empty() {
                        problems.required(
                            &format!("{PATH}.service.{field}"),
                            &format!("service {field} is required"),
                        );
                    }
                }
            }
        }
    }
    let versions = webhook["conversionReviewVersions"].as_array().map_or(&[][..], Vec::as_slice);
    let path = "spec.conversion.webhook.conversionReviewVersions";
    if versions.is_empty() {
        problems.required(path, "");
    } else if !versions.iter().any(|version| version == "v1" || version == "v1beta1") {
        problems.invalid(path, &json!(versions), "must include at least one of v1, v1beta1");
    }
}

fn check_change(new: &Value, old: &Value, problems: &mut Problems) {
    let established = old["status"]["conditions"].as_array().into_iter().flatten();
    let mut established =
        established.filter(|one| one["type"] == "Established" && one["status"] == "True");
    if established.next().is_some() {
        problems.check_immutable("spec.scope", &new["spec"]["scope"], &old["spec"]["scope"]);
        let kind = |object: &Value| object["spec"]["names"]["kind"].clone();
        problems.check_immutable("spec.names.kind", &kind(new), &kind(old));
    }
    problems.check_immutable("spec.group", &new["spec"]["group"], &old["spec"]["group"]);
    let plural = |object: &Value| object["spec"]["names"]["plural"].clone();
    problems.check_immutable("spec.names.plural", &plural(new), &plural(old));
    let named = |name: &Value| {
        new["spec"]["versions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|version| version["name"] == *name)
    };
    for (index, stored) in
        new["status"]["storedVersions"].as_array().into_iter().flatten().enumerate()
    {
        if !named(stored) {
            let detail = "must appear in spec.versions";
            problems.invalid(&format!("status.storedVersions[{index}]"), stored, detail);
        }
    }
}

#[cfg(test)]
mod tests;
