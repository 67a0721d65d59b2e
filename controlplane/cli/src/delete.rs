//! `delete`: by name, selector or manifest, and waiting until it is true.

use std::time::Duration;

use anyhow::{Result, bail};
use futures::StreamExt;
use http::Method;
use serde_json::{Value, json};

use crate::{
    discovery::{Kind, Kinds},
    files::{self, Files},
    json::{items_at, name, text_at},
    output::age,
    select::{self, Filter},
    session::{JSON, Session, with_query},
};

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of kubectl delete")]
pub struct Arguments {
    /// TYPE NAME... or TYPE/NAME...
    pub resources: Vec<String>,
    #[command(flatten)]
    pub files: Files,
    #[command(flatten)]
    pub filter: Filter,
    /// Delete all resources, in the namespace of the specified resource types
    #[arg(long)]
    pub all: bool,
    /// If true, wait for resources to be gone before returning
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub wait: bool,
    /// Period of time in seconds given to the resource to terminate gracefully
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub grace_period: i64,
    /// Resources signaled for immediate shutdown (same as --grace-period=1)
    #[arg(long)]
    pub now: bool,
    /// If true, immediately remove resources from API and bypass graceful deletion
    #[arg(long)]
    pub force: bool,
    /// Must be "background", "orphan", or "foreground"
    #[arg(long, default_value = "background")]
    pub cascade: String,
    /// The length of time to wait before giving up on a delete, zero means no limit
    #[arg(long, default_value = "0s")]
    pub timeout: String,
    /// Treat "resource not found" as a successful delete
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Output mode. Use "-o name" for shorter output (resource/name)
    #[arg(short, long)]
    pub output: Option<String>,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

/// One object to delete.
struct Target {
    kind: Kind,
    namespace: String,
    name: String,
}

/// Deletes and, unless told otherwise, waits.
///
/// # Errors
/// What the server answers, or when the time is over.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let kinds = Kinds::discover(session).await?;
    let targets = targets(session, &kinds, &arguments).await?;
    if targets.is_empty() {
        println!("No resources found");
        return Ok(());
    }
    if arguments.force && arguments.grace_period <= 0 {
        eprintln!(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. \
             The resource may continue to run on the cluster indefinitely."
        );
    }
    let options = options(&arguments)?;
    let mut failures = Vec::new();
    let mut waiting = Vec::new();
    for target in targets {
        let path = target.kind.object(&target.namespace, &target.name);
        match session.send(Method::DELETE, &path, JSON, &options).await {
            Ok(answer) => {
                println!("{}", message(&arguments, &target));
                waiting.push((target, uid_of(&answer.body)));
            }
            Err(error) if client::is_not_found(&error) && forgives(&arguments) => {}
            Err(error) => failures.push(anyhow::Error::from(error)),
        }
    }
    if arguments.wait {
        wait_until_gone(session, &arguments, waiting).await?;
    }
    let last = failures.pop();
    for failure in failures {
        eprintln!("{}", crate::error::describe(&failure, &session.server));
    }
    last.map_or(Ok(()), Err)
}

/// What a selector found may be gone before its turn.
fn forgives(arguments: &Arguments) -> bool {
    arguments.ignore_not_found || arguments.all || arguments.filter.is_set()
}

async fn targets(session: &Session, kinds: &Kinds, arguments: &Arguments) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    if !arguments.files.filenames.is_empty() {
        for manifest in arguments.files.read()? {
            let forced = arguments.globals.namespace.as_deref();
            let resolved = files::resolve(session, kinds, forced, manifest)?;
            let files::Resolved { kind, namespace, name, .. } = resolved;
            targets.push(Target { kind, namespace, name });
        }
        return Ok(targets);
    }
    for selection in select::parse(kinds, &arguments.resources)? {
        let kind = selection.kind;
        if selection.names.is_empty() {
            if !arguments.all && !arguments.filter.is_set() {
                bail!("resource(s) were provided, but no name was specified");
            }
            let list = session.list(&arguments.filter.path(session, &kind)).await?;
            targets.extend(items_at(&list, "/items").map(|object| Target {
                kind: kind.clone(),
                namespace: text_at(object, "/metadata/namespace").to_owned(),
                name: name(object).to_owned(),
            }));
        } else {
            targets.extend(selection.names.into_iter().map(|name| Target {
                kind: kind.clone(),
                namespace: session.namespace.clone(),
                name,
            }));
        }
    }
    Ok(targets)
}

fn options(arguments: &Arguments) -> Result<Value> {
    let policy = match arguments.cascade.as_str() {
        "background" | "true" => "Background",
        "foreground" => "Foreground",
        "orphan" | "false" => "Orphan",
        other => bail!(
            "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
        ),
    };
    let mut options = json!({ "propagationPolicy": policy });
    let grace = match (arguments.now, arguments.force, arguments.grace_period) {
        (true, _, -1) => Some(1),
        (true, ..) => bail!("--now and --grace-period cannot be specified together"),
        (_, true, -1) => Some(0),
        // As upstream: without --force a pod is given a moment.
        (_, false, 0) => Some(1),
        (_, _, -1) => None,
        (_, _, seconds) => Some(seconds),
    };
    if let Some(seconds) = grace {
        options["gracePeriodSeconds"] = seconds.into();
    }
    Ok(options)
}

fn message(arguments: &Arguments, target: &Target) -> String {
    let Target { kind, namespace, name } = target;
    if arguments.output.as_deref() == Some("name") {
        return crate::output::kind_and_name(kind, name);
    }
    let how = if arguments.force { "force deleted" } else { "deleted" };
    let from = if kind.namespaced { format!(" from {namespace} namespace") } else { String::new() };
    format!("{} \"{name}\" {how}{from}", kind.qualified())
}

/// The deleted object's identity, so that a successor of the same name is not waited for.
fn uid_of(answer: &Value) -> String {
    let uid = match text_at(answer, "/kind") {
        "Status" => text_at(answer, "/details/uid"),
        _ => text_at(answer, "/metadata/uid"),
    };
    uid.to_owned()
}

async fn wait_until_gone(
    session: &Session,
    arguments: &Arguments,
    targets: Vec<(Target, String)>,
) -> Result<()> {
    let limit = age::parse_duration(&arguments.timeout)
        .ok_or_else(|| anyhow::anyhow!("invalid duration \"{}\"", arguments.timeout))?;
    // Upstream's "no limit" is a week.
    let limit = if limit.is_zero() { Duration::from_secs(7 * 86400) } else { limit };
    let deadline = tokio::time::Instant::now() + limit;
    for (target, uid) in targets {
        let gone = gone(session, &target.kind, &target.namespace, &target.name, &uid);
        match tokio::time::timeout_at(deadline, gone).await {
            Ok(done) => done?,
            Err(_) => bail!(
                "timed out waiting for the condition on {}/{}",
                target.kind.plural,
                target.name
            ),
        }
    }
    Ok(())
}

/// Returns when the object (of that identity, if one is given) is not there.
///
/// # Errors
/// What the server answers.
pub(crate) async fn gone(
    session: &Session,
    kind: &Kind,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<()> {
    let path = kind.object(namespace, name);
    loop {
        let object = match session.get(&path).await {
            Ok(object) => object,
            Err(error) if client::is_not_found(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if !uid.is_empty() && text_at(&object, "/metadata/uid") != uid {
            return Ok(());
        }
        let version = text_at(&object, "/metadata/resourceVersion");
        let watch = with_query(&kind.watch_one(namespace, name), &[("resourceVersion", version)]);
        let mut events = session.watch(&watch, JSON).await?;
        while let Some(Ok(event)) = events.next().await {
            if text_at(&event, "/type") == "DELETED" {
                return Ok(());
            }
        }
    }
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

    fn options_of(line: &str) -> Result<Value> {
        let words = std::iter::once("delete").chain(line.split_whitespace());
        options(&Tool::try_parse_from(words)?.arguments)
    }

    #[test]
    fn flags_become_delete_options() {
        assert_eq!(options_of("pod a").unwrap(), json!({"propagationPolicy": "Background"}));
        let force = options_of("pod a --force --grace-period=0").unwrap();
        assert_eq!(force["gracePeriodSeconds"], 0);
        assert_eq!(options_of("pod a --force").unwrap()["gracePeriodSeconds"], 0);
        assert_eq!(options_of("pod a --now").unwrap()["gracePeriodSeconds"], 1);
        assert_eq!(options_of("pod a --cascade=orphan").unwrap()["propagationPolicy"], "Orphan");
        assert_eq!(options_of("pod a --grace-period=0").unwrap()["gracePeriodSeconds"], 1);
        assert!(options_of("pod a --cascade=x").is_err());
        assert!(!Tool::parse_from(["delete", "pod", "a", "--wait=false"]).arguments.wait);
    }

    #[test]
    fn messages_name_the_namespace() {
        let arguments = Tool::parse_from(["delete", "pod", "a"]).arguments;
        let target = |namespaced| Target {
            kind: Kind::built_in("apps", "v1", "Thing", "things", namespaced),
            namespace: "x".to_owned(),
            name: "a".to_owned(),
        };
        assert_eq!(message(&arguments, &target(true)), "thing.apps \"a\" deleted from x namespace");
        assert_eq!(message(&arguments, &target(false)), "thing.apps \"a\" deleted");
    }
}
