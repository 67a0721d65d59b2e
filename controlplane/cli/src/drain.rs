//! `cordon`, `uncordon`, `drain`: taking a node out of service.

use std::time::Duration;

use anyhow::{Result, bail};
use http::Method;
use serde_json::{Value, json};

use crate::{
    delete,
    discovery::Kind,
    json::{is_true_at, items_at, name, text_at},
    output::age,
    pods,
    send::DryRun,
    session::{JSON, STRATEGIC, Session, with_query},
};

#[derive(Debug, clap::Args)]
pub struct CordonArguments {
    /// The nodes
    pub nodes: Vec<String>,
    /// Selector (label query) to filter on
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of kubectl drain")]
pub struct Arguments {
    /// The nodes
    pub nodes: Vec<String>,
    /// Selector (label query) to filter on
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// Ignore DaemonSet-managed pods
    #[arg(long)]
    pub ignore_daemonsets: bool,
    /// Continue even if there are pods using emptyDir (local data that will be deleted when the node is drained)
    #[arg(long)]
    pub delete_emptydir_data: bool,
    /// Continue even if there are pods that do not declare a controller
    #[arg(long)]
    pub force: bool,
    /// Period of time in seconds given to each pod to terminate gracefully
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub grace_period: i64,
    /// The length of time to wait before giving up, zero means infinite
    #[arg(long, default_value = "0s")]
    pub timeout: String,
    /// Label selector to filter pods on the node
    #[arg(long)]
    pub pod_selector: Option<String>,
    /// Force drain to use delete, even if eviction is supported
    #[arg(long)]
    pub disable_eviction: bool,
    /// Must be "none", "server", or "client"
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    pub dry_run: Option<DryRun>,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

fn nodes() -> Kind {
    Kind::built_in("", "v1", "Node", "nodes", false)
}

/// Marks nodes as (un)schedulable.
///
/// # Errors
/// What the server answers.
pub async fn cordon(session: &Session, arguments: CordonArguments, on: bool) -> Result<()> {
    for node in chosen(session, &arguments.nodes, arguments.selector.as_deref()).await? {
        set_schedulable(session, &node, on).await?;
    }
    Ok(())
}

async fn chosen(session: &Session, names: &[String], selector: Option<&str>) -> Result<Vec<Value>> {
    let kind = nodes();
    let mut found = Vec::new();
    for name in names {
        let name = name.strip_prefix("node/").unwrap_or(name);
        found.push(session.get(&kind.object("", name)).await?);
    }
    if let Some(selector) = selector {
        let list = session
            .list(&with_query(&kind.collection(None), &[("labelSelector", selector)]))
            .await?;
        found.extend(items_at(&list, "/items").cloned());
    }
    if found.is_empty() {
        bail!("USAGE: drain NODE: a node's name or a selector is required");
    }
    Ok(found)
}

async fn set_schedulable(session: &Session, node: &Value, cordoned: bool) -> Result<()> {
    let name = name(node);
    let word = if cordoned { "cordoned" } else { "uncordoned" };
    if is_true_at(node, "/spec/unschedulable") == cordoned {
        println!("node/{name} already {word}");
        return Ok(());
    }
    let value = if cordoned { Value::Bool(true) } else { Value::Null };
    let patch = json!({ "spec": { "unschedulable": value } });
    session.send(Method::PATCH, &nodes().object("", name), STRATEGIC, &patch).await?;
    println!("node/{name} {word}");
    Ok(())
}

/// Empties nodes.
///
/// # Errors
/// What the server answers, or when pods stand in the way.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let Some(limit) = age::parse_duration(&arguments.timeout) else {
        bail!("invalid duration \"{}\"", arguments.timeout);
    };
    for node in chosen(session, &arguments.nodes, arguments.selector.as_deref()).await? {
        if arguments.dry_run.is_none() {
            set_schedulable(session, &node, true).await?;
        }
        let draining = drain_one(session, &arguments, name(&node));
        if limit.is_zero() {
            draining.await?;
        } else if let Ok(done) = tokio::time::timeout(limit, draining).await {
            done?;
        } else {
            bail!(
                "unable to drain node \"{}\": drain did not complete within {}",
                name(&node),
                arguments.timeout
            );
        }
        println!("node/{} drained", name(&node));
    }
    Ok(())
}

async fn drain_one(session: &Session, arguments: &Arguments, node: &str) -> Result<()> {
    let on_node = format!("spec.nodeName={node}");
    let selector = arguments.pod_selector.as_deref().unwrap_or("");
    let path = with_query(
        &pods::kind().collection(None),
        &[("fieldSelector", &on_node), ("labelSelector", selector)],
    );
    let list = session.list(&path).await?;
    let all: Vec<Value> = items_at(&list, "/items").cloned().collect();
    let Plan { evict, warnings, refusals } = plan(&all, arguments);
    if !refusals.is_empty() {
        eprintln!(
            "error: unable to drain node \"{node}\" due to error: {}, continuing command...",
            refusals.join(", ")
        );
        eprintln!("There are pending nodes to be drained:\n {node}");
        bail!("{}", refusals.join(", "));
    }
    for warning in warnings {
        eprintln!("Warning: {warning}");
    }
    if arguments.dry_run.is_some() {
        evict.iter().for_each(|pod| println!("evicting pod {} (dry run)", full_name(pod)));
        return Ok(());
    }
    futures::future::try_join_all(evict.into_iter().map(|pod| remove(session, arguments, pod)))
        .await?;
    Ok(())
}

/// What a drain would do.
#[derive(Debug, Default, PartialEq)]
struct Plan<'a> {
    evict: Vec<&'a Value>,
    warnings: Vec<String>,
    refusals: Vec<String>,
}

fn full_name(pod: &Value) -> String {
    format!("{}/{}", text_at(pod, "/metadata/namespace"), name(pod))
}

/// Sorts the pods of a node by what may happen to them.
fn plan<'a>(all: &'a [Value], arguments: &Arguments) -> Plan<'a> {
    let (mut daemons, mut bare, mut local) = (Vec::new(), Vec::new(), Vec::new());
    let mut evict = Vec::new();
    for pod in all {
        let owner = items_at(pod, "/metadata/ownerReferences")
            .find(|owner| is_true_at(owner, "/controller"));
        let is_mirror = pod.pointer("/metadata/annotations/kubernetes.io~1config.mirror").is_some();
        let is_finished = matches!(text_at(pod, "/status/phase"), "Succeeded" | "Failed");
        if is_mirror {
            continue;
        }
        if is_finished {
            evict.push(pod);
            continue;
        }
        if owner.is_some_and(|owner| text_at(owner, "/kind") == "DaemonSet") {
            daemons.push(full_name(pod));
            continue;
        }
        if items_at(pod, "/spec/volumes").any(|volume| volume.get("emptyDir").is_some()) {
            local.push(full_name(pod));
        }
        if owner.is_none() {
            bare.push(full_name(pod));
        }
        evict.push(pod);
    }
    let mut plan = Plan { evict, ..Plan::default() };
    let mut judge = |pods: Vec<String>, allowed: bool, refusal: &str, warning: &str| match (
        pods.is_empty(),
        allowed,
    ) {
        (true, _) => {}
        (false, true) if warning.is_empty() => {}
        (false, true) => plan.warnings.push(format!("{warning}: {}", pods.join(", "))),
        (false, false) => plan.refusals.push(format!("{refusal}: {}", pods.join(", "))),
    };
    judge(
        bare,
        arguments.force,
        "cannot delete Pods that declare no controller (use --force to override)",
        "deleting Pods that declare no controller",
    );
    judge(
        daemons,
        arguments.ignore_daemonsets,
        "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)",
        "ignoring DaemonSet-managed Pods",
    );
    judge(
        local,
        arguments.delete_emptydir_data,
        "cannot delete Pods with local storage (use --delete-emptydir-data to override)",
        "",
    );
    plan
}

async fn remove(session: &Session, arguments: &Arguments, pod: &Value) -> Result<()> {
    let (namespace, name) = (text_at(pod, "/metadata/namespace"), name(pod));
    let kind = pods::kind();
    println!("evicting pod {namespace}/{name}");
    let mut options = json!({});
    if arguments.grace_period >= 0 {
        options["gracePeriodSeconds"] = arguments.grace_period.into();
    }
    let path = kind.object(namespace, name);
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": { "name": name, "namespace": namespace },
        "deleteOptions": options,
    });
    loop {
        let answer = match arguments.disable_eviction {
            true => session.send(Method::DELETE, &path, JSON, &options).await,
            false => session.send(Method::POST, &format!("{path}/eviction"), JSON, &eviction).await,
        };
        match answer {
            Ok(_) => break,
            Err(error) if client::is_not_found(&error) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 429 => {
                eprintln!(
                    "error when evicting pods/{name:?} -n {namespace:?} (will retry after 5s): {}",
                    status.message
                );
                // interval: a disruption budget gives no sign when it has room again; upstream waits as long.
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    delete::gone(session, &kind, namespace, name, text_at(pod, "/metadata/uid")).await?;
    println!("pod/{name} evicted");
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Tool {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn pod(name: &str, owner: Option<&str>) -> Value {
        let owners: Vec<_> =
            owner.map(|kind| json!({"kind": kind, "controller": true})).into_iter().collect();
        json!({"metadata": {"name": name, "namespace": "x", "ownerReferences": owners}, "spec": {"volumes": []}})
    }

    #[test]
    fn pods_in_the_way_are_named() {
        let mut local = pod("local", Some("ReplicaSet"));
        local["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
        let mut mirror = pod("mirror", None);
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        let mut done = pod("done", None);
        done["status"] = json!({"phase": "Succeeded"});
        let all = [
            pod("a", Some("ReplicaSet")),
            pod("daemon", Some("DaemonSet")),
            pod("bare", None),
            local,
            mirror,
            done,
        ];
        let strict = Tool::parse_from(["drain", "n"]).arguments;
        let strict_plan = plan(&all, &strict);
        assert_eq!(strict_plan.refusals.len(), 3);
        assert!(strict_plan.refusals[1].contains("--ignore-daemonsets to ignore): x/daemon"));
        let line = ["drain", "n", "--force", "--ignore-daemonsets", "--delete-emptydir-data"];
        let lenient = Tool::parse_from(line).arguments;
        let lenient_plan = plan(&all, &lenient);
        assert!(lenient_plan.refusals.is_empty());
        let evicted: Vec<_> = lenient_plan.evict.iter().map(|pod| name(pod)).collect();
        assert_eq!(evicted, ["a", "bare", "local", "done"]);
        assert_eq!(lenient_plan.warnings.len(), 2);
    }
}
