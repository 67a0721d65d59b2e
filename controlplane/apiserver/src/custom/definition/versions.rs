//! `spec.versions`: names, storage, and what each version brings.

use api::rules::{names, problems::Problems};
use serde_json::Value;

use super::{columns, schema, text};

/// Upstream `MaxSelectableFields`.
const SELECTABLE_FIELDS_MAX: usize = 8;

pub(super) fn validate(spec: &Value, old: Option<&Value>, problems: &mut Problems) {
    let versions = spec["versions"].as_array().map_or(&[][..], Vec::as_slice);
    let mut seen = std::collections::BTreeSet::new();
    let unique = versions.iter().all(|version| seen.insert(text(version, "name")));
    if !unique {
        problems.invalid("spec.versions", &spec["versions"], "must contain unique version names");
    }
    let storing = versions.iter().filter(|version| version["storage"] == true).count();
    if storing != 1 {
        let detail = "must have exactly one version marked as storage version";
        problems.invalid("spec.versions", &spec["versions"], detail);
    }
    for (index, version) in versions.iter().enumerate() {
        let accepted = old.is_some_and(|old| has_schema(old, version));
        one(version, &format!("spec.versions[{index}]"), accepted, problems);
    }
}

/// Whether a definition's version of that name has the same schema.
fn has_schema(spec: &Value, version: &Value) -> bool {
    let versions = spec["versions"].as_array().map_or(&[][..], Vec::as_slice);
    let same = versions.iter().find(|one| one["name"] == version["name"]);
    same.is_some_and(|same| same["schema"] == version["schema"])
}

fn one(version: &Value, path: &str, accepted: bool, problems: &mut Problems) {
    let name = text(version, "name");
    problems.check_text(&format!("{path}.name"), name, names::dns1035_label(name));
    let at = format!("{path}.schema.openAPIV3Schema");
    let raw = &version["schema"]["openAPIV3Schema"];
    if raw.is_object() {
        schema::validate(raw, &at, accepted, problems);
    } else {
        problems.required(&at, "schemas are required");
    }
    columns::validate(
        &version["additionalPrinterColumns"],
        &format!("{path}.additionalPrinterColumns"),
        problems,
    );
    scale(&version["subresources"]["scale"], &format!("{path}.subresources.scale"), problems);
    selectable(&version["selectableFields"], raw, &format!("{path}.selectableFields"), problems);
}

fn scale(scale: &Value, path: &str, problems: &mut Problems) {
    if scale.is_null() {
        return;
    }
    for (field, roots, required) in [
        ("specReplicasPath", &[".spec"][..], true),
        ("statusReplicasPath", &[".status"][..], true),
        ("labelSelectorPath", &[".status", ".spec"][..], false),
    ] {
        let path = format!("{path}.{field}");
        let given = text(scale, field);
        if given.is_empty() {
            if required {
                problems.required(&path, "");
            }
        } else if given.contains('[') || !given.starts_with('.') {
            problems.invalid_text(
                &path,
                given,
                "must be a simple json path, without array notation",
            );
        } else if !roots.iter().any(|root| given.starts_with(&format!("{root}."))) {
            let roots = roots.join(" or ");
            problems.invalid_text(&path, given, &format!("should be a json path under {roots}"));
        }
    }
}

fn selectable(fields: &Value, raw: &Value, path: &str, problems: &mut Problems) {
    let fields = fields.as_array().map_or(&[][..], Vec::as_slice);
    if fields.len() > SELECTABLE_FIELDS_MAX {
        let cause = api::status::Cause {
            reason: "FieldValueTooMany".into(),
            message: format!(
                "Too many: {}: must have at most {SELECTABLE_FIELDS_MAX} items",
                fields.len()
            ),
            field: path.to_owned(),
        };
        problems.push(cause);
    }
    let mut seen = std::collections::BTreeSet::new();
    for (index, field) in fields.iter().enumerate() {
        let path = format!("{path}[{index}].jsonPath");
        let given = text(field, "jsonPath");
        if given.is_empty() {
            problems.required(&path, "");
        } else if !given.starts_with('.') || given.contains('[') {
            problems.invalid_text(
                &path,
                given,
                "is an invalid path: must be a simple path of field names",
            );
        } else if given == ".metadata" || given.starts_with(".metadata.") {
            problems.invalid_text(&path, given, "must not point to fields in metadata");
        } else {
            check_target(given, raw, &path, problems);
        }
        if !seen.insert(given) {
            problems.duplicate(&path, &Value::from(given));
        }
    }
}

fn check_target(given: &str, raw: &Value, path: &str, problems: &mut Problems) {
    let mut at = raw;
    for name in given.trim_start_matches('.').split('.') {
        match at["properties"].get(name) {
            Some(next) => at = next,
            None => {
                let detail = format!(
                    "is an invalid path: does not refer to a valid field, field {name} not found"
                );
                problems.invalid_text(path, given, &detail);
                return;
            }
        }
    }
    if !matches!(at["type"].as_str(), Some("string" | "boolean" | "integer")) {
        let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                      formats are allowed.";
        problems.invalid_text(path, given, detail);
    }
}
