//! From what a user names (a pod, a deployment, a service) to a pod and a container.

use anyhow::{Result, bail};
use serde_json::Value;

use crate::{
    discovery::{Kind, Kinds},
    expose::selector_text,
    json::{is_true_at, items_at, name, text_at},
    session::{Session, with_query},
};

/// The kind of pods; needs no discovery.
#[must_use]
pub fn kind() -> Kind {
    Kind::built_in("", "v1", "Pod", "pods", true)
}

/// The pod that `NAME`, `TYPE/NAME` means: of several, one that runs and is ready.
///
/// # Errors
/// What the server answers, or when there is no pod.
pub async fn find(session: &Session, word: &str) -> Result<Value> {
    let mut pods = find_all(session, word).await?;
    if pods.is_empty() {
        bail!("no pods found for {word}");
    }
    pods.sort_by_key(|pod| (!is_ready(pod), name(pod).to_owned()));
    Ok(pods.remove(0))
}

/// Every pod that `NAME`, `TYPE/NAME` means.
///
/// # Errors
/// What the server answers, or when the object has no selector.
pub async fn find_all(session: &Session, word: &str) -> Result<Vec<Value>> {
    let (kind_word, name) = word.split_once('/').unwrap_or(("pod", word));
    if matches!(kind_word, "pod" | "pods" | "po") {
        return Ok(vec![session.get(&kind().object(&session.namespace, name)).await?]);
    }
    let kinds = Kinds::discover(session).await?;
    let owner = kinds.find(kind_word)?;
    let object = session.get(&owner.object(&session.namespace, name)).await?;
    let Some(selector) = selector_of(&object) else {
        bail!("{kind_word}/{name} selects no pods: a {} has no selector", owner.kind);
    };
    with_labels(session, &selector).await
}

/// The pods of a label selector, in the session's namespace.
///
/// # Errors
/// What the server answers.
pub async fn with_labels(session: &Session, selector: &str) -> Result<Vec<Value>> {
    let path = kind().collection(Some(&session.namespace));
    let list = session.list(&with_query(&path, &[("labelSelector", selector)])).await?;
    Ok(items_at(&list, "/items").cloned().collect())
}

/// The selector of an owner, as a query.
#[must_use]
pub fn selector_of(object: &Value) -> Option<String> {
    let pointer = match text_at(object, "/kind") {
        "Service" | "ReplicationController" => "/spec/selector",
        _ => "/spec/selector/matchLabels",
    };
    let mut parts = vec![selector_text(object, pointer)];
    for rule in items_at(object, "/spec/selector/matchExpressions") {
        let values: Vec<_> = items_at(rule, "/values").filter_map(Value::as_str).collect();
        let (key, values) = (text_at(rule, "/key"), values.join(","));
        parts.push(match text_at(rule, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    parts.retain(|part| !part.is_empty());
    (!parts.is_empty()).then(|| parts.join(","))
}

fn is_ready(pod: &Value) -> bool {
    items_at(pod, "/status/conditions").any(|condition| {
        text_at(condition, "/type") == "Ready" && text_at(condition, "/status") == "True"
    })
}

/// The container to talk to: the one asked for, the pod's default, or its first.
///
/// # Errors
/// When the pod has none of that name.
pub fn container(pod: &Value, asked: Option<&str>) -> Result<String> {
    let all = containers(pod);
    if let Some(asked) = asked {
        if all.iter().any(|name| name == asked) {
            return Ok(asked.to_owned());
        }
        bail!("container {asked} not found in pod {}", name(pod));
    }
    let annotation = text_at(pod, "/metadata/annotations/kubectl.kubernetes.io~1default-container");
    if all.iter().any(|name| name == annotation) {
        return Ok(annotation.to_owned());
    }
    let Some(first) = items_at(pod, "/spec/containers").next() else {
        bail!("pod {} has no containers", name(pod));
    };
    let first = text_at(first, "/name").to_owned();
    if all.len() > 1 {
        let mut listed = all;
        for (index, init) in items_at(pod, "/spec/initContainers").enumerate() {
            let position = items_at(pod, "/spec/containers").count() + index;
            listed[position] = format!("{} (init)", text_at(init, "/name"));
        }
        eprintln!("Defaulted container \"{first}\" out of: {}", listed.join(", "));
    }
    Ok(first)
}

/// The names of all containers: ordinary, init, ephemeral.
#[must_use]
pub fn containers(pod: &Value) -> Vec<String> {
    ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"]
        .iter()
        .flat_map(|list| items_at(pod, list))
        .map(|container| text_at(container, "/name").to_owned())
        .collect()
}

/// Whether the container was given a terminal or an input.
#[must_use]
pub fn has(pod: &Value, container: &str, what: &str) -> bool {
    let mut all =
        items_at(pod, "/spec/containers").chain(items_at(pod, "/spec/ephemeralContainers"));
    all.any(|c| text_at(c, "/name") == container && is_true_at(c, &format!("/{what}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_default_container_is_named_or_first() {
        let pod = |annotation: &str| {
            json!({
                "metadata": {"name": "p", "annotations": {"kubectl.kubernetes.io/default-container": annotation}},
                "spec": {"containers": [{"name": "a"}, {"name": "b", "tty": true}], "initContainers": [{"name": "i"}]},
            })
        };
        assert_eq!(container(&pod(""), None).unwrap(), "a");
        assert_eq!(container(&pod("b"), None).unwrap(), "b");
        assert_eq!(container(&pod("b"), Some("i")).unwrap(), "i");
        let error = container(&pod(""), Some("x")).unwrap_err().to_string();
        assert_eq!(error, "container x not found in pod p");
        assert!(has(&pod(""), "b", "tty") && !has(&pod(""), "a", "tty"));
    }

    #[test]
    fn selectors_become_queries() {
        let expression =
            |operator: &str| json!({"key": "k", "operator": operator, "values": ["x", "y"]});
        let object = json!({"kind": "Deployment", "spec": {"selector": {
            "matchLabels": {"a": "b"}, "matchExpressions": [expression("In"), expression("DoesNotExist")],
        }}});
        assert_eq!(selector_of(&object).unwrap(), "a=b,k in (x,y),!k");
        assert_eq!(
            selector_of(&json!({"kind": "Service", "spec": {"selector": {"a": "b"}}})).unwrap(),
            "a=b"
        );
        assert_eq!(selector_of(&json!({"kind": "Node"})), None);
    }
}
