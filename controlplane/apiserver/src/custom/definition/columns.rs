//! `additionalPrinterColumns`.

use api::rules::problems::Problems;
use serde_json::Value;

use super::text;

const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

pub(super) fn validate(columns: &Value, path: &str, problems: &mut Problems) {
    for (index, column) in columns.as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}[{index}]");
        if text(column, "name").is_empty() {
            problems.required(&format!("{path}.name"), "");
        }
        let kind = text(column, "type");
        if kind.is_empty() {
            let detail = format!("must be one of {}", TYPES.join(","));
            problems.required(&format!("{path}.type"), &detail);
        } else if !TYPES.contains(&kind) {
            problems.invalid_text(
                &format!("{path}.type"),
                kind,
                &format!("must be one of {}", TYPES.join(",")),
            );
        }
        let format = text(column, "format");
        if !format.is_empty() && !FORMATS.contains(&format) {
            let detail = format!("must be one of {}", FORMATS.join(","));
            problems.invalid_text(&format!("{path}.format"), format, &detail);
        }
        let json_path = text(column, "jsonPath");
        if json_path.is_empty() {
            problems.required(&format!("{path}.jsonPath"), "");
        } else if !json_path.starts_with(['.', '[', '{', '$']) {
            problems.invalid_text(
                &format!("{path}.jsonPath"),
                json_path,
                "is not a valid JSON path",
            );
        }
    }
}
