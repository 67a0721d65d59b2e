//! `label` and `annotate`: the same change in two maps.

use anyhow::{Result, bail};
use serde_json::{Map, Value};

use crate::{
    discovery::{Kind, Kinds},
    json::{items_at, name, pointer_segment, text_at},
    select::{self, Filter},
    send::{self, Writing},
    session::{MERGE, Session},
};

/// What both commands take.
#[derive(Debug, clap::Args)]
pub struct Change {
    /// TYPE NAME... KEY_1=VAL_1 ... KEY_N=VAL_N KEY-
    #[arg(required = true)]
    pub words: Vec<String>,
    #[command(flatten)]
    pub filter: Filter,
    /// Select all resources, in the namespace of the specified resource types
    #[arg(long)]
    pub all: bool,
    /// If true, allow values to be overwritten, otherwise reject updates that overwrite existing values
    #[arg(long)]
    pub overwrite: bool,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

#[derive(Debug, clap::Args)]
pub struct LabelArguments {
    #[command(flatten)]
    pub change: Change,
    /// If true, display the labels for a given resource
    #[arg(long)]
    pub list: bool,
}

#[derive(Debug, clap::Args)]
pub struct AnnotateArguments {
    #[command(flatten)]
    pub change: Change,
    /// If true, display the annotations for a given resource
    #[arg(long)]
    pub list: bool,
}

/// The two maps of metadata.
#[derive(Debug, Clone, Copy)]
struct Field {
    name: &'static str,
    manager: &'static str,
    changed: &'static str,
    removed: &'static str,
    unchanged: &'static str,
}

impl Field {
    fn refusal(self, key: &str, present: &str) -> String {
        let what = format!("'{key}' already has a value ({present})");
        match self.name {
            "labels" => format!("{what}, and --overwrite is false"),
            _ => format!(
                "--overwrite is false but found the following declared annotation(s): {what}"
            ),
        }
    }
}

const LABELS: Field = Field {
    name: "labels",
    manager: "kubectl-label",
    changed: "labeled",
    removed: "unlabeled",
    unchanged: "not labeled",
};
const ANNOTATIONS: Field = Field {
    name: "annotations",
    manager: "kubectl-annotate",
    changed: "annotated",
    removed: "annotated",
    unchanged: "annotated",
};

type Pairs = Vec<(String, Option<String>)>;

/// Changes labels.
///
/// # Errors
/// What the server answers, or when a value would be overwritten.
pub async fn label(session: &Session, arguments: LabelArguments) -> Result<()> {
    run(session, &arguments.change, arguments.list, LABELS).await
}

/// Changes annotations.
///
/// # Errors
/// What the server answers, or when a value would be overwritten.
pub async fn annotate(session: &Session, arguments: AnnotateArguments) -> Result<()> {
    run(session, &arguments.change, arguments.list, ANNOTATIONS).await
}

async fn run(session: &Session, change: &Change, list: bool, field: Field) -> Result<()> {
    let (targets, pairs) = split(&change.words);
    let pairs = send::parse_pairs(&pairs)?;
    if pairs.is_empty() && !list {
        bail!("at least one {} update is required", field.name.trim_end_matches('s'));
    }
    let kinds = Kinds::discover(session).await?;
    for (kind, object) in objects(session, &kinds, change, &targets).await? {
        if list {
            print_all(&object, field);
            continue;
        }
        change_one(session, change, (&kind, &object), &pairs, field).await?;
    }
    Ok(())
}

/// Words up to the first pair are the objects.
fn split(words: &[String]) -> (Vec<String>, Vec<String>) {
    let is_pair = |word: &String| word.contains('=') || word.ends_with('-');
    let first = words.iter().position(is_pair).unwrap_or(words.len());
    (words[..first].to_vec(), words[first..].to_vec())
}

async fn objects(
    session: &Session,
    kinds: &Kinds,
    change: &Change,
    words: &[String],
) -> Result<Vec<(Kind, Value)>> {
    let mut found = Vec::new();
    for selection in select::parse(kinds, words)? {
        let kind = selection.kind;
        if selection.names.is_empty() {
            if !change.all && !change.filter.is_set() {
                bail!("resource(s) were provided, but no name was specified");
            }
            let list = session.list(&change.filter.path(session, &kind)).await?;
            found.extend(items_at(&list, "/items").map(|object| (kind.clone(), object.clone())));
        }
        for name in selection.names {
            let object = session.get(&kind.object(&session.namespace, &name)).await?;
            found.push((kind.clone(), object));
        }
    }
    Ok(found)
}

fn print_all(object: &Value, field: Field) {
    for (key, value) in crate::json::entries_at(object, &format!("/metadata/{}", field.name)) {
        println!("{key}={}", crate::json::scalar(value));
    }
}

async fn change_one(
    session: &Session,
    change: &Change,
    (kind, object): (&Kind, &Value),
    pairs: &Pairs,
    field: Field,
) -> Result<()> {
    let Some((patch, verb)) = plan(object, pairs, change.overwrite, field)? else {
        let mut writing = change.writing.clone();
        writing.dry_run = None;
        return writing.report(kind, field.unchanged, object);
    };
    let own = text_at(object, "/metadata/namespace");
    let namespace = if own.is_empty() { session.namespace.as_str() } else { own };
    let path = change.writing.path(&kind.object(namespace, name(object)), field.manager);
    if change.writing.stays_here() {
        return change.writing.report(kind, verb, object);
    }
    let answer = session.send(http::Method::PATCH, &path, MERGE, &patch).await?;
    change.writing.report(kind, verb, &answer.body)
}

/// The patch and its verb; `None` when nothing would change.
fn plan(
    object: &Value,
    pairs: &Pairs,
    overwrite: bool,
    field: Field,
) -> Result<Option<(Value, &'static str)>> {
    let mut changes = Map::new();
    let mut adds = false;
    for (key, value) in pairs {
        let present = object.pointer(&format!("/metadata/{}/{}", field.name, pointer_segment(key)));
        match (value, present.and_then(Value::as_str)) {
            (None, None) if field.name == "labels" => eprintln!("label \"{key}\" not found."),
            (None, None) => {}
            (None, Some(_)) => drop(changes.insert(key.clone(), Value::Null)),
            (Some(value), Some(present)) if value == present => {}
            (Some(_), Some(present)) if !overwrite => {
                bail!(field.refusal(key, present));
            }
            (Some(value), _) => {
                adds = true;
                changes.insert(key.clone(), value.clone().into());
            }
        }
    }
    if changes.is_empty() {
        return Ok(None);
    }
    let verb = if adds { field.changed } else { field.removed };
    Ok(Some((serde_json::json!({ "metadata": { field.name: changes } }), verb)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_split_at_the_first_pair() {
        let words: Vec<_> = ["pod", "a", "x=1", "y-"].map(str::to_owned).into();
        let (targets, pairs) = split(&words);
        assert_eq!((targets.join(" "), pairs.join(" ")), ("pod a".to_owned(), "x=1 y-".to_owned()));
    }

    #[test]
    fn only_differences_are_sent() {
        let object = json!({"metadata": {"labels": {"a": "1", "b": "2"}}});
        let plan = |words: &[&str], overwrite| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            plan(&object, &send::parse_pairs(&words).unwrap(), overwrite, LABELS)
        };
        assert_eq!(plan(&["a=1"], false).unwrap(), None);
        let (patch, verb) = plan(&["c=3", "b-"], false).unwrap().unwrap();
        assert_eq!(
            (patch, verb),
            (json!({"metadata": {"labels": {"c": "3", "b": null}}}), "labeled")
        );
        assert_eq!(plan(&["b-"], false).unwrap().unwrap().1, "unlabeled");
        let refused = plan(&["a=9"], false).unwrap_err().to_string();
        assert_eq!(refused, "'a' already has a value (1), and --overwrite is false");
        assert!(plan(&["a=9"], true).unwrap().is_some());
    }
}
