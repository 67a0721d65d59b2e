//! Selectors of devices (DeviceClasses, ResourceClaims and their templates): they must compile and may not cost too much.
//! Here and not among the kinds' own rules because these do not know expressions. Upstream:
//! `pkg/apis/resource/validation` and `dynamic-resource-allocation/cel`.

use std::sync::{Arc, LazyLock};

use api::{Kind, rules::problems::Problems};
use expressions::{Environment, Extent, ObjectType, Program, Type};
use serde_json::Value;

/// Longer ones are refused for their length alone.
const EXPRESSION_BYTES_MAX: usize = 10 * 1024;
/// What an evaluation may cost at most, in cel-go's units.
const COST_MAX: u64 = 1_000_000;
/// Attributes and capacities of a device.
const ENTRIES_MAX: u64 = 32;
const DOMAIN_MAX: u64 = 63;
const NAME_MAX: u64 = 32;
const DRIVER_MAX: u64 = 63;
const VALUE_MAX: u64 = 64;

/// Judges the selectors that a write brings. Claims and their templates cannot change theirs.
pub fn validate(kind: &Kind, new: &Value, old: Option<&Value>, problems: &mut Problems) {
    if kind.group != "resource.k8s.io" {
        return;
    }
    match (kind.kind.as_str(), old) {
        ("DeviceClass", old) => {
            let before = old.map(|old| &old["spec"]["selectors"]);
            if before != Some(&new["spec"]["selectors"]) {
                check_selectors(&new["spec"], "spec", problems);
            }
        }
        ("ResourceClaim", None) => check_claim(&new["spec"], "spec", problems),
        ("ResourceClaimTemplate", None) => {
            check_claim(&new["spec"]["spec"], "spec.spec", problems);
        }
        _ => {}
    }
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    value[field].as_array().into_iter().flatten().enumerate()
}

fn check_claim(spec: &Value, path: &str, problems: &mut Problems) {
    for (index, request) in items(&spec["devices"], "requests") {
        let path = format!("{path}.devices.requests[{index}]");
        check_selectors(&request["exactly"], &format!("{path}.exactly"), problems);
        for (index, one) in items(request, "firstAvailable") {
            check_selectors(one, &format!("{path}.firstAvailable[{index}]"), problems);
        }
    }
}

fn check_selectors(owner: &Value, path: &str, problems: &mut Problems) {
    for (index, selector) in items(owner, "selectors") {
        let source = selector["cel"]["expression"].as_str().unwrap_or_default();
        if !source.is_empty() && source.len() <= EXPRESSION_BYTES_MAX {
            let path = format!("{path}.selectors[{index}].cel.expression");
            check_expression(source, &path, problems);
        }
    }
}

fn check_expression(source: &str, path: &str, problems: &mut Problems) {
    let program = match Program::compile(source, &ENVIRONMENT) {
        Ok(program) => program,
        Err(error) => return problems.invalid_text(path, source, &error.to_string()),
    };
    match program.result_type() {
        Type::Bool | Type::Dyn => {}
        other => {
            let detail = format!("must evaluate to bool or the unknown type, not {other}");
            return problems.invalid_text(path, source, &detail);
        }
    }
    if program.cost_max(&ENVIRONMENT, &EXTENT) > COST_MAX {
        problems.forbidden(path, "too complex, exceeds cost limit");
    }
}

/// What selectors see: one variable, the device.
static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
    let by_domain = |value| Type::map(Type::String, Type::map(Type::String, value));
    let fields = [
        ("driver", Type::String),
        ("attributes", by_domain(Type::Dyn)),
        ("capacity", by_domain(Type::Opaque("kubernetes.Quantity"))),
        ("allowMultipleAllocations", Type::Bool),
    ];
    let fields = fields.map(|(name, of)| (name.to_owned(), of));
    let name = "kubernetes.DRADevice".to_owned();
    let device = ObjectType { name, fields: Some(fields.into()) };
    Environment::new().variable("device", Type::Object(Arc::new(device)))
});

/// How large a device is at most.
static EXTENT: LazyLock<Extent> = LazyLock::new(|| {
    let sized = |elements_max| Extent { elements_max, ..Extent::default() };
    let map = |key: u64, value: Extent| Extent {
        items: Some(Box::new(value)),
        keys: Some(Box::new(sized(key))),
        is_map: true,
        ..sized(ENTRIES_MAX)
    };
    // Whatever its name, an attribute is as large as any other; upstream does not know as much of capacities.
    let named =
        Extent { others: Some(Box::new(sized(VALUE_MAX))), ..map(NAME_MAX, sized(VALUE_MAX)) };
    let fields = [
        ("driver", sized(DRIVER_MAX)),
        ("attributes", map(DOMAIN_MAX, named)),
        ("capacity", map(DOMAIN_MAX, map(NAME_MAX, sized(0)))),
        ("allowMultipleAllocations", sized(1)),
    ];
    let fields = fields.map(|(name, extent)| (name.to_owned(), extent));
    Extent { fields: fields.into(), ..Extent::default() }
});

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(kind: &str, spec: &Value, old: Option<&Value>) -> String {
        let object = |spec: &Value| json!({"metadata": {"name": "a"}, "spec": spec});
        let kind = api::kinds().into_iter().find(|one| one.kind == kind).unwrap();
        let mut problems = Problems::default();
        validate(&kind, &object(spec), old.map(object).as_ref(), &mut problems);
        let causes = problems.into_causes().into_iter().map(|cause| cause.to_string());
        causes.collect::<Vec<_>>().join("; ")
    }

    fn selectors(sources: &[&str]) -> Value {
        let each = sources.iter().map(|source| json!({"cel": {"expression": source}}));
        json!({"selectors": each.collect::<Vec<_>>()})
    }

    #[test]
    fn selectors_cost_what_upstream_says() {
        for (source, cost) in [
            ("true", 0),
            (r#"device.attributes["no-such-domain"].noSuchAttr.isGreaterThan(quantity("0"))"#, 6),
            (r#"device.attributes["a"]["noSuchAttr"].isGreaterThan(quantity("0"))"#, 6),
            (r#""dra.example.com" in device.attributes"#, 3),
            (r#"device.driver == """#, 2),
            (r#"device.driver == "dra.example.com""#, 4),
            (r#"device.attributes["dra.example.com"].name"#, 4),
            (r#"cel.bind(dra, device.attributes["dra.example.com"], dra.name)"#, 15),
            (r#"device.attributes["dra.example.com"].name > 0"#, 5),
            (r#"device.attributes["dra.example.com"].name == "fish""#, 5),
            (r#"device.attributes["a"].name.isGreaterThan(semver("0.0.1"))"#, 6),
            (
                r#"device.attributes["a"].name.isGreaterThan(semver("v0.0.1", true)) && isSemver("v1.0.0", true)"#,
                7,
            ),
            (r#"device.capacity["dra.example.com"].name.isGreaterThan(quantity("1Ki"))"#, 6),
            (
                r#""name" in device.capacity["a"] && device.capacity["a"].name.isGreaterThan(quantity("1Ki"))"#,
                10,
            ),
            (
                r#"device.attributes["a"].a && device.attributes["a"].b && device.attributes["a"].c"#,
                12,
            ),
            (r#"device.attributes.exists_one(x, x == "dra.example.com")"#, 164),
            (r#"device.attributes["dra.example.com"].exists_one(x, x == "services")"#, 133),
            (r#"device.attributes["dra.example.com"].services.split("example").size() >= 2"#, 19),
            (r#"device.attributes["dra.example.com"].services.matches("[^a]?sym")"#, 18),
            (r#"device.capacity.exists_one(x, x == "dra.example.com")"#, 164),
            (r#"device.capacity["dra.example.com"].exists_one(x, x == "memory")"#, 133),
            ("device.allowMultipleAllocations == true", 3),
        ] {
            let program = Program::compile(source, &ENVIRONMENT).unwrap();
            assert_eq!(program.cost_max(&ENVIRONMENT, &EXTENT), cost, "{source}");
            assert_eq!(said("DeviceClass", &selectors(&[source]), None), "", "{source}");
        }
    }

    #[test]
    fn selectors_are_checked_in_upstreams_words() {
        let ten = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]";
        let deep = format!(
            "{ten}.all(x, {ten}.all(y, {ten}.all(z, {ten}.all(z2, {ten}.all(z3, {ten}.all(z4, {ten}.all(z5, \
             int('1'.find('[0-9]*')) < 100)))))))"
        );
        let path = "spec.selectors[0].cel.expression";
        for (source, expect) in [
            (
                "1",
                format!(
                    "{path}: Invalid value: \"1\": must evaluate to bool or the unknown type, not int"
                ),
            ),
            (
                "?!",
                format!(
                    "{path}: Invalid value: \"?!\": compilation failed: ERROR: <input>:1:1: Syntax error"
                ),
            ),
            ("device.size == 1", "undefined field 'size'".to_owned()),
            ("other", "undeclared reference to 'other'".to_owned()),
            (
                "device.attributes['a'].b.includes('c')",
                "undeclared reference to 'includes'".to_owned(),
            ),
            (&deep, format!("{path}: Forbidden: too complex, exceeds cost limit")),
        ] {
            let spec = selectors(&[source]);
            let found = said("DeviceClass", &spec, None);
            assert!(found.contains(&expect), "{source}: {found}");
            assert_eq!(
                said("DeviceClass", &spec, Some(&spec)),
                "",
                "what is there stays: {source}"
            );
            assert_ne!(said("DeviceClass", &spec, Some(&json!({}))), "", "{source}");
        }
        let long = format!("true{}", " ".repeat(EXPRESSION_BYTES_MAX));
        assert_eq!(said("DeviceClass", &selectors(&["", &long]), None), "", "told elsewhere");
    }

    #[test]
    fn requests_of_claims_are_all_checked() {
        let claim = json!({"devices": {"requests": [
            {"name": "a", "exactly": selectors(&["true", "1"])},
            {"name": "b", "firstAvailable": [selectors(&["true"]), selectors(&["2"])]},
        ]}});
        let expect = |root: &str| {
            let not = "must evaluate to bool or the unknown type, not int";
            format!(
                "{root}.devices.requests[0].exactly.selectors[1].cel.expression: Invalid value: \"1\": {not}; \
                 {root}.devices.requests[1].firstAvailable[1].selectors[0].cel.expression: Invalid value: \"2\": {not}"
            )
        };
        assert_eq!(said("ResourceClaim", &claim, None), expect("spec"));
        assert_eq!(said("ResourceClaim", &claim, Some(&claim)), "");
        let template = json!({"spec": claim});
        assert_eq!(said("ResourceClaimTemplate", &template, None), expect("spec.spec"));
    }
}
