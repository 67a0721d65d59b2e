//! Values against a schema, worded as kube-openapi's `validate` and upstream's `apiserver/validation` word it.

use serde_json::Value;

use super::{Additional, Schema, child, correlate, correlate::Old, formats, lists};
use crate::{rules::problems::Problems, status::Cause};

/// Messages of what is collected, and the path as OpenAPI names it.
struct Check<'p> {
    problems: &'p mut Problems,
}

/// All problems of an object. What did not change since `old` is not complained about (ratcheting, KEP-4008).
pub fn validate(schema: &Schema, object: &Value, old: Old<'_>, problems: &mut Problems) {
    Check { problems }.node(schema, object, old, "", true);
}

/// Whether a value satisfies a schema, for `anyOf` and its kin.
fn satisfies(schema: &Schema, value: &Value, path: &str) -> bool {
    let mut problems = Problems::default();
    Check { problems: &mut problems }.node(schema, value, None, path, false);
    problems.is_empty()
}

impl Check<'_> {
    fn node(&mut self, schema: &Schema, value: &Value, old: Old<'_>, path: &str, root: bool) {
        if old == Some(value) {
            return;
        }
        if value.is_null() && schema.nullable {
            return;
        }
        if !self.kind(schema, value, path) {
            return;
        }
        self.choices(schema, value, path);
        match value {
            Value::String(text) => self.text(schema, text, path),
            Value::Number(number) => self.number(schema, number, path),
            Value::Array(items) => self.list(schema, items, old, path),
            Value::Object(fields) => self.object(schema, fields, old, path, root),
            _ => {}
        }
        self.combinations(schema, value, path);
    }

    fn typed(&mut self, path: &str, shown: &str, message: String) {
        let message = format!("Invalid value: {}: {message}", Value::from(shown));
        self.cause("FieldValueTypeInvalid", path, message);
    }

    fn cause(&mut self, reason: &str, path: &str, message: String) {
        let field = if path.is_empty() { "<nil>".to_owned() } else { path.to_owned() };
        self.problems.push(Cause { reason: reason.to_owned(), message, field });
    }

    /// False when the value is of another type.
    fn kind(&mut self, schema: &Schema, value: &Value, path: &str) -> bool {
        let found = type_of(value);
        if schema.int_or_string {
            if matches!(found, "integer" | "string") {
                return true;
            }
            self.typed(
                path,
                found,
                format!("{path} in body must be of type integer,string: {found:?}"),
            );
            return false;
        }
        let fits = match schema.kind.as_str() {
            "" => true,
            "number" => matches!(found, "number" | "integer"),
            wanted => wanted == found,
        };
        if !fits {
            let wanted = &schema.kind;
            self.typed(path, found, format!("{path} in body must be of type {wanted}: {found:?}"));
        }
        fits
    }

    fn choices(&mut self, schema: &Schema, value: &Value, path: &str) {
        let choices = &schema.checks.choices;
        if choices.is_empty() || choices.contains(value) {
            return;
        }
        let plain =
            |choice: &Value| choice.as_str().map_or_else(|| choice.to_string(), str::to_owned);
        let quoted: Vec<String> =
            choices.iter().map(|choice| format!("{:?}", plain(choice))).collect();
        let message =
            format!("Unsupported value: {value}: supported values: {}", quoted.join(", "));
        self.cause("FieldValueNotSupported", path, message);
    }

    fn text(&mut self, schema: &Schema, text: &str, path: &str) {
        let checks = &schema.checks;
        let shown = Value::from(text);
        let length = text.chars().count() as u64;
        if let Some(most) = checks.max_length.filter(|most| length > *most) {
            self.cause(
                "FieldValueTooLong",
                path,
                format!("Too long: may not be more than {most} bytes"),
            );
        }
        if let Some(least) = checks.min_length.filter(|least| length < *least) {
            self.problems.invalid(
                path,
                &shown,
                &format!("{path} in body should be at least {least} chars long"),
            );
        }
        if let Some(pattern) = &checks.pattern
            && !pattern.is_match(text)
        {
            self.problems.invalid(
                path,
                &shown,
                &format!("{path} in body should match '{pattern}'"),
            );
        }
        if formats::format_problem(&checks.format, text) {
            let format = &checks.format;
            self.typed(path, text, format!("{path} in body must be of type {format}: {text:?}"));
        }
    }

    fn number(&mut self, schema: &Schema, number: &serde_json::Number, path: &str) {
        let checks = &schema.checks;
        let value = number.as_f64().unwrap_or(f64::NAN);
        let shown = Value::Number(number.clone());
        let mut bad = |relation: &str, bound: f64| {
            self.problems.invalid(
                path,
                &shown,
                &format!("{path} in body should be {relation} {}", written(bound)),
            );
        };
        match checks.minimum {
            Some(bound) if checks.exclusive_minimum && value <= bound => bad("greater than", bound),
            Some(bound) if value < bound => bad("greater than or equal to", bound),
            _ => {}
        }
        match checks.maximum {
            Some(bound) if checks.exclusive_maximum && value >= bound => bad("less than", bound),
            Some(bound) if value > bound => bad("less than or equal to", bound),
            _ => {}
        }
        if let Some(step) =
            checks.multiple_of.filter(|step| *step != 0.0 && (value / step).fract() != 0.0)
        {
            bad("a multiple of", step);
        }
        let format = checks.format.as_str();
        let whole = number.as_i64();
        let misfit = (format == "int32"
            && whole.is_some_and(|whole| i32::try_from(whole).is_err()))
            || (format == "int64" && number.is_u64() && whole.is_none());
        if misfit {
            let kind = if schema.kind.is_empty() { "integer" } else { &schema.kind };
            let message = format!("{path} in body must be of type {format}: \"{number}\"");
            let message = format!("Invalid value: \"{kind}\": {message}");
            self.cause("FieldValueTypeInvalid", path, message);
        }
    }

    fn list(&mut self, schema: &Schema, items: &[Value], old: Old<'_>, path: &str) {
        let count = items.len() as u64;
        if let Some(most) = schema.checks.max_items.filter(|most| count > *most) {
            let message = format!("Too many: {count}: must have at most {most} items");
            self.cause("FieldValueTooMany", path, message);
        }
        if let Some(least) = schema.checks.min_items.filter(|least| count < *least) {
            let message = format!("{path} in body should have at least {least} items");
            self.problems.invalid(path, &Value::from(count), &message);
        }
        lists::check(schema, items, path, self.problems);
        let Some(of) = &schema.items else { return };
        for (index, item) in items.iter().enumerate() {
            let before = correlate::item(schema, old, item);
            self.node(of, item, before, &format!("{path}[{index}]"), false);
        }
    }

    fn object(
        &mut self,
        schema: &Schema,
        fields: &serde_json::Map<String, Value>,
        old: Old<'_>,
        path: &str,
        root: bool,
    ) {
        let checks = &schema.checks;
        let count = fields.len() as u64;
        if let Some(most) = checks.max_properties.filter(|most| count > *most) {
            let message = format!("Too many: {count}: must have at most {most} items");
            self.cause("FieldValueTooMany", path, message);
        }
        if let Some(least) = checks.min_properties.filter(|least| count < *least) {
            let message = format!("{path} in body should have at least {least} properties");
            self.problems.invalid(path, &Value::from(count), &message);
        }
        for name in &checks.required {
            if !fields.contains_key(name) {
                self.problems.required(&child(path, name), "");
            }
        }
        for (name, value) in fields {
            let identity = root && matches!(name.as_str(), "apiVersion" | "kind" | "metadata");
            let of = match (schema.properties.get(name), &schema.additional) {
                (Some(of), _) => of,
                (None, Additional::Of(of)) if !identity => of,
                _ => continue,
            };
            self.node(of, value, correlate::field(old, name), &child(path, name), false);
        }
    }

    fn combinations(&mut self, schema: &Schema, value: &Value, path: &str) {
        let checks = &schema.checks;
        let bad =
            |schemas: &[Schema]| schemas.iter().filter(|one| satisfies(one, value, path)).count();
        let mut found = Vec::new();
        if !checks.any_of.is_empty() && bad(&checks.any_of) == 0 {
            found.push(format!("{path:?} must validate at least one schema (anyOf)"));
        }
        if !checks.one_of.is_empty() {
            match bad(&checks.one_of) {
                1 => {}
                0 => found.push(format!("{path:?} must validate one and only one schema (oneOf). Found none valid")),
                count => found.push(format!(
                    "{path:?} must validate one and only one schema (oneOf). Found {count} valid alternatives"
                )),
            }
        }
        for one in &checks.all_of {
            self.node(one, value, None, path, false);
        }
        if let Some(not) = &checks.not
            && satisfies(not, value, path)
        {
            found.push(format!("{path:?} must not validate the schema (not)"));
        }
        for message in found {
            self.cause("FieldValueInvalid", "", format!("Invalid value: \"\": {message}"));
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number)
            if number.is_f64() && number.as_f64().is_some_and(|value| value.fract() != 0.0) =>
        {
            "number"
        }
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A bound as Go writes a float.
fn written(bound: f64) -> String {
    if bound.abs() >= 1e21 { format!("{bound:e}") } else { format!("{bound}") }
}
