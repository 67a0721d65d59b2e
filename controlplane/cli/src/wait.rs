//! `wait`: until a condition, a value, existence or absence.

use std::time::Duration;

use anyhow::{Result, bail};
use futures::StreamExt;
use serde_json::Value;

use crate::{
    delete,
    discovery::{Kind, Kinds},
    files::{self, Files},
    json::{items_at, name, text_at},
    output::{age, jsonpath::Template, jsonpath::value_text},
    select::{self, Filter},
    session::{JSON, Session, with_query},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// TYPE NAME... or TYPE/NAME...
    pub resources: Vec<String>,
    /// The condition to wait on: [create|delete|condition=condition-name[=condition-value]|jsonpath='{JSONPath
    /// expression}'=[JSONPath value]]
    #[arg(long = "for")]
    pub condition: String,
    /// The length of time to wait before giving up; zero checks once, negative waits for a week
    #[arg(long, default_value = "30s", allow_hyphen_values = true)]
    pub timeout: String,
    #[command(flatten)]
    pub filter: Filter,
    #[command(flatten)]
    pub files: Files,
    /// Select all resources in the namespace of the specified resource types
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq)]
enum Goal {
    Create,
    Delete,
    Condition {
        name: String,
        value: String,
    },
    /// Without a value, existence is enough.
    Path {
        template: Template,
        value: Option<String>,
    },
}

type Target = (Kind, String, String);

/// Waits for every chosen object.
///
/// # Errors
/// When the time is over or an object is not there.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let goal = parse(&arguments.condition)?;
    let limit = limit(&arguments.timeout)?;
    let kinds = Kinds::discover(session).await?;
    let deadline = tokio::time::Instant::now() + limit;
    let targets = targets(session, &kinds, &arguments).await?;
    if targets.is_empty() && goal != Goal::Delete {
        bail!("no matching resources found");
    }
    for (kind, namespace, name) in targets {
        let named = (&kind, namespace.as_str(), name.as_str());
        match tokio::time::timeout_at(deadline, reach(session, named, &goal)).await {
            Ok(done) => done?,
            Err(_) => bail!("timed out waiting for the condition on {}/{name}", kind.plural),
        }
        println!("{}/{name} condition met", kind.qualified());
    }
    Ok(())
}

fn limit(text: &str) -> Result<Duration> {
    const WEEK: Duration = Duration::from_secs(7 * 86400);
    if text.starts_with('-') {
        return Ok(WEEK);
    }
    match age::parse_duration(text) {
        // Long enough for one answer.
        Some(Duration::ZERO) => Ok(Duration::from_secs(1)),
        Some(limit) => Ok(limit),
        None => bail!("invalid duration \"{text}\""),
    }
}

fn parse(text: &str) -> Result<Goal> {
    let (word, rest) = text.split_once('=').unwrap_or((text, ""));
    match word.to_lowercase().as_str() {
        "create" => Ok(Goal::Create),
        "delete" => Ok(Goal::Delete),
        "condition" => {
            let (name, value) = rest.split_once('=').unwrap_or((rest, "true"));
            Ok(Goal::Condition { name: name.to_lowercase(), value: value.to_lowercase() })
        }
        "jsonpath" => {
            let rest = rest.trim_matches('\'');
            let end = rest.rfind('}').map_or(rest.len(), |position| position + 1);
            let (path, value) = rest.split_at(end);
            let value = value.trim_start_matches('\'').strip_prefix('=');
            let value = value.map(|value| value.trim_matches(['\'', '"']).to_owned());
            Ok(Goal::Path { template: Template::parse(path)?, value })
        }
        _ => bail!("unrecognized condition: \"{text}\""),
    }
}

async fn targets(session: &Session, kinds: &Kinds, arguments: &Arguments) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    if !arguments.files.filenames.is_empty() {
        for manifest in arguments.files.read()? {
            let forced = arguments.globals.namespace.as_deref();
            let resolved = files::resolve(session, kinds, forced, manifest)?;
            targets.push((resolved.kind, resolved.namespace, resolved.name));
        }
        return Ok(targets);
    }
    for selection in select::parse(kinds, &arguments.resources)? {
        let kind = selection.kind;
        let listed = selection.names.is_empty();
        if listed
            && !arguments.all
            && !arguments.filter.is_set()
            && !arguments.filter.all_namespaces
        {
            bail!("resource(s) were provided, but no name was specified");
        }
        if listed {
            let list = session.list(&arguments.filter.path(session, &kind)).await?;
            targets.extend(items_at(&list, "/items").map(|object| {
                let namespace = text_at(object, "/metadata/namespace").to_owned();
                (kind.clone(), namespace, name(object).to_owned())
            }));
        }
        let named = selection.names.into_iter();
        targets.extend(named.map(|name| (kind.clone(), session.namespace.clone(), name)));
    }
    Ok(targets)
}

async fn reach(
    session: &Session,
    (kind, namespace, name): (&Kind, &str, &str),
    goal: &Goal,
) -> Result<()> {
    if *goal == Goal::Delete {
        return delete::gone(session, kind, namespace, name, "").await;
    }
    loop {
        let version = match session.get(&kind.object(namespace, name)).await {
            Ok(object) if is_met(goal, &object)? => return Ok(()),
            Ok(object) => text_at(&object, "/metadata/resourceVersion").to_owned(),
            // From the collection's version: the creation must not fall between.
            Err(error) if client::is_not_found(&error) && *goal == Goal::Create => {
                let list = session
                    .get(&with_query(&kind.collection(Some(namespace)), &[("limit", "1")]))
                    .await?;
                text_at(&list, "/metadata/resourceVersion").to_owned()
            }
            Err(error) => return Err(error.into()),
        };
        let path = with_query(&kind.watch_one(namespace, name), &[("resourceVersion", &version)]);
        let mut events = session.watch(&path, JSON).await?;
        while let Some(Ok(event)) = events.next().await {
            match text_at(&event, "/type") {
                "BOOKMARK" | "DELETED" => {}
                _ if is_met(goal, &event["object"])? => return Ok(()),
                _ => {}
            }
        }
    }
}

fn is_met(goal: &Goal, object: &Value) -> Result<bool> {
    Ok(match goal {
        Goal::Create => true,
        Goal::Delete => false,
        Goal::Condition { name, value } => {
            // A condition of an older generation says nothing about this one.
            let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
            let is_current = |condition: &Value| {
                let observed = condition.get("observedGeneration").and_then(Value::as_i64);
                observed.is_none_or(|observed| generation.is_none_or(|now| observed >= now))
            };
            items_at(object, "/status/conditions").any(|condition| {
                text_at(condition, "/type").to_lowercase() == *name
                    && text_at(condition, "/status").to_lowercase() == *value
                    && is_current(condition)
            })
        }
        Goal::Path { template, value } => {
            let found = template.find(object)?;
            match value {
                None => !found.is_empty(),
                Some(value) => found.first().is_some_and(|found| value_text(found) == *value),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn goals_are_parsed_and_met() {
        let pod = json!({
            "metadata": {"generation": 2},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True"}, {"type": "Old", "status": "True", "observedGeneration": 1},
            ]},
        });
        for (goal, met) in [
            ("condition=Ready", true),
            ("condition=ready=true", true),
            ("condition=Ready=False", false),
            ("condition=Old", false),
            ("condition=Missing", false),
            ("jsonpath={.status.phase}=Running", true),
            ("jsonpath='{.status.phase}'=Running", true),
            ("jsonpath={.status.phase}=Pending", false),
            ("jsonpath={.status.phase}", true),
            ("jsonpath={.status.podIP}", false),
            ("jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True", true),
            ("create", true),
            ("delete", false),
        ] {
            assert_eq!(is_met(&parse(goal).unwrap(), &pod).unwrap(), met, "{goal}");
        }
        assert!(parse("Ready").is_err());
    }

    #[test]
    fn limits_are_durations() {
        assert_eq!(limit("60s").unwrap(), Duration::from_secs(60));
        assert_eq!(limit("-1s").unwrap(), Duration::from_secs(7 * 86400));
        assert!(limit("x").is_err());
    }
}
