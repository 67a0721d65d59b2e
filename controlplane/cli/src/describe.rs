//! `describe`: an object in words, with what belongs to it and its events.

mod generic;
mod node;
mod pod;
mod service;
mod small;
mod template;
mod text;
mod workload;

use anyhow::{Result, bail};
use serde_json::Value;

pub(crate) use self::template::pod_template;
use self::text::Text;
use crate::{
    discovery::{Kind, Kinds},
    events,
    files::{self, Files},
    json::{items_at, name, text_at},
    select::{self, Filter},
    session::{Session, now, with_query},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// TYPE [NAME_PREFIX...] or TYPE/NAME...
    pub resources: Vec<String>,
    #[command(flatten)]
    pub files: Files,
    #[command(flatten)]
    pub filter: Filter,
    /// If true, display events related to the described object
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub show_events: bool,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

/// Describes every chosen object.
///
/// # Errors
/// What the server answers.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let kinds = Kinds::discover(session).await?;
    let objects = objects(session, &kinds, &arguments).await?;
    if objects.is_empty() {
        match arguments.filter.all_namespaces {
            true => eprintln!("No resources found"),
            false => eprintln!("No resources found in {} namespace.", session.namespace),
        }
    }
    for (index, (kind, object)) in objects.iter().enumerate() {
        if index > 0 {
            print!("\n\n");
        }
        print!("{}", describe(session, kind, object, arguments.show_events).await?);
    }
    Ok(())
}

async fn objects(
    session: &Session,
    kinds: &Kinds,
    arguments: &Arguments,
) -> Result<Vec<(Kind, Value)>> {
    let mut found = Vec::new();
    if !arguments.files.filenames.is_empty() {
        for manifest in arguments.files.read()? {
            let forced = arguments.globals.namespace.as_deref();
            let resolved = files::resolve(session, kinds, forced, manifest)?;
            let object =
                session.get(&resolved.kind.object(&resolved.namespace, &resolved.name)).await?;
            found.push((resolved.kind, object));
        }
        return Ok(found);
    }
    for selection in select::parse(kinds, &arguments.resources)? {
        let kind = selection.kind;
        let path = arguments.filter.path(session, &kind);
        if selection.names.is_empty() {
            let list = session.list(&path).await?;
            found.extend(
                items_at(&list, "/items").map(|object| (kind.clone(), with_kind(&kind, object))),
            );
        }
        for name in selection.names {
            found.extend(by_name_or_prefix(session, &kind, &path, &name).await?);
        }
    }
    Ok(found)
}

/// The object of that name; if there is none, all whose names begin so.
async fn by_name_or_prefix(
    session: &Session,
    kind: &Kind,
    collection: &str,
    wanted: &str,
) -> Result<Vec<(Kind, Value)>> {
    let missing = match session.get(&kind.object(&session.namespace, wanted)).await {
        Ok(object) => return Ok(vec![(kind.clone(), object)]),
        Err(error) if client::is_not_found(&error) => error,
        Err(error) => return Err(error.into()),
    };
    let list = session.list(collection).await?;
    let matching = items_at(&list, "/items").filter(|object| name(object).starts_with(wanted));
    let found: Vec<_> = matching.map(|object| (kind.clone(), with_kind(kind, object))).collect();
    if found.is_empty() {
        bail!(missing);
    }
    Ok(found)
}

fn with_kind(kind: &Kind, object: &Value) -> Value {
    let mut object = object.clone();
    object["kind"] = kind.kind.clone().into();
    object["apiVersion"] = kind.api_version().into();
    object
}

async fn describe(
    session: &Session,
    kind: &Kind,
    object: &Value,
    show_events: bool,
) -> Result<String> {
    let mut text = Text::default();
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => pod::describe(&mut text, object, now()),
        ("", "Node") => {
            let pods = pods_of_node(session, name(object)).await?;
            node::describe(&mut text, object, &pods, now());
        }
        ("", "Service") => {
            let slices = slices_of(session, object).await?;
            service::describe(&mut text, object, &slices);
        }
        ("apps", "Deployment") => {
            let sets = replica_sets_of(session, object).await?;
            workload::describe_deployment(&mut text, object, &sets);
        }
        ("apps", "ReplicaSet" | "StatefulSet" | "DaemonSet") => {
            let pods = pods_of(session, object).await?;
            workload::describe_other(&mut text, object, &pods);
        }
        ("", "Namespace") => {
            let quotas = all_in(session, name(object), "ResourceQuota", "resourcequotas").await?;
            let limits = all_in(session, name(object), "LimitRange", "limitranges").await?;
            small::namespace(&mut text, object, &quotas, &limits);
            return Ok(text.finish());
        }
        ("", "Secret") => {
            small::secret(&mut text, object);
            return Ok(text.finish());
        }
        ("", "ServiceAccount") => small::service_account(&mut text, object),
        ("", "ConfigMap") => small::config_map(&mut text, object),
        ("batch", "Job") => small::job(&mut text, object),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => {
            small::role(&mut text, object);
            return Ok(text.finish());
        }
        ("rbac.authorization.k8s.io", _) => {
            small::role_binding(&mut text, object);
            return Ok(text.finish());
        }
        _ => generic::describe(&mut text, object),
    }
    if show_events {
        let events = events::about(session, object).await?;
        text.raw(&events::describe(&events, now()));
    }
    Ok(text.finish())
}

async fn pods_of_node(session: &Session, node: &str) -> Result<Vec<Value>> {
    let selector = format!("spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed");
    let path = with_query(&crate::pods::kind().collection(None), &[("fieldSelector", &selector)]);
    // A user may see a node without seeing everyone's pods.
    let Ok(list) = session.list(&path).await else { return Ok(Vec::new()) };
    Ok(items_at(&list, "/items").cloned().collect())
}

async fn pods_of(session: &Session, owner: &Value) -> Result<Vec<Value>> {
    let selector = crate::pods::selector_of(owner).unwrap_or_default();
    let namespace = text_at(owner, "/metadata/namespace");
    let path = crate::pods::kind().collection(Some(namespace));
    let list = session.list(&with_query(&path, &[("labelSelector", &selector)])).await?;
    Ok(items_at(&list, "/items").cloned().collect())
}

async fn all_in(
    session: &Session,
    namespace: &str,
    kind: &str,
    plural: &str,
) -> Result<Vec<Value>> {
    let kind = Kind::built_in("", "v1", kind, plural, true);
    let list = session.list(&kind.collection(Some(namespace))).await?;
    Ok(items_at(&list, "/items").cloned().collect())
}

async fn slices_of(session: &Session, service: &Value) -> Result<Vec<Value>> {
    let kind = Kind::built_in("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", true);
    let selector = format!("kubernetes.io/service-name={}", name(service));
    let namespace = text_at(service, "/metadata/namespace");
    let path = with_query(&kind.collection(Some(namespace)), &[("labelSelector", &selector)]);
    let list = session.list(&path).await?;
    Ok(items_at(&list, "/items").cloned().collect())
}

async fn replica_sets_of(session: &Session, deployment: &Value) -> Result<Vec<Value>> {
    let kind = Kind::built_in("apps", "v1", "ReplicaSet", "replicasets", true);
    let selector = crate::pods::selector_of(deployment).unwrap_or_default();
    let namespace = text_at(deployment, "/metadata/namespace");
    let path = with_query(&kind.collection(Some(namespace)), &[("labelSelector", &selector)]);
    let list = session.list(&path).await?;
    let uid = text_at(deployment, "/metadata/uid");
    let is_owned = |set: &&Value| {
        items_at(set, "/metadata/ownerReferences").any(|owner| text_at(owner, "/uid") == uid)
    };
    Ok(items_at(&list, "/items").filter(is_owned).cloned().collect())
}
