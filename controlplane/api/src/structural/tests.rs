use serde_json::json;

use super::*;
use crate::rules::problems::Problems;

fn messages(raw: &Value, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut problems = Problems::default();
    validate(&parse(raw), object, old, &mut problems);
    problems.into_causes().iter().map(ToString::to_string).collect()
}

fn with_spec(spec: &Value) -> Value {
    json!({"type": "object", "properties": {"spec": spec}})
}

#[test]
fn values_are_checked_in_upstreams_words() {
    let cases = [
        (
            json!({"type": "integer"}),
            json!("string"),
            "spec: Invalid value: \"string\": spec in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            "spec: Unsupported value: \"c\": supported values: \"a\", \"b\"",
        ),
        (
            json!({"type": "string", "pattern": "^a$"}),
            json!("b"),
            "spec: Invalid value: \"b\": spec in body should match '^a$'",
        ),
        (
            json!({"type": "string", "maxLength": 2}),
            json!("abc"),
            "spec: Too long: may not be more than 2 bytes",
        ),
        (
            json!({"type": "string", "minLength": 2}),
            json!("a"),
            "spec: Invalid value: \"a\": spec in body should be at least 2 chars long",
        ),
        (
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            "spec: Invalid value: 0: spec in body should be greater than or equal to 1",
        ),
        (
            json!({"type": "integer", "maximum": 1, "exclusiveMaximum": true}),
            json!(1),
            "spec: Invalid value: 1: spec in body should be less than 1",
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("x"),
            "spec: Invalid value: \"x\": spec in body must be of type date-time: \"x\"",
        ),
        (
            json!({"type": "array", "maxItems": 1}),
            json!([1, 2]),
            "spec: Too many: 2: must have at most 1 items",
        ),
        (json!({"type": "object", "required": ["a"]}), json!({}), "spec.a: Required value"),
        (
            json!({"type": "array", "x-kubernetes-list-type": "set"}),
            json!(["a", "a"]),
            "spec[1]: Duplicate value: \"a\"",
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}),
            json!([{"k": 1, "v": 1}, {"k": 1}]),
            "spec[1]: Duplicate value: {\"k\":1}",
        ),
        (
            json!({"anyOf": [{"type": "integer"}, {"type": "boolean"}]}),
            json!("x"),
            "<nil>: Invalid value: \"\": \"spec\" must validate at least one schema (anyOf)",
        ),
        (
            json!({"type": "object", "properties": {"l": {"type": "array", "items": {"type": "object", "required": ["x"]}}}}),
            json!({"l": [{}]}),
            "spec.l[0].x: Required value",
        ),
        (
            json!({"type": "string"}),
            json!(null),
            "spec: Invalid value: \"null\": spec in body must be of type string: \"null\"",
        ),
    ];
    for (schema, value, expect) in cases {
        assert_eq!(messages(&with_spec(&schema), &json!({"spec": value}), None), [expect]);
    }
}

#[test]
fn good_values_pass() {
    for (schema, value) in [
        (json!({"x-kubernetes-int-or-string": true}), json!(1)),
        (json!({"x-kubernetes-int-or-string": true}), json!("a")),
        (json!({"type": "number"}), json!(1)),
        (json!({"type": "string", "nullable": true}), json!(null)),
        (json!({"type": "string", "format": "unheard-of"}), json!("x")),
        (json!({"type": "object", "additionalProperties": {"type": "string"}}), json!({"a": "b"})),
    ] {
        assert_eq!(
            messages(&with_spec(&schema), &json!({"spec": value}), None),
            Vec::<String>::new()
        );
    }
}

#[test]
fn what_did_not_change_is_not_complained_about() {
    let schema = with_spec(
        &json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}),
    );
    let old = json!({"spec": {"a": "bad", "b": 1}});
    let new = json!({"spec": {"a": "bad", "b": "worse"}});
    assert_eq!(messages(&schema, &new, Some(&old)).len(), 1);
    assert_eq!(messages(&schema, &old, Some(&old)).len(), 0);
}

#[test]
fn unknown_fields_are_pruned_and_named() {
    let raw = with_spec(&json!({"type": "object", "properties": {
        "known": {"type": "string"},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "shut": {"type": "object", "properties": {}}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer"}}}},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}}}}));
    let mut object = json!({"apiVersion": "a/v1", "kind": "A", "metadata": {"name": "x", "bad": 1}, "extra": 1,
        "spec": {"known": "a", "unknown": 1, "open": {"any": 1, "shut": {"gone": 1}}, "list": [{"x": 1, "y": 2}],
            "template": {"apiVersion": "v1", "kind": "B", "metadata": {"name": "b"}, "spec": 1}, "labels": {"l": "v"}}});
    let unknown = prune(&parse(&raw), &mut object);
    assert_eq!(
        unknown,
        [
            "extra",
            "metadata.bad",
            "spec.list[0].y",
            "spec.open.shut.gone",
            "spec.template.spec",
            "spec.unknown"
        ]
    );
    assert_eq!(object["spec"]["open"], json!({"any": 1, "shut": {}}));
    assert_eq!(object["spec"]["labels"], json!({"l": "v"}));
    assert_eq!(object["metadata"], json!({"name": "x"}));
}

#[test]
fn defaults_fill_what_is_missing() {
    let raw = with_spec(&json!({"type": "object", "default": {}, "properties": {
        "a": {"type": "string", "default": "A"},
        "n": {"type": "string", "nullable": true, "default": "N"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer", "default": 7}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"y": {"default": 1}}}}}}));
    let schema = parse(&raw);
    for (mut given, expect) in [
        (json!({}), json!({"spec": {"a": "A", "n": "N"}})),
        (json!({"spec": {"a": null, "n": null}}), json!({"spec": {"a": "A", "n": null}})),
        (
            json!({"spec": {"a": "x", "n": "y", "list": [{}], "map": {"k": {}}}}),
            json!({"spec": {"a": "x", "n": "y", "list": [{"x": 7}], "map": {"k": {"y": 1}}}}),
        ),
    ] {
        drop_nulls(&schema, &mut given);
        set_defaults(&schema, &mut given);
        assert_eq!(given, expect);
    }
}

#[test]
fn formats_are_those_of_upstream() {
    for (format, good, bad) in [
        ("date", "2024-01-31", "2024-1-31"),
        ("duration", "1h30m", "1 parsec"),
        ("ipv4", "10.0.0.1", "::1"),
        ("ipv6", "::1", "10.0.0.1"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("byte", "aGk=", "*"),
        ("uuid", "b2a3c6ae-3f8f-4d3e-9a3b-1c2d3e4f5a6b", "b2a3"),
        ("mac", "00:11:22:33:44:55", "00:11"),
        ("uri", "http://a/b", "a b"),
        ("email", "a@b.c", "a"),
        ("hostname", "a.b", "-a"),
    ] {
        assert!(!format_problem(format, good), "{format} {good}");
        assert!(format_problem(format, bad), "{format} {bad}");
    }
}
