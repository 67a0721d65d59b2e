//! What messages and fields mean, for OpenAPI and `kubectl explain`. `schema/docs.txt` is written by the crate
//! `schemagen` and read when first asked for.

use std::{collections::HashMap, sync::LazyLock};

type Descriptions = HashMap<(String, &'static str), &'static str>;

/// By full message name and field; the message's own text has the field "".
static DESCRIPTIONS: LazyLock<Descriptions> =
    LazyLock::new(|| parse(include_str!("../../schema/docs.txt")));

fn parse(text: &'static str) -> Descriptions {
    let mut all = HashMap::new();
    let (mut prefix, mut message) = ("", String::new());
    for line in text.lines() {
        if let Some(package) = line.strip_prefix("P io.k8s.") {
            prefix = package;
        } else if let Some(field) = line.strip_prefix(' ') {
            let (name, text) = field.split_once(' ').unwrap_or((field, ""));
            all.insert((message.clone(), name), text);
        } else {
            let (name, text) = line.split_once(' ').unwrap_or((line, ""));
            message = format!("io.k8s.{prefix}.{name}");
            all.insert((message.clone(), ""), text);
        }
    }
    all
}

/// The text of a message (`field` empty) or of one of its fields; `None` where there is none.
#[must_use]
pub fn describe(message: &str, field: &'static str) -> Option<String> {
    let text = DESCRIPTIONS.get(&(message.to_owned(), field))?;
    (!text.is_empty()).then(|| text.replace("\\n", "\n").replace("\\\\", "\\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_fields_have_texts() {
        let pod = "io.k8s.api.core.v1.Pod";
        assert!(describe(pod, "").is_some_and(|text| text.starts_with("Pod is a collection")));
        assert!(describe("io.k8s.api.core.v1.Container", "image").is_some());
        assert_eq!(describe(pod, "nonsense"), None);
        let served: Vec<_> = crate::kinds()
            .into_iter()
            .filter(|kind| describe(&kind.schema, "").is_none())
            .map(|kind| kind.schema)
            .collect();
        assert_eq!(served, [""; 0], "kinds without a description");
    }
}
