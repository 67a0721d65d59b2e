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
    problems.into_causes().iter().map(ToString::to_string).collect()
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

/// Upstream's own expectations (`schema/cel/compilation_test.go`): without bounds, and with `bound` everywhere.
#[test]
fn costs_are_upstreams() {
    let list =
        |items: Value, bound: Value| json!({"type": "array", "items": items, "maxItems": bound});
    let map = |of: Value, bound: Value| json!({"type": "object", "additionalProperties": of, "maxProperties": bound});
    let plain = |kind: &str| json!({"type": kind});
    let text = |format: &str| json!({"type": "string", "format": format});
    let bounded = |bound: &Value| json!({"type": "string", "maxLength": bound});
    let object = || {
        json!({"type": "object", "required": ["required"],
        "properties": {"required": {"type": "string"}, "optional": {"type": "string"}}})
    };
    type Make<'a> = &'a dyn Fn(Value) -> Value;
    let cases: [(Make<'_>, &str, u64, u64, u64); 30] = [
        (&|n| list(plain("number"), n), "self.all(x, true)", 4_718_591, 10, 32),
        (&|n| list(plain("string"), n), "self.all(x, true)", 3_145_727, 20, 62),
        (&|n| list(plain("boolean"), n), "self.all(x, true)", 1_887_437, 5, 17),
        (&|n| list(object(), n), "self.all(x, true)", 555_128, 50, 152),
        (&|n| map(plain("number"), n), "self.all(x, true)", 1_348_169, 10, 32),
        (&|n| map(plain("string"), n), "self.all(x, true)", 1_179_647, 3, 11),
        (&|n| map(object(), n), "self.all(x, true)", 428_963, 20, 62),
        (&|n| bounded(&n), "self.contains('test')", 314_574, 10, 5),
        (&|n| bounded(&n), "self.startsWith('test')", 2, 15, 2),
        (&|n| bounded(&n), "size(self + 'hello') > size('hello')", 314_578, 4, 7),
        (&|n| list(plain("number"), n), "self[1] == 0.0", 2, 5000, 2),
        (&|n| list(plain("string"), n), "self[1] == self[1]", 314_577, 8, 314_577),
        (
            &|n| list(plain("number"), n),
            "self.all(x, self.all(y, true))",
            7_421_701_914_624,
            10,
            352,
        ),
        (&|n| bounded(&n), "self.matches('x')", 314_574, 50, 22),
        (&|n| bounded(&n), "''.matches('(((((((((())))))))))[0-9]')", 7, 10, 7),
        (&|n| bounded(&n), "self == 'x'", 2, 0, 1),
        (&|n| list(plain("number"), n), "self.all(x, x == 0.0)", 6_291_454, 6_291_456, 25_165_826),
        (&|n| list(list(plain("number"), n.clone()), n), "self[0][0] == -1.0", 3, 51, 3),
        (
            &|n| list(map(plain("number"), n.clone()), n),
            "self.all(x, x.y == 25.2)",
            6_291_452,
            12,
            74,
        ),
        (&|n| list(map(plain("number"), n.clone()), n), "self[0].x > 2.0", 4, 3000, 4),
        (&|n| list(text("duration"), n), "self[0].getHours() == 2", 4, 525, 4),
        (&|n| list(text("date"), n), "self.all(x, true)", 725_936, 15, 47),
        (&|n| map(text("date-time"), n), "self['a'] == self['b']", 8, 7, 8),
        (&|n| map(plain("integer"), n), "oldSelf.size() == self.size()", 5, 10, 5),
        (&|n| bounded(&n), "self.find('[0-9]+') == ''", 629_147, 10, 11),
        (&|n| list(bounded(&n), n.clone()), "self.join(' ') == 'aa bb'", 329_853_068_905, 10, 43),
        (&|n| list(bounded(&n), n.clone()), "self.isSorted() == true", 329_854_432_052, 10, 52),
        (
            &|n| json!({"type": "object", "properties": {"str": bounded(&n), "separator": bounded(&n)}}),
            "self.str.split(self.separator) == []",
            629_160,
            10,
            22,
        ),
        (&|n| bounded(&n), "self.lowerAscii() == 'lower!'", 314_575, 10, 6),
        (
            &|n| json!({"type": "array", "maxItems": n, "items": {"x-kubernetes-int-or-string": true}}),
            "self[0] == 5",
            3,
            10,
            3,
        ),
    ];
    for (make, rule, free, bound, expect) in cases {
        assert_eq!((rule, cost(&make(Value::Null), rule)), (rule, free), "without bounds");
        assert_eq!((rule, cost(&make(json!(bound)), rule)), (rule, expect), "bounded by {bound}");
    }
    let choices = json!({"type": "string", "enum": ["A", "B", "LongValue"]});
    assert_eq!(cost(&choices, "self.contains('A')"), 2);
}

fn cost(raw: &Value, rule: &str) -> u64 {
    let schema = api::structural::parse(raw);
    let rule = crate::custom::rules::compile_rule(&schema, &json!({"rule": rule}), false).unwrap();
    let measured = crate::custom::extent::measure(&schema, false).unwrap();
    rule.costs_max(&schema, false, &measured.extent).rule
}

#[test]
fn dear_rules_are_refused() {
    const AT: &str = "spec.versions[0].schema.openAPIV3Schema";
    let list = |bounds: &Value| {
        let mut list = json!({"type": "array", "items": {"type": "string"},
            "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, x == y))"}]});
        for (name, bound) in bounds.as_object().into_iter().flatten() {
            match name.as_str() {
                "maxLength" => list["items"]["maxLength"] = bound.clone(),
                _ => list[name] = bound.clone(),
            }
        }
        list
    };
    let rule = format!("{AT}.properties[spec].x-kubernetes-validations[0].rule: Forbidden:");
    let hint = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings \
                are declared)";
    let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
    let unbounded = [
        format!("{rule} estimated rule cost exceeds budget by factor of more than 100x {hint}"),
        format!(
            "{rule} contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        ),
        format!("{AT}: Forbidden: {name} exceeds budget by factor of more than 100x {hint}"),
    ];
    assert_eq!(schema(list(&json!({}))), unbounded);
    let nearly = schema(list(&json!({"maxItems": 1000, "maxLength": 20})));
    assert_eq!(
        nearly,
        [format!("{rule} estimated rule cost exceeds budget by factor of 1.300500x {hint}")]
    );
    assert_eq!(schema(list(&json!({"maxItems": 100, "maxLength": 20}))), Vec::<String>::new());
}

#[test]
fn what_was_accepted_may_stay() {
    let mut definition = definition();
    let spec = json!({"type": "array", "maxItems": 1000, "items": {"type": "string", "maxLength": 20},
        "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, x == y))"}]});
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = spec;
    set_defaults(&mut definition);
    for (old, count) in [(None, 1), (Some(&definition), 0)] {
        let mut problems = Problems::default();
        validate(&definition, old, &mut problems);
        assert_eq!(problems.into_causes().len(), count);
    }
}
