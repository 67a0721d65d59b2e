//! Sending an object and saying what became of it: shared by everything that creates or changes.

use anyhow::{Result, bail};
use http::Method;
use serde_json::Value;

use crate::{
    discovery::Kind,
    json::name,
    output::{self, Form},
    session::{JSON, Session, with_query},
};

/// Flags of commands that write.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Writing {
    /// Output format. One of: (json, yaml, name, jsonpath, custom-columns)
    #[arg(short, long)]
    pub output: Option<String>,
    /// Must be "none", "server", or "client"
    #[arg(long, value_name = "none|server|client", num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    pub dry_run: Option<DryRun>,
    /// Name of the manager used to track field ownership
    #[arg(long)]
    pub field_manager: Option<String>,
    /// If true, keep the managedFields when printing objects
    #[arg(long)]
    pub show_managed_fields: bool,
}

/// How far a write goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DryRun {
    None,
    Client,
    Server,
}

impl Writing {
    /// Nothing is sent.
    #[must_use]
    pub fn stays_here(&self) -> bool {
        self.dry_run == Some(DryRun::Client)
    }

    /// Adds field manager and dry run to a path.
    #[must_use]
    pub fn path(&self, path: &str, manager: &str) -> String {
        let manager = self.field_manager.as_deref().unwrap_or(manager);
        let dry_run = if self.dry_run == Some(DryRun::Server) { "All" } else { "" };
        with_query(path, &[("dryRun", dry_run), ("fieldManager", manager)])
    }

    /// Prints the outcome: `pod/x created`, or the object in the form asked for.
    ///
    /// # Errors
    /// When the form is unknown or does not fit.
    pub fn report(&self, kind: &Kind, verb: &str, object: &Value) -> Result<()> {
        print!("{}", self.outcome(kind, verb, object)?);
        Ok(())
    }

    fn outcome(&self, kind: &Kind, verb: &str, object: &Value) -> Result<String> {
        let form = Form::parse(self.output.as_deref())?;
        let suffix = match self.dry_run {
            Some(DryRun::Client) => " (dry run)",
            Some(DryRun::Server) => " (server dry run)",
            Some(DryRun::None) | None => "",
        };
        let named = output::kind_and_name(kind, name(object));
        match form {
            Form::Table | Form::Wide => Ok(format!("{named} {verb}{suffix}\n")),
            Form::Name => Ok(format!("{named}\n")),
            form => {
                let mut object = object.clone();
                if !self.show_managed_fields {
                    output::hide_managed_fields(&mut object);
                }
                output::print_object(&form, &object)
            }
        }
    }
}

/// Creates an object and reports it.
///
/// # Errors
/// What the server answers.
pub async fn create(
    session: &Session,
    kind: &Kind,
    object: Value,
    writing: &Writing,
    manager: &str,
) -> Result<()> {
    let object = match writing.stays_here() {
        true => object,
        false => post(session, kind, &object, &writing.path("", manager)).await?,
    };
    writing.report(kind, "created", &object)
}

/// Posts an object into its namespace (or the session's).
///
/// # Errors
/// What the server answers.
pub async fn post(session: &Session, kind: &Kind, object: &Value, query: &str) -> Result<Value> {
    let namespace = match crate::json::text_at(object, "/metadata/namespace") {
        "" => &session.namespace,
        namespace => namespace,
    };
    let path = format!("{}{query}", kind.collection(Some(namespace)));
    Ok(session.send(Method::POST, &path, JSON, object).await?.body)
}

/// Changes an object by a patch and reports it.
///
/// # Errors
/// What the server answers.
pub async fn patch(
    session: &Session,
    target: (&Kind, &str),
    patch: (&str, &Value),
    writing: &Writing,
    words: (&str, &str),
) -> Result<()> {
    let ((kind, name), (content_type, body), (manager, verb)) = (target, patch, words);
    if writing.stays_here() {
        let object = session.get(&kind.object(&session.namespace, name)).await?;
        return writing.report(kind, verb, &object);
    }
    let path = writing.path(&kind.object(&session.namespace, name), manager);
    let answer = session.send(Method::PATCH, &path, content_type, body).await?;
    writing.report(kind, verb, &answer.body)
}

/// Parses `key=value` pairs and `key-` removals, as label, annotate and taint take them.
///
/// # Errors
/// With kubectl's words when a word is neither.
pub fn parse_pairs(words: &[String]) -> Result<Vec<(String, Option<String>)>> {
    let mut pairs = Vec::new();
    for word in words {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) if !key.is_empty() => {
                pairs.push((key.to_owned(), Some(value.to_owned())));
            }
            (None, Some(key)) if !key.is_empty() => pairs.push((key.to_owned(), None)),
            _ => bail!("unknown attribute format: {word}"),
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn outcomes_read_like_kubectls() {
        let kind = Kind::built_in("apps", "v1", "Deployment", "deployments", true);
        let object = json!({"metadata": {"name": "x", "managedFields": [1]}});
        let outcome = |output: Option<&str>, dry_run| {
            let writing =
                Writing { output: output.map(str::to_owned), dry_run, ..Writing::default() };
            writing.outcome(&kind, "created", &object).unwrap()
        };
        assert_eq!(outcome(None, None), "deployment.apps/x created\n");
        assert_eq!(
            outcome(None, Some(DryRun::Server)),
            "deployment.apps/x created (server dry run)\n"
        );
        assert_eq!(outcome(Some("name"), None), "deployment.apps/x\n");
        assert_eq!(outcome(Some("yaml"), None), "metadata:\n  name: x\n");
    }

    #[test]
    fn paths_carry_manager_and_dry_run() {
        let writing = Writing { dry_run: Some(DryRun::Server), ..Writing::default() };
        assert_eq!(
            writing.path("/x", "kubectl-create"),
            "/x?dryRun=All&fieldManager=kubectl-create"
        );
    }

    #[test]
    fn pairs_are_parsed() {
        let words =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let pairs = parse_pairs(&words(&["a=b", "c-", "d=", "e=f-"])).unwrap();
        let expected = [("a", Some("b")), ("c", None), ("d", Some("")), ("e", Some("f-"))];
        let expected: Vec<_> =
            expected.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect();
        assert_eq!(pairs, expected);
        assert!(parse_pairs(&words(&["x"])).is_err());
        assert!(parse_pairs(&words(&["=x"])).is_err());
    }
}
