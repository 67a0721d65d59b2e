//! `taint`: what keeps pods away from nodes.

use anyhow::{Result, bail};
use http::Method;
use serde_json::{Value, json};

use crate::{
    discovery::Kind,
    json::{items_at, name, text_at},
    session::{MERGE, Session, with_query},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// nodes NAME... KEY=VALUE:EFFECT ... KEY[:EFFECT]-
    #[arg(required = true)]
    pub words: Vec<String>,
    /// Select all nodes in the cluster
    #[arg(long)]
    pub all: bool,
    /// Selector (label query) to filter on
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// If true, allow taints to be overwritten
    #[arg(long)]
    pub overwrite: bool,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

/// A taint to set, or to take away.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    key: String,
    value: String,
    effect: String,
    remove: bool,
}

/// Changes the taints of the chosen nodes.
///
/// # Errors
/// What the server answers, or when a taint would be overwritten.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let words = match arguments.words.split_first() {
        Some((kind, words)) if matches!(kind.as_str(), "node" | "nodes" | "no") => words,
        _ => bail!("invalid resource type {}, only node types are supported", arguments.words[0]),
    };
    let (names, changes): (Vec<_>, Vec<_>) = words.iter().partition(|word| !is_change(word));
    let changes = changes.into_iter().map(|word| parse(word)).collect::<Result<Vec<_>>>()?;
    if changes.is_empty() {
        bail!("at least one taint update is required");
    }
    let kind = Kind::built_in("", "v1", "Node", "nodes", false);
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(session.get(&kind.object("", name)).await?);
    }
    if arguments.all || arguments.selector.is_some() {
        let selector = arguments.selector.as_deref().unwrap_or("");
        let list = session
            .list(&with_query(&kind.collection(None), &[("labelSelector", selector)]))
            .await?;
        nodes.extend(items_at(&list, "/items").cloned());
    }
    for node in nodes {
        let taints = plan(&node, &changes, arguments.overwrite)?;
        // With the version: another writer's taints must not be lost.
        let version = text_at(&node, "/metadata/resourceVersion");
        let patch =
            json!({ "metadata": { "resourceVersion": version }, "spec": { "taints": taints } });
        session.send(Method::PATCH, &kind.object("", name(&node)), MERGE, &patch).await?;
        let verb = if changes.iter().all(|change| change.remove) { "untainted" } else { "tainted" };
        println!("node/{} {verb}", name(&node));
    }
    Ok(())
}

fn is_change(word: &str) -> bool {
    word.contains('=') || word.contains(':') || word.ends_with('-')
}

fn parse(word: &str) -> Result<Change> {
    let (body, remove) = word.strip_suffix('-').map_or((word, false), |body| (body, true));
    let (pair, effect) = body.split_once(':').unwrap_or((body, ""));
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    let known = matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute");
    if key.is_empty() || !(known || (remove && effect.is_empty())) {
        bail!("invalid taint spec: {word}");
    }
    Ok(Change { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned(), remove })
}

fn plan(node: &Value, changes: &[Change], overwrite: bool) -> Result<Vec<Value>> {
    let mut taints: Vec<Value> = items_at(node, "/spec/taints").cloned().collect();
    for change in changes {
        let same = |taint: &Value| {
            text_at(taint, "/key") == change.key
                && (change.effect.is_empty() || text_at(taint, "/effect") == change.effect)
        };
        let present = taints.iter().any(same);
        match (change.remove, present) {
            (true, false) => bail!("taint \"{}\" not found", change.key),
            (false, true) if !overwrite => bail!(
                "node {} already has {} taint(s) with same effect(s) and --overwrite is false",
                name(node),
                change.key
            ),
            _ => taints.retain(|taint| !same(taint)),
        }
        if !change.remove {
            let mut taint = json!({ "key": change.key, "effect": change.effect });
            if !change.value.is_empty() {
                taint["value"] = change.value.clone().into();
            }
            taints.push(taint);
        }
    }
    Ok(taints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_added_and_removed() {
        let node = json!({"metadata": {"name": "n"}, "spec": {"taints": [
            {"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoExecute"},
        ]}});
        let planned = |words: &[&str], overwrite| {
            let changes: Vec<_> = words.iter().map(|word| parse(word).unwrap()).collect();
            plan(&node, &changes, overwrite)
        };
        assert_eq!(planned(&["a-"], false).unwrap(), Vec::<Value>::new());
        assert_eq!(planned(&["a:NoExecute-"], false).unwrap().len(), 1);
        assert_eq!(
            planned(&["b=c:NoSchedule"], false).unwrap()[2],
            json!({"key": "b", "effect": "NoSchedule", "value": "c"})
        );
        assert!(planned(&["a=1:NoSchedule"], false).is_err());
        assert_eq!(planned(&["a=1:NoSchedule"], true).unwrap().len(), 2);
        assert!(planned(&["z-"], false).is_err());
        assert!(parse("a=b").is_err() && parse("a:Never").is_err());
    }
}
