//! Kinds without words of their own: every field, keys as titles.

use serde_json::Value;

use super::text::Text;
use crate::json::{scalar, text_at};

/// Describes any object.
pub(super) fn describe(text: &mut Text, object: &Value) {
    text.field("Name", text_at(object, "/metadata/name"));
    text.field("Namespace", text_at(object, "/metadata/namespace"));
    text.map("Labels", object, "/metadata/labels", "=");
    text.map("Annotations", object, "/metadata/annotations", ": ");
    for key in ["apiVersion", "kind"] {
        text.field(&title(key), text_at(object, &format!("/{key}")));
    }
    text.line("Metadata:");
    text.nested(|text| {
        const SHOWN: [&str; 4] = ["name", "namespace", "labels", "annotations"];
        for (key, value) in sorted(&object["metadata"]) {
            if !SHOWN.contains(&key) && key != "managedFields" {
                tree(text, key, value);
            }
        }
    });
    for (key, value) in sorted(object) {
        if !matches!(key, "apiVersion" | "kind" | "metadata") {
            tree(text, key, value);
        }
    }
}

fn sorted(value: &Value) -> Vec<(&str, &Value)> {
    crate::json::entries_at(value, "")
}

fn tree(text: &mut Text, key: &str, value: &Value) {
    match value {
        Value::Object(map) if map.is_empty() => text.line(&format!("{}:", title(key))),
        Value::Object(_) => {
            text.line(&format!("{}:", title(key)));
            text.nested(|text| {
                sorted(value).into_iter().for_each(|(key, value)| tree(text, key, value))
            });
        }
        Value::Array(items) => {
            text.line(&format!("{}:", title(key)));
            text.nested(|text| {
                for item in items {
                    match item {
                        Value::Object(_) => {
                            sorted(item)
                                .into_iter()
                                .for_each(|(key, value)| tree(text, key, value));
                        }
                        other => text.line(&scalar(other)),
                    }
                }
            });
        }
        other => text.field(&title(key), scalar(other)),
    }
}

/// Words that are written in capitals.
const ACRONYMS: [&str; 5] = ["API", "URL", "UID", "OSB", "GUID"];

/// `creationTimestamp` as `Creation Timestamp`; keys that are no field names stay as they are.
fn title(key: &str) -> String {
    if !key.chars().all(|c| c.is_ascii_alphanumeric()) {
        return key.to_owned();
    }
    let titled = words(key).into_iter().map(|word| {
        let upper = word.to_uppercase();
        if ACRONYMS.contains(&upper.as_str()) {
            return upper;
        }
        upper.chars().take(1).chain(word.chars().skip(1)).collect()
    });
    titled.collect::<Vec<String>>().join(" ")
}

/// Splits camel case; the last capital of a run begins the next word.
fn words(key: &str) -> Vec<&str> {
    let bytes = key.as_bytes();
    let mut words = Vec::new();
    let mut start = 0;
    for position in 1..bytes.len() {
        let upper = bytes[position].is_ascii_uppercase();
        let after_lower = !bytes[position - 1].is_ascii_uppercase();
        let before_lower = bytes.get(position + 1).is_some_and(u8::is_ascii_lowercase);
        if upper && (after_lower || before_lower) {
            words.push(&key[start..position]);
            start = position;
        }
    }
    words.push(&key[start..]);
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_become_titles() {
        for (key, expected) in [
            ("creationTimestamp", "Creation Timestamp"),
            ("uid", "UID"),
            ("apiVersion", "API Version"),
            ("clusterIP", "Cluster IP"),
            ("podCIDRs", "Pod CID Rs"),
            ("app.kubernetes.io/name", "app.kubernetes.io/name"),
        ] {
            assert_eq!(title(key), expected);
        }
    }

    #[test]
    fn every_field_is_shown() {
        let object = json!({
            "apiVersion": "x/v1", "kind": "Thing", "metadata": {"name": "a", "generation": 1, "managedFields": []},
            "spec": {"list": [{"b": 1, "a": "x"}, "plain"], "empty": {}},
        });
        let mut text = Text::default();
        describe(&mut text, &object);
        let expected = "\
Name:         a
Namespace:    \n\
Labels:       <none>
Annotations:  <none>
API Version:  x/v1
Kind:         Thing
Metadata:
  Generation:  1
Spec:
  Empty:
  List:
    A:  x
    B:  1
    plain
";
        assert_eq!(text.finish(), expected);
    }
}
