//! `patch`: a change written by hand.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    discovery::Kinds,
    select,
    send::Writing,
    session::{JSON_PATCH, MERGE, STRATEGIC, Session},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// TYPE NAME or TYPE/NAME
    #[arg(required = true)]
    pub resources: Vec<String>,
    /// The patch to be applied to the resource, JSON or YAML
    #[arg(short, long)]
    pub patch: Option<String>,
    /// A file containing a patch to be applied to the resource
    #[arg(long)]
    pub patch_file: Option<String>,
    /// The type of patch being provided; one of [json merge strategic]
    #[arg(long = "type", default_value = "strategic")]
    pub kind: String,
    /// The name of a subresource to patch
    #[arg(long)]
    pub subresource: Option<String>,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

/// Patches each named object.
///
/// # Errors
/// What the server answers.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let content_type = match arguments.kind.as_str() {
        "json" => JSON_PATCH,
        "merge" => MERGE,
        "strategic" => STRATEGIC,
        other => bail!("--type must be one of [json merge strategic], not \"{other}\""),
    };
    let text = match (&arguments.patch, &arguments.patch_file) {
        (Some(text), None) => text.clone(),
        (None, Some(file)) => std::fs::read_to_string(file)
            .with_context(|| format!("unable to read patch file {file}"))?,
        _ => bail!("must specify --patch or --patch-file containing the contents of the patch"),
    };
    let patch: Value = serde_yaml_ng::from_str(&text).context("unable to parse the patch")?;
    let suffix = arguments.subresource.as_ref().map_or(String::new(), |name| format!("/{name}"));
    let kinds = Kinds::discover(session).await?;
    for (kind, name) in select::parse_named(&kinds, &arguments.resources)? {
        let object = kind.object(&session.namespace, &name) + &suffix;
        let before = session.get(&object).await?;
        if arguments.writing.stays_here() {
            arguments.writing.report(&kind, "patched", &before)?;
            continue;
        }
        let path = arguments.writing.path(&object, "kubectl-patch");
        let answer = session.send(http::Method::PATCH, &path, content_type, &patch).await?;
        let version = |object: &Value| object.pointer("/metadata/resourceVersion").cloned();
        let same = version(&before) == version(&answer.body) && arguments.writing.dry_run.is_none();
        let verb = if same { "patched (no change)" } else { "patched" };
        arguments.writing.report(&kind, verb, &answer.body)?;
    }
    Ok(())
}
