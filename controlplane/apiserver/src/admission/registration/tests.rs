//! Configurations with one mistake each.

use serde_json::json;

use super::*;

fn found(check: impl Fn(&mut Problems)) -> Vec<String> {
    let mut problems = Problems::default();
    check(&mut problems);
    let causes = problems.into_causes().into_iter();
    causes
        .map(|cause| {
            format!("{}: {}", cause.field, cause.message.lines().next().unwrap_or_default())
        })
        .collect()
}

fn webhook(path: &str, value: Value) -> Value {
    let mut webhook = json!({
        "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://127.0.0.1:1/x"}, "failurePolicy": "Fail", "timeoutSeconds": 10,
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "*"}],
    });
    if !path.is_empty() {
        let (parent, field) = path.rsplit_once('/').unwrap();
        webhook.pointer_mut(parent).unwrap()[field] = value;
    }
    json!({"webhooks": [webhook]})
}

#[test]
fn webhook_configurations_are_checked_in_upstreams_words() {
    for (path, value, expect) in [
        ("", Value::Null, vec![]),
        (
            "/name",
            json!("a.b"),
            vec![
                "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots",
            ],
        ),
        (
            "/timeoutSeconds",
            json!(31),
            vec![
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            ],
        ),
        (
            "/sideEffects",
            json!("Some"),
            vec![
                "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
            ],
        ),
        (
            "/admissionReviewVersions",
            json!(["v2"]),
            vec![
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1",
            ],
        ),
        (
            "/clientConfig",
            json!({}),
            vec![
                "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
            ],
        ),
        (
            "/clientConfig/url",
            json!("http://x/y"),
            vec![
                "webhooks[0].clientConfig.url: Invalid value: \"http://x/y\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
            ],
        ),
        (
            "/clientConfig",
            json!({"service": {"name": "s", "namespace": "n", "path": "x"}}),
            vec![
                "webhooks[0].clientConfig.service.path: Invalid value: \"x\": must start with a '/'",
            ],
        ),
        (
            "/rules",
            json!([{"operations": ["*", "CREATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*", "pods"]}]),
            vec![
                "webhooks[0].rules[0].operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations",
                "webhooks[0].rules[0].resources: Invalid value: [\"*/*\",\"pods\"]: if '*/*' is present, must not specify other resources",
            ],
        ),
        (
            "/matchConditions",
            json!([{"name": "a", "expression": "true"}, {"name": "a", "expression": "1"}]),
            vec![
                "webhooks[0].matchConditions[1].name: Duplicate value: \"a\"",
                "webhooks[0].matchConditions[1].expression: Invalid value: \"1\": must evaluate to bool",
            ],
        ),
    ] {
        let object = webhook(path, value);
        let got = found(|problems| webhooks::validate(&object, &Value::Null, problems));
        assert_eq!(got, expect, "{object}");
    }
    let broken = webhook("/matchConditions", json!([{"name": "a", "expression": "... [}"}]));
    let got = found(|problems| webhooks::validate(&broken, &Value::Null, problems));
    assert!(got[0].contains("compilation failed"), "{got:?}");
    let kept = found(|problems| webhooks::validate(&broken, &broken, problems));
    assert!(kept.is_empty(), "what was there before stays: {kept:?}");
}

#[test]
fn policies_are_checked_in_upstreams_words() {
    let rules = json!({"resourceRules": [{"operations": ["*"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}]});
    for (spec, expect) in [
        (json!({"matchConstraints": rules, "validations": [{"expression": "true"}]}), vec![]),
        (
            json!({"matchConstraints": rules}),
            vec![
                "spec.validations: Required value: validations or auditAnnotations must be non-empty in a ValidatingAdmissionPolicy",
            ],
        ),
        (
            json!({"validations": [{"expression": "true", "reason": "X"}]}),
            vec![
                "spec.matchConstraints: Required value",
                "spec.validations[0].reason: Unsupported value: \"X\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\", \"Unauthorized\"",
            ],
        ),
        (
            json!({"matchConstraints": rules, "variables": [{"name": "1x", "expression": "1"}], "validations": [{"expression": "1"}]}),
            vec![
                "spec.variables[0].name: Invalid value: \"1x\": name is not a valid CEL identifier",
                "spec.validations[0].expression: Invalid value: \"1\": must evaluate to bool",
            ],
        ),
    ] {
        let object = json!({"kind": "ValidatingAdmissionPolicy", "spec": spec});
        let got = found(|problems| policies::validate(&object, &Value::Null, problems));
        assert_eq!(got, expect, "{object}");
    }
    let object = json!({"kind": "MutatingAdmissionPolicy", "spec": {"matchConstraints": rules, "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "applyConfiguration": {"expression": "Object{}"}}]}});
    let got = found(|problems| policies::validate(&object, &Value::Null, problems));
    assert_eq!(
        got,
        [
            "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
            "spec.mutations[0].applyConfiguration: Forbidden: must not be specified when patchType is JSONPatch",
        ]
    );
}

#[test]
fn bindings_are_checked_in_upstreams_words() {
    for (spec, expect) in [
        (json!({"policyName": "p", "validationActions": ["Deny", "Audit"]}), vec![]),
        (
            json!({"policyName": "p", "validationActions": ["Deny", "Warn"]}),
            vec![
                "spec.validationActions: Invalid value: [\"Deny\",\"Warn\"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
            ],
        ),
        (
            json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {"parameterNotFoundAction": "Deny"}}),
            vec!["spec.paramRef: Required value: one of name or selector must be specified"],
        ),
    ] {
        let object = json!({"kind": "ValidatingAdmissionPolicyBinding", "spec": spec});
        assert_eq!(found(|problems| bindings::validate(&object, problems)), expect, "{object}");
    }
}
