//! Defaults of admission, custom resources, aggregation and flow control.

use serde_json::{Value, json};

use super::{default, default_text, items, section, text};

pub(super) fn apply(kind: &str, object: &mut Value) {
    match kind {
        "MutatingWebhookConfiguration" => {
            for webhook in items(object, "webhooks") {
                apply_webhook(webhook);
                default_text(webhook, "reinvocationPolicy", "Never");
            }
        }
        "ValidatingWebhookConfiguration" => items(object, "webhooks").for_each(apply_webhook),
        "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy" => apply_policy(object),
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => {
            if let Some(matching) = object.pointer_mut("/spec/matchResources") {
                apply_match(matching);
            }
        }
        "CustomResourceDefinition" => apply_definition(object),
        "APIService" => {
            if let Some(service) = object.pointer_mut("/spec/service") {
                default(service, "port", json!(443));
            }
        }
        "FlowSchema" => {
            let spec = section(object, "spec");
            if spec["matchingPrecedence"].as_i64().unwrap_or(0) == 0 {
                spec["matchingPrecedence"] = json!(1000);
            }
        }
        "PriorityLevelConfiguration" => apply_priority_level(object),
        _ => {}
    }
}

fn apply_webhook(webhook: &mut Value) {
    default_text(webhook, "failurePolicy", "Fail");
    default_text(webhook, "matchPolicy", "Equivalent");
    default(webhook, "namespaceSelector", json!({}));
    default(webhook, "objectSelector", json!({}));
    default(webhook, "timeoutSeconds", json!(10));
    items(webhook, "rules").for_each(|rule| default_text(rule, "scope", "*"));
    if let Some(service) = webhook.pointer_mut("/clientConfig/service") {
        default(service, "port", json!(443));
    }
}

fn apply_policy(object: &mut Value) {
    let spec = section(object, "spec");
    default_text(spec, "failurePolicy", "Fail");
    if let Some(matching) = spec.get_mut("matchConstraints") {
        apply_match(matching);
    }
}

fn apply_match(matching: &mut Value) {
    default_text(matching, "matchPolicy", "Equivalent");
    default(matching, "namespaceSelector", json!({}));
    default(matching, "objectSelector", json!({}));
    for rules in ["resourceRules", "excludeResourceRules"] {
        items(matching, rules).for_each(|rule| default_text(rule, "scope", "*"));
    }
}

fn apply_definition(object: &mut Value) {
    let spec = section(object, "spec");
    let names = section(spec, "names");
    let kind = text(names, "kind").to_owned();
    if !kind.is_empty() {
        default_text(names, "singular", &kind.to_lowercase());
        default_text(names, "listKind", &format!("{kind}List"));
    }
    let conversion = section(spec, "conversion");
    default_text(conversion, "strategy", "None");
    if let Some(service) = conversion.pointer_mut("/webhook/clientConfig/service") {
        default(service, "port", json!(443));
    }
}

fn apply_priority_level(object: &mut Value) {
    let spec = section(object, "spec");
    if text(spec, "type") == "Exempt" {
        let exempt = section(spec, "exempt");
        default(exempt, "nominalConcurrencyShares", json!(0));
        default(exempt, "lendablePercent", json!(0));
    }
    if let Some(limited) = spec.get_mut("limited") {
        default(limited, "nominalConcurrencyShares", json!(30));
        default(limited, "lendablePercent", json!(0));
        let response = section(limited, "limitResponse");
        if text(response, "type") == "Queue" {
            let queuing = section(response, "queuing");
            for (field, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
                if queuing[field].as_i64().unwrap_or(0) == 0 {
                    queuing[field] = json!(value);
                }
            }
        }
    }
}
