//! YAML as kubectl prints it: keys sorted, sequences not indented.

use serde_json::{Map, Value};

/// The object as a YAML document.
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    serde_yaml_ng::to_string(&sorted(value)).expect("JSON values have no keys that YAML lacks")
}

/// The same value with keys in order, whatever order the map type keeps.
#[must_use]
pub fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            Value::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| (key.clone(), sorted(value)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        scalar => scalar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn looks_like_kubectls() {
        let value = json!({"b": [{"y": 1, "x": "true"}, "z"], "a": {"k": "1"}, "c": [], "d": {}, "e": "line\nline\n"});
        let text =
            "a:\n  k: '1'\nb:\n- x: 'true'\n  y: 1\n- z\nc: []\nd: {}\ne: |\n  line\n  line\n";
        assert_eq!(to_yaml(&value), text);
    }
}
