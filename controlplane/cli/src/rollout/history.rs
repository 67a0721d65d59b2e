//! Earlier versions: replica sets of a deployment, controller revisions of the others.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::{
    describe,
    discovery::Kind,
    json::{items_at, number_at, text_at},
    output::tabwriter,
    pods,
    send::{self, Writing},
    session::{JSON_PATCH, STRATEGIC, Session, with_query},
};

const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";
const CAUSE: &str = "/metadata/annotations/kubernetes.io~1change-cause";

/// One earlier version.
#[derive(Debug, Clone, PartialEq)]
struct Version {
    revision: i64,
    cause: String,
    /// A replica set's template, or the patch that a controller revision holds.
    content: Value,
}

/// Prints all versions, or one of them in detail.
///
/// # Errors
/// What the server answers, or when there is no such revision.
pub(super) async fn print(session: &Session, kind: &Kind, name: &str, revision: i64) -> Result<()> {
    let object = session.get(&kind.object(&session.namespace, name)).await?;
    let versions = versions(session, kind, &object).await?;
    let shown = kind.qualified();
    if revision == 0 {
        println!("{shown}/{name} ");
        print!("{}", table(&versions));
        println!();
        return Ok(());
    }
    let Some(version) = versions.iter().find(|version| version.revision == revision) else {
        bail!("unable to find the specified revision");
    };
    println!("{shown}/{name} with revision #{revision}");
    let template = match kind.kind.as_str() {
        "Deployment" => &version.content,
        _ => &version.content["spec"]["template"],
    };
    print!("{}", describe::pod_template(template));
    Ok(())
}

fn table(versions: &[Version]) -> String {
    let mut text = "REVISION\tCHANGE-CAUSE\n".to_owned();
    for version in versions {
        text.push_str(&format!("{}\t{}\n", version.revision, version.cause));
    }
    tabwriter::align(&text, tabwriter::DESCRIBE)
}

/// All versions of an object, oldest first.
async fn versions(session: &Session, kind: &Kind, object: &Value) -> Result<Vec<Version>> {
    let (group, source, plural) = match kind.kind.as_str() {
        "Deployment" => ("apps", "ReplicaSet", "replicasets"),
        "DaemonSet" | "StatefulSet" => ("apps", "ControllerRevision", "controllerrevisions"),
        other => bail!("no history viewer has been implemented for {other}"),
    };
    let source = Kind::built_in(group, "v1", source, plural, true);
    let selector = pods::selector_of(object).unwrap_or_default();
    let path =
        with_query(&source.collection(Some(&session.namespace)), &[("labelSelector", &selector)]);
    let list = session.list(&path).await?;
    Ok(versions_of(object, &list))
}

fn versions_of(object: &Value, list: &Value) -> Vec<Version> {
    let uid = text_at(object, "/metadata/uid");
    let is_owned = |item: &&Value| {
        items_at(item, "/metadata/ownerReferences").any(|owner| text_at(owner, "/uid") == uid)
    };
    let version = |item: &Value| {
        let cause = match text_at(item, CAUSE) {
            "" => "<none>".to_owned(),
            cause => cause.to_owned(),
        };
        let (revision, content) = match item.get("data") {
            Some(data) => (number_at(item, "/revision")?, data.clone()),
            None => (text_at(item, REVISION).parse().ok()?, item["spec"]["template"].clone()),
        };
        Some(Version { revision, cause, content })
    };
    let mut versions: Vec<_> =
        items_at(list, "/items").filter(is_owned).filter_map(version).collect();
    versions.sort_by_key(|version| version.revision);
    versions
}

/// Goes back to a version; 0 is the one before the newest.
///
/// # Errors
/// What the server answers, or when there is no such revision.
pub(super) async fn undo(
    session: &Session,
    kind: &Kind,
    name: &str,
    revision: i64,
    writing: &Writing,
) -> Result<()> {
    let object = session.get(&kind.object(&session.namespace, name)).await?;
    if crate::json::is_true_at(&object, "/spec/paused") {
        bail!(
            "you cannot rollback a paused deployment; resume it first with 'rollout resume' and try again"
        );
    }
    let versions = versions(session, kind, &object).await?;
    let version = choose(&versions, revision)?;
    if kind.kind != "Deployment" {
        let patch = (STRATEGIC, &version.content);
        return send::patch(
            session,
            (kind, name),
            patch,
            writing,
            ("kubectl-rollout", "rolled back"),
        )
        .await;
    }
    let template = template_of(&version.content);
    if object["spec"]["template"] == template {
        let reason = format!(
            "skipped rollback (current template already matches revision {})",
            version.revision
        );
        return writing.report(kind, &reason, &object);
    }
    let patch = json!([{ "op": "replace", "path": "/spec/template", "value": template }]);
    send::patch(
        session,
        (kind, name),
        (JSON_PATCH, &patch),
        writing,
        ("kubectl-rollout", "rolled back"),
    )
    .await
}

fn choose(versions: &[Version], revision: i64) -> Result<&Version> {
    let found = match revision {
        0 => versions.len().checked_sub(2).map(|index| &versions[index]),
        revision => versions.iter().find(|version| version.revision == revision),
    };
    match (found, revision) {
        (Some(version), _) => Ok(version),
        (None, 0) => bail!("no rollout history found for deployment"),
        (None, revision) => bail!("unable to find specified revision {revision} in history"),
    }
}

/// The template without what the controller added to tell its replica sets apart.
fn template_of(content: &Value) -> Value {
    let mut template = content.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    template
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica_set(revision: &str, owner: &str) -> Value {
        json!({
            "metadata": {
                "annotations": {"deployment.kubernetes.io/revision": revision},
                "ownerReferences": [{"uid": owner}],
            },
            "spec": {"template": {"metadata": {"labels": {"a": "b", "pod-template-hash": "h"}}, "n": revision}},
        })
    }

    #[test]
    fn owned_replica_sets_are_the_history() {
        let object = json!({"metadata": {"uid": "u"}});
        let list = json!({"items": [replica_set("10", "u"), replica_set("9", "u"), replica_set("1", "other")]});
        let versions = versions_of(&object, &list);
        assert_eq!(versions.iter().map(|version| version.revision).collect::<Vec<_>>(), [9, 10]);
        assert_eq!(
            table(&versions),
            "REVISION  CHANGE-CAUSE\n9         <none>\n10        <none>\n"
        );
        assert_eq!(choose(&versions, 0).unwrap().revision, 9);
        assert_eq!(choose(&versions, 10).unwrap().revision, 10);
        assert!(choose(&versions, 4).is_err());
        assert_eq!(template_of(&versions[0].content)["metadata"]["labels"], json!({"a": "b"}));
    }

    #[test]
    fn controller_revisions_hold_patches() {
        let object = json!({"metadata": {"uid": "u"}});
        let item = json!({"revision": 3, "data": {"spec": {}}, "metadata": {"ownerReferences": [{"uid": "u"}]}});
        let versions = versions_of(&object, &json!({ "items": [item] }));
        assert_eq!((versions[0].revision, &versions[0].content), (3, &json!({"spec": {}})));
    }
}
