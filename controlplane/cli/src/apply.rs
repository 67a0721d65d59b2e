//! `apply`: server-side apply of manifests.

use anyhow::{Context, Result};
use http::{Method, StatusCode};
use serde_json::Value;

use crate::{
    discovery::Kinds,
    files::{self, Files, Resolved},
    json::text_at,
    send::Writing,
    session::{APPLY, Session, with_query},
};

/// The manager kubectl uses, so that both tools own the same fields.
const MANAGER: &str = "kubectl";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub files: Files,
    #[command(flatten)]
    pub writing: Writing,
    /// Apply runs in the server (always so here); prints "serverside-applied" as kubectl then does
    #[arg(long)]
    pub server_side: bool,
    /// If true, server-side apply will force the changes against conflicts
    #[arg(long)]
    pub force_conflicts: bool,
    /// Must be one of: strict (or true), warn, ignore (or false)
    #[arg(long, default_value = "strict", num_args = 0..=1, default_missing_value = "strict")]
    pub validate: String,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

/// Applies every manifest; one that fails does not stop the others.
///
/// # Errors
/// The last failure; those before it are printed.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let manifests = arguments.files.read()?;
    let mut kinds = Kinds::discover(session).await?;
    let mut failures = Vec::new();
    for manifest in manifests {
        let is_new_kind = |kinds: &Kinds| {
            let object = &manifest.object;
            kinds.of_manifest(text_at(object, "/apiVersion"), text_at(object, "/kind")).is_none()
        };
        if is_new_kind(&kinds) {
            // A definition earlier in the same files may have added it.
            kinds = Kinds::discover(session).await?;
        }
        let namespace = arguments.globals.namespace.as_deref();
        let done = match files::resolve(session, &kinds, namespace, manifest) {
            Ok(resolved) => apply(session, &arguments, resolved).await,
            Err(error) => Err(error),
        };
        failures.extend(done.err());
    }
    let last = failures.pop();
    for failure in failures {
        eprintln!("{}", crate::error::describe(&failure, &session.server));
    }
    last.map_or(Ok(()), Err)
}

async fn apply(session: &Session, arguments: &Arguments, resolved: Resolved) -> Result<()> {
    let Resolved { kind, namespace, name, manifest } = resolved;
    let object = kind.object(&namespace, &name);
    if arguments.writing.stays_here() {
        return arguments.writing.report(&kind, "configured", &manifest.object);
    }
    let before = match session.get(&object).await {
        Ok(present) => text_at(&present, "/metadata/resourceVersion").to_owned(),
        Err(error) if client::is_not_found(&error) => String::new(),
        Err(error) => return Err(error.into()),
    };
    let force = if arguments.force_conflicts { "true" } else { "false" };
    let path = with_query(
        &arguments.writing.path(&object, MANAGER),
        &[("fieldValidation", validation(&arguments.validate)), ("force", force)],
    );
    let answer = session
        .send(Method::PATCH, &path, APPLY, &manifest.object)
        .await
        .with_context(|| format!("error when applying \"{}\"", manifest.source))?;
    let verb = verb(arguments.server_side, answer.status, &before, &answer.body);
    arguments.writing.report(&kind, verb, &answer.body)
}

fn verb(server_side: bool, status: StatusCode, before: &str, object: &Value) -> &'static str {
    match (server_side, status) {
        (true, _) => "serverside-applied",
        (false, StatusCode::CREATED) => "created",
        (false, _) if before == text_at(object, "/metadata/resourceVersion") => "unchanged",
        (false, _) => "configured",
    }
}

/// The API's word for kubectl's `--validate`.
pub(crate) fn validation(asked: &str) -> &'static str {
    match asked {
        "warn" => "Warn",
        "ignore" | "false" => "Ignore",
        _ => "Strict",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_verb_says_what_changed() {
        let object = json!({"metadata": {"resourceVersion": "7"}});
        assert_eq!(verb(false, StatusCode::CREATED, "", &object), "created");
        assert_eq!(verb(false, StatusCode::OK, "7", &object), "unchanged");
        assert_eq!(verb(false, StatusCode::OK, "6", &object), "configured");
        assert_eq!(verb(true, StatusCode::OK, "6", &object), "serverside-applied");
    }
}
