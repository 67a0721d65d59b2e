//! Collects validation problems, worded as upstream `apimachinery/pkg/util/validation/field`.

use serde_json::Value;

use crate::status::Cause;

/// Problems found so far, in order.
#[derive(Debug, Default)]
pub struct Problems {
    causes: Vec<Cause>,
}

impl Problems {
    fn add(&mut self, reason: &str, path: &str, message: String) {
        self.causes.push(Cause { reason: reason.to_owned(), message, field: path.to_owned() });
    }

    /// A problem worded elsewhere.
    pub fn push(&mut self, cause: Cause) {
        self.causes.push(cause);
    }

    pub fn required(&mut self, path: &str, detail: &str) {
        self.add("FieldValueRequired", path, with_detail("Required value", detail));
    }

    pub fn invalid(&mut self, path: &str, value: &Value, detail: &str) {
        self.add(
            "FieldValueInvalid",
            path,
            with_detail(&format!("Invalid value: {value}"), detail),
        );
    }

    /// Upstream leaves the value out of some of its words.
    pub fn invalid_unshown(&mut self, path: &str, detail: &str) {
        self.add("FieldValueInvalid", path, with_detail("Invalid value", detail));
    }

    pub fn invalid_text(&mut self, path: &str, value: &str, detail: &str) {
        self.invalid(path, &Value::String(value.to_owned()), detail);
    }

    pub fn not_supported(&mut self, path: &str, value: &Value, supported: &[&str]) {
        let mut quoted: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
        quoted.sort();
        let text = format!("Unsupported value: {value}: supported values: {}", quoted.join(", "));
        self.add("FieldValueNotSupported", path, text);
    }

    pub fn duplicate(&mut self, path: &str, value: &Value) {
        self.add("FieldValueDuplicate", path, format!("Duplicate value: {value}"));
    }

    pub fn forbidden(&mut self, path: &str, detail: &str) {
        self.add("FieldValueForbidden", path, with_detail("Forbidden", detail));
    }

    pub fn not_found(&mut self, path: &str, value: &Value) {
        self.add("FieldValueNotFound", path, format!("Not found: {value}"));
    }

    pub fn too_long(&mut self, path: &str, bytes_max: usize) {
        let text = format!("Too long: may not be more than {bytes_max} bytes");
        self.add("FieldValueTooLong", path, text);
    }

    pub fn too_many(&mut self, path: &str, found: usize, max: usize) {
        let noun = if max == 1 { "item" } else { "items" };
        let text = format!("Too many: {found}: must have at most {max} {noun}");
        self.add("FieldValueTooMany", path, text);
    }

    /// Invalid when a syntax check found something.
    pub fn check_text(&mut self, path: &str, value: &str, problem: Option<String>) {
        if let Some(problem) = problem {
            self.invalid_text(path, value, &problem);
        }
    }

    /// Not supported unless absent or one of `supported`.
    pub fn check_choice(&mut self, path: &str, value: &Value, supported: &[&str]) {
        if !value.is_null() && !value.as_str().is_some_and(|text| supported.contains(&text)) {
            self.not_supported(path, value, supported);
        }
    }

    /// Upstream's immutability check.
    pub fn check_immutable(&mut self, path: &str, new: &Value, old: &Value) {
        if new != old {
            self.invalid(path, new, "field is immutable");
        }
    }

    /// A number that may not be below zero.
    pub fn check_not_negative(&mut self, path: &str, value: &Value) {
        if value.as_i64().is_some_and(|number| number < 0) {
            self.invalid(path, value, "must be greater than or equal to 0");
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.causes.is_empty()
    }

    #[must_use]
    pub fn into_causes(self) -> Vec<Cause> {
        self.causes
    }
}

fn with_detail(text: &str, detail: &str) -> String {
    if detail.is_empty() { text.to_owned() } else { format!("{text}: {detail}") }
}
