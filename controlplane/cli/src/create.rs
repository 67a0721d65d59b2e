//! `create`: from manifests, or common kinds from flags.

mod config;
mod simple;

use anyhow::{Context, Result, bail};
use http::Method;

use crate::{
    apply,
    discovery::Kinds,
    files::{self, Files},
    send::{self, Writing},
    session::{JSON, Session, with_query},
};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub what: Option<What>,
    #[command(flatten)]
    pub files: Files,
    #[command(flatten)]
    pub writing: Writing,
    /// Must be one of: strict (or true), warn, ignore (or false)
    #[arg(long, default_value = "strict", num_args = 0..=1, default_missing_value = "strict")]
    pub validate: String,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

/// Kinds that can be described by flags.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Create a namespace with the specified name
    #[command(visible_alias = "ns")]
    Namespace(simple::Named),
    /// Create a deployment with the specified name
    #[command(visible_alias = "deploy")]
    Deployment(simple::Deployment),
    /// Create a config map from a local file, directory or literal value
    #[command(visible_alias = "cm")]
    Configmap(config::ConfigMap),
    /// Create a secret using a specified subcommand
    Secret(config::Secret),
    /// Create a service account with the specified name
    #[command(visible_alias = "sa")]
    Serviceaccount(simple::Named),
    /// Request a service account token
    Token(simple::Token),
    /// Create a job with the specified name
    Job(simple::Job),
    /// Create a role binding for a particular role or cluster role
    Rolebinding(simple::Binding),
    /// Create a cluster role binding for a particular cluster role
    Clusterrolebinding(simple::Binding),
}

/// Creates what was asked for.
///
/// # Errors
/// What the server answers.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let Some(what) = arguments.what else {
        return create_files(session, &arguments).await;
    };
    let (kind, object, writing) = match what {
        What::Token(token) => return token.request(session).await,
        What::Namespace(named) => named.plan_namespace(),
        What::Serviceaccount(named) => named.plan_service_account(),
        What::Deployment(deployment) => deployment.plan()?,
        What::Job(job) => job.plan(session).await?,
        What::Configmap(map) => map.plan()?,
        What::Secret(secret) => secret.plan()?,
        What::Rolebinding(binding) => binding.plan("RoleBinding", "rolebindings", true)?,
        What::Clusterrolebinding(binding) => {
            binding.plan("ClusterRoleBinding", "clusterrolebindings", false)?
        }
    };
    let mut object = object;
    if kind.namespaced {
        object["metadata"]["namespace"] = session.namespace.clone().into();
    }
    let words = match kind.kind.as_str() {
        "Namespace" => String::new(),
        "Secret" => "failed to create secret".to_owned(),
        other => format!("failed to create {}:", other.to_lowercase()),
    };
    let done = send::create(session, &kind, object, &writing, "kubectl-create").await;
    done.map_err(|error| plain_failure(error, &words))
}

/// kubectl tells these failures without the server's reason.
pub(crate) fn plain_failure(error: anyhow::Error, words: &str) -> anyhow::Error {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) if !words.is_empty() => {
            anyhow::anyhow!("{words} {}", status.message)
        }
        _ => error,
    }
}

async fn create_files(session: &Session, arguments: &Arguments) -> Result<()> {
    if arguments.files.filenames.is_empty() {
        bail!("must specify one of -f and -k");
    }
    let manifests = arguments.files.read()?;
    let mut kinds = Kinds::discover(session).await?;
    let mut failures = Vec::new();
    for manifest in manifests {
        let (version, kind) =
            (manifest.object["apiVersion"].clone(), manifest.object["kind"].clone());
        if kinds.of_manifest(version.as_str().unwrap_or(""), kind.as_str().unwrap_or("")).is_none()
        {
            kinds = Kinds::discover(session).await?;
        }
        failures.extend(create_one(session, &kinds, arguments, manifest).await.err());
    }
    let last = failures.pop();
    for failure in failures {
        eprintln!("{}", crate::error::describe(&failure, &session.server));
    }
    last.map_or(Ok(()), Err)
}

async fn create_one(
    session: &Session,
    kinds: &Kinds,
    arguments: &Arguments,
    manifest: files::Manifest,
) -> Result<()> {
    let forced = arguments.globals.namespace.as_deref();
    let files::Resolved { kind, namespace, manifest, .. } =
        files::resolve(session, kinds, forced, manifest)?;
    if arguments.writing.stays_here() {
        return arguments.writing.report(&kind, "created", &manifest.object);
    }
    let path = arguments.writing.path(&kind.collection(Some(&namespace)), "kubectl-create");
    let path = with_query(&path, &[("fieldValidation", apply::validation(&arguments.validate))]);
    let answer = session
        .send(Method::POST, &path, JSON, &manifest.object)
        .await
        .with_context(|| format!("error when creating \"{}\"", manifest.source))?;
    arguments.writing.report(&kind, "created", &answer.body)
}
