//! `scale`: the size of what has replicas.

use anyhow::{Result, bail};
use serde_json::json;

use crate::{
    discovery::Kinds,
    json::{number_at, text_at},
    select,
    send::Writing,
    session::{MERGE, Session},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// TYPE NAME... or TYPE/NAME...
    #[arg(required = true)]
    pub resources: Vec<String>,
    /// The new desired number of replicas
    #[arg(long)]
    pub replicas: u32,
    /// Precondition for current size
    #[arg(long)]
    pub current_replicas: Option<i64>,
    /// Precondition for resource version
    #[arg(long)]
    pub resource_version: Option<String>,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

/// Sets the size of each named object.
///
/// # Errors
/// What the server answers, or when a precondition does not hold.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let kinds = Kinds::discover(session).await?;
    for (kind, name) in select::parse_named(&kinds, &arguments.resources)? {
        let object = kind.object(&session.namespace, &name);
        let present = session.get(&object).await.map_err(|error| match error {
            kube::Error::Api(status) if status.code == 404 => {
                anyhow::anyhow!("no objects passed to scale {}", status.message)
            }
            error => error.into(),
        })?;
        if let Some(expected) = arguments.current_replicas {
            let replicas = number_at(&present, "/spec/replicas").unwrap_or(0);
            if replicas != expected {
                bail!("Expected replicas to be {expected}, was {replicas}");
            }
        }
        let mut patch = json!({ "spec": { "replicas": arguments.replicas } });
        if let Some(expected) = &arguments.resource_version {
            let version = text_at(&present, "/metadata/resourceVersion");
            if version != expected {
                bail!("Expected resource version to be {expected}, was {version}");
            }
            patch["metadata"] = json!({ "resourceVersion": expected });
        }
        if !arguments.writing.stays_here() {
            let path = arguments.writing.path(&format!("{object}/scale"), "kubectl-scale");
            session.send(http::Method::PATCH, &path, MERGE, &patch).await?;
        }
        arguments.writing.report(&kind, "scaled", &present)?;
    }
    Ok(())
}
