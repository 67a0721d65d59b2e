use serde_json::{Value, json};

use super::*;

fn definition() -> Value {
    json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}}}]}})
}

fn found(change: impl Fn(&mut Value)) -> Vec<String> {
    let mut definition = definition();
    change(&mut definition);
    set_defaults(&mut definition);
    let mut problems = Problems::default();
    validate(&definition, None, &mut problems);
    problems
        .into_causes()
        .into_iter()
        .map(|cause| format!("{}: {}", cause.field, cause.message))
        .collect()
}

#[test]
fn a_plain_definition_is_good() {
    assert_eq!(found(|_| {}), Vec::<String>::new());
}

#[test]
fn bad_definitions_are_refused_in_upstreams_words() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 10] = [
        (
            |d| d["metadata"]["name"] = json!("x"),
            "metadata.name: Invalid value: \"x\": must be spec.names.plural+\".\"+spec.group",
        ),
        (
            |d| d["spec"]["scope"] = json!("Odd"),
            "spec.scope: Unsupported value: \"Odd\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (
            |d| d["spec"]["versions"][0]["schema"] = json!({}),
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
        ),
        (
            |d| d["spec"]["preserveUnknownFields"] = json!(true),
            "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set \
             x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        ),
        (
            |d| d["spec"]["names"]["listKind"] = json!("Widget"),
            "spec.names.listKind: Invalid value: \"Widget\": kind and listKind may not be the same",
        ),
        (
            |d| d["spec"]["conversion"] = json!({"strategy": "Webhook"}),
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
        ),
        (
            |d| {
                d["spec"]["versions"][0]["additionalPrinterColumns"] =
                    json!([{"name": "a", "type": "text", "jsonPath": ".a"}])
            },
            "spec.versions[0].additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of \
             boolean,date,integer,number,string",
        ),
        (
            |d| {
                d["spec"]["versions"][0]["subresources"] = json!({"scale": {"specReplicasPath": ".a.b", "statusReplicasPath": ".status.r"}})
            },
            "spec.versions[0].subresources.scale.specReplicasPath: Invalid value: \".a.b\": should be a json path under .spec",
        ),
        (
            |d| d["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".spec.none"}]),
            "spec.versions[0].selectableFields[0].jsonPath: Invalid value: \".spec.none\": is an invalid path: does not \
             refer to a valid field, field none not found",
        ),
        (
            |d| d["spec"]["group"] = json!("single"),
            "spec.group: Invalid value: \"single\": should be a domain with at least one dot",
        ),
    ];
    for (change, expect) in cases {
        let found = found(change);
        assert!(found.iter().any(|one| one == expect), "want {expect}\nfound {found:#?}");
    }
}

fn schema(spec: Value) -> Vec<String> {
    found(move |definition| {
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] =
            spec.clone();
    })
}

#[test]
fn schemas_must_be_structural() {
    const AT: &str = "spec.versions[0].schema.openAPIV3Schema.properties[spec]";
    for (spec, expect) in [
        (json!({}), ".type: Required value: must not be empty for specified object fields"),
        (json!({"type": "array"}), ".items: Required value: must be specified"),
        (
            json!({"type": "object", "additionalProperties": false}),
            ".additionalProperties: Forbidden: additionalProperties cannot be set to false",
        ),
        (
            json!({"type": "string", "pattern": "("}),
            ".pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error parsing regexp: unclosed group",
        ),
        (
            json!({"type": "object", "anyOf": [{"type": "object"}]}),
            ".anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "integer", "default": "x"}),
            ".default: Invalid value: \"string\": default in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"}),
            ".x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
        (
            json!({"type": "array", "uniqueItems": true, "items": {"type": "string"}}),
            ".uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        (
            json!({"x-kubernetes-int-or-string": true, "type": "integer"}),
            ".type: Forbidden: must be empty if x-kubernetes-int-or-string is true",
        ),
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": ""}]}),
            ".x-kubernetes-validations[0].rule: Required value: rule is not specified",
        ),
    ] {
        let found = schema(spec);
        let expect = format!("{AT}{expect}");
        assert!(found.contains(&expect), "want {expect}\nfound {found:#?}");
    }
}

#[test]
fn rules_must_compile() {
    let found =
        schema(json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.nope == 1"}]}));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("compilation failed: ERROR: <input>:1:5: undefined field 'nope'"),
        "{found:?}"
    );
    let list = schema(json!({"type": "array", "items": {"type": "integer",
        "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}));
    assert!(
        list[0].contains("oldSelf cannot be used on the uncorrelatable portion of the schema"),
        "{list:?}"
    );
}
