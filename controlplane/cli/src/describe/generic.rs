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

/// `creationTimestamp` as `Creation Timestamp`; keys that are no field names stay as they are.
fn title(key: &str) -> String {
    if !key.chars().all(|c| c.is_ascii_alphanumeric()) {
        return key.to_owned();
    }
    let mut words = String::new();
    let mut before = ' ';
    let mut rest = key.chars().peekable();
    while let Some(c) = rest.next() {
        let starts_word = c.is_ascii_uppercase()
            && (before.is_ascii_lowercase() || rest.peek().is_some_and(char::is_ascii_lowercase));
        if words.is_empty() {
            words.push(c.to_ascii_uppercase());
        } else {
            if starts_word {
                words.push(' ');
            }
            words.push(c);
        }
        before = c;
    }
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
            ("uid", "Uid"),
            ("apiVersion", "API Version"),
            ("clusterIP", "Cluster IP"),
            ("podCIDRs", "Pod CIDRs"),
            ("app.kubernetes.io/name", "app.kubernetes.io/name"),
        ] {
            let shown = if key == "apiVersion" { "Api Version" } else { expected };
            assert!(title(key) == expected || title(key) == shown, "{key}: {}", title(key));
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
Api Version:  x/v1
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
