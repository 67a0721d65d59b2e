//! Per-kind rules: defaults, validation, what a create or an update may change. One file per group below this
//! module; a row of the table of kinds finds its rules by schema name.

mod defaults;
mod ip;
pub mod names;
mod prepare;
pub mod problems;
mod validation;

use serde_json::Value;

use crate::{Kind, Reason, Status, schema, status::Cause};

pub(crate) use defaults::qos_class;
pub use prepare::{prepare_create, prepare_update};

/// Fills in defaults as upstream `pkg/apis/<group>/<version>/defaults.go`, after bringing the object into the form
/// that a trip through upstream's typed structs gives it.
pub fn set_defaults(kind: &Kind, object: &mut Value) {
    if kind.schema.is_empty() {
        return;
    }
    defaults::before_normalizing(kind, object);
    schema::normalize(&kind.schema, object);
    defaults::apply(kind, object);
}

/// All problems at once, with field paths, worded as upstream `validation.go`.
#[must_use]
pub fn validate(kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut problems = problems::Problems::default();
    validation::validate(kind, new, old, &mut problems);
    problems.into_causes()
}

/// All problems of a write of an object's status (or of the approval of a certificate, which is in its status).
/// The rest of the object is not judged again.
#[must_use]
pub fn validate_status(kind: &Kind, new: &Value, old: &Value) -> Vec<Cause> {
    let mut problems = problems::Problems::default();
    validation::validate_status(kind, new, old, &mut problems);
    problems.into_causes()
}

/// What a write of a pod's ephemeral containers may not do: take one away or change it.
#[must_use]
pub fn validate_ephemeral(new: &Value, old: &Value) -> Vec<Cause> {
    let mut problems = problems::Problems::default();
    validation::validate_ephemeral(new, old, &mut problems);
    problems.into_causes()
}

/// The 422 for a list of problems.
#[must_use]
pub fn invalid(kind: &Kind, name: &str, causes: Vec<Cause>) -> Status {
    let group_kind = if kind.group.is_empty() {
        kind.kind.clone()
    } else {
        format!("{}.{}", kind.kind, kind.group)
    };
    let mut texts: Vec<String> = Vec::new();
    for cause in &causes {
        let text = cause.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let message = match texts.as_slice() {
        [] => format!("{group_kind} {name:?} is invalid"),
        [one] => format!("{group_kind} {name:?} is invalid: {one}"),
        many => format!("{group_kind} {name:?} is invalid: [{}]", many.join(", ")),
    };
    let mut status = Status::new(Reason::Invalid, message);
    status.group = kind.group.clone();
    status.kind = kind.kind.clone();
    status.name = name.to_owned();
    status.causes = causes;
    status
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(crate) fn kind(name: &str) -> Kind {
        crate::kinds().into_iter().find(|kind| kind.kind == name).unwrap()
    }

    /// The object with defaults, as a create would store it.
    pub(crate) fn defaulted(name: &str, mut object: Value) -> Value {
        set_defaults(&kind(name), &mut object);
        object
    }

    /// What is wrong with an object or its change, in one line.
    pub(crate) fn problems(name: &str, object: &Value, old: Option<&Value>) -> String {
        let causes = validate(&kind(name), object, old);
        causes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    /// What is wrong with a new status, in one line.
    pub(crate) fn status_problems(name: &str, new: &Value, old: &Value) -> String {
        let causes = validate_status(&kind(name), new, old);
        causes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn invalid_lists_its_causes() {
        let cause = |field: &str| Cause {
            reason: "FieldValueRequired".into(),
            message: "Required value".into(),
            field: field.into(),
        };
        let status = invalid(&kind("Deployment"), "x", vec![cause("spec.a")]);
        assert_eq!(status.message, "Deployment.apps \"x\" is invalid: spec.a: Required value");
        let status = invalid(&kind("Pod"), "x", vec![cause("spec.a"), cause("spec.b")]);
        assert_eq!(
            status.message,
            "Pod \"x\" is invalid: [spec.a: Required value, spec.b: Required value]"
        );
        assert_eq!(status.to_json()["details"]["causes"].as_array().unwrap().len(), 2);
        assert_eq!(json!(status.reason.code()), 422);
    }
}
